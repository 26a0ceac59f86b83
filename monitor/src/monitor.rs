//! The process: registers, stands in the election, and while it leads looks, decides, and tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use towpath_coordination::{
    Candidate, ConnectOptions, CoordinationError, Election, Expect, Mirror, Registration, Session,
    Standing,
};
use towpath_protocol::spec::{
    AlertReading, HookKind, HookName, HookProblem, HookSpec, PipelineName,
};
use towpath_protocol::tree::MemberId;
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{AlertState, Instance, InstanceState, Load, Member, Seen};
use uuid::Uuid;

use crate::alerts::{ALERTS_MAX, plan, remember, update};
use crate::departures;
use crate::hooks::{self, Board, Hooks, Scope};
use crate::rules::hold::Holds;
use crate::rules::{Finding, History, Timings, findings};
use crate::status::{MonitorStatus, StatusCell};
use crate::view::{Environment, SpecCache, View};

/// Between two looks at least: a busy directory changes hundreds of times a second.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at most: durations pass without anything changing.
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(500);
/// After something failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Between two writes of this Monitor's own node.
const REGISTRATION_PACE: Duration = Duration::from_secs(1);

/// How a Monitor is to run.
#[derive(Clone)]
pub struct MonitorOptions {
    /// Its name among the Monitors.
    pub id: MemberId,
    /// Where the directory is.
    pub connect: ConnectOptions,
    /// Whom to tell of what belongs to no pipeline.
    pub hooks: Vec<HookSpec>,
    /// Whether pipelines may have programs run here.
    pub allow_command_hooks: bool,
    /// Where hooks of pipelines get their variables.
    pub environment: Arc<Environment>,
    /// How long things must hold.
    pub timings: Timings,
}

impl MonitorOptions {
    /// With no hooks but those of pipelines, no programs, and this process's environment.
    pub fn new(id: MemberId, connect: ConnectOptions) -> Self {
        Self {
            id,
            connect,
            hooks: Vec::new(),
            allow_command_hooks: false,
            environment: Arc::new(|name| std::env::var(name).ok()),
            timings: Timings::default(),
        }
    }
}

impl fmt::Debug for MonitorOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorOptions")
            .field("id", &self.id)
            .field("connect", &self.connect)
            .field("hooks", &self.hooks)
            .field("allow_command_hooks", &self.allow_command_hooks)
            .field("timings", &self.timings)
            .finish_non_exhaustive()
    }
}

/// Why a Monitor doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The directory can't be used.
    #[error("a Monitor needs the directory")]
    Directory(#[from] CoordinationError),
    /// One of its own hooks can't be used.
    #[error("hook {hook} can't be used")]
    Hook {
        /// Which.
        hook: HookName,
        /// Why.
        #[source]
        source: hooks::TargetError,
    },
}

/// A running Monitor. Dropping it ends it as a crash would; [`Monitor::stop`] leaves in order.
#[derive(Debug)]
pub struct Monitor {
    session: Session,
    _registration: Registration<Member>,
    status: StatusCell,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Monitor {
    /// Connects, registers, and begins to watch.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub async fn start(options: MonitorOptions) -> Result<Self, MonitorError> {
        for hook in &options.hooks {
            hooks::check(hook).map_err(|source| MonitorError::Hook {
                hook: hook.name.clone(),
                source,
            })?;
        }
        let session = Session::connect(options.connect.clone()).await?;
        let member = Member {
            host: host_name(),
            pid: std::process::id(),
            address: String::new(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            labels: BTreeMap::new(),
            started: Timestamp::now(),
            load: Load::default(),
            client: None,
            raft_role: None,
            directory: None,
        };
        let node = path::member(MemberKind::Monitor, &options.id);
        let registration = Registration::new(&session, node, member, REGISTRATION_PACE)?;
        let mirror = Mirror::follow(&session, path::root()).await?;
        let status = StatusCell::default();
        let (stop, stopped) = watch::channel(false);
        let watcher = Watcher {
            hooks: Hooks::new(session.clone(), status.clone()),
            session: session.clone(),
            mirror,
            status: status.clone(),
            stopped,
            started: Instant::now(),
            specs: SpecCache::default(),
            history: History::default(),
            holds: Holds::default(),
            before: None,
            too_many: false,
            checked: BTreeMap::new(),
            options,
        };
        Ok(Self {
            session,
            _registration: registration,
            status,
            stop,
            task: tokio::spawn(watcher.run()),
        })
    }

    /// How it is now. Cheap.
    pub fn status(&self) -> MonitorStatus {
        self.status.get()
    }

    /// The same, for one who looks again and again.
    pub fn statuses(&self) -> impl Fn() -> MonitorStatus + Send + Sync + 'static {
        let status = self.status.clone();
        move || status.get()
    }

