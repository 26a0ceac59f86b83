//! From a statement's tokens to what it changes. No grammar: only as much is read as replication
//! must know, and what isn't sure is [`Change::Unknown`].

use super::tokens::{Token, tokenize};
use super::{Statement, TableName};

/// What a statement changes, as far as it was understood. Names are qualified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// No data and no definition: accounts, maintenance, server objects.
    Nothing,
    /// A table that belongs to a session of the source.
    Temporary,
    /// `CREATE TABLE`.
    CreateTable {
        name: TableName,
        /// Whose definition it copies.
        like: Option<TableName>,
        /// `CREATE TABLE ... SELECT`: its rows follow in the same transaction.
        with_rows: bool,
    },
    /// `ALTER TABLE`.
    AlterTable { name: TableName, clauses: Clauses },
    /// `DROP TABLE`.
    DropTables {
        names: Vec<TableName>,
        if_exists: bool,
    },
    /// `RENAME TABLE`, in order.
    RenameTables(Vec<(TableName, TableName)>),
    /// `TRUNCATE TABLE`.
    Truncate(TableName),
    /// `CREATE INDEX`, `DROP INDEX`: the table.
    Index(TableName),
    /// `CREATE DATABASE`.
    CreateDatabase(String),
    /// `ALTER DATABASE`.
    AlterDatabase(String),
    /// `DROP DATABASE`.
    DropDatabase(String),
    /// `CREATE VIEW`, `ALTER VIEW`.
    DefineView(TableName),
    /// `DROP VIEW`.
    DropViews {
        names: Vec<TableName>,
        if_exists: bool,
    },
    /// A trigger, procedure, function or event of a database.
    Program { kind: String, database: String },
    /// Not understood.
    Unknown,
}

/// What an ALTER TABLE does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clauses {
    /// Its new name.
    pub(super) rename: Option<TableName>,
    /// The table that it exchanges a partition with.
    pub(super) exchange: Option<TableName>,
    /// Partitions are changed.
    pub(super) partition: bool,
    /// Something besides renames and partitions is changed.
    pub(super) definition: bool,
    /// Its files are discarded or imported.
    pub(super) tablespace: bool,
    /// Partitions are looked at or built anew, which changes nothing.
    pub(super) maintenance: bool,
}

/// Reads a statement.
pub(super) fn read(statement: &Statement<'_>) -> Change {
    let tokens = tokenize(statement.sql, statement.sql_mode);
    let mut words = Words {
        tokens: &tokens,
        at: 0,
        default_database: statement.database,
        fold: statement.lower_case_names,
    };
    let Some(verb) = words.word() else {
        // Nothing but comments; a statement always begins with a word.
        return if tokens.is_empty() {
            Change::Nothing
        } else {
            Change::Unknown
        };
    };
    let change = match verb.as_str() {
        "CREATE" => create(&mut words),
        "ALTER" => alter(&mut words),
        "DROP" => drop_statement(&mut words),
        "TRUNCATE" => {
            words.skip_word("TABLE");
            words.name().map(Change::Truncate)
        }
        "RENAME" => rename(&mut words),
        // Accounts, statistics and server objects are not data; they are the sink's own affair.
        "GRANT" | "REVOKE" | "SET" | "FLUSH" | "ANALYZE" | "OPTIMIZE" | "REPAIR" | "CHECK"
        | "CHECKSUM" | "INSTALL" | "UNINSTALL" | "CACHE" | "KILL" | "RESET" => {
            Some(Change::Nothing)
        }
        _ => None,
    };
    change.unwrap_or(Change::Unknown)
}

const SERVER_OBJECTS: &[&str] = &[
    "USER",
    "ROLE",
    "SERVER",
    "TABLESPACE",
    "LOGFILE",
    "UNDO",
    "RESOURCE",
    "INSTANCE",
    "DEFAULT",
];

