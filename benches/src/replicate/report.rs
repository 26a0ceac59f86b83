//! The tables at the end.

use std::time::Duration;

use towpath_benches::workload::{Sizes, Workload};

use crate::applier::Applier;
use crate::catch_up::{Run, Runs};
use crate::latency::Samples;

/// What the ratios are to.
const BASELINE: Applier = Applier::Replica { workers: 4 };

fn median(runs: &[Run], what: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(what).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Medians of all runs. `times` is the baseline's wall time by that of the applier.
pub(crate) fn print_catch_up(workload: Workload, sizes: &Sizes, all: &Runs) {
    let (transactions, rows) = workload.transactions_and_rows(sizes);
    let wall = |run: &Run| run.wall.as_secs_f64();
    let of_baseline = |what: fn(&Run) -> f64| {
        let runs = all.iter().find(|(applier, _)| *applier == BASELINE);
        runs.map_or(0.0, |(_, runs)| median(runs, what))
    };
    let target_cpu = |run: &Run| run.target_cpu.as_secs_f64();
    println!(
        "\n| {} | wall s | min-max | txn/s | rows/s | MB/s | times | target CPU s | times | own CPU s | source CPU s | RSS MiB | others' cores |",
        workload.name()
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (applier, runs) in all {
        let seconds = median(runs, wall);
        let lowest = runs.iter().map(wall).fold(f64::MAX, f64::min);
        let highest = runs.iter().map(wall).fold(0.0, f64::max);
        let bytes = runs.first().map_or(0, |run| run.bytes);
        println!(
            "| {applier} | {seconds:.2} | {lowest:.2}-{highest:.2} | {:.0} | {:.0} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.2} |",
            transactions as f64 / seconds,
            rows as f64 / seconds,
            bytes as f64 / 1e6 / seconds,
            of_baseline(|run| run.wall.as_secs_f64()) / seconds,
            median(runs, target_cpu),
            median(runs, target_cpu) / of_baseline(|run| run.target_cpu.as_secs_f64()),
            median(runs, |run| run.applier_cpu.as_secs_f64()),
            median(runs, |run| run.source_cpu.as_secs_f64()),
            runs.iter().map(|run| run.rss_max_kib).max().unwrap_or(0) as f64 / 1024.0,
            median(runs, |run| run.foreign_cores),
        );
    }
}

/// Percentiles of all rows.
pub(crate) fn print_latency(all: &Samples) {
    println!("\n| commit to visible, ms | p50 | p95 | p99 | max | rows |");
    println!("|---|---|---|---|---|---|");
    for (applier, samples) in all {
        let at = |share: f64| {
            let index = (samples.len() as f64 * share) as usize;
            let sample = samples.get(index.min(samples.len().saturating_sub(1)));
            sample.copied().unwrap_or(Duration::ZERO).as_secs_f64() * 1e3
        };
        println!(
            "| {applier} | {:.2} | {:.2} | {:.2} | {:.2} | {} |",
            at(0.5),
            at(0.95),
            at(0.99),
            at(1.0),
            samples.len()
        );
    }
}
