//! What takes several steps: updates, rollbacks, moves. Each step is in the journal before it's
//! begun, so whoever leads next goes on.

use jiff::Timestamp;
use towpath_protocol::tree::record::{
    AppliedSpec, DesiredState, InstanceState, LifeState, Operation, OperationStep,
};

use super::Draft;

impl Draft<'_> {
    /// Does the next step of what is under way; the pipeline's state, if that decides it.
    pub(super) fn operate(&mut self) -> Option<(LifeState, String)> {
        match self.journal.operation.clone()? {
            Operation::Update {
                step: OperationStep::Stopping,
                text,
                from,
                then,
                by,
                since,
            } => {
                let what = format!("update to revision {}", from + 1);
                let state = LifeState::Updating;
                if !self.ended(&what, from, &then, since) {
                    return self.waiting(state, &what);
                }
                self.put_in_force(text, &by, &then, &what);
                self.journal.rolled_back_as = None;
                self.event("applied", format!("revision {} by {by}", from + 1), None);
                let operation = Operation::Update {
                    step: OperationStep::Starting,
                    text: String::new(),
                    from,
                    then: then.clone(),
                    by,
                    since: self.now,
                };
                self.begun(operation, &then, state, &what)
            }
            Operation::Rollback {
                step: OperationStep::Stopping,
                from,
                to,
                then,
                cause,
                since,
            } => {
                let what = format!("rollback from {from} to {to}");
                let state = LifeState::RollingBack;
                let Some(text) = self.view.texts.get(&to).cloned() else {
                    self.journal.operation = None;
                    let lost = format!("{what} given up: the text of {to} isn't there any more");
                    self.event("rollback-failed", lost, None);
                    self.desire(then, self.leader.clone().as_str(), what);
                    return None;
                };
                if !self.ended(&what, from, &then, since) {
                    return self.waiting(state, &what);
                }
                self.put_in_force(text, self.leader.clone().as_str(), &then, &what);
                self.journal.rolled_back_as = Some(from + 1);
                let told = format!(
                    "rolled back from {from} to {to}, as revision {}: {cause}",
                    from + 1
                );
                self.event("rollback", told, None);
                let operation = Operation::Rollback {
                    step: OperationStep::Starting,
                    from,
                    to,
                    then: then.clone(),
                    cause,
                    since: self.now,
                };
                self.begun(operation, &then, state, &what)
            }
            Operation::Move {
                task,
                to,
                by,
                since,
            } => {
                self.follow_move(&task, &to, &by, since);
                None
            }
            Operation::Update { .. } | Operation::Rollback { .. } | Operation::Other(_) => None,
        }
    }

    /// Whether the runs of the former revision have ended. If they don't in time, or another
    /// revision is in force already, it's given up.
    fn ended(&mut self, what: &str, from: u64, then: &DesiredState, since: Timestamp) -> bool {
        let stale = self.view.spec.revision != from;
        if !stale && self.all_ended() && self.view.desired.state == DesiredState::Stopped {
            return true;
        }
        let late = self.now.duration_since(since) >= self.timings.stop_max;
        if stale || late {
            let why = if stale {
                "another revision is in force".to_owned()
            } else {
                format!("{} didn't end its run in time", self.standing())
            };
            self.journal.operation = None;
            let leader = self.leader.clone();
            self.desire(then.clone(), leader.as_str(), format!("{what} given up"));
            self.event("operation-failed", format!("{what} given up: {why}"), None);
        } else if let Ok(at) = since.checked_add(self.timings.stop_max) {
            self.look_again(at);
        }
        false
    }

    fn standing(&self) -> String {
        let members = self
            .view
            .tasks
            .iter()
            .flat_map(|task| task.instances.iter())
            .map(|instance| instance.member.as_str());
        members.collect::<Vec<_>>().join(", ")
    }

    fn waiting(&self, state: LifeState, what: &str) -> Option<(LifeState, String)> {
        self.journal.operation.as_ref()?;
        let standing = self.standing();
        let cause = if standing.is_empty() {
            format!("{what}: begins")
        } else {
            format!("{what}: {standing} ends its run")
        };
        Some((state, cause))
    }

    fn put_in_force(&mut self, text: String, by: &str, then: &DesiredState, what: &str) {
        self.spec = Some(AppliedSpec {
            uuid: self.view.spec.uuid,
            revision: self.view.spec.revision + 1,
            text,
            applied: self.now,
            by: by.to_owned(),
        });
        self.desire(then.clone(), by, what.to_owned());
        self.clear_failures();
    }

    /// Forgets all failures, and what was tried.
    fn clear_failures(&mut self) {
        let failed = self
            .view
            .tasks
            .iter()
            .filter(|task| task.failure.is_some())
            .map(|task| task.name.clone());
        self.cleared = failed.collect();
        self.journal.restarts.clear();
        self.journal.retry = None;
        self.journal.gave_up = None;
    }

    fn begun(
        &mut self,
        operation: Operation,
        then: &DesiredState,
        state: LifeState,
        what: &str,
    ) -> Option<(LifeState, String)> {
        if *then == DesiredState::Stopped {
            self.journal.operation = None;
            return Some((LifeState::Stopped, format!("{what}, as asked not running")));
        }
        self.journal.operation = Some(operation);
        Some((state, format!("{what}: Cores begin")))
    }

    /// What a state means for an update or a rollback whose runs begin.
    pub(super) fn settle(&mut self, (state, cause): (LifeState, String)) -> (LifeState, String) {
        let Some(under_way) = self.starting() else {
            return (state, cause);
        };
        match state {
            LifeState::Provisioning | LifeState::Ready | LifeState::Restarting => {
                (under_way, cause)
            }
            // A rollback that was decided just now.
            LifeState::RollingBack | LifeState::Updating => (state, cause),
            _ => {
                self.journal.operation = None;
                (state, cause)
            }
        }
    }

    fn follow_move(
        &mut self,
        task: &towpath_protocol::tree::TaskName,
        to: &towpath_protocol::tree::MemberId,
        by: &str,
        since: Timestamp,
    ) {
        let found = self.view.tasks.iter().find(|found| found.name == *task);
        let runner = found.and_then(|task| task.runner());
        let there = runner.is_some_and(|runner| {
            runner.member == *to
                && matches!(
                    runner.state,
                    InstanceState::Running | InstanceState::Paused | InstanceState::TakingOver
                )
        });
        let stopped = self.view.desired.state == DesiredState::Stopped;
        if there || found.is_none() || stopped {
            self.journal.operation = None;
            if there {
                self.event("moved", format!("to {to}, asked by {by}"), Some(task));
            }
        } else if self.now.duration_since(since) >= self.timings.move_max {
            self.journal.operation = None;
            let text = format!("the move to {to} is given up: {to} wasn't ready in time");
            self.event("operation-failed", text, Some(task));
        } else if let Ok(at) = since.checked_add(self.timings.move_max) {
            self.look_again(at);
        }
    }
}
