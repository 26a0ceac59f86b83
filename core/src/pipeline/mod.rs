//! Wires the stages of one pipeline: source -> decode -> batch -> queue -> apply -> commit.
//!
//! A pipeline lives in epochs. Each begins with a takeover of the sink, which says where to go on,
//! and ends with a stop or with an error. What passes by itself (a lost connection, a restarted
//! server) is followed by the next epoch after a pause; everything else ends the pipeline with what
//! to do. Nothing is carried from one epoch to the next but the epoch's number: the place is in the
//! sink. The right to begin an epoch comes from an [`Authority`].

pub mod authority;
pub mod pace;
pub mod progress;
mod consumer;
mod error;
mod lane_task;
mod plans;
mod producer;
pub mod snapshot;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mysql_async::Conn;
use tokio::sync::watch;
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::{PipelineSpec, SinkSpec, SnapshotMode, StartAt};
use tracing::{info, warn};
use uuid::Uuid;

pub use authority::{Authority, NoDirectory};
pub use error::{Course, PipelineError};
pub use pace::Limits;
pub use progress::Progress;

use crate::commit::SinkError;
use crate::commit::lane::Lane;
use crate::commit::offset::OffsetWriter;
use crate::commit::preflight::{Offset, read_offset};
use crate::commit::session::{ServerFacts, Session};
use crate::commit::takeover::{Claim, Held, Right, take_over};
use crate::source::{
    Backoff, DumpOptions, SourceError, SourceFacts, anonymous, check_position, start,
};
use crate::task::OwnedTask;
use consumer::{Consumer, SINGLY, Waits};
use pace::Pace;
use producer::Producer;
use snapshot::Copies;

/// A stop takes at most this long: more than the consumer needs to finish in order, less than the
/// second that the program promises.
const STOP_MAX: Duration = Duration::from_millis(850);

/// The rest of a transaction that could not be applied is read for at most this long, to see
/// whether it is damaged.
const VERIFY_MAX: Duration = Duration::from_secs(60);

/// A stop that somebody else asks for; `true` once it is asked for.
pub type Stop = watch::Receiver<bool>;

/// What others see of a running pipeline, and how they steer it.
#[derive(Clone, Debug)]
pub struct Controls {
    /// What it has done so far.
    pub progress: Arc<Progress>,
    /// How fast it may go.
    pub limits: Limits,
    /// Asks it to stop.
    pub stop: Stop,
}

