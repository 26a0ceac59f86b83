//! One member of the directory: starts openraft, carries proposals to it, and tells the front
//! when it leads.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{Raft, SnapshotPolicy, StepDownPolicy};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::gate::Gate;
use super::heard::Heard;
use super::identity::{Belongs, DirectoryId};
use super::log_redb::LogStore;
use super::machine::Machine;
use super::member::Member;
use super::network::link::Cable;
use super::network::{self, Incoming, Network, PeerError, Peers};
use super::types::{Payload, Types};
use crate::config::{Config, Start};
use crate::front::{Front, Proposal};
use crate::state::batch::Batch;
use crate::wire::splice::{Leader, Others, Seen};

/// Most commands of one entry.
const BATCH_MAX: usize = 1024;
/// An entry with so many bytes takes no further command.
const BATCH_BYTES: usize = 1 << 20;
/// Entries on their way to the log and back at once: while one is being written, another is on its
/// way there and a third is applied.
const ALONGSIDE: usize = 3;
/// After so many entries it's asked whether enough commands are in the log for a snapshot.
const SNAPSHOT_LOOK_ENTRIES: u64 = 500;
const IN_USE_RETRY: Duration = Duration::from_millis(20);
const INSTALL_SNAPSHOT: Duration = Duration::from_secs(30);
/// Longest time until it's seen that this member serves.
const SERVES_LOOK: Duration = Duration::from_millis(5);

/// Why a member doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum RaftError {
    /// Another process has its files open, and keeps them open.
    #[error("the directory's files in {} are in use by another process, for {}s now; is a server already running there?", .dir.display(), .waited.as_secs())]
    InUse {
        /// Where they are.
        dir: PathBuf,
        /// For how long this one waited.
        waited: Duration,
    },
    /// Its files are another member's.
    #[error("{} holds the log of member {owner}, and this is member {id}; a number belongs to one data directory for good", .dir.display())]
    Other {
        /// Where they are.
        dir: PathBuf,
        /// Whose they are.
        owner: u64,
        /// Who wants them.
        id: u64,
    },
    /// The peer port can't be used.
    #[error(transparent)]
    Peers(#[from] PeerError),
    /// Its files can't be used.
    #[error("the directory's files in {} can't be used; may this user write there, and is there room?", .dir.display())]
    Files {
        /// Where they are.
        dir: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The timers contradict one another.
    #[error(
        "the directory's timers don't fit together, heartbeat < election_min < election_max: {0}"
    )]
    Timers(String),
    /// The log could not be read back, or nobody leads.
    #[error("the directory did not come up: {0}")]
    Recovery(String),
    /// A backup could not be written.
    #[error("the backup could not be written to {}", .path.display())]
    Backup {
        /// Where to.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The member has stopped.
    #[error("the directory has stopped: {0}")]
    Stopped(String),
    /// What a disk holds after a write that failed, only a new start tells.
    #[error("this member of the directory can't go on: {0}")]
    Failed(String),
}

/// The files of a member within its data directory.
pub(super) fn log_path(dir: &Path) -> PathBuf {
    dir.join("log.redb")
}

/// Where snapshots lie that are on their way here.
fn incoming_path(dir: &Path) -> PathBuf {
    dir.join("incoming")
}

pub(super) fn snapshots_path(dir: &Path) -> PathBuf {
    dir.join("snapshots")
}

