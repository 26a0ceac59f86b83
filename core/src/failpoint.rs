//! Named places at which a test kills, holds or fails a process: `TOWPATH_FAILPOINTS` in its
//! environment.
//!
//! ```sh
//! TOWPATH_FAILPOINTS="commit.after-data=3*off->kill;producer.connected=2*error" towpath run pipeline.toml
//! ```
//!
//! Points are separated by `;`. Each has actions, done one after the other with `->` between them:
//! an action with `n*` before it is done the first n times that the point is reached and then makes
//! way for the next one; without a count it is done from then on. Behind the last action nothing is
//! done.
//!
//! | action | what happens |
//! |---|---|
//! | `off` | nothing |
//! | `kill` | the process gets SIGKILL, from itself |
//! | `pause` | the task stays there for good, all others go on |
//! | `sleep(MS)` | the task goes on after so many milliseconds |
//! | `error` | as if the connection in use at this place were lost |
//!
//! Invariants: a build without `debug_assertions` has no trace of this, neither code nor names,
//! unless the feature `failpoints` is on; what the variable says wrong ends the process, since a
//! test with a misspelt point would pass for nothing. Never a way to configure anything.

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal;)+) => {
        /// A place that a process can be stopped at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[doc = $doc])+ $point,)+
        }

        #[cfg(any(debug_assertions, feature = "failpoints"))]
        impl Point {
            /// All of them, in the order in which a pipeline comes to them.
            pub const ALL: &[Point] = &[$(Point::$point),+];

            /// As the variable names it: its stage, a period, and what has just been done.
            pub fn name(self) -> &'static str {
                match self {
                    $(Point::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// The offset row exists and was read; no lock is taken yet.
    TakeoverBeforeLocks = "takeover.before-locks";
    /// All locks are ours; the epoch is the predecessor's.
    TakeoverLocked = "takeover.locked";
    /// The epoch is raised; the position isn't read.
    TakeoverEpochWritten = "takeover.epoch-written";
    /// The takeover is done.
    TakeoverDone = "takeover.done";
    /// A sink without an offset: the start is known and not written.
    StartBeforeOffset = "start.before-offset";
    /// The start is written.
    StartAfterOffset = "start.after-offset";
    /// The dump has been asked for.
    ProducerConnected = "producer.connected";
    /// A chunk is about to be queued.
    ProducerBeforeQueue = "producer.before-queue";
    /// A part of a large transaction is queued, and more of it is to come.
    ProducerInside = "producer.inside";
    /// A chunk was taken from the queue.
    QueueTaken = "queue.taken";
    /// Nothing of a batch is sent.
    CommitBeforeData = "commit.before-data";
    /// All of a batch is sent and its rows are checked.
    CommitAfterData = "commit.after-data";
    /// A part of a large transaction is sent; the sink's transaction stays open.
    CommitInside = "commit.inside";
    /// The offset and COMMIT are about to be sent.
    CommitBeforeOffset = "commit.before-offset";
    /// The sink has committed and nobody has been told.
    CommitAfterCommit = "commit.after-commit";
    /// Nothing of a copied chunk is written.
    CopyBeforeRows = "copy.before-rows";
    /// A copied chunk is written; it isn't committed.
    CopyAfterRows = "copy.after-rows";
    /// At-least-once: data are committed, their offset isn't.
    DeliveryDataCommitted = "delivery.data-committed";
    /// At-most-once: an offset is committed, its data aren't.
    DeliveryOffsetCommitted = "delivery.offset-committed";
    /// A DDL statement is next, and all before it is committed.
    DdlBeforeIntent = "ddl.before-intent";
    /// Its intent is committed.
    DdlAfterIntent = "ddl.after-intent";
    /// It is about to be sent.
    DdlBeforeStatement = "ddl.before-statement";
    /// It ran.
    DdlAfterStatement = "ddl.after-statement";
    /// It is about to be recorded as done.
    DdlBeforeDone = "ddl.before-done";
    /// It is recorded as done.
    DdlAfterDone = "ddl.after-done";
    /// A repair holds the offset row, and has not read the source.
    RepairLocked = "repair.locked";
}

/// Does what the environment asks for at this place; else nothing.
///
/// # Errors
/// Only for the action `error`: what a lost connection looks like.
#[cfg(not(any(debug_assertions, feature = "failpoints")))]
#[inline(always)]
#[allow(clippy::unused_async, reason = "in other builds it waits")]
pub async fn reach(_: Point) -> std::io::Result<()> {
    Ok(())
}

/// Whether the environment asks for something at one of these places.
#[cfg(not(any(debug_assertions, feature = "failpoints")))]
#[inline(always)]
pub fn is_set(_: &[Point]) -> bool {
    false
}

#[cfg(any(debug_assertions, feature = "failpoints"))]
pub use active::{is_set, reach};

#[cfg(any(debug_assertions, feature = "failpoints"))]
mod active {
    use std::collections::{HashMap, VecDeque};
    use std::io;
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::Point;

    const VARIABLE: &str = "TOWPATH_FAILPOINTS";

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Action {
        Off,
        Kill,
        Pause,
        Sleep(Duration),
        Error,
    }

    /// An action, and how often it is done before the next one's turn; `None` for ever.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Step {
        pub(super) action: Action,
        pub(super) times: Option<u64>,
    }

    type Plan = HashMap<&'static str, VecDeque<Step>>;

    static PLAN: LazyLock<Mutex<Plan>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        let plan = parse(&text).unwrap_or_else(|what| {
            tracing::error!("{VARIABLE}: {what}");
            std::process::exit(2)
        });
        Mutex::new(plan)
    });

    /// Does what the environment asks for at this place; else nothing.
    ///
    /// # Errors
    /// Only for the action `error`: what a lost connection looks like.
    pub async fn reach(point: Point) -> io::Result<()> {
        let action = {
            let mut plan = PLAN.lock().unwrap_or_else(PoisonError::into_inner);
            match plan.get_mut(point.name()) {
                Some(steps) => next(steps),
                None => return Ok(()),
            }
        };
        if action != Action::Off {
            tracing::warn!(failpoint = point.name(), ?action, "a failpoint acts");
        }
        match action {
            Action::Off => Ok(()),
            Action::Kill => {
                // It can't fail for one's own process, and if it did there would be nothing to do.
                let _ = kill_process(getpid(), Signal::KILL);
                std::process::abort()
            }
            Action::Pause => std::future::pending().await,
            Action::Sleep(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Action::Error => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                format!("failpoint {}", point.name()),
            )),
        }
    }

    /// Whether the environment asks for something at one of these places.
    pub fn is_set(points: &[Point]) -> bool {
        let plan = PLAN.lock().unwrap_or_else(PoisonError::into_inner);
        points.iter().any(|point| plan.contains_key(point.name()))
    }

    pub(super) fn next(steps: &mut VecDeque<Step>) -> Action {
        let Some(step) = steps.front_mut() else {
            return Action::Off;
        };
        let action = step.action;
        if let Some(times) = &mut step.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                steps.pop_front();
            }
        }
        action
    }

    pub(super) fn parse(text: &str) -> Result<Plan, String> {
        let mut plan = Plan::new();
        for entry in text.split(';').map(str::trim).filter(|e| !e.is_empty()) {
            let (name, actions) = entry
                .split_once('=')
                .ok_or_else(|| format!("`{entry}` is not of the form POINT=ACTIONS"))?;
            let point = Point::ALL.iter().find(|point| point.name() == name.trim());
            let point = point.ok_or_else(|| format!("there is no point `{name}`"))?;
            let steps = actions.split("->").map(step).collect::<Result<_, _>>()?;
            if plan.insert(point.name(), steps).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(plan)
    }

    fn step(text: &str) -> Result<Step, String> {
        let wrong = || {
            format!(
                "`{text}` is no action; write off, kill, pause, sleep(MS) or error, with `n*` before it \
                 for n times"
            )
        };
        let (times, action) = match text.trim().split_once('*') {
            Some((times, action)) => {
                let times = times.trim().parse().ok().filter(|&times| times > 0);
                (Some(times.ok_or_else(wrong)?), action.trim())
            }
            None => (None, text.trim()),
        };
        let action = match action {
            "off" => Action::Off,
            "kill" => Action::Kill,
            "pause" => Action::Pause,
            "error" => Action::Error,
            other => {
                let ms = other
                    .strip_prefix("sleep(")
                    .and_then(|rest| rest.strip_suffix(')'));
                let ms = ms.and_then(|ms| ms.parse().ok()).ok_or_else(wrong)?;
                Action::Sleep(Duration::from_millis(ms))
            }
        };
        Ok(Step { action, times })
    }
}

#[cfg(test)]
mod tests {
    use super::Point;
    use super::active::{Action, next, parse};

    #[test]
    fn actions_take_turns() {
        let mut plan = parse("commit.after-data=2*off->error->kill; queue.taken=pause").unwrap();
        assert_eq!(plan.len(), 2);
        let steps = plan.get_mut("commit.after-data").unwrap();
        let seen: Vec<_> = (0..4).map(|_| next(steps)).collect();
        assert_eq!(
            seen,
            [Action::Off, Action::Off, Action::Error, Action::Error]
        );
        let mut plan = parse("queue.taken=1*kill->1*sleep(20)").unwrap();
        let steps = plan.get_mut("queue.taken").unwrap();
        let seen: Vec<_> = (0..3).map(|_| next(steps)).collect();
        let slept = Action::Sleep(std::time::Duration::from_millis(20));
        assert_eq!(seen, [Action::Kill, slept, Action::Off]);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for wrong in [
            "commit.after-dota=kill",
            "commit.after-data",
            "commit.after-data=explode",
            "commit.after-data=0*kill",
            "commit.after-data=x*kill",
            "commit.after-data=sleep",
            "commit.after-data=off;commit.after-data=kill",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
