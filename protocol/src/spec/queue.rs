//! What lies between source and sinks, and the tasks that follow from it.

use std::path::PathBuf;

use super::{PipelineSpec, Secret, SinkName};
use crate::tree::TaskName;

/// What lies between source and sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its kind.
    pub kind: QueueKind,
    /// The most bytes that it holds in memory: 1 MiB to 16 GiB.
    pub bytes_max: u64,
    /// The log, for kinds that keep one.
    pub log: LogSpec,
}

/// A kind of queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueKind {
    /// In one process, for one sink.
    #[default]
    Memory,
    /// A file of one machine.
    Disk,
    /// A RabbitMQ stream.
    Rabbitmq,
}

/// A log between processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// Brokers of one RabbitMQ cluster, tried in turn: `amqp://user:password@host:port/vhost` or
    /// `amqps://…`.
    pub urls: Vec<Secret>,
    /// PEM file of the authorities that may sign a broker's certificate.
    pub tls_ca: Option<PathBuf>,
    /// The folder of a log on a disk, absolute.
    pub path: Option<PathBuf>,
    /// The most bytes that are kept: 1 MiB to 64 TiB.
    pub retention_bytes: u64,
    /// How long messages are kept, in milliseconds; `None` for as long as they fit.
    pub retention_age_ms: Option<u64>,
    /// Bytes of a stream's segment; retention drops whole ones.
    pub segment_bytes: u64,
    /// Bytes of a message that are aimed at: 64 to 512 KiB.
    pub body_bytes: u64,
    /// Whether messages are compressed.
    pub compressed: bool,
}

impl Default for LogSpec {
    /// 10 GiB, of any age, in messages that stay below 256 KiB.
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            tls_ca: None,
            path: None,
            retention_bytes: 10 << 30,
            retention_age_ms: None,
            segment_bytes: 100 << 20,
            body_bytes: 255 << 10,
            compressed: false,
        }
    }
}

/// What one task of a pipeline does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskRole {
    /// Everything, from the source to this sink.
    Whole(SinkName),
    /// Reads the source and writes the log.
    Producer,
    /// Reads the log and writes this sink.
    Consumer(SinkName),
}

impl TaskRole {
    /// The sink that it writes to.
    pub fn sink(&self) -> Option<&SinkName> {
        match self {
            Self::Whole(sink) | Self::Consumer(sink) => Some(sink),
            Self::Producer => None,
        }
    }
}

/// The name of the task that reads the source into a log.
pub const PRODUCER: &str = "producer";

/// What the task of a sink begins with where there is a log.
const CONSUMER: &str = "consumer-";

impl QueueKind {
    /// Whether producer and consumers are tasks of their own, with a log between them.
    pub fn is_log(self) -> bool {
        match self {
            Self::Memory => false,
            Self::Disk | Self::Rabbitmq => true,
        }
    }
}

impl PipelineSpec {
    /// The pipeline's tasks, in the data's direction.
    pub fn tasks(&self) -> Vec<(TaskName, TaskRole)> {
        let is_log = self.queue.kind.is_log();
        let producer = is_log.then(|| (PRODUCER.to_owned(), TaskRole::Producer));
        let sinks = self.sinks.iter().map(|sink| {
            let name = sink.name.clone();
            match is_log {
                true => (format!("{CONSUMER}{name}"), TaskRole::Consumer(name)),
                false => (name.to_string(), TaskRole::Whole(name)),
            }
        });
        producer
            .into_iter()
            .chain(sinks)
            .filter_map(|(name, role)| Some((TaskName::new(name).ok()?, role)))
            .collect()
    }

    /// What a task of that name does; `None` if the pipeline has none such.
    pub fn role(&self, task: &TaskName) -> Option<TaskRole> {
        let mut tasks = self.tasks().into_iter();
        tasks.find_map(|(name, role)| (name == *task).then_some(role))
    }
}
