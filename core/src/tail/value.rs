//! Values of columns in JSON lines.
//!
//! | column | JSON |
//! | --- | --- |
//! | integers, YEAR, BIT | number, exact (up to 18446744073709551615) |
//! | FLOAT, DOUBLE | number, the shortest that gives the same FLOAT or DOUBLE back |
//! | DECIMAL | string, every digit |
//! | CHAR, VARCHAR, TEXT in utf8mb4, utf8mb3, ascii, latin1 | string |
//! | the same in other character sets; BINARY, VARBINARY, BLOB; geometry | string of base64 |
//! | ENUM | its label; its number without `binlog_row_metadata=FULL`; `""` for an invalid value |
//! | SET | its labels with commas; its bits as a number without `FULL` |
//! | JSON | itself |
//! | DATE, TIME, DATETIME | string as MySQL prints it, zero dates too |
//! | TIMESTAMP | string in UTC, `2024-02-29T12:00:00Z`; zero is `0000-00-00T00:00:00Z` |
//! | VECTOR | array of numbers |
//! | NULL | `null` |
//!
//! BINARY(n) has all its n bytes. Geometry is MySQL's own form: SRID in 4 bytes, then WKB.

use super::base64;
use super::plan::ColumnPlan;
use super::string;
use crate::decode::{Column, ColumnKind, DecodeError, Value, decimal, temporal};

/// Longest BINARY, in bytes.
const BINARY_LEN_MAX: usize = 255;

/// Appends the value of a cell.
#[inline]
pub(super) fn push(
    column: &Column,
    plan: &ColumnPlan,
    cell: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let Some(cell) = cell else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    match column.value(cell)? {
        Value::Int(value) => push_text(itoa::Buffer::new().format(value), out),
        Value::UInt(value) | Value::Bit(value) => {
            push_text(itoa::Buffer::new().format(value), out);
        }
        Value::Year(value) => push_text(itoa::Buffer::new().format(value), out),
        Value::Float(value) => push_float(value, out),
        Value::Double(value) => {
            if value.is_finite() {
                push_text(ryu::Buffer::new().format_finite(value), out);
            } else {
                out.extend_from_slice(b"null");
            }
        }
        Value::Decimal(value) => push_quoted(value.text(&mut [0; decimal::TEXT_LEN_MAX]), out),
        Value::Date(value) => push_quoted(value.text(&mut [0; temporal::TEXT_LEN_MAX]), out),
        Value::Time(value) => push_quoted(value.text(&mut [0; temporal::TEXT_LEN_MAX]), out),
        Value::DateTime(value) => push_quoted(value.text(&mut [0; temporal::TEXT_LEN_MAX]), out),
        Value::Timestamp(value) => {
            push_quoted(value.rfc3339(&mut [0; temporal::TEXT_LEN_MAX]), out);
        }
        Value::Enum(0) => out.extend_from_slice(b"\"\""),
        Value::Enum(index) => match plan.labels.get(usize::from(index) - 1) {
            Some(label) => out.extend_from_slice(label),
            None => push_text(itoa::Buffer::new().format(index), out),
        },
        Value::Set(bits) => push_set(bits, plan, out),
        Value::Bytes(bytes) => match column.kind {
            ColumnKind::Char { bytes_max } if !column.is_text() => {
                push_binary(bytes, usize::from(bytes_max), out);
            }
            _ => string::push(bytes, plan.encoding, out),
        },
        Value::Json(document) => document.write_compact(out)?,
        Value::Geometry(bytes) => base64::push(bytes, out),
        Value::Vector(bytes) => push_vector(bytes, out)?,
    }
    Ok(())
}

#[inline]
fn push_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
}

#[inline]
fn push_quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn push_float(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() {
        push_text(ryu::Buffer::new().format_finite(value), out);
    } else {
        out.extend_from_slice(b"null");
    }
}

fn push_set(bits: u64, plan: &ColumnPlan, out: &mut Vec<u8>) {
    if plan.labels.is_empty() {
        return push_text(itoa::Buffer::new().format(bits), out);
    }
    out.push(b'"');
    let mut first = true;
    for (index, label) in plan.labels.iter().enumerate().take(64) {
        if bits >> index & 1 == 1 {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            out.extend_from_slice(label);
        }
    }
    out.push(b'"');
}

/// BINARY(n): the source leaves out the zero bytes at the end.
fn push_binary(bytes: &[u8], len: usize, out: &mut Vec<u8>) {
    let mut padded = [0; BINARY_LEN_MAX];
    match padded.get_mut(..len) {
        Some(padded) if bytes.len() < len => {
            for (slot, byte) in padded.iter_mut().zip(bytes) {
                *slot = *byte;
            }
            base64::push(padded, out);
        }
        _ => base64::push(bytes, out),
    }
}

fn push_vector(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let (floats, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(DecodeError::Truncated {
            what: "VECTOR value",
            offset: bytes.len() - rest.len(),
            needed: 4,
            available: rest.len(),
        });
    }
    out.push(b'[');
    for (index, float) in floats.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_float(f32::from_le_bytes(*float), out);
    }
    out.push(b']');
    Ok(())
}
