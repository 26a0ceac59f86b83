//! The directory's nodes at one moment, free of locks, for drawing and for tests.

use std::collections::BTreeMap;

use towpath_coordination::{MirroredNode, Nodes};
use towpath_protocol::tree::{NodePath, Record, Versioned};

/// Nodes by path. Data is shared, not copied.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(BTreeMap<NodePath, MirroredNode>);

impl Tree {
    pub(super) fn get(&self, path: &NodePath) -> Option<&MirroredNode> {
        self.0.get(path)
    }

    /// The record in a node; `None` if there is none that can be read.
    pub(super) fn record<T: Record>(&self, path: &NodePath) -> Option<T> {
        let node = self.0.get(path)?;
        Versioned::from_json(&node.data)
            .ok()
            .map(|versioned| versioned.record)
    }

    /// A node's children, in the order of their paths.
    pub(super) fn children<'a>(
        &'a self,
        path: &'a NodePath,
    ) -> impl Iterator<Item = &'a NodePath> + 'a {
        // "a-b" stands between "a" and "a/c".
        self.0
            .range(path..)
            .map(|(node, _)| node)
            .take_while(move |node| node.as_str().starts_with(path.as_str()))
            .filter(move |node| node.below(path).is_some_and(|steps| steps.count() == 1))
    }

    /// Every path, in order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &NodePath> {
        self.0.keys()
    }
}

impl From<&Nodes> for Tree {
    fn from(nodes: &Nodes) -> Self {
        nodes
            .iter()
            .map(|(path, node)| (path.clone(), node.clone()))
            .collect()
    }
}

impl FromIterator<(NodePath, MirroredNode)> for Tree {
    fn from_iter<I: IntoIterator<Item = (NodePath, MirroredNode)>>(nodes: I) -> Self {
        Self(nodes.into_iter().collect())
    }
}
