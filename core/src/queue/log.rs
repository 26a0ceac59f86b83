//! What any log can do for a writer and a reader, and how a producer finds its end.
//!
//! A log may return a message under an offset that another one had before; whoever reads it judges
//! by the messages, with [`super::follow`].

use std::future::Future;

use bytes::Bytes;
use uuid::Uuid;

use super::Term;
use super::disk::{DiskError, DiskReader, DiskWriter};
use super::follow::{Ending, FollowError, Resume, Tail};
use super::pack::Sealed;
use super::rabbitmq::{Publisher, RabbitError, Subscriber};
use super::wire::{Message, WireError};

/// So many messages before the end of the log is looked first: more than lie between two OPENs,
/// unless a transaction is large.
const BACK_FIRST: u64 = 4 * super::pack::OPEN_EVERY as u64;

/// Then so many times further back each time.
const BACK_FACTOR: u64 = 8;

/// Where to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// The oldest message that is kept.
    First,
    /// Near the last one; at it or some before.
    Last,
    /// This offset, or the oldest one that is kept if that is newer; if the log ends before it, what
    /// comes next.
    Offset(u64),
}

/// A message as it is in the log.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its offset: a hint.
    pub offset: u64,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What can't be mended by trying again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// RabbitMQ.
    #[error(transparent)]
    RabbitMq(#[from] RabbitError),
    /// A file.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Writes a log.
pub trait Writer: Send {
    /// Writes a message behind the ones before, and waits while too much is unconfirmed. Cancelled, it
    /// may be written later, or never: give up the term then.
    ///
    /// # Errors
    /// What needs an operator; everything else is tried again until it succeeds.
    fn publish(&mut self, sealed: Sealed) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Waits until everything is confirmed.
    ///
    /// # Errors
    /// As [`Writer::publish`].
    fn settle(&mut self) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// Reads a log.
pub trait Reader: Send {
    /// The next message; waits for one. Cancelling it loses nothing.
    ///
    /// # Errors
    /// What needs an operator; everything else is tried again until it succeeds.
    fn next(&mut self) -> impl Future<Output = Result<Fetched, LogError>> + Send;

    /// Reads on from elsewhere.
    fn seek(&mut self, from: ReadFrom);
}

impl Writer for Publisher {
    async fn publish(&mut self, sealed: Sealed) -> Result<(), LogError> {
        Ok(self.publish(sealed).await?)
    }

    async fn settle(&mut self) -> Result<(), LogError> {
        Ok(self.settle().await?)
    }
}

impl Writer for DiskWriter {
    async fn publish(&mut self, sealed: Sealed) -> Result<(), LogError> {
        Ok(self.publish(sealed).await?)
    }

    async fn settle(&mut self) -> Result<(), LogError> {
        Ok(self.settle().await?)
    }
}

impl Reader for Subscriber {
    async fn next(&mut self) -> Result<Fetched, LogError> {
        Ok(self.next().await?)
    }

    fn seek(&mut self, from: ReadFrom) {
        self.seek(from);
    }
}

impl Reader for DiskReader {
    async fn next(&mut self) -> Result<Fetched, LogError> {
        Ok(self.next().await?)
    }

    fn seek(&mut self, from: ReadFrom) {
        self.seek(from);
    }
}

/// Why the end of a log can't be found.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// Another producer has a higher term.
    #[error("another producer writes this queue, under term {higher}; ours is {ours}")]
    Superseded {
        /// Its term.
        higher: Term,
        /// Ours.
        ours: Term,
    },
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It holds what is no message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It holds messages that no producer may write.
    #[error(transparent)]
    Follow(#[from] FollowError),
}

/// Where a producer whose CLAIM of `ours` is in the log resumes; `None` if the log doesn't say, so
/// that the sinks must.
///
/// # Errors
/// [`TailError`].
pub async fn find_tail<R: Reader>(
    reader: &mut R,
    pipeline: Uuid,
    ours: Term,
) -> Result<Option<Resume>, TailError> {
    let mut from = ReadFrom::Last;
    let mut back = BACK_FIRST;
    loop {
        reader.seek(from);
        let mut tail = Tail::new(pipeline);
        let mut begun = None;
        let resume = loop {
            let fetched = reader.next().await?;
            begun.get_or_insert(fetched.offset);
            match tail.follow(Message::open(&fetched.bytes)?, ours)? {
                Ending::More => {}
                Ending::Ours(resume) => break resume,
                Ending::Superseded(higher) => return Err(TailError::Superseded { higher, ours }),
            }
        };
        if resume.is_some() || from == ReadFrom::First {
            return Ok(resume);
        }
        from = match begun.and_then(|begun| begun.checked_sub(back)) {
            Some(offset) if offset > 0 => ReadFrom::Offset(offset),
            _ => ReadFrom::First,
        };
        back = back.saturating_mul(BACK_FACTOR);
    }
}