/// A running member.
pub struct Node {
    id: u64,
    raft: Raft<Types, Machine>,
    cluster: Cluster,
    /// How it says others reach it; none if there can't be any.
    member: Option<Member>,
    /// For clients that come here.
    others: Option<Others>,
    tasks: Vec<JoinHandle<()>>,
    closed: oneshot::Receiver<()>,
    /// Ends the connections of peers.
    stop: watch::Sender<bool>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Node {
    /// Opens the files and reads the log back. A member that is alone, or founds a directory,
    /// serves when this returns; one of several does once it leads.
    ///
    /// # Errors
    /// [`RaftError`].
    pub async fn start(
        config: &Config,
        clients: SocketAddr,
        front: &Arc<Front>,
        proposals: mpsc::UnboundedReceiver<Proposal>,
    ) -> Result<Self, RaftError> {
        let files = |source| RaftError::Files {
            dir: config.data_dir.clone(),
            source,
        };
        let id = u64::from(config.node_id);
        let settings = Arc::new(settings(config)?);
        let seen = Seen::default();
        let belongs = Belongs::default();
        let (incoming, member, network) = match &config.peers {
            None => (
                None,
                None,
                Network::new(id, None, Cable::default(), seen.clone(), belongs.clone()),
            ),
            Some(peers) => {
                let (incoming, address, connector) = Incoming::bind(peers).await?;
                let member = advertised(peers, address, clients)?;
                let cable = peers.cable.clone();
                let network = Network::new(id, connector, cable, seen.clone(), belongs.clone());
                (Some(incoming), Some(member), network)
            }
        };
        std::fs::create_dir_all(&config.data_dir).map_err(files)?;
        let (log, closed) = open_log(config).await?;
        let owner = log.own(id).await.map_err(files)?;
        if owner != id {
            return Err(RaftError::Other {
                dir: config.data_dir.clone(),
                owner,
                id,
            });
        }
        let joins = config
            .peers
            .as_ref()
            .is_some_and(|peers| peers.start == Start::Join);
        match log.directory().map_err(files)? {
            Some(directory) => belongs.set(directory),
            None if !log.is_new() => belongs.set(DirectoryId::FORMER),
            // The leader that adds it tells.
            None if joins => {}
            None => {
                let directory = DirectoryId::random();
                log.save_directory(directory).await.map_err(files)?;
                belongs.set(directory);
            }
        }
        let receives = incoming_path(&config.data_dir);
        // What a process that was killed had received.
        let _ = std::fs::remove_dir_all(&receives);
        std::fs::create_dir_all(&receives).map_err(files)?;
        let machine = Machine::new(
            front.clone(),
            log.clone(),
            snapshots_path(&config.data_dir),
            config.limits.snapshot_commands,
        )
        .map_err(files)?;
        // A leader that this member has acknowledged just before it ended counts on it for as long.
        // Raft has forgotten when that was.
        if config.peers.is_some() && log.vote().is_some_and(|vote| vote.leader_id.node_id != id) {
            tokio::time::sleep(config.timers.election_max).await;
        }
        let raft = Raft::new(id, settings, network.clone(), log, machine)
            .await
            .map_err(|error| RaftError::Recovery(error.to_string()))?;
        let heard = Heard::default();
        let gate = Arc::new(Gate::new(
            id,
            raft.clone(),
            front.clone(),
            heard.clone(),
            config.timers.election_max,
        ));
        let (stop, stopped) = watch::channel(false);
        let cluster = Cluster::new(
            id,
            raft.clone(),
            gate.clone(),
            network,
            member.clone(),
            config.timers.election_max,
            belongs.clone(),
        );
        let (leads, leader) = watch::channel(Leader::Nobody);
        let others = member.as_ref().map(|_| Others { leader, seen });
        let mut node = Self {
            id,
            raft,
            cluster,
            member,
            others,
            tasks: Vec::new(),
            closed,
            stop,
        };
        if let Some(incoming) = incoming {
            let peers = Peers {
                id,
                raft: node.raft.clone(),
                cluster: node.cluster.clone(),
                belongs,
                heard,
                incoming: receives,
                receiving: Arc::new(Semaphore::new(1)),
                received: Arc::default(),
                refused: Arc::default(),
            };
            node.tasks
                .push(tokio::spawn(network::serve(incoming, peers, stopped)));
        }
        node.tasks.push(tokio::spawn(propose(
            node.raft.clone(),
            front.clone(),
            proposals,
        )));
        node.tasks
            .push(tokio::spawn(async move { gate.run().await }));
        let cluster = node.cluster.clone();
        node.tasks
            .push(tokio::spawn(async move { cluster.tend().await }));
        let cluster = node.cluster.clone();
        node.tasks.push(tokio::spawn(
            async move { cluster.tell_leader(&leads).await },
        ));
        if let Err(error) = node.begin(config, front, clients).await {
            node.stop().await;
            return Err(error);
        }
        Ok(node)
    }

    /// Founds a directory, if that's what this member is to do; leads, if nobody else can.
    async fn begin(
        &self,
        config: &Config,
        front: &Front,
        clients: SocketAddr,
    ) -> Result<(), RaftError> {
        let failed = |error: &dyn std::error::Error| RaftError::Recovery(error.to_string());
        let is_initialized = self.raft.is_initialized().await;
        if is_initialized.map_err(|error| failed(&error))? {
            if !self.raft.voter_ids().eq([self.id]) {
                return Ok(());
            }
            // A member that is alone needs nobody's vote, so it needn't wait for a timeout.
            let elected = self.raft.trigger().elect(false).await;
            elected.map_err(|error| failed(&error))?;
        } else {
            if config
                .peers
                .as_ref()
                .is_some_and(|peers| peers.start == Start::Join)
            {
                tracing::info!(member = self.id, "waiting to be added to a directory");
                return Ok(());
            }
            let member = self.member.clone().unwrap_or_else(|| Member {
                peer: String::new(),
                client: clients.to_string(),
            });
            let members = BTreeMap::from([(self.id, member)]);
            let founded = self.raft.initialize(members).await;
            founded.map_err(|error| failed(&error))?;
        }
        let serves = async {
            let mut metrics = self.raft.metrics();
            while !front.is_serving() {
                let changed = tokio::time::timeout(SERVES_LOOK, metrics.changed()).await;
                if let Ok(Err(error)) = changed {
                    return Err(failed(&error));
                }
                if let Err(fatal) = &metrics.borrow_watched().running_state {
                    return Err(failed(fatal));
                }
            }
            Ok(())
        };
        let waited = tokio::time::timeout(config.timers.recovery, serves).await;
        waited.unwrap_or_else(|_| {
            Err(RaftError::Recovery(format!(
                "it served nobody within {} s; the log says what it was waiting for. If the disk is slow, start it again",
                config.timers.recovery.as_secs()
            )))
        })
    }

    /// Writes the state as it is now to `path`, as a whole and durably, beside the running
    /// directory. [`restore`](super::restore::restore) takes it.
    ///
    /// # Errors
    /// [`RaftError`].
    pub async fn backup(&self, path: &Path) -> Result<(), RaftError> {
        backup(&self.raft, path).await
    }

    /// Folds the log into a snapshot now.
    ///
    /// # Errors
    /// [`RaftError::Stopped`].
    pub async fn snapshot(&self) -> Result<(), RaftError> {
        snapshot(&self.raft).await
    }

    /// The other members, for clients that come here; none if there can't be any.
    pub fn others(&self) -> Option<Others> {
        self.others.clone()
    }

    /// The members, to see and to change them.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Ends when the member can't go on: its files can't be written, or are damaged. It takes part in
    /// nothing from then on, and only a new start helps.
    pub fn failed(&self) -> impl Future<Output = RaftError> + Send + use<> {
        let mut metrics = self.raft.metrics();
        async move {
            loop {
                if let Err(fatal) = &metrics.borrow_watched().running_state {
                    return RaftError::Failed(fatal.to_string());
                }
                if let Err(error) = metrics.changed().await {
                    return RaftError::Failed(error.to_string());
                }
            }
        }
    }

    /// Stops, and returns once the files are closed.
    pub async fn stop(self) {
        if self.cluster.leads_others()
            && let Err(error) = self.cluster.hand_over().await
        {
            tracing::warn!(%error, "nobody has taken over leadership yet");
        }
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the log did not stop cleanly");
        }
        let _ = self.stop.send(true);
        drop(self.cluster);
        drop(self.raft);
        // The sender is dropped with the file, never used.
        let _ = tokio::time::timeout(Duration::from_secs(10), self.closed).await;
    }
}

