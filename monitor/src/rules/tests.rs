//! Each rule as a story: what the tree is like at each second, and what fires then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use towpath_protocol::epoch::Generation;
use towpath_protocol::spec::{AlertReading, HookProblem};
use towpath_protocol::tree::MemberId;
use towpath_protocol::tree::record::{
    Alert, AlertState, Assignment, Desired, DesiredState, DirectoryMembers, EpochHolder, Failure,
    Instance, InstanceState, LifeState, Member, MemberBehind, PipelineStatus, Probe, Progress,
    Record, TaskState, Versioned,
};

use super::hold::Holds;
use super::*;
use crate::view::{PipelineView, TaskView};

fn example<T: Record>() -> T {
    Versioned::from_json(T::EXAMPLE.as_bytes()).unwrap().record
}

fn instance(core: &str, state: InstanceState) -> Instance {
    Instance {
        member: core.parse().unwrap(),
        state,
        ..example()
    }
}

fn server(role: &str, directory: Option<DirectoryMembers>) -> Member {
    Member {
        raft_role: Some(role.into()),
        directory,
        ..example()
    }
}

/// What the leader of three members says: which don't keep up, and whether they are silent.
fn sight(behind: &[(u64, bool)]) -> DirectoryMembers {
    let behind = behind.iter().map(|(member, silent)| MemberBehind {
        member: *member,
        client: format!("10.0.0.{member}:2181"),
        lag_entries: Some(1200),
        silent: *silent,
    });
    DirectoryMembers {
        voters: 3,
        behind: behind.collect(),
    }
}

/// A healthy pipeline `orders` with the task `replica` on two Cores.
fn healthy() -> View {
    let task = TaskView {
        assignment: Some(Assignment {
            cores: vec!["core-1".parse().unwrap(), "core-2".parse().unwrap()],
            ..example()
        }),
        instances: vec![
            instance("core-1", InstanceState::Running),
            instance("core-2", InstanceState::Standby),
        ],
        progress: Some(Progress {
            state: TaskState::Running,
            lag_ms: Some(100),
            ..example()
        }),
        progress_zxid: 1,
        failure: None,
        epoch: Some((50, example::<EpochHolder>())),
    };
    let pipeline = PipelineView {
        desired: Some(example::<Desired>()),
        desired_zxid: 10,
        status: Some(example::<PipelineStatus>()),
        alert: Arc::default(),
        tasks: BTreeMap::from([("replica".parse().unwrap(), task)]),
    };
    let mut view = View {
        cores: ["core-1", "core-2"]
            .map(|core| core.parse().unwrap())
            .into(),
        pipelines: BTreeMap::from([("orders".parse().unwrap(), pipeline)]),
        servers: BTreeMap::from([(
            "server-1".parse().unwrap(),
            server("leader", Some(sight(&[]))),
        )]),
        ..View::default()
    };
    view.seen = crate::alerts::remember(&view, Timestamp::UNIX_EPOCH);
    view
}

fn pipeline(view: &mut View) -> &mut PipelineView {
    view.pipelines.values_mut().next().unwrap()
}

fn task(view: &mut View) -> &mut TaskView {
    pipeline(view).tasks.values_mut().next().unwrap()
}

fn progress(view: &mut View) -> &mut Progress {
    task(view).progress.as_mut().unwrap()
}

/// A Monitor without I/O.
struct Story {
    view: View,
    history: History,
    holds: Holds,
    now: f64,
    /// Whether the task moves by itself each second.
    moving: bool,
    abrupt: BTreeSet<MemberId>,
}

impl Story {
    fn new() -> Self {
        Self {
            view: healthy(),
            history: History::default(),
            holds: Holds::default(),
            now: 0.0,
            moving: true,
            abrupt: BTreeSet::new(),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut View)) {
        change(&mut self.view);
    }

    /// Another Monitor leads from here on: it knows what the tree says, and nothing else.
    fn another_leads(&mut self) {
        self.history = History::default();
        self.holds = Holds::default();
    }

