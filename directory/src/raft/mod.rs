//! The replicated log: openraft behind the front. Nothing outside this module names openraft, and
//! nothing in it knows what an entry means.

mod types;
mod member;
mod identity;
mod log_redb;
mod room;
mod machine;
mod network;
mod heard;
mod gate;
mod members;
mod cluster;
mod node;
pub mod restore;

pub use cluster::Cluster;
pub use member::Member;
pub use members::{Change, MemberError, MemberStatus, Members, Role, VOTERS_MAX};
pub use network::PeerError;
pub use network::link::Cable;
pub use node::{Node, RaftError};

#[cfg(test)]
mod suite_test;
