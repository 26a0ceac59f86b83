//! From the answer to a COMMIT at the source until its row is visible at the target.

use std::time::{Duration, Instant};

use anyhow::Result;
use mysql_async::prelude::Queryable as _;
use towpath_benches::workload::DATABASE;
use towpath_testing::MysqlServer;

use crate::applier::Applier;
use crate::catch_up::plain_server;

/// A hundred transactions a second.
const EVERY: Duration = Duration::from_millis(10);
/// How long the applier may idle before the first one.
const WARM_UP: u32 = 200;
/// The most that a row may be late.
const LATE_MAX: Duration = Duration::from_secs(60);
/// Rounds, appliers in turn.
const ROUNDS: u32 = 2;

/// The latencies of one applier, sorted.
pub(crate) type Samples = Vec<(Applier, Vec<Duration>)>;

/// Measures each applier with `rows` rows.
pub(crate) async fn measure(appliers: &[Applier], rows: u32) -> Result<Samples> {
    let mut samples: Samples = appliers.iter().map(|a| (a.clone(), Vec::new())).collect();
    for _ in 0..ROUNDS {
        for (applier, samples) in &mut samples {
            samples.extend(one(applier, rows / ROUNDS).await?);
        }
    }
    for (_, samples) in &mut samples {
        samples.sort_unstable();
    }
    Ok(samples)
}

async fn one(applier: &Applier, rows: u32) -> Result<Vec<Duration>> {
    let source = plain_server(1, &[]).await?;
    let target = plain_server(2, &applier.server_options()).await?;
    for server in [&source, &target] {
        let mut conn = server.conn().await?;
        conn.query_drop(format!(
            "SET sql_log_bin = 0; CREATE DATABASE {DATABASE}; USE {DATABASE}; \
             CREATE TABLE late (id INT PRIMARY KEY, v VARCHAR(100)); SET sql_log_bin = 1; \
             RESET BINARY LOGS AND GTIDS"
        ))
        .await?;
    }
    applier.prepare(&source, &target).await?;
    let running = applier.start(&source, &target).await?;
    let total = rows + WARM_UP;
    let reader = tokio::spawn(see_all(target.conn().await?, total));
    let answered = write_all(&source, total).await?;
    let seen = tokio::time::timeout(LATE_MAX, reader).await???;
    running.stop(&target).await?;
    let late = answered.iter().zip(seen);
    Ok(late
        .skip(WARM_UP as usize)
        .map(|(answered, seen)| seen.saturating_duration_since(*answered))
        .collect())
}

/// When each row's COMMIT was answered.
async fn write_all(source: &MysqlServer, rows: u32) -> Result<Vec<Instant>> {
    let mut conn = source.conn().await?;
    let mut answered = Vec::new();
    let mut ticks = tokio::time::interval(EVERY);
    for id in 0..rows {
        ticks.tick().await;
        conn.query_drop(format!(
            "INSERT INTO {DATABASE}.late VALUES ({id}, 'a row that travels')"
        ))
        .await?;
        answered.push(Instant::now());
    }
    Ok(answered)
}

/// When each row was first seen; they become visible in order.
async fn see_all(mut conn: mysql_async::Conn, rows: u32) -> Result<Vec<Instant>> {
    let mut seen = Vec::new();
    while seen.len() < rows as usize {
        let last: Option<Option<u32>> = conn
            .query_first(format!("SELECT MAX(id) FROM {DATABASE}.late"))
            .await?;
        let count = last.flatten().map_or(0, |last| last as usize + 1);
        let now = Instant::now();
        seen.resize(count.max(seen.len()), now);
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
    Ok(seen)
}
