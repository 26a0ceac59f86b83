//! One connection that applies batches and commits them with the offset.
//!
//! Invariants: statements run in their order; a batch is committed only if every statement matched
//! exactly the rows that it names; the offset is written last, by [`OffsetWriter::commit`]; any
//! error inside a transaction ends in ROLLBACK before it is reported. A transaction of the source
//! that is larger than a batch spans several of them: the lane's transaction stays open until its
//! last one.

use std::time::Duration;

use towpath_protocol::spec::Delivery;
use tracing::warn;

use super::SinkError;
use super::offset::{Advance, OffsetWriter, guard};
use super::session::{Checks, ServerFacts, Session};
use crate::apply::Batch;
use crate::apply::literal::write_quoted;
use crate::apply::statement::{Operation, Statement};
use crate::failpoint::{self, Point};

/// Statements travel together up to this many bytes, to save round trips.
const PACKET_BYTES_MAX: usize = 1024 * 1024;

/// A batch of up to so many statements and bytes goes out with its commit in one packet.
const ONE_PACKET_STATEMENTS_MAX: usize = 16;
const ONE_PACKET_BYTES_MAX: usize = 64 * 1024;

/// A batch that met a deadlock or a lock wait is tried this often before the epoch is given up.
const TRIES_MAX: u32 = 5;

/// A statement over this many bytes is sent in pieces. The client library copies what it sends
/// twice, keeps the room for it until the connection ends, and a dozen of its buffers grow to that
/// size in turn.
const STATEMENT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of such a piece.
const PIECE_BYTES: usize = 256 * 1024;

/// Of a statement that matched too few rows, this many rows are named.
const ROWS_NAMED_MAX: usize = 5;

/// An applying connection.
pub struct Lane {
    session: Session,
    offset: OffsetWriter,
    /// Statements travel together up to this many bytes.
    packet_bytes_max: usize,
    /// Room for them, kept.
    packet: Vec<u8>,
    /// Whether a sink transaction is open with an unfinished source transaction in it.
    open: bool,
    /// Whether the transaction that is open, or was rolled back last, holds an earlier batch.
    goes_on: bool,
    delivery: Delivery,
}

impl Lane {
    /// A lane on a connection that holds its lock.
    pub fn new(
        session: Session,
        offset: OffsetWriter,
        facts: &ServerFacts,
        delivery: Delivery,
    ) -> Self {
        let server_max = usize::try_from(facts.max_allowed_packet / 2).unwrap_or(usize::MAX);
        Self {
            session,
            offset,
            packet_bytes_max: PACKET_BYTES_MAX.min(server_max),
            packet: Vec::new(),
            open: false,
            goes_on: false,
            delivery,
        }
    }

    /// What was committed.
    pub fn offset(&self) -> &OffsetWriter {
        &self.offset
    }

    /// Sees, while there is nothing to commit, whether the place was moved by somebody else, or the
    /// connection is gone. Not inside of a transaction, whose commit will tell.
    ///
    /// # Errors
    /// [`SinkError::Fenced`], and those of the connection.
    pub async fn look(&mut self) -> Result<(), SinkError> {
        if self.open || self.offset.is_ours(&mut self.session).await? {
            return Ok(());
        }
        Err(self.offset.fenced())
    }

    /// Applies a batch and commits it with the offset. A batch that isn't `whole` ends inside a
    /// source transaction, which goes on in the next batch: the transaction stays open.
    ///
    /// How the offset goes with the data is the sink's `delivery`: in one transaction, in one of
    /// its own behind it, or in one of its own before it. In the last case the offset of a
    /// transaction that takes several batches comes with the first of them.
    ///
    /// # Errors
    /// After any error but [`SinkError::Connection`] the transaction was rolled back. After
    /// `Connection` nobody knows: end the epoch.
    pub async fn apply(
        &mut self,
        batch: &Batch,
        advance: Option<&Advance>,
        whole: bool,
    ) -> Result<(), SinkError> {
        let (before, inside, behind) = match self.delivery {
            Delivery::ExactlyOnce => (None, advance, None),
            Delivery::AtLeastOnce => (None, None, advance),
            Delivery::AtMostOnce if self.open => (None, None, advance),
            Delivery::AtMostOnce => (advance, None, None),
        };
        if let Some(advance) = before {
            self.commit_offset(advance).await?;
            if !batch.statements.is_empty() {
                self.session.reach(Point::DeliveryOffsetCommitted).await?;
            }
        }
        let mut tries = 1;
        loop {
            let began_here = !self.open;
            match self.try_apply(batch, inside, whole).await {
                Err(error) if began_here && is_lock_conflict(&error) && tries < TRIES_MAX => {
                    warn!(sink = self.session.sink(), tries, code = %error.code(), %error, "trying the batch again");
                    tokio::time::sleep(Duration::from_millis(20 << tries)).await;
                    tries += 1;
                }
                Err(error) => return Err(self.or_fenced(error).await),
                Ok(()) => break,
            }
        }
        if let Some(advance) = behind {
            if !batch.statements.is_empty() {
                self.session.reach(Point::DeliveryDataCommitted).await?;
            }
            self.commit_offset(advance).await?;
        }
        Ok(())
    }

