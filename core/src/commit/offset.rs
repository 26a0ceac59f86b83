//! The offset rows: how a commit moves them, and the guard that makes it the owner's commit or
//! none.

use towpath_protocol::epoch::{Epoch, Generation};
use towpath_protocol::gtid::{Gtid, GtidSet};
use towpath_protocol::position::BinlogPosition;
use uuid::Uuid;

use super::SinkError;
use super::copies::{self, TableCopy};
use super::ddl::DdlIntent;
use super::session::{Session, quote};
use super::takeover::Held;
use crate::failpoint::Point;

/// MySQL's error for a [`guard`]: ER_DATA_OUT_OF_RANGE.
const GUARD_ERROR: u16 = 1690;

/// Gaps make the stored set, and each commit, larger. A source closes them by itself (a replica
/// that commits out of order has as many as it has workers), so this many mean that something is
/// wrong.
pub(super) const INTERVALS_MAX: usize = 10_000;

/// How far one commit moves the offset.
#[derive(Clone, Debug, Default)]
pub struct Advance {
    /// The source transactions that the commit holds, beside those that the sink has.
    pub gtids: GtidSet,
    /// Where the source was after them.
    pub position: Option<BinlogPosition>,
    /// When the last of them committed at the source, microseconds since 1970.
    pub commit_time_us: Option<u64>,
    /// What happens to the record of intent of a DDL statement.
    pub ddl: DdlChange,
    /// How far the copies of tables are.
    pub copies: Vec<TableCopy>,
}

/// A change to the record of intent.
#[derive(Clone, Debug, Default)]
pub enum DdlChange {
    /// It stays.
    #[default]
    Keep,
    /// A DDL statement will run next.
    Intent(DdlIntent),
    /// It has run.
    Done,
}

impl Advance {
    /// Adds a source transaction.
    pub fn add(&mut self, gtid: &Gtid, position: &BinlogPosition, commit_time_us: u64) {
        self.gtids.add(gtid);
        self.position = Some(position.clone());
        self.commit_time_us = Some(commit_time_us);
    }

    /// Whether a commit would change nothing.
    pub fn is_empty(&self) -> bool {
        self.gtids.is_empty()
            && self.position.is_none()
            && matches!(self.ddl, DdlChange::Keep)
            && self.copies.is_empty()
    }
}

/// Moves the offset of one pipeline and sink, within one epoch. Whoever has it may commit; with
/// several lanes it is handed from one to the next in the source's order.
pub struct OffsetWriter {
    sink: String,
    key: String,
    key_values: String,
    source_uuid: Uuid,
    /// Whether the row names that source already.
    names_source: bool,
    generation: Generation,
    epoch: Epoch,
    commit_seq: u64,
    gtids: GtidSet,
}

/// The end of a sink transaction: the offset's rows, the guard, and COMMIT.
pub struct Step {
    /// Statements with `; ` between them.
    pub sql: String,
    /// How many.
    pub statements: usize,
    gtids: GtidSet,
}

/// A statement that fails with error 1690 unless the one before it matched exactly `rows` rows:
/// `EXP(1000)` is out of range, and is computed only then. (A subquery of two rows does the same at
/// five times the cost.)
///
/// Another number of rows is no error for an UPDATE, and a COMMIT behind it in the same packet
/// would still run; the server stops a packet at the first error, so with this in between it does
/// not.
pub fn guard(rows: usize) -> String {
    format!("SELECT {}", guarded(rows, "1"))
}

/// An expression with the value of another one, which fails as a [`guard`] does. So the statement
/// that comes next anyway is the guard.
fn guarded(rows: usize, value: &str) -> String {
    format!("IF(ROW_COUNT() = {rows}, {value}, EXP(1000))")
}

impl OffsetWriter {
    /// A writer for a sink that was taken over and holds `gtids` of the source `source_uuid`.
    pub fn new(pipeline: &str, sink: &str, held: &Held, source_uuid: Uuid, gtids: GtidSet) -> Self {
        Self {
            sink: sink.to_owned(),
            key: format!("pipeline = {} AND sink = {}", quote(pipeline), quote(sink)),
            key_values: format!("{}, {}", quote(pipeline), quote(sink)),
            source_uuid,
            names_source: held.source_uuid == Some(source_uuid),
            generation: held.generation,
            epoch: held.epoch,
            commit_seq: held.commit_seq,
            gtids,
        }
    }