const PROGRAMS: &[&str] = &["TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "LIBRARY"];

fn create(words: &mut Words<'_>) -> Option<Change> {
    if words.skip_word("OR") {
        words.skip_word("REPLACE");
    }
    words.skip_object_options();
    let object = words.word()?;
    match object.as_str() {
        "TEMPORARY" => Some(Change::Temporary),
        "TABLE" => create_table(words),
        "DATABASE" | "SCHEMA" => {
            words.skip_if_exists();
            words.identifier().map(Change::CreateDatabase)
        }
        "SPATIAL" if words.skip_word("REFERENCE") => Some(Change::Nothing),
        "UNIQUE" | "FULLTEXT" | "SPATIAL" => {
            words.skip_word("INDEX").then(|| index(words)).flatten()
        }
        "INDEX" => index(words),
        "VIEW" => view(words),
        "JSON" => {
            words.skip_word("RELATIONAL");
            (words.skip_word("DUALITY") && words.skip_word("VIEW"))
                .then(|| view(words))
                .flatten()
        }
        "AGGREGATE" => program(words, "FUNCTION"),
        program_kind if PROGRAMS.contains(&program_kind) => program(words, program_kind),
        object if SERVER_OBJECTS.contains(&object) => Some(Change::Nothing),
        _ => None,
    }
}

fn create_table(words: &mut Words<'_>) -> Option<Change> {
    words.skip_if_exists();
    let name = words.name()?;
    let at = words.at;
    words.skip_symbol('(');
    let like = if words.skip_word("LIKE") {
        Some(words.name()?)
    } else {
        words.at = at;
        None
    };
    let with_rows = matches!(
        words.tokens,
        [.., Token::Word(start), Token::Word(transaction)]
            if start.eq_ignore_ascii_case("START") && transaction.eq_ignore_ascii_case("TRANSACTION")
    );
    Some(Change::CreateTable {
        name,
        like,
        with_rows,
    })
}

fn alter(words: &mut Words<'_>) -> Option<Change> {
    words.skip_object_options();
    let object = words.word()?;
    match object.as_str() {
        "TABLE" => {
            let name = words.name()?;
            let clauses = clauses(words)?;
            Some(Change::AlterTable { name, clauses })
        }
        "DATABASE" | "SCHEMA" => {
            // ALTER DATABASE may leave out the name: then an option follows, which is a keyword.
            const OPTIONS: [&str; 6] = [
                "DEFAULT",
                "CHARACTER",
                "CHARSET",
                "COLLATE",
                "ENCRYPTION",
                "READ",
            ];
            let is_option = matches!(words.peek(), Some(Token::Word(word))
                if OPTIONS.iter().any(|option| word.eq_ignore_ascii_case(option)));
            let name = if is_option { None } else { words.identifier() };
            Some(Change::AlterDatabase(
                name.unwrap_or_else(|| words.default_database.to_owned()),
            ))
        }
        "VIEW" => view(words),
        "JSON" => {
            words.skip_word("RELATIONAL");
            (words.skip_word("DUALITY") && words.skip_word("VIEW"))
                .then(|| view(words))
                .flatten()
        }
        program_kind if PROGRAMS.contains(&program_kind) => program(words, program_kind),
        object if SERVER_OBJECTS.contains(&object) => Some(Change::Nothing),
        _ => None,
    }
}

fn drop_statement(words: &mut Words<'_>) -> Option<Change> {
    let object = words.word()?;
    match object.as_str() {
        "TEMPORARY" => Some(Change::Temporary),
        "TABLE" | "TABLES" => {
            let if_exists = words.skip_if_exists();
            let names = words.names()?;
            Some(Change::DropTables { names, if_exists })
        }
        "VIEW" => {
            let if_exists = words.skip_if_exists();
            let names = words.names()?;
            Some(Change::DropViews { names, if_exists })
        }
        "DATABASE" | "SCHEMA" => {
            words.skip_if_exists();
            words.identifier().map(Change::DropDatabase)
        }
        "INDEX" => index(words),
        "SPATIAL" if words.skip_word("REFERENCE") => Some(Change::Nothing),
        program_kind if PROGRAMS.contains(&program_kind) => program(words, program_kind),
        object if SERVER_OBJECTS.contains(&object) => Some(Change::Nothing),
        _ => None,
    }
}

fn rename(words: &mut Words<'_>) -> Option<Change> {
    if words.skip_word("USER") {
        return Some(Change::Nothing);
    }
    if !words.skip_word("TABLE") && !words.skip_word("TABLES") {
        return None;
    }
    let mut pairs = Vec::new();
    loop {
        let from = words.name()?;
        if !words.skip_word("TO") {
            return None;
        }
        pairs.push((from, words.name()?));
        if !words.skip_symbol(',') {
            return words.is_at_end().then_some(Change::RenameTables(pairs));
        }
    }
}

fn index(words: &mut Words<'_>) -> Option<Change> {
    words.identifier()?;
    // CREATE INDEX name [USING type] ON table; ON is reserved.
    if words.skip_word("USING") || words.skip_word("TYPE") {
        words.identifier()?;
    }
    words
        .skip_word("ON")
        .then(|| words.name())
        .flatten()
        .map(Change::Index)
}

fn view(words: &mut Words<'_>) -> Option<Change> {
    words.skip_if_exists();
    words.name().map(Change::DefineView)
}

fn program(words: &mut Words<'_>, kind: &str) -> Option<Change> {
    if kind == "FUNCTION" {
        words.skip_word("FUNCTION");
    }
    words.skip_if_exists();
    let name = words.name()?;
    Some(Change::Program {
        kind: kind.to_owned(),
        database: name.database,
    })
}

/// Reads the clauses of an ALTER TABLE. RENAME and PARTITION are reserved words: outside of quotes
/// and parentheses they are nothing else. The other words count only where they begin a clause.
fn clauses(words: &mut Words<'_>) -> Option<Clauses> {
    let mut found = Clauses::default();
    let mut depth = 0_u32;
    let mut begins = true;
    while let Some(token) = words.next().cloned() {
        let word = match token {
            Token::Symbol('(') => {
                depth += 1;
                continue;
            }
            Token::Symbol(')') => {
                depth = depth.saturating_sub(1);
                continue;
            }
            Token::Symbol(',') if depth == 0 => {
                begins = true;
                continue;
            }
            Token::Word(word) if depth == 0 => word.to_ascii_uppercase(),
            _ => continue,
        };
        let first = std::mem::replace(&mut begins, false);
        match word.as_str() {
            "RENAME" => {
                if ["COLUMN", "INDEX", "KEY"]
                    .iter()
                    .any(|part| words.skip_word(part))
                {
                    found.definition = true;
                } else {
                    let _ =
                        words.skip_word("TO") || words.skip_word("AS") || words.skip_symbol('=');
                    found.rename = Some(words.name()?);
                }
            }
            "PARTITION" if words.skip_word("BY") => found.partition = true,
            "REMOVE" if words.skip_word("PARTITIONING") => found.partition = true,
            "DISCARD" | "IMPORT" if first => found.tablespace = true,
            "ADD" | "DROP" | "TRUNCATE" | "COALESCE" | "REORGANIZE" | "EXCHANGE"
                if first && words.skip_word("PARTITION") =>
            {
                found.partition = true;
                if word == "EXCHANGE" {
                    found.exchange = Some(words.exchanged()?);
                }
                // What follows are names of partitions and their definitions.
                return Some(found);
            }
            "ANALYZE" | "CHECK" | "OPTIMIZE" | "REBUILD" | "REPAIR"
                if first && words.skip_word("PARTITION") =>
            {
                found.maintenance = true;
                return Some(found);
            }
            "ALGORITHM" | "LOCK" if first => words.skip_option(),
            _ if first => found.definition = true,
            _ => {}
        }
    }
    Some(found)
}

struct Words<'a> {
    tokens: &'a [Token],
    at: usize,
    default_database: &'a str,
    /// Names are stored in lower case.
    fold: bool,
}

