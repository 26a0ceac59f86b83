//! One connection to a sink, with a fixed session. It never reconnects.

use mysql_async::prelude::*;
use mysql_async::{Conn, Row};
use towpath_protocol::spec::Endpoint;

use super::SinkError;
use crate::endpoint;
use crate::failpoint::{self, Point};

/// The sql_mode in which rows are written: strict, a zero stays a zero in an AUTO_INCREMENT column,
/// and dates come as the source stored them, zero and partial ones too.
pub const SQL_MODE: &str =
    "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION";

/// A row lock is waited for this long before the batch is tried again, seconds.
const LOCK_WAIT_S: u32 = 10;

/// An idle connection is kept this long, seconds: the longest that MySQL allows. Losing it would
/// end the epoch for nothing.
const WAIT_TIMEOUT_S: u32 = 31_536_000;

/// `sql_select_limit` for no limit; a smaller one would cut our own reads of the offset short.
const NO_LIMIT: u64 = u64::MAX;

/// A connection to a sink.
pub struct Session {
    sink: String,
    conn: Conn,
    flags: Checks,
}

/// The session's checks that follow the source's rows events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// `foreign_key_checks`.
    pub foreign_keys: bool,
    /// `unique_checks`.
    pub unique: bool,
}

/// What kind of server a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// `@@version`.
    pub version: String,
    /// `@@server_uuid`; empty on MariaDB.
    pub server_uuid: String,
    /// Whether statements get GTIDs (`gtid_mode = ON` and a binlog).
    pub gtids: bool,
    /// `@@max_allowed_packet`, bytes.
    pub max_allowed_packet: u64,
    /// Whether names of tables are stored in lower case (`lower_case_table_names`); the same at the
    /// source, or nothing would fit.
    pub lower_case_names: bool,
}

impl ServerFacts {
    /// Whether the server is a MariaDB.
    pub fn is_mariadb(&self) -> bool {
        self.version.to_ascii_lowercase().contains("mariadb")
    }
}

impl Session {
    /// Connects and fixes the session: sql_mode, UTC, READ COMMITTED, utf8mb4, matched counts.
    ///
    /// # Errors
    /// [`SinkError::Connection`] or [`SinkError::Server`], e.g. for a wrong password.
    pub async fn connect(sink: &str, address: &Endpoint) -> Result<Session, SinkError> {
        let opts = endpoint::sql_opts(address)
            .map_err(|source| SinkError::Endpoint {
                sink: sink.to_owned(),
                source,
            })?
            // UPDATE answers with the rows that it matched, not those that it changed.
            .client_found_rows(true)
            // An UPDATE of joined tables with JSON_TABLE in it wants a default database, whichever:
            // this one is there for every account.
            .db_name(Some("information_schema"))
            .stmt_cache_size(0);
        let conn = endpoint::connect(opts, address.tls)
            .await
            .map_err(|e| SinkError::from_driver(sink, "connect", e))?;
        let checks = Checks {
            foreign_keys: false,
            unique: true,
        };
        let mut session = Session {
            sink: sink.to_owned(),
            conn,
            flags: checks,
        };
        let fix = format!(
            "SET NAMES utf8mb4, \
             SESSION sql_mode = '{SQL_MODE}', SESSION time_zone = '+00:00', SESSION autocommit = 1, \
             SESSION foreign_key_checks = 0, SESSION unique_checks = 1, SESSION sql_safe_updates = 0, \
             SESSION sql_select_limit = {NO_LIMIT}, SESSION sql_big_selects = 1, \
             SESSION completion_type = 0, SESSION wait_timeout = {WAIT_TIMEOUT_S}, SESSION net_read_timeout = 600, \
             SESSION innodb_lock_wait_timeout = {LOCK_WAIT_S}"
        );
        session.execute("fix the session", &fix).await?;
        session
            .execute(
                "fix the isolation level",
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
            )
            .await?;
        Ok(session)
    }

