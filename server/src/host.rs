//! The member of the directory, and this Server's own node in it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use towpath_coordination::{
    self as client, ConnectOptions, CoordinationError, Credentials, Registration, Secret, Session,
};
use towpath_directory::{Config, Directory, Roles, StartError, Tls};
use towpath_protocol::tree::MemberId;
use towpath_protocol::tree::access::{self, Role};
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{Load, Member};

use crate::lead::{Lead, LeadTimings};
use crate::options::ServerOptions;

/// How long a Server tries to reach its own directory.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// Between two writes of this Server's own node.
const REGISTRATION_PACE: Duration = Duration::from_millis(500);

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
    /// The directory doesn't start.
    #[error(transparent)]
    Directory(#[from] StartError),
    /// The directory started, and doesn't answer.
    #[error("the Server can't use its own directory")]
    Session(#[from] CoordinationError),
}

/// A running Server.
#[derive(Debug)]
pub struct Server {
    directory: Directory,
    session: Session,
    registration: Registration<Member>,
    lead: Lead,
    /// The member of the directory leads as long as it's this Server's: there is only one.
    _turn: watch::Sender<bool>,
}

impl Server {
    /// Starts the member of the directory, gives the directory its identity if it's new, and
    /// registers.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
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
        let mut config = Config::new(options.data_dir);
        config.listen = options.listen;
        config.node_id = options.node_id;
        let mut credentials = None;
        if options.demand_roles || !options.tokens.is_empty() {
            // Its own token is made here and leaves this process nowhere but to itself.
            let own = Secret::random();
            config.roles = Some(roles(&options.tokens, &own));
            credentials = Some(Credentials {
                role: Role::Server,
                token: Some(own),
            });
        }
        let own = options.tls.as_ref().map(own_way);
        config.tls = options.tls;
        let directory = Directory::start(config).await?;
        let id = options.id.clone();
        match serve(
            &directory,
            own,
            credentials,
            options.id,
            options.advertise,
            options.labels,
        )
        .await
        {
            Ok((session, registration)) => {
                let (turn, mine) = watch::channel(options.plans);
                let lead = Lead::start(session.clone(), id, mine, LeadTimings::default());
                Ok(Self {
                    directory,
                    session,
                    registration,
                    lead,
                    _turn: turn,
                })
            }
            Err(error) => {
                directory.stop().await;
                Err(error.into())
            }
        }
    }

    /// The member of the directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Its session with the directory.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Leaves in order: it leads no more, its node goes, so that nobody looks for it, then the
    /// directory.
    pub async fn stop(self) {
        self.lead.stop().await;
        if let Err(error) = self.registration.withdraw().await {
            tracing::warn!(%error, "this Server's node stays until its session expires");
        }
        self.session.close().await;
        self.directory.stop().await;
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
fn roles(tokens: &[(Role, Secret)], own: &Secret) -> Roles {
    let rights = |role: &str, path: &str| {
        let role = role.parse::<Role>();
        role.map_or(0, |role| access::rights(role, path))
    };
    let roles = Roles::new(&ROLES, rights).token(Role::Server.name(), own.expose());
    tokens.iter().fold(roles, |roles, (role, token)| {
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

async fn serve(
    directory: &Directory,
    tls: Option<client::Tls>,
    credentials: Option<Credentials>,
    id: MemberId,
    advertise: Option<String>,
    labels: BTreeMap<String, String>,
) -> Result<(Session, Registration<Member>), CoordinationError> {
    let address = directory.address();
    let mut reached = address;
    if reached.ip().is_unspecified() {
        reached.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let mut connect = ConnectOptions::new([reached.to_string()]);
    connect.connect_timeout = CONNECT_MAX;
    connect.tls = tls;
    connect.credentials = credentials;
    let session = Session::connect(connect).await?;
    let cluster = session.found_cluster().await?;
    tracing::info!(cluster = %cluster.id, generation = cluster.generation.0, server = %id, "serving");
    let client = advertise.unwrap_or_else(|| address.to_string());
    let member = Member {
        host: host_name(),
        pid: std::process::id(),
        address: client.clone(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        labels,
        started: Timestamp::now(),
        load: Load::default(),
        client: Some(client),
        raft_role: Some("leader".to_owned()),
    };
    let node = path::member(MemberKind::Server, &id);
    let registration = Registration::new(&session, node, member, REGISTRATION_PACE)?;
    registration.present().await?;
    Ok((session, registration))
}

/// The machine's name, for people.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}
