//! The HTTP port of a role: `/healthz`, `/readyz`, `/metrics`.
//!
//! On loopback it's open, in plain HTTP, so that a health check needs no certificate; a token is
//! demanded if there is one. Elsewhere it speaks TLS, and whoever asks shows a certificate of the
//! cluster's authority or the token. `/healthz` needs no token: it says that the process lives, and
//! no more.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use clap::Args;
use prometheus_client::registry::Registry;
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::exposition::{self, Scrape};
use crate::cli::Member;

/// A client that hasn't finished its TLS handshake by then is dropped.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Handshakes at once: a flood waits in the kernel.
const HANDSHAKES_MAX: usize = 64;

/// The HTTP port.
#[derive(Clone, Debug, Args)]
pub(crate) struct Http {
    /// Where to answer /metrics, /healthz and /readyz; port 0 picks a free one, which the member's
    /// node in the directory tells.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    pub(crate) http: SocketAddr,
    /// A token that readers of the HTTP port show: Authorization: Bearer TOKEN.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "TOWPATH_HTTP_TOKEN",
        hide_env_values = true
    )]
    pub(crate) http_token: Option<String>,
}

/// Whether the role does its work: the reasons why not, none if it does.
pub(crate) type Ready = dyn Fn() -> Vec<String> + Send + Sync;

struct Role {
    ready: Box<Ready>,
    registry: Registry,
    token: Option<[u8; 32]>,
}

/// Answers from now on; says where.
///
/// # Errors
/// The address can't be listened on, or isn't loopback and nothing protects it.
pub(crate) async fn serve(
    member: &Member,
    ready: Box<Ready>,
    scrape: Box<Scrape>,
) -> anyhow::Result<SocketAddr> {
    let options = &member.http;
    if options.http_token.as_deref().is_some_and(str::is_empty) {
        bail!("--http-token, or TOWPATH_HTTP_TOKEN, is empty: give a token or leave it out");
    }
    let address = options.http;
    let acceptor = match address.ip().is_loopback() {
        true => None,
        false => member.tls.acceptor()?,
    };
    let guarded = options.http_token.is_some() || member.tls.tls_ca.is_some();
    if !address.ip().is_loopback() && !member.allow_plaintext && (acceptor.is_none() || !guarded) {
        bail!(
            "--http {address} isn't loopback: give --tls-cert and --tls-key, and --tls-ca or \
             --http-token; or --allow-plaintext if this network is trusted"
        );
    }
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("--http {address}: can't listen there"))?;
    let bound = listener.local_addr()?;
    let role = Arc::new(Role {
        ready,
        registry: exposition::registry(scrape),
        token: options
            .http_token
            .as_ref()
            .map(|token| Sha256::digest(token).into()),
    });
    let router = Router::new()
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(role.clone(), authorized))
        .route("/healthz", get(async || "alive\n"))
        .with_state(role);
    tokio::spawn(async move {
        let served = match acceptor {
            None => axum::serve(listener, router).await,
            Some(acceptor) => axum::serve(TlsPort::new(listener, acceptor, bound), router).await,
        };
        if let Err(error) = served {
            tracing::error!(%error, "the HTTP port has ended");
        }
    });
    Ok(bound)
}

async fn authorized(State(role): State<Arc<Role>>, request: Request, next: Next) -> Response {
    if let Some(token) = &role.token {
        let shown = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
            .map(Sha256::digest);
        // Digests are compared, so that the time that it takes says nothing of the token.
        if shown.is_none_or(|shown| shown.as_slice() != token) {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            return (StatusCode::UNAUTHORIZED, challenge, "show the token\n").into_response();
        }
    }
    next.run(request).await
}

async fn readyz(State(role): State<Arc<Role>>) -> Response {
    let reasons = (role.ready)();
    match reasons.is_empty() {
        true => "ready\n".into_response(),
        false => {
            let text = format!("not ready: {}\n", reasons.join("; "));
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn metrics(State(role): State<Arc<Role>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &role.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A listener whose connections have shaken hands: a slow one makes nobody wait.
struct TlsPort {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsPort {
    fn new(listener: TcpListener, acceptor: TlsAcceptor, address: SocketAddr) -> Self {
        let (shaken, ready) = mpsc::channel(HANDSHAKES_MAX);
        let room = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        tokio::spawn(async move {
            loop {
                let Ok(place) = room.clone().acquire_owned().await else {
                    return;
                };
                let (stream, peer) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "the HTTP port could not take a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                };
                let (acceptor, shaken) = (acceptor.clone(), shaken.clone());
                tokio::spawn(async move {
                    let handshake = acceptor.accept(stream);
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
                        let _ = shaken.send((stream, peer)).await;
                    }
                    drop(place);
                });
            }
        });
        Self { address, ready }
    }
}

impl axum::serve::Listener for TlsPort {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
