//! A node that says "I am here", and what one should know of us.
//!
//! It's ephemeral, and made again in each new session and after somebody removed it. If another
//! session still holds the path (our own process before its restart), we wait until it goes.

use std::marker::PhantomData;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use towpath_protocol::tree::{NodePath, Record, Versioned};
use zookeeper_client::{CreateMode, Error as Refusal};

use crate::ephemeral::{Attached, gone};
use crate::error::CoordinationError;
use crate::session::Session;
use crate::store::encode;

/// Pause after a refusal, before the node is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long a dropped registration's node may take to be removed.
const REMOVAL_MAX: Duration = Duration::from_secs(10);

/// Whether the node is there, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationState {
    /// Not, or not in this session.
    Absent,
    /// Another session has it; we wait for that one's end.
    Contended,
    /// It is, in the session of that incarnation.
    Present(u64),
}

/// An ephemeral node that is kept there. Dropping it removes the node in the background.
#[derive(Debug)]
pub struct Registration<T> {
    session: Session,
    path: NodePath,
    data: watch::Sender<Vec<u8>>,
    states: watch::Receiver<RegistrationState>,
    task: Option<Attached>,
    record: PhantomData<fn(T)>,
}

impl<T: Record> Registration<T> {
    /// Registers, now or as soon as there is a session. Writes follow one another by `pace` at
    /// least; of updates that come faster the last one counts.
    ///
    /// # Errors
    /// [`CoordinationError::Record`].
    pub fn new(
        session: &Session,
        path: NodePath,
        record: T,
        pace: Duration,
    ) -> Result<Self, CoordinationError> {
        let (data, updates) = watch::channel(encode(&path, &Versioned::new(record))?);
        let (publish, states) = watch::channel(RegistrationState::Absent);
        let keeper = Keeper {
            session: session.clone(),
            path: path.clone(),
            updates,
            publish,
            pace,
        };
        Ok(Self {
            session: session.clone(),
            path,
            data,
            states,
            task: Some(Attached(tokio::spawn(keeper.run()))),
            record: PhantomData,
        })
    }

    /// Changes what the node says.
    ///
    /// # Errors
    /// [`CoordinationError::Record`].
    pub fn update(&self, record: T) -> Result<(), CoordinationError> {
        let data = encode(&self.path, &Versioned::new(record))?;
        self.data.send_if_modified(|present| {
            let changed = *present != data;
            *present = data;
            changed
        });
        Ok(())
    }

    /// Where the node is.
    pub fn path(&self) -> &NodePath {
        &self.path
    }

    /// Whether the node is there, and each change of that.
    pub fn states(&self) -> watch::Receiver<RegistrationState> {
        self.states.clone()
    }

    /// Waits until the node is there. Ends with the session's [`close`](Session::close).
    ///
    /// # Errors
    /// [`CoordinationError::SessionEnded`].
    pub async fn present(&self) -> Result<(), CoordinationError> {
        self.states()
            .wait_for(|state| matches!(state, RegistrationState::Present(_)))
            .await
            .map(drop)
            .map_err(|_| CoordinationError::SessionEnded {
                what: self.path.to_string(),
            })
    }

    /// Removes the node, if it's ours.
    ///
    /// # Errors
    /// [`CoordinationError`].
    pub async fn withdraw(mut self) -> Result<(), CoordinationError> {
        self.task = None;
        remove_own(&self.session, &self.path).await
    }
}

impl<T> Drop for Registration<T> {
    fn drop(&mut self) {
        if self.task.take().is_none() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (session, path) = (self.session.clone(), self.path.clone());
            runtime.spawn(async move {
                let removal = tokio::time::timeout(REMOVAL_MAX, remove_own(&session, &path)).await;
                if !matches!(removal, Ok(Ok(()))) {
                    tracing::warn!(%path, "a node goes only with our session");
                }
            });
        }
    }
}

async fn remove_own(session: &Session, path: &NodePath) -> Result<(), CoordinationError> {
    let incarnation = session.status().incarnation;
    if session.client(incarnation).is_none() {
        return Ok(());
    }
    let node = path.as_str();
    session
        .ask(incarnation, path, |client| async move {
            match client.check_stat(node).await? {
                Some(stat) if stat.ephemeral_owner == client.session_id().0 => {
                    match client.delete(node, None).await {
                        Err(Refusal::NoNode) => Ok(()),
                        answer => answer,
                    }
                }
                _ => Ok(()),
            }
        })
        .await
}

struct Keeper {
    session: Session,
    path: NodePath,
    updates: watch::Receiver<Vec<u8>>,
    publish: watch::Sender<RegistrationState>,
    pace: Duration,
}

impl Keeper {
    async fn run(mut self) {
        while let Ok(incarnation) = self.session.connected().await {
            if let Err(error) = self.hold(incarnation).await {
                tracing::warn!(path = %self.path, %error, "not registered; trying again");
            }
            self.publish.send_replace(RegistrationState::Absent);
            if self.updates.has_changed().is_err() {
                return;
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Keeps the node there until the session is over.
    async fn hold(&mut self, incarnation: u64) -> Result<(), CoordinationError> {
        let session = self.session.clone();
        let path = self.path.clone();
        loop {
            let data = self.updates.borrow_and_update().clone();
            match self.put(incarnation, &data).await {
                Ok(true) => {}
                Ok(false) => {
                    self.publish.send_replace(RegistrationState::Contended);
                    gone(&session, incarnation, &path).await?;
                    continue;
                }
                Err(CoordinationError::NotFound { .. }) => {
                    if let Some(parent) = path.parent() {
                        session.ensure(incarnation, &parent).await?;
                    }
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.publish
                .send_replace(RegistrationState::Present(incarnation));
            let mut removed = std::pin::pin!(gone(&session, incarnation, &path));
            let mut next = Instant::now() + self.pace;
            loop {
                let update = async {
                    self.updates.changed().await.ok()?;
                    sleep_until(next).await;
                    Some(())
                };
                tokio::select! {
                    removed = &mut removed => {
                        removed?;
                        tracing::warn!(%path, "our node was removed; making it again");
                        break;
                    }
                    update = update => if update.is_none() {
                        return Ok(());
                    },
                }
                let data = self.updates.borrow_and_update().clone();
                if !self.put(incarnation, &data).await? {
                    break;
                }
                next = Instant::now() + self.pace;
            }
        }
    }

    /// Makes or changes the node; `false` if another session has it.
    async fn put(&self, incarnation: u64, data: &[u8]) -> Result<bool, CoordinationError> {
        let acls = self.session.acls();
        let node = self.path.as_str();
        self.session
            .ask(incarnation, &self.path, |client| async move {
                let options = CreateMode::Ephemeral.with_acls(acls);
                match client.create(node, data, &options).await {
                    Err(Refusal::NodeExists) => {}
                    answer => return answer.map(|_| true),
                }
                match client.check_stat(node).await? {
                    Some(stat) if stat.ephemeral_owner == client.session_id().0 => {
                        client.set_data(node, data, None).await.map(|_| true)
                    }
                    _ => Ok(false),
                }
            })
            .await
    }
}
