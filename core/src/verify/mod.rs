//! Are the sink's rows those of the source? Both servers are asked while both are live.
//!
//! ```text
//! table ─ key ranges ─> a hash of all rows, on both ─ differs ─> halves … keys ─> proof ─> difference ─> repair
//! ```
//!
//! - [`cell`] says how a value becomes text that is the same exactly if the value is; [`statement`]
//!   what is asked.
//! - A range whose hashes differ is narrowed to keys ([`compare`]). Under load most of these are
//!   only late: a key counts as different when that is proven ([`proof`]), from the offset that the
//!   sink commits with its rows.
//! - [`repair`] writes the source's rows into the sink in one transaction under the pipeline's
//!   offset.
//!
//! Invariants: nothing is ever written to a source, and nothing to a sink but by `repair` and
//! [`resnapshot`]; a difference that is told was seen in the same shape several times, with the
//! sink known to be up to date; what could not be compared is told as such, and is never equal.
//! Tables without a key aren't compared: nothing says which of their rows belong together.

mod cell;
mod key;
mod statement;
mod server;
mod proof;
mod compare;
mod repair;
mod report;
mod error;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use towpath_protocol::spec::{DdlClass, DdlRule, PipelineSpec, SinkSpec};

use crate::apply::ddl::TableName;
use crate::apply::target::{TargetTable, own_unique};
use crate::check::{self, Side, tables::Tables};
use crate::commit::intervene::Intervention;
use crate::commit::preflight::{Offset, read_offset};
use crate::commit::{SinkError, copies::CopyState};
use crate::pipeline::snapshot::{CopyError, hindrance};
use crate::scan::ScanTable;
use crate::source::SourceFacts;

pub use error::VerifyError;
pub use report::{DefinitionNote, Difference, Hindrance, Kind, Report, TableReport, Verdict};

use compare::Comparison;
use key::KeyColumns;
use server::{Place, Server};
use statement::Statements;

/// A table that is altered while it is compared is looked at anew this many times.
const TRIES_MAX: u32 = 3;

/// What to compare, and what to do about it.
#[derive(Clone, Debug)]
pub struct Options {
    /// These tables, as `database.table`; all that the pipeline takes if there are none.
    pub tables: Vec<String>,
    /// Whether what differs is written anew on the sink.
    pub repair: bool,
    /// How long the sink may stand still before it counts as stopped.
    pub patience: Duration,
}

/// How far a comparison is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Database and table.
    pub table: &'a str,
    /// Rows of the source that were compared.
    pub rows: u64,
    /// Rows that the source guesses the table to have.
    pub rows_estimate: Option<u64>,
}

