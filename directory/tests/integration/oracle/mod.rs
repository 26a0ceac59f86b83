//! Real ZooKeeper 3.8 as the oracle: both servers are asked the same, one operation at a time, and
//! must answer the same. What a step is answered, and which watch events it sends to whom and in
//! which order, is compared as text ([`side`]); what differs on purpose is a table
//! ([`differences`]), whose entries have their own tests ([`cases`]).
//!
//! Never compared: when a session expires or a TTL node goes, the order of children, of access
//! lists and of a closed session's nodes, and zxids as such (but which transaction each one in an
//! answer means).
//!
//! `TOWPATH_ORACLE_SEED=n` replays one sequence, `TOWPATH_ORACLE_SEQUENCES` and
//! `TOWPATH_ORACLE_STEPS` say how many and how long.

mod zookeeper;
mod op;
mod side;
mod plan;
mod differences;
mod cases;

use std::collections::BTreeMap;
use std::time::Duration;

use tempfile::TempDir;
use towpath_directory::{Config, Directory};

use op::{Mark, Op};
use plan::Plan;
use side::{Seen, Side};
use zookeeper::ZooKeeper;

/// `super:test`, from ZooKeeper's administrator's guide.
const SUPER_DIGEST: &str = "super:D/InIHSb7yEEbrWz8b9l71RjZJU=";

/// Steps that are told before one that differs.
const TOLD_STEPS: usize = 12;

/// Both servers, empty at first, with the same sessions.
struct Pair {
    ours: Side,
    theirs: Side,
    step: Mark,
    directory: Directory,
    zookeeper: ZooKeeper,
    _dir: TempDir,
}

impl Pair {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let zookeeper = ZooKeeper::start(dir.path(), true).await;
        let mut config = Config::new(dir.path().join("ours"));
        config.super_digest = Some(SUPER_DIGEST.into());
        config.timers.reap_scan = Duration::from_secs(86_400);
        let directory = Directory::start(config).await.unwrap();
        Self {
            ours: Side::open("towpath", directory.address()).await,
            theirs: Side::open("ZooKeeper", zookeeper.address).await,
            step: 0,
            directory,
            zookeeper,
            _dir: dir,
        }
    }

    async fn play(&mut self, session: usize, op: &Op) -> (Seen, Seen) {
        self.step += 1;
        tokio::join!(
            self.ours.play(self.step, session, op),
            self.theirs.play(self.step, session, op)
        )
    }
}

/// What a sequence came to: steps that were refused, and known differences met.
#[derive(Default)]
struct Tally {
    refused: usize,
    events: usize,
    known: BTreeMap<&'static str, usize>,
}

async fn sequence(seed: u64, steps: usize, tally: &mut Tally) {
    let mut pair = Pair::start().await;
    let mut plan = Plan::new(seed);
    let mut told = Vec::new();
    for step in 1..=steps {
        let (session, op) = plan.next();
        let (ours, theirs) = pair.play(session, &op).await;
        told.push(format!("{step}: session {session} {op:?}\n   {theirs:?}"));
        if ours != theirs {
            let Some(known) = differences::known(&op, &ours, &theirs) else {
                let from = told.len().saturating_sub(TOLD_STEPS);
                panic!(
                    "seed {seed} differs at step {step}\n{}\ntowpath, however:\n   {ours:?}\n\
                     replay it with TOWPATH_ORACLE_SEED={seed}",
                    told[from..].join("\n")
                );
            };
            *tally.known.entry(known.what).or_default() += 1;
        }
        let all = || theirs.iter().flatten();
        tally.refused += all().filter(|shown| shown.starts_with("error")).count();
        tally.events += all().filter(|shown| shown.starts_with("event")).count();
    }
    pair.directory.stop().await;
}

/// Takes some minutes.
#[tokio::test]
#[ignore = "needs ZooKeeper"]
async fn random_sequences() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap())
    };
    let only = number("TOWPATH_ORACLE_SEED");
    let all = if only.is_some() { 1 } else { 20 };
    let sequences = number("TOWPATH_ORACLE_SEQUENCES").unwrap_or(all);
    let steps = number("TOWPATH_ORACLE_STEPS").unwrap_or(2000) as usize;
    let first = only.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let mut tally = Tally::default();
    for seed in first..first + sequences {
        println!("seed {seed}");
        sequence(seed, steps, &mut tally).await;
    }
    println!(
        "{sequences} sequences of {steps} operations, {} refused, {} watch events, no unknown \
         differences; known: {:?}",
        tally.refused, tally.events, tally.known
    );
}
