//! The member of the directory that a Server hosts, and what it needs to run safely.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use towpath_coordination::{
    self as client, ConnectOptions, CoordinationError, Credentials, Secret, Session,
};
use towpath_directory::{Config, Directory, RaftError, Roles, StartError, Tls};
use towpath_protocol::tree::access::{self, Role};

use crate::commands::Hosted;
use crate::options::ServerOptions;
use crate::present::Arrival;

/// How long a Server tries to reach its own directory.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// A file of this name in a data folder says that the directory there was restored from a backup.
pub const RESTORED: &str = "restored";
/// Where backups go, within the data folder.
const BACKUPS: &str = "backups";

/// Why a Server doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Everybody on the network could read and command.
    #[error(
        "{0} isn't loopback, and there is no certificate: give --tls-cert and --tls-key, or \
         --allow-plaintext if this network is trusted"
    )]
    Plaintext(std::net::SocketAddr),
    /// Everybody who reaches it could read and command.
    #[error(
        "{0} isn't loopback, and nothing shows who a client is: give --tokens with the folder of the \
         roles' tokens, or --tls-ca to demand client certificates, or --allow-plaintext if this network \
         is trusted"
    )]
    Stranger(std::net::SocketAddr),
    /// Nobody could prove a role.
    #[error("--roles without --tokens and --tls-ca would let nobody in: give one of the two")]
    NoProof,
    /// Another member, which leads, would not know this one.
    #[error(
        "several Servers need a token of their own role, since each is served by the one that leads: \
         put the same file named server into the folder of --tokens of each"
    )]
    NoServerToken,
    /// Another member's certificate could not be checked.
    #[error(
        "several Servers need --tls-ca, since each is served by the one that leads, and checks its \
         certificate"
    )]
    NoAuthority,
    /// Everybody on the network could vote, and change everything.
    #[error(
        "--peer-listen {0} isn't loopback, and nothing shows who another Server is: give --peer-cert, \
         --peer-key and --peer-ca, or --tls-cert, --tls-key and --tls-ca with the name \
         N.member.towpath in the certificate, or --peer-insecure if this network is trusted"
    )]
    Peers(SocketAddr),
    /// Others would not find it.
    #[error(
        "--peer-listen {0} isn't one address: give --peer-advertise HOST:PORT, where the other Servers \
         reach it"
    )]
    PeerAddress(SocketAddr),
    /// Other Servers pass clients on to it.
    #[error(
        "--listen {0} isn't one address: give --advertise HOST:PORT, where clients and the other \
         Servers reach it"
    )]
    ClientAddress(SocketAddr),
    /// The others would pass clients on to themselves.
    #[error(
        "the other Servers would look for clients' port of this one at {0}, on their own machines: give \
         --listen an address that they reach, or --advertise HOST:PORT"
    )]
    ClientLoopback(String),
    /// The directory has further members, which this one doesn't speak with.
    #[error(
        "member {node_id} of the directory has {others} others, and this Server has no port for them: \
         give --peer-listen as before"
    )]
    NoPeerPort {
        /// Which member this is.
        node_id: u8,
        /// How many others there are.
        others: usize,
    },
    /// The directory doesn't start.
    #[error(transparent)]
    Directory(#[from] StartError),
    /// The directory started, and then its disk was full, or failed.
    #[error(transparent)]
    Failed(RaftError),
    /// The directory started, and doesn't answer.
    #[error("the Server can't use its own directory")]
    Session(#[from] CoordinationError),
}

/// A running Server.
#[derive(Debug)]
pub struct Server {
    directory: Directory,
    session: watch::Receiver<Option<Session>>,
    stop: watch::Sender<bool>,
    present: JoinHandle<()>,
}

impl Server {
    /// Starts the member of the directory. One without others has given the directory its identity,
    /// if it's new, and is registered when this returns. One of several does that by itself as soon
    /// as a majority of the members runs: it's reached through the one that leads.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        check(&options)?;
        let is_one_of_several = options.peers.is_some();
        let mut config = Config::new(options.data_dir.clone());
        config.listen = options.listen;
        config.node_id = options.node_id;
        let mut credentials = None;
        if options.demand_roles || !options.tokens.is_empty() {
            let token = own_token(&options)?;
            config.roles = Some(roles(&options.tokens, token.as_ref()));
            credentials = Some(Credentials {
                role: Role::Server,
                token,
            });
        }
        let own = options.tls.as_ref().map(own_way);
        config.tls = options.tls;
        config.peers = options.peers.map(|mut peers| {
            peers.advertise_client = options.advertise.clone();
            peers
        });
        let directory = Directory::start(config).await?;
        let others = directory.cluster().view().members.len().saturating_sub(1);
        if !is_one_of_several && others > 0 {
            directory.stop().await;
            return Err(ServerError::NoPeerPort {
                node_id: options.node_id,
                others,
            });
        }
        let arrival = Arrival {
            connect: own_port(directory.address(), own, credentials),
            id: options.id,
            client: options
                .advertise
                .unwrap_or_else(|| directory.address().to_string()),
            labels: options.labels,
            plans: options.plans,
            serving: directory.serving(),
            hosted: Hosted {
                cluster: directory.cluster(),
                backups: options.data_dir.join(BACKUPS),
                host: host_name(),
            },
            restored: options.data_dir.join(RESTORED),
        };
        let mut first = None;
        if !is_one_of_several {
            let arrived = tokio::select! {
                arrived = arrival.arrive(CONNECT_MAX) => arrived,
                error = directory.failed() => return Err(ServerError::Failed(error)),
            };
            match arrived {
                Ok(present) => first = Some(present),
                Err(error) => {
                    drop(arrival);
                    directory.stop().await;
                    return Err(error.into());
                }
            }
        }
        let session = first.as_ref().map(|present| present.session.clone());
        let (found, session) = watch::channel(session);
        let (stop, stopped) = watch::channel(false);
        Ok(Self {
            directory,
            session,
            stop,
            present: tokio::spawn(arrival.keep(first, found, stopped)),
        })
    }

    /// The member of the directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Its session with the directory; none before the first.
    pub fn session(&self) -> watch::Receiver<Option<Session>> {
        self.session.clone()
    }

    /// Leaves in order: it leads no more, its node goes, so that nobody looks for it, then the
    /// directory.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.present.await;
        self.directory.stop().await;
    }
}

