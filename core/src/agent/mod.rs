//! The Core as a process that obeys the directory.
//!
//! ```text
//! tree ─ plan (pure) ─> what is wanted of each task ─ a runner per task ─> election, run, reports
//! ```
//!
//! It registers itself, follows the tree, and keeps one [`runner`] for each task that is assigned
//! to it. A failover needs no planner: a runner that stands by sees the winner's node go.
//!
//! Invariants:
//! * Runners share nothing but the session and the status board: an error or a panic of one never
//!   touches another.
//! * A task runs only under a token of its election, and never while a failure of the spec in force
//!   stands in the tree.
//! * Nothing is resumed from the tree: the place is in the sink.
//!
//! It never plans, and it writes neither specs nor assignments. Values of variables stay in this
//! process: what it writes into the tree and into logs is made of texts that hold no secret.

mod plan;
mod reach;
mod resolve;
mod failure;
mod standby;
mod elected;
mod report;
mod roles;
mod runner;
pub mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use towpath_coordination::{CoordinationError, Expect, Mirror, Registration, Session};
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{Failure, Load, Member};
use towpath_protocol::tree::{MemberId, NodePath};
use uuid::Uuid;

pub use plan::TaskKey;
pub use resolve::{ResolveError, move_endpoints};
pub use status::{AgentStatus, StatusBoard, TaskPhase, TaskStatus};

use crate::pipeline::Stop;
use crate::task::OwnedTask;
use failure::Reason;
use plan::{Trees, Wanted};
use runner::Runner;

/// Between two writes of our own node, and two looks at our load.
const LOAD_EVERY: Duration = Duration::from_secs(1);
/// The tree is looked at again this long after the last look: others' progress changes it all the
/// time, and an election has a watch of its own.
const LOOK_PACE: Duration = Duration::from_millis(20);
/// A runner that panicked is begun anew after this long, if its failure can't be written.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// All runners together may take this long to end at a stop; each has shorter bounds of its own.
const STOP_MAX: Duration = Duration::from_secs(3);
/// Our node's removal is waited for this long; the session's end does it, too.
const WITHDRAW_MAX: Duration = Duration::from_millis(300);

/// The environment of a Core, as a function from a variable's name to its value.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// How a Core is to run.
#[derive(Clone)]
pub struct AgentOptions {
    /// Its name among the Cores.
    pub id: MemberId,
    /// What a spec may ask for.
    pub labels: BTreeMap<String, String>,
    /// Where it answers: metrics, health, status. Empty while nothing listens.
    pub address: String,
    /// Values for the variables of specs.
    pub environment: Environment,
    /// Where its tasks say what they are doing.
    pub board: StatusBoard,
}

impl AgentOptions {
    /// With this process's environment.
    pub fn new(id: MemberId) -> Self {
        Self {
            id,
            labels: BTreeMap::new(),
            address: String::new(),
            environment: Arc::new(|name| std::env::var(name).ok()),
            board: StatusBoard::default(),
        }
    }
}

impl std::fmt::Debug for AgentOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentOptions")
            .field("id", &self.id)
            .field("labels", &self.labels)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What all runners of a Core have in common.
#[derive(Clone)]
struct Common {
    options: AgentOptions,
    host: String,
    session: Session,
}

impl Common {
    /// Who we are in an offset row.
    fn owner(&self) -> String {
        format!("{} {}:{}", self.options.id, self.host, std::process::id())
    }

    fn failure(&self, reason: &Reason, spec_revision: u64) -> Failure {
        Failure {
            id: Uuid::new_v4(),
            core: self.options.id.clone(),
            code: reason.code.to_string(),
            text: reason.text.clone(),
            next: reason.next.clone(),
            transient: reason.transient,
            spec_revision,
            at: Timestamp::now(),
        }
    }
}

