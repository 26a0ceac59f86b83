//! Certificates of a process: its own, and the authority of all processes of the cluster.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Certificates, PEM files. All processes of a cluster have the same authority.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Tls {
    /// The cluster's authority: it must have signed the certificate of whoever we speak with. PEM
    /// file.
    #[arg(long, value_name = "FILE", env = "TOWPATH_TLS_CA")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// This process's certificate and those above it. PEM file.
    #[arg(
        long,
        value_name = "FILE",
        env = "TOWPATH_TLS_CERT",
        requires = "tls_key"
    )]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key. PEM file.
    #[arg(
        long,
        value_name = "FILE",
        env = "TOWPATH_TLS_KEY",
        requires = "tls_cert"
    )]
    pub(crate) tls_key: Option<PathBuf>,
}

impl Tls {
    /// What this process shows and demands on the way to the directory; `None` without an
    /// authority.
    pub(crate) fn to_directory(&self) -> Option<towpath_coordination::Tls> {
        let identity = self.tls_cert.clone().zip(self.tls_key.clone());
        let mut tls = towpath_coordination::Tls::new(self.tls_ca.clone()?);
        tls.identity =
            identity.map(|(certificate, key)| towpath_coordination::Identity { certificate, key });
        Some(tls)
    }

    /// What a port of this process shows and demands; `None` without a certificate of its own.
    ///
    /// # Errors
    /// A file can't be used.
    pub(crate) fn acceptor(&self) -> anyhow::Result<Option<TlsAcceptor>> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        let certificates = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("--tls-cert {}: no PEM certificates", cert.display()))?;
        if certificates.is_empty() {
            bail!("--tls-cert {}: no certificate in it", cert.display());
        }
        let private = PrivateKeyDer::from_pem_file(key)
            .with_context(|| format!("--tls-key {}: no PEM private key", key.display()))?;
        let config = ServerConfig::builder();
        let config = match &self.tls_ca {
            None => config.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                let authorities = CertificateDer::pem_file_iter(ca)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .with_context(|| format!("--tls-ca {}: no PEM certificates", ca.display()))?;
                for authority in authorities {
                    roots
                        .add(authority)
                        .with_context(|| format!("--tls-ca {}", ca.display()))?;
                }
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                    .build()
                    .with_context(|| format!("--tls-ca {}", ca.display()))?;
                config.with_client_cert_verifier(verifier)
            }
        };
        let config = config
            .with_single_cert(certificates, private)
            .with_context(|| {
                format!(
                    "--tls-cert {} and --tls-key {} don't go together",
                    cert.display(),
                    key.display()
                )
            })?;
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}
