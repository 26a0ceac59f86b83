//! The Monitor against a real directory and a real receiver.

mod support;
mod alerts;
mod leaders;
mod hooks;