    /// Half a second after the other; says the ids of what fires at the end.
    fn pass(&mut self, seconds: f64) -> Vec<String> {
        let end = self.now + seconds;
        loop {
            let now = Duration::from_secs_f64(self.now);
            let running = |task: &TaskView| task.progress.is_some();
            let tasks = pipeline(&mut self.view).tasks.values();
            if self.moving && tasks.into_iter().any(running) {
                task(&mut self.view).progress_zxid += 1;
                progress(&mut self.view).position += 1;
            }
            self.history.observe(&self.view, &self.abrupt, now);
            self.abrupt.clear();
            let timings = Timings::default();
            self.history.forget(timings.core_shown, &self.view, now);
            let found = findings(&self.view, &self.history, &timings, now);
            let firing = self.holds.step(found, &self.view.alerts, &timings, now);
            let changes = crate::alerts::plan(
                &firing,
                &self.view.alerts,
                |_| vec![],
                Timestamp::from_second(1_800_000_000 + self.now as i64).unwrap(),
            );
            for (id, change) in changes {
                use crate::alerts::Change;
                match change {
                    Change::Fire(alert) => drop(self.view.alerts.insert(id, *alert)),
                    Change::Resolve(_) => {
                        self.view.alerts.get_mut(&id).unwrap().state = AlertState::Resolved;
                    }
                    Change::Say(text, _) => self.view.alerts.get_mut(&id).unwrap().text = text,
                    Change::Remove => drop(self.view.alerts.remove(&id)),
                }
            }
            self.view.seen = crate::alerts::remember(&self.view, Timestamp::now());
            if self.now >= end {
                return self.firing();
            }
            self.now += 0.5;
        }
    }

    fn firing(&self) -> Vec<String> {
        let firing = |alert: &Alert| alert.state == AlertState::Firing;
        let alerts = self.view.alerts.iter();
        alerts
            .filter(|(_, alert)| firing(alert))
            .map(|(id, _)| id.to_string())
            .collect()
    }

    fn text(&self, id: &str) -> &str {
        &self.view.alerts[&id.parse().unwrap()].text
    }
}

const NONE: [&str; 0] = [];

#[test]
fn a_healthy_cluster_is_quiet() {
    let mut story = Story::new();
    assert_eq!(story.pass(600.0), NONE);
    story.another_leads();
    assert_eq!(story.pass(600.0), NONE);
    // An idle source: nothing moves, and nothing is behind.
    story.moving = false;
    for _ in 0..300 {
        story.change(|view| task(view).progress_zxid += 1);
        assert_eq!(story.pass(1.0), NONE);
    }
    assert!(story.view.alerts.is_empty());
}

#[test]
fn failed() {
    let id = "failed.orders.replica";
    let mut story = Story::new();
    story.change(|view| {
        task(view).failure = Some(example());
        task(view).progress = None;
    });
    assert_eq!(story.pass(0.0), [id], "at once, and nothing else is told");
    assert!(story.text(id).contains("row (7) of shop.orders"));
    // Tried again: not running yet, then failed again, then well for a moment.
    story.change(|view| task(view).failure = None);
    assert_eq!(story.pass(8.0), [id]);
    story.change(|view| {
        task(view).failure = Some(Failure {
            text: "another".into(),
            ..example()
        });
    });
    assert_eq!(story.pass(0.5), [id]);
    assert!(
        story.text(id).contains("another"),
        "the text is kept up to date"
    );
    story.change(|view| {
        task(view).failure = None;
        task(view).progress = healthy()
            .pipelines
            .values()
            .next()
            .unwrap()
            .tasks
            .values()
            .next()
            .unwrap()
            .progress
            .clone();
    });
    assert_eq!(story.pass(9.0), [id], "not yet");
    assert_eq!(story.pass(2.0), NONE);

    // One that may pass by itself has time to.
    story.change(|view| {
        task(view).failure = Some(Failure {
            transient: true,
            ..example()
        });
    });
    assert_eq!(story.pass(9.0), NONE);
    assert_eq!(story.pass(2.0), [id]);
    // Stopped by an operator.
    story.change(|view| pipeline(view).desired.as_mut().unwrap().state = DesiredState::Stopped);
    assert_eq!(story.pass(11.0), NONE);
}

#[test]
fn a_failed_pipeline() {
    let mut story = Story::new();
    story.change(|view| pipeline(view).status.as_mut().unwrap().state = LifeState::Failed);
    assert_eq!(story.pass(0.0), ["failed.orders"]);
    story.change(|view| pipeline(view).status.as_mut().unwrap().state = LifeState::Running);
    assert_eq!(story.pass(11.0), NONE);
}

#[test]
fn not_running() {
    let id = "not-running.orders.replica";
    let mut story = Story::new();
    let running = story.view.clone();
    story.change(|view| task(view).progress = None);
    assert_eq!(story.pass(9.0), NONE, "a failover takes its time");
    story.change(|view| *view = running.clone());
    assert_eq!(story.pass(1.0), NONE);
    story.change(|view| task(view).progress = None);
    assert_eq!(story.pass(9.0), NONE, "counted anew");
    assert_eq!(story.pass(1.5), [id]);
    assert!(story.text(id).contains("core-1, core-2"));
    story.another_leads();
    assert_eq!(
        story.pass(5.5),
        [id],
        "a new leader doesn't end it by ignorance"
    );
    story.change(|view| {
        task(view).progress = running
            .pipelines
            .values()
            .next()
            .unwrap()
            .tasks
            .values()
            .next()
            .unwrap()
            .progress
            .clone()
    });
    assert_eq!(story.pass(4.0), [id]);
    assert_eq!(story.pass(1.5), NONE);
    // No plan at all.
    story.change(|view| pipeline(view).tasks.clear());
    assert_eq!(story.pass(11.0), ["not-running.orders"]);
}

