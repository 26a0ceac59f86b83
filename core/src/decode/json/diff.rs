//! Changes to a JSON document, as an after image has them in place of the document
//! (`binlog_row_value_options=PARTIAL_JSON`; `Json_diff_vector::read_binary` in `json_diff.cc`).

use super::JsonDocument;
use crate::decode::DecodeError;
use crate::decode::reader::Reader;

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonDiffOperation {
    /// Replaces the value at the path.
    Replace,
    /// Inserts a member of an object, or an element of an array before the one at the path.
    Insert,
    /// Removes the value at the path.
    Remove,
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonDiff<'a> {
    /// What it does.
    pub operation: JsonDiffOperation,
    /// Where: a path in the server's own syntax, in utf8mb4.
    pub path: &'a [u8],
    /// The new value; `None` for a removal.
    pub value: Option<JsonDocument<'a>>,
}

impl JsonDiff<'_> {
    /// Whether the path ends at an element of an array, not at a member of an object.
    pub fn is_at_element(&self) -> bool {
        self.path.ends_with(b"]")
    }
}

/// The changes of a document in the order in which they were made; none for a document that stayed
/// as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonDiffs<'a> {
    bytes: &'a [u8],
}

impl<'a> JsonDiffs<'a> {
    /// Over a cell.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Each change. Ends after the first error: cut short, or an operation that is not known.
    pub fn iter(&self) -> impl Iterator<Item = Result<JsonDiff<'a>, DecodeError>> + use<'a> {
        let mut r = Reader::new("changes of a JSON document", self.bytes);
        let mut damaged = false;
        std::iter::from_fn(move || {
            if damaged || r.is_empty() {
                return None;
            }
            let diff = diff(&mut r);
            damaged = diff.is_err();
            Some(diff)
        })
    }
}

fn diff<'a>(r: &mut Reader<'a>) -> Result<JsonDiff<'a>, DecodeError> {
    let operation = match r.u8()? {
        0 => JsonDiffOperation::Replace,
        1 => JsonDiffOperation::Insert,
        2 => JsonDiffOperation::Remove,
        other => return Err(r.malformed(format_args!("operation {other}"))),
    };
    let path = r.lenenc_bytes()?;
    // It is a literal of a statement: MySQL writes it in utf8mb4.
    if std::str::from_utf8(path).is_err() {
        return Err(r.malformed("a path that is not UTF-8"));
    }
    let value = match operation {
        JsonDiffOperation::Remove => None,
        _ => Some(JsonDocument::new(r.lenenc_bytes()?)),
    };
    Ok(JsonDiff {
        operation,
        path,
        value,
    })
}
