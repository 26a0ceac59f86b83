//! Columns, and how long their values are in a row.

use super::DecodeError;
use super::decimal;
use super::temporal;

/// Collation id of `binary`: the column holds bytes, not text.
pub const BINARY: u16 = 63;

/// A column as its table map describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name; empty unless the source has `binlog_row_metadata=FULL`.
    pub name: String,
    /// Type, and what of it rows need.
    pub kind: ColumnKind,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Whether a numeric column is unsigned.
    pub unsigned: bool,
    /// Collation id; 63 is `binary` (BINARY, VARBINARY, BLOB), 0 not known: a column without
    /// one, or an ENUM or SET without `FULL`.
    pub collation: u16,
    /// Labels of an ENUM or SET, in the column's character set; empty without `FULL`.
    pub labels: Vec<Vec<u8>>,
    /// `false` for an invisible column. `true` without `FULL`.
    pub visible: bool,
    /// Kind of geometry: 0 any, 1 point, 2 linestring, 3 polygon, 4 to 6 multi, 7 collection.
    pub geometry_type: Option<u64>,
    /// Dimensions of a VECTOR column, at most.
    pub vector_dimension: Option<u64>,
}

impl Column {
    /// Whether it holds text: CHAR, VARCHAR, TEXT, ENUM, SET, and not BINARY, VARBINARY or BLOB.
    pub fn is_text(&self) -> bool {
        self.collation != BINARY
            && matches!(
                self.kind,
                ColumnKind::Char { .. }
                    | ColumnKind::VarChar { .. }
                    | ColumnKind::Blob { .. }
                    | ColumnKind::Enum { .. }
                    | ColumnKind::Set { .. }
            )
    }
}

/// Type of a column with what its values' encoding depends on (`field_types.h`,
/// `Table_map_event` in `rows_event.h`). BINARY, VARBINARY and BLOB are `Char`, `VarChar` and
/// `Blob` with collation 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// TINYINT, BOOL.
    Tiny,
    /// SMALLINT.
    Short,
    /// MEDIUMINT.
    Int24,
    /// INT.
    Long,
    /// BIGINT.
    LongLong,
    /// FLOAT.
    Float,
    /// DOUBLE.
    Double,
    /// DECIMAL(precision, scale).
    Decimal {
        /// Digits, at most 65.
        precision: u8,
        /// Digits behind the point, at most 30.
        scale: u8,
    },
    /// YEAR.
    Year,
    /// DATE.
    Date,
    /// TIME(fsp).
    Time {
        /// Digits of fractional seconds, 0 to 6.
        fsp: u8,
    },
    /// DATETIME(fsp).
    DateTime {
        /// Digits of fractional seconds, 0 to 6.
        fsp: u8,
    },
    /// TIMESTAMP(fsp).
    Timestamp {
        /// Digits of fractional seconds, 0 to 6.
        fsp: u8,
    },
    /// BIT(bits).
    Bit {
        /// 1 to 64.
        bits: u16,
    },
    /// ENUM.
    Enum {
        /// Bytes of the index, 1 or 2.
        bytes: u8,
    },
    /// SET.
    Set {
        /// Bytes of the bitmap, 1 to 8.
        bytes: u8,
    },
    /// CHAR or BINARY.
    Char {
        /// Longest value, in bytes.
        bytes_max: u16,
    },
    /// VARCHAR or VARBINARY.
    VarChar {
        /// Longest value, in bytes.
        bytes_max: u16,
    },
    /// TINYTEXT to LONGTEXT, TINYBLOB to LONGBLOB.
    Blob {
        /// Bytes of the length, 1 to 4.
        length_bytes: u8,
    },
    /// JSON.
    Json {
        /// Bytes of the length, 4.
        length_bytes: u8,
    },
    /// GEOMETRY, POINT and the others.
    Geometry {
        /// Bytes of the length, 4.
        length_bytes: u8,
    },
    /// VECTOR.
    Vector {
        /// Bytes of the length, 4.
        length_bytes: u8,
    },
}

/// Type bytes (`enum_field_types`).
mod code {
    pub(super) const TINY: u8 = 1;
    pub(super) const SHORT: u8 = 2;
    pub(super) const LONG: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const DOUBLE: u8 = 5;
    pub(super) const TIMESTAMP: u8 = 7;
    pub(super) const LONGLONG: u8 = 8;
    pub(super) const INT24: u8 = 9;
    pub(super) const DATE: u8 = 10;
    pub(super) const TIME: u8 = 11;
    pub(super) const DATETIME: u8 = 12;
    pub(super) const YEAR: u8 = 13;
    pub(super) const NEWDATE: u8 = 14;
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const BIT: u8 = 16;
    pub(super) const TIMESTAMP2: u8 = 17;
    pub(super) const DATETIME2: u8 = 18;
    pub(super) const TIME2: u8 = 19;
    pub(super) const VECTOR: u8 = 242;
    pub(super) const JSON: u8 = 245;
    pub(super) const NEWDECIMAL: u8 = 246;
    pub(super) const ENUM: u8 = 247;
    pub(super) const SET: u8 = 248;
    pub(super) const TINY_BLOB: u8 = 249;
    pub(super) const MEDIUM_BLOB: u8 = 250;
    pub(super) const LONG_BLOB: u8 = 251;
    pub(super) const BLOB: u8 = 252;
    pub(super) const VAR_STRING: u8 = 253;
    pub(super) const STRING: u8 = 254;
    pub(super) const GEOMETRY: u8 = 255;
}

