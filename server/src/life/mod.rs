//! How each pipeline is, and what is to be done about it: pure functions.
//!
//! Rules:
//! * A task that failed, and may get better by trying, is tried again (its [`Failure`] is removed)
//!   after a pause that doubles, at most `restart.max` times within `restart.window`. After that,
//!   and at once where trying can't help, the pipeline is Failed, until an operator starts it or
//!   applies another revision. What was tried is in the [`Journal`], so that a new leader counts
//!   on.
//! * A revision that ran for `good_after` without a failure has run well (`good_revision`). One
//!   that fails before that is rolled back to the last good one, if there is one: at once if
//!   trying can't help, else after [`TRIES_BEFORE_ROLLBACK`] tries. The old text becomes a new
//!   revision: revisions only grow. What was rolled back isn't rolled back again.
//! * An update and a rollback first stop the runs (`desired` is `stopped` meanwhile), then write
//!   the spec and what is desired afterwards in one transaction. Each step is in the journal
//!   before it's begun. If the runs don't end in time, nothing has changed, and they go on.
//! * What a user wants wins: who changes `desired` meanwhile changes what comes afterwards.
//!
//! It never reads a clock and never writes: `now` comes in, a [`Step`] goes out.

mod view;
mod state;
mod operation;
mod failure;
pub mod liveness;

use jiff::Timestamp;
use towpath_protocol::tree::record::{
    AppliedSpec, Desired, DesiredState, HistoryEvent, Journal, LifeState, Operation, PipelineStatus,
};
use towpath_protocol::tree::{MemberId, TaskName};

pub use view::{LifeTimings, PipelineView, Step, TaskLife};

/// A new revision whose failures may get better by trying is tried so often before it's rolled
/// back: a source that restarts isn't the revision's fault.
pub const TRIES_BEFORE_ROLLBACK: usize = 3;

/// Decides about one pipeline. Carried out, and seen again at the same time, it decides for
/// nothing.
pub fn step(view: &PipelineView, leader: &MemberId, timings: &LifeTimings, now: Timestamp) -> Step {
    let mut draft = Draft {
        view,
        leader,
        timings,
        now,
        journal: view.journal.clone(),
        desired: None,
        spec: None,
        cleared: Vec::new(),
        events: Vec::new(),
        again: None,
    };
    let window = jiff::SignedDuration::from_millis(
        i64::try_from(view.restart.window_ms).unwrap_or(i64::MAX),
    );
    draft
        .journal
        .restarts
        .retain(|restart| now.duration_since(restart.at) < window);
    draft.failovers();
    let operated = draft.operate();
    let (state, cause) = match operated {
        Some(state) => state,
        None => draft.states(),
    };
    draft.finish(state, cause)
}

/// A step in the making.
struct Draft<'a> {
    view: &'a PipelineView,
    leader: &'a MemberId,
    timings: &'a LifeTimings,
    now: Timestamp,
    journal: Journal,
    desired: Option<Desired>,
    spec: Option<AppliedSpec>,
    cleared: Vec<TaskName>,
    events: Vec<HistoryEvent>,
    again: Option<Timestamp>,
}

impl Draft<'_> {
    fn event(&mut self, what: &str, text: String, task: Option<&TaskName>) {
        self.events.push(HistoryEvent {
            at: self.now,
            what: what.to_owned(),
            text,
            by: self.leader.to_string(),
            task: task.map(ToString::to_string),
        });
    }

    fn look_again(&mut self, at: Timestamp) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }

    fn desire(&mut self, state: DesiredState, by: &str, cause: String) {
        self.desired = Some(Desired {
            state,
            since: self.now,
            by: by.to_owned(),
            cause,
        });
    }

    /// Whether nobody stands for any task.
    fn all_ended(&self) -> bool {
        self.view.tasks.iter().all(|task| task.instances.is_empty())
    }

    /// Tells who runs a task in place of another.
    fn failovers(&mut self) {
        for task in &self.view.tasks {
            let (Some(former), Some(runner)) = (&task.ran_on, task.runner()) else {
                continue;
            };
            if *former != runner.member {
                let why = if task.away.contains(former) {
                    format!("{former} isn't there any more")
                } else if task.cores.contains(former) {
                    format!("{former} left the election")
                } else {
                    format!("{former} isn't a candidate any more")
                };
                let text = format!("{} takes over from {former}: {why}", runner.member);
                self.event("failover", text, Some(&task.name));
            }
        }
    }

    /// The state of a pipeline that isn't stopped for an update or a rollback.
    fn states(&mut self) -> (LifeState, String) {
        if let Some(problem) = &self.view.unreadable {
            return (
                LifeState::Failed,
                format!("its spec can't be read: {problem}; apply it again"),
            );
        }
        let desired = self.view.desired.state.clone();
        let mut states = Vec::new();
        for task in &self.view.tasks {
            match &task.failure {
                Some(failure) if desired != DesiredState::Stopped => {
                    states.push(self.failed(task, failure));
                }
                _ => states.push(state::task(task, &desired)),
            }
        }
        let whole = state::whole(states)
            .unwrap_or_else(|| (LifeState::Failed, "it has no task".to_owned()));
        self.settle(whole)
    }

    fn finish(mut self, state: LifeState, cause: String) -> Step {
        let former = self.view.status.as_ref();
        let revision = self
            .spec
            .as_ref()
            .map_or(self.view.spec.revision, |spec| spec.revision);
        let same = former.is_some_and(|former| former.state == state);
        let since = former
            .filter(|_| same)
            .map_or(self.now, |former| former.since);
        let mut good_revision = former.and_then(|former| former.good_revision);
        let steady = former.is_some_and(|former| former.spec_revision == revision)
            && same
            && state == LifeState::Running;
        if state == LifeState::Running && good_revision != Some(revision) {
            let begun = if steady { since } else { self.now };
            if self.now.duration_since(begun) >= self.timings.good_after {
                good_revision = Some(revision);
            } else if let Ok(at) = begun.checked_add(self.timings.good_after) {
                self.look_again(at);
            }
        }
        // A run of another revision has its own time.
        let since = if same && !steady && state == LifeState::Running {
            self.now
        } else {
            since
        };
        let telling = matches!(
            state,
            LifeState::Running
                | LifeState::Paused
                | LifeState::Stopped
                | LifeState::Failed
                | LifeState::Unplaced
        );
        if !same && telling {
            let what = match &state {
                LifeState::Running => "running",
                LifeState::Paused => "paused",
                LifeState::Stopped => "stopped",
                LifeState::Failed => "failed",
                _ => "unplaced",
            };
            self.event(what, cause.clone(), None);
        }
        Step {
            status: PipelineStatus {
                state,
                since,
                cause,
                spec_revision: revision,
                good_revision,
            },
            journal: self.journal,
            desired: self.desired,
            spec: self.spec,
            cleared: self.cleared,
            events: self.events,
            again: self.again,
        }
    }

    /// Whether an update or a rollback waits for its runs to begin.
    fn starting(&self) -> Option<LifeState> {
        match &self.journal.operation {
            Some(Operation::Update { .. }) => Some(LifeState::Updating),
            Some(Operation::Rollback { .. }) => Some(LifeState::RollingBack),
            _ => None,
        }
    }
}
