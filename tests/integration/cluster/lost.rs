//! The directory is lost for good, with every copy of it: what was written to the sink tells enough to
//! go on.

use anyhow::{Context as _, Result, ensure};
use towpath_testing::wait_until;

use super::bus::{Bus, gather, lose, session};
use super::grow::identity;
use crate::harness::WAIT;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_lost_wholly_is_made_anew_and_nothing_is_lost() -> Result<()> {
    let mut bus = Bus::start().await?;
    bus.moves_on(20).await?;
    let former = identity(&bus.ensemble).await?;
    let members = bus.ensemble.places().len();
    for member in 0..members {
        bus.ensemble.kill9(member)?;
        lose(&bus.ensemble.places()[member].data)?;
    }
    // Nobody needs it to go on with rows.
    bus.moves_on(300).await?;

    bus.ensemble.start().await?;
    gather(&bus.ensemble).await?;
    bus.together().await?;
    let present = identity(&bus.ensemble).await?;
    ensure!(former["id"] != present["id"], "{former} {present}");
    bus.session = session(&bus.ensemble).await?;

    // It knows no pipeline; and when it's told, the sink refuses its Cores.
    let none = bus.good(&["get", "pipelines"]).await?;
    ensure!(!none.contains("bank"), "{none}");
    bus.apply().await?;
    wait_until("the sink to refuse", WAIT, async || {
        Ok(bus.good(&["status"]).await?.contains("TP1605"))
    })
    .await
    .with_context(|| bus.tails())?;
    let said = bus.good(&["adopt", "bank", "--yes"]).await?;
    println!("{said}");
    bus.good(&["start", "bank"]).await?;
    bus.settled().await?;
    bus.moves_on(20).await?;
    bus.compare().await
}
