//! A pipeline's second half where a log lies in the middle: from the log to one sink. The place is in
//! the sink, as ever; where reading the log begins is a hint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::{PipelineSpec, SinkSpec};
use tracing::warn;

use super::begin::{BegunSink, begin_consumer, begin_source};
use super::consumer::{Consumer, Waits};
use super::error::PipelineError;
use super::pace::Pace;
use super::pipe::{Receiving, Subscribing};
use super::produce::watch_link;
use super::snapshot::Copies;
use super::{Authority, Controls, Progress, asked, stopped_too_long};
use crate::commit::takeover::Claim;
use crate::queue::QueueError;
use crate::queue::inlet::Place;
use crate::queue::store::Log;
use crate::source::Backoff;

/// How often it is looked whether the sink lacks something for good.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The source is asked this often whether it has what the queue lacks.
const ASK_EVERY: Duration = Duration::from_secs(10);

/// An idle source is heard of once in its heartbeat: who is silent for so many of them, and longer than
/// a failover takes, may be gone.
const SILENT_HEARTBEATS: u32 = 3;
const SILENCE_MIN: Duration = Duration::from_secs(3);

/// Where a consumer reads.
pub struct FromLog {
    /// The log.
    pub log: Log,
    /// Where reading may begin, as it was remembered: a hint.
    pub place: Option<Place>,
    /// An end that can be read on: a transaction was rolled back, and everything before it is on the sink.
    kept: Option<Box<Subscribing>>,
}

impl FromLog {
    /// A log that is read from `place` on, if it was remembered.
    pub fn new(log: Log, place: Option<Place>) -> Self {
        Self {
            log,
            place,
            kept: None,
        }
    }
}

/// Runs the way from a log to the spec's first sink until it is stopped.
///
/// # Errors
/// What needs an operator, or another owner of the sink.
pub async fn consume(
    spec: &PipelineSpec,
    owner: &str,
    authority: &mut impl Authority,
    controls: Controls,
    from: FromLog,
) -> Result<(), PipelineError> {
    super::epochs(spec, owner, authority, controls, Some(from)).await
}

#[allow(
    clippy::too_many_arguments,
    reason = "wiring: each is one thing that an epoch begins with"
)]
pub(super) async fn epoch(
    from: &mut FromLog,
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
    let begun = tokio::select! {
        begun = begin_consumer(spec, sink, claim, authority) => begun?,
        () = asked(stop) => return Ok(()),
    };
    let BegunSink {
        mut held,
        lane,
        ddl,
        facts,
        gtids,
    } = begun;
    backoff.connected(Instant::now());
    progress.connected(&held, &gtids);
    progress.missing(None);
    let copies = Copies::new(
        spec,
        std::mem::take(&mut held.copies),
        gtids.clone(),
        Arc::clone(progress),
    );
    let heartbeat = Duration::from_millis(spec.source.heartbeat_ms);
    let silence_max = (heartbeat * SILENT_HEARTBEATS).max(SILENCE_MIN);
    let kept = from.kept.take().filter(|kept| kept.goes_on_for(&gtids));
    let queue = kept.unwrap_or_else(|| {
        let place = progress.view().queue_place.or(from.place);
        Box::new(Subscribing::new(&from.log, gtids, place, silence_max))
    });
    let link = queue.link();
    let consumer = Consumer::new(
        spec,
        sink.delivery,
        claim,
        held,
        lane,
        ddl,
        facts,
        Receiving::Log(queue),
        copies,
        Waits {
            confirmed: authority.confirmed(),
            pace: Pace::new(limits.clone(), |limits| limits.rows_per_second_max),
            stop: stop.clone(),
        },
        Arc::clone(progress),
    );
    let consumer = if singly { consumer.singly() } else { consumer };
    tokio::select! {
        (result, queue) = consumer.run(stop.clone()) => {
            if let (Err(PipelineError::Queue(error)), Receiving::Log(queue)) = (&result, queue)
                && matches!(**error, QueueError::RolledBack { .. })
            {
                from.kept = Some(queue);
            }
            result
        }
        lost = lost_for_good(spec, progress) => Err(lost),
        never = watch_link(link, progress) => match never {},
        () = stopped_too_long(stop) => {
            warn!(
                pipeline = claim.pipeline, sink = claim.sink,
                "what is under way on the sink takes too long; left to the next start"
            );
            Ok(())
        }
    }
}

/// Ends when the sink lacks what neither the log nor the source has.
async fn lost_for_good(spec: &PipelineSpec, progress: &Progress) -> PipelineError {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(missing) = progress.view().missing else {
            continue;
        };
        match purged(spec, &missing).await {
            Ok(lost) if !lost.is_empty() => return QueueError::Lost { missing: lost }.into(),
            Ok(_) => {}
            Err(error) => {
                warn!(pipeline = %spec.name, code = %error.code(), %error, "can't ask the source for what the queue lacks");
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// What of a set the source doesn't have any more.
async fn purged(spec: &PipelineSpec, missing: &GtidSet) -> Result<GtidSet, PipelineError> {
    let source = begin_source(spec).await?;
    let has = missing.subtract(&source.facts.gtid_purged);
    let lost = missing.subtract(&has);
    source.leave().await;
    Ok(lost)
}