    /// Writes copied rows and commits them with how far the copy is; always in one transaction,
    /// whatever the sink's `delivery`. A source transaction must not be open in the lane. `table`
    /// is named in errors.
    ///
    /// # Errors
    /// As [`Lane::apply`].
    pub async fn copy(
        &mut self,
        statements: &[Vec<u8>],
        advance: &Advance,
        table: &str,
    ) -> Result<(), SinkError> {
        let mut tries = 1;
        loop {
            match self.try_copy(statements, advance).await {
                Err(error) if is_lock_conflict(&error) && tries < TRIES_MAX => {
                    warn!(sink = self.session.sink(), tries, code = %error.code(), %error, "trying the chunk again");
                    tokio::time::sleep(Duration::from_millis(20 << tries)).await;
                    tries += 1;
                }
                Err(SinkError::Server {
                    sink,
                    doing,
                    code,
                    state,
                    message,
                    ..
                }) => {
                    let context = format!("; table {table}, which is being copied");
                    return Err(SinkError::Server {
                        sink,
                        doing,
                        code,
                        state,
                        message,
                        context,
                    });
                }
                result => return result,
            }
        }
    }

    /// What a refused batch comes to: an operator's change (`commit::intervene`) may have written
    /// rows under it, or be about to, and then it is the next epoch's to say whether anything is
    /// wrong.
    async fn or_fenced(&mut self, error: SinkError) -> SinkError {
        let of_rows = matches!(error, SinkError::Diverged { .. } | SinkError::Server { .. });
        // It was rolled back, so this waits for nobody but who holds the offset row.
        if of_rows && !self.open && self.offset.has_moved(&mut self.session).await {
            return self.offset.fenced();
        }
        error
    }

    async fn try_copy(
        &mut self,
        statements: &[Vec<u8>],
        advance: &Advance,
    ) -> Result<(), SinkError> {
        self.session.reach(Point::CopyBeforeRows).await?;
        // The rows that these refer to may come later.
        self.session
            .set_checks(Checks {
                foreign_keys: false,
                unique: true,
            })
            .await?;
        self.session.execute("begin", "BEGIN").await?;
        self.open = true;
        for statement in statements {
            if statement.len() > STATEMENT_BYTES_MAX {
                match self.pieces(statement).await {
                    Ok(_) => {}
                    Err(lost @ (SinkError::Connection { .. } | SinkError::Answers { .. })) => {
                        return Err(lost);
                    }
                    Err(error) => {
                        self.roll_back().await?;
                        return Err(error);
                    }
                }
            } else {
                self.text("write copied rows", statement).await?;
            }
        }
        self.session.reach(Point::CopyAfterRows).await?;
        self.open = false;
        self.offset.commit(&mut self.session, advance).await
    }