#[test]
fn stalled() {
    let id = "stalled.orders.replica";
    let mut story = Story::new();
    assert_eq!(story.pass(10.0), NONE);
    story.moving = false;
    let behind = |story: &mut Story, seconds: u64| {
        for _ in 0..seconds {
            story.change(|view| {
                task(view).progress_zxid += 1;
                *progress(view).lag_ms.get_or_insert(0) += 1000;
            });
            story.pass(1.0);
        }
        let mut firing = story.firing();
        firing.retain(|id| !id.starts_with("lag"));
        firing
    };
    assert_eq!(behind(&mut story, 57), NONE);
    assert_eq!(behind(&mut story, 4), [id]);
    story.another_leads();
    assert_eq!(
        behind(&mut story, 30),
        [id],
        "unknown to the new leader, so it stays"
    );
    assert_eq!(behind(&mut story, 40), [id], "and known again");
    story.moving = true;
    assert_eq!(behind(&mut story, 7), NONE);

    // It says nothing at all, though its session lives.
    story.moving = false;
    story.change(|view| progress(view).lag_ms = Some(0));
    assert_eq!(story.pass(58.0), NONE);
    assert_eq!(story.pass(3.0), [id]);
    assert!(story.text(id).contains("has told no progress"));
}

#[test]
fn lag() {
    let id = "lag.orders.replica";
    let mut story = Story::new();
    let behind = |story: &mut Story, lag_ms: u64, seconds: f64| {
        story.change(|view| progress(view).lag_ms = Some(lag_ms));
        story.pass(seconds)
    };
    assert_eq!(behind(&mut story, 68_000, 4.0), NONE, "one late batch");
    assert_eq!(behind(&mut story, 29_000, 1.0), NONE);
    assert_eq!(behind(&mut story, 68_000, 5.5), [id]);
    assert!(
        story.text(id).starts_with("68 s behind"),
        "{}",
        story.text(id)
    );
    assert_eq!(behind(&mut story, 29_000, 60.0), [id], "not well yet");
    assert_eq!(behind(&mut story, 24_000, 3.0), [id]);
    assert_eq!(behind(&mut story, 26_000, 1.0), [id], "well for too short");
    assert_eq!(behind(&mut story, 24_000, 4.5), [id], "counted anew");
    assert_eq!(behind(&mut story, 24_000, 1.0), NONE);
    assert_eq!(behind(&mut story, 29_000, 60.0), NONE, "not bad yet");
}

#[test]
fn no_standby() {
    let id = "no-standby.orders.replica";
    let mut story = Story::new();
    story.change(|view| task(view).instances[1].state = InstanceState::Provisioning);
    assert_eq!(story.pass(29.0), NONE);
    assert_eq!(story.pass(1.5), [id]);
    story.change(|view| task(view).instances[1].state = InstanceState::Standby);
    assert_eq!(story.pass(5.5), NONE);
    // One Core is enough where one is planned.
    story.change(|view| {
        task(view).instances.pop();
        task(view).assignment.as_mut().unwrap().cores.pop();
    });
    assert_eq!(story.pass(60.0), NONE);
}

