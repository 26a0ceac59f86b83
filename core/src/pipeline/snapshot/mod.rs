//! Copies existing rows while the stream goes on.
//!
//! ```text
//! source ─ reader per table ─ parts ─┐
//!                                    gate ─ lane ─ sink: rows and how far the copy is, in one commit
//! source ─ stream ───────────────────┘
//! ```
//!
//! Invariants:
//! - A chunk is written only while the stream has taken in nothing that the chunk may not have seen
//!   ([`gate`]). From then on the stream replays, idempotently and by key (`apply::idempotent`), so that each
//!   row ends in the source's state.
//! - A chunk is written to a table that is defined as the one that was read, or else when the stream has run
//!   every statement that came before the read, and no other.
//! - A chunk replaces all rows of its range, and the begin of a copy removes all rows behind it: what the
//!   sink had there is gone. (Not where the sink has columns of its own, or sorts its keys in another way, and not
//!   under a condition: then no row is removed.)
//! - A table without a key is written as of one moment, at which the stream rests until all is there
//!   ([`keyless`]): it is strict at once.
//! - A table's rows are applied strictly again once the stream has passed what the source had executed after
//!   the last chunk was read.
//! - Memory: two chunks per reader, and one that is written.
//!
//! Keys are compared by MySQL alone. What is stored is `commit::copies`; no other place is read to
//! resume.

mod begin;
mod error;
mod gate;
mod pace;
mod reader;
mod keyless;
mod schema_change;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Error;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use towpath_protocol::gtid::{Gtid, GtidSet};
use towpath_protocol::spec::{LimitsSpec, PipelineSpec, SnapshotMode, TableFilter};
use tracing::{info, warn};

pub(super) use begin::begin;
pub(crate) use begin::{KEYLESS_ADVICE, cascading, hindrance, logs_cascades};
pub use error::CopyError;
pub(super) use gate::Gate;
use gate::Ticket;
pub(crate) use keyless::is_allowed as is_allowed_keyless;
use reader::{Part, Reader, Rows, Said, Shared};

use super::PipelineError;
use super::error::Course;
use super::pace::Pace;
use super::progress::{CopyView, Progress};
use crate::apply::History;
use crate::apply::target::{TargetTable, forbid_the_same, own_unique};
use crate::commit::SinkError;
use crate::commit::copies::{CopyState, TableCopy};
use crate::commit::session::Session;
use crate::scan::{KeyRange, ScanTable, upserts};
use crate::task::OwnedTask;

/// Progress is told no more often: there may be thousands of tables.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Before a reader that was lost begins again.
const LOST_PAUSE: Duration = Duration::from_secs(1);

/// Before a lock that wasn't had is asked for again, at most.
const LOCK_PAUSE_MAX: Duration = Duration::from_secs(60);

/// A reader at work.
struct Running {
    id: u64,
    table: usize,
    _task: OwnedTask<()>,
    write_ns: Arc<AtomicU64>,
    began: Instant,
    /// Rows that were copied before it began.
    rows_before: u64,
}

/// What waits for its turn to be written, in the order in which each reader said it.
enum Item {
    Part(Box<Part>),
    End { executed: GtidSet, exact: bool },
    Gone(GtidSet),
}

/// A part that the lane writes now.
struct Writing {
    reader: u64,
    ticket: Ticket,
    rows: u64,
    began: Instant,
    keeps_gate: bool,
    _permit: OwnedSemaphorePermit,
}

/// A part in the form in which it is written.
pub(super) struct Write {
    pub(super) statements: Vec<Vec<u8>>,
    /// How far the copies are with it.
    pub(super) copies: Vec<TableCopy>,
    /// Database and table, for messages.
    pub(super) table: String,
}

