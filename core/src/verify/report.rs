//! What a comparison found.

use towpath_protocol::code::Code;

use crate::apply::ddl::TableName;

/// All tables of a pipeline and sink, or those that were asked for.
#[derive(Debug)]
pub struct Report {
    /// The pipeline.
    pub pipeline: String,
    /// The sink.
    pub sink: String,
    /// Its tables, by name.
    pub tables: Vec<TableReport>,
}

/// What came out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was compared is the same.
    Equal,
    /// Something differs.
    Different,
    /// Nothing is known to differ, but not everything could be compared.
    Unknown,
}

/// One table.
#[derive(Debug)]
pub struct TableReport {
    /// Its name.
    pub name: TableName,
    /// How the definitions differ.
    pub definitions: Vec<DefinitionNote>,
    /// Why its rows weren't compared, all or some of them.
    pub hindrance: Option<Hindrance>,
    /// The names of its key's columns; empty without one.
    pub key_columns: Vec<String>,
    /// Rows of the source that were compared.
    pub rows: u64,
    /// Rows that differ.
    pub differences: Vec<Difference>,
    /// Whether there are more of them.
    pub is_cut: bool,
    /// Keys of rows that changed all the time.
    pub in_motion: Vec<String>,
    /// How many rows look different, and may only be late.
    pub unproven: u64,
}

/// How two definitions differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionNote {
    /// For people.
    pub text: String,
    /// Whether the copy lacks something by it; else the sink only holds it in another way.
    pub is_difference: bool,
}

/// What was in the way of comparing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hindrance {
    /// The error's code.
    pub code: Code,
    /// For people.
    pub text: String,
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its key as people read it, one text per column.
    pub key: Vec<String>,
    /// How it differs.
    pub kind: Kind,
    /// The keys of the source's rows, as literals: none or one.
    pub(super) at_source: Vec<Vec<String>>,
    /// The keys of the sink's rows, as literals: none, or one; more if the sink lacks the key.
    pub(super) at_sink: Vec<Vec<String>>,
    /// Whether it was repaired.
    pub repaired: bool,
}

/// How a row differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The sink lacks it.
    Missing,
    /// Only the sink has it.
    Extra,
    /// These columns differ.
    Changed(Vec<String>),
}

impl TableReport {
    pub(super) fn new(name: TableName) -> Self {
        Self {
            name,
            definitions: Vec::new(),
            hindrance: None,
            key_columns: Vec::new(),
            rows: 0,
            differences: Vec::new(),
            is_cut: false,
            in_motion: Vec::new(),
            unproven: 0,
        }
    }

    /// What came out of this table.
    pub fn verdict(&self) -> Verdict {
        let open = self.differences.iter().any(|row| !row.repaired);
        let differs = self.definitions.iter().any(|note| note.is_difference);
        if open || self.is_cut || differs {
            Verdict::Different
        } else if self.hindrance.is_some() || !self.in_motion.is_empty() || self.unproven > 0 {
            Verdict::Unknown
        } else {
            Verdict::Equal
        }
    }
}

impl Report {
    /// What came out of all: the worst of its tables.
    pub fn verdict(&self) -> Verdict {
        let all = || self.tables.iter().map(TableReport::verdict);
        if all().any(|verdict| verdict == Verdict::Different) {
            Verdict::Different
        } else if all().any(|verdict| verdict == Verdict::Unknown) {
            Verdict::Unknown
        } else {
            Verdict::Equal
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_protocol::code;

    use super::*;

    #[test]
    fn what_could_not_be_compared_is_not_equal() {
        let name = || TableName {
            database: "d".to_owned(),
            table: "t".to_owned(),
        };
        let report = |tables| Report {
            pipeline: "p".to_owned(),
            sink: "s".to_owned(),
            tables,
        };
        let equal = || TableReport::new(name());
        let mut moving = equal();
        moving.in_motion.push("1".to_owned());
        let mut hindered = equal();
        hindered.hindrance = Some(Hindrance {
            code: code::NO_KEY,
            text: String::new(),
        });
        let mut noted = equal();
        noted.definitions.push(DefinitionNote {
            text: String::new(),
            is_difference: false,
        });
        assert_eq!(report(vec![equal(), noted]).verdict(), Verdict::Equal);
        assert_eq!(report(vec![equal(), moving]).verdict(), Verdict::Unknown);
        let mut different = equal();
        different.differences.push(Difference {
            key: vec!["1".to_owned()],
            kind: Kind::Extra,
            at_source: Vec::new(),
            at_sink: vec![vec!["1".to_owned()]],
            repaired: false,
        });
        let mut repaired = equal();
        repaired.differences = different.differences.clone();
        repaired.differences[0].repaired = true;
        assert_eq!(repaired.verdict(), Verdict::Equal);
        assert_eq!(
            report(vec![hindered, different]).verdict(),
            Verdict::Different
        );
    }
}
