//! What a copy costs whoever writes to the source.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mysql_async::prelude::Queryable as _;
use towpath_benches::figures::percentiles;
use towpath_benches::rig::server;
use towpath_benches::workload::DATABASE;
use towpath_testing::MysqlServer;

use crate::copier::Copy;

/// Two hundred rows a second.
const EVERY: Duration = Duration::from_millis(5);
/// Rounds, with and without a copy in turn.
const ROUNDS: usize = 2;

/// Prints percentiles of the time until a COMMIT is answered, with a copy under way and without.
pub(crate) async fn measure(program: &Path, source: &MysqlServer, lasts: Duration) -> Result<()> {
    let mut conn = source.conn().await?;
    conn.query_drop(format!(
        "CREATE TABLE {DATABASE}.written (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(100))"
    ))
    .await?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.extend(write(source, lasts, None).await?);
        let target = server(2).start().await?;
        let copy = Copy::start(program, source, &target, "only")?;
        beside.extend(write(source, lasts, Some(&copy)).await?);
    }
    println!("\n| until COMMIT is answered, ms | p50 | p95 | p99 | max | rows |");
    println!("|---|---|---|---|---|---|");
    for (name, samples) in [
        ("without a copy", &mut alone),
        ("while it is copied", &mut beside),
    ] {
        ensure!(!samples.is_empty(), "nothing was written {name}");
        samples.sort_unstable();
        println!("| {name} | {} |", percentiles(samples));
    }
    Ok(())
}

/// Writes for a while, or until a copy has ended.
async fn write(
    source: &MysqlServer,
    lasts: Duration,
    copy: Option<&Copy>,
) -> Result<Vec<Duration>> {
    let mut conn = source.conn().await?;
    let mut samples = Vec::new();
    let mut ticks = tokio::time::interval(EVERY);
    let began = Instant::now();
    while began.elapsed() < lasts {
        ticks.tick().await;
        if let Some(copy) = copy
            && copy.has_ended()?
        {
            break;
        }
        let sent = Instant::now();
        conn.query_drop(format!(
            "INSERT INTO {DATABASE}.written (v) VALUES ('a row')"
        ))
        .await?;
        samples.push(sent.elapsed());
    }
    Ok(samples)
}
