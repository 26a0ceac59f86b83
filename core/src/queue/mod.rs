//! The pipe between producer and consumers: ordered and bounded in bytes. A full queue stops the
//! producer, which stops reading its socket, which slows the source's dump thread: backpressure is
//! end to end, and memory stays bounded.
//!
//! In one process it is a channel ([`memory`]). Between processes it is a log, whose messages and
//! rules are those of `docs/queue-protocol.md`: [`pack`] makes the messages, [`wire`] is their bytes,
//! [`follow`] says which of them count, [`join`] makes chunks of them again. Where they are kept is a
//! [`log`]: [`rabbitmq`] between machines, [`disk`] on one. [`outlet`] and [`inlet`] are the two ends.

mod memory;
mod term;
mod error;
pub mod wire;
pub mod pack;
pub mod follow;
pub mod join;
pub mod log;
pub mod rabbitmq;
pub mod disk;
pub mod store;
pub mod outlet;
pub mod inlet;
#[cfg(test)]
mod tests;

pub use error::QueueError;
pub use memory::{Closed, LARGE_BYTES, Lease, Receiver, Sender, memory};
pub use term::Term;
