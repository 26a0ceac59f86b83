//! What was read of the directory at one moment: nodes by path.
//!
//! Each node by itself is as it once was; two together may be of different moments.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_coordination::{CoordinationError, Nodes, Session};
use towpath_protocol::tree::{NodePath, Record, RecordError, Versioned};

/// Nodes by path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(BTreeMap<NodePath, Arc<[u8]>>);

impl Tree {
    /// Reads a node and what is below it, but for the children that `wanted` says no to.
    ///
    /// # Errors
    /// The directory doesn't answer, or refuses.
    pub(crate) async fn read(
        session: &Session,
        top: NodePath,
        wanted: impl Fn(&NodePath) -> bool,
    ) -> Result<Self, CoordinationError> {
        Ok(Self::from(&Nodes::read(session, top, wanted).await?))
    }

    /// The record in a node; `None` if there is no such node, or one that is only a parent.
    pub(crate) fn record<T: Record>(&self, path: &NodePath) -> Option<Result<T, RecordError>> {
        let data = self.0.get(path).filter(|data| !data.is_empty())?;
        Some(Versioned::from_json(data).map(|versioned| versioned.record))
    }

    /// Whether there is such a node, with something in it.
    pub(crate) fn has_data(&self, path: &NodePath) -> bool {
        self.0.get(path).is_some_and(|data| !data.is_empty())
    }

    /// The names of a node's children, sorted.
    pub(crate) fn children<'a>(&'a self, path: &'a NodePath) -> impl Iterator<Item = &'a str> + 'a {
        // What is below a node follows it, with others between whose step goes on.
        self.0
            .range(path..)
            .take_while(move |(node, _)| node.as_str().starts_with(path.as_str()))
            .filter_map(move |(node, _)| {
                let mut steps = node.below(path)?;
                let child = steps.next()?;
                steps.next().is_none().then_some(child)
            })
    }
}

impl From<&Nodes> for Tree {
    fn from(nodes: &Nodes) -> Self {
        let copy = |(path, node): (&NodePath, &towpath_coordination::MirroredNode)| {
            (path.clone(), node.data.clone())
        };
        Self(nodes.iter().map(copy).collect())
    }
}

#[cfg(test)]
impl Tree {
    /// Puts a record in, and what is above it.
    pub(crate) fn put<T: Record>(&mut self, path: NodePath, record: T) {
        let data = Versioned::new(record).to_json().unwrap();
        self.put_data(path, &data);
    }

    /// Puts data in, and what is above it.
    pub(crate) fn put_data(&mut self, path: NodePath, data: &[u8]) {
        let mut above = path.parent();
        self.0.insert(path, data.into());
        while let Some(parent) = above {
            above = parent.parent();
            self.0.entry(parent).or_insert_with(|| Arc::from(&b""[..]));
        }
    }
}
