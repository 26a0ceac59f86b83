//! What clients ask of the tree without changing it. Who may read what follows
//! `FinalRequestProcessor` of ZooKeeper 3.8.

use super::acl::{self, Acl, Id};
use super::node::{Node, Stat};
use super::{Tree, path};
use crate::code::Code;

impl Tree {
    /// The numbers of the node at `path`; anyone may ask.
    ///
    /// # Errors
    /// [`Code::NoNode`], or [`Code::BadArguments`] for a path that is none.
    pub fn exists(&self, path: &str) -> Result<Stat, Code> {
        path::validate(path, false)?;
        Ok(self.get(path).ok_or(Code::NoNode)?.stat())
    }

    /// The node at `path`, if `ids` may read it.
    ///
    /// # Errors
    /// [`Code::NoNode`], [`Code::NoAuth`], [`Code::BadArguments`].
    pub fn readable(&self, path: &str, ids: &[Id]) -> Result<&Node, Code> {
        path::validate(path, false)?;
        let node = self.get(path).ok_or(Code::NoNode)?;
        acl::check(&node.acl, acl::READ, ids)?;
        Ok(node)
    }

    /// The access list of `path` and its numbers; hashes are masked for those who can't
    /// administer it.
    ///
    /// # Errors
    /// [`Code::NoNode`], [`Code::NoAuth`], [`Code::BadArguments`].
    pub fn acl(&self, path: &str, ids: &[Id]) -> Result<(Vec<Acl>, Stat), Code> {
        path::validate(path, false)?;
        let node = self.get(path).ok_or(Code::NoNode)?;
        acl::check(&node.acl, acl::READ | acl::ADMIN, ids)?;
        let list = match acl::check(&node.acl, acl::ADMIN, ids) {
            Ok(()) => node.acl.to_vec(),
            Err(_) => acl::masked(&node.acl),
        };
        Ok((list, node.stat()))
    }

    /// How many nodes lie below `path`, at any depth.
    ///
    /// # Errors
    /// [`Code::NoNode`], [`Code::NoAuth`], [`Code::BadArguments`].
    pub fn descendants(&self, path: &str, ids: &[Id]) -> Result<usize, Code> {
        let node = self.readable(path, ids)?;
        if path == "/" {
            return Ok(self.len().saturating_sub(1));
        }
        let mut count = 0;
        let mut open: Vec<(String, &Node)> = vec![(path.to_owned(), node)];
        while let Some((path, node)) = open.pop() {
            count += node.children_len();
            for name in node.child_names() {
                let path = format!("{path}/{name}");
                if let Some(child) = self.get(&path)
                    && child.children.is_some()
                {
                    open.push((path, child));
                }
            }
        }
        Ok(count)
    }
}
