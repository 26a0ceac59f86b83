//! A table without a key: copied as of exactly one GTID set.
//!
//! The stream can't find such a table's rows again, so no change of it may be applied twice, and
//! none left out. A read view shows transactions a little before `gtid_executed` has them, so
//! comparing sets around it proves nothing. What does: a transaction that wrote to a table holds
//! the table's metadata lock until it is in `gtid_executed`. So the table is locked against writes
//! (`LOCK TABLES … READ`) for the moment in which another connection opens its read view and reads
//! `gtid_executed`. No writer is half way then, and what the view has of this table is what these
//! transactions left.
//!
//! The stream goes on to that very set, has all of it committed, and rests there until every row is
//! on the sink: from then on it is strict at once. Begun anew, the copy empties the table first.

use std::sync::Arc;
use std::time::Instant;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::sync::Semaphore;
use towpath_protocol::spec::{Endpoint, SnapshotSpec};

use super::error::CopyError;
use super::reader::{CHUNK_BYTES_MAX, Part, Reader, Rows, Said, executed, failed, sql};
use crate::apply::target::quote_name;
use crate::endpoint::{connect, sql_opts};
use crate::pipeline::PipelineError;
use crate::scan::ScanTable;
use crate::source::SourceError;

/// What is stored for the columns of no key.
pub(super) const NO_COLUMNS: &str = "[]";

/// While the lock is waited for, new writers of the table wait behind it. A transaction that takes
/// longer is not waited for: the copy tries again after a pause. Seconds.
const LOCK_WAIT_S: u32 = 2;

/// Whether a table may be copied without a key.
pub(crate) fn is_allowed(settings: &SnapshotSpec, database: &str, table: &str) -> bool {
    let allowed = settings.allow_keyless.as_ref();
    allowed.is_some_and(|filter| filter.matches(database, table))
}

/// Locks a table against writes for as long as the connection lives; `None` if there is no such
/// table.
///
/// # Errors
/// [`CopyError::Lock`], and those of the connection.
pub(super) async fn lock(
    endpoint: &Endpoint,
    database: &str,
    table: &str,
) -> Result<Option<Conn>, PipelineError> {
    let opts = sql_opts(endpoint).map_err(PipelineError::Endpoint)?;
    let mut conn = connect(opts, endpoint.tls)
        .await
        .map_err(|error| SourceError::from_login(endpoint, error))?;
    let (quoted_database, quoted_table) = (quote_name(database), quote_name(table));
    let statements = [
        format!("SET SESSION lock_wait_timeout = {LOCK_WAIT_S}"),
        format!("LOCK TABLES {quoted_database}.{quoted_table} READ"),
    ];
    for statement in statements {
        match conn.query_drop(statement).await {
            Ok(()) => {}
            // ER_NO_SUCH_TABLE, ER_BAD_DB_ERROR
            Err(mysql_async::Error::Server(error)) if matches!(error.code, 1146 | 1049) => {
                return Ok(None);
            }
            Err(cause) => {
                return Err(CopyError::Lock {
                    table: format!("{database}.{table}"),
                    grant: format!("GRANT SELECT, LOCK TABLES ON {quoted_database}.*"),
                    cause: Box::new(cause),
                }
                .into());
            }
        }
    }
    Ok(Some(conn))
}

impl Reader {
    /// Whether a table has no key to read it by, and may be copied all the same.
    pub(super) fn may_copy_whole(&self, table: &ScanTable) -> bool {
        let (database, name) = (&self.copy.database, &self.copy.table);
        !table.has_key() && is_allowed(&self.shared.settings, database, name)
    }

    pub(super) async fn is_to_copy_whole(&self, conn: &mut Conn) -> Result<bool, PipelineError> {
        let table = ScanTable::read(conn, &self.copy.database, &self.copy.table).await;
        let table = table.map_err(CopyError::Scan)?;
        Ok(table.is_some_and(|table| self.may_copy_whole(&table)))
    }

    async fn has_read_views(&self, conn: &mut Conn) -> Result<bool, PipelineError> {
        let transactional: Option<u8> = conn
            .exec_first(
                "SELECT 1 FROM information_schema.tables t JOIN information_schema.engines e USING (ENGINE) \
                 WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ? AND e.TRANSACTIONS = 'YES'",
                (&self.copy.database, &self.copy.table),
            )
            .await
            .map_err(|error| failed("read a table's engine", error))?;
        Ok(transactional.is_some())
    }

    /// Copies the table in one read view, while the stream rests.
    pub(super) async fn copy_whole(
        &self,
        mut conn: Conn,
        ahead: &Arc<Semaphore>,
    ) -> Result<(), PipelineError> {
        let (database, table) = (&self.copy.database, &self.copy.table);
        let permit = self.permit(ahead).await?;
        let (ticket, _) = self.hold(&mut conn).await?;
        let Some(lock) = lock(&self.shared.endpoint, database, table).await? else {
            return self.gone(&mut conn).await;
        };
        sql(&mut conn, "START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
        let executed = executed(&mut conn).await?;
        // From here on this transaction keeps the definition as it is.
        let name = format!("{}.{}", quote_name(database), quote_name(table));
        conn.query_drop(format!("SELECT 1 FROM {name} LIMIT 0"))
            .await
            .map_err(|error| failed("lock a table's definition", error))?;
        // An engine without transactions has no read view: there the lock is kept.
        let lock = if self.has_read_views(&mut conn).await? {
            let _ = lock.disconnect().await;
            None
        } else {
            Some(lock)
        };
        let table = ScanTable::read(&mut conn, database, table).await;
        let Some(table) = table.map_err(CopyError::Scan)? else {
            return self.gone(&mut conn).await;
        };
        if !self.may_copy_whole(&table) {
            self.say(Said::OtherKey);
            return Ok(());
        }
        let table = Arc::new(table);
        tracing::info!(
            table = self.name(), gtid_set = %executed, rows_estimated = table.rows_estimate(),
            "copying a table without a key, as of one moment: the stream rests meanwhile"
        );
        self.say(Said::LowWater(ticket, executed.clone()));
        self.say(Said::Part(Part {
            ticket,
            table: Arc::clone(&table),
            rows: Rows::Begin {
                until: None,
                key_columns: NO_COLUMNS.to_owned(),
            },
            permit,
            keeps_gate: true,
        }));
        let condition = self.copy.condition.as_deref();
        let rows = table.rows(&mut conn, condition).await;
        let mut rows = rows.map_err(CopyError::Scan)?;
        let mut rows_max = self.first_rows();
        loop {
            // Not `permit`: the stream, which rests for this copy, can't get any nearer.
            let permit = self.room(ahead).await?;
            let began = Instant::now();
            let chunk = rows.next(u64::from(rows_max), CHUNK_BYTES_MAX).await;
            let chunk = chunk.map_err(CopyError::Scan)?;
            let (ended, read) = (chunk.ended, chunk.rows);
            rows_max = self.next_rows(rows_max, read, read, began);
            if read > 0 {
                self.say(Said::Part(Part {
                    ticket,
                    table: Arc::clone(&table),
                    rows: Rows::Chunk {
                        range: Default::default(),
                        chunk,
                    },
                    permit,
                    keeps_gate: true,
                }));
                self.shared.pace.lock().await.passed(read);
            }
            if ended {
                break;
            }
        }
        rows.close().await.map_err(CopyError::Scan)?;
        sql(&mut conn, "COMMIT").await?;
        if let Some(lock) = lock {
            let _ = lock.disconnect().await;
        }
        self.say(Said::End {
            executed,
            exact: true,
        });
        let _ = conn.disconnect().await;
        Ok(())
    }
}
