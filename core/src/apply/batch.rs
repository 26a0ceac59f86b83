//! Gathers the changes of consecutive source transactions into a batch of statements.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use towpath_protocol::gtid::Gtid;

use super::net::{Arena, TableEffect};
use super::ordered::{OrderedChange, Part};
use super::plan::TablePlan;
use super::statement::{self, Statement};
use super::{ApplyError, idempotent, net};
use crate::decode::{DecodeError, PartialJson, RowsEvent, RowsKind, bit};

/// The arena's offsets are 32 bits wide; statements are built long before.
const ARENA_BYTES_MAX: usize = 1 << 30;

/// Statements that bring the sink from one point of the source's history to the next.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which they must run.
    pub statements: Vec<Statement>,
    /// The source transactions it holds; rows refer to them by position.
    pub transactions: Vec<Gtid>,
    /// Row changes at the source, before merging.
    pub changes: u64,
    /// Whether the sink must check foreign keys.
    pub foreign_key_checks: bool,
    /// Whether the sink must check unique keys.
    pub unique_checks: bool,
}

/// What a table on the sink is known to hold when a change of it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// What the source had before the change.
    Strict,
    /// Anything between that and what the source has now: the table is being copied.
    Relaxed,
}

/// Merges row changes.
#[derive(Debug)]
pub struct BatchBuilder {
    tables: Vec<TableEffect>,
    by_plan: HashMap<usize, usize>,
    ordered: Vec<OrderedChange>,
    arena: Arena,
    bitmaps: HashMap<usize, Vec<u8>>,
    /// Whether parts of rows are among `ordered`.
    has_parts: bool,
    /// Bytes of the batch's statements.
    statement_bytes: usize,
    batch: Batch,
    idempotent: bool,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self {
            tables: Vec::new(),
            by_plan: HashMap::new(),
            ordered: Vec::new(),
            arena: Arena::default(),
            bitmaps: HashMap::new(),
            has_parts: false,
            statement_bytes: 0,
            batch: Batch {
                unique_checks: true,
                ..Batch::default()
            },
            idempotent: false,
        }
    }

    /// A builder of statements that may come twice, or after missing ones.
    pub fn idempotent() -> Self {
        Self {
            idempotent: true,
            ..Self::new()
        }
    }

    /// The rows that come next are read from these events. Large ones are shared with them; give
    /// none once the last has come.
    pub fn read_from(&mut self, events: Bytes) {
        self.arena.read_from(events);
    }

    /// Row changes in it, before merging.
    pub fn changes(&self) -> u64 {
        self.batch.changes
    }

    /// Bytes that it holds: images and statements.
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.statement_bytes
    }

    /// A source transaction begins, or goes on after a part of it was taken away by
    /// [`BatchBuilder::take`].
    pub fn begin(&mut self, gtid: &Gtid) {
        if self.batch.transactions.last() != Some(gtid) {
            self.batch.transactions.push(gtid.clone());
        }
    }

    /// Whether rows with these checks can join the batch; if not, it must be taken first, unless it
    /// is empty.
    pub fn accepts(&self, event: &RowsEvent<'_>, history: History) -> bool {
        self.batch.changes == 0
            || (self.batch.foreign_key_checks == foreign_key_checks(event, history)
                && self.batch.unique_checks != event.flags.relaxed_unique_checks())
    }

    /// Adds the rows of an event.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub fn rows(
        &mut self,
        plan: &Arc<TablePlan>,
        event: &RowsEvent<'_>,
        history: History,
    ) -> Result<(), ApplyError> {
        let gtid = self.batch.transactions.last().cloned();
        let gtid = gtid
            .as_ref()
            .map_or(&"-" as &dyn std::fmt::Display, |gtid| gtid);
        let partial = event.partial_json || !event.has_all_columns();
        if partial && !self.tables.is_empty() {
            // In order: what was merged comes first.
            self.build()?;
        }
        let idempotent = self.idempotent || history == History::Relaxed;
        self.batch.foreign_key_checks = foreign_key_checks(event, history);
        self.batch.unique_checks = !event.flags.relaxed_unique_checks();
        let in_order = partial
            || plan.key_columns == 0
            // Written in place, a row that takes a unique value from another one would become that
            // other one, unless that one has come first.
            || (idempotent && plan.extra_columns && plan.unique_mask != 0)
            || (self.batch.foreign_key_checks && plan.target.foreign_keys);
        if partial {
            if idempotent {
                // Twice applied, a part of a document is not what it was; and a row that isn't
                // there can't be made from a part.
                return Err(ApplyError::PartialImage {
                    gtid: gtid.to_string(),
                    table: plan.name(),
                    detail: match history {
                        History::Strict => "only delivery = \"exactly-once\" takes parts of rows",
                        History::Relaxed => "a table that is being copied takes no parts of rows",
                    },
                });
            }
            check_part(plan, event, gtid)?;
            self.has_parts = true;
        } else if self.has_parts && !in_order {
            // And what is merged behind parts comes after them.
            self.build()?;
        }
        let transaction = (self.batch.transactions.len().max(1) - 1) as u32;
        let effect = if in_order {
            None
        } else {
            Some(self.effect(plan, idempotent))
        };
        let decode = |source: DecodeError| ApplyError::Decode {
            gtid: gtid.to_string(),
            source,
        };
        for row in event.rows(&plan.map).map_err(decode)? {
            let row = row.map_err(decode)?;
            self.batch.changes += 1;
            let Some(effect) = effect.and_then(|at| self.tables.get_mut(at)) else {
                self.ordered.push(OrderedChange {
                    plan: Arc::clone(plan),
                    before: row.before.map(|image| self.arena.keep(image)),
                    after: row.after.map(|image| self.arena.keep(image)),
                    transaction,
                    part: partial.then(|| Box::new(part(event, plan, row.partial_json))),
                    idempotent,
                });
                continue;
            };
            match (event.kind, row.before, row.after) {
                (RowsKind::Write, _, Some(after)) => {
                    effect.insert(&mut self.arena, after, transaction, gtid)?;
                }
                (RowsKind::Update, Some(before), Some(after)) => {
                    effect.update(&mut self.arena, before, after, transaction, gtid)?;
                }
                (RowsKind::Delete, Some(before), _) => {
                    effect.delete(&mut self.arena, before, transaction, gtid)?;
                }
                _ => {}
            }
        }
        if self.arena.len() > ARENA_BYTES_MAX {
            self.build()?;
        }
        Ok(())
    }

    fn effect(&mut self, plan: &Arc<TablePlan>, idempotent: bool) -> usize {
        let at = *self
            .by_plan
            .entry(Arc::as_ptr(plan).addr())
            .or_insert_with(|| {
                self.tables.push(net::TableEffect::new(Arc::clone(plan)));
                self.tables.len() - 1
            });
        if let Some(effect) = self.tables.get_mut(at) {
            effect.idempotent |= idempotent;
        }
        at
    }

    /// Turns what was merged so far into statements; what comes later runs after them.
    ///
    /// # Errors
    /// A row is damaged.
    pub fn build(&mut self) -> Result<(), ApplyError> {
        let decode = |source: DecodeError| ApplyError::Decode {
            gtid: self
                .batch
                .transactions
                .last()
                .map_or_else(|| "-".into(), Gtid::to_string),
            source,
        };
        let built = self.batch.statements.len();
        for effect in &mut self.tables {
            let columns = bitmap(&mut self.bitmaps, effect.plan.map.columns.len());
            let out = &mut self.batch.statements;
            if effect.idempotent {
                idempotent::of_effect(effect, &self.arena, columns, out).map_err(decode)?;
            } else {
                statement::of_effect(effect, &self.arena, columns, out).map_err(decode)?;
            }
        }
        for change in &self.ordered {
            let columns = bitmap(&mut self.bitmaps, change.plan.map.columns.len());
            let out = &mut self.batch.statements;
            if change.idempotent {
                idempotent::of_change(change, &self.arena, columns, out).map_err(decode)?;
            } else {
                statement::of_change(change, &self.arena, columns, out).map_err(decode)?;
            }
        }
        let built = self.batch.statements.get(built..).unwrap_or_default();
        self.statement_bytes += built.iter().map(|s| s.sql.len()).sum::<usize>();
        self.has_parts = false;
        self.tables.clear();
        self.by_plan.clear();
        self.ordered.clear();
        self.arena.clear();
        Ok(())
    }

    /// The batch so far; the builder is empty afterwards.
    ///
    /// # Errors
    /// A row is damaged.
    pub fn take(&mut self) -> Result<Batch, ApplyError> {
        self.build()?;
        self.statement_bytes = 0;
        Ok(std::mem::replace(
            &mut self.batch,
            Batch {
                unique_checks: true,
                ..Batch::default()
            },
        ))
    }
}

