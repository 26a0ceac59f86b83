//! One task on this Core: stands in its election, stands by, runs, and tells about it.
//!
//! A loop of turns. Each looks at what is wanted and where the candidate stands, does the one step
//! that follows, and waits for the next event. What a turn needs to know it reads anew, so that no
//! order of events can leave it with an old picture.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::Instant;
use towpath_coordination::{Candidate, Election, Standing, Token};
use towpath_protocol::spec::LimitsSpec;
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{Failure, Instance, InstanceState, TaskState};
use uuid::Uuid;

use super::elected::Elected;
use super::failure::Reason;
use super::plan::{Aim, Wanted};
use super::reach::Reach;
use super::report::Report;
use super::resolve::{ResolveError, Resolved, resolve};
use super::standby::{Readiness, Standby};
use super::{Common, TaskKey, TaskPhase, roles, write_failure};
use crate::pipeline::{Controls, PipelineError, Progress};
use crate::task::OwnedTask;

/// How often a run's progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The preferred Core may stand before the others do, if all begin at once.
const PREFERRED_WAIT: Duration = Duration::from_millis(500);
/// A stop in order has its own bound in the pipeline; past this one the run is cut off.
const STOP_MAX: Duration = Duration::from_millis(1500);
/// Leaving an election is waited for this long; the node goes with the session otherwise.
const RESIGN_MAX: Duration = Duration::from_millis(500);
/// After the sink has refused our right though we seem to lead, others get this long to show.
const SUPERSEDED_PAUSE: Duration = Duration::from_secs(1);
/// A failure that the tree's copy doesn't show yet is looked for again this often.
const FAILURE_LOOK: Duration = Duration::from_secs(1);
/// Another Core may be able to resolve what this one can't: it gets this long to stand.
const UNRESOLVED_WAIT: Duration = Duration::from_secs(2);

type Ended = Result<Result<(), PipelineError>, JoinError>;

/// A run of the pipeline, in a task of its own.
struct Run {
    task: OwnedTask<Result<(), PipelineError>>,
    stop: watch::Sender<bool>,
    limits: watch::Sender<LimitsSpec>,
    progress: Arc<Progress>,
    reach: Option<Reach>,
    resolved: Resolved,
    /// In whose name it runs.
    candidacy: Uuid,
    /// A failure of an earlier spec was removed, since this one works.
    mended: bool,
}

/// Our candidate in the task's election.
struct Candidacy {
    id: Uuid,
    candidate: Candidate,
    standings: watch::Receiver<Standing>,
    /// The token of the win has not been used yet.
    is_fresh: bool,
    /// Says whether the candidate leads, for DDL.
    _confirmer: OwnedTask<()>,
}

/// A task's runner.
pub(super) struct Runner {
    common: Common,
    key: TaskKey,
    wanted: watch::Receiver<Option<Arc<Wanted>>>,
    candidacy: Option<Candidacy>,
    run: Option<Run>,
    standby: Option<Standby>,
    report: Option<Report>,
    confirmed: watch::Sender<bool>,
    /// Since when we want to stand and don't.
    waits_since: Option<Instant>,
    /// What had been done when it was paused.
    held: Option<Arc<Progress>>,
    /// A run that has come to its end, since it was for a copy alone; it isn't begun again.
    finished: Option<(Resolved, Arc<Progress>)>,
    /// What the spec came to, and of what.
    resolved: Option<(Arc<Wanted>, Resolved)>,
}

impl Runner {
    pub(super) fn new(
        common: Common,
        key: TaskKey,
        wanted: watch::Receiver<Option<Arc<Wanted>>>,
    ) -> Self {
        Self {
            common,
            key,
            wanted,
            candidacy: None,
            run: None,
            standby: None,
            report: None,
            confirmed: watch::channel(false).0,
            waits_since: None,
            held: None,
            finished: None,
            resolved: None,
        }
    }

