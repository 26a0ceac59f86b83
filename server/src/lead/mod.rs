//! What the Server does whose member of the directory leads: it looks at the whole tree, decides
//! ([`planner`](crate::planner), [`life`](crate::life)), writes, and answers commands.
//!
//! Invariants:
//! * Every write is under the versions on which it was decided. If another wrote meanwhile (a
//!   command, an operator, another leader), nothing is written; the change is seen, and it's
//!   decided again. So two leaders at once do no harm.
//! * What a successor must know is in the tree. Kept in memory is only what each leader finds out
//!   anew: since when a Core is away, which heartbeats were seen.
//! * Data flows without it: while nobody leads, Cores run, and standbys take over.

mod view;
mod write;
mod inboxes;
mod probes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use towpath_coordination::{CoordinationError, Mirror, Session, SessionState, Transaction};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{HISTORY_MAX, HistoryEvent, Journal};
use towpath_protocol::tree::{MemberId, NodePath, path};

use crate::commands::Hosted;
use crate::life::liveness::Liveness;
use crate::life::{self, LifeTimings, PipelineView, Step, TaskLife};
use crate::planner::{self, Change, ClusterView, GRACE, Moving, Plan, TaskId, TaskView};
use inboxes::Inboxes;
use probes::Probes;
use view::{Absences, Pipeline, Specs, Task, View};

/// How long changes are gathered before they are looked at.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// A look takes at most every fifth part of the time: a thousand tasks' progress is no reason to
/// do nothing else.
const IDLE_FACTOR: u32 = 4;
/// The tree is looked at so often even if nothing is told: heartbeats that don't come aren't.
const TICK: Duration = Duration::from_millis(500);
/// Pause after the directory refused.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Pipelines that are written at the same time.
const WRITES_MAX: usize = 16;
/// Events that are removed from one history at once.
const TRIM_MAX: usize = 20;

/// Times that decide; the defaults are for everything but tests.
#[derive(Clone, Copy, Debug)]
pub struct LeadTimings {
    /// How long a Core may be away before it's replaced.
    pub grace: Duration,
    /// How long an answer waits for what was asked.
    pub answer: Duration,
    /// Between two looks at the data sources.
    pub probe: Duration,
    /// Of pipelines.
    pub life: LifeTimings,
}

impl Default for LeadTimings {
    fn default() -> Self {
        Self {
            grace: GRACE,
            answer: crate::commands::WAIT_MAX,
            probe: Duration::from_secs(5),
            life: LifeTimings::default(),
        }
    }
}

/// Leads whenever it's its turn, until it's stopped.
#[derive(Debug)]
pub struct Lead {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Lead {
    /// Begins. `turn` says whether this Server's member of the directory leads; `hosted` is that
    /// member, if there is one.
    pub fn start(
        session: Session,
        id: MemberId,
        turn: watch::Receiver<bool>,
        timings: LeadTimings,
        hosted: Option<Hosted>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(session, id, turn, stopped, timings, hosted));
        Self { stop, task }
    }

