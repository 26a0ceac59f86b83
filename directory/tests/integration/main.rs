//! The directory as its clients meet it: over the wire.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in tests a panic is the report, helpers included"
)]

mod raw;
mod client;
mod kazoo;
mod kill;
mod order;
mod operations;
mod rude;
mod hostile;
mod durable;
mod tls;
mod found;
mod oracle;
mod cluster;
mod former;
mod newer;
