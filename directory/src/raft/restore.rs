//! A new member from a backup. It begins a directory of its own: sessions of the backup's time
//! get their full timeout and then expire, and clients that have seen a later zxid are refused,
//! so that nobody mistakes the past for the present.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use openraft::{Membership, StoredMembership};

use super::log_redb::LogStore;
use super::machine::View;
use super::member::Member;
use super::node::{log_path, snapshots_path};

/// Why a backup can't be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is a directory already.
    #[error("{} already holds a directory; restore into a new place", .0.display())]
    Occupied(PathBuf),
    /// The backup can't be read.
    #[error("the backup {} can't be restored", .path.display())]
    Backup {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The new directory can't be written.
    #[error("{} can't be written", .dir.display())]
    Files {
        /// Where.
        dir: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

/// Whether `data_dir` holds a directory, so that none is restored into it.
pub fn is_occupied(data_dir: &Path) -> bool {
    log_path(data_dir).exists()
}

/// Makes `data_dir` the home of member `node_id`, alone, with the state in `backup`.
///
/// # Errors
/// [`RestoreError`].
pub async fn restore(backup: &Path, data_dir: &Path, node_id: u8) -> Result<(), RestoreError> {
    if is_occupied(data_dir) {
        return Err(RestoreError::Occupied(data_dir.to_owned()));
    }
    let unreadable = |source| RestoreError::Backup {
        path: backup.to_owned(),
        source,
    };
    let mut view = View::read(backup).map_err(unreadable)?;
    let last = view
        .meta
        .last_log_id
        .ok_or_else(|| unreadable(io::Error::other("it's empty")))?;
    let node_id = u64::from(node_id);
    let nodes = std::collections::BTreeMap::from([(node_id, Member::default())]);
    let membership = Membership::new(vec![std::collections::BTreeSet::from([node_id])], nodes)
        .map_err(|error| unreadable(io::Error::other(error.to_string())))?;
    view.used.insert(node_id);
    view.meta.last_membership = StoredMembership::new(Some(last), membership);
    let files = |source| RestoreError::Files {
        dir: data_dir.to_owned(),
        source,
    };
    let snapshots = snapshots_path(data_dir);
    fs::create_dir_all(&snapshots).map_err(files)?;
    let name = view.file_name();
    view.write(&snapshots.join(&name)).map_err(files)?;
    // Under another name until it's whole: a directory half restored must not start as an empty one.
    let unfinished = data_dir.join("log.redb.restoring");
    let _ = fs::remove_file(&unfinished);
    let (log, closed) = LogStore::open(&unfinished).map_err(files)?;
    log.begin_after(node_id, &last, &name)
        .await
        .map_err(files)?;
    drop(log);
    let _ = closed.await;
    fs::rename(&unfinished, log_path(data_dir)).map_err(files)?;
    fs::File::open(data_dir)
        .and_then(|dir| dir.sync_all())
        .map_err(files)
}
