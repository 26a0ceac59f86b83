//! A leader, a real directory, and Cores that only pretend to move data.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod rig;
mod core;
mod placement;
mod verbs;
mod recovery;
