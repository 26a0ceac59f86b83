//! What can go wrong between us and a source, and what to do about each.
//!
//! Every variant says what happened and where; `SourceError::retry` says in one exhaustive match
//! whether trying again can help and what the operator can do.

use std::io;
use std::time::Duration;

use towpath_protocol::code::{self, Code};
use towpath_protocol::spec::Endpoint;

use super::reconnect::Retry;
use crate::decode::DecodeError;
use crate::endpoint::is_certificate_error;

/// A failure of the replication connection, the checks before it, or the search for a start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No TCP connection.
    #[error("cannot connect to the source at {address}: {cause}")]
    Connect {
        /// `host:port`.
        address: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The source did not answer within a bound while we connected or logged in.
    #[error("the source did not answer within {after:?} while {doing}")]
    Timeout {
        /// What we were waiting for.
        doing: &'static str,
        /// The bound.
        after: Duration,
    },
    /// The connection broke.
    #[error("the connection to the source broke: {0}")]
    Lost(#[source] io::Error),
    /// The source closed the connection.
    #[error("the source closed the connection")]
    Closed,
    /// The source ended the dump in order: it has nothing further, or it is shutting down.
    #[error("the source ended the dump")]
    Ended,
    /// Not even a heartbeat came: the connection is half open or the source hangs.
    #[error(
        "the source has been silent for {after:?}, though it promised a heartbeat every {heartbeat:?}"
    )]
    Silent {
        /// How long nothing came.
        after: Duration,
        /// The heartbeat period that was agreed.
        heartbeat: Duration,
    },
    /// User or password is wrong.
    #[error("the source refuses user `{user}`: {message}; {ACCESS_ADVICE}")]
    AccessDenied {
        /// The user we logged in as.
        user: String,
        /// The server's words.
        message: String,
    },
    /// The user may log in but not do what replication needs.
    #[error("the source refuses {doing}: {message}; {PRIVILEGE_ADVICE}")]
    Privilege {
        /// What was refused.
        doing: &'static str,
        /// The server's words.
        message: String,
    },
    /// TLS was asked for and the source doesn't offer it.
    #[error("the source does not offer TLS; {NO_TLS_ADVICE}")]
    NoTls,
    /// The TLS handshake failed: the certificate is not accepted, or no common version.
    #[error("TLS with the source failed: {cause}; {TLS_ADVICE}")]
    Tls {
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Our side of TLS can't be set up: the file of authorities, or the host's name.
    #[error("cannot set up TLS: {what}; {TLS_CONFIG_ADVICE}")]
    TlsConfig {
        /// What is wrong with which file or name.
        what: String,
    },
    /// The user's account needs an authentication plugin that we don't speak.
    #[error("the source asks user `{user}` for authentication plugin `{plugin}`; {PLUGIN_ADVICE}")]
    UnknownPlugin {
        /// The user we logged in as.
        user: String,
        /// The plugin's name as the server gives it.
        plugin: String,
    },
    /// The source's RSA key, sent to encrypt the password, is unusable.
    #[error("the source's RSA key for the password is unusable: {what}; {RSA_ADVICE}")]
    RsaKey {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Transactions that we lack are no longer in the source's binlog.
    #[error(
        "the source has purged transactions that are still needed here: {missing}; {PURGED_ADVICE}"
    )]
    Purged {
        /// The GTIDs that are missing, or the server's words.
        missing: String,
    },
    /// We have transactions that the source lacks.
    #[error("the source lacks transactions that are already here: {extra}; {DIVERGED_ADVICE}")]
    Diverged {
        /// The GTIDs that it lacks, or the server's words.
        extra: String,
    },
    /// The source gives its transactions no GTIDs.
    #[error("the source has no GTIDs (gtid_mode = {mode}); {GTID_ADVICE}")]
    GtidOff {
        /// Its `gtid_mode`.
        mode: String,
    },
    /// The source writes no binlog.
    #[error("the source writes no binary log (log_bin = OFF); {BINLOG_ADVICE}")]
    NoBinlog,
    /// The binlog holds a transaction without a GTID, which the source doesn't send.
    #[error("the binlog holds a transaction without a GTID: {message}; {ANONYMOUS_ADVICE}")]
    Anonymous {
        /// The server's words, with the file and the offset.
        message: String,
    },
    /// Another connection with our server_id or replica UUID took over the dump.
    #[error(
        "another replica with our server_id or UUID has connected to the source; {CLASH_ADVICE}"
    )]
    ServerIdClash,
    /// The source refuses to send an event because of its `max_allowed_packet`.
    #[error(
        "an event is larger than the source's max_allowed_packet: {message}; {EVENT_SIZE_ADVICE}"
    )]
    EventTooLarge {
        /// The server's words.
        message: String,
    },
    /// A binlog file that we asked for is not there.
    #[error("the source has no binlog file `{file}`; {FILE_ADVICE}")]
    NoSuchFile {
        /// The file.
        file: String,
    },
    /// A position that COM_BINLOG_DUMP can't express.
    #[error(
        "position {file}:{offset} is beyond 4 GiB, where the protocol's file positions end; {OFFSET_ADVICE}"
    )]
    OffsetTooLarge {
        /// The file.
        file: String,
        /// The offset in bytes.
        offset: u64,
    },
    /// A position that is no event's end, or inside a transaction.
    #[error("{file}:{offset} is not between two transactions ({what}); {POSITION_ADVICE}")]
    BadPosition {
        /// The file.
        file: String,
        /// The offset in bytes.
        offset: u64,
        /// What is there instead.
        what: String,
    },
    /// A start that the source can't give.
    #[error("cannot start at {start}: {what}; {START_ADVICE}")]
    BadStart {
        /// The start as the pipeline file has it.
        start: String,
        /// Why not.
        what: String,
    },
    /// Any other error that the source answers.
    #[error("the source answered {doing} with error {code} ({state}): {message}; {SERVER_ADVICE}")]
    Server {
        /// What we had asked for.
        doing: &'static str,
        /// MySQL's error code.
        code: u16,
        /// SQLSTATE.
        state: String,
        /// The server's words.
        message: String,
    },
    /// A packet over the bound.
    #[error(
        "the source sends a packet of {len} bytes, the bound is {len_max} (MySQL's largest max_allowed_packet); {MALFORMED_ADVICE}"
    )]
    PacketTooLong {
        /// Its length so far, in bytes.
        len: usize,
        /// The bound.
        len_max: usize,
    },
    /// A packet is missing, or the peer speaks another protocol.
    #[error("packet {found} came where packet {expected} was due; {MALFORMED_ADVICE}")]
    Sequence {
        /// The sequence id due.
        expected: u8,
        /// The one that came.
        found: u8,
    },
    /// An answer that the protocol doesn't allow.
    #[error("the source sent something unexpected while {doing}: {what}; {MALFORMED_ADVICE}")]
    Protocol {
        /// What we were doing.
        doing: &'static str,
        /// What is wrong.
        what: String,
    },
    /// An event's checksum is wrong.
    #[error("the event after {file}:{offset} is corrupt: {cause}; {CHECKSUM_ADVICE}")]
    Checksum {
        /// Binlog file.
        file: String,
        /// End of the last good event, in bytes.
        offset: u64,
        /// Both checksums.
        #[source]
        cause: DecodeError,
    },
    /// An event that can't be read.
    #[error("cannot read the event after {file}:{offset}: {what}; {MALFORMED_ADVICE}")]
    Malformed {
        /// Binlog file.
        file: String,
        /// End of the last good event, in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A compressed transaction that can't be inflated completely.
    #[error(
        "cannot inflate the compressed transaction that ends at {file}:{end}: {what}; {PAYLOAD_ADVICE}"
    )]
    Payload {
        /// Binlog file.
        file: String,
        /// End of the payload event, in bytes.
        end: u64,
        /// What is wrong.
        what: String,
    },
    /// A statement of the checks failed.
    #[error("cannot ask the source about {about}: {cause}")]
    Sql {
        /// What we asked about.
        about: &'static str,
        /// The driver's error.
        #[source]
        cause: Box<mysql_async::Error>,
    },
}

