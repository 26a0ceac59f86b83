//! How far each table's copy is, as the sink has it: written in the commits of the rows that were
//! copied.
//!
//! A row of `towpath.snapshot` is a table whose rows were copied, are, or will be. Who applies the
//! stream reads them all at the begin of an epoch and changes them in its own commits alone, under
//! the guard of the offset. Anybody else changes them together with `commit_seq`, so that the
//! commits of whoever read them before are refused.

use towpath_protocol::gtid::GtidSet;

use super::SinkError;
use super::session::{Session, quote};

/// Rows of one INSERT of the list that a copy begins with.
const LIST_ROWS_MAX: usize = 500;

/// The state of one table's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// It has not begun.
    Waiting,
    /// Some of the rows are there.
    Copying,
    /// All are there; the stream still comes to changes that they have already.
    Settling,
    /// The sink has what the source had, or neither has such a table any more.
    Done,
}

impl CopyState {
    /// As stored.
    pub fn word(self) -> &'static str {
        match self {
            CopyState::Waiting => "waiting",
            CopyState::Copying => "copying",
            CopyState::Settling => "settling",
            CopyState::Done => "done",
        }
    }

    /// What a stored word means; `None` if this release doesn't know it.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Waiting, Self::Copying, Self::Settling, Self::Done]
            .into_iter()
            .find(|state| state.word() == word)
    }
}

/// One table's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableCopy {
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// How far it is.
    pub state: CopyState,
    /// Which rows are copied; `None` for all.
    pub condition: Option<String>,
    /// The columns of the key by which it is read, with their types; JSON.
    pub key_columns: Option<String>,
    /// The last key that was copied; JSON. `None` before the first one.
    pub after_key: Option<String>,
    /// The largest key when the copy began; JSON. `None` for a table that was empty then.
    pub until_key: Option<String>,
    /// Rows that were copied.
    pub rows_copied: u64,
    /// Rows that the table had by the source's statistics.
    pub rows_estimated: Option<u64>,
    /// Once the sink holds these, the table's rows are applied strictly again.
    pub settles_at: Option<GtidSet>,
}

impl TableCopy {
    /// A table that will be copied.
    pub fn waiting(database: &str, table: &str) -> Self {
        Self {
            database: database.to_owned(),
            table: table.to_owned(),
            state: CopyState::Waiting,
            condition: None,
            key_columns: None,
            after_key: None,
            until_key: None,
            rows_copied: 0,
            rows_estimated: None,
            settles_at: None,
        }
    }

    /// Whether the stream may come to changes of it that the sink has already.
    pub fn is_relaxed(&self) -> bool {
        self.state != CopyState::Done
    }
}

/// The statement that records how far a copy is now; `key_values` are pipeline and sink, as
/// literals.
pub(super) fn put(copy: &TableCopy, key_values: &str) -> String {
    // What is set in the row: of these only the first moment stays.
    let begun = match copy.state {
        CopyState::Waiting => "NULL",
        _ => "COALESCE(begun, VALUES(begun))",
    };
    let set = [
        "state",
        "`condition`",
        "key_columns",
        "after_key",
        "until_key",
        "rows_copied",
        "rows_estimated",
        "settles_at",
        "ended",
    ]
    .map(|column| format!("{column} = VALUES({column}), "))
    .concat();
    format!(
        "{INSERT}{} ON DUPLICATE KEY UPDATE {set}begun = {begun}",
        values(copy, key_values),
    )
}

const INSERT: &str = "INSERT INTO towpath.snapshot (pipeline, sink, `database`, `table`, state, `condition`, \
    key_columns, after_key, until_key, rows_copied, rows_estimated, settles_at, begun, ended) VALUES ";

