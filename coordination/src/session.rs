//! A session with the directory, kept alive, and made anew after it has expired.
//!
//! **Act on Disconnected, not on Expired.** With a session timeout T the client says Disconnected
//! after at most 0.4 T of silence, and Expired after 1.4 T; the directory gives what was ours to
//! another at T. Who waits for Expired acts beside its successor. And a process that was paused
//! sees neither in time: what must never happen twice is fenced at the sink by the epoch.
//!
//! A new session has a new [`SessionStatus::incarnation`]; nothing ephemeral passes from one to
//! the next.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use towpath_protocol::tree::{NodePath, Role};
use zookeeper_client::{Acls, Client, Error as Refusal, SessionState as Raw};

use crate::credentials::{Credentials, Secret};
use crate::error::{CoordinationError, is_broken};
use crate::probe;
use crate::tls::{Certificates, Tls};

/// How often one request is sent again after its connection broke: enough for a leader that
/// changes twice.
const ATTEMPTS_MAX: usize = 8;
/// First pause before another session is tried.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause before another session is tried: the directory is back within one of these.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// The end of the time for connecting goes to finding out why it failed: this long, or a quarter
/// of it if that's less.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// How to reach the directory.
#[derive(Clone)]
pub struct ConnectOptions {
    /// `host:port` of each Server that is known; any of them will do.
    pub addresses: Vec<String>,
    /// The directory gives what is ours to another after this long without a sign of life. It
    /// has its own bounds, 1 s and 60 s by default.
    pub session_timeout: Duration,
    /// How long [`Session::connect`] tries.
    pub connect_timeout: Duration,
    /// `user:password` for the digest scheme. Nodes are then made for this user alone.
    pub digest: Option<String>,
    /// The role of this process, and what proves it. Its nodes are made for everybody: by role the
    /// directory itself says who may do what.
    pub credentials: Option<Credentials>,
    /// Certificates; none means plain TCP.
    pub tls: Option<Tls>,
}

impl ConnectOptions {
    /// With the timeouts that replace a dead Core in under 3 s.
    pub fn new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Self {
        Self {
            addresses: addresses.into_iter().map(Into::into).collect(),
            session_timeout: Duration::from_millis(1500),
            connect_timeout: Duration::from_secs(10),
            digest: None,
            credentials: None,
            tls: None,
        }
    }

    fn cluster(&self) -> Result<String, CoordinationError> {
        for address in &self.addresses {
            let port = address
                .rsplit_once(':')
                .map(|(_, port)| port.parse::<u16>());
            // The client takes for granted that the name can be one in a certificate.
            let named = self.tls.is_none()
                || probe::host(address).is_some_and(|host| ServerName::try_from(host).is_ok());
            if !matches!(port, Some(Ok(1..))) || address.contains([',', '/', ' ']) || !named {
                return Err(CoordinationError::Address {
                    address: address.clone(),
                });
            }
        }
        if self.addresses.is_empty() {
            return Err(CoordinationError::Address {
                address: String::new(),
            });
        }
        Ok(self.addresses.join(","))
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("addresses", &self.addresses)
            .field("session_timeout", &self.session_timeout)
            .field("digest", &self.digest.is_some())
            .field("credentials", &self.credentials)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The directory answers.
    Connected,
    /// It doesn't, and may be about to give what is ours to another: stop what only one may do.
    Disconnected,
    /// What was ours is gone. Another session is being made.
    Expired,
    /// Closed by us; nothing comes after it.
    Closed,
}

/// A state, and of which session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// What is known of it.
    pub state: SessionState,
    /// Counts the sessions, from 1. Who missed Expired in a watch channel sees it here.
    pub incarnation: u64,
}

/// A handle to the session; the session is closed when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Session {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    current: Arc<Current>,
    status: watch::Receiver<SessionStatus>,
    stop: watch::Sender<bool>,
    open: bool,
    timeout: Duration,
}

