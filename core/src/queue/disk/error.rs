//! What can go wrong with the file.

use std::path::{Path, PathBuf};

/// A failure of a log on a disk.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DiskError {
    /// Another process writes it.
    #[error(
        "another process has the queue {path} open to write; one pipeline's producer runs once: end the other one, \
         or give this pipeline a queue of its own"
    )]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// It can't be opened, written or read.
    #[error(
        "the queue {path} can't be {action}: {cause}; if its disk is full, make room; if the file is damaged, remove \
         it: all sinks are then filled from the source's binlog"
    )]
    Failed {
        /// The file.
        path: PathBuf,
        /// `opened`, `written` or `read`.
        action: &'static str,
        /// What the store says.
        cause: String,
    },
}

impl DiskError {
    pub(in crate::queue) fn failed(
        path: &Path,
        action: &'static str,
        cause: impl ToString,
    ) -> Self {
        Self::Failed {
            path: path.to_owned(),
            action,
            cause: cause.to_string(),
        }
    }
}
