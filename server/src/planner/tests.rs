//! Plans by table, and what must hold of every plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use towpath_protocol::spec::PlacementSpec;
use towpath_protocol::tree::MemberId;

use super::*;

fn core(name: &str) -> MemberId {
    name.parse().unwrap()
}

fn id(pipeline: &str) -> TaskId {
    TaskId {
        pipeline: pipeline.parse().unwrap(),
        task: "replica".parse().unwrap(),
    }
}

/// A cluster of Cores `a`, `b`, … (each on a machine of its own, or `name@host`, `name=zone`).
fn cluster(cores: &str) -> ClusterView {
    let mut view = ClusterView::default();
    for text in cores.split_whitespace() {
        let (text, zone) = text.split_once('=').unwrap_or((text, ""));
        let (name, host) = text.split_once('@').unwrap_or((text, text));
        let mut labels = BTreeMap::new();
        if !zone.is_empty() {
            labels.insert("zone".to_owned(), zone.to_owned());
        }
        let host = host.to_owned();
        view.cores.insert(core(name), CoreView { host, labels });
    }
    view
}

/// A task that has these Cores; `*` marks those that stand in sync, the first of them runs.
fn task(cores: &str) -> TaskView {
    let mut task = TaskView {
        wanted: true,
        ..TaskView::default()
    };
    let names: Vec<&str> = cores.split_whitespace().collect();
    if !names.is_empty() {
        task.assigned = Some(Assigned {
            cores: names
                .iter()
                .map(|name| core(name.trim_matches('*')))
                .collect(),
            server_id: 1_000_000_007,
            fail_back: false,
        });
    }
    for name in names.iter().filter(|name| name.ends_with('*')) {
        task.standing.push(core(name.trim_matches('*')));
        task.in_sync.insert(core(name.trim_matches('*')));
    }
    task
}

fn away(view: &mut ClusterView, name: &str, seconds: u64) {
    view.cores.remove(&core(name));
    view.away.insert(core(name), Duration::from_secs(seconds));
}

/// `pipeline: cores (cause)` for each change, `pipeline! reason` for each unplaced one.
fn shown(view: &ClusterView) -> Vec<String> {
    let plan = plan(view, GRACE);
    let mut out = Vec::new();
    for (id, change) in &plan.changes {
        let cores: Vec<_> = change.assigned.cores.iter().map(MemberId::as_str).collect();
        out.push(format!(
            "{}: {} ({})",
            id.pipeline,
            cores.join(" "),
            change.cause
        ));
    }
    for (id, reason) in &plan.unplaced {
        out.push(format!("{}! {reason}", id.pipeline));
    }
    out
}

/// The plan for one pipeline `p`.
fn one(view: &ClusterView, task: TaskView) -> Vec<String> {
    let mut view = view.clone();
    view.tasks.insert(id("p"), task);
    shown(&view)
}

#[test]
fn new_tasks_are_spread_over_cores_and_machines() {
    let mut view = cluster("a@x b@x c@y");
    for name in ["p1", "p2", "p3"] {
        view.tasks.insert(id(name), task(""));
    }
    assert_eq!(
        shown(&view),
        [
            "p1: a c (new pipeline)",
            "p2: b c (new pipeline)",
            "p3: c a (new pipeline)",
        ]
    );
}

#[test]
fn nothing_moves_without_need() {
    let view = cluster("a b c");
    assert_eq!(one(&view, task("a* b*")), [""; 0]);
    assert_eq!(one(&view, task("b* a")), [""; 0]);
    let mut view = cluster("a b");
    for name in ["p1", "p2", "p3"] {
        view.tasks.insert(id(name), task("a* b*"));
        view.tasks.get_mut(&id(name)).unwrap().server_id = name[1..].parse().ok();
        let assigned = view.tasks.get_mut(&id(name)).unwrap();
        assigned.assigned.as_mut().unwrap().server_id = name[1..].parse().unwrap();
    }
    assert_eq!(shown(&view), [""; 0], "running ones stay, though uneven");
}

#[test]
fn a_core_that_is_away_is_replaced_after_the_grace() {
    let mut view = cluster("a b c");
    away(&mut view, "a", 4);
    let mut running = task("a b*");
    assert_eq!(one(&view, running.clone()), [""; 0]);
    view.tasks.insert(id("p"), running.clone());
    assert_eq!(plan(&view, GRACE).again_in, Some(Duration::from_secs(1)));
    view.tasks.clear();

    away(&mut view, "a", 5);
    assert_eq!(one(&view, running.clone()), ["p: b c (a left)"]);
    running.placement.fail_back = true;
    running.assigned.as_mut().unwrap().fail_back = true;
    assert_eq!(
        one(&view, running),
        ["p: a b c (c stands by)"],
        "the place of the preferred one is kept"
    );
    let mut returned = task("a b* c*");
    returned.placement.fail_back = true;
    returned.assigned.as_mut().unwrap().fail_back = true;
    assert_eq!(
        one(&cluster("a b c"), returned),
        ["p: a b (c had more than others)"]
    );
}

