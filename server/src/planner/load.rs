//! How much each Core has, while a plan is made.

use std::collections::BTreeMap;

use towpath_protocol::tree::MemberId;

use super::view::ClusterView;

/// Tasks by Core.
#[derive(Debug, Default)]
pub(super) struct Load {
    running: BTreeMap<MemberId, usize>,
    all: BTreeMap<MemberId, usize>,
    /// How often the second stands by for the first.
    pairs: BTreeMap<(MemberId, MemberId), usize>,
}

impl Load {
    /// Counts a task, of whose Cores only live ones are given.
    pub(super) fn add(&mut self, cores: &[MemberId]) {
        self.count(cores, |count| *count += 1);
    }

    /// Takes a task out of the count again.
    pub(super) fn sub(&mut self, cores: &[MemberId]) {
        self.count(cores, |count| *count = count.saturating_sub(1));
    }

    fn count(&mut self, cores: &[MemberId], change: impl Fn(&mut usize)) {
        let Some((first, standbys)) = cores.split_first() else {
            return;
        };
        change(self.running.entry(first.clone()).or_default());
        for core in cores {
            change(self.all.entry(core.clone()).or_default());
        }
        for standby in standbys {
            let pair = (first.clone(), standby.clone());
            change(self.pairs.entry(pair).or_default());
        }
    }

    /// Tasks that it's to run.
    pub(super) fn running(&self, core: &MemberId) -> usize {
        self.running.get(core).copied().unwrap_or_default()
    }

    /// Tasks that it's to run or to stand by for.
    pub(super) fn all(&self, core: &MemberId) -> usize {
        self.all.get(core).copied().unwrap_or_default()
    }

    /// The best of some Cores to run a task.
    pub(super) fn best_runner<'a>(
        &self,
        among: impl IntoIterator<Item = &'a MemberId>,
    ) -> Option<&'a MemberId> {
        among
            .into_iter()
            .min_by_key(|core| (self.running(core), self.all(core), *core))
    }

    /// The best of some Cores to stand by: on another machine than those that the task has
    /// already, then the one that has least, then the one that least often stands by for this
    /// runner, so that a runner's loss is shared by all.
    pub(super) fn best_standby<'a>(
        &self,
        among: impl IntoIterator<Item = &'a MemberId>,
        beside: &[MemberId],
        view: &ClusterView,
    ) -> Option<&'a MemberId> {
        among.into_iter().min_by_key(|core| {
            let pair = beside
                .first()
                .and_then(|runner| self.pairs.get(&(runner.clone(), (*core).clone())));
            (
                shares_machine(view, core, beside),
                self.all(core),
                pair.copied().unwrap_or_default(),
                *core,
            )
        })
    }
}

/// Whether a Core is on the machine of one of the others.
pub(super) fn shares_machine(view: &ClusterView, core: &MemberId, beside: &[MemberId]) -> bool {
    let host = |core: &MemberId| view.cores.get(core).map(|core| core.host.as_str());
    let own = host(core);
    beside
        .iter()
        .any(|other| other != core && host(other) == own)
}
