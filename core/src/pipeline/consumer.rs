//! The consumer: takes chunks from the queue, merges them into batches and has the lane commit them.
//!
//! Adaptive without a timer: while the lane works, changes gather; when it is free, what has gathered
//! goes out. At a low rate that is one transaction per commit, in catch-up it is as many as the bounds
//! allow. A batch ends between two source transactions; one that is larger than the bounds goes out in
//! pieces, inside one transaction of the sink.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use towpath_protocol::gtid::Gtid;
use towpath_protocol::spec::{ApplySpec, PipelineSpec, TableFilter};
use uuid::Uuid;

use super::authority::Confirmed;
use super::error::PipelineError;
use super::lane_task::{Done, LaneTask};
use super::pace::Pace;
use super::plans::Plans;
use super::progress::Progress;
use super::{Stop, asked};
use crate::apply::BatchBuilder;
use crate::apply::ddl::{Decision, decide};
use crate::apply::literal::charset_name;
use crate::batch::{Chunk, Message};
use crate::commit::SinkError;
use crate::commit::ddl::{self, DdlIntent, DdlStatement};
use crate::commit::lane::Lane;
use crate::commit::offset::{Advance, DdlChange};
use crate::commit::session::{ServerFacts, Session};
use crate::commit::takeover::{Claim, Held};
use crate::decode::{DecodeError, Event, EventType, Events, QueryEvent, RowsEvent, StatusVars};
use crate::failpoint::{self, Point};
use crate::queue::Receiver;

/// Transactions that change nothing on the sink move its offset at most this often, and at a stop.
const OFFSET_ONLY_EVERY: Duration = Duration::from_secs(1);

/// Source transactions merged into one commit at most: a bound on what one failure rolls back.
const TRANSACTIONS_MAX: u64 = 2_000;

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
    bounds: ApplySpec,
    queue: Receiver,
    lane: LaneTask,
    ddl: Session,
    facts: ServerFacts,
    plans: Plans,
    builder: BatchBuilder,
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
}

