//! `ROTATE_EVENT`: the file that comes next.

use super::DecodeError;
use super::reader::Reader;

/// The event (`Rotate_event` in `control_events.cpp`). As an artificial event it names the file
/// that the events behind it are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotateEvent<'a> {
    /// Offset of the first event in the next file, in bytes; 4 unless the dump started inside it.
    pub position: u64,
    /// Name of the next file, without a path.
    pub file: &'a [u8],
}

impl<'a> RotateEvent<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// Cut short, or without a name.
    pub fn parse(body: &'a [u8]) -> Result<RotateEvent<'a>, DecodeError> {
        let mut r = Reader::new("rotate event", body);
        let position = r.u64()?;
        if r.is_empty() {
            return Err(r.malformed("no file name"));
        }
        Ok(RotateEvent {
            position,
            file: r.rest(),
        })
    }
}
