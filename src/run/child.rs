//! A child process that is kept running.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::process::{ChildStdin, Command};
use towpath_protocol::tree::Role;

/// First pause before a child that has ended is started again.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// Longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// One that ran this long is started again without a longer pause than the first.
const RAN_WELL: Duration = Duration::from_secs(30);

/// A child process, and how it's started.
pub(super) struct Child {
    role: &'static str,
    words: Vec<OsString>,
    process: tokio::process::Child,
    /// Its end asks the child to stop. Held here, since waiting for the process would drop it.
    stdin: Option<ChildStdin>,
    started: Instant,
    backoff: Duration,
}

impl Child {
    /// Starts this program with these words.
    ///
    /// # Errors
    /// It can't be started.
    pub(super) fn start(role: &'static str, words: Vec<OsString>) -> anyhow::Result<Self> {
        let (process, stdin) = spawn(role, &words)?;
        Ok(Self {
            role,
            process,
            stdin,
            words,
            started: Instant::now(),
            backoff: BACKOFF_MIN,
        })
    }

    /// Gives an option another value at the next start.
    pub(super) fn replace(&mut self, option: &str, value: &str) {
        let mut words = self.words.iter_mut();
        if words.any(|word| word == option)
            && let Some(word) = words.next()
        {
            *word = value.into();
        }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system doesn't tell.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// Starts it again whenever it ends.
    pub(super) async fn keep_running(&mut self) {
        loop {
            let status = self.process.wait().await;
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            if self.started.elapsed() >= RAN_WELL {
                self.backoff = BACKOFF_MIN;
            }
            loop {
                let pause_ms = u64::try_from(self.backoff.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(
                    role = self.role,
                    how,
                    pause_ms,
                    "a child has ended; starting it again"
                );
                tokio::time::sleep(self.backoff).await;
                self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
                match spawn(self.role, &self.words) {
                    Ok((process, stdin)) => {
                        (self.process, self.stdin) = (process, stdin);
                        self.started = Instant::now();
                        break;
                    }
                    Err(error) => tracing::error!(role = self.role, "{error:#}"),
                }
            }
        }
    }

    /// Asks it to stop, and kills it if it hasn't within `stop_max`.
    pub(super) async fn stop(&mut self, stop_max: Duration) {
        drop(self.stdin.take());
        match tokio::time::timeout(stop_max, self.process.wait()).await {
            Ok(Ok(status)) if status.success() => {}
            Ok(Ok(status)) => tracing::warn!(role = self.role, %status, "a child did not end well"),
            Ok(Err(error)) => tracing::warn!(role = self.role, %error, "a child is lost"),
            Err(_) => {
                tracing::warn!(role = self.role, "a child doesn't stop; killing it");
                let _ = self.process.kill().await;
            }
        }
    }
}

fn spawn(
    role: &str,
    words: &[OsString],
) -> anyhow::Result<(tokio::process::Child, Option<ChildStdin>)> {
    let program = std::env::current_exe().context("the path of this program")?;
    let mut command = Command::new(&program);
    for role in Role::ALL {
        command.env_remove(role.variable());
    }
    let mut process = command
        .args(words)
        // They meet on loopback, where who can reach them may do all.
        .env_remove("TOWPATH_TOKENS")
        // Nor have they others of their kind.
        .env_remove("TOWPATH_NODE_ID")
        .env_remove("TOWPATH_PEER_LISTEN")
        // It ends when we do.
        .stdin(Stdio::piped())
        // Ctrl-C reaches us alone; we end the children in order.
        .process_group(0)
        .spawn()
        .with_context(|| format!("can't start {} {role}", program.display()))?;
    let stdin = process.stdin.take();
    Ok((process, stdin))
}
