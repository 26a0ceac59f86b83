//! Where the directory is.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use towpath_coordination::{
    ConnectOptions, Credentials, CredentialsError, Identity, Session, Tls, credentials,
};
use towpath_protocol::tree::Role;

/// A person waits for the answer.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where the directory is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Directory")]
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
    /// The folder of the roles' tokens: the file operator, and admin for dir set and dir rm.
    /// TOWPATH_OPERATOR_TOKEN and TOWPATH_ADMIN_TOKEN go first.
    #[arg(long, value_name = "DIR", env = "TOWPATH_TOKENS", global = true)]
    pub tokens: Option<PathBuf>,
    /// The cluster's authority, a PEM file: the directory speaks TLS, and it has signed its
    /// certificate.
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

/// What a note says, if the process that wrote it lives. A note in a folder of another user's, or
/// one that anybody could have written, says nothing.
fn noted(note: &Path) -> Option<String> {
    let own = std::fs::metadata("/proc/self").ok()?.uid();
    let folder = std::fs::symlink_metadata(note.parent()?).ok()?;
    let file = std::fs::symlink_metadata(note).ok()?;
    let ours = |what: &Metadata| what.uid() == own && what.mode() & 0o022 == 0;
    if !folder.is_dir() || !ours(&folder) || !file.is_file() || !ours(&file) {
        return None;
    }
    let text = std::fs::read_to_string(note).ok()?;
    let (directory, pid) = text.split_once('\n')?;
    let pid: u32 = pid.trim().parse().ok()?;
    Path::new("/proc")
        .join(pid.to_string())
        .exists()
        .then(|| directory.to_owned())
}

impl Connect {
    /// A session with the directory.
    ///
    /// # Errors
    /// Nobody said where it is, or it doesn't answer.
    pub async fn session(&self) -> anyhow::Result<Session> {
        self.session_as(&[Role::Operator, Role::Admin]).await
    }

    /// A session in which the tree may be changed by hand, if there is an admin's token.
    ///
    /// # Errors
    /// As above.
    pub async fn session_of_admin(&self) -> anyhow::Result<Session> {
        self.session_as(&[Role::Admin, Role::Operator]).await
    }

    /// What is shown to the directory: the first of these roles of which there is a token.
    fn credentials(&self, roles: &[Role]) -> Result<Credentials, CredentialsError> {
        for role in roles {
            if let Some(token) = credentials::tokens(*role, self.tokens.as_deref())?.first() {
                return Ok(Credentials {
                    role: *role,
                    token: Some(token.clone()),
                });
            }
        }
        Credentials::load(Role::Operator, self.tokens.as_deref())
    }

    async fn session_as(&self, roles: &[Role]) -> anyhow::Result<Session> {
        let mut addresses = self.directory.clone();
        addresses.retain(|address| !address.is_empty());
        if addresses.is_empty() {
            addresses.extend(note().and_then(|note| noted(&note)));
        }
        if addresses.is_empty() {
            anyhow::bail!(
                "which directory? give --directory ADDR:PORT of a Server, or set TOWPATH_DIRECTORY; \
                 no towpath run of this user is running here"
            );
        }
        let mut options = ConnectOptions::new(addresses);
        options.connect_timeout = CONNECT_MAX;
        options.tls = self.tls()?;
        options.credentials = Some(self.credentials(roles)?);
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

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_note_counts_while_its_writer_lives_and_nobody_else_could_write_it() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("directory");
        let own = std::process::id();
        assert_eq!(noted(&note), None);
        fs::write(&note, format!("127.0.0.1:2181\n{own}\n")).unwrap();
        fs::set_permissions(&note, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(noted(&note).as_deref(), Some("127.0.0.1:2181"));
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(noted(&note), None, "anybody could have put it there");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        // Above any pid of this kernel.
        fs::write(&note, "127.0.0.1:2181\n4194305\n").unwrap();
        assert_eq!(noted(&note), None, "its writer is gone");
        fs::write(&note, "127.0.0.1:2181").unwrap();
        assert_eq!(noted(&note), None, "half a note");
    }
}
