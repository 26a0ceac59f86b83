//! The consumer: takes chunks from the queue, merges them into batches and has the lane commit
//! them.
//!
//! Adaptive without a timer: while the lane works, changes gather; when it is free, what has
//! gathered goes out. At a low rate that is one transaction per commit, in catch-up it is as many
//! as the bounds allow. A batch ends between two source transactions; one that is larger than the
//! bounds goes out in pieces, inside one transaction of the sink.

mod schema_change;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use towpath_protocol::gtid::{Gtid, GtidSet};
use towpath_protocol::spec::{ApplySpec, DdlSpec, Delivery, PipelineSpec, TableFilter};
use uuid::Uuid;

use super::authority::Confirmed;
use super::error::{Course, PipelineError};
use super::lane_task::{Done, LaneTask};
use super::pace::Pace;
use super::pipe::{Receiving, Taken};
use super::plans::Plans;
use super::progress::Progress;
use super::snapshot::Copies;
use super::{Stop, VERIFY_MAX, asked};
use crate::apply::statement::check_size;
use crate::apply::{BatchBuilder, History};
use crate::batch::{Chunk, Message};
use crate::commit::ddl::DdlIntent;
use crate::commit::lane::Lane;
use crate::commit::offset::Advance;
use crate::commit::session::{ServerFacts, Session};
use crate::commit::takeover::{Claim, Held};
use crate::decode::{DecodeError, Event, EventType, Events, RowsEvent};
use crate::failpoint::{self, Point};
use crate::queue::inlet::Place;
use crate::queue::{Lease, QueueError};

/// Transactions that change nothing on the sink move its offset at most this often, and at a stop.
const OFFSET_ONLY_EVERY: Duration = Duration::from_secs(1);

/// Source transactions merged into one commit at most: a bound on what one failure rolls back.
const TRANSACTIONS_MAX: u64 = 2_000;

/// Commits of [`Consumer::singly`]: as many as there may be transactions in one commit.
pub(super) const SINGLY: u64 = TRANSACTIONS_MAX;

/// At a stop, the commit that is under way is waited for this long.
const STOP_PATIENCE: Duration = Duration::from_millis(700);

/// What became of an event.
#[derive(PartialEq, Eq)]
enum Outcome {
    /// It is part of what the next commit holds, or of nothing.
    Gathered,
    /// Its transaction was committed already, by itself.
    Committed,
    /// It was not begun, since a stop was asked for; the next start reads it again.
    Stopped,
}

/// What a consumer may have to wait for.
pub(super) struct Waits {
    /// Whether the right to write is confirmed now.
    pub(super) confirmed: Confirmed,
    /// Rows that may go into the sink.
    pub(super) pace: Pace,
    /// A stop that somebody asks for.
    pub(super) stop: Stop,
}

/// Consumes one queue for one sink.
pub(super) struct Consumer {
    pipeline: String,
    sink: String,
    pipeline_uuid: Uuid,
    filter: TableFilter,
    rules: DdlSpec,
    bounds: ApplySpec,
    queue: Receiving,
    lane: LaneTask,
    ddl: Session,
    facts: ServerFacts,
    plans: Plans,
    builder: BatchBuilder,
    delivery: Delivery,
    /// Of the memory that a large event takes, while it is in the builder.
    lease: Option<Lease>,
    /// What the next commit adds to the offset.
    advance: Advance,
    /// Whole source transactions in `advance`.
    transactions: u64,
    /// A source transaction has begun and not ended.
    inside: bool,
    /// A piece of the present source transaction was sent; the sink's transaction is open.
    piece_sent: bool,
    ddl_seq: u64,
    ddl_intent: Option<DdlIntent>,
    last_commit: Instant,
    waits: Waits,
    progress: Arc<Progress>,
    copies: Copies,
    /// A message that the copies' gate holds back.
    pending: Option<(Chunk, Option<Lease>)>,
    /// Copied rows are what the lane writes, or wrote last: the stream's turn is next.
    copied_last: bool,
    /// Until a statement that was in progress when the epoch began is done, the sink's tables may
    /// be of either side of it: nothing is copied.
    copies_wait_for: Option<Gtid>,
    /// So many of the next commits hold one source transaction each.
    singly: u64,
    /// Where reading the queue may begin once what has gathered is committed.
    place: Option<Place>,
    /// Where it may begin once what the lane has is committed.
    place_sent: Option<Place>,
}

