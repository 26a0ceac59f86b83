//! Tells people.
//!
//! Each hook has a task of its own, so that a slow one holds up nobody. There are no queues: a
//! task looks at the alerts as they are, tells what its hook is owed, and notes in the alert's
//! node that it has. So what counts is how an alert is now, and memory is bounded by the alerts.
//!
//! Invariants:
//! * Nothing is sent but by a leader that is connected, after the alert was read anew.
//! * What was accepted is noted, whoever leads by then; until it is, this process doesn't send it
//!   again. A crash between the two lets the next leader send it once more, with the same id.
//! * Secrets are in no log line and no alert.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use towpath_coordination::{CoordinationError, Session};
use towpath_protocol::spec::{HookKind, HookSpec, PipelineName};
use towpath_protocol::tree::record::{Alert, AlertState, Notified};
use towpath_protocol::tree::{AlertId, path};

use crate::alerts::update;
use crate::status::{HookStatus, StatusCell};
use message::Message;
use outcome::{Outcome, TRIED_MAX, WORDS_MAX, owed, pause};

pub mod message;
pub mod outcome;
mod http;
mod webhook;
mod command;

pub use http::TargetError;

/// Between two tries to write down what a hook has accepted.
const NOTE_PAUSE: Duration = Duration::from_millis(200);
/// How often that is tried: the directory is back by then, or this process is cut off, and what it
/// knows goes on to be remembered here.
const NOTES_MAX: u32 = 150;

/// How long a hook may take to end, in an orderly stop.
const SETTLE_MAX: Duration = Duration::from_secs(3);

/// Whose hook it is: a pipeline's, or the Monitors' own.
pub type Scope = Option<PipelineName>;

/// What all hooks look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board {
    /// Whether this Monitor leads, and is connected.
    pub(crate) leading: bool,
    pub(crate) cluster: String,
    pub(crate) alerts: Arc<BTreeMap<AlertId, Alert>>,
}

/// How one hook is told.
enum Teller {
    Webhook(Box<webhook::WebhookTeller>),
    Command(towpath_protocol::spec::CommandHook),
    Log(String),
}

impl Teller {
    fn new(spec: &HookSpec) -> Result<Self, TargetError> {
        Ok(match &spec.kind {
            HookKind::Webhook(webhook) => {
                Self::Webhook(Box::new(webhook::WebhookTeller::new(webhook.clone())?))
            }
            HookKind::Command(command) => Self::Command(command.clone()),
            HookKind::Log => Self::Log(spec.name.to_string()),
        })
    }

    async fn tell(&self, message: &Message) -> Outcome {
        match self {
            Self::Webhook(teller) => teller.tell(message).await,
            Self::Command(hook) => command::tell(hook, message).await,
            Self::Log(hook) => {
                let alert = &message.alert;
                tracing::warn!(
                    hook, alert = %message.id, rule = alert.rule, state = alert.state.as_str(),
                    severity = alert.severity.as_str(), subject = alert.subject,
                    text = alert.text, since = %alert.since,
                    notification = message.notification(), "alert told"
                );
                Outcome::Accepted
            }
        }
    }
}

/// Whether a hook could be told at all.
///
/// # Errors
/// [`TargetError`].
pub(crate) fn check(spec: &HookSpec) -> Result<(), TargetError> {
    Teller::new(spec).map(drop)
}

/// All hooks.
pub(crate) struct Hooks {
    session: Session,
    status: StatusCell,
    board: watch::Sender<Board>,
    running: BTreeMap<(Scope, String), Running>,
}

struct Running {
    spec: HookSpec,
    /// Its end is the task's.
    life: watch::Sender<()>,
    task: JoinHandle<()>,
    memory: Memory,
}

impl Drop for Hooks {
    fn drop(&mut self) {
        for running in self.running.values() {
            running.task.abort();
        }
    }
}

impl Hooks {
    pub(crate) fn new(session: Session, status: StatusCell) -> Self {
        Self {
            session,
            status,
            board: watch::Sender::default(),
            running: BTreeMap::new(),
        }
    }