impl Consumer {
    #[allow(
        clippy::too_many_arguments,
        reason = "wiring: each is one thing that an epoch begins with"
    )]
    pub(super) fn new(
        spec: &PipelineSpec,
        claim: &Claim,
        held: Held,
        lane: Lane,
        ddl: Session,
        facts: ServerFacts,
        queue: Receiver,
        waits: Waits,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            pipeline: claim.pipeline.clone(),
            sink: claim.sink.clone(),
            pipeline_uuid: held.pipeline_uuid,
            filter: spec.source.tables.clone(),
            bounds: spec.apply.clone(),
            queue,
            lane: LaneTask::spawn(lane),
            ddl,
            facts,
            plans: Plans::new(spec.source.endpoint.clone()),
            builder: BatchBuilder::new(),
            advance: Advance::default(),
            transactions: 0,
            inside: false,
            piece_sent: false,
            ddl_seq: held.ddl_seq,
            ddl_intent: held.ddl_intent,
            last_commit: Instant::now(),
            waits,
            progress,
        }
    }

    /// Runs until a stop (then it finishes the commit under way and returns) or an error.
    pub(super) async fn run(mut self, mut stop: Stop) -> Result<(), PipelineError> {
        let mut caught_up = false;
        loop {
            if self.may_send() {
                self.send().await?;
            }
            self.progress
                .caught_up(caught_up && self.advance.gtids.is_empty() && !self.lane.is_busy());
            tokio::select! {
                biased;
                () = asked(&mut stop) => return self.stop().await,
                done = self.lane.done(), if self.lane.is_busy() => self.done(done?),
                () = self.waits.pace.free(), if self.waits_for_pace() => {}
                message = self.queue.recv(),
                    if !(self.is_full() && (self.lane.is_busy() || !self.waits.pace.is_free())) => {
                    match message {
                        None => {
                            // The producer ended: what it queued is still good.
                            if !self.inside {
                                self.drain().await?;
                            }
                            return Err(PipelineError::QueueClosed);
                        }
                        Some(Message::CaughtUp { position }) => {
                            caught_up = true;
                            if !self.inside {
                                self.advance.position = Some(position);
                            }
                        }
                        Some(Message::Chunk(chunk)) => {
                            caught_up = false;
                            // Nothing is in use here that could be lost.
                            let _ = failpoint::reach(Point::QueueTaken).await;
                            self.chunk(chunk).await?;
                        }
                    }
                }
                // Only to look again whether the offset is due.
                () = tokio::time::sleep_until(self.last_commit + OFFSET_ONLY_EVERY),
                    if !self.lane.is_busy() && !self.inside && !self.advance.gtids.is_empty() => {}
            }
        }
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
        self.builder.changes() > 0 || self.piece_sent || self.offset_is_due()
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
            || self.transactions >= TRANSACTIONS_MAX
    }

    /// Has the lane apply what has gathered, and commit it unless a source transaction is in the middle.
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
        let advance = if self.inside {
            self.piece_sent = true;
            None
        } else {
            self.piece_sent = false;
            self.transactions = 0;
            self.last_commit = Instant::now();
            Some(std::mem::take(&mut self.advance))
        };
        self.waits.pace.passed(batch.changes);
        self.lane.begin(batch, advance).await;
        Ok(())
    }

    fn done(&mut self, done: Done) {
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
    async fn stop(mut self) -> Result<(), PipelineError> {
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
        self.inside = true;
        if !chunk.events.is_empty() {
            self.builder.begin(&chunk.gtid);
        }
        let mut outcome = Outcome::Gathered;
        for event in Events::new(&chunk.events) {
            let event = event.map_err(|source| decode(&chunk.gtid, source))?;
            outcome = self.event(&chunk, event).await?;
        }
        if chunk.last {
            self.inside = false;
            if outcome != Outcome::Gathered {
                return Ok(());
            }
            self.advance
                .add(&chunk.gtid, &chunk.after, chunk.commit_time_us);
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
                if !self.builder.accepts(&rows) || (self.is_full() && self.inside) {
                    self.make_room(&chunk.gtid).await?;
                }
                self.plans.check_defaults(&rows, &chunk.gtid).await?;
                let Some(plan) = self.plans.get(rows.table_id) else {
                    return Err(PipelineError::NoTableMap {
                        gtid: chunk.gtid.to_string(),
                        table_id: rows.table_id,
                    });
                };
                self.builder.rows(plan, &rows)?;
                Ok(Outcome::Gathered)
            }
        }
    }

    /// In the middle of a source transaction: sends what has gathered without a commit.
    async fn make_room(&mut self, gtid: &Gtid) -> Result<(), PipelineError> {
        if self.lane.is_busy() {
            let done = self.lane.done().await?;
            self.done(done);
        }
        if self.builder.changes() > 0 {
            self.send().await?;
        }
        self.builder.begin(gtid);
        Ok(())
    }

    /// A statement in the binlog: DDL or what goes with it.
    async fn query(&mut self, chunk: &Chunk, event: Event<'_>) -> Result<Outcome, PipelineError> {
        let gtid = &chunk.gtid;
        let query = QueryEvent::parse(event.body).map_err(|source| decode(gtid, source))?;
        let vars = query.status_vars().map_err(|source| decode(gtid, source))?;
        let sql = statement_text(query.sql, &vars);
        let database = String::from_utf8_lossy(query.schema);
        let tables = match decide(&sql, &database, &self.filter) {
            Decision::Skip => {
                tracing::debug!(%gtid, statement = %sql, "a statement that is not replicated");
                return Ok(Outcome::Gathered);
            }
            Decision::Refuse(what) => {
                // All that came before is kept, so that only this one is in the way.
                self.inside = false;
                self.drain().await?;
                let detail = format!("{what}; {}", self.way_past(gtid));
                return Err(SinkError::Ddl {
                    sink: self.sink.clone(),
                    gtid: gtid.to_string(),
                    detail,
                    statement: sql.into_owned(),
                }
                .into());
            }
            Decision::Carry(tables) => tables,
        };
        let statement = DdlStatement {
            gtid: gtid.to_string(),
            sql: query.sql,
            database: &database,
            vars: &vars,
            timestamp_s: event.header.timestamp,
            tables: &tables,
        };
        // A barrier: all that came before is committed.
        self.inside = false;
        self.drain().await?;
        if !self.confirmed(&statement.gtid).await {
            return Ok(Outcome::Stopped);
        }
        self.ddl.reach(Point::DdlBeforeIntent).await?;
        let intent = match self.ddl_intent.take() {
            Some(intent) if intent.gtid == statement.gtid => intent,
            _ => {
                let intent = DdlIntent {
                    seq: self.ddl_seq + 1,
                    gtid: statement.gtid.clone(),
                    statement: sql.into_owned(),
                    before: ddl::fingerprint(&mut self.ddl, &tables).await?,
                };
                let change = DdlChange::Intent(intent.clone());
                self.commit_now(Advance {
                    ddl: change,
                    ..Advance::default()
                })
                .await?;
                intent
            }
        };
        self.ddl.reach(Point::DdlAfterIntent).await?;
        self.ddl_seq = intent.seq;
        let ran = ddl::run(
            &mut self.ddl,
            &self.facts,
            self.pipeline_uuid,
            &intent,
            &statement,
        )
        .await;
        if matches!(ran, Err(SinkError::Ddl { .. })) {
            // It was refused and did not run. The repair may change the definitions that the intent
            // recorded, which would then look as if it had: the next try begins with a new intent.
            self.commit_now(Advance {
                ddl: DdlChange::Done,
                ..Advance::default()
            })
            .await?;
        }
        ran?;
        self.ddl.reach(Point::DdlBeforeDone).await?;
        let mut advance = Advance {
            ddl: DdlChange::Done,
            ..Advance::default()
        };
        advance.add(gtid, &chunk.after, chunk.commit_time_us);
        self.commit_now(advance).await?;
        self.ddl.reach(Point::DdlAfterDone).await?;
        self.plans.clear();
        Ok(Outcome::Committed)
    }

    /// Waits until the right to write is confirmed; `false` if a stop was asked for first. The sink
    /// judges every commit of rows, but a DDL statement commits by itself (`commit`'s contract).
    async fn confirmed(&mut self, gtid: &str) -> bool {
        if *self.waits.confirmed.borrow() {
            return true;
        }
        tracing::warn!(
            pipeline = self.pipeline,
            sink = self.sink,
            gtid,
            "a DDL statement waits until the directory confirms that this process still leads"
        );
        self.progress.waiting(true);
        let (confirmed, stop) = (&mut self.waits.confirmed, &mut self.waits.stop);
        let confirmed = tokio::select! {
            confirmed = confirmed.wait_for(|confirmed| *confirmed) => confirmed.is_ok(),
            () = asked(stop) => false,
        };
        if !confirmed {
            // Nobody can confirm any more: whoever ended that ends this epoch, too.
            asked(&mut self.waits.stop).await;
        }
        self.progress.waiting(false);
        if confirmed {
            tracing::info!(
                pipeline = self.pipeline,
                sink = self.sink,
                gtid,
                "confirmed; the DDL statement goes on"
            );
        }
        confirmed
    }

    /// How an operator goes on behind a transaction that was dealt with by hand.
    fn way_past(&self, gtid: &Gtid) -> String {
        let mut gtids = self.progress.view().gtids;
        gtids.add(gtid);
        format!(
            "run it, or what stands for it, on the sink yourself, then mark it as done and start again: \
             UPDATE towpath.offset_gtid SET intervals = '{}' WHERE pipeline = '{}' AND sink = '{}' AND \
             source_uuid = '{}' AND tag = '{}'",
            gtids.intervals_text(&gtid.origin).unwrap_or_default(),
            self.pipeline,
            self.sink,
            gtid.origin.uuid,
            gtid.origin.tag
        )
    }

    async fn commit_now(&mut self, advance: Advance) -> Result<(), PipelineError> {
        self.lane
            .begin(crate::apply::Batch::default(), Some(advance))
            .await;
        let done = self.lane.done().await?;
        self.done(done);
        Ok(())
    }
}

/// A statement's text, by the character set of the client that sent it: names in it decide what is
/// replicated.
fn statement_text<'a>(sql: &'a [u8], vars: &StatusVars) -> Cow<'a, str> {
    let client = vars
        .charset
        .and_then(|charset| charset_name(charset.client));
    match (std::str::from_utf8(sql), client.as_deref()) {
        (Ok(text), _) => Cow::Borrowed(text),
        // Latin-1's letters are the first 256 characters of Unicode.
        (Err(_), Some("latin1")) => Cow::Owned(sql.iter().map(|&byte| char::from(byte)).collect()),
        (Err(_), _) => String::from_utf8_lossy(sql),
    }
}

fn decode(gtid: &Gtid, source: DecodeError) -> PipelineError {
    PipelineError::Decode {
        gtid: gtid.to_string(),
        source,
    }
}
