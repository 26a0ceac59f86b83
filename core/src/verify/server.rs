//! The two servers, as far as comparing asks them: they are read, never written to.

use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Row, Value};
use tokio::time::Instant;
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::Endpoint;

use super::VerifyError;
use super::statement::{RangeDigest, Statements};
use crate::check::Side;
use crate::commit::intervene::gtids_of;
use crate::commit::session::quote;
use crate::scan::{self, Executed, Key, KeyRange, executed_with_all_seen};
use crate::source::SourceError;
use crate::{commit::SinkError, endpoint};

/// How often the sink's offset is looked at while it is waited for.
const OFFSET_PAUSE: Duration = Duration::from_millis(50);

/// Rows that are looked up by key in one statement: each has its own SELECT in it, with all of the
/// table's columns.
const LOOKUPS_PER_STATEMENT_MAX: usize = 20;

/// A row's key and the hash of all that is compared of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HashedRow {
    pub(super) key: Key,
    pub(super) hash: String,
}

/// A row that was looked up by key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FoundRow {
    /// Its own key, as literals: not always the one that it was looked up by, to a collation.
    pub(super) literals: Vec<String>,
    /// The key as people read it.
    pub(super) shown: Vec<String>,
    /// A hash per cell that is compared.
    pub(super) cells: Vec<String>,
}

/// A server that is read.
pub(super) struct Server {
    side: Side,
    conn: Conn,
}

impl Server {
    /// Connects.
    pub(super) async fn connect(
        side: Side,
        sink: &str,
        address: &Endpoint,
    ) -> Result<Self, VerifyError> {
        let opts = endpoint::sql_opts(address)?.stmt_cache_size(0);
        let conn = endpoint::connect(opts, address.tls).await;
        let mut conn = conn.map_err(|error| match side {
            Side::Source => VerifyError::from(SourceError::from_login(address, error)),
            Side::Sink => SinkError::from_driver(sink, "connect", error).into(),
        })?;
        scan::prepare(&mut conn)
            .await
            .map_err(|error| VerifyError::Scan { side, error })?;
        Ok(Self { side, conn })
    }

