//! Logs: for people on a terminal, JSON lines otherwise; to standard error, and to files if asked.
//!
//! Files are written by a thread of their own, which drops lines rather than let anybody wait: a
//! full log disk never stops replication.

use std::io::IsTerminal as _;
use std::sync::Arc;

use anyhow::Context as _;
use towpath_coordination::{LiveConfig, Session};
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::LogConfig;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::cli::{Log, LogFormat};

/// Libraries that tell of every step; a filter that names them overrides it.
const QUIET: &str = "openraft=error,zookeeper_client=error";
/// Lines that wait for the disk; what comes beyond is dropped.
const WAITING_LINES_MAX: usize = 20_000;

/// The running logs. Keep it until the end: dropping it writes what waits for the disk.
pub(crate) struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    /// The filter that the process was started with.
    first: String,
    _writer: Option<WorkerGuard>,
}

/// Starts logging.
///
/// # Errors
/// The filter can't be read, or the directory can't be written.
pub(crate) fn start(log: &Log, role: &str) -> anyhow::Result<Arc<Logs>> {
    let filter = parse(&log.log).with_context(|| {
        format!(
            "--log {:?}: give a level or target=level, e.g. info",
            log.log
        )
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    let terminal = std::io::stderr().is_terminal();
    let format = log.log_format.unwrap_or(match terminal {
        true => LogFormat::Text,
        false => LogFormat::Json,
    });
    let plain = fmt::layer().with_writer(std::io::stderr);
    let shown = match format {
        LogFormat::Text => plain.with_ansi(terminal).with_target(false).boxed(),
        LogFormat::Json => plain
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed(),
    };
    let (file, writer) = match &log.log_dir {
        None => (None, None),
        Some(dir) => {
            let appender = RollingFileAppender::builder()
                .rotation(Rotation::DAILY)
                .filename_prefix(role)
                .filename_suffix("log")
                .max_log_files(log.log_files.into())
                .build(dir)
                .with_context(|| format!("--log-dir {}: can't write there", dir.display()))?;
            let (appender, writer) = tracing_appender::non_blocking::NonBlockingBuilder::default()
                .buffered_lines_limit(WAITING_LINES_MAX)
                .thread_name("towpath-log")
                .finish(appender);
            let layer = fmt::layer()
                .with_writer(appender)
                .json()
                .flatten_event(true)
                .with_current_span(false);
            (Some(layer), Some(writer))
        }
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(shown)
        .with(file)
        .init();
    Ok(Arc::new(Logs {
        filter: handle,
        first: log.log.clone(),
        _writer: writer,
    }))
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    Ok(EnvFilter::try_new(format!("{QUIET},{filter}"))?)
}

impl Logs {
    /// Logs by this filter from now on, or by the first one. One that can't be read changes
    /// nothing.
    fn set(&self, filter: Option<&str>) {
        let text = filter.unwrap_or(&self.first);
        let result = parse(text).and_then(|parsed| Ok(self.filter.reload(parsed)?));
        match result {
            Ok(()) => tracing::info!(filter = text, "log filter set"),
            Err(error) => {
                tracing::warn!(filter = text, %error, "log filter not set; the last one still holds");
            }
        }
    }

    /// Follows the filter in the directory, until the session is closed.
    pub(crate) fn follow(self: &Arc<Self>, session: &Session) {
        let (logs, session) = (self.clone(), session.clone());
        tokio::spawn(async move {
            let config = match LiveConfig::<LogConfig>::follow(&session, path::log_config()).await {
                Ok(config) => config,
                Err(error) => {
                    tracing::warn!(%error, "the log filter is not changed live in this process");
                    return;
                }
            };
            let mut values = config.values();
            if let Some(LogConfig { filter }) = &*values.borrow_and_update() {
                logs.set(Some(filter));
            }
            while values.changed().await.is_ok() {
                let value = values.borrow_and_update().clone();
                logs.set(value.as_ref().map(|config| config.filter.as_str()));
            }
        });
    }
}
