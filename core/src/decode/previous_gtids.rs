//! `PREVIOUS_GTIDS_LOG_EVENT`: the GTIDs of all files before this one.

use towpath_protocol::gtid::GtidSet;

use super::DecodeError;

/// Reads the body (`Previous_gtids_event` in `control_events.cpp`).
///
/// # Errors
/// Bytes that are no GTID set.
pub fn parse(body: &[u8]) -> Result<GtidSet, DecodeError> {
    Ok(GtidSet::decode_binary(body)?)
}
