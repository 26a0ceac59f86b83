//! A RabbitMQ broker of our own: a private data directory, free ports, its own epmd, loopback only.
//!
//! Needs RabbitMQ's scripts (`apt-get install rabbitmq-server`, which needn't be running).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process;
use crate::scratch::ScratchDir;
use crate::server::free_port;

/// A broker boots its Erlang machine, its database and its plugins: seconds, more on a busy
/// machine.
const START_MAX: Duration = Duration::from_secs(120);

/// Where packages put the scripts that don't insist on an account of their own.
const SCRIPTS: [&str; 3] = [
    "/usr/lib/rabbitmq/bin",
    "/opt/rabbitmq/sbin",
    "/usr/local/sbin",
];

/// PEM files of a broker that takes encrypted connections too.
#[derive(Clone, Debug)]
pub struct BrokerTls {
    /// Who has signed its certificate.
    pub authority: PathBuf,
    /// Its certificate.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
}

/// A broker; dropping it kills it and removes its data.
#[derive(Debug)]
pub struct RabbitMq {
    scripts: PathBuf,
    dir: ScratchDir,
    port: u16,
    tls_port: u16,
    dist_port: u16,
    epmd_port: u16,
    epmd: Child,
    broker: Option<Child>,
}

impl RabbitMq {
    /// Where RabbitMQ is installed: `$TOWPATH_RABBITMQ_BIN`, else where packages put it.
    #[must_use]
    pub fn installed() -> Option<PathBuf> {
        let named = std::env::var_os("TOWPATH_RABBITMQ_BIN").map(PathBuf::from);
        let usual = SCRIPTS.map(PathBuf::from);
        named
            .into_iter()
            .chain(usual)
            .find(|dir| dir.join("rabbitmq-server").exists())
    }

    /// Starts a broker and waits until it takes connections.
    ///
    /// # Errors
    /// When RabbitMQ isn't installed, or doesn't start; then with its log.
    pub fn start() -> Result<Self> {
        Self::start_with(None)
    }

    /// As [`RabbitMq::start`], with a port for encrypted connections.
    ///
    /// # Errors
    /// As [`RabbitMq::start`].
    pub fn start_with_tls(tls: &BrokerTls) -> Result<Self> {
        Self::start_with(Some(tls))
    }

    fn start_with(tls: Option<&BrokerTls>) -> Result<Self> {
        let scripts = Self::installed().context(
            "no RabbitMQ found: apt-get install rabbitmq-server (it needn't run), or set \
             TOWPATH_RABBITMQ_BIN to the directory of rabbitmq-server",
        )?;
        let dir = ScratchDir::create("rabbitmq")?;
        let epmd_port = free_port()?;
        let mut epmd = Command::new("epmd");
        epmd.args(["-address", "127.0.0.1", "-port", &epmd_port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut broker = Self {
            scripts,
            port: free_port()?,
            tls_port: free_port()?,
            dist_port: free_port()?,
            epmd_port,
            epmd: process::spawn(epmd).context("starting epmd")?,
            dir,
            broker: None,
        };
        let mut conf = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\ndisk_free_limit.absolute = 1MB\n\
             vm_memory_high_watermark.absolute = 400MiB\nlog.file.level = warning\n",
            broker.port
        );
        if let Some(tls) = tls {
            conf += &format!(
                "listeners.ssl.1 = 127.0.0.1:{}\nssl_options.cacertfile = {}\n\
                 ssl_options.certfile = {}\nssl_options.keyfile = {}\n\
                 ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n",
                broker.tls_port,
                tls.authority.display(),
                tls.certificate.display(),
                tls.key.display()
            );
        }
        fs::write(broker.path("rabbitmq.conf"), conf)?;
        fs::write(broker.path("enabled_plugins"), "[].\n")?;
        broker.resume()?;
        Ok(broker)
    }

    /// Starts the broker on the data that it has.
    ///
    /// # Errors
    /// When it doesn't start; with its log.
    pub fn resume(&mut self) -> Result<()> {
        ensure!(self.broker.is_none(), "the broker is running");
        let mut command = self.command("rabbitmq-server");
        let output = fs::File::create(self.path("output"))?;
        command
            // The machine replaces the script, so that our signals reach it.
            .env("RUNNING_UNDER_SYSTEMD", "1")
            .stdout(output.try_clone()?)
            .stderr(output);
        self.broker = Some(process::spawn(command).context("starting RabbitMQ")?);
        let until = Instant::now() + START_MAX;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            let ended = match &mut self.broker {
                Some(broker) => broker.try_wait()?,
                None => None,
            };
            if ended.is_some() || Instant::now() > until {
                let output = fs::read_to_string(self.path("output")).unwrap_or_default();
                bail!("RabbitMQ did not start ({ended:?}):\n{output}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Kills the broker with -9; its data stay.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut broker) = self.broker.take() {
            broker.kill()?;
            broker.wait()?;
        }
        Ok(())
    }

    /// `amqp://guest:guest@127.0.0.1:…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.port)
    }

    /// `amqps://guest:guest@127.0.0.1:…`, if it was started with TLS.
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("amqps://guest:guest@127.0.0.1:{}", self.tls_port)
    }

    /// Runs `rabbitmqctl`.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn ctl(&self, args: &[&str]) -> Result<String> {
        let output = self.command("rabbitmqctl").args(args).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "rabbitmqctl {args:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(said)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(self.scripts.join(script));
        command
            .stdin(Stdio::null())
            .env("HOME", self.dir.path())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", "towpath@localhost")
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_CONFIG_FILE", self.path("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", self.path("no-environment"))
            .env(
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                self.path("enabled_plugins"),
            )
            .env("RABBITMQ_MNESIA_BASE", self.path("data"))
            .env("RABBITMQ_LOG_BASE", self.path("log"))
            // Few schedulers that don't spin: tests share the machine.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            );
        command
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = self.epmd.kill();
        let _ = self.epmd.wait();
    }
}
