//! Certificates on the way to the directory: rustls with ring, PEM files.
//!
//! The files are read when a session is connected, and again whenever a connection is lost: who
//! renews a certificate replaces its file, and need not restart anything. What can't be used then
//! is logged, and what was read before stays.
//!
//! Nothing here trusts the system's authorities: a directory has its own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use zookeeper_client::{TlsCa, TlsCerts, TlsDynamicCerts, TlsIdentity, TlsOptions};

use crate::error::CoordinationError;

/// TLS on the way to the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authorities of which one must have signed the Server's certificate. Lists
    /// of revoked certificates in it are observed.
    pub server_ca: PathBuf,
    /// What we show to a Server that demands certificates.
    pub identity: Option<Identity>,
    /// Whether the Server's certificate must be for the host name or address that we connect to.
    /// True by default; without it any certificate of the authority will do, a Core's too.
    pub verify_host_name: bool,
}

impl Tls {
    /// With the name verified, and no certificate of our own.
    pub fn new(server_ca: impl Into<PathBuf>) -> Self {
        Self {
            server_ca: server_ca.into(),
            identity: None,
            verify_host_name: true,
        }
    }
}

/// A certificate of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM file of the chain, our own certificate first.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// What was read from the files.
#[derive(Clone)]
pub(crate) struct Certificates {
    tls: Tls,
    /// Shared with the client, which takes what is in it for each connection.
    current: TlsDynamicCerts,
}

impl Certificates {
    /// Reads the files.
    pub(crate) fn load(tls: Tls) -> Result<Self, CoordinationError> {
        // The client takes the process's provider. Without one, rustls would choose by how it was
        // built, and that is everybody's choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let current = TlsDynamicCerts::new(read(&tls)?);
        Ok(Self { tls, current })
    }

    /// Reads the files again, for connections to come.
    pub(crate) fn refresh(&self) {
        match read(&self.tls) {
            Ok(certificates) => self.current.update(certificates),
            Err(error) => {
                tracing::warn!(%error, "certificates could not be read again; those read before stay");
            }
        }
    }

    /// For the client.
    #[expect(
        unsafe_code,
        reason = "the client marks by it what makes a connection less trustworthy; memory is safe"
    )]
    pub(crate) fn options(&self) -> TlsOptions {
        let options = TlsOptions::new().with_certs(self.current.clone());
        if self.tls.verify_host_name {
            options
        } else {
            // SAFETY: the authority's signature is still required; asked for by name,
            // `verify_host_name`.
            unsafe { options.with_no_hostname_verification() }
        }
    }

    /// For a handshake of our own, which tells more than the client does.
    pub(crate) fn config(&self) -> Result<ClientConfig, CoordinationError> {
        config(&self.tls)
    }

    /// What was asked for.
    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tls.fmt(f)
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Finds what is wrong with the files here, since the client would only say that something is.
fn config(tls: &Tls) -> Result<ClientConfig, CoordinationError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.server_ca)? {
        roots
            .add(certificate)
            .map_err(|error| unusable(&tls.server_ca, &error))?;
    }
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&tls.server_ca, &error))?
        .with_root_certificates(roots);
    match &tls.identity {
        None => Ok(builder.with_no_client_auth()),
        Some(Identity { certificate, key }) => {
            let chain = certificates(certificate)?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                unusable(key, &format!("there is no private key in it: {error}"))
            })?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|error| {
                    let certificate = certificate.display();
                    unusable(
                        key,
                        &format!("it doesn't fit the certificate {certificate}: {error}"),
                    )
                })
        }
    }
}

/// The files for the client.
fn read(tls: &Tls) -> Result<TlsCerts, CoordinationError> {
    config(tls)?;
    let server_ca = TlsCa::from_pem(&text(&tls.server_ca)?)
        .map_err(|error| unusable(&tls.server_ca, &error))?;
    let mut builder = TlsCerts::builder().with_ca(server_ca);
    if let Some(Identity { certificate, key }) = &tls.identity {
        let identity = TlsIdentity::from_pem(&text(certificate)?, &text(key)?)
            .map_err(|error| unusable(certificate, &error))?;
        builder = builder.with_identity(identity);
    }
    builder
        .build()
        .map_err(|error| unusable(&tls.server_ca, &error))
}

fn text(path: &Path) -> Result<String, CoordinationError> {
    std::fs::read_to_string(path).map_err(|error| unusable(path, &error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CoordinationError> {
    let text = text(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(unusable(path, &"there is no certificate in it")),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, reason: &dyn fmt::Display) -> CoordinationError {
    CoordinationError::Certificate {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
