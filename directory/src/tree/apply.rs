//! Changes of the tree. Each is checked wholly before anything is touched, in ZooKeeper's order
//! of checks (`PrepRequestProcessor.pRequest2Txn` of 3.8), so that errors are the same. Only a
//! multi needs an undo: its steps are made one by one, which also gives each step's numbers as
//! they were at that step.

use std::sync::Arc;

use super::acl::{self, AclList, Id};
use super::node::{Node, Owner};
use super::op::{Change, ChangeKind, CreateKind, CreateMode, Done, MULTI_STEPS_MAX, Op};
use super::{CHILDREN_MAX, CONFIG, NODES_MAX, QUOTA, SYSTEM, Tree, is_due, path};
use crate::code::Code;

/// What a change is made with: all that isn't in the tree itself.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The transaction's number.
    pub zxid: i64,
    /// Its time, milliseconds since 1970.
    pub time_ms: i64,
    /// The asking session.
    pub session: i64,
    /// What its connection has proven.
    pub ids: &'a [Id],
}

enum Undo {
    Create {
        path: Arc<str>,
        parent_pzxid: i64,
    },
    Delete {
        path: Arc<str>,
        node: Arc<Node>,
        parent_pzxid: i64,
    },
    Set {
        path: String,
        data: Option<Box<[u8]>>,
        mzxid: i64,
        mtime_ms: i64,
    },
    SetAcl {
        path: String,
        acl: AclList,
    },
}

impl Tree {
    /// Makes the change `op`; what happened to nodes is added to `changes`.
    ///
    /// # Errors
    /// The protocol's codes; then nothing has been changed. A multi that failed is an answer,
    /// not an error, since it tells about each step.
    pub fn apply(
        &mut self,
        op: Op,
        context: Context<'_>,
        changes: &mut Vec<Change>,
    ) -> Result<Done, Code> {
        match op {
            Op::Multi(steps) => self.multi(steps, context, changes),
            step => self.step(step, context, changes, &mut None),
        }
    }

    /// Removes a container or TTL node if it's still due; the leader proposes it.
    ///
    /// # Errors
    /// [`Code::NoNode`] or [`Code::BadVersion`] if there's nothing to remove any more.
    pub fn reap(
        &mut self,
        path: &str,
        time_ms: i64,
        zxid: i64,
        changes: &mut Vec<Change>,
    ) -> Result<(), Code> {
        let node = self.get(path).ok_or(Code::NoNode)?;
        if !is_due(node, time_ms) {
            return Err(Code::BadVersion);
        }
        self.unlink(path, zxid, changes, &mut None);
        Ok(())
    }

    /// Removes what `session` owned, in the order of paths.
    pub fn close_session(&mut self, session: i64, zxid: i64, changes: &mut Vec<Change>) {
        let owned: Vec<Arc<str>> = self
            .ephemerals
            .get(&session)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        for path in owned {
            self.unlink(&path, zxid, changes, &mut None);
        }
    }

    fn multi(
        &mut self,
        steps: Vec<Op>,
        context: Context<'_>,
        changes: &mut Vec<Change>,
    ) -> Result<Done, Code> {
        if steps.len() > MULTI_STEPS_MAX {
            return Err(Code::BadArguments);
        }
        let total = steps.len();
        let mut done = Vec::with_capacity(total);
        let mut journal = Some(Vec::with_capacity(total));
        let mut made = Vec::with_capacity(total);
        for (at, step) in steps.into_iter().enumerate() {
            let outcome = match step {
                Op::Multi(_) => Err(Code::BadArguments),
                step => self.step(step, context, &mut made, &mut journal),
            };
            match outcome {
                Ok(answer) => done.push(answer),
                Err(code) => {
                    for undo in journal.into_iter().flatten().rev() {
                        self.undo(undo);
                    }
                    let answers = (0..total).map(|step| match step.cmp(&at) {
                        std::cmp::Ordering::Less => None,
                        std::cmp::Ordering::Equal => Some(code),
                        std::cmp::Ordering::Greater => Some(Code::RuntimeInconsistency),
                    });
                    return Ok(Done::MultiFailed(answers.collect()));
                }
            }
        }
        changes.append(&mut made);
        Ok(Done::Multi(done))
    }

