//! The source: a MySQL server's binlog as a stream of events.
//!
//! - [`EventStream`] is our own replication connection: packets, login, TLS, the dump, and events
//!   in order with their place. Every event is checked before it is handed out; none is skipped,
//!   and after an error there is no next event on that connection.
//! - [`SourceFacts`] is what a source says about itself, and which of our preconditions it meets.
//! - [`anonymous`] finds what a dump by GTID would leave out.
//! - [`start`] turns the start of a pipeline file into a GTID set.
//! - [`Backoff`] and [`SourceError::retry`] say when to connect again. Nothing here reconnects by
//!   itself: the caller knows the position to go on from.
//!
//! Nothing is ever written to a source.

mod buffer;
mod packet;
mod tls;
mod auth;
mod handshake;
mod connection;
mod dump;
mod payload;
mod stream;
pub mod preflight;
pub mod anonymous;
pub mod start;
mod reconnect;
mod error;

pub use connection::{ANSWER_TIMEOUT, CONNECT_TIMEOUT};
pub use dump::{DumpFrom, DumpOptions, HEARTBEAT_DEFAULT};
pub use error::SourceError;
pub(crate) use error::{code_of_driver, retry_of_driver};
pub use packet::PACKET_LEN_MAX;
pub use payload::WINDOW_LOG_MAX;
pub use preflight::{Needs, Replica, SourceFacts, check_position};
pub use reconnect::{Backoff, HEALTHY_AFTER, PAUSE_MAX, PAUSE_MIN, Retry};
pub use stream::{EventStream, FIRST_EVENT_TIMEOUT, SILENCE_MIN, StreamEvent};
