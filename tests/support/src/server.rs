//! A private database server on loopback, with its own data directory and port.
//!
//! It is a replication source and a sink in one: binary log in row format with FULL metadata, and
//! GTIDs, unless told otherwise. Its port stays the same across restarts. Relaxed settings still
//! survive a kill of the process (what was written is in the kernel's cache), not a power loss.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder};

use crate::process::{self, Pid, Signal};
use crate::programs::{Programs, ServerKind};
use crate::scratch::ScratchDir;
use crate::{template, wait_until};

/// A start takes about a second; crash recovery on a busy machine takes longer.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// A clean stop flushes everything.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How often another port is tried when someone took ours between choosing and binding.
const PORT_TRIES: usize = 5;
/// Below the range that Linux gives to outgoing connections, so that nobody takes the port of a
/// server while it is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Enough of the error log's end to see why a server did not start.
const LOG_TAIL_LINES: usize = 30;

/// Settings of a server to come; see [`MysqlServer::builder`].
#[derive(Clone, Debug)]
pub struct ServerBuilder {
    programs: Option<Programs>,
    server_id: u32,
    binlog: bool,
    durable: bool,
    data: Option<PathBuf>,
    options: Vec<(String, String)>,
}

impl ServerBuilder {
    /// Begins with a copy of the data directory of a server of the same version that was stopped
    /// cleanly, but under a `server_uuid` of its own.
    #[must_use]
    pub fn data_of(mut self, datadir: impl Into<PathBuf>) -> Self {
        self.data = Some(datadir.into());
        self
    }

    /// `server_id`; 1 by default. Servers that replicate from each other need different ones.
    #[must_use]
    pub fn server_id(mut self, server_id: u32) -> Self {
        self.server_id = server_id;
        self
    }

    /// Any option of the server, by its name without dashes in front; the last one wins, also
    /// over the defaults here.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }

    /// No binary log at all.
    #[must_use]
    pub fn without_binlog(mut self) -> Self {
        self.binlog = false;
        self
    }

    /// `sync_binlog=1` and `innodb_flush_log_at_trx_commit=1`: each commit waits for the disk, as
    /// in production.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Other programs than [`Programs::find`] would choose.
    #[must_use]
    pub fn programs(mut self, programs: Programs) -> Self {
        self.programs = Some(programs);
        self
    }

    /// Starts the server and returns when it answers.
    ///
    /// # Errors
    /// When there is no server program, or it ends or stays silent; the error has the end of its
    /// error log.
    pub async fn start(self) -> Result<MysqlServer> {
        let (programs, dir, user) = tokio::task::spawn_blocking({
            let (programs, data) = (self.programs.clone(), self.data.clone());
            move || -> Result<_> {
                let programs = programs.map_or_else(Programs::find, Ok)?;
                let dir = ScratchDir::create("mysql")?;
                template::copy_to(&programs, data.as_deref(), &dir.path().join("data"))?;
                let user = template::user_args(dir.path())?;
                Ok((programs, dir, user))
            }
        })
        .await??;
        let mut args = user;
        args.extend(self.defaults(programs.kind()));
        let mut server = MysqlServer {
            programs,
            dir,
            port: 0,
            args,
            options: Mutex::new(self.options),
            child: Mutex::new(None),
        };
        for _ in 0..PORT_TRIES {
            server.port = free_port()?;
            match server.launch().await {
                Err(_) if server.port_was_taken() => fs::remove_file(server.error_log_path())?,
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
        bail!("{PORT_TRIES} free ports in a row were taken before the server could bind them")
    }

    fn defaults(&self, kind: ServerKind) -> Vec<String> {
        let mut args = vec![
            "--bind-address=127.0.0.1".to_owned(),
            "--skip-name-resolve".to_owned(),
            format!("--server-id={}", self.server_id),
            "--performance-schema=OFF".to_owned(),
            "--innodb-buffer-pool-size=64M".to_owned(),
            "--max-connections=200".to_owned(),
        ];
        if self.binlog {
            args.extend(["--log-bin=binlog", "--binlog-row-metadata=FULL"].map(str::to_owned));
        } else {
            args.push("--skip-log-bin".to_owned());
        }
        let (sync_binlog, flush_log) = if self.durable { (1, 1) } else { (0, 2) };
        args.push(format!("--sync-binlog={sync_binlog}"));
        args.push(format!("--innodb-flush-log-at-trx-commit={flush_log}"));
        let own: &[&str] = match kind {
            ServerKind::MySql => &[
                "--mysqlx=OFF",
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--lc-messages=en_US",
            ],
            ServerKind::MariaDb => &["--binlog-format=ROW", "--gtid-strict-mode=ON"],
        };
        args.extend(own.iter().map(|&arg| arg.to_owned()));
        if kind == ServerKind::MySql && !self.durable {
            args.push("--innodb-flush-method=nosync".to_owned());
        }
        args
    }
}

/// A running (or stopped, or killed) server; dropping it kills it and removes its data.
#[derive(Debug)]
pub struct MysqlServer {
    programs: Programs,
    dir: ScratchDir,
    port: u16,
    args: Vec<String>,
    options: Mutex<Vec<(String, String)>>,
    child: Mutex<Option<Child>>,
}

impl MysqlServer {
    /// A server with the defaults that tests want.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            programs: None,
            server_id: 1,
            binlog: true,
            durable: false,
            data: None,
            options: Vec::new(),
        }
    }

