//! The directory's identity.

use jiff::Timestamp;
use towpath_protocol::epoch::Generation;
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::Cluster;
use uuid::Uuid;

use crate::error::CoordinationError;
use crate::session::Session;
use crate::store::Expect;

impl Session {
    /// The directory's identity; made now, in generation 1, if it has none. Servers call this
    /// when they start.
    ///
    /// # Errors
    /// [`CoordinationError`].
    pub async fn found_cluster(&self) -> Result<Cluster, CoordinationError> {
        let path = path::cluster();
        if let Some(entry) = self.read::<Cluster>(&path).await? {
            return Ok(entry.value.record);
        }
        let cluster = Cluster {
            id: Uuid::new_v4(),
            generation: Generation(1),
            created: Timestamp::now(),
        };
        match self.write(&path, cluster, Expect::Absent).await {
            Ok(_) | Err(CoordinationError::Exists { .. }) => {}
            Err(error) => return Err(error),
        }
        match self.read::<Cluster>(&path).await? {
            Some(entry) => Ok(entry.value.record),
            None => Err(CoordinationError::NotFound { path }),
        }
    }
}