/// Bytes of metadata that a table map has for a column of this type
/// (`calc_field_metadata` / `Field::save_field_metadata`).
pub(super) fn metadata_len(type_code: u8) -> usize {
    match type_code {
        code::FLOAT
        | code::DOUBLE
        | code::TINY_BLOB
        | code::MEDIUM_BLOB
        | code::LONG_BLOB
        | code::BLOB
        | code::JSON
        | code::GEOMETRY
        | code::VECTOR
        | code::TIMESTAMP2
        | code::DATETIME2
        | code::TIME2 => 1,
        code::VARCHAR
        | code::BIT
        | code::NEWDECIMAL
        | code::ENUM
        | code::SET
        | code::VAR_STRING
        | code::STRING => 2,
        _ => 0,
    }
}

const TEMPORAL_HINT: &str =
    "rebuild the table on the source with ALTER TABLE ... FORCE, which converts the column";
const NEWER_HINT: &str = "leave the table out, or use a version of Towpath that knows the type";

impl ColumnKind {
    /// From the type byte and the metadata of a table map.
    ///
    /// # Errors
    /// A type that is not read, or metadata out of range; the caller names the column.
    pub(super) fn from_metadata(type_code: u8, meta: [u8; 2]) -> Result<ColumnKind, DecodeError> {
        let [first, second] = meta;
        let invalid = |detail: &str| {
            Err(DecodeError::malformed(
                "column metadata",
                0,
                format_args!("{detail} (type {type_code}, metadata {first}, {second})"),
            ))
        };
        let old = |name: &str| {
            Err(DecodeError::Unsupported {
                what: format!("{name} in the format of before MySQL 5.6").into(),
                hint: TEMPORAL_HINT,
            })
        };
        let fsp = || if first <= 6 { Ok(first) } else { Err(()) };
        let length_bytes = || {
            if (1..=4).contains(&first) {
                Ok(first)
            } else {
                Err(())
            }
        };
        Ok(match type_code {
            code::TINY => ColumnKind::Tiny,
            code::SHORT => ColumnKind::Short,
            code::INT24 => ColumnKind::Int24,
            code::LONG => ColumnKind::Long,
            code::LONGLONG => ColumnKind::LongLong,
            code::FLOAT => ColumnKind::Float,
            code::DOUBLE => ColumnKind::Double,
            code::YEAR => ColumnKind::Year,
            code::DATE | code::NEWDATE => ColumnKind::Date,
            code::TIME => return old("TIME"),
            code::DATETIME => return old("DATETIME"),
            code::TIMESTAMP => return old("TIMESTAMP"),
            code::TIME2 => match fsp() {
                Ok(fsp) => ColumnKind::Time { fsp },
                Err(()) => return invalid("digits of fractional seconds"),
            },
            code::DATETIME2 => match fsp() {
                Ok(fsp) => ColumnKind::DateTime { fsp },
                Err(()) => return invalid("digits of fractional seconds"),
            },
            code::TIMESTAMP2 => match fsp() {
                Ok(fsp) => ColumnKind::Timestamp { fsp },
                Err(()) => return invalid("digits of fractional seconds"),
            },
            code::NEWDECIMAL => {
                if first == 0 || first > 65 || second > 30 || second > first {
                    return invalid("precision and scale");
                }
                ColumnKind::Decimal {
                    precision: first,
                    scale: second,
                }
            }
            // Bits beyond whole bytes, then whole bytes.
            code::BIT => match u16::from(first) + u16::from(second) * 8 {
                bits @ 1..=64 if first < 8 => ColumnKind::Bit { bits },
                _ => return invalid("number of bits"),
            },
            code::VARCHAR | code::VAR_STRING => ColumnKind::VarChar {
                bytes_max: u16::from_le_bytes(meta),
            },
            code::STRING | code::ENUM | code::SET => {
                // The first byte is the real type. For CHAR its bits 4 and 5 are inverted bits 8
                // and 9 of the length, which leaves them both set for up to 255 bytes.
                let (real, bytes_max) = if first & 0x30 == 0x30 {
                    (first, u16::from(second))
                } else {
                    let high = u16::from(first & 0x30 ^ 0x30) << 4;
                    (first | 0x30, high | u16::from(second))
                };
                match real {
                    code::STRING => ColumnKind::Char { bytes_max },
                    code::ENUM if matches!(second, 1 | 2) => ColumnKind::Enum { bytes: second },
                    code::SET if (1..=8).contains(&second) => ColumnKind::Set { bytes: second },
                    _ => return invalid("real type"),
                }
            }
            code::TINY_BLOB => ColumnKind::Blob { length_bytes: 1 },
            code::MEDIUM_BLOB => ColumnKind::Blob { length_bytes: 3 },
            code::LONG_BLOB => ColumnKind::Blob { length_bytes: 4 },
            code::BLOB | code::JSON | code::GEOMETRY | code::VECTOR => match length_bytes() {
                Ok(length_bytes) => match type_code {
                    code::BLOB => ColumnKind::Blob { length_bytes },
                    code::JSON => ColumnKind::Json { length_bytes },
                    code::GEOMETRY => ColumnKind::Geometry { length_bytes },
                    _ => ColumnKind::Vector { length_bytes },
                },
                Err(()) => return invalid("bytes of the length"),
            },
            other => {
                return Err(DecodeError::Unsupported {
                    what: format!("type {other}").into(),
                    hint: NEWER_HINT,
                });
            }
        })
    }

