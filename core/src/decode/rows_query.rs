//! `ROWS_QUERY_LOG_EVENT`: the statement whose rows follow (`binlog_rows_query_log_events=ON`).

use super::DecodeError;
use super::reader::Reader;

/// The event (`Rows_query_event` in `rows_event.cpp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsQueryEvent<'a> {
    /// The statement, in the character set of the session that sent it.
    pub sql: &'a [u8],
}

impl<'a> RowsQueryEvent<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// Cut short.
    pub fn parse(body: &'a [u8]) -> Result<RowsQueryEvent<'a>, DecodeError> {
        let mut r = Reader::new("rows query event", body);
        // One byte of length that is right only for statements shorter than 256 bytes: MySQL
        // ignores it and takes all that is left.
        r.u8()?;
        Ok(RowsQueryEvent { sql: r.rest() })
    }
}
