//! Everything that a pipeline needs, looked at before it runs.
//!
//! Both servers are asked at once; then pure functions judge: `source::preflight` and
//! `commit::preflight` each server for itself, `place` where the pipeline would go on, `compare`
//! and `table_findings` the tables of both. A finding that can't be judged, since what it rests on
//! has failed, is left out: the operator mends the first and checks again.
//!
//! Nothing is changed on either server, and nobody is disturbed: the dump that is tried has a
//! server_id and a UUID of its own, so that a running pipeline keeps its.

pub mod finding;
pub mod grants;
pub mod tables;
mod login;
mod place;
pub(crate) mod compare;
mod table_findings;
mod copy;

use std::collections::BTreeSet;
use std::time::Duration;

use mysql_async::Conn;
use towpath_protocol::code;
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::{Delivery, Endpoint, PipelineSpec, SinkSpec, SnapshotMode};
use uuid::Uuid;

use crate::apply::ddl::TableName;
use crate::apply::target::TargetColumn;
use crate::commit::preflight::{self, Offset, SinkFacts, SourceTraits};
use crate::pipeline::default_server_id;
use crate::pipeline::snapshot::{cascading, logs_cascades};
use crate::source::{DumpFrom, DumpOptions, EventStream, Needs, SourceFacts, anonymous, start};
use compare::Difference;
use finding::{Finding, FindingState, Fix};
pub use login::Side;
use table_findings::{Definitions, TABLES_LISTED_MAX};
use tables::Tables;

/// The server notices that the dump which is tried is over when it sends the next heartbeat.
const TRIAL_HEARTBEAT: Duration = Duration::from_millis(100);

/// The findings about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `pipeline file …`, `source HOST:PORT` or `sink NAME HOST:PORT`.
    pub name: String,
    /// In the order in which an operator would look.
    pub findings: Vec<Finding>,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By server.
    pub groups: Vec<Group>,
}

impl Report {
    /// Whether the pipeline can run.
    pub fn is_ready(&self) -> bool {
        self.count(FindingState::Failed) == 0
    }

    /// How many findings have a state.
    pub fn count(&self, state: FindingState) -> usize {
        let all = self.groups.iter().flat_map(|group| &group.findings);
        all.filter(|finding| finding.state == state).count()
    }
}

/// One server as it was found.
struct Asked<F> {
    conn: Option<Conn>,
    facts: Option<F>,
    tables: Option<Tables>,
    findings: Vec<Finding>,
}

/// Checks a pipeline. Errors of the servers are findings.
pub async fn check(spec: &PipelineSpec) -> Report {
    let Some(sink_spec) = spec.sinks.first() else {
        return Report::default();
    };
    let (mut source, mut sink) = tokio::join!(ask_source(spec), ask_sink(spec, sink_spec));
    let start = spec.source.start.to_string();
    let server_id = spec
        .source
        .server_id
        .unwrap_or_else(|| default_server_id(spec.name.as_str(), sink_spec.name.as_str()));

    let offset = sink.facts.as_ref().map(|facts| &facts.offset);
    let is_fresh = offset.is_none_or(|offset| place::stored(offset).is_none());
    let first_copy = is_fresh && spec.source.snapshot != SnapshotMode::Never;

    let mut place = None;
    if let Some(facts) = &mut source.facts {
        forget_ourselves(facts, offset, sink_spec.name.as_str());
        let product = product_finding(facts);
        let is_mysql = product.state == FindingState::Ok;
        source.findings.push(product);
        if is_mysql {
            source.findings.extend(facts.findings(&Needs {
                server_id,
                gtid: true,
                whole_rows: first_copy || sink_spec.delivery != Delivery::ExactlyOnce,
            }));
            if let (Some(conn), Some(offset)) = (&mut source.conn, offset) {
                let found = find_place(spec, offset, facts, conn, &mut source.findings).await;
                place = found;
            }
        }
    }
    if let (Some(facts), Some(tables)) = (&source.facts, &source.tables) {
        let rules = spec.source.tables.to_string();
        let sees_all = facts.has_privilege("SELECT");
        source.findings.extend(table_findings::of_source(
            tables,
            &rules,
            &facts.account,
            sees_all,
        ));
        if first_copy {
            let found = copy::of_source(facts, tables, &spec.snapshot);
            source.findings.extend(found);
            let cascades = find_cascades(facts, tables, &mut source.conn).await;
            source.findings.extend(cascades);
        }
    }
    if let Some(facts) = &sink.facts {
        let needs = sink_needs(
            spec,
            source.facts.as_ref(),
            source.tables.as_ref(),
            sink.tables.as_ref(),
        );
        sink.findings.extend(facts.findings(&needs));
        sink.findings
            .extend(place::of_sink(&facts.offset, &start, source.facts.as_ref()));
    }
    compare_tables(&mut source, &mut sink, place.as_ref(), first_copy).await;
    for conn in [source.conn, sink.conn].into_iter().flatten() {
        let _ = conn.disconnect().await;
    }
    Report {
        groups: vec![
            Group {
                name: format!("source {}", address(&spec.source.endpoint)),
                findings: source.findings,
            },
            Group {
                name: format!("sink {} {}", sink_spec.name, address(&sink_spec.endpoint)),
                findings: sink.findings,
            },
        ],
    }
}

