//! Text of a JSON document, byte for byte as the server prints it (`Json_wrapper::to_string` in
//! `sql-common/json_dom.cc`), or the same without spaces.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::escape::push_quoted;
use super::number::write_double;
use super::{JsonDocument, JsonValue};
use crate::decode::DecodeError;
use crate::decode::decimal;
use crate::decode::temporal;

/// `JSON_DOCUMENT_MAX_DEPTH`: MySQL stores nothing deeper.
const DEPTH_MAX: usize = 100;
/// Bytes in one line of MySQL's base64.
const BASE64_LINE_BYTES: usize = 57;

/// Where spaces are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `{"a": 1, "b": 2}`.
    Server,
    /// `{"a":1,"b":2}`.
    Compact,
}

pub(super) fn write(
    document: &JsonDocument<'_>,
    style: Style,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let start = out.len();
    let mut writer = Writer {
        style,
        left: document.as_bytes().len() + 1,
        out,
    };
    let result = document.root().and_then(|root| writer.value(root, 1));
    if result.is_err() {
        out.truncate(start);
    }
    result
}

struct Writer<'o> {
    style: Style,
    /// Bytes of the document that have not been accounted for. MySQL stores each value and each
    /// key once, so that all of them together are never longer than the document; offsets that
    /// lead to the same bytes again and again would be.
    left: usize,
    out: &'o mut Vec<u8>,
}

impl Writer<'_> {
    fn account(&mut self, bytes: usize) -> Result<(), DecodeError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(DecodeError::malformed(
                "JSON document",
                0,
                "several values share their bytes",
            )),
        }
    }

    fn value(&mut self, value: JsonValue<'_>, depth: usize) -> Result<(), DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::malformed(
                "JSON document",
                0,
                "deeper than 100 levels",
            ));
        }
        self.account(1)?;
        match value {
            JsonValue::Null => self.out.extend_from_slice(b"null"),
            JsonValue::Bool(true) => self.out.extend_from_slice(b"true"),
            JsonValue::Bool(false) => self.out.extend_from_slice(b"false"),
            JsonValue::Int(value) => {
                self.out
                    .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            }
            JsonValue::UInt(value) => {
                self.out
                    .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
            }
            JsonValue::Double(value) => write_double(value, self.out),
            JsonValue::String(text) => {
                self.string(text)?;
            }
            JsonValue::Object(object) => {
                self.out.push(b'{');
                for (index, member) in object.iter().enumerate() {
                    let (key, value) = member?;
                    self.separate(index);
                    self.string(key)?;
                    self.out.push(b':');
                    if self.style == Style::Server {
                        self.out.push(b' ');
                    }
                    self.value(value, depth + 1)?;
                }
                self.out.push(b'}');
            }
            JsonValue::Array(array) => {
                self.out.push(b'[');
                for (index, element) in array.iter().enumerate() {
                    let element = element?;
                    self.separate(index);
                    self.value(element, depth + 1)?;
                }
                self.out.push(b']');
            }
            JsonValue::Decimal(value) => {
                let mut buffer = [0; decimal::TEXT_LEN_MAX];
                self.out
                    .extend_from_slice(value.text(&mut buffer).as_bytes());
            }
            JsonValue::Date(value) => self.quoted(value.text(&mut [0; temporal::TEXT_LEN_MAX])),
            JsonValue::Time(value) => self.quoted(value.text(&mut [0; temporal::TEXT_LEN_MAX])),
            JsonValue::DateTime(value) | JsonValue::Timestamp(value) => {
                self.quoted(value.text(&mut [0; temporal::TEXT_LEN_MAX]));
            }
            JsonValue::Opaque { kind, data } => {
                self.account(data.len())?;
                self.opaque(kind, data);
            }
        }
        Ok(())
    }

    /// MySQL's JSON is utf8mb4; text that is not would make the whole line unreadable.
    fn string(&mut self, text: &[u8]) -> Result<(), DecodeError> {
        self.account(text.len())?;
        if !text.is_ascii() && std::str::from_utf8(text).is_err() {
            return Err(DecodeError::malformed(
                "JSON document",
                0,
                "a string is not UTF-8",
            ));
        }
        push_quoted(text, self.out);
        Ok(())
    }

    fn separate(&mut self, index: usize) {
        if index > 0 {
            self.out.push(b',');
            if self.style == Style::Server {
                self.out.push(b' ');
            }
        }
    }

    fn quoted(&mut self, text: &str) {
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
    }

    /// `"base64:type15:..."`; MySQL's base64 has a line end after each 76 characters.
    fn opaque(&mut self, kind: u8, data: &[u8]) {
        self.out.extend_from_slice(b"\"base64:type");
        self.out
            .extend_from_slice(itoa::Buffer::new().format(kind).as_bytes());
        self.out.push(b':');
        for (index, line) in data.chunks(BASE64_LINE_BYTES).enumerate() {
            if index > 0 {
                self.out.extend_from_slice(b"\\n");
            }
            let mut buffer = [0; BASE64_LINE_BYTES.div_ceil(3) * 4];
            let len = STANDARD.encode_slice(line, &mut buffer).unwrap_or(0);
            self.out
                .extend_from_slice(buffer.get(..len).unwrap_or_default());
        }
        self.out.push(b'"');
    }
}
