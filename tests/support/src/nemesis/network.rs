//! A network of one bridge, within a [`sandbox`](super::sandbox): each member has a namespace and an
//! address of its own, and the test itself, with its clients, is another host of it.
//!
//! A partition is a rule in a host's routing policy, before all others, that drops what comes from an
//! address: without a word, as a broken switch does. It takes hold of connections that are open too.
//! Only `ip` (iproute2) and `nsenter` (util-linux) are needed.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;

use super::run;
use crate::ensemble::Ensemble;

/// Where members listen for clients, and for one another.
const CLIENT_PORT: u16 = 2181;
const RAFT_PORT: u16 = 2182;
/// The rule that finds a host's own addresses; the system has it before all others.
const OWN: &str = "100";
/// Rules that drop, before it.
const DROP: &str = "10";

/// A host of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The test and its clients.
    Clients,
    /// A member, counted from 0.
    Member(usize),
}

impl Host {
    fn address(self) -> Ipv4Addr {
        let last = match self {
            Self::Clients => 1,
            Self::Member(member) => {
                u8::try_from(member).map_or(u8::MAX, |at| at.saturating_add(11))
            }
        };
        Ipv4Addr::new(10, 77, 0, last)
    }

    /// `ip` with these words, on this host.
    fn ip(self, words: &[&str]) -> Result<()> {
        match self {
            Self::Clients => run("ip", words),
            Self::Member(member) => {
                let namespace = namespace(member);
                run("ip", &[&["-n", &namespace], words].concat())
            }
        }
    }

    /// Whether what the other host sends arrives here.
    fn hears(self, other: Self, hears: bool) -> Result<()> {
        let verb = if hears { "del" } else { "add" };
        let from = other.address().to_string();
        self.ip(&["rule", verb, "pref", DROP, "from", &from, "blackhole"])
    }

    fn has_rules(self) -> Result<()> {
        self.ip(&["rule", "add", "pref", OWN, "lookup", "local"])?;
        self.ip(&["rule", "del", "pref", "0"])
    }
}

fn namespace(member: usize) -> String {
    format!("member-{}", member + 1)
}

/// The network.
#[derive(Debug)]
pub struct Network {
    members: usize,
}

impl Network {
    /// Makes the network. Only within a sandbox, and once.
    ///
    /// # Errors
    /// The system doesn't allow it.
    pub fn new(members: usize) -> Result<Self> {
        let with_prefix = |host: Host| format!("{}/24", host.address());
        let clients = Host::Clients;
        clients.ip(&["link", "add", "bridge", "type", "bridge"])?;
        clients.ip(&["addr", "add", &with_prefix(clients), "dev", "bridge"])?;
        clients.ip(&["link", "set", "bridge", "up"])?;
        clients.has_rules()?;
        for member in 0..members {
            let (host, name) = (Host::Member(member), namespace(member));
            let cable = ["link", "add", &name, "type", "veth", "peer", "name", "eth"];
            clients.ip(&["netns", "add", &name])?;
            clients.ip(&[&cable[..], &["netns", &name]].concat())?;
            clients.ip(&["link", "set", &name, "master", "bridge", "up"])?;
            host.ip(&["link", "set", "lo", "up"])?;
            host.ip(&["addr", "add", &with_prefix(host), "dev", "eth"])?;
            host.ip(&["link", "set", "eth", "up"])?;
            host.has_rules()?;
        }
        Ok(Self { members })
    }

    /// Puts each member of an ensemble on its host. None may run.
    pub fn place(&self, ensemble: &mut Ensemble) {
        for (member, place) in ensemble.places_mut().iter_mut().enumerate() {
            let address = IpAddr::V4(Host::Member(member).address());
            let net = format!("--net=/run/netns/{}", namespace(member));
            place.within = ["nsenter", &net, "--"].map(OsString::from).to_vec();
            place.listen = Some(SocketAddr::new(address, CLIENT_PORT));
            place.raft = Some(SocketAddr::new(address, RAFT_PORT));
        }
    }

    /// The members, and who asks them.
    pub fn hosts(&self) -> impl Iterator<Item = Host> + use<> {
        (0..self.members).map(Host::Member).chain([Host::Clients])
    }

    /// From now on nothing that one side sends arrives at the other, until the partition is dropped.
    ///
    /// # Errors
    /// The system doesn't allow it.
    pub fn cut(&self, one: &[Host], other: &[Host]) -> Result<Partition> {
        let both = |(a, b): (Host, Host)| [(a, b), (b, a)];
        let pairs = pairs(one, other).flat_map(both);
        Partition::new(pairs.collect())
    }

    /// The same from all others.
    ///
    /// # Errors
    /// As [`Network::cut`].
    pub fn isolate(&self, host: Host) -> Result<Partition> {
        let others: Vec<Host> = self.hosts().filter(|other| *other != host).collect();
        self.cut(&[host], &others)
    }

    /// From now on `deaf` hears nothing from `others`, while they hear it.
    ///
    /// # Errors
    /// As [`Network::cut`].
    pub fn deafen(&self, deaf: &[Host], others: &[Host]) -> Result<Partition> {
        Partition::new(pairs(deaf, others).collect())
    }
}

fn pairs<'a>(one: &'a [Host], other: &'a [Host]) -> impl Iterator<Item = (Host, Host)> + 'a {
    one.iter()
        .flat_map(|a| other.iter().map(|b| (*a, *b)))
        .filter(|(a, b)| a != b)
}

/// A partition, which ends when this is dropped.
#[derive(Debug)]
#[must_use = "a partition ends when it's dropped"]
pub struct Partition {
    /// Who doesn't hear whom.
    deaf: Vec<(Host, Host)>,
}

impl Partition {
    fn new(pairs: Vec<(Host, Host)>) -> Result<Self> {
        let mut partition = Self { deaf: Vec::new() };
        for pair in pairs {
            // Where both sides share a host, pairs come twice.
            if !partition.deaf.contains(&pair) {
                let (host, other) = pair;
                host.hears(other, false)?;
                partition.deaf.push(pair);
            }
        }
        Ok(partition)
    }

    /// Ends it.
    ///
    /// # Errors
    /// The system doesn't allow it.
    pub fn heal(mut self) -> Result<()> {
        while let Some((host, other)) = self.deaf.pop() {
            host.hears(other, true)?;
        }
        Ok(())
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        for (host, other) in self.deaf.drain(..) {
            // There's nobody to tell, and the sandbox ends soon.
            let _ = host.hears(other, true);
        }
    }
}