    fn step(
        &mut self,
        op: Op,
        context: Context<'_>,
        changes: &mut Vec<Change>,
        journal: &mut Option<Vec<Undo>>,
    ) -> Result<Done, Code> {
        match op {
            Op::Create {
                path,
                data,
                acl,
                mode,
                with_stat,
            } => {
                let (path, node) = self.checked_create(path, data, &acl, mode, context)?;
                let stat = with_stat.then(|| node.stat());
                let name = path.to_string();
                self.link(path, node, context.zxid, changes, journal);
                Ok(Done::Created(name, stat))
            }
            Op::Delete { path, version } => {
                self.check_delete(&path, version, context)?;
                self.unlink(&path, context.zxid, changes, journal);
                Ok(Done::Deleted)
            }
            Op::Set {
                path,
                data,
                version,
            } => {
                let node = self.writable(&path, acl::WRITE, context)?;
                expect_version(node.version, version)?;
                self.set(path, data, context, changes, journal)
            }
            Op::SetAcl { path, acl, version } => {
                path::validate(&path, false)?;
                let acl = acl::resolve(&acl, context.ids)?;
                let node = self.writable(&path, acl::ADMIN, context)?;
                expect_version(node.aversion, version)?;
                let acl = self.intern(acl);
                let node = self.node_mut(&path).ok_or(Code::NoNode)?;
                let old = std::mem::replace(&mut node.acl, acl);
                node.aversion = node.aversion.wrapping_add(1);
                let stat = node.stat();
                if let Some(journal) = journal {
                    journal.push(Undo::SetAcl { path, acl: old });
                }
                Ok(Done::Stat(stat))
            }
            Op::Check { path, version } => {
                let node = self.writable(&path, acl::READ, context)?;
                expect_version(node.version, version)?;
                Ok(Done::Checked)
            }
            Op::Refused(code) => Err(code),
            Op::Multi(_) => Err(Code::BadArguments),
        }
    }

    fn writable(&self, path: &str, perms: i32, context: Context<'_>) -> Result<&Node, Code> {
        path::validate(path, false)?;
        let node = self.get(path).ok_or(Code::NoNode)?;
        acl::check(&node.acl, perms, context.ids)?;
        if perms != acl::READ {
            refuse_quota(path)?;
        }
        Ok(node)
    }

    fn checked_create(
        &mut self,
        mut path: String,
        data: Option<Box<[u8]>>,
        acl: &[acl::Acl],
        mode: CreateMode,
        context: Context<'_>,
    ) -> Result<(Arc<str>, Node), Code> {
        path::validate(&path, mode.sequential)?;
        // The root counts as its own parent: `/` as a sequential prefix names its children.
        let parent_path = path::split(&path).map_or("/", |(parent, _)| parent);
        let acl = acl::resolve(acl, context.ids)?;
        let parent = self.get(parent_path).ok_or(Code::NoNode)?;
        acl::check(&parent.acl, acl::CREATE, context.ids)?;
        if mode.sequential {
            path.push_str(&format!("{:010}", parent.creates));
        }
        path::validate(&path, false)?;
        if self.get(&path).is_some() {
            return Err(Code::NodeExists);
        }
        if matches!(parent.owner, Owner::Session(_)) {
            return Err(Code::NoChildrenForEphemerals);
        }
        refuse_quota(&path)?;
        if parent.children_len() >= CHILDREN_MAX || self.len() >= NODES_MAX {
            return Err(Code::QuotaExceeded);
        }
        if matches!(mode.kind, CreateKind::Ephemeral) && context.session == 0 {
            return Err(Code::SessionExpired);
        }
        let acl = self.intern(acl);
        let node = Node::new(
            data,
            acl,
            mode.owner(context.session),
            context.zxid,
            context.time_ms,
        );
        Ok((path.into(), node))
    }

    fn check_delete(&self, path: &str, version: i32, context: Context<'_>) -> Result<(), Code> {
        path::validate(path, false)?;
        if matches!(path, "/" | SYSTEM | QUOTA | CONFIG) {
            return Err(Code::BadArguments);
        }
        let (parent, _) = path::split(path).ok_or(Code::BadArguments)?;
        let parent = self.get(parent).ok_or(Code::NoNode)?;
        acl::check(&parent.acl, acl::DELETE, context.ids)?;
        let node = self.get(path).ok_or(Code::NoNode)?;
        expect_version(node.version, version)?;
        if node.children_len() > 0 {
            Err(Code::NotEmpty)
        } else {
            Ok(())
        }
    }

