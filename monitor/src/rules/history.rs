//! What was observed over time.
//!
//! It's this Monitor's own, and empty when it starts: until something was watched for long enough
//! the rules say "unclear", so that a new leader neither raises nor ends anything by ignorance.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::{MemberId, TaskName};

use crate::view::{TaskView, View};

/// What was observed, by the Monitor's own time since its start.
#[derive(Clone, Debug, Default)]
pub struct History {
    motions: BTreeMap<(PipelineName, TaskName), Motion>,
    gone: BTreeMap<MemberId, Gone>,
}

/// How a task's place moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Motion {
    /// Of which run.
    epoch: u64,
    place: (String, String, u64, u64),
    /// When the place was seen to change, or first seen.
    pub(super) since: Duration,
    /// Whether it was seen to change.
    pub(super) moved: bool,
    /// The lag at that moment.
    pub(super) lag_ms: Option<u64>,
    zxid: i64,
    /// When the progress was seen to be written, or first seen.
    pub(super) written: Duration,
}

/// A Core that has or had work, and isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    /// Since when it isn't.
    pub(super) since: Duration,
    /// Whether its session ended while it had instances.
    pub(super) abrupt: bool,
}

impl History {
    /// Takes note of the tree. `abrupt` are Cores whose sessions have ended, since the last look,
    /// while they had instances.
    pub fn observe(&mut self, view: &View, abrupt: &BTreeSet<MemberId>, now: Duration) {
        let mut motions = BTreeMap::new();
        for (name, pipeline) in &view.pipelines {
            for (task, found) in &pipeline.tasks {
                let key = (name.clone(), task.clone());
                let before = self.motions.remove(&key);
                if let Some(motion) = motion(before, found, now) {
                    motions.insert(key, motion);
                }
            }
        }
        self.motions = motions;

        let expected: BTreeSet<_> = assigned(view).chain(abrupt.iter().cloned()).collect();
        for core in expected {
            let gone = self.gone.entry(core.clone()).or_insert(Gone {
                since: now,
                abrupt: false,
            });
            gone.abrupt |= abrupt.contains(&core);
        }
        let assigned: BTreeSet<_> = assigned(view).collect();
        self.gone.retain(|core, gone| {
            !view.cores.contains(core) && (gone.abrupt || assigned.contains(core))
        });
    }

    /// Forgets Cores that were lost so long ago that nothing is said of them any more.
    pub(crate) fn forget(&mut self, shown: Duration, view: &View, now: Duration) {
        let assigned: BTreeSet<_> = assigned(view).collect();
        self.gone
            .retain(|core, gone| assigned.contains(core) || now.saturating_sub(gone.since) < shown);
    }

    pub(super) fn motion(&self, pipeline: &PipelineName, task: &TaskName) -> Option<&Motion> {
        self.motions.get(&(pipeline.clone(), task.clone()))
    }

    pub(super) fn gone(&self) -> impl Iterator<Item = (&MemberId, &Gone)> {
        self.gone.iter()
    }
}

/// The Cores that have work.
fn assigned(view: &View) -> impl Iterator<Item = MemberId> + '_ {
    view.pipelines
        .values()
        .flat_map(|pipeline| pipeline.tasks.values())
        .filter_map(|task| task.assignment.as_ref())
        .flat_map(|assignment| assignment.cores.iter().cloned())
}

fn motion(before: Option<Motion>, task: &TaskView, now: Duration) -> Option<Motion> {
    let progress = task.progress.as_ref()?;
    let copied = progress.snapshot.as_ref().map_or(0, |copy| copy.rows);
    let place = (
        progress.gtid_set.clone(),
        progress.file.clone(),
        progress.position,
        copied,
    );
    let epoch = progress.epoch.0;
    let Some(mut motion) = before.filter(|before| before.epoch == epoch) else {
        return Some(Motion {
            epoch,
            place,
            since: now,
            moved: false,
            lag_ms: progress.lag_ms,
            zxid: task.progress_zxid,
            written: now,
        });
    };
    if motion.place != place {
        motion.place = place;
        motion.since = now;
        motion.moved = true;
        motion.lag_ms = progress.lag_ms;
    }
    if motion.zxid != task.progress_zxid {
        motion.zxid = task.progress_zxid;
        motion.written = now;
    }
    Some(motion)
}