/// Whether the options make sense together, and are safe.
fn check(options: &ServerOptions) -> Result<(), ServerError> {
    let loopback = options.listen.ip().is_loopback();
    if !loopback && options.tls.is_none() && !options.allow_plaintext {
        return Err(ServerError::Plaintext(options.listen));
    }
    let has_authority = options
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_ca.is_some());
    let is_guarded = has_authority || !options.tokens.is_empty();
    if !loopback && !is_guarded && !options.allow_plaintext {
        return Err(ServerError::Stranger(options.listen));
    }
    if options.demand_roles && !is_guarded {
        return Err(ServerError::NoProof);
    }
    let Some(peers) = &options.peers else {
        return Ok(());
    };
    if options.tls.is_some() && !has_authority {
        return Err(ServerError::NoAuthority);
    }
    if !peers.listen.ip().is_loopback() && peers.tls.is_none() && !peers.insecure {
        return Err(ServerError::Peers(peers.listen));
    }
    if peers.listen.ip().is_unspecified() && peers.advertise.is_none() {
        return Err(ServerError::PeerAddress(peers.listen));
    }
    if options.listen.ip().is_unspecified() && options.advertise.is_none() {
        return Err(ServerError::ClientAddress(options.listen));
    }
    let client = advertised(options.advertise.as_ref(), options.listen);
    let peer = advertised(peers.advertise.as_ref(), peers.listen);
    if is_loopback(&client) && !is_loopback(&peer) {
        return Err(ServerError::ClientLoopback(client));
    }
    Ok(())
}

fn advertised(given: Option<&String>, listen: SocketAddr) -> String {
    given.cloned().unwrap_or_else(|| listen.to_string())
}

/// Whether `host:port` is on the machine of whoever looks for it.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// What this Server proves its role with. One that is alone makes a token at each start, which
/// leaves the process nowhere but to itself. One of several is known to the member that leads, which
/// may be another: by a token that all have, or by its certificate.
fn own_token(options: &ServerOptions) -> Result<Option<Secret>, ServerError> {
    if options.peers.is_none() {
        return Ok(Some(Secret::random()));
    }
    let shared = options
        .tokens
        .iter()
        .find(|(role, _)| *role == Role::Server);
    match shared {
        Some((_, token)) => Ok(Some(token.clone())),
        None if options.tls.is_some() => Ok(None),
        None => Err(ServerError::NoServerToken),
    }
}

/// The names of the roles, as the directory knows them.
const ROLES: [&str; 5] = [
    Role::Server.name(),
    Role::Core.name(),
    Role::Monitor.name(),
    Role::Operator.name(),
    Role::Admin.name(),
];