const ACCESS_ADVICE: &str = "check user, password and the host part of the account (SHOW GRANTS \
    FOR the user, on the source)";
const PRIVILEGE_ADVICE: &str = "as an administrator of the source: GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the \
    pipeline's user";
const NO_TLS_ADVICE: &str = "give the source a certificate (ssl_cert, ssl_key), or set tls to \
    `preferred` or `disabled` if the network between is trusted";
const TLS_ADVICE: &str = "check that tls_ca is the authority that signed the source's \
    certificate, and with tls = `verify-identity` that the certificate names the host of the url";
const TLS_CONFIG_ADVICE: &str = "correct tls, tls_ca or the host of the url";
const PLUGIN_ADVICE: &str = "check that the user exists (for one that \
    doesn't, MySQL asks for any plugin), or give it another one: ALTER USER … IDENTIFIED WITH \
    caching_sha2_password BY '…'";
const RSA_ADVICE: &str = "use TLS (tls = `required`), which needs no such key";
const PURGED_ADVICE: &str = "read them from a replica that still has them, or copy the data anew (mysqldump) and \
    start at that copy's GTID set; then raise binlog_expire_logs_seconds on the source";
const DIVERGED_ADVICE: &str = "it lost them in a failover or it is another server; point the \
    pipeline at the server that has them, or copy the data anew and start at that copy's GTID set";
