//! The verbs against a real directory, in which a Server answers as the test says.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in tests a panic is the report"
)]

mod support;
mod change;
mod apply;
mod look;
