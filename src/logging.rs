//! Logs: for people on a terminal, JSON lines otherwise; always to standard error.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::cli::{Log, LogFormat};

/// Libraries that tell of every step; a filter that names them overrides it.
const QUIET: &str = "openraft=error,zookeeper_client=error";

/// Starts logging.
///
/// # Errors
/// The filter can't be read.
pub(crate) fn start(log: &Log) -> anyhow::Result<()> {
    let filter = format!("{QUIET},{}", log.log);
    let filter = EnvFilter::try_new(filter).with_context(|| {
        format!(
            "--log {:?}: give a level or target=level, e.g. info",
            log.log
        )
    })?;
    let terminal = std::io::stderr().is_terminal();
    let format = log.log_format.unwrap_or(if terminal {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(terminal).with_target(false).init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .init(),
    }
    Ok(())
}
