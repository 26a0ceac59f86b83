//! The directory of real Servers, while processes, disks and the network fail: every history that
//! clients see of it is linearizable.
//!
//! One file per kind of failure; `control` breaks the directory on purpose, since a check that accepts
//! everything proves nothing. All is written for any number of [`MEMBERS`].

mod kill;
mod freeze;
mod disk;
mod partition;
mod control;
mod grow;
mod bus;
mod together;
mod rolling;
mod lost;
mod secured;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use towpath_testing::ensemble::{Ensemble, Place};
use towpath_testing::linear::Verdict;
use towpath_testing::workload::{Options, Record, Workload};

use crate::harness::WAIT;

/// Servers that host the directory.
const MEMBERS: usize = 1;

/// Clients that share the groups of nodes.
const CLIENTS: usize = 8;

/// Answers that show that clients get on again.
const SOME: u64 = 200;

/// What a member needs to know of the others; one alone, nothing.
fn further(_member: usize, _places: &[Place]) -> Vec<String> {
    Vec::new()
}

/// Places for the members.
fn ensemble() -> Result<Ensemble> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_towpath"));
    Ensemble::new(Some(program), MEMBERS, further)
}

/// A directory and its clients.
struct Storm {
    ensemble: Ensemble,
    load: Workload,
}

impl Storm {
    /// Starts the members, and clients that know them all.
    async fn start(mut ensemble: Ensemble) -> Result<Self> {
        ensemble.start().await?;
        let load = load(&ensemble.addresses()).await?;
        Ok(Self { ensemble, load })
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
