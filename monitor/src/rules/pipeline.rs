//! Rules about one pipeline.

use std::time::Duration;

use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::TaskName;
use towpath_protocol::tree::record::{InstanceState, LifeState, Severity, TaskState};

use super::{Finding, History, Rule, Timings};
use crate::view::{PipelineView, TaskView, View};

/// Below this part of its bound, lag is well again, in percent.
const LAG_WELL_PERCENT: u64 = 80;

pub(super) fn look(
    view: &View,
    history: &History,
    timings: &Timings,
    now: Duration,
    found: &mut Vec<Finding>,
) {
    for (name, pipeline) in &view.pipelines {
        hooks(name, pipeline, found);
        // What happened to a task that an operator has stopped or paused since is no trouble now.
        if !pipeline.to_run() {
            continue;
        }
        let mut about = Vec::new();
        for (task, state) in &pipeline.tasks {
            let subject = format!("{name}/{task}");
            let looked_at = Task {
                name,
                task,
                pipeline,
                state,
                subject: &subject,
            };
            about.extend(looked_at.failed(timings));
            about.extend(looked_at.not_running());
            about.extend(looked_at.stalled(history, now));
            about.extend(looked_at.lag(timings));
            about.extend(looked_at.no_standby());
            about.extend(looked_at.failover(view));
        }
        about.extend(as_a_whole(name, pipeline));
        found.extend(about.into_iter().map(|finding| finding.of(name)));
    }
}

/// Hooks that can't be used. The others tell it.
fn hooks(name: &PipelineName, pipeline: &PipelineView, found: &mut Vec<Finding>) {
    for problem in &pipeline.alert.problems {
        let subject = match &problem.hook {
            Some(hook) => format!("{name}/{hook}"),
            None => name.to_string(),
        };
        let text = format!(
            "can't be used to tell of alerts: {}; correct the file and apply it, or set the \
             variable where the Monitor runs and restart that",
            problem.text
        );
        found.push(Finding::new(Rule::Hook, subject, Severity::Warning, text).of(name));
    }
}

/// What no task shows.
fn as_a_whole(name: &PipelineName, pipeline: &PipelineView) -> Option<Finding> {
    let status = pipeline.status.as_ref();
    let failing = pipeline.tasks.values().any(|task| task.failure.is_some());
    if let Some(status) = status.filter(|status| status.state == LifeState::Failed && !failing) {
        let text = format!(
            "the pipeline failed: {}; see \"towpath status {name}\", and \"towpath start {name}\" \
             when it is mended",
            status.cause
        );
        return Some(Finding::new(
            Rule::Failed,
            name.as_str(),
            Severity::Critical,
            text,
        ));
    }
    if !pipeline.tasks.is_empty() {
        return None;
    }
    let why = status.map_or("no Server has planned it", |status| &*status.cause);
    let text = format!("to run, and nobody does: {why}; is a Server and a Core running?");
    let hold = Duration::from_millis(pipeline.alert.spec.not_running_after_ms);
    Some(Finding::new(Rule::NotRunning, name.as_str(), Severity::Critical, text).hold(hold))
}

/// A task that is to run.
struct Task<'a> {
    name: &'a PipelineName,
    task: &'a TaskName,
    pipeline: &'a PipelineView,
    state: &'a TaskView,
    subject: &'a str,
}

