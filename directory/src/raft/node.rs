//! One member of the directory: starts openraft, carries proposals to it, and tells the front
//! when it leads.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use openraft::{BasicNode, Raft, ServerState, SnapshotPolicy};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::log_redb::LogStore;
use super::machine::Machine;
use super::network::Alone;
use super::types::{Payload, Types};
use crate::config::Config;
use crate::front::{Front, Proposal};
use crate::state::batch::Batch;

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
    /// Its files can't be used.
    #[error("the directory's files in {} can't be used", .dir.display())]
    Files {
        /// Where they are.
        dir: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The timers contradict one another.
    #[error("the directory's timers don't fit together: {0}")]
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
}

/// The files of a member within its data directory.
pub(super) fn log_path(dir: &Path) -> PathBuf {
    dir.join("log.redb")
}

pub(super) fn snapshots_path(dir: &Path) -> PathBuf {
    dir.join("snapshots")
}

/// A running member.
pub struct Node {
    raft: Raft<Types, Machine>,
    tasks: Vec<JoinHandle<()>>,
    closed: oneshot::Receiver<()>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Node {
    /// Opens the files, reads the log back, and returns once the front serves.
    ///
    /// # Errors
    /// [`RaftError`].
    pub async fn start(
        config: &Config,
        front: &Arc<Front>,
        proposals: mpsc::UnboundedReceiver<Proposal>,
    ) -> Result<Self, RaftError> {
        let files = |source| RaftError::Files {
            dir: config.data_dir.clone(),
            source,
        };
        std::fs::create_dir_all(&config.data_dir).map_err(files)?;
        let (log, closed) = open_log(config).await?;
        let machine = Machine::new(
            front.clone(),
            log.clone(),
            snapshots_path(&config.data_dir),
            config.limits.snapshot_commands,
        )
        .map_err(files)?;
        let node_id = u64::from(config.node_id);
        let raft = Raft::new(node_id, Arc::new(settings(config)?), Alone, log, machine)
            .await
            .map_err(|error| RaftError::Recovery(error.to_string()))?;
        let mut node = Self {
            raft,
            tasks: Vec::new(),
            closed,
        };
        if let Err(error) = node.lead(config, node_id).await {
            node.stop().await;
            return Err(error);
        }
        front.begin_serving();
        node.tasks.push(tokio::spawn(propose(
            node.raft.clone(),
            front.clone(),
            proposals,
        )));
        node.tasks.push(tokio::spawn(watch_leadership(
            node.raft.clone(),
            front.clone(),
        )));
        Ok(node)
    }

    async fn lead(&self, config: &Config, node_id: u64) -> Result<(), RaftError> {
        let failed = |error: &dyn std::error::Error| RaftError::Recovery(error.to_string());
        if self
            .raft
            .is_initialized()
            .await
            .map_err(|error| failed(&error))?
        {
            // A member that is alone needs nobody's vote, so it needn't wait for a timeout.
            if self.raft.voter_ids().eq([node_id]) {
                self.raft
                    .trigger()
                    .elect(false)
                    .await
                    .map_err(|error| failed(&error))?;
            }
        } else {
            let member = BasicNode::new(config.listen.to_string());
            let members = std::collections::BTreeMap::from([(node_id, member)]);
            self.raft
                .initialize(members)
                .await
                .map_err(|error| failed(&error))?;
        }
        let leads = self
            .raft
            .wait(Some(config.timers.recovery))
            .state(ServerState::Leader, "lead")
            .await;
        leads.map_err(|error| failed(&error))?;
        let recovered = self
            .raft
            .wait_for_recovery(Some(config.timers.recovery))
            .await;
        recovered.map(drop).map_err(|error| failed(&error))
    }

    /// Writes the state as it is now to `path`, as a whole and durably, beside the running
    /// directory. [`restore`](super::restore::restore) takes it.
    ///
    /// # Errors
    /// [`RaftError`].
    pub async fn backup(&self, path: &Path) -> Result<(), RaftError> {
        let view = self
            .raft
            .with_state_machine(|machine: &mut Machine| {
                let view = machine.view();
                Box::pin(async move { view })
            })
            .await
            .map_err(|error| RaftError::Stopped(error.to_string()))?;
        let target = path.to_owned();
        tokio::task::spawn_blocking(move || view.write(&target))
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(|source| RaftError::Backup {
                path: path.to_owned(),
                source,
            })
    }

    /// Folds the log into a snapshot now.
    ///
    /// # Errors
    /// [`RaftError::Stopped`].
    pub async fn snapshot(&self) -> Result<(), RaftError> {
        let stopped = |error: &dyn std::error::Error| RaftError::Stopped(error.to_string());
        self.raft
            .with_state_machine(|machine: &mut Machine| {
                machine.snapshot_now();
                Box::pin(async {})
            })
            .await
            .map_err(|error| stopped(&error))?;
        self.raft
            .trigger()
            .snapshot()
            .await
            .map_err(|error| stopped(&error))
    }

    /// Stops, and returns once the files are closed.
    pub async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the log did not stop cleanly");
        }
        drop(self.raft);
        // The sender is dropped with the file, never used.
        let _ = tokio::time::timeout(Duration::from_secs(10), self.closed).await;
    }
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

/// Serves while this member leads.
async fn watch_leadership(raft: Raft<Types, Machine>, front: Arc<Front>) {
    use openraft::async_runtime::watch::WatchReceiver as _;
    let mut metrics = raft.server_metrics();
    let mut leads = true;
    loop {
        let now = metrics.borrow_watched().state == ServerState::Leader;
        if now && !leads && raft.wait_for_recovery(None).await.is_ok() {
            front.begin_serving();
        } else if leads && !now {
            tracing::warn!("this member no longer leads; clients are sent away");
            front.stop_serving();
        }
        leads = now;
        if metrics.changed().await.is_err() {
            break;
        }
    }
    front.stop_serving();
}