/// Compares a pipeline's tables, and repairs what differs if that is wanted. With several sinks,
/// the first.
///
/// # Errors
/// A server can't be asked at all, or a repair is refused. What is in the way of a single table is
/// in its report.
pub async fn verify(
    spec: &PipelineSpec,
    options: &Options,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Report, VerifyError> {
    let (place, sink_spec) = place(spec)?;
    let (mut source, mut sink) = connect(spec, sink_spec).await?;
    need_place(&mut sink, &place).await?;
    let facts = SourceFacts::read(source.conn()).await?;
    if options.repair
        && let Some(hindrance) = hindrance(&facts, source.conn(), &[]).await?
    {
        return Err(hindrance.into());
    }
    let (at_source, at_sink) = tables(spec, &mut source, &mut sink).await?;
    let mut reports = begin(spec, options, &at_source, &at_sink)?;
    let copies = sink.copies(&place).await?;

    let mut comparison = Comparison {
        source,
        sink,
        place,
        patience: options.patience,
        stands_still: None,
        progress,
    };
    for report in &mut reports {
        let name = (report.name.database.as_str(), report.name.table.as_str());
        let is_there = |tables: &Tables| {
            let key = (name.0.to_owned(), name.1.to_owned());
            tables.by_name.contains_key(&key)
        };
        // Its absence is a note already.
        if !is_there(&at_source) || !is_there(&at_sink) {
            continue;
        }
        let copy = copies
            .iter()
            .find(|(database, table, _)| (database.as_str(), table.as_str()) == name);
        let state = copy.and_then(|(_, _, state)| CopyState::from_word(state));
        if let Some(state @ (CopyState::Waiting | CopyState::Copying)) = state {
            let error = VerifyError::Copying {
                table: report.name.to_string(),
                state: state.word(),
            };
            report.hindrance = Some(error.hindrance());
            continue;
        }
        let repair = options.repair.then_some((sink_spec, &facts));
        table(&mut comparison, report, repair).await?;
    }
    let Comparison {
        source,
        sink,
        place,
        ..
    } = comparison;
    source.disconnect().await;
    sink.disconnect().await;
    Ok(Report {
        pipeline: place.pipeline,
        sink: place.sink,
        tables: reports,
    })
}

/// Has a table copied anew by the running pipeline, or by the next one that runs: all of its rows,
/// or those that meet `condition`. What the stream brings meanwhile is applied by key.
///
/// # Errors
/// No such table, or one without a key; a condition that the source doesn't understand; and what
/// the servers refuse.
pub async fn resnapshot(
    spec: &PipelineSpec,
    table: &str,
    condition: Option<&str>,
) -> Result<(), VerifyError> {
    let (place, sink_spec) = place(spec)?;
    let (mut source, mut sink) = connect(spec, sink_spec).await?;
    let (at_source, at_sink) = tables(spec, &mut source, &mut sink).await?;
    let options = Options {
        tables: vec![table.to_owned()],
        repair: false,
        patience: Duration::ZERO,
    };
    let reports = begin(spec, &options, &at_source, &at_sink)?;
    let facts = SourceFacts::read(source.conn()).await?;
    for report in reports {
        let name = report.name;
        let names = [(name.database.as_str(), name.table.as_str())];
        if let Some(hindrance) = hindrance(&facts, source.conn(), &names).await? {
            return Err(hindrance.into());
        }
        let key = (name.database.clone(), name.table.clone());
        let unique = |tables: &'_ Tables| {
            let table = tables.by_name.get(&key);
            table.map_or_else(Vec::new, |table| table.unique.clone())
        };
        if let Some(own) = own_unique(&unique(&at_source), &unique(&at_sink)) {
            return Err(CopyError::SinkUnique {
                table: name.to_string(),
                index: own.name.clone(),
            }
            .into());
        }
        let no_such = || VerifyError::NoSuchTable {
            table: name.to_string(),
            nearest: String::new(),
        };
        let read = ScanTable::read(source.conn(), &name.database, &name.table).await;
        let read = read.map_err(|error| VerifyError::Scan {
            side: Side::Source,
            error,
        })?;
        if !read.ok_or_else(no_such)?.has_key() {
            return Err(VerifyError::NoKey {
                table: name.to_string(),
            });
        }
        if let Some(condition) = condition {
            let sql = format!(
                "SELECT 1 FROM {} WHERE ({condition}\n) LIMIT 0",
                name.quoted()
            );
            if let Err(error) = source.conn().query_drop(sql).await {
                return Err(match error {
                    mysql_async::Error::Server(error) => VerifyError::Condition {
                        table: name.to_string(),
                        condition: condition.to_owned(),
                        why: error.message,
                    },
                    error => {
                        VerifyError::statement(Side::Source, "try the condition", table, error)
                    }
                });
            }
        }
        let mut change =
            Intervention::begin(&place.pipeline, &place.sink, &sink_spec.endpoint).await?;
        change
            .copy_anew(&name.database, &name.table, condition)
            .await?;
        change.commit().await?;
    }
    source.disconnect().await;
    sink.disconnect().await;
    Ok(())
}

