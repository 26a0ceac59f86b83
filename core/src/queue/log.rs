//! What any log can do for a reader, and how a producer finds its end.
//!
//! A log may return a message under an offset that another one had before; whoever reads it judges
//! by the messages, with [`super::follow`].

use std::future::Future;

use bytes::Bytes;
use uuid::Uuid;

use super::Term;
use super::follow::{Ending, FollowError, Resume, Tail};
use super::wire::{Message, WireError};

/// So many messages before the end of the log is looked first: more than lie between two OPENs,
/// unless a transaction is large.
const BACK_FIRST: u64 = 4 * super::pack::OPEN_EVERY as u64;

/// Then so many times further back each time.
const BACK_FACTOR: u64 = 8;

/// Where to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
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

/// Reads a log.
pub trait Reader: Send {
    /// What can't be mended by trying again.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The next message; waits for one. Cancelling it loses nothing.
    ///
    /// # Errors
    /// What needs an operator; everything else is tried again until it succeeds.
    fn next(&mut self) -> impl Future<Output = Result<Fetched, Self::Error>> + Send;

    /// Reads on from elsewhere.
    fn seek(&mut self, from: From);
}

/// Why the end of a log can't be found.
#[derive(Debug, thiserror::Error)]
pub enum TailError<E: std::error::Error + 'static> {
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
    Log(E),
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
) -> Result<Option<Resume>, TailError<R::Error>> {
    let mut from = From::Last;
    let mut back = BACK_FIRST;
    loop {
        reader.seek(from);
        let mut tail = Tail::new(pipeline);
        let mut begun = None;
        let resume = loop {
            let fetched = reader.next().await.map_err(TailError::Log)?;
            begun.get_or_insert(fetched.offset);
            match tail.follow(Message::open(&fetched.bytes)?, ours)? {
                Ending::More => {}
                Ending::Ours(resume) => break resume,
                Ending::Superseded(higher) => return Err(TailError::Superseded { higher, ours }),
            }
        };
        if resume.is_some() || from == From::First {
            return Ok(resume);
        }
        from = match begun.and_then(|begun| begun.checked_sub(back)) {
            Some(offset) if offset > 0 => From::Offset(offset),
            _ => From::First,
        };
        back = back.saturating_mul(BACK_FACTOR);
    }
}