    /// The TCP port on 127.0.0.1, the same for the server's whole life.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The unix socket; its directory holds nothing else that a client needs.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("mysqld.sock")
    }

    /// The data directory, which also holds the binary logs and the TLS certificates.
    #[must_use]
    pub fn datadir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// What it runs on.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// `mysql://…` over TCP for `root` (no password), `repl` or `app` (password as the name).
    #[must_use]
    pub fn url(&self, user: &str) -> String {
        let password = password_of(user).map_or(String::new(), |password| format!(":{password}"));
        format!("mysql://{user}{password}@127.0.0.1:{}", self.port)
    }

    /// A connection as `root`.
    ///
    /// # Errors
    /// When the server doesn't answer.
    pub async fn conn(&self) -> Result<Conn> {
        self.conn_as("root").await
    }

    /// A connection as one of the users of [`MysqlServer::url`].
    ///
    /// # Errors
    /// When the server doesn't answer, or refuses.
    pub async fn conn_as(&self, user: &str) -> Result<Conn> {
        let opts = Opts::from_url(&self.url(user))?;
        let opts = OptsBuilder::from_opts(opts).prefer_socket(Some(false));
        Conn::new(opts)
            .await
            .with_context(|| format!("connecting to {}", self.url(user)))
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.child().as_ref().map(Pid::of)
    }

    /// SIGKILL, as the kernel does when memory runs out; returns when it is dead. Nothing happens
    /// if it isn't running.
    ///
    /// # Errors
    /// When the signal can't be sent.
    pub fn kill9(&self) -> Result<()> {
        if let Some(mut child) = self.child().take() {
            child.kill().context("killing the server")?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for the clean end. Nothing happens if it isn't running.
    ///
    /// # Errors
    /// When it doesn't end in a minute (then it is killed), or ends with an error.
    pub async fn stop(&self) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        process::send(pid, Signal::Terminate).context("stopping the server")?;
        let ended = wait_until("the server to stop", STOP_TIMEOUT, async || {
            Ok(self.exit_status()?.is_some())
        })
        .await;
        let status = self.exit_status()?;
        self.kill9()?;
        ended?;
        match status {
            Some(status) if status.success() => Ok(()),
            _ => Err(self.failed("ended badly")),
        }
    }

    /// Stops it, unless it is dead already, and starts it again on its data and port.
    ///
    /// # Errors
    /// As [`MysqlServer::stop`] and [`ServerBuilder::start`].
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.launch().await
    }

    /// Changes an option for the next [`MysqlServer::restart`].
    pub fn set_option(&self, name: impl Into<String>, value: impl Into<String>) {
        self.lock_options().push((name.into(), value.into()));
    }

    /// SIGSTOP: its connections stay open and silent.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::Freeze)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::Thaw)
    }

    /// The error log so far, empty if there is none.
    #[must_use]
    pub fn error_log(&self) -> String {
        let bytes = fs::read(self.error_log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    async fn launch(&self) -> Result<()> {
        let mut command = Command::new(self.programs.server());
        command
            .arg("--no-defaults")
            .args(&self.args)
            .arg(format!("--port={}", self.port))
            .arg(path_arg("datadir", &self.datadir()))
            .arg(path_arg("socket", &self.socket()))
            .arg(path_arg("pid-file", &self.dir.path().join("mysqld.pid")))
            .arg(path_arg("log-error", &self.error_log_path()))
            .args(
                self.lock_options()
                    .iter()
                    .map(|(name, value)| format!("--{name}={value}")),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = process::spawn(command)
            .with_context(|| format!("starting {}", self.programs.server().display()))?;
        *self.child() = Some(child);
        let ready = wait_until("the server to answer", START_TIMEOUT, async || {
            if let Some(status) = self.exit_status()? {
                self.child().take();
                let how = status
                    .signal()
                    .map_or(format!("{status}"), |n| format!("signal {n}"));
                return Err(self.failed(&format!("ended ({how}) instead of starting")));
            }
            Ok(self.answers().await)
        })
        .await;
        if ready.is_err() && self.pid().is_some() {
            self.kill9()?;
            return Err(self.failed(&format!("did not answer in {} s", START_TIMEOUT.as_secs())));
        }
        ready
    }

    /// Whether the server at our port is ours and ready.
    async fn answers(&self) -> bool {
        let ask = async {
            let mut conn = self.conn().await?;
            let datadir: Option<String> = conn.query_first("SELECT @@datadir").await?;
            conn.disconnect().await?;
            anyhow::Ok(datadir)
        };
        let Ok(Ok(Some(datadir))) = tokio::time::timeout(Duration::from_secs(5), ask).await else {
            return false;
        };
        Path::new(&datadir) == self.datadir()
    }

    fn exit_status(&self) -> Result<Option<ExitStatus>> {
        match self.child().as_mut() {
            Some(child) => Ok(child.try_wait()?),
            None => bail!("the server was killed meanwhile"),
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("the server is not running")?;
        process::send(pid, signal).with_context(|| format!("signalling the server {pid}"))
    }

    fn failed(&self, what: &str) -> anyhow::Error {
        let log = self.error_log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(LOG_TAIL_LINES)..)
            .unwrap_or_default();
        anyhow!(
            "{} {} {what}; the end of its error log:\n{}",
            self.programs.server().display(),
            self.programs.version(),
            tail.join("\n")
        )
    }

    fn port_was_taken(&self) -> bool {
        let log = self.error_log();
        log.contains("Bind on TCP/IP port") || log.contains("Address already in use")
    }

    fn error_log_path(&self) -> PathBuf {
        self.dir.path().join("error.log")
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_options(&self) -> MutexGuard<'_, Vec<(String, String)>> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MysqlServer {
    fn drop(&mut self) {
        // There is nobody left to tell; the directory goes with its own drop.
        let _ = self.kill9();
    }
}

/// The example users have their name as password, root has none.
fn password_of(user: &str) -> Option<&str> {
    (user != "root").then_some(user)
}

fn path_arg(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    let first = rand::random_range(PORTS);
    (first..PORTS.end)
        .chain(PORTS.start..first)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .with_context(|| format!("no free port in {PORTS:?}"))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn servers_differ_restart_and_die_with_their_data() {
        let began = Instant::now();
        let (source, target) = tokio::try_join!(
            MysqlServer::builder().server_id(1).start(),
            MysqlServer::builder()
                .server_id(2)
                .option("binlog_row_metadata", "MINIMAL")
                .start(),
        )
        .unwrap();
        eprintln!("two servers in {:?}", began.elapsed());
        let facts = "SELECT @@server_uuid, @@server_id, @@binlog_row_metadata, @@gtid_executed";
        let mut conn = source.conn().await.unwrap();
        let one: (String, u32, String, String) = conn.query_first(facts).await.unwrap().unwrap();
        let mut conn = target.conn().await.unwrap();
        let two: (String, u32, String, String) = conn.query_first(facts).await.unwrap().unwrap();
        assert_ne!(one.0, two.0);
        assert_eq!((one.1, one.2.as_str(), one.3.as_str()), (1, "FULL", ""));
        assert_eq!((two.1, two.2.as_str(), two.3.as_str()), (2, "MINIMAL", ""));

        let mut app = target.conn_as("app").await.unwrap();
        app.query_drop("CREATE DATABASE d").await.unwrap();
        app.query_drop("CREATE TABLE d.t (id INT PRIMARY KEY)")
            .await
            .unwrap();
        app.query_drop("INSERT INTO d.t VALUES (1)").await.unwrap();
        target.kill9().unwrap();
        assert_eq!(target.pid(), None);
        assert!(target.conn().await.is_err());
        target.set_option("binlog_row_metadata", "FULL");
        target.restart().await.unwrap();
        let mut app = target.conn_as("app").await.unwrap();
        let row: Option<(u32, String)> = app
            .query_first("SELECT id, @@binlog_row_metadata FROM d.t")
            .await
            .unwrap();
        assert_eq!(row, Some((1, "FULL".to_owned())));
        drop(source.conn_as("repl").await.unwrap());

        target.stop().await.unwrap();
        let datadir = source.datadir();
        assert!(datadir.exists());
        drop(source);
        assert!(!datadir.exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_that_cannot_start_says_why() {
        let error = MysqlServer::builder()
            .option("no_such_option", "1")
            .start()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("no_such_option"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_frozen_server_is_silent_and_goes_on() {
        let server = MysqlServer::builder()
            .without_binlog()
            .start()
            .await
            .unwrap();
        let mut conn = server.conn().await.unwrap();
        server.freeze().unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(200), conn.ping()).await;
        assert!(answer.is_err());
        server.thaw().unwrap();
        let mut conn = server.conn().await.unwrap();
        let log_bin: Option<bool> = conn.query_first("SELECT @@log_bin").await.unwrap();
        assert_eq!(log_bin, Some(false));
    }
}
