//! A transaction that is larger than a message, and a producer that dies inside it.

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use towpath_testing::wait_until;

use super::bus::Bus;
use crate::harness::{WAIT, number, same, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_transaction_is_rolled_back_when_its_producer_dies() -> Result<()> {
    let mut bus = Bus::start(2, "\n[limits]\nbytes_per_second_max = \"2MiB\"", false).await?;
    let (mut source, mut sink) = bus.pair.conns().await?;
    bus.moves_on(&mut sink, 10).await?;
    source
        .query_drop("CREATE TABLE bank.large (id INT PRIMARY KEY, v LONGTEXT)")
        .await?;
    let insert =
        "INSERT INTO bank.large VALUES (1, REPEAT('a', 1000000)), (2, REPEAT('b', 1000000))";
    let double =
        "INSERT INTO bank.large SELECT id + (SELECT COUNT(*) FROM bank.large b), v FROM bank.large";
    source.query_drop(format!("BEGIN; {insert}")).await?;
    for _ in 0..3 {
        source.query_drop(double).await?;
    }
    source.query_drop("COMMIT").await?;

    let open = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_rows_modified >= 3";
    until("a part on the sink", &mut sink, open, |open| open > 0).await?;
    let producer = bus.runs("producer").await?;
    bus.core(producer)?.kill9()?;
    ensure!(number(&mut sink, "SELECT COUNT(*) FROM bank.large").await? == 0);
    wait_until("the part to be rolled back", WAIT, async || {
        Ok(bus.has_said("won't come from a producer that is gone"))
    })
    .await
    .with_context(|| bus.tails())?;
    bus.start_core(producer).await?;
    bus.compare().await?;
    same(
        &mut source,
        &mut sink,
        "SELECT id, LENGTH(v), SHA2(v, 256) FROM bank.large",
    )
    .await?;
    ensure!(number(&mut sink, "SELECT COUNT(*) FROM bank.large").await? == 16);
    bus.stop().await
}
