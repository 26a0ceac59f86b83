//! A lane in a task of its own, so that the next batch is built while one is applied.

use tokio::sync::mpsc;

use crate::apply::Batch;
use crate::commit::SinkError;
use crate::commit::lane::Lane;
use crate::commit::offset::Advance;
use crate::queue::Lease;

/// Work for a lane.
struct Job {
    batch: Batch,
    advance: Option<Advance>,
    /// Whether the batch ends with a whole source transaction.
    whole: bool,
    /// Of the memory that the batch takes.
    lease: Option<Lease>,
}

/// A job that is done: committed, if it had an advance.
pub(super) struct Done {
    /// Row changes at the source.
    pub(super) changes: u64,
    /// How far the offset moved.
    pub(super) advance: Option<Advance>,
    /// Commits of the sink, with this one.
    pub(super) commit_seq: u64,
}

/// The consumer's handle of a lane.
pub(super) struct LaneTask {
    jobs: mpsc::Sender<Job>,
    done: mpsc::Receiver<Result<Done, SinkError>>,
    busy: bool,
}

impl LaneTask {
    /// Moves a lane into a task.
    pub(super) fn spawn(mut lane: Lane) -> Self {
        let (jobs, mut jobs_received) = mpsc::channel::<Job>(1);
        let (done_sender, done) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(Job {
                batch,
                advance,
                whole,
                lease,
            }) = jobs_received.recv().await
            {
                let result = lane.apply(&batch, advance.as_ref(), whole).await;
                let failed = result.is_err();
                let changes = batch.changes;
                drop(batch);
                drop(lease);
                let done = result.map(|()| Done {
                    changes,
                    advance,
                    commit_seq: lane.offset().commit_seq(),
                });
                if done_sender.send(done).await.is_err() || failed {
                    break;
                }
            }
            lane.disconnect().await;
        });
        Self {
            jobs,
            done,
            busy: false,
        }
    }

    /// Whether a job is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Begins a job; the lane must not be busy. `whole`: the batch ends with a whole source transaction.
    pub(super) async fn begin(
        &mut self,
        batch: Batch,
        advance: Option<Advance>,
        whole: bool,
        lease: Option<Lease>,
    ) {
        debug_assert!(!self.busy, "one job at a time");
        self.busy = true;
        // A lane that ended is noticed where its answer is awaited.
        let _ = self
            .jobs
            .send(Job {
                batch,
                advance,
                whole,
                lease,
            })
            .await;
    }

    /// Waits for the present job. Cancelling it loses nothing.
    pub(super) async fn done(&mut self) -> Result<Done, SinkError> {
        let result = self.done.recv().await;
        self.busy = false;
        result.unwrap_or(Err(SinkError::LaneEnded))
    }
}
