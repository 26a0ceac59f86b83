//! JSON values as MySQL stores them (`sql-common/json_binary.h`): a tree of type bytes, counts and
//! offsets, read in place.
//!
//! - Nothing is copied and nothing is checked before it is asked for.
//! - Bytes that point outside of their container, deeper than MySQL allows, or at the same value
//!   many times are errors: reading a document takes time and text in proportion to its bytes.

pub(crate) mod escape;
mod diff;
mod number;
mod text;
mod value;

pub use diff::{JsonDiff, JsonDiffOperation, JsonDiffs};
pub use value::{JsonArray, JsonObject, JsonValue};

use super::DecodeError;

/// A JSON column's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonDocument<'a> {
    bytes: &'a [u8],
}

impl<'a> JsonDocument<'a> {
    /// Over a cell. An empty one is JSON's `null`, as for the server: it is what a NULL becomes in
    /// a column that was made NOT NULL.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The outermost value.
    ///
    /// # Errors
    /// Cut short, or an unknown type.
    pub fn root(&self) -> Result<JsonValue<'a>, DecodeError> {
        match self.bytes.split_first() {
            None => Ok(JsonValue::Null),
            Some((type_code, bytes)) => JsonValue::parse(*type_code, bytes),
        }
    }

    /// Appends its text as the server prints it: `{"a": 1, "b": [true, null]}`.
    ///
    /// # Errors
    /// Malformed anywhere; what had been appended is taken back.
    pub fn write_text(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        text::write(self, text::Style::Server, out)
    }

    /// The same without spaces: `{"a":1,"b":[true,null]}`. Differs from the server's text in
    /// nothing else.
    ///
    /// # Errors
    /// As [`JsonDocument::write_text`].
    pub fn write_compact(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        text::write(self, text::Style::Compact, out)
    }
}
