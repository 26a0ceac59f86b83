//! Where the directory is.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use towpath_coordination::{ConnectOptions, Identity, Session, Tls};

/// A person waits for the answer.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where the directory is.
#[derive(Clone, Debug, Args)]
pub struct Connect {
    /// Where the directory is: host:port of one or more Servers, separated by commas.
    #[arg(
        long,
        value_name = "ADDR:PORT[,…]",
        env = "TOWPATH_DIRECTORY",
        value_delimiter = ',',
        global = true
    )]
    pub directory: Vec<String>,
    /// The cluster's authority, a PEM file: the directory speaks TLS, and it has signed its certificate.
    #[arg(long, value_name = "FILE", env = "TOWPATH_TLS_CA", global = true)]
    pub tls_ca: Option<PathBuf>,
    /// A certificate of ours, a PEM file, if the directory demands one.
    #[arg(
        long,
        value_name = "FILE",
        env = "TOWPATH_TLS_CERT",
        requires = "tls_key",
        global = true
    )]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, a PEM file.
    #[arg(
        long,
        value_name = "FILE",
        env = "TOWPATH_TLS_KEY",
        requires = "tls_cert",
        global = true
    )]
    pub tls_key: Option<PathBuf>,
}

/// Where `towpath run` notes for this user's other commands where its directory is.
pub fn note() -> Option<PathBuf> {
    let folder = match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(folder) if folder.is_absolute() => folder,
        _ => {
            let uid = std::fs::metadata("/proc/self").ok()?.uid();
            PathBuf::from(format!("/tmp/towpath-{uid}"))
        }
    };
    Some(folder.join("towpath").join("directory"))
}

impl Connect {
    /// A session with the directory.
    ///
    /// # Errors
    /// Nobody said where it is, or it doesn't answer.
    pub async fn session(&self) -> anyhow::Result<Session> {
        if self.directory.is_empty() {
            anyhow::bail!(
                "which directory? give --directory ADDR:PORT of a Server, or set TOWPATH_DIRECTORY"
            );
        }
        let mut options = ConnectOptions::new(self.directory.iter().cloned());
        options.connect_timeout = CONNECT_MAX;
        options.tls = self.tls()?;
        // A console holds nothing that another should get soon.
        options.session_timeout = Duration::from_secs(10);
        Ok(Session::connect(options).await?)
    }
    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let identity = self.tls_cert.clone().zip(self.tls_key.clone());
        let Some(ca) = &self.tls_ca else {
            if identity.is_some() {
                anyhow::bail!("--tls-cert needs --tls-ca too: who has signed the directory's?");
            }
            return Ok(None);
        };
        let mut tls = Tls::new(ca);
        tls.identity = identity.map(|(certificate, key)| Identity { certificate, key });
        Ok(Some(tls))
    }
}
