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
mod begin;
pub mod produce;
pub mod consume;
mod whole;
mod pipe;
mod consumer;
mod error;
mod lane_task;
mod plans;
mod producer;
pub mod snapshot;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use towpath_protocol::spec::{PipelineSpec, SinkSpec};
use tracing::{info, warn};
use uuid::Uuid;

pub use authority::{Authority, NoDirectory};
pub use error::{Course, PipelineError};
pub use pace::Limits;
pub use progress::Progress;
pub use whole::run_whole;

use crate::commit::takeover::{Claim, Right};
use crate::source::Backoff;
use crate::task::OwnedTask;
use consumer::{Consumer, SINGLY, Waits};
use pace::Pace;
use pipe::{Receiving, Sending};
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

/// Runs a pipeline from its source to its sink until it is stopped.
///
/// # Errors
/// What needs an operator, or another owner of the sink.
pub async fn run(
    spec: &PipelineSpec,
    owner: &str,
    authority: &mut impl Authority,
    controls: Controls,
) -> Result<(), PipelineError> {
    epochs(spec, owner, authority, controls, None).await
}

/// One epoch after the other; with a log, out of that.
async fn epochs(
    spec: &PipelineSpec,
    owner: &str,
    authority: &mut impl Authority,
    mut controls: Controls,
    mut log: Option<consume::FromLog>,
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
        let singly_now = singly == Some(commits);
        let (claim, controls) = (&mut claim, &mut controls);
        let result = match &mut log {
            None => {
                epoch(
                    spec,
                    sink,
                    claim,
                    authority,
                    controls,
                    &mut backoff,
                    singly_now,
                )
                .await
            }
            Some(log) => {
                consume::epoch(
                    log,
                    spec,
                    sink,
                    claim,
                    authority,
                    controls,
                    &mut backoff,
                    singly_now,
                )
                .await
            }
        };
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
        begun = begin::begin(spec, sink, claim, authority) => begun?,
        () = asked(stop) => return Ok(()),
    };
    backoff.connected(Instant::now());
    progress.connected(&begun.sink.held, &begun.sink.gtids);
    let (sender, receiver) = crate::queue::memory(spec.queue.bytes_max);
    let producer = Producer {
        endpoint: spec.source.endpoint.clone(),
        options: begun.options,
        filter: spec.source.tables.clone(),
        server_uuid: begun.source_uuid,
        start_position: begun.sink.held.position.clone(),
        gtids: begun.sink.gtids.clone(),
        queue: Sending::Memory(sender),
        pace: Pace::new(limits.clone(), |limits| limits.bytes_per_second_max),
        progress: Arc::clone(progress),
        unverified: Arc::default(),
        inside: None,
    };
    let copies = Copies::new(
        spec,
        std::mem::take(&mut begun.sink.held.copies),
        begun.sink.gtids.clone(),
        Arc::clone(progress),
    );
    let unverified = Arc::clone(&producer.unverified);
    let consumer = Consumer::new(
        spec,
        sink.delivery,
        claim,
        begun.sink.held,
        begun.sink.lane,
        begun.sink.ddl,
        begun.sink.facts,
        Receiving::Memory(receiver),
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
        (result, _) = consumer.run(stop.clone()) => result,
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