    async fn try_apply(
        &mut self,
        batch: &Batch,
        advance: Option<&Advance>,
        whole: bool,
    ) -> Result<(), SinkError> {
        self.goes_on = self.open;
        if !batch.statements.is_empty() {
            self.session.reach(Point::CommitBeforeData).await?;
            self.session
                .set_checks(Checks {
                    foreign_keys: batch.foreign_key_checks,
                    unique: batch.unique_checks,
                })
                .await?;
        }
        if let Some(advance) = advance
            && self.fits_one_packet(batch)
            && self.try_in_one(batch, advance).await?
        {
            return Ok(());
        }
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        if !self.open && (advance.is_some() || !batch.statements.is_empty()) {
            packet.extend_from_slice(b"BEGIN");
            self.open = true;
        }
        let mut first = 0;
        for (n, statement) in batch.statements.iter().enumerate() {
            if statement.sql.len() > STATEMENT_BYTES_MAX {
                if !packet.is_empty() {
                    self.send(batch, first..n, &packet).await?;
                    packet.clear();
                }
                self.send_in_pieces(batch, statement).await?;
                first = n + 1;
                continue;
            }
            if !packet.is_empty() {
                if packet.len() + statement.sql.len() > self.packet_bytes_max {
                    self.send(batch, first..n, &packet).await?;
                    packet.clear();
                    first = n;
                } else {
                    packet.push(b';');
                }
            }
            packet.extend_from_slice(&statement.sql);
        }
        if !packet.is_empty() {
            self.send(batch, first..batch.statements.len(), &packet)
                .await?;
        }
        self.packet = packet;
        if !batch.statements.is_empty() {
            self.session.reach(Point::CommitAfterData).await?;
        }
        if let Some(advance) = advance {
            self.open = false;
            self.offset.commit(&mut self.session, advance).await?;
        } else if !whole {
            self.session.reach(Point::CommitInside).await?;
        } else if self.open {
            // One that was refused may have left the transaction open, and a BEGIN would commit it.
            self.text("commit", b"COMMIT").await?;
            self.open = false;
        }
        Ok(())
    }

    /// Whether a batch is so small that its round trips cost more than the guards that save one.
    fn fits_one_packet(&self, batch: &Batch) -> bool {
        let statements = &batch.statements;
        let bytes: usize = statements.iter().map(|s| s.sql.len()).sum();
        !self.open
            && !statements.is_empty()
            && statements.len() <= ONE_PACKET_STATEMENTS_MAX
            && bytes <= ONE_PACKET_BYTES_MAX
            // A test that stops the process between data and offset needs them apart.
            && !failpoint::is_set(&[Point::CommitAfterData, Point::CommitBeforeOffset])
    }

    /// Applies and commits a small batch in one round trip: behind each statement that can match
    /// another number of rows than it must stands a guard, and COMMIT is not reached where one
    /// fails. Answers whether it was committed. If not, it was rolled back, and in several steps it
    /// shows what is wrong.
    async fn try_in_one(&mut self, batch: &Batch, advance: &Advance) -> Result<bool, SinkError> {
        // The offset's statement is the guard of the last one.
        let last = batch.statements.last().and_then(must_match);
        let Ok(step) = self.offset.step(advance, last) else {
            return Ok(false);
        };
        let mut packet = b"BEGIN; ".to_vec();
        let mut count = 1;
        for (n, statement) in batch.statements.iter().enumerate() {
            packet.extend_from_slice(&statement.sql);
            packet.extend_from_slice(b"; ");
            count += 1;
            if let Some(rows) = must_match(statement)
                && n + 1 < batch.statements.len()
            {
                packet.extend_from_slice(guard(rows).as_bytes());
                packet.extend_from_slice(b"; ");
                count += 1;
            }
        }
        packet.extend_from_slice(step.sql.as_bytes());
        count += step.statements;
        match self
            .session
            .packet("apply and commit rows", &packet, count)
            .await
        {
            Ok(_) => {
                self.offset.stepped(step);
                self.session.reach(Point::CommitAfterCommit).await?;
                Ok(true)
            }
            Err((_, lost @ (SinkError::Connection { .. } | SinkError::Answers { .. }))) => {
                Err(lost)
            }
            Err((at, error)) => {
                self.roll_back().await?;
                // Whether a COMMIT that was refused took place is for the next epoch to find out.
                if at + 1 == count {
                    Err(error)
                } else {
                    Ok(false)
                }
            }
        }
    }

    /// Sends a large statement in pieces and checks the rows that it matched.
    async fn send_in_pieces(
        &mut self,
        batch: &Batch,
        statement: &Statement,
    ) -> Result<(), SinkError> {
        match self.pieces(&statement.sql).await {
            Ok(matched) => self.check(batch, statement, matched).await,
            Err(lost @ (SinkError::Connection { .. } | SinkError::Answers { .. })) => Err(lost),
            Err(error) => {
                let refused = self.refused(batch, statement, error).await?;
                self.roll_back().await?;
                Err(refused)
            }
        }
    }

