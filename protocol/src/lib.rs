//! What crosses a Towpath process or is stored: GTIDs and their sets, binlog positions, epochs,
//! error codes, the pipeline file, and the directory's tree. No I/O beyond reading a pipeline file
//! and its secrets, no tokio, no MySQL.

pub mod gtid;
pub mod position;
pub mod epoch;
pub mod code;
pub mod spec;
pub mod tree;
