//! The replicated log: openraft behind the front. Nothing outside this module names openraft, and
//! nothing in it knows what an entry means.

mod types;
mod log_redb;
mod machine;
mod network;
mod node;
pub mod restore;

pub use node::{Node, RaftError};

#[cfg(test)]
mod suite_test;
