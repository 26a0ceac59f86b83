//! One pipeline, as its file describes it: resolved and valid.

use std::collections::BTreeMap;

use crate::tree::DataSourceName;

use super::{
    AlertSpec, DdlSpec, Endpoint, PipelineName, QueueSpec, SinkName, StartAt, TableFilter,
};

/// A pipeline: one source, a queue, its sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineSpec {
    /// Its name.
    pub name: PipelineName,
    /// Where the binlog comes from.
    pub source: SourceSpec,
    /// What lies between source and sinks.
    pub queue: QueueSpec,
    /// Where the data go: one with a queue in memory, at least one with a log.
    pub sinks: Vec<SinkSpec>,
    /// How existing rows are copied.
    pub snapshot: SnapshotSpec,
    /// How source transactions are merged into sink transactions.
    pub apply: ApplySpec,
    /// What is done about schema changes.
    pub ddl: DdlSpec,
    /// What counts as trouble, and whom to tell.
    pub alert: AlertSpec,
    /// Which Cores may run it.
    pub placement: PlacementSpec,
    /// How often what failed is tried again.
    pub restart: RestartSpec,
    /// How fast it may go.
    pub limits: LimitsSpec,
}

/// How fast a pipeline may go; `None` is as fast as it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsSpec {
    /// Most rows that go into the sink each second: at least 1.
    pub rows_per_second_max: Option<u64>,
    /// Most bytes that are read from the source each second: at least 64 KiB.
    pub bytes_per_second_max: Option<u64>,
}

/// Where the binlog comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// The server.
    pub endpoint: Endpoint,
    /// The server's name in the directory: where its node says, else where `endpoint` does.
    pub datasource: Option<DataSourceName>,
    /// Which tables are taken.
    pub tables: TableFilter,
    /// Where to begin, for a sink that has no offset yet.
    pub start: StartAt,
    /// Whether existing rows are copied first.
    pub snapshot: SnapshotMode,
    /// The server id to register with; chosen when `None`. Never 0.
    pub server_id: Option<u32>,
    /// How often an idle source says that it lives, in milliseconds: 100 to 60,000.
    pub heartbeat_ms: u64,
}

/// Whether existing rows are copied before the binlog is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Copy and follow, both at once.
    Initial,
    /// Follow only.
    #[default]
    Never,
    /// Copy, follow until the copy is as of one moment, then end.
    Only,
}

/// How existing rows are copied, at the first start or at an operator's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSpec {
    /// Tables that are copied at the same time, each with a connection to the source: 1 to 16.
    pub tables_at_once: u8,
    /// How long reading or writing one chunk shall take, in milliseconds: 20 to 10,000. The stream
    /// waits for about as long.
    pub chunk_ms: u64,
    /// Most rows that are copied each second; `None` is as fast as it can.
    pub rows_per_second_max: Option<u64>,
    /// The copy rests while the stream is further behind than this, in milliseconds.
    pub lag_max_ms: u64,
    /// Tables without a key that may be copied all the same.
    pub allow_keyless: Option<TableFilter>,
}

impl Default for SnapshotSpec {
    /// Two tables at once, in chunks of a quarter of a second, unless the stream is half a minute
    /// behind.
    fn default() -> Self {
        Self {
            tables_at_once: 2,
            chunk_ms: 250,
            rows_per_second_max: None,
            lag_max_ms: 30_000,
            allow_keyless: None,
        }
    }
}

/// Where the data go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSpec {
    /// Its name, unique in the pipeline.
    pub name: SinkName,
    /// The server.
    pub endpoint: Endpoint,
    /// The server's name in the directory: where its node says, else where `endpoint` does.
    pub datasource: Option<DataSourceName>,
    /// What a crash may do.
    pub delivery: Delivery,
}

/// What a crash may do to a transaction on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing: data and offset commit in one transaction of the sink.
    #[default]
    ExactlyOnce,
    /// Repeat it: data commit first, the offset after them.
    AtLeastOnce,
    /// Lose it: the offset commits first, data after it.
    AtMostOnce,
}

/// How source transactions are merged into sink transactions. A source transaction that is larger
/// than a bound goes alone, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplySpec {
    /// The most rows of a merged transaction: 1 to 1,000,000.
    pub batch_rows_max: u32,
    /// The most bytes of a merged transaction's events: 64 KiB to 256 MiB, and no more than the
    /// queue holds.
    pub batch_bytes_max: u64,
}

/// Which Cores may run a pipeline's tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementSpec {
    /// What a Core's labels must say; any Core will do if this is empty.
    pub labels: BTreeMap<String, String>,
    /// Cores per task: one runs, the others stand by. 1 to 5.
    pub replicas: u8,
    /// Whether work goes back to the preferred Core when it returns.
    pub fail_back: bool,
}

impl Default for PlacementSpec {
    /// Any Core, and a standby.
    fn default() -> Self {
        Self {
            labels: BTreeMap::new(),
            replicas: 2,
            fail_back: false,
        }
    }
}

/// How often a task that failed is tried again by itself; what can't get better by trying is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartSpec {
    /// The most tries within the window: 0 to 100.
    pub max: u32,
    /// The window, in milliseconds: 10 s to 24 h.
    pub window_ms: u64,
}

impl Default for RestartSpec {
    /// 5 in 10 minutes.
    fn default() -> Self {
        Self {
            max: 5,
            window_ms: 600_000,
        }
    }
}
