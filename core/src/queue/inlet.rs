//! A consumer's end of a log: what counts of it, as the chunks that a pipeline knows.
//!
//! It looks for what is missing by itself, ever further back; what the log no longer has it names
//! once, and reads on, since a producer that learns of it opens the log anew.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use towpath_protocol::gtid::{Gtid, GtidSet};
use tracing::{info, warn};
use uuid::Uuid;

use super::Term;
use super::follow::{FollowError, Follower, Verdict};
use super::join::{JoinError, Joiner};
use super::log::{Fetched, LogError, ReadFrom, Reader};
use super::wire::{Message, WireError};
use crate::batch;

/// What is missing may still come for so long: a producer writes what was refused again, or is
/// followed by another one.
pub const GAP_PATIENCE: Duration = Duration::from_secs(5);

/// Before anything was in sequence it is looked further back as soon as what comes can't be taken.
const FIRST_PATIENCE: Duration = Duration::from_millis(100);

/// So many messages further back it is looked first, then so many times more each time.
const BACK_FIRST: u64 = 4 * super::pack::OPEN_EVERY as u64;
const BACK_FACTOR: u64 = 8;

/// A place in a log at which a reader may begin: an OPEN that was in sequence. To be remembered once
/// all that was received before it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its offset: a hint.
    pub offset: u64,
    /// Its term: lower ones are over.
    pub term: Term,
}

/// What a consumer is given, in order.
#[derive(Clone, Debug)]
pub enum Received {
    /// The next of the source's changes.
    Message(batch::Message),
    /// This transaction, of which parts were given, has no end here: roll it back. It comes again from
    /// its first part.
    RollBack(Gtid),
    /// Nothing is missing as of this place.
    Open(Place),
    /// The log doesn't have these transactions any more. The producer must open it anew.
    Missing(GtidSet),
}

/// Why a consumer's end fails.
#[derive(Debug, thiserror::Error)]
pub enum InletError {
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It holds what is no message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It holds messages that no producer may write.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// It holds pieces that make no event.
    #[error(transparent)]
    Join(#[from] JoinError),
}

/// Reads a log for one sink.
pub struct Inlet<R> {
    reader: R,
    follower: Follower,
    joiner: Joiner,
    ready: VecDeque<Received>,
    patience: Duration,
    /// Where reading began last, and the first offset that was met since.
    from: ReadFrom,
    begun: Option<u64>,
    /// How far back reading begins the next time.
    back: u64,
    /// The offset behind the furthest message that was met.
    reached: u64,
    /// The furthest message that was met, and the one up to which it's read again.
    furthest: Option<(Term, u64)>,
    again_until: Option<(Term, u64)>,
    /// Since when nothing could be taken.
    out_since: Option<Instant>,
    /// What follows the last message in sequence was looked for.
    looked_for_next: bool,
    /// What the last gap was about.
    missing: GtidSet,
    /// It was told that this is missing.
    told: bool,
    /// Something was in sequence.
    has_begun: bool,
}

impl<R: Reader> Inlet<R> {
    /// For a sink that holds `held`; `place` as it was remembered, if it was. Without one it begins at the
    /// log's end and looks ever further back: what is near is found soon, and what is far not much later
    /// than from the first message on.
    pub fn new(mut reader: R, pipeline: Uuid, held: GtidSet, place: Option<Place>) -> Self {
        let from = place.map_or(ReadFrom::Last, |place| ReadFrom::Offset(place.offset));
        reader.seek(from);
        Self {
            reader,
            follower: Follower::new(pipeline, held, place.map(|place| place.term)),
            joiner: Joiner::default(),
            ready: VecDeque::new(),
            patience: GAP_PATIENCE,
            from,
            begun: None,
            back: BACK_FIRST,
            reached: 0,
            furthest: None,
            again_until: None,
            out_since: None,
            looked_for_next: false,
            missing: GtidSet::new(),
            told: false,
            has_begun: false,
        }
    }

    /// All whole transactions that were given, and what the sink had before.
    pub fn held(&self) -> &GtidSet {
        self.follower.held()
    }

