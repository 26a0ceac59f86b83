//! Openraft's own suite for what stores its log and state.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::log_redb::LogStore;
use super::machine::Machine;
use super::types::Types;
use crate::config::{Limits, Timers};
use crate::front::Front;
use crate::roles::Access;

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let dir = TempDir::new().unwrap();
        let (log, _) = LogStore::open(&dir.path().join("log.redb")).unwrap();
        let (front, _) = Front::new(1, Timers::default(), Limits::default(), Access::default());
        let machine = Machine::new(front, log.clone(), dir.path().join("snapshots"), 1).unwrap();
        Ok((dir, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn openraft_storage_suite() {
    Suite::test_all(Builder).await.unwrap();
}
