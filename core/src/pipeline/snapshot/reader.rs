//! Reads one table of the source, chunk by chunk, for the gate's consumer to write.
//!
//! A chunk is read in a transaction of its own. First of all that locks the table's definition (any
//! statement on it does, until the transaction ends), then it holds the gate and learns the low
//! water, and only then it looks at rows. So every DDL statement on the table that came before the
//! read is in the low water, and none comes between the definition that is read and the rows.
//! Nothing is remembered here: who begins anew begins behind the last key that was committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::{Endpoint, SnapshotSpec};

use super::error::CopyError;
use super::gate::Ticket;
use super::keyless::NO_COLUMNS;
use super::pace::{ROWS_FIRST, next_rows};
use crate::apply::target::quote_name;
use crate::commit::copies::{CopyState, TableCopy};
use crate::endpoint::{connect, sql_opts};
use crate::pipeline::PipelineError;
use crate::pipeline::begin::short_set;
use crate::pipeline::pace::Pace;
use crate::pipeline::progress::Progress;
use crate::scan::{
    Executed, Key, KeyRange, ScanChunk, ScanError, ScanTable, executed_with_all_seen, prepare,
    without_counter,
};
use crate::source::SourceError;

/// Literals of one chunk, about: each reader keeps two chunks, one that is read and one that waits.
pub(super) const CHUNK_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Chunks of one reader that were read and aren't committed, at most.
const CHUNKS_AHEAD: usize = 2;

/// The source shows what it has sent within this time: a semisynchronous one waits for as long for
/// its replicas (`rpl_semi_sync_source_timeout`).
const VISIBLE_MAX: Duration = Duration::from_secs(15);

/// One wait for it at the server, seconds.
const VISIBLE_STEP_S: u64 = 1;

/// While the stream is too far behind, its lag is looked at this often.
const LAG_LOOK: Duration = Duration::from_millis(200);

/// What a reader says to the consumer, in this order for each part: `Hold`, `LowWater`, `Part`.
pub(super) enum Said {
    /// It asks for the gate; the answer is what it must see.
    Hold(oneshot::Sender<(Ticket, GtidSet)>),
    /// What the read will see at least.
    LowWater(Ticket, GtidSet),
    /// What it read.
    Part(Part),
    /// All is read; `executed` is what the source had then. `exact`: what was read is the table as
    /// of exactly that.
    End { executed: GtidSet, exact: bool },
    /// The table isn't there; `executed` has the statement that dropped or renamed it.
    Gone { executed: GtidSet },
    /// The table's key is another one than when the copy began.
    OtherKey,
    /// It can't go on.
    Failed(PipelineError),
}

/// What was read at one moment.
pub(super) struct Part {
    pub(super) ticket: Ticket,
    pub(super) table: Arc<ScanTable>,
    pub(super) rows: Rows,
    pub(super) permit: OwnedSemaphorePermit,
    /// Whether further parts come under the same ticket.
    pub(super) keeps_gate: bool,
}

pub(super) enum Rows {
    /// Where the copy will end: there are no rows behind `until`.
    Begin {
        until: Option<Key>,
        key_columns: String,
    },
    /// All rows of a range.
    Chunk { range: KeyRange, chunk: ScanChunk },
}

/// What all readers of a pipeline share.
pub(super) struct Shared {
    pub(super) endpoint: Endpoint,
    pub(super) settings: SnapshotSpec,
    pub(super) pace: Mutex<Pace>,
    pub(super) progress: Arc<Progress>,
}

/// Reads one table.
pub(super) struct Reader {
    pub(super) id: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) copy: TableCopy,
    pub(super) says: mpsc::UnboundedSender<(u64, Said)>,
    /// How long the sink took for a row of the last chunk, nanoseconds.
    pub(super) write_ns: Arc<AtomicU64>,
    /// Before it begins.
    pub(super) pause: Duration,
}

/// What a look at the table led to.
enum Look {
    Read(Arc<ScanTable>, Ticket),
    Over,
}

impl Reader {
    pub(super) async fn run(self) {
        tokio::time::sleep(self.pause).await;
        if let Err(error) = self.copy().await {
            self.say(Said::Failed(error));
        }
    }

    pub(super) fn say(&self, said: Said) {
        // A consumer that is gone has ended the epoch.
        let _ = self.says.send((self.id, said));
    }