#[test]
fn the_one_that_runs_becomes_the_preferred_one() {
    let view = cluster("a b c");
    let mut behind = task("a* b*");
    behind.standing.reverse();
    assert_eq!(one(&view, behind.clone()), ["p: b a (b runs it)"]);
    behind.placement.fail_back = true;
    behind.assigned.as_mut().unwrap().fail_back = true;
    assert_eq!(one(&view, behind), [""; 0]);
}

#[test]
fn a_drained_core_loses_everything() {
    let mut view = cluster("a b c");
    view.drained.insert(core("a"));
    assert_eq!(one(&view, task("a* b*")), ["p: b c (a is drained)"]);
    assert_eq!(one(&view, task("b* a*")), ["p: b c (a is drained)"]);
    view.cores.retain(|name, _| name.as_str() == "a");
    assert_eq!(
        one(&view, task("a*")),
        [
            "p:  (a is drained)",
            "p! no Core may run it: a is drained; towpath undrain one, or start another"
        ]
    );
}

#[test]
fn who_isn_t_trusted_loses_the_task_if_another_may_have_it() {
    let distrusted = |cores: &str| {
        let mut task = task(cores);
        task.distrusted.insert(core("a"), "silent".to_owned());
        task
    };
    let view = cluster("a b c");
    assert_eq!(one(&view, distrusted("a* b*")), ["p: b c (a: silent)"]);
    assert_eq!(
        one(&cluster("a"), distrusted("a*")),
        ["p: a (its spec changed)"; 0]
    );
}

#[test]
fn nobody_has_the_labels() {
    let zone = |zone: &str, cores: &str| {
        let mut task = task(cores);
        let labels = [("zone".to_owned(), zone.to_owned())];
        task.placement.labels = labels.into();
        task
    };
    let view = cluster("a=x b=y c=x");
    assert_eq!(one(&view, zone("x", "")), ["p: a c (new pipeline)"]);
    assert_eq!(one(&view, zone("x", "b* a*")), ["p: a c (b has no zone=x)"]);
    assert_eq!(one(&view, zone("y", "")), ["p: b (new pipeline)"]);
    assert_eq!(
        one(&view, zone("z", "")),
        ["p! no live Core has zone=z; start one that has, or change placement.labels"]
    );
    let mut both = zone("x", "");
    both.placement
        .labels
        .insert("disk".to_owned(), "ssd".to_owned());
    let mut split = view.clone();
    let ssd = ("disk".to_owned(), "ssd".to_owned());
    split
        .cores
        .get_mut(&core("b"))
        .unwrap()
        .labels
        .extend([ssd]);
    assert_eq!(
        one(&split, both),
        [
            "p! no live Core has all of disk=ssd, zone=x; start one that has, or change \
          placement.labels"
        ]
    );
    assert_eq!(
        one(&ClusterView::default(), zone("x", "")),
        ["p! no Core is there; start one with towpath core"]
    );
    let mut gone = cluster("");
    away(&mut gone, "a", 60);
    assert_eq!(
        one(&gone, task("a")),
        ["p! no Core is there; start one with towpath core"],
        "what it had stays, for the day that it returns"
    );
}

#[test]
fn replicas_are_raised_and_lowered() {
    let view = cluster("a b c");
    let mut alone = task("a* b*");
    alone.placement.replicas = 1;
    assert_eq!(one(&view, alone), ["p: a (b had more than others)"]);
    let mut three = task("a* b*");
    three.placement.replicas = 3;
    assert_eq!(one(&view, three.clone()), ["p: a b c (c stands by)"]);
    assert_eq!(one(&cluster("a b"), three), [""; 0], "as many as there are");
}

