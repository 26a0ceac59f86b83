//! A lane in a task of its own, so that the next batch is built while one is applied.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::apply::Batch;
use crate::commit::SinkError;
use crate::commit::lane::Lane;
use crate::commit::offset::Advance;
use crate::queue::Lease;

/// A lane without work sees this often whether its place is still its own: an operator may have
/// moved it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Work for a lane.
enum Job {
    Apply {
        batch: Batch,
        advance: Option<Advance>,
        /// Whether the batch ends with a whole source transaction.
        whole: bool,
        /// Of the memory that the batch takes.
        lease: Option<Lease>,
    },
    Copy {
        statements: Vec<Vec<u8>>,
        advance: Advance,
        /// Database and table, for messages.
        table: String,
    },
}

impl Job {
    async fn run(self, lane: &mut Lane) -> Result<Done, SinkError> {
        let is_copy = matches!(self, Job::Copy { .. });
        let (changes, advance) = match self {
            Job::Apply {
                batch,
                advance,
                whole,
                lease: _lease,
            } => {
                lane.apply(&batch, advance.as_ref(), whole).await?;
                (batch.changes, advance)
            }
            Job::Copy {
                statements,
                advance,
                table,
            } => {
                lane.copy(&statements, &advance, &table).await?;
                (0, Some(advance))
            }
        };
        Ok(Done {
            changes,
            advance,
            commit_seq: lane.offset().commit_seq(),
            is_copy,
        })
    }
}

/// A job that is done: committed, if it had an advance.
pub(super) struct Done {
    /// Row changes at the source.
    pub(super) changes: u64,
    /// How far the offset moved.
    pub(super) advance: Option<Advance>,
    /// Commits of the sink, with this one.
    pub(super) commit_seq: u64,
    /// Whether it wrote copied rows.
    pub(super) is_copy: bool,
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
            loop {
                let result = match timeout(LOOK_EVERY, jobs_received.recv()).await {
                    Ok(Some(job)) => job.run(&mut lane).await,
                    Ok(None) => break,
                    Err(_elapsed) => match lane.look().await {
                        Ok(()) => continue,
                        Err(error) => Err(error),
                    },
                };
                let failed = result.is_err();
                if done_sender.send(result).await.is_err() || failed {
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

    /// Begins a job; the lane must not be busy. `whole`: the batch ends with a whole source
    /// transaction.
    pub(super) async fn begin(
        &mut self,
        batch: Batch,
        advance: Option<Advance>,
        whole: bool,
        lease: Option<Lease>,
    ) {
        self.send(Job::Apply {
            batch,
            advance,
            whole,
            lease,
        })
        .await;
    }

    /// Begins to write copied rows; the lane must not be busy, nor inside a source transaction.
    pub(super) async fn copy(&mut self, statements: Vec<Vec<u8>>, advance: Advance, table: String) {
        self.send(Job::Copy {
            statements,
            advance,
            table,
        })
        .await;
    }

    async fn send(&mut self, job: Job) {
        debug_assert!(!self.busy, "one job at a time");
        self.busy = true;
        // A lane that ended is noticed where its answer is awaited.
        let _ = self.jobs.send(job).await;
    }

    /// Waits for the present job, or, without one, until the lane has lost its place. Cancelling it
    /// loses nothing.
    pub(super) async fn done(&mut self) -> Result<Done, SinkError> {
        let result = self.done.recv().await;
        self.busy = false;
        result.unwrap_or(Err(SinkError::LaneEnded))
    }
}