    async fn copy(&self) -> Result<(), PipelineError> {
        let endpoint = &self.shared.endpoint;
        let opts = sql_opts(endpoint).map_err(PipelineError::Endpoint)?;
        let mut conn = connect(opts, endpoint.tls)
            .await
            .map_err(|error| SourceError::from_login(endpoint, error))?;
        prepare(&mut conn).await.map_err(CopyError::Scan)?;
        let ahead = Arc::new(Semaphore::new(CHUNKS_AHEAD));
        if self.is_to_copy_whole(&mut conn).await? {
            return self.copy_whole(conn, &ahead).await;
        }
        let mut known: Option<(String, Arc<ScanTable>)> = None;
        let condition = self.copy.condition.as_deref();

        let mut key_columns = self.copy.key_columns.clone();
        if self.copy.state == CopyState::Copying && key_columns.as_deref() == Some(NO_COLUMNS) {
            self.say(Said::OtherKey);
            return Ok(());
        }
        let mut until = self.key("until_key", &self.copy.until_key)?;
        if self.copy.state == CopyState::Waiting {
            let permit = self.permit(&ahead).await?;
            let Look::Read(table, ticket) = self.look(&mut conn, &mut known, None).await? else {
                return Ok(());
            };
            let last = table.last_key(&mut conn).await.map_err(CopyError::Scan)?;
            sql(&mut conn, "COMMIT").await?;
            let columns = key_columns_text(&table);
            (until, key_columns) = (last.clone(), Some(columns.clone()));
            self.say(Said::Part(Part {
                ticket,
                table,
                rows: Rows::Begin {
                    until: last,
                    key_columns: columns,
                },
                permit,
                keeps_gate: false,
            }));
        }
        let mut after = self.key("after_key", &self.copy.after_key)?;
        let mut rows_max = self.first_rows();
        while until.is_some() && after != until {
            let permit = self.permit(&ahead).await?;
            let look = self.look(&mut conn, &mut known, key_columns.as_deref());
            let Look::Read(table, ticket) = look.await? else {
                return Ok(());
            };
            let began = Instant::now();
            let mut range = KeyRange {
                after: after.clone(),
                until: until.clone(),
            };
            // A condition may be met by few rows, or none: then the rows that are looked at are
            // counted, since the stream is held meanwhile.
            let mut looked_at = None;
            if condition.is_some() {
                let end = table.nth_key(&mut conn, &range, rows_max).await;
                if let Some(end) = end.map_err(CopyError::Scan)? {
                    range.until = Some(end);
                    looked_at = Some(rows_max);
                }
            }
            let chunk = table
                .chunk(&mut conn, &range, condition, rows_max, CHUNK_BYTES_MAX)
                .await
                .map_err(CopyError::Scan)?;
            sql(&mut conn, "COMMIT").await?;
            let rows = chunk.rows;
            let looked_at = looked_at.filter(|_| chunk.ended).map_or(rows, u64::from);
            rows_max = self.next_rows(rows_max, looked_at, rows, began);
            after = match (&chunk.last, chunk.ended) {
                (Some(last), false) => Some(last.clone()),
                _ => range.until,
            };
            self.say(Said::Part(Part {
                ticket,
                table,
                rows: Rows::Chunk {
                    range: KeyRange {
                        after: range.after,
                        until: after.clone(),
                    },
                    chunk,
                },
                permit,
                keeps_gate: false,
            }));
            self.shared.pace.lock().await.passed(rows);
        }
        let executed = executed_with_all_seen(&mut conn, VISIBLE_MAX)
            .await
            .map_err(|error| failed("read gtid_executed", error))?;
        let executed = match executed {
            Executed::All(executed) => executed,
            Executed::Not { owned } => {
                return Err(CopyError::NotVisible {
                    missing: owned,
                    waited_s: VISIBLE_MAX.as_secs(),
                }
                .into());
            }
        };
        self.say(Said::End {
            executed,
            exact: false,
        });
        let _ = conn.disconnect().await;
        Ok(())
    }