    /// Ends: what is being written is written or not, as a whole.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

async fn run(
    session: Session,
    id: MemberId,
    mut turn: watch::Receiver<bool>,
    mut stopped: watch::Receiver<bool>,
    timings: LeadTimings,
    hosted: Option<Hosted>,
) {
    loop {
        let mine = async { turn.wait_for(|mine| *mine).await.is_ok() };
        tokio::select! {
            biased;
            () = told(&mut stopped) => return,
            mine = mine => if !mine {
                return;
            },
        }
        tracing::info!(server = %id, "leads the cluster");
        let over = async { turn.wait_for(|mine| !*mine).await.is_ok() };
        tokio::select! {
            biased;
            () = told(&mut stopped) => return,
            _ = over => tracing::info!(server = %id, "another leads the cluster"),
            result = term(&session, &id, timings, hosted.as_ref()) => {
                let Err(error) = result;
                tracing::warn!(%error, "can't lead; trying again");
                sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Waits until it's to be stopped.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Leads until it's dropped, or the directory can't be read.
async fn term(
    session: &Session,
    id: &MemberId,
    timings: LeadTimings,
    hosted: Option<&Hosted>,
) -> Result<std::convert::Infallible, CoordinationError> {
    let mirror = Arc::new(Mirror::follow(session, path::root()).await?);
    let mut changes = mirror.changes();
    let mut inboxes = Inboxes::new(session, id, &mirror, timings.answer, hosted);
    let _probes = Probes::start(session, &mirror, timings.probe);
    let mut term = Term {
        session: session.clone(),
        id: id.clone(),
        timings,
        begun: Instant::now(),
        specs: Specs::new(),
        absences: Absences::default(),
        liveness: Liveness::default(),
        runners: BTreeMap::new(),
        cores: None,
    };
    loop {
        changes.mark_unchanged();
        let looked = Instant::now();
        let view = mirror.look(|nodes| View::read(nodes, &mut term.specs));
        inboxes.follow(&view).await;
        let again = term.pass(&view).await;
        let pause = DEBOUNCE.max(looked.elapsed() * IDLE_FACTOR);
        let next = Instant::now() + again.min(TICK);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return Err(CoordinationError::SessionEnded { what: "leading".to_owned() });
            },
            () = sleep_until(next) => {}
        }
        sleep(pause).await;
    }
}

struct Term {
    session: Session,
    id: MemberId,
    timings: LeadTimings,
    begun: Instant,
    specs: Specs,
    absences: Absences,
    liveness: Liveness,
    /// Who ran each task when it was last looked at.
    runners: BTreeMap<TaskId, MemberId>,
    /// Which Cores were there.
    cores: Option<Vec<MemberId>>,
}

/// What is to be written about one pipeline, one after the other.
#[derive(Default)]
struct Writes {
    transactions: Vec<Transaction>,
    events: Vec<(NodePath, HistoryEvent)>,
    removed: Vec<NodePath>,
}

impl Term {
    /// Looks, decides, writes. Says when to look again.
    async fn pass(&mut self, view: &View) -> Duration {
        let (now, clock) = (Timestamp::now(), self.begun.elapsed());
        let mut writes: BTreeMap<PipelineName, Writes> = BTreeMap::new();
        let connected = self.session.status().state == SessionState::Connected;
        self.liveness.look(clock, connected);
        for (name, pipeline) in &view.pipelines {
            for (task, nodes) in &pipeline.tasks {
                let id = view::id(name, task);
                for broken in self.liveness.observe(&id, nodes.sign(), clock) {
                    tracing::info!(pipeline = %name, %task, core = %broken.core, cause = %broken.text, "out of sync");
                    let event = HistoryEvent {
                        at: now,
                        what: "out-of-sync".to_owned(),
                        text: format!("{}: {}", broken.core, broken.text),
                        by: self.id.to_string(),
                        task: Some(task.to_string()),
                    };
                    let events = &mut writes.entry(name.clone()).or_default().events;
                    events.push((path::history_event(name), event));
                }
            }
        }
        let plan = planner::plan(&self.cluster(view, clock), self.timings.grace);
        let mut again = plan.again_in.unwrap_or(TICK);
        for (name, pipeline) in &view.pipelines {
            if pipeline.is_strange() {
                continue;
            }
            let writes = writes.entry(name.clone()).or_default();
            if let Err(error) = self.decide(name, pipeline, view, &plan, now, writes, &mut again) {
                tracing::error!(pipeline = %name, %error, "can't be written");
            }
            trim(&pipeline.history, &mut writes.removed);
        }
        self.runners = runners(view);
        self.carry_out(writes).await;
        self.tell_of_cores(view, now).await;
        again
    }

    /// What the planner needs.
    fn cluster(&mut self, view: &View, clock: Duration) -> ClusterView {
        let mut cluster = ClusterView {
            cores: view.cores.clone(),
            away: self.absences.look(view, clock),
            drained: view.drained.clone(),
            tasks: BTreeMap::new(),
        };
        for (name, pipeline) in &view.pipelines {
            for (task, nodes) in &pipeline.tasks {
                let id = view::id(name, task);
                let task = self.task_view(&id, pipeline, nodes);
                cluster.tasks.insert(id, task);
            }
        }
        cluster
    }

    fn task_view(&self, id: &TaskId, pipeline: &Pipeline, nodes: &Task) -> TaskView {
        use towpath_protocol::tree::record::Operation;
        let operation = pipeline
            .journal
            .as_ref()
            .and_then(|journal| journal.value.record.operation.as_ref());
        let moving = match operation {
            Some(Operation::Move { task, to, by, .. }) if *task == id.task => Some(Moving {
                to: to.clone(),
                by: by.clone(),
            }),
            _ => None,
        };
        TaskView {
            placement: pipeline.parsed.placement.clone(),
            server_id: pipeline.parsed.server_id,
            assigned: nodes
                .assignment
                .as_ref()
                .map(|assignment| (&assignment.value.record).into()),
            wanted: pipeline.wanted(),
            standing: nodes
                .instances
                .iter()
                .map(|instance| instance.member.clone())
                .collect(),
            in_sync: nodes
                .ready()
                .filter(|core| self.liveness.in_sync(id, core))
                .cloned()
                .collect(),
            distrusted: self.liveness.distrusted(id),
            moving,
        }
    }

    /// Decides about one pipeline.
    #[expect(clippy::too_many_arguments, reason = "one look's findings, used once")]
    fn decide(
        &self,
        name: &PipelineName,
        pipeline: &Pipeline,
        view: &View,
        plan: &Plan,
        now: Timestamp,
        writes: &mut Writes,
        again: &mut Duration,
    ) -> Result<(), CoordinationError> {
        let changes: Vec<_> = pipeline
            .tasks
            .keys()
            .filter_map(|task| Some((task, plan.changes.get(&view::id(name, task))?)))
            .collect::<Vec<(_, &Change)>>();
        if !changes.is_empty() {
            let transaction = write::assignments(name, pipeline, &changes, &self.id, now)?;
            writes.transactions.push(transaction);
        }
        if !pipeline.former.is_empty() {
            let transaction = write::without_former(name, pipeline, &self.id, now)?;
            writes.transactions.push(transaction);
        }
        let step = self.step(name, pipeline, view, plan, now);
        if let Some(transaction) = write::step(name, pipeline, &step)? {
            writes.transactions.push(transaction);
        }
        if let Some(at) = step.again {
            let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            *again = (*again).min(left);
        }
        Ok(())
    }

    fn step(
        &self,
        name: &PipelineName,
        pipeline: &Pipeline,
        view: &View,
        plan: &Plan,
        now: Timestamp,
    ) -> Step {
        let task_life = |(task, nodes): (&_, &Task)| {
            let id = view::id(name, task);
            let cores = match plan.changes.get(&id) {
                Some(change) => change.assigned.cores.clone(),
                None => nodes
                    .assignment
                    .as_ref()
                    .map(|assignment| assignment.value.record.cores.clone())
                    .unwrap_or_default(),
            };
            let mut away: Vec<MemberId> = cores.clone();
            away.extend(self.runners.get(&id).cloned());
            away.retain(|core| !view.cores.contains_key(core));
            TaskLife {
                name: id.task.clone(),
                cores,
                away,
                replicas: usize::from(pipeline.parsed.placement.replicas),
                unplaced: plan.unplaced.get(&id).cloned(),
                instances: nodes.instances.clone(),
                progress: nodes.progress.clone(),
                failure: nodes
                    .failure
                    .as_ref()
                    .map(|failure| failure.value.record.clone()),
                ran_on: self.runners.get(&id).cloned(),
            }
        };
        let journal = pipeline.journal.as_ref();
        let view = PipelineView {
            name: name.clone(),
            spec: pipeline.spec.value.record.clone(),
            unreadable: pipeline.parsed.problem.clone(),
            restart: pipeline.parsed.restart.clone(),
            desired: pipeline.desired.value.record.clone(),
            status: pipeline
                .status
                .as_ref()
                .map(|status| status.value.record.clone()),
            journal: journal.map_or_else(Journal::default, |node| node.value.record.clone()),
            texts: pipeline.texts.clone(),
            tasks: pipeline.tasks.iter().map(task_life).collect(),
        };
        life::step(&view, &self.id, &self.timings.life, now)
    }

    /// Writes about all pipelines, some at the same time.
    async fn carry_out(&self, writes: BTreeMap<PipelineName, Writes>) {
        let mut running = JoinSet::new();
        for (name, writes) in writes {
            let idle = writes.transactions.is_empty()
                && writes.events.is_empty()
                && writes.removed.is_empty();
            if idle {
                continue;
            }
            if running.len() >= WRITES_MAX {
                let _ = running.join_next().await;
            }
            let session = self.session.clone();
            running.spawn(async move {
                if let Err(error) = writes.carry_out(&session).await {
                    report(&name, &error);
                }
            });
        }
        while running.join_next().await.is_some() {}
    }

    /// Writes into the cluster's history who came and who went, once this leader knows who was
    /// there.
    async fn tell_of_cores(&mut self, view: &View, now: Timestamp) {
        let present: Vec<MemberId> = view.cores.keys().cloned().collect();
        let Some(former) = self.cores.replace(present.clone()) else {
            return;
        };
        let came = present.iter().filter(|core| !former.contains(core));
        let went = former.iter().filter(|core| !present.contains(core));
        let came = came.map(|core| ("joined", core));
        let mut writes = Writes::default();
        for (what, core) in came.chain(went.map(|core| ("left", core))) {
            tracing::info!(%core, what, "core");
            let event = HistoryEvent {
                at: now,
                what: format!("core-{what}"),
                text: format!("{core} {what}"),
                by: self.id.to_string(),
                task: None,
            };
            writes.events.push((path::cluster_history_event(), event));
        }
        trim(&view.history, &mut writes.removed);
        if let Err(error) = writes.carry_out(&self.session).await {
            tracing::warn!(%error, "the cluster's history isn't written");
        }
    }
}

impl Writes {
    async fn carry_out(self, session: &Session) -> Result<(), CoordinationError> {
        for (prefix, event) in self.events {
            session.append(&prefix, event).await?;
        }
        for path in self.removed {
            session.remove(&path, None).await?;
        }
        for transaction in self.transactions {
            session.transact(transaction).await?;
        }
        Ok(())
    }
}

fn report(pipeline: &PipelineName, error: &CoordinationError) {
    match error {
        CoordinationError::Changed { .. }
        | CoordinationError::Exists { .. }
        | CoordinationError::NotFound { .. } => {
            tracing::debug!(%pipeline, %error, "another wrote; deciding again");
        }
        error => tracing::warn!(%pipeline, %error, "not written; trying again"),
    }
}

/// The oldest events of a history that has too many.
fn trim(history: &[NodePath], removed: &mut Vec<NodePath>) {
    let excess = history.len().saturating_sub(HISTORY_MAX).min(TRIM_MAX);
    removed.extend(history.iter().take(excess).cloned());
}

fn runners(view: &View) -> BTreeMap<TaskId, MemberId> {
    let mut out = BTreeMap::new();
    for (name, pipeline) in &view.pipelines {
        for (task, nodes) in &pipeline.tasks {
            if let Some(runner) = nodes.instances.first() {
                out.insert(view::id(name, task), runner.member.clone());
            }
        }
    }
    out
}
