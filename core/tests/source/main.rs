//! The source against a real MySQL: login, dump, positions, and what happens when things break.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report, also in what tests share"
)]

mod support;
mod login;
mod events;
mod faults;
mod beginnings;
mod scripted;