    /// The hooks that are to be there from now on. One whose pipeline was removed is kept while
    /// it's owed the end of something.
    pub(crate) fn keep(
        &mut self,
        specs: Vec<(Scope, HookSpec)>,
        exists: impl Fn(&PipelineName) -> bool,
    ) {
        let mut wanted: BTreeMap<_, _> = specs
            .into_iter()
            .map(|(scope, spec)| ((scope, spec.name.to_string()), spec))
            .collect();
        let board = self.board.borrow().clone();
        let owes = |scope: &Scope, spec: &HookSpec| {
            let removed = scope.as_ref().is_some_and(|pipeline| !exists(pipeline));
            let scope = scope.as_ref().map(PipelineName::as_str);
            removed
                && board
                    .alerts
                    .values()
                    .any(|alert| alert.pipeline.as_deref() == scope && owed(alert, spec))
        };
        self.running.retain(|key, running| {
            wanted.contains_key(key) || owes(&key.0, &running.spec) || {
                self.status.update(|status| {
                    status.hooks.remove(&label(key));
                });
                false
            }
        });
        for (key, running) in &self.running {
            if wanted.get(key) == Some(&running.spec) {
                wanted.remove(key);
            }
        }
        for (key, spec) in wanted {
            self.start(key, spec);
        }
    }

    fn start(&mut self, key: (Scope, String), spec: HookSpec) {
        let teller = match Teller::new(&spec) {
            Ok(teller) => teller,
            Err(error) => {
                tracing::error!(hook = label(&key), %error, "hook can't be used");
                return;
            }
        };
        // The former one ends first, so that nothing is sent by both.
        let former = self.running.remove(&key);
        let memory = former
            .as_ref()
            .map_or_else(Memory::default, |former| former.memory.clone());
        let former = former.map(|former| former.task);
        let (life, alive) = watch::channel(());
        let worker = Worker {
            label: label(&key),
            scope: key.0.as_ref().map(ToString::to_string),
            spec: spec.clone(),
            teller,
            session: self.session.clone(),
            status: self.status.clone(),
            board: self.board.subscribe(),
            alive,
            memory: memory.clone(),
            tries: HashMap::new(),
        };
        let task = tokio::spawn(async move {
            if let Some(former) = former {
                let _ = former.await;
            }
            worker.run().await;
        });
        self.running.insert(
            key,
            Running {
                spec,
                life,
                task,
                memory,
            },
        );
    }

    /// How things are now.
    pub(crate) fn show(&self, board: Board) {
        self.board.send_replace(board);
    }

    /// Ends all of them; what is being sent is noted first.
    pub(crate) async fn settle(&mut self) {
        for (_, running) in std::mem::take(&mut self.running) {
            let Running { life, mut task, .. } = running;
            drop(life);
            if timeout(SETTLE_MAX, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

fn label((scope, name): &(Scope, String)) -> String {
    match scope {
        Some(pipeline) => format!("{pipeline}/{name}"),
        None => name.clone(),
    }
}

/// One firing's transition.
type Transition = (Timestamp, AlertState);

/// What this process knows to have been told or given up, noted or not.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<HashMap<AlertId, Transition>>>);

impl Memory {
    fn has(&self, id: &AlertId, transition: &Transition) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id) == Some(transition)
    }

    fn put(&self, id: &AlertId, transition: Transition) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(id.clone(), transition);
    }

    fn retain(&self, alerts: &BTreeMap<AlertId, Alert>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, _| alerts.contains_key(id));
    }
}

struct Tries {
    of: Transition,
    count: u32,
    first: Instant,
    next: Instant,
}

struct Worker {
    label: String,
    scope: Option<String>,
    spec: HookSpec,
    teller: Teller,
    session: Session,
    status: StatusCell,
    board: watch::Receiver<Board>,
    alive: watch::Receiver<()>,
    memory: Memory,
    tries: HashMap<AlertId, Tries>,
}