    /// Runs until nothing is wanted of this Core any more.
    pub(super) async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            // A sender that is gone can't want anything any more either.
            let (Some(wanted), Ok(_)) = (wanted, self.wanted.has_changed()) else {
                break;
            };
            self.turn(&wanted).await;
        }
        self.leave().await;
    }

    async fn turn(&mut self, wanted: &Arc<Wanted>) {
        let aim = wanted.aim();
        match aim {
            Aim::Stop => return self.rest(TaskPhase::Stopped, None).await,
            Aim::Failed => {
                let why = wanted.failure.as_ref().map(|failure| failure.text.clone());
                return self.rest(TaskPhase::Failed, why).await;
            }
            Aim::Run | Aim::Pause => {}
        }
        let resolved = match self.resolve(wanted) {
            Ok(resolved) => resolved,
            Err(error) => return self.unresolved(wanted, &error).await,
        };
        if self.candidacy.is_none() && !self.stand(wanted).await {
            return;
        }
        let Some(candidacy) = &mut self.candidacy else {
            return;
        };
        let standing = candidacy.standings.borrow_and_update().clone();
        match standing {
            Standing::Lost(loss) => {
                tracing::warn!(
                    pipeline = %self.key.pipeline, task = %self.key.task, %loss,
                    "this Core's place in the election is lost; standing again"
                );
                // A run goes on: the sink is its judge until we know who is before us.
                self.candidacy = None;
                return;
            }
            Standing::Standby => self.stand_by(&resolved).await,
            Standing::Suspended(_) => {
                if aim == Aim::Pause {
                    self.end_run().await;
                }
            }
            Standing::Leading(token) => {
                if !self.lead(wanted, &aim, resolved, token).await {
                    return;
                }
            }
        }
        self.wait(wanted).await;
    }

    /// The spec as it is run here; read anew only when something of it has changed.
    fn resolve(&mut self, wanted: &Arc<Wanted>) -> Result<Resolved, ResolveError> {
        if let Some((of, resolved)) = &self.resolved
            && of.spec == wanted.spec
            && of.assignment.server_id == wanted.assignment.server_id
            && of.datasources == wanted.datasources
        {
            return Ok(resolved.clone());
        }
        let resolved = resolve(&self.key, wanted, &*self.common.options.environment)?;
        self.resolved = Some((Arc::clone(wanted), resolved.clone()));
        Ok(resolved)
    }

    /// Waits for whatever comes next.
    async fn wait(&mut self, wanted: &Wanted) {
        let Some(candidacy) = &mut self.candidacy else {
            return;
        };
        let ended = tokio::select! {
            biased;
            ended = ended(&mut self.run) => Some(ended),
            _ = self.wanted.changed() => None,
            _ = candidacy.standings.changed() => None,
            () = readiness_changed(&mut self.standby) => None,
            () = tokio::time::sleep(LOOK_EVERY), if self.report.is_some() => None,
        };
        if let Some(ended) = ended {
            self.ended(wanted, ended).await;
        }
    }

    /// Not to be run at all: waits until something else is wanted.
    async fn rest(&mut self, phase: TaskPhase, detail: Option<String>) {
        self.leave().await;
        self.common
            .options
            .board
            .set(&self.key, phase, detail, None);
        let _ = self.wanted.changed().await;
    }

    /// The spec can't be run in this process. If no other Core can either, that's a failure.
    async fn unresolved(&mut self, wanted: &Wanted, error: &ResolveError) {
        self.leave().await;
        let reason = Reason::of_spec(error);
        tracing::warn!(pipeline = %self.key.pipeline, task = %self.key.task, code = %reason.code, %error, "can't run this spec here");
        let board = &self.common.options.board;
        board.set(
            &self.key,
            TaskPhase::Unresolved,
            Some(reason.text.clone()),
            None,
        );
        tokio::select! {
            _ = self.wanted.changed() => return,
            () = tokio::time::sleep(UNRESOLVED_WAIT), if wanted.instances.is_empty() => {}
            () = std::future::pending(), if !wanted.instances.is_empty() => {}
        }
        self.fail(wanted.spec.revision, &reason).await;
        let _ = self.wanted.changed().await;
    }

    /// Stands in the election; `false` if there is something to look at first.
    async fn stand(&mut self, wanted: &Wanted) -> bool {
        let core = &self.common.options.id;
        let session = self.common.session.clone();
        if !wanted.prefers(core) && wanted.instances.is_empty() && self.run.is_none() {
            let since = *self.waits_since.get_or_insert_with(Instant::now);
            tokio::select! {
                () = tokio::time::sleep_until(since + PREFERRED_WAIT) => {}
                _ = self.wanted.changed() => return false,
            }
        }
        let id = Uuid::new_v4();
        let state = match self.run {
            Some(_) => InstanceState::Running,
            None => InstanceState::Provisioning,
        };
        let instance = Instance {
            member: core.clone(),
            host: self.common.host.clone(),
            pid: std::process::id(),
            candidacy: id,
            since: Timestamp::now(),
            state,
        };
        let election = Election::task(&self.key.pipeline, &self.key.task, core);
        let failure = path::failure(&self.key.pipeline, &self.key.task);
        let revision = wanted.spec.revision;
        let stand = async {
            // The tree's copy may not show yet what another Core has just found out.
            if let Some(failure) = session.read::<Failure>(&failure).await?
                && failure.value.record.spec_revision == revision
            {
                return Ok(None);
            }
            election.stand(&session, instance).await.map(Some)
        };
        let stood = tokio::select! {
            biased;
            _ = self.wanted.changed() => return false,
            ended = ended(&mut self.run) => {
                self.ended(wanted, ended).await;
                return false;
            }
            stood = stand => stood,
        };
        self.waits_since = None;
        let candidate = match stood {
            Ok(Some(candidate)) => candidate,
            Ok(None) => {
                self.changed_or(FAILURE_LOOK).await;
                return false;
            }
            Err(error) => {
                tracing::warn!(pipeline = %self.key.pipeline, task = %self.key.task, %error, "can't stand in the election yet");
                self.changed_or(FAILURE_LOOK).await;
                return false;
            }
        };
        let standings = candidate.standings();
        let confirmer = OwnedTask::spawn(confirm(standings.clone(), self.confirmed.clone()));
        self.candidacy = Some(Candidacy {
            id,
            candidate,
            standings,
            is_fresh: true,
            _confirmer: confirmer,
        });
        true
    }

    async fn changed_or(&mut self, pause: Duration) {
        tokio::select! {
            _ = self.wanted.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Others are before us: keeps ready.
    async fn stand_by(&mut self, resolved: &Resolved) {
        self.end_run().await;
        self.end_report().await;
        if self
            .standby
            .as_ref()
            .is_none_or(|standby| standby.resolved != *resolved)
        {
            self.standby = Some(Standby::keep_ready(resolved.clone()));
        }
        let (state, detail) = match self.standby.as_ref().map(Standby::readiness) {
            Some(Readiness::Ready) => (InstanceState::Standby, None),
            Some(Readiness::NotReady(why)) => (InstanceState::Provisioning, Some(why)),
            Some(Readiness::Unknown) | None => (InstanceState::Provisioning, None),
        };
        self.say(state, detail);
    }

    /// It's our turn; `false` if there is something to look at first.
    async fn lead(&mut self, wanted: &Wanted, aim: &Aim, resolved: Resolved, token: Token) -> bool {
        self.standby = None;
        if wanted.hands_over(&self.common.options.id) {
            tracing::info!(
                pipeline = %self.key.pipeline, task = %self.key.task,
                "the preferred Core stands by; handing over to it"
            );
            self.leave().await;
            return false;
        }
        if *aim == Aim::Pause {
            let ended = self.end_run().await;
            self.say(InstanceState::Paused, None);
            if let Some(ended) = ended {
                self.report().last_commit(&ended).await;
                self.held = Some(ended);
            }
            let held = self.held.clone();
            self.report().tell(TaskState::Paused, held.as_ref());
            return true;
        }
        if let Some((_, progress)) = self
            .finished
            .take_if(|(finished, _)| self.run.is_none() && *finished == resolved)
        {
            let detail = "all is copied; snapshot = \"initial\" or \"never\" goes on from there";
            self.say(InstanceState::Running, Some(detail.to_owned()));
            self.report().tell(TaskState::Paused, Some(&progress));
            self.finished = Some((resolved, progress));
            return true;
        }
        self.finished = None;
        let Some(candidacy) = self.candidacy.as_ref().map(|candidacy| candidacy.id) else {
            return false;
        };
        let is_this = |run: &Run| run.candidacy == candidacy && run.resolved == resolved;
        if self.run.as_ref().is_some_and(|run| !is_this(run)) {
            // Under another spec, at another address, or by the right of a session that is over.
            self.end_run().await;
        }
        self.held = None;
        if self.run.is_none() && !self.begin_run(wanted, resolved, token).await {
            return false;
        }
        if let Some(why) = self.cut_off(wanted) {
            tracing::warn!(
                pipeline = %self.key.pipeline, task = %self.key.task, why,
                "cut off here; handing over to the Core that stands by"
            );
            self.leave().await;
            return false;
        }
        self.look(wanted);
        true
    }

    /// Why this run should be another Core's, if one stands ready for it.
    fn cut_off(&mut self, wanted: &Wanted) -> Option<String> {
        let run = self.run.as_mut()?;
        let view = run.progress.view();
        let why = run.reach.as_mut()?.cut_off(&view)?;
        wanted.has_standby(&self.common.options.id).then_some(why)
    }

    /// Begins a run, unless a failure says that nobody is to.
    async fn begin_run(&mut self, wanted: &Wanted, resolved: Resolved, token: Token) -> bool {
        let failure = path::failure(&self.key.pipeline, &self.key.task);
        let session = self.common.session.clone();
        let Some(candidacy) = &mut self.candidacy else {
            return false;
        };
        let failed = tokio::select! {
            biased;
            _ = candidacy.standings.changed() => return false,
            failed = session.read::<Failure>(&failure) => failed,
        };
        match failed {
            Ok(Some(failed)) if failed.value.record.spec_revision == wanted.spec.revision => {
                self.leave().await;
                self.changed_or(FAILURE_LOOK).await;
                return false;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(pipeline = %self.key.pipeline, %error, "can't look for a failure");
                self.changed_or(FAILURE_LOOK).await;
                return false;
            }
        }
        let first = std::mem::take(&mut candidacy.is_fresh).then_some(token);
        let authority = Elected {
            session,
            key: self.key.clone(),
            of_its_own: resolved.begins_by_itself(),
            renewer: candidacy.candidate.renewer(),
            first,
            confirmed: self.confirmed.subscribe(),
        };
        let (stop, stopped) = watch::channel(false);
        let (limits, limited) = watch::channel(limits(wanted, &resolved));
        let progress = Arc::new(Progress::new());
        let controls = Controls {
            progress: Arc::clone(&progress),
            limits: limited,
            stop: stopped,
        };
        let owner = self.common.owner();
        let sink = resolved.role.sink().and(resolved.spec.sinks.first());
        let sink = sink.map(|sink| sink.endpoint.clone());
        let (key, runs) = (self.key.clone(), resolved.clone());
        let task =
            OwnedTask::spawn(
                async move { roles::run(&key, &runs, &owner, authority, controls).await },
            );
        tracing::info!(
            pipeline = %self.key.pipeline, task = %self.key.task, revision = resolved.revision,
            "leading; beginning to run"
        );
        self.run = Some(Run {
            task,
            stop,
            limits,
            progress,
            reach: sink.map(Reach::watch),
            resolved,
            candidacy: candidacy.id,
            mended: false,
        });
        true
    }

    /// Looks at a run, and tells about it.
    fn look(&mut self, wanted: &Wanted) {
        let Some(run) = &mut self.run else {
            return;
        };
        let now = limits(wanted, &run.resolved);
        run.limits.send_if_modified(|present| {
            let changed = *present != now;
            *present = now;
            changed
        });
        let progress = Arc::clone(&run.progress);
        let view = progress.view();
        if let Some(failure) = &wanted.failure
            && view.commits > 0
            && !run.mended
        {
            run.mended = true;
            self.forget_failure(failure.id);
        }
        let (instance, task) = match view.connected {
            true => (InstanceState::Running, TaskState::Running),
            false => (InstanceState::TakingOver, TaskState::TakingOver),
        };
        let detail = match view.waiting {
            true => Some("waiting until the directory confirms that this Core leads".to_owned()),
            false => view.trouble.or(view.queue_trouble),
        };
        self.say(instance, detail);
        self.report().tell(task, Some(&progress));
    }

    /// A failure of an earlier spec is over, since this one has committed something. A newer one
    /// may have come.
    fn forget_failure(&self, id: Uuid) {
        let session = self.common.session.clone();
        let node = path::failure(&self.key.pipeline, &self.key.task);
        tokio::spawn(async move {
            let is_that = |failure: &Failure| failure.id == id;
            if let Err(error) = session.remove_record(&node, is_that).await {
                tracing::warn!(path = %node, %error, "can't remove a failure that is over");
            }
        });
    }

    fn report(&mut self) -> &mut Report {
        let common = &self.common;
        self.report
            .get_or_insert_with(|| Report::begin(&common.session, &self.key, &common.options.id))
    }

    /// Says what we are doing, in our instance node and on the board.
    fn say(&self, state: InstanceState, detail: Option<String>) {
        if let Some(candidacy) = &self.candidacy {
            candidacy.candidate.update(state.clone());
        }
        let progress = self.run.as_ref().map(|run| Arc::clone(&run.progress));
        let phase = TaskPhase::Standing(state);
        self.common
            .options
            .board
            .set(&self.key, phase, detail, progress);
    }

    /// Ends the run in order, if there is one; answers what it had done.
    async fn end_run(&mut self) -> Option<Arc<Progress>> {
        let mut run = self.run.take()?;
        let _ = run.stop.send(true);
        match tokio::time::timeout(STOP_MAX, &mut run.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::warn!(pipeline = %self.key.pipeline, task = %self.key.task, code = %error.code(), %error, "the run ended while it was stopped");
            }
            Ok(Err(join)) => {
                tracing::error!(pipeline = %self.key.pipeline, task = %self.key.task, error = %join, "the run broke while it was stopped");
            }
            Err(_) => {
                tracing::warn!(pipeline = %self.key.pipeline, task = %self.key.task, "the run takes too long to stop; cut off");
            }
        }
        Some(Arc::clone(&run.progress))
    }

    async fn end_report(&mut self) {
        if let Some(report) = self.report.take() {
            report.end().await;
        }
    }

    /// Ends the run, leaves the election, and takes back what was told.
    async fn leave(&mut self) {
        if let Some(report) = &mut self.report
            && let Some(run) = &self.run
        {
            report.tell(TaskState::Stopping, Some(&run.progress));
        }
        let last = self.end_run().await;
        let candidacy = self.candidacy.take();
        self.confirmed.send_replace(false);
        // What others wait for, and what only tells of us, at the same time.
        let tell = async {
            if let (Some(report), Some(last)) = (&mut self.report, last) {
                report.last_commit(&last).await;
            }
        };
        tokio::join!(resign(&self.key, candidacy), tell);
        self.standby = None;
        self.held = None;
        self.end_report().await;
    }

    /// A run has ended by itself.
    async fn ended(&mut self, wanted: &Wanted, ended: Ended) {
        let run = self.run.take();
        if let Some(run) = &run
            && let Some(report) = &mut self.report
        {
            report.last_commit(&run.progress).await;
        }
        let (pipeline, task) = (&self.key.pipeline, &self.key.task);
        let reason = match ended {
            Ok(Ok(())) => {
                self.finished = run.map(|run| (run.resolved.clone(), Arc::clone(&run.progress)));
                return;
            }
            Ok(Err(error)) if error.is_superseded() => {
                tracing::info!(%pipeline, %task, code = %error.code(), %error, "another Core has this task now");
                let leads = self.candidacy.as_ref().is_some_and(|candidacy| {
                    matches!(candidacy.candidate.standing(), Standing::Leading(_))
                });
                if leads {
                    // The sink knows more than our election does: to the end of the line.
                    self.leave().await;
                    self.changed_or(SUPERSEDED_PAUSE).await;
                }
                return;
            }
            Ok(Err(error)) => Reason::of_run(&error),
            Err(join) => Reason::of_panic(&join.to_string()),
        };
        tracing::error!(
            %pipeline, %task, code = %reason.code, error = reason.text, next = reason.next,
            "this task has failed"
        );
        // The spec that failed is the one that ran.
        let revision = run.as_ref().map(|run| run.resolved.revision);
        drop(run);
        self.fail(revision.unwrap_or(wanted.spec.revision), &reason)
            .await;
        self.leave().await;
    }

    /// Writes a failure before the election is left, so that whoever wins next finds it.
    async fn fail(&mut self, revision: u64, reason: &Reason) {
        let detail = Some(reason.text.clone());
        let board = &self.common.options.board;
        board.set(&self.key, TaskPhase::Failed, detail, None);
        let node = path::failure(&self.key.pipeline, &self.key.task);
        let failure = self.common.failure(reason, revision);
        let write = write_failure(&self.common.session, &node, failure, &self.wanted);
        match &self.candidacy {
            None => write.await,
            // Who finds the directory again after its session has ended must not speak for a task
            // that another one runs by then.
            Some(candidacy) => {
                let incarnation = candidacy.candidate.incarnation();
                let mut statuses = self.common.session.statuses();
                tokio::select! {
                    biased;
                    _ = statuses.wait_for(|status| status.incarnation != incarnation) => {
                        tracing::warn!(pipeline = %self.key.pipeline, task = %self.key.task, "this failure is not told: our session has ended meanwhile");
                    }
                    () = write => {}
                }
            }
        }
    }
}

