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

/// Runs a command, its output to `/dev/null`. A small process of ours starts it and waits for it:
/// the kernel counts the memory of the process that starts another as the other's too.
pub(crate) fn cost_of(command: &Command) -> Result<Cost> {
    let output = Command::new(std::env::current_exe()?)
        .arg("measure")
        .arg(command.get_program())
        .args(command.get_args())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "measuring ended with {}",
        output.status
    );
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let mut next = || {
        numbers
            .next()
            .context("too few numbers")?
            .context("not a number")
    };
    Ok(Cost {
        user: Duration::from_micros(next()?),
        system: Duration::from_micros(next()?),
        wall: Duration::from_micros(next()?),
        rss_max_kib: next()?,
    })
}

/// The small process: prints what the command costs, times in microseconds.
pub(crate) fn measure(program: &str, arguments: &[String]) -> Result<()> {
    let mut command = Command::new(program);
    let cost = run(command.args(arguments))?;
    println!(
        "{} {} {} {}",
        cost.user.as_micros(),
        cost.system.as_micros(),
        cost.wall.as_micros(),
        cost.rss_max_kib
    );
    Ok(())
}

fn run(command: &mut Command) -> Result<Cost> {
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
