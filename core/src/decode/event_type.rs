//! Types of binlog events.

use std::fmt;

/// The type byte of an event (`Log_event_type` in MySQL's `binlog_event.h`, MariaDB's in
/// `log_event.h`). Types that are not known are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(pub u8);

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        impl EventType {
            $($(#[$doc])* pub const $name: EventType = EventType($code);)*

            /// MySQL's name for it, as `SHOW BINLOG EVENTS` prints it; `None` for an unknown type.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

event_types! {
    /// Start of a binlog before MySQL 5.0.
    START_V3 = 1, "Start_v3";
    /// A statement: DDL, `BEGIN`, and data changes in statement format.
    QUERY = 2, "Query";
    /// The server that wrote the file was stopped.
    STOP = 3, "Stop";
    /// The next file; as an artificial event, the file that follows on this connection.
    ROTATE = 4, "Rotate";
    /// `LAST_INSERT_ID` or auto-increment value of the next statement.
    INTVAR = 5, "Intvar";
    /// A file of `LOAD DATA`, block by block.
    APPEND_BLOCK = 9, "Append_block";
    /// A file of `LOAD DATA` is not needed any more.
    DELETE_FILE = 11, "Delete_file";
    /// Seeds of `RAND()` of the next statement.
    RAND = 13, "RAND";
    /// A user variable of the next statement.
    USER_VAR = 14, "User_var";
    /// The format of what follows.
    FORMAT_DESCRIPTION = 15, "Format_desc";
    /// Commit of a transaction in a transactional engine.
    XID = 16, "Xid";
    /// First block of a file of `LOAD DATA`.
    BEGIN_LOAD_QUERY = 17, "Begin_load_query";
    /// `LOAD DATA` in statement format.
    EXECUTE_LOAD_QUERY = 18, "Execute_load_query";
    /// The table that rows events with its table id are about.
    TABLE_MAP = 19, "Table_map";
    /// Inserted rows, format of MySQL 5.1 to 5.5 and MariaDB.
    WRITE_ROWS_V1 = 23, "Write_rows_v1";
    /// Updated rows, format of MySQL 5.1 to 5.5 and MariaDB.
    UPDATE_ROWS_V1 = 24, "Update_rows_v1";
    /// Deleted rows, format of MySQL 5.1 to 5.5 and MariaDB.
    DELETE_ROWS_V1 = 25, "Delete_rows_v1";
    /// Something happened on the source that may have made replicas differ.
    INCIDENT = 26, "Incident";
    /// The source is alive and has nothing to send; never in a file.
    HEARTBEAT = 27, "Heartbeat";
    /// May be ignored.
    IGNORABLE = 28, "Ignorable";
    /// Text of the statement whose rows follow.
    ROWS_QUERY = 29, "Rows_query";
    /// Inserted rows.
    WRITE_ROWS = 30, "Write_rows";
    /// Updated rows, before and after images.
    UPDATE_ROWS = 31, "Update_rows";
    /// Deleted rows.
    DELETE_ROWS = 32, "Delete_rows";
    /// Start of a transaction that has a GTID without a tag.
    GTID = 33, "Gtid";
    /// Start of a transaction without a GTID.
    ANONYMOUS_GTID = 34, "Anonymous_Gtid";
    /// The GTIDs of all files before this one.
    PREVIOUS_GTIDS = 35, "Previous_gtids";
    /// Group Replication: what a transaction was certified against.
    TRANSACTION_CONTEXT = 36, "Transaction_context";
    /// Group Replication: the group's members changed.
    VIEW_CHANGE = 37, "View_change";
    /// `XA PREPARE`, the end of the first half of an XA transaction.
    XA_PREPARE = 38, "XA_prepare";
    /// Updated rows whose JSON columns are given as differences.
    PARTIAL_UPDATE_ROWS = 39, "Update_rows_partial";
    /// A whole transaction's events, compressed.
    TRANSACTION_PAYLOAD = 40, "Transaction_payload";
    /// Heartbeat with a 64-bit position.
    HEARTBEAT_V2 = 41, "Heartbeat_v2";
    /// Start of a transaction whose GTID has a tag (MySQL 8.3).
    GTID_TAGGED = 42, "Gtid_tagged";
    /// MariaDB: text of the statement whose rows follow.
    MARIADB_ANNOTATE_ROWS = 160, "Annotate_rows";
    /// MariaDB: the oldest file that crash recovery needs.
    MARIADB_BINLOG_CHECKPOINT = 161, "Binlog_checkpoint";
    /// MariaDB: start of a transaction.
    MARIADB_GTID = 162, "Gtid (MariaDB)";
    /// MariaDB: the GTIDs of all files before this one.
    MARIADB_GTID_LIST = 163, "Gtid_list";
    /// MariaDB: what follows is encrypted.
    MARIADB_START_ENCRYPTION = 164, "Start_encryption";
    /// MariaDB: compressed statement.
    MARIADB_QUERY_COMPRESSED = 165, "Query_compressed";
    /// MariaDB: compressed inserted rows.
    MARIADB_WRITE_ROWS_COMPRESSED_V1 = 166, "Write_rows_compressed_v1";
    /// MariaDB: compressed updated rows.
    MARIADB_UPDATE_ROWS_COMPRESSED_V1 = 167, "Update_rows_compressed_v1";
    /// MariaDB: compressed deleted rows.
    MARIADB_DELETE_ROWS_COMPRESSED_V1 = 168, "Delete_rows_compressed_v1";
}

impl EventType {
    /// Whether it is a rows event of any version.
    pub fn is_rows(self) -> bool {
        matches!(
            self,
            Self::WRITE_ROWS
                | Self::UPDATE_ROWS
                | Self::DELETE_ROWS
                | Self::PARTIAL_UPDATE_ROWS
                | Self::WRITE_ROWS_V1
                | Self::UPDATE_ROWS_V1
                | Self::DELETE_ROWS_V1
        )
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventType({}, {self})", self.0)
    }
}
