//! What one can set. Every bound has its default and its reason here.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::raft::Cable;
use crate::roles::Roles;

/// How a member of the directory is to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where log and snapshots are kept; made if it isn't there.
    pub data_dir: PathBuf,
    /// Where clients connect; port 0 picks a free one.
    pub listen: SocketAddr,
    /// This member's number, 1 to 126. Never reused for another data directory.
    pub node_id: u8,
    /// Intervals and timeouts.
    pub timers: Timers,
    /// Bounds.
    pub limits: Limits,
    /// Certificates for the client port; none means plain TCP.
    pub tls: Option<Tls>,
    /// Digest id (`super:base64`) of the one who may do all, whatever the access lists say.
    pub super_digest: Option<String>,
    /// Who may do what by role; none means that access lists alone decide, as in ZooKeeper.
    pub roles: Option<Roles>,
    /// How this member speaks with others; none means that there are none, and never will be.
    pub peers: Option<Peers>,
}

impl Config {
    /// A single member with the defaults, on a free port of the loopback interface.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            node_id: 1,
            timers: Timers::default(),
            limits: Limits::default(),
            tls: None,
            super_digest: None,
            roles: None,
            peers: None,
        }
    }
}

/// How a member speaks with others.
#[derive(Clone, Debug)]
pub struct Peers {
    /// Where others reach this member; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The same as others know it, `host:port`; none means the address itself.
    pub advertise: Option<String>,
    /// Where clients reach this member, and other members for them, `host:port`; none means
    /// [`Config::listen`].
    pub advertise_client: Option<String>,
    /// Certificates; without them only a loopback address will do.
    pub tls: Option<PeerTls>,
    /// Peers may speak without TLS on any address: whoever reaches it can read and change all.
    pub insecure: bool,
    /// What a member does whose data directory is empty.
    pub start: Start,
    /// Cuts the member off, in tests and drills.
    pub cable: Cable,
}

impl Peers {
    /// On a free port of the loopback interface, without TLS.
    pub fn new(start: Start) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: None,
            advertise_client: None,
            tls: None,
            insecure: false,
            start,
            cable: Cable::default(),
        }
    }
}

/// What a member does whose data directory is empty. One that isn't goes on as what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It founds a directory of its own, of which it's the first member. Exactly one member of a
    /// directory ever does that.
    Found,
    /// It waits to be added to one.
    Join,
}

/// Certificates for the peer port, PEM files.
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// This member's chain, its own certificate first; it bears the DNS name `N.member.towpath`,
    /// where N is the member's number, and is good for servers and clients.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whose signature makes a certificate one of a member. Give it to nobody else.
    pub ca: PathBuf,
}

/// Intervals and timeouts.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// Between a leader's signs of life; also how long it waits for the answer to one.
    pub heartbeat: Duration,
    /// An election starts when the lease of the leader is over, and a random time after that, of
    /// this length or longer. With the defaults another member serves about a second after a leader
    /// was lost, and one that gets no CPU for half a second isn't taken for dead.
    pub election_min: Duration,
    /// The longest random time; also the leader's lease, from its last sign of life that a majority
    /// has acknowledged.
    pub election_max: Duration,
    /// Shortest session timeout that a client gets. One second lets a dead Core be replaced in
    /// under three.
    pub session_timeout_min: Duration,
    /// Longest session timeout that a client gets.
    pub session_timeout_max: Duration,
    /// How often leases are looked at: the most that an expiry is late.
    pub expiry_scan: Duration,
    /// How often containers and TTL nodes are looked at.
    pub reap_scan: Duration,
    /// A client that hasn't sent its first record by then is dropped.
    pub handshake: Duration,
    /// How long a client's connection is held while no member leads.
    pub leader: Duration,
    /// How long a start waits for another process that still has the files open: one that was
    /// killed, and isn't quite gone.
    pub predecessor: Duration,
    /// Longest wait for the log to be read back and a leader found at the start.
    pub recovery: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(600),
            session_timeout_min: Duration::from_secs(1),
            session_timeout_max: Duration::from_secs(60),
            expiry_scan: Duration::from_millis(50),
            reap_scan: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            leader: Duration::from_secs(2),
            predecessor: Duration::from_secs(5),
            recovery: Duration::from_secs(120),
        }
    }
}

/// Bounds. What belongs to the replicated state has constants instead
/// ([`CHILDREN_MAX`](crate::tree::CHILDREN_MAX), [`NODES_MAX`](crate::tree::NODES_MAX),
/// [`SESSIONS_MAX`](crate::session::table::SESSIONS_MAX),
/// [`PATH_BYTES_MAX`](crate::tree::path::PATH_BYTES_MAX)).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest request, and so the largest node: ZooKeeper's `jute.maxbuffer`.
    pub frame_bytes_max: usize,
    /// Connections at once; further ones are closed at once.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_address_max: usize,
    /// Requests of one connection that wait for the log; beyond it the socket isn't read.
    pub outstanding_max: usize,
    /// Bytes of all connections' requests that wait for the log; beyond it no socket is read
    /// whose connection has one waiting.
    pub outstanding_bytes_max: usize,
    /// Bytes that wait for a client to read them; one that doesn't is dropped.
    pub outbox_bytes_max: usize,
    /// Commands after which the log is folded into a snapshot; more if the tree has more than
    /// twice as many nodes. What isn't folded is read back at the start.
    pub snapshot_commands: u64,
    /// Entries that are kept when a snapshot is taken, for followers that lag.
    pub snapshot_keep_entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 0xf_ffff,
            connections_max: 10_000,
            connections_per_address_max: 5_000,
            outstanding_max: 1_000,
            outstanding_bytes_max: 256 << 20,
            outbox_bytes_max: 64 << 20,
            snapshot_commands: 10_000,
            snapshot_keep_entries: 1_000,
        }
    }
}

/// Certificates for the client port, PEM files.
#[derive(Clone, Debug)]
pub struct Tls {
    /// This server's chain, its own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// If given, clients must show a certificate that one of these has signed.
    pub client_ca: Option<PathBuf>,
}