    /// Its session with the directory.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Leaves in order, so that another leads at once. What is being sent is noted first, as far
    /// as its receiver answers in time.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        let _ = (&mut self.task).await;
        self.session.close().await;
    }
}

struct Watcher {
    options: MonitorOptions,
    session: Session,
    mirror: Mirror,
    status: StatusCell,
    hooks: Hooks,
    stopped: watch::Receiver<bool>,
    started: Instant,
    specs: SpecCache,
    history: History,
    holds: Holds,
    before: Option<View>,
    too_many: bool,
    checked: BTreeMap<PipelineName, (Arc<AlertReading>, Arc<AlertReading>)>,
}

impl Watcher {
    async fn run(mut self) {
        let mut stopped = self.stopped.clone();
        loop {
            let instance = Instance {
                member: self.options.id.clone(),
                host: host_name(),
                pid: std::process::id(),
                candidacy: Uuid::new_v4(),
                since: Timestamp::now(),
                state: InstanceState::Standby,
            };
            let election = Election::monitors();
            let stand = election.stand(&self.session, instance);
            let candidate = tokio::select! {
                candidate = stand => candidate,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            match candidate {
                Ok(candidate) => {
                    let over = self.watch(&candidate).await;
                    self.suspend();
                    if over {
                        self.hooks.settle().await;
                        if let Err(error) = candidate.resign().await {
                            tracing::warn!(%error, "the candidate's node stays until the session ends");
                        }
                        return;
                    }
                }
                Err(CoordinationError::SessionEnded { .. })
                    if self.session.status().state
                        == towpath_coordination::SessionState::Closed =>
                {
                    return;
                }
                Err(error) => tracing::warn!(%error, "not a candidate yet; trying again"),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Looks until the candidacy is lost; `true` if it was asked to stop.
    async fn watch(&mut self, candidate: &Candidate) -> bool {
        let mut standings = candidate.standings();
        let mut changes = self.mirror.changes();
        let mut stopped = self.stopped.clone();
        loop {
            let standing = standings.borrow_and_update().clone();
            let leading = matches!(standing, Standing::Leading(_));
            if let Standing::Lost(_) = standing {
                return false;
            }
            if leading {
                changes.mark_unchanged();
                // A leader that is cut off stops here, too: a write then waits for the session.
                let over = async {
                    let _ = standings
                        .wait_for(|standing| !matches!(standing, Standing::Leading(_)))
                        .await;
                };
                tokio::select! {
                    looked = self.look() => if let Err(error) = looked {
                        tracing::warn!(%error, "can't write alerts; looking again");
                    },
                    () = over => {
                        self.suspend();
                        continue;
                    }
                }
            } else {
                self.suspend();
            }
            let soon = Instant::now() + LOOK_PAUSE;
            let late = Instant::now() + LOOK_PAUSE_MAX;
            let wait = async {
                tokio::select! {
                    _ = changes.changed() => sleep_until(soon).await,
                    () = sleep_until(late) => {}
                }
            };
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return true,
                _ = standings.changed() => {}
                () = wait => {}
            }
        }
    }

    /// Ceases to act. What was observed is forgotten: it has a gap from here on.
    fn suspend(&mut self) {
        self.hooks.show(Board::default());
        self.history = History::default();
        self.holds = Holds::default();
        self.before = None;
        self.status.update(|status| status.leading = false);
    }

    /// One look at the tree, and what follows from it.
    async fn look(&mut self) -> Result<(), CoordinationError> {
        let now = self.started.elapsed();
        let environment = self.options.environment.clone();
        let mut view = self
            .mirror
            .look(|nodes| View::read(nodes, &mut self.specs, &*environment));
        let specs = self.usable(&mut view);
        let abrupt = match &self.before {
            Some(before) => departures::abrupt(&self.session, before, &view).await?,
            None => BTreeSet::new(),
        };
        let timings = &self.options.timings;
        self.history.observe(&view, &abrupt, now);
        self.history.forget(timings.core_shown, &view, now);
        let found = findings(&view, &self.history, timings, now);
        let firing = self.holds.step(found, &view.alerts, timings, now);
        let told = |finding: &Finding| -> Vec<HookName> {
            specs
                .iter()
                .filter(|(scope, spec)| {
                    *scope == finding.pipeline
                        && finding.severity.rank() >= spec.severity_min.rank()
                })
                .map(|(_, spec)| spec.name.clone())
                .collect()
        };
        let wall = Timestamp::now();
        self.complain_of_many(firing.len());
        for (id, change) in plan(&firing, &view.alerts, told, wall) {
            match change.apply(&self.session, &id).await {
                // Somebody wrote into that node what isn't an alert: the others go on.
                Err(error @ CoordinationError::Record { .. }) => {
                    tracing::error!(alert = %id, %error, "alert can't be written");
                }
                applied => applied?,
            }
        }
        // Only now: what is remembered as seen is in an alert already.
        let seen = remember(&view, wall);
        if seen != view.seen {
            let before = view.seen.clone();
            let node = path::seen();
            let remembered = update::<Seen>(&self.session, &node, |present| {
                let present = present.unwrap_or_default();
                // Otherwise the mirror is behind; the next look decides.
                (present == before).then(|| seen.clone())
            });
            match remembered.await {
                Err(CoordinationError::Record { source, .. }) => {
                    tracing::warn!(%source, "what the Monitors remember can't be read; beginning anew");
                    self.session.write(&node, seen, Expect::Anything).await?;
                }
                remembered => drop(remembered?),
            }
        }
        self.show(&view);
        self.hooks
            .keep(specs, |pipeline| view.pipelines.contains_key(pipeline));
        self.before = Some(view);
        Ok(())
    }

    /// Once, when more fires than the tree may hold.
    fn complain_of_many(&mut self, count: usize) {
        let many = count > ALERTS_MAX;
        if many && !self.too_many {
            tracing::error!(
                count,
                ALERTS_MAX,
                "more fires than there may be alerts; some are not raised"
            );
        }
        self.too_many = many;
    }

    fn show(&self, view: &View) {
        let mut firing = BTreeMap::new();
        for alert in view.alerts.values() {
            if alert.state == AlertState::Firing {
                *firing.entry(alert.rule.clone()).or_default() += 1;
            }
        }
        self.status.update(|status| {
            status.leading = true;
            status.firing = firing;
        });
        self.hooks.show(Board {
            leading: true,
            cluster: view.cluster.clone(),
            alerts: Arc::new(view.alerts.clone()),
        });
    }

    /// The hooks that can be used; what is wrong with the others goes into the view.
    fn usable(&mut self, view: &mut View) -> Vec<(Scope, HookSpec)> {
        let own = self.options.hooks.iter();
        let mut usable: Vec<(Scope, HookSpec)> = own.map(|spec| (None, spec.clone())).collect();
        let commands = self.options.allow_command_hooks;
        self.checked
            .retain(|name, _| view.pipelines.contains_key(name));
        for (name, pipeline) in &mut view.pipelines {
            let checked = match self.checked.get(name) {
                Some((read, checked)) if Arc::ptr_eq(read, &pipeline.alert) => checked.clone(),
                _ => {
                    let checked = Arc::new(check(name, &pipeline.alert, commands));
                    let entry = (pipeline.alert.clone(), checked.clone());
                    self.checked.insert(name.clone(), entry);
                    checked
                }
            };
            let hooks = checked.spec.hooks.iter();
            usable.extend(hooks.map(|spec| (Some(name.clone()), spec.clone())));
            pipeline.alert = checked;
        }
        usable
    }
}

/// Moves hooks that can't be used here to the problems, and logs all of these.
fn check(name: &PipelineName, read: &AlertReading, commands: bool) -> AlertReading {
    let mut checked = read.clone();
    for spec in std::mem::take(&mut checked.spec.hooks) {
        let problem = if matches!(spec.kind, HookKind::Command(_)) && !commands {
            Some(
                "this Monitor runs no programs for pipelines; start it with --allow-command-hooks \
                 if everybody who can apply a pipeline may run programs on its machine"
                    .to_owned(),
            )
        } else {
            hooks::check(&spec).err().map(|error| error.to_string())
        };
        match problem {
            None => checked.spec.hooks.push(spec),
            Some(text) => checked.problems.push(HookProblem {
                hook: Some(spec.name),
                text,
            }),
        }
    }
    for HookProblem { hook, text } in &checked.problems {
        let hook = hook.as_ref().map_or("", HookName::as_str);
        tracing::error!(pipeline = %name, hook, text, "hook can't be used; the others go on");
    }
    checked
}

/// The machine's name, for people.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}
