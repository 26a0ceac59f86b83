//! A compressed transaction is applied while it comes in, before its checksum: one that is damaged on its
//! way is rolled back, and read again.

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable as _;
use towpath_testing::{Direction, TcpProxy};

use crate::crash::run_with;
use crate::harness::{Pair, WAIT, number, same, stop};

/// Rows of 1,000 bytes in one transaction, of which zstd leaves nine tenths: beyond what is inflated only
/// once it is there.
const ROWS: u64 = 5_000;

const WRITE: &str = "INSERT INTO damage.t WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s \
                     WHERE n < 5000) SELECT @behind + n, CONCAT(RANDOM_BYTES(900), REPEAT('x', 100)) FROM s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_transaction_is_rolled_back_and_read_again() -> Result<()> {
    let pair = Pair::start().await?;
    let schema = "CREATE TABLE t (id INT PRIMARY KEY, v BLOB)";
    let mut pipeline = pair.pipeline("damage", &[schema]).await?;
    let (mut source, mut sink) = pair.conns().await?;
    let proxy = TcpProxy::start(pair.source.port()).await?;
    pipeline.source_port = proxy.port().to_string();
    for statement in [
        "SET @behind = 0",
        "SET SESSION cte_max_recursion_depth = 10000",
        "SET SESSION binlog_transaction_compression = ON",
    ] {
        source.query_drop(statement).await?;
    }

    pipeline.source_further = "tls = \"disabled\"".to_owned();
    // The source isn't read to the end before the sink has seen most.
    pipeline.further = "[queue]\nbytes_max = \"1MiB\"".to_owned();
    let process = run_with(&pipeline, "")?;
    let damages = || {
        let is_one = |line: &&String| line.contains("lost inside") && line.contains("checksum");
        process.stderr().iter().filter(is_one).count()
    };
    let mut heard = 0;
    // Most of the payload is the rows' bytes as they are: what is flipped there shows in the checksum
    // alone, after all of it was applied. Elsewhere it makes zstd or an event fail.
    for at in [400_000, 3_100_000] {
        pipeline.caught_up(&process, &mut source, &mut sink).await?;
        proxy.flip_byte(Direction::ToClient, at);
        source.query_drop(WRITE).await?;
        source
            .query_drop(format!("SET @behind = @behind + {ROWS}"))
            .await?;
        pipeline.caught_up(&process, &mut source, &mut sink).await?;
        let now = damages();
        ensure!(
            now > heard,
            "{at} bytes: no damage told; {}",
            process.tail()
        );
        heard = now;
        same(&mut source, &mut sink, "CHECKSUM TABLE damage.t").await?;
    }

    // What the sink says of a transaction that is damaged behind the place it is about does not count.
    let highest = number(&mut source, "SELECT MAX(id) FROM damage.t").await?;
    sink.query_drop(format!(
        "INSERT INTO damage.t VALUES ({}, 'stray')",
        highest + ROWS / 8
    ))
    .await?;
    proxy.flip_byte(Direction::ToClient, 4_300_000);
    source.query_drop(WRITE).await?;
    process.wait_exit(WAIT).await?;
    ensure!(damages() == heard + 1, "{}", process.tail());
    ensure!(number(&mut sink, "SELECT MAX(id) FROM damage.t").await? == highest + ROWS / 8);
    sink.query_drop("DELETE FROM damage.t WHERE v = 'stray'")
        .await?;
    let process = run_with(&pipeline, "")?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    stop(&process).await?;
    same(&mut source, &mut sink, "CHECKSUM TABLE damage.t").await
}