    /// Sends a large statement as the text of a prepared one, which the server joins of pieces: so
    /// that no more than a piece of it is copied here. Answers how many rows it matched.
    async fn pieces(&mut self, statement: &[u8]) -> Result<u64, SinkError> {
        const EXECUTE: &[u8] = b"PREPARE towpath_statement FROM @towpath; SET @towpath = NULL; \
            EXECUTE towpath_statement; DEALLOCATE PREPARE towpath_statement";
        const SEND: &str = "send a large row";
        let mut names = Vec::new();
        for (n, piece) in statement.chunks(PIECE_BYTES).enumerate() {
            let name = format!("@towpath_{n}");
            let mut sql = format!("SET {name} = ").into_bytes();
            write_quoted(&mut sql, "_binary", piece);
            self.text(SEND, &sql).await?;
            names.push(name);
        }
        let joined = format!("SET @towpath = CONCAT({})", names.join(", "));
        self.text(SEND, joined.as_bytes()).await?;
        let forgotten = format!("SET {} = NULL", names.join(" = NULL, "));
        self.text(SEND, forgotten.as_bytes()).await?;
        match self.session.packet("apply a large row", EXECUTE, 4).await {
            Ok(matched) => Ok(matched.get(2).copied().unwrap_or_default()),
            Err((_, error)) => Err(error),
        }
    }

    /// Runs a statement whose matched rows mean nothing; rolls back where it is refused.
    async fn text(&mut self, doing: &'static str, sql: &[u8]) -> Result<(), SinkError> {
        match self.session.packet(doing, sql, 1).await {
            Ok(_) => Ok(()),
            Err((_, lost @ (SinkError::Connection { .. } | SinkError::Answers { .. }))) => {
                Err(lost)
            }
            Err((_, error)) => {
                self.roll_back().await?;
                Err(error)
            }
        }
    }

    /// Whether a statement matched the rows that it must.
    async fn check(
        &mut self,
        batch: &Batch,
        statement: &Statement,
        matched: u64,
    ) -> Result<(), SinkError> {
        let expected = statement.rows.len() as u64;
        if matched == expected || !statement.checked {
            return Ok(());
        }
        let rows = self.differing_rows(batch, statement).await;
        self.roll_back().await?;
        Err(SinkError::Diverged {
            sink: self.session.sink().to_owned(),
            operation: statement.operation.name(),
            table: statement.plan.name(),
            matched,
            expected,
            rows: rows?,
        })
    }

