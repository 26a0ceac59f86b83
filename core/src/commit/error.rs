//! What can go wrong at a sink, and who must act.

use towpath_protocol::code::{self, Code};
use uuid::Uuid;

use crate::endpoint::{EndpointError, is_certificate_error};

/// An error of a sink.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The connection could not be made or was lost.
    #[error("sink {sink}: {doing}: {source}; {}", connection_advice(.source))]
    Connection {
        /// The sink's name.
        sink: String,
        /// What was being done.
        doing: &'static str,
        /// The library's error.
        source: mysql_async::Error,
    },
    /// The server refused a statement.
    #[error("sink {sink}: {doing}: ERROR {code} ({state}): {message}{context}")]
    Server {
        /// The sink's name.
        sink: String,
        /// What was being done.
        doing: &'static str,
        /// MySQL's error number.
        code: u16,
        /// SQLSTATE.
        state: String,
        /// The server's text.
        message: String,
        /// Where: table, statement, GTIDs; empty or beginning with a space.
        context: String,
    },
    /// The server answered another number of statements than were sent.
    #[error(
        "sink {sink}: {doing}: {statements} statements were sent, {answered} answered; the epoch ends"
    )]
    Answers {
        /// The sink's name.
        sink: String,
        /// What was being done.
        doing: &'static str,
        /// Statements sent.
        statements: usize,
        /// Statements answered.
        answered: usize,
    },
    /// Another owner has taken the sink over.
    #[error(
        "sink {sink}: superseded: the offset row of pipeline {pipeline} is now at generation {generation}, \
         epoch {epoch}, owned by {owner}; this process (epoch {own_epoch}) has written nothing since and \
         stops. If both were meant to run, give them different names"
    )]
    Superseded {
        /// The sink's name.
        sink: String,
        /// The pipeline's name.
        pipeline: String,
        /// Generation in the row.
        generation: u64,
        /// Epoch in the row.
        epoch: u64,
        /// Owner in the row.
        owner: String,
        /// Our own epoch.
        own_epoch: u64,
    },
    /// The compare-and-set in a commit matched no row: somebody else moved the offset.
    #[error(
        "sink {sink}: fenced: the offset row is no longer at epoch {epoch}, commit {commit_seq}; rolled back, \
         and read anew: another process has taken over, or the row was changed by hand"
    )]
    Fenced {
        /// The sink's name.
        sink: String,
        /// Our epoch.
        epoch: u64,
        /// The commit number that was expected.
        commit_seq: u64,
    },
    /// The sink's address can't be used.
    #[error("sink {sink}: {source}")]
    Endpoint {
        /// The sink's name.
        sink: String,
        /// Why.
        source: EndpointError,
    },
    /// The offset row can't be read.
    #[error(
        "sink {sink}: {what} of pipeline {pipeline} can't be read: {why}; it was changed by hand or written \
         by another version: use that version, or restore the schema towpath together with the data"
    )]
    OffsetRow {
        /// The sink's name.
        sink: String,
        /// The pipeline's name.
        pipeline: String,
        /// Table and column.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The offset row was written by a pipeline that reads another history.
    #[error(
        "sink {sink}: the offset row of pipeline {pipeline} was written by a pipeline that reads source \
         {known}, but this one reads {found}, which lacks transactions that the sink holds{example}; give \
         this pipeline another name, or point it at that source or a replica that has them"
    )]
    AnotherSource {
        /// The sink's name.
        sink: String,
        /// The pipeline's name.
        pipeline: String,
        /// `server_uuid` of the source that the sink was fed from.
        known: Uuid,
        /// `server_uuid` of the one that the pipeline file names.
        found: Uuid,
        /// The GTIDs that it lacks, shortened; empty or beginning with a space.
        example: String,
    },
    /// The offset row went away while we ran.
    #[error(
        "sink {sink}: the offset row of pipeline {pipeline} is gone from towpath.offset while this process \
         ran; going on would begin anew at `start` and could skip changes. If it was deleted on purpose, \
         start again; else restore it first, with its rows of towpath.offset_gtid"
    )]
    RowGone {
        /// The sink's name.
        sink: String,
        /// The pipeline's name.
        pipeline: String,
    },
    /// The offset row went back to an older epoch while we ran.
    #[error(
        "sink {sink}: the offset row of pipeline {pipeline} went back from epoch {epoch} to {row}: the sink \
         was restored to an older state while this process ran; start again to go on from the restored place"
    )]
    WentBack {
        /// The sink's name.
        sink: String,
        /// The pipeline's name.
        pipeline: String,
        /// The epoch that we held.
        epoch: u64,
        /// The epoch in the row.
        row: u64,
    },
    /// The GTID set has too many holes to be kept.
    #[error(
        "sink {sink}: the GTID set has {intervals} intervals, more than {intervals_max}: transactions of the \
         source are missing in between and don't come. If they never will (RESET BINARY LOGS AND GTIDS, a \
         set in `start` with holes), fill the holes in towpath.offset_gtid and start again"
    )]
    TooManyIntervals {
        /// The sink's name.
        sink: String,
        /// Intervals of the set.
        intervals: usize,
        /// The bound.
        intervals_max: usize,
    },
    /// The offset row belongs to another directory.
    #[error(
        "sink {sink}: the offset row of pipeline {pipeline} belongs to directory {row} (ours: {own}), whose \
         Cores may be running it; {next}"
    )]
    Cluster {
        /// The sink's name.
        sink: String,
        /// The pipeline's name.
        pipeline: String,
        /// The directory that the row belongs to: `id` of its `/towpath/cluster`.
        row: String,
        /// Our own directory, or "none".
        own: String,
        /// What to do.
        next: &'static str,
    },
    /// The sink has no place, though the directory knows that the pipeline ran.
    #[error(
        "sink {sink}: it has no offset of pipeline {pipeline}, but the directory knows that the pipeline \
         ran before (was the sink restored or renamed?); `start = \"now\"` would skip what was written \
         since. Restore the row of towpath.offset with those of towpath.offset_gtid, or say where to begin \
         with `start = \"gtid:…\"`, or delete the pipeline and apply it anew"
    )]
    RanBefore {
        /// The sink's name.
        sink: String,
        /// The pipeline's name.
        pipeline: String,
    },
    /// An operator's change needs the pipeline's place, and there is none.
    #[error(
        "sink {sink}: pipeline {pipeline} has no place in towpath.offset: it never ran into this sink, or \
         under another name; check the file's name and [[sink]], or let it run first"
    )]
    NoPlace {
        /// The sink's name.
        sink: String,
        /// The pipeline's name.
        pipeline: String,
    },
    /// The locks of the predecessor could not be had in time.
    #[error(
        "sink {sink}: lock {lock} is still held by connection {holder} after {waited_s} s; it is being \
         rolled back or can't be killed: see SHOW PROCESSLIST on the sink"
    )]
    LockTimeout {
        /// The sink's name.
        sink: String,
        /// The lock's name.
        lock: String,
        /// The connection that holds it, 0 if unknown.
        holder: u64,
        /// Seconds waited.
        waited_s: u64,
    },
    /// A statement matched another number of rows than the source changed.
    #[error(
        "sink {sink}: {operation} on {table} matched {matched} of {expected} rows{rows}; the sink has \
         diverged from the source (somebody else writes to it, or it was not a copy at the start): repair \
         these rows, then start again"
    )]
    Diverged {
        /// The sink's name.
        sink: String,
        /// UPDATE, DELETE or INSERT.
        operation: &'static str,
        /// Database and table.
        table: String,
        /// Rows matched.
        matched: u64,
        /// Rows expected.
        expected: u64,
        /// The rows and GTIDs found by bisection; empty or beginning with a colon.
        rows: String,
    },
    /// The sink refused a DDL statement, which then did not run.
    #[error(
        "sink {sink}: DDL of {gtid}: the sink refused it with ERROR {code} ({message}); make the sink's \
         schema such that it can run, and start again. Or {way_past}: {statement}"
    )]
    DdlRefused {
        /// The sink's name.
        sink: String,
        /// The source transaction.
        gtid: String,
        /// MySQL's error number.
        code: u16,
        /// The server's text, and what that may come from.
        message: String,
        /// How to go on without running it.
        way_past: Box<str>,
        /// The statement.
        statement: String,
    },
    /// The task that writes to the sink ended without an answer.
    #[error(
        "internal: the task that writes to the sink ended unexpectedly; report this with the log"
    )]
    LaneEnded,
    /// A DDL statement that this version does not carry, or can't decide upon.
    #[error("sink {sink}: DDL of {gtid}: {detail}: {statement}")]
    Ddl {
        /// The sink's name.
        sink: String,
        /// The source transaction.
        gtid: String,
        /// Why, and what to do.
        detail: String,
        /// The statement.
        statement: String,
    },
    /// A DDL statement was begun, and the sink can't tell whether it ran.
    #[error(
        "sink {sink}: DDL of {gtid}: it was begun before, and the sink's definitions are the same whether it \
         ran or not; compare the rows of its tables with the source's, then answer and start again; \
         {ways_on}: {statement}"
    )]
    DdlUndecided {
        /// The sink's name.
        sink: String,
        /// The source transaction.
        gtid: String,
        /// The statements that answer.
        ways_on: String,
        /// The statement.
        statement: String,
    },
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// End this epoch and take over again after a pause: it may well pass.
    Retry,
    /// Another owner is at work: end the process.
    GiveUp,
    /// An operator must act first.
    Stop,
}

