//! Global transaction identifiers and sets of them, as MySQL writes them: `uuid[:tag]:number`.
//!
//! Three forms of a set: text (what `@@gtid_executed` prints, `text.rs`), binary (what
//! `COM_BINLOG_DUMP_GTID` and the body of a `Previous_gtids` event carry, `binary.rs`), and
//! intervals in memory (`set.rs`, over the pure functions of `interval.rs`).
//!
//! Invariants: for each origin of a set the intervals are ascending, disjoint and not adjacent,
//! and an origin without intervals isn't kept; so equal sets compare equal and print the same.
//! Text and bytes from outside are checked against the server's bounds and never panic.

mod origin;
mod set;
mod interval;
mod text;
mod binary;
#[cfg(test)]
mod tests;

pub use binary::GtidDecodeError;
pub use origin::{Gtid, GtidOrigin};
pub use set::{GtidBoundsError, GtidSet};
pub use text::GtidParseError;

/// The smallest number of a transaction (MySQL: `sql/rpl_gtid.h`, `MIN_GNO`).
pub const NUMBER_MIN: u64 = 1;

/// The greatest number of a transaction, 2^63 - 2 (MySQL: `sql/rpl_gtid.h`, `GNO_END` is 2^63 - 1,
/// which the server never assigns).
pub const NUMBER_MAX: u64 = (1 << 63) - 2;

/// The most characters that a tag may have (MySQL 8.3+: `libs/mysql/gtid/gtid_constants.h`,
/// `tag_max_length`).
pub const TAG_CHARS_MAX: usize = 32;
