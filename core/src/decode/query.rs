//! `QUERY_EVENT`: a statement, with the settings it ran under.

use super::reader::Reader;
use super::{DecodeError, StatusVars};

/// The event (`Query_event` in `statement_events.cpp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryEvent<'a> {
    /// The session on the source, which temporary tables belong to.
    pub thread_id: u32,
    /// How long it ran on the source before it was logged, in seconds.
    pub exec_time_s: u32,
    /// The error that it ended with, 0 for none.
    pub error_code: u16,
    /// The session's default database; empty if none.
    pub schema: &'a [u8],
    /// Its status variables, see [`QueryEvent::status_vars`].
    pub status: &'a [u8],
    /// The statement, in the character set `charset.client` of the status variables.
    pub sql: &'a [u8],
}

impl<'a> QueryEvent<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// Cut short.
    pub fn parse(body: &'a [u8]) -> Result<QueryEvent<'a>, DecodeError> {
        let mut r = Reader::new("query event", body);
        let thread_id = r.u32()?;
        let exec_time_s = r.u32()?;
        let schema_len = r.u8()?;
        let error_code = r.u16()?;
        let status_len = r.u16()?;
        let status = r.bytes(usize::from(status_len))?;
        let schema = r.bytes(usize::from(schema_len))?;
        if r.u8()? != 0 {
            return Err(r.malformed("the schema's name does not end where its length says"));
        }
        Ok(QueryEvent {
            thread_id,
            exec_time_s,
            error_code,
            schema,
            status,
            sql: r.rest(),
        })
    }

    /// Reads the status variables.
    ///
    /// # Errors
    /// Cut short, or with a code that is not known.
    pub fn status_vars(&self) -> Result<StatusVars, DecodeError> {
        StatusVars::parse(self.status)
    }
}
