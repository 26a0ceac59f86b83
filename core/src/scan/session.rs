//! The session in which tables are read: values come as they are stored, whatever the server's
//! settings.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::ScanError;

/// Not strict, so that zero and invalid dates can be compared with; no mode that changes what a
/// literal or an operator means.
const SQL_MODE: &str = "ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";

/// A reader that waits for the sink doesn't lose its connection, seconds.
const PATIENCE_S: u32 = 31_536_000;

/// The list of a document's types has a byte per member, and documents are smaller than 1 GiB.
const TYPES_BYTES_MAX: u32 = 1 << 30;

/// Fixes a connection's session for reading: texts come in their columns' character sets, times in
/// UTC, and the session writes nothing. `ScanTable::read` and all that reads rows need it. The
/// condition of a chunk is read in this session too.
///
/// # Errors
/// [`ScanError::Sql`].
pub async fn prepare(conn: &mut Conn) -> Result<(), ScanError> {
    // What the second one sets is a comment to servers that don't know it, and to MariaDB.
    let statements = [
        format!(
            "SET NAMES utf8mb4, SESSION character_set_results = NULL, SESSION sql_mode = '{SQL_MODE}', \
             SESSION time_zone = '+00:00', SESSION autocommit = 1, SESSION sql_select_limit = {}, \
             SESSION sql_big_selects = 1, SESSION completion_type = 0, \
             SESSION wait_timeout = {PATIENCE_S}, SESSION net_write_timeout = {PATIENCE_S}, \
             SESSION group_concat_max_len = {TYPES_BYTES_MAX}",
            u64::MAX
        ),
        "SET @towpath = NULL /*!80030 , SESSION show_gipk_in_create_table_and_information_schema = ON */ \
         /*!50708 , SESSION max_execution_time = 0 */"
            .to_owned(),
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY".to_owned(),
    ];
    for sql in statements {
        conn.query_drop(sql)
            .await
            .map_err(|cause| ScanError::sql("", "fix the session", cause))?;
    }
    Ok(())
}
