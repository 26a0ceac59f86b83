//! The directory as its clients meet it: over the wire.

mod raw;
mod client;
mod kazoo;
mod kill;
mod order;
mod rude;
mod durable;
