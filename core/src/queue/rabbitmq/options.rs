//! Which brokers, which queue, and how much.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use uuid::Uuid;

use super::error::RabbitError;

/// A broker's address: `amqp://user:password@host:port/vhost`, or `amqps://…`. Without a virtual
/// host it is `/`. Printed without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Broker(pub(super) AMQPUri);

impl FromStr for Broker {
    type Err = RabbitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || RabbitError::Options {
            what: "a broker's address must be amqp://user:password@host:port/vhost, or amqps://…, \
                   with what is special in it percent-encoded"
                .to_owned(),
        };
        // The library takes a scheme alone for an address, and what follows for a virtual host; its
        // errors may repeat the text. Either would print a password.
        if !text.starts_with("amqp://") && !text.starts_with("amqps://") {
            return Err(wrong());
        }
        let mut uri: AMQPUri = text.parse().map_err(|_| wrong())?;
        if uri.vhost.is_empty() {
            uri.vhost = "/".to_owned();
        }
        Ok(Self(uri))
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.0.authority;
        let (scheme, user) = (&self.0.scheme, &authority.userinfo.username);
        let (host, port, vhost) = (&authority.host, authority.port, &self.0.vhost);
        write!(f, "{scheme}://{user}@{host}:{port}")?;
        if vhost != "/" {
            write!(f, "/{vhost}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Broker {
    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme == AMQPScheme::AMQPS
    }
}

/// What the stream keeps; whichever bound is reached first. Both count whole segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bytes.
    pub bytes_max: u64,
    /// Age; `None` for any.
    pub age_max: Option<Duration>,
    /// Bytes of a segment.
    pub segment_bytes: u64,
}

/// What may be on its way to the broker, unconfirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Bytes; one message may exceed them.
    pub bytes_max: usize,
    /// Messages, at least 1.
    pub messages_max: usize,
}

/// A log in RabbitMQ.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes of one cluster, tried in turn; at least one.
    pub brokers: Vec<Broker>,
    /// PEM file of the authorities that may sign a broker's certificate; needed for `amqps`.
    pub tls_ca: Option<PathBuf>,
    /// The queue's name.
    pub queue: String,
    /// What the stream keeps.
    pub retention: Retention,
    /// What may be unconfirmed.
    pub window: Window,
    /// Messages that a subscriber is sent in advance: 1 to 65535. With the size of a message, the
    /// bound on its memory.
    pub prefetch: u16,
    /// A connection on which nothing came for about twice this long is given up.
    pub heartbeat: Duration,
}

impl Options {
    /// The queue of a pipeline.
    pub fn queue_name(pipeline: Uuid) -> String {
        format!("towpath.{pipeline}")
    }

    /// What the queue is declared with.
    pub(super) fn arguments(&self) -> FieldTable {
        let mut table = FieldTable::default();
        let text = |text: &str| AMQPValue::LongString(LongString::from(text));
        let number =
            |number: u64| AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX));
        let mut set = |name: &str, value| {
            table.insert(ShortString::from(name), value);
        };
        set("x-queue-type", text("stream"));
        set("x-max-length-bytes", number(self.retention.bytes_max));
        set(
            "x-stream-max-segment-size-bytes",
            number(self.retention.segment_bytes),
        );
        if let Some(age) = self.retention.age_max {
            set("x-max-age", text(&format!("{}s", age.as_secs().max(1))));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let broker: Broker = "amqps://repl:s3cret@mq-1:5671/prod".parse().unwrap();
        assert_eq!(
            format!("{broker} {broker:?}"),
            "amqps://repl@mq-1:5671/prod amqps://repl@mq-1:5671/prod"
        );
        assert!(broker.is_encrypted());
        let error = "amqp:/repl:s3cret@".parse::<Broker>().unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("s3cret"),
            "{error:?}"
        );
    }

    #[test]
    fn the_virtual_host_may_be_left_out() {
        for text in [
            "amqp://u:p@h:5672",
            "amqp://u:p@h:5672/",
            "amqp://u:p@h:5672/%2f",
        ] {
            let broker: Broker = text.parse().unwrap();
            assert_eq!(broker.0.vhost, "/", "{text}");
            assert_eq!(broker.to_string(), "amqp://u@h:5672", "{text}");
        }
    }
}