/// A part of a row can be applied if it says which row it is.
fn check_part(
    plan: &TablePlan,
    event: &RowsEvent<'_>,
    gtid: &dyn std::fmt::Display,
) -> Result<(), ApplyError> {
    let said = if event.kind == RowsKind::Write {
        plan.key()
            .iter()
            .all(|column| bit(event.columns_after, column.source))
    } else {
        plan.columns
            .iter()
            .chain(&plan.computed)
            .any(|column| bit(event.columns_before, column.source))
    };
    if said {
        return Ok(());
    }
    Err(ApplyError::PartialImage {
        gtid: gtid.to_string(),
        table: plan.name(),
        detail: "has none of the columns that identify the row on the sink",
    })
}

fn part(event: &RowsEvent<'_>, plan: &TablePlan, json: PartialJson<'_>) -> Part {
    let mut json_diffs = vec![0; plan.map.columns.len().div_ceil(8)];
    if !json.is_empty() {
        for at in 0..plan.map.columns.len() {
            if json.has(&plan.map, at)
                && let Some(byte) = json_diffs.get_mut(at / 8)
            {
                *byte |= 1 << (at % 8);
            }
        }
    }
    Part {
        before: event.columns_before.into(),
        after: event.columns_after.into(),
        json_diffs: json_diffs.into(),
    }
}

/// Whether the sink must check foreign keys, and cascade: not where the source's session didn't,
/// and not where it logged the rows that it cascaded to, since they would be touched twice.
///
/// And not for a table that is being copied: the row that this one refers to may come later.
fn foreign_key_checks(event: &RowsEvent<'_>, history: History) -> bool {
    history == History::Strict
        && !event.flags.no_foreign_key_checks()
        && !event.flags.sql_foreign_keys()
}

/// A bitmap with every column present.
fn bitmap(cache: &mut HashMap<usize, Vec<u8>>, columns: usize) -> &[u8] {
    cache
        .entry(columns)
        .or_insert_with(|| vec![0xff; columns.div_ceil(8)])
}