/// The copies of a pipeline and sink.
pub(super) struct Copies {
    /// Sorted by database and table.
    tables: Vec<TableCopy>,
    /// How many aren't done.
    relaxed: usize,
    /// Those that only wait for the stream.
    settling: Vec<usize>,
    shared: Arc<Shared>,
    running: Vec<Running>,
    last_reader: u64,
    /// Tables whose reader was lost: the pause before the next one.
    lost: HashMap<usize, Duration>,
    /// Tables that couldn't be locked: the next pause.
    lock_pauses: HashMap<usize, Duration>,
    /// Whether a table may be without its reader.
    to_start: bool,
    says: mpsc::UnboundedSender<(u64, Said)>,
    said: mpsc::UnboundedReceiver<(u64, Said)>,
    items: VecDeque<(u64, Item)>,
    writing: Option<Writing>,
    /// What the stream may take in.
    pub(super) gate: Gate,
    /// The sink's definitions.
    targets: HashMap<usize, Arc<TargetTable>>,
    /// Whether the pipeline ends when all is copied.
    ends: bool,
    told: Instant,
    /// States to be stored: of tables that the pipeline no longer takes.
    left_out: Vec<TableCopy>,
}

impl Copies {
    /// The copies of a sink that holds `gtids`.
    pub(super) fn new(
        spec: &PipelineSpec,
        tables: Vec<TableCopy>,
        gtids: GtidSet,
        progress: Arc<Progress>,
    ) -> Self {
        let (mut tables, left_out) = leave_out(tables, &spec.source.tables);
        let name = |copy: &TableCopy| (copy.database.clone(), copy.table.clone());
        tables.sort_by_key(name);
        let limits = LimitsSpec {
            rows_per_second_max: spec.snapshot.rows_per_second_max,
            ..LimitsSpec::default()
        };
        // Nobody changes it.
        let (_, limits) = watch::channel(limits);
        let (says, said) = mpsc::unbounded_channel();
        let mut copies = Self {
            relaxed: 0,
            settling: Vec::new(),
            tables,
            shared: Arc::new(Shared {
                endpoint: spec.source.endpoint.clone(),
                settings: spec.snapshot.clone(),
                pace: tokio::sync::Mutex::new(Pace::new(limits, |limits| {
                    limits.rows_per_second_max
                })),
                progress,
            }),
            running: Vec::new(),
            last_reader: 0,
            lost: HashMap::new(),
            lock_pauses: HashMap::new(),
            to_start: true,
            says,
            said,
            items: VecDeque::new(),
            writing: None,
            gate: Gate::new(gtids),
            targets: HashMap::new(),
            ends: spec.source.snapshot == SnapshotMode::Only,
            told: Instant::now(),
            left_out,
        };
        copies.count();
        copies.tell();
        copies
    }

    /// The states of tables that the pipeline no longer takes, to be stored with the first commit.
    pub(super) fn left_out(&mut self) -> Vec<TableCopy> {
        std::mem::take(&mut self.left_out)
    }

    /// Counts anew after states changed.
    fn count(&mut self) {
        self.relaxed = self.tables.iter().filter(|copy| copy.is_relaxed()).count();
        let is_settling =
            |(at, copy): (usize, &TableCopy)| (copy.state == CopyState::Settling).then_some(at);
        self.settling = self
            .tables
            .iter()
            .enumerate()
            .filter_map(is_settling)
            .collect();
    }

    fn find(&self, database: &str, table: &str) -> Result<usize, usize> {
        self.tables.binary_search_by(|copy| {
            (copy.database.as_str(), copy.table.as_str()).cmp(&(database, table))
        })
    }

    /// What a table is known to hold when a change of it comes.
    pub(super) fn history(&self, database: &str, table: &str) -> History {
        if self.relaxed == 0 {
            return History::Strict;
        }
        let found = self.find(database, table).ok();
        match found.and_then(|at| self.tables.get(at)) {
            Some(copy) if copy.is_relaxed() => History::Relaxed,
            _ => History::Strict,
        }
    }

    /// Whether the pipeline is to end: all is copied and committed, and it was for that.
    pub(super) fn ends_now(&self) -> bool {
        self.ends && self.relaxed == 0
    }

