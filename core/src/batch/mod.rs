//! Groups a source's events into [`Chunk`]s: whole transactions where they are small, consecutive
//! parts of one where it is large. What the table filter does not take is dropped here, before the
//! queue, but its GTID still travels, so that the offset moves.
//!
//! Events stay as MySQL wrote them; nothing is decoded beyond what framing needs.

mod assembler;
mod chunk;
mod error;

pub use assembler::{Assembler, CHUNK_BYTES_MAX};
pub use chunk::{Chunk, Message};
pub use error::BatchError;

#[cfg(test)]
mod tests;
