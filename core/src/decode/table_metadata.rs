//! Optional metadata at the end of a table map: what `binlog_row_metadata` adds (`MINIMAL`:
//! signedness, character sets, geometry types; `FULL`: names, labels, primary key, visibility).

use super::reader::Reader;
use super::{Column, ColumnKind, DecodeError, KeyPart};

const WHAT: &str = "optional metadata of a table map event";

/// The fields as they lie in the event (`Optional_metadata_field_type` in `rows_event.h`). Fields
/// that are not known are skipped: MySQL adds only such as readers may do without.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Metadata<'a> {
    signedness: &'a [u8],
    default_charset: Option<&'a [u8]>,
    column_charset: Option<&'a [u8]>,
    column_name: Option<&'a [u8]>,
    set_labels: &'a [u8],
    enum_labels: &'a [u8],
    geometry_type: &'a [u8],
    simple_primary_key: Option<&'a [u8]>,
    primary_key_with_prefix: Option<&'a [u8]>,
    enum_and_set_default_charset: Option<&'a [u8]>,
    enum_and_set_column_charset: Option<&'a [u8]>,
    column_visibility: Option<&'a [u8]>,
    vector_dimensionality: &'a [u8],
}

impl<'a> Metadata<'a> {
    /// Splits the fields: type, length, value.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Metadata<'a>, DecodeError> {
        let mut fields = Metadata::default();
        let mut r = Reader::new(WHAT, bytes);
        while !r.is_empty() {
            let field = r.u8()?;
            let value = r.lenenc_bytes()?;
            match field {
                1 => fields.signedness = value,
                2 => fields.default_charset = Some(value),
                3 => fields.column_charset = Some(value),
                4 => fields.column_name = Some(value),
                5 => fields.set_labels = value,
                6 => fields.enum_labels = value,
                7 => fields.geometry_type = value,
                8 => fields.simple_primary_key = Some(value),
                9 => fields.primary_key_with_prefix = Some(value),
                10 => fields.enum_and_set_default_charset = Some(value),
                11 => fields.enum_and_set_column_charset = Some(value),
                12 => fields.column_visibility = Some(value),
                13 => fields.vector_dimensionality = value,
                _ => {}
            }
        }
        Ok(fields)
    }

    /// Names of all columns; `None` without `FULL`.
    pub(super) fn names(&self, count: usize) -> Result<Option<Vec<String>>, DecodeError> {
        let Some(bytes) = self.column_name else {
            return Ok(None);
        };
        let mut r = Reader::new("column names of a table map event", bytes);
        let mut names = Vec::with_capacity(count);
        for _ in 0..count {
            names.push(String::from_utf8_lossy(r.lenenc_bytes()?).into_owned());
        }
        Ok(Some(names))
    }

    /// The primary key's parts, in its order.
    pub(super) fn primary_key(&self, count: usize) -> Result<Vec<KeyPart>, DecodeError> {
        let (bytes, with_prefix) = match (self.simple_primary_key, self.primary_key_with_prefix) {
            (Some(bytes), _) => (bytes, false),
            (None, Some(bytes)) => (bytes, true),
            (None, None) => return Ok(Vec::new()),
        };
        let mut r = Reader::new("primary key of a table map event", bytes);
        let mut parts = Vec::new();
        while !r.is_empty() {
            let column = r.lenenc_size()?;
            if column >= count {
                return Err(r.malformed(format_args!("column {column} of {count}")));
            }
            let prefix = if with_prefix { r.lenenc()? } else { 0 };
            let prefix = u32::try_from(prefix)
                .map_err(|_| r.malformed(format_args!("a prefix of {prefix} characters")))?;
            parts.push(KeyPart { column, prefix });
        }
        Ok(parts)
    }

    /// Completes the columns with all other fields.
    pub(super) fn apply(&self, columns: &mut [Column]) -> Result<(), DecodeError> {
        for (index, column) in columns
            .iter_mut()
            .filter(|c| c.kind.is_numeric())
            .enumerate()
        {
            column.unsigned = high_bit(self.signedness, index);
        }
        collations(
            self.default_charset,
            self.column_charset,
            columns.iter_mut().filter(|c| c.kind.is_character()),
        )?;
        collations(
            self.enum_and_set_default_charset,
            self.enum_and_set_column_charset,
            columns.iter_mut().filter(|c| c.kind.is_enum_or_set()),
        )?;
        labels(self.set_labels, columns, |kind| {
            matches!(kind, ColumnKind::Set { .. })
        })?;
        labels(self.enum_labels, columns, |kind| {
            matches!(kind, ColumnKind::Enum { .. })
        })?;

        let mut r = Reader::new("geometry types of a table map event", self.geometry_type);
        for column in columns
            .iter_mut()
            .filter(|c| matches!(c.kind, ColumnKind::Geometry { .. }))
        {
            if !r.is_empty() {
                column.geometry_type = Some(r.lenenc()?);
            }
        }
        let mut r = Reader::new(
            "vector dimensions of a table map event",
            self.vector_dimensionality,
        );
        for column in columns
            .iter_mut()
            .filter(|c| matches!(c.kind, ColumnKind::Vector { .. }))
        {
            if !r.is_empty() {
                column.vector_dimension = Some(r.lenenc()?);
            }
        }
        if let Some(bits) = self.column_visibility {
            for (index, column) in columns.iter_mut().enumerate() {
                column.visible = high_bit(bits, index);
            }
        }
        Ok(())
    }
}

