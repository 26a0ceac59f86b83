//! TLS on the client port, and certificates that clients must show.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use towpath_directory::{Config, Directory, StartError, Tls};

use crate::raw::{connect_record, get};

pub(crate) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub(crate) certificate: PathBuf,
}

impl Authority {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = dir.join(name);
        std::fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: rcgen::Issuer::new(params, key),
            certificate,
        }
    }

    /// Certificate and key for `localhost`.
    fn issue(&self, dir: &Path, name: &str) -> (PathBuf, PathBuf) {
        self.issue_for(dir, name, "localhost")
    }

    /// Certificate and key for a DNS name.
    pub(crate) fn issue_for(&self, dir: &Path, name: &str, dns: &str) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![dns.into()]).unwrap();
        let (certificate, key_file) = (
            dir.join(format!("{name}.crt")),
            dir.join(format!("{name}.key")),
        );
        std::fs::write(
            &certificate,
            params.signed_by(&key, &self.issuer).unwrap().pem(),
        )
        .unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        (certificate, key_file)
    }
}

/// Opens a session over TLS; the session's id.
async fn session(
    directory: &Directory,
    authority: &Authority,
    own: Option<&(PathBuf, PathBuf)>,
) -> std::io::Result<i64> {
    Ok(open(directory, authority, own).await?.1)
}

/// Opens a session over TLS; the connection, and the session's id.
async fn open(
    directory: &Directory,
    authority: &Authority,
    own: Option<&(PathBuf, PathBuf)>,
) -> std::io::Result<(TlsStream<TcpStream>, i64)> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&authority.certificate).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
                .unwrap()
        }
    };
    let stream = TcpStream::connect(directory.address()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    stream
        .write_all(&connect_record(0, 5000, 0, &[0; 16]))
        .await?;
    let len = stream.read_i32().await?;
    let mut reply = vec![0; len as usize];
    stream.read_exact(&mut reply).await?;
    let session = i64::from_be_bytes(reply[8..16].try_into().unwrap());
    Ok((stream, session))
}

#[tokio::test]
async fn tls_with_and_without_client_certificates() {
    let dir = TempDir::new().unwrap();
    let ours = Authority::new(dir.path(), "ours.crt");
    let other = Authority::new(dir.path(), "other.crt");
    let (certificate, key) = ours.issue(dir.path(), "server");
    let client = ours.issue(dir.path(), "client");
    let stranger = other.issue(dir.path(), "stranger");

    let mut config = Config::new(dir.path().join("a"));
    config.tls = Some(Tls {
        certificate: certificate.clone(),
        key: key.clone(),
        client_ca: None,
    });
    let directory = Directory::start(config).await.unwrap();
    assert_ne!(session(&directory, &ours, None).await.unwrap(), 0);
    assert!(
        session(&directory, &other, None).await.is_err(),
        "the server is not whom the client trusts"
    );
    let mut plain = TcpStream::connect(directory.address()).await.unwrap();
    plain
        .write_all(&connect_record(0, 5000, 0, &[0; 16]))
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(
        answer.len() < 16,
        "no session without TLS, but an alert: {answer:?}"
    );
    directory.stop().await;

    let mut config = Config::new(dir.path().join("b"));
    config.tls = Some(Tls {
        certificate: certificate.clone(),
        key: key.clone(),
        client_ca: Some(ours.certificate.clone()),
    });
    let directory = Directory::start(config).await.unwrap();
    assert_ne!(session(&directory, &ours, Some(&client)).await.unwrap(), 0);
    assert!(session(&directory, &ours, None).await.is_err());
    assert!(session(&directory, &ours, Some(&stranger)).await.is_err());
    directory.stop().await;

    let mut config = Config::new(dir.path().join("c"));
    config.tls = Some(Tls {
        certificate,
        key: client.1,
        client_ca: None,
    });
    assert!(
        matches!(Directory::start(config).await, Err(StartError::Tls(_))),
        "a key that isn't the certificate's"
    );
}

/// Plain text, noise, half of a hello and silence on a TLS port end their own connections only.
#[tokio::test]
async fn garbage_on_a_tls_port_harms_nobody() {
    let dir = TempDir::new().unwrap();
    let ours = Authority::new(dir.path(), "ours.crt");
    let (certificate, key) = ours.issue(dir.path(), "server");
    let mut config = Config::new(dir.path().join("a"));
    config.timers.handshake = Duration::from_millis(500);
    config.tls = Some(Tls {
        certificate,
        key,
        client_ca: None,
    });
    let directory = Directory::start(config).await.unwrap();
    let (mut good, _) = open(&directory, &ours, None).await.unwrap();
    let mut rude = Vec::new();
    for bytes in [
        &connect_record(0, 5000, 0, &[0; 16])[..],
        b"ruok",
        b"",
        &[0xff; 4096],
        // A handshake record that promises 16 kB, and the beginning of a hello.
        &[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3],
        &[22, 3, 1, 0xff, 0xff],
        &[21, 3, 3, 0, 2, 2, 40],
    ] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(directory.address()).await.unwrap();
            let _ = stream.write_all(bytes).await;
            rude.push(stream);
        }
    }
    for (xid, mut stream) in (1..).zip(rude) {
        good.write_all(&get(xid, "/", false)).await.unwrap();
        let mut reply = vec![0; good.read_i32().await.unwrap() as usize];
        good.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[..4], xid.to_be_bytes());
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
        let _ = closed.await.expect("the server ends it");
        assert!(rest.len() < 16, "nothing but an alert: {rest:?}");
    }
    assert_eq!(directory.status().connections, 1);
    directory.stop().await;
}