    /// What the sink holds as of the last commit.
    pub fn gtids(&self) -> &GtidSet {
        &self.gtids
    }

    /// Commits of this sink so far.
    pub fn commit_seq(&self) -> u64 {
        self.commit_seq
    }

    /// Writes the position where replication starts, before the first change, and the tables that
    /// are to be copied.
    ///
    /// # Errors
    /// As [`OffsetWriter::commit`].
    pub async fn commit_start(
        &mut self,
        session: &mut Session,
        to_copy: &[TableCopy],
    ) -> Result<(), SinkError> {
        let all = std::mem::take(&mut self.gtids);
        let advance = Advance {
            gtids: all,
            ..Advance::default()
        };
        session.reach(Point::StartBeforeOffset).await?;
        session.execute("write the start", "BEGIN").await?;
        copies::list(session, to_copy, &self.key_values).await?;
        self.commit(session, &advance).await?;
        session.reach(Point::StartAfterOffset).await
    }

    /// Moves the offset and commits the open transaction of `session`; on success the advance is
    /// durable, together with every data statement of the transaction.
    ///
    /// # Errors
    /// [`SinkError::Fenced`] if the row is not ours any more, after ROLLBACK. After
    /// [`SinkError::Connection`] nobody knows whether the commit took place: end the epoch.
    pub async fn commit(
        &mut self,
        session: &mut Session,
        advance: &Advance,
    ) -> Result<(), SinkError> {
        let step = match self.step(advance, None) {
            Ok(step) => step,
            Err(error) => {
                session.execute("roll back", "ROLLBACK").await?;
                return Err(error);
            }
        };
        session.reach(Point::CommitBeforeOffset).await?;
        match session
            .packet("commit", step.sql.as_bytes(), step.statements)
            .await
        {
            Ok(_) => {
                self.stepped(step);
                session.reach(Point::CommitAfterCommit).await
            }
            Err((_, lost @ (SinkError::Connection { .. } | SinkError::Answers { .. }))) => {
                Err(lost)
            }
            Err((_, error)) => {
                session.execute("roll back", "ROLLBACK").await?;
                match error {
                    SinkError::Server {
                        code: GUARD_ERROR, ..
                    } => Err(self.fenced()),
                    error => Err(error),
                }
            }
        }
    }

    /// The error of a commit that met a row that isn't ours any more.
    pub(super) fn fenced(&self) -> SinkError {
        SinkError::Fenced {
            sink: self.sink.clone(),
            epoch: self.epoch.0,
            commit_seq: self.commit_seq,
        }
    }

    /// Whether the row is where this writer left it, without a lock.
    pub(super) async fn is_ours(&self, session: &mut Session) -> Result<bool, SinkError> {
        let sql = format!(
            "SELECT generation = {} AND epoch = {} AND commit_seq = {} FROM towpath.`offset` WHERE {}",
            self.generation.0, self.epoch.0, self.commit_seq, self.key
        );
        let is_ours: Option<bool> = session.first("look whose the offset row is", &sql).await?;
        Ok(is_ours == Some(true))
    }

    /// Whether somebody else has moved the row, by now or by the end of a transaction that holds
    /// it. `false` where that can't be found out. Outside of a transaction only.
    pub(super) async fn has_moved(&self, session: &mut Session) -> bool {
        let sql = format!(
            "SELECT generation = {} AND epoch = {} AND commit_seq = {} FROM towpath.`offset` \
             WHERE {} FOR UPDATE",
            self.generation.0, self.epoch.0, self.commit_seq, self.key
        );
        let is_ours = session.first("look whose the offset row is", &sql).await;
        matches!(is_ours, Ok(Some(false)))
    }

    /// What is sent to move the offset and commit, and to fail if the statement before it in the
    /// packet has matched another number of rows than `matched_before`.
    ///
    /// # Errors
    /// [`SinkError::TooManyIntervals`].
    pub fn step(
        &self,
        advance: &Advance,
        matched_before: Option<usize>,
    ) -> Result<Step, SinkError> {
        let mut gtids = self.gtids.clone();
        gtids.add_set(&advance.gtids);
        if gtids.interval_count() > INTERVALS_MAX {
            return Err(SinkError::TooManyIntervals {
                sink: self.sink.clone(),
                intervals: gtids.interval_count(),
                intervals_max: INTERVALS_MAX,
            });
        }
        let (sql, statements) = self.commit_sql(advance, &gtids, matched_before);
        Ok(Step {
            sql,
            statements,
            gtids,
        })
    }

