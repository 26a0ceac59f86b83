//! The ZooKeeper client protocol: bytes to requests, answers to bytes, and the sockets.

pub mod jute;
pub mod request;
pub mod reply;
pub mod words;
pub mod splice;
pub mod listen;
