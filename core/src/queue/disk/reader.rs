//! Reads messages from the file, which another process may write.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redb::{
    DatabaseError, ReadOnlyDatabase, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableError,
};
use tracing::warn;

use super::error::DiskError;
use super::{MESSAGES, NEXT, STATE, builder};
use crate::queue::log::{Fetched, ReadFrom};

/// Bytes of messages that are read at once, about.
const READ_BYTES_MAX: usize = 1 << 20;

/// How soon it is looked again where there was nothing, the first time and at most: latency against
/// a read of the file's head each time.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(2);
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(32);

/// Reads a log, from any offset on.
pub struct DiskReader {
    path: PathBuf,
    file: Option<Arc<ReadOnlyDatabase>>,
    from: ReadFrom,
    ready: VecDeque<Fetched>,
    /// It was told that the file can't be opened yet.
    told: bool,
}

impl DiskReader {
    /// A reader; the file may come later.
    pub fn new(path: PathBuf, from: ReadFrom) -> Self {
        Self {
            path,
            file: None,
            from,
            ready: VecDeque::new(),
            told: false,
        }
    }

    /// The next message; waits for one. Cancelling it loses nothing.
    ///
    /// # Errors
    /// [`DiskError::Failed`].
    pub async fn next(&mut self) -> Result<Fetched, DiskError> {
        let mut pause = LOOK_AGAIN_MIN;
        loop {
            if let Some(fetched) = self.ready.pop_front() {
                self.from = ReadFrom::Offset(fetched.offset.saturating_add(1));
                return Ok(fetched);
            }
            self.read().await?;
            if self.ready.is_empty() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LOOK_AGAIN_MAX);
            }
        }
    }

    /// Reads on from elsewhere.
    pub fn seek(&mut self, from: ReadFrom) {
        self.ready.clear();
        self.from = from;
    }

    async fn read(&mut self) -> Result<(), DiskError> {
        let (path, from, file) = (self.path.clone(), self.from, self.file.clone());
        let read = tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => match open(&path)? {
                    Some(file) => Arc::new(file),
                    None => return Ok(None),
                },
            };
            let read = read_some(&file, from);
            let read = read.map_err(|error| DiskError::failed(&path, "read", error))?;
            Ok(Some((file, read)))
        });
        let read = read
            .await
            .map_err(|error| DiskError::failed(&self.path, "read", error))??;
        match read {
            Some((file, (from, ready))) => {
                self.file = Some(file);
                self.from = from;
                self.ready = ready;
            }
            None if !self.told => {
                warn!(path = %self.path.display(), "waiting for the queue's file: no producer has opened it");
                self.told = true;
            }
            None => {}
        }
        Ok(())
    }
}

/// Opens the file; `None` if it isn't there, or must first be opened by a writer: after a crash, or
/// while it is made.
fn open(path: &Path) -> Result<Option<ReadOnlyDatabase>, DiskError> {
    match builder().open_read_only(path) {
        Ok(file) => Ok(Some(file)),
        Err(DatabaseError::RepairAborted) => Ok(None),
        Err(DatabaseError::Storage(StorageError::Io(error)))
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(DiskError::failed(path, "opened", error)),
    }
}

type Read = (ReadFrom, VecDeque<Fetched>);

/// Messages from there on, and where "there" is if the log ends before it.
fn read_some(file: &ReadOnlyDatabase, from: ReadFrom) -> Result<Read, redb::Error> {
    let read = file.begin_read()?;
    let messages = match read.open_table(MESSAGES) {
        Ok(messages) => messages,
        // The file was made, and nothing in it yet.
        Err(TableError::TableDoesNotExist(_)) => return Ok((from, VecDeque::new())),
        Err(error) => return Err(error.into()),
    };
    let next = read
        .open_table(STATE)?
        .get(NEXT)?
        .map_or(0, |next| next.value());
    let begin = match from {
        ReadFrom::First => 0,
        ReadFrom::Last => messages.last()?.map_or(next, |(offset, _)| offset.value()),
        ReadFrom::Offset(offset) => offset.min(next),
    };
    let mut ready = VecDeque::new();
    let mut bytes = 0;
    for message in messages.range(begin..)? {
        let (offset, message) = message?;
        bytes += message.value().len();
        ready.push_back(Fetched {
            offset: offset.value(),
            bytes: Bytes::copy_from_slice(message.value()),
        });
        if bytes >= READ_BYTES_MAX {
            break;
        }
    }
    let from = match from {
        ReadFrom::Offset(_) => ReadFrom::Offset(begin),
        other => other,
    };
    Ok((from, ready))
}
