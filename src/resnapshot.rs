//! `towpath resnapshot`: has a table copied anew.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use towpath_core::verify;

use crate::{cli, named};

/// Puts the table back to the begin of its copy.
///
/// # Errors
/// The pipeline can't be read, or the change is refused.
pub(crate) async fn resnapshot(arguments: cli::Resnapshot) -> anyhow::Result<ExitCode> {
    let spec = named::pipeline(&arguments.of).await?;
    let table = &arguments.table;
    verify::resnapshot(&spec, table, arguments.condition.as_deref()).await?;
    let rows = match &arguments.condition {
        Some(condition) => format!("the rows of {table} that meet ({condition})"),
        None => table.clone(),
    };
    let text = format!(
        "pipeline {} copies {rows} anew, as soon as it runs\n",
        spec.name
    );
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .context("cannot write the answer")?;
    Ok(ExitCode::SUCCESS)
}