/// Runs a Core until it's stopped: its runs end in order then, their nodes go at once, and the
/// session is closed.
///
/// # Errors
/// [`CoordinationError`] when the tree can't be followed, or the session was closed by another.
pub async fn run(
    options: AgentOptions,
    session: Session,
    mut stop: Stop,
) -> Result<(), CoordinationError> {
    let common = Common {
        host: host_name(),
        session: session.clone(),
        options,
    };
    let mut runners = Runners::new(common.clone());
    let result = obey(&common, &mut runners, &mut stop).await;
    runners.end().await;
    session.close().await;
    result
}

async fn obey(
    common: &Common,
    runners: &mut Runners,
    stop: &mut Stop,
) -> Result<(), CoordinationError> {
    let Common {
        options, session, ..
    } = common;
    let mut member = Member {
        host: common.host.clone(),
        pid: std::process::id(),
        address: options.address.clone(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        labels: options.labels.clone(),
        started: Timestamp::now(),
        load: Load::default(),
        client: None,
        raft_role: None,
        directory: None,
    };
    let node = path::member(MemberKind::Core, &options.id);
    let registration = Registration::new(session, node, member.clone(), LOAD_EVERY / 2)?;
    let config = path::log_config().parent().unwrap_or_else(path::root);
    let mirrors = async {
        tokio::try_join!(
            Mirror::follow_only(session, path::pipelines(), plan::concerns),
            Mirror::follow(session, path::datasources()),
            Mirror::follow(session, config),
        )
    };
    let (pipelines, datasources, config) = tokio::select! {
        mirrors = mirrors => mirrors?,
        () = asked(stop) => return Ok(()),
    };
    let mut changes = [pipelines.changes(), datasources.changes(), config.changes()];
    let mut load = LoadMeter::new(options.board.clone());
    let mut tick = tokio::time::interval(LOAD_EVERY);
    loop {
        for changes in &mut changes {
            changes.borrow_and_update();
        }
        pipelines.look(|pipelines| {
            datasources.look(|datasources| {
                config.look(|config| {
                    runners.obey(Trees {
                        pipelines,
                        datasources,
                        config,
                    });
                });
            });
        });
        let [a, b, c] = &mut changes;
        let paced = tokio::time::Instant::now() + LOOK_PACE;
        tokio::select! {
            () = asked(stop) => break,
            changed = async { tokio::select! {
                changed = a.changed() => changed,
                changed = b.changed() => changed,
                changed = c.changed() => changed,
            } } => if changed.is_err() {
                return Err(CoordinationError::SessionEnded {
                    what: "following the tree".to_owned(),
                });
            } else {
                tokio::time::sleep_until(paced).await;
            },
            _ = tick.tick() => {
                member.load = load.look();
                registration.update(member.clone())?;
            }
        }
    }
    // First what others wait for, then what only tells of us.
    runners.end().await;
    let _ = tokio::time::timeout(WITHDRAW_MAX, registration.withdraw()).await;
    Ok(())
}

async fn asked(stop: &mut Stop) {
    if stop.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Tells a runner what is wanted; nothing any more when it's `None`.
type Wish = watch::Sender<Option<Arc<Wanted>>>;

/// One runner per task that is assigned to this Core.
struct Runners {
    common: Common,
    wanted: BTreeMap<TaskKey, Arc<Wanted>>,
    tasks: BTreeMap<TaskKey, (Wish, JoinHandle<()>)>,
    /// Of tasks that went away; each ends in order.
    ending: Vec<JoinHandle<()>>,
}

impl Runners {
    fn new(common: Common) -> Self {
        Self {
            common,
            wanted: BTreeMap::new(),
            tasks: BTreeMap::new(),
            ending: Vec::new(),
        }
    }

    /// Tells each runner what is wanted of it now; begins and ends them.
    fn obey(&mut self, trees: Trees<'_>) {
        let wanted = plan::tasks(trees, &self.common.options.id, &self.wanted);
        for (key, wanted) in &wanted {
            if let Some((sender, _)) = self.tasks.get(key) {
                sender.send_if_modified(|present| {
                    let changed = present.as_ref() != Some(wanted);
                    if changed {
                        *present = Some(Arc::clone(wanted));
                    }
                    changed
                });
                continue;
            }
            let (sender, receiver) = watch::channel(Some(Arc::clone(wanted)));
            let task = tokio::spawn(supervise(self.common.clone(), key.clone(), receiver));
            self.tasks.insert(key.clone(), (sender, task));
        }
        let gone: Vec<TaskKey> = self
            .tasks
            .keys()
            .filter(|key| !wanted.contains_key(key))
            .cloned()
            .collect();
        for key in gone {
            if let Some((sender, task)) = self.tasks.remove(&key) {
                sender.send_replace(None);
                self.ending.push(task);
            }
        }
        self.ending.retain(|task| !task.is_finished());
        self.wanted = wanted;
    }

    /// Ends all, at the same time.
    async fn end(&mut self) {
        for (_, (sender, task)) in std::mem::take(&mut self.tasks) {
            sender.send_replace(None);
            self.ending.push(task);
        }
        let all = async {
            for task in &mut self.ending {
                // How it ended is said where it's supervised.
                let _ = task.await;
            }
        };
        if tokio::time::timeout(STOP_MAX, all).await.is_err() {
            tracing::warn!("some tasks take too long to end; left as a crash would leave them");
        }
        for task in self.ending.drain(..) {
            task.abort();
        }
    }
}

/// Keeps a task's runner going: one that panicked is a failure of that task alone.
async fn supervise(common: Common, key: TaskKey, wanted: watch::Receiver<Option<Arc<Wanted>>>) {
    loop {
        let revision = wanted
            .borrow()
            .as_ref()
            .map_or(0, |wanted| wanted.spec.revision);
        let runner = Runner::new(common.clone(), key.clone(), wanted.clone());
        let Err(join) = OwnedTask::spawn(runner.run()).await else {
            break;
        };
        let reason = Reason::of_panic(&join.to_string());
        tracing::error!(pipeline = %key.pipeline, task = %key.task, error = %join, "a task of this Core broke");
        let node = path::failure(&key.pipeline, &key.task);
        let failure = common.failure(&reason, revision);
        write_failure(&common.session, &node, failure, &wanted).await;
        tokio::time::sleep(RESTART_PAUSE).await;
    }
    common.options.board.remove(&key);
}

/// Writes a failure, as soon as the directory answers; gives up when the task goes away.
async fn write_failure(
    session: &Session,
    node: &NodePath,
    failure: Failure,
    wanted: &watch::Receiver<Option<Arc<Wanted>>>,
) {
    let mut wanted = wanted.clone();
    let write = async {
        while let Err(error) = session.write(node, failure.clone(), Expect::Anything).await {
            tracing::warn!(path = %node, %error, "can't tell of a failure yet");
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    };
    tokio::select! {
        () = write => {}
        _ = wanted.wait_for(Option::is_none) => {}
    }
}

/// How busy this process is.
struct LoadMeter {
    board: StatusBoard,
    at: Instant,
    rows: BTreeMap<TaskKey, u64>,
}

impl LoadMeter {
    fn new(board: StatusBoard) -> Self {
        Self {
            at: Instant::now(),
            rows: board.rows(),
            board,
        }
    }

    fn look(&mut self) -> Load {
        let rows = self.board.rows();
        let moved: u64 = rows
            .iter()
            .map(|(key, now)| {
                // A run that began anew counts from zero.
                let before = self.rows.get(key).copied().unwrap_or(0);
                if before > *now { *now } else { now - before }
            })
            .sum();
        let seconds = self.at.elapsed().as_secs_f64().max(0.001);
        self.at = Instant::now();
        let tasks = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        self.rows = rows;
        Load {
            tasks,
            rows_per_second: (moved as f64 / seconds).round() as u64,
            memory_bytes: resident_bytes().unwrap_or(0),
        }
    }
}

/// What this process has resident (proc(5), `VmRSS`).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The machine's name, for people.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}