    /// Starts readers for tables that have none, as many as may run.
    pub(super) fn start_readers(&mut self) {
        if !self.to_start {
            return;
        }
        let free =
            usize::from(self.shared.settings.tables_at_once).saturating_sub(self.running.len());
        let is_free = |at: &usize| self.running.iter().all(|running| running.table != *at);
        let wanting = |at: &usize| {
            self.tables
                .get(*at)
                .is_some_and(|copy| matches!(copy.state, CopyState::Waiting | CopyState::Copying))
        };
        // What was begun first.
        let mut next: Vec<usize> = (0..self.tables.len())
            .filter(wanting)
            .filter(is_free)
            .collect();
        next.sort_by_key(|at| {
            let state = self.tables.get(*at).map(|copy| copy.state);
            state == Some(CopyState::Waiting)
        });
        for at in next.into_iter().take(free) {
            self.start_reader(at);
        }
        self.to_start = false;
    }

    fn start_reader(&mut self, at: usize) {
        let Some(copy) = self.tables.get(at).cloned() else {
            return;
        };
        self.last_reader += 1;
        let write_ns = Arc::new(AtomicU64::new(0));
        let rows_before = copy.rows_copied;
        let reader = Reader {
            id: self.last_reader,
            shared: Arc::clone(&self.shared),
            copy,
            says: self.says.clone(),
            write_ns: Arc::clone(&write_ns),
            pause: self.lost.remove(&at).unwrap_or_default(),
        };
        self.running.push(Running {
            id: reader.id,
            table: at,
            write_ns,
            began: Instant::now(),
            rows_before,
            _task: OwnedTask::spawn(reader.run()),
        });
    }

    fn running(&self, reader: u64) -> Option<&Running> {
        self.running.iter().find(|running| running.id == reader)
    }

    /// Ends a reader, and forgets what it read and isn't written now.
    fn end_reader(&mut self, reader: u64) {
        self.running.retain(|running| running.id != reader);
        self.items.retain(|(of, _)| *of != reader);
        let kept: Vec<Ticket> = self.writing.iter().map(|writing| writing.ticket).collect();
        self.gate.release_reader(reader, &kept);
        self.to_start = true;
    }

    fn end_reader_of(&mut self, at: usize) {
        let reader = self.running.iter().find(|running| running.table == at);
        if let Some(reader) = reader.map(|running| running.id) {
            self.end_reader(reader);
        }
    }

    /// Hears the readers. Cancelling it loses nothing.
    ///
    /// # Errors
    /// A reader's, if trying again doesn't help.
    pub(super) async fn hear(&mut self) -> Result<Option<TableCopy>, PipelineError> {
        let Some((reader, said)) = self.said.recv().await else {
            // Not as long as `says` lives.
            return std::future::pending().await;
        };
        let Some(at) = self.running(reader).map(|running| running.table) else {
            return Ok(None);
        };
        match said {
            Said::Hold(answer) => {
                let (ticket, taken) = self.gate.hold(reader);
                if answer.send((ticket, taken)).is_err() {
                    self.gate.release(ticket);
                }
            }
            Said::LowWater(ticket, set) => self.gate.low_water(ticket, set),
            Said::Part(part) => self.items.push_back((reader, Item::Part(Box::new(part)))),
            Said::End { executed, exact } => {
                self.items
                    .push_back((reader, Item::End { executed, exact }));
            }
            Said::Gone { executed } => {
                // It may hold the gate for a look that found nothing.
                self.give_up_looks(reader);
                self.items.push_back((reader, Item::Gone(executed)));
            }
            Said::OtherKey => {
                info!(
                    table = self.name(at),
                    "the table's key has changed; it is copied anew"
                );
                return Ok(self.anew(at));
            }
            Said::Failed(error) => {
                self.end_reader(reader);
                if error.course() == Course::End {
                    return Err(error);
                }
                let mut pause = LOST_PAUSE;
                if matches!(&error, PipelineError::Copy(copy) if matches!(**copy, CopyError::Lock { .. }))
                {
                    // The stream is held while a lock is waited for.
                    pause = self.lock_pauses.get(&at).copied().unwrap_or(LOST_PAUSE);
                    self.lock_pauses.insert(at, (pause * 2).min(LOCK_PAUSE_MAX));
                }
                warn!(
                    table = self.name(at), code = %error.code(), %error, pause_s = pause.as_secs(),
                    "the copy of a table was interrupted; it goes on after a pause"
                );
                self.lost.insert(at, pause);
            }
        }
        Ok(None)
    }

