//! The client side against a real directory, in this process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

mod support;
mod commands;
mod election;
mod lock;
mod nodes;
mod browse;
mod session;
mod tls;
