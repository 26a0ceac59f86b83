//! What a statement in the binlog does, and what becomes of it on the sink. Pure.
//!
//! ```text
//! statement -> tokens -> read: Change -> decide, by filter and rules: Carry | Pass | Refuse
//! ```
//!
//! Invariants: what isn't understood is never carried; a statement that names tables beside those
//! that the filter takes is carried only as far as that is plainly right, and refused otherwise;
//! temporary tables, triggers, routines, events and accounts are never carried.

mod tokens;
mod read;
mod decide;
#[cfg(test)]
mod tests;

use std::fmt;

use towpath_protocol::spec::DdlClass;

pub use decide::decide;

use super::target::quote_name;

/// A table's or view's name, qualified.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
}

impl TableName {
    /// Quoted for a statement.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_name(&self.database), quote_name(&self.table))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// Something that a statement defines or drops.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ObjectName {
    /// A table or a view.
    Table(TableName),
    /// A database.
    Database(String),
}

/// A statement of the source, with as much of its session as tells what it means.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// Its text.
    pub sql: &'a str,
    /// `sql_mode`, as bits.
    pub sql_mode: u64,
    /// The default database; empty for none.
    pub database: &'a str,
    /// The databases that it changed, as far as the source says so.
    pub updated_databases: Option<&'a [String]>,
    /// Whether the servers store names in lower case (`lower_case_table_names`).
    pub lower_case_names: bool,
}

/// What becomes of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It runs on the sink.
    Carry(Carried),
    /// It does not.
    Pass(Pass),
    /// The pipeline stops: why, and what to do beside dealing with this statement.
    Refuse(String),
}

/// Why a statement isn't run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It doesn't touch what is replicated.
    Outside,
    /// It is of a kind that is never run on a sink: a TRIGGER, say.
    Never(String),
    /// A rule of `[ddl]` says so.
    Ignored {
        /// The class with the rule.
        class: DdlClass,
        /// What that means for the sink.
        consequence: &'static str,
    },
}

/// A statement that runs on the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// What it defines, changes or drops.
    pub objects: Vec<ObjectName>,
    /// What runs in its place, in utf8mb4: the part of it that is about replicated tables.
    pub narrowed: Option<String>,
    /// Whether rows follow in the same transaction (`CREATE TABLE ... SELECT`).
    pub with_rows: bool,
    /// How its run shows in the definitions.
    pub trace: Trace,
}

/// How the definitions of a statement's objects tell whether it ran, on a sink without GTIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// They change; or, if they don't, running it a second time at once changes nothing.
    Definitions,
    /// Tables change names, in this order: a swap of equal tables leaves no trace.
    Renames(Vec<(TableName, TableName)>),
    /// Rows change places and definitions don't (EXCHANGE PARTITION).
    None,
}
