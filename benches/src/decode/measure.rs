//! What a process costs, told by the kernel when it has ended.

use std::mem::MaybeUninit;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// Of one process, from its start to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) wall: Duration,
    /// Largest resident set, in KiB.
    pub(crate) rss_max_kib: u64,
}

impl Cost {
    pub(crate) fn cpu(&self) -> Duration {
        self.user + self.system
    }
}

/// Runs a command, its output to `/dev/null`.
pub(crate) fn cost_of(mut command: Command) -> Result<Cost> {
    let begun = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    let usage = wait(libc::pid_t::try_from(child.id())?)?;
    let time = |time: libc::timeval| {
        let seconds = Duration::from_secs(time.tv_sec.unsigned_abs());
        seconds + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    Ok(Cost {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        wall: begun.elapsed(),
        rss_max_kib: usage.ru_maxrss.unsigned_abs(),
    })
}

/// Waits for a child of ours and returns what it used.
#[allow(unsafe_code)]
fn wait(pid: libc::pid_t) -> Result<libc::rusage> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to locals that outlive the call.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    ensure!(
        waited == pid,
        "waiting for process {pid}: {}",
        std::io::Error::last_os_error()
    );
    ensure!(
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
        "process {pid} ended with status {status}"
    );
    // SAFETY: all zeros are a valid value, and wait4 has filled it in.
    Ok(unsafe { usage.assume_init() })
}