/// The client of the present session; `None` between two of them and after the last.
type Current = Mutex<Option<Client>>;

impl Session {
    /// Connects to one of the Servers.
    ///
    /// # Errors
    /// [`CoordinationError::Address`] and [`CoordinationError::Certificate`] at once;
    /// [`CoordinationError::NoRole`], [`CoordinationError::WrongToken`] and
    /// [`CoordinationError::WrongRole`] as soon as a Server answers; or
    /// [`CoordinationError::Unreachable`] after `connect_timeout`.
    pub async fn connect(options: ConnectOptions) -> Result<Self, CoordinationError> {
        let cluster = options.cluster()?;
        let certificates = options.tls.clone().map(Certificates::load).transpose()?;
        let probing = Instant::now() + options.connect_timeout;
        let deadline = probing - PROBE_MAX.min(options.connect_timeout / 4);
        let mut backoff = BACKOFF_MIN;
        let client = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let refusal =
                match timeout(left, establish(&options, &cluster, certificates.as_ref())).await {
                    Ok(Ok(client)) => match timeout(left, admitted(&client, &options)).await {
                        Ok(Ok(None)) => break client,
                        Ok(Ok(Some(refused))) => return Err(refused),
                        Ok(Err(refusal)) => refusal,
                        Err(_) => Refusal::Timeout,
                    },
                    Ok(Err(refusal)) => refusal,
                    Err(_) => Refusal::Timeout,
                };
            if let (Refusal::AuthFailed, Some(credentials)) = (&refusal, &options.credentials) {
                return Err(CoordinationError::WrongToken {
                    role: credentials.role,
                });
            }
            let fatal = matches!(refusal, Refusal::AuthFailed | Refusal::BadArguments(_));
            if fatal || Instant::now() + backoff >= deadline {
                let found = probe::look(&options.addresses, certificates.as_ref(), probing).await;
                return Err(CoordinationError::Unreachable {
                    found,
                    after: options.connect_timeout,
                    source: refusal,
                });
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        };
        tracing::info!(session = %client.session_id(), "session with the directory begins");
        let timeout = client.session_timeout();
        let (publish, status) = watch::channel(SessionStatus {
            state: SessionState::Connected,
            incarnation: 1,
        });
        let (stop, stopped) = watch::channel(false);
        let shared = Shared {
            current: Arc::new(Mutex::new(Some(client.clone()))),
            status,
            stop,
            open: options.digest.is_none(),
            timeout,
        };
        let keeper = Keeper {
            options,
            cluster,
            certificates,
            current: shared.current.clone(),
            publish,
            stopped,
        };
        tokio::spawn(keeper.run(client));
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// What is known of the session now.
    pub fn status(&self) -> SessionStatus {
        *self.shared.status.borrow()
    }

    /// Every change of it, at least the last one.
    pub fn statuses(&self) -> watch::Receiver<SessionStatus> {
        self.shared.status.clone()
    }

    /// The session timeout that the directory granted at first.
    pub fn timeout(&self) -> Duration {
        self.shared.timeout
    }

    /// Closes the session: what is ephemeral goes at once. Waits until the directory has
    /// confirmed it, one session timeout at most. All handles are of no use afterwards.
    pub async fn close(&self) {
        let _ = self.shared.stop.send(true);
        let mut statuses = self.statuses();
        let _ = statuses
            .wait_for(|status| status.state == SessionState::Closed)
            .await;
    }

    pub(crate) fn acls(&self) -> Acls<'static> {
        if self.shared.open {
            Acls::anyone_all()
        } else {
            Acls::creator_all()
        }
    }

    /// Waits for a session that is connected. Ends with [`Session::close`].
    pub(crate) async fn connected(&self) -> Result<u64, CoordinationError> {
        let mut statuses = self.statuses();
        let status = statuses
            .wait_for(|status| {
                matches!(status.state, SessionState::Connected | SessionState::Closed)
            })
            .await
            .map(|status| *status);
        match status {
            Ok(status) if status.state == SessionState::Connected => Ok(status.incarnation),
            _ => Err(ended("waiting for the directory")),
        }
    }

