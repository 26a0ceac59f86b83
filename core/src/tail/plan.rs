//! What is done once per table: the parsed table map, and the parts of its lines that are always
//! the same.

use super::string::{self, TextEncoding};
use crate::decode::{ColumnKind, DecodeError, TableMap};

/// How lines of a table are written.
#[derive(Debug)]
pub(super) struct TablePlan {
    pub(super) table: TableMap,
    /// `"database":"…","table":"…"`.
    pub(super) names: Vec<u8>,
    pub(super) columns: Vec<ColumnPlan>,
    /// Columns up to the last one of the primary key: whether it belongs to the key. Empty if
    /// there is no key.
    pub(super) key: Vec<bool>,
}

/// How a column's values are written.
#[derive(Debug)]
pub(super) struct ColumnPlan {
    /// `,"name":`; in front of the first column without the comma.
    pub(super) name: Vec<u8>,
    pub(super) encoding: TextEncoding,
    /// ENUM: each label as a JSON string. SET: each label's inside of a JSON string.
    pub(super) labels: Vec<Vec<u8>>,
}

impl TablePlan {
    pub(super) fn new(body: &[u8]) -> Result<Self, DecodeError> {
        let table = TableMap::parse(body)?;
        let mut names = b"\"database\":".to_vec();
        string::push_str(&table.database, &mut names);
        names.extend_from_slice(b",\"table\":");
        string::push_str(&table.table, &mut names);

        let columns = table.columns.iter().enumerate().map(|(index, column)| {
            let mut name = b",".to_vec();
            if column.name.is_empty() {
                string::push_str(&format!("@{}", index + 1), &mut name);
            } else {
                string::push_str(&column.name, &mut name);
            }
            name.push(b':');
            let encoding = match column.kind {
                // Labels of an unknown character set may well be readable.
                ColumnKind::Enum { .. } | ColumnKind::Set { .. } if column.collation == 0 => {
                    TextEncoding::Utf8
                }
                _ => TextEncoding::of_collation(column.collation),
            };
            let is_set = matches!(column.kind, ColumnKind::Set { .. });
            let labels = column.labels.iter().map(|label| {
                let mut text = Vec::new();
                string::push(label, encoding, &mut text);
                if is_set {
                    text.pop();
                    text.drain(..text.len().min(1));
                }
                text
            });
            ColumnPlan {
                name,
                encoding,
                labels: labels.collect(),
            }
        });
        let columns = columns.collect();

        let mut key = Vec::new();
        for part in &table.primary_key {
            if key.len() <= part.column {
                key.resize(part.column + 1, false);
            }
            if let Some(in_key) = key.get_mut(part.column) {
                *in_key = true;
            }
        }
        Ok(Self {
            table,
            names,
            columns,
            key,
        })
    }
}
