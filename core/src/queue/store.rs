//! Where a pipeline's log is kept, as its file says, and its two ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use towpath_protocol::spec::{PipelineSpec, QueueKind};
use uuid::Uuid;

use super::disk::{DiskError, DiskOptions, DiskReader, DiskWriter};
use super::log::{Fetched, LogError, ReadFrom, Reader, Writer};
use super::pack::Sealed;
use super::rabbitmq::{LinkState, Options, Publisher, RabbitError, Retention, Subscriber, Window};
use super::wire::{Compression, HEADER_BYTES};

/// Messages that may be unconfirmed at RabbitMQ: enough for a round trip at full speed.
const WINDOW_MESSAGES_MAX: usize = 256;

/// A connection on which nothing came for twice as long is given up.
const BROKER_HEARTBEAT: Duration = Duration::from_secs(10);

/// A pipeline's log.
#[derive(Clone, Debug)]
pub struct Log {
    /// Whose: each message names it.
    pub uuid: Uuid,
    /// Bytes of a body that are aimed at.
    pub body_bytes: usize,
    /// Whether bodies are compressed.
    pub compression: Compression,
    store: Store,
}

#[derive(Clone, Debug)]
enum Store {
    RabbitMq(Arc<Options>),
    Disk(DiskOptions),
}

impl Log {
    /// The log of the pipeline whose UUID is `uuid`; `None` if its queue keeps none.
    ///
    /// # Errors
    /// [`RabbitError::Options`].
    pub fn of(spec: &PipelineSpec, uuid: Uuid) -> Result<Option<Self>, LogError> {
        let (queue, log) = (&spec.queue, &spec.queue.log);
        let body_bytes = usize::try_from(log.body_bytes).unwrap_or(usize::MAX);
        let window_bytes = usize::try_from(queue.bytes_max).unwrap_or(usize::MAX);
        let store = match queue.kind {
            QueueKind::Memory => return Ok(None),
            QueueKind::Disk => Store::Disk(DiskOptions {
                path: disk_file(spec, uuid),
                retention_bytes: log.retention_bytes,
                window_bytes,
            }),
            QueueKind::Rabbitmq => {
                let brokers = log.urls.iter().map(|url| url.expose().parse());
                let message_bytes = body_bytes.saturating_add(HEADER_BYTES);
                Store::RabbitMq(Arc::new(Options {
                    brokers: brokers.collect::<Result<_, RabbitError>>()?,
                    tls_ca: log.tls_ca.clone(),
                    queue: Options::queue_name(uuid),
                    retention: Retention {
                        bytes_max: log.retention_bytes,
                        age_max: log.retention_age_ms.map(Duration::from_millis),
                        segment_bytes: log.segment_bytes,
                    },
                    window: Window {
                        bytes_max: window_bytes,
                        messages_max: WINDOW_MESSAGES_MAX,
                    },
                    prefetch: u16::try_from(window_bytes / message_bytes.max(1))
                        .unwrap_or(u16::MAX)
                        .max(2),
                    heartbeat: BROKER_HEARTBEAT,
                }))
            }
        };
        Ok(Some(Self {
            uuid,
            body_bytes,
            compression: match log.compressed {
                true => Compression::Zstd,
                false => Compression::None,
            },
            store,
        }))
    }

    /// An end that writes.
    ///
    /// # Errors
    /// [`DiskError`]; RabbitMQ is connected with the first message.
    pub async fn writer(&self) -> Result<LogWriter, LogError> {
        match &self.store {
            Store::RabbitMq(options) => Ok(LogWriter::RabbitMq(Box::new(Publisher::new(
                Arc::clone(options),
            )))),
            Store::Disk(options) => {
                if let Some(folder) = options.path.parent() {
                    tokio::fs::create_dir_all(folder)
                        .await
                        .map_err(|error| DiskError::failed(folder, "made", error))?;
                }
                Ok(LogWriter::Disk(DiskWriter::open(options.clone()).await?))
            }
        }
    }

    /// An end that reads.
    pub fn reader(&self) -> LogReader {
        match &self.store {
            Store::RabbitMq(options) => LogReader::RabbitMq(Box::new(Subscriber::new(
                Arc::clone(options),
                ReadFrom::First,
            ))),
            Store::Disk(options) => {
                LogReader::Disk(DiskReader::new(options.path.clone(), ReadFrom::First))
            }
        }
    }
}

fn disk_file(spec: &PipelineSpec, uuid: Uuid) -> PathBuf {
    let folder = spec.queue.log.path.clone().unwrap_or_default();
    folder.join(format!("{}-{uuid}.redb", spec.name))
}

/// The writing end of a log of any kind.
pub enum LogWriter {
    /// RabbitMQ.
    RabbitMq(Box<Publisher>),
    /// A file.
    Disk(DiskWriter),
}

impl LogWriter {
    /// What others see of its connection; `None` if it has none.
    pub fn state(&self) -> Option<watch::Receiver<LinkState>> {
        match self {
            Self::RabbitMq(publisher) => Some(publisher.state()),
            Self::Disk(_) => None,
        }
    }

    /// Bytes that were written and aren't confirmed, where that is known.
    pub fn pending_bytes(&self) -> u64 {
        match self {
            Self::RabbitMq(publisher) => publisher.pending_bytes() as u64,
            Self::Disk(_) => 0,
        }
    }
}

impl Writer for LogWriter {
    async fn publish(&mut self, sealed: Sealed) -> Result<(), LogError> {
        match self {
            Self::RabbitMq(publisher) => Ok(publisher.publish(sealed).await?),
            Self::Disk(writer) => Ok(writer.publish(sealed).await?),
        }
    }

    async fn settle(&mut self) -> Result<(), LogError> {
        match self {
            Self::RabbitMq(publisher) => Ok(publisher.settle().await?),
            Self::Disk(writer) => Ok(writer.settle().await?),
        }
    }
}

/// The reading end of a log of any kind.
pub enum LogReader {
    /// RabbitMQ.
    RabbitMq(Box<Subscriber>),
    /// A file.
    Disk(DiskReader),
}

impl LogReader {
    /// What others see of its connection; `None` if it has none.
    pub fn state(&self) -> Option<watch::Receiver<LinkState>> {
        match self {
            Self::RabbitMq(subscriber) => Some(subscriber.state()),
            Self::Disk(_) => None,
        }
    }
}

impl Reader for LogReader {
    async fn next(&mut self) -> Result<Fetched, LogError> {
        match self {
            Self::RabbitMq(subscriber) => Ok(subscriber.next().await?),
            Self::Disk(reader) => Ok(reader.next().await?),
        }
    }

    fn seek(&mut self, from: ReadFrom) {
        match self {
            Self::RabbitMq(subscriber) => subscriber.seek(from),
            Self::Disk(reader) => reader.seek(from),
        }
    }
}
