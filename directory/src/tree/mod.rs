//! The tree of nodes: a deterministic state machine.
//!
//! The same changes in the same order, with the zxid and the time that come with each, give the
//! same tree on every member; so nothing in here reads a clock, rolls dice or does I/O, and
//! whatever can't be done is a [`Code`], never a panic.

pub mod path;
pub mod node;
pub mod acl;
pub mod op;
mod apply;
mod read;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use acl::{Acl, AclList};
use node::{Node, Owner};

pub use apply::Context;

/// Most children of one node: a listing must fit in a few frames. Part of the state machine, so
/// a constant, not a setting: members that differ in it would differ in their trees.
pub const CHILDREN_MAX: usize = 1_000_000;
/// Most nodes of the tree, about 5 GB with small data.
pub const NODES_MAX: usize = 20_000_000;

/// The tree. Cloning it costs one pointer per node: nodes are shared until one of the two
/// changes them. That's how a snapshot is taken while the tree is in use.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: HashMap<Arc<str>, Arc<Node>>,
    ephemerals: HashMap<i64, BTreeSet<Arc<str>>>,
    /// Containers and TTL nodes: what the leader looks through for nodes to remove.
    mortal: BTreeSet<Arc<str>>,
    acls: HashSet<AclList>,
    acls_sweep_at: usize,
    data_bytes: u64,
}

/// The subtree that belongs to the protocol itself.
pub const SYSTEM: &str = "/zookeeper";
/// Where ZooKeeper keeps quotas; they are refused here.
pub const QUOTA: &str = "/zookeeper/quota";
/// Where ZooKeeper keeps its members; empty here.
pub const CONFIG: &str = "/zookeeper/config";

impl Default for Tree {
    fn default() -> Self {
        let mut tree = Self::empty();
        for path in ["/", SYSTEM, QUOTA, CONFIG] {
            let acl = if path == CONFIG {
                acl::READ_ONLY.clone()
            } else {
                acl::OPEN.clone()
            };
            let mut node = Node::new(Some(Box::default()), acl, Owner::Persistent, 0, 0);
            if path == CONFIG {
                // As `DataTree.addConfigNode` leaves it.
                node.aversion = -1;
            }
            tree.insert(path.into(), node);
            if let Some((parent, name)) = path::split(path)
                && let Some(parent) = tree.node_mut(parent)
            {
                parent.add_child(name);
            }
        }
        tree
    }
}

impl Tree {
    fn empty() -> Self {
        Self {
            nodes: HashMap::new(),
            ephemerals: HashMap::new(),
            mortal: BTreeSet::new(),
            acls: HashSet::new(),
            acls_sweep_at: 64,
            data_bytes: 0,
        }
    }

    /// The node at `path`.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path).map(|node| &**node)
    }

    /// Nodes, the root and `/zookeeper` included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: the root is always there.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Bytes of paths and data, without what it costs to keep them.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Ephemeral nodes of all sessions.
    pub fn ephemerals_len(&self) -> usize {
        self.ephemerals.values().map(BTreeSet::len).sum()
    }

    /// The ephemeral nodes of `session`, in order.
    pub fn ephemerals(&self, session: i64) -> impl Iterator<Item = &str> {
        self.ephemerals
            .get(&session)
            .into_iter()
            .flat_map(|set| set.iter().map(|path| &**path))
    }

    /// Containers and TTL nodes that are due for removal at `now_ms`.
    pub fn due(&self, now_ms: i64) -> Vec<String> {
        let due = |path: &&Arc<str>| self.get(path).is_some_and(|node| is_due(node, now_ms));
        self.mortal
            .iter()
            .filter(due)
            .map(|path| path.to_string())
            .collect()
    }

    /// All nodes in the order of their paths, so that a parent comes before its children.
    pub fn sorted(&self) -> Vec<(&Arc<str>, &Arc<Node>)> {
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        nodes.sort_unstable_by(|a, b| a.0.cmp(b.0));
        nodes
    }

    /// A tree from nodes in the order of their paths, without their children, which follow from
    /// the paths.
    ///
    /// # Errors
    /// The path that is none, comes twice or has no parent.
    pub fn from_sorted<E: From<Misplaced>>(
        nodes: impl Iterator<Item = Result<(String, Node), E>>,
    ) -> Result<Self, E> {
        let mut tree = Self::empty();
        for item in nodes {
            let (path, mut node) = item?;
            if path::validate(&path, false).is_err() || tree.get(&path).is_some() {
                return Err(Misplaced(path).into());
            }
            if let Some((parent, name)) = path::split(&path) {
                match tree.node_mut(parent) {
                    Some(parent) => parent.add_child(name),
                    None => return Err(Misplaced(path).into()),
                }
            }
            node.acl = tree.intern(node.acl.to_vec());
            tree.insert(path.into(), node);
        }
        match tree.get("/") {
            Some(_) => Ok(tree),
            None => Err(Misplaced("/".into()).into()),
        }
    }

    fn node_mut(&mut self, path: &str) -> Option<&mut Node> {
        self.nodes.get_mut(path).map(Arc::make_mut)
    }

    /// Puts a node in its place and in the lists of its kind; the parent is the caller's.
    fn insert(&mut self, path: Arc<str>, node: Node) {
        self.data_bytes += (path.len() + node.data_len()) as u64;
        match node.owner {
            Owner::Persistent => {}
            Owner::Session(id) => {
                self.ephemerals.entry(id).or_default().insert(path.clone());
            }
            Owner::Container | Owner::Ttl(_) => {
                self.mortal.insert(path.clone());
            }
        }
        self.nodes.insert(path, Arc::new(node));
    }

    /// The reverse of [`Self::insert`].
    fn remove(&mut self, path: &str) -> Option<Arc<Node>> {
        let node = self.nodes.remove(path)?;
        self.data_bytes = self
            .data_bytes
            .saturating_sub((path.len() + node.data_len()) as u64);
        match node.owner {
            Owner::Persistent => {}
            Owner::Session(id) => {
                if let Some(set) = self.ephemerals.get_mut(&id) {
                    set.remove(path);
                    if set.is_empty() {
                        self.ephemerals.remove(&id);
                    }
                }
            }
            Owner::Container | Owner::Ttl(_) => {
                self.mortal.remove(path);
            }
        }
        Some(node)
    }

    /// The one copy of an access list that all nodes with it share.
    fn intern(&mut self, acl: Vec<Acl>) -> AclList {
        if *acl == **acl::OPEN {
            return acl::OPEN.clone();
        }
        if let Some(known) = self.acls.get(&*acl) {
            return known.clone();
        }
        if self.acls.len() >= self.acls_sweep_at {
            self.acls.retain(|list| Arc::strong_count(list) > 1);
            self.acls_sweep_at = (self.acls.len() * 2).max(64);
        }
        let list: AclList = acl.into();
        self.acls.insert(list.clone());
        list
    }
}

/// A node that can't be put into a tree: its path is none, it's there already, or its parent
/// isn't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misplaced(pub String);

fn is_due(node: &Node, now_ms: i64) -> bool {
    node.children_len() == 0
        && match node.owner {
            // One that never had a child waits for its first.
            Owner::Container => node.creates > 0,
            Owner::Ttl(ttl_ms) => now_ms.saturating_sub(node.mtime_ms) > ttl_ms,
            Owner::Persistent | Owner::Session(_) => false,
        }
}
