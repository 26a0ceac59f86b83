//! `towpath check`.

use std::process::ExitCode;

use crate::cli;

pub(crate) async fn check(_arguments: cli::Check) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