#[test]
fn a_move_gets_ready_then_is_alone_then_has_a_standby_again() {
    let view = cluster("a b c");
    let moving = |cores: &str, standing: &str| {
        let mut task = task(cores);
        task.standing = standing.split_whitespace().map(core).collect();
        task.moving = Some(Moving {
            to: core("c"),
            by: "anna".to_owned(),
        });
        task
    };
    assert_eq!(
        one(&view, moving("a* b*", "a b")),
        ["p: a b c (c gets ready for the move that anna asked for)"]
    );
    assert_eq!(one(&view, moving("a* b* c", "a b c")), [""; 0]);
    assert_eq!(
        one(&view, moving("a* b* c*", "a b c")),
        ["p: c (moved by anna)"]
    );
    assert_eq!(one(&view, moving("c*", "a b c")), [""; 0]);
    assert_eq!(one(&view, moving("c*", "c")), ["p: c a (a stands by)"]);
    let mut left = task("c*");
    left.standing = vec![core("a"), core("c")];
    assert_eq!(
        one(&view, left),
        ["p: c b (b stands by)"],
        "one on its way out would be before those that are to run"
    );
}

#[test]
fn a_core_that_joins_takes_standbys() {
    let mut view = cluster("a b c");
    for number in 0..6 {
        let cores = if number % 2 == 0 { "a* b*" } else { "b* a*" };
        view.tasks.insert(id(&format!("p{number}")), task(cores));
    }
    let plan = plan(&view, GRACE);
    let mut taken = 0;
    for (id, change) in &plan.changes {
        let former = &view.tasks[id].assigned.as_ref().unwrap().cores;
        assert_eq!(former[0], change.assigned.cores[0], "{id} runs on");
        taken += usize::from(change.assigned.cores[1] == core("c"));
    }
    assert_eq!(taken, 4, "of 12 candidacies a third");
}

#[test]
fn server_ids_are_unique_and_stay() {
    let mut view = cluster("a b");
    for number in 0..500 {
        let mut task = task("");
        task.server_id = (number % 10 == 0).then_some(number + 1);
        view.tasks.insert(id(&format!("p{number}")), task);
    }
    let first = plan(&view, GRACE);
    let ids: BTreeSet<u32> = first
        .changes
        .values()
        .map(|change| change.assigned.server_id)
        .collect();
    assert_eq!(ids.len(), 500);
    assert_eq!(first.changes[&id("p10")].assigned.server_id, 11);
    let derived = first.changes[&id("p11")].assigned.server_id;
    apply(&mut view, &first);
    view.tasks.get_mut(&id("p10")).unwrap().server_id = Some(derived);
    let second = plan(&view, GRACE);
    assert_eq!(second.changes.len(), 2, "the spec's own wins: {second:?}");
    assert_eq!(second.changes[&id("p10")].assigned.server_id, derived);
    assert_eq!(second.changes[&id("p11")].cause, "its server_id changed");
}

/// Carries a plan out; every candidate stands then, in the order of the plan.
fn apply(view: &mut ClusterView, plan: &Plan) {
    for (id, change) in &plan.changes {
        let task = view.tasks.get_mut(id).unwrap();
        task.assigned = Some(change.assigned.clone());
        let cores = change.assigned.cores.iter();
        let live = cores.filter(|core| view.cores.contains_key(*core));
        task.standing = live.cloned().collect();
        task.in_sync = task.standing.iter().cloned().collect();
    }
}

/// How many each live Core is to run, and has in all.
fn loads(view: &ClusterView) -> (Vec<usize>, Vec<usize>) {
    let count = |counts: &dyn Fn(&Assigned, &MemberId) -> bool| {
        let assigned = || {
            view.tasks
                .values()
                .filter_map(|task| task.assigned.as_ref())
        };
        view.cores
            .keys()
            .map(|core| assigned().filter(|assigned| counts(assigned, core)).count())
            .collect()
    };
    (
        count(&|assigned, core| assigned.cores.first() == Some(core)),
        count(&|assigned, core| assigned.cores.contains(core)),
    )
}

fn spread(counts: &[usize]) -> usize {
    counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0)
}

#[test]
fn a_hundred_pipelines_on_three_cores() {
    let mut view = cluster("a b c");
    for number in 0..100 {
        view.tasks.insert(id(&format!("p{number}")), task(""));
    }
    let first = plan(&view, GRACE);
    apply(&mut view, &first);
    let (running, all) = loads(&view);
    assert!(
        spread(&running) <= 1 && spread(&all) <= 1,
        "{running:?} {all:?}"
    );

    away(&mut view, "b", 5);
    for task in view.tasks.values_mut() {
        task.standing.retain(|standing| *standing != core("b"));
        task.in_sync.remove(&core("b"));
    }
    let before = view.clone();
    let lost = plan(&view, GRACE);
    let had: BTreeSet<_> = before
        .tasks
        .iter()
        .filter(|(_, task)| task.assigned.as_ref().unwrap().cores.contains(&core("b")))
        .map(|(id, _)| id.clone())
        .collect();
    assert_eq!(lost.changes.keys().cloned().collect::<BTreeSet<_>>(), had);
    apply(&mut view, &lost);
    let (running, _) = loads(&view);
    assert!(spread(&running) <= 4, "a loss is shared: {running:?}");
}

