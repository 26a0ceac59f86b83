//! `towpath server`: a Server in this process.

use std::process::ExitCode;

use anyhow::Context as _;
use towpath_directory::Tls;
use towpath_server::{Server, ServerOptions};

use crate::{cli, logging, run};

/// Runs a Server until a signal.
///
/// # Errors
/// It doesn't start.
pub(crate) async fn server(arguments: cli::Server) -> anyhow::Result<ExitCode> {
    logging::start(&arguments.log)?;
    let tls = arguments
        .tls_cert
        .zip(arguments.tls_key)
        .map(|(certificate, key)| Tls {
            certificate,
            key,
            client_ca: arguments.tls_client_ca,
        });
    let listen = arguments.listen;
    let server = Server::start(ServerOptions {
        id: arguments.id,
        data_dir: arguments.data,
        listen,
        advertise: arguments.advertise,
        node_id: 1,
        tls,
        allow_plaintext: arguments.allow_plaintext,
        labels: arguments.labels.into_iter().collect(),
    })
    .await
    .with_context(|| format!("the Server at {listen} can't start"))?;
    tracing::info!(directory = %server.directory().address(), "ready");
    run::stop_signal().await;
    tracing::info!("asked to stop");
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}
