//! What running processes cost, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use towpath_testing::MysqlServer;

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

/// A size in `/proc/PID/status`, KiB: `VmRSS:`, resident now, or `VmHWM:`, the most that was
/// resident.
///
/// # Errors
/// There is no such process, or no such line.
pub fn memory_of(pid: &str, key: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    Ok(number.with_context(|| format!("no {key}"))?.parse()?)
}

/// The process id of a server, as the other functions here take it.
///
/// # Errors
/// It is not running.
pub fn pid_of(server: &MysqlServer) -> Result<String> {
    let pid = server.pid();
    ensure!(pid.is_some(), "a server is not running");
    Ok(pid.map_or_else(String::new, |pid| pid.to_string()))
}

/// CPU time of the whole machine since its start, without idle and stolen time. Source: proc(5).
///
/// # Errors
/// `/proc` isn't there.
pub fn busy() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().unwrap_or_default().split_whitespace();
    // user, nice, system; idle and iowait; irq, softirq.
    let numbers: Vec<u64> = fields
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let busy = [0, 1, 2, 5, 6]
        .iter()
        .filter_map(|at| numbers.get(*at))
        .sum::<u64>();
    Ok(Duration::from_millis(busy * 10))
}
