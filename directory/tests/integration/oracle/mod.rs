//! Real ZooKeeper 3.8 as the oracle.

mod zookeeper;
mod op;
mod side;
mod plan;

use tempfile::TempDir;
use towpath_directory::{Config, Directory};

use op::{Mark, Op};
use plan::Plan;
use side::Side;
use zookeeper::ZooKeeper;

const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

/// Both servers, empty at first, with the same sessions.
struct Pair {
    ours: Side,
    theirs: Side,
    step: Mark,
    directory: Directory,
    _zookeeper: ZooKeeper,
    _dir: TempDir,
}

impl Pair {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let zookeeper = ZooKeeper::start(dir.path()).await;
        let mut config = Config::new(dir.path().join("ours"));
        config.super_digest = Some(SUPER_DIGEST.into());
        config.timers.reap_scan = std::time::Duration::from_secs(86_400);
        let directory = Directory::start(config).await.unwrap();
        Self {
            ours: Side::open("towpath", directory.address()).await,
            theirs: Side::open("ZooKeeper", zookeeper.address).await,
            step: 0,
            directory,
            _zookeeper: zookeeper,
            _dir: dir,
        }
    }

    async fn play(&mut self, session: usize, op: &Op) -> (side::Seen, side::Seen) {
        self.step += 1;
        tokio::join!(
            self.ours.play(self.step, session, op),
            self.theirs.play(self.step, session, op)
        )
    }
}

#[tokio::test]
#[ignore = "needs ZooKeeper"]
async fn random_sequences() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let only = std::env::var("TOWPATH_ORACLE_SEED").ok();
    let sequences = number("TOWPATH_ORACLE_SEQUENCES", if only.is_some() { 1 } else { 20 });
    let steps = number("TOWPATH_ORACLE_STEPS", 2000);
    let first = only.map_or_else(rand::random, |text| text.parse::<u64>().unwrap());
    let mut diffs = std::collections::BTreeMap::<String, usize>::new();
    for at in 0..sequences {
        let seed = first.wrapping_add(at);
        println!("seed {seed}");
        let mut pair = Pair::start().await;
        let mut plan = Plan::new(seed);
        for step in 1..=steps {
            let (session, op) = plan.next();
            if std::env::var("V").is_ok() { println!("{step} {session} {op:?}"); }
            let (ours, theirs) = pair.play(session, &op).await;
            if std::env::var("V").is_ok() { println!("    {theirs:?}"); }
            if ours != theirs {
                if plan::BAD_PATHS.iter().any(|p| format!("{op:?}").contains(&format!("{p:?}"))) && format!("{ours:?}").contains("[\"error -8\"]") && !op.is_write() { continue }
                let key = format!("{op:?}\n   ours   {ours:?}\n   theirs {theirs:?}");
                *diffs.entry(key.clone()).or_default() += 1;
                println!("step {step} session {session} {key}");
            }
        }
        pair.directory.stop().await;
    }
}
