//! Keys of rows, and ranges of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ScanTable;

/// A row's key: one SQL literal per column of the key, in key order. Each carries what it takes to
/// be compared as the column's own values are, on any server that has the same table. It is stored
/// as a JSON array of strings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(Vec<String>);

impl Key {
    pub(crate) fn new(literals: Vec<String>) -> Self {
        Self(literals)
    }

    /// The literals, in key order.
    pub fn literals(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// The rows behind one key up to another, in the key's own order (its index's, so descending
/// columns descend).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRange {
    /// The rows behind this one; from the first on without it.
    pub after: Option<Key>,
    /// Up to this one, itself included; to the last one without it.
    pub until: Option<Key>,
}

impl KeyRange {
    /// The range as an expression over the table's columns, `TRUE` for all rows. A key of another
    /// number of columns than the table's counts as far as it goes.
    pub fn predicate(&self, table: &ScanTable) -> String {
        let columns = table.key_names();
        let mut parts = Vec::new();
        if let Some(key) = &self.after {
            parts.push(beyond(&columns, key, true));
        }
        if let Some(key) = &self.until {
            parts.push(beyond(&columns, key, false));
        }
        if parts.is_empty() {
            return "TRUE".to_owned();
        }
        parts.join(" AND ")
    }
}

/// `(k1 > a) OR (k1 = a AND k2 > b)`: a range of the index to MySQL's optimizer, which a comparison
/// of rows is not.
fn beyond(columns: &[(String, bool)], key: &Key, is_after: bool) -> String {
    let mut all = Vec::new();
    let mut same = String::new();
    let last = columns.len().min(key.0.len());
    for (at, ((column, descending), literal)) in columns.iter().zip(&key.0).enumerate() {
        let operator = match (is_after != *descending, is_after, at + 1 == last) {
            (true, false, true) => ">=",
            (true, ..) => ">",
            (false, false, true) => "<=",
            (false, ..) => "<",
        };
        all.push(format!("({same}{column} {operator} {literal})"));
        same.push_str(&format!("{column} = {literal} AND "));
    }
    format!("({})", all.join(" OR "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(literals: &[&str]) -> Key {
        Key(literals.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn a_range_is_behind_one_key_and_up_to_another() {
        let columns = [("`a`".to_owned(), false), ("`b`".to_owned(), true)];
        assert_eq!(
            beyond(&columns, &key(&["1", "2"]), true),
            "((`a` > 1) OR (`a` = 1 AND `b` < 2))"
        );
        assert_eq!(
            beyond(&columns, &key(&["1", "2"]), false),
            "((`a` < 1) OR (`a` = 1 AND `b` >= 2))"
        );
        assert_eq!(
            beyond(&columns[..1], &key(&["_latin1'x'"]), false),
            "((`a` <= _latin1'x'))"
        );
    }

    #[test]
    fn a_key_is_stored_as_an_array_of_texts() {
        let stored = serde_json::to_string(&key(&["5", "_latin1'a\\'b'"])).unwrap();
        assert_eq!(stored, r#"["5","_latin1'a\\'b'"]"#);
        let read: Key = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, key(&["5", "_latin1'a\\'b'"]));
    }
}