    /// The client of that session, for one request; `None` when it's over.
    pub(crate) fn client(&self, incarnation: u64) -> Option<Client> {
        let current = self
            .shared
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let status = self.status();
        let over = matches!(status.state, SessionState::Expired | SessionState::Closed);
        if status.incarnation != incarnation || over {
            return None;
        }
        current.clone()
    }

    /// Waits until that session is over.
    pub(crate) async fn over(&self, incarnation: u64) {
        let mut statuses = self.statuses();
        let _ = statuses
            .wait_for(|status| {
                status.incarnation != incarnation
                    || matches!(status.state, SessionState::Expired | SessionState::Closed)
            })
            .await;
    }

    /// Sends a request that may be sent twice, again if its connection broke. Waits as long as
    /// the session lives.
    pub(crate) async fn ask<T, F>(
        &self,
        incarnation: u64,
        path: &NodePath,
        request: impl Fn(Client) -> F,
    ) -> Result<T, CoordinationError>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        for _ in 0..ATTEMPTS_MAX {
            let client = self
                .client(incarnation)
                .ok_or_else(|| ended(path.as_str()))?;
            match request(client).await {
                Err(refusal) if is_broken(&refusal) => {}
                answer => return answer.map_err(|refusal| CoordinationError::at(path, refusal)),
            }
        }
        Err(CoordinationError::at(path, Refusal::ConnectionLoss))
    }
}

