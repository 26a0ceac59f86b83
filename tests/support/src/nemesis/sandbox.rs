//! A test within namespaces of its own: user, network, mounts and processes.
//!
//! A process with several threads can't enter a user namespace, so the test program runs itself once
//! more within `unshare` (util-linux), with this test alone. There it's root over its own network and
//! mounts and over nothing else. It's the namespace's first process: when it ends, in order or not,
//! the kernel ends all others in it, and with the last of them go network and mounts.

use std::io::Read as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::NamedTempFile;

use super::run;

/// Set within; names the file in which the test notes that it got to its end.
const SANDBOX: &str = "TOWPATH_TEST_SANDBOX";
const DONE: &[u8] = b"done";

/// Runs `body` in a sandbox. `test` is the full name of the test that calls this, such as
/// `cluster::partition::a_member_is_cut_off`.
///
/// # Errors
/// Those of `body`; or the system doesn't allow it.
pub fn sandboxed<F>(test: &str, body: impl FnOnce() -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let Some(done) = std::env::var_os(SANDBOX) else {
        return outside(test);
    };
    // Whoever runs this test holds the other end, and closes it when it ends itself.
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
        std::process::exit(1);
    });
    run("ip", &["link", "set", "lo", "up"])?;
    // For the names of network namespaces.
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(body())?;
    std::fs::write(done, DONE)?;
    Ok(())
}

/// The same where the system allows it, and only a line elsewhere: for what must pass on any machine.
///
/// # Errors
/// Those of `body`.
pub fn sandboxed_if_allowed<F>(test: &str, body: impl FnOnce() -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    if std::env::var_os(SANDBOX).is_none()
        && let Err(why) = allowed()
    {
        println!("SKIPPED {test}: {why}");
        return Ok(());
    }
    sandboxed(test, body)
}

/// Whether a sandbox, and a network in it, can be made here.
fn allowed() -> Result<()> {
    let tried = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .args(["ip", "link", "add", "bridge", "type", "bridge"])
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        refused => bail!(
            "this test needs `unshare` (util-linux), `ip` (iproute2), and the right to make user \
             namespaces (sysctl kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0): {refused:?}"
        ),
    }
}

fn outside(test: &str) -> Result<()> {
    allowed()?;
    let done = NamedTempFile::new()?;
    let mut child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .args(["--pid", "--fork", "--kill-child", "--"])
        .arg(std::env::current_exe()?)
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(SANDBOX, done.path())
        .stdin(Stdio::piped())
        .spawn()
        .context("starting unshare")?;
    // Taken, since waiting closes what isn't.
    let held = child.stdin.take();
    let status = child.wait()?;
    drop(held);
    ensure!(status.success(), "{test} in its sandbox: {status}");
    ensure!(
        std::fs::read(done.path())? == DONE,
        "there's no test {test} in this program"
    );
    Ok(())
}