/// Runs a pipeline until it is stopped.
///
/// # Errors
/// What needs an operator, or another owner of the sink.
pub async fn run(
    spec: &PipelineSpec,
    owner: &str,
    authority: &mut impl Authority,
    mut controls: Controls,
) -> Result<(), PipelineError> {
    let Some(sink) = spec.sinks.first() else {
        return Err(PipelineError::NoSink);
    };
    let mut claim = Claim {
        pipeline: spec.name.to_string(),
        sink: sink.name.to_string(),
        owner: owner.to_owned(),
        held: None,
        right: Right::default(),
    };
    let mut backoff = Backoff::new();
    // The sink's commits when it was begun to go on by single transactions.
    let mut singly: Option<u64> = None;
    loop {
        let commits = controls.progress.view().commits;
        let result = epoch(
            spec,
            sink,
            &mut claim,
            authority,
            &mut controls,
            &mut backoff,
            singly == Some(commits),
        )
        .await;
        controls.progress.disconnected(result.as_ref().err());
        let error = match result {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let made = controls.progress.view().commits - commits;
        if error.is_of_a_change() && (singly != Some(commits) || made > SINGLY) {
            // What came before it in its batch was rolled back with it. It is found again behind
            // them.
            info!(
                pipeline = claim.pipeline, sink = claim.sink, code = %error.code(), %error,
                "a change can't be applied; once more by single transactions, so that all before it is kept"
            );
            singly = Some(controls.progress.view().commits);
            continue;
        }
        if error.course() == Course::End {
            return Err(error);
        }
        // Whoever gets on between two losses isn't in a loop, and every pause is lag.
        if controls.progress.view().commits > commits {
            backoff.progressed();
        }
        let pause = backoff.failed(Instant::now(), rand::random());
        warn!(
            pipeline = claim.pipeline, sink = claim.sink, code = %error.code(), %error, pause_ms = pause.as_millis() as u64,
            "this epoch is over; taking over again after a pause"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = asked(&mut controls.stop) => return Ok(()),
        }
    }
}

/// Waits until a stop is asked for.
async fn asked(stop: &mut Stop) {
    // A sender that is gone can't ask any more: then nobody does.
    if stop.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until a stop was asked for and has had time to be obeyed in order.
async fn stopped_too_long(stop: &mut Stop) {
    asked(stop).await;
    tokio::time::sleep(STOP_MAX).await;
}

/// What an epoch begins with.
struct Begun {
    held: Held,
    lane: Lane,
    ddl: Session,
    sink_facts: ServerFacts,
    gtids: GtidSet,
    options: DumpOptions,
    source_uuid: Uuid,
}

async fn epoch(
    spec: &PipelineSpec,
    sink: &SinkSpec,
    claim: &mut Claim,
    authority: &mut impl Authority,
    controls: &mut Controls,
    backoff: &mut Backoff,
    singly: bool,
) -> Result<(), PipelineError> {
    let Controls {
        progress,
        limits,
        stop,
    } = controls;
    let mut begun = tokio::select! {
        begun = begin(spec, sink, claim, authority) => begun?,
        () = asked(stop) => return Ok(()),
    };
    backoff.connected(Instant::now());
    progress.connected(&begun.held, &begun.gtids);
    let (sender, receiver) = crate::queue::memory(spec.queue.bytes_max);
    let producer = Producer {
        endpoint: spec.source.endpoint.clone(),
        options: begun.options,
        filter: spec.source.tables.clone(),
        server_uuid: begun.source_uuid,
        start_position: begun.held.position.clone(),
        gtids: begun.gtids.clone(),
        queue: sender,
        pace: Pace::new(limits.clone(), |limits| limits.bytes_per_second_max),
        progress: Arc::clone(progress),
        unverified: Arc::default(),
        inside: None,
    };
    let copies = Copies::new(
        spec,
        std::mem::take(&mut begun.held.copies),
        begun.gtids.clone(),
        Arc::clone(progress),
    );
    let unverified = Arc::clone(&producer.unverified);
    let consumer = Consumer::new(
        spec,
        sink.delivery,
        claim,
        begun.held,
        begun.lane,
        begun.ddl,
        begun.sink_facts,
        receiver,
        copies,
        Waits {
            confirmed: authority.confirmed(),
            pace: Pace::new(limits.clone(), |limits| limits.rows_per_second_max),
            stop: stop.clone(),
        },
        Arc::clone(progress),
    );
    let consumer = if singly { consumer.singly() } else { consumer };
    let mut producer = OwnedTask::spawn(producer.run());
    let result = tokio::select! {
        result = consumer.run(stop.clone()) => result,
        // A DDL statement may wait for a lock for hours. It is left as a crash would leave it.
        () = stopped_too_long(stop) => {
            warn!(
                pipeline = claim.pipeline, sink = claim.sink,
                "what is under way on the sink takes too long; left to the next start"
            );
            Ok(())
        }
    };
    // A producer that failed closed the queue, and the consumer applied what was in it: without
    // that, a restart would never get up to an event that can't be carried.
    match result {
        Err(PipelineError::QueueClosed) => match (&mut producer).await {
            Ok(error) => Err(error),
            Err(join) => Err(PipelineError::Task(join)),
        },
        // Of a transaction that is damaged anything may be said: its checksum has the first word.
        Err(error) if error.course() == Course::End && unverified.load(Ordering::Acquire) => {
            match tokio::time::timeout(VERIFY_MAX, &mut producer).await {
                Ok(Ok(damaged @ PipelineError::LostInside { .. })) => Err(damaged),
                _ => Err(error),
            }
        }
        result => result,
    }
}

/// Takes the sink over, looks at the source, and finds where to begin.
async fn begin(
    spec: &PipelineSpec,
    sink: &SinkSpec,
    claim: &mut Claim,
    authority: &mut impl Authority,
) -> Result<Begun, PipelineError> {
    // All at once: a successor must be quick.
    let sessions = async {
        tokio::try_join!(
            Session::connect(&claim.sink, &sink.endpoint),
            Session::connect(&claim.sink, &sink.endpoint),
        )
        .map_err(PipelineError::from)
    };
    let ((mut rows, mut ddl), mut source) = tokio::try_join!(sessions, connect_source(spec))?;
    let sink_facts = rows.facts().await?;
    ddl.facts().await?;

    // Whoever can't read the source, or reads another one, must not end an owner that does: that is
    // found out before the takeover, as far as an onlooker can.
    let onlooker = read_offset(rows.conn(), &claim.pipeline, &claim.sink)
        .await
        .map_err(|error| SinkError::from_driver(&claim.sink, "look at the offset row", error))?;
    let facts = SourceFacts::read(&mut source).await?;
    let source_uuid = parse_server_uuid(&facts)?;
    // Without GTIDs, an offset would be an empty set: everything, once there are some.
    if facts.variable("gtid_mode") != "ON" {
        let mode = facts.variable("gtid_mode").to_owned();
        return Err(SourceError::GtidOff { mode }.into());
    }
    if let Offset::Stored(row) = &onlooker {
        let gtids = row.gtids.as_ref();
        refuse_another_source(claim, row.source_uuid, gtids, &facts, source_uuid)?;
    }

    let has_no_place = match &onlooker {
        Offset::Absent => true,
        Offset::Stored(row) => row.gtids.is_none(),
        Offset::Hidden | Offset::Unreadable(_) => false,
    };
    if has_no_place {
        refuse_a_lost_place(spec, claim, authority).await?;
    }

    // The right is taken last: each step between it and the takeover is one in which it could age.
    claim.right = authority.right().await?;
    let mut held = take_over(claim, &mut rows, &mut ddl).await?;
    claim.held = Some((held.generation, held.epoch));
    // The predecessor may have gone on until then, with transactions newer than the facts.
    let mut facts = SourceFacts::read(&mut source).await?;
    refuse_another_source(
        claim,
        held.source_uuid,
        held.gtids.as_ref(),
        &facts,
        source_uuid,
    )?;
    let fresh = held.gtids.is_none();
    if fresh && !has_no_place {
        // An onlooker may have seen less than the owner does.
        refuse_a_lost_place(spec, claim, authority).await?;
    }
    if fresh && spec.source.snapshot != SnapshotMode::Never {
        let beginning = snapshot::begin(spec, &mut source, &mut ddl).await?;
        (facts, held.copies) = (beginning.facts, beginning.copies);
    }
    let options = dump_options(spec, claim, &held);
    let gtids = match &held.gtids {
        Some(gtids) => gtids.clone(),
        None => {
            let (start, endpoint) = (&spec.source.start, &spec.source.endpoint);
            start::resolve(start, endpoint, &options, &facts, &mut source).await?
        }
    };
    check_position(&gtids, &facts)?;
    if held.source_uuid != Some(source_uuid) {
        // It is a place in the binlog of another server.
        held.position = None;
    }
    if let Some(position) = &held.position {
        anonymous::check_behind(&mut source, position).await?;
    }
    let _ = source.disconnect().await;

    rows.read_bytes().await?;
    let mut offset = OffsetWriter::new(
        &claim.pipeline,
        &claim.sink,
        &held,
        source_uuid,
        gtids.clone(),
    );
    if fresh {
        offset.commit_start(&mut rows, &held.copies).await?;
        info!(
            pipeline = claim.pipeline, sink = claim.sink, gtid_set = %gtids,
            "the sink has no offset yet; starting here"
        );
    }
    Ok(Begun {
        lane: Lane::new(rows, offset, &sink_facts, sink.delivery),
        ddl,
        sink_facts,
        gtids,
        options,
        source_uuid,
        held,
    })
}

/// Clause 16: `now` would skip what was written since the pipeline ran last.
async fn refuse_a_lost_place(
    spec: &PipelineSpec,
    claim: &Claim,
    authority: &mut impl Authority,
) -> Result<(), PipelineError> {
    if spec.source.start == StartAt::Now && claim.held.is_none() && authority.ran_before().await? {
        return Err(SinkError::RanBefore {
            sink: claim.sink.clone(),
            pipeline: claim.pipeline.clone(),
        }
        .into());
    }
    Ok(())
}

fn dump_options(spec: &PipelineSpec, claim: &Claim, held: &Held) -> DumpOptions {
    DumpOptions {
        server_id: spec
            .source
            .server_id
            .unwrap_or_else(|| default_server_id(&claim.pipeline, &claim.sink)),
        replica_uuid: Some(Uuid::new_v5(&held.pipeline_uuid, claim.sink.as_bytes())),
        pipeline: claim.pipeline.clone(),
        heartbeat: Duration::from_millis(spec.source.heartbeat_ms),
    }
}

async fn connect_source(spec: &PipelineSpec) -> Result<Conn, PipelineError> {
    let endpoint = &spec.source.endpoint;
    let opts = crate::endpoint::sql_opts(endpoint).map_err(PipelineError::Endpoint)?;
    crate::endpoint::connect(opts, endpoint.tls)
        .await
        .map_err(|error| SourceError::from_login(endpoint, error).into())
}

fn parse_server_uuid(facts: &SourceFacts) -> Result<Uuid, PipelineError> {
    Uuid::parse_str(facts.server_uuid()).map_err(|_| PipelineError::NoServerUuid {
        version: facts.version().to_owned(),
    })
}

/// An offset row may only go on with the history it came from: the same server, or one that has
/// executed all that the sink holds.
fn refuse_another_source(
    claim: &Claim,
    known: Option<Uuid>,
    gtids: Option<&GtidSet>,
    facts: &SourceFacts,
    source_uuid: Uuid,
) -> Result<(), PipelineError> {
    let (Some(known), Some(gtids)) = (known, gtids) else {
        return Ok(());
    };
    let same_history = !gtids.is_empty() && gtids.is_subset(&facts.gtid_executed);
    if known == source_uuid || same_history {
        return Ok(());
    }
    let lacks = gtids.subtract(&facts.gtid_executed);
    if gtids.intersects(&facts.gtid_executed) {
        // Of the same topology: promoted without the last transactions, or behind.
        return Err(SourceError::Diverged {
            extra: short_set(&lacks),
        }
        .into());
    }
    Err(SinkError::AnotherSource {
        sink: claim.sink.clone(),
        pipeline: claim.pipeline.clone(),
        known,
        found: source_uuid,
        example: match lacks.is_empty() {
            true => String::new(),
            false => format!(" ({})", short_set(&lacks)),
        },
    }
    .into())
}

/// A set as far as a message can show it.
fn short_set(set: &GtidSet) -> String {
    const CHARS_MAX: usize = 200;
    let mut text = set.to_string();
    if let Some((at, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(at);
        text.push_str(" …");
    }
    text
}

/// A server_id in the upper half of the range, the same for every run of a pipeline and sink, so
/// that a new dump ends one that was left behind.
pub fn default_server_id(pipeline: &str, sink: &str) -> u32 {
    let uuid = Uuid::new_v5(
        &Uuid::NAMESPACE_OID,
        format!("{pipeline}/{sink}").as_bytes(),
    );
    let (high, ..) = uuid.as_fields();
    high | 0x8000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_server_id_is_stable_and_high() {
        let id = default_server_id("orders", "replica");
        assert_eq!(id, default_server_id("orders", "replica"));
        assert_ne!(id, default_server_id("orders", "other"));
        assert!(id >= 0x8000_0000);
    }
}
