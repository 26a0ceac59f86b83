//! The tables at the end.

use std::time::Duration;

use towpath_benches::figures::median;

use crate::load::{Op, Sample};
use crate::server::Kind;

/// All samples of one phase.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) op: Op,
    pub(crate) clients: usize,
    samples: Vec<(Kind, Vec<Sample>)>,
}

/// Resident memory of a server that has seen the fixed load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) idle_kib: u64,
    pub(crate) loaded_kib: u64,
    pub(crate) peak_kib: u64,
}

/// Times from the start of a process to its first answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Starts {
    pub(crate) empty: Vec<Duration>,
    /// With the data of the fixed load, after SIGTERM.
    pub(crate) stopped: Vec<Duration>,
    /// Likewise, after SIGKILL.
    pub(crate) killed: Vec<Duration>,
}

impl Measured {
    pub(crate) fn new(op: Op, clients: usize, kinds: &[Kind]) -> Self {
        Self {
            op,
            clients,
            samples: kinds.iter().map(|kind| (*kind, Vec::new())).collect(),
        }
    }

    pub(crate) fn add(&mut self, kind: Kind, sample: Sample) {
        for (of, samples) in &mut self.samples {
            if *of == kind {
                samples.push(sample);
            }
        }
    }

    fn medians(&self, what: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples
            .iter()
            .map(|(_, samples)| median(samples.iter().map(&what)))
            .collect()
    }
}

fn cells(values: &[f64], digits: usize) -> String {
    values
        .iter()
        .map(|value| format!("{value:.digits$}"))
        .collect::<Vec<_>>()
        .join(" / ")
}

/// `a / b` of two values, nothing of one.
fn ratio(values: &[f64]) -> String {
    match values {
        [ours, theirs] => format!("{:.2}", ours / theirs),
        _ => String::new(),
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// One line per phase; in a cell, Towpath comes first, then ZooKeeper.
pub(crate) fn print_phases(measured: &[Measured]) {
    println!(
        "| request | clients | requests/s | times faster | p50 ms | p99 ms | CPU us/request | times more CPU | load generator, cores |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in measured {
        let speed = row.medians(|sample| sample.ops_per_s);
        let cpu = row.medians(|sample| micros(sample.cpu_per_op));
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.op,
            row.clients,
            cells(&speed, 0),
            ratio(&speed),
            cells(&row.medians(|sample| micros(sample.p50) / 1e3), 2),
            cells(&row.medians(|sample| micros(sample.p99) / 1e3), 2),
            cells(&cpu, 0),
            ratio(&cpu),
            cells(&row.medians(|sample| sample.own_cpu), 2),
        );
    }
}

/// Memory and start-up.
pub(crate) fn print_servers(nodes: u64, kinds: &[Kind], memory: &[Memory], starts: &[Starts]) {
    let names: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
    println!("\n| server | {} | ratio |", names.join(" | "));
    println!("| --- |{} --- |", " --- |".repeat(names.len()));
    let line = |what: &str, digits: usize, values: Vec<f64>| {
        let texts: Vec<String> = values.iter().map(|v| format!("{v:.digits$}")).collect();
        println!("| {what} | {} | {} |", texts.join(" | "), ratio(&values));
    };
    let mib = |what: fn(&Memory) -> u64| -> Vec<f64> {
        memory.iter().map(|m| what(m) as f64 / 1024.0).collect()
    };
    line("RSS MiB, idle and empty", 1, mib(|m| m.idle_kib));
    line(
        &format!("RSS MiB after {nodes} nodes created, set and read"),
        1,
        mib(|m| m.loaded_kib),
    );
    line("RSS MiB, highest until then", 1, mib(|m| m.peak_kib));
    let ms = |what: fn(&Starts) -> &Vec<Duration>| -> Vec<f64> {
        let times = |s| what(s).iter().map(|t| micros(*t) / 1e3);
        starts.iter().map(|s| median(times(s))).collect()
    };
    line("start-up ms, empty", 1, ms(|s| &s.empty));
    line(
        "start-up ms, that data, stopped before",
        1,
        ms(|s| &s.stopped),
    );
    line(
        "start-up ms, that data, killed before",
        1,
        ms(|s| &s.killed),
    );
}
