//! Watches: who is told what. One-shot watches on data and on children, persistent ones on both,
//! and recursive ones on a whole subtree. They belong to a connection, as in ZooKeeper: a client
//! that reconnects sets them again. Pure: changes in, events out. Source: `WatchManager` and
//! `DataTree` of ZooKeeper 3.8.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::code::Code;
use crate::tree::op::{Change, ChangeKind};
use crate::tree::path;

/// Most watched paths of one connection; about 200 bytes each.
pub const WATCHES_PER_CONNECTION_MAX: usize = 500_000;

/// Most bytes of all connections' watches, counted as [`WATCH_BYTES`] and three times the path each.
pub const WATCH_BYTES_MAX: usize = 512 << 20;
/// What a watch takes beside its path, about: two tables' entries.
pub const WATCH_BYTES: usize = 160;

/// A connection, as far as watches are concerned.
pub type Watcher = u64;

/// What a client is told; the discriminant is what goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum EventKind {
    /// The node was made.
    NodeCreated = 1,
    /// The node was removed.
    NodeDeleted = 2,
    /// The node's data was set.
    NodeDataChanged = 3,
    /// A child of the node was made or removed.
    NodeChildrenChanged = 4,
}

/// The kinds of persistent watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddMode {
    /// On one node: its data and its children.
    Persistent,
    /// On a subtree: creations, deletions and data.
    Recursive,
}

/// What a removal or check of watches is about. Those of one kind leave the other kinds on the
/// same path alone, as from ZooKeeper 3.9 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// One-shot watches on children.
    Child,
    /// One-shot watches on data and existence.
    Data,
    /// All.
    Any,
    /// Persistent watches.
    Persistent,
    /// Recursive watches.
    Recursive,
}

impl Table {
    /// The modes that are meant, of watches on children and on data.
    fn masks(self) -> (u8, u8) {
        match self {
            Self::Child => (ONCE, 0),
            Self::Data => (0, ONCE),
            Self::Any => (u8::MAX, u8::MAX),
            Self::Persistent => (PERSISTENT, PERSISTENT),
            Self::Recursive => (0, RECURSIVE),
        }
    }
}

/// One event for one watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired<'a> {
    /// For whom.
    pub watcher: Watcher,
    /// What.
    pub kind: EventKind,
    /// Of which node.
    pub path: &'a str,
}

const ONCE: u8 = 1;
const PERSISTENT: u8 = 2;
const RECURSIVE: u8 = 4;

type PathTable = HashMap<Box<str>, BTreeMap<Watcher, u8>>;

/// All watches of all connections.
#[derive(Debug)]
pub struct Watches {
    data: PathTable,
    child: PathTable,
    by_watcher: HashMap<Watcher, HashSet<Box<str>>>,
    recursive_len: usize,
    bytes: usize,
    bytes_max: usize,
}

impl Default for Watches {
    fn default() -> Self {
        Self {
            data: HashMap::new(),
            child: HashMap::new(),
            by_watcher: HashMap::new(),
            recursive_len: 0,
            bytes: 0,
            bytes_max: WATCH_BYTES_MAX,
        }
    }
}

impl Watches {
    /// Sets a one-shot watch on the data or the existence of `path`.
    ///
    /// # Errors
    /// [`Code::QuotaExceeded`] beyond [`WATCHES_PER_CONNECTION_MAX`] and [`WATCH_BYTES_MAX`].
    pub fn watch_data(&mut self, watcher: Watcher, path: &str) -> Result<(), Code> {
        self.remember(watcher, path)?;
        mark(&mut self.data, watcher, path, ONCE);
        Ok(())
    }

    /// Sets a one-shot watch on the children of `path`.
    ///
    /// # Errors
    /// [`Code::QuotaExceeded`] beyond [`WATCHES_PER_CONNECTION_MAX`] and [`WATCH_BYTES_MAX`].
    pub fn watch_children(&mut self, watcher: Watcher, path: &str) -> Result<(), Code> {
        self.remember(watcher, path)?;
        mark(&mut self.child, watcher, path, ONCE);
        Ok(())
    }