const GTID_ADVICE: &str = "on the source: SET PERSIST enforce_gtid_consistency = ON, then SET PERSIST \
    gtid_mode = OFF_PERMISSIVE, ON_PERMISSIVE and ON, one after the other, and start the pipeline after that";
const BINLOG_ADVICE: &str = "in [mysqld] of its option file: log_bin = binlog; then restart it";
const ANONYMOUS_ADVICE: &str = "it can't be followed, and starting again as it is could leave it out: \
    let gtid_mode stay ON, make the sink a copy as of a moment after that transaction, and start at that \
    copy's GTID set";
const CLASH_ADVICE: &str = "stop the other replica, or give this pipeline a server_id of its own \
    (SHOW REPLICAS on the source shows who uses which)";
const EVENT_SIZE_ADVICE: &str = "on the source: SET GLOBAL max_allowed_packet = 1073741824";
const FILE_ADVICE: &str = "SHOW BINARY LOGS on the source lists the files that it still has";
const OFFSET_ADVICE: &str = "start from a GTID set or from another file";
const POSITION_ADVICE: &str = "use the end of a transaction (mysqlbinlog prints them as \
    `end_log_pos`), or the start of the file, 4";
const START_ADVICE: &str =
    "choose another start: now, earliest, gtid:<set>, <file>:<pos> or a time";
const SERVER_ADVICE: &str = "see the source's error log";
const MALFORMED_ADVICE: &str = "check what is between us and the source (proxy, port); if it \
    comes again from the same place, compare with mysqlbinlog and report it";
const CHECKSUM_ADVICE: &str = "it is read again; if the same event stays corrupt, the file on \
    the source is damaged";
const PAYLOAD_ADVICE: &str = "nothing of it past this point was used; check the file on the \
    source with mysqlbinlog --verify-binlog-checksum and its error log";
const CONNECT_ADVICE: &str = "it is tried again; check that the source runs and is reachable";
const SQL_ADVICE: &str = "see the source's error log, and whether a proxy is in between";

