//! The decoder against a binlog of a real MySQL 9.7 (`core/tests/data/record.sh` made it) and the
//! text that this server prints for the same rows; and against bytes that nobody wrote.

mod damaged;
mod events;
pub(crate) mod recorded;
mod tables;
mod values;
