//! What a Monitor can say of itself at any moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A Monitor, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonitorStatus {
    /// Whether it leads, and so raises alerts and tells people.
    pub leading: bool,
    /// Alerts that fire, by rule, as the tree says.
    pub firing: BTreeMap<String, u64>,
    /// The hooks: `pipeline/hook`, or the name alone of the Monitors' own.
    pub hooks: BTreeMap<String, HookStatus>,
}

/// A hook, since this process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookStatus {
    /// Notifications that it has accepted.
    pub accepted: u64,
    /// Tries that failed and are made again.
    pub failed: u64,
    /// Notifications that were given up: nobody was told.
    pub given_up: u64,
    /// Notifications that it is owed now.
    pub pending: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct StatusCell(Arc<Mutex<MonitorStatus>>);

impl StatusCell {
    pub(crate) fn update(&self, change: impl FnOnce(&mut MonitorStatus)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn get(&self) -> MonitorStatus {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
