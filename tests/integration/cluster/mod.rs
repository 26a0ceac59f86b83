//! The directory of real Servers, while processes, disks and the network fail: every history that
//! clients see of it is linearizable.
//!
//! One file per kind of failure; `control` breaks the directory on purpose, since a check that accepts
//! everything proves nothing. Most run against three Servers, and demand that the others go on; one
//! [`ALONE`] shows what its own disk holds, which others would hide.

mod kill;
mod freeze;
mod disk;
mod partition;
mod control;
mod grow;
mod failover;
mod quiet;
mod bus;
mod together;
mod rolling;
mod lost;
mod lagging;
mod secured;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use towpath_testing::ensemble::Ensemble;
use towpath_testing::linear::Verdict;
use towpath_testing::workload::{Options, Record, Workload};

use crate::harness::WAIT;

/// Servers that host the directory.
const MEMBERS: usize = 3;
/// Where one is enough.
const ALONE: usize = 1;

/// Clients that share the groups of nodes.
const CLIENTS: usize = 8;
/// Those of them that only read.
const READERS: usize = 3;
/// More operations than any of these tests does.
const OPERATIONS_MAX: u64 = 10_000_000;
/// Longer than any of these tests takes.
const TIME_MAX: Duration = Duration::from_secs(3600);

/// Answers that show that clients get on again.
const SOME: u64 = 200;

/// Another member must serve by then, on a busy machine; alone it takes a second.
const FAILOVER: Duration = Duration::from_secs(10);

/// Rounds that a few seconds suffice for, and those that show more.
const FEW: usize = 2;
const ROUNDS: usize = 20;

/// A directory and its clients.
struct Storm {
    ensemble: Ensemble,
    load: Workload,
}

impl Storm {
    /// Starts the members of a new directory, and clients that know them all.
    async fn start(mut ensemble: Ensemble) -> Result<Self> {
        grow::grow(&mut ensemble).await?;
        let load = load(&ensemble.addresses()).await?;
        Ok(Self { ensemble, load })
    }

    /// So many times: waits until clients got on, and makes trouble. What they were told all the while
    /// must be linearizable, and some must have lost an answer.
    async fn rounds(
        mut self,
        rounds: usize,
        mut trouble: impl AsyncFnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<()> {
        for round in 0..rounds {
            let before = self.get_on().await;
            before.with_context(|| format!("before round {round}"))?;
            let made = trouble(&mut self, round).await;
            made.with_context(|| format!("round {round}"))?;
        }
        self.get_on().await?;
        let counts = self.accepted().await?.counts;
        println!(
            "{rounds} rounds: {}/{}/{} operations ok/unknown/failed, linearizable",
            counts.ok, counts.unknown, counts.failed
        );
        ensure!(counts.unknown > 0, "no client noticed: {counts:?}");
        Ok(())
    }

    /// Who leads.
    async fn leader(&self) -> Result<usize> {
        self.ensemble.another_leader(None, WAIT).await
    }

    /// Waits until another member leads, and clients get on with it.
    async fn goes_on_without(&self, lost: usize) -> Result<()> {
        let since = Instant::now();
        let next = self.ensemble.another_leader(Some(lost), FAILOVER).await?;
        println!("member {} leads after {:?}", next + 1, since.elapsed());
        self.get_on().await
    }

    /// The member after this one.
    fn next(&self, member: usize) -> usize {
        (member + 1) % self.ensemble.places().len()
    }

    /// Waits until clients got on.
    async fn get_on(&self) -> Result<()> {
        let tails = || {
            let members = 0..self.ensemble.places().len();
            let tails = members.filter_map(|at| Some(self.ensemble.process(at).ok()?.tail()));
            tails.collect::<Vec<_>>().join("\n")
        };
        let answered = self.load.until_answered(SOME, WAIT).await;
        answered.with_context(tails)
    }

    /// Ends the load; its history must be linearizable.
    async fn accepted(self) -> Result<Record> {
        let record = self.load.stop().await?;
        verdict(&record)
            .accepted()
            .with_context(|| format!("seed {}", record.seed))?;
        Ok(record)
    }
}

async fn load(servers: &[SocketAddr]) -> Result<Workload> {
    let mut options = Options::new(CLIENTS, servers);
    options.answer_timeout = Duration::from_secs(1);
    options.readers = READERS;
    options.operations_max = OPERATIONS_MAX;
    options.time_max = TIME_MAX;
    Workload::start(options).await
}

/// The verdict on a record, which is shown.
fn verdict(record: &Record) -> Verdict {
    let pause = record.longest_without_success(record.all());
    println!(
        "{} operations in {:.1} s, seed {}: {:?}; none answered for {:.3} s at {:.3} s",
        record.history.operations.len(),
        record.took.as_secs_f64(),
        record.seed,
        record.counts,
        pause.length().as_secs_f64(),
        pause.from.as_secs_f64(),
    );
    record.history.verdict()
}