fn place(spec: &PipelineSpec) -> Result<(Place, &SinkSpec), VerifyError> {
    let sink = spec.sinks.first().ok_or(VerifyError::NoSink)?;
    let place = Place {
        pipeline: spec.name.to_string(),
        sink: sink.name.to_string(),
    };
    Ok((place, sink))
}

async fn connect(spec: &PipelineSpec, sink: &SinkSpec) -> Result<(Server, Server), VerifyError> {
    let name = sink.name.as_str();
    tokio::try_join!(
        Server::connect(Side::Source, name, &spec.source.endpoint),
        Server::connect(Side::Sink, name, &sink.endpoint)
    )
}

/// Without an offset nothing says where the sink stands.
async fn need_place(sink: &mut Server, place: &Place) -> Result<(), VerifyError> {
    let offset = read_offset(sink.conn(), &place.pipeline, &place.sink).await;
    let offset =
        offset.map_err(|error| VerifyError::statement(Side::Sink, "read the offset", "", error))?;
    match offset {
        Offset::Stored(stored) if stored.gtids.is_some() => Ok(()),
        Offset::Unreadable(why) => Err(VerifyError::Answer {
            side: Side::Sink,
            doing: "read the offset",
            why,
        }),
        Offset::Hidden => Err(VerifyError::Answer {
            side: Side::Sink,
            doing: "read the offset",
            why: "the account may not read towpath.offset and towpath.offset_gtid".to_owned(),
        }),
        Offset::Absent | Offset::Stored(_) => Err(SinkError::NoPlace {
            sink: place.sink.clone(),
            pipeline: place.pipeline.clone(),
        }
        .into()),
    }
}

async fn tables(
    spec: &PipelineSpec,
    source: &mut Server,
    sink: &mut Server,
) -> Result<(Tables, Tables), VerifyError> {
    let filter = &spec.source.tables;
    let (at_source, at_sink) = tokio::join!(
        Tables::read(source.conn(), filter),
        Tables::read(sink.conn(), filter)
    );
    let failed = |side| move |error| VerifyError::statement(side, "list the tables", "", error);
    Ok((
        at_source.map_err(failed(Side::Source))?,
        at_sink.map_err(failed(Side::Sink))?,
    ))
}

/// A report for each table that is to be compared, with what is to be said of its definitions.
fn begin(
    spec: &PipelineSpec,
    options: &Options,
    source: &Tables,
    sink: &Tables,
) -> Result<Vec<TableReport>, VerifyError> {
    let names: BTreeSet<&(String, String)> =
        source.by_name.keys().chain(sink.by_name.keys()).collect();
    let of = |(database, table): &(String, String)| TableName {
        database: database.clone(),
        table: table.clone(),
    };
    let names: Vec<TableName> = names.into_iter().map(of).collect();
    let mut wanted: Vec<TableName> = Vec::new();
    for asked in &options.tables {
        let found = names.iter().find(|name| name.to_string() == *asked);
        let Some(found) = found else {
            let near = names
                .iter()
                .find(|name| name.to_string().eq_ignore_ascii_case(asked) || name.table == *asked);
            return Err(VerifyError::NoSuchTable {
                table: asked.clone(),
                nearest: near.map_or_else(String::new, |near| format!("; did you mean {near}?")),
            });
        };
        if !wanted.contains(found) {
            wanted.push(found.clone());
        }
    }
    if options.tables.is_empty() {
        wanted = names;
    }
    if wanted.is_empty() {
        return Err(VerifyError::NoSuchTable {
            table: spec.source.tables.to_string(),
            nearest: String::new(),
        });
    }
    let mut notes: BTreeMap<(String, String), Vec<DefinitionNote>> = BTreeMap::new();
    for (name, text, is_difference) in check::definitions(source, sink) {
        let key = (name.database, name.table);
        notes.entry(key).or_default().push(DefinitionNote {
            text,
            is_difference,
        });
    }
    let reports = wanted.into_iter().map(|name| {
        let key = (name.database.clone(), name.table.clone());
        let mut report = TableReport::new(name);
        report.definitions = notes.remove(&key).unwrap_or_default();
        if !source.by_name.contains_key(&key) {
            report.definitions.push(DefinitionNote {
                text: "only the sink has this table".to_owned(),
                // Where tables aren't dropped on purpose, it may stay.
                is_difference: spec.ddl.rule(DdlClass::TableDrop) == DdlRule::Apply,
            });
        }
        report
    });
    Ok(reports.collect())
}

