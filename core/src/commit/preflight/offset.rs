//! The offset row as an onlooker reads it: without a lock, and old when it is printed. Nothing
//! resumes from it.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::position::BinlogPosition;
use uuid::Uuid;

use crate::commit::ddl::DdlIntent;
use crate::commit::intervene::gtids_of;
use crate::commit::lock::{Lane, lock_name};
use crate::commit::session::quote;

/// The offset row, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Offset {
    /// There is none: the pipeline never ran into this sink.
    #[default]
    Absent,
    /// Our account may not read it.
    Hidden,
    /// It can't be understood.
    Unreadable(String),
    /// There is one.
    Stored(Box<StoredOffset>),
}

/// The offset row of a pipeline and sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredOffset {
    /// The pipeline's UUID.
    pub pipeline_uuid: Uuid,
    /// The source that it was read from; None before the first commit.
    pub source_uuid: Option<Uuid>,
    /// Who may write.
    pub epoch: u64,
    /// Whose epoch it is: host and process.
    pub owner: String,
    /// Commits so far.
    pub commit_seq: u64,
    /// What the sink holds; None before the first commit.
    pub gtids: Option<GtidSet>,
    /// Where the source was at the last commit.
    pub position: Option<BinlogPosition>,
    /// The DDL statement in progress.
    pub ddl_intent: Option<DdlIntent>,
    /// The connection that holds the lock of the pipeline; None while none runs.
    pub holder: Option<Holder>,
}

/// Who holds the lock of a running pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its connection id.
    pub connection_id: u64,
    /// Whether it logged in as another user than ours, as far as we can see.
    pub is_other_user: bool,
}

/// Reads the row of a pipeline and sink, without a lock.
///
/// # Errors
/// Those of the connection.
pub async fn read_offset(conn: &mut Conn, pipeline: &str, sink: &str) -> Result<Offset, Error> {
    let key = format!("pipeline = {} AND sink = {}", quote(pipeline), quote(sink));
    let row: Result<Option<mysql_async::Row>, Error> = conn
        .query_first(format!(
            "SELECT pipeline_uuid, source_uuid, epoch, owner, commit_seq, source_file, \
             source_offset, CAST(ddl_intent AS CHAR) FROM towpath.`offset` WHERE {key}"
        ))
        .await;
    let row = match row {
        Ok(Some(row)) => row,
        Ok(None) => return Ok(Offset::Absent),
        Err(Error::Server(error)) => {
            return match error.code {
                // No such database, no such table.
                1049 | 1146 => Ok(Offset::Absent),
                1044 | 1142 | 1143 => Ok(Offset::Hidden),
                1054 => Ok(Offset::Unreadable(error.message)),
                _ => Err(Error::Server(error)),
            };
        }
        Err(error) => return Err(error),
    };
    let origins: Vec<(String, String, String)> = match conn
        .query(format!(
            "SELECT source_uuid, tag, intervals FROM towpath.offset_gtid WHERE {key}"
        ))
        .await
    {
        Ok(origins) => origins,
        Err(Error::Server(error)) if matches!(error.code, 1142 | 1143) => {
            return Ok(Offset::Hidden);
        }
        Err(Error::Server(error)) if matches!(error.code, 1054 | 1146) => {
            return Ok(Offset::Unreadable(error.message));
        }
        Err(error) => return Err(error),
    };
    let mut stored = match parse_offset(&row, &origins) {
        Ok(stored) => stored,
        Err(what) => return Ok(Offset::Unreadable(what)),
    };
    let lock = lock_name(stored.pipeline_uuid, sink, Lane::Rows(0));
    let holder: Option<Option<u64>> = conn
        .query_first(format!("SELECT IS_USED_LOCK('{lock}')"))
        .await?;
    if let Some(connection_id) = holder.flatten() {
        stored.holder = Some(Holder {
            connection_id,
            is_other_user: is_other_user(conn, connection_id).await?,
        });
    }
    Ok(Offset::Stored(Box::new(stored)))
}

fn parse_offset(
    row: &mysql_async::Row,
    origins: &[(String, String, String)],
) -> Result<StoredOffset, String> {
    fn column<T: mysql_async::prelude::FromValue>(
        row: &mysql_async::Row,
        at: usize,
        name: &str,
    ) -> Result<T, String> {
        let value = row.get_opt(at).ok_or_else(|| format!("no column {name}"))?;
        value.map_err(|error| format!("{name}: {error}"))
    }
    let uuid = |name: &str, text: &str| {
        Uuid::parse_str(text).map_err(|error| format!("{name} {text:?}: {error}"))
    };
    let source_uuid: Option<String> = column(row, 1, "source_uuid")?;
    let source_uuid = source_uuid
        .map(|text| uuid("source_uuid", &text))
        .transpose()?;
    let file: Option<String> = column(row, 5, "source_file")?;
    let offset: Option<u64> = column(row, 6, "source_offset")?;
    let intent: Option<String> = column(row, 7, "ddl_intent")?;
    let gtids = gtids_of(origins).map_err(|why| format!("offset_gtid: {why}"))?;
    Ok(StoredOffset {
        pipeline_uuid: uuid("pipeline_uuid", &column::<String>(row, 0, "pipeline_uuid")?)?,
        epoch: column(row, 2, "epoch")?,
        owner: column(row, 3, "owner")?,
        commit_seq: column(row, 4, "commit_seq")?,
        gtids: source_uuid.is_some().then_some(gtids),
        source_uuid,
        position: file
            .zip(offset)
            .map(|(file, offset)| BinlogPosition { file, offset }),
        ddl_intent: intent
            .map(|text| DdlIntent::from_json(&text))
            .transpose()
            .map_err(|error| format!("ddl_intent: {error}"))?,
        holder: None,
    })
}

/// Whether a connection isn't one of our user's. Without PROCESS the list holds only ours.
async fn is_other_user(conn: &mut Conn, connection_id: u64) -> Result<bool, Error> {
    let our_user: Option<String> = conn
        .query_first("SELECT SUBSTRING_INDEX(USER(), '@', 1)")
        .await?;
    let our_user = our_user.unwrap_or_default();
    let processes: Vec<mysql_async::Row> = conn.query("SHOW PROCESSLIST").await?;
    let is_theirs = |row: &mysql_async::Row| {
        let id: u64 = row.get_opt(0)?.ok()?;
        let user: String = row.get_opt(1)?.ok()?;
        Some(id == connection_id && user == our_user)
    };
    Ok(!processes.iter().any(|row| is_theirs(row).unwrap_or(false)))
}
