//! Towpath's directory: a replicated tree of nodes that speaks the ZooKeeper client protocol.
//!
//! In the order in which a change passes: [`wire`] reads it from a client, [`front`] proposes it,
//! [`raft`] makes it durable and gives it its number, [`state`] applies it to [`tree`] and
//! [`session`]s, [`watch`] tells who waits for it, and [`front`] answers.
//!
//! Invariants:
//! * Nothing is acknowledged before it's on disk.
//! * zxid = number of the command, counted over all entries of the log: it only grows.
//! * The state is a function of the log: no clock, no randomness, no I/O in `state`, `tree`,
//!   `session::table` and `watch`.
//! * Only the member that leads serves clients.
//!
//! It never expires a session without an entry in the log, never answers a client out of order,
//! and never keeps quotas, changes members over the client protocol, or speaks SASL.

pub mod config;
pub mod code;
pub mod wire;
pub mod front;
pub mod raft;
pub mod state;
pub mod tree;
pub mod session;
pub mod watch;
pub mod roles;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch as signal;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

pub use config::{Config, Limits, PeerTls, Peers, Start, Timers, Tls};
pub use front::Status;
pub use raft::restore::{RestoreError, is_occupied, restore};
pub use raft::{
    Cable, Change, Cluster, Member, MemberError, MemberStatus, Members, PeerError, RaftError, Role,
};
pub use roles::Roles;
pub use tls::TlsError;

use front::Front;
use raft::Node;
use roles::Access;
use wire::listen::{self, Listen};
use wire::splice::Others;

/// Why a directory doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The number of the member is out of range.
    #[error("node id {0} is not between 1 and 126")]
    NodeId(u8),
    /// The address can't be listened on.
    #[error("can't listen on {address}; is another process there?")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The log doesn't come up.
    #[error(transparent)]
    Raft(#[from] RaftError),
}

/// A running member of the directory.
#[derive(Debug)]
pub struct Directory {
    front: Arc<Front>,
    node: Node,
    address: SocketAddr,
    stop: signal::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Directory {
    /// Starts a member and reads its log back. One that is alone, or founds a directory, serves
    /// clients when this returns; one of several does while it leads.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        if !(1..=126).contains(&config.node_id) {
            return Err(StartError::NodeId(config.node_id));
        }
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let listening = |source| StartError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let (front, proposals) = Front::new(
            config.node_id,
            config.timers,
            config.limits,
            Access {
                super_digest: config.super_digest.clone(),
                roles: config.roles.clone().map(Arc::new),
            },
        );
        let node = Node::start(&config, address, &front, proposals).await?;
        let (stop, stopped) = signal::channel(false);
        let listen = Listen {
            front: front.clone(),
            tls,
            limits: config.limits,
            timers: config.timers,
            others: node.others(),
        };
        let tasks = vec![
            tokio::spawn(listen::run(listener, listen, stopped)),
            tokio::spawn(every(
                config.timers.expiry_scan,
                front.clone(),
                Front::scan_leases,
            )),
            tokio::spawn(every(
                config.timers.reap_scan,
                front.clone(),
                Front::scan_mortal,
            )),
        ];
        tracing::info!(%address, dir = %config.data_dir.display(), "directory started");
        Ok(Self {
            front,
            node,
            address,
            stop,
            tasks,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Numbers for operators.
    pub fn status(&self) -> Status {
        self.statuses()()
    }

    /// The same, for one who looks again and again.
    pub fn statuses(&self) -> impl Fn() -> Status + Send + Sync + 'static {
        let (front, others) = (self.front.clone(), self.node.others());
        move || Status {
            follows: others.as_ref().is_some_and(Others::follows),
            ..front.status()
        }
    }

    /// Whether this member leads, and so serves clients itself, and each change of that.
    pub fn serving(&self) -> signal::Receiver<bool> {
        self.front.serving()
    }

    /// Writes the state as it is now to `path`, as a whole and durably, beside the running
    /// directory.
    ///
    /// # Errors
    /// [`RaftError`].
    pub async fn backup(&self, path: &Path) -> Result<(), RaftError> {
        self.node.backup(path).await
    }

    /// Ends when this member can't go on, most often since its disk is full or fails: nobody is
    /// served from then on until a new start.
    pub fn failed(&self) -> impl Future<Output = RaftError> + Send + use<> {
        self.node.failed()
    }

    /// The members, to see and to change them; whichever is asked.
    pub fn cluster(&self) -> Cluster {
        self.node.cluster().clone()
    }

    /// Folds the log into a snapshot now.
    ///
    /// # Errors
    /// [`RaftError::Stopped`].
    pub async fn snapshot(&self) -> Result<(), RaftError> {
        self.node.snapshot().await
    }

    /// Ends all connections, their answers written, and closes the files. Sessions live on for
    /// their timeout after the next start.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let mut tasks = self.tasks.into_iter();
        if let Some(listening) = tasks.next() {
            let _ = listening.await;
        }
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        self.node.stop().await;
    }
}

async fn every(interval: Duration, front: Arc<Front>, work: impl Fn(&Front)) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        work(&front);
    }
}
