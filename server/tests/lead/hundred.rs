//! As many pipelines as a company has, on three Cores.

use std::collections::BTreeMap;
use std::time::Instant;

use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{Action, Assignment, LifeState, PipelineStatus};

use crate::rig::{Rig, member, pipeline, replica, spec};

const PIPELINES: usize = 100;

fn name(number: usize) -> String {
    format!("p{number:03}")
}

fn assignments(rig: &Rig) -> BTreeMap<String, Assignment> {
    (0..PIPELINES)
        .map(|number| (name(number), rig.assigned(&name(number)).unwrap()))
        .collect()
}

fn spread(
    assignments: &BTreeMap<String, Assignment>,
    counts: impl Fn(&Assignment, &str) -> bool,
) -> usize {
    let count = |core| {
        assignments
            .values()
            .filter(|task| counts(task, core))
            .count()
    };
    let counts = ["a", "b", "c"].map(count);
    counts.iter().max().unwrap() - counts.iter().min().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long"]
async fn a_hundred_pipelines_on_three_cores() {
    let rig = Rig::start().await;
    let mut timings = crate::rig::timings();
    timings.answer = std::time::Duration::ZERO;
    let _leader = rig.lead_with("server-1", timings).await;
    let (_a, b) = (rig.core("a").await, rig.core("b").await);
    let _c = rig.core("c").await;
    let begun = Instant::now();
    for number in 0..PIPELINES {
        let text = spec(&name(number), "");
        rig.ask_cluster(Action::Apply { text, revision: 0 }).await;
    }
    println!("{PIPELINES} pipelines applied in {:.1?}", begun.elapsed());
    rig.until("all run", |nodes| {
        (0..PIPELINES)
            .all(|number| {
                nodes
                    .record::<PipelineStatus>(&path::status(&pipeline(&name(number))))
                    .is_some_and(|status| status.state == LifeState::Running)
            })
            .then_some(())
    })
    .await;
    println!(
        "all run {:.1?} after the first was applied",
        begun.elapsed()
    );
    let before = assignments(&rig);
    assert!(spread(&before, |task, core| task.cores[0].as_str() == core) <= 1);
    assert!(spread(&before, |task, core| task.cores.contains(&member(core))) <= 1);
    let ids: std::collections::BTreeSet<_> = before.values().map(|task| task.server_id).collect();
    assert_eq!(ids.len(), PIPELINES);

    let died = Instant::now();
    b.kill().await;
    rig.until("b has nothing", |nodes| {
        (0..PIPELINES)
            .all(|number| {
                let node = path::assignment(&pipeline(&name(number)), &replica());
                nodes
                    .record::<Assignment>(&node)
                    .is_some_and(|task| !task.cores.contains(&member("b")))
            })
            .then_some(())
    })
    .await;
    println!(
        "b's tasks have other Cores {:.2?} after its death ({:.2?} of that is the grace)",
        died.elapsed(),
        timings.grace
    );
    for (name, after) in assignments(&rig) {
        let former = &before[&name];
        if former.cores.contains(&member("b")) {
            assert_eq!(after.cores.len(), 2, "{name}");
        } else {
            assert_eq!(&after, former, "{name} had to stay");
        }
    }
}
