//! From what a statement changes to what becomes of it, by the pipeline's tables and rules.

use towpath_protocol::spec::{DdlClass, DdlRule, DdlSpec, TableFilter};

use super::read::{Change, Clauses, read};
use super::{Carried, Decision, ObjectName, Pass, Statement, TableName, Trace};

/// Decides about a statement.
pub fn decide(statement: &Statement<'_>, filter: &TableFilter, rules: &DdlSpec) -> Decision {
    let judge = Judge { filter, rules };
    match read(statement) {
        Change::Nothing | Change::Temporary => Decision::Pass(Pass::Outside),
        Change::CreateTable {
            name,
            like,
            with_rows,
        } => judge.create_table(name, like, with_rows),
        Change::AlterTable { name, clauses } => judge.alter_table(name, clauses),
        Change::DropTables { names, if_exists } => {
            judge.drop_all(DdlClass::TableDrop, "TABLE", names, if_exists)
        }
        Change::DropViews { names, if_exists } => {
            judge.drop_all(DdlClass::View, "VIEW", names, if_exists)
        }
        Change::RenameTables(pairs) => judge.rename(pairs),
        Change::Truncate(name) => judge.one_table(DdlClass::Truncate, name),
        Change::Index(name) => judge.one_table(DdlClass::Index, name),
        Change::DefineView(name) => judge.one_table(DdlClass::View, name),
        Change::CreateDatabase(name) | Change::AlterDatabase(name) => judge.database(name, false),
        Change::DropDatabase(name) => judge.database(name, true),
        Change::Program { kind, database } => {
            if !filter.may_match_database(&database) {
                return Decision::Pass(Pass::Outside);
            }
            match judge.ruled(&[DdlClass::Program]) {
                Some(Decision::Pass(_)) | None => Decision::Pass(Pass::Never(kind)),
                Some(refused) => refused,
            }
        }
        Change::Unknown => judge.unknown(statement),
    }
}

struct Judge<'a> {
    filter: &'a TableFilter,
    rules: &'a DdlSpec,
}

