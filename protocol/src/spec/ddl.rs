//! What a pipeline does about schema changes of the source, class by class.

use std::fmt;

/// A class of schema changes: one key of `[ddl]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DdlClass {
    /// `CREATE TABLE`, also `... LIKE` and `... SELECT`.
    TableCreate,
    /// `ALTER TABLE`, as far as it is in no other class.
    TableAlter,
    /// `DROP TABLE`.
    TableDrop,
    /// `RENAME TABLE`, `ALTER TABLE ... RENAME`.
    TableRename,
    /// `TRUNCATE TABLE`.
    Truncate,
    /// `CREATE INDEX`, `DROP INDEX`; an index in ALTER TABLE is of that class.
    Index,
    /// The partition clauses of ALTER TABLE.
    Partition,
    /// `CREATE`, `ALTER`, `DROP DATABASE`.
    Database,
    /// `CREATE`, `ALTER`, `DROP VIEW`.
    View,
    /// Triggers, procedures, functions, events: never run on the sink.
    Program,
    /// What isn't understood, or reads files of the source.
    Other,
}

/// What is done about a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DdlRule {
    /// Run it on the sink, once.
    Apply,
    /// Log it and go on.
    Ignore,
    /// Stop with the statement and the ways on.
    Stop,
}

/// The rules of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DdlSpec {
    /// In the order of [`DdlClass::ALL`].
    rules: [DdlRule; DdlClass::ALL.len()],
}

impl DdlClass {
    /// Every class.
    pub const ALL: [DdlClass; 11] = [
        DdlClass::TableCreate,
        DdlClass::TableAlter,
        DdlClass::TableDrop,
        DdlClass::TableRename,
        DdlClass::Truncate,
        DdlClass::Index,
        DdlClass::Partition,
        DdlClass::Database,
        DdlClass::View,
        DdlClass::Program,
        DdlClass::Other,
    ];

    /// Its key in `[ddl]`.
    pub fn key(self) -> &'static str {
        match self {
            DdlClass::TableCreate => "table_create",
            DdlClass::TableAlter => "table_alter",
            DdlClass::TableDrop => "table_drop",
            DdlClass::TableRename => "table_rename",
            DdlClass::Truncate => "truncate",
            DdlClass::Index => "index",
            DdlClass::Partition => "partition",
            DdlClass::Database => "database",
            DdlClass::View => "view",
            DdlClass::Program => "program",
            DdlClass::Other => "other",
        }
    }

    /// Whether statements of this class can run on a sink at all, so that `default` is about it.
    pub fn can_apply(self) -> bool {
        !matches!(self, DdlClass::Program | DdlClass::Other)
    }

    /// What holds if the file says nothing about the class.
    fn own_default(self) -> DdlRule {
        match self {
            // They would act a second time on what their effects already are in the binlog.
            DdlClass::Program => DdlRule::Ignore,
            DdlClass::Other => DdlRule::Stop,
            _ => DdlRule::Apply,
        }
    }
}

impl DdlRule {
    /// As written in the file.
    pub fn word(self) -> &'static str {
        match self {
            DdlRule::Apply => "apply",
            DdlRule::Ignore => "ignore",
            DdlRule::Stop => "stop",
        }
    }
}

impl fmt::Display for DdlRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Default for DdlSpec {
    fn default() -> Self {
        Self {
            rules: DdlClass::ALL.map(DdlClass::own_default),
        }
    }
}

impl DdlSpec {
    /// The rule of a class.
    pub fn rule(&self, class: DdlClass) -> DdlRule {
        self.rules
            .get(class as usize)
            .copied()
            .unwrap_or(DdlRule::Stop)
    }

    /// With another rule for a class.
    #[must_use]
    pub fn with(mut self, class: DdlClass, rule: DdlRule) -> Self {
        if let Some(slot) = self.rules.get_mut(class as usize) {
            *slot = rule;
        }
        self
    }

    /// With another rule for every class that can be applied.
    #[must_use]
    pub fn with_default(self, rule: DdlRule) -> Self {
        let classes = DdlClass::ALL.into_iter().filter(|class| class.can_apply());
        classes.fold(self, |spec, class| spec.with(class, rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_stand_where_their_number_says() {
        for (at, class) in DdlClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
        }
    }

    #[test]
    fn the_default_is_about_what_can_be_applied() {
        let spec = DdlSpec::default().with_default(DdlRule::Ignore);
        assert_eq!(spec.rule(DdlClass::Truncate), DdlRule::Ignore);
        assert_eq!(spec.rule(DdlClass::Program), DdlRule::Ignore);
        assert_eq!(spec.rule(DdlClass::Other), DdlRule::Stop);
        let spec = spec.with(DdlClass::View, DdlRule::Stop);
        assert_eq!(spec.rule(DdlClass::View), DdlRule::Stop);
    }
}