impl SinkError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            SinkError::Connection { source, .. } => code_of_driver(source),
            SinkError::Server { code, .. } => code_of_number(*code),
            SinkError::Answers { .. } => code::SINK_PROTOCOL,
            SinkError::Superseded { .. } => code::SUPERSEDED,
            SinkError::Fenced { .. } => code::FENCED,
            SinkError::Endpoint { source, .. } => source.code(),
            SinkError::OffsetRow { .. } => code::OFFSET_DAMAGED,
            SinkError::AnotherSource { .. } => code::OFFSET_OF_ANOTHER_SOURCE,
            SinkError::RowGone { .. } => code::OFFSET_GONE,
            SinkError::WentBack { .. } => code::OFFSET_WENT_BACK,
            SinkError::TooManyIntervals { .. } => code::TOO_MANY_INTERVALS,
            SinkError::Cluster { .. } => code::OFFSET_OF_ANOTHER_DIRECTORY,
            SinkError::RanBefore { .. } => code::OFFSET_MISSING,
            SinkError::NoPlace { .. } => code::NO_PLACE,
            SinkError::LockTimeout { .. } => code::LOCK_HELD,
            SinkError::Diverged { .. } => code::ROW_MISSING,
            SinkError::DdlRefused { .. } => code::DDL_REFUSED,
            SinkError::Ddl { .. } => code::DDL_NOT_CARRIED,
            SinkError::DdlUndecided { .. } => code::DDL_UNDECIDED,
            SinkError::LaneEnded => code::INTERNAL,
        }
    }

    /// Classifies every error; an error that isn't known to pass by itself stops the pipeline.
    pub fn advice(&self) -> Advice {
        match self {
            SinkError::Connection { source, .. } => match source {
                // A server that doesn't know the user names a plugin at random.
                mysql_async::Error::Driver(mysql_async::DriverError::UnknownAuthPlugin {
                    ..
                })
                | mysql_async::Error::Driver(mysql_async::DriverError::PacketTooLarge) => {
                    Advice::Stop
                }
                mysql_async::Error::Io(mysql_async::IoError::Io(error))
                    if is_certificate_error(error) =>
                {
                    Advice::Stop
                }
                mysql_async::Error::Io(_) | mysql_async::Error::Driver(_) => Advice::Retry,
                mysql_async::Error::Server(server) => advice_for_code(server.code),
                mysql_async::Error::Other(_) | mysql_async::Error::Url(_) => Advice::Stop,
            },
            SinkError::Server { code, .. } => advice_for_code(*code),
            SinkError::LockTimeout { .. }
            | SinkError::Fenced { .. }
            | SinkError::Answers { .. } => Advice::Retry,
            SinkError::Superseded { .. } => Advice::GiveUp,
            SinkError::Endpoint { .. }
            | SinkError::OffsetRow { .. }
            | SinkError::AnotherSource { .. }
            | SinkError::RowGone { .. }
            | SinkError::WentBack { .. }
            | SinkError::TooManyIntervals { .. }
            | SinkError::DdlRefused { .. }
            | SinkError::LaneEnded
            | SinkError::Cluster { .. }
            | SinkError::RanBefore { .. }
            | SinkError::NoPlace { .. }
            | SinkError::Diverged { .. }
            | SinkError::Ddl { .. }
            | SinkError::DdlUndecided { .. } => Advice::Stop,
        }
    }

    pub(crate) fn from_driver(sink: &str, doing: &'static str, error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(server) => SinkError::Server {
                sink: sink.to_owned(),
                doing,
                code: server.code,
                state: server.state,
                message: server.message,
                context: String::new(),
            },
            source => SinkError::Connection {
                sink: sink.to_owned(),
                doing,
                source,
            },
        }
    }
}