pub(crate) fn ended(what: &str) -> CoordinationError {
    CoordinationError::SessionEnded {
        what: what.to_owned(),
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

async fn establish(
    options: &ConnectOptions,
    cluster: &str,
    certificates: Option<&Certificates>,
) -> Result<Client, Refusal> {
    let mut connector = Client::connector().with_session_timeout(options.session_timeout);
    if let Some(digest) = &options.digest {
        connector = connector.with_auth("digest", digest.as_bytes());
    }
    if let Some((role, token)) = options.credentials.as_ref().and_then(shown) {
        let credentials = format!("{role}:{}", token.expose());
        connector = connector.with_auth("digest", credentials.as_bytes());
    }
    match certificates {
        None => connector.connect(cluster).await,
        Some(certificates) => {
            connector
                .with_tls(certificates.options())
                .secure_connect(cluster)
                .await
        }
    }
}

fn shown(credentials: &Credentials) -> Option<(Role, &Secret)> {
    Some((credentials.role, credentials.token.as_ref()?))
}

/// Whether the directory takes us for what we are: says why not.
async fn admitted(
    client: &Client,
    options: &ConnectOptions,
) -> Result<Option<CoordinationError>, Refusal> {
    let users = client.list_auth_users().await?;
    let roles = || {
        let roles = users.iter().filter(|user| user.scheme() == "role");
        roles.map(zookeeper_client::AuthUser::user)
    };
    // Who says nothing of its role is somebody's tool: an operator's at most.
    let credentials = options.credentials.as_ref();
    let role = credentials.map_or(Role::Operator, |credentials| credentials.role);
    if roles().next().is_some() {
        let mut known = roles().filter_map(|name| name.parse::<Role>().ok());
        let fits = credentials.is_none() || known.any(|shown| shown.covers(role));
        return Ok((!fits).then(|| CoordinationError::WrongRole {
            role,
            shown: roles().collect::<Vec<_>>().join(", "),
        }));
    }
    match client.check_stat("/").await {
        Ok(_) => {
            if credentials.and_then(shown).is_some() {
                tracing::warn!(%role, "the directory has no roles: anybody who reaches it may do all");
            }
            Ok(None)
        }
        Err(Refusal::NoAuth) => Ok(Some(CoordinationError::NoRole { role })),
        Err(refusal) => Err(refusal),
    }
}

/// Follows the states of one session after another until it's told to stop.
struct Keeper {
    options: ConnectOptions,
    cluster: String,
    certificates: Option<Certificates>,
    current: Arc<Current>,
    publish: watch::Sender<SessionStatus>,
    stopped: watch::Receiver<bool>,
}

impl Keeper {
    async fn run(mut self, mut client: Client) {
        let mut incarnation = 1;
        loop {
            if !self.follow(client, incarnation).await {
                break;
            }
            self.set(None, SessionState::Expired, incarnation);
            tracing::warn!("session with the directory expired; making another");
            let Some(next) = self.another().await else {
                break;
            };
            incarnation += 1;
            tracing::info!(session = %next.session_id(), incarnation, "session with the directory begins");
            client = next;
            self.set(Some(client.clone()), SessionState::Connected, incarnation);
        }
        self.set(None, SessionState::Closed, incarnation);
    }

    /// Follows a session to its end; `false` if it was closed.
    async fn follow(&mut self, client: Client, incarnation: u64) -> bool {
        let mut states = client.state_watcher();
        let bound = client.session_timeout();
        let mut state = states.peek_state();
        loop {
            match state {
                Raw::SyncConnected | Raw::ConnectedReadOnly => {
                    self.tell(SessionState::Connected, incarnation);
                }
                Raw::Disconnected => {
                    tracing::warn!("disconnected from the directory");
                    self.tell(SessionState::Disconnected, incarnation);
                    self.refresh();
                }
                Raw::Expired | Raw::Closed => return true,
                Raw::AuthFailed => {
                    tracing::error!("the directory refuses our user and password");
                    return true;
                }
            }
            tokio::select! {
                changed = states.changed() => state = changed,
                () = told(&mut self.stopped) => {
                    drop(client);
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    let confirmed = async {
                        while !states.changed().await.is_terminated() {}
                    };
                    if timeout(bound, confirmed).await.is_err() {
                        tracing::warn!("the directory did not confirm the end of the session");
                    }
                    return false;
                }
            }
        }
    }

    /// Makes another session; `None` if told to stop.
    async fn another(&mut self) -> Option<Client> {
        let mut backoff = BACKOFF_MIN;
        loop {
            let refusal = tokio::select! {
                client = establish(&self.options, &self.cluster, self.certificates.as_ref()) => match client {
                    Ok(client) => return Some(client),
                    Err(refusal) => refusal,
                },
                () = told(&mut self.stopped) => return None,
            };
            self.refresh();
            tracing::warn!(%refusal, "no session with the directory yet");
            tokio::select! {
                () = sleep(backoff) => {}
                () = told(&mut self.stopped) => return None,
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Takes certificates that were renewed.
    fn refresh(&self) {
        if let Some(certificates) = &self.certificates {
            certificates.refresh();
        }
    }

    fn set(&self, client: Option<Client>, state: SessionState, incarnation: u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = client;
        self.tell(state, incarnation);
    }

    fn tell(&self, state: SessionState, incarnation: u64) {
        let status = SessionStatus { state, incarnation };
        self.publish.send_if_modified(|present| {
            let changed = *present != status;
            *present = status;
            changed
        });
    }
}

/// Waits until the session is to be closed.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let options = ConnectOptions::new(["a:1", "[::1]:2181"]);
        assert_eq!(options.cluster().unwrap(), "a:1,[::1]:2181");
        for bad in ["", "a", "a:", "a:0", "a:70000", "a:1,b:2", "a:1/x", "a /:1"] {
            assert!(ConnectOptions::new([bad]).cluster().is_err(), "{bad}");
        }
        assert!(ConnectOptions::new::<String>([]).cluster().is_err());
    }

    #[test]
    fn a_password_isn_t_shown() {
        let mut options = ConnectOptions::new(["a:1"]);
        options.digest = Some("user:secret".into());
        assert!(!format!("{options:?}").contains("secret"));
    }
}
