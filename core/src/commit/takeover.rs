//! Taking a sink over: after this, no other connection writes under an older epoch.
//!
//! The order matters. Locks first: as long as the predecessor's connection lives, its open
//! transaction may still commit, and the server grants its lock only when it is gone and rolled
//! back. The epoch second: from then on a predecessor that comes back (it was frozen, or cut off)
//! fails its compare-and-set. The position last, `FOR UPDATE`, when nobody can move it any more.

use std::time::{Duration, Instant};

use towpath_protocol::epoch::{Epoch, Generation};
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::position::BinlogPosition;
use tracing::{info, warn};
use uuid::Uuid;

use super::copies::{self, TableCopy};
use super::ddl::DdlIntent;
use super::intervene::gtids_of;
use super::lock::{Lane, lock_name};
use super::session::{Session, quote};
use super::{SinkError, schema};
use crate::failpoint::Point;

/// A predecessor's lock is waited for this long: its rollback takes about as long as its open
/// transaction did, and batches are bounded.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(120);

/// One wait inside `GET_LOCK`, seconds; between two of them the offset row is looked at again.
const LOCK_WAIT_STEP_S: u32 = 1;

/// By which right a sink is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Right {
    /// There is no directory: the row's epoch plus one. Not for a row that a directory has.
    #[default]
    RowPlusOne,
    /// What a directory has granted; it must be above the row's.
    Granted(Grant),
}

/// The right that a directory has granted to the winner of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The directory's identity. A row of another one is refused.
    pub cluster: Uuid,
    /// Of the directory when the epoch was taken.
    pub generation: Generation,
    /// zxid at which the winner's election node was confirmed.
    pub epoch: Epoch,
}

/// Who takes over, and of what.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The pipeline's name.
    pub pipeline: String,
    /// The sink's name.
    pub sink: String,
    /// Who we are, for people to read: host and process.
    pub owner: String,
    /// The epoch that this process held until its connection was lost; `None` at its start. If the
    /// row is beyond it, somebody else has taken over and this process gives up.
    pub held: Option<(Generation, Epoch)>,
    /// By which right.
    pub right: Right,
}

/// A sink that was taken over: what its offset row said.
#[derive(Clone, Debug)]
pub struct Held {
    /// The pipeline's UUID, made when the row was.
    pub pipeline_uuid: Uuid,
    /// Our generation.
    pub generation: Generation,
    /// Our epoch.
    pub epoch: Epoch,
    /// Commits so far.
    pub commit_seq: u64,
    /// The source's server UUID; `None` until the first commit.
    pub source_uuid: Option<Uuid>,
    /// What the sink holds; `None` until the first commit.
    pub gtids: Option<GtidSet>,
    /// Where the source was at the last commit.
    pub position: Option<BinlogPosition>,
    /// Number of the last DDL statement.
    pub ddl_seq: u64,
    /// The DDL statement that was in progress.
    pub ddl_intent: Option<DdlIntent>,
    /// The tables that were copied, are, or will be.
    pub copies: Vec<TableCopy>,
}

struct Fence {
    pipeline_uuid: String,
    cluster: Option<String>,
    generation: u64,
    epoch: u64,
    owner: String,
    lanes: u32,
}

