//! TLS to a source by rustls with the ring provider: MySQL's five `--ssl-mode`s.
//!
//! | mode | encrypted | chain verified | host verified |
//! |---|---|---|---|
//! | disabled | no | | |
//! | preferred | if the server offers it | no | no |
//! | required | yes | no | no |
//! | verify-ca | yes | yes | no |
//! | verify-identity | yes | yes | yes |
//!
//! Signatures of the handshake are verified in every mode: the unverified modes don't know whom
//! they talk to, but they do know that it's one and the same peer. With a `tls_ca` file only its
//! authorities are trusted; without one, verification has nothing to trust and is refused, as
//! databases are rarely certified by public authorities.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use towpath_protocol::spec::{Endpoint, TlsMode};

use super::error::SourceError;

/// The largest file of authorities that is read, in bytes: the bundle of all public ones has 250
/// kB.
pub(crate) const CA_FILE_LEN_MAX: u64 = 4 << 20;

/// Encrypts an open connection as the endpoint asks.
pub(super) async fn encrypt(
    stream: TcpStream,
    endpoint: &Endpoint,
) -> Result<TlsStream<TcpStream>, SourceError> {
    let config = client_config(endpoint)?;
    let name = server_name(endpoint)?;
    let cause = |cause| SourceError::Tls { cause };
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(cause)
}

/// The name for SNI and, with verify-identity, for the certificate.
fn server_name(endpoint: &Endpoint) -> Result<ServerName<'static>, SourceError> {
    let host = endpoint.host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_| SourceError::TlsConfig {
        what: format!("`{host}` is neither a host name nor an address"),
    })
}

fn client_config(endpoint: &Endpoint) -> Result<ClientConfig, SourceError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| SourceError::Tls {
            cause: io::Error::other(error),
        })?;
    let config = match endpoint.tls {
        TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(UnverifiedPeer(provider))),
        TlsMode::VerifyCa => {
            let roots = read_authorities(endpoint)?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyHost { roots, provider }))
        }
        TlsMode::VerifyIdentity => {
            let roots = Arc::new(read_authorities(endpoint)?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| SourceError::TlsConfig {
                    what: error.to_string(),
                })?;
            builder.with_webpki_verifier(verifier)
        }
    };
    Ok(config.with_no_client_auth())
}

/// The authorities of `tls_ca`, a PEM file of one or more certificates.
fn read_authorities(endpoint: &Endpoint) -> Result<RootCertStore, SourceError> {
    let wrong = |what| SourceError::TlsConfig { what };
    let Some(path) = &endpoint.tls_ca else {
        return Err(wrong(
            "tls verifies the certificate but tls_ca is not set".to_owned(),
        ));
    };
    let unusable = |why: &dyn std::fmt::Display| wrong(format!("{}: {why}", path.display()));
    let len = std::fs::metadata(path)
        .map_err(|error| unusable(&error))?
        .len();
    if len > CA_FILE_LEN_MAX {
        return Err(unusable(&format!(
            "{len} bytes, the bound is {CA_FILE_LEN_MAX}"
        )));
    }
    let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    if roots.is_empty() {
        return Err(unusable(&"no certificate in it"));
    }
    Ok(roots)
}

/// Preferred and required: any certificate will do. Protects from listeners, not from a
/// man in the middle; exactly what MySQL's clients do in these modes.
#[derive(Debug)]
struct UnverifiedPeer(Arc<CryptoProvider>);

impl ServerCertVerifier for UnverifiedPeer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Verify-ca: the chain must lead to one of our authorities and be valid today, for whatever
/// host. The certificates that MySQL makes for itself name no host at all.
#[derive(Debug)]
struct AnyHost {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
