//! Bodies other than DATA's.

use towpath_protocol::gtid::GtidSet;
use towpath_protocol::position::BinlogPosition;

use super::{Body, WireError};

/// Bytes of a binlog file's name at most (`FN_REFLEN` in MySQL's `my_io.h`).
pub(super) const FILE_NAME_BYTES_MAX: usize = 512;

pub(super) fn decode_claim(body: &[u8]) -> Result<Body, WireError> {
    if body.is_empty() {
        Ok(Body::Claim)
    } else {
        Err(WireError::Length {
            what: "a CLAIM's body",
            found: body.len(),
            expected: 0,
        })
    }
}

/// The body of an OPEN.
pub(in crate::queue) fn encode_open(before: &GtidSet) -> Vec<u8> {
    before.encode_dump()
}

pub(super) fn decode_open(body: &[u8]) -> Result<Body, WireError> {
    let before = GtidSet::decode_binary(body)?;
    Ok(Body::Open { before })
}

/// The body of a HEARTBEAT.
pub(in crate::queue) fn encode_heartbeat(position: &BinlogPosition) -> Vec<u8> {
    let mut body = position.offset.to_le_bytes().to_vec();
    body.extend_from_slice(position.file.as_bytes());
    body
}

pub(super) fn decode_heartbeat(body: &[u8]) -> Result<Body, WireError> {
    let Some((offset, file)) = body.split_first_chunk::<8>() else {
        return Err(WireError::Truncated {
            what: "a HEARTBEAT's position",
        });
    };
    Ok(Body::Heartbeat {
        position: BinlogPosition {
            file: file_name(file)?,
            offset: u64::from_le_bytes(*offset),
        },
    })
}

pub(super) fn file_name(bytes: &[u8]) -> Result<String, WireError> {
    let wrong = || WireError::Value {
        what: "file name, bytes",
        value: bytes.len() as u64,
    };
    if bytes.len() > FILE_NAME_BYTES_MAX {
        return Err(wrong());
    }
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| wrong())
}