impl Judge<'_> {
    fn takes(&self, name: &TableName) -> bool {
        self.filter.matches(&name.database, &name.table)
    }

    /// What the rules of these classes say, if that isn't `apply`. Several, for a statement of
    /// several.
    fn ruled(&self, classes: &[DdlClass]) -> Option<Decision> {
        let with = |wanted| {
            classes
                .iter()
                .copied()
                .find(|class| self.rules.rule(*class) == wanted)
        };
        if let Some(class) = with(DdlRule::Stop) {
            return Some(Decision::Refuse(match class {
                DdlClass::Other => {
                    "it isn't understood, or moves files of the server ([ddl] other = \
                                    \"ignore\" passes over such statements)"
                        .to_owned()
                }
                class => format!("[ddl] says so: {} is \"stop\"", class.key()),
            }));
        }
        let ignored = with(DdlRule::Ignore)?;
        if let Some(applied) = with(DdlRule::Apply) {
            return Some(Decision::Refuse(format!(
                "it is of two classes with different rules: [ddl] {} is \"ignore\", {} is \"apply\"",
                ignored.key(),
                applied.key()
            )));
        }
        Some(Decision::Pass(Pass::Ignored {
            class: ignored,
            consequence: consequence(ignored),
        }))
    }

    fn one_table(&self, class: DdlClass, name: TableName) -> Decision {
        if !self.takes(&name) {
            return Decision::Pass(Pass::Outside);
        }
        self.ruled(&[class])
            .unwrap_or_else(|| carry(vec![name], Trace::Definitions))
    }

    fn create_table(&self, name: TableName, like: Option<TableName>, with_rows: bool) -> Decision {
        if !self.takes(&name) {
            return Decision::Pass(Pass::Outside);
        }
        if let Some(ruled) = self.ruled(&[DdlClass::TableCreate]) {
            return ruled;
        }
        if let Some(like) = like.filter(|like| !self.takes(like)) {
            return Decision::Refuse(format!(
                "it copies the definition of {like}, which source.tables does not take, so the sink may \
                 have another one or none"
            ));
        }
        Decision::Carry(Carried {
            objects: vec![ObjectName::Table(name)],
            narrowed: None,
            with_rows,
            trace: Trace::Definitions,
        })
    }

    fn alter_table(&self, name: TableName, clauses: Clauses) -> Decision {
        let Clauses {
            rename,
            exchange,
            partition,
            definition,
            tablespace,
            maintenance,
        } = clauses;
        let mut names = vec![name.clone()];
        names.extend(rename.clone());
        names.extend(exchange.clone());
        if maintenance || !names.iter().any(|name| self.takes(name)) {
            return Decision::Pass(Pass::Outside);
        }
        let mut classes = Vec::new();
        if tablespace {
            classes.push(DdlClass::Other);
        }
        if rename.is_some() {
            classes.push(DdlClass::TableRename);
        }
        if partition {
            classes.push(DdlClass::Partition);
        }
        if definition || classes.is_empty() {
            classes.push(DdlClass::TableAlter);
        }
        if let Some(ruled) = self.ruled(&classes) {
            return ruled;
        }
        if !names.iter().all(|name| self.takes(name)) {
            return self.crosses(&names);
        }
        let trace = match (rename, exchange) {
            (_, Some(_)) => Trace::None,
            (Some(new), None) => Trace::Renames(vec![(name, new)]),
            (None, None) => Trace::Definitions,
        };
        carry(names, trace)
    }

    fn drop_all(
        &self,
        class: DdlClass,
        what: &str,
        names: Vec<TableName>,
        if_exists: bool,
    ) -> Decision {
        let all = names.len();
        let taken: Vec<TableName> = names.into_iter().filter(|name| self.takes(name)).collect();
        if taken.is_empty() {
            return Decision::Pass(Pass::Outside);
        }
        if let Some(ruled) = self.ruled(&[class]) {
            return ruled;
        }
        let narrowed = (taken.len() < all).then(|| {
            let if_exists = if if_exists { "IF EXISTS " } else { "" };
            let names: Vec<_> = taken.iter().map(TableName::quoted).collect();
            format!("DROP {what} {if_exists}{}", names.join(", "))
        });
        Decision::Carry(Carried {
            objects: taken.into_iter().map(ObjectName::Table).collect(),
            narrowed,
            with_rows: false,
            trace: Trace::Definitions,
        })
    }

    fn rename(&self, pairs: Vec<(TableName, TableName)>) -> Decision {
        let mut names: Vec<TableName> = Vec::new();
        for (from, to) in &pairs {
            for name in [from, to] {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        if !names.iter().any(|name| self.takes(name)) {
            return Decision::Pass(Pass::Outside);
        }
        if let Some(ruled) = self.ruled(&[DdlClass::TableRename]) {
            return ruled;
        }
        if pairs
            .iter()
            .any(|(from, to)| self.takes(from) != self.takes(to))
        {
            return self.crosses(&names);
        }
        let all = pairs.len();
        // Pairs on either side of the filter have no name in common: they don't depend on each
        // other.
        let pairs: Vec<_> = pairs
            .into_iter()
            .filter(|(from, _)| self.takes(from))
            .collect();
        names.retain(|name| self.takes(name));
        let narrowed = (pairs.len() < all).then(|| {
            let each: Vec<_> = pairs
                .iter()
                .map(|(from, to)| format!("{} TO {}", from.quoted(), to.quoted()))
                .collect();
            format!("RENAME TABLE {}", each.join(", "))
        });
        Decision::Carry(Carried {
            objects: names.into_iter().map(ObjectName::Table).collect(),
            narrowed,
            with_rows: false,
            trace: Trace::Renames(pairs),
        })
    }

    /// A table or its rows would come into the filter, or leave it.
    fn crosses(&self, names: &[TableName]) -> Decision {
        let outside = || names.iter().filter(|name| !self.takes(name));
        let told: Vec<_> = outside().map(ToString::to_string).collect();
        let mut patterns: Vec<String> = Vec::new();
        for pattern in outside().flat_map(patterns_for) {
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
        let (verb, patterns) = (
            if told.len() == 1 { "is" } else { "are" },
            patterns.join(", "),
        );
        Decision::Refuse(format!(
            "it moves a table or its rows into source.tables or out of them: {} {verb} not taken, so the \
             sink has never had those rows. For the next time, have source.tables take {patterns}. For \
             this time, change the sink's table to what it has become at the source (ALTER TABLE; where \
             rows came in, copy them)",
            told.join(", ")
        ))
    }

    fn database(&self, name: String, drops: bool) -> Decision {
        if !self.filter.may_match_database(&name) {
            return Decision::Pass(Pass::Outside);
        }
        if let Some(ruled) = self.ruled(&[DdlClass::Database]) {
            return ruled;
        }
        if drops && !self.filter.takes_whole_database(&name) {
            return Decision::Refuse(format!(
                "source.tables takes only some of the tables of {name}: on the sink, the others may be \
                 somebody else's; drop the taken ones there"
            ));
        }
        Decision::Carry(Carried {
            objects: vec![ObjectName::Database(name)],
            narrowed: None,
            with_rows: false,
            trace: Trace::Definitions,
        })
    }

    fn unknown(&self, statement: &Statement<'_>) -> Decision {
        let may_touch = match statement.updated_databases {
            Some(databases) => databases
                .iter()
                .any(|database| self.filter.may_match_database(database)),
            None => self.filter.may_match_database(statement.database),
        };
        if !may_touch {
            return Decision::Pass(Pass::Outside);
        }
        self.ruled(&[DdlClass::Other])
            .unwrap_or_else(|| Decision::Refuse("it isn't understood".to_owned()))
    }
}

fn carry(names: Vec<TableName>, trace: Trace) -> Decision {
    Decision::Carry(Carried {
        objects: names.into_iter().map(ObjectName::Table).collect(),
        narrowed: None,
        with_rows: false,
        trace,
    })
}

/// What to add to `source.tables` for a table: its name, or the patterns of the tool that made it.
fn patterns_for(name: &TableName) -> Vec<String> {
    const GH_OST: [&str; 3] = ["_gho", "_ghc", "_del"];
    const PT_OSC: [&str; 2] = ["_new", "_old"];
    let is_of = |ends: &[&str]| {
        name.table.starts_with('_') && ends.iter().any(|end| name.table.ends_with(end))
    };
    // A pattern holds no dots and quotes of its own.
    let plain = |text: &str| text.replace(['.', '`', '"', '\'', '!'], "?");
    let database = plain(&name.database);
    let ends: &[&str] = if is_of(&GH_OST) {
        &GH_OST
    } else if is_of(&PT_OSC) {
        &PT_OSC
    } else {
        return vec![format!("\"{database}.{}\"", plain(&name.table))];
    };
    ends.iter()
        .map(|end| format!("\"{database}._*{end}\""))
        .collect()
}

fn consequence(class: DdlClass) -> &'static str {
    match class {
        DdlClass::TableCreate => "rows of that table will stop the pipeline unless the sink has it",
        DdlClass::TableAlter => {
            "rows with columns that the sink lacks, or has with another type, will stop the pipeline"
        }
        DdlClass::TableDrop => "the table stays on the sink, with the rows that it had",
        DdlClass::TableRename => {
            "rows of the new name will stop the pipeline unless the sink has such a table"
        }
        DdlClass::Truncate => {
            "the rows stay on the sink, and will stop the pipeline when their keys come again"
        }
        DdlClass::Index => "the sink keeps the indexes that it has",
        DdlClass::Partition => {
            "rows of dropped, truncated or exchanged partitions stay on the sink, and will stop the \
             pipeline when their keys come again"
        }
        DdlClass::Database => "the database is not made, changed or dropped on the sink",
        DdlClass::View => "the sink keeps the views that it has",
        DdlClass::Program => "the sink keeps the programs that it has",
        DdlClass::Other => "what it changed at the source is not on the sink",
    }
}
