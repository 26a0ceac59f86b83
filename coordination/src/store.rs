//! Records in the tree: read, written under a condition, listed, removed.

use towpath_protocol::tree::{NodePath, Record, Versioned};
use zookeeper_client::{CreateMode, Error as Refusal};

use crate::error::CoordinationError;
use crate::session::Session;

/// How often a node is tried again when its parent or itself comes or goes meanwhile.
const RACES_MAX: usize = 8;

/// A record as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<T> {
    /// The record.
    pub value: Versioned<T>,
    /// The node's version, for [`Expect::Version`].
    pub node_version: i32,
    /// zxid of the change that made it so.
    pub zxid: i64,
}

/// What must hold for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: the node is made, or overwritten.
    Anything,
    /// There is no record yet.
    Absent,
    /// The node is as it was read.
    Version(i32),
}

impl Session {
    /// Reads a record; `None` if there is no such node, or an empty one that is only a parent.
    ///
    /// # Errors
    /// [`CoordinationError`].
    pub async fn read<T: Record>(
        &self,
        path: &NodePath,
    ) -> Result<Option<Entry<T>>, CoordinationError> {
        let incarnation = self.connected().await?;
        self.read_in(incarnation, path).await
    }

    pub(crate) async fn read_in<T: Record>(
        &self,
        incarnation: u64,
        path: &NodePath,
    ) -> Result<Option<Entry<T>>, CoordinationError> {
        let answer = self
            .ask(incarnation, path, |client| async move {
                client.get_data(path.as_str()).await
            })
            .await;
        match answer {
            Ok((data, _)) if data.is_empty() => Ok(None),
            Ok((data, stat)) => Ok(Some(Entry {
                value: decode(path, &data)?,
                node_version: stat.version,
                zxid: stat.mzxid,
            })),
            Err(CoordinationError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a record, with the nodes above it; says the node's version after it. When the
    /// connection breaks, the write is sent again: with [`Expect::Absent`] or
    /// [`Expect::Version`] the error may then be about our own first try.
    ///
    /// # Errors
    /// [`CoordinationError::Exists`] and [`CoordinationError::Changed`] when `expect` doesn't hold.
    pub async fn write<T: Record>(
        &self,
        path: &NodePath,
        record: impl Into<Versioned<T>>,
        expect: Expect,
    ) -> Result<i32, CoordinationError> {
        let data = encode(path, &record.into())?;
        let data = data.as_slice();
        let incarnation = self.connected().await?;
        let set = |version| {
            self.ask(incarnation, path, move |client| async move {
                Ok(client.set_data(path.as_str(), data, version).await?.version)
            })
        };
        for _ in 0..RACES_MAX {
            match expect {
                Expect::Version(version) => return set(Some(version)).await,
                Expect::Anything => match set(None).await {
                    Err(CoordinationError::NotFound { .. }) => {}
                    answer => return answer,
                },
                Expect::Absent => {}
            }
            match self.create_in(incarnation, path, data).await {
                Err(CoordinationError::Exists { .. }) if expect == Expect::Anything => {}
                Err(CoordinationError::Exists { .. }) => {
                    return match self.empty(incarnation, path).await? {
                        Some(version) => set(Some(version)).await,
                        None => Err(CoordinationError::Exists { path: path.clone() }),
                    };
                }
                answer => return answer.map(|()| 0),
            }
        }
        Err(CoordinationError::Changed { path: path.clone() })
    }

    /// Appends a record to a list: makes a persistent, sequential node, and those above it. Says
    /// where it is. When the connection breaks, it may come to be there twice.
    ///
    /// # Errors
    /// [`CoordinationError`].
    pub async fn append<T: Record>(
        &self,
        prefix: &NodePath,
        record: impl Into<Versioned<T>>,
    ) -> Result<NodePath, CoordinationError> {
        let data = encode(prefix, &record.into())?;
        let data = data.as_slice();
        let incarnation = self.connected().await?;
        if let Some(parent) = prefix.parent() {
            self.ensure(incarnation, &parent).await?;
        }
        let (_, sequence) = self
            .ask(incarnation, prefix, |client| async move {
                let options = CreateMode::PersistentSequential.with_acls(self.acls());
                client.create(prefix.as_str(), data, &options).await
            })
            .await?;
        Ok(prefix.sequenced(sequence))
    }

    /// The version of a node that is there and holds nothing.
    async fn empty(
        &self,
        incarnation: u64,
        path: &NodePath,
    ) -> Result<Option<i32>, CoordinationError> {
        let (data, stat) = self
            .ask(incarnation, path, |client| async move {
                client.get_data(path.as_str()).await
            })
            .await?;
        Ok(data.is_empty().then_some(stat.version))
    }

    /// Creates a persistent node and what is above it.
    async fn create_in(
        &self,
        incarnation: u64,
        path: &NodePath,
        data: &[u8],
    ) -> Result<(), CoordinationError> {
        if let Some(parent) = path.parent() {
            self.ensure(incarnation, &parent).await?;
        }
        let acls = self.acls();
        self.ask(incarnation, path, |client| async move {
            let options = CreateMode::Persistent.with_acls(acls);
            client.create(path.as_str(), data, &options).await.map(drop)
        })
        .await
    }

    /// Makes a node and those above it, empty, where they aren't there.
    pub(crate) async fn ensure(
        &self,
        incarnation: u64,
        path: &NodePath,
    ) -> Result<(), CoordinationError> {
        let acls = self.acls();
        self.ask(incarnation, path, |client| async move {
            if client.check_stat(path.as_str()).await?.is_some() {
                return Ok(());
            }
            let options = CreateMode::Persistent.with_acls(acls);
            client.mkdir(path.as_str(), &options).await
        })
        .await
    }

    /// The names of a node's children, sorted; none if there is no such node.
    ///
    /// # Errors
    /// [`CoordinationError`].
    pub async fn children(&self, path: &NodePath) -> Result<Vec<String>, CoordinationError> {
        let incarnation = self.connected().await?;
        self.children_in(incarnation, path).await
    }

    pub(crate) async fn children_in(
        &self,
        incarnation: u64,
        path: &NodePath,
    ) -> Result<Vec<String>, CoordinationError> {
        let answer = self
            .ask(incarnation, path, |client| async move {
                client.list_children(path.as_str()).await
            })
            .await;
        match answer {
            Ok(mut names) => {
                names.sort();
                Ok(names)
            }
            Err(CoordinationError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Removes a node, in any version or in this one; nothing happens if there is none.
    ///
    /// # Errors
    /// [`CoordinationError::Changed`] if it has another version.
    pub async fn remove(
        &self,
        path: &NodePath,
        version: Option<i32>,
    ) -> Result<(), CoordinationError> {
        let incarnation = self.connected().await?;
        self.remove_in(incarnation, path, version).await
    }

    /// Removes a node if it holds a record that `is_meant`, as it is read now; nothing happens if
    /// there is none, or another one.
    ///
    /// # Errors
    /// [`CoordinationError::Changed`] if it becomes another one meanwhile.
    pub async fn remove_record<T: Record>(
        &self,
        path: &NodePath,
        is_meant: impl FnOnce(&T) -> bool,
    ) -> Result<(), CoordinationError> {
        let incarnation = self.connected().await?;
        match self.read_in::<T>(incarnation, path).await? {
            Some(entry) if is_meant(&entry.value.record) => {
                self.remove_in(incarnation, path, Some(entry.node_version))
                    .await
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn remove_in(
        &self,
        incarnation: u64,
        path: &NodePath,
        version: Option<i32>,
    ) -> Result<(), CoordinationError> {
        self.ask(incarnation, path, |client| async move {
            match client.delete(path.as_str(), version).await {
                Err(Refusal::NoNode) => Ok(()),
                answer => answer,
            }
        })
        .await
    }
}

pub(crate) fn encode<T: Record>(
    path: &NodePath,
    value: &Versioned<T>,
) -> Result<Vec<u8>, CoordinationError> {
    value.to_json().map_err(|source| CoordinationError::Record {
        path: path.clone(),
        source,
    })
}

pub(crate) fn decode<T: Record>(
    path: &NodePath,
    data: &[u8],
) -> Result<Versioned<T>, CoordinationError> {
    Versioned::from_json(data).map_err(|source| CoordinationError::Record {
        path: path.clone(),
        source,
    })
}
