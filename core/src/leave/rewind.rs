//! Going back: the sink counts as holding less than it does, and all since is applied to it again.
//!
//! What comes again meets rows that have it already: every table of which rows come settles
//! ([`crate::commit::copies`]) until the present place is reached again, so it is applied by key,
//! whatever is there, and ends in the source's state. Tables of which none come stay strict. Where
//! that would not end in the source's state (no key, parts of rows, cascades that aren't logged,
//! rows that a schema change in between took away), it is refused.

use std::fmt::Write as _;

use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::{PipelineSpec, SinkSpec, StartAt};

use super::source::Source;
use super::survey::{SchemaChange, Survey};
use super::{LeaveError, Moved, held, sink_of};
use crate::apply::ddl::TableName;
use crate::apply::target::TargetTable;
use crate::commit::SinkError;
use crate::commit::intervene::Intervention;
use crate::commit::session::Session;
use crate::pipeline::snapshot::{cascading, logs_cascades};
use crate::source::{SourceFacts, check_position, start};

/// Schema changes or tables that a message names.
const NAMED_MAX: usize = 20;

/// What is done about schema changes in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replay {
    /// It is refused where there are some.
    #[default]
    Refuse,
    /// They aren't run again: their transactions stay in the place. Possible where they took no
    /// rows away.
    LeaveOut,
    /// They run again, at a sink whose tables are as they were.
    RunAgain,
}

/// A rewind that could be made.
pub struct Rewind<'a> {
    spec: &'a PipelineSpec,
    sink: &'a SinkSpec,
    source: Source<'a>,
    replay: Replay,
    target: GtidSet,
    held: GtidSet,
    survey: Survey,
}