/// Takes the sink over for the lane connection `rows` and the connection `ddl`. Both hold their
/// locks until they end.
///
/// # Errors
/// [`SinkError::Superseded`] if another owner was there since `claim.held`, or what was granted
/// isn't above the row's, [`SinkError::Cluster`] for a row of another directory,
/// [`SinkError::LockTimeout`], [`SinkError::OffsetRow`] for a row that can't be read, and those of
/// the connections.
pub async fn take_over(
    claim: &Claim,
    rows: &mut Session,
    ddl: &mut Session,
) -> Result<Held, SinkError> {
    ensure_row(claim, rows).await?;
    let before = read_fence(claim, rows).await?;
    judge(claim, &before)?;
    let pipeline_uuid = parse_uuid(claim, "towpath.offset.pipeline_uuid", &before.pipeline_uuid)?;

    rows.reach(Point::TakeoverBeforeLocks).await?;
    for lane in 0..before.lanes.max(1) {
        take_lock(
            claim,
            rows,
            &lock_name(pipeline_uuid, &claim.sink, Lane::Rows(lane)),
        )
        .await?;
    }
    take_lock(
        claim,
        ddl,
        &lock_name(pipeline_uuid, &claim.sink, Lane::Ddl),
    )
    .await?;

    rows.reach(Point::TakeoverLocked).await?;

    // Nobody of an older epoch can commit now; the row may have moved while we waited.
    let now = read_fence(claim, rows).await?;
    let (generation, epoch) = judge(claim, &now)?;
    // A row that no directory has had yet is stamped; one of another directory is never touched.
    let (stamp, belongs) = match claim.right {
        Right::RowPlusOne => (String::new(), "cluster IS NULL".to_owned()),
        Right::Granted(Grant { cluster, .. }) => (
            format!("cluster = '{cluster}', "),
            format!("(cluster IS NULL OR cluster = '{cluster}')"),
        ),
    };
    let update = format!(
        "UPDATE towpath.`offset` SET {stamp}generation = {g}, epoch = {e}, owner = {owner}, lanes = 1 \
         WHERE pipeline = {pipeline} AND sink = {sink} AND {belongs} AND (generation, epoch) < ({g}, {e})",
        g = generation.0,
        e = epoch.0,
        owner = quote(&claim.owner),
        pipeline = quote(&claim.pipeline),
        sink = quote(&claim.sink),
    );
    if rows.execute("raise the epoch", &update).await? != 1 {
        let other = read_fence(claim, rows).await?;
        return Err(superseded(claim, &other, epoch));
    }
    info!(
        pipeline = claim.pipeline,
        sink = claim.sink,
        epoch = epoch.0,
        previous = now.owner,
        "took the sink over"
    );
    rows.reach(Point::TakeoverEpochWritten).await?;
    let held = read_held(claim, rows, pipeline_uuid, generation, epoch).await?;
    rows.reach(Point::TakeoverDone).await?;
    Ok(held)
}

async fn ensure_row(claim: &Claim, session: &mut Session) -> Result<(), SinkError> {
    let exists: Option<u64> = session
        .first(
            "look for the offset tables",
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'towpath' \
             AND table_name IN ('offset', 'offset_gtid', 'snapshot')",
        )
        .await?;
    if exists != Some(schema::TABLES) {
        for statement in schema::STATEMENTS {
            session
                .execute("create the offset tables", statement)
                .await?;
        }
    }
    let present: Option<u8> = session
        .first(
            "look for the offset row",
            &format!(
                "SELECT 1 FROM towpath.`offset` WHERE pipeline = {} AND sink = {}",
                quote(&claim.pipeline),
                quote(&claim.sink)
            ),
        )
        .await?;
    if present.is_none() {
        if claim.held.is_some() {
            return Err(row_gone(claim));
        }
        let insert = format!(
            "INSERT IGNORE INTO towpath.`offset` \
             (pipeline, sink, pipeline_uuid, generation, epoch, owner, lanes, commit_seq) \
             VALUES ({}, {}, '{}', 0, 0, '', 0, 0)",
            quote(&claim.pipeline),
            quote(&claim.sink),
            Uuid::new_v4()
        );
        session.execute("create the offset row", &insert).await?;
    }
    Ok(())
}

async fn read_fence(claim: &Claim, session: &mut Session) -> Result<Fence, SinkError> {
    let sql = format!(
        "SELECT pipeline_uuid, cluster, generation, epoch, owner, lanes FROM towpath.`offset` \
         WHERE pipeline = {} AND sink = {}",
        quote(&claim.pipeline),
        quote(&claim.sink)
    );
    let row: Option<(String, Option<String>, u64, u64, String, u32)> =
        session.first("read the offset row", &sql).await?;
    let (pipeline_uuid, cluster, generation, epoch, owner, lanes) =
        row.ok_or_else(|| row_gone(claim))?;
    Ok(Fence {
        pipeline_uuid,
        cluster,
        generation,
        epoch,
        owner,
        lanes,
    })
}

