//! How a Server is to run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use towpath_coordination::Secret;
use towpath_directory::{Peers, Tls};
use towpath_protocol::tree::{MemberId, Role};

/// How a Server is to run.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Its name among the Servers.
    pub id: MemberId,
    /// Where its member of the directory keeps log and snapshots.
    pub data_dir: PathBuf,
    /// Where clients of the directory connect; port 0 picks a free one.
    pub listen: SocketAddr,
    /// `host:port` where other machines reach it; `listen` if not given.
    pub advertise: Option<String>,
    /// Number of the member, 1 to 126.
    pub node_id: u8,
    /// How its member speaks with others; none means that there are none. Where clients reach it is
    /// taken from `advertise`.
    pub peers: Option<Peers>,
    /// Certificates for the client port.
    pub tls: Option<Tls>,
    /// Whether an address that isn't loopback may be listened on without TLS, or by everybody.
    pub allow_plaintext: bool,
    /// What proves which role. With any, every client has to show one.
    pub tokens: Vec<(Role, Secret)>,
    /// Whether every client has to show a role though there are no tokens: by its certificate.
    pub demand_roles: bool,
    /// Whether it plans when its member leads. One that doesn't hosts the directory, and no more.
    pub plans: bool,
    /// What a spec may ask for.
    pub labels: BTreeMap<String, String>,
}