    /// The sink has committed a step.
    pub fn stepped(&mut self, step: Step) {
        self.commit_seq += 1;
        self.names_source = true;
        self.gtids = step.gtids;
    }

    /// The packet of a commit, and how many statements it holds. The guard of the offset's row
    /// travels in the statement behind it: ROW_COUNT() is that of the statement before, and each
    /// statement saved is latency.
    fn commit_sql(
        &self,
        advance: &Advance,
        gtids: &GtidSet,
        matched_before: Option<usize>,
    ) -> (String, usize) {
        let mut sql = String::with_capacity(1024);
        let commit_seq = self.commit_seq + 1;
        match matched_before {
            Some(rows) => sql.push_str(&format!(
                "UPDATE towpath.`offset` SET commit_seq = {}",
                guarded(rows, &commit_seq.to_string())
            )),
            None => sql.push_str(&format!(
                "UPDATE towpath.`offset` SET commit_seq = {commit_seq}"
            )),
        }
        if !self.names_source {
            sql.push_str(&format!(", source_uuid = '{}'", self.source_uuid));
        }
        match &advance.position {
            Some(position) => sql.push_str(&format!(
                ", source_file = {}, source_offset = {}",
                quote(&position.file),
                position.offset
            )),
            // What is there is a place in the binlog of another server.
            None if !self.names_source => {
                sql.push_str(", source_file = NULL, source_offset = NULL");
            }
            None => {}
        }
        if let Some(us) = advance.commit_time_us
            && let Ok(time) = i64::try_from(us)
            && let Ok(time) = jiff::Timestamp::from_microsecond(time)
        {
            sql.push_str(&format!(
                ", source_commit_time = '{}'",
                time.strftime("%Y-%m-%d %H:%M:%S.%6f")
            ));
        }
        match &advance.ddl {
            DdlChange::Keep => {}
            DdlChange::Intent(intent) => sql.push_str(&format!(
                ", ddl_seq = {}, ddl_intent = {}",
                intent.seq,
                quote(&intent.to_json())
            )),
            DdlChange::Done => sql.push_str(", ddl_intent = NULL"),
        }
        sql.push_str(&format!(
            " WHERE {} AND generation = {} AND epoch = {} AND commit_seq = {}; ",
            self.key, self.generation.0, self.epoch.0, self.commit_seq,
        ));
        // Only the rows of origins that moved.
        let mut changed = advance.gtids.origins().map(|(origin, _)| origin).peekable();
        if changed.peek().is_none() {
            sql.push_str(&guard(1));
        } else {
            sql.push_str(
                "INSERT INTO towpath.offset_gtid (pipeline, sink, source_uuid, tag, intervals) VALUES ",
            );
            for (n, origin) in changed.enumerate() {
                let intervals = gtids.intervals_text(origin).unwrap_or_default();
                let mut intervals = format!("'{intervals}'");
                if n > 0 {
                    sql.push_str(", ");
                } else {
                    intervals = guarded(1, &intervals);
                }
                sql.push_str(&format!(
                    "({}, '{}', '{}', {intervals})",
                    self.key_values, origin.uuid, origin.tag
                ));
            }
            sql.push_str(" ON DUPLICATE KEY UPDATE intervals = VALUES(intervals)");
        }
        for copy in &advance.copies {
            sql.push_str("; ");
            sql.push_str(&copies::put(copy, &self.key_values));
        }
        sql.push_str("; COMMIT");
        // The update, what guards it, how far copies are, and COMMIT.
        (sql, 3 + advance.copies.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(gtids: &str) -> OffsetWriter {
        let held = Held {
            pipeline_uuid: Uuid::nil(),
            generation: Generation(2),
            epoch: Epoch(7),
            commit_seq: 41,
            source_uuid: None,
            gtids: None,
            position: None,
            ddl_seq: 3,
            ddl_intent: None,
            copies: Vec::new(),
        };
        OffsetWriter::new(
            "it's",
            "replica",
            &held,
            Uuid::from_u128(9),
            gtids.parse().unwrap(),
        )
    }

    /// The statements of a commit; no literal here holds a semicolon.
    fn statements(writer: &OffsetWriter, advance: &Advance) -> Vec<String> {
        let mut gtids = writer.gtids().clone();
        gtids.add_set(&advance.gtids);
        let (sql, count) = writer.commit_sql(advance, &gtids, None);
        let statements: Vec<String> = sql.split("; ").map(str::to_owned).collect();
        assert_eq!(statements.len(), count, "{sql}");
        statements
    }

    const A: &str = "00000000-0000-0000-0000-00000000000a";
    const B: &str = "00000000-0000-0000-0000-00000000000b";

    #[test]
    fn a_commit_moves_the_row_then_writes_under_its_guard_what_moved_and_then_commits() {
        let advance = Advance {
            gtids: format!("{A}:6").parse().unwrap(),
            position: Some(BinlogPosition {
                file: "binlog.000001".into(),
                offset: 99,
            }),
            commit_time_us: Some(1_700_000_000_000_001),
            ..Advance::default()
        };
        assert_eq!(
            statements(&writer(&format!("{A}:1-5:9,{B}:1")), &advance),
            [
                "UPDATE towpath.`offset` SET commit_seq = 42, source_uuid = '00000000-0000-0000-0000-000000000009', \
                 source_file = 'binlog.000001', source_offset = 99, \
                 source_commit_time = '2023-11-14 22:13:20.000001' \
                 WHERE pipeline = 'it\\'s' AND sink = 'replica' AND generation = 2 AND epoch = 7 AND commit_seq = 41"
                    .to_owned(),
                format!(
                    "INSERT INTO towpath.offset_gtid (pipeline, sink, source_uuid, tag, intervals) VALUES \
                     ('it\\'s', 'replica', '{A}', '', IF(ROW_COUNT() = 1, '1-6:9', EXP(1000))) \
                     ON DUPLICATE KEY UPDATE intervals = VALUES(intervals)"
                ),
                "COMMIT".to_owned(),
            ]
        );
    }

    #[test]
    fn an_intent_comes_and_goes_with_the_row() {
        let intent = DdlIntent {
            seq: 4,
            gtid: format!("{A}:6"),
            statement: "ALTER TABLE t COMMENT 'it''s'".into(),
            before: "ab".into(),
            traceless: false,
            answer: None,
        };
        let writer = writer("");
        let planned = Advance {
            ddl: DdlChange::Intent(intent),
            ..Advance::default()
        };
        let [update, guarded, commit] = &statements(&writer, &planned)[..] else {
            panic!()
        };
        assert!(
            update.contains(", ddl_seq = 4, ddl_intent = '{\"seq\":4,"),
            "{update}"
        );
        assert!(update.contains("it\\'\\'s"), "{update}");
        assert_eq!(
            (guarded.as_str(), commit.as_str()),
            (guard(1).as_str(), "COMMIT")
        );
        let done = Advance {
            ddl: DdlChange::Done,
            ..Advance::default()
        };
        let [update, ..] = &statements(&writer, &done)[..] else {
            panic!()
        };
        assert!(update.contains(", ddl_intent = NULL WHERE "), "{update}");
        assert!(!done.is_empty() && Advance::default().is_empty());
    }

    #[test]
    fn how_far_a_copy_is_goes_behind_the_guard_so_that_it_counts_the_row_alone() {
        let advance = Advance {
            copies: vec![TableCopy::waiting("d", "t"), TableCopy::waiting("d", "u")],
            ..Advance::default()
        };
        assert!(!advance.is_empty());
        let [update, guarded, one, other, commit] = &statements(&writer(""), &advance)[..] else {
            panic!()
        };
        assert!(update.starts_with("UPDATE towpath.`offset` "), "{update}");
        for put in [one, other] {
            assert!(put.starts_with("INSERT INTO towpath.snapshot "), "{put}");
        }
        assert_eq!(
            (guarded.as_str(), commit.as_str()),
            (guard(1).as_str(), "COMMIT")
        );
    }

    #[test]
    fn the_row_s_update_is_the_guard_of_the_statement_before() {
        let advance = Advance {
            copies: vec![TableCopy::waiting("d", "t")],
            ..Advance::default()
        };
        let (sql, _) = writer("").commit_sql(&advance, &GtidSet::new(), Some(3));
        assert!(
            sql.starts_with(
                "UPDATE towpath.`offset` SET commit_seq = IF(ROW_COUNT() = 3, 42, EXP(1000))"
            ),
            "{sql}"
        );
    }
}
