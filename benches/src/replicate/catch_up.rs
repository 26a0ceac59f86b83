//! Replays a workload that the source has already written.

use std::time::Duration;

use anyhow::Result;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use towpath_benches::process::cpu_of;
use towpath_benches::rig::{Meter, Spent, server};
use towpath_benches::workload::{DATABASE, Sizes, Workload, compare};
use towpath_testing::MysqlServer;

use crate::applier::Applier;

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) spent: Spent,
    /// The applier's own process.
    pub(crate) applier_cpu: Duration,
    pub(crate) rss_max_kib: u64,
    /// Bytes of the binlog.
    pub(crate) bytes: u64,
}

/// All runs of an applier.
pub(crate) type Runs = Vec<(Applier, Vec<Run>)>;

/// A durable server for tests of latency, with nothing in it.
pub(crate) async fn plain_server(
    id: u32,
    options: &[(&'static str, String)],
) -> Result<MysqlServer> {
    let mut builder = server(id);
    for (name, value) in options {
        builder = builder.option(*name, value);
    }
    builder.start().await
}

/// Replays a workload with each applier in turn, `rounds` times.
pub(crate) async fn measure(
    workload: Workload,
    sizes: &Sizes,
    appliers: &[Applier],
    rounds: usize,
) -> Result<Runs> {
    // Stays as it was before the workload; source and targets begin as copies of it.
    let prepared = server(1).start().await?;
    let mut conn = prepared.conn().await?;
    conn.query_drop(format!(
        "SET sql_log_bin = 0; CREATE DATABASE {DATABASE}; USE {DATABASE}"
    ))
    .await?;
    workload.prepare(&mut conn, sizes).await?;
    conn.query_drop("SET sql_log_bin = 1; RESET BINARY LOGS AND GTIDS")
        .await?;
    drop(conn);
    prepared.stop().await?;
    let source = server(1).data_of(prepared.datadir()).start().await?;
    workload.write(&source, sizes).await?;
    let bytes = binlog_bytes(&mut source.conn().await?).await?;

    let mut runs: Runs = appliers.iter().map(|a| (a.clone(), Vec::new())).collect();
    for _ in 0..rounds {
        for (applier, runs) in &mut runs {
            let mut builder = server(2).data_of(prepared.datadir());
            for (name, value) in applier.server_options() {
                builder = builder.option(name, value);
            }
            let target = builder.start().await?;
            let run = one(applier, &source, &target, bytes).await?;
            compare(workload, &source, &target).await?;
            eprintln!(
                "{} {applier}: {:.2} s, {:.2} cores of others",
                workload.name(),
                run.spent.wall.as_secs_f64(),
                run.spent.foreign_cores
            );
            runs.push(run);
        }
    }
    Ok(runs)
}

async fn one(
    applier: &Applier,
    source: &MysqlServer,
    target: &MysqlServer,
    bytes: u64,
) -> Result<Run> {
    applier.prepare(source, target).await?;
    let own_before = cpu_of("self")?;
    let meter = Meter::start(source, target)?;
    let running = applier.start(source, target).await?;
    running.caught_up(source, target).await?;
    let wall = meter.wall();
    let applier_cpu = running.cpu()?;
    let own = cpu_of("self")?.saturating_sub(own_before);
    let spent = meter.spent(wall, applier_cpu + own)?;
    let rss_max_kib = running.rss_max_kib()?;
    running.stop(target).await?;
    Ok(Run {
        spent,
        applier_cpu,
        rss_max_kib,
        bytes,
    })
}

/// Bytes of all binlog files.
async fn binlog_bytes(conn: &mut Conn) -> Result<u64> {
    let files: Vec<u64> = conn
        .query_map("SHOW BINARY LOGS", |row: Row| {
            row.get(1).unwrap_or_default()
        })
        .await?;
    Ok(files.iter().sum())
}
