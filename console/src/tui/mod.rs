//! `towpath console`: the cluster, live, on a terminal.
//!
//! `update` takes the model from one state to the next, and `view` draws it: both are pure, and
//! know of no clock, terminal or directory. `run` has these: it feeds messages in, and carries
//! out what comes back.
//!
//! It reads the tree from a mirror, and changes nothing in it but by commands, as any other
//! client. Foreign text can't move the cursor: what is a control character is shown as its escape.

mod tree;
mod picture;
mod samples;
mod format;
mod keys;
mod message;
mod model;
mod listing;
mod ask;
mod update;
mod theme;
mod view;
mod run;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Args;
use towpath_coordination::Mirror;
use towpath_protocol::tree::path;

use crate::Connect;

/// Arguments of `console`.
#[derive(Debug, Args)]
pub struct Console {
    #[command(flatten)]
    connect: Connect,
}

impl Console {
    /// Shows the cluster until the user, or a signal, ends it.
    ///
    /// # Errors
    /// This is no terminal, or the directory can't be reached at first. What breaks later is
    /// shown, and tried again.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let session = self.connect.session().await?;
        if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
            anyhow::bail!("the console needs a terminal; for a script there is towpath status");
        }
        let mirror = Mirror::follow(&session, path::root()).await?;
        let result = run::run(&session, &mirror, self.connect.directory.join(",")).await;
        drop(mirror);
        session.close().await;
        result.map(|()| ExitCode::SUCCESS)
    }
}
