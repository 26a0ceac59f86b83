//! A connection with a channel on which the queue was declared, and what others see of it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use lapin::options::QueueDeclareOptions;
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{LongString, ShortString};
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::error::RabbitError;
use super::options::{Broker, Options};

/// Connecting, logging in and declaring the queue takes at most this long; then the next broker is
/// tried.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// The first pause between two rounds of all brokers, and the longest; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The largest file of authorities that is read, in bytes: the bundle of all public ones has 250 kB.
const CA_FILE_LEN_MAX: u64 = 4 << 20;

/// What others see of a connection to the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not connected; with what happened, if it was connected before or tried to.
    Connecting {
        /// The last failure.
        error: Option<String>,
    },
    /// Connected.
    Connected {
        /// To which broker.
        broker: String,
    },
    /// The broker takes nothing at present: it is short of memory or disk. It will say when that is
    /// over.
    Blocked {
        /// Which broker.
        broker: String,
        /// What it says.
        reason: String,
    },
}

/// Connects to the brokers in turn.
pub(super) struct Connector {
    pub(super) options: Arc<Options>,
    /// `publisher` or `subscriber`: part of the connection's name.
    role: &'static str,
    /// Which broker is tried next.
    next: usize,
    pause: Duration,
    state: watch::Sender<LinkState>,
}

impl Connector {
    pub(super) fn new(options: Arc<Options>, role: &'static str) -> Self {
        Self {
            options,
            role,
            next: 0,
            pause: PAUSE_MIN,
            state: watch::Sender::new(LinkState::Connecting { error: None }),
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// A link to the first broker that gives one; tries until there is one.
    pub(super) async fn link(&mut self) -> Result<Link, RabbitError> {
        let count = self.options.brokers.len();
        if count == 0 {
            return Err(RabbitError::Options {
                what: "no broker".to_owned(),
            });
        }
        loop {
            for _ in 0..count {
                let at = self.next % count;
                // Where it fails, another one is tried first the next time.
                self.next = at + 1;
                let Some(broker) = self.options.brokers.get(at) else {
                    continue;
                };
                match Link::open(&self.options, broker, self.role).await {
                    Ok(link) => {
                        self.next = at;
                        let broker = link.broker.clone();
                        info!(
                            queue = self.options.queue,
                            role = self.role,
                            broker,
                            "connected to RabbitMQ"
                        );
                        self.state.send_replace(LinkState::Connected { broker });
                        return Ok(link);
                    }
                    Err(error) if error.is_final() => return Err(error),
                    Err(error) => self.failed(&error),
                }
            }
            self.rest().await;
        }
    }

    /// The connection is good for something: the next pause is a short one.
    pub(super) fn holds(&mut self) {
        self.pause = PAUSE_MIN;
    }

    /// Makes a failure visible.
    pub(super) fn failed(&mut self, error: &RabbitError) {
        warn!(queue = self.options.queue, role = self.role, %error, "connecting to RabbitMQ again");
        let error = Some(error.to_string());
        self.state.send_replace(LinkState::Connecting { error });
    }

    /// A pause, longer each time until a connection is good for something.
    pub(super) async fn rest(&mut self) {
        // Each sleeps another while, so that a broker that comes back isn't met by all at once.
        let part = rand::random_range(0.5..1.0);
        let pause = self.pause.mul_f64(part);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        tokio::time::sleep(pause).await;
    }

    /// Awaits something of a link, while what the broker says of itself is made visible.
    pub(super) async fn watching<T>(
        &self,
        events: &mut Events,
        broker: &str,
        wanted: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(wanted);
        loop {
            let event = tokio::select! {
                biased;
                done = &mut wanted => return done,
                event = events.next() => event,
            };
            match event {
                Some(Event::ConnectionBlocked(reason)) => {
                    warn!(
                        queue = self.options.queue,
                        broker, reason, "RabbitMQ takes nothing at present"
                    );
                    let broker = broker.to_owned();
                    self.state
                        .send_replace(LinkState::Blocked { broker, reason });
                }
                Some(Event::ConnectionUnblocked) => {
                    info!(
                        queue = self.options.queue,
                        broker, "RabbitMQ takes messages again"
                    );
                    let broker = broker.to_owned();
                    self.state.send_replace(LinkState::Connected { broker });
                }
                Some(_) => {}
                // The connection is over: what is awaited ends with it.
                None => return wanted.await,
            }
        }
    }
}

/// What a broker says of itself.
pub(super) type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// A connection and its channel.
pub(super) struct Link {
    pub(super) broker: String,
    pub(super) channel: Channel,
    pub(super) events: Events,
    /// Dropping it closes the connection.
    _connection: Connection,
}

impl Link {
    async fn open(options: &Options, broker: &Broker, role: &str) -> Result<Self, RabbitError> {
        let name = broker.to_string();
        let connect = Self::connect(options, broker, &name, role);
        match timeout(CONNECT_MAX, connect).await {
            Ok(link) => link,
            Err(_elapsed) => {
                let cause = format!("no answer within {} s", CONNECT_MAX.as_secs());
                Err(RabbitError::lost(&name, cause))
            }
        }
    }

    async fn connect(
        options: &Options,
        broker: &Broker,
        name: &str,
        role: &str,
    ) -> Result<Self, RabbitError> {
        let failed = |error: lapin::Error| RabbitError::of(name, &options.queue, &error, false);
        let mut uri = broker.0.clone();
        let heartbeat_s = options.heartbeat.as_secs().clamp(1, 3600);
        uri.query.heartbeat = Some(u16::try_from(heartbeat_s).unwrap_or(u16::MAX));
        let label = format!("towpath {role} of {}", options.queue);
        // No auto-recovery: see the module's doc.
        let properties =
            ConnectionProperties::default().with_connection_name(LongString::from(label));
        let tls = tls_config(options, broker).await?;
        let runtime = lapin::runtime::default_runtime().map_err(failed)?;
        let connection = Connection::connect_uri_with_config(uri, properties, tls, runtime)
            .await
            .map_err(failed)?;
        let events: Events = Box::pin(connection.events_listener());
        let channel = connection.create_channel().await.map_err(failed)?;
        let declare = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let queue = ShortString::from(options.queue.as_str());
        channel
            .queue_declare(queue, declare, options.arguments())
            .await
            .map_err(|error| RabbitError::of(name, &options.queue, &error, true))?;
        Ok(Self {
            broker: name.to_owned(),
            channel,
            events,
            _connection: connection,
        })
    }
}

/// The broker's certificate is always verified, and its name: by the authorities of `tls_ca` alone.
async fn tls_config(options: &Options, broker: &Broker) -> Result<OwnedTLSConfig, RabbitError> {
    let mut config = OwnedTLSConfig::default();
    if !broker.is_encrypted() {
        return Ok(config);
    }
    let Some(path) = &options.tls_ca else {
        return Err(RabbitError::Options {
            what: "amqps verifies the broker's certificate, but tls_ca is not set".to_owned(),
        });
    };
    let wrong = |why: &dyn std::fmt::Display| RabbitError::Options {
        what: format!("tls_ca: {}: {why}", path.display()),
    };
    let length = tokio::fs::metadata(path)
        .await
        .map_err(|error| wrong(&error))?
        .len();
    if length > CA_FILE_LEN_MAX {
        return Err(wrong(&format_args!(
            "{length} bytes, the bound is {CA_FILE_LEN_MAX}"
        )));
    }
    let pem = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| wrong(&error))?;
    config.cert_chain = Some(pem);
    Ok(config)
}
