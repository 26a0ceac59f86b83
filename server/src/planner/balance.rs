//! A plan in the making: all tasks placed one after another, and evened out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use towpath_protocol::tree::MemberId;

use super::cause::{cause, nobody};
use super::load::{Load, shares_machine};
use super::place::Placing;
use super::view::{Assigned, Change, ClusterView, Plan, TaskId};

pub(super) struct Draft<'a> {
    view: &'a ClusterView,
    grace: Duration,
    /// What each wanted task is to have.
    cores: BTreeMap<&'a TaskId, Vec<MemberId>>,
    load: Load,
    /// Live Cores that nothing was assigned to before.
    joined: BTreeSet<&'a MemberId>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(view: &'a ClusterView, grace: Duration) -> Self {
        let mut joined: BTreeSet<&MemberId> = view.cores.keys().collect();
        for task in view.tasks.values() {
            for core in task.assigned.iter().flat_map(|assigned| &assigned.cores) {
                joined.remove(core);
            }
        }
        Self {
            view,
            grace,
            cores: BTreeMap::new(),
            load: Load::default(),
            joined,
        }
    }

    fn placing(&self, id: &TaskId) -> Option<Placing<'a>> {
        self.view.tasks.get(id).map(|task| Placing {
            view: self.view,
            task,
            grace: self.grace,
        })
    }

    /// Those of a task's Cores that live: they bear its load.
    fn bearers(&self, cores: &[MemberId]) -> Vec<MemberId> {
        let live = |core: &&MemberId| self.view.cores.contains_key(*core);
        cores.iter().filter(live).cloned().collect()
    }

    /// Places every wanted task; those with the fewest Cores to choose from first.
    pub(super) fn place_all(&mut self) {
        let mut order = Vec::new();
        for (id, task) in self.view.tasks.iter().filter(|(_, task)| task.wanted) {
            let placing = Placing {
                view: self.view,
                task,
                grace: self.grace,
            };
            let kept = placing.kept();
            self.load.add(&self.bearers(&kept));
            self.cores.insert(id, kept);
            order.push((task.assigned.is_none(), placing.eligible().len(), id));
        }
        order.sort();
        // All that are to run first, then the standbys: so the runners are even.
        for runners in [true, false] {
            for (_, _, id) in &order {
                self.fill(id, runners);
            }
        }
    }

    fn fill(&mut self, id: &'a TaskId, runner: bool) {
        let (Some(placing), Some(kept)) = (self.placing(id), self.cores.get(id)) else {
            return;
        };
        if runner != kept.is_empty() {
            return;
        }
        let mut cores = kept.clone();
        self.load.sub(&self.bearers(&cores));
        placing.fill(&mut cores, &self.load);
        if runner {
            cores.truncate(1);
        }
        self.load.add(&self.bearers(&cores));
        self.cores.insert(id, cores);
    }

    /// Evens out what may be moved.
    pub(super) fn balance(&mut self) {
        let ids: Vec<&TaskId> = self.cores.keys().copied().collect();
        // Each move makes the sum of the squares smaller, so this ends.
        while ids.iter().any(|id| self.move_runner(id)) {}
        if !self.joined.is_empty() {
            while ids.iter().any(|id| self.move_standby(id)) {}
        }
    }

    /// Gives a task that doesn't run another Core to run it, if that makes two more even.
    fn move_runner(&mut self, id: &'a TaskId) -> bool {
        let (Some(placing), Some(cores)) = (self.placing(id), self.cores.get(id)) else {
            return false;
        };
        let (task, Some(first)) = (placing.task, cores.first()) else {
            return false;
        };
        let new = task.assigned.is_none();
        let idle = task.standing.is_empty() && cores.iter().all(|core| placing.live(core));
        if !(new || idle || task.placement.fail_back)
            || task.moving.is_some()
            || !placing.live(first)
        {
            return false;
        }
        let eligible = placing.eligible();
        let among = eligible
            .into_iter()
            .filter(|core| new || self.joined.contains(core));
        let Some(best) = self.load.best_runner(among) else {
            return false;
        };
        if self.load.running(best) + 1 >= self.load.running(first) {
            return false;
        }
        let mut moved = cores.clone();
        match moved.iter().position(|core| core == best) {
            Some(place) => moved.swap(0, place),
            None => {
                if let Some(first) = moved.first_mut() {
                    first.clone_from(best);
                }
            }
        }
        self.replace(id, moved);
        true
    }

    /// Gives a Core that joined a standby of one that has at least two more.
    fn move_standby(&mut self, id: &'a TaskId) -> bool {
        let (Some(placing), Some(cores)) = (self.placing(id), self.cores.get(id)) else {
            return false;
        };
        if placing.task.moving.is_some() {
            return false;
        }
        let eligible = placing.eligible();
        for (place, standby) in cores.iter().enumerate().skip(1) {
            if !placing.live(standby) {
                continue;
            }
            let others: Vec<MemberId> = cores
                .iter()
                .filter(|core| *core != standby)
                .cloned()
                .collect();
            let among = eligible
                .iter()
                .copied()
                .filter(|core| self.joined.contains(core) && !cores.contains(core));
            let Some(best) = self.load.best_standby(among, &others, self.view) else {
                continue;
            };
            let nearer = shares_machine(self.view, best, &others)
                && !shares_machine(self.view, standby, &others);
            if nearer || self.load.all(best) + 1 >= self.load.all(standby) {
                continue;
            }
            let mut moved = cores.clone();
            if let Some(standby) = moved.get_mut(place) {
                standby.clone_from(best);
            }
            self.replace(id, moved);
            return true;
        }
        false
    }

    fn replace(&mut self, id: &'a TaskId, moved: Vec<MemberId>) {
        if let Some(cores) = self.cores.get(id) {
            self.load.sub(&self.bearers(cores));
        }
        self.load.add(&self.bearers(&moved));
        self.cores.insert(id, moved);
    }

    /// What is to be changed.
    pub(super) fn finish(self, ids: &BTreeMap<TaskId, u32>) -> Plan {
        let mut plan = Plan::default();
        for (id, cores) in &self.cores {
            let (Some(placing), Some(server_id)) = (self.placing(id), ids.get(*id)) else {
                continue;
            };
            let task = placing.task;
            let mut waits = cores.iter().filter(|core| placing.within_grace(core));
            if !cores.iter().any(|core| placing.live(core)) && waits.next().is_none() {
                plan.unplaced.insert((*id).clone(), nobody(self.view, task));
            }
            for core in cores.iter().filter(|core| placing.within_grace(core)) {
                let away = self.view.away.get(core).copied().unwrap_or_default();
                let left = self.grace.saturating_sub(away);
                plan.again_in = Some(plan.again_in.map_or(left, |again| again.min(left)));
            }
            let assigned = Assigned {
                cores: cores.clone(),
                server_id: *server_id,
                fail_back: task.placement.fail_back,
            };
            let nothing = task.assigned.is_none() && cores.is_empty();
            if task.assigned.as_ref() != Some(&assigned) && !nothing {
                let cause = cause(self.view, task, &assigned, self.grace);
                plan.changes
                    .insert((*id).clone(), Change { assigned, cause });
            }
        }
        plan
    }
}