fn values(copy: &TableCopy, key_values: &str) -> String {
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "NULL".to_owned(), quote);
    let now_if = |is: bool| if is { "UTC_TIMESTAMP(6)" } else { "NULL" };
    format!(
        "({key_values}, {}, {}, '{}', {}, {}, {}, {}, {}, {}, {}, {}, {})",
        quote(&copy.database),
        quote(&copy.table),
        copy.state.word(),
        text(&copy.condition),
        text(&copy.key_columns),
        text(&copy.after_key),
        text(&copy.until_key),
        copy.rows_copied,
        copy.rows_estimated
            .map_or_else(|| "NULL".to_owned(), |rows| rows.to_string()),
        text(&copy.settles_at.as_ref().map(GtidSet::to_string)),
        now_if(copy.state != CopyState::Waiting),
        now_if(copy.state == CopyState::Done),
    )
}

/// Writes the list of tables that a copy begins with, inside the open transaction.
pub(super) async fn list(
    session: &mut Session,
    copies: &[TableCopy],
    key_values: &str,
) -> Result<(), SinkError> {
    for copies in copies.chunks(LIST_ROWS_MAX) {
        let rows: Vec<_> = copies.iter().map(|copy| values(copy, key_values)).collect();
        let sql = format!("{INSERT}{}", rows.join(", "));
        session.execute("list the tables to copy", &sql).await?;
    }
    Ok(())
}

/// `database`, `table`, `state`, `condition`, `key_columns`, `after_key`, `until_key`,
/// `rows_copied`, `rows_estimated`, `settles_at`.
type Columns = (
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    u64,
    Option<u64>,
    Option<String>,
);

/// Reads all copies of a pipeline and sink; `condition` is their WHERE. `Err` of the inner result:
/// what can't be read, and why.
pub(super) async fn read(
    session: &mut Session,
    condition: &str,
    lock: &str,
) -> Result<Result<Vec<TableCopy>, (&'static str, String)>, SinkError> {
    let rows: Vec<Columns> = session
        .rows(
            "read how far the copy is",
            &format!(
                "SELECT `database`, `table`, state, `condition`, CAST(key_columns AS CHAR), \
                 CAST(after_key AS CHAR), CAST(until_key AS CHAR), rows_copied, rows_estimated, settles_at \
                 FROM towpath.snapshot WHERE {condition} ORDER BY `database`, `table` {lock}"
            ),
        )
        .await?;
    Ok(rows.into_iter().map(parse).collect())
}

fn parse(columns: Columns) -> Result<TableCopy, (&'static str, String)> {
    let (
        database,
        table,
        state,
        condition,
        key_columns,
        after_key,
        until_key,
        copied,
        estimated,
        at,
    ) = columns;
    let known = CopyState::from_word(&state)
        .ok_or_else(|| ("towpath.snapshot.state", format!("{state:?} is no state")))?;
    let settles_at = at
        .map(|at| at.parse::<GtidSet>())
        .transpose()
        .map_err(|error| ("towpath.snapshot.settles_at", error.to_string()))?;
    Ok(TableCopy {
        database,
        table,
        state: known,
        condition,
        key_columns,
        after_key,
        until_key,
        rows_copied: copied,
        rows_estimated: estimated,
        settles_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        for state in [
            CopyState::Waiting,
            CopyState::Copying,
            CopyState::Settling,
            CopyState::Done,
        ] {
            assert_eq!(CopyState::from_word(state.word()), Some(state));
            assert_eq!(
                TableCopy {
                    state,
                    ..TableCopy::waiting("d", "t")
                }
                .is_relaxed(),
                state != CopyState::Done
            );
        }
        assert_eq!(CopyState::from_word("Done"), None);
    }

    #[test]
    fn names_and_keys_are_quoted() {
        let copy = TableCopy {
            state: CopyState::Copying,
            after_key: Some(r#"["_utf8mb4 'it\\'s'"]"#.to_owned()),
            ..TableCopy::waiting("d'", "t")
        };
        let sql = put(&copy, "'p', 's'");
        assert!(
            sql.contains(r"('p', 's', 'd\'', 't', 'copying', NULL, NULL, "),
            "{sql}"
        );
        assert!(sql.contains(r#"'["_utf8mb4 \'it\\\\\'s\'"]'"#), "{sql}");
    }
}