impl Task<'_> {
    fn finding(&self, rule: Rule, severity: Severity, text: String) -> Finding {
        Finding::new(rule, self.subject, severity, text)
    }

    /// Whether it moves data, as far as its Core says.
    fn moves(&self) -> bool {
        self.state.progress.as_ref().is_some_and(|progress| {
            !matches!(
                progress.state,
                TaskState::TakingOver | TaskState::Stopping | TaskState::Failed | TaskState::Paused
            )
        })
    }

    fn failed(&self, timings: &Timings) -> Option<Finding> {
        let Some(failure) = &self.state.failure else {
            // Tried again, but not running yet: whether it's over isn't known.
            let text = "failed, and is tried again".to_owned();
            return (!self.moves()).then(|| {
                self.finding(Rule::Failed, Severity::Critical, text)
                    .unclear()
            });
        };
        let next = match &*failure.next {
            "" => format!("see \"towpath status {}\"", self.name),
            next => next.to_owned(),
        };
        let text = format!(
            "failed on {}: {} ({}); {next}",
            failure.core, failure.text, failure.code
        );
        let mut finding = self.finding(Rule::Failed, Severity::Critical, text);
        finding.code = Some(failure.code.clone());
        Some(if failure.transient {
            finding.hold(timings.transient_hold)
        } else {
            finding
        })
    }

    fn not_running(&self) -> Option<Finding> {
        // A failure says it better.
        if self.moves() || self.state.failure.is_some() {
            return None;
        }
        let cores = self.state.assignment.as_ref().map_or_else(
            || "it is assigned to no Core".to_owned(),
            |assignment| {
                let names: Vec<_> = assignment.cores.iter().map(|core| core.as_str()).collect();
                format!("assigned to {}", names.join(", "))
            },
        );
        let why = self
            .pipeline
            .status
            .as_ref()
            .map_or(String::new(), |status| format!("; {}", status.cause));
        let text = format!(
            "to run, and nobody runs it: {cores}{why}; see \"towpath get cores\" and \"towpath \
             status {}\"",
            self.name
        );
        let hold = Duration::from_millis(self.pipeline.alert.spec.not_running_after_ms);
        Some(
            self.finding(Rule::NotRunning, Severity::Critical, text)
                .hold(hold),
        )
    }

    fn stalled(&self, history: &History, now: Duration) -> Option<Finding> {
        let progress = self.state.progress.as_ref().filter(|_| self.moves())?;
        let motion = history.motion(self.name, self.task)?;
        let bound_ms = self.pipeline.alert.spec.stalled_after_ms;
        let bound = Duration::from_millis(bound_ms);
        let (idle, silent) = (
            now.saturating_sub(motion.since),
            now.saturating_sub(motion.written),
        );
        let bound_s = bound_ms / 1000;
        let core = &progress.core;
        let bad = |what: String| self.finding(Rule::Stalled, Severity::Critical, what);
        if silent >= bound {
            return Some(bad(format!(
                "{core} is there, but has told no progress for {bound_s} s; see its log, and \
                 restart it if it hangs: another goes on in its place"
            )));
        }
        // As much lag as time would add is what a source that goes on adds; half of it is enough
        // to know that there is something to do.
        let grown_ms = progress
            .lag_ms
            .unwrap_or(0)
            .saturating_sub(motion.lag_ms.unwrap_or(0));
        let grows = u128::from(grown_ms) >= idle.as_millis() / 2;
        if idle >= bound && progress.lag_ms.is_some() && grows {
            return Some(bad(format!(
                "{core} has not moved for {bound_s} s while the source went on; look for a lock or \
                 a slow statement on the sink, or for a large transaction"
            )));
        }
        let unknown = idle < bound && !motion.moved;
        unknown.then(|| bad("not watched for long enough".to_owned()).unclear())
    }

    fn lag(&self, timings: &Timings) -> Option<Finding> {
        let bound_ms = self.pipeline.alert.spec.lag_max_ms;
        let lag_ms = self
            .state
            .progress
            .as_ref()
            .and_then(|progress| progress.lag_ms);
        let text = format!(
            "{} s behind the source; {} s are allowed (lag_max): is the sink slow, or the source \
             busier than usual?",
            lag_ms.unwrap_or(0) / 1000,
            bound_ms / 1000
        );
        let finding = self
            .finding(Rule::Lag, Severity::Warning, text)
            .hold(timings.lag_hold);
        match lag_ms {
            // Nobody runs it, or it has committed nothing yet.
            None => Some(finding.unclear()),
            Some(lag_ms) if lag_ms > bound_ms => Some(finding),
            Some(lag_ms) if lag_ms > bound_ms / 100 * LAG_WELL_PERCENT => Some(finding.unclear()),
            Some(_) => None,
        }
    }

    fn no_standby(&self) -> Option<Finding> {
        let assignment = self.state.assignment.as_ref()?;
        let standby = |state: &InstanceState| *state == InstanceState::Standby;
        let any = self.state.instances.iter().any(|i| standby(&i.state));
        if assignment.cores.len() < 2 || any {
            return None;
        }
        let text = "nobody would take over: several Cores are to stand by, and none is ready; see \
                    \"towpath get cores\" and their logs"
            .to_owned();
        let finding = self.finding(Rule::NoStandby, Severity::Warning, text);
        // Without one who runs there's worse to tell.
        if !self.moves() {
            return Some(finding.unclear());
        }
        let hold = Duration::from_millis(self.pipeline.alert.spec.no_standby_after_ms);
        Some(finding.hold(hold))
    }

    /// Another Core than the one that was seen last has won the task, and no operator has changed
    /// what the pipeline is to do since that one had won it.
    fn failover(&self, view: &View) -> Option<Finding> {
        let (epoch, holder) = self.state.epoch.as_ref()?;
        let before = view.seen.tasks.get(self.subject)?;
        let started = u64::try_from(self.pipeline.desired_zxid).unwrap_or(0) > before.epoch.0;
        if before.member == holder.member || before.epoch.0 == *epoch || started {
            return None;
        }
        let cause = self
            .state
            .assignment
            .as_ref()
            .map_or(String::new(), |assignment| {
                format!(" (last plan: {})", assignment.cause)
            });
        let text = format!(
            "{} took over from {}{cause}; nothing to do, but see why in \"towpath history {}\"",
            holder.member, before.member, self.name
        );
        let mut finding = self.finding(Rule::Failover, Severity::Info, text);
        finding.occurrence = Some(*epoch);
        Some(finding)
    }
}
