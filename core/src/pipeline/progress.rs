//! What a pipeline has done so far, for people to watch. Never read to resume from.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use towpath_protocol::gtid::GtidSet;
use towpath_protocol::position::BinlogPosition;

use crate::commit::takeover::Held;

/// Counters and the present place.
#[derive(Debug, Default)]
pub struct Progress {
    transactions: AtomicU64,
    rows: AtomicU64,
    commits: AtomicU64,
    queued_bytes: AtomicU64,
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
        place.gtids = gtids.clone();
        if held.position.is_some() {
            place.position = held.position.clone();
        }
    }

    pub(super) fn disconnected(&self) {
        let mut place = self.place();
        place.connected = false;
        place.caught_up = false;
    }

    pub(super) fn queued(&self, bytes: u64) {
        self.queued_bytes.store(bytes, Ordering::Relaxed);
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
    ) {
        self.transactions.fetch_add(transactions, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        let mut place = self.place();
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

    /// A view of now.
    pub fn view(&self) -> View {
        let place = self.place();
        let now_us = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
            });
        View {
            connected: place.connected,
            transactions: self.transactions.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            queued_bytes: self.queued_bytes.load(Ordering::Relaxed),
            position: place.position.clone(),
            gtids: place.gtids.clone(),
            lag_us: if place.caught_up {
                Some(0)
            } else {
                place.commit_time_us.map(|us| now_us.saturating_sub(us))
            },
        }
    }
}
