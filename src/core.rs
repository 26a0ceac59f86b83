//! `towpath core`: a Core in this process.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use tokio::sync::watch;
use towpath_coordination::{ConnectOptions, Session, SessionState};
use towpath_core::agent::{self, AgentOptions, AgentStatus, TaskStatus};
use towpath_core::commit::copies::CopyState;
use towpath_core::pipeline::progress::{CopyView, View};
use towpath_protocol::tree::{MemberId, Role};

use crate::cli;
use crate::process::exposition::{Family, Sample};
use crate::process::{http, logs, stop};

/// Runs a Core until a signal.
///
/// # Errors
/// No Server answers, or the tree can't be followed.
pub(crate) async fn core(arguments: cli::Core) -> anyhow::Result<ExitCode> {
    let logs = logs::start(&arguments.log, "core")?;
    let member = arguments.member;
    let supervised = member.supervised.clone();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        supervised.stop().await;
        tracing::info!("asked to stop");
        let _ = stop.send(true);
        // A second signal is a wish to be gone at once; the sinks stay exact all the same.
        stop::stop_signal().await;
        std::process::exit(130);
    });
    let id = match arguments.id {
        Some(id) => id,
        None => default_id(&agent::host_name(), std::process::id())?,
    };
    let mut connect = ConnectOptions::new(arguments.directory.directory);
    connect.tls = member.tls.to_directory();
    connect.credentials = Some(member.tokens.credentials(Role::Core)?);
    let session = {
        let mut stopped = stopped.clone();
        tokio::select! {
            session = Session::connect(connect) => session?,
            _ = stopped.wait_for(|stopped| *stopped) => return Ok(ExitCode::SUCCESS),
        }
    };
    logs.follow(&session);
    let mut options = AgentOptions::new(id);
    options.labels = arguments.labels.into_iter().collect();
    let (board, statuses) = (options.board.clone(), session.statuses());
    let http = http::serve(
        &member,
        Box::new(move || not_ready(statuses.borrow().state)),
        Box::new(move || families(&board.snapshot())),
    )
    .await?;
    options.address = http.to_string();
    tracing::info!(core = %options.id, %http, "ready");
    member.supervised.tell_ready(&json!({"http": http}))?;
    agent::run(options, session, stopped).await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

fn not_ready(state: SessionState) -> Vec<String> {
    match state {
        SessionState::Connected => Vec::new(),
        _ => vec!["no session with the directory".to_owned()],
    }
}

/// A number of each task that runs.
fn of_tasks(
    status: &AgentStatus,
    name: &'static str,
    help: &'static str,
    counter: bool,
    value: impl Fn(&TaskStatus, &View) -> Option<f64>,
) -> Family {
    let sample = |task: &TaskStatus| {
        Some(Sample {
            labels: labels(task),
            value: value(task, task.view.as_ref()?)?,
        })
    };
    Family {
        name,
        help,
        counter,
        samples: status.tasks.iter().filter_map(sample).collect(),
    }
}

/// A number of each table that is or was copied in this run.
fn of_copies(
    status: &AgentStatus,
    name: &'static str,
    help: &'static str,
    value: impl Fn(&CopyView) -> Option<f64>,
) -> Family {
    let mut samples = Vec::new();
    for task in &status.tasks {
        for copy in task.view.iter().flat_map(|view| &view.copies) {
            let mut labels = labels(task);
            labels.push(("table", format!("{}.{}", copy.database, copy.table)));
            samples.extend(value(copy).map(|value| Sample { labels, value }));
        }
    }
    Family {
        name,
        help,
        counter: false,
        samples,
    }
}

fn labels(task: &TaskStatus) -> Vec<(&'static str, String)> {
    vec![
        ("pipeline", task.key.pipeline.to_string()),
        ("task", task.key.task.to_string()),
    ]
}

fn families(status: &AgentStatus) -> Vec<Family> {
    let phase = |task: &TaskStatus| {
        let mut labels = labels(task);
        labels.push(("phase", task.phase.to_string()));
        Sample { labels, value: 1.0 }
    };
    let of = |name, help, counter, value: fn(&TaskStatus, &View) -> Option<f64>| {
        of_tasks(status, name, help, counter, value)
    };
    vec![
        Family {
            name: "towpath_task_phase",
            help: "What this Core does for a task",
            counter: false,
            samples: status.tasks.iter().map(phase).collect(),
        },
        of(
            "towpath_task_connected",
            "Whether source and sink are connected",
            false,
            |_, view| Some(u8::from(view.connected).into()),
        ),
        of(
            "towpath_task_lag_seconds",
            "Age of the newest transaction that the sink holds; 0 when it holds all",
            false,
            |_, view| Some(view.lag_us? as f64 / 1e6),
        ),
        of(
            "towpath_task_queued_bytes",
            "Bytes in the queue",
            false,
            |_, view| Some(view.queued_bytes as f64),
        ),
        of(
            "towpath_task_ddl_waits",
            "Whether a DDL statement waits for the directory's confirmation",
            false,
            |_, view| Some(u8::from(view.waiting).into()),
        ),
        of(
            "towpath_task_transactions",
            "Source transactions committed to the sink in this run",
            true,
            |_, view| Some(view.transactions as f64),
        ),
        of(
            "towpath_task_rows",
            "Row changes committed to the sink in this run",
            true,
            |_, view| Some(view.rows as f64),
        ),
        of(
            "towpath_task_commits",
            "Commits at the sink in this run",
            true,
            |_, view| Some(view.commits as f64),
        ),
        of_copies(
            status,
            "towpath_copy_rows",
            "Rows of a table that are copied",
            |copy| Some(copy.rows as f64),
        ),
        of_copies(
            status,
            "towpath_copy_rows_estimated",
            "Rows that a table had when its copy began, by the source's statistics",
            |copy| Some(copy.rows_estimated? as f64),
        ),
        of_copies(
            status,
            "towpath_copy_done",
            "Whether a table that was copied is as of one moment with the sink's offset",
            |copy| Some(u8::from(copy.state == CopyState::Done).into()),
        ),
        of(
            "towpath_task_read_bytes",
            "Bytes of events read from the source in this run",
            true,
            |_, view| Some(view.read_bytes as f64),
        ),
    ]
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
