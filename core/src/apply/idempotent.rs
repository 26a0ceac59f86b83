//! Statements that bring rows to their state after a batch, whatever it was before: for the modes
//! in which a batch may come twice, or one before it may be missing.
//!
//! A row that is there after the batch is written whole, by its key; one that isn't is deleted if
//! it is there. So a replay ends in the source's state, whichever state it began in, as long as it
//! goes on to where the sink was before. REPLACE is what makes that hold with further unique keys:
//! a row of an older state takes its value back from a row of a newer one, which the replay comes
//! to again. Where REPLACE would delete more than the row (rows that refer to it, columns that only
//! the sink has), INSERT ... ON DUPLICATE KEY UPDATE writes in place. Without a key nothing says
//! whether a row came before: it may be there twice. Matched rows prove nothing here and are not
//! checked.

use super::net::{Arena, TableEffect};
use super::ordered::OrderedChange;
use super::plan::TablePlan;
use super::statement::{self, Operation, Statement};
use crate::decode::{DecodeError, RowImage};

const INSERT: &[u8] = b"INSERT INTO ";
/// As long, so that what the statement says about its text stays true. INTO is optional.
const REPLACE: &[u8; INSERT.len()] = b"REPLACE     ";

/// Builds the statements of one table's net effect and appends them.
///
/// # Errors
/// A row is damaged.
pub fn of_effect(
    effect: &mut TableEffect,
    arena: &Arena,
    columns: &[u8],
    out: &mut Vec<Statement>,
) -> Result<(), DecodeError> {
    effect.forget_before();
    let begin = out.len();
    statement::of_effect(effect, arena, columns, out)?;
    let in_place = effect.plan.extra_columns;
    rewrite(out.get_mut(begin..).unwrap_or_default(), in_place);
    Ok(())
}

/// Builds the statements of one change that must stay in order.
///
/// # Errors
/// A row is damaged.
pub fn of_change(
    change: &OrderedChange,
    arena: &Arena,
    columns: &[u8],
    out: &mut Vec<Statement>,
) -> Result<(), DecodeError> {
    let plan = &change.plan;
    let begin = out.len();
    if plan.key_columns == 0 {
        statement::of_change(change, arena, columns, out)?;
        for statement in out.get_mut(begin..).unwrap_or_default() {
            statement.checked = false;
        }
        return Ok(());
    }
    let part = |before, after| OrderedChange {
        plan: plan.clone(),
        before,
        after,
        transaction: change.transaction,
        part: None,
        idempotent: true,
    };
    match (change.before, change.after) {
        (Some(before), Some(after)) => {
            let key = |image| -> Result<Vec<u8>, DecodeError> {
                let mut key = Vec::new();
                let row = RowImage::new(&plan.map, columns, arena.bytes(image))?;
                plan.write_key(row, &mut key)?;
                Ok(key)
            };
            if key(before)? != key(after)? {
                statement::of_change(&part(Some(before), None), arena, columns, out)?;
            }
            statement::of_change(&part(None, Some(after)), arena, columns, out)?;
        }
        _ => statement::of_change(change, arena, columns, out)?,
    }
    rewrite(out.get_mut(begin..).unwrap_or_default(), true);
    Ok(())
}

/// Makes each INSERT one that a present row does not stop; how many rows match is no longer told.
fn rewrite(statements: &mut [Statement], in_place: bool) {
    for statement in statements {
        statement.checked = false;
        if statement.operation != Operation::Insert {
            continue;
        }
        if in_place {
            let tail = in_place_tail(&statement.plan);
            statement.sql.extend_from_slice(tail.as_bytes());
        } else if let Some(verb) = statement.sql.get_mut(..INSERT.len())
            && verb == INSERT
        {
            verb.copy_from_slice(REPLACE);
        } else {
            // A hint stands behind the verb.
            let verb = Operation::Insert.name().len();
            statement.sql.splice(..verb, *b"REPLACE");
            for row in &mut statement.rows {
                row.key = row.key.start + 1..row.key.end + 1;
            }
        }
    }
}

fn in_place_tail(plan: &TablePlan) -> String {
    let mut columns = plan.values();
    if columns.is_empty() {
        columns = plan.key().get(..1).unwrap_or_default();
    }
    let assignments: Vec<_> = columns
        .iter()
        .map(|column| format!("{0} = VALUES({0})", column.quoted))
        .collect();
    format!(" ON DUPLICATE KEY UPDATE {}", assignments.join(", "))
}