fn address(endpoint: &Endpoint) -> String {
    if endpoint.host.contains(':') {
        format!("[{}]:{}", endpoint.host, endpoint.port)
    } else {
        format!("{}:{}", endpoint.host, endpoint.port)
    }
}

async fn ask_source(spec: &PipelineSpec) -> Asked<SourceFacts> {
    let (mut conn, mut findings) = login::log_in(&spec.source.endpoint, Side::Source).await;
    let mut facts = None;
    if let Some(conn) = &mut conn {
        match SourceFacts::read(conn).await {
            Ok(read) => facts = Some(read),
            Err(error) => findings.push(place::refused("the source says what it is", &error)),
        }
    }
    let answers = facts.is_some();
    let tables = read_tables(spec, &mut conn, answers, &mut findings, Side::Source).await;
    Asked {
        conn,
        facts,
        tables,
        findings,
    }
}

async fn ask_sink(spec: &PipelineSpec, sink: &SinkSpec) -> Asked<SinkFacts> {
    let (mut conn, mut findings) = login::log_in(&sink.endpoint, Side::Sink).await;
    let mut facts = None;
    if let Some(conn) = &mut conn {
        match SinkFacts::read(conn, spec.name.as_str(), sink.name.as_str()).await {
            Ok(read) => facts = Some(read),
            Err(error) => findings.push(unanswered("the sink says what it is", &error, Side::Sink)),
        }
    }
    let answers = facts.is_some();
    let tables = read_tables(spec, &mut conn, answers, &mut findings, Side::Sink).await;
    Asked {
        conn,
        facts,
        tables,
        findings,
    }
}

async fn read_tables(
    spec: &PipelineSpec,
    conn: &mut Option<Conn>,
    answers: bool,
    findings: &mut Vec<Finding>,
    side: Side,
) -> Option<Tables> {
    let conn = conn.as_mut().filter(|_| answers)?;
    match Tables::read(conn, &spec.source.tables).await {
        Ok(tables) => Some(tables),
        Err(error) => {
            let what = "the server says what tables it has";
            findings.push(unanswered(what, &error, side));
            None
        }
    }
}

fn unanswered(what: &str, error: &mysql_async::Error, side: Side) -> Finding {
    let fix = Fix::hand("see the server's error log, and check again");
    Finding::new(what, FindingState::Failed, error.to_string(), fix).code(side.code(error))
}

fn product_finding(facts: &SourceFacts) -> Finding {
    let product = if facts.is_mariadb() {
        "MariaDB"
    } else {
        "MySQL"
    };
    let has_uuid = Uuid::parse_str(facts.server_uuid()).is_ok();
    Finding::new(
        "the source is MySQL 5.7 or later",
        FindingState::ok_if(has_uuid && !facts.is_mariadb(), FindingState::Failed),
        format!("{product} {}", facts.version()),
        Fix::hand("replicate from a MySQL; this version of Towpath doesn't read other binlogs"),
    )
    .code(code::SOURCE_PRODUCT)
}

