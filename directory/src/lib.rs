//! Towpath's directory: a replicated tree that speaks the ZooKeeper client protocol.

pub mod config;
pub mod code;
pub mod tree;
pub mod session;
pub mod watch;
pub mod state;
pub mod front;
pub mod wire;
