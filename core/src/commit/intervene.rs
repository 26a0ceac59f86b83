//! What an operator changes at a sink's place, beside the pipeline: in one transaction that nobody overtakes.
//!
//! The offset row is locked first, so nothing of the pipeline commits meanwhile; `commit_seq` goes up by one
//! last, so that a lane which was under way is refused at its next commit (`SinkError::Fenced`), ends its epoch
//! and reads everything anew. Generation, epoch and locks stay as they are: whoever runs the pipeline goes on.
//!
//! Invariants: `commit_seq` never goes back; nothing is visible before [`Intervention::commit`], and all of it
//! after; dropped without it, the server rolls back.

use mysql_async::Conn;
use towpath_protocol::gtid::{GtidOrigin, GtidSet};
use towpath_protocol::spec::Endpoint;
use uuid::Uuid;

use super::copies::{self, CopyState, TableCopy};
use super::offset::guard;
use super::session::{Session, quote};
use super::{SinkError, schema};

/// ER_BAD_DB_ERROR, ER_NO_SUCH_TABLE.
const NOT_THERE: [u16; 2] = [1049, 1146];

/// A transaction of the sink that holds the offset row of a pipeline.
pub struct Intervention {
    session: Session,
    key: String,
    key_values: String,
    commit_seq: u64,
    gtids: GtidSet,
    copies: Vec<TableCopy>,
}

impl Intervention {
    /// Connects, and locks the offset row: from here on the pipeline commits nothing.
    ///
    /// # Errors
    /// [`SinkError::NoPlace`] if the pipeline never ran into this sink, and those of the connection; a
    /// batch that is being written makes this wait, for the session's `innodb_lock_wait_timeout` at most.
    pub async fn begin(
        pipeline: &str,
        sink: &str,
        address: &Endpoint,
    ) -> Result<Intervention, SinkError> {
        let mut session = Session::connect(sink, address).await?;
        let key = format!("pipeline = {} AND sink = {}", quote(pipeline), quote(sink));
        ensure_tables(&mut session).await?;
        let no_place = || SinkError::NoPlace {
            sink: sink.to_owned(),
            pipeline: pipeline.to_owned(),
        };
        session.execute("lock the offset row", "BEGIN").await?;
        let sql =
            format!("SELECT commit_seq, source_uuid FROM towpath.`offset` WHERE {key} FOR UPDATE");
        let row: Option<(u64, Option<String>)> =
            match session.first("lock the offset row", &sql).await {
                Err(SinkError::Server { code, .. }) if NOT_THERE.contains(&code) => {
                    return Err(no_place());
                }
                row => row?,
            };
        let Some((commit_seq, Some(_))) = row else {
            return Err(no_place());
        };
        let sql = format!(
            "SELECT source_uuid, tag, intervals FROM towpath.offset_gtid WHERE {key} FOR UPDATE"
        );
        let origins = session.rows("read the offset", &sql).await?;
        let unreadable = |(what, why)| SinkError::OffsetRow {
            sink: sink.to_owned(),
            pipeline: pipeline.to_owned(),
            what,
            why,
        };
        let gtids = gtids_of(&origins).map_err(|why| unreadable(("towpath.offset_gtid", why)))?;
        let copies = copies::read(&mut session, &key, "FOR UPDATE").await?;
        let copies = copies.map_err(unreadable)?;
        Ok(Intervention {
            session,
            key,
            key_values: format!("{}, {}", quote(pipeline), quote(sink)),
            commit_seq,
            gtids,
            copies,
        })
    }

    /// What the sink holds, for as long as this transaction lasts.
    pub fn gtids(&self) -> &GtidSet {
        &self.gtids
    }

    /// The session, for rows: strict, in UTC, without foreign key checks.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The library's connection, for reading definitions.
    pub fn conn(&mut self) -> &mut Conn {
        self.session.conn()
    }

    /// How far each table's copy is.
    pub fn copies(&self) -> &[TableCopy] {
        &self.copies
    }

