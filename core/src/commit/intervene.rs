//! What an operator changes at a sink's place, beside the pipeline: in one transaction that nobody
//! overtakes.
//!
//! The offset row is locked first, so nothing of the pipeline commits meanwhile; `commit_seq` goes
//! up by one last, so that a lane which was under way is refused at its next commit
//! (`SinkError::Fenced`), or sees it when it has nothing to commit, ends its epoch and reads
//! everything anew. Generation, epoch and locks stay as they are: whoever runs the pipeline goes
//! on, unless the row was given to another directory.
//!
//! Invariants: `commit_seq` never goes back; nothing is visible before [`Intervention::commit`],
//! and all of it after; dropped without it, the server rolls back.

use std::collections::BTreeSet;

use mysql_async::Conn;
use towpath_protocol::epoch::{Epoch, Generation};
use towpath_protocol::gtid::{GtidOrigin, GtidSet};
use towpath_protocol::spec::Endpoint;
use uuid::Uuid;

use super::copies::{self, CopyState, TableCopy};
use super::ddl::DdlIntent;
use super::lock::{Lane, lock_name};
use super::offset::{INTERVALS_MAX, guard};
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
    pipeline_uuid: Uuid,
    owner: Owner,
    intent: Option<DdlIntent>,
    gtids: GtidSet,
    copies: Vec<TableCopy>,
    /// What else changes in the offset row.
    assignments: Vec<String>,
}

/// Whose the offset row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The directory whose epochs these are; `None` until a Core of one took the sink over.
    pub cluster: Option<String>,
    /// Generation of the last takeover.
    pub generation: Generation,
    /// Its epoch.
    pub epoch: Epoch,
    /// Who it was: host and process.
    pub name: String,
}

/// `commit_seq`, `source_uuid`, `pipeline_uuid`, `cluster`, `generation`, `epoch`, `owner`,
/// `ddl_intent`.
type Columns = (
    u64,
    Option<String>,
    String,
    Option<String>,
    u64,
    u64,
    String,
    Option<String>,
);

impl Intervention {
    /// Connects, and locks the offset row: from here on the pipeline commits nothing.
    ///
    /// # Errors
    /// [`SinkError::NoPlace`] if the pipeline never ran into this sink, and those of the
    /// connection; a batch that is being written makes this wait, for the session's
    /// `innodb_lock_wait_timeout` at most.
    pub async fn begin(
        pipeline: &str,
        sink: &str,
        address: &Endpoint,
    ) -> Result<Intervention, SinkError> {
        let (change, has_place) = Self::lock(pipeline, sink, address).await?;
        if !has_place {
            return Err(SinkError::NoPlace {
                sink: sink.to_owned(),
                pipeline: pipeline.to_owned(),
            });
        }
        Ok(change)
    }

    /// As [`Intervention::begin`], also where the pipeline took the sink over and never committed.
    ///
    /// # Errors
    /// As [`Intervention::begin`].
    pub async fn begin_of_row(
        pipeline: &str,
        sink: &str,
        address: &Endpoint,
    ) -> Result<Intervention, SinkError> {
        let (change, _) = Self::lock(pipeline, sink, address).await?;
        Ok(change)
    }