    /// Sets a persistent watch.
    ///
    /// # Errors
    /// [`Code::QuotaExceeded`] beyond [`WATCHES_PER_CONNECTION_MAX`] and [`WATCH_BYTES_MAX`],
    /// [`Code::BadArguments`] for a path that is none.
    pub fn add(&mut self, watcher: Watcher, path: &str, mode: AddMode) -> Result<(), Code> {
        path::validate(path, false)?;
        self.remember(watcher, path)?;
        match mode {
            AddMode::Persistent => {
                mark(&mut self.data, watcher, path, PERSISTENT);
                mark(&mut self.child, watcher, path, PERSISTENT);
            }
            AddMode::Recursive => {
                if mark(&mut self.data, watcher, path, RECURSIVE) {
                    self.recursive_len += 1;
                }
            }
        }
        Ok(())
    }

    /// Whether `watcher` has such a watch on `path`.
    pub fn contains(&self, watcher: Watcher, path: &str, table: Table) -> bool {
        let modes = |of: &PathTable| {
            of.get(path)
                .and_then(|set| set.get(&watcher))
                .copied()
                .unwrap_or_default()
        };
        let (child, data) = table.masks();
        modes(&self.child) & child != 0 || modes(&self.data) & data != 0
    }

    /// Removes the watches of `watcher` on `path`; false if there were none.
    pub fn remove(&mut self, watcher: Watcher, path: &str, table: Table) -> bool {
        let (child, data) = table.masks();
        let mut removed = clear(&mut self.child, watcher, path, child);
        removed |= clear(&mut self.data, watcher, path, data);
        if removed & RECURSIVE != 0 {
            self.recursive_len -= 1;
        }
        self.forget(watcher, path);
        removed != 0
    }

    /// Removes all watches of a connection that has ended.
    pub fn remove_watcher(&mut self, watcher: Watcher) {
        for path in self.by_watcher.remove(&watcher).unwrap_or_default() {
            self.bytes = self.bytes.saturating_sub(bytes(&path));
            clear(&mut self.child, watcher, &path, u8::MAX);
            if clear(&mut self.data, watcher, &path, u8::MAX) & RECURSIVE != 0 {
                self.recursive_len -= 1;
            }
        }
    }

    /// Tells `tell` about all who watch what `change` did, in the order in which ZooKeeper does,
    /// and uses their one-shot watches up. Nobody is told the same thing twice.
    pub fn fire<'a>(&mut self, change: &'a Change, mut tell: impl FnMut(Fired<'a>)) {
        let path = &*change.path;
        let kind = match change.kind {
            ChangeKind::Created => EventKind::NodeCreated,
            ChangeKind::Deleted => EventKind::NodeDeleted,
            ChangeKind::DataSet => EventKind::NodeDataChanged,
        };
        let mut told = self.take(path, true);
        if change.kind == ChangeKind::Deleted {
            told.append(&mut self.take(path, false));
        }
        for watcher in told {
            tell(Fired {
                watcher,
                kind,
                path,
            });
        }
        if change.kind != ChangeKind::DataSet
            && let Some((parent, _)) = path::split(path)
        {
            for watcher in self.take(parent, false) {
                tell(Fired {
                    watcher,
                    kind: EventKind::NodeChildrenChanged,
                    path: parent,
                });
            }
        }
    }

