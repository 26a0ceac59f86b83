//! What running processes cost, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// User and system time of a process since its start. Source: proc(5); the unit is a hundredth of
/// a second on every Linux.
///
/// # Errors
/// There is no such process.
pub fn cpu_of(pid: &str) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field, the name, may contain anything but ends with the last parenthesis.
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks: u64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or_default())
        .sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// A size in `/proc/PID/status`, KiB: `VmRSS:`, resident now, or `VmHWM:`, the most that was resident.
///
/// # Errors
/// There is no such process, or no such line.
pub fn memory_of(pid: &str, key: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    Ok(number.with_context(|| format!("no {key}"))?.parse()?)
}