    /// Ends a reader that read a state of the source to which the stream never comes: the next one reads another.
    fn give_up(&mut self, reader: u64, at: usize) {
        warn!(
            table = self.name(at),
            "the source shows transactions in another order than it logs them; what was read of a table is read \
             again after a pause"
        );
        self.end_reader(reader);
        self.lost.insert(at, LOST_PAUSE);
    }

    /// Gives up the gate where a reader has it for nothing that is in `items` or being written.
    fn give_up_looks(&mut self, reader: u64) {
        let mut kept: Vec<Ticket> = self
            .items
            .iter()
            .filter_map(|(_, item)| match item {
                Item::Part(part) => Some(part.ticket),
                Item::End { .. } | Item::Gone(_) => None,
            })
            .collect();
        kept.extend(self.writing.as_ref().map(|writing| writing.ticket));
        self.gate.release_reader(reader, &kept);
    }

    /// Begins a table's copy anew; answers its state.
    fn anew(&mut self, at: usize) -> Option<TableCopy> {
        self.end_reader_of(at);
        let copy = self.tables.get_mut(at)?;
        // That of a copy which is over was for that one.
        let condition = copy.condition.take().filter(|_| copy.is_relaxed());
        *copy = TableCopy {
            condition,
            ..TableCopy::waiting(&copy.database, &copy.table)
        };
        let copy = copy.clone();
        self.to_start = true;
        self.count();
        Some(copy)
    }

    /// Ends a table's copy, since there is no such table any more; answers its state.
    fn over(&mut self, at: usize) -> Option<TableCopy> {
        self.end_reader_of(at);
        let copy = self.tables.get_mut(at)?;
        copy.state = CopyState::Done;
        copy.settles_at = None;
        let copy = copy.clone();
        self.count();
        Some(copy)
    }

    /// Whether there may be something to write.
    pub(super) fn may_write(&self) -> bool {
        !self.items.is_empty() && self.writing.is_none()
    }