/// What to do about what the library says of a sink.
fn connection_advice(error: &mysql_async::Error) -> &'static str {
    use mysql_async::{DriverError, Error, IoError};
    const TLS: &str = "check tls and tls_ca in [[sink]], and the sink's certificate";
    match error {
        Error::Io(IoError::Io(error)) if is_certificate_error(error) => TLS,
        Error::Io(IoError::Tls(_)) | Error::Driver(DriverError::NoClientSslFlagFromServer) => TLS,
        Error::Io(IoError::Io(_))
        | Error::Driver(DriverError::ConnectionClosed | DriverError::PoolDisconnected) => {
            "check that the sink runs, and can be reached from here"
        }
        Error::Driver(DriverError::UnknownAuthPlugin { .. }) => {
            "check that the user exists (for one that doesn't, MySQL asks for any plugin), or give it another: \
             ALTER USER … IDENTIFIED WITH caching_sha2_password BY '…'"
        }
        Error::Driver(DriverError::PacketTooLarge) => {
            "on the sink: SET PERSIST max_allowed_packet = 1073741824"
        }
        Error::Server(_) | Error::Driver(_) | Error::Other(_) | Error::Url(_) => {
            "see the sink's error log, and whether a proxy is in between"
        }
    }
}

/// The code of what the library says of a sink, where no server has answered.
pub(crate) fn code_of_driver(error: &mysql_async::Error) -> Code {
    use mysql_async::{DriverError, Error, IoError};
    match error {
        Error::Server(server) => code_of_number(server.code),
        Error::Io(IoError::Tls(_)) => code::SINK_TLS,
        Error::Io(IoError::Io(error)) if is_certificate_error(error) => code::SINK_TLS,
        Error::Io(IoError::Io(_)) => code::SINK_UNREACHABLE,
        Error::Driver(DriverError::NoClientSslFlagFromServer) => code::SINK_TLS,
        Error::Driver(DriverError::UnknownAuthPlugin { .. }) => code::SINK_LOGIN_METHOD,
        Error::Driver(DriverError::PacketTooLarge) => code::ROW_TOO_LARGE,
        Error::Driver(DriverError::ConnectionClosed | DriverError::PoolDisconnected) => {
            code::SINK_UNREACHABLE
        }
        Error::Driver(_) | Error::Other(_) => code::SINK_PROTOCOL,
        Error::Url(_) => code::FILE_INVALID,
    }
}