#[test]
fn failover() {
    let id = "failover.orders.replica";
    let won = |core: &str, epoch: u64| {
        let holder = EpochHolder {
            generation: Generation(1),
            member: core.parse().unwrap(),
            ..example()
        };
        move |view: &mut View| task(view).epoch = Some((epoch, holder))
    };
    let mut story = Story::new();
    story.pass(1.0);
    story.change(won("core-1", 60));
    assert_eq!(story.pass(1.0), NONE, "a new epoch of the same Core");
    // Nobody leads while it happens.
    story.another_leads();
    story.change(won("core-2", 70));
    assert_eq!(story.pass(0.0), [id]);
    assert!(story.text(id).starts_with("core-2 took over from core-1"));
    let first = story.view.alerts[&id.parse().unwrap()].clone();
    assert_eq!(story.pass(299.0), [id]);
    assert_eq!(story.pass(2.0), NONE, "by itself");
    story.another_leads();
    assert_eq!(story.pass(10.0), NONE, "once");
    story.change(won("core-1", 80));
    assert_eq!(story.pass(1.0), [id]);
    story.change(won("core-2", 90));
    story.pass(1.0);
    let second = &story.view.alerts[&id.parse().unwrap()];
    assert_eq!(second.occurrence, Some(90), "another while one is told");
    assert!(second.since > first.since);
    // An operator has stopped it, and started it elsewhere.
    assert_eq!(story.pass(301.0), NONE);
    story.change(|view| pipeline(view).desired_zxid = 95);
    story.change(won("core-1", 99));
    assert_eq!(story.pass(1.0), NONE);
    // A crash between the alert and what is remembered.
    let mut view = story.view.clone();
    won("core-2", 120)(&mut view);
    let before = view.seen.clone();
    story.view = view;
    assert_eq!(story.pass(0.0), [id]);
    let since = story.view.alerts[&id.parse().unwrap()].since;
    story.view.seen = before;
    story.another_leads();
    assert_eq!(story.pass(3.0), [id]);
    assert_eq!(story.view.alerts[&id.parse().unwrap()].since, since);
}

#[test]
fn core_lost() {
    let id = "core-lost.core-2";
    let gone = |view: &mut View| {
        view.cores.remove(&"core-2".parse().unwrap());
    };
    let back = |view: &mut View| {
        view.cores.insert("core-2".parse().unwrap());
    };
    let replaced = |view: &mut View| task(view).assignment.as_mut().unwrap().cores.truncate(1);
    // In order, and the plan follows.
    let mut story = Story::new();
    story.change(gone);
    assert_eq!(story.pass(3.0), NONE);
    story.change(replaced);
    assert_eq!(story.pass(60.0), NONE);
    // Restarted in order.
    let mut story = Story::new();
    story.change(gone);
    assert_eq!(story.pass(8.0), NONE);
    story.change(back);
    assert_eq!(story.pass(60.0), NONE);
    // Its session ended with its instances.
    let mut story = Story::new();
    story.change(gone);
    story.abrupt = ["core-2".parse().unwrap()].into();
    assert_eq!(story.pass(0.0), [id]);
    story.change(replaced);
    assert_eq!(story.pass(55.0), [id], "long enough to be seen");
    assert_eq!(story.pass(11.0), NONE, "others have its work");
    // The same, and it comes back.
    let mut story = Story::new();
    story.change(gone);
    story.abrupt = ["core-2".parse().unwrap()].into();
    assert_eq!(story.pass(1.0), [id]);
    story.another_leads();
    assert_eq!(story.pass(30.0), [id], "still assigned");
    story.change(back);
    assert_eq!(story.pass(5.5), NONE);
    // Nobody saw it go, and nobody plans.
    let mut story = Story::new();
    story.change(gone);
    story.another_leads();
    assert_eq!(story.pass(9.0), NONE);
    assert_eq!(story.pass(1.5), [id]);
    // Drained: it is to be gone.
    story.change(|view| view.drained.extend(["core-2".parse().unwrap()]));
    assert_eq!(story.pass(6.0), NONE);
}

#[test]
fn server_lost() {
    let id = "server-lost.server-1";
    let mut story = Story::new();
    story.pass(1.0);
    let there = story.view.servers.clone();
    story.change(|view| view.servers.clear());
    assert_eq!(story.pass(9.0), NONE, "a restart");
    assert_eq!(story.pass(1.5), [id]);
    story.change(|view| view.servers = there.clone());
    assert_eq!(story.pass(5.5), NONE);
    story.change(|view| view.servers.clear());
    story.another_leads();
    assert_eq!(story.pass(10.5), [id], "it is remembered");
    story.change(|view| {
        let alert = view.alerts.get_mut(&id.parse().unwrap()).unwrap();
        alert.acknowledged = Some(Timestamp::UNIX_EPOCH);
    });
    assert_eq!(story.pass(6.0), NONE, "gone for good");
    assert!(story.view.seen.servers.is_empty());
}