    /// Another patience than [`GAP_PATIENCE`].
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What comes next. Cancelling it loses nothing.
    ///
    /// # Errors
    /// What needs an operator.
    pub async fn recv(&mut self) -> Result<Received, InletError> {
        loop {
            if let Some(received) = self.ready.pop_front() {
                return Ok(received);
            }
            let until = self.out_since.map(|since| since + self.patience());
            if until.is_some_and(|until| Instant::now() >= until) {
                self.look_further_back();
                continue;
            }
            let fetched = match until {
                None => self.reader.next().await?,
                Some(until) => match timeout_at(until, self.reader.next()).await {
                    Ok(fetched) => fetched?,
                    Err(_elapsed) => continue,
                },
            };
            self.judge(&fetched)?;
        }
    }

    fn patience(&self) -> Duration {
        // From the first message on, nothing is further back.
        if self.has_begun || self.from == ReadFrom::First {
            self.patience
        } else {
            self.patience.min(FIRST_PATIENCE)
        }
    }

    fn judge(&mut self, fetched: &Fetched) -> Result<(), InletError> {
        self.begun.get_or_insert(fetched.offset);
        self.reached = self.reached.max(fetched.offset.saturating_add(1));
        let message = Message::open(&fetched.bytes)?;
        let (term, at) = (message.term, Some((message.term, message.seq)));
        // Not by the offset, which may be another message's by now.
        let is_behind = at < self.again_until;
        self.furthest = self.furthest.max(at);
        let step = self.follower.follow(message)?;
        if let Some(gtid) = step.roll_back {
            self.roll_back(gtid);
        }
        match step.verdict {
            Verdict::Take(entries) => {
                self.in_sequence();
                for entry in entries {
                    let joined = self.joiner.push(entry)?;
                    self.ready.extend(joined.map(Received::Message));
                }
            }
            Verdict::CaughtUp { position } => {
                self.in_sequence();
                let caught_up = batch::Message::CaughtUp { position };
                self.ready.push_back(Received::Message(caught_up));
            }
            Verdict::InSequence => {
                self.in_sequence();
                let offset = fetched.offset;
                self.ready.push_back(Received::Open(Place { offset, term }));
            }
            Verdict::Gap { missing } => {
                self.missing = missing;
                self.out(is_behind);
            }
            Verdict::OutOfSequence => self.out(is_behind),
            Verdict::Claimed | Verdict::Duplicate | Verdict::Zombie => {}
        }
        Ok(())
    }

    fn in_sequence(&mut self) {
        self.has_begun = true;
        self.out_since = None;
        self.looked_for_next = false;
        self.told = false;
        self.missing = GtidSet::new();
        self.back = BACK_FIRST;
    }

    /// Patience begins anew while what was read already is read again.
    fn out(&mut self, is_behind: bool) {
        if is_behind || self.out_since.is_none() {
            self.out_since = Some(Instant::now());
        }
    }

    fn roll_back(&mut self, gtid: Gtid) {
        self.joiner.reset();
        self.ready.push_back(Received::RollBack(gtid));
    }

    fn look_further_back(&mut self) {
        self.out_since = None;
        self.again_until = self.furthest;
        if self.follower.is_in_sequence() && !self.looked_for_next {
            // Offsets of a lost tail are used again: what comes next may be at one that was read.
            self.looked_for_next = true;
            let offset = self.reached.saturating_sub(BACK_FIRST);
            info!(
                offset,
                "the next message is missing; looking for it a little further back"
            );
            self.reader.seek(ReadFrom::Offset(offset));
            return;
        }
        if self.from == ReadFrom::First {
            // An OPEN says what is missing; until one does, there is nothing to tell.
            if !self.told && !self.missing.is_empty() {
                warn!(missing = %self.missing, "the queue doesn't have these transactions any more");
                self.ready
                    .push_back(Received::Missing(self.missing.clone()));
                self.told = true;
            }
            return;
        }
        self.from = match self.begun.and_then(|begun| begun.checked_sub(self.back)) {
            Some(offset) if offset > 0 => ReadFrom::Offset(offset),
            _ => ReadFrom::First,
        };
        self.back = self.back.saturating_mul(BACK_FACTOR);
        self.begun = None;
        info!(from = ?self.from, "something is missing; reading the queue from further back");
        if let Some(gtid) = self.follower.restart() {
            self.roll_back(gtid);
        }
        self.reader.seek(self.from);
    }
}
