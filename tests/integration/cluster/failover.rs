//! How long nobody is served when the leader is killed, and that clients keep their sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;
use towpath_testing::ensemble::Ensemble;
use towpath_testing::wait_until;
use zookeeper_client::{Acls, Client, CreateMode, SessionState};

use super::{FAILOVER, MEMBERS, grow};
use crate::harness::WAIT;

/// Clients, each with a session, an ephemeral node, and a node that it writes all the time.
const SESSIONS: usize = 6;
/// From the kill to the first write that another leader acknowledges. A client takes its session for
/// expired by itself after 1.4 times the session timeout, so these are sessions of this length.
const LIMIT: Duration = Duration::from_secs(3);
/// Between two writes of a client, and after one that failed.
const PAUSE: Duration = Duration::from_millis(5);

/// What the clients know together. Times are nanoseconds from a common beginning; 0 means never.
struct Watch {
    began: Instant,
    stop: AtomicBool,
    /// When the last leader was dead.
    dead: AtomicU64,
    /// When the first write was acknowledged that was asked after that.
    first: AtomicU64,
    acknowledged: AtomicU64,
}

impl Watch {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A write that was asked then is acknowledged now.
    fn acknowledged(&self, asked: u64) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let dead = self.dead.load(Ordering::SeqCst);
        if dead != 0 && asked > dead {
            let now = self.now();
            let _ = (self.first).compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

/// A client that is served, wherever the leader is.
struct Held {
    client: Client,
    /// Its ephemeral node; the change that made it, and whose it was.
    node: String,
    made: (i64, i64),
}

impl Held {
    async fn open(cluster: &str, number: usize, timeout: Duration) -> Result<Self> {
        let client = Client::connector()
            .with_session_timeout(timeout)
            .connect(cluster)
            .await?;
        let node = format!("/held-{number}");
        let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        let (stat, _) = client.create(&node, b"", &ephemeral).await?;
        let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
        client.create(&written(number), b"", &persistent).await?;
        Ok(Self {
            client,
            node,
            made: (stat.czxid, stat.ephemeral_owner),
        })
    }

    /// It has the session that it began with, and its node is the one that it made.
    async fn is_kept(&self) -> Result<()> {
        let lost = |state| matches!(state, SessionState::Expired | SessionState::Closed);
        let mut stat = None;
        wait_until("the session to be resumed", FAILOVER, async || {
            ensure!(!lost(self.client.state()), "{} has expired", self.node);
            stat = self.client.check_stat(&self.node).await.ok();
            Ok(stat.is_some())
        })
        .await?;
        let stat = stat.flatten();
        let stat = stat.with_context(|| format!("{} is gone", self.node))?;
        let made = (stat.czxid, stat.ephemeral_owner);
        ensure!(made == self.made, "{} is another one: {stat:?}", self.node);
        Ok(())
    }
}

fn written(number: usize) -> String {
    format!("/written-{number}")
}

async fn write(client: Client, number: usize, watch: Arc<Watch>) {
    let node = written(number);
    let mut value = 0_u64;
    while !watch.stop.load(Ordering::Relaxed) {
        let asked = watch.now();
        value += 1;
        let data = value.to_be_bytes();
        if client.set_data(&node, &data, None).await.is_ok() {
            watch.acknowledged(asked);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Kills whoever leads, so often; how long it took each time.
async fn kills(ensemble: &mut Ensemble, runs: usize, limit: Duration) -> Result<Vec<Duration>> {
    let addresses: Vec<String> = ensemble
        .addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    let watch = Arc::new(Watch {
        began: Instant::now(),
        stop: AtomicBool::new(false),
        dead: AtomicU64::new(0),
        first: AtomicU64::new(0),
        acknowledged: AtomicU64::new(0),
    });
    let mut held = Vec::new();
    let mut writers = JoinSet::new();
    for number in 0..SESSIONS {
        let one = Held::open(&addresses.join(","), number, limit).await?;
        writers.spawn(write(one.client.clone(), number, Arc::clone(&watch)));
        held.push(one);
    }
    let mut took = Vec::new();
    for run in 0..runs {
        let leader = ensemble.another_leader(None, WAIT).await?;
        watch.dead.store(0, Ordering::SeqCst);
        watch.first.store(0, Ordering::SeqCst);
        let killed = watch.now();
        ensemble.kill9(leader)?;
        watch.dead.store(watch.now(), Ordering::SeqCst);
        wait_until("a write after the kill", FAILOVER, async || {
            Ok(watch.first.load(Ordering::SeqCst) != 0)
        })
        .await
        .with_context(|| format!("run {run}"))?;
        let first = watch.first.load(Ordering::SeqCst);
        let one = Duration::from_nanos(first.saturating_sub(killed));
        println!("run {run}: {one:.3?}");
        took.push(one);
        for one in &held {
            let kept = one.is_kept().await;
            kept.with_context(|| format!("run {run}, {took:?}"))?;
        }
        ensemble.start().await?;
        ensemble.until_level(leader, WAIT).await?;
    }
    watch.stop.store(true, Ordering::Relaxed);
    writers.join_all().await;
    println!(
        "{} writes acknowledged, none of {SESSIONS} sessions expired",
        watch.acknowledged.load(Ordering::Relaxed)
    );
    Ok(took)
}

async fn measured(runs: usize, limit: Duration) -> Result<()> {
    let mut ensemble = grow::grown(MEMBERS).await?;
    let mut took = kills(&mut ensemble, runs, limit).await?;
    took.sort_unstable();
    let of = |part: usize| took.get((took.len() * part).div_ceil(100).saturating_sub(1));
    let [median, p99, worst] = [50, 99, 100].map(|part| of(part).copied().unwrap_or_default());
    println!(
        "{runs} kills of the leader: first write after {median:.3?} (median), {p99:.3?} (p99), \
         {worst:.3?} (worst)"
    );
    ensure!(worst < limit, "{took:.3?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_outlive_their_leaders() -> Result<()> {
    measured(2, FAILOVER).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes five minutes"]
async fn a_hundred_leaders_are_killed() -> Result<()> {
    measured(100, LIMIT).await
}
