//! Child processes that cannot outlive us, and the signals sent to them.
//!
//! A child dies with this process even if this process is killed with -9 (PR_SET_PDEATHSIG). The
//! kernel sends that signal when the *thread* that forked ends, so one thread that lives as long
//! as the process forks them all. Each child has a process group of its own: Ctrl-C in a terminal
//! reaches us alone, and we end the children in order.

use std::fmt;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};

/// A process id of a child of ours that has not been waited for, so it cannot have been reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pid(u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Pid {
    pub(crate) fn of(child: &Child) -> Self {
        Self(child.id())
    }

    /// The number that the kernel knows it by.
    #[must_use]
    pub fn as_u32(self) -> u32 {
        self.0
    }
}

/// The signals that tests send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM: please stop.
    Terminate,
    /// SIGSTOP: freeze, as a paused virtual machine would.
    Freeze,
    /// SIGCONT: go on.
    Thaw,
}

/// Sends `signal` to a child that has not been waited for. A freeze returns when every thread of
/// it stands still: until then, some could go on for a while on a busy machine.
#[allow(unsafe_code)]
pub(crate) fn send(pid: Pid, signal: Signal) -> io::Result<()> {
    let number = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::Freeze => libc::SIGSTOP,
        Signal::Thaw => libc::SIGCONT,
    };
    let id = libc::pid_t::try_from(pid.0)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "process id out of range"))?;
    // SAFETY: kill(2) takes two integers and touches no memory of ours.
    if unsafe { libc::kill(id, number) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if signal == Signal::Freeze {
        wait_until_frozen(pid)
    } else {
        Ok(())
    }
}

#[allow(unsafe_code)]
fn wait_until_frozen(pid: Pid) -> io::Result<()> {
    // WNOWAIT leaves an exit, should there be one, for whoever waits for the child.
    let events = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` is writable memory of the right type, which lives until the call returns.
    while unsafe { libc::waitid(libc::P_PID, pid.0, info.as_mut_ptr(), events) } != 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts `command` as a child that ends with this process.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (command, reply) in inbox {
                // Whoever asked may be gone; then so is the child's owner.
                if let Err(mpsc::SendError(Ok(mut child))) = reply.send(spawn_here(command)) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        });
        Mutex::new(orders)
    });
    let gone = || io::Error::other("the thread that starts processes has ended");
    let (reply, answer) = mpsc::channel();
    spawner
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, reply))
        .map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[allow(unsafe_code)]
fn spawn_here(mut command: Command) -> io::Result<Child> {
    let parent = std::process::id();
    command.process_group(0);
    // SAFETY: between fork and exec the closure makes two system calls that are async-signal-safe,
    // allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the line above.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
    command.spawn()
}
