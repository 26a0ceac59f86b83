//! What a pipeline has done so far, for people to watch. Never read to resume from.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use towpath_protocol::epoch::{Epoch, Generation};
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::position::BinlogPosition;

use super::PipelineError;
use super::begin::short_set;
use crate::commit::copies::CopyState;
use crate::commit::takeover::Held;
use crate::queue::inlet::Place as QueuePlace;
use crate::source::SourceError;

/// Counters and the present place.
#[derive(Debug, Default)]
pub struct Progress {
    transactions: AtomicU64,
    rows: AtomicU64,
    commits: AtomicU64,
    queued_bytes: AtomicU64,
    read_bytes: AtomicU64,
    place: Mutex<Place>,
}

#[derive(Debug, Default)]
struct Place {
    connected: bool,
    position: Option<BinlogPosition>,
    gtids: GtidSet,
    commit_time_us: Option<u64>,
    /// Nothing is queued or in flight, and the source said that it has nothing newer.
    caught_up: bool,
    generation: Generation,
    epoch: Epoch,
    commit_seq: u64,
    waiting: bool,
    trouble: Option<String>,
    source_trouble: Option<String>,
    copies: Vec<CopyView>,
    /// Where reading the queue may begin.
    queue_place: Option<QueuePlace>,
    /// What the queue doesn't have and the sink needs.
    missing: Option<GtidSet>,
    queue_trouble: Option<String>,
}

/// How far a table's copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyView {
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// Its state.
    pub state: CopyState,
    /// Rows that were copied.
    pub rows: u64,
    /// Rows that the table had when its copy began, as the source guesses; `None` before that.
    pub rows_estimated: Option<u64>,
    /// Since this process copies it; 0 if it doesn't now.
    pub rows_per_second: u64,
    /// Until the last row, by estimate and speed.
    pub left: Option<Duration>,
}

/// A moment's view.
#[derive(Clone, Debug)]
pub struct View {
    /// Whether source and sink are connected.
    pub connected: bool,
    /// Source transactions committed to the sink since this process began.
    pub transactions: u64,
    /// Row changes in them.
    pub rows: u64,
    /// Commits at the sink.
    pub commits: u64,
    /// Bytes in the queue.
    pub queued_bytes: u64,
    /// The source's position after what the sink holds.
    pub position: Option<BinlogPosition>,
    /// What the sink holds.
    pub gtids: GtidSet,
    /// Age of the newest transaction that the sink holds, microseconds; 0 when it holds all.
    pub lag_us: Option<u64>,
    /// Bytes of events read from the source and taken, since this process began.
    pub read_bytes: u64,
    /// Under which generation the sink was taken over last.
    pub generation: Generation,
    /// Under which epoch.
    pub epoch: Epoch,
    /// Commits of the sink, of all owners.
    pub commit_seq: u64,
    /// A DDL statement waits until the directory confirms that this process still leads.
    pub waiting: bool,
    /// Why nothing moves, if so: the last epoch ended and the next one has not begun, or the source
    /// is lost.
    pub trouble: Option<String>,
    /// How far the copy of each table is, of those that were ever to be copied.
    pub copies: Vec<CopyView>,
    /// Where reading the queue may begin, for whoever holds what the sink holds: a hint.
    pub queue_place: Option<QueuePlace>,
    /// What the queue doesn't have and the sink needs.
    pub missing: Option<GtidSet>,
    /// Why the queue doesn't move, if so.
    pub queue_trouble: Option<String>,
}

impl Place {
    fn lag_us(&self) -> Option<u64> {
        if self.caught_up {
            return Some(0);
        }
        let now_us = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
            });
        self.commit_time_us.map(|us| now_us.saturating_sub(us))
    }
}

impl Progress {
    /// Nothing done yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Place> {
        // A panic elsewhere does not make counters wrong.
        self.place
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn connected(&self, held: &Held, gtids: &GtidSet) {
        let mut place = self.place();
        place.connected = true;
        place.trouble = None;
        place.source_trouble = None;
        (place.generation, place.epoch) = (held.generation, held.epoch);
        place.commit_seq = held.commit_seq;
        place.gtids = gtids.clone();
        if held.position.is_some() {
            place.position = held.position.clone();
        }
    }