/// Writes the state as it is now to `path`, as a whole and durably.
pub(super) async fn backup(raft: &Raft<Types, Machine>, path: &Path) -> Result<(), RaftError> {
    let view = raft
        .with_state_machine(|machine: &mut Machine| {
            let view = machine.view();
            Box::pin(async move { view })
        })
        .await
        .map_err(|error| RaftError::Stopped(error.to_string()))?;
    let target = path.to_owned();
    tokio::task::spawn_blocking(move || view.fits(&target).and_then(|()| view.write(&target)))
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|source| RaftError::Backup {
            path: path.to_owned(),
            source,
        })
}

/// Folds the log into a snapshot now.
pub(super) async fn snapshot(raft: &Raft<Types, Machine>) -> Result<(), RaftError> {
    let stopped = |error: &dyn std::error::Error| RaftError::Stopped(error.to_string());
    raft.with_state_machine(|machine: &mut Machine| {
        machine.snapshot_now();
        Box::pin(async {})
    })
    .await
    .map_err(|error| stopped(&error))?;
    raft.trigger()
        .snapshot()
        .await
        .map_err(|error| stopped(&error))
}

/// Opens the log. A predecessor that was killed may hold it until the system has cleared up.
async fn open_log(config: &Config) -> Result<(LogStore, oneshot::Receiver<()>), RaftError> {
    let since = Instant::now();
    loop {
        match LogStore::open(&log_path(&config.data_dir)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let waited = since.elapsed();
                if waited >= config.timers.predecessor {
                    return Err(RaftError::InUse {
                        dir: config.data_dir.clone(),
                        waited,
                    });
                }
                tokio::time::sleep(IN_USE_RETRY).await;
            }
            opened => {
                return opened.map_err(|source| RaftError::Files {
                    dir: config.data_dir.clone(),
                    source,
                });
            }
        }
    }
}

