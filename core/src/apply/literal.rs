//! Values of the binlog as SQL literals that the sink stores as the same value.
//!
//! Text carries its own character set (`_latin1'…'`), so that the sink converts it to the column's,
//! unless it is the connection's, utf8mb4; bytes are `_binary'…'`. Character sets in which a
//! backslash can be the second byte of a character are written in hexadecimal. JSON whose members
//! have types that text can't carry (DECIMAL, dates, opaque values) is built by typed expressions,
//! since parsing text would turn a DECIMAL into a DOUBLE.

use std::io::Write;

use mysql_common::collations::{Collation, CollationId};

use crate::decode::{
    Column, ColumnKind, DecodeError, JsonDiffOperation, JsonDiffs, JsonDocument, JsonValue, Value,
};

/// The collation id of bytes without a character set.
pub const BINARY_COLLATION: u16 = 63;

/// How a column's cells are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// As the value's own kind says.
    Plain,
    /// Text with this introducer, quoted.
    Quoted(String),
    /// Text with this introducer, in hexadecimal.
    Hex(String),
}

impl Form {
    /// The form for a column of the source.
    pub fn of(column: &Column) -> Form {
        Self::of_charset(charset_name(column.collation).as_deref())
    }

    /// The form for text in a character set, by MySQL's name for it; `None` for bytes.
    pub fn of_charset(charset: Option<&str>) -> Form {
        match charset {
            None | Some("binary") => Form::Quoted("_binary".to_owned()),
            // The connection's own.
            Some("utf8mb4") => Form::Quoted(String::new()),
            Some(name @ ("utf8mb3" | "ascii" | "latin1")) => Form::Quoted(format!("_{name}")),
            Some(name) => Form::Hex(format!("_{name} ")),
        }
    }
}

/// The character set of a collation id, in MySQL 8's names; `None` if the id is unknown.
pub fn charset_name(collation: u16) -> Option<String> {
    let collation = Collation::resolve(CollationId::from(collation));
    match collation.charset() {
        "" => None,
        "utf8" => Some("utf8mb3".to_owned()),
        other => Some(other.to_owned()),
    }
}

/// Appends a cell as a literal; `None` is NULL.
///
/// # Errors
/// The cell's bytes are damaged.
pub fn write_cell(
    out: &mut Vec<u8>,
    column: &Column,
    form: &Form,
    cell: Option<&[u8]>,
) -> Result<(), DecodeError> {
    let Some(cell) = cell else {
        out.extend_from_slice(b"NULL");
        return Ok(());
    };
    match column.value(cell)? {
        Value::Int(n) => {
            out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        }
        // Among smaller ones of other rows, a literal of 64 bits makes them all DECIMALs, which a
        // SET takes for doubles.
        Value::Set(n) if cell.len() == 8 => {
            let _ = write!(out, "CAST({n} AS UNSIGNED)");
        }
        Value::UInt(n) | Value::Bit(n) | Value::Set(n) => {
            out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        }
        Value::Enum(n) | Value::Year(n) => {
            out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
        }
        // MySQL stores no such number, and no literal means one.
        Value::Float(x) if !x.is_finite() => return Err(not_finite()),
        Value::Double(x) if !x.is_finite() => return Err(not_finite()),
        // As the double that it is exactly: the shortest text of a float is another double.
        Value::Float(x) => write_double(out, f64::from(x)),
        Value::Double(x) => write_double(out, x),
        Value::Decimal(decimal) => {
            let mut buffer = [0; crate::decode::decimal::TEXT_LEN_MAX];
            out.extend_from_slice(decimal.text(&mut buffer).as_bytes());
        }
        Value::Date(date) => write_quoted_display(out, &date),
        Value::Time(time) => write_quoted_display(out, &time),
        Value::DateTime(datetime) => write_quoted_display(out, &datetime),
        Value::Timestamp(timestamp) => write_quoted_display(out, &timestamp),
        Value::Bytes(bytes) => match column.kind {
            // The binlog cuts the zeros off the end of a BINARY, and a comparison, unlike a store,
            // doesn't put them back.
            ColumnKind::Char { bytes_max }
                if column.collation == BINARY_COLLATION && bytes.len() < usize::from(bytes_max) =>
            {
                let mut whole = bytes.to_vec();
                whole.resize(usize::from(bytes_max), 0);
                write_text(out, form, &whole);
            }
            _ => write_text(out, form, bytes),
        },
        Value::Geometry(bytes) | Value::Vector(bytes) => write_quoted(out, "_binary", bytes),
        Value::Json(document) => write_json(out, document, true)?,
    }
    Ok(())
}

#[cold]
fn not_finite() -> DecodeError {
    DecodeError::malformed("cell", 0, "a floating-point number that is not finite")
}

/// As [`write_cell`], for a value that an INSERT stores: a column of JSON parses text by itself,
/// which spares the server an expression per row. Anywhere else text would be text.
///
/// # Errors
/// As [`write_cell`].
pub fn write_inserted_cell(
    out: &mut Vec<u8>,
    column: &Column,
    form: &Form,
    cell: Option<&[u8]>,
) -> Result<(), DecodeError> {
    if let (Some(bytes), ColumnKind::Json { .. }) = (cell, &column.kind)
        && let Value::Json(document) = column.value(bytes)?
    {
        return write_json(out, document, false);
    }
    write_cell(out, column, form, cell)
}