fn row_gone(claim: &Claim) -> SinkError {
    SinkError::RowGone {
        sink: claim.sink.clone(),
        pipeline: claim.pipeline.clone(),
    }
}

fn refuse_if_superseded(claim: &Claim, fence: &Fence) -> Result<(), SinkError> {
    if let Some((generation, epoch)) = claim.held
        && (fence.generation, fence.epoch) < (generation.0, epoch.0)
    {
        return Err(SinkError::WentBack {
            sink: claim.sink.clone(),
            pipeline: claim.pipeline.clone(),
            epoch: epoch.0,
            row: fence.epoch,
        });
    }
    match claim.held {
        Some((generation, epoch)) if (fence.generation, fence.epoch) > (generation.0, epoch.0) => {
            Err(superseded(claim, fence, epoch))
        }
        _ => Ok(()),
    }
}

/// Whether the claim is good for a row, and under which term it would be held.
fn judge(claim: &Claim, fence: &Fence) -> Result<(Generation, Epoch), SinkError> {
    refuse_if_superseded(claim, fence)?;
    match (claim.right, &fence.cluster) {
        (Right::RowPlusOne, None) => Ok((Generation(fence.generation), Epoch(fence.epoch + 1))),
        (Right::RowPlusOne, Some(cluster)) => Err(SinkError::Cluster {
            sink: claim.sink.clone(),
            pipeline: claim.pipeline.clone(),
            row: cluster.clone(),
            own: "none".to_owned(),
            next: "run it by a Core of that directory: towpath core --directory ADDR:PORT",
        }),
        (Right::Granted(grant), Some(cluster)) if *cluster != grant.cluster.to_string() => {
            Err(SinkError::Cluster {
                sink: claim.sink.clone(),
                pipeline: claim.pipeline.clone(),
                row: cluster.clone(),
                own: grant.cluster.to_string(),
                next: "if it isn't meant to, give this pipeline another name; if that directory is gone for \
                       good, `towpath adopt` takes the row over",
            })
        }
        (Right::Granted(grant), _) => {
            if (fence.generation, fence.epoch) >= (grant.generation.0, grant.epoch.0) {
                return Err(superseded(claim, fence, grant.epoch));
            }
            Ok((grant.generation, grant.epoch))
        }
    }
}

fn superseded(claim: &Claim, fence: &Fence, own: Epoch) -> SinkError {
    SinkError::Superseded {
        sink: claim.sink.clone(),
        pipeline: claim.pipeline.clone(),
        generation: fence.generation,
        epoch: fence.epoch,
        owner: fence.owner.clone(),
        own_epoch: own.0,
    }
}

