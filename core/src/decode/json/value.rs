//! Values, objects and arrays of binary JSON.

use crate::decode::column::ColumnKind;
use crate::decode::reader::{Reader, uint_le};
use crate::decode::temporal::{date_from_longlong, longlong};
use crate::decode::{Date, DateTime, Decimal, DecodeError, Time};

/// A JSON value, borrowed from its document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JsonValue<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that was stored as signed.
    Int(i64),
    /// An integer that was stored as unsigned.
    UInt(u64),
    /// A floating-point number; a finite one.
    Double(f64),
    /// A string, in utf8mb4.
    String(&'a [u8]),
    /// An object.
    Object(JsonObject<'a>),
    /// An array.
    Array(JsonArray<'a>),
    /// SQL: DECIMAL; text is a number.
    Decimal(Decimal<'a>),
    /// SQL: DATE; text is a string.
    Date(Date),
    /// SQL: TIME; text is a string with six digits of fractional seconds.
    Time(Time),
    /// SQL: DATETIME; text is a string with six digits of fractional seconds.
    DateTime(DateTime),
    /// SQL: TIMESTAMP, already in the time zone of the session that stored it.
    Timestamp(DateTime),
    /// Any other SQL value, such as BLOB or BIT.
    Opaque {
        /// Type (`enum_field_types`).
        kind: u8,
        /// Its bytes.
        data: &'a [u8],
    },
}

const WHAT: &str = "JSON value";
/// Digits of fractional seconds that JSON text always has.
const FSP: u8 = 6;

/// Type bytes (`JSONB_TYPE_*` in `json_binary.cc`).
mod code {
    pub(super) const SMALL_OBJECT: u8 = 0;
    pub(super) const LARGE_OBJECT: u8 = 1;
    pub(super) const SMALL_ARRAY: u8 = 2;
    pub(super) const LARGE_ARRAY: u8 = 3;
    pub(super) const LITERAL: u8 = 4;
    pub(super) const INT16: u8 = 5;
    pub(super) const UINT16: u8 = 6;
    pub(super) const INT32: u8 = 7;
    pub(super) const UINT32: u8 = 8;
    pub(super) const INT64: u8 = 9;
    pub(super) const UINT64: u8 = 10;
    pub(super) const DOUBLE: u8 = 11;
    pub(super) const STRING: u8 = 12;
    pub(super) const OPAQUE: u8 = 15;
}

/// Types of opaque values that have a meaning of their own (`enum_field_types`).
mod opaque {
    pub(super) const TIMESTAMP: u8 = 7;
    pub(super) const DATE: u8 = 10;
    pub(super) const TIME: u8 = 11;
    pub(super) const DATETIME: u8 = 12;
    pub(super) const NEWDECIMAL: u8 = 246;
}

impl<'a> JsonValue<'a> {
    /// Reads the value of type `type_code` at the start of `bytes`, which may go on behind it.
    pub(super) fn parse(type_code: u8, bytes: &'a [u8]) -> Result<JsonValue<'a>, DecodeError> {
        let mut r = Reader::new(WHAT, bytes);
        Ok(match type_code {
            code::SMALL_OBJECT | code::LARGE_OBJECT => JsonValue::Object(JsonObject {
                container: Container::parse(bytes, type_code == code::LARGE_OBJECT, true)?,
            }),
            code::SMALL_ARRAY | code::LARGE_ARRAY => JsonValue::Array(JsonArray {
                container: Container::parse(bytes, type_code == code::LARGE_ARRAY, false)?,
            }),
            code::LITERAL => match r.u8()? {
                0 => JsonValue::Null,
                1 => JsonValue::Bool(true),
                2 => JsonValue::Bool(false),
                other => return Err(r.malformed(format_args!("literal {other}"))),
            },
            code::INT16 => JsonValue::Int(i64::from(r.u16()? as i16)),
            code::UINT16 => JsonValue::UInt(u64::from(r.u16()?)),
            code::INT32 => JsonValue::Int(i64::from(r.u32()? as i32)),
            code::UINT32 => JsonValue::UInt(u64::from(r.u32()?)),
            code::INT64 => JsonValue::Int(r.u64()? as i64),
            code::UINT64 => JsonValue::UInt(r.u64()?),
            code::DOUBLE => match f64::from_bits(r.u64()?) {
                finite if finite.is_finite() => JsonValue::Double(finite),
                // JSON has no text for it, and MySQL stores none.
                other => return Err(r.malformed(format_args!("the number {other}"))),
            },
            code::STRING => JsonValue::String(variable_bytes(&mut r)?),
            code::OPAQUE => {
                let kind = r.u8()?;
                opaque_value(kind, variable_bytes(&mut r)?)?
            }
            other => return Err(r.malformed(format_args!("type {other}"))),
        })
    }
}

/// Bytes behind a length of seven bits a byte, lowest first (`read_variable_length`).
fn variable_bytes<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let mut len = 0_u64;
    for shift in [0, 7, 14, 21, 28] {
        let byte = r.u8()?;
        len |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return match u32::try_from(len) {
                Ok(len) => r.bytes(len as usize),
                Err(_) => Err(r.malformed(format_args!("length {len}"))),
            };
        }
    }
    Err(r.malformed("a length that does not end"))
}

fn opaque_value(kind: u8, data: &[u8]) -> Result<JsonValue<'_>, DecodeError> {
    let packed = || {
        longlong(data).ok_or_else(|| {
            DecodeError::malformed(
                WHAT,
                0,
                format_args!("temporal value of {} bytes", data.len()),
            )
        })
    };
    Ok(match kind {
        opaque::NEWDECIMAL => JsonValue::Decimal(decimal(data)?),
        opaque::DATE => JsonValue::Date(date_from_longlong(packed()?)),
        opaque::TIME => JsonValue::Time(Time::from_longlong(packed()?, FSP)),
        opaque::DATETIME => JsonValue::DateTime(DateTime::from_longlong(packed()?, FSP)),
        opaque::TIMESTAMP => JsonValue::Timestamp(DateTime::from_longlong(packed()?, FSP)),
        _ => JsonValue::Opaque { kind, data },
    })
}

/// Precision, scale, and the bytes of a column of them.
fn decimal(data: &[u8]) -> Result<Decimal<'_>, DecodeError> {
    let mut r = Reader::new("DECIMAL in a JSON value", data);
    let meta = r.array()?;
    let kind = ColumnKind::from_metadata(opaque::NEWDECIMAL, meta)?;
    let [precision, scale] = meta;
    let cell = r.bytes(usize::from(kind.layout().fixed))?;
    Ok(Decimal::from_cell(cell, precision, scale))
}