    /// Watches of all connections: pairs of path and connection.
    pub fn len(&self) -> usize {
        self.by_watcher.values().map(HashSet::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_watcher.is_empty()
    }

    /// Those who watch `path` itself or, for `data`, recursively from above.
    fn take(&mut self, path: &str, data: bool) -> BTreeSet<Watcher> {
        let table = if data {
            &mut self.data
        } else {
            &mut self.child
        };
        let mut told = BTreeSet::new();
        let mut spent = Vec::new();
        if let Some(set) = table.get_mut(path) {
            set.retain(|watcher, modes| {
                told.insert(*watcher);
                *modes &= !ONCE;
                if *modes == 0 {
                    spent.push(*watcher);
                }
                *modes != 0
            });
            if set.is_empty() {
                table.remove(path);
            }
        }
        for watcher in spent {
            self.forget(watcher, path);
        }
        if data && self.recursive_len > 0 {
            let mut above = path;
            while let Some((parent, _)) = path::split(above) {
                let recursive = self.data.get(parent).into_iter().flatten();
                told.extend(
                    recursive
                        .filter(|(_, modes)| **modes & RECURSIVE != 0)
                        .map(|(watcher, _)| *watcher),
                );
                above = parent;
            }
        }
        told
    }

    fn remember(&mut self, watcher: Watcher, path: &str) -> Result<(), Code> {
        let paths = self.by_watcher.entry(watcher).or_default();
        if !paths.contains(path) {
            let bytes = self.bytes + bytes(path);
            if paths.len() >= WATCHES_PER_CONNECTION_MAX || bytes > self.bytes_max {
                return Err(Code::QuotaExceeded);
            }
            paths.insert(path.into());
            self.bytes = bytes;
        }
        Ok(())
    }

    fn forget(&mut self, watcher: Watcher, path: &str) {
        let has = |table: &PathTable| {
            table
                .get(path)
                .is_some_and(|set| set.contains_key(&watcher))
        };
        if has(&self.data) || has(&self.child) {
            return;
        }
        if let Some(paths) = self.by_watcher.get_mut(&watcher) {
            if paths.remove(path) {
                self.bytes = self.bytes.saturating_sub(bytes(path));
            }
            if paths.is_empty() {
                self.by_watcher.remove(&watcher);
            }
        }
    }
}

/// What a watch on `path` counts: the path is in three tables.
fn bytes(path: &str) -> usize {
    3 * path.len() + WATCH_BYTES
}

/// Sets `mode`; true if it wasn't set.
fn mark(table: &mut PathTable, watcher: Watcher, path: &str, mode: u8) -> bool {
    let set = match table.get_mut(path) {
        Some(set) => set,
        None => table.entry(path.into()).or_default(),
    };
    let modes = set.entry(watcher).or_default();
    let fresh = *modes & mode == 0;
    *modes |= mode;
    fresh
}

/// Clears `mask`; the modes that were set.
fn clear(table: &mut PathTable, watcher: Watcher, path: &str, mask: u8) -> u8 {
    let Some(set) = table.get_mut(path) else {
        return 0;
    };
    let Some(modes) = set.get_mut(&watcher) else {
        return 0;
    };
    let was = *modes & mask;
    *modes &= !mask;
    if *modes == 0 {
        set.remove(&watcher);
        if set.is_empty() {
            table.remove(path);
        }
    }
    was
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::acl;
    use EventKind::*;

    fn fire(
        watches: &mut Watches,
        kind: ChangeKind,
        path: &str,
    ) -> Vec<(Watcher, EventKind, String)> {
        let change = Change {
            kind,
            path: path.into(),
            acl: acl::OPEN.clone(),
            parent_acl: acl::OPEN.clone(),
        };
        let mut out = Vec::new();
        watches.fire(&change, |fired| {
            out.push((fired.watcher, fired.kind, fired.path.to_owned()))
        });
        out
    }

    #[test]
    fn long_paths_are_bounded_in_bytes() {
        let mut watches = Watches {
            bytes_max: 1 << 20,
            ..Watches::default()
        };
        let path = |i: usize| format!("/{i:04000}");
        let fits = watches.bytes_max / bytes(&path(0));
        for i in 0..fits {
            let watcher = Watcher::try_from(i % 3).unwrap();
            watches.watch_data(watcher, &path(i)).unwrap();
        }
        let refused = watches.watch_children(9, &path(fits));
        assert_eq!(refused, Err(Code::QuotaExceeded));
        assert!(watches.remove(0, &path(0), Table::Data));
        watches.watch_children(9, &path(fits)).unwrap();
        fire(&mut watches, ChangeKind::DataSet, &path(1));
        watches.watch_children(9, &path(fits + 1)).unwrap();
        for watcher in [0, 1, 2, 9] {
            watches.remove_watcher(watcher);
        }
        assert_eq!((watches.bytes, watches.len()), (0, 0));
    }

    #[test]
    fn one_shot_fires_once() {
        let mut watches = Watches::default();
        watches.watch_data(1, "/a").unwrap();
        assert_eq!(
            fire(&mut watches, ChangeKind::DataSet, "/a"),
            [(1, NodeDataChanged, "/a".into())]
        );
        assert_eq!(fire(&mut watches, ChangeKind::DataSet, "/a"), []);
        assert!(watches.is_empty());
    }

    #[test]
    fn deletion_is_told_once_to_who_watches_data_and_children() {
        let mut watches = Watches::default();
        watches.watch_data(1, "/a").unwrap();
        watches.watch_children(1, "/a").unwrap();
        watches.watch_children(2, "/").unwrap();
        assert_eq!(
            fire(&mut watches, ChangeKind::Deleted, "/a"),
            [
                (1, NodeDeleted, "/a".into()),
                (2, NodeChildrenChanged, "/".into())
            ]
        );
        assert!(watches.is_empty());
    }

    #[test]
    fn persistent_stays() {
        let mut watches = Watches::default();
        watches.add(1, "/a", AddMode::Persistent).unwrap();
        for _ in 0..2 {
            assert_eq!(
                fire(&mut watches, ChangeKind::DataSet, "/a"),
                [(1, NodeDataChanged, "/a".into())]
            );
            assert_eq!(
                fire(&mut watches, ChangeKind::Created, "/a/b"),
                [(1, NodeChildrenChanged, "/a".into())]
            );
        }
        assert_eq!(fire(&mut watches, ChangeKind::DataSet, "/a/b"), []);
        assert!(watches.remove(1, "/a", Table::Any));
        assert!(!watches.remove(1, "/a", Table::Any));
        assert!(watches.is_empty());
    }

    #[test]
    fn recursive_sees_the_subtree_but_no_child_events() {
        let mut watches = Watches::default();
        watches.add(1, "/a", AddMode::Recursive).unwrap();
        assert_eq!(
            fire(&mut watches, ChangeKind::Created, "/a/b/c"),
            [(1, NodeCreated, "/a/b/c".into())]
        );
        assert_eq!(
            fire(&mut watches, ChangeKind::Deleted, "/a"),
            [(1, NodeDeleted, "/a".into())]
        );
        assert_eq!(fire(&mut watches, ChangeKind::Created, "/ab"), []);
        assert!(
            watches.contains(1, "/a", Table::Recursive) && !watches.contains(1, "/a/b", Table::Any)
        );
        watches.remove_watcher(1);
        assert_eq!(watches.recursive_len, 0);
        assert!(watches.is_empty() && watches.data.is_empty());
    }

    #[test]
    fn removing_one_kind_leaves_the_others() {
        let mut watches = Watches::default();
        watches.add(1, "/a", AddMode::Persistent).unwrap();
        watches.add(1, "/a", AddMode::Recursive).unwrap();
        watches.watch_data(1, "/a").unwrap();
        assert!(!watches.remove(1, "/a", Table::Child));
        assert!(watches.remove(1, "/a", Table::Data) && !watches.remove(1, "/a", Table::Data));
        assert!(watches.contains(1, "/a", Table::Persistent));
        assert!(watches.remove(1, "/a", Table::Persistent));
        assert!(watches.contains(1, "/a", Table::Recursive));
        assert!(watches.remove(1, "/a", Table::Any) && watches.is_empty());
    }

    #[test]
    fn a_one_shot_beside_a_persistent_one_leaves_it() {
        let mut watches = Watches::default();
        watches.add(1, "/a", AddMode::Persistent).unwrap();
        watches.watch_data(1, "/a").unwrap();
        assert_eq!(fire(&mut watches, ChangeKind::DataSet, "/a").len(), 1);
        assert_eq!(fire(&mut watches, ChangeKind::DataSet, "/a").len(), 1);
    }
}
