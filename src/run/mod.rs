//! `towpath run`: a Server, a Core and a Monitor of this machine, as child processes.
//!
//! The children are what `towpath server`, `core` and `monitor` are elsewhere; this process starts
//! them again when they end, puts the pipeline files in force, and ends them in order. They stop
//! by themselves when this process is gone, however it went: each holds the other end of a pipe.

mod standalone;
mod child;
mod place;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use towpath_coordination::{CommandQueue, ConnectOptions, Patience, Session};
use towpath_protocol::spec::{PipelineSpec, SnapshotMode};
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{Action, AppliedSpec, Outcome};

use crate::cli;
use crate::process::logs;
use crate::process::stop::stop_signal;
use child::Child;
use place::Place;

/// A Server reads its log back before it's ready.
const READY_MAX: Duration = Duration::from_secs(60);
/// How often a child that isn't ready yet is looked at.
const READY_LOOK: Duration = Duration::from_millis(20);
/// A child that was asked to stop and hasn't by then is killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// A pipeline file: its text, and what it says.
struct File {
    path: PathBuf,
    text: String,
    spec: PipelineSpec,
}

/// Runs until a signal, or an error at the start.
///
/// # Errors
/// A pipeline file, the data folder, or a child that doesn't start.
pub(crate) async fn run(arguments: cli::Run) -> anyhow::Result<ExitCode> {
    if arguments.standalone {
        let [file] = &*arguments.files else {
            bail!("--standalone runs one pipeline: give one file");
        };
        return standalone::run(&arguments, file).await;
    }
    let files = read(&arguments.files)?;
    if let [file] = &*files
        && file.spec.source.snapshot == SnapshotMode::Only
    {
        // It has an end, and nobody is to be told who takes over.
        return standalone::run(&arguments, &file.path).await;
    }
    let _logs = logs::start(&arguments.log, "run")?;
    let stop = stop_signal();
    tokio::pin!(stop);
    let Some(first) = files.first() else {
        bail!("no pipeline file");
    };
    let place = Place::take(arguments.data.as_deref(), first.spec.name.as_str())?;
    let mut server = server(&arguments, &place)?;
    let mut others = Vec::new();
    let ended = tokio::select! {
        () = &mut stop => Ok(()),
        ended = serve(&arguments, &place, &mut server, &mut others, &files) => ended,
    };
    tracing::info!("stopping");
    // The Core first: it finishes its commit while the directory is still there.
    for child in &mut others {
        child.stop(STOP_MAX).await;
    }
    server.stop(STOP_MAX).await;
    ended.map(|()| ExitCode::SUCCESS)
}

fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    for path in paths {
        let spec = PipelineSpec::load(path)?;
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: can't be read", path.display()))?;
        if let Some(other) = files.iter().find(|file| file.spec.name == spec.name) {
            bail!(
                "{} and {} both describe pipeline {}; give each a name of its own",
                other.path.display(),
                path.display(),
                spec.name
            );
        }
        files.push(File {
            path: path.clone(),
            text,
            spec,
        });
    }
    Ok(files)
}

fn server(arguments: &cli::Run, place: &Place) -> anyhow::Result<Child> {
    let data = place.path().join("directory");
    let listen = arguments.listen.to_string();
    let mut words = vec!["server".into(), "--listen".into(), listen.into()];
    words.extend(["--data".into(), data.into_os_string()]);
    words.extend(["--ready-file".into(), place.ready_file("server").into()]);
    child(arguments, place, "server", words)
}

fn child(
    arguments: &cli::Run,
    place: &Place,
    role: &'static str,
    mut words: Vec<std::ffi::OsString>,
) -> anyhow::Result<Child> {
    words.extend(["--until-stdin-ends".into(), "--log".into()]);
    words.push(arguments.log.log.clone().into());
    if let Some(format) = arguments.log.log_format {
        words.extend(["--log-format".into(), format.word().into()]);
    }
    if let Some(dir) = &arguments.log.log_dir {
        words.extend(["--log-dir".into(), dir.into()]);
    }
    let _ = std::fs::remove_file(place.ready_file(role));
    Child::start(role, words)
}

/// Starts all, puts the files in force, and keeps the children running.
async fn serve(
    arguments: &cli::Run,
    place: &Place,
    server: &mut Child,
    others: &mut Vec<Child>,
    files: &[File],
) -> anyhow::Result<()> {
    let directory = ready(place, server).await?;
    // After a restart it must be where its clients look for it.
    server.replace("--listen", &directory);
    for role in ["core", "monitor"] {
        let words = vec![
            role.into(),
            "--id".into(),
            format!("{role}-1").into(),
            "--directory".into(),
            directory.clone().into(),
        ];
        others.push(child(arguments, place, role, words)?);
    }
    let _told = place.tell_user(&directory)?;
    let watched = async {
        tokio::join!(
            server.keep_running(),
            futures_util::future::join_all(others.iter_mut().map(Child::keep_running)),
        )
    };
    let applied = async {
        put_in_force(&directory, files).await?;
        tracing::info!(
            directory,
            "pipelines are in force; see towpath status, or towpath console"
        );
        std::future::pending::<anyhow::Result<()>>().await
    };
    tokio::select! {
        _ = watched => Ok(()),
        result = applied => result,
    }
}

/// Waits until the Server has told its port.
async fn ready(place: &Place, server: &mut Child) -> anyhow::Result<String> {
    let file = place.ready_file("server");
    let told = async {
        loop {
            if let Ok(text) = std::fs::read(&file) {
                let ports: Value = serde_json::from_slice(&text)?;
                let directory = ports.get("directory").and_then(Value::as_str);
                return directory
                    .map(str::to_owned)
                    .context("the Server didn't say where it listens");
            }
            if let Some(status) = server.ended()? {
                bail!("the Server has ended at its start: {status}; its reason is above");
            }
            tokio::time::sleep(READY_LOOK).await;
        }
    };
    tokio::time::timeout(READY_MAX, told)
        .await
        .unwrap_or_else(|_| bail!("the Server isn't ready after {} s", READY_MAX.as_secs()))
}

async fn put_in_force(directory: &str, files: &[File]) -> anyhow::Result<()> {
    let session = Session::connect(ConnectOptions::new([directory])).await?;
    for file in files {
        apply(&session, file)
            .await
            .with_context(|| format!("pipeline file {}", file.path.display()))?;
    }
    session.close().await;
    Ok(())
}

async fn apply(session: &Session, file: &File) -> anyhow::Result<()> {
    let node = path::spec(&file.spec.name);
    let present = session.read::<AppliedSpec>(&node).await?;
    let present = present.map(|entry| entry.value.record);
    if present.as_ref().is_some_and(|spec| spec.text == file.text) {
        return Ok(());
    }
    let action = Action::Apply {
        text: file.text.clone(),
        revision: present.map_or(0, |spec| spec.revision),
    };
    let by = "towpath run";
    let answer = session
        .command(
            &CommandQueue::Cluster,
            None,
            action,
            by,
            Patience::default(),
        )
        .await?;
    match answer.outcome {
        Outcome::Done => {
            tracing::info!(pipeline = %file.spec.name, "{}", answer.text);
            Ok(())
        }
        _ => bail!("{}", answer.text),
    }
}