    /// Whether `SIGNEDNESS` has a bit for it (`is_numeric_type` in `rows_event.h`).
    pub(super) fn is_numeric(self) -> bool {
        matches!(
            self,
            Self::Tiny
                | Self::Short
                | Self::Int24
                | Self::Long
                | Self::LongLong
                | Self::Float
                | Self::Double
                | Self::Decimal { .. }
                | Self::Year
        )
    }

    /// Whether the character sets of a table map count it (`is_character_type`); VECTOR counts, as
    /// seen on 9.7.
    pub(super) fn is_character(self) -> bool {
        matches!(
            self,
            Self::Char { .. } | Self::VarChar { .. } | Self::Blob { .. } | Self::Vector { .. }
        )
    }

    /// Whether it is an ENUM or a SET.
    pub(super) fn is_enum_or_set(self) -> bool {
        matches!(self, Self::Enum { .. } | Self::Set { .. })
    }

    /// How a value of it lies in a row.
    #[inline]
    pub(super) fn layout(self) -> Layout {
        let (prefix, fixed) = match self {
            Self::Tiny | Self::Year => (0, 1),
            Self::Short => (0, 2),
            Self::Int24 | Self::Date => (0, 3),
            Self::Long | Self::Float => (0, 4),
            Self::LongLong | Self::Double => (0, 8),
            Self::Decimal { precision, scale } => (0, decimal::size(precision, scale)),
            Self::Time { fsp } => (0, 3 + temporal::fraction_len(fsp)),
            Self::DateTime { fsp } => (0, 5 + temporal::fraction_len(fsp)),
            Self::Timestamp { fsp } => (0, 4 + temporal::fraction_len(fsp)),
            Self::Bit { bits } => (0, bits.div_ceil(8) as u8),
            Self::Enum { bytes } | Self::Set { bytes } => (0, bytes),
            Self::Char { bytes_max } | Self::VarChar { bytes_max } => {
                (if bytes_max > 255 { 2 } else { 1 }, 0)
            }
            Self::Blob { length_bytes }
            | Self::Json { length_bytes }
            | Self::Geometry { length_bytes }
            | Self::Vector { length_bytes } => (length_bytes, 0),
        };
        Layout { prefix, fixed }
    }
}

/// How a value lies in a row: `fixed` bytes, or a length of `prefix` bytes and as many bytes as it
/// says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) prefix: u8,
    pub(super) fixed: u8,
}

impl Layout {
    /// Takes one value off the front of `row`. `None`: it is cut short.
    #[inline]
    pub(super) fn split(self, row: &[u8]) -> Option<(&[u8], &[u8])> {
        let (len, row) = match self.prefix {
            0 => return row.split_at_checked(usize::from(self.fixed)),
            1 => {
                let (len, row) = row.split_first()?;
                (usize::from(*len), row)
            }
            2 => {
                let (len, row) = row.split_first_chunk::<2>()?;
                (usize::from(u16::from_le_bytes(*len)), row)
            }
            3 => {
                let ([a, b, c], row) = row.split_first_chunk::<3>()?;
                (u32::from_le_bytes([*a, *b, *c, 0]) as usize, row)
            }
            _ => {
                let (len, row) = row.split_first_chunk::<4>()?;
                (u32::from_le_bytes(*len) as usize, row)
            }
        };
        row.split_at_checked(len)
    }
}
