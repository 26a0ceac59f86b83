//! The client side against a real directory, in this process.

mod support;
mod commands;
mod election;
mod lock;
mod nodes;
mod session;
