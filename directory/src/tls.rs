//! Certificates for the client port and the peer port: rustls with ring, PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::{PeerTls, Tls};

/// Why the certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or holds no PEM of its kind.
    #[error("{}: {reason}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The files don't fit together.
    #[error("the certificate, its key and the client authority don't fit together: {0}")]
    Mismatch(String),
}

pub(crate) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, TlsError> {
    let mismatch = |error: &dyn std::fmt::Display| TlsError::Mismatch(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&tls.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| file(&tls.key, &error))?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| mismatch(&error))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| file(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|error| mismatch(&error))?)
        }
    };
    let config = builder
        .with_single_cert(chain, key)
        .map_err(|error| mismatch(&error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// For the peer port: how to accept, and how to dial. Both sides show a certificate that the peers'
/// authority has signed, and nothing older than TLS 1.3 is spoken.
pub(crate) fn peers(tls: &PeerTls) -> Result<(TlsAcceptor, TlsConnector), TlsError> {
    const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
    let mismatch = |error: &dyn std::fmt::Display| TlsError::Mismatch(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&tls.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| file(&tls.key, &error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca)? {
        roots
            .add(certificate)
            .map_err(|error| file(&tls.ca, &error))?;
    }
    let roots = Arc::new(roots);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(VERSIONS)
        .map_err(|error| mismatch(&error))?
        .with_client_cert_verifier(verifier.map_err(|error| mismatch(&error))?)
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(|error| mismatch(&error))?;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)
        .map_err(|error| mismatch(&error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| mismatch(&error))?;
    for protocols in [&mut server.alpn_protocols, &mut client.alpn_protocols] {
        protocols.push(b"h2".to_vec());
    }
    Ok((
        TlsAcceptor::from(Arc::new(server)),
        TlsConnector::from(Arc::new(client)),
    ))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| file(path, &error))?
        .collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(file(path, &"there is no certificate in it")),
        Err(error) => Err(file(path, &error)),
    }
}

fn file(path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
