//! From tables and keys to a `PipelineSpec`.
//!
//! What this version can't do yet is parsed and then refused by name, so that a file written for
//! a later version is told what it needs, not that its keys are unknown.

use std::collections::BTreeSet;
use std::path::Path;

use super::ddl::{DdlClass, DdlRule, DdlSpec};
use super::document::{Document, Section};
use super::endpoint::Endpoint;
use super::pipeline::{
    ApplySpec, Delivery, LimitsSpec, PipelineSpec, PlacementSpec, RestartSpec, SinkSpec,
    SnapshotMode, SnapshotSpec, SourceSpec,
};
use super::queue::QueueSpec;
use super::tables::{TableFilter, TableRule};
use super::{
    AlertReading, Environment, HookProblem, HookSpec, PipelineName, SinkName, SpecProblem, StartAt,
    units,
};
use crate::tree::DataSourceName;

mod fields;
mod endpoint;
mod queue;
mod alert;

use endpoint::endpoint;
use fields::*;
use queue::queue;

const HEARTBEAT_MS_DEFAULT: u64 = 1000;
const BATCH_ROWS_DEFAULT: u32 = 10_000;
const BATCH_BYTES_DEFAULT: u64 = 4 << 20;

/// Reads a pipeline file's text, or tells every problem.
pub(super) fn pipeline(
    text: &str,
    path: &Path,
    env: Option<Environment<'_>>,
    with_hooks: bool,
) -> Result<PipelineSpec, Vec<SpecProblem>> {
    let document = Document::new(text, path, env);
    let spec = document
        .parse()
        .and_then(|tree| root(&Section::root(&document, &tree, ROOT), with_hooks));
    let problems = document.into_problems();
    match spec {
        Some(spec) if problems.is_empty() => Ok(spec),
        _ => Err(problems),
    }
}

/// Reads as much of `[alert]` as can be used, and nothing else of a pipeline file.
pub(super) fn alert_only(text: &str, path: &Path, env: Environment<'_>) -> AlertReading {
    let document = Document::new(text, path, Some(env));
    let Some(tree) = document.parse() else {
        let problems = document.into_problems();
        return AlertReading {
            problems: vec![HookProblem::new(None, &problems)],
            ..AlertReading::default()
        };
    };
    let top = Section::root(&document, &tree, ROOT);
    // Keys of a later version elsewhere in the file are no matter of a Monitor.
    document.take_since(0);
    alert::reading(&top)
}

/// Reads a file of hooks, or tells every problem.
pub(super) fn hooks_file(
    text: &str,
    path: &Path,
    env: Environment<'_>,
) -> Result<Vec<HookSpec>, Vec<SpecProblem>> {
    let document = Document::new(text, path, Some(env));
    let hooks = document
        .parse()
        .map(|tree| alert::hooks_only(&Section::root(&document, &tree, HOOKS_ROOT)));
    let problems = document.into_problems();
    match hooks {
        Some(hooks) if problems.is_empty() => Ok(hooks),
        _ => Err(problems),
    }
}

fn root(top: &Section<'_>, with_hooks: bool) -> Option<PipelineSpec> {
    for required in ["name", "source", "sink"] {
        top.require(required);
    }
    top.literal("name");
    let name = top.parsed("name", str::parse::<PipelineName>);
    let source = top.table("source", SOURCE).and_then(|table| source(&table));
    let queue = queue(top);
    let sinks = sinks(top, source.as_ref(), &queue);
    let snapshot = snapshot(top);
    let apply = apply(top, &queue);
    let ddl = ddl(top);
    let alert = alert::alert(top, with_hooks);
    let placement = placement(top);
    let restart = restart(top);
    let limits = limits(top);
    let (name, source, sinks) = (name?, source?, sinks?);
    Some(PipelineSpec {
        name,
        source,
        queue,
        sinks,
        snapshot,
        apply,
        ddl,
        alert,
        placement,
        restart,
        limits,
    })
}

