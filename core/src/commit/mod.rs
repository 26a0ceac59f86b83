//! The commit contract: why a crash anywhere loses nothing and repeats nothing.
//!
//! **Who may write.** Every connection that writes to a sink holds a named lock for its whole life
//! ([`lock`]). A new owner takes over ([`takeover`]): it kills whoever holds the locks, waits until
//! they are its own (the server grants a lock only after the killed transaction was rolled back),
//! and only then raises the epoch in the offset row, under compare-and-set. A connection that is
//! lost ends the epoch; nothing reconnects by itself.
//!
//! **A commit.** Data statements first, each one's matched rows checked; then, last, the offset
//! rows, guarded by generation, epoch and `commit_seq`; then a statement that fails unless exactly
//! one offset row was matched; then COMMIT ([`offset`], [`lane`]). Any error ends in ROLLBACK.
//! Where the answer to COMMIT is lost, nobody guesses: the epoch is over, and the next takeover
//! reads the row `FOR UPDATE`.
//!
//! **What is stored** ([`schema`]): one row of `towpath.offset` per pipeline and sink, one row of
//! `towpath.offset_gtid` per origin, and one of `towpath.snapshot` per table whose rows are copied
//! ([`copies`]): rows and how far their copy is are one commit, as data and offset are. The
//! position in the sink is the only one that counts.
//!
//! **DDL** commits by itself, so it has a record of intent and, on a sink with GTIDs, a GTID of its
//! own, by which the sink itself knows whether the statement ran ([`ddl`]).

pub mod preflight;
pub mod schema;
pub mod session;
pub mod lock;
pub mod copies;
pub mod takeover;
pub mod offset;
pub mod lane;
pub mod ddl;
pub mod intervene;
mod error;

pub(crate) use error::code_of_driver;
pub use error::{Advice, SinkError, code_of_number};
