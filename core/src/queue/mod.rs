//! The pipe between producer and consumers: ordered and bounded in bytes. A full queue stops the
//! producer, which stops reading its socket, which slows the source's dump thread: backpressure is
//! end to end, and memory stays bounded.

mod memory;

pub use memory::{Closed, LARGE_BYTES, Lease, Receiver, Sender, memory};
