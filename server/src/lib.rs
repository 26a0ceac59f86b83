//! A Server: hosts a member of the directory, and while that member leads, plans which Cores run
//! what, and does what operators ask.
//!
//! ```text
//! tree ─ lead::view ─> planner (who runs what) ─┐
//!                  └─> life (how it is, what is to be done) ─> lead::write ─> tree
//! commands ─ lead::inboxes ─> commands (checked, written, answered)
//! ```
//!
//! Its own session goes through the client port like everybody else's, so that what it says of
//! itself ends when it doesn't answer any more.
//!
//! It never touches a source or a sink, and holds nothing that isn't in the directory.

pub mod options;
pub mod host;
mod present;
mod stragglers;
pub mod planner;
pub mod life;
pub mod commands;
mod probe;
pub mod lead;

pub use host::{RESTORED, Server, ServerError};
pub use options::ServerOptions;
