//! A node's value, followed: what holds now, in this process too.
//!
//! Of several changes in short order the last one is always seen, those before perhaps. Through a
//! disconnection and between sessions the last value that was read holds; so it does when the
//! node's data can't be read, with a warning.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use towpath_protocol::tree::{NodePath, Record};
use zookeeper_client::{Error as Refusal, OneshotWatcher};

use crate::ephemeral::Attached;
use crate::error::CoordinationError;
use crate::session::Session;
use crate::store::decode;

/// Pause after a refusal, before the node is read again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The record at a path, kept current.
#[derive(Debug)]
pub struct LiveConfig<T> {
    values: watch::Receiver<Option<T>>,
    _task: Attached,
}

impl<T: Record + PartialEq> LiveConfig<T> {
    /// Reads the record and follows it.
    ///
    /// # Errors
    /// [`CoordinationError`], of the first reading: [`CoordinationError::Record`] too, since
    /// there is no last good value then.
    pub async fn follow(session: &Session, path: NodePath) -> Result<Self, CoordinationError> {
        let first = session.read::<T>(&path).await?;
        let (publish, values) = watch::channel(first.map(|entry| entry.value.record));
        let follower = Follower {
            session: session.clone(),
            path,
            publish,
        };
        Ok(Self {
            values,
            _task: Attached(tokio::spawn(follower.run())),
        })
    }

    /// What holds now; `None` if there is no such node.
    pub fn value(&self) -> Option<T> {
        self.values.borrow().clone()
    }

    /// What holds, and each change of it, at least the last one. The sender is gone when the
    /// session is closed, or this is dropped.
    pub fn values(&self) -> watch::Receiver<Option<T>> {
        self.values.clone()
    }
}

struct Follower<T> {
    session: Session,
    path: NodePath,
    publish: watch::Sender<Option<T>>,
}

impl<T: Record + PartialEq> Follower<T> {
    async fn run(self) {
        while let Ok(incarnation) = self.session.connected().await {
            match self.follow(incarnation).await {
                Ok(()) | Err(CoordinationError::SessionEnded { .. }) => {}
                Err(error) => tracing::warn!(path = %self.path, %error, "can't follow a node"),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn follow(&self, incarnation: u64) -> Result<(), CoordinationError> {
        loop {
            let Some((data, watcher)) = self.read(incarnation).await? else {
                continue;
            };
            match data.filter(|data| !data.is_empty()) {
                None => self.tell(None),
                Some(data) => match decode(&self.path, &data) {
                    Ok(value) => self.tell(Some(value.record)),
                    Err(error) => {
                        tracing::warn!(path = %self.path, %error, "the last good value still holds");
                    }
                },
            }
            tokio::select! {
                _ = watcher.changed() => {}
                () = self.session.over(incarnation) => return Ok(()),
            }
        }
    }

    /// The node's data, and a watcher of its next change; `None` if it was made meanwhile.
    async fn read(
        &self,
        incarnation: u64,
    ) -> Result<Option<(Option<Vec<u8>>, OneshotWatcher)>, CoordinationError> {
        let node = self.path.as_str();
        self.session
            .ask(incarnation, &self.path, |client| async move {
                match client.get_and_watch_data(node).await {
                    Ok((data, _, watcher)) => Ok(Some((Some(data), watcher))),
                    Err(Refusal::NoNode) => {
                        let (stat, watcher) = client.check_and_watch_stat(node).await?;
                        Ok(stat.is_none().then_some((None, watcher)))
                    }
                    Err(refusal) => Err(refusal),
                }
            })
            .await
    }

    fn tell(&self, value: Option<T>) {
        self.publish.send_if_modified(|present| {
            let changed = *present != value;
            *present = value;
            changed
        });
    }
}
