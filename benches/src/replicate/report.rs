//! The tables at the end.

use towpath_benches::figures::{median, percentiles, span};
use towpath_benches::workload::{Sizes, Workload};

use crate::applier::Applier;
use crate::catch_up::{Run, Runs};
use crate::latency::Samples;

/// What the ratios are to.
const BASELINE: Applier = Applier::Replica { workers: 4 };

/// Medians of all runs. `times` is the baseline's wall time by that of the applier.
pub(crate) fn print_catch_up(workload: Workload, sizes: &Sizes, all: &Runs) {
    let (transactions, rows) = workload.transactions_and_rows(sizes);
    let wall: fn(&Run) -> f64 = |run| run.spent.wall.as_secs_f64();
    let target_cpu: fn(&Run) -> f64 = |run| run.spent.target_cpu.as_secs_f64();
    let of_baseline = |what: fn(&Run) -> f64| {
        let runs = all.iter().find(|(applier, _)| *applier == BASELINE);
        runs.map_or(0.0, |(_, runs)| median(runs.iter().map(what)))
    };
    println!(
        "\n| {} | wall s | min-max | txn/s | rows/s | MB/s | times | target CPU s | times | own CPU s | source CPU s | RSS MiB | others' cores |",
        workload.name()
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (applier, runs) in all {
        let of = |what: fn(&Run) -> f64| median(runs.iter().map(what));
        let seconds = of(wall);
        let bytes = runs.first().map_or(0, |run| run.bytes);
        println!(
            "| {applier} | {seconds:.2} | {} | {:.0} | {:.0} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.2} |",
            span(runs.iter().map(wall)),
            transactions as f64 / seconds,
            rows as f64 / seconds,
            bytes as f64 / 1e6 / seconds,
            of_baseline(wall) / seconds,
            of(target_cpu),
            of(target_cpu) / of_baseline(target_cpu),
            of(|run| run.applier_cpu.as_secs_f64()),
            of(|run| run.spent.source_cpu.as_secs_f64()),
            runs.iter().map(|run| run.rss_max_kib).max().unwrap_or(0) as f64 / 1024.0,
            of(|run| run.spent.foreign_cores),
        );
    }
}

/// Percentiles of all rows.
pub(crate) fn print_latency(all: &Samples) {
    println!("\n| commit to visible, ms | p50 | p95 | p99 | max | rows |");
    println!("|---|---|---|---|---|---|");
    for (applier, samples) in all {
        println!("| {applier} | {} |", percentiles(samples));
    }
}
