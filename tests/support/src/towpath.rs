//! The `towpath` program as a child process whose output is captured line by line.

use std::collections::VecDeque;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, Pid, Signal};
use crate::wait_until;

/// A program that logs for an hour must not eat the test's memory; older lines are dropped.
const LINES_MAX: usize = 20_000;
/// How much of the output an error shows.
const TAIL_LINES: usize = 30;

/// The `towpath` program: `$TOWPATH`, else the one built beside the running test or tool.
///
/// # Errors
/// When neither exists.
pub fn towpath_program() -> Result<PathBuf> {
    if let Some(path) = env::var_os("TOWPATH") {
        return Ok(PathBuf::from(path));
    }
    let own = env::current_exe().context("finding the directory of the running program")?;
    own.ancestors()
        .skip(1)
        .take(2) // target/debug, or target/debug/deps below it
        .map(|dir| dir.join("towpath"))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "no program `towpath` beside {}: run `cargo build` first, or set TOWPATH to its path",
                own.display()
            )
        })
}

/// Arguments and environment of a process to come.
#[derive(Clone, Debug, Default)]
pub struct TowpathBuilder {
    program: Option<PathBuf>,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
}

impl TowpathBuilder {
    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A variable of its environment, in addition to ours.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Another program than [`towpath_program`] finds.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn spawn(&self) -> Result<TowpathProcess> {
        let program = self.program.clone().map_or_else(towpath_program, Ok)?;
        let mut command = Command::new(&program);
        command
            .args(&self.args)
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child =
            process::spawn(command).with_context(|| format!("starting {}", program.display()))?;
        let output = Arc::new(Mutex::new(Output::default()));
        if let Some(stdout) = child.stdout.take() {
            capture(Stream::Stdout, stdout, &output);
        }
        if let Some(stderr) = child.stderr.take() {
            capture(Stream::Stderr, stderr, &output);
        }
        Ok(TowpathProcess {
            pid: Pid::of(&child),
            child: Mutex::new(child),
            output,
        })
    }
}

/// Where a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Default)]
struct Output {
    lines: VecDeque<(Stream, String)>,
    streams_ended: u8,
}

fn capture(stream: Stream, from: impl Read + Send + 'static, output: &Arc<Mutex<Output>>) {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            let mut output = lock(&output);
            if output.lines.len() == LINES_MAX {
                output.lines.pop_front();
            }
            output.lines.push_back((stream, text));
        }
        lock(&output).streams_ended += 1;
    });
}

/// A started `towpath`; dropping it kills it.
#[derive(Debug)]
pub struct TowpathProcess {
    pid: Pid,
    child: Mutex<Child>,
    output: Arc<Mutex<Output>>,
}

impl TowpathProcess {
    /// Starts with no arguments; add some.
    #[must_use]
    pub fn builder() -> TowpathBuilder {
        TowpathBuilder::default()
    }

    /// The process id; only meaningful to signal through the methods here.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// SIGKILL; returns when it is dead.
    ///
    /// # Errors
    /// When the signal can't be sent.
    pub fn kill9(&self) -> Result<ExitStatus> {
        let mut child = lock(&self.child);
        child.kill().context("killing towpath")?;
        Ok(child.wait()?)
    }

    /// SIGTERM; does not wait.
    ///
    /// # Errors
    /// When it has ended.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::Terminate)
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When it has ended.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::Freeze)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it has ended.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::Thaw)
    }

    /// The exit status, if it has ended.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn exit_status(&self) -> Result<Option<ExitStatus>> {
        Ok(lock(&self.child).try_wait()?)
    }

    /// Waits for its end; its output is complete then.
    ///
    /// # Errors
    /// When it runs on after `timeout`; the error shows the end of its output.
    pub async fn wait_exit(&self, timeout: Duration) -> Result<ExitStatus> {
        wait_until("towpath to end", timeout, async || {
            Ok(self.exit_status()?.is_some() && lock(&self.output).streams_ended == 2)
        })
        .await
        .with_context(|| self.tail())?;
        self.exit_status()?
            .context("towpath has ended without a status")
    }

    /// The first line, of those written already and those to come on either stream, that
    /// `predicate` accepts.
    ///
    /// # Errors
    /// When there is none until `timeout`, or until the program has ended; the error shows the
    /// end of the output.
    pub async fn wait_for_line(
        &self,
        predicate: impl Fn(&str) -> bool,
        timeout: Duration,
    ) -> Result<String> {
        let mut found = None;
        wait_until("a line of towpath's output", timeout, async || {
            let output = lock(&self.output);
            found = output
                .lines
                .iter()
                .map(|(_, text)| text)
                .find(|line| predicate(line))
                .cloned();
            if found.is_none() && output.streams_ended == 2 {
                bail!("towpath ended without the line that was waited for");
            }
            Ok(found.is_some())
        })
        .await
        .with_context(|| self.tail())?;
        found.context("the line was found and is gone")
    }

    /// What it wrote to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<String> {
        self.lines(Stream::Stdout)
    }

    /// What it wrote to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.lines(Stream::Stderr)
    }

    /// The end of its output, for an error message.
    #[must_use]
    pub fn tail(&self) -> String {
        let output = lock(&self.output);
        let skip = output.lines.len().saturating_sub(TAIL_LINES);
        let lines: Vec<&str> = output
            .lines
            .iter()
            .skip(skip)
            .map(|(_, text)| text.as_str())
            .collect();
        format!("the end of towpath's output:\n{}", lines.join("\n"))
    }

    fn lines(&self, wanted: Stream) -> Vec<String> {
        let output = lock(&self.output);
        let lines = output.lines.iter().filter(|(stream, _)| *stream == wanted);
        lines.map(|(_, text)| text.clone()).collect()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let mut child = lock(&self.child);
        if let Some(status) = child.try_wait()? {
            bail!("towpath has ended already ({status})");
        }
        process::send(self.pid, signal).with_context(|| format!("signalling towpath {}", self.pid))
    }
}

impl Drop for TowpathProcess {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.kill9();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> TowpathProcess {
        TowpathProcess::builder()
            .program("/bin/sh")
            .args(["-c", script])
            .spawn()
            .unwrap()
    }

    #[tokio::test]
    async fn output_and_status_are_seen() {
        let process = shell("echo one; echo two >&2; exit 3");
        assert_eq!(
            process
                .wait_for_line(|line| line == "two", LONG)
                .await
                .unwrap(),
            "two"
        );
        assert_eq!(process.wait_exit(LONG).await.unwrap().code(), Some(3));
        assert_eq!(process.stdout(), ["one"]);
        assert_eq!(process.stderr(), ["two"]);
        assert!(process.terminate().is_err());
    }

    #[tokio::test]
    async fn a_line_that_never_comes_is_an_error_with_the_output() {
        let process = shell("echo something else");
        let error = process
            .wait_for_line(|line| line == "ready", LONG)
            .await
            .unwrap_err();
        assert!(format!("{error:#}").contains("something else"), "{error:#}");
    }

    #[tokio::test]
    async fn signals_arrive() {
        let process =
            shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
        process
            .wait_for_line(|line| line == "ready", LONG)
            .await
            .unwrap();
        process.freeze().unwrap();
        process.terminate().unwrap();
        assert!(process.wait_exit(Duration::from_millis(100)).await.is_err());
        process.thaw().unwrap();
        assert!(process.wait_exit(LONG).await.unwrap().success());
        assert_eq!(process.stdout(), ["ready", "bye"]);
    }
}
