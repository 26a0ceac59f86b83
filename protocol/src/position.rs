//! A place in a source's binlog.

/// A binlog file and the byte offset in it at which the next event begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BinlogPosition {
    /// The file's name as `SHOW BINARY LOGS` prints it.
    pub file: String,
    /// Byte offset of the next event; the first event of a file is at 4.
    pub offset: u64,
}