/// Takes this pipeline's own dump, if it runs now, out of the replicas: it is no clash.
fn forget_ourselves(facts: &mut SourceFacts, offset: Option<&Offset>, sink: &str) {
    let Some(Offset::Stored(stored)) = offset else {
        return;
    };
    let ours = Uuid::new_v5(&stored.pipeline_uuid, sink.as_bytes()).to_string();
    if let Some(replicas) = &mut facts.replicas {
        replicas.retain(|replica| !replica.uuid.eq_ignore_ascii_case(&ours));
    }
}

/// Where the pipeline would begin, with the findings on the way; None where it could not.
async fn find_place(
    spec: &PipelineSpec,
    offset: &Offset,
    facts: &SourceFacts,
    conn: &mut Conn,
    findings: &mut Vec<Finding>,
) -> Option<GtidSet> {
    let may_dump = facts.has_privilege("REPLICATION SLAVE");
    if facts.variable("gtid_mode") != "ON"
        || !may_dump
        || matches!(offset, Offset::Hidden | Offset::Unreadable(_))
    {
        return None;
    }
    let endpoint = &spec.source.endpoint;
    let options = trial_options(spec);
    let place = match place::stored(offset) {
        Some(gtids) => {
            let finding = place::at_source(gtids, facts);
            let has_all = finding.state == FindingState::Ok;
            findings.push(finding);
            if let (true, Some(position)) = (has_all, place::position(offset, facts)) {
                let checked = anonymous::check_behind(conn, position).await;
                findings.push(place::numbered(position, checked));
            }
            has_all.then(|| gtids.clone())
        }
        None => {
            let at = &spec.source.start;
            let resolved = start::resolve(at, endpoint, &options, facts, conn).await;
            findings.push(place::start(&at.to_string(), resolved.as_ref(), facts));
            resolved.ok()
        }
    }?;
    // A set with foreign transactions is a finding of the sink's; a dump from there proves nothing.
    if place.is_subset(&facts.gtid_executed) {
        findings.push(try_dump(endpoint, &options, &place).await);
    }
    Some(place)
}

/// A replica of its own, which nothing else is taken for.
fn trial_options(spec: &PipelineSpec) -> DumpOptions {
    DumpOptions {
        server_id: default_server_id(spec.name.as_str(), &Uuid::new_v4().to_string()),
        replica_uuid: Some(Uuid::new_v4()),
        pipeline: format!("{} (check)", spec.name),
        heartbeat: TRIAL_HEARTBEAT,
    }
}

/// Asks for the binlog and reads its first event: the login of the dump, its TLS, and the source's
/// own opinion of the place.
async fn try_dump(endpoint: &Endpoint, options: &DumpOptions, place: &GtidSet) -> Finding {
    let what = "the binlog can be read";
    let begun = async {
        let mut stream = EventStream::open(endpoint, options, DumpFrom::Gtid(place)).await?;
        stream.next().await?;
        Ok(stream.position().file.clone())
    };
    match begun.await {
        Ok(file) => Finding::ok(what, format!("from {file}")),
        Err(error) => place::refused(what, &error),
    }
}

fn sink_needs<'a>(
    spec: &PipelineSpec,
    source: Option<&'a SourceFacts>,
    source_tables: Option<&'a Tables>,
    sink_tables: Option<&'a Tables>,
) -> preflight::Needs<'a> {
    let all = || source_tables.into_iter().chain(sink_tables);
    let names = all().flat_map(|tables| tables.by_name.keys());
    let tables: BTreeSet<(&str, &str)> = names.map(|(d, t)| (d.as_str(), t.as_str())).collect();
    // Databases without a table yet count only where nothing else is known: a filter `*.*` would
    // name every one of the server's.
    let databases = if tables.is_empty() {
        all()
            .flat_map(|tables| &tables.databases)
            .map(String::as_str)
            .collect()
    } else {
        BTreeSet::new()
    };
    preflight::Needs {
        databases,
        tables,
        source: source.map(|facts| SourceTraits {
            server_uuid: facts.server_uuid(),
            max_allowed_packet: facts.max_allowed_packet(),
            lower_case_table_names: facts.variable("lower_case_table_names"),
        }),
        ddl: spec.ddl.clone(),
    }
}

