//! The network between members, and to their clients, falls apart and heals.

use std::time::Duration;

use anyhow::Result;
use towpath_testing::nemesis::network::{Host, Network, Partition};
use towpath_testing::nemesis::sandbox::{sandboxed, sandboxed_if_allowed};

use super::{MEMBERS, ROUNDS, Storm, grow};

/// How long a partition lasts, by turns: longer and shorter than an election and a client's patience.
const LASTS_MS: [u64; 3] = [2_000, 500, 1_500];

/// A way in which the network falls apart.
#[derive(Clone, Copy)]
struct Cut {
    name: &'static str,
    make: fn(&Network, Host, Host) -> Result<Partition>,
    /// The leader can't lead any more: another member must, and go on.
    deposes: bool,
}

/// The leader is alone.
const LEADER: Cut = Cut {
    name: "the leader is cut off",
    make: |network, leader, _| network.isolate(leader),
    deposes: true,
};
/// The leader is alone with the clients, who reach the others too.
const MINORITY_WITH_CLIENTS: Cut = Cut {
    name: "the leader is cut off with clients",
    make: |network, leader, _| network.cut(&[leader], &members_but(network, leader)),
    deposes: true,
};
/// Another member is alone.
const FOLLOWER: Cut = Cut {
    name: "another member is cut off",
    make: |network, _, other| network.isolate(other),
    deposes: false,
};
/// The leader is heard by the others, and hears none of them.
const DEAF_LEADER: Cut = Cut {
    name: "the leader is deaf",
    make: |network, leader, _| network.deafen(&[leader], &members_but(network, leader)),
    deposes: true,
};
/// Requests arrive and are done, and nobody is told.
const LOST_ANSWERS: Cut = Cut {
    name: "the leader's answers are lost",
    make: |network, leader, _| network.deafen(&[Host::Clients], &[leader]),
    deposes: false,
};
/// No member hears another.
const NO_MAJORITY: Cut = Cut {
    name: "all are apart",
    make: |network, leader, other| {
        let all = members_but(network, Host::Clients);
        network.cut(&[leader, other], &all)
    },
    deposes: false,
};

fn members_but(network: &Network, one: Host) -> Vec<Host> {
    let hosts = network.hosts();
    hosts
        .filter(|host| *host != one && *host != Host::Clients)
        .collect()
}

/// Cuts by turns.
async fn partitions(cuts: &[Cut], rounds: usize) -> Result<()> {
    let network = Network::new(MEMBERS)?;
    let mut ensemble = grow::places(MEMBERS)?;
    network.place(&mut ensemble);
    let storm = Storm::start(ensemble).await?;
    let parted = async |storm: &mut Storm, round: usize| {
        let Some(cut) = cuts.iter().cycle().nth(round) else {
            return Ok(());
        };
        let leader = storm.leader().await?;
        let other = storm.next(leader);
        let partition = (cut.make)(&network, Host::Member(leader), Host::Member(other))?;
        println!("{}", cut.name);
        if cut.deposes {
            storm.goes_on_without(leader).await?;
        } else {
            let lasts_ms = LASTS_MS.iter().cycle().nth(round / cuts.len());
            tokio::time::sleep(Duration::from_millis(*lasts_ms.unwrap_or(&0))).await;
        }
        partition.heal()
    };
    storm.rounds(rounds, parted).await
}

#[test]
fn the_network_falls_apart() -> Result<()> {
    const NAME: &str = "cluster::partition::the_network_falls_apart";
    const CUTS: [Cut; 4] = [LEADER, MINORITY_WITH_CLIENTS, FOLLOWER, DEAF_LEADER];
    sandboxed_if_allowed(NAME, || partitions(&CUTS, CUTS.len()))
}

#[test]
#[ignore = "takes two minutes, and namespaces"]
fn the_leader_is_cut_off() -> Result<()> {
    const NAME: &str = "cluster::partition::the_leader_is_cut_off";
    sandboxed(NAME, || partitions(&[LEADER], ROUNDS))
}

#[test]
#[ignore = "takes two minutes, and namespaces"]
fn the_leader_is_cut_off_with_clients() -> Result<()> {
    const NAME: &str = "cluster::partition::the_leader_is_cut_off_with_clients";
    sandboxed(NAME, || partitions(&[MINORITY_WITH_CLIENTS], ROUNDS))
}

#[test]
#[ignore = "takes two minutes, and namespaces"]
fn another_member_is_cut_off() -> Result<()> {
    const NAME: &str = "cluster::partition::another_member_is_cut_off";
    sandboxed(NAME, || partitions(&[FOLLOWER], ROUNDS))
}

#[test]
#[ignore = "takes two minutes, and namespaces"]
fn the_leader_is_deaf() -> Result<()> {
    const NAME: &str = "cluster::partition::the_leader_is_deaf";
    sandboxed(NAME, || partitions(&[DEAF_LEADER], ROUNDS))
}

#[test]
#[ignore = "takes two minutes, and namespaces"]
fn answers_are_lost_and_no_member_hears_another() -> Result<()> {
    const NAME: &str = "cluster::partition::answers_are_lost_and_no_member_hears_another";
    sandboxed(NAME, || partitions(&[LOST_ANSWERS, NO_MAJORITY], ROUNDS))
}