/// The code of an error number of a sink's server (MySQL Error Message Reference). What a statement
/// meets that carries a source's DDL is [`SinkError::DdlRefused`], whatever its number.
pub fn code_of_number(number: u16) -> Code {
    match number {
        // ER_HOST_NOT_PRIVILEGED, ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR,
        // ER_MUST_CHANGE_PASSWORD, ER_MUST_CHANGE_PASSWORD_LOGIN, ER_ACCOUNT_HAS_BEEN_LOCKED.
        1130 | 1045 | 1698 | 1820 | 1862 | 3118 => code::SINK_LOGIN,
        // ER_SECURE_TRANSPORT_REQUIRED.
        3159 => code::SINK_TLS,
        // ER_NOT_SUPPORTED_AUTH_MODE, ER_PLUGIN_IS_NOT_LOADED (at login).
        1251 | 1524 => code::SINK_LOGIN_METHOD,
        // ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR,
        // ER_KILL_DENIED_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR, ER_PROCACCESS_DENIED_ERROR.
        1044 | 1142 | 1143 | 1095 | 1227 | 1370 => code::SINK_PRIVILEGE,
        // ER_OPTION_PREVENTS_STATEMENT, ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION,
        // ER_READ_ONLY_MODE.
        1290 | 1792 | 1836 => code::SINK_READ_ONLY,
        // ER_ERROR_ON_WRITE (with "No space left"), ER_DISK_FULL, ER_RECORD_FILE_FULL, and the
        // system's 28 (ENOSPC) and EE_DISK_FULL, EE_WRITE as mysys numbers them.
        1026 | 1021 | 1114 | 28 | 20 | 3 => code::SINK_FULL,
        // ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK, ER_LOCK_NOWAIT.
        1205 | 1213 | 3572 => code::SINK_LOCKED,
        // ER_CON_COUNT_ERROR, ER_SERVER_SHUTDOWN, ER_NORMAL_SHUTDOWN, ER_TOO_MANY_USER_CONNECTIONS,
        // ER_USER_LIMIT_REACHED, ER_QUERY_INTERRUPTED, ER_QUERY_TIMEOUT, ER_CONNECTION_KILLED
        // (MariaDB), ER_CLIENT_INTERACTION_TIMEOUT, ER_SERVER_OFFLINE_MODE.
        1040 | 1053 | 1077 | 1203 | 1226 | 1317 | 3024 | 1927 | 4031 | 3032 => code::SINK_BUSY,
        // ER_NO_SUCH_TABLE, ER_BAD_DB_ERROR, ER_BAD_TABLE_ERROR.
        1146 | 1049 | 1051 => code::NO_TABLE,
        // ER_BAD_FIELD_ERROR.
        1054 => code::NO_COLUMN,
        // ER_NO_DEFAULT_FOR_FIELD, ER_NO_DEFAULT_FOR_VIEW_FIELD.
        1364 | 1423 => code::COLUMN_NEEDS_VALUE,
        // ER_BAD_NULL_ERROR, ER_WARN_NULL_TO_NOTNULL.
        1048 | 1263 => code::SINK_NULL,
        // ER_WARN_DATA_OUT_OF_RANGE, WARN_DATA_TRUNCATED, ER_TRUNCATED_WRONG_VALUE,
        // ER_TRUNCATED_WRONG_VALUE_FOR_FIELD, ER_DATA_TOO_LONG, ER_DATA_OUT_OF_RANGE,
        // ER_CANT_CREATE_GEOMETRY_OBJECT, ER_INVALID_JSON_TEXT, ER_NO_PARTITION_FOR_GIVEN_VALUE,
        // ER_INVALID_CHARACTER_STRING, ER_CANNOT_CONVERT_STRING.
        1264 | 1265 | 1292 | 1366 | 1406 | 1690 | 1416 | 3140 | 1526 | 1300 | 3854 => {
            code::SINK_VALUE
        }
        // ER_DUP_KEY, ER_DUP_ENTRY, ER_DUP_ENTRY_WITH_KEY_NAME, ER_FOREIGN_DUPLICATE_KEY…
        1022 | 1062 | 1586 | 1761 | 1762 => code::ROW_DUPLICATE,
        // ER_NO_REFERENCED_ROW(_2), ER_ROW_IS_REFERENCED(_2).
        1216 | 1452 | 1217 | 1451 => code::SINK_FOREIGN_KEY,
        // ER_BEFORE_DML_VALIDATION_ERROR, ER_RUN_HOOK_ERROR.
        3098 | 3100 => code::SINK_GROUP,
        // ER_SIGNAL_EXCEPTION, ER_CANT_UPDATE_USED_TABLE_IN_SF_OR_TRG,
        // ER_CHECK_CONSTRAINT_VIOLATED; MariaDB's ER_CONSTRAINT_FAILED.
        1644 | 1442 | 3819 | 4025 => code::SINK_TRIGGER,
        // ER_NET_PACKET_TOO_LARGE.
        1153 => code::ROW_TOO_LARGE,
        _ => code::SINK_REFUSED,
    }
}

