//! What becomes of a task that failed.

use towpath_protocol::tree::record::{
    DesiredState, Failure, LifeState, Operation, OperationStep, Restart, Retry,
};

use super::view::TaskLife;
use super::{Draft, TRIES_BEFORE_ROLLBACK};

impl Draft<'_> {
    /// Decides about a failure; the state that follows.
    pub(super) fn failed(&mut self, task: &TaskLife, failure: &Failure) -> (LifeState, String) {
        let what = format!("{}: {}", failure.code, failure.text);
        if failure.spec_revision < self.view.spec.revision && failure.spec_revision != 0 {
            // Of a run that another revision ended.
            self.cleared.push(task.name.clone());
            return (LifeState::Provisioning, format!("{} begins", task.name));
        }
        let tries = self.journal.restarts.len();
        let max = usize::try_from(self.view.restart.max).unwrap_or(usize::MAX);
        let hopeless = !failure.transient || tries >= max;
        if let Some(to) = self.rollback_target()
            && (hopeless || tries >= TRIES_BEFORE_ROLLBACK)
        {
            return self.roll_back(to, what);
        }
        if !failure.transient {
            let next = match &*failure.next {
                "" => format!("correct the cause, then towpath start {}", self.view.name),
                next => next.to_owned(),
            };
            return (LifeState::Failed, format!("{what}; {next}"));
        }
        if self.journal.gave_up == Some(failure.id) || tries >= max {
            self.journal.gave_up = Some(failure.id);
            self.journal.retry = None;
            let cause = format!(
                "{what}; failed again after {max} tries in {} s; correct the cause, then towpath \
                 start {}",
                self.view.restart.window_ms / 1000,
                self.view.name
            );
            return (LifeState::Failed, cause);
        }
        let retry = self
            .journal
            .retry
            .clone()
            .filter(|retry| retry.failure == failure.id);
        let at = match retry {
            Some(retry) => retry.at,
            None => {
                let pause = self.pause(tries);
                self.now.checked_add(pause).unwrap_or(self.now)
            }
        };
        let number = tries + 1;
        if at > self.now {
            self.journal.retry = Some(Retry {
                task: task.name.clone(),
                failure: failure.id,
                at,
            });
            self.look_again(at);
            let cause = format!("{what}; try {number} of {max} follows");
            return (LifeState::Restarting, cause);
        }
        self.journal.retry = None;
        self.journal.restarts.push(Restart {
            task: task.name.clone(),
            code: failure.code.clone(),
            at: self.now,
        });
        self.cleared.push(task.name.clone());
        let text = format!("try {number} of {max} after {what}");
        self.event("restart", text, Some(&task.name));
        (
            LifeState::Restarting,
            format!("{what}; try {number} of {max}"),
        )
    }

    /// How long to wait before the next try.
    fn pause(&self, tries: usize) -> jiff::SignedDuration {
        let factor = 1_i32 << tries.min(16);
        let pause = self.timings.backoff_min.checked_mul(factor);
        pause.map_or(self.timings.backoff_max, |pause| {
            pause.min(self.timings.backoff_max)
        })
    }

    /// The revision to go back to, if the one in force may be rolled back.
    fn rollback_target(&self) -> Option<u64> {
        let revision = self.view.spec.revision;
        let good = self.view.status.as_ref()?.good_revision?;
        (good < revision
            && self.journal.rolled_back_as != Some(revision)
            && self.view.texts.contains_key(&good))
        .then_some(good)
    }

    fn roll_back(&mut self, to: u64, cause: String) -> (LifeState, String) {
        let from = self.view.spec.revision;
        let what = format!("rollback from {from} to {to}");
        self.journal.retry = None;
        self.journal.operation = Some(Operation::Rollback {
            step: OperationStep::Stopping,
            from,
            to,
            then: self.view.desired.state.clone(),
            cause: cause.clone(),
            since: self.now,
        });
        let leader = self.leader.clone();
        self.desire(DesiredState::Stopped, leader.as_str(), what.clone());
        self.look_again(
            self.now
                .checked_add(self.timings.stop_max)
                .unwrap_or(self.now),
        );
        (LifeState::RollingBack, format!("{what}: {cause}"))
    }
}
