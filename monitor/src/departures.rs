//! Which Cores went without leaving in order.
//!
//! A Core that leaves in order resigns from its tasks, and then removes its own node: several
//! transactions of the directory. When its session ends instead, all of that goes in one. So the
//! parents of its node and of its instances changed their children last at the same zxid. If
//! others have changed them since, it isn't known, and the slower rule holds: work assigned to a
//! Core that isn't there.

use std::collections::BTreeSet;

use towpath_coordination::{CoordinationError, Session};
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::{MemberId, NodePath};

use crate::view::View;

/// The Cores that were there in `before`, are not in `now`, and whose sessions ended while they
/// had instances.
pub(crate) async fn abrupt(
    session: &Session,
    before: &View,
    now: &View,
) -> Result<BTreeSet<MemberId>, CoordinationError> {
    let mut found = BTreeSet::new();
    let gone: Vec<_> = before.cores.difference(&now.cores).collect();
    // Of several that go between two looks, the parents tell of the last one only.
    let [core] = *gone else {
        return Ok(found);
    };
    let Some(cores) = changed(session, &path::members(MemberKind::Core)).await? else {
        return Ok(found);
    };
    for (name, pipeline) in &before.pipelines {
        for (task, state) in &pipeline.tasks {
            let assigned = state.assignment.iter().flat_map(|a| &a.cores);
            let stood = state.instances.iter().map(|instance| &instance.member);
            if !assigned.chain(stood).any(|member| member == core) {
                continue;
            }
            if changed(session, &path::instances(name, task)).await? == Some(cores) {
                found.insert(core.clone());
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// zxid of the last change of a node's children.
async fn changed(session: &Session, path: &NodePath) -> Result<Option<i64>, CoordinationError> {
    let node = session.node(path).await?;
    Ok(node.map(|(_, stat)| stat.children_zxid))
}