/// The roles, what proves them, and what they may do.
fn roles(tokens: &[(Role, Secret)], own: Option<&Secret>) -> Roles {
    let rights = |role: &str, path: &str| {
        let role = role.parse::<Role>();
        role.map_or(0, |role| access::rights(role, path))
    };
    let tokens = tokens.iter().map(|(role, token)| (*role, token));
    let own = own.map(|own| (Role::Server, own));
    own.into_iter()
        .chain(tokens)
        .fold(Roles::new(&ROLES, rights), |roles, (role, token)| {
            roles.token(role.name(), token.expose())
        })
}

/// How this Server reaches its own port: with the certificate that it shows there. By address,
/// which the certificate needn't name.
fn own_way(tls: &Tls) -> client::Tls {
    client::Tls {
        server_ca: tls
            .client_ca
            .clone()
            .unwrap_or_else(|| tls.certificate.clone()),
        identity: Some(client::Identity {
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
        }),
        verify_host_name: false,
    }
}

/// The way to this Server's own port, which passes it on to the member that leads.
fn own_port(
    address: SocketAddr,
    tls: Option<client::Tls>,
    credentials: Option<Credentials>,
) -> ConnectOptions {
    let mut reached = address;
    if reached.ip().is_unspecified() {
        reached.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let mut connect = ConnectOptions::new([reached.to_string()]);
    connect.tls = tls;
    connect.credentials = credentials;
    connect
}

/// The machine's name, for people.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use towpath_directory::{PeerTls, Peers, Start};

    use super::*;

    fn several(peer: &str) -> ServerOptions {
        let mut peers = Peers::new(Start::Join);
        peers.listen = peer.parse().unwrap();
        ServerOptions {
            id: "server-2".parse().unwrap(),
            data_dir: "/nowhere".into(),
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: None,
            node_id: 2,
            peers: Some(peers),
            tls: None,
            allow_plaintext: false,
            tokens: Vec::new(),
            demand_roles: false,
            plans: true,
            labels: BTreeMap::new(),
        }
    }

    fn refused(options: &ServerOptions) -> String {
        check(options).unwrap_err().to_string()
    }

    #[test]
    fn ports_for_other_servers_are_safe_and_reachable() {
        check(&several("127.0.0.1:0")).unwrap();
        let mut options = several("10.0.0.1:2182");
        assert!(refused(&options).contains("--peer-cert"));
        options.peers.as_mut().unwrap().insecure = true;
        // Where others reach this one, clients have to as well.
        for loopback in [None, Some("localhost:2181"), Some("[::1]:2181")] {
            options.advertise = loopback.map(str::to_owned);
            assert!(refused(&options).contains("on their own machines"));
        }
        options.advertise = Some("10.0.0.1:2181".into());
        check(&options).unwrap();
        options.peers.as_mut().unwrap().insecure = false;
        options.peers.as_mut().unwrap().tls = Some(PeerTls {
            certificate: "c".into(),
            key: "k".into(),
            ca: "a".into(),
        });
        check(&options).unwrap();
        options.peers.as_mut().unwrap().listen = "0.0.0.0:2182".parse().unwrap();
        assert!(refused(&options).contains("--peer-advertise"));
        options.peers.as_mut().unwrap().advertise = Some("s2:2182".into());
        check(&options).unwrap();
        options.listen = "[::]:2181".parse().unwrap();
        options.advertise = None;
        options.allow_plaintext = true;
        assert!(refused(&options).contains("--advertise"));
        options.advertise = Some("s2:2181".into());
        check(&options).unwrap();
        options.tls = Some(Tls {
            certificate: "c".into(),
            key: "k".into(),
            client_ca: None,
        });
        assert!(refused(&options).contains("--tls-ca"));
    }

    #[test]
    fn several_servers_know_one_another_by_a_token_that_all_have() {
        let mut options = several("127.0.0.1:0");
        options.tokens = vec![(Role::Core, Secret::random())];
        let error = own_token(&options).unwrap_err();
        assert!(error.to_string().contains("named server"), "{error}");
        let shared = Secret::random();
        options.tokens.push((Role::Server, shared.clone()));
        assert_eq!(own_token(&options).unwrap(), Some(shared.clone()));
        options.peers = None;
        let own = own_token(&options).unwrap();
        assert!(
            own.is_some_and(|own| own != shared),
            "alone it makes its own"
        );
    }
}
