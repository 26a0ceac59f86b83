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

use super::SinkError;
use super::offset::guard;
use super::session::{Session, quote};

/// ER_BAD_DB_ERROR, ER_NO_SUCH_TABLE.
const NOT_THERE: [u16; 2] = [1049, 1146];

/// A transaction of the sink that holds the offset row of a pipeline.
pub struct Intervention {
    session: Session,
    pipeline: String,
    key: String,
    key_values: String,
    commit_seq: u64,
    gtids: GtidSet,
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
        let no_place = || SinkError::NoPlace {
            sink: sink.to_owned(),
            pipeline: pipeline.to_owned(),
        };
        session.execute("lock the offset row", "BEGIN").await?;
        let sql = format!(
            "SELECT commit_seq, source_uuid FROM towpath.`offset` WHERE {key} FOR UPDATE"
        );
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
        let gtids = gtids_of(&origins).map_err(|why| SinkError::OffsetRow {
            sink: sink.to_owned(),
            pipeline: pipeline.to_owned(),
            what: "towpath.offset_gtid",
            why,
        })?;
        Ok(Intervention {
            session,
            pipeline: pipeline.to_owned(),
            key,
            key_values: format!("{}, {}", quote(pipeline), quote(sink)),
            commit_seq,
            gtids,
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

    /// How far the copy of a table is, as `towpath.snapshot` says; None if it isn't listed there.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn copy_state(
        &mut self,
        database: &str,
        table: &str,
    ) -> Result<Option<CopyState>, SinkError> {
        let sql = format!(
            "SELECT state, settles_at FROM towpath.snapshot WHERE {} AND `database` = {} AND \
             `table` = {} FOR UPDATE",
            self.key,
            quote(database),
            quote(table)
        );
        let row: Option<(String, Option<String>)> =
            self.session.first("read the state of a copy", &sql).await?;
        let Some((state, settles_at)) = row else {
            return Ok(None);
        };
        let settles_at = settles_at.unwrap_or_default();
        let settles_at = settles_at.parse().map_err(|error| SinkError::OffsetRow {
            sink: self.session.sink().to_owned(),
            pipeline: self.pipeline.clone(),
            what: "towpath.snapshot.settles_at",
            why: format!("{error}"),
        })?;
        Ok(Some(CopyState { state, settles_at }))
    }

    /// From now on the table's rows are applied by key, whatever is there, until the sink holds `settles_at`.
    /// A table that settles already goes on to do so until it holds both sets.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn settle(
        &mut self,
        database: &str,
        table: &str,
        settles_at: &GtidSet,
    ) -> Result<(), SinkError> {
        let mut all = settles_at.clone();
        if let Some(CopyState { state, settles_at }) = self.copy_state(database, table).await?
            && state == "settling"
        {
            all.add_set(&settles_at);
        }
        let sql = format!(
            "INSERT INTO towpath.snapshot (pipeline, sink, `database`, `table`, state, settles_at, begun) \
             VALUES ({}, {}, {}, 'settling', '{all}', UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE \
             state = 'settling', settles_at = VALUES(settles_at), ended = NULL",
            self.key_values,
            quote(database),
            quote(table)
        );
        self.session.execute("let a table settle", &sql).await?;
        Ok(())
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
        let condition = condition.map_or_else(|| "NULL".to_owned(), quote);
        let sql = format!(
            "REPLACE INTO towpath.snapshot (pipeline, sink, `database`, `table`, state, `condition`) \
             VALUES ({}, {}, {}, 'waiting', {condition})",
            self.key_values,
            quote(database),
            quote(table),
        );
        self.session
            .execute("have a table copied anew", &sql)
            .await?;
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

/// A row of `towpath.snapshot`, as far as an operator's change depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyState {
    /// `waiting`, `copying`, `settling` or `done`.
    pub state: String,
    /// The table is strict again once the sink holds this set.
    pub settles_at: GtidSet,
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
