//! `XID_EVENT`: commit of a transaction.

use super::DecodeError;
use super::reader::Reader;

/// The event (`Xid_event` in `control_events.cpp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XidEvent {
    /// Number of the transaction in the source's storage engines; means nothing elsewhere.
    pub xid: u64,
}

impl XidEvent {
    /// Reads the body.
    ///
    /// # Errors
    /// Cut short.
    pub fn parse(body: &[u8]) -> Result<XidEvent, DecodeError> {
        Ok(XidEvent {
            xid: Reader::new("xid event", body).u64()?,
        })
    }
}
