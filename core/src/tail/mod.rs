//! `towpath tail`: a binlog as JSON lines, one per row change and one per DDL statement.
//!
//! ```json
//! {"op":"update","ts_us":1760000000123456,"gtid":"3e11fa47-...:23","file":"binlog.000002","pos":1532,
//!  "database":"shop","table":"orders","key":{"id":7},"before":{...},"after":{...}}
//! {"op":"ddl","ts_us":...,"gtid":"...","file":"...","pos":...,"database":"shop","sql":"CREATE TABLE ..."}
//! ```
//! (each on one line). The fields and their order are fixed:
//!
//! - `op`: `insert`, `update`, `delete`, or `ddl` for a statement that is not transaction control.
//! - `ts_us`: when the transaction was committed on the source, in microseconds since 1970 (before
//!   MySQL 8.0 and on MariaDB: when the statement began, whole seconds).
//! - `gtid`: of the transaction; `null` where it has none.
//! - `file`, `pos`: where the event ends, in bytes. Rows of one event have the same.
//! - `database`, `table`; in a DDL line the session's default database, which may be empty.
//! - `key`: the primary key as it was before the change; absent if there is none, or the source has
//!   not `binlog_row_metadata=FULL`.
//! - `before`, `after`: the columns that the source logged, absent where there is no such image.
//!   Columns without a name (`binlog_row_metadata=MINIMAL`) are `@1`, `@2` ... as in `mysqlbinlog`.
//! - `json_diffs`: by column, the changes of JSON documents that the source logged in place of the
//!   documents (`binlog_row_value_options=PARTIAL_JSON`): `op` is `replace`, `insert` or `remove`,
//!   `path` a path in MySQL's syntax; these columns are not in `after`. No change: the document
//!   stayed as it was.
//!
//! Values: see [`value`]. The same events give the same bytes. Nothing is allocated per row: a
//! table's plan is made once and kept as long as its table map's bytes stay the same.

mod base64;
mod diffs;
mod json_lines;
mod follow;
mod plan;
mod string;
mod value;

pub use follow::{Follow, FollowError};
pub use json_lines::{JsonLines, TailError};

#[cfg(test)]
mod tests;