fn settings(config: &Config) -> Result<openraft::Config, RaftError> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let timers = &config.timers;
    let settings = openraft::Config {
        cluster_name: "towpath-directory".into(),
        // Heartbeats of a leader that has lost its quorum keep others from electing one.
        quorum_loss_probe_interval: Some(2 * ms(timers.election_max)),
        // Who comes back must not make a leader step down for nothing.
        enable_pre_vote: Some(true),
        // What a leader knows after a restart may be old; an election tells.
        enable_leader_restore: Some(false),
        // A leader is removed once it has handed over.
        removed_leader_step_down: StepDownPolicy::Never,
        heartbeat_interval: ms(timers.heartbeat),
        election_timeout_min: ms(timers.election_min),
        election_timeout_max: ms(timers.election_max),
        install_snapshot_timeout: ms(INSTALL_SNAPSHOT),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(
            config.limits.snapshot_commands.min(SNAPSHOT_LOOK_ENTRIES),
        ),
        max_in_snapshot_log_to_keep: config.limits.snapshot_keep_entries,
        ..openraft::Config::default()
    };
    settings
        .validate()
        .map_err(|error| RaftError::Timers(error.to_string()))
}

/// Hands proposals to the log: all that have come while [`ALONGSIDE`] entries were on their way
/// become the next entry. What was applied has told who waited; what was not is told here.
async fn propose(
    raft: Raft<Types, Machine>,
    front: Arc<Front>,
    mut proposals: mpsc::UnboundedReceiver<Proposal>,
) {
    let mut batch = Batch::default();
    let mut under_way = FuturesUnordered::new();
    loop {
        let first = tokio::select! {
            Some(()) = under_way.next() => continue,
            first = proposals.recv(), if under_way.len() < ALONGSIDE => first,
        };
        let Some(first) = first else { return };
        batch.push(&first.command);
        let mut requests = vec![first.request];
        // Connections that have something to read now may still join.
        tokio::task::yield_now().await;
        while requests.len() < BATCH_MAX
            && batch.bytes() < BATCH_BYTES
            && let Ok(next) = proposals.try_recv()
        {
            batch.push(&next.command);
            requests.push(next.request);
        }
        match raft.client_write_many([Payload(batch.take())]).await {
            Ok(mut outcome) => {
                let front = &front;
                under_way.push(async move {
                    if !matches!(outcome.next().await, Some(Ok(Ok(_)))) {
                        requests
                            .into_iter()
                            .for_each(|request| front.proposal_failed(request));
                    }
                });
            }
            Err(error) => {
                tracing::error!(%error, "the log takes no more entries; this member has to be restarted");
                requests
                    .into_iter()
                    .for_each(|request| front.proposal_failed(request));
                front.stop_serving();
            }
        }
    }
}

/// How others reach this member.
fn advertised(
    peers: &crate::config::Peers,
    address: SocketAddr,
    clients: SocketAddr,
) -> Result<Member, PeerError> {
    let own = |given: &Option<String>, address: SocketAddr| match given {
        Some(given) => Ok(given.clone()),
        None if address.ip().is_unspecified() => Err(PeerError::Address(address.to_string())),
        None => Ok(address.to_string()),
    };
    let member = Member {
        peer: own(&peers.advertise, address)?,
        client: own(&peers.advertise_client, clients)?,
    };
    match member.is_reachable() {
        true => Ok(member),
        false => Err(PeerError::Address(format!("{member}"))),
    }
}
