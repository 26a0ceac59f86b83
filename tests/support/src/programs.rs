//! Finds the database server's programs, in an order that a user can steer.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Which server the programs belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerKind {
    /// MySQL 8.0 or newer.
    MySql,
    /// MariaDB: only where no MySQL was found.
    MariaDb,
}

/// An installed or unpacked server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    kind: ServerKind,
    server: PathBuf,
    version: String,
}

impl Programs {
    /// Looks in `$TOWPATH_MYSQL_BIN`, in `.build/mysql/bin` of the repository, in `$PATH` and in
    /// the usual directories of servers, and takes MariaDB if there is no MySQL in any of them.
    ///
    /// # Errors
    /// When there is neither, or when `$TOWPATH_MYSQL_BIN` names a directory without them; the
    /// error says what to run.
    pub fn find() -> Result<Self> {
        if let Some(dir) = env::var_os("TOWPATH_MYSQL_BIN") {
            let dir = PathBuf::from(dir);
            return Self::in_dir(&dir, ServerKind::MySql)
                .or_else(|| Self::in_dir(&dir, ServerKind::MariaDb))
                .with_context(|| {
                    format!(
                        "TOWPATH_MYSQL_BIN is {}, where no mysqld runs",
                        dir.display()
                    )
                });
        }
        let mut dirs = vec![build_dir().join("mysql/bin")];
        dirs.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
        dirs.extend(["/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin"].map(PathBuf::from));
        for kind in [ServerKind::MySql, ServerKind::MariaDb] {
            if let Some(found) = dirs.iter().find_map(|dir| Self::in_dir(dir, kind)) {
                return Ok(found);
            }
        }
        bail!(
            "no MySQL server found: run `scripts/get-mysql .build/mysql` in the repository, \
             or set TOWPATH_MYSQL_BIN to the directory that holds mysqld"
        )
    }

    fn in_dir(dir: &Path, kind: ServerKind) -> Option<Self> {
        let names: &[&str] = match kind {
            ServerKind::MySql => &["mysqld"],
            ServerKind::MariaDb => &["mariadbd", "mysqld"],
        };
        names.iter().map(|name| dir.join(name)).find_map(|server| {
            let version = version_of(&server)?;
            // MariaDB's packages install a mysqld too.
            let found = if version.contains("MariaDB") {
                ServerKind::MariaDb
            } else {
                ServerKind::MySql
            };
            (found == kind).then_some(Self {
                kind,
                server,
                version,
            })
        })
    }

    /// MySQL or MariaDB.
    #[must_use]
    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// The server program, mysqld or mariadbd.
    #[must_use]
    pub fn server(&self) -> &Path {
        &self.server
    }

    /// Another program from the server's own directory or `$PATH`, such as `mysqlbinlog`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        match self.server.parent().map(|dir| dir.join(name)) {
            Some(path) if path.exists() => path,
            _ => PathBuf::from(name),
        }
    }

    /// The version as the server writes it, such as `9.7.4-2`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// `Ver 9.7.4-2 for Linux on x86_64 ((Debian))` gives `9.7.4-2`; nothing if it doesn't run.
fn version_of(server: &Path) -> Option<String> {
    if !server.is_file() {
        return None;
    }
    let output = Command::new(server)
        .args(["--no-defaults", "--version"])
        .stdin(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace().skip_while(|word| *word != "Ver");
    words.nth(1).map(str::to_owned)
}

/// The repository's directory for what is fetched or made once: never committed, safe to remove.
pub(crate) fn build_dir() -> PathBuf {
    let support = Path::new(env!("CARGO_MANIFEST_DIR"));
    support.ancestors().nth(2).unwrap_or(support).join(".build")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_or_fails_has_no_version() {
        assert_eq!(version_of(Path::new("/nonexistent/mysqld")), None);
        assert_eq!(version_of(Path::new("/bin/false")), None);
    }

    #[test]
    fn the_build_directory_is_beside_the_workspace_manifest() {
        assert!(build_dir().parent().unwrap().join("Cargo.lock").exists());
    }
}