    pub(super) fn disconnected(&self, why: Option<&PipelineError>) {
        let mut place = self.place();
        place.connected = false;
        place.waiting = false;
        place.trouble = why.map(|error| format!("{}: {error}", error.code()));
        place.caught_up = false;
    }

    /// The source doesn't answer; `None`: it does again.
    pub(super) fn source_lost(&self, why: Option<&SourceError>) {
        self.place().source_trouble = why.map(|error| format!("{}: {error}", error.code()));
    }

    /// A producer has opened the queue, behind `gtids`.
    pub(super) fn producing(&self, generation: Generation, epoch: Epoch, gtids: &GtidSet) {
        let mut place = self.place();
        place.connected = true;
        place.trouble = None;
        place.source_trouble = None;
        place.waiting = false;
        (place.generation, place.epoch) = (generation, epoch);
        place.gtids = gtids.clone();
    }

    /// Reading the queue may begin here.
    pub(super) fn opened(&self, at: QueuePlace) {
        self.place().queue_place = Some(at);
    }

    /// What the queue doesn't have and the sink needs; `None`: nothing, any more.
    pub(super) fn missing(&self, missing: Option<GtidSet>) {
        self.place().missing = missing;
    }

    /// Why the queue doesn't move; `None`: it does.
    pub(super) fn queue_lost(&self, why: Option<String>) {
        self.place().queue_trouble = why;
    }

    /// Nothing can begin yet, and why.
    pub(super) fn awaits(&self, what: &str) {
        self.place().trouble = Some(what.to_owned());
    }

    pub(super) fn queued(&self, bytes: u64) {
        self.queued_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self, waiting: bool) {
        self.place().waiting = waiting;
    }

    /// Rows of a source transaction that is not complete yet.
    pub(super) fn applied(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn committed(
        &self,
        transactions: u64,
        rows: u64,
        gtids: &GtidSet,
        position: Option<&BinlogPosition>,
        commit_time_us: Option<u64>,
        commit_seq: u64,
    ) {
        self.transactions.fetch_add(transactions, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        let mut place = self.place();
        place.commit_seq = commit_seq;
        place.gtids.add_set(gtids);
        if let Some(position) = position {
            place.position = Some(position.clone());
        }
        if commit_time_us.is_some() {
            place.commit_time_us = commit_time_us;
        }
    }

    pub(super) fn caught_up(&self, caught_up: bool) {
        self.place().caught_up = caught_up;
    }

    pub(super) fn copies(&self, copies: Vec<CopyView>) {
        self.place().copies = copies;
    }

    /// Age of the newest transaction that the sink holds, microseconds; 0 when it holds all.
    pub(super) fn lag_us(&self) -> Option<u64> {
        self.place().lag_us()
    }

    /// Row changes that were committed since this process began.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// A view of now.
    pub fn view(&self) -> View {
        let place = self.place();
        View {
            connected: place.connected,
            transactions: self.transactions.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            queued_bytes: self.queued_bytes.load(Ordering::Relaxed),
            position: place.position.clone(),
            gtids: place.gtids.clone(),
            lag_us: place.lag_us(),
            copies: place.copies.clone(),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            generation: place.generation,
            epoch: place.epoch,
            commit_seq: place.commit_seq,
            waiting: place.waiting,
            queue_place: place.queue_place,
            missing: place.missing.clone(),
            trouble: place
                .trouble
                .as_ref()
                .or(place.source_trouble.as_ref())
                .cloned(),
            queue_trouble: place.queue_trouble.clone().or_else(|| {
                let missing = place.missing.as_ref()?;
                Some(format!(
                    "the queue doesn't have {} any more; the producer is to read it again",
                    short_set(missing)
                ))
            }),
        }
    }
}