/// Looks for foreign keys that change rows unseen; `None` where we may not look.
async fn find_cascades(
    facts: &SourceFacts,
    tables: &Tables,
    conn: &mut Option<Conn>,
) -> Option<Finding> {
    if logs_cascades(facts) {
        return Some(copy::cascades(&[]));
    }
    let names: Vec<(&str, &str)> = tables
        .by_name
        .keys()
        .map(|(database, table)| (database.as_str(), table.as_str()))
        .collect();
    let found = cascading(conn.as_mut()?, &names).await.ok()?;
    Some(copy::cascades(&found))
}

/// Compares the tables of both servers, if both answer. `first_copy`: all that the sink lacks is
/// made and filled.
async fn compare_tables(
    source: &mut Asked<SourceFacts>,
    sink: &mut Asked<SinkFacts>,
    place: Option<&GtidSet>,
    first_copy: bool,
) {
    let (Some(sink_facts), Some(at_sink)) = (&sink.facts, &sink.tables) else {
        return;
    };
    let (Some(facts), Some(at_source)) = (&source.facts, &source.tables) else {
        sink.findings.extend(table_findings::triggers(
            at_sink,
            &sink_facts.grants,
            &sink_facts.account,
        ));
        return;
    };
    // Without a place nothing is known of what comes before the next row: then what is missing now
    // is held to be missing.
    let is_current = place.is_none_or(|place| facts.gtid_executed.is_subset(place));
    let is_fresh = place::stored(&sink_facts.offset).is_none();
    let mut differences = compare::differences(at_source, at_sink);
    if first_copy {
        let listed = differences.len();
        differences.retain(|(_, difference)| !matches!(difference, Difference::NoTable { .. }));
        let missing = listed - differences.len();
        sink.findings.extend(table_findings::to_be_made(missing));
    }
    let mut definitions = Definitions::new();
    if let Some(conn) = &mut source.conn {
        for (name, difference) in differences.iter().take(TABLES_LISTED_MAX) {
            let key = (name.database.clone(), name.table.clone());
            let is_needed = !matches!(difference, Difference::NotTransactional { .. });
            if is_needed && !definitions.contains_key(&key) {
                // Without it the fix is told in words.
                if let Ok(Some(definition)) = tables::definition(conn, name).await {
                    definitions.insert(key, definition);
                }
            }
        }
    }
    let findings = table_findings::of_sink(
        at_source,
        &differences,
        &definitions,
        at_sink,
        is_current,
        first_copy,
    );
    sink.findings.extend(findings);
    sink.findings.extend(table_findings::triggers(
        at_sink,
        &sink_facts.grants,
        &sink_facts.account,
    ));
    if first_copy {
        let filled = find_filled(source, sink).await;
        sink.findings.extend(filled);
    } else if is_fresh && place.is_some_and(|place| !place.is_empty()) {
        let copies = find_copies(source, sink).await;
        sink.findings.extend(copies);
    }
}

/// How the definitions of both servers' tables differ, for people, and whether the copy lacks
/// something by it: a table, a column, a key, or room for a value. (What only keeps new rows out
/// says nothing of those that are there.)
pub fn definitions(source: &Tables, sink: &Tables) -> Vec<(TableName, String, bool)> {
    let told = |difference| match difference {
        Difference::NoTable { .. } => Some(("the sink has no such table".to_owned(), true)),
        Difference::NoColumn { column, .. } => {
            let text = format!("the sink lacks column {}", column.name);
            Some((text, true))
        }
        Difference::Refused { source, sink } => Some((unlike(&source, &sink), true)),
        Difference::Unlike { source, sink } => Some((unlike(&source, &sink), false)),
        Difference::NoKey => Some(("the sink's table has no key".to_owned(), false)),
        Difference::NeedsValue { .. }
        | Difference::NotTransactional { .. }
        | Difference::OwnUnique { .. } => None,
    };
    let all = compare::differences(source, sink).into_iter();
    all.filter_map(|(name, difference)| {
        let (text, lacks) = told(difference)?;
        Some((name, text, lacks))
    })
    .collect()
}

