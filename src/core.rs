//! `towpath core`: a Core in this process.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::sync::watch;
use towpath_coordination::{ConnectOptions, Session};
use towpath_core::agent::{self, AgentOptions};
use towpath_protocol::tree::MemberId;

use crate::{cli, logging, run};

/// Runs a Core until a signal.
///
/// # Errors
/// No Server answers, or the tree can't be followed.
pub(crate) async fn core(arguments: cli::Core) -> anyhow::Result<ExitCode> {
    logging::start(&arguments.log)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        run::stop_signal().await;
        tracing::info!("asked to stop");
        let _ = stop.send(true);
        // A second signal is a wish to be gone at once; the sinks stay exact all the same.
        run::stop_signal().await;
        std::process::exit(130);
    });
    let id = match arguments.id {
        Some(id) => id,
        None => default_id(&agent::host_name(), std::process::id())?,
    };
    let mut options = AgentOptions::new(id);
    options.labels = arguments.labels.into_iter().collect();
    let session = {
        let mut stopped = stopped.clone();
        tokio::select! {
            session = Session::connect(ConnectOptions::new(arguments.directory)) => session?,
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(ExitCode::SUCCESS),
        }
    };
    agent::run(options, session, stopped).await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The machine's name as far as it can be in an id, with the process's number: several Cores of a
/// machine differ.
fn default_id(host: &str, pid: u32) -> anyhow::Result<MemberId> {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '-') => c,
        _ => '-',
    };
    // The first label, which is 63 characters at most.
    let name: String = host
        .split('.')
        .next()
        .unwrap_or_default()
        .chars()
        .take(63)
        .map(plain)
        .collect();
    let name = match name.trim_matches('-') {
        "" => "core",
        name => name,
    };
    MemberId::new(format!("{name}-{pid}")).context("this machine's name makes no id; give --id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_machine_has_an_id() {
        for (host, id) in [
            ("node1", "node1-7"),
            ("Node_1.example.net", "node-1-7"),
            ("-ünï-", "n-7"),
            ("", "core-7"),
            (&"a".repeat(200), &format!("{}-7", "a".repeat(63))),
        ] {
            assert_eq!(default_id(host, 7).unwrap().as_str(), id, "{host}");
        }
    }
}
