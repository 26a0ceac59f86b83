//! A pipeline's first half where a log lies in the middle: from the source to the log. It claims the
//! log, finds where to resume, opens it and writes what the source brings: `docs/queue-protocol.md`.
//!
//! It writes no sink. What the sinks hold it knows from their [`Consumers`], and only where the log
//! itself doesn't say: nothing that they tell can be wrong in a way that a consumer doesn't notice.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use towpath_protocol::epoch::{Epoch, Generation};
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::{PRODUCER, PipelineSpec};
use tracing::{info, warn};
use uuid::Uuid;

use super::begin::{SourceSide, begin_source};
use super::error::{Course, PipelineError};
use super::pace::Pace;
use super::pipe::{Publishing, Sending};
use super::producer::Producer;
use super::{Authority, Controls, Progress, asked, default_server_id};
use crate::commit::takeover::Right;
use crate::queue::follow::Resume;
use crate::queue::log::TailError;
use crate::queue::outlet::{Claim, OutletError};
use crate::queue::pack::Format;
use crate::queue::rabbitmq::LinkState;
use crate::queue::store::Log;
use crate::queue::{QueueError, Term};
use crate::source::{Backoff, DumpOptions, SourceError};
use crate::task::OwnedTask;

/// Consumers are asked this often what they hold, or lack.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A new log begins with what all sinks hold. One that is away isn't waited for longer than this: it asks for
/// what it lacks when it's back.
const ALL_SINKS_WAIT: Duration = Duration::from_secs(10);

/// Between two times that the log is opened anew because a consumer asks: what is written is to be read
/// first.
const REOPEN_EVERY: Duration = Duration::from_secs(60);

/// The number of a log's first transaction.
const FIRST_ORD: u64 = 1;

/// What is known of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub sink: String,
    /// What it holds, or has held; `None` until that is known.
    pub gtids: Option<GtidSet>,
    /// What it needs and the log doesn't have; empty if nothing.
    pub missing: GtidSet,
}

/// The consumers of a log, as a producer hears of them.
pub trait Consumers: Send {
    /// What is known of each sink now.
    ///
    /// # Errors
    /// [`PipelineError::NotElected`] when nobody can say.
    fn look(&mut self) -> impl Future<Output = Result<Vec<Known>, PipelineError>> + Send;
}