/// What passes by itself is what the pages of these codes say of it.
fn advice_for_code(number: u16) -> Advice {
    match code_of_number(number) {
        code::SINK_FULL | code::SINK_LOCKED | code::SINK_BUSY | code::SINK_READ_ONLY => {
            Advice::Retry
        }
        _ => Advice::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_refuses_has_a_code_of_its_cause() {
        for (number, wanted) in [
            (1045, code::SINK_LOGIN),
            (1044, code::SINK_PRIVILEGE),
            (1142, code::SINK_PRIVILEGE),
            (1227, code::SINK_PRIVILEGE),
            (1062, code::ROW_DUPLICATE),
            (1146, code::NO_TABLE),
            (1048, code::SINK_NULL),
            (1364, code::COLUMN_NEEDS_VALUE),
            (1264, code::SINK_VALUE),
            (1265, code::SINK_VALUE),
            (1292, code::SINK_VALUE),
            (1366, code::SINK_VALUE),
            (1406, code::SINK_VALUE),
            (1205, code::SINK_LOCKED),
            (1213, code::SINK_LOCKED),
            (1290, code::SINK_READ_ONLY),
            (1836, code::SINK_READ_ONLY),
            (1114, code::SINK_FULL),
            (1021, code::SINK_FULL),
            (28, code::SINK_FULL),
            (3098, code::SINK_GROUP),
            (1153, code::ROW_TOO_LARGE),
            (1451, code::SINK_FOREIGN_KEY),
            (3819, code::SINK_TRIGGER),
            (1064, code::SINK_REFUSED),
        ] {
            assert_eq!(code_of_number(number), wanted, "{number}");
        }
    }
}
