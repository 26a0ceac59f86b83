//! The Servers that host one directory, each a real process with its own address and data folder.
//!
//! A member's place, which is where it runs and what it keeps, outlives its process: a member that was
//! killed starts again where it was.

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cluster::ready;
use crate::scratch::ScratchDir;
use crate::server::free_port;
use crate::{TowpathProcess, towpath_program, wait_until};

/// How long a member's port for machines may take to answer; one that is cut off never does.
const METRICS_TIMEOUT: Duration = Duration::from_millis(500);
/// The metric that says whether a member serves clients itself.
const SERVING: &str = "towpath_directory_serving";

/// Where a member runs, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Words before the program's name, such as those that put it into a network namespace.
    pub within: Vec<OsString>,
    /// Variables of its environment.
    pub envs: Vec<(OsString, OsString)>,
    /// Its data folder.
    pub data: PathBuf,
    /// Where clients connect.
    pub listen: Option<SocketAddr>,
    /// Where the other members do.
    pub raft: Option<SocketAddr>,
}

/// Further arguments of the member of this number, given all places.
pub type Further = fn(usize, &[Place]) -> Vec<String>;

/// The members of one directory. Dropping it kills them and removes their folders.
pub struct Ensemble {
    program: PathBuf,
    further: Further,
    places: Vec<Place>,
    processes: Vec<Option<Running>>,
    dir: ScratchDir,
}

struct Running {
    process: TowpathProcess,
    http: SocketAddr,
}

impl fmt::Debug for Ensemble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ensemble")
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl Ensemble {
    /// Places for so many members, on free ports of loopback. Nothing is started yet, so the places
    /// can still be changed. `program` is the `towpath` that they run; `further` gives what the
    /// members need to know of one another.
    ///
    /// # Errors
    /// There is no program, no folder or no port.
    pub fn new(program: Option<PathBuf>, members: usize, further: Further) -> Result<Self> {
        let program = program.map_or_else(towpath_program, Ok)?;
        let dir = ScratchDir::create("ensemble")?;
        // All are held until the last is found, so that none comes twice.
        let mut held = Vec::new();
        let mut port = || -> Result<SocketAddr> {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
            held.push(TcpListener::bind(address)?);
            Ok(address)
        };
        let mut places = Vec::new();
        for member in 0..members {
            places.push(Place {
                data: dir.path().join(format!("member-{}", member + 1)),
                listen: Some(port()?),
                raft: Some(port()?),
                ..Place::default()
            });
        }
        Ok(Self {
            program,
            further,
            processes: (0..members).map(|_| None).collect(),
            places,
            dir,
        })
    }

    /// The private folder, in which the members' folders are.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where the members run.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The same, to be changed before a start.
    pub fn places_mut(&mut self) -> &mut [Place] {
        &mut self.places
    }

    /// Where clients connect, of all members in order.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.places
            .iter()
            .filter_map(|place| place.listen)
            .collect()
    }

    /// Starts those members that don't run, and waits until all are ready.
    ///
    /// # Errors
    /// One doesn't start.
    pub async fn start(&mut self) -> Result<()> {
        let mut started = Vec::new();
        for member in 0..self.places.len() {
            if self.processes.get(member).is_some_and(Option::is_none) {
                started.push((member, self.spawn(member)?));
            }
        }
        // A member alone may have to wait for the others.
        for (member, process) in started {
            let line = ready(&process).await?;
            let http = line.get("http").and_then(Value::as_str);
            let http = http.context("the Server doesn't say where its metrics are")?;
            let http = http.parse()?;
            if let Some(place) = self.processes.get_mut(member) {
                *place = Some(Running { process, http });
            }
        }
        Ok(())
    }

    fn spawn(&self, member: usize) -> Result<TowpathProcess> {
        let place = self.places.get(member).context("there's no such member")?;
        let listen = place.listen.context("the member has no address")?;
        let mut words = place.within.iter().cloned();
        let mut process = TowpathProcess::builder();
        process = match words.next() {
            Some(first) => process.program(first).args(words).arg(&self.program),
            None => process.program(&self.program),
        };
        process = process
            .args(["server", "--listen", &listen.to_string()])
            .args(["--http", &SocketAddr::new(listen.ip(), 0).to_string()])
            .args(["--id", &format!("server-{}", member + 1)])
            .arg("--allow-plaintext")
            .arg("--data")
            .arg(&place.data)
            .args((self.further)(member, &self.places));
        for (name, value) in &place.envs {
            process = process.env(name, value);
        }
        process.spawn()
    }

    /// A member's process.
    ///
    /// # Errors
    /// It was killed, or there's no such member.
    pub fn process(&self, member: usize) -> Result<&TowpathProcess> {
        let running = self.processes.get(member).and_then(Option::as_ref);
        Ok(&running.context("this member doesn't run")?.process)
    }

    /// SIGKILL, if it runs; returns when it's dead.
    ///
    /// # Errors
    /// There's no such member.
    pub fn kill9(&mut self, member: usize) -> Result<Option<ExitStatus>> {
        let place = self.processes.get_mut(member);
        let running = place.context("there's no such member")?.take();
        running.map(|running| running.process.kill9()).transpose()
    }

    /// The first member that serves clients itself, if any does.
    pub async fn leader(&self) -> Option<usize> {
        for (member, running) in self.processes.iter().enumerate() {
            let Some(running) = running else { continue };
            let metrics = tokio::time::timeout(METRICS_TIMEOUT, metrics(running.http)).await;
            if let Ok(Ok(metrics)) = metrics
                && metrics.lines().any(|line| line == format!("{SERVING} 1.0"))
            {
                return Some(member);
            }
        }
        None
    }

    /// Waits for a member that leads and isn't `other`.
    ///
    /// # Errors
    /// There's none until `timeout`.
    pub async fn another_leader(&self, other: Option<usize>, timeout: Duration) -> Result<usize> {
        let mut found = None;
        wait_until("another leader", timeout, async || {
            found = self.leader().await.filter(|leader| Some(*leader) != other);
            Ok(found.is_some())
        })
        .await?;
        found.context("the leader was found and is gone")
    }
}

/// The text at `/metrics`.
async fn metrics(http: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(http).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{http}: {answer}");
    Ok(answer)
}
