//! What the bytes of a cell mean.

use super::reader::{uint_be, uint_le};
use super::{
    Column, ColumnKind, Date, DateTime, Decimal, DecodeError, JsonDocument, Time, Timestamp,
};

/// A value, borrowed from its cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// TINYINT to BIGINT, signed.
    Int(i64),
    /// TINYINT to BIGINT, unsigned.
    UInt(u64),
    /// FLOAT.
    Float(f32),
    /// DOUBLE.
    Double(f64),
    /// DECIMAL.
    Decimal(Decimal<'a>),
    /// YEAR: 1901 to 2155, or 0.
    Year(u16),
    /// DATE.
    Date(Date),
    /// TIME.
    Time(Time),
    /// DATETIME.
    DateTime(DateTime),
    /// TIMESTAMP.
    Timestamp(Timestamp),
    /// BIT, the lowest bit last.
    Bit(u64),
    /// ENUM: index of the label from 1; 0 is the empty string of an invalid value.
    Enum(u16),
    /// SET: bit 0 is the first label.
    Set(u64),
    /// CHAR, VARCHAR, TEXT in the column's character set, BINARY, VARBINARY, BLOB. BINARY(n) comes
    /// without the zero bytes at its end, CHAR(n) without the spaces, as the source sends them.
    Bytes(&'a [u8]),
    /// JSON.
    Json(JsonDocument<'a>),
    /// Geometry: SRID in 4 bytes and WKB.
    Geometry(&'a [u8]),
    /// VECTOR: 4-byte floats, little-endian.
    Vector(&'a [u8]),
}

impl Column {
    /// Reads a cell of this column, as [`super::Cells`] gives it.
    ///
    /// # Errors
    /// The cell has not the length of the type, or its bytes are not a value of it. JSON is
    /// checked only when it is read.
    #[inline]
    pub fn value<'a>(&'a self, cell: &'a [u8]) -> Result<Value<'a>, DecodeError> {
        if cell.len() == usize::from(self.kind.layout().fixed) || self.kind.layout().prefix != 0 {
            Ok(self.value_of(cell))
        } else {
            Err(DecodeError::malformed(
                "cell",
                0,
                format_args!("{} bytes for {:?}", cell.len(), self.kind),
            ))
        }
    }

    /// Of a cell that has the length of the type.
    #[inline]
    fn value_of<'a>(&'a self, cell: &'a [u8]) -> Value<'a> {
        match self.kind {
            ColumnKind::Tiny
            | ColumnKind::Short
            | ColumnKind::Int24
            | ColumnKind::Long
            | ColumnKind::LongLong => {
                let value = uint_le(cell);
                if self.unsigned {
                    Value::UInt(value)
                } else {
                    // The sign is the highest bit of the 1, 2, 3, 4 or 8 bytes.
                    let unused = 64 - 8 * (cell.len().clamp(1, 8) as u32);
                    Value::Int((value << unused) as i64 >> unused)
                }
            }
            ColumnKind::Float => Value::Float(f32::from_bits(uint_le(cell) as u32)),
            ColumnKind::Double => Value::Double(f64::from_bits(uint_le(cell))),
            ColumnKind::Decimal { precision, scale } => {
                Value::Decimal(Decimal::from_cell(cell, precision, scale))
            }
            ColumnKind::Year => Value::Year(match uint_le(cell) as u16 {
                0 => 0,
                years => 1900 + years,
            }),
            ColumnKind::Date => Value::Date(Date::from_packed(uint_le(cell) as u32)),
            ColumnKind::Time { fsp } => Value::Time(Time::from_cell(cell, fsp)),
            ColumnKind::DateTime { fsp } => Value::DateTime(DateTime::from_cell(cell, fsp)),
            ColumnKind::Timestamp { fsp } => Value::Timestamp(Timestamp::from_cell(cell, fsp)),
            ColumnKind::Bit { .. } => Value::Bit(uint_be(cell)),
            ColumnKind::Enum { .. } => Value::Enum(uint_le(cell) as u16),
            ColumnKind::Set { .. } => Value::Set(uint_le(cell)),
            ColumnKind::Char { .. } | ColumnKind::VarChar { .. } | ColumnKind::Blob { .. } => {
                Value::Bytes(cell)
            }
            ColumnKind::Json { .. } => Value::Json(JsonDocument::new(cell)),
            ColumnKind::Geometry { .. } => Value::Geometry(cell),
            ColumnKind::Vector { .. } => Value::Vector(cell),
        }
    }
}
