//! A data directory initialised once per server version and copied for each server.
//!
//! Initialising takes seconds, copying takes a tenth of one. The template is complete or absent:
//! it is made beside its place under a lock between processes, then renamed.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::process;
use crate::programs::{Programs, ServerKind, build_dir};
use crate::scratch::ScratchDir;

/// The users of every server. `root` needs no password; the others have their name as password.
const MYSQL_USERS: &str = "\
CREATE USER 'root'@'%' IDENTIFIED BY '';
GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;
CREATE USER 'repl'@'%' IDENTIFIED WITH caching_sha2_password BY 'repl';
GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO 'repl'@'%';
CREATE USER 'app'@'%' IDENTIFIED WITH caching_sha2_password BY 'app';
GRANT ALL ON *.* TO 'app'@'%';
GRANT REPLICATION_APPLIER, SESSION_VARIABLES_ADMIN, CONNECTION_ADMIN ON *.* TO 'app'@'%';
";

/// MariaDB has neither caching_sha2_password nor MySQL's dynamic privileges, and knows no users
/// while it initialises until it is told to.
const MARIADB_USERS: &str = "\
FLUSH PRIVILEGES;
CREATE USER 'root'@'%' IDENTIFIED BY '';
GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;
CREATE USER 'repl'@'%' IDENTIFIED BY 'repl';
GRANT REPLICATION SLAVE, BINLOG MONITOR, SELECT ON *.* TO 'repl'@'%';
CREATE USER 'app'@'%' IDENTIFIED BY 'app';
GRANT ALL ON *.* TO 'app'@'%';
";

/// Copies `from` to `datadir`, which must not exist: another data directory, or else the template
/// for `programs`, which is made first if this is the first server of its version.
pub(crate) fn copy_to(programs: &Programs, from: Option<&Path>, datadir: &Path) -> Result<()> {
    let from = match from {
        Some(from) => from.to_owned(),
        None => find_or_make(programs)?,
    };
    copy_dir(&from, datadir)
        .with_context(|| format!("copying {} to {}", from.display(), datadir.display()))?;
    // Each copy is to become a server with its own server_uuid.
    remove_if_there(&datadir.join("auto.cnf"))?;
    Ok(())
}

/// `--user=root` where mysqld would otherwise refuse to run. `ours` is a file made by us.
pub(crate) fn user_args(ours: &Path) -> Result<Vec<String>> {
    let is_root = fs::metadata(ours)?.uid() == 0;
    Ok(is_root
        .then(|| "--user=root".to_owned())
        .into_iter()
        .collect())
}

fn find_or_make(programs: &Programs) -> Result<PathBuf> {
    let users = match programs.kind() {
        ServerKind::MySql => MYSQL_USERS,
        ServerKind::MariaDb => MARIADB_USERS,
    };
    let mut hasher = DefaultHasher::new();
    (programs.server(), programs.version(), users).hash(&mut hasher);
    let name = format!("{}-{:016x}", programs.version(), hasher.finish());

    let dir = build_dir().join("template");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let place = dir.join(&name);
    let lock = File::create(dir.join(format!("{name}.lock")))?;
    lock.lock().context("locking the template data directory")?;
    if !place.exists() {
        let making = dir.join(format!("{name}.new"));
        remove_if_there(&making)?;
        initialise(programs, users, &making)?;
        fs::rename(&making, &place)?;
    }
    Ok(place)
}

fn initialise(programs: &Programs, users: &str, datadir: &Path) -> Result<()> {
    let scratch = ScratchDir::create("template")?;
    let sql = scratch.path().join("users.sql");
    fs::write(&sql, users)?;
    let datadir_arg = format!("--datadir={}", datadir.display());
    let user = user_args(&sql)?;
    match programs.kind() {
        ServerKind::MySql => {
            let mut mysqld = Command::new(programs.server());
            mysqld
                .args(["--no-defaults", "--initialize-insecure", &datadir_arg])
                .args([
                    "--innodb-redo-log-capacity=8M",
                    "--innodb-flush-method=nosync",
                ])
                .arg(format!("--init-file={}", sql.display()))
                .args(user);
            run(mysqld)
        }
        ServerKind::MariaDb => {
            let mut install = Command::new(programs.program("mariadb-install-db"));
            install
                .args([
                    "--no-defaults",
                    "--auth-root-authentication-method=normal",
                    &datadir_arg,
                ])
                .args(["--skip-test-db", "--innodb-log-file-size=8M"])
                .arg(format!("--extra-file={}", sql.display()))
                .args(user);
            run(install)
        }
    }
}

fn run(mut command: Command) -> Result<()> {
    let program = PathBuf::from(command.get_program());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = process::spawn(command)
        .and_then(std::process::Child::wait_with_output)
        .with_context(|| format!("running {}", program.display()))?;
    if !output.status.success() {
        bail!(
            "{} could not initialise a data directory ({}):\n{}{}",
            program.display(),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
