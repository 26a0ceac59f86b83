//! One HTTP/1.1 request on a connection of its own, with TLS where the address says https.
//!
//! Alerts are few, so nothing is pooled, nothing is redirected, and an answer's body isn't read.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where requests go. Its address is a secret.
pub(super) struct Target {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
}

/// Why an address can't be used. Never quotes it.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No URL.
    #[error("url is no http or https address; write url = \"https://host/path\"")]
    Url,
    /// No authorities.
    #[error("can't read certificate authorities from tls_ca; give a PEM file")]
    Authorities(#[source] rustls::pki_types::pem::Error),
    /// TLS can't be set up.
    #[error("can't set up TLS")]
    Tls(#[from] rustls::Error),
}

impl Target {
    pub(super) fn new(
        url: &str,
        authorities: Option<&std::path::Path>,
    ) -> Result<Self, TargetError> {
        let uri: Uri = url.parse().map_err(|_| TargetError::Url)?;
        let host = uri.host().ok_or(TargetError::Url)?;
        let bare = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(TargetError::Url),
        };
        let tls = if secure {
            let name = ServerName::try_from(bare.clone()).map_err(|_| TargetError::Url)?;
            Some((connector(authorities)?, name))
        } else {
            None
        };
        Ok(Self {
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            host: bare,
            tls,
            uri,
        })
    }

    /// Sends a POST, and waits for the head of the answer. The caller bounds the time.
    pub(super) async fn post(
        &self,
        headers: &[(String, String)],
        body: String,
    ) -> Result<Answer, String> {
        let address = (&*self.host, self.port);
        let tcp = TcpStream::connect(address)
            .await
            .map_err(|error| format!("can't connect: {error}"))?;
        let _ = tcp.set_nodelay(true);
        match &self.tls {
            None => self.exchange(tcp, headers, body).await,
            Some((connector, name)) => {
                let stream = connector
                    .connect(name.clone(), tcp)
                    .await
                    .map_err(|error| format!("TLS: {error}"))?;
                self.exchange(stream, headers, body).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        headers: &[(String, String)],
        body: String,
    ) -> Result<Answer, String> {
        let wrong = |error: hyper::Error| format!("HTTP: {error}");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
                .await
                .map_err(wrong)?;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let mut request = Request::post(path).header("host", authority);
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| format!("header {name} holds what no header may"))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| "url can't be requested".to_owned())?;
        let exchange = sender.send_request(request);
        tokio::pin!(connection, exchange);
        let response = tokio::select! {
            response = &mut exchange => response,
            // It drives the exchange, and may end together with it.
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => return Err(wrong(error)),
            },
        }
        .map_err(wrong)?;
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
        })
    }
}

fn connector(authorities: Option<&std::path::Path>) -> Result<TlsConnector, TargetError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(file) => {
            let found = CertificateDer::pem_file_iter(file).map_err(TargetError::Authorities)?;
            for authority in found {
                roots.add(authority.map_err(TargetError::Authorities)?)?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