fn source(table: &Section<'_>) -> Option<SourceSpec> {
    table.require("tables");
    let endpoint = endpoint(table);
    let datasource = table.parsed("datasource", str::parse::<DataSourceName>);
    let tables = tables(table);
    let start = table
        .parsed("start", str::parse::<StartAt>)
        .unwrap_or_default();
    let snapshot = table.choice(
        "snapshot",
        &[
            ("initial", SnapshotMode::Initial),
            ("never", SnapshotMode::Never),
            ("only", SnapshotMode::Only),
        ],
    );
    if let Some(SnapshotMode::Initial | SnapshotMode::Only) = snapshot
        && start != StartAt::Now
    {
        let message = "a first copy begins now; remove start, or write snapshot = \"never\"";
        table.document.report(&table.place_of("start"), message);
    }
    let server_id = table
        .integer("server_id", &SERVER_ID)
        .and_then(|id| u32::try_from(id).ok());
    let heartbeat_ms = table.quantity("heartbeat", &HEARTBEAT_MS);
    Some(SourceSpec {
        endpoint: endpoint?,
        datasource,
        tables: tables?,
        start,
        snapshot: snapshot.unwrap_or_default(),
        server_id,
        heartbeat_ms: heartbeat_ms.unwrap_or(HEARTBEAT_MS_DEFAULT),
    })
}

fn snapshot(top: &Section<'_>) -> SnapshotSpec {
    let default = SnapshotSpec::default();
    let Some(table) = top.table("snapshot", SNAPSHOT) else {
        return default;
    };
    let tables = table.integer("tables_at_once", &TABLES_AT_ONCE);
    let keyless = table.parsed_array("allow_keyless", str::parse::<TableRule>);
    let allow_keyless = keyless.filter(|rules| !rules.is_empty()).and_then(|rules| {
        let filter = TableFilter::new(rules).map_err(|error| {
            let place = table.place_of("allow_keyless");
            table.document.report(&place, error.to_string());
        });
        filter.ok()
    });
    SnapshotSpec {
        tables_at_once: tables
            .and_then(|tables| u8::try_from(tables).ok())
            .unwrap_or(default.tables_at_once),
        chunk_ms: table
            .quantity("chunk_time", &CHUNK_MS)
            .unwrap_or(default.chunk_ms),
        rows_per_second_max: table.integer("rows_per_second_max", &ROWS_PER_SECOND),
        lag_max_ms: table
            .quantity("lag_max", &COPY_LAG_MS)
            .unwrap_or(default.lag_max_ms),
        allow_keyless,
    }
}

fn tables(table: &Section<'_>) -> Option<TableFilter> {
    let Some(rules) = table.parsed_array("tables", str::parse::<TableRule>) else {
        // A rule that is a variable as a whole says nothing here, and nobody looks.
        return (table.document.blind && table.has("tables"))
            .then(|| TableFilter::parse(&["*.*"]).ok())?;
    };
    match TableFilter::new(rules) {
        Ok(filter) => Some(filter),
        Err(error) => {
            table
                .document
                .report(&table.place_of("tables"), error.to_string());
            None
        }
    }
}

fn sinks(
    top: &Section<'_>,
    source: Option<&SourceSpec>,
    queue: &QueueSpec,
) -> Option<Vec<SinkSpec>> {
    let tables = top.tables("sink", SINK)?;
    if tables.is_empty() {
        let message = format!("no sink; {}", top.next("sink"));
        top.document.report(&top.place_of("sink"), message);
    }
    if let Some(second) = tables.get(1)
        && !queue.kind.is_log()
    {
        let message = "a queue in memory has one sink; write [queue] kind = \"rabbitmq\" or \
                       \"disk\", or a file per sink, each with a name of its own";
        top.document.report(&second.place, message);
    }
    let mut names = BTreeSet::new();
    let mut out = Vec::with_capacity(tables.len());
    for table in &tables {
        let sink = sink(table);
        if let Some(sink) = &sink
            && !names.insert(sink.name.clone())
        {
            let message = "another sink has this name; give each its own";
            table.document.report(&table.place_of("name"), message);
        }
        if let (Some(sink), Some(source)) = (&sink, source)
            && same_server(&sink.endpoint, &source.endpoint)
        {
            let message = "the same server as the source: rows would be written to the tables \
                           they come from; give another server";
            table.document.report(&table.place_of("url"), message);
        }
        if let Some(sink) = &sink
            && out
                .iter()
                .flatten()
                .any(|other: &SinkSpec| same_server(&sink.endpoint, &other.endpoint))
        {
            let message = "the same server as another sink: both would write the same tables; \
                           give another server";
            table.document.report(&table.place_of("url"), message);
        }
        out.push(sink);
    }
    out.into_iter().collect()
}

/// By name only: one server under two names is found by comparing server UUIDs, when connected.
fn same_server(a: &Endpoint, b: &Endpoint) -> bool {
    a.host.eq_ignore_ascii_case(&b.host) && a.port == b.port
}