    /// The next part that can be written, or states that have changed without rows; `None` if all must wait.
    /// `session` reads the sink's definitions; `is_drained`: all that was taken in is committed; `next` is the
    /// transaction that the stream goes on with, if it is known.
    pub(super) async fn next_write(
        &mut self,
        session: &mut Session,
        is_drained: bool,
        next: Option<&Gtid>,
    ) -> Result<Option<Write>, PipelineError> {
        let mut states = Vec::new();
        let mut blocked: Vec<u64> = Vec::new();
        let mut n = 0;
        while let Some((reader, item)) = self.items.get(n) {
            let reader = *reader;
            let Some(at) = self.running(reader).map(|running| running.table) else {
                self.items.remove(n);
                continue;
            };
            if blocked.contains(&reader) {
                n += 1;
                continue;
            }
            match item {
                Item::End { executed, exact } => {
                    let (executed, exact) = (executed.clone(), *exact);
                    states.extend(self.read_all(at, executed, exact));
                    self.end_reader(reader);
                }
                Item::Gone(executed) if self.gate.has_passed(executed) => {
                    warn!(
                        table = self.name(at),
                        "the source has no such table any more; its copy is over"
                    );
                    states.extend(self.over(at));
                }
                Item::Gone(_) => {
                    blocked.push(reader);
                    n += 1;
                }
                Item::Part(part) => {
                    let ticket = part.ticket;
                    let is_level = self.gate.is_level(ticket);
                    let source = Arc::clone(&part.table);
                    let mut must_wait = !(source.has_key() || (is_level && is_drained));
                    let mut target = None;
                    if !must_wait {
                        target = self.target(at, session).await?;
                        must_wait =
                            !is_level && target.as_deref().is_none_or(|t| !are_alike(&source, t));
                    }
                    if must_wait {
                        if next.is_some_and(|next| self.gate.is_out_of_reach(ticket, next)) {
                            self.give_up(reader, at);
                        } else {
                            blocked.push(reader);
                            n += 1;
                        }
                        continue;
                    }
                    let Some(target) = target else {
                        return Err(CopyError::NoTable {
                            tables: self.name(at),
                        }
                        .into());
                    };
                    if source.definition().key.is_empty() && !target.key.is_empty() {
                        return Err(CopyError::SinkHasKey {
                            table: self.name(at),
                        }
                        .into());
                    }
                    if source.has_key() && !target.is_unique_by(&source.key_columns()) {
                        return Err(CopyError::Keyless {
                            tables: format!("{} on the sink", self.name(at)),
                            next: "give the sink's table the source's key",
                        }
                        .into());
                    }
                    let theirs = &source.definition().unique_indexes;
                    if let Some(own) = own_unique(theirs, &target.unique_indexes) {
                        return Err(CopyError::SinkUnique {
                            table: self.name(at),
                            index: own.name.clone(),
                        }
                        .into());
                    }
                    let Some((_, Item::Part(part))) = self.items.remove(n) else {
                        continue;
                    };
                    let mut write = self.write(reader, at, *part, &target)?;
                    write.copies.splice(..0, states);
                    return Ok(Some(write));
                }
            }
        }
        if states.is_empty() {
            return Ok(None);
        }
        Ok(Some(Write {
            statements: Vec::new(),
            copies: states,
            table: String::new(),
        }))
    }

    /// All of a table is written: it settles, unless it is exactly what the stream goes on from.
    fn read_all(&mut self, at: usize, executed: GtidSet, exact: bool) -> Option<TableCopy> {
        let copy = self.tables.get_mut(at)?;
        copy.state = if exact {
            CopyState::Done
        } else {
            CopyState::Settling
        };
        copy.settles_at = (!exact).then_some(executed);
        let copy = copy.clone();
        info!(
            table = self.name(at),
            rows = copy.rows_copied,
            state = copy.state.word(),
            "all rows of a table are copied"
        );
        self.count();
        if exact {
            self.tell();
        }
        Some(copy)
    }

    fn write(
        &mut self,
        reader: u64,
        at: usize,
        part: Part,
        target: &TargetTable,
    ) -> Result<Write, PipelineError> {
        let json =
            |key: Option<&crate::scan::Key>| key.and_then(|key| serde_json::to_string(key).ok());
        let name = self.name(at);
        let has_key = part.table.has_key();
        let Some(copy) = self.tables.get_mut(at) else {
            return Err(PipelineError::QueueClosed);
        };
        let mut statements = Vec::new();
        let mut rows = 0;
        let replaced = match &part.rows {
            Rows::Begin { until, key_columns } => {
                copy.state = CopyState::Copying;
                copy.key_columns = Some(key_columns.clone());
                copy.until_key = json(until.as_ref());
                copy.after_key = None;
                copy.rows_copied = 0;
                copy.rows_estimated = part.table.rows_estimate();
                info!(
                    table = name,
                    rows_estimated = copy.rows_estimated,
                    "copying a table"
                );
                Some(KeyRange {
                    after: until.clone(),
                    until: None,
                })
            }
            Rows::Chunk { range, chunk } => {
                statements = upserts(chunk, &part.table, target).map_err(CopyError::Scan)?;
                rows = chunk.rows;
                copy.after_key = json(range.until.as_ref());
                copy.rows_copied += rows;
                has_key.then(|| range.clone())
            }
        };
        // Without a key, what is left of a copy that was begun before would be there twice. Under a condition, a
        // row that meets it here may be one that doesn't at the source, and wouldn't come again.
        let is_replaced = !has_key
            || (copy.condition.is_none()
                && !has_own_columns(&part.table, target)
                && sorts_alike(&part.table, target));
        if let Some(replaced) = replaced
            && is_replaced
        {
            let delete = format!(
                "DELETE FROM {} WHERE {}",
                target.quoted(),
                replaced.predicate(&part.table)
            );
            statements.insert(0, delete.into_bytes());
        }
        let copies = vec![copy.clone()];
        self.writing = Some(Writing {
            reader,
            ticket: part.ticket,
            rows,
            began: Instant::now(),
            keeps_gate: part.keeps_gate,
            _permit: part.permit,
        });
        Ok(Write {
            statements,
            copies,
            table: name,
        })
    }

