//! Figures of several runs, and of many samples.

use std::time::Duration;

/// The middle one; 0 of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The lowest and the highest, as `1.20-1.35`.
pub fn span(values: impl Iterator<Item = f64> + Clone) -> String {
    let lowest = values.clone().fold(f64::MAX, f64::min);
    format!("{lowest:.2}-{:.2}", values.fold(0.0, f64::max))
}

/// Cells of a table: p50, p95, p99 and the maximum of `sorted`, milliseconds, and how many there
/// are.
pub fn percentiles(sorted: &[Duration]) -> String {
    let at = |share: f64| {
        let index = (sorted.len() as f64 * share) as usize;
        let sample = sorted.get(index.min(sorted.len().saturating_sub(1)));
        sample.copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    format!(
        "{:.2} | {:.2} | {:.2} | {:.2} | {}",
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0),
        sorted.len()
    )
}
