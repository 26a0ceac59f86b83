//! When a process is to end, and how its parent learns that it's there.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

/// What `towpath run` says to its children.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Supervised {
    /// Stop in order when standard input ends: the parent holds it, and so it ends with the parent,
    /// however that ends.
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
    /// A file that is written when this process is ready, with its ports as JSON.
    #[arg(long, hide = true, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Supervised {
    /// Waits until the process is to end.
    pub(crate) async fn stop(&self) {
        tokio::select! {
            () = stop_signal() => {}
            () = stdin_ends(), if self.until_stdin_ends => {}
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn tell_ready(&self, ports: &Value) -> anyhow::Result<()> {
        let Some(file) = &self.ready_file else {
            return Ok(());
        };
        let unfinished = file.with_extension("unfinished");
        std::fs::write(&unfinished, ports.to_string())
            .and_then(|()| std::fs::rename(&unfinished, file))
            .with_context(|| format!("--ready-file {}", file.display()))
    }
}

async fn stdin_ends() {
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own: nothing can interrupt the read, and nobody waits for it.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = tell.send(());
    });
    let _ = told.await;
    tracing::info!("the parent process has ended, or asks to stop");
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn stop_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("cannot listen for signals; only kill -9 will end this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