impl SourceError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } => code::SOURCE_UNREACHABLE,
            Self::Lost(_) | Self::Closed | Self::Ended | Self::Silent { .. } => code::SOURCE_LOST,
            Self::AccessDenied { .. } => code::SOURCE_LOGIN,
            Self::Privilege { .. } => code::SOURCE_PRIVILEGE,
            Self::NoTls => code::SOURCE_NO_TLS,
            Self::Tls { .. } => code::SOURCE_TLS,
            Self::TlsConfig { .. } => code::TLS_SETTINGS,
            Self::UnknownPlugin { .. } | Self::RsaKey { .. } => code::SOURCE_LOGIN_METHOD,
            Self::Purged { .. } => code::SOURCE_PURGED,
            Self::Diverged { .. } => code::SOURCE_DIVERGED,
            Self::GtidOff { .. } => code::SOURCE_GTID_OFF,
            Self::NoBinlog => code::SOURCE_NO_BINLOG,
            Self::Anonymous { .. } => code::ANONYMOUS,
            Self::ServerIdClash => code::SERVER_ID_CLASH,
            Self::EventTooLarge { .. } => code::EVENT_TOO_LARGE,
            Self::NoSuchFile { .. } => code::NO_SUCH_FILE,
            Self::OffsetTooLarge { .. } | Self::BadPosition { .. } => code::BAD_POSITION,
            Self::BadStart { .. } => code::BAD_START,
            Self::Server { code, .. } => code_of_number(*code),
            Self::PacketTooLong { .. } | Self::Sequence { .. } | Self::Protocol { .. } => {
                code::SOURCE_PROTOCOL
            }
            Self::Checksum { .. } => code::CHECKSUM,
            Self::Malformed { .. } => code::DAMAGED,
            Self::Payload { .. } => code::PAYLOAD,
            Self::Sql { cause, .. } => code_of_driver(cause),
        }
    }

    /// Whether trying again can help, and what the operator can do in either case.
    ///
    /// What depends on the network or on a restart is tried again; what needs a person is not.
    /// Corruption is tried again too: a flipped bit on the way is gone the second time, and a
    /// damaged file shows itself by failing at the same place.
    pub fn retry(&self) -> (Retry, &'static str) {
        use Retry::{Again, Stop};
        match self {
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Lost(_)
            | Self::Closed
            | Self::Ended
            | Self::Silent { .. } => (Again, CONNECT_ADVICE),
            Self::AccessDenied { .. } => (Stop, ACCESS_ADVICE),
            Self::Privilege { .. } => (Stop, PRIVILEGE_ADVICE),
            Self::NoTls => (Stop, NO_TLS_ADVICE),
            Self::Tls { cause } if is_certificate_error(cause) => (Stop, TLS_ADVICE),
            Self::Tls { .. } => (Again, TLS_ADVICE),
            Self::TlsConfig { .. } => (Stop, TLS_CONFIG_ADVICE),
            Self::UnknownPlugin { .. } => (Stop, PLUGIN_ADVICE),
            Self::RsaKey { .. } => (Stop, RSA_ADVICE),
            Self::Purged { .. } => (Stop, PURGED_ADVICE),
            Self::Diverged { .. } => (Stop, DIVERGED_ADVICE),
            Self::GtidOff { .. } => (Stop, GTID_ADVICE),
            Self::NoBinlog => (Stop, BINLOG_ADVICE),
            Self::Anonymous { .. } => (Stop, ANONYMOUS_ADVICE),
            Self::ServerIdClash => (Stop, CLASH_ADVICE),
            Self::EventTooLarge { .. } => (Stop, EVENT_SIZE_ADVICE),
            Self::NoSuchFile { .. } => (Stop, FILE_ADVICE),
            Self::OffsetTooLarge { .. } => (Stop, OFFSET_ADVICE),
            Self::BadPosition { .. } => (Stop, POSITION_ADVICE),
            Self::BadStart { .. } => (Stop, START_ADVICE),
            Self::Server { code, .. } if is_passing(*code) => (Again, CONNECT_ADVICE),
            Self::Server { .. } => (Stop, SERVER_ADVICE),
            Self::PacketTooLong { .. } => (Stop, MALFORMED_ADVICE),
            Self::Sequence { .. } | Self::Protocol { .. } | Self::Malformed { .. } => {
                (Again, MALFORMED_ADVICE)
            }
            Self::Checksum { .. } => (Again, CHECKSUM_ADVICE),
            Self::Payload { .. } => (Stop, PAYLOAD_ADVICE),
            Self::Sql { cause, .. } => retry_of_driver(cause),
        }
    }
}

impl SourceError {
    /// What the library says of a login for SQL.
    pub fn from_login(endpoint: &Endpoint, error: mysql_async::Error) -> Self {
        use mysql_async::{DriverError, Error, IoError};
        let user = || endpoint.user.clone();
        match error {
            Error::Server(server) => from_server(
                "the login",
                &endpoint.user,
                false,
                server.code,
                &server.state,
                server.message,
            ),
            Error::Io(IoError::Io(cause)) if is_certificate_error(&cause) => Self::Tls { cause },
            Error::Io(IoError::Io(cause)) => Self::Connect {
                address: format!("{}:{}", endpoint.host, endpoint.port),
                cause,
            },
            Error::Io(IoError::Tls(error)) => Self::Tls {
                cause: io::Error::other(error.to_string()),
            },
            Error::Driver(DriverError::NoClientSslFlagFromServer) => Self::NoTls,
            // A server that doesn't know the user names a plugin at random.
            Error::Driver(DriverError::UnknownAuthPlugin { name }) => Self::UnknownPlugin {
                user: user(),
                plugin: name,
            },
            Error::Driver(DriverError::ConnectionClosed) => Self::Closed,
            Error::Driver(error) => Self::Protocol {
                doing: "the login",
                what: error.to_string(),
            },
            cause @ (Error::Other(_) | Error::Url(_)) => Self::Sql {
                about: "the login",
                cause: Box::new(cause),
            },
        }
    }
}

