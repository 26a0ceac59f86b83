//! `towpath tail`.

use std::process::ExitCode;

use crate::cli;

pub(crate) async fn tail(_arguments: cli::Tail) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
