//! Catch-up and latency, Towpath against MySQL's own replica, in one run.
//!
//! For each workload a source is prepared and its data directory copied; then the workload is
//! written at the source. Each run begins with a fresh server on that copy and ends when the server
//! has all of the source's transactions: `START REPLICA` to `WAIT_FOR_EXECUTED_GTID_SET` for
//! MySQL's own replica, the start of the process to the offset row for Towpath. Source and target
//! are durable (`sync_binlog=1`, `innodb_flush_log_at_trx_commit=1`) and have their binlog on. CPU
//! seconds are those of all processes from that start to that end. After each run all rows are
//! compared with the source's, and the inner types of JSON documents.
//!
//! Latency: a hundred transactions a second at the source, one row each, and a reader at the target
//! that looks for them as fast as it can. What is told is the time from the answer to the source's
//! COMMIT until the row is visible.
//!
//! ```text
//! cargo build --release
//! cargo run --release -p towpath-benches --bin replicate
//! ```

mod applier;
mod catch_up;
mod latency;
mod report;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use towpath_benches::rig::program;
use towpath_benches::workload::{Sizes, Workload};

use applier::Applier;

/// Compares Towpath with MySQL's own replica.
#[derive(Debug, Parser)]
struct Cli {
    /// How often each applier replays each workload; medians are printed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these workloads.
    #[arg(long, value_delimiter = ',', default_values_t = ["W1".to_owned(), "W2".to_owned(), "W3".to_owned()])]
    workloads: Vec<String>,
    /// Rows whose latency is measured, per applier; 0 for none.
    #[arg(long, default_value_t = 2_000)]
    latency_rows: u32,
    /// Leave out MySQL's replica with one worker.
    #[arg(long)]
    four_workers_only: bool,
    /// The program `towpath`; the default is the one beside this.
    #[arg(long)]
    program: Option<PathBuf>,
    #[command(flatten)]
    sizes: Sizes,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    ensure!(cli.rounds > 0, "--rounds must be at least 1");
    let program = program(cli.program)?;
    let mut appliers = vec![Applier::Towpath(program), Applier::Replica { workers: 4 }];
    if !cli.four_workers_only {
        appliers.push(Applier::Replica { workers: 1 });
    }
    for workload in Workload::ALL {
        if cli.workloads.iter().any(|name| name == workload.name()) {
            let runs = catch_up::measure(workload, &cli.sizes, &appliers, cli.rounds).await?;
            report::print_catch_up(workload, &cli.sizes, &runs);
        }
    }
    if cli.latency_rows > 0 {
        appliers.truncate(2);
        let samples = latency::measure(&appliers, cli.latency_rows).await?;
        report::print_latency(&samples);
    }
    Ok(())
}