impl Words<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<&Token> {
        let token = self.tokens.get(self.at);
        self.at += 1;
        token
    }

    fn is_at_end(&self) -> bool {
        matches!(self.peek(), None | Some(Token::Symbol(';')))
    }

    /// The next token if it is a word, upper case; else stays.
    fn word(&mut self) -> Option<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.to_ascii_uppercase();
                self.at += 1;
                Some(word)
            }
            _ => None,
        }
    }

    fn skip_word(&mut self, expected: &str) -> bool {
        let found =
            matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(expected));
        self.at += usize::from(found);
        found
    }

    fn skip_symbol(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(&Token::Symbol(expected));
        self.at += usize::from(found);
        found
    }

    fn skip_if_exists(&mut self) -> bool {
        let found = self.skip_word("IF");
        if found {
            self.skip_word("NOT");
            self.skip_word("EXISTS");
        }
        found
    }

    /// `= word` of an option.
    fn skip_option(&mut self) {
        self.skip_symbol('=');
        self.at += 1;
    }

    /// `ALGORITHM = x`, `DEFINER = user@host`, `SQL SECURITY x`.
    fn skip_object_options(&mut self) {
        loop {
            if self.skip_word("ALGORITHM") {
                self.skip_option();
            } else if self.skip_word("SQL") {
                self.skip_word("SECURITY");
                self.at += 1;
            } else if self.skip_word("DEFINER") {
                self.skip_option();
                if self.skip_symbol('@') {
                    self.at += 1;
                } else if self.skip_symbol('(') {
                    self.skip_symbol(')');
                }
            } else {
                return;
            }
        }
    }

    fn identifier(&mut self) -> Option<String> {
        let name = match self.peek()? {
            Token::Word(name) | Token::Quoted(name) if self.fold => name.to_lowercase(),
            Token::Word(name) | Token::Quoted(name) => name.clone(),
            Token::Text | Token::Symbol(_) => return None,
        };
        self.at += 1;
        Some(name)
    }

    fn name(&mut self) -> Option<TableName> {
        // `.t` is the default database's.
        let leading = self.skip_symbol('.');
        let first = self.identifier()?;
        if !leading && self.skip_symbol('.') {
            let table = self.identifier()?;
            return Some(TableName {
                database: first,
                table,
            });
        }
        Some(TableName {
            database: self.default_database.to_owned(),
            table: first,
        })
    }

    /// Names with commas between them, up to the end or a last word.
    fn names(&mut self) -> Option<Vec<TableName>> {
        let mut names = Vec::new();
        loop {
            names.push(self.name()?);
            if !self.skip_symbol(',') {
                break;
            }
        }
        let _ = self.skip_word("RESTRICT") || self.skip_word("CASCADE");
        self.is_at_end().then_some(names)
    }

    /// Behind `EXCHANGE PARTITION`: `p WITH TABLE t`.
    fn exchanged(&mut self) -> Option<TableName> {
        self.identifier()?;
        (self.skip_word("WITH") && self.skip_word("TABLE"))
            .then(|| self.name())
            .flatten()
    }
}
