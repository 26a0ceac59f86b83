//! Several members in one process, each with its own place, talking over real sockets.

mod serve;
mod lag;
mod change;
mod lost;
mod hostile;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use towpath_directory::{Change, Config, Directory, Member, MemberError, Members, Peers, Start};

use crate::raw::{Raw, Reply};

/// Longest wait for anything: long enough for a loaded machine, short enough to be told.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    pub(crate) dir: TempDir,
    pub(crate) configs: BTreeMap<u64, Config>,
    pub(crate) running: BTreeMap<u64, Directory>,
}

impl Cluster {
    /// The first member alone, and `count - 1` that it has added.
    pub(crate) async fn of(count: u64) -> Self {
        Self::with(count, |_| {}).await
    }

    pub(crate) async fn with(count: u64, adjust: impl Fn(&mut Config)) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let mut cluster = Self {
            dir: TempDir::new().unwrap(),
            configs: BTreeMap::new(),
            running: BTreeMap::new(),
        };
        for id in 1..=count {
            let mut config = cluster.config(id);
            adjust(&mut config);
            cluster.configs.insert(id, config);
            cluster.start(id).await;
            if id > 1 {
                cluster.add(id).await;
            }
        }
        cluster
    }

    pub(crate) fn config(&self, id: u64) -> Config {
        let mut config = Config::new(self.dir.path().join(id.to_string()));
        config.node_id = u8::try_from(id).unwrap();
        config.peers = Some(Peers::new(match id {
            1 => Start::Found,
            _ => Start::Join,
        }));
        config
    }

    /// Starts a member, at the addresses that it had if it ran before.
    pub(crate) async fn start(&mut self, id: u64) {
        if !self.configs.contains_key(&id) {
            self.configs.insert(id, self.config(id));
        }
        let config = self.configs.get_mut(&id).unwrap();
        let directory = Directory::start(config.clone()).await.unwrap();
        config.listen = directory.address();
        let own = directory.cluster().own().unwrap().clone();
        config.peers.as_mut().unwrap().listen = own.peer.parse().unwrap();
        self.running.insert(id, directory);
    }

    pub(crate) async fn stop(&mut self, id: u64) {
        self.running.remove(&id).unwrap().stop().await;
    }

    pub(crate) async fn stop_all(mut self) {
        while let Some((_, directory)) = self.running.pop_last() {
            directory.stop().await;
        }
    }

    pub(crate) fn member(&self, id: u64) -> Member {
        self.running[&id].cluster().own().unwrap().clone()
    }

    pub(crate) fn address(&self, id: u64) -> SocketAddr {
        self.running[&id].address()
    }

    /// Adds a member that runs and waits; whoever is asked passes it on.
    pub(crate) async fn add(&self, id: u64) -> Members {
        let asked = self.running.values().next().unwrap();
        let member = self.member(id);
        let change = Change::Add { id, member };
        self.change(asked, change).await
    }

    /// Asks for a change. On a machine that has other things to do a leader may be lost meanwhile,
    /// and the change be asked for again.
    pub(crate) async fn change(&self, asked: &Directory, change: Change) -> Members {
        until("the change is made", || async {
            match asked.cluster().change(change.clone()).await {
                Ok(members) => Some(members),
                Err(
                    MemberError::NoLeader
                    | MemberError::HandOver
                    | MemberError::Majority { .. }
                    | MemberError::Unreachable { .. }
                    | MemberError::Unclear(_),
                ) => None,
                // It was made before its answer was lost.
                Err(MemberError::Unknown(_)) => asked.cluster().members().await.ok(),
                Err(error) => panic!("{error}"),
            }
        })
        .await
    }

    /// Who serves, of those that run.
    pub(crate) async fn leader(&self) -> u64 {
        until("a member serves", || async {
            let mut serving = self.running.iter().filter(|(_, d)| d.status().serving);
            serving.next().map(|(id, _)| *id)
        })
        .await
    }

    /// Some that runs and doesn't lead.
    pub(crate) async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        *self.running.keys().find(|id| **id != leader).unwrap()
    }

    pub(crate) fn pull_cable(&self, id: u64) {
        self.configs[&id].peers.as_ref().unwrap().cable.pull();
    }

    pub(crate) fn plug_in(&self, id: u64) {
        self.configs[&id].peers.as_ref().unwrap().cable.plug_in();
    }

    /// Until all that run have all entries.
    pub(crate) async fn level(&self) {
        until("all members are level", || async {
            let mut zxids = self.running.values().map(|d| d.status().zxid);
            let first = zxids.next();
            zxids.all(|zxid| Some(zxid) == first).then_some(())
        })
        .await;
    }
}

/// Asks until there's an answer.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it happens")
}

/// A session that goes to one address and comes back there.
pub(crate) struct Session {
    pub(crate) raw: Option<Raw>,
    pub(crate) id: i64,
    password: Vec<u8>,
    last_zxid: i64,
    timeout_ms: i32,
    address: SocketAddr,
}

impl Session {
    pub(crate) async fn open(address: SocketAddr, timeout_ms: i32) -> Self {
        let raw = until("a session opens", || {
            Raw::resume(address, 0, timeout_ms, 0, &[0; 16])
        })
        .await;
        Self {
            id: raw.session,
            password: raw.password.clone(),
            raw: Some(raw),
            last_zxid: 0,
            timeout_ms,
            address,
        }
    }

    /// Comes back to a member, as often as it takes; the session must live on.
    pub(crate) async fn resume(&mut self, address: SocketAddr) {
        let raw = until("the session resumes", || {
            Raw::resume(
                address,
                self.last_zxid,
                self.timeout_ms,
                self.id,
                &self.password,
            )
        })
        .await;
        assert_eq!(raw.session, self.id, "the session has not expired");
        self.raw = Some(raw);
        self.address = address;
    }

    /// `None` if the connection ended instead.
    pub(crate) async fn try_call(&mut self, request: &[u8]) -> Option<Reply> {
        let raw = self.raw.as_mut()?;
        let reply = match raw.try_send(request).await {
            true => raw.reply().await,
            false => None,
        };
        match &reply {
            Some(reply) => self.last_zxid = self.last_zxid.max(reply.zxid),
            None => self.raw = None,
        }
        reply
    }

    /// Comes back as often as it takes: on a machine that has other things to do, a leader may lose
    /// its lease.
    pub(crate) async fn call(&mut self, request: &[u8]) -> Reply {
        if let Some(reply) = self.try_call(request).await {
            return reply;
        }
        loop {
            self.resume(self.address).await;
            if let Some(mut reply) = self.try_call(request).await {
                const NODE_EXISTS: i32 = -110;
                if reply.error == NODE_EXISTS {
                    // It was made, and the answer lost.
                    reply.error = 0;
                }
                return reply;
            }
        }
    }
}