    /// The lane has committed what it wrote last.
    pub(super) fn written(&mut self) {
        let Some(writing) = self.writing.take() else {
            return;
        };
        if !writing.keeps_gate {
            self.gate.release(writing.ticket);
        }
        if let Some(running) = self.running(writing.reader)
            && let Some(ns) = writing
                .began
                .elapsed()
                .as_nanos()
                .checked_div(writing.rows.into())
        {
            let ns = u64::try_from(ns).unwrap_or(u64::MAX);
            running.write_ns.store(ns, Ordering::Relaxed);
        }
        if self.told.elapsed() >= TELL_EVERY {
            self.tell();
        }
    }

    /// Whether a table is strict with all that was taken in.
    pub(super) fn settles_now(&self) -> bool {
        self.settling.iter().any(|at| self.is_settled(*at))
    }

    fn is_settled(&self, at: usize) -> bool {
        let copy = self.tables.get(at);
        let settles_at = copy.and_then(|copy| copy.settles_at.as_ref());
        settles_at.is_none_or(|set| self.gate.has_passed(set))
    }

    /// The tables that are strict once all that was taken in is committed.
    pub(super) fn settle(&mut self) -> Vec<TableCopy> {
        let settled: Vec<usize> = self.settling.clone();
        let mut states = Vec::new();
        for at in settled {
            if self.is_settled(at) {
                info!(table = self.name(at), "the copy of a table is done");
                states.extend(self.over(at));
            }
        }
        if !states.is_empty() {
            self.tell();
        }
        states
    }

    async fn target(
        &mut self,
        at: usize,
        session: &mut Session,
    ) -> Result<Option<Arc<TargetTable>>, PipelineError> {
        if let Some(target) = self.targets.get(&at) {
            return Ok(Some(Arc::clone(target)));
        }
        let Some(copy) = self.tables.get(at) else {
            return Ok(None);
        };
        let read = read_target(session, &copy.database, &copy.table).await?;
        let read = read.map(Arc::new);
        if let Some(target) = &read {
            self.targets.insert(at, Arc::clone(target));
        }
        Ok(read)
    }

    fn name(&self, at: usize) -> String {
        let copy = self.tables.get(at);
        copy.map_or_else(String::new, |copy| {
            format!("{}.{}", copy.database, copy.table)
        })
    }

    /// Tells how far each copy is.
    fn tell(&mut self) {
        self.told = Instant::now();
        let view = |(at, copy): (usize, &TableCopy)| {
            let running = self.running.iter().find(|running| running.table == at);
            let rows_per_second = running.map_or(0.0, |running| {
                let rows = copy.rows_copied.saturating_sub(running.rows_before);
                rows as f64 / running.began.elapsed().as_secs_f64().max(0.001)
            });
            let left = copy.rows_estimated.and_then(|all| {
                let rows = all.saturating_sub(copy.rows_copied) as f64;
                (rows_per_second > 0.0)
                    .then(|| Duration::try_from_secs_f64(rows / rows_per_second).ok())?
            });
            CopyView {
                database: copy.database.clone(),
                table: copy.table.clone(),
                state: copy.state,
                rows: copy.rows_copied,
                rows_estimated: copy.rows_estimated,
                rows_per_second: rows_per_second as u64,
                left,
            }
        };
        let views = self.tables.iter().enumerate().map(view).collect();
        self.shared.progress.copies(views);
    }
}

