//! TLS on the way to a real directory: who is trusted, who isn't, and what is said about it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use towpath_coordination::{
    ConnectOptions, CoordinationError, Expect, Identity, Session, SessionState, Tls,
};
use towpath_directory::{Config, Directory};
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::LogConfig;

use crate::support::{soon, state};

/// Longest that a session in vain may take here.
const TIMEOUT: Duration = Duration::from_secs(3);

struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    certificate: PathBuf,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = dir.join(format!("{name}.crt"));
        std::fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: rcgen::Issuer::new(params, key),
            certificate,
        }
    }

    /// Certificate and key for `names`.
    fn issue(&self, dir: &Path, file: &str, names: &[&str]) -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = rcgen::CertificateParams::new(names).unwrap();
        let identity = Identity {
            certificate: dir.join(format!("{file}.crt")),
            key: dir.join(format!("{file}.key")),
        };
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(&identity.certificate, signed.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }
}

struct Place {
    dir: TempDir,
    ours: Authority,
    other: Authority,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self {
            ours: Authority::new(dir.path(), "ours"),
            other: Authority::new(dir.path(), "other"),
            dir,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A directory that shows a certificate for `names`.
    async fn serve(&self, names: &[&str], client_ca: Option<&Authority>) -> Directory {
        Directory::start(self.config(names, client_ca))
            .await
            .unwrap()
    }

    fn config(&self, names: &[&str], client_ca: Option<&Authority>) -> Config {
        let Identity { certificate, key } = self.ours.issue(self.path(), "server", names);
        let mut config = Config::new(self.path().join("directory"));
        config.tls = Some(towpath_directory::Tls {
            certificate,
            key,
            client_ca: client_ca.map(|authority| authority.certificate.clone()),
        });
        config
    }

    /// Options that trust our authority.
    fn options(&self, address: impl ToString) -> ConnectOptions {
        let mut options = ConnectOptions::new([address.to_string()]);
        options.connect_timeout = TIMEOUT;
        options.tls = Some(Tls::new(&self.ours.certificate));
        options
    }

    fn shows(&self, address: impl ToString, identity: &Identity) -> ConnectOptions {
        let mut options = self.options(address);
        options.tls.as_mut().unwrap().identity = Some(identity.clone());
        options
    }
}

async fn works(options: ConnectOptions) -> Session {
    let session = soon(Session::connect(options)).await.unwrap();
    let filter = LogConfig {
        filter: "debug".into(),
    };
    let path = path::log_config();
    session
        .write(&path, filter.clone(), Expect::Anything)
        .await
        .unwrap();
    let read = session.read::<LogConfig>(&path).await.unwrap().unwrap();
    assert_eq!(read.value.record, filter);
    session
}

/// What is said when no session comes, in the time that there is for it.
async fn refused(options: ConnectOptions) -> String {
    let begun = Instant::now();
    let error = soon(Session::connect(options)).await.unwrap_err();
    assert!(
        begun.elapsed() < TIMEOUT + Duration::from_secs(1),
        "{error} after {:?}",
        begun.elapsed()
    );
    let CoordinationError::Unreachable { found, .. } = error else {
        panic!("{error:?}")
    };
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_must_be_who_the_authority_says() {
    let place = Place::new();
    let directory = place.serve(&["127.0.0.1"], None).await;
    works(place.options(directory.address()))
        .await
        .close()
        .await;

    let mut options = place.options(directory.address());
    options.tls = Some(Tls::new(&place.other.certificate));
    let found = refused(options).await;
    assert!(found.contains("other.crt doesn't vouch for"), "{found}");
    assert_eq!(directory.status().sessions, 0, "{:?}", directory.status());
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_s_name_counts_unless_told_otherwise() {
    let place = Place::new();
    let directory = place.serve(&["directory.example"], None).await;
    let found = refused(place.options(directory.address())).await;
    assert!(found.contains("a certificate for another name"), "{found}");

    let mut options = place.options(directory.address());
    options.tls.as_mut().unwrap().verify_host_name = false;
    works(options).await.close().await;
    let mut options = place.options(directory.address());
    options.tls = Some(Tls {
        verify_host_name: false,
        ..Tls::new(&place.other.certificate)
    });
    let found = refused(options).await;
    assert!(
        found.contains("doesn't vouch for"),
        "the authority counts in any case: {found}"
    );
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_that_is_demanded_must_be_shown() {
    let place = Place::new();
    let directory = place.serve(&["127.0.0.1"], Some(&place.ours)).await;
    let address = directory.address();
    let client = place.ours.issue(place.path(), "client", &["core-1"]);
    works(place.shows(address, &client)).await.close().await;

    let found = refused(place.options(address)).await;
    assert!(found.contains("demands a client certificate"), "{found}");
    let stranger = place.other.issue(place.path(), "stranger", &["core-1"]);
    let found = refused(place.shows(address, &stranger)).await;
    assert!(found.contains("refuses our client certificate"), "{found}");
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_on_one_side_only_is_told() {
    let place = Place::new();
    let secured = place.serve(&["127.0.0.1"], None).await;
    let mut options = place.options(secured.address());
    options.tls = None;
    let found = refused(options).await;
    assert!(found.contains("speaks TLS, give"), "{found}");
    secured.stop().await;

    let plain = Directory::start(Config::new(place.path().join("plain")))
        .await
        .unwrap();
    let found = refused(place.options(plain.address())).await;
    assert!(found.contains("doesn't speak TLS"), "{found}");
    let address = plain.address();
    plain.stop().await;

    let found = refused(place.options(address)).await;
    assert!(found.contains("is a Server running there?"), "{found}");
}

/// Each address is told about, in the order given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_silent_or_a_stranger_is_told() {
    let place = Place::new();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stranger = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [&silent, &stranger].map(|it| it.local_addr().unwrap().to_string());
    let babble = tokio::spawn(async move {
        while let Ok((mut stream, _)) = stranger.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-x\r\n").await;
        }
    });
    for tls in [None, Some(Tls::new(&place.ours.certificate))] {
        let mut options = ConnectOptions::new(addresses.clone());
        options.connect_timeout = TIMEOUT;
        options.tls = tls;
        let found = refused(options).await;
        let (first, second) = found.split_once("; ").unwrap();
        assert!(first.contains("doesn't answer"), "{found}");
        // With TLS it depends on whether its words or its farewell come first.
        let told = ["is no Server", "ends the TLS handshake"];
        assert!(told.iter().any(|told| second.contains(told)), "{found}");
    }
    babble.abort();
}

#[tokio::test]
async fn a_file_that_can_t_be_used_is_named_at_once() {
    let place = Place::new();
    let good = place.ours.issue(place.path(), "good", &["a"]);
    let other = place.ours.issue(place.path(), "mine", &["a"]);
    let empty = place.path().join("empty.pem");
    std::fs::write(&empty, "no PEM\n").unwrap();
    let missing = place.path().join("missing.pem");
    let ours = &place.ours.certificate;
    let identity = |certificate: &PathBuf, key: &PathBuf| {
        Some(Identity {
            certificate: certificate.clone(),
            key: key.clone(),
        })
    };
    for (server_ca, identity, culprit) in [
        (&missing, None, &missing),
        (&empty, None, &empty),
        (&good.key, None, &good.key),
        (ours, identity(&empty, &good.key), &empty),
        (ours, identity(&missing, &good.key), &missing),
        (ours, identity(&good.certificate, &empty), &empty),
        (ours, identity(&good.certificate, &missing), &missing),
        (ours, identity(&good.certificate, &other.key), &other.key),
    ] {
        let mut options = place.options("127.0.0.1:1");
        options.tls = Some(Tls {
            identity,
            ..Tls::new(server_ca)
        });
        let error = Session::connect(options).await.unwrap_err();
        let CoordinationError::Certificate { path, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(path, culprit, "{error}");
    }
}

/// The Server changes its authority, and our file is replaced before it does: no restart of ours,
/// and the same session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_files_are_taken_at_the_next_connection() {
    let place = Place::new();
    let mut config = place.config(&["127.0.0.1"], None);
    let first = Directory::start(config.clone()).await.unwrap();
    config.listen = first.address();
    let trusted = place.path().join("trusted.crt");
    std::fs::copy(&place.ours.certificate, &trusted).unwrap();
    let mut options = place.options(config.listen);
    options.session_timeout = Duration::from_secs(20);
    options.tls = Some(Tls::new(&trusted));
    let session = works(options).await;

    let Identity { certificate, key } = place.other.issue(place.path(), "renewed", &["127.0.0.1"]);
    let tls = config.tls.as_mut().unwrap();
    (tls.certificate, tls.key) = (certificate, key);
    std::fs::copy(&place.other.certificate, &trusted).unwrap();
    first.stop().await;
    state(&session, SessionState::Disconnected).await;
    let second = Directory::start(config).await.unwrap();
    state(&session, SessionState::Connected).await;
    assert_eq!(session.status().incarnation, 1);
    session.close().await;
    second.stop().await;
}