/// Takes one named lock, ending the connection that holds it. The holder is asked of the server
/// each time: a remembered connection id could be a stranger's after a restart.
async fn take_lock(claim: &Claim, session: &mut Session, name: &str) -> Result<(), SinkError> {
    let started = Instant::now();
    let mut killed = None;
    loop {
        let wait_s = if killed.is_none() {
            0
        } else {
            LOCK_WAIT_STEP_S
        };
        let got: Option<Option<u8>> = session
            .first(
                "take a lock",
                &format!("SELECT GET_LOCK('{name}', {wait_s})"),
            )
            .await?;
        if got.flatten() == Some(1) {
            return Ok(());
        }
        let fence = read_fence(claim, session).await?;
        judge(claim, &fence)?;
        let holder: Option<Option<u64>> = session
            .first(
                "see who holds a lock",
                &format!("SELECT IS_USED_LOCK('{name}')"),
            )
            .await?;
        let holder = holder.flatten();
        if started.elapsed() > LOCK_WAIT_MAX {
            return Err(SinkError::LockTimeout {
                sink: claim.sink.clone(),
                lock: name.to_owned(),
                holder: holder.unwrap_or(0),
                waited_s: started.elapsed().as_secs(),
            });
        }
        if let Some(id) = holder
            && killed != Some(id)
        {
            warn!(
                pipeline = claim.pipeline,
                sink = claim.sink,
                connection = id,
                lock = name,
                previous = fence.owner,
                "ending the previous owner's connection"
            );
            match session
                .execute("end the previous owner's connection", &format!("KILL {id}"))
                .await
            {
                Ok(_) => {}
                // ER_NO_SUCH_THREAD: it has gone by itself.
                Err(SinkError::Server { code: 1094, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        killed = holder.or(Some(0));
    }
}

/// `commit_seq`, `source_uuid`, `source_file`, `source_offset`, `ddl_seq`, `ddl_intent`.
type OffsetColumns = (
    u64,
    Option<String>,
    Option<String>,
    Option<u64>,
    u64,
    Option<String>,
);

async fn read_held(
    claim: &Claim,
    session: &mut Session,
    pipeline_uuid: Uuid,
    generation: Generation,
    epoch: Epoch,
) -> Result<Held, SinkError> {
    let key = format!(
        "pipeline = {} AND sink = {}",
        quote(&claim.pipeline),
        quote(&claim.sink)
    );
    session.execute("read the position", "BEGIN").await?;
    let row: Option<OffsetColumns> = session
        .first(
            "read the position",
            &format!(
                "SELECT commit_seq, source_uuid, source_file, source_offset, ddl_seq, \
                 CAST(ddl_intent AS CHAR) AS ddl_intent FROM towpath.`offset` \
                 WHERE {key} AND generation = {} AND epoch = {} FOR UPDATE",
                generation.0, epoch.0
            ),
        )
        .await?;
    let origins: Vec<(String, String, String)> = session
        .rows(
            "read the position",
            &format!(
                "SELECT source_uuid, tag, intervals FROM towpath.offset_gtid WHERE {key} FOR UPDATE"
            ),
        )
        .await?;
    let copies = copies::read(session, &key, "FOR UPDATE").await?;
    session.execute("read the position", "COMMIT").await?;
    let copies = copies.map_err(|(what, why)| unreadable(claim, what, why))?;
    let Some((commit_seq, source_uuid, source_file, source_offset, ddl_seq, ddl_intent)) = row
    else {
        let fence = read_fence(claim, session).await?;
        return Err(superseded(claim, &fence, epoch));
    };
    let source_uuid = source_uuid
        .as_deref()
        .map(|text| parse_uuid(claim, "towpath.offset.source_uuid", text))
        .transpose()?;
    let gtids = gtids_of(&origins).map_err(|why| unreadable(claim, "towpath.offset_gtid", why))?;
    let ddl_intent = ddl_intent
        .as_deref()
        .map(DdlIntent::from_json)
        .transpose()
        .map_err(|error| unreadable(claim, "towpath.offset.ddl_intent", error))?;
    Ok(Held {
        pipeline_uuid,
        generation,
        epoch,
        commit_seq,
        gtids: source_uuid.is_some().then_some(gtids),
        source_uuid,
        position: source_file
            .zip(source_offset)
            .map(|(file, offset)| BinlogPosition { file, offset }),
        ddl_seq,
        ddl_intent,
        copies,
    })
}

fn parse_uuid(claim: &Claim, column: &'static str, text: &str) -> Result<Uuid, SinkError> {
    Uuid::parse_str(text)
        .map_err(|error| unreadable(claim, column, format!("{text:?} is no UUID: {error}")))
}

fn unreadable(claim: &Claim, what: &'static str, why: impl std::fmt::Display) -> SinkError {
    SinkError::OffsetRow {
        sink: claim.sink.clone(),
        pipeline: claim.pipeline.clone(),
        what,
        why: why.to_string(),
    }
}