/// What objects and arrays have in common: a count, a size in bytes, then entries. Offsets count
/// from the start of the container and take two bytes, or four in the large form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Container<'a> {
    /// From the count to the end that the size says.
    bytes: &'a [u8],
    count: usize,
    large: bool,
    /// Whether it has entries for keys before those for values.
    keyed: bool,
}

impl<'a> Container<'a> {
    fn parse(bytes: &'a [u8], large: bool, keyed: bool) -> Result<Container<'a>, DecodeError> {
        let mut r = Reader::new("JSON container", bytes);
        let width = if large { 4 } else { 2 };
        let count = r.uint(width)? as usize;
        let size = r.uint(width)? as usize;
        let Some(bytes) = bytes.get(..size) else {
            return Err(r.malformed(format_args!("{size} bytes in {}", bytes.len())));
        };
        let container = Container {
            bytes,
            count,
            large,
            keyed,
        };
        if container.entries_end().is_none_or(|end| end > size) {
            return Err(r.malformed(format_args!("{count} entries in {size} bytes")));
        }
        Ok(container)
    }

    #[inline]
    fn width(&self) -> usize {
        if self.large { 4 } else { 2 }
    }

    /// Bytes of a key's entry: its offset, and its length in two bytes.
    #[inline]
    fn key_entry_len(&self) -> usize {
        if self.keyed { self.width() + 2 } else { 0 }
    }

    /// Bytes of a value's entry: its type, and its offset or itself.
    #[inline]
    fn value_entry_len(&self) -> usize {
        1 + self.width()
    }

    fn entries_end(&self) -> Option<usize> {
        let each = self.key_entry_len() + self.value_entry_len();
        self.count.checked_mul(each)?.checked_add(2 * self.width())
    }

    fn at(&self, offset: usize) -> Result<&'a [u8], DecodeError> {
        // Nothing lies among the entries: an offset that small would lead back to this container.
        if self.entries_end().is_some_and(|end| offset >= end)
            && let Some(bytes) = self.bytes.get(offset..)
        {
            return Ok(bytes);
        }
        Err(DecodeError::malformed(
            "JSON container",
            offset,
            format_args!("an offset of {offset} in {} bytes", self.bytes.len()),
        ))
    }

    fn key(&self, index: usize) -> Result<&'a [u8], DecodeError> {
        let start = 2 * self.width() + index * self.key_entry_len();
        let mut r = Reader::new("JSON object", self.bytes.get(start..).unwrap_or_default());
        let offset = r.uint(self.width())? as usize;
        let len = usize::from(r.u16()?);
        Reader::new("key of a JSON object", self.at(offset)?).bytes(len)
    }

    fn value(&self, index: usize) -> Result<JsonValue<'a>, DecodeError> {
        let start =
            2 * self.width() + self.count * self.key_entry_len() + index * self.value_entry_len();
        let mut r = Reader::new(
            "JSON container",
            self.bytes.get(start..).unwrap_or_default(),
        );
        let type_code = r.u8()?;
        let field = r.bytes(self.width())?;
        let inlined = match type_code {
            code::LITERAL | code::INT16 | code::UINT16 => true,
            code::INT32 | code::UINT32 => self.large,
            _ => false,
        };
        if inlined {
            JsonValue::parse(type_code, field)
        } else {
            JsonValue::parse(type_code, self.at(uint_le(field) as usize)?)
        }
    }
}

/// A JSON object. Its members are in the order in which MySQL stores them: by the length of the
/// key, then by its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonObject<'a> {
    container: Container<'a>,
}

impl<'a> JsonObject<'a> {
    /// Number of members.
    pub fn len(&self) -> usize {
        self.container.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its members: key in utf8mb4, value.
    pub fn iter(
        &self,
    ) -> impl Iterator<Item = Result<(&'a [u8], JsonValue<'a>), DecodeError>> + use<'a> {
        let container = self.container;
        (0..container.count).map(move |index| Ok((container.key(index)?, container.value(index)?)))
    }
}

/// A JSON array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonArray<'a> {
    container: Container<'a>,
}

impl<'a> JsonArray<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.container.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its elements.
    pub fn iter(&self) -> impl Iterator<Item = Result<JsonValue<'a>, DecodeError>> + use<'a> {
        let container = self.container;
        (0..container.count).map(move |index| container.value(index))
    }
}