fn sink(table: &Section<'_>) -> Option<SinkSpec> {
    table.require("name");
    table.literal("name");
    let name = table.parsed("name", str::parse::<SinkName>);
    let endpoint = endpoint(table);
    let datasource = table.parsed("datasource", str::parse::<DataSourceName>);
    let delivery = table.choice(
        "delivery",
        &[
            ("exactly-once", Delivery::ExactlyOnce),
            ("at-least-once", Delivery::AtLeastOnce),
            ("at-most-once", Delivery::AtMostOnce),
        ],
    );
    Some(SinkSpec {
        name: name?,
        endpoint: endpoint?,
        datasource,
        delivery: delivery.unwrap_or_default(),
    })
}

fn apply(top: &Section<'_>, queue: &QueueSpec) -> ApplySpec {
    let mut spec = ApplySpec {
        batch_rows_max: BATCH_ROWS_DEFAULT,
        batch_bytes_max: BATCH_BYTES_DEFAULT.min(queue.bytes_max),
    };
    let Some(table) = top.table("apply", APPLY) else {
        return spec;
    };
    let rows = table.integer("batch_rows_max", &BATCH_ROWS);
    if let Some(rows) = rows.and_then(|rows| u32::try_from(rows).ok()) {
        spec.batch_rows_max = rows;
    }
    if let Some(bytes) = table.quantity("batch_bytes_max", &BATCH_BYTES) {
        spec.batch_bytes_max = bytes;
        if bytes > queue.bytes_max {
            let message = format!(
                "{} is more than the queue holds, {}; lower it or raise queue.bytes_max",
                units::size_text(bytes),
                units::size_text(queue.bytes_max),
            );
            table
                .document
                .report(&table.place_of("batch_bytes_max"), message);
        }
    }
    spec
}

fn ddl(top: &Section<'_>) -> DdlSpec {
    const RULES: [DdlRule; 3] = [DdlRule::Apply, DdlRule::Ignore, DdlRule::Stop];
    let mut spec = DdlSpec::default();
    let Some(table) = top.table("ddl", DDL) else {
        return spec;
    };
    let rules = RULES.map(|rule| (rule.word(), rule));
    if let Some(rule) = table.choice("default", &rules) {
        spec = spec.with_default(rule);
    }
    for class in DdlClass::ALL {
        let key = class.key();
        match table.choice(key, &rules) {
            None => {}
            Some(DdlRule::Apply) if !class.can_apply() => {
                let why = match class {
                    DdlClass::Program => {
                        "triggers, routines and events aren't run on a sink: what they do is in the \
                         binlog as rows, and would be done twice"
                    }
                    _ => "what isn't understood can't be run exactly once",
                };
                let message = format!("{why}; {}", table.next(key));
                table.document.report(&table.place_of(key), message);
            }
            Some(rule) => spec = spec.with(class, rule),
        }
    }
    spec
}

fn limits(top: &Section<'_>) -> LimitsSpec {
    let Some(table) = top.table("limits", LIMITS) else {
        return LimitsSpec::default();
    };
    LimitsSpec {
        rows_per_second_max: table.integer("rows_per_second_max", &ROWS_PER_SECOND),
        bytes_per_second_max: table.quantity("bytes_per_second_max", &BYTES_PER_SECOND),
    }
}

fn placement(top: &Section<'_>) -> PlacementSpec {
    let default = PlacementSpec::default();
    let Some(table) = top.table("placement", PLACEMENT) else {
        return default;
    };
    let replicas = table.integer("replicas", &REPLICAS);
    PlacementSpec {
        labels: table.strings("labels").unwrap_or_default(),
        replicas: replicas
            .and_then(|replicas| u8::try_from(replicas).ok())
            .unwrap_or(default.replicas),
        fail_back: table.boolean("fail_back").unwrap_or(default.fail_back),
    }
}

fn restart(top: &Section<'_>) -> RestartSpec {
    let default = RestartSpec::default();
    let Some(table) = top.table("restart", RESTART) else {
        return default;
    };
    table.literal("window");
    let max = table.integer("max", &RESTARTS);
    RestartSpec {
        max: max
            .and_then(|max| u32::try_from(max).ok())
            .unwrap_or(default.max),
        window_ms: table
            .quantity("window", &RESTART_WINDOW_MS)
            .unwrap_or(default.window_ms),
    }
}