    fn set(
        &mut self,
        path: String,
        data: Option<Box<[u8]>>,
        context: Context<'_>,
        changes: &mut Vec<Change>,
        journal: &mut Option<Vec<Undo>>,
    ) -> Result<Done, Code> {
        let new_len = data.as_ref().map_or(0, |data| data.len()) as u64;
        let node = self.node_mut(&path).ok_or(Code::NoNode)?;
        let old_len = node.data_len() as u64;
        let old = std::mem::replace(&mut node.data, data);
        let (mzxid, mtime_ms) = (node.mzxid, node.mtime_ms);
        node.mzxid = context.zxid;
        node.mtime_ms = context.time_ms;
        node.version = node.version.wrapping_add(1);
        let stat = node.stat();
        let acl = node.acl.clone();
        self.data_bytes = self.data_bytes.saturating_sub(old_len) + new_len;
        if let Some(journal) = journal {
            journal.push(Undo::Set {
                path: path.clone(),
                data: old,
                mzxid,
                mtime_ms,
            });
        }
        changes.push(Change {
            kind: ChangeKind::DataSet,
            path,
            parent_acl: acl.clone(),
            acl,
        });
        Ok(Done::Stat(stat))
    }

    fn link(
        &mut self,
        path: Arc<str>,
        node: Node,
        zxid: i64,
        changes: &mut Vec<Change>,
        journal: &mut Option<Vec<Undo>>,
    ) {
        let acl = node.acl.clone();
        let mut parent_acl = acl.clone();
        if let Some((parent, name)) = path::split(&path)
            && let Some(parent) = self.node_mut(parent)
        {
            if let Some(journal) = journal {
                journal.push(Undo::Create {
                    path: path.clone(),
                    parent_pzxid: parent.pzxid,
                });
            }
            parent.add_child(name);
            parent.creates = parent.creates.wrapping_add(1);
            parent.pzxid = zxid;
            parent_acl = parent.acl.clone();
        }
        changes.push(Change {
            kind: ChangeKind::Created,
            path: path.to_string(),
            acl,
            parent_acl,
        });
        self.insert(path, node);
    }

    fn unlink(
        &mut self,
        path: &str,
        zxid: i64,
        changes: &mut Vec<Change>,
        journal: &mut Option<Vec<Undo>>,
    ) {
        let Some(node) = self.remove(path) else {
            return;
        };
        let acl = node.acl.clone();
        let mut parent_acl = acl.clone();
        if let Some((parent, name)) = path::split(path)
            && let Some(parent) = self.node_mut(parent)
        {
            if let Some(journal) = journal {
                journal.push(Undo::Delete {
                    path: path.into(),
                    node,
                    parent_pzxid: parent.pzxid,
                });
            }
            parent.remove_child(name);
            parent.pzxid = zxid;
            parent_acl = parent.acl.clone();
        }
        changes.push(Change {
            kind: ChangeKind::Deleted,
            path: path.to_owned(),
            acl,
            parent_acl,
        });
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Create { path, parent_pzxid } => {
                self.remove(&path);
                if let Some((parent, name)) = path::split(&path)
                    && let Some(parent) = self.node_mut(parent)
                {
                    parent.remove_child(name);
                    parent.creates = parent.creates.wrapping_sub(1);
                    parent.pzxid = parent_pzxid;
                }
            }
            Undo::Delete {
                path,
                node,
                parent_pzxid,
            } => {
                if let Some((parent, name)) = path::split(&path)
                    && let Some(parent) = self.node_mut(parent)
                {
                    parent.add_child(name);
                    parent.pzxid = parent_pzxid;
                }
                self.insert(path, Arc::unwrap_or_clone(node));
            }
            Undo::Set {
                path,
                data,
                mzxid,
                mtime_ms,
            } => {
                let old_len = data.as_ref().map_or(0, |data| data.len()) as u64;
                let Some(node) = self.node_mut(&path) else {
                    return;
                };
                let new_len = node.data_len() as u64;
                node.data = data;
                node.mzxid = mzxid;
                node.mtime_ms = mtime_ms;
                node.version = node.version.wrapping_sub(1);
                self.data_bytes = self.data_bytes.saturating_sub(new_len) + old_len;
            }
            Undo::SetAcl { path, acl } => {
                if let Some(node) = self.node_mut(&path) {
                    node.acl = acl;
                    node.aversion = node.aversion.wrapping_sub(1);
                }
            }
        }
    }
}

fn expect_version(actual: i32, expected: i32) -> Result<(), Code> {
    if expected == -1 || expected == actual {
        Ok(())
    } else {
        Err(Code::BadVersion)
    }
}

/// Quotas aren't kept, so nobody shall believe to have set one.
fn refuse_quota(path: &str) -> Result<(), Code> {
    if path::is_within(path, QUOTA) {
        Err(Code::Unimplemented)
    } else {
        Ok(())
    }
}

#[cfg(test)]
#[path = "apply_test.rs"]
mod tests;
