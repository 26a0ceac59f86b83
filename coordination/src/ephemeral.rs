//! Ephemeral nodes: made so that a lost reply leaves none behind, and removed in the background
//! when their owner is dropped.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use towpath_protocol::tree::{NodePath, Record, Versioned};
use zookeeper_client::{CreateMode, Error as Refusal, EventType};

use crate::error::{CoordinationError, is_broken};
use crate::session::{Session, ended};
use crate::store::encode;

/// How often a creation whose reply was lost is looked for and tried again.
const ATTEMPTS_MAX: usize = 8;
/// How long a dropped owner's node may take to be removed; the session's end does it otherwise.
const REMOVAL_MAX: Duration = Duration::from_secs(10);

/// A task that ends with its owner.
#[derive(Debug)]
pub(crate) struct Attached(pub(crate) JoinHandle<()>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A sequential node of ours.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    session: Session,
    pub(crate) incarnation: u64,
    pub(crate) path: NodePath,
}

/// A node on its way to who asked for it, who may have given up even after it was sent.
struct Unclaimed(Option<Owned>);

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(owned) = self.0.take() {
            owned.abandon();
        }
    }
}

impl Owned {
    /// Makes an ephemeral sequential node. `record` must be unique to this call (a fresh UUID in
    /// it): by it a node whose creation wasn't confirmed is found again.
    /// A caller that gives up meanwhile leaves no node behind.
    pub(crate) async fn create<T: Record>(
        session: &Session,
        incarnation: u64,
        prefix: &NodePath,
        record: T,
    ) -> Result<Self, CoordinationError> {
        let (reply, made) = oneshot::channel();
        let (session, prefix) = (session.clone(), prefix.clone());
        let what = prefix.to_string();
        tokio::spawn(async move {
            let made = Self::make(&session, incarnation, &prefix, record).await;
            let _ = reply.send(made.map(|owned| Unclaimed(Some(owned))));
        });
        let mut made = made.await.unwrap_or_else(|_| Err(ended(&what)))?;
        made.0.take().ok_or_else(|| ended(&what))
    }

    async fn make<T: Record>(
        session: &Session,
        incarnation: u64,
        prefix: &NodePath,
        record: T,
    ) -> Result<Self, CoordinationError> {
        let parent = prefix.parent().ok_or_else(|| CoordinationError::NotFound {
            path: prefix.clone(),
        })?;
        let data = encode(prefix, &Versioned::new(record))?;
        let options = CreateMode::EphemeralSequential.with_acls(session.acls());
        for _ in 0..ATTEMPTS_MAX {
            let client = session
                .client(incarnation)
                .ok_or_else(|| ended(prefix.as_str()))?;
            let owned = |path| Self {
                session: session.clone(),
                incarnation,
                path,
            };
            match client.create(prefix.as_str(), &data, &options).await {
                Ok((_, sequence)) => return Ok(owned(prefix.sequenced(sequence))),
                Err(Refusal::NoNode) => session.ensure(incarnation, &parent).await?,
                Err(refusal) if is_broken(&refusal) => {
                    let found = find(session, incarnation, &parent, prefix.name(), &data).await?;
                    if let Some(path) = found {
                        return Ok(owned(path));
                    }
                }
                Err(refusal) => return Err(CoordinationError::at(prefix, refusal)),
            }
        }
        Err(CoordinationError::at(prefix, Refusal::ConnectionLoss))
    }

    pub(crate) async fn remove(&self) -> Result<(), CoordinationError> {
        if self.session.client(self.incarnation).is_none() {
            return Ok(());
        }
        match self
            .session
            .remove_in(self.incarnation, &self.path, None)
            .await
        {
            Err(CoordinationError::SessionEnded { .. }) => Ok(()),
            answer => answer,
        }
    }

    /// Removes the node in the background.
    pub(crate) fn abandon(self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let removal = tokio::time::timeout(REMOVAL_MAX, self.remove()).await;
                if !matches!(removal, Ok(Ok(()))) {
                    tracing::warn!(path = %self.path, "a node goes only with our session");
                }
            });
        }
    }
}

async fn find(
    session: &Session,
    incarnation: u64,
    parent: &NodePath,
    prefix: &str,
    data: &[u8],
) -> Result<Option<NodePath>, CoordinationError> {
    for name in session.children_in(incarnation, parent).await? {
        if !name.starts_with(prefix) {
            continue;
        }
        let Some(path) = parent.listed(&name) else {
            continue;
        };
        let node = path.as_str();
        let held = session
            .ask(incarnation, &path, |client| async move {
                client.get_data(node).await
            })
            .await;
        match held {
            Ok((held, _)) if held == data => return Ok(Some(path)),
            Ok(_) | Err(CoordinationError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Waits until a node goes; at once if it isn't there. Ends with the session.
pub(crate) async fn gone(
    session: &Session,
    incarnation: u64,
    path: &NodePath,
) -> Result<(), CoordinationError> {
    let node = path.as_str();
    loop {
        let watcher = session
            .ask(incarnation, path, |client| async move {
                let (stat, watcher) = client.check_and_watch_stat(node).await?;
                Ok(stat.map(|_| watcher))
            })
            .await?;
        let Some(watcher) = watcher else {
            return Ok(());
        };
        let event = tokio::select! {
            event = watcher.changed() => event.event_type,
            () = session.over(incarnation) => EventType::Session,
        };
        match event {
            EventType::NodeDeleted => return Ok(()),
            EventType::Session => return Err(ended(node)),
            _ => {}
        }
    }
}