#[test]
fn directory_member_lags() {
    let id = "directory-member-lags.3";
    let says = |role: &str, directory: Option<DirectoryMembers>| {
        let server = server(role, directory);
        move |view: &mut View| drop(view.servers.insert("server-1".parse().unwrap(), server))
    };
    let mut story = Story::new();
    story.change(says("leader", Some(sight(&[(3, true)]))));
    assert_eq!(story.pass(9.0), NONE, "a restart");
    story.change(says("leader", Some(sight(&[]))));
    assert_eq!(story.pass(1.0), NONE);
    story.change(says("leader", Some(sight(&[(3, true)]))));
    assert_eq!(story.pass(9.0), NONE, "counted anew");
    assert_eq!(story.pass(1.5), [id]);
    for part in [
        "member 3 ",
        "10.0.0.3:2181",
        "acknowledges nothing",
        "2 of 3 keep up",
    ] {
        assert!(story.text(id).contains(part), "{part}: {}", story.text(id));
    }
    // It speaks again, and is far behind.
    story.change(says("leader", Some(sight(&[(3, false)]))));
    assert_eq!(story.pass(1.0), [id]);
    assert!(
        story.text(id).contains("was 1200 entries behind"),
        "{}",
        story.text(id)
    );

    // Nobody leads, or two seem to, or one of a release that doesn't say: nothing begins or ends.
    story.another_leads();
    story.change(says("follower", None));
    assert_eq!(story.pass(60.0), [id]);
    story.change(says("leader", None));
    assert_eq!(story.pass(60.0), [id]);
    let second: MemberId = "server-2".parse().unwrap();
    let (of_two, other) = (second.clone(), server("leader", Some(sight(&[(2, true)]))));
    story.change(says("leader", Some(sight(&[]))));
    story.change(|view| drop(view.servers.insert(of_two, other)));
    assert_eq!(story.pass(60.0), [id]);
    // The former one is gone, and it's clear again.
    story.change(|view| drop(view.servers.insert(second, server("follower", None))));
    assert_eq!(story.pass(4.0), [id]);
    assert_eq!(story.pass(1.5), NONE);
}

#[test]
fn a_member_of_five_may_be_lost_and_the_next_one_is_told_as_what_it_is() {
    let mut story = Story::new();
    let says = |behind: &[(u64, bool)]| {
        let mut seen = sight(behind);
        seen.voters = 5;
        let server = server("leader", Some(seen));
        move |view: &mut View| drop(view.servers.insert("server-1".parse().unwrap(), server))
    };
    let stops = "stops when another one fails";
    story.change(says(&[(3, true)]));
    assert_eq!(story.pass(10.5), ["directory-member-lags.3"]);
    assert!(!story.text("directory-member-lags.3").contains(stops));
    story.change(says(&[(3, true), (4, true)]));
    let both = ["directory-member-lags.3", "directory-member-lags.4"];
    assert_eq!(story.pass(10.5), both);
    for id in both {
        assert!(
            story.text(id).contains("3 of 5 keep up"),
            "{}",
            story.text(id)
        );
        assert!(story.text(id).contains(stops), "{}", story.text(id));
    }
    // Removed, and so no member any more.
    story.change(says(&[(4, true)]));
    assert_eq!(story.pass(5.5), [both[1]]);
    assert!(!story.text(both[1]).contains(stops));
}

#[test]
fn source_down() {
    let mut story = Story::new();
    let probe = |answers| Probe {
        answers,
        ..example()
    };
    story.change(|view| drop(view.probes.insert("primary".parse().unwrap(), probe(false))));
    assert_eq!(story.pass(4.0), NONE);
    assert_eq!(story.pass(1.5), ["source-down.primary"]);
    assert!(
        story
            .text("source-down.primary")
            .contains("connection refused")
    );
    story.change(|view| drop(view.probes.insert("primary".parse().unwrap(), probe(true))));
    assert_eq!(story.pass(5.5), NONE);
}

#[test]
fn a_hook_that_can_t_be_used() {
    let mut story = Story::new();
    story.change(|view| {
        pipeline(view).alert = Arc::new(AlertReading {
            problems: vec![HookProblem {
                hook: Some("oncall".parse().unwrap()),
                text: "environment variable X is not set".into(),
            }],
            ..AlertReading::default()
        });
        // Also of a pipeline that is stopped.
        pipeline(view).desired = None;
    });
    assert_eq!(story.pass(0.0), ["hook.orders.oncall"]);
    story.change(|view| pipeline(view).alert = Arc::default());
    assert_eq!(story.pass(0.5), NONE);
}

#[test]
fn ids_are_stable_and_fit() {
    let finding = |subject: &str| Finding::new(Rule::Lag, subject, Severity::Info, String::new());
    assert_eq!(finding("a/b").id().as_str(), "lag.a.b");
    let long = |end: &str| finding(&format!("{}/{}{end}", "p".repeat(64), "t".repeat(95))).id();
    assert_eq!(long("x"), long("x"));
    assert_ne!(long("x"), long("y"));
    assert!(long("x").as_str().starts_with("lag."));
    assert_eq!(other_id().as_str(), "other");
    for rule in Rule::ALL {
        assert_eq!(Rule::named(rule.as_str()), Some(rule));
    }
}