/// Leaves the election.
async fn resign(key: &TaskKey, candidacy: Option<Candidacy>) {
    let Some(candidacy) = candidacy else {
        return;
    };
    let resigned = tokio::time::timeout(RESIGN_MAX, candidacy.candidate.resign()).await;
    if !matches!(resigned, Ok(Ok(()))) {
        tracing::warn!(
            pipeline = %key.pipeline, task = %key.task,
            "our place in the election goes only with our session"
        );
    }
}

/// Waits for the end of a run; for ever if there is none.
async fn ended(run: &mut Option<Run>) -> Ended {
    match run {
        Some(run) => (&mut run.task).await,
        None => std::future::pending().await,
    }
}

async fn readiness_changed(standby: &mut Option<Standby>) {
    match standby {
        Some(standby) => standby.changed().await,
        None => std::future::pending().await,
    }
}

/// Says whether a candidate leads now, and is heard by the directory.
async fn confirm(mut standings: watch::Receiver<Standing>, confirmed: watch::Sender<bool>) {
    loop {
        let leads = matches!(*standings.borrow_and_update(), Standing::Leading(_));
        confirmed.send_replace(leads);
        if standings.changed().await.is_err() {
            confirmed.send_replace(false);
            return;
        }
    }
}

/// The bounds that hold: live ones before those of the spec.
fn limits(wanted: &Wanted, resolved: &Resolved) -> LimitsSpec {
    let (live, spec) = (&wanted.limits, &resolved.spec.limits);
    LimitsSpec {
        rows_per_second_max: live.rows_per_second_max.or(spec.rows_per_second_max),
        bytes_per_second_max: live.bytes_per_second_max.or(spec.bytes_per_second_max),
    }
}
