//! `towpath-soak`: bank transfers while the pipeline is killed with -9, then a comparison.
//!
//! The first line is the seed, which replays load and kills; the last line is
//! `lost L duplicated D reordered R`. It ends with 0 only if all three are 0, every row of every
//! table is equal, and the pipeline obeyed.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use towpath_testing::bank::LoadSettings;
use towpath_testing::{Rig, Subject, Trial};

/// Without --kills, the pipeline is killed once per this many seconds.
const SECONDS_PER_KILL: u64 = 2;

/// Kills a pipeline with -9 while it replicates, and counts what is lost, repeated or reordered.
#[derive(Parser)]
#[command(name = "towpath-soak", version)]
struct Args {
    /// How long the load runs, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Replays an earlier run; random by default.
    #[arg(long)]
    seed: Option<u64>,
    /// How often to kill the pipeline; about once per 2 s by default.
    #[arg(long)]
    kills: Option<u32>,
    /// Connections of the load.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: u32,
    /// At most this many transactions per second.
    #[arg(long)]
    rate: Option<u32>,
}

#[tokio::main]
async fn main() -> ExitCode {
    run(&Args::parse()).await.unwrap_or_else(|error| {
        eprintln!("towpath-soak: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(args: &Args) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = soak(args, seed) => ended,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminated.recv() => bail!("terminated"),
    }
}

async fn soak(args: &Args, seed: u64) -> Result<ExitCode> {
    let kills = args
        .kills
        .unwrap_or_else(|| u32::try_from(args.seconds / SECONDS_PER_KILL).unwrap_or(u32::MAX));
    let rig = Rig::start("soak").await?;
    println!(
        "{} s, {kills} kills, {} connections, MySQL {}",
        args.seconds,
        args.connections,
        rig.source().programs().version()
    );
    let trial = Trial {
        duration: Duration::from_secs(args.seconds),
        seed,
        kills,
        kill_window: 0.0..1.0,
        load: LoadSettings {
            connections: args.connections,
            seed,
            rate_max: args.rate,
        },
    };
    let outcome = rig
        .run_trial(&trial, Subject::alone(&rig)?, |tick| {
            println!(
                "{:6.1} s  source {:7}  target {:7}  lag {:6.3} s  kills {}",
                tick.elapsed.as_secs_f64(),
                tick.at_source,
                tick.in_target,
                tick.lag.as_secs_f64(),
                tick.kills
            );
        })
        .await?;
    for complaint in outcome.complaints() {
        println!("{complaint}");
    }
    let (verdict, reader) = (&outcome.verdict, &outcome.reader);
    println!(
        "{} transactions, {} rows compared, {} differ; the reader looked {} times, {} torn; {} kills",
        verdict.transactions,
        verdict.rows,
        verdict.differing,
        reader.looks,
        reader.torn,
        outcome.kills
    );
    println!(
        "lost {} duplicated {} reordered {}",
        verdict.lost, verdict.duplicated, reader.reordered
    );
    Ok(if outcome.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
