//! `towpath monitor`: a Monitor in this process.

use std::process::ExitCode;

use anyhow::Context as _;
use towpath_monitor::{Monitor, MonitorOptions};
use towpath_protocol::spec::AlertSpec;

use crate::{cli, logging, run};

/// Runs a Monitor until a signal.
///
/// # Errors
/// It doesn't start.
pub(crate) async fn monitor(arguments: cli::Monitor) -> anyhow::Result<ExitCode> {
    logging::start(&arguments.log)?;
    let connect = towpath_monitor::ConnectOptions::new(arguments.directory);
    let mut options = MonitorOptions::new(arguments.id.clone(), connect);
    if let Some(file) = arguments.hooks {
        let environment = |name: &str| std::env::var(name).ok();
        options.hooks = AlertSpec::load_hooks(&file, &environment)?;
    }
    options.allow_command_hooks = arguments.allow_command_hooks;
    let monitor = Monitor::start(options)
        .await
        .with_context(|| format!("the Monitor {} can't start", arguments.id))?;
    tracing::info!(monitor = %arguments.id, "ready");
    run::stop_signal().await;
    tracing::info!("asked to stop");
    monitor.stop().await;
    Ok(ExitCode::SUCCESS)
}
