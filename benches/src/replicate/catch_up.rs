//! Replays a workload that the source has already written.

use std::time::{Duration, Instant};

use anyhow::Result;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use towpath_benches::process::{busy, cpu_of, pid_of};
use towpath_benches::workload::{DATABASE, Sizes, Workload, compare};
use towpath_testing::{MysqlServer, ServerBuilder};

use crate::applier::Applier;

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) wall: Duration,
    pub(crate) source_cpu: Duration,
    pub(crate) target_cpu: Duration,
    /// The applier's own process.
    pub(crate) applier_cpu: Duration,
    pub(crate) rss_max_kib: u64,
    /// CPU time that all other processes of the machine took meanwhile, as a share of one core.
    pub(crate) foreign_cores: f64,
    /// Bytes of the binlog.
    pub(crate) bytes: u64,
}

/// All runs of an applier.
pub(crate) type Runs = Vec<(Applier, Vec<Run>)>;

fn server(id: u32) -> ServerBuilder {
    MysqlServer::builder()
        .server_id(id)
        .durable()
        .option("max-binlog-size", "1G")
        .option("max-allowed-packet", "64M")
        .option("innodb-buffer-pool-size", "512M")
        .option("innodb-redo-log-capacity", "1G")
}

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
                run.wall.as_secs_f64(),
                run.foreign_cores
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
    let (source_pid, target_pid) = (pid_of(source)?, pid_of(target)?);
    let before = (cpu_of(&source_pid)?, cpu_of(&target_pid)?, busy()?);
    let own_before = cpu_of("self")?;
    let began = Instant::now();
    let running = applier.start(source, target).await?;
    running.caught_up(source, target).await?;
    let wall = began.elapsed();
    let applier_cpu = running.cpu()?;
    let source_cpu = cpu_of(&source_pid)?.saturating_sub(before.0);
    let target_cpu = cpu_of(&target_pid)?.saturating_sub(before.1);
    let own = cpu_of("self")?.saturating_sub(own_before);
    let ours = source_cpu + target_cpu + applier_cpu + own;
    let foreign = busy()?.saturating_sub(before.2).saturating_sub(ours);
    let rss_max_kib = running.rss_max_kib()?;
    running.stop(target).await?;
    Ok(Run {
        wall,
        source_cpu,
        target_cpu,
        applier_cpu,
        rss_max_kib,
        foreign_cores: foreign.as_secs_f64() / wall.as_secs_f64(),
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
