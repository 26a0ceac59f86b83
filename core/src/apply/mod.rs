//! From events to the statements that apply them. Pure, but for reading the sink's table
//! definitions.
//!
//! Consecutive source transactions are merged: for each key, only the net effect of the batch is
//! applied ([`net`]). Tables whose row order matters (foreign keys that the sink must check) or
//! that have no key are applied row by row instead ([`ordered`]). Statements carry how many rows
//! they must match; a batch whose counts differ is never committed.

pub mod ddl;
pub mod target;
pub mod names;
pub mod plan;
pub mod literal;
pub mod net;
pub mod ordered;
pub mod statement;
pub mod idempotent;
pub mod batch;
#[cfg(any(test, feature = "fuzzing"))]
pub mod mirrored;
mod error;

pub use batch::{Batch, BatchBuilder, History};
pub use error::ApplyError;

#[cfg(test)]
mod damage_test;
#[cfg(test)]
mod tests;
