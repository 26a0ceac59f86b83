//! One node: its data, its access list, its numbers. The numbers follow ZooKeeper 3.8's
//! `DataNode`: inside, `creates` counts the children ever created (sequential names come from
//! it); a client is shown `creates` plus deletions as `cversion`.

use std::collections::BTreeSet;

use super::acl::AclList;

/// A node's numbers as clients see them. Source: `Stat` in `zookeeper.jute`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// zxid of the creation.
    pub czxid: i64,
    /// zxid of the last change of the data.
    pub mzxid: i64,
    /// Time of the creation, milliseconds since 1970.
    pub ctime_ms: i64,
    /// Time of the last change of the data, milliseconds since 1970.
    pub mtime_ms: i64,
    /// Changes of the data.
    pub version: i32,
    /// Changes of the children: creations and deletions.
    pub cversion: i32,
    /// Changes of the access list.
    pub aversion: i32,
    /// Owning session; 0 if there's none.
    pub ephemeral_owner: i64,
    /// Bytes of data.
    pub data_length: i32,
    /// Children now.
    pub num_children: i32,
    /// zxid of the last change of the children.
    pub pzxid: i64,
}

/// What keeps a node alive. In snapshots it's folded into the owner field, as ZooKeeper 3.8 does
/// (`EphemeralType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nothing: it stays until deleted.
    Persistent,
    /// The session with this id.
    Session(i64),
    /// Its children: removed some time after the last of them.
    Container,
    /// Time: removed when it had no change and no child for so many milliseconds.
    Ttl(i64),
}

/// Longest TTL in milliseconds, about 34,865 years: what fits beside the mark in the owner field.
pub const TTL_MS_MAX: i64 = 0x00ff_ffff_ffff;
const CONTAINER_MARK: i64 = i64::MIN;
const TTL_MARK: u64 = 0xff00_0000_0000_0000;

impl Owner {
    /// The owner field in snapshots.
    pub fn field(self) -> i64 {
        match self {
            Self::Persistent => 0,
            Self::Session(id) => id,
            Self::Container => CONTAINER_MARK,
            Self::Ttl(ms) => (TTL_MARK | (ms & TTL_MS_MAX) as u64) as i64,
        }
    }

    /// What an owner field means.
    pub fn from_field(field: i64) -> Self {
        match field {
            0 => Self::Persistent,
            CONTAINER_MARK => Self::Container,
            _ if (field as u64) & TTL_MARK == TTL_MARK => Self::Ttl(field & TTL_MS_MAX),
            _ => Self::Session(field),
        }
    }
}

/// One node of the tree.
#[derive(Clone, Debug)]
pub struct Node {
    /// The data; a client may have given none at all, which it's told so.
    pub data: Option<Box<[u8]>>,
    /// Who may do what.
    pub acl: AclList,
    /// What keeps it alive.
    pub owner: Owner,
    /// zxid of the creation.
    pub czxid: i64,
    /// zxid of the last change of the data.
    pub mzxid: i64,
    /// zxid of the last change of the children.
    pub pzxid: i64,
    /// Time of the creation, milliseconds since 1970.
    pub ctime_ms: i64,
    /// Time of the last change of the data, milliseconds since 1970.
    pub mtime_ms: i64,
    /// Changes of the data.
    pub version: i32,
    /// Changes of the access list.
    pub aversion: i32,
    /// Children ever created.
    pub creates: i32,
    /// Names of the children; none is allocated for a leaf.
    pub children: Option<Box<BTreeSet<Box<str>>>>,
}

impl Node {
    /// A node as it's born in the transaction `zxid` at `time_ms`.
    pub fn new(
        data: Option<Box<[u8]>>,
        acl: AclList,
        owner: Owner,
        zxid: i64,
        time_ms: i64,
    ) -> Self {
        Self {
            data,
            acl,
            owner,
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime_ms: time_ms,
            mtime_ms: time_ms,
            version: 0,
            aversion: 0,
            creates: 0,
            children: None,
        }
    }

    /// Children now.
    pub fn children_len(&self) -> usize {
        self.children.as_ref().map_or(0, |set| set.len())
    }

    /// Names of the children, in order.
    pub fn child_names(&self) -> impl Iterator<Item = &str> {
        self.children
            .iter()
            .flat_map(|set| set.iter().map(|name| &**name))
    }

    /// Bytes of data.
    pub fn data_len(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }

    /// The numbers as a client sees them.
    pub fn stat(&self) -> Stat {
        let children = i32::try_from(self.children_len()).unwrap_or(i32::MAX);
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime_ms: self.ctime_ms,
            mtime_ms: self.mtime_ms,
            version: self.version,
            cversion: self.creates.wrapping_mul(2).wrapping_sub(children),
            aversion: self.aversion,
            // What keeps other kinds alive is not shown, as in `DataNode.copyStat`.
            ephemeral_owner: match self.owner {
                Owner::Session(id) => id,
                Owner::Persistent | Owner::Container | Owner::Ttl(_) => 0,
            },
            data_length: i32::try_from(self.data_len()).unwrap_or(i32::MAX),
            num_children: children,
            pzxid: self.pzxid,
        }
    }

    pub(super) fn add_child(&mut self, name: &str) {
        self.children.get_or_insert_default().insert(name.into());
    }

    pub(super) fn remove_child(&mut self, name: &str) {
        if let Some(set) = &mut self.children {
            set.remove(name);
            if set.is_empty() {
                self.children = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_field_round_trips() {
        for owner in [
            Owner::Persistent,
            Owner::Session(0x0100_0000_0000_0001),
            Owner::Container,
            Owner::Ttl(1),
            Owner::Ttl(TTL_MS_MAX),
        ] {
            assert_eq!(Owner::from_field(owner.field()), owner);
        }
    }
}
