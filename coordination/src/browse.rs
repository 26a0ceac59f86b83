//! Looking around: any node, whatever it holds.
//!
//! For the console and for people; the processes of Towpath read records by
//! [`store`](crate::store), which knows what each node is.

use towpath_protocol::tree::NodePath;
use zookeeper_client::{AddWatchMode, CreateMode, EventType, PersistentWatcher};

use crate::error::CoordinationError;
use crate::session::Session;
use crate::store::Expect;

/// What the directory says of a node beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeStat {
    /// zxid of the change that made the node.
    pub created_zxid: i64,
    /// zxid of the last change of its data.
    pub modified_zxid: i64,
    /// zxid of the last change of its children.
    pub children_zxid: i64,
    /// When it was made, in ms since 1970, by the Server's clock.
    pub created_ms: i64,
    /// When its data was changed last, in ms since 1970, by the Server's clock.
    pub modified_ms: i64,
    /// Changes of its data.
    pub version: i32,
    /// Changes of its children.
    pub children_version: i32,
    /// Changes of its access list.
    pub acl_version: i32,
    /// The session it goes with; 0 if it stays.
    pub ephemeral_owner: i64,
    /// Bytes of its data.
    pub data_bytes: i32,
    /// Its children.
    pub children: i32,
}

impl From<zookeeper_client::Stat> for NodeStat {
    fn from(stat: zookeeper_client::Stat) -> Self {
        Self {
            created_zxid: stat.czxid,
            modified_zxid: stat.mzxid,
            children_zxid: stat.pzxid,
            created_ms: stat.ctime,
            modified_ms: stat.mtime,
            version: stat.version,
            children_version: stat.cversion,
            acl_version: stat.aversion,
            ephemeral_owner: stat.ephemeral_owner,
            data_bytes: stat.data_length,
            children: stat.num_children,
        }
    }
}

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeChange {
    /// It was made.
    Created,
    /// It was removed.
    Deleted,
    /// Its data was changed.
    Data,
    /// A child came or went. Not told by a watch of a whole subtree, which tells of the child.
    Children,
    /// The connection broke, or the session: what happened meanwhile isn't told. Read again.
    Gap,
}

/// A change somewhere at or below a watched node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEvent {
    /// What happened.
    pub change: TreeChange,
    /// To which node; the watched one for [`TreeChange::Gap`].
    pub path: NodePath,
}

/// Tells of every change at and below a node, until the session is closed.
#[derive(Debug)]
pub struct TreeWatch {
    session: Session,
    path: NodePath,
    mode: AddWatchMode,
    watcher: Option<(PersistentWatcher, u64)>,
    /// The connection was another one when it was set.
    is_deaf: bool,
}

impl TreeWatch {
    /// The next change. What happens between two calls is kept for the next one.
    ///
    /// # Errors
    /// [`CoordinationError`]: when the session is closed, or the watch can't be set again after
    /// it had been lost.
    pub async fn next(&mut self) -> Result<TreeEvent, CoordinationError> {
        if self.is_deaf || self.watcher.is_none() {
            return self.set_again().await;
        }
        let Some((watcher, incarnation)) = &mut self.watcher else {
            return Ok(self.gap());
        };
        loop {
            let event = tokio::select! {
                event = watcher.changed() => event,
                () = self.session.over(*incarnation) => {
                    self.watcher = None;
                    self.session.connected().await?;
                    return Ok(self.gap());
                }
            };
            let change = match event.event_type {
                EventType::NodeCreated => TreeChange::Created,
                EventType::NodeDeleted => TreeChange::Deleted,
                EventType::NodeDataChanged => TreeChange::Data,
                EventType::NodeChildrenChanged => TreeChange::Children,
                EventType::Session if event.session_state.is_terminated() => {
                    self.watcher = None;
                    self.session.connected().await?;
                    return Ok(self.gap());
                }
                // What happened meanwhile isn't told (ZOOKEEPER-4698). And the client doesn't set
                // persistent watches again: its `resend_watches` never counts their lists (0.11.2).
                EventType::Session
                    if event.session_state == zookeeper_client::SessionState::SyncConnected =>
                {
                    self.is_deaf = true;
                    return self.set_again().await;
                }
                EventType::Session => continue,
            };
            match NodePath::parse(&event.path) {
                Ok(path) => return Ok(TreeEvent { change, path }),
                Err(error) => tracing::warn!(%error, "the directory told of a change at no path"),
            }
        }
    }

