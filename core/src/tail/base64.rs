//! Bytes as base64 in a JSON string.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appends bytes as a JSON string of standard base64 with padding.
pub(super) fn push(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let len = match out.get_mut(start..) {
        Some(room) => STANDARD.encode_slice(bytes, room).unwrap_or(0),
        None => 0,
    };
    out.truncate(start + len);
    out.push(b'"');
}
