//! server_ids for dumps: unique in the directory, the same for a task as long as it lives.
//!
//! A spec's own id wins; of two specs with the same one the first by name has it. What a task has
//! it keeps. A new one is derived from its name, so that it's the same again after a task was
//! deleted and made anew; where two names lead to the same number, the later goes one further.

use std::collections::{BTreeMap, BTreeSet};

use super::view::{TaskId, TaskView};

/// Derived ids begin here: people number their servers from 1, or by an address.
const FIRST: u32 = 1_000_000_000;
/// How many there are.
const COUNT: u32 = 1_000_000_000;

/// The id of each task.
pub(super) fn server_ids(tasks: &BTreeMap<TaskId, TaskView>) -> BTreeMap<TaskId, u32> {
    let mut out = BTreeMap::new();
    let mut taken = BTreeSet::new();
    let mut give = |id: &TaskId, number: Option<u32>| match number {
        Some(number) if !out.contains_key(id) && taken.insert(number) => {
            out.insert(id.clone(), number);
        }
        _ => {}
    };
    for (id, task) in tasks {
        give(id, task.server_id);
    }
    for (id, task) in tasks {
        // What a spec gave before isn't kept when the spec doesn't give it any more.
        let kept = task.assigned.as_ref().map(|assigned| assigned.server_id);
        give(id, kept.filter(|kept| derived_range(*kept)));
    }
    for id in tasks.keys() {
        if out.contains_key(id) {
            continue;
        }
        let mut offset = hash(id) % COUNT;
        while !taken.insert(FIRST + offset) {
            offset = (offset + 1) % COUNT;
        }
        out.insert(id.clone(), FIRST + offset);
    }
    out
}

fn derived_range(id: u32) -> bool {
    (FIRST..FIRST + COUNT).contains(&id)
}

/// FNV-1a of the task's full name: the same in every release.
fn hash(id: &TaskId) -> u32 {
    id.to_string().bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