/// Compares one table; what is in the way of it is in its report.
async fn table(
    comparison: &mut Comparison<'_>,
    report: &mut TableReport,
    repair: Option<(&SinkSpec, &SourceFacts)>,
) -> Result<(), VerifyError> {
    let mut tries = 0;
    let (statements, compared) = loop {
        tries += 1;
        let found = async {
            let statements = statements(comparison, report).await?;
            let compared = comparison.table(&statements).await?;
            Ok::<_, VerifyError>((statements, compared))
        };
        match found.await {
            Ok(found) => break found,
            Err(error) if error.is_stale() && tries < TRIES_MAX => {}
            Err(error) if error.is_of_one_table() => {
                report.hindrance = Some(error.hindrance());
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    };
    report.rows = compared.rows;
    report.differences = compared.differences;
    report.is_cut = compared.is_cut;
    report.in_motion = compared.in_motion;
    report.unproven = compared.unproven;
    if let (Some(error), true) = (&comparison.stands_still, report.unproven > 0) {
        report.hindrance = Some(error.hindrance());
    }
    if let Some((sink, facts)) = repair
        && !report.differences.is_empty()
    {
        let name = (report.name.database.as_str(), report.name.table.as_str());
        let source = &mut comparison.source;
        if let Some(error) = hindrance(facts, source.conn(), &[name]).await? {
            report.hindrance = Some(VerifyError::from(error).hindrance());
            return Ok(());
        }
        let repaired = repair::repair(
            source,
            &comparison.place,
            &sink.endpoint,
            &statements,
            &mut report.differences,
        );
        match repaired.await {
            Err(error) if error.is_of_one_table() => report.hindrance = Some(error.hindrance()),
            done => done?,
        }
    }
    Ok(())
}

/// Reads a table's definitions, and makes its statements; notes what of it can't be compared.
async fn statements(
    comparison: &mut Comparison<'_>,
    report: &mut TableReport,
) -> Result<Statements, VerifyError> {
    let TableName { database, table } = &report.name;
    let name = report.name.to_string();
    let gone = || VerifyError::NoSuchTable {
        table: name.clone(),
        nearest: String::new(),
    };
    let source = ScanTable::read(comparison.source.conn(), database, table).await;
    let source = source
        .map_err(|error| VerifyError::Scan {
            side: Side::Source,
            error,
        })?
        .ok_or_else(gone)?;
    let sink = TargetTable::read(comparison.sink.conn(), database, table).await;
    let sink = sink
        .map_err(|error| VerifyError::statement(Side::Sink, "read a definition", &name, error))?
        .ok_or_else(gone)?;
    let key: Vec<usize> = source.key().collect();
    let keys = KeyColumns::of(&key, source.definition(), &sink);
    let keys = keys.ok_or_else(|| VerifyError::NoKey {
        table: name.clone(),
    })?;
    let (cells, others) = cell::cells(source.definition(), &sink);
    for other in others {
        let text = format!("column {} isn't compared: {}", other.name, other.why);
        let note = DefinitionNote {
            text,
            is_difference: true,
        };
        if !report.definitions.contains(&note) {
            report.definitions.push(note);
        }
    }
    let statements = Statements::new(source, sink.quoted(), cells, keys);
    report.key_columns = statements.key_names().map(str::to_owned).collect();
    Ok(statements)
}
