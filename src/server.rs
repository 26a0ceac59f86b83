//! `towpath server`: a Server in this process.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use towpath_directory::Status;
use towpath_server::{Server, ServerOptions};

use crate::cli;
use crate::process::exposition::{Family, Sample};
use crate::process::{http, logs};

/// Runs a Server until a signal.
///
/// # Errors
/// It doesn't start.
pub(crate) async fn server(arguments: cli::Server) -> anyhow::Result<ExitCode> {
    let logs = logs::start(&arguments.log, "server")?;
    let listen = arguments.listen;
    let member = arguments.member;
    let tls = &member.tls;
    let server = Server::start(ServerOptions {
        id: arguments.id,
        data_dir: arguments.data,
        listen,
        advertise: arguments.advertise,
        node_id: 1,
        plans: !arguments.directory_only,
        tls: tls
            .tls_cert
            .clone()
            .zip(tls.tls_key.clone())
            .map(|(certificate, key)| towpath_directory::Tls {
                certificate,
                key,
                client_ca: tls.tls_ca.clone(),
            }),
        allow_plaintext: member.allow_plaintext,
        tokens: member.tokens.all()?,
        demand_roles: arguments.roles,
        labels: arguments.labels.into_iter().collect(),
    })
    .await
    .with_context(|| format!("the Server at {listen} can't start"))?;
    logs.follow(server.session());
    let ready = server.directory().statuses();
    let scraped = server.directory().statuses();
    let http = http::serve(
        &member,
        Box::new(move || not_ready(&ready())),
        Box::new(move || families(&scraped())),
    )
    .await?;
    let directory = server.directory().address();
    tracing::info!(%directory, %http, "ready");
    let ports = json!({"directory": directory, "http": http});
    member.supervised.tell_ready(&ports)?;
    member.supervised.stop().await;
    tracing::info!("asked to stop");
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn not_ready(status: &Status) -> Vec<String> {
    match status.serving {
        true => Vec::new(),
        false => vec!["this member of the directory serves no clients".to_owned()],
    }
}

fn families(status: &Status) -> Vec<Family> {
    let family = |name, help, counter, value: u64| Family {
        name,
        help,
        counter,
        samples: Sample::one(value as f64),
    };
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    vec![
        family(
            "towpath_directory_serving",
            "Whether this member serves clients",
            false,
            status.serving.into(),
        ),
        family(
            "towpath_directory_zxid",
            "Number of the last change",
            false,
            status.zxid.unsigned_abs(),
        ),
        family(
            "towpath_directory_nodes",
            "Nodes in the tree",
            false,
            count(status.nodes),
        ),
        family(
            "towpath_directory_ephemeral_nodes",
            "Ephemeral nodes in the tree",
            false,
            count(status.ephemerals),
        ),
        family(
            "towpath_directory_data_bytes",
            "Bytes of paths and data in the tree",
            false,
            status.data_bytes,
        ),
        family(
            "towpath_directory_watches",
            "Watches that are set",
            false,
            count(status.watches),
        ),
        family(
            "towpath_directory_sessions",
            "Sessions that live",
            false,
            count(status.sessions),
        ),
        family(
            "towpath_directory_connections",
            "Connections of clients",
            false,
            count(status.connections),
        ),
        family(
            "towpath_directory_outstanding_requests",
            "Requests that wait for the log",
            false,
            count(status.outstanding),
        ),
        family(
            "towpath_directory_requests",
            "Requests of clients",
            true,
            status.received,
        ),
        family(
            "towpath_directory_expired_sessions",
            "Sessions that this member let expire",
            true,
            status.expired_sessions,
        ),
    ]
}
