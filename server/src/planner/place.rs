//! The Cores of one task: what it keeps, and what is added.

use std::collections::BTreeSet;
use std::time::Duration;

use towpath_protocol::tree::MemberId;

use super::cause::has_labels;
use super::load::Load;
use super::view::{ClusterView, TaskView};

/// One task, in the cluster as it's seen.
#[derive(Clone, Copy)]
pub(super) struct Placing<'a> {
    pub(super) view: &'a ClusterView,
    pub(super) task: &'a TaskView,
    pub(super) grace: Duration,
}

impl<'a> Placing<'a> {
    /// The live Cores that may have it.
    pub(super) fn eligible(self) -> BTreeSet<&'a MemberId> {
        self.view
            .cores
            .keys()
            .filter(|core| {
                has_labels(self.view, self.task, core)
                    && !self.view.drained.contains(*core)
                    && !self.task.distrusted.contains_key(*core)
            })
            .collect()
    }

    pub(super) fn live(self, core: &MemberId) -> bool {
        self.view.cores.contains_key(core)
    }

    pub(super) fn within_grace(self, core: &MemberId) -> bool {
        !self.live(core)
            && self
                .view
                .away
                .get(core)
                .is_some_and(|away| *away < self.grace)
    }

    pub(super) fn former(self) -> &'a [MemberId] {
        let assigned = self.task.assigned.as_ref();
        assigned.map_or(&[], |assigned| &assigned.cores)
    }

    /// Who stands first in its election, if that Core lives.
    fn runner(self) -> Option<&'a MemberId> {
        self.task.standing.first().filter(|core| self.live(core))
    }

    /// Of what it has, what it keeps, preferred first.
    pub(super) fn kept(self) -> Vec<MemberId> {
        let eligible = self.eligible();
        let fail_back = self.task.placement.fail_back;
        if let Some(moving) = &self.task.moving
            && eligible.contains(&moving.to)
            && self.runner() != Some(&moving.to)
        {
            return self.on_the_move(&moving.to, &eligible);
        }
        let former = self.former();
        let stays = |place: usize, core: &MemberId| {
            if self.view.drained.contains(core) {
                return false;
            }
            if self.live(core) {
                // One that isn't trusted is better than nobody.
                return eligible.contains(core)
                    || (eligible.is_empty() && has_labels(self.view, self.task, core));
            }
            self.within_grace(core) || eligible.is_empty() || (fail_back && place == 0)
        };
        let mut kept: Vec<MemberId> = former
            .iter()
            .enumerate()
            .filter(|(place, core)| stays(*place, core))
            .map(|(_, core)| core.clone())
            .collect();
        if !fail_back && let Some(first) = self.new_first(&kept) {
            kept.retain(|core| *core != first);
            kept.insert(0, first);
        }
        self.trim(&mut kept);
        kept
    }

    /// First it gets ready beside the others, then it's alone until it runs.
    fn on_the_move(self, to: &MemberId, eligible: &BTreeSet<&MemberId>) -> Vec<MemberId> {
        if self.task.in_sync.contains(to) || self.runner().is_none() {
            return vec![to.clone()];
        }
        let mut kept: Vec<MemberId> = self
            .former()
            .iter()
            .filter(|core| eligible.contains(core) || self.within_grace(core))
            .cloned()
            .collect();
        if !kept.contains(to) {
            kept.push(to.clone());
        }
        kept
    }

    /// Who is the preferred one instead of the first of `kept`, if the first isn't to stay it.
    fn new_first(self, kept: &[MemberId]) -> Option<MemberId> {
        let first = self.former().first()?;
        let runner = self.runner().filter(|runner| kept.contains(runner));
        let stays = kept.contains(first)
            && (self.within_grace(first)
                // It stands behind another, which runs.
                || (self.live(first)
                    && (runner.is_none()
                        || runner == Some(first)
                        || !self.task.standing.contains(first))));
        if stays {
            return None;
        }
        let live = || kept.iter().filter(|core| self.live(core));
        runner
            .or_else(|| live().find(|core| self.task.in_sync.contains(*core)))
            .or_else(|| live().next())
            .cloned()
    }

    /// Leaves out what is more than the spec asks for: the last ones, those that aren't in sync
    /// before the others. One that is away and isn't given up doesn't count.
    fn trim(self, kept: &mut Vec<MemberId>) {
        let counts = |core: &MemberId| self.live(core) || self.within_grace(core);
        let replicas = usize::from(self.task.placement.replicas);
        while kept.iter().filter(|core| counts(core)).count() > replicas {
            let standbys = || kept.iter().enumerate().skip(1);
            let last = standbys()
                .rfind(|(_, core)| counts(core) && !self.task.in_sync.contains(*core))
                .or_else(|| standbys().rfind(|(_, core)| counts(core)))
                .map(|(place, _)| place);
            match last {
                Some(place) => drop(kept.remove(place)),
                None => return,
            }
        }
    }

    /// Adds what is missing to what it keeps.
    pub(super) fn fill(self, cores: &mut Vec<MemberId>, load: &Load) {
        if self
            .task
            .moving
            .as_ref()
            .is_some_and(|moving| cores.contains(&moving.to) && self.runner() != Some(&moving.to))
        {
            return;
        }
        // One that still stands though it's no candidate any more is on its way out, and would
        // be before those that are to run.
        let former = self.former();
        let leaving = |core: &MemberId| self.task.standing.contains(core) && !former.contains(core);
        let mut free: BTreeSet<&MemberId> = self.eligible();
        free.retain(|core| !cores.contains(core) && !leaving(core));
        let replicas = usize::from(self.task.placement.replicas);
        loop {
            let counted = cores
                .iter()
                .filter(|core| self.live(core) || self.within_grace(core))
                .count();
            if counted >= replicas {
                return;
            }
            let among = free.iter().copied();
            let next = if cores.is_empty() {
                load.best_runner(among)
            } else {
                load.best_standby(among, cores, self.view)
            };
            let Some(next) = next.cloned() else {
                return;
            };
            free.remove(&next);
            cores.push(next);
        }
    }
}