impl<'a> Rewind<'a> {
    /// Finds out what a rewind to `to` would mean. Changes nothing.
    ///
    /// # Errors
    /// It can't be made, and why.
    pub async fn plan(
        spec: &'a PipelineSpec,
        to: &StartAt,
        replay: Replay,
    ) -> Result<Rewind<'a>, LeaveError> {
        let sink = sink_of(spec)?;
        let mut session = Session::connect(sink.name.as_str(), &sink.endpoint).await?;
        let held = held(spec, sink, &mut session).await?;
        let mut source = Source::connect(spec).await?;
        let facts = source.facts().await?;
        let (address, options) = (&spec.source.endpoint, source.options.clone());
        if let StartAt::Gtid(set) = to {
            refuse_if_ahead(set, &held)?;
        }
        let target = start::resolve(to, address, &options, &facts, source.conn()).await?;
        let mut rewind = Rewind {
            spec,
            sink,
            source,
            replay,
            target,
            held: GtidSet::new(),
            survey: Survey::default(),
        };
        rewind.look(held).await?;
        rewind.judge_tables(&facts, &mut session).await?;
        session.disconnect().await;
        Ok(rewind)
    }

    /// What the sink holds.
    pub fn held(&self) -> &GtidSet {
        &self.held
    }

    /// What it will count as holding.
    pub fn place(&self) -> GtidSet {
        let mut place = self.target.clone();
        place.extend(self.left_out().map(|change| change.gtid.clone()));
        place
    }

    /// The schema changes that are left out.
    pub fn left_out(&self) -> impl Iterator<Item = &SchemaChange> {
        let leaves = self.replay == Replay::LeaveOut;
        self.standing().filter(move |_| leaves)
    }

    /// What comes again, beside the schema changes that are left out.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// The schema changes that matter: those that can't run again as they are.
    fn standing(&self) -> impl Iterator<Item = &SchemaChange> {
        let changes = self.survey.schema_changes.iter();
        changes.filter(|change| !change.is_harmless())
    }

    /// The schema changes that will run again.
    pub fn runs_again(&self) -> impl Iterator<Item = &SchemaChange> {
        let changes = self.survey.schema_changes.iter();
        changes.filter(|change| change.is_harmless() || self.replay == Replay::RunAgain)
    }

    /// Makes it.
    ///
    /// # Errors
    /// What came meanwhile is in the way, or the sink refused it. Nothing is changed then.
    pub async fn make(mut self) -> Result<Moved, LeaveError> {
        let mut session = Session::connect(self.sink.name.as_str(), &self.sink.endpoint).await?;
        // What came while somebody was asked is read before the pipeline is held up.
        let held = held(self.spec, self.sink, &mut session).await?;
        self.look(held).await?;
        let (pipeline, sink) = (self.spec.name.as_str(), self.sink.name.as_str());
        let mut change = Intervention::begin(pipeline, sink, &self.sink.endpoint).await?;
        self.look(change.gtids().clone()).await?;
        let facts = self.source.facts().await?;
        self.judge_tables(&facts, &mut session).await?;
        session.disconnect().await;
        check_position(&self.target, &facts)?;
        // The intent stays: when the stream comes to its statement again, it tells whether that
        // ran. A statement before it would take its place.
        if let Some(intent) = change.intent()
            && self.runs_again().next().is_some()
        {
            return Err(LeaveError::UnderWay {
                gtid: intent.gtid.clone(),
                statement: intent.statement.clone(),
                next: "and others would run again before it; let the pipeline end it, or leave it out (towpath \
                       skip), then go back",
            });
        }
        let (before, after) = (change.gtids().clone(), self.place());
        for name in self.survey.tables.keys() {
            change.settle(&name.database, &name.table, &before).await?;
        }
        change.set_gtids(after.clone()).await?;
        change.forget_position();
        change.commit().await?;
        Ok(Moved { before, after })
    }

    /// Takes in that the sink holds `held` now.
    async fn look(&mut self, held: GtidSet) -> Result<(), LeaveError> {
        refuse_if_ahead(&self.target, &held)?;
        let again = held.subtract(&self.target);
        self.source.survey(&again, &mut self.survey).await?;
        self.held = held;
        self.judge_schema_changes()
    }

    fn judge_schema_changes(&self) -> Result<(), LeaveError> {
        let refuse = |changes: Vec<&SchemaChange>, ways| {
            let mut list = String::new();
            for change in changes.iter().take(NAMED_MAX) {
                let _ = write!(list, "\n  {}: {}", change.gtid, change.statement);
            }
            if changes.len() > NAMED_MAX {
                let _ = write!(list, "\n  and {} more", changes.len() - NAMED_MAX);
            }
            Err(LeaveError::SchemaChanges {
                count: changes.len(),
                changes: list,
                ways,
            })
        };
        match self.replay {
            Replay::RunAgain => Ok(()),
            Replay::Refuse if self.standing().next().is_none() => Ok(()),
            Replay::Refuse => refuse(
                self.standing().collect(),
                "they would run again. --ddl-ran leaves them out, since the sink has them; --ddl-again runs them \
                 again, for a sink whose tables are as they were at --to",
            ),
            Replay::LeaveOut => {
                let taking: Vec<_> = self
                    .standing()
                    .filter(|change| !change.keeps_rows())
                    .collect();
                if taking.is_empty() {
                    return Ok(());
                }
                refuse(
                    taking,
                    "they take rows or tables away, so --ddl-ran can't leave them out: rows from before would stay. \
                     Go back to a place behind them, or copy the tables anew: towpath resnapshot",
                )
            }
        }
    }

    /// Refuses tables that don't end in the source's state when their rows come again.
    async fn judge_tables(
        &mut self,
        facts: &SourceFacts,
        session: &mut Session,
    ) -> Result<(), LeaveError> {
        let refuse = |tables: &[String], why| {
            let mut named: Vec<String> = tables.iter().take(NAMED_MAX).cloned().collect();
            if tables.len() > NAMED_MAX {
                named.push(format!("{} more", tables.len() - NAMED_MAX));
            }
            Err(LeaveError::NotRepeatable {
                tables: named.join(", "),
                why,
            })
        };
        let names: Vec<TableName> = self.survey.tables.keys().cloned().collect();
        let parts = self.survey.tables.iter();
        let parts: Vec<String> = parts
            .filter(|(_, rows)| rows.has_parts)
            .map(|(name, _)| name.to_string())
            .collect();
        if !parts.is_empty() {
            return refuse(
                &parts,
                "the source wrote only parts of rows (binlog_row_image, binlog_row_value_options), which can't \
                 be written whole. Copy the tables anew: towpath resnapshot",
            );
        }
        if self.left_out().next().is_some() {
            let nameless = self.survey.tables.iter();
            let nameless: Vec<String> = nameless
                .filter(|(_, rows)| rows.lacks_names)
                .map(|(name, _)| name.to_string())
                .collect();
            if !nameless.is_empty() {
                return refuse(
                    &nameless,
                    "the source wrote rows without the names of their columns (binlog_row_metadata = MINIMAL), so \
                     rows from before a schema change can't go into tables of after. Copy the tables anew: towpath \
                     resnapshot",
                );
            }
        }
        let (mut missing, mut keyless) = (Vec::new(), Vec::new());
        for name in &names {
            let target = TargetTable::read(session.conn(), &name.database, &name.table).await;
            let target = target.map_err(|error| {
                SinkError::from_driver(self.sink.name.as_str(), "read a table's definition", error)
            })?;
            match target {
                None if self.replay == Replay::RunAgain => {}
                None => missing.push(name.to_string()),
                Some(target) if target.key.is_empty() => keyless.push(name.to_string()),
                Some(_) => {}
            }
        }
        if !missing.is_empty() {
            return refuse(
                &missing,
                "the sink has no such table. Go back to a place behind its end, or make it, or leave it out of \
                 source.tables",
            );
        }
        if !keyless.is_empty() {
            return refuse(
                &keyless,
                "without a key nothing says whether a row is there already. Give them one, or go back to a place \
                 behind their changes",
            );
        }
        if !logs_cascades(facts) {
            let pairs: Vec<(&str, &str)> = names
                .iter()
                .map(|name| (name.database.as_str(), name.table.as_str()))
                .collect();
            let children = cascading(self.source.conn(), &pairs).await?;
            if !children.is_empty() {
                return refuse(
                    &children,
                    "the source changes their rows with those of other tables (ON DELETE, ON UPDATE) and doesn't \
                     log that. Copy the tables anew: towpath resnapshot",
                );
            }
        }
        Ok(())
    }
}

fn refuse_if_ahead(target: &GtidSet, held: &GtidSet) -> Result<(), LeaveError> {
    let extra = target.subtract(held);
    if extra.is_empty() {
        return Ok(());
    }
    Err(LeaveError::NotBehind {
        extra: extra.to_string(),
        held: held.to_string(),
    })
}