fn unlike(source: &TargetColumn, sink: &TargetColumn) -> String {
    format!(
        "column {} is {} at the source, and {} on the sink",
        source.name,
        compare::describe(source),
        compare::describe(sink)
    )
}

/// Looks for tables that a first copy is to fill, and that have rows already.
async fn find_filled(source: &Asked<SourceFacts>, sink: &mut Asked<SinkFacts>) -> Option<Finding> {
    let both = on_both(source.tables.as_ref()?, sink.tables.as_ref()?);
    let filled = tables::with_rows(sink.conn.as_mut()?, &both).await.ok()??;
    let filled: Vec<TableName> = filled
        .into_iter()
        .filter_map(|at| both.get(at))
        .cloned()
        .collect();
    Some(table_findings::filled(&filled))
}

/// Tables of the source that the sink has, too.
fn on_both(at_source: &Tables, at_sink: &Tables) -> Vec<TableName> {
    let both = at_source
        .by_name
        .keys()
        .filter(|key| at_sink.by_name.contains_key(key));
    both.map(|(database, table)| TableName {
        database: database.clone(),
        table: table.clone(),
    })
    .collect()
}

/// Looks for tables that are on both servers, and have rows only at the source.
async fn find_copies(
    source: &mut Asked<SourceFacts>,
    sink: &mut Asked<SinkFacts>,
) -> Option<Finding> {
    let (at_source, at_sink) = (source.tables.as_ref()?, sink.tables.as_ref()?);
    let both = on_both(at_source, at_sink);
    if both.is_empty() {
        return None;
    }
    let (source, sink) = (source.conn.as_mut()?, sink.conn.as_mut()?);
    let (source, sink) = tokio::join!(
        tables::with_rows(source, &both),
        tables::with_rows(sink, &both)
    );
    // Where we may not look, nothing is said.
    let (source, sink) = (source.ok()??, sink.ok()??);
    let empty: Vec<TableName> = source
        .difference(&sink)
        .filter_map(|at| both.get(*at))
        .cloned()
        .collect();
    Some(table_findings::copies(&empty))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::preflight::StoredOffset;
    use crate::source::Replica;

    #[test]
    fn our_own_dump_is_no_clash() {
        let pipeline_uuid = Uuid::from_u128(9);
        let ours = Uuid::new_v5(&pipeline_uuid, b"replica").to_string();
        let replica = |uuid: &str| Replica {
            server_id: 7,
            host: "towpath:orders".to_owned(),
            uuid: uuid.to_owned(),
        };
        let mut facts = SourceFacts::default();
        facts.replicas = Some(vec![replica(&ours), replica("other")]);
        let stored = StoredOffset {
            pipeline_uuid,
            ..StoredOffset::default()
        };
        forget_ourselves(
            &mut facts,
            Some(&Offset::Stored(Box::new(stored))),
            "replica",
        );
        assert_eq!(facts.replicas, Some(vec![replica("other")]));
        forget_ourselves(&mut facts, None, "replica");
        assert_eq!(facts.replicas.unwrap().len(), 1);
    }

    #[test]
    fn a_report_is_ready_unless_something_failed() {
        let finding = |state| Finding::new("x", state, "y", None);
        let of = |states: &[FindingState]| Report {
            groups: vec![Group {
                name: String::new(),
                findings: states.iter().map(|state| finding(*state)).collect(),
            }],
        };
        assert!(of(&[FindingState::Ok, FindingState::Warning]).is_ready());
        assert!(!of(&[FindingState::Ok, FindingState::Failed]).is_ready());
    }
}
