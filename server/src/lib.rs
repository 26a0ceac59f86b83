//! A Server: hosts a member of the directory.
//!
//! Its own session goes through the client port like everybody else's, so that what it says of
//! itself ends when it doesn't answer any more.
//!
//! It never touches a source or a sink, and holds nothing that isn't in the directory.

pub mod options;
pub mod host;
pub mod planner;
pub mod life;

pub use host::{Server, ServerError};
pub use options::ServerOptions;
