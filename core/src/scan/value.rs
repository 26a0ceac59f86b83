//! How a column's values are read, and become literals.

use crate::apply::literal::{Form, write_quoted};
use crate::apply::target::TargetColumn;

use super::json;

/// How a column is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A number, whose text is a literal.
    Number,
    /// The number behind bits, or behind the labels of an ENUM or SET.
    Index,
    /// FLOAT and DOUBLE: the double that it is exactly.
    Double,
    /// Dates and times.
    Temporal,
    /// Texts and bytes.
    Text(Form),
    /// The same in a key: in characters that any text can hold, with an introducer where they stand
    /// for characters.
    Key {
        /// E.g. `_latin1`.
        introducer: String,
        /// Whether the bytes are UTF-8 as a rule.
        utf8: bool,
    },
    /// JSON, read with the types of its members.
    Json,
}

impl Reading {
    /// For a column; an error says what it is if it isn't known here.
    pub(super) fn of(column: &TargetColumn, in_key: bool) -> Result<Self, String> {
        let bytes = || {
            let charset = column.charset.as_deref().unwrap_or("binary");
            if in_key {
                Reading::Key {
                    introducer: format!("_{charset}"),
                    utf8: matches!(charset, "utf8mb4" | "utf8mb3" | "utf8" | "ascii"),
                }
            } else {
                Reading::Text(Form::of_charset(Some(charset)))
            }
        };
        Ok(match column.data_type.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year" => {
                Reading::Number
            }
            "float" | "double" => Reading::Double,
            "bit" | "enum" | "set" => Reading::Index,
            "date" | "time" | "datetime" | "timestamp" => Reading::Temporal,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "binary"
            | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => bytes(),
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geomcollection" | "geometrycollection" | "vector" => {
                Reading::Text(Form::Plain)
            }
            "json" => Reading::Json,
            other => return Err(format!("its type {other} isn't known here")),
        })
    }

    /// What is selected for it.
    pub(super) fn expression(&self, column: &str) -> String {
        match self {
            // A sum would make -0 a 0.
            Reading::Double => format!("{column} * 1e0"),
            // The sum of a SET of 64 labels and 0 is a signed number.
            Reading::Index => format!("CAST({column} AS UNSIGNED)"),
            _ => column.to_owned(),
        }
    }

    /// What is selected beside it: the types of a document's members.
    pub(super) fn types(&self, column: &str) -> Option<String> {
        (*self == Reading::Json).then(|| json::types(column))
    }

    /// Appends a value as a literal; an error says what can't be.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        value: Option<&[u8]>,
        types: Option<&[u8]>,
    ) -> Result<(), String> {
        let Some(value) = value else {
            out.extend_from_slice(b"NULL");
            return Ok(());
        };
        match self {
            Reading::Number | Reading::Index => write_number(out, value)?,
            Reading::Double => write_double(out, value)?,
            Reading::Temporal => {
                if !value.iter().all(|c| b"0123456789-:. ".contains(c)) {
                    return Err(unexpected(value));
                }
                out.push(b'\'');
                out.extend_from_slice(value);
                out.push(b'\'');
            }
            Reading::Text(Form::Hex(introducer)) => write_hex(out, introducer, value),
            Reading::Text(Form::Quoted(introducer)) => write_quoted(out, introducer, value),
            Reading::Text(Form::Plain) => write_quoted(out, "_binary", value),
            Reading::Key { introducer, utf8 } => {
                if *utf8 && std::str::from_utf8(value).is_ok() {
                    write_quoted(out, introducer, value);
                } else {
                    write_hex(out, introducer, value);
                }
            }
            Reading::Json => {
                let types = types.ok_or(
                    "a JSON document whose list of types is larger than the server's max_allowed_packet",
                )?;
                json::write(out, value, types)?;
            }
        }
        Ok(())
    }
}

/// What a server says a number is must be one: it goes into a statement as it is.
pub(super) fn write_number(out: &mut Vec<u8>, value: &[u8]) -> Result<(), String> {
    let is_number = !value.is_empty()
        && value
            .iter()
            .all(|c| c.is_ascii_digit() || b"+-.eE".contains(c));
    if !is_number {
        return Err(unexpected(value));
    }
    out.extend_from_slice(value);
    Ok(())
}

/// With an exponent, so that it is a DOUBLE and not a DECIMAL.
pub(super) fn write_double(out: &mut Vec<u8>, value: &[u8]) -> Result<(), String> {
    write_number(out, value)?;
    if !value.contains(&b'e') && !value.contains(&b'E') {
        out.extend_from_slice(b"e0");
    }
    Ok(())
}

fn write_hex(out: &mut Vec<u8>, introducer: &str, value: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(introducer.as_bytes());
    out.extend_from_slice(b" X'");
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    out.extend(
        value
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]),
    );
    out.push(b'\'');
}

fn unexpected(value: &[u8]) -> String {
    let start = value.get(..value.len().min(40)).unwrap_or_default();
    format!(
        "the server sent {:?} for a number or a time",
        String::from_utf8_lossy(start)
    )
}