    /// Sends a packet that holds `statements` of the batch, behind a BEGIN or not, and checks the
    /// rows that they matched.
    async fn send(
        &mut self,
        batch: &Batch,
        statements: std::ops::Range<usize>,
        packet: &[u8],
    ) -> Result<(), SinkError> {
        let statements = batch.statements.get(statements).unwrap_or_default();
        let leading = usize::from(packet.starts_with(b"BEGIN"));
        let result = self
            .session
            .packet("apply rows", packet, leading + statements.len())
            .await;
        let (matched, error) = match result {
            Ok(matched) => (matched, None),
            Err((_, lost @ (SinkError::Connection { .. } | SinkError::Answers { .. }))) => {
                return Err(lost);
            }
            Err((at, error)) => {
                let statement = at.checked_sub(leading).and_then(|at| statements.get(at));
                (Vec::new(), Some((statement, error)))
            }
        };
        if let Some((statement, error)) = error {
            // Looked at inside of the transaction: what it has deleted is not in anybody's way.
            let refused = match statement {
                Some(statement) => self.refused(batch, statement, error).await?,
                None => error,
            };
            self.roll_back().await?;
            return Err(refused);
        }
        for (statement, &matched) in statements.iter().zip(matched.iter().skip(leading)) {
            self.check(batch, statement, matched).await?;
        }
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<(), SinkError> {
        self.open = false;
        self.session.execute("roll back", "ROLLBACK").await?;
        Ok(())
    }

    /// What the operator must know about a statement that the server refused.
    async fn refused(
        &mut self,
        batch: &Batch,
        statement: &Statement,
        error: SinkError,
    ) -> Result<SinkError, SinkError> {
        const DUPLICATE_KEY: u16 = 1062;
        Ok(match error {
            SinkError::Server {
                sink,
                doing,
                code,
                state,
                message,
                ..
            } => {
                let rows = if code == DUPLICATE_KEY {
                    self.differing_rows(batch, statement).await?
                } else {
                    span(batch, statement)
                };
                SinkError::Server {
                    sink,
                    doing,
                    code,
                    state,
                    message,
                    context: format!(
                        "; {} on {}{rows}",
                        statement.operation.name(),
                        statement.plan.name()
                    ),
                }
            }
            other => other,
        })
    }

    /// Finds by bisection which rows of a statement are missing (or, of an INSERT, there already),
    /// and names them with their GTIDs. Looks at committed rows and at those of the open
    /// transaction; of a DELETE behind changes of its table in the same transaction it can't be
    /// seen which.
    async fn differing_rows(
        &mut self,
        batch: &Batch,
        statement: &Statement,
    ) -> Result<String, SinkError> {
        if statement.rows.iter().any(|row| row.key.is_empty()) {
            return Ok(span(batch, statement));
        }
        if statement.operation == Operation::Delete {
            if self.came_before(batch, statement) {
                return Ok(span(batch, statement));
            }
            // The rows that it did match are deleted in the open transaction.
            self.roll_back().await?;
        }
        let wanted_present = statement.operation != Operation::Insert;
        let mut named = Vec::new();
        let mut halves = vec![statement.rows.as_slice()];
        while let Some(rows) = halves.pop() {
            if rows.is_empty() || named.len() >= ROWS_NAMED_MAX {
                continue;
            }
            let present = self.count_present(statement, rows).await?;
            let expected = if wanted_present { rows.len() as u64 } else { 0 };
            if present == expected {
                continue;
            }
            if let [row] = rows {
                let gtid = batch.transactions.get(row.transaction as usize);
                named.push(format!(
                    "key ({}) of transaction {}",
                    statement.key_text(row),
                    gtid.map_or_else(|| "-".to_owned(), ToString::to_string)
                ));
                continue;
            }
            let (first, second) = rows.split_at(rows.len() / 2);
            halves.push(second);
            halves.push(first);
        }
        if named.is_empty() {
            let another = match statement.operation {
                Operation::Insert => ": a row has the value of another unique key",
                _ => "",
            };
            return Ok(format!("{another}{}", span(batch, statement)));
        }
        let what = if wanted_present {
            "missing"
        } else {
            "already there"
        };
        Ok(format!(": {what}: {}", named.join(", ")))
    }

    /// Whether the sink's transaction may hold earlier changes of a statement's table, which a
    /// rollback takes back with it.
    fn came_before(&self, batch: &Batch, statement: &Statement) -> bool {
        let earlier = batch.statements.iter();
        let mut earlier = earlier.take_while(|other| !std::ptr::eq(*other, statement));
        self.goes_on || earlier.any(|other| other.plan.quoted == statement.plan.quoted)
    }

    async fn count_present(
        &mut self,
        statement: &Statement,
        rows: &[crate::apply::statement::RowOrigin],
    ) -> Result<u64, SinkError> {
        let names: Vec<_> = statement
            .plan
            .key()
            .iter()
            .map(|column| column.quoted.as_str())
            .collect();
        let mut sql = format!(
            "SELECT COUNT(*) FROM {} WHERE ({}) IN (",
            statement.plan.quoted,
            names.join(",")
        )
        .into_bytes();
        for (n, row) in rows.iter().enumerate() {
            if n > 0 {
                sql.push(b',');
            }
            sql.push(b'(');
            let range = row.key.start as usize..row.key.end as usize;
            sql.extend_from_slice(statement.sql.get(range).unwrap_or_default());
            sql.push(b')');
        }
        sql.push(b')');
        Ok(self
            .session
            .first_bytes("look for the rows", &sql)
            .await?
            .unwrap_or(0))
    }

    /// Commits only the offset.
    async fn commit_offset(&mut self, advance: &Advance) -> Result<(), SinkError> {
        self.session.execute("begin", "BEGIN").await?;
        self.offset.commit(&mut self.session, advance).await
    }

    /// Ends the connection; an open transaction is rolled back by the server.
    pub async fn disconnect(self) {
        self.session.disconnect().await;
    }
}

/// How many rows a statement must match to be right. An INSERT inserts all of its rows or fails.
fn must_match(statement: &Statement) -> Option<usize> {
    let is_checked = statement.checked && statement.operation != Operation::Insert;
    is_checked.then_some(statement.rows.len())
}

fn is_lock_conflict(error: &SinkError) -> bool {
    // ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK
    matches!(
        error,
        SinkError::Server {
            code: 1205 | 1213,
            ..
        }
    )
}

/// The transactions that a statement merges, for messages.
fn span(batch: &Batch, statement: &Statement) -> String {
    let numbers = || statement.rows.iter().map(|row| row.transaction as usize);
    let first = numbers().min().and_then(|at| batch.transactions.get(at));
    let last = numbers().max().and_then(|at| batch.transactions.get(at));
    match (first, last) {
        (Some(first), Some(last)) if first == last => format!(", transaction {first}"),
        (Some(first), Some(last)) => format!(", one of the transactions {first} to {last}"),
        _ => String::new(),
    }
}
