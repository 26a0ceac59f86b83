//! The table at the end.

use std::time::Duration;

use crate::Reader;
use crate::measure::Cost;

/// All runs of a reader on a workload.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) reader: Reader,
    pub(crate) name: &'static str,
    pub(crate) costs: Vec<Cost>,
}

impl Row {
    fn median(&self, what: impl Fn(&Cost) -> Duration) -> Duration {
        let mut values: Vec<Duration> = self.costs.iter().map(what).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default()
    }
}

/// Medians of all runs; `times less` is the CPU time of `baseline` by that of the reader.
pub(crate) fn print_table(rows: &[Row], baseline: Reader) {
    println!(
        "\n| workload | reader | CPU s | min-max | user | sys | wall s | RSS MiB | times less |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        let cpu = row.median(Cost::cpu);
        let lowest = row.costs.iter().map(Cost::cpu).min().unwrap_or_default();
        let highest = row.costs.iter().map(Cost::cpu).max().unwrap_or_default();
        let rss = row
            .costs
            .iter()
            .map(|cost| cost.rss_max_kib)
            .max()
            .unwrap_or(0);
        let times = rows
            .iter()
            .find(|other| other.workload == row.workload && other.reader == baseline)
            .map_or(0.0, |other| {
                other.median(Cost::cpu).as_secs_f64() / cpu.as_secs_f64()
            });
        println!(
            "| {} | {} | {:.2} | {:.2}-{:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {times:.1} |",
            row.workload,
            row.name,
            cpu.as_secs_f64(),
            lowest.as_secs_f64(),
            highest.as_secs_f64(),
            row.median(|cost| cost.user).as_secs_f64(),
            row.median(|cost| cost.system).as_secs_f64(),
            row.median(|cost| cost.wall).as_secs_f64(),
            rss as f64 / 1024.0,
        );
    }
}
