//! Several writes that are done together or not at all.

use towpath_protocol::tree::{NodePath, Record, Versioned};
use zookeeper_client::{Client, CreateMode, Error as Refusal, MultiWriteError};

use crate::error::CoordinationError;
use crate::session::Session;
use crate::store::encode;

/// How often nodes above a new one are made again that somebody removes meanwhile.
const ATTEMPTS_MAX: usize = 8;

#[derive(Clone, Debug)]
enum Write {
    Create {
        path: NodePath,
        data: Vec<u8>,
    },
    Append {
        prefix: NodePath,
        data: Vec<u8>,
    },
    Set {
        path: NodePath,
        data: Vec<u8>,
        version: i32,
    },
    Remove {
        path: NodePath,
        version: Option<i32>,
    },
    Check {
        path: NodePath,
        version: i32,
    },
}

impl Write {
    fn path(&self) -> &NodePath {
        match self {
            Self::Append { prefix, .. } => prefix,
            Self::Create { path, .. }
            | Self::Set { path, .. }
            | Self::Remove { path, .. }
            | Self::Check { path, .. } => path,
        }
    }

    /// The node below which it makes another.
    fn parent(&self) -> Option<NodePath> {
        match self {
            Self::Create { path, .. } | Self::Append { prefix: path, .. } => path.parent(),
            Self::Set { .. } | Self::Remove { .. } | Self::Check { .. } => None,
        }
    }
}

/// Writes to be done together, in their order; each under its own condition.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    writes: Vec<Write>,
}

impl Transaction {
    /// No writes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it would do nothing.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Makes a node, which mustn't be there.
    ///
    /// # Errors
    /// [`CoordinationError::Record`].
    pub fn create<T: Record>(
        &mut self,
        path: NodePath,
        record: impl Into<Versioned<T>>,
    ) -> Result<(), CoordinationError> {
        let data = encode(&path, &record.into())?;
        self.writes.push(Write::Create { path, data });
        Ok(())
    }

    /// Makes a persistent, sequential node.
    ///
    /// # Errors
    /// [`CoordinationError::Record`].
    pub fn append<T: Record>(
        &mut self,
        prefix: NodePath,
        record: impl Into<Versioned<T>>,
    ) -> Result<(), CoordinationError> {
        let data = encode(&prefix, &record.into())?;
        self.writes.push(Write::Append { prefix, data });
        Ok(())
    }

    /// Changes a node of this version.
    ///
    /// # Errors
    /// [`CoordinationError::Record`].
    pub fn set<T: Record>(
        &mut self,
        path: NodePath,
        record: impl Into<Versioned<T>>,
        version: i32,
    ) -> Result<(), CoordinationError> {
        let data = encode(&path, &record.into())?;
        self.writes.push(Write::Set {
            path,
            data,
            version,
        });
        Ok(())
    }

    /// Changes a node of this version, or makes it if there is none.
    ///
    /// # Errors
    /// [`CoordinationError::Record`].
    pub fn put<T: Record>(
        &mut self,
        path: NodePath,
        record: impl Into<Versioned<T>>,
        version: Option<i32>,
    ) -> Result<(), CoordinationError> {
        match version {
            Some(version) => self.set(path, record, version),
            None => self.create(path, record),
        }
    }

    /// Removes a node, which must be there, in any version or in this one.
    pub fn remove(&mut self, path: NodePath, version: Option<i32>) {
        self.writes.push(Write::Remove { path, version });
    }

    /// Goes on only if a node is of this version.
    pub fn check(&mut self, path: NodePath, version: i32) {
        self.writes.push(Write::Check { path, version });
    }
}

impl Session {
    /// Does all writes of a transaction, or none. Nodes above a new one are made first, by
    /// themselves. When the connection breaks, it's sent again: an error may then be about our
    /// own first try, so read again what it was to change.
    ///
    /// # Errors
    /// [`CoordinationError::Exists`], [`CoordinationError::Changed`] and
    /// [`CoordinationError::NotFound`] of the first write whose condition didn't hold.
    pub async fn transact(&self, transaction: Transaction) -> Result<(), CoordinationError> {
        let Some(first) = transaction.writes.first() else {
            return Ok(());
        };
        let incarnation = self.connected().await?;
        let writes = &transaction.writes;
        let mut attempts = 0;
        loop {
            attempts += 1;
            for write in writes {
                if let Some(parent) = write.parent() {
                    self.ensure(incarnation, &parent).await?;
                }
            }
            let unmet = self
                .ask(incarnation, first.path(), |client| async move {
                    self.commit(&client, writes).await
                })
                .await?;
            let Some((index, refusal)) = unmet else {
                return Ok(());
            };
            let write = writes.get(index).unwrap_or(first);
            // An empty node above was removed meanwhile.
            let again = refusal == Refusal::NoNode && write.parent().is_some();
            if !again || attempts == ATTEMPTS_MAX {
                return Err(CoordinationError::at(write.path(), refusal));
            }
        }
    }

    /// Sends it once; says which write's condition didn't hold.
    async fn commit(
        &self,
        client: &Client,
        writes: &[Write],
    ) -> Result<Option<(usize, Refusal)>, Refusal> {
        let mut multi = client.new_multi_writer();
        for write in writes {
            match write {
                Write::Create { path, data } => {
                    let options = CreateMode::Persistent.with_acls(self.acls());
                    multi.add_create(path.as_str(), data, &options)?;
                }
                Write::Append { prefix, data } => {
                    let options = CreateMode::PersistentSequential.with_acls(self.acls());
                    multi.add_create(prefix.as_str(), data, &options)?;
                }
                Write::Set {
                    path,
                    data,
                    version,
                } => multi.add_set_data(path.as_str(), data, Some(*version))?,
                Write::Remove { path, version } => multi.add_delete(path.as_str(), *version)?,
                Write::Check { path, version } => {
                    multi.add_check_version(path.as_str(), *version)?;
                }
            }
        }
        match multi.commit().await {
            Ok(_) => Ok(None),
            Err(MultiWriteError::OperationFailed { index, source }) => Ok(Some((index, source))),
            Err(MultiWriteError::RequestFailed { source }) => Err(source),
        }
    }
}