impl Worker {
    async fn run(mut self) {
        loop {
            let board = self.board.borrow_and_update().clone();
            let now = Instant::now();
            match self.next(&board, now) {
                Some((id, when)) if when <= now => {
                    if self.alive.has_changed().is_err() {
                        return;
                    }
                    if let Err(error) = self.attempt(&id, &board.cluster).await {
                        tracing::warn!(hook = self.label, alert = %id, %error, "can't ask the directory");
                        sleep(NOTE_PAUSE).await;
                    }
                }
                next => {
                    let wait = async {
                        match next {
                            Some((_, when)) => sleep_until(when).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        changed = self.board.changed() => if changed.is_err() {
                            return;
                        },
                        _ = self.alive.changed() => return,
                        () = wait => {}
                    }
                }
            }
        }
    }

    /// What is to be told next, and when.
    fn next(&mut self, board: &Board, now: Instant) -> Option<(AlertId, Instant)> {
        self.tries.retain(|id, _| board.alerts.contains_key(id));
        self.memory.retain(&board.alerts);
        let mut pending = 0_u64;
        let mut next: Option<(Instant, Timestamp, &AlertId)> = None;
        for (id, alert) in board.alerts.iter() {
            let transition = (alert.since, alert.state.clone());
            if alert.pipeline != self.scope
                || !owed(alert, &self.spec)
                || self.memory.has(id, &transition)
            {
                continue;
            }
            pending += 1;
            let when = self
                .tries
                .get(id)
                .filter(|tries| tries.of == transition)
                .map_or(now, |tries| tries.next);
            let candidate = (when.max(now), alert.since, id);
            if next.is_none_or(|best| candidate < best) {
                next = Some(candidate);
            }
        }
        self.count(|hook| hook.pending = pending);
        next.filter(|_| board.leading)
            .map(|(when, _, id)| (id.clone(), when))
    }

    async fn attempt(&mut self, id: &AlertId, cluster: &str) -> Result<(), CoordinationError> {
        let node = path::alert(id);
        let entry = self.session.read::<Alert>(&node).await?;
        // The reading may have waited for a new session, and another may lead by then.
        if !self.board.borrow().leading {
            return Ok(());
        }
        let owed = entry
            .map(|entry| entry.value.record)
            .filter(|alert| owed(alert, &self.spec));
        let Some(alert) = owed else {
            // Told already; the board will say so, too.
            let board = self.board.borrow().clone();
            if let Some(shown) = board.alerts.get(id) {
                self.memory.put(id, (shown.since, shown.state.clone()));
            }
            return Ok(());
        };
        let transition = (alert.since, alert.state.clone());
        if self.memory.has(id, &transition) {
            return Ok(());
        }
        let message = Message {
            id: id.clone(),
            alert,
            cluster: cluster.to_owned(),
        };
        let outcome = self.teller.tell(&message).await;
        let given_up = match self.judge(id, &transition, outcome) {
            Some(given_up) => given_up,
            None => return Ok(()),
        };
        self.memory.put(id, transition.clone());
        self.tries.remove(id);
        self.note(id, &transition, given_up).await
    }

    /// What is to be noted: `None` nothing yet, `Some(None)` told, `Some(why)` given up.
    fn judge(
        &mut self,
        id: &AlertId,
        transition: &Transition,
        outcome: Outcome,
    ) -> Option<Option<String>> {
        let now = Instant::now();
        let (why, after) = match outcome {
            Outcome::Accepted => {
                self.count(|hook| hook.accepted += 1);
                tracing::debug!(hook = self.label, alert = %id, "told");
                return Some(None);
            }
            Outcome::GivenUp { why } => {
                self.count(|hook| hook.given_up += 1);
                tracing::error!(hook = self.label, alert = %id, why, "hook refused an alert; not told");
                return Some(Some(short(&why)));
            }
            Outcome::Retry { why, after } => (why, after),
        };
        self.count(|hook| hook.failed += 1);
        let tries = self
            .tries
            .entry(id.clone())
            .and_modify(|tries| {
                if tries.of != *transition {
                    tries.of = transition.clone();
                    tries.count = 0;
                    tries.first = now;
                }
            })
            .or_insert_with(|| Tries {
                of: transition.clone(),
                count: 0,
                first: now,
                next: now,
            });
        tries.count = tries.count.saturating_add(1);
        if now.duration_since(tries.first) >= TRIED_MAX {
            self.count(|hook| hook.given_up += 1);
            tracing::error!(hook = self.label, alert = %id, why, "hook given up; not told");
            return Some(Some(short(&format!("tried for 12 h: {why}"))));
        }
        let pause = pause(tries.count, after, rand::random());
        tries.next = now + pause;
        tracing::warn!(
            hook = self.label, alert = %id, why, tries = tries.count,
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "hook failed; trying again"
        );
        None
    }

    /// Writes down that the hook has been told, or that this was given up. Whoever leads now: it
    /// is true.
    async fn note(
        &self,
        id: &AlertId,
        transition: &Transition,
        given_up: Option<String>,
    ) -> Result<(), CoordinationError> {
        let node = path::alert(id);
        let at = Timestamp::now();
        let mut tries = 0;
        loop {
            let noted = update::<Alert>(&self.session, &node, |alert| {
                let mut alert = alert.filter(|alert| alert.since == transition.0)?;
                let entry = Notified {
                    state: Some(transition.1.clone()),
                    at: Some(at),
                    given_up: given_up.clone(),
                };
                alert.notified.insert(self.spec.name.to_string(), entry);
                Some(alert)
            })
            .await;
            match noted {
                Ok(_) => return Ok(()),
                Err(error) if tries >= NOTES_MAX => return Err(error),
                Err(_) => {
                    tries += 1;
                    sleep(NOTE_PAUSE).await;
                }
            }
        }
    }

    fn count(&self, change: impl FnOnce(&mut HookStatus)) {
        self.status
            .update(|status| change(status.hooks.entry(self.label.clone()).or_default()));
    }
}

fn short(why: &str) -> String {
    why.chars().take(WORDS_MAX).collect()
}