    /// Rows of the next chunk, after one of `rows` that was begun to be read at `began`, and for
    /// which `looked_at` were looked at.
    pub(super) fn next_rows(
        &self,
        rows_max: u32,
        looked_at: u64,
        rows: u64,
        began: Instant,
    ) -> u32 {
        let write_ns = self.write_ns.load(Ordering::Relaxed);
        let write = Duration::from_nanos(write_ns.saturating_mul(rows.max(1)));
        let target = Duration::from_millis(self.shared.settings.chunk_ms);
        self.bounded(next_rows(
            rows_max,
            looked_at,
            began.elapsed().max(write),
            target,
        ))
    }

    /// Rows of the first chunk.
    pub(super) fn first_rows(&self) -> u32 {
        self.bounded(ROWS_FIRST)
    }

    /// Under a bound on rows, a chunk is a quarter of a second's, so that they go evenly.
    fn bounded(&self, rows: u32) -> u32 {
        let per_second = self.shared.settings.rows_per_second_max;
        let most = per_second.and_then(|rows| u32::try_from(rows / 4).ok());
        rows.min(most.unwrap_or(u32::MAX)).max(1)
    }

    /// Waits until there is room for another chunk, and the bound on rows allows it.
    pub(super) async fn room(
        &self,
        ahead: &Arc<Semaphore>,
    ) -> Result<OwnedSemaphorePermit, PipelineError> {
        let permit = Arc::clone(ahead)
            .acquire_owned()
            .await
            .map_err(|_| PipelineError::QueueClosed)?;
        self.shared.pace.lock().await.free().await;
        Ok(permit)
    }

    /// Waits until another chunk may be read.
    pub(super) async fn permit(
        &self,
        ahead: &Arc<Semaphore>,
    ) -> Result<OwnedSemaphorePermit, PipelineError> {
        let permit = self.room(ahead).await?;
        let lag_max_us = self.shared.settings.lag_max_ms.saturating_mul(1000);
        let mut told = false;
        while let Some(lag_us) = self.shared.progress.lag_us()
            && lag_us > lag_max_us
        {
            if !told {
                tracing::info!(
                    table = self.name(),
                    lag_ms = lag_us / 1000,
                    "the stream is behind; the copy rests"
                );
                told = true;
            }
            tokio::time::sleep(LAG_LOOK).await;
        }
        Ok(permit)
    }

    /// Begins a transaction, locks the definition, has the gate, and reads the definition unless it
    /// is the one known. `key_columns` are those that the copy began with.
    async fn look(
        &self,
        conn: &mut Conn,
        known: &mut Option<(String, Arc<ScanTable>)>,
        key_columns: Option<&str>,
    ) -> Result<Look, PipelineError> {
        let (database, table) = (&self.copy.database, &self.copy.table);
        let name = format!("{}.{}", quote_name(database), quote_name(table));
        sql(conn, "START TRANSACTION READ ONLY").await?;
        // It looks at no row, so it makes no read view.
        let locked = conn
            .query_drop(format!("SELECT 1 FROM {name} LIMIT 0"))
            .await;
        match locked {
            Ok(()) => {}
            // ER_NO_SUCH_TABLE, ER_BAD_DB_ERROR
            Err(mysql_async::Error::Server(error)) if matches!(error.code, 1146 | 1049) => {
                return self.gone(conn).await.map(|()| Look::Over);
            }
            Err(error) => return Err(failed("lock a table's definition", error)),
        }
        let ticket = self.low_water(conn).await?;
        let create: Option<(String, String)> = conn
            .query_first(format!("SHOW CREATE TABLE {name}"))
            .await
            .map_err(|error| failed("read a table's definition", error))?;
        let create = without_counter(&create.unwrap_or_default().1);
        let found = match known {
            Some((text, table)) if *text == create => Arc::clone(table),
            _ => {
                let read = ScanTable::read(conn, database, table).await;
                let Some(read) = read.map_err(CopyError::Scan)? else {
                    return self.gone(conn).await.map(|()| Look::Over);
                };
                let read = Arc::new(read);
                *known = Some((create, Arc::clone(&read)));
                read
            }
        };
        if self.may_copy_whole(&found) {
            self.say(Said::OtherKey);
            return Ok(Look::Over);
        }
        if !found.has_key() {
            return Err(CopyError::Keyless {
                tables: self.name(),
                next: super::begin::KEYLESS_ADVICE,
            }
            .into());
        }
        if key_columns.is_some_and(|columns| !is_same_key(columns, &key_columns_text(&found))) {
            self.say(Said::OtherKey);
            return Ok(Look::Over);
        }
        Ok(Look::Read(found, ticket))
    }