    /// Sets the watch in the present session. The old one, if it's of this session, goes only then:
    /// so the client doesn't ask for the removal of what was just set.
    async fn set_again(&mut self) -> Result<TreeEvent, CoordinationError> {
        let incarnation = self.session.connected().await?;
        let watcher = self.set(incarnation).await?;
        self.watcher = Some((watcher, incarnation));
        self.is_deaf = false;
        Ok(self.gap())
    }

    fn gap(&self) -> TreeEvent {
        TreeEvent {
            change: TreeChange::Gap,
            path: self.path.clone(),
        }
    }

    async fn set(&self, incarnation: u64) -> Result<PersistentWatcher, CoordinationError> {
        let mode = self.mode;
        let path = self.path.as_str();
        self.session
            .ask(incarnation, &self.path, |client| async move {
                client.watch(path, mode).await
            })
            .await
    }
}

impl Session {
    /// A node's data and stat; `None` if there is no such node.
    ///
    /// # Errors
    /// [`CoordinationError`].
    pub async fn node(
        &self,
        path: &NodePath,
    ) -> Result<Option<(Vec<u8>, NodeStat)>, CoordinationError> {
        let incarnation = self.connected().await?;
        let answer = self
            .ask(incarnation, path, |client| async move {
                client.get_data(path.as_str()).await
            })
            .await;
        match answer {
            Ok((data, stat)) => Ok(Some((data, stat.into()))),
            Err(CoordinationError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a node's data as it is; says the node's version after it. [`Expect::Absent`] makes
    /// the node and those above it, and so does [`Expect::Anything`] where there is none.
    ///
    /// # Errors
    /// [`CoordinationError::Exists`] and [`CoordinationError::Changed`] when `expect` doesn't
    /// hold.
    pub async fn put(
        &self,
        path: &NodePath,
        data: &[u8],
        expect: Expect,
    ) -> Result<i32, CoordinationError> {
        let incarnation = self.connected().await?;
        let version = match expect {
            Expect::Version(version) => Some(version),
            Expect::Anything | Expect::Absent => None,
        };
        if expect != Expect::Absent {
            let set = self
                .ask(incarnation, path, |client| async move {
                    client.set_data(path.as_str(), data, version).await
                })
                .await;
            match set {
                Err(CoordinationError::NotFound { .. }) if expect == Expect::Anything => {}
                answer => return answer.map(|stat| stat.version),
            }
        }
        if let Some(parent) = path.parent() {
            self.ensure(incarnation, &parent).await?;
        }
        let acls = self.acls();
        self.ask(incarnation, path, |client| async move {
            let options = CreateMode::Persistent.with_acls(acls);
            client.create(path.as_str(), data, &options).await.map(drop)
        })
        .await?;
        Ok(0)
    }

    /// Removes a node with all that is below it; says how many nodes that were. What others make
    /// there meanwhile may stay, and is then an error.
    ///
    /// # Errors
    /// [`CoordinationError`].
    pub async fn remove_all(&self, path: &NodePath) -> Result<usize, CoordinationError> {
        let mut found = vec![path.clone()];
        let mut looked_at = 0;
        while let Some(node) = found.get(looked_at).cloned() {
            looked_at += 1;
            for child in self.children(&node).await? {
                found.extend(node.listed(&child));
            }
        }
        for node in found.iter().rev() {
            self.remove(node, None).await?;
        }
        Ok(found.len())
    }

    /// Watches a node, and with `subtree` all below it. The node needn't be there yet.
    ///
    /// # Errors
    /// [`CoordinationError`].
    pub async fn watch_tree(
        &self,
        path: &NodePath,
        subtree: bool,
    ) -> Result<TreeWatch, CoordinationError> {
        let incarnation = self.connected().await?;
        let mut watch = TreeWatch {
            session: self.clone(),
            path: path.clone(),
            mode: match subtree {
                true => AddWatchMode::PersistentRecursive,
                false => AddWatchMode::Persistent,
            },
            watcher: None,
            is_deaf: false,
        };
        let watcher = match watch.set(incarnation).await {
            Err(CoordinationError::SessionEnded { .. }) => None,
            answer => Some((answer?, incarnation)),
        };
        watch.watcher = watcher;
        Ok(watch)
    }
}