    /// Locks the row; also tells whether there was a commit.
    async fn lock(
        pipeline: &str,
        sink: &str,
        address: &Endpoint,
    ) -> Result<(Intervention, bool), SinkError> {
        let mut session = Session::connect(sink, address).await?;
        let key = format!("pipeline = {} AND sink = {}", quote(pipeline), quote(sink));
        ensure_tables(&mut session).await?;
        let no_place = || SinkError::NoPlace {
            sink: sink.to_owned(),
            pipeline: pipeline.to_owned(),
        };
        session.execute("lock the offset row", "BEGIN").await?;
        let sql = format!(
            "SELECT commit_seq, source_uuid, pipeline_uuid, cluster, generation, epoch, owner, \
             CAST(ddl_intent AS CHAR) FROM towpath.`offset` WHERE {key} FOR UPDATE"
        );
        let row: Option<Columns> = match session.first("lock the offset row", &sql).await {
            Err(SinkError::Server { code, .. }) if NOT_THERE.contains(&code) => {
                return Err(no_place());
            }
            row => row?,
        };
        let Some((commit_seq, source_uuid, uuid, cluster, generation, epoch, name, intent)) = row
        else {
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
        let pipeline_uuid = Uuid::parse_str(&uuid)
            .map_err(|error| unreadable(("towpath.offset.pipeline_uuid", error.to_string())))?;
        let intent = intent.as_deref().map(DdlIntent::from_json).transpose();
        let intent =
            intent.map_err(|error| unreadable(("towpath.offset.ddl_intent", error.to_string())))?;
        let copies = copies::read(&mut session, &key, "FOR UPDATE").await?;
        let copies = copies.map_err(unreadable)?;
        let change = Intervention {
            session,
            key,
            key_values: format!("{}, {}", quote(pipeline), quote(sink)),
            commit_seq,
            pipeline_uuid,
            owner: Owner {
                cluster,
                generation: Generation(generation),
                epoch: Epoch(epoch),
                name,
            },
            intent,
            gtids,
            copies,
            assignments: Vec::new(),
        };
        Ok((change, source_uuid.is_some()))
    }

    /// Whose the row is.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The DDL statement that is in progress.
    pub fn intent(&self) -> Option<&DdlIntent> {
        self.intent.as_ref()
    }

    /// Whether a process holds the lock of the connection that runs DDL: an intent's statement may
    /// be running.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn may_run_ddl(&mut self) -> Result<bool, SinkError> {
        let name = lock_name(self.pipeline_uuid, self.session.sink(), Lane::Ddl);
        let sql = format!("SELECT IS_USED_LOCK('{name}')");
        let holder: Option<Option<u64>> = self.session.first("see who holds a lock", &sql).await?;
        Ok(holder.flatten().is_some())
    }

    /// The statement in progress is not to be asked about any more.
    pub fn forget_intent(&mut self) {
        self.intent = None;
        self.assignments.push("ddl_intent = NULL".to_owned());
    }

    /// Makes the row that of another directory. Its generation and epoch stay: the next takeover
    /// must be above.
    pub fn give_to(&mut self, cluster: Uuid) {
        self.assignments.push(format!("cluster = '{cluster}'"));
        self.owner.cluster = Some(cluster.to_string());
    }

    /// Where the source was at the last commit doesn't hold any more.
    pub fn forget_position(&mut self) {
        for column in ["source_file", "source_offset", "source_commit_time"] {
            self.assignments.push(format!("{column} = NULL"));
        }
    }

    /// Has the sink count as holding `gtids`, and nothing else.
    ///
    /// # Errors
    /// [`SinkError::TooManyIntervals`], and those of the connection.
    pub async fn set_gtids(&mut self, gtids: GtidSet) -> Result<(), SinkError> {
        if gtids.interval_count() > INTERVALS_MAX {
            return Err(SinkError::TooManyIntervals {
                sink: self.session.sink().to_owned(),
                intervals: gtids.interval_count(),
                intervals_max: INTERVALS_MAX,
            });
        }
        let origins: BTreeSet<&GtidOrigin> = [&self.gtids, &gtids]
            .into_iter()
            .flat_map(|set| set.origins().map(|(origin, _)| origin))
            .collect();
        for origin in origins {
            // An origin of which nothing is left keeps a row without intervals: the account needn't
            // delete.
            let intervals = gtids.intervals_text(origin).unwrap_or_default();
            let sql = format!(
                "INSERT INTO towpath.offset_gtid (pipeline, sink, source_uuid, tag, intervals) VALUES \
                 ({}, '{}', '{}', '{intervals}') ON DUPLICATE KEY UPDATE intervals = VALUES(intervals)",
                self.key_values, origin.uuid, origin.tag
            );
            self.session.execute("move the offset", &sql).await?;
        }
        self.gtids = gtids;
        Ok(())
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

    /// From now on the table's rows are applied by key, whatever is there, until the sink holds
    /// `settles_at`. A table that settles already goes on to do so until it holds both sets; one
    /// that is being copied is left as it is, since it settles after that.
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

    /// Changes nothing, and ends the connection.
    pub async fn give_up(self) {
        self.session.disconnect().await;
    }

    /// Puts everything in force, and ends the connection.
    ///
    /// # Errors
    /// Those of the connection: after [`SinkError::Connection`] nobody knows whether it took place.
    pub async fn commit(mut self) -> Result<(), SinkError> {
        let mut set = "commit_seq = commit_seq + 1".to_owned();
        for assignment in &self.assignments {
            set.push_str(", ");
            set.push_str(assignment);
        }
        let update = format!(
            "UPDATE towpath.`offset` SET {set} WHERE {} AND commit_seq = {}",
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

/// Creates the table of copies in a schema that an older version made. Before the transaction: it
/// would end one.
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
