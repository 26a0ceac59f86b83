//! A log in RabbitMQ: a queue of type stream.
//!
//! - Publisher and subscriber have a connection each: a broker in need of memory or disk stops reading
//!   from connections that publish, and what is acknowledged would wait with it.
//! - Both reconnect by themselves, to each of the brokers in turn, and go on where they were: the
//!   publisher writes all unconfirmed messages again, in order, with the same bytes; the subscriber
//!   reads on behind the last message that it handed out. The library's own recovery stays off: it
//!   subscribes again at the offset of the first subscription, without a word.
//! - What isn't confirmed is bounded in bytes and messages, so a broker that doesn't take more stops
//!   the producer, and [`LinkState`] says why.
//! - Nothing here knows what is in a message. Confirmed isn't durable (streams are never synced to
//!   disk), and no offset is relied upon: `docs/queue-protocol.md`.

mod options;
mod error;
mod link;
mod publisher;
mod subscriber;

pub use error::RabbitError;
pub use link::LinkState;
pub use options::{Broker, Options, Retention, Window};
pub use publisher::Publisher;
pub use subscriber::Subscriber;
