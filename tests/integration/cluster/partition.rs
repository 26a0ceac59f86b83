//! The network between members, and to their clients, falls apart and heals.

use std::time::Duration;

use anyhow::{Result, ensure};
use towpath_testing::nemesis::network::{Host, Network, Partition};
use towpath_testing::nemesis::sandbox::sandboxed;
use towpath_testing::workload::Record;

use super::{MEMBERS, Storm, ensemble};

/// How long a partition lasts, by turns: shorter and longer than an election and a client's patience.
const LASTS_MS: [u64; 3] = [3_000, 500, 1_500];

async fn partitions(
    rounds: usize,
    cut: impl Fn(&Network, Host, Host) -> Result<Partition>,
) -> Result<Record> {
    let network = Network::new(MEMBERS)?;
    let mut ensemble = ensemble()?;
    network.place(&mut ensemble);
    let storm = Storm::start(ensemble).await?;
    for lasts_ms in LASTS_MS.into_iter().cycle().take(rounds) {
        storm.get_on().await?;
        let leader = storm.ensemble.leader().await.unwrap_or_default();
        let next = (leader + 1) % storm.ensemble.places().len();
        let partition = cut(&network, Host::Member(leader), Host::Member(next))?;
        tokio::time::sleep(Duration::from_millis(lasts_ms)).await;
        partition.heal()?;
    }
    storm.get_on().await?;
    storm.accepted().await
}

/// The same, and clients must have lost answers.
async fn felt_partitions(
    rounds: usize,
    cut: impl Fn(&Network, Host, Host) -> Result<Partition>,
) -> Result<()> {
    let counts = partitions(rounds, cut).await?.counts;
    ensure!(counts.unknown > 0, "no client noticed: {counts:?}");
    Ok(())
}

/// The same where a member that is alone has nobody to be cut off from.
async fn partitions_of_members(
    rounds: usize,
    cut: impl Fn(&Network, Host, Host) -> Result<Partition>,
) -> Result<()> {
    match MEMBERS {
        1 => partitions(rounds, cut).await.map(drop),
        _ => felt_partitions(rounds, cut).await,
    }
}

fn members_but(network: &Network, one: Host) -> Vec<Host> {
    let hosts = network.hosts();
    hosts
        .filter(|host| *host != one && *host != Host::Clients)
        .collect()
}

#[test]
#[ignore = "takes half a minute, and namespaces"]
fn the_leader_is_cut_off() -> Result<()> {
    sandboxed("cluster::partition::the_leader_is_cut_off", || {
        felt_partitions(6, |network, leader, _| network.isolate(leader))
    })
}

#[test]
#[ignore = "takes half a minute, and namespaces"]
fn the_leader_is_cut_off_with_its_clients() -> Result<()> {
    sandboxed(
        "cluster::partition::the_leader_is_cut_off_with_its_clients",
        || {
            partitions_of_members(6, |network, leader, _| {
                network.cut(&[leader], &members_but(network, leader))
            })
        },
    )
}

#[test]
#[ignore = "takes half a minute, and namespaces"]
fn another_member_is_cut_off() -> Result<()> {
    sandboxed("cluster::partition::another_member_is_cut_off", || {
        felt_partitions(6, |network, _, other| network.isolate(other))
    })
}

/// Requests arrive and are done, and nobody is told.
#[test]
#[ignore = "takes half a minute, and namespaces"]
fn answers_are_lost() -> Result<()> {
    sandboxed("cluster::partition::answers_are_lost", || {
        felt_partitions(6, |network, leader, _| {
            network.deafen(&[Host::Clients], &[leader])
        })
    })
}

/// It's heard by the others, and hears none of them.
#[test]
#[ignore = "takes half a minute, and namespaces"]
fn the_leader_is_deaf() -> Result<()> {
    sandboxed("cluster::partition::the_leader_is_deaf", || {
        partitions_of_members(6, |network, leader, _| {
            network.deafen(&[leader], &members_but(network, leader))
        })
    })
}