/// Runs the way from the source to a log until it is stopped.
///
/// # Errors
/// What needs an operator, or another producer.
pub async fn produce(
    spec: &PipelineSpec,
    log: &Log,
    authority: &mut impl Authority,
    consumers: &mut impl Consumers,
    mut controls: Controls,
) -> Result<(), PipelineError> {
    let mut backoff = Backoff::new();
    let mut past = Past::default();
    loop {
        let sent = controls.progress.view().transactions;
        let result = epoch(
            spec,
            log,
            authority,
            consumers,
            &mut controls,
            &mut backoff,
            &mut past,
        )
        .await;
        controls.progress.disconnected(result.as_ref().err());
        let error = match result {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if past.raise(&error) {
            continue;
        }
        if error.course() == Course::End {
            return Err(error);
        }
        if controls.progress.view().transactions > sent {
            backoff.progressed();
        }
        let pause = backoff.failed(Instant::now(), rand::random());
        warn!(
            pipeline = %spec.name, code = %error.code(), %error, pause_ms = pause.as_millis() as u64,
            "this term of the producer is over; opening the queue again after a pause"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = asked(&mut controls.stop) => return Ok(()),
        }
    }
}

/// What one epoch leaves to the next.
#[derive(Default)]
struct Past {
    /// Without a directory: the highest term that was met.
    floor: Option<Term>,
    has_no_directory: bool,
    /// A consumer has asked for what the log doesn't have.
    is_asked: bool,
    /// When it was opened anew for that the last time.
    reopened: Option<Instant>,
    /// What the source doesn't have any more.
    purged: GtidSet,
}

impl Past {
    /// Without a directory the log itself says which term is next.
    fn raise(&mut self, error: &PipelineError) -> bool {
        match error {
            PipelineError::Queue(error) => match &**error {
                QueueError::Outlet(OutletError::Tail(TailError::Superseded { higher, .. }))
                    if self.has_no_directory =>
                {
                    self.floor = Some(*higher);
                    true
                }
                QueueError::Asked { .. } => {
                    self.is_asked = true;
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn term(&mut self, right: Right) -> Term {
        let producer = Uuid::new_v4();
        self.has_no_directory = matches!(right, Right::RowPlusOne);
        match (right, self.floor) {
            (Right::Granted(grant), _) => Term {
                generation: grant.generation,
                epoch: grant.epoch,
                run: 0,
                producer,
            },
            (Right::RowPlusOne, Some(floor)) => Term {
                run: floor.run.saturating_add(1),
                producer,
                ..floor
            },
            (Right::RowPlusOne, None) => Term {
                generation: Generation(0),
                epoch: Epoch(0),
                run: 0,
                producer,
            },
        }
    }
}

async fn epoch(
    spec: &PipelineSpec,
    log: &Log,
    authority: &mut impl Authority,
    consumers: &mut impl Consumers,
    controls: &mut Controls,
    backoff: &mut Backoff,
    past: &mut Past,
) -> Result<(), PipelineError> {
    let Controls {
        progress,
        limits,
        stop,
    } = controls;
    let writer = log.writer().await.map_err(QueueError::from)?;
    let link = writer.state();
    let open = async {
        let source = begin_source(spec).await?;
        let term = past.term(authority.right().await?);
        let format = Format {
            pipeline: log.uuid,
            term,
            body_bytes: log.body_bytes,
            compression: log.compression,
        };
        let claim = Claim::take(writer, &mut log.reader(), format)
            .await
            .map_err(QueueError::from)?;
        past.floor = Some(term);
        let source_uuid = source.uuid;
        let resume = resume(spec, past, claim.resume(), source, consumers, progress).await?;
        let before = resume.before.clone();
        info!(
            pipeline = %spec.name, %term, gtid_set = %before, ord = resume.ord,
            "the queue is open; reading the source behind this"
        );
        let outlet = claim.open(resume).await.map_err(QueueError::from)?;
        Ok::<_, PipelineError>((term, before, source_uuid, outlet))
    };
    let (term, before, source_uuid, outlet) = tokio::select! {
        opened = open => opened?,
        never = watch_link(link.clone(), progress) => match never {},
        () = asked(stop) => return Ok(()),
    };
    backoff.connected(Instant::now());
    progress.producing(term.generation, term.epoch, &before);
    let producer = Producer {
        endpoint: spec.source.endpoint.clone(),
        options: DumpOptions {
            server_id: spec
                .source
                .server_id
                .unwrap_or_else(|| default_server_id(spec.name.as_str(), PRODUCER)),
            replica_uuid: Some(Uuid::new_v5(&log.uuid, PRODUCER.as_bytes())),
            pipeline: spec.name.to_string(),
            heartbeat: Duration::from_millis(spec.source.heartbeat_ms),
        },
        filter: spec.source.tables.clone(),
        server_uuid: source_uuid,
        start_position: None,
        gtids: before,
        queue: Sending::Log(Box::new(Publishing {
            outlet,
            confirmed: authority.confirmed(),
            progress: Arc::clone(progress),
        })),
        pace: Pace::new(limits.clone(), |limits| limits.bytes_per_second_max),
        progress: Arc::clone(progress),
        unverified: Arc::default(),
        inside: None,
    };
    let mut producer = OwnedTask::spawn(producer.run());
    tokio::select! {
        ended = &mut producer => match ended {
            Ok(error) => Err(error),
            Err(join) => Err(PipelineError::Task(join)),
        },
        asked = is_asked(consumers, past) => Err(asked),
        never = watch_link(link, progress) => match never {},
        // What isn't confirmed by then may be in the log, or not: the next one reads its end.
        () = asked(stop) => Ok(()),
    }
}

/// Where to go on: where the log ends, if the source reaches back to there; else from what all sinks
/// hold.
async fn resume(
    spec: &PipelineSpec,
    past: &mut Past,
    found: Option<&Resume>,
    mut source: SourceSide,
    consumers: &mut impl Consumers,
    progress: &Progress,
) -> Result<Resume, PipelineError> {
    // The predecessor may have gone on until the CLAIM, with transactions newer than the facts.
    source.look_again().await?;
    past.purged = source.facts.gtid_purged.clone();
    let ord = found.map_or(FIRST_ORD, |found| found.ord);
    if let (Some(found), false) = (found, past.is_asked) {
        match source.check(&found.before, None).await {
            Ok(()) => {
                source.leave().await;
                return Ok(found.clone());
            }
            Err(PipelineError::Source(error @ SourceError::Purged { .. })) => {
                // The log may be of a time since which the sinks were filled in another way.
                warn!(pipeline = %spec.name, %error, "the queue ends before what the source has; looking at the sinks");
            }
            Err(error) => return Err(error),
        }
    }
    let before = held_by_all(consumers, progress, &past.purged).await?;
    source.look_again().await?;
    source.check(&before, None).await?;
    source.leave().await;
    if std::mem::take(&mut past.is_asked) {
        past.reopened = Some(Instant::now());
    }
    Ok(Resume { before, ord })
}

/// What all sinks hold that the source can still serve.
async fn held_by_all(
    consumers: &mut impl Consumers,
    progress: &Progress,
    purged: &GtidSet,
) -> Result<GtidSet, PipelineError> {
    let began = Instant::now();
    loop {
        let known = consumers.look().await?;
        let unknown: Vec<&str> = known
            .iter()
            .filter(|known| known.gtids.is_none())
            .map(|known| known.sink.as_str())
            .collect();
        let sets: Vec<&GtidSet> = known
            .iter()
            .filter_map(|known| known.gtids.as_ref())
            .collect();
        if unknown.is_empty() || began.elapsed() >= ALL_SINKS_WAIT {
            if !unknown.is_empty() && !sets.is_empty() {
                warn!(
                    sinks = unknown.join(", "),
                    "beginning without these sinks: nobody knows what they hold"
                );
            }
            if let Some(common) = common(&sets, purged) {
                return Ok(common);
            }
        }
        progress.awaits(&format!(
            "waiting to hear what is on {}: the queue doesn't say where to begin",
            unknown.join(", ")
        ));
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// What is in all sets, but for those that can't be served any more, unless that is so for all.
fn common(sets: &[&GtidSet], purged: &GtidSet) -> Option<GtidSet> {
    let all = |sets: &[&GtidSet]| {
        let (first, further) = sets.split_first()?;
        let mut common = (*first).clone();
        for set in further {
            let outside = common.subtract(set);
            common = common.subtract(&outside);
        }
        Some(common)
    };
    let served: Vec<&GtidSet> = sets
        .iter()
        .copied()
        .filter(|set| purged.is_subset(set))
        .collect();
    all(&served).or_else(|| all(sets))
}

/// Ends when a consumer needs what the log doesn't have and the source does.
async fn is_asked(consumers: &mut impl Consumers, past: &Past) -> PipelineError {
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        if past
            .reopened
            .is_some_and(|reopened| reopened.elapsed() < REOPEN_EVERY)
        {
            continue;
        }
        let known = match consumers.look().await {
            Ok(known) => known,
            Err(error) => {
                warn!(%error, "can't ask what the sinks need");
                continue;
            }
        };
        let asks =
            |known: &&Known| !known.missing.is_empty() && !known.missing.intersects(&past.purged);
        if let Some(known) = known.iter().find(asks) {
            let sink = known.sink.clone();
            warn!(sink, missing = %known.missing, "a sink needs what the queue doesn't have any more");
            return QueueError::Asked { sink }.into();
        }
    }
}

/// Makes visible what a broker says of itself, for as long as this is awaited.
pub(super) async fn watch_link(
    link: Option<watch::Receiver<LinkState>>,
    progress: &Progress,
) -> Infallible {
    let Some(mut link) = link else {
        return std::future::pending().await;
    };
    loop {
        let trouble = match &*link.borrow_and_update() {
            LinkState::Connected { .. } | LinkState::Connecting { error: None } => None,
            LinkState::Connecting { error: Some(error) } => Some(error.clone()),
            LinkState::Blocked { broker, reason } => Some(format!(
                "RabbitMQ at {broker} takes nothing at present: {reason}"
            )),
        };
        progress.queue_lost(trouble);
        if link.changed().await.is_err() {
            // Its last word stays.
            return std::future::pending().await;
        }
    }
}

/// Consumers of this very process.
#[derive(Clone, Debug)]
pub struct InProcess(pub Vec<(String, Arc<Progress>)>);

impl Consumers for InProcess {
    async fn look(&mut self) -> Result<Vec<Known>, PipelineError> {
        let known = |(sink, progress): &(String, Arc<Progress>)| {
            let view = progress.view();
            Known {
                sink: sink.clone(),
                gtids: (view.connected || !view.gtids.is_empty()).then_some(view.gtids),
                missing: view.missing.unwrap_or_default(),
            }
        };
        Ok(self.0.iter().map(known).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_begins_with_what_all_sinks_hold_that_can_be_served() {
        let set = |intervals: &str| -> GtidSet {
            match intervals {
                "" => GtidSet::new(),
                _ => format!("00000000-0000-0000-0000-00000000000a:{intervals}")
                    .parse()
                    .unwrap(),
            }
        };
        let of = |sets: &[&str], purged: &str| {
            let sets: Vec<GtidSet> = sets.iter().map(|text| set(text)).collect();
            let sets: Vec<&GtidSet> = sets.iter().collect();
            common(&sets, &set(purged))
        };
        assert_eq!(of(&[], ""), None);
        assert_eq!(of(&["1-9"], ""), Some(set("1-9")));
        assert_eq!(of(&["1-9", "1-5:7-12"], "1-3"), Some(set("1-5:7-9")));
        // One that is too far behind holds up nobody; its consumer says so by itself.
        assert_eq!(of(&["1-9", "1-2"], "1-3"), Some(set("1-9")));
        assert_eq!(of(&["1-2", "1"], "1-3"), Some(set("1")));
    }
}
