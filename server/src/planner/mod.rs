//! Which Cores run what: a pure function from the cluster as it's seen to the assignments that
//! change.
//!
//! Rules, in this order:
//! 1. A task has as many candidates as its spec says (`replicas`), or as there are Cores that may
//!    have it: live, with the labels that it asks for, not drained, not distrusted for this task.
//!    The first is to run, the others stand by, on other machines than those before them where
//!    there are any.
//! 2. **No needless moves.** What is assigned stays as it is while its Cores may have it. A Core
//!    that is away stays a candidate for [`GRACE`]: one that restarts comes back, and its standby
//!    runs already. After that it's replaced. With `fail_back`, the Core that was preferred stays
//!    the first for good, so that work returns to it.
//! 3. A Core that runs a task, in place of one that is away or replaced, becomes the preferred
//!    one (unless `fail_back`): the record says what is.
//! 4. A new task goes to the Core that is to run least; so do tasks that nobody stands for yet,
//!    if that makes a difference of more than one smaller. So running tasks are spread within one
//!    of each other when they are placed. **A task that runs is never moved to even out a load**,
//!    unless its spec says `fail_back`.
//! 5. When the Cores' totals (running and standby) are more than one apart, standbys move from
//!    the fullest to the emptiest: a Core that joins begins by standing by.
//! 6. A drained Core loses everything. A distrusted one loses that task, if another may have it.
//! 7. A task on its way to another Core ([`Moving`]) first has that one as a standby; when it's
//!    in sync, or nobody runs the task, it's the preferred one, and the Core that ran isn't a
//!    candidate until it has left the election.
//! 8. A task that nobody may have keeps the assignment that it has, if a Core of it may return;
//!    it's listed with the reason.
//!
//! It never looks at a clock: how long a Core is away comes with the view.

mod view;
mod load;
mod server_id;
mod cause;
mod place;
mod balance;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use view::{Assigned, Change, ClusterView, CoreView, Moving, Plan, TaskId, TaskView};

use balance::Draft;

/// How long a Core may be away before its tasks get another candidate: longer than a restart
/// takes, and no loss, since the standbys run meanwhile.
pub const GRACE: Duration = Duration::from_secs(5);

/// Makes a plan. Applied, and seen again, it's empty.
pub fn plan(view: &ClusterView, grace: Duration) -> Plan {
    let ids = server_id::server_ids(&view.tasks);
    let mut draft = Draft::new(view, grace);
    draft.place_all();
    draft.balance();
    draft.finish(&ids)
}