/// Bit `index` from the highest bit of the first byte.
fn high_bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8)
        .is_some_and(|byte| byte << (index % 8) & 0x80 != 0)
}

/// Either one collation for all and the exceptions (index among these columns, collation), or one
/// for each.
fn collations<'c>(
    default: Option<&[u8]>,
    each: Option<&[u8]>,
    columns: impl Iterator<Item = &'c mut Column>,
) -> Result<(), DecodeError> {
    let read = |r: &mut Reader<'_>| {
        let id = r.lenenc()?;
        u16::try_from(id).map_err(|_| r.malformed(format_args!("collation {id}")))
    };
    let what = "character sets of a table map event";
    if let Some(bytes) = default {
        let mut r = Reader::new(what, bytes);
        let default = read(&mut r)?;
        let next_exception = |r: &mut Reader<'_>| -> Result<_, DecodeError> {
            if r.is_empty() {
                return Ok(None);
            }
            Ok(Some((r.lenenc_size()?, read(r)?)))
        };
        let mut exception = next_exception(&mut r)?;
        for (index, column) in columns.enumerate() {
            column.collation = default;
            if let Some((at, collation)) = exception
                && at == index
            {
                column.collation = collation;
                exception = next_exception(&mut r)?;
            }
        }
        // They come in the columns' order; one that is left was out of order or range.
        if let Some((at, _)) = exception {
            return Err(r.malformed(format_args!("a collation for character column {at}")));
        }
    } else if let Some(bytes) = each {
        let mut r = Reader::new(what, bytes);
        for column in columns {
            column.collation = read(&mut r)?;
        }
    }
    Ok(())
}

/// For each column of the kind: the number of labels, and the labels.
fn labels(
    bytes: &[u8],
    columns: &mut [Column],
    is_kind: impl Fn(ColumnKind) -> bool,
) -> Result<(), DecodeError> {
    let mut r = Reader::new("labels of a table map event", bytes);
    for column in columns.iter_mut().filter(|column| is_kind(column.kind)) {
        if r.is_empty() {
            break;
        }
        let count = r.lenenc_size()?;
        // Each takes a byte at least, so that a wrong count cannot allocate more than there is.
        if count > r.rest().len() {
            return Err(r.malformed(format_args!("{count} labels")));
        }
        let mut labels = Vec::with_capacity(count);
        for _ in 0..count {
            labels.push(r.lenenc_bytes()?.to_vec());
        }
        column.labels = labels;
    }
    Ok(())
}