    pub(super) async fn gone(&self, conn: &mut Conn) -> Result<(), PipelineError> {
        sql(conn, "ROLLBACK").await?;
        let executed = executed(conn).await?;
        self.say(Said::Gone { executed });
        Ok(())
    }

    /// Holds the gate until the source shows all that was taken in; that is then the low water.
    async fn low_water(&self, conn: &mut Conn) -> Result<Ticket, PipelineError> {
        let (ticket, executed) = self.hold(conn).await?;
        self.say(Said::LowWater(ticket, executed));
        Ok(ticket)
    }

    /// Holds the gate, and waits until the source shows all that was taken in; answers what it
    /// shows. Nothing is taken in until the low water is said.
    pub(super) async fn hold(&self, conn: &mut Conn) -> Result<(Ticket, GtidSet), PipelineError> {
        let (answer, answered) = oneshot::channel();
        self.say(Said::Hold(answer));
        let (ticket, must_see) = answered.await.map_err(|_| PipelineError::QueueClosed)?;
        let began = Instant::now();
        loop {
            let executed = executed(conn).await?;
            let missing = must_see.subtract(&executed);
            if missing.is_empty() {
                return Ok((ticket, executed));
            }
            if began.elapsed() > VISIBLE_MAX {
                return Err(CopyError::NotVisible {
                    missing: short_set(&missing),
                    waited_s: VISIBLE_MAX.as_secs(),
                }
                .into());
            }
            let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{missing}', {VISIBLE_STEP_S})");
            let _: Option<u8> = conn
                .query_first(wait)
                .await
                .map_err(|error| failed("wait for transactions", error))?;
        }
    }

    fn key(
        &self,
        column: &'static str,
        json: &Option<String>,
    ) -> Result<Option<Key>, PipelineError> {
        let Some(json) = json else {
            return Ok(None);
        };
        serde_json::from_str(json).map(Some).map_err(|error| {
            CopyError::Record {
                table: self.name(),
                column,
                why: error.to_string(),
            }
            .into()
        })
    }

    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.copy.database, self.copy.table)
    }
}

pub(super) fn failed(doing: &'static str, cause: mysql_async::Error) -> PipelineError {
    CopyError::Scan(ScanError::Sql {
        table: String::new(),
        doing,
        cause: Box::new(cause),
    })
    .into()
}

pub(super) async fn sql(conn: &mut Conn, statement: &'static str) -> Result<(), PipelineError> {
    conn.query_drop(statement)
        .await
        .map_err(|error| failed(statement, error))
}

/// What the source has executed, and shows.
pub(super) async fn executed(conn: &mut Conn) -> Result<GtidSet, PipelineError> {
    let text: Option<String> = conn
        .query_first("SELECT @@GLOBAL.gtid_executed")
        .await
        .map_err(|error| failed("read gtid_executed", error))?;
    text.unwrap_or_default().parse().map_err(|error| {
        SourceError::Sql {
            about: "gtid_executed",
            cause: Box::new(mysql_async::Error::Other(Box::new(error))),
        }
        .into()
    })
}

/// The columns by which a table is read, with what decides their order; JSON.
fn key_columns_text(table: &ScanTable) -> String {
    let columns = &table.definition().columns;
    let texts: Vec<String> = table
        .key()
        .zip(table.key_names())
        .filter_map(|(at, (name, descending))| {
            let column = columns.get(at)?;
            let order = if descending { " DESC" } else { "" };
            let collation = column.collation.as_deref().unwrap_or_default();
            let text = format!("{name} {} {collation}", column.column_type);
            Some(format!("{}{order}", text.trim_end()))
        })
        .collect();
    serde_json::to_string(&texts).unwrap_or_default()
}

/// Whether two lists are the same; the sink's JSON comes back with other spaces.
fn is_same_key(one: &str, other: &str) -> bool {
    let columns = |text| serde_json::from_str::<Vec<String>>(text).ok();
    columns(one) == columns(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_however_its_json_is_spaced() {
        let one = r#"["`a` varchar(40) utf8mb4_bin","`b` int"]"#;
        assert!(is_same_key(&one.replace(',', ", "), one));
        assert!(!is_same_key(&one.replace("int", "int DESC"), one));
    }
}