fn write_quoted_display(out: &mut Vec<u8>, value: &impl std::fmt::Display) {
    // Writing to a vector does not fail.
    let _ = write!(out, "'{value}'");
}

/// With an exponent, so that it is a DOUBLE and not a DECIMAL.
fn write_double(out: &mut Vec<u8>, x: f64) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(x);
    out.extend_from_slice(text.as_bytes());
    if !text.contains('e') {
        out.extend_from_slice(b"e0");
    }
}

fn write_text(out: &mut Vec<u8>, form: &Form, bytes: &[u8]) {
    match form {
        Form::Plain => write_quoted(out, "_binary", bytes),
        Form::Quoted(introducer) => write_quoted(out, introducer, bytes),
        Form::Hex(introducer) => {
            out.extend_from_slice(introducer.as_bytes());
            out.extend_from_slice(b"X'");
            for byte in bytes {
                let _ = write!(out, "{byte:02X}");
            }
            out.push(b'\'');
        }
    }
}

/// A string literal of any bytes, for a connection in utf8mb4 without NO_BACKSLASH_ESCAPES.
pub fn write_quoted(out: &mut Vec<u8>, introducer: &str, bytes: &[u8]) {
    out.extend_from_slice(introducer.as_bytes());
    out.push(b'\'');
    let mut rest = bytes;
    while let Some(at) = memchr::memchr3(b'\'', b'\\', 0, rest) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        match special.first() {
            Some(0) => out.extend_from_slice(b"\\0"),
            Some(c) => out.extend_from_slice(&[b'\\', *c]),
            None => {}
        }
        rest = special.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

/// JSON as an expression of type JSON that keeps every member's own type.
fn write_json(
    out: &mut Vec<u8>,
    document: JsonDocument<'_>,
    cast: bool,
) -> Result<(), DecodeError> {
    // Also proves that the document is nested no deeper than MySQL allows, for what recurses below.
    let mut text = Vec::new();
    document.write_compact(&mut text)?;
    let root = document.root()?;
    if has_typed_members(root)? {
        return write_json_expression(out, root);
    }
    if cast {
        out.extend_from_slice(b"CAST(");
        write_quoted(out, "", &text);
        out.extend_from_slice(b" AS JSON)");
    } else {
        write_quoted(out, "", &text);
    }
    Ok(())
}

/// A column's document with changes made to it, one after the other.
pub(super) fn write_json_diffs(
    out: &mut Vec<u8>,
    column: &str,
    cell: Option<&[u8]>,
) -> Result<(), DecodeError> {
    let mut functions: Vec<&[u8]> = Vec::new();
    let mut arguments = Vec::new();
    for diff in JsonDiffs::new(cell.unwrap_or_default()).iter() {
        let diff = diff?;
        let function: &[u8] = match diff.operation {
            JsonDiffOperation::Replace => b"JSON_REPLACE",
            JsonDiffOperation::Insert if diff.is_at_element() => b"JSON_ARRAY_INSERT",
            JsonDiffOperation::Insert => b"JSON_INSERT",
            JsonDiffOperation::Remove => b"JSON_REMOVE",
        };
        // Each of these takes several changes and makes them from left to right.
        if functions.last() != Some(&function) {
            if !functions.is_empty() {
                arguments.push(b')');
            }
            functions.push(function);
        }
        arguments.push(b',');
        write_quoted(&mut arguments, "_utf8mb4", diff.path);
        if let Some(value) = diff.value {
            arguments.push(b',');
            write_json(&mut arguments, value, true)?;
        }
    }
    for function in functions.iter().rev() {
        out.extend_from_slice(function);
        out.push(b'(');
    }
    out.extend_from_slice(column.as_bytes());
    out.extend_from_slice(&arguments);
    if !functions.is_empty() {
        out.push(b')');
    }
    Ok(())
}

/// Whether JSON text would lose a member's type.
fn has_typed_members(value: JsonValue<'_>) -> Result<bool, DecodeError> {
    Ok(match value {
        JsonValue::Null | JsonValue::Bool(_) | JsonValue::String(_) => false,
        // Text of an integer becomes a signed one up to 32 bits, and an unsigned one beyond.
        JsonValue::Int(n) => n > i64::from(u32::MAX),
        JsonValue::UInt(n) => u32::try_from(n).is_ok(),
        JsonValue::Double(_) => false,
        JsonValue::Object(object) => {
            for member in object.iter() {
                let (_, value) = member?;
                if has_typed_members(value)? {
                    return Ok(true);
                }
            }
            false
        }
        JsonValue::Array(array) => {
            for element in array.iter() {
                if has_typed_members(element?)? {
                    return Ok(true);
                }
            }
            false
        }
        JsonValue::Decimal(_)
        | JsonValue::Date(_)
        | JsonValue::Time(_)
        | JsonValue::DateTime(_)
        | JsonValue::Timestamp(_)
        | JsonValue::Opaque { .. } => true,
    })
}

/// Type bytes of opaque members (`enum_field_types`).
mod opaque {
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const BIT: u8 = 16;
    pub(super) const TINY_BLOB: u8 = 249;
    pub(super) const MEDIUM_BLOB: u8 = 250;
    pub(super) const LONG_BLOB: u8 = 251;
    pub(super) const BLOB: u8 = 252;
    pub(super) const STRING: u8 = 254;
}

/// An opaque member keeps the type of the column that it once came from. No cast makes most of
/// these types, but a column of JSON_TABLE has them.
pub(crate) fn write_opaque(out: &mut Vec<u8>, kind: u8, data: &[u8]) -> Result<(), DecodeError> {
    let bytes = |out: &mut Vec<u8>| write_quoted(out, "_binary", data);
    match kind {
        opaque::VARCHAR => {
            out.extend_from_slice(b"CAST(");
            bytes(out);
            out.extend_from_slice(b" AS JSON)");
        }
        opaque::TINY_BLOB => write_as_column(out, "TINYBLOB", bytes),
        opaque::MEDIUM_BLOB => write_as_column(out, "MEDIUMBLOB", bytes),
        opaque::LONG_BLOB => write_as_column(out, "LONGBLOB", bytes),
        opaque::BLOB => write_as_column(out, "BLOB", bytes),
        opaque::STRING => write_as_column(out, &format!("BINARY({})", data.len()), bytes),
        opaque::BIT if (1..=8).contains(&data.len()) => {
            let value = data
                .iter()
                .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
            write_as_column(out, &format!("BIT({})", 8 * data.len()), |out| {
                let _ = write!(out, "CAST({value} AS UNSIGNED)");
            });
        }
        _ => {
            return Err(DecodeError::Unsupported {
                what: format!("an opaque JSON value of type {kind}").into(),
                hint: "no statement makes such a value on the sink; write it as a string or as BLOB \
                       on the source, or leave the table out",
            });
        }
    }
    Ok(())
}

/// A value as a member of the column type `definition`. It must be storable there: an error, never
/// a NULL or a value that was cut.
pub(crate) fn write_as_column(
    out: &mut Vec<u8>,
    definition: &str,
    value: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(b"(SELECT CAST(c AS JSON) FROM JSON_TABLE(JSON_ARRAY(");
    value(out);
    let _ = write!(
        out,
        "), '$[*]' COLUMNS (c {definition} PATH '$' ERROR ON EMPTY ERROR ON ERROR)) AS m)"
    );
}

/// A member is an argument of JSON_OBJECT or JSON_ARRAY, which take SQL's own types as they are.
fn write_json_expression(out: &mut Vec<u8>, value: JsonValue<'_>) -> Result<(), DecodeError> {
    match value {
        JsonValue::Object(object) => {
            out.extend_from_slice(b"JSON_OBJECT(");
            for (n, member) in object.iter().enumerate() {
                let (key, value) = member?;
                if n > 0 {
                    out.push(b',');
                }
                write_quoted(out, "_utf8mb4", key);
                out.push(b',');
                write_json_expression(out, value)?;
            }
            out.push(b')');
        }
        JsonValue::Array(array) => {
            out.extend_from_slice(b"JSON_ARRAY(");
            for (n, element) in array.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_json_expression(out, element?)?;
            }
            out.push(b')');
        }
        JsonValue::UInt(n) => {
            let _ = write!(out, "CAST(CAST({n} AS UNSIGNED) AS JSON)");
        }
        JsonValue::Decimal(decimal) => {
            let (precision, scale) = (decimal.precision(), decimal.scale());
            let _ = write!(
                out,
                "CAST(CAST({decimal} AS DECIMAL({precision},{scale})) AS JSON)"
            );
        }
        JsonValue::Date(date) => {
            let _ = write!(out, "CAST(CAST('{date}' AS DATE) AS JSON)");
        }
        JsonValue::Time(time) => {
            let _ = write!(out, "CAST(CAST('{time}' AS TIME(6)) AS JSON)");
        }
        JsonValue::DateTime(datetime) => {
            let _ = write!(out, "CAST(CAST('{datetime}' AS DATETIME(6)) AS JSON)");
        }
        JsonValue::Timestamp(timestamp) => write_as_column(out, "TIMESTAMP(6)", |out| {
            out.extend_from_slice(b"_utf8mb4");
            write_quoted_display(out, &timestamp);
        }),
        JsonValue::Opaque { kind, data } => write_opaque(out, kind, data)?,
        JsonValue::Null => out.extend_from_slice(b"NULL"),
        JsonValue::Bool(b) => {
            let text = if b { "true" } else { "false" };
            let _ = write!(out, "CAST('{text}' AS JSON)");
        }
        JsonValue::Int(n) => out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()),
        JsonValue::Double(x) => write_double(out, x),
        JsonValue::String(text) => write_quoted(out, "_utf8mb4", text),
    }
    Ok(())
}