/// Clusters of up to 6 Cores on up to 3 machines and in up to 2 zones, and up to 30 tasks.
fn clusters() -> impl Strategy<Value = ClusterView> {
    let cores = prop::collection::vec((0..3_u8, 0..2_u8), 1..6);
    let tasks = prop::collection::vec((1..4_u8, 0..4_u8, any::<bool>()), 0..30);
    (cores, tasks).prop_map(|(cores, tasks)| {
        let mut view = ClusterView::default();
        for (number, (host, zone)) in cores.into_iter().enumerate() {
            let view_of_core = CoreView {
                host: format!("h{host}"),
                labels: [("zone".to_owned(), zone.to_string())].into(),
            };
            view.cores.insert(core(&format!("c{number}")), view_of_core);
        }
        for (number, (replicas, zone, fail_back)) in tasks.into_iter().enumerate() {
            // Half of the tasks may run anywhere.
            let labels = (zone < 2).then(|| ("zone".to_owned(), zone.to_string()));
            let task = TaskView {
                placement: PlacementSpec {
                    labels: labels.into_iter().collect(),
                    replicas,
                    fail_back,
                },
                wanted: true,
                ..TaskView::default()
            };
            view.tasks.insert(id(&format!("p{number}")), task);
        }
        view
    })
}

fn fits(view: &ClusterView, id: &TaskId, core: &MemberId) -> bool {
    let asked = &view.tasks[id].placement.labels;
    view.cores.get(core).is_some_and(|core| {
        asked
            .iter()
            .all(|(key, value)| core.labels.get(key) == Some(value))
    })
}

/// What holds of every plan that was carried out.
fn holds(view: &ClusterView) -> Result<(), TestCaseError> {
    let mut ids = BTreeSet::new();
    for (id, task) in &view.tasks {
        let fitting = view
            .cores
            .keys()
            .filter(|core| fits(view, id, core) && !view.drained.contains(*core));
        let count = fitting.count();
        let Some(assigned) = &task.assigned else {
            prop_assert_eq!(count, 0);
            continue;
        };
        prop_assert!(ids.insert(assigned.server_id), "{:?}", assigned);
        let live: Vec<_> = assigned
            .cores
            .iter()
            .filter(|core| view.cores.contains_key(*core))
            .collect();
        let distinct: BTreeSet<_> = live.iter().collect();
        prop_assert_eq!(distinct.len(), live.len(), "{:?}", assigned);
        prop_assert_eq!(live.len(), count.min(usize::from(task.placement.replicas)));
        for core in live {
            prop_assert!(fits(view, id, core) && !view.drained.contains(core));
        }
    }
    prop_assert_eq!(plan(view, GRACE).changes, BTreeMap::new());
    Ok(())
}

proptest! {
    #[test]
    fn every_plan_holds(mut view in clusters(), victim in 0..6_usize, drain in any::<bool>()) {
        let first = plan(&view, GRACE);
        apply(&mut view, &first);
        holds(&view)?;
        // No task that was placed could be moved to make two Cores more even.
        let (running, _) = loads(&view);
        let running: BTreeMap<_, _> = view.cores.keys().cloned().zip(running).collect();
        for (id, task) in &view.tasks {
            let Some(first) = task.assigned.as_ref().and_then(|assigned| assigned.cores.first())
            else { continue };
            for other in view.cores.keys().filter(|core| fits(&view, id, core)) {
                prop_assert!(running[first] <= running[other] + 1, "{} {:?}", id, running);
            }
        }

        let name = format!("c{}", victim % view.cores.len());
        let victim = core(&name);
        if drain {
            view.drained.insert(victim.clone());
        } else {
            away(&mut view, &name, 5);
            for task in view.tasks.values_mut() {
                task.standing.retain(|standing| *standing != victim);
                task.in_sync.remove(&victim);
            }
        }
        let second = plan(&view, GRACE);
        for id in second.changes.keys() {
            let former = view.tasks[id].assigned.as_ref().unwrap();
            // What asks to be moved back may go to a Core that had nothing, if it shares its own by
            // now.
            let may_move = view.tasks[id].placement.fail_back;
            prop_assert!(may_move || former.cores.contains(&victim), "{} had to stay", id);
        }
        apply(&mut view, &second);
        if drain {
            holds(&view)?;
        } else {
            prop_assert_eq!(plan(&view, GRACE).changes, BTreeMap::new());
        }
    }
}
