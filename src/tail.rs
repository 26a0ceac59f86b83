//! `towpath tail`: a source's changes as JSON lines on standard output.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use towpath_core::source::{DumpOptions, SourceError, SourceFacts, start};
use towpath_core::tail::Follow;
use towpath_core::{endpoint, pipeline};
use towpath_protocol::spec::{PipelineSpec, StartAt};

use crate::cli;
use crate::process::logs;
use crate::process::stop::stop_signal;

/// Follows the source until Ctrl-C, SIGTERM, or the end that was asked for.
///
/// # Errors
/// The pipeline file, the start, or the source.
pub(crate) async fn tail(arguments: cli::Tail) -> anyhow::Result<ExitCode> {
    let spec = PipelineSpec::load(&arguments.file)?;
    let _logs = logs::start(&arguments.log, "tail")?;
    let start_at: StartAt = arguments
        .start
        .parse()
        .with_context(|| format!("--start {:?} can't be read", arguments.start))?;
    let source = &spec.source.endpoint;
    let opts = endpoint::sql_opts(source)?;
    let mut conn = endpoint::connect(opts, source.tls)
        .await
        .map_err(|error| SourceError::from_login(source, error))?;
    let facts = SourceFacts::read(&mut conn).await?;
    let options = DumpOptions {
        // Beside the pipeline's own: a tail must not end its dump.
        server_id: pipeline::default_server_id(
            spec.name.as_str(),
            &format!("tail-{}", std::process::id()),
        ),
        replica_uuid: None,
        pipeline: spec.name.to_string(),
        heartbeat: Duration::from_millis(spec.source.heartbeat_ms),
    };
    let from = start::resolve(&start_at, source, &options, &facts, &mut conn).await?;
    let _ = conn.disconnect().await;
    let follow = Follow {
        endpoint: source.clone(),
        options,
        filter: spec.source.tables.clone(),
        from,
        until: arguments.until_now.then(|| facts.gtid_executed.clone()),
    };
    let (stop_sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        stop_signal().await;
        let _ = stop_sender.send(true);
    });
    follow.run(&mut std::io::stdout().lock(), stop).await?;
    Ok(ExitCode::SUCCESS)
}