impl Consumer {
    #[allow(
        clippy::too_many_arguments,
        reason = "wiring: each is one thing that an epoch begins with"
    )]
    pub(super) fn new(
        spec: &PipelineSpec,
        delivery: Delivery,
        claim: &Claim,
        held: Held,
        lane: Lane,
        ddl: Session,
        facts: ServerFacts,
        queue: Receiving,
        mut copies: Copies,
        waits: Waits,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            pipeline: claim.pipeline.clone(),
            sink: claim.sink.clone(),
            pipeline_uuid: held.pipeline_uuid,
            filter: spec.source.tables.clone(),
            rules: spec.ddl.clone(),
            bounds: spec.apply.clone(),
            queue,
            lane: LaneTask::spawn(lane),
            ddl,
            facts,
            plans: Plans::new(spec.source.endpoint.clone()),
            builder: match delivery {
                Delivery::ExactlyOnce => BatchBuilder::new(),
                Delivery::AtLeastOnce | Delivery::AtMostOnce => BatchBuilder::idempotent(),
            },
            delivery,
            lease: None,
            advance: Advance {
                copies: copies.left_out(),
                ..Advance::default()
            },
            transactions: 0,
            inside: false,
            piece_sent: false,
            ddl_seq: held.ddl_seq,
            copies_wait_for: intent_gtid(held.ddl_intent.as_ref()),
            ddl_intent: held.ddl_intent,
            last_commit: Instant::now(),
            waits,
            progress,
            copies,
            pending: None,
            copied_last: false,
            singly: 0,
            place: None,
            place_sent: None,
        }
    }

    /// The next commits hold one source transaction each, as many as one commit may have held.
    pub(super) fn singly(mut self) -> Self {
        self.singly = SINGLY;
        self
    }

    /// Runs until a stop (then it finishes the commit under way and returns) or an error.
    /// Gives back its end of the queue.
    pub(super) async fn run(mut self, stop: Stop) -> (Result<(), PipelineError>, Receiving) {
        let result = match self.consume(stop).await {
            Err(error) if error.course() == Course::End => {
                Err(self.queue.verified(error, VERIFY_MAX).await)
            }
            result => result,
        };
        (result, self.queue)
    }

    async fn consume(&mut self, mut stop: Stop) -> Result<(), PipelineError> {
        let mut caught_up = false;
        loop {
            self.start_copies();
            if !(self.copied_last && self.may_send()) && self.may_copy() {
                self.copy().await?;
            }
            if self.may_send() {
                self.copied_last = false;
                self.send().await?;
            } else if self.is_full() {
                // While the lane works, so that it finds its next statements ready.
                self.builder.build()?;
            }
            if self.is_copied() {
                return self.stop().await;
            }
            let is_applying = self.lane.is_busy() && !self.copied_last;
            self.progress.caught_up(
                caught_up
                    && self.advance.gtids.is_empty()
                    && !is_applying
                    && self.pending.is_none(),
            );
            if let Some((chunk, lease)) = self.let_through() {
                self.take_in(chunk, lease).await?;
                continue;
            }
            tokio::select! {
                biased;
                () = asked(&mut stop) => return self.stop().await,
                done = self.lane.done() => self.done(done?),
                state = self.copies.hear() => self.advance.copies.extend(state?),
                () = self.waits.pace.free(), if self.waits_for_pace() => {}
                taken = self.queue.recv(), if self.pending.is_none() && self.may_take_in() => {
                    match taken? {
                        Taken::Closed => {
                            // The producer ended: what it queued is still good.
                            if !self.inside {
                                self.drain().await?;
                            }
                            return Err(PipelineError::QueueClosed);
                        }
                        Taken::Message(Message::CaughtUp { position }, _) => {
                            caught_up = true;
                            if !self.inside && !position.file.is_empty() {
                                self.advance.position = Some(position);
                            }
                        }
                        Taken::Message(Message::Prepared(gtid), _) => self.copies.gate.passed(&gtid),
                        Taken::Message(Message::Chunk(chunk), lease) => {
                            caught_up = false;
                            self.pending = Some((chunk, lease));
                        }
                        Taken::Open(place) => self.opened(place),
                        Taken::Missing(missing) => {
                            caught_up = false;
                            self.progress.missing(Some(missing));
                        }
                        Taken::RollBack(gtid) if self.inside => {
                            return Err(QueueError::RolledBack { gtid }.into());
                        }
                        // Nothing of it was taken in.
                        Taken::RollBack(_) => {}
                        Taken::Silent => caught_up = false,
                    }
                }
                // Only to look again whether the offset is due.
                () = tokio::time::sleep_until(self.last_commit + OFFSET_ONLY_EVERY),
                    if !self.lane.is_busy() && !self.inside && !self.advance.gtids.is_empty() => {}
            }
        }
    }

    /// The queue may be read from here on, by whoever holds all that came before.
    fn opened(&mut self, place: Place) {
        self.progress.missing(None);
        let is_done =
            self.builder.changes() == 0 && self.advance.gtids.is_empty() && !self.lane.is_busy();
        match is_done {
            true => self.progress.opened(place),
            false => self.place = Some(place),
        }
    }

    /// Whether there is room for more of the stream.
    fn may_take_in(&self) -> bool {
        !(self.is_full() && (self.lane.is_busy() || !self.waits.pace.is_free()))
    }

    /// The message that waits, if the copies' gate lets it through now.
    fn let_through(&mut self) -> Option<(Chunk, Option<Lease>)> {
        let (chunk, _) = self.pending.as_ref()?;
        // A transaction that has begun goes on.
        let is_free = self.inside || self.copies.gate.lets(&chunk.gtid);
        if is_free && self.may_take_in() {
            self.pending.take()
        } else {
            None
        }
    }

    async fn take_in(&mut self, chunk: Chunk, lease: Option<Lease>) -> Result<(), PipelineError> {
        // Nothing is in use here that could be lost.
        let _ = failpoint::reach(Point::QueueTaken).await;
        if self.queue.takes_back() && !self.inside && !chunk.last {
            // What comes before it must not be rolled back with it.
            self.drain().await?;
        }
        self.lease = lease;
        if let Err(error) = self.chunk(chunk).await {
            if self.lane.is_busy() {
                // What is with the lane came before it.
                let done = self.lane.done().await?;
                self.done(done);
            }
            return Err(error);
        }
        if self.builder.changes() == 0 {
            // Nothing of it is left.
            self.lease = None;
        }
        Ok(())
    }

    /// Has tables copied, unless a statement that was begun must be done first.
    fn start_copies(&mut self) {
        if let Some(gtid) = &self.copies_wait_for
            && self.ddl_intent.is_some()
            && !self.copies.gate.has_passed_gtid(gtid)
        {
            return;
        }
        self.copies_wait_for = None;
        self.copies.start_readers();
    }

    /// Whether copied rows may go to the sink: not inside one of its transactions.
    fn may_copy(&self) -> bool {
        !self.lane.is_busy() && !self.inside && !self.piece_sent && self.copies.may_write()
    }

    /// Has the lane write the next copied rows, if there are any that needn't wait.
    async fn copy(&mut self) -> Result<(), PipelineError> {
        let is_drained = self.builder.changes() == 0;
        let next = self.pending.as_ref().map(|(chunk, _)| &chunk.gtid);
        let write = self
            .copies
            .next_write(&mut self.ddl, is_drained, next)
            .await?;
        let Some(write) = write else {
            return Ok(());
        };
        for statement in &write.statements {
            let bytes_max = self.facts.max_allowed_packet;
            check_size(statement.len(), bytes_max, "(the first copy)", &write.table)?;
        }
        let mut advance = Advance {
            // What changed before comes first.
            copies: std::mem::take(&mut self.advance.copies),
            ..Advance::default()
        };
        advance.copies.extend(write.copies);
        self.copied_last = true;
        self.lane.copy(write.statements, advance, write.table).await;
        Ok(())
    }

    /// Whether the pipeline was for a copy alone, which is done.
    fn is_copied(&self) -> bool {
        self.copies.ends_now()
            && !self.lane.is_busy()
            && !self.inside
            && self.advance.copies.is_empty()
    }

    /// Whether there is something to send and the lane is free for it.
    fn may_send(&self) -> bool {
        if self.lane.is_busy() || !self.waits.pace.is_free() {
            return false;
        }
        self.has_something_to_send()
    }

    /// Whether only the bound on rows per second holds back what could be sent.
    fn waits_for_pace(&self) -> bool {
        !self.lane.is_busy() && !self.waits.pace.is_free() && self.has_something_to_send()
    }

    fn has_something_to_send(&self) -> bool {
        if self.inside {
            return self.is_full();
        }
        // An open transaction of the sink waits for its end.
        self.builder.changes() > 0
            || self.piece_sent
            || self.offset_is_due()
            || !self.advance.copies.is_empty()
            || self.copies.settles_now()
    }

    /// Whether transactions that change nothing have waited long enough for a commit of their own.
    fn offset_is_due(&self) -> bool {
        !self.advance.gtids.is_empty() && self.last_commit.elapsed() >= OFFSET_ONLY_EVERY
    }

    fn is_full(&self) -> bool {
        // Under a bound, a commit takes a second's rows at most, so that they go evenly.
        let rows_max = u64::from(self.bounds.batch_rows_max);
        let rows_max = rows_max.min(self.waits.pace.per_second().unwrap_or(u64::MAX));
        self.builder.changes() >= rows_max
            || self.builder.bytes() as u64 >= self.bounds.batch_bytes_max
            || self.transactions >= if self.singly > 0 { 1 } else { TRANSACTIONS_MAX }
            // Nothing more is read before it is applied.
            || self.lease.is_some()
            // What follows has an offset that must be committed before it.
            || (self.delivery == Delivery::AtMostOnce && self.piece_sent && !self.inside)
    }

    /// Has the lane apply what has gathered, and commit it unless a source transaction is in the
    /// middle.
    async fn send(&mut self) -> Result<(), PipelineError> {
        let batch = self.builder.take()?;
        for statement in &batch.statements {
            let at = statement
                .rows
                .first()
                .map_or(0, |row| row.transaction as usize);
            let gtid = batch
                .transactions
                .get(at)
                .map(Gtid::to_string)
                .unwrap_or_default();
            statement.check_size(self.facts.max_allowed_packet, &gtid)?;
        }
        let whole = !self.inside;
        // At most once: the offset of a large transaction is committed before its first piece.
        let early = self.delivery == Delivery::AtMostOnce;
        let mut advance = None;
        if whole || (early && !self.piece_sent) {
            let mut now = std::mem::take(&mut self.advance);
            if whole {
                now.copies.extend(self.copies.settle());
            }
            if early && whole && self.piece_sent {
                now.gtids = GtidSet::new();
            } else if let (false, Some(gtid)) = (whole, batch.transactions.last()) {
                now.gtids.add(gtid);
            }
            advance = Some(now);
            self.singly = self.singly.saturating_sub(1);
            self.transactions = 0;
            self.last_commit = Instant::now();
            // An OPEN is never inside a transaction.
            self.place_sent = self.place.take().or(self.place_sent);
        }
        self.piece_sent = !whole;
        self.waits.pace.passed(batch.changes);
        self.lane
            .begin(batch, advance, whole, self.lease.take())
            .await;
        Ok(())
    }

    fn done(&mut self, done: Done) {
        if done.is_copy {
            self.copies.written();
        } else if done.advance.is_some()
            && !self.piece_sent
            && let Some(place) = self.place_sent.take()
        {
            self.progress.opened(place);
        }
        match done.advance {
            Some(advance) => self.progress.committed(
                advance.gtids.count(),
                done.changes,
                &advance.gtids,
                advance.position.as_ref(),
                advance.commit_time_us,
                done.commit_seq,
            ),
            None => self.progress.applied(done.changes),
        }
    }

    /// Waits for the lane, sends what has gathered, and waits for that too.
    async fn drain(&mut self) -> Result<(), PipelineError> {
        if self.lane.is_busy() {
            let done = self.lane.done().await?;
            self.done(done);
        }
        if !self.advance.is_empty() || self.builder.changes() > 0 {
            self.send().await?;
            let done = self.lane.done().await?;
            self.done(done);
        }
        Ok(())
    }

    /// Finishes in order: the commit under way, and what has gathered if it ends with a whole
    /// transaction. What does not finish in time is rolled back by the server and read again.
    async fn stop(&mut self) -> Result<(), PipelineError> {
        let finish = async {
            if self.inside || self.piece_sent {
                if self.lane.is_busy() {
                    let done = self.lane.done().await?;
                    self.done(done);
                }
                return Ok(());
            }
            self.drain().await
        };
        match tokio::time::timeout(STOP_PATIENCE, finish).await {
            Ok(result) => result,
            Err(_elapsed) => {
                tracing::warn!(
                    sink = self.sink,
                    "the last commit took too long; left to be read again"
                );
                Ok(())
            }
        }
    }

    async fn chunk(&mut self, chunk: Chunk) -> Result<(), PipelineError> {
        if !self.inside {
            self.copies.gate.began(&chunk.gtid);
            self.plans.begin();
        }
        self.inside = true;
        if !chunk.events.is_empty() {
            self.builder.begin(&chunk.gtid);
            self.builder.read_from(chunk.events.clone());
        }
        let mut outcome = Outcome::Gathered;
        for event in Events::new(&chunk.events) {
            let event = event.map_err(|source| decode(&chunk.gtid, source))?;
            outcome = self.event(&chunk, event).await?;
            if outcome == Outcome::Stopped {
                // The rows that may follow it are read again, too.
                return Ok(());
            }
        }
        self.builder.read_from(Bytes::new());
        if chunk.last {
            self.inside = false;
            self.copies.gate.ended(&chunk.gtid, chunk.ends.as_ref());
            if outcome != Outcome::Gathered {
                return Ok(());
            }
            self.advance
                .add(&chunk.gtid, &chunk.after, chunk.commit_time_us);
            if let Some(ended) = &chunk.ends {
                self.advance.gtids.add(ended);
            }
            self.transactions += 1;
        }
        Ok(())
    }

    async fn event(&mut self, chunk: &Chunk, event: Event<'_>) -> Result<Outcome, PipelineError> {
        match event.header.event_type {
            EventType::TABLE_MAP => {
                let values_row = !self.facts.is_mariadb();
                let replaces = self
                    .plans
                    .table_map(event.body, values_row, &mut self.ddl, &chunk.gtid)
                    .await?;
                if replaces {
                    // Rows under two definitions of one table must not be merged.
                    self.builder.build()?;
                }
                Ok(Outcome::Gathered)
            }
            EventType::QUERY => self.query(chunk, event).await,
            event_type => {
                let rows = RowsEvent::parse(event_type, event.body)
                    .map_err(|source| decode(&chunk.gtid, source))?;
                let history = self.history(rows.table_id);
                if !self.builder.accepts(&rows, history) || (self.is_full() && self.inside) {
                    self.make_room(&chunk.gtid).await?;
                }
                self.plans.check_defaults(&rows, &chunk.gtid).await?;
                let Some(plan) = self.plans.get(rows.table_id) else {
                    return Err(PipelineError::NoTableMap {
                        gtid: chunk.gtid.to_string(),
                        table_id: rows.table_id,
                    });
                };
                self.builder.rows(plan, &rows, history)?;
                Ok(Outcome::Gathered)
            }
        }
    }

    /// What the table of a table id is known to hold.
    fn history(&self, table_id: u64) -> History {
        let Some(plan) = self.plans.get(table_id) else {
            return History::Strict;
        };
        self.copies.history(&plan.map.database, &plan.map.table)
    }

    /// In the middle of a source transaction: sends what has gathered without a commit.
    async fn make_room(&mut self, gtid: &Gtid) -> Result<(), PipelineError> {
        // What goes out now came before the large event whose lease this is.
        let lease = self.lease.take();
        if self.lane.is_busy() {
            self.builder.build()?;
            let done = self.lane.done().await?;
            self.done(done);
        }
        if self.builder.changes() > 0 {
            self.send().await?;
        }
        self.lease = lease;
        self.builder.begin(gtid);
        Ok(())
    }

    async fn commit_now(&mut self, advance: Advance) -> Result<(), PipelineError> {
        self.lane
            .begin(crate::apply::Batch::default(), Some(advance), true, None)
            .await;
        let done = self.lane.done().await?;
        self.done(done);
        Ok(())
    }
}

fn intent_gtid(intent: Option<&DdlIntent>) -> Option<Gtid> {
    intent?.gtid.parse().ok()
}

fn decode(gtid: &Gtid, source: DecodeError) -> PipelineError {
    PipelineError::Decode {
        gtid: gtid.to_string(),
        source,
    }
}
