//! The directory is lost for good, with every copy of it: what was written to the sink tells enough to
//! go on.

use anyhow::{Context as _, Result, ensure};

use super::bus::{Bus, gather, lose, session};
use super::grow::identity;

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
    let refused = bus.apply().await.err().context("it's refused")?;
    let refused = refused.to_string();
    for part in ["TP1605", "towpath adopt"] {
        ensure!(refused.contains(part), "{part:?} is not in {refused}");
    }
    let said = bus.good(&["adopt", "bank", "--yes"]).await?;
    println!("{said}");
    bus.good(&["start", "bank"]).await?;
    bus.settled().await?;
    bus.moves_on(20).await?;
    bus.compare().await
}