/// Whether trying again can help against what the library says, and what the operator can do.
pub(crate) fn retry_of_driver(error: &mysql_async::Error) -> (Retry, &'static str) {
    use mysql_async::{DriverError, Error, IoError};
    match error {
        Error::Io(IoError::Io(_))
        | Error::Driver(DriverError::ConnectionClosed | DriverError::PoolDisconnected) => {
            (Retry::Again, CONNECT_ADVICE)
        }
        Error::Server(error) if is_passing(error.code) => (Retry::Again, CONNECT_ADVICE),
        _ => (Retry::Stop, SQL_ADVICE),
    }
}

/// The code of what the library says of a source.
pub(crate) fn code_of_driver(error: &mysql_async::Error) -> Code {
    use mysql_async::{DriverError, Error, IoError};
    match error {
        Error::Server(server) => code_of_number(server.code),
        Error::Io(IoError::Tls(_)) => code::SOURCE_TLS,
        Error::Io(IoError::Io(_)) => code::SOURCE_UNREACHABLE,
        Error::Driver(DriverError::NoClientSslFlagFromServer) => code::SOURCE_NO_TLS,
        Error::Driver(DriverError::UnknownAuthPlugin { .. }) => code::SOURCE_LOGIN_METHOD,
        Error::Driver(DriverError::ConnectionClosed | DriverError::PoolDisconnected) => {
            code::SOURCE_LOST
        }
        Error::Driver(_) | Error::Other(_) => code::SOURCE_PROTOCOL,
        Error::Url(_) => code::FILE_INVALID,
    }
}

/// The code of an error number of a source's server (MySQL Error Message Reference).
fn code_of_number(number: u16) -> Code {
    match number {
        // ER_HOST_NOT_PRIVILEGED, ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR,
        // ER_MUST_CHANGE_PASSWORD, ER_MUST_CHANGE_PASSWORD_LOGIN, ER_ACCOUNT_HAS_BEEN_LOCKED.
        1130 | 1045 | 1698 | 1820 | 1862 | 3118 => code::SOURCE_LOGIN,
        // ER_NOT_SUPPORTED_AUTH_MODE, ER_PLUGIN_IS_NOT_LOADED (at login).
        1251 | 1524 => code::SOURCE_LOGIN_METHOD,
        // ER_SECURE_TRANSPORT_REQUIRED.
        3159 => code::SOURCE_TLS,
        // ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR.
        1044 | 1142 | 1227 => code::SOURCE_PRIVILEGE,
        // ER_CON_COUNT_ERROR, ER_OUT_OF_RESOURCES, ER_SERVER_SHUTDOWN, ER_NORMAL_SHUTDOWN,
        // ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED, ER_QUERY_INTERRUPTED,
        // ER_SERVER_OFFLINE_MODE.
        1040 | 1041 | 1053 | 1077 | 1203 | 1226 | 1317 | 3032 => code::SOURCE_BUSY,
        _ => code::SOURCE_REFUSED,
    }
}

/// Server errors that pass by themselves (`share/messages_to_clients.txt`): too many connections,
/// out of resources, shutting down, aborted, killed, lock time-outs, read-only moments of startup.
fn is_passing(code: u16) -> bool {
    code_of_number(code) == code::SOURCE_BUSY
        || matches!(code, 1079 | 1152 | 1158..=1161 | 1184 | 1205 | 1213 | 3169)
}

/// What the server says in an ERR packet while it does `doing`.
pub(super) fn from_server(
    doing: &'static str,
    user: &str,
    is_logged_in: bool,
    code: u16,
    state: &str,
    message: String,
) -> SourceError {
    match code {
        // COM_REGISTER_SLAVE answers a missing privilege as a failed login is answered.
        1045 if is_logged_in => SourceError::Privilege { doing, message },
        // ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR, ER_NOT_SUPPORTED_AUTH_MODE
        // and locked or expired accounts at login.
        1045 | 1698 | 3118 | 1862 | 1820 => SourceError::AccessDenied {
            user: user.to_owned(),
            message,
        },
        // ER_SPECIFIC_ACCESS_DENIED_ERROR, ER_DBACCESS_DENIED_ERROR.
        1227 | 1044 => SourceError::Privilege { doing, message },
        1236 => from_dump(message, state),
        _ => SourceError::Server {
            doing,
            code,
            state: state.to_owned(),
            message,
        },
    }
}