    /// The library's connection, for definitions.
    pub(super) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    async fn rows<T: FromRow + Send + 'static>(
        &mut self,
        doing: &'static str,
        table: &str,
        sql: &str,
    ) -> Result<Vec<T>, VerifyError> {
        let side = self.side;
        let rows = self.conn.query(sql).await;
        rows.map_err(|cause| VerifyError::statement(side, doing, table, cause))
    }

    async fn run(&mut self, doing: &'static str, sql: &str) -> Result<(), VerifyError> {
        let side = self.side;
        let done = self.conn.query_drop(sql).await;
        done.map_err(|cause| VerifyError::statement(side, doing, "", cause))
    }

    /// What the rows of a range come to.
    pub(super) async fn digest(
        &mut self,
        of: &Statements,
        range: &KeyRange,
    ) -> Result<RangeDigest, VerifyError> {
        let doing = "hash the rows";
        let sql = of.digest(self.side, range);
        let rows: Vec<(u64, u64, u64, String)> = self.rows(doing, of.name(), &sql).await?;
        let Some((rows, hashed, folded, sum)) = rows.into_iter().next() else {
            return Err(self.answer(doing, "no row".to_owned()));
        };
        if hashed != rows {
            let why = format!(
                "{} of {rows} rows of {} have no hash: is one larger than max_allowed_packet?",
                rows - hashed,
                of.name()
            );
            return Err(self.answer(doing, why));
        }
        Ok(RangeDigest { rows, folded, sum })
    }

    /// The key of the row that many rows into a range, if there is one behind it in the range.
    pub(super) async fn boundary(
        &mut self,
        of: &Statements,
        range: &KeyRange,
        rows: u64,
    ) -> Result<Option<Key>, VerifyError> {
        let sql = of.boundary(self.side, range, rows);
        let rows: Vec<Row> = self.rows("read keys", of.name(), &sql).await?;
        let mut keys = rows.into_iter().map(|row| self.texts(row, "read keys"));
        // The last key of a range makes no two ranges of it.
        match (keys.next(), keys.next()) {
            (Some(key), Some(_)) => Ok(Some(Key::new(key?))),
            _ => Ok(None),
        }
    }

    /// The rows of a range, hashed.
    pub(super) async fn hashed(
        &mut self,
        of: &Statements,
        range: &KeyRange,
    ) -> Result<Vec<HashedRow>, VerifyError> {
        let doing = "read rows";
        let sql = of.hashed(self.side, range);
        let rows: Vec<Row> = self.rows(doing, of.name(), &sql).await?;
        rows.into_iter()
            .map(|row| {
                let mut texts = self.texts(row, doing)?;
                let hash = texts.pop().unwrap_or_default();
                Ok(HashedRow {
                    key: Key::new(texts),
                    hash,
                })
            })
            .collect()
    }

    /// The rows of some keys, by each key: none, or one. (More than one if a sink has no such
    /// unique key.)
    pub(super) async fn look_up(
        &mut self,
        of: &Statements,
        keys: &[&Key],
    ) -> Result<Vec<Vec<FoundRow>>, VerifyError> {
        let doing = "look rows up";
        let mut found = vec![Vec::new(); keys.len()];
        for (chunk, some) in keys.chunks(LOOKUPS_PER_STATEMENT_MAX).enumerate() {
            let first = chunk * LOOKUPS_PER_STATEMENT_MAX;
            let sql = of.look_up(self.side, first, some);
            let rows: Vec<Row> = self.rows(doing, of.name(), &sql).await?;
            for row in rows {
                let mut texts = self.texts(row, doing)?.into_iter();
                let at = texts.next().and_then(|at| at.parse::<usize>().ok());
                let width = of.key_width();
                let row = FoundRow {
                    literals: texts.by_ref().take(width).collect(),
                    shown: texts.by_ref().take(width).collect(),
                    cells: texts.collect(),
                };
                match at.and_then(|at| found.get_mut(at)) {
                    Some(rows) => rows.push(row),
                    None => return Err(self.answer(doing, "a row of no key".to_owned())),
                }
            }
        }
        found.iter_mut().for_each(|rows| rows.sort_unstable());
        Ok(found)
    }

    /// A row whose columns are all texts.
    fn texts(&self, row: Row, doing: &'static str) -> Result<Vec<String>, VerifyError> {
        let text = |value: Value| match value {
            Value::Bytes(bytes) => String::from_utf8(bytes).map_err(|error| error.to_string()),
            other => Err(format!("{} where a text should be", other.as_sql(true))),
        };
        let texts: Result<Vec<String>, String> = row.unwrap().into_iter().map(text).collect();
        texts.map_err(|why| self.answer(doing, why))
    }

    fn answer(&self, doing: &'static str, why: String) -> VerifyError {
        VerifyError::Answer {
            side: self.side,
            doing,
            why,
        }
    }

    /// All transactions that the server has executed, by now.
    pub(super) async fn gtid_executed(&mut self) -> Result<GtidSet, VerifyError> {
        let doing = "read gtid_executed";
        let sets: Vec<String> = self
            .rows(doing, "", "SELECT @@GLOBAL.gtid_executed")
            .await?;
        let set = sets.into_iter().next().unwrap_or_default();
        set.parse()
            .map_err(|error| self.answer(doing, format!("{error}")))
    }

    /// All transactions that the server has executed, and that a read before this may have seen.
    pub(super) async fn executed_with_all_seen(
        &mut self,
        patience: Duration,
    ) -> Result<GtidSet, VerifyError> {
        let doing = "read gtid_executed";
        let executed = executed_with_all_seen(&mut self.conn, patience).await;
        match executed.map_err(|cause| VerifyError::statement(self.side, doing, "", cause))? {
            Executed::All(set) => Ok(set),
            Executed::Not { owned } => {
                let why = format!(
                    "{owned} is about to be executed for {} s",
                    patience.as_secs()
                );
                Err(self.answer(doing, why))
            }
        }
    }

    /// Begins a read view: what is read from here on is as of one moment.
    pub(super) async fn begin_view(&mut self) -> Result<(), VerifyError> {
        let sql = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
        self.run("begin a read view", sql).await
    }

    /// Ends it.
    pub(super) async fn end_view(&mut self) -> Result<(), VerifyError> {
        self.run("end a read view", "COMMIT").await
    }

    /// What the sink holds of the source.
    pub(super) async fn offset(&mut self, place: &Place) -> Result<GtidSet, VerifyError> {
        let doing = "read the offset";
        let sql = format!(
            "SELECT source_uuid, tag, intervals FROM towpath.offset_gtid WHERE {}",
            place.condition()
        );
        let origins: Vec<(String, String, String)> = self.rows(doing, "", &sql).await?;
        gtids_of(&origins).map_err(|why| self.answer(doing, why))
    }

    /// The state of each table's copy, where `towpath.snapshot` has one.
    pub(super) async fn copies(
        &mut self,
        place: &Place,
    ) -> Result<Vec<(String, String, String)>, VerifyError> {
        let sql = format!(
            "SELECT `database`, `table`, state FROM towpath.snapshot WHERE {}",
            place.condition()
        );
        match self.rows("read the copies' states", "", &sql).await {
            // ER_NO_SUCH_TABLE: made by a version that copied nothing.
            Err(VerifyError::Statement { cause, .. }) if matches!(&*cause, mysql_async::Error::Server(error) if error.code == 1146) => {
                Ok(Vec::new())
            }
            rows => rows,
        }
    }

    /// Waits until the sink holds `gtids`; as long as it gets nearer, or `patience`.
    pub(super) async fn reaches(
        &mut self,
        place: &Place,
        gtids: &GtidSet,
        patience: Duration,
    ) -> Result<(), VerifyError> {
        let mut nearest = u64::MAX;
        let mut moved = Instant::now();
        loop {
            let held = self.offset(place).await?;
            let behind = gtids.subtract(&held).count();
            if behind == 0 {
                return Ok(());
            }
            // What comes behind `gtids` counts for nothing: a transaction of these may never come.
            if behind < nearest {
                (nearest, moved) = (behind, Instant::now());
            }
            if moved.elapsed() >= patience {
                return Err(VerifyError::StandsStill {
                    behind,
                    held: held.to_string(),
                    waited_s: patience.as_secs(),
                });
            }
            tokio::time::sleep(OFFSET_PAUSE).await;
        }
    }

    /// Ends the connection politely; errors no longer matter.
    pub(super) async fn disconnect(self) {
        let _ = self.conn.disconnect().await;
    }
}

/// Whose offset: a pipeline and its sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pipeline: String,
    pub(super) sink: String,
}

impl Place {
    fn condition(&self) -> String {
        let (pipeline, sink) = (quote(&self.pipeline), quote(&self.sink));
        format!("pipeline = {pipeline} AND sink = {sink}")
    }
}