    /// From now on the table's rows are applied by key, whatever is there, until the sink holds `settles_at`.
    /// A table that settles already goes on to do so until it holds both sets; one that is being copied is left
    /// as it is, since it settles after that.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn settle(
        &mut self,
        database: &str,
        table: &str,
        settles_at: &GtidSet,
    ) -> Result<(), SinkError> {
        let mut copy = match self.copy_of(database, table) {
            Some(copy) if matches!(copy.state, CopyState::Waiting | CopyState::Copying) => {
                return Ok(());
            }
            Some(copy) => copy.clone(),
            None => TableCopy::waiting(database, table),
        };
        let mut all = settles_at.clone();
        if let (CopyState::Settling, Some(before)) = (copy.state, &copy.settles_at) {
            all.add_set(before);
        }
        copy.state = CopyState::Settling;
        copy.settles_at = Some(all);
        self.put("let a table settle", copy).await
    }

    /// The table is to be copied anew, only the rows that meet `condition` if there is one.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn copy_anew(
        &mut self,
        database: &str,
        table: &str,
        condition: Option<&str>,
    ) -> Result<(), SinkError> {
        let mut copy = TableCopy::waiting(database, table);
        copy.condition = condition.map(str::to_owned);
        self.put("have a table copied anew", copy).await
    }

    /// How far one table's copy is.
    pub fn copy_of(&self, database: &str, table: &str) -> Option<&TableCopy> {
        let mut all = self.copies.iter();
        all.find(|copy| copy.database == database && copy.table == table)
    }

    async fn put(&mut self, doing: &'static str, copy: TableCopy) -> Result<(), SinkError> {
        let sql = copies::put(&copy, &self.key_values);
        self.session.execute(doing, &sql).await?;
        let same = |other: &TableCopy| other.database == copy.database && other.table == copy.table;
        self.copies.retain(|other| !same(other));
        self.copies.push(copy);
        Ok(())
    }

    /// Puts everything in force, and ends the connection.
    ///
    /// # Errors
    /// Those of the connection: after [`SinkError::Connection`] nobody knows whether it took place.
    pub async fn commit(mut self) -> Result<(), SinkError> {
        let update = format!(
            "UPDATE towpath.`offset` SET commit_seq = commit_seq + 1 WHERE {} AND commit_seq = {}",
            self.key, self.commit_seq
        );
        // The guard fails unless the row is there, and COMMIT behind it then doesn't run.
        let sql = format!("{update}; {}; COMMIT", guard(1));
        let done = self.session.packet("commit", sql.as_bytes(), 3).await;
        done.map_err(|(_, error)| error)?;
        self.session.disconnect().await;
        Ok(())
    }
}

/// Creates the table of copies in a schema that an older version made. Before the transaction: it would end one.
async fn ensure_tables(session: &mut Session) -> Result<(), SinkError> {
    let found: Option<(u64, Option<u64>)> = session
        .first(
            "look for the offset tables",
            "SELECT COUNT(*), SUM(table_name = 'offset') FROM information_schema.tables \
             WHERE table_schema = 'towpath' AND table_name IN ('offset', 'offset_gtid', 'snapshot')",
        )
        .await?;
    let Some((tables, Some(1))) = found else {
        return Ok(());
    };
    if tables < schema::TABLES {
        for statement in schema::STATEMENTS {
            session
                .execute("create the offset tables", statement)
                .await?;
        }
    }
    Ok(())
}

/// The set of rows of `towpath.offset_gtid`: `source_uuid`, `tag`, `intervals`.
///
/// # Errors
/// What is wrong with one of them.
pub fn gtids_of(origins: &[(String, String, String)]) -> Result<GtidSet, String> {
    let mut gtids = GtidSet::new();
    for (uuid, tag, intervals) in origins {
        let origin = GtidOrigin {
            uuid: Uuid::parse_str(uuid).map_err(|error| format!("{uuid:?}: {error}"))?,
            tag: tag.clone(),
        };
        let part = GtidSet::from_intervals_text(&origin, intervals)
            .map_err(|error| format!("{origin:?}: {error}"))?;
        gtids.add_set(&part);
    }
    Ok(gtids)
}