/// ER_SOURCE_FATAL_ERROR_READING_BINLOG carries many causes, told apart only by their text
/// (`sql/rpl_binlog_sender.cc`, `share/messages_to_error_log.txt`; "master" and "slave" before
/// 8.0.26).
fn from_dump(message: String, state: &str) -> SourceError {
    let has = |part: &str| message.contains(part);
    if has("purged required binary logs") {
        SourceError::Purged { missing: message }
    } else if has("has more GTIDs than") {
        SourceError::Diverged { extra: message }
    } else if has("GTID_MODE = ") || has("GTID_MODE=") {
        SourceError::GtidOff {
            mode: gtid_mode(&message).to_owned(),
        }
    } else if has("Binary log is not open") {
        SourceError::NoBinlog
    } else if has("anonymous transaction") {
        SourceError::Anonymous { message }
    } else if has("with the same server_uuid/server_id") {
        SourceError::ServerIdClash
    } else if has("exceeded max_allowed_packet") || has("max_allowed_packet on ") {
        SourceError::EventTooLarge { message }
    } else if has("Could not find first log file name") {
        SourceError::NoSuchFile { file: message }
    } else {
        SourceError::Server {
            doing: "the dump",
            code: 1236,
            state: state.to_owned(),
            message,
        }
    }
}

/// The mode in ER_CANT_USE_AUTO_POSITION_WITH_GTID_MODE_NOT_ON and its kin: `… has GTID_MODE = OFF
/// instead of ON`.
fn gtid_mode(message: &str) -> &str {
    let words = message
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty());
    let mut after = words.skip_while(|word| *word != "GTID_MODE").skip(1);
    after.next().unwrap_or("not ON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_become_what_to_do() {
        let of = |message: &str| {
            from_server("the dump", "repl", true, 1236, "HY000", message.to_owned())
        };
        let purged = of("Cannot replicate because the source purged required binary logs. …");
        assert!(matches!(purged, SourceError::Purged { .. }));
        let old = of("Slave has more GTIDs than the master has, using the master's SERVER_UUID. …");
        assert!(matches!(old, SourceError::Diverged { .. }));
        let clash =
            of("A replica with the same server_uuid/server_id as this replica has connected …");
        assert!(matches!(clash, SourceError::ServerIdClash));
        let large = of(
            "log event entry exceeded max_allowed_packet; Increase max_allowed_packet on source; …",
        );
        assert!(matches!(large, SourceError::EventTooLarge { .. }));
        assert!(large.to_string().contains("SET GLOBAL max_allowed_packet"));
        let off = of(
            "The replication sender thread cannot start in AUTO_POSITION mode: this server has \
             GTID_MODE = OFF_PERMISSIVE instead of ON.",
        );
        assert!(
            matches!(&off, SourceError::GtidOff { mode } if mode == "OFF_PERMISSIVE"),
            "{off}"
        );
        let anonymous = of(
            "Cannot replicate anonymous transaction when AUTO_POSITION = 1, at file ./binlog.000001, \
             position 197.",
        );
        assert_eq!(anonymous.code(), code::ANONYMOUS);
        assert_eq!(of("Binary log is not open").code(), code::SOURCE_NO_BINLOG);
        let other = of("bogus data in log event; …");
        assert!(matches!(other, SourceError::Server { code: 1236, .. }));
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_and_what_needs_a_person_is_not() {
        assert_eq!(SourceError::Closed.retry().0, Retry::Again);
        let full = from_server(
            "the login",
            "repl",
            false,
            1040,
            "08004",
            "Too many connections".into(),
        );
        assert_eq!(full.retry().0, Retry::Again);
        let denied = from_server(
            "the login",
            "repl",
            false,
            1045,
            "28000",
            "Access denied".into(),
        );
        assert_eq!(denied.retry().0, Retry::Stop);
        assert_eq!(SourceError::ServerIdClash.retry().0, Retry::Stop);
    }
}