    /// What the server is.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub async fn facts(&mut self) -> Result<ServerFacts, SinkError> {
        let version: Option<(String, u64, u8)> = self
            .first(
                "read the version",
                "SELECT @@version, @@max_allowed_packet, @@lower_case_table_names",
            )
            .await?;
        let (version, max_allowed_packet, lower_case_table_names) = version.unwrap_or_default();
        let mut facts = ServerFacts {
            version,
            server_uuid: String::new(),
            gtids: false,
            max_allowed_packet,
            lower_case_names: lower_case_table_names != 0,
        };
        if !facts.is_mariadb() {
            let row: Option<(String, String, u8)> = self
                .first(
                    "read the GTID mode",
                    "SELECT @@server_uuid, @@global.gtid_mode, @@global.log_bin",
                )
                .await?;
            let (server_uuid, gtid_mode, log_bin) = row.unwrap_or_default();
            facts.server_uuid = server_uuid;
            facts.gtids = gtid_mode == "ON" && log_bin == 1;
        }
        // Past this many bytes of predicates the optimizer would scan the whole table for an IN
        // list.
        if !facts.is_mariadb() {
            self.execute(
                "fix the optimizer",
                "SET SESSION range_optimizer_max_mem_size = 0",
            )
            .await?;
        }
        Ok(facts)
    }

    /// From now on statements are read byte by byte: every literal names its own character set, and
    /// names are UTF-8 already. The server would otherwise look for characters of several bytes in
    /// each literal, which more than doubles what an INSERT of large binary values costs it.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub async fn read_bytes(&mut self) -> Result<(), SinkError> {
        let sql = "SET SESSION character_set_client = binary";
        self.execute("fix the client's character set", sql).await?;
        Ok(())
    }

    /// The connection's id at the server.
    pub fn connection_id(&self) -> u32 {
        self.conn.id()
    }

    /// The sink's name.
    pub fn sink(&self) -> &str {
        &self.sink
    }

    /// The library's connection, for reading definitions.
    pub fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// A place that a test may end the process at; see [`failpoint`].
    ///
    /// # Errors
    /// [`SinkError::Connection`], if a test says so.
    pub async fn reach(&self, point: Point) -> Result<(), SinkError> {
        failpoint::reach(point)
            .await
            .map_err(|error| SinkError::from_driver(&self.sink, "failpoint", error.into()))
    }

    /// Runs one statement without results; answers the rows that it matched.
    ///
    /// # Errors
    /// [`SinkError::Server`] if refused, [`SinkError::Connection`] if the connection is gone.
    pub async fn execute(&mut self, doing: &'static str, sql: &str) -> Result<u64, SinkError> {
        self.conn
            .query_drop(sql)
            .await
            .map_err(|e| SinkError::from_driver(&self.sink, doing, e))?;
        Ok(self.conn.affected_rows())
    }

    /// The first row of a query.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub async fn first<T: FromRow + Send + 'static>(
        &mut self,
        doing: &'static str,
        sql: &str,
    ) -> Result<Option<T>, SinkError> {
        self.conn
            .query_first(sql)
            .await
            .map_err(|e| SinkError::from_driver(&self.sink, doing, e))
    }

    /// As [`Session::first`], for a statement with literals in several character sets.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub async fn first_bytes<T: FromRow + Send + 'static>(
        &mut self,
        doing: &'static str,
        sql: &[u8],
    ) -> Result<Option<T>, SinkError> {
        self.conn
            .query_first(sql)
            .await
            .map_err(|e| SinkError::from_driver(&self.sink, doing, e))
    }

    /// All rows of a query.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub async fn rows<T: FromRow + Send + 'static>(
        &mut self,
        doing: &'static str,
        sql: &str,
    ) -> Result<Vec<T>, SinkError> {
        self.conn
            .query(sql)
            .await
            .map_err(|e| SinkError::from_driver(&self.sink, doing, e))
    }

    /// Runs the statements of one packet, separated by semicolons; answers the rows that each
    /// matched, exactly as many numbers as there are statements. The server stops at the first one
    /// that fails.
    ///
    /// # Errors
    /// The failing statement's number in the packet and its error; [`SinkError::Answers`] if the
    /// server answered fewer or more statements than were sent without naming an error.
    pub async fn packet(
        &mut self,
        doing: &'static str,
        sql: &[u8],
        statements: usize,
    ) -> Result<Vec<u64>, (usize, SinkError)> {
        let matched = self.answers(doing, sql).await?;
        if matched.len() != statements {
            let answered = matched.len();
            let sink = self.sink.clone();
            return Err((
                answered,
                SinkError::Answers {
                    sink,
                    doing,
                    statements,
                    answered,
                },
            ));
        }
        Ok(matched)
    }

    async fn answers(
        &mut self,
        doing: &'static str,
        sql: &[u8],
    ) -> Result<Vec<u64>, (usize, SinkError)> {
        let mut matched = Vec::new();
        let sink = &self.sink;
        let mut result = match self.conn.query_iter(sql).await {
            Ok(result) => result,
            Err(error) => return Err((0, SinkError::from_driver(sink, doing, error))),
        };
        loop {
            let affected = result.affected_rows();
            if result.is_empty() {
                // The library keeps an error of any statement but the first for the next use of the
                // connection, and calls the result empty: dropping the result asks for it.
                return match result.drop_result().await {
                    Ok(()) => {
                        matched.push(affected);
                        Ok(matched)
                    }
                    Err(error) => Err((matched.len(), SinkError::from_driver(sink, doing, error))),
                };
            }
            if let Err(error) = result.collect::<Row>().await {
                return Err((matched.len(), SinkError::from_driver(sink, doing, error)));
            }
            matched.push(affected);
        }
    }

    /// Sets the checks if they differ from the session's; inside a transaction too.
    ///
    /// # Errors
    /// As [`Session::execute`].
    pub async fn set_checks(&mut self, checks: Checks) -> Result<(), SinkError> {
        if self.flags == checks {
            return Ok(());
        }
        let sql = format!(
            "SET SESSION foreign_key_checks = {}, SESSION unique_checks = {}",
            u8::from(checks.foreign_keys),
            u8::from(checks.unique)
        );
        self.execute("set the checks", &sql).await?;
        self.flags = checks;
        Ok(())
    }

    /// Ends the connection politely; errors no longer matter.
    pub async fn disconnect(self) {
        let _ = self.conn.disconnect().await;
    }
}

/// Quotes text for a statement in utf8mb4 without NO_BACKSLASH_ESCAPES.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}
