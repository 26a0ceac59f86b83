//! The first copy of a database, Towpath against `mysqldump --single-transaction | mysql`, in one
//! run; and what it costs whoever writes to the source meanwhile.
//!
//! A source is filled once: the four tables of W1, the one of W2 and a part of W3. Each run begins
//! with an empty, durable target (`sync_binlog=1`, `innodb_flush_log_at_trx_commit=1`, with a
//! binlog) and ends when its program has ended: the pipe, or `towpath run` with `snapshot = "only"`
//! and a pipeline file in which nothing is tuned. CPU seconds are those of all processes. After
//! each run all rows are compared, and the inner types of JSON documents, which mysqldump loses.
//!
//! Then one client writes to the source, a row each few milliseconds, for a while by itself and for
//! as long while Towpath copies, in turn: the time until its COMMIT is answered.
//!
//! ```text
//! cargo build --release
//! cargo run --release -p towpath-benches --bin copy
//! ```

mod copier;
mod writes;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use mysql_async::prelude::Queryable as _;
use towpath_benches::figures::{median, span};
use towpath_benches::rig::{program, server};
use towpath_benches::workload::{DATABASE, Sizes, Workload};
use towpath_testing::MysqlServer;

use copier::{Copier, Run};

/// Compares the first copy with mysqldump.
#[derive(Debug, Parser)]
struct Cli {
    /// How often each copies; medians are printed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long a client writes beside a copy, and without one, in each of two rounds; 0 for not at
    /// all.
    #[arg(long, default_value_t = 20)]
    write_seconds: u64,
    /// The program `towpath`; the default is the one beside this.
    #[arg(long)]
    program: Option<PathBuf>,
    #[command(flatten)]
    sizes: Sizes,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let program = program(cli.program)?;
    let source = server(1).start().await?;
    let rows = fill(&source, &cli.sizes).await?;
    eprintln!("{rows} rows at the source");
    let copiers = [
        Copier::Towpath(program.clone()),
        Copier::Dump { binlog: false },
        Copier::Dump { binlog: true },
    ];
    let mut runs: Vec<(&Copier, Vec<Run>)> = copiers.iter().map(|c| (c, Vec::new())).collect();
    for _ in 0..cli.rounds {
        for (copier, runs) in &mut runs {
            let target = server(2).start().await?;
            let run = copier.run(&source, &target).await?;
            copier.compare(&source, &target).await?;
            eprintln!("{copier}: {:.2} s", wall(&run));
            runs.push(run);
        }
    }
    print_runs(&runs, rows);
    if cli.write_seconds > 0 {
        let seconds = Duration::from_secs(cli.write_seconds);
        writes::measure(&program, &source, seconds).await?;
    }
    Ok(())
}

/// Fills the source; answers how many rows it has.
async fn fill(source: &MysqlServer, sizes: &Sizes) -> Result<u64> {
    let mut conn = source.conn().await?;
    conn.query_drop(format!("CREATE DATABASE {DATABASE}; USE {DATABASE}"))
        .await?;
    let mut rows = 0;
    for workload in Workload::ALL {
        workload.prepare(&mut conn, sizes).await?;
        if workload != Workload::W1 {
            workload.write(source, sizes).await?;
        }
        for (table, _) in workload.tables() {
            // Both read a table that is warm.
            let count: Option<u64> = conn
                .query_first(format!("SELECT COUNT(*) FROM {DATABASE}.{table}"))
                .await?;
            rows += count.unwrap_or_default();
        }
    }
    ensure!(rows > 0, "the source is empty");
    Ok(rows)
}

fn wall(run: &Run) -> f64 {
    run.spent.wall.as_secs_f64()
}

fn print_runs(all: &[(&Copier, Vec<Run>)], rows: u64) {
    let baseline = all
        .iter()
        .find(|(copier, _)| **copier == Copier::Dump { binlog: false })
        .map_or(0.0, |(_, runs)| median(runs.iter().map(wall)));
    println!(
        "\n| first copy | wall s | min-max | rows/s | times | source CPU s | target CPU s | own CPU s | RSS MiB | others' cores |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (copier, runs) in all {
        let seconds = median(runs.iter().map(wall));
        let others = runs.iter().map(|run| run.spent.foreign_cores);
        let others = others.fold(0.0, f64::max);
        let cpu =
            |what: fn(&Run) -> Duration| median(runs.iter().map(what).map(|t| t.as_secs_f64()));
        println!(
            "| {copier} | {seconds:.2} | {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {others:.2} |",
            span(runs.iter().map(wall)),
            rows as f64 / seconds,
            baseline / seconds,
            cpu(|run| run.spent.source_cpu),
            cpu(|run| run.spent.target_cpu),
            cpu(|run| run.own_cpu),
            runs.iter().map(|run| run.rss_max_kib).max().unwrap_or(0) as f64 / 1024.0,
        );
    }
}
