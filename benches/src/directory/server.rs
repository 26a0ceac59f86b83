//! The servers, each a process of its own on a free port of the loopback interface.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use towpath_benches::process::{cpu_of, memory_of};

use crate::client;

/// Longest wait for a server's first answer.
const START_MAX: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(1);
/// Longest wait on one connection: ZooKeeper forgets some that are made while it starts.
const START_ANSWER_MAX: Duration = Duration::from_millis(200);

/// Whose server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours.
    Towpath,
    /// The one it's compared with.
    ZooKeeper,
}

/// How a server is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) towpath: PathBuf,
    pub(crate) zookeeper_jar: PathBuf,
    pub(crate) java_options: Vec<String>,
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    child: Child,
    port: u16,
}

impl Server {
    /// Starts a server on `folder`, and returns it with the time from the start of its process to
    /// its first answer: a session opened.
    pub(crate) fn start(
        kind: Kind,
        programs: &Programs,
        folder: &Path,
    ) -> Result<(Self, Duration)> {
        fs::create_dir_all(folder)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let mut command = match kind {
            Kind::Towpath => towpath(&programs.towpath, folder, port)?,
            Kind::ZooKeeper => zookeeper(programs, folder, port)?,
        };
        let begun = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        let mut server = Self { kind, child, port };
        while !opens_session(port) {
            if let Some(status) = server.child.try_wait()? {
                bail!("{kind:?} ended with {status} instead of serving");
            }
            ensure!(begun.elapsed() < START_MAX, "{kind:?} doesn't answer");
            std::thread::sleep(RETRY);
        }
        Ok((server, begun.elapsed()))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it, and waits until it's gone.
    pub(crate) fn stop(mut self, how: Stop) -> Result<()> {
        match how {
            Stop::Kill => self.child.kill()?,
            Stop::Terminate => {
                let sent = Command::new("kill")
                    .arg(self.child.id().to_string())
                    .status()?;
                ensure!(sent.success(), "kill ended with {sent}");
            }
        }
        self.child.wait()?;
        Ok(())
    }

    /// The first line of what it says to `srvr`.
    pub(crate) fn version(&self) -> Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.write_all(b"srvr")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    /// User and system time since its start.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(&self.child.id().to_string())
    }

    /// Resident memory now.
    pub(crate) fn rss_kib(&self) -> Result<u64> {
        memory_of(&self.child.id().to_string(), "VmRSS:")
    }

    /// Most resident memory since the start.
    pub(crate) fn rss_max_kib(&self) -> Result<u64> {
        memory_of(&self.child.id().to_string(), "VmHWM:")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn towpath(program: &Path, folder: &Path, port: u16) -> Result<Command> {
    ensure!(
        program.exists(),
        "{} isn't there; build it with cargo build --release -p towpath-directory --example serve",
        program.display()
    );
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new(program);
    if program.file_stem().is_some_and(|name| name == "serve") {
        command.arg(folder).arg(address);
    } else {
        command.arg("server").arg("--data").arg(folder);
        command.arg("--listen").arg(address);
    }
    Ok(command)
}

/// As Debian's scripts start it, without the remote console. All settings that have to do with
/// speed and durability have their defaults, `forceSync=yes` among them; the bound on
/// connections of one address, 60, must be lifted. Without a binding of slf4j it logs nothing.
fn zookeeper(programs: &Programs, folder: &Path, port: u16) -> Result<Command> {
    ensure!(
        programs.zookeeper_jar.exists(),
        "{} isn't there; install Debian's package zookeeper, or see --zookeeper-jar",
        programs.zookeeper_jar.display()
    );
    let settings = folder.join("zoo.cfg");
    let data = folder.join("data");
    fs::write(
        &settings,
        format!(
            "tickTime=2000\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=*\n",
            data.display()
        ),
    )?;
    let mut command = Command::new("java");
    command
        .args(&programs.java_options)
        .arg("-cp")
        .arg(&programs.zookeeper_jar)
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(settings)
        .stderr(Stdio::null());
    Ok(command)
}

fn opens_session(port: u16) -> bool {
    let answer = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(START_ANSWER_MAX))?;
        stream.write_all(&client::connect_record())?;
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let mut answer = vec![
            0;
            usize::try_from(u32::from_be_bytes(head))
                .unwrap_or(0)
                .min(1024)
        ];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    answer().is_ok_and(|answer| client::session(&answer).is_some_and(|id| id != 0))
}