/// Parts the copies of tables that a filter takes from those that weren't done when their tables were left out.
/// The stream doesn't bring the changes of these any more, so nothing that was copied of them counts: taken in
/// again, they begin anew, with all their rows.
fn leave_out(tables: Vec<TableCopy>, filter: &TableFilter) -> (Vec<TableCopy>, Vec<TableCopy>) {
    let (taken, mut left_out): (Vec<_>, Vec<_>) = tables
        .into_iter()
        .partition(|copy| !copy.is_relaxed() || filter.matches(&copy.database, &copy.table));
    left_out.retain_mut(|copy| {
        let anew = TableCopy::waiting(&copy.database, &copy.table);
        let is_news = *copy != anew;
        if is_news {
            warn!(
                table = format!("{}.{}", copy.database, copy.table), state = copy.state.word(),
                "source.tables leaves out a table whose copy wasn't done; taken in again, it is copied anew"
            );
        }
        *copy = anew;
        is_news
    });
    (taken, left_out)
}

/// Whether both tables are defined alike, as far as rows go: columns in the same order, under the same names
/// and of the same types, so that no statement in between can have given a value another meaning; and the same
/// rows are allowed in both, so that none takes another one's place.
fn are_alike(source: &ScanTable, target: &TargetTable) -> bool {
    let (theirs, ours) = (&source.definition().columns, &target.columns);
    theirs.len() == ours.len()
        && theirs.iter().zip(ours).all(|(theirs, ours)| {
            theirs.name == ours.name
                && theirs.column_type == ours.column_type
                && theirs.charset == ours.charset
                && theirs.nullable == ours.nullable
                && theirs.generated == ours.generated
        })
        && forbid_the_same(source.definition(), target)
}

/// Whether a range of the source's key is the same range on the sink.
fn sorts_alike(source: &ScanTable, target: &TargetTable) -> bool {
    source.key().all(|at| {
        let theirs = source.definition().columns.get(at);
        theirs.is_some_and(|theirs| {
            target.columns.iter().any(|ours| {
                ours.name == theirs.name
                    && ours.column_type == theirs.column_type
                    && ours.collation == theirs.collation
            })
        })
    })
}

fn has_own_columns(source: &ScanTable, target: &TargetTable) -> bool {
    let theirs = &source.definition().columns;
    target.columns.iter().any(|ours| {
        !ours.generated
            && !theirs
                .iter()
                .any(|theirs| theirs.name.eq_ignore_ascii_case(&ours.name))
    })
}

async fn read_target(
    session: &mut Session,
    database: &str,
    table: &str,
) -> Result<Option<TargetTable>, PipelineError> {
    let sink = session.sink().to_owned();
    TargetTable::read(session.conn(), database, table)
        .await
        .map_err(|error: Error| {
            SinkError::from_driver(&sink, "read a table's definition", error).into()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_left_out_before_its_copy_is_done_waits_to_be_copied_anew() {
        let copy = |table: &str, state| TableCopy {
            state,
            condition: Some("id > 7".to_owned()),
            after_key: Some("[\"9\"]".to_owned()),
            rows_copied: 9,
            settles_at: Some(GtidSet::new()),
            ..TableCopy::waiting("shop", table)
        };
        let all = vec![
            copy("kept", CopyState::Copying),
            copy("half", CopyState::Copying),
            copy("nearly", CopyState::Settling),
            copy("long_done", CopyState::Done),
            TableCopy::waiting("shop", "never_begun"),
        ];
        let filter = TableFilter::parse(&["shop.kept"]).unwrap();
        let (taken, left_out) = leave_out(all.clone(), &filter);
        assert_eq!(taken, [all[0].clone(), all[3].clone()]);
        let waiting = |table| TableCopy::waiting("shop", table);
        assert_eq!(left_out, [waiting("half"), waiting("nearly")]);
        // Stored so, there is nothing more to store.
        assert_eq!(leave_out(left_out, &filter), (vec![], vec![]));
    }
}
