//! The Monitor against a real directory and a real receiver.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod support;
mod alerts;
mod leaders;
mod hooks;
