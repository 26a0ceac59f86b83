//! What a statement in the binlog does, as far as replication must know: which tables it names, and
//! whether it is one that this version carries. Reads tokens, no grammar: what it is not sure of, it
//! does not carry.

use towpath_protocol::spec::TableFilter;

/// A table's name, qualified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
}

impl TableName {
    /// Quoted for a statement.
    pub fn quoted(&self) -> String {
        format!(
            "`{}`.`{}`",
            self.database.replace('`', "``"),
            self.table.replace('`', "``")
        )
    }
}

/// What to do with a statement of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Run it on the sink; it names these tables.
    Carry(Vec<TableName>),
    /// It does not touch what is replicated.
    Skip,
    /// It touches what is replicated and this version can't carry it.
    Refuse(String),
}

/// Decides about a statement, given the source session's default database.
pub fn decide(sql: &str, default_database: &str, filter: &TableFilter) -> Decision {
    let tokens = tokenize(sql);
    let mut words = Words {
        tokens: &tokens,
        at: 0,
        default_database,
    };
    let Some(verb) = words.word() else {
        return Decision::Skip;
    };
    match verb.as_str() {
        "CREATE" => create(&mut words, filter),
        "ALTER" => alter(&mut words, filter),
        "DROP" => drop_statement(&mut words, filter),
        "TRUNCATE" => {
            words.skip_word("TABLE");
            match words.name() {
                Some(name) if !filter.matches(&name.database, &name.table) => Decision::Skip,
                _ => refuse("TRUNCATE"),
            }
        }
        "RENAME" => {
            if words.skip_word("USER") {
                return Decision::Skip;
            }
            words.skip_word("TABLE");
            words.skip_word("TABLES");
            let mut names = Vec::new();
            while let Some(name) = words.name() {
                names.push(name);
                if !words.skip_word("TO") && !words.skip_symbol(',') {
                    break;
                }
            }
            let touched = names
                .iter()
                .any(|name| filter.matches(&name.database, &name.table));
            if touched || names.is_empty() {
                refuse("RENAME TABLE")
            } else {
                Decision::Skip
            }
        }
        // Accounts, statistics and server objects are not data; they are the sink's own affair.
        "GRANT" | "REVOKE" | "SET" | "FLUSH" | "ANALYZE" | "OPTIMIZE" | "REPAIR" | "CHECK"
        | "CHECKSUM" | "INSTALL" | "UNINSTALL" | "IMPORT" | "CACHE" | "KILL" | "RESET" => {
            Decision::Skip
        }
        other => {
            if filter.may_match_database(default_database) {
                refuse(other)
            } else {
                Decision::Skip
            }
        }
    }
}

const SERVER_OBJECTS: &[&str] = &[
    "USER",
    "ROLE",
    "SERVER",
    "TABLESPACE",
    "LOGFILE",
    "UNDO",
    "RESOURCE",
    "SPATIAL",
    "INSTANCE",
    "LIBRARY",
    "DEFAULT",
];

fn create(words: &mut Words<'_>, filter: &TableFilter) -> Decision {
    words.skip_or_replace();
    match words.word().as_deref() {
        Some("TEMPORARY") => Decision::Skip,
        Some("TABLE") => {
            words.skip_if_exists();
            let Some(name) = words.name() else {
                return refuse("CREATE TABLE without a readable name");
            };
            carry(vec![name], filter)
        }
        Some("DATABASE" | "SCHEMA") => database(words, filter, "CREATE DATABASE"),
        Some("UNIQUE" | "FULLTEXT" | "SPATIAL" | "INDEX") => index(words, filter, "CREATE INDEX"),
        Some(object) if SERVER_OBJECTS.contains(&object) => Decision::Skip,
        _ => other_object(words, filter, "CREATE of a view, trigger, routine or event"),
    }
}

fn alter(words: &mut Words<'_>, filter: &TableFilter) -> Decision {
    match words.word().as_deref() {
        Some("TABLE") => {
            let Some(name) = words.name() else {
                return refuse("ALTER TABLE without a readable name");
            };
            let matches = filter.matches(&name.database, &name.table);
            if let Some(part) = words.alter_beyond_simple() {
                // A rename may bring a table into the filter.
                if matches || filter.may_match_database(&name.database) {
                    return refuse(part);
                }
                return Decision::Skip;
            }
            carry(vec![name], filter)
        }
        Some("DATABASE" | "SCHEMA") => database(words, filter, "ALTER DATABASE"),
        Some(object) if SERVER_OBJECTS.contains(&object) => Decision::Skip,
        _ => other_object(words, filter, "ALTER of a view, routine or event"),
    }
}

fn drop_statement(words: &mut Words<'_>, filter: &TableFilter) -> Decision {
    match words.word().as_deref() {
        Some("TEMPORARY") => Decision::Skip,
        Some("TABLE" | "TABLES") => {
            words.skip_if_exists();
            let mut names = Vec::new();
            loop {
                let Some(name) = words.name() else {
                    return refuse("DROP TABLE without a readable name");
                };
                names.push(name);
                if !words.skip_symbol(',') {
                    break;
                }
            }
            carry(names, filter)
        }
        Some("DATABASE" | "SCHEMA") => database(words, filter, "DROP DATABASE"),
        Some("INDEX") => index(words, filter, "DROP INDEX"),
        Some(object) if SERVER_OBJECTS.contains(&object) => Decision::Skip,
        _ => other_object(words, filter, "DROP of a view, trigger, routine or event"),
    }
}

fn carry(names: Vec<TableName>, filter: &TableFilter) -> Decision {
    let taken = names
        .iter()
        .filter(|name| filter.matches(&name.database, &name.table))
        .count();
    if taken == 0 {
        Decision::Skip
    } else if taken == names.len() {
        Decision::Carry(names)
    } else {
        refuse("one statement on tables of which source.tables takes only some")
    }
}

fn database(words: &mut Words<'_>, filter: &TableFilter, what: &str) -> Decision {
    words.skip_if_exists();
    let database = words
        .identifier()
        .unwrap_or_else(|| words.default_database.to_owned());
    if filter.may_match_database(&database) {
        refuse(what)
    } else {
        Decision::Skip
    }
}

fn index(words: &mut Words<'_>, filter: &TableFilter, what: &str) -> Decision {
    while let Some(token) = words.next() {
        if matches!(token, Token::Word(word) if word.eq_ignore_ascii_case("ON")) {
            return match words.name() {
                Some(name) if !filter.matches(&name.database, &name.table) => Decision::Skip,
                _ => refuse(what),
            };
        }
    }
    refuse(what)
}

/// Views, triggers, routines and events: refused where they could belong to a replicated database.
fn other_object(words: &mut Words<'_>, filter: &TableFilter, what: &str) -> Decision {
    const KINDS: &[&str] = &["VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT"];
    words.at = words.at.saturating_sub(1);
    while let Some(token) = words.next() {
        if matches!(token, Token::Word(word) if KINDS.iter().any(|kind| word.eq_ignore_ascii_case(kind)))
        {
            words.skip_if_exists();
            let database = words
                .name()
                .map_or_else(|| words.default_database.to_owned(), |name| name.database);
            return if filter.may_match_database(&database) {
                refuse(what)
            } else {
                Decision::Skip
            };
        }
    }
    if filter.may_match_database(words.default_database) {
        refuse(what)
    } else {
        Decision::Skip
    }
}

fn refuse(what: &str) -> Decision {
    Decision::Refuse(format!("{what} is not carried by this version"))
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// An unquoted word.
    Word(String),
    /// An identifier in backticks.
    Quoted(String),
    /// A string in quotes; with ANSI_QUOTES an identifier.
    Text(String),
    Symbol(char),
}

struct Words<'a> {
    tokens: &'a [Token],
    at: usize,
    default_database: &'a str,
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

    fn skip_or_replace(&mut self) {
        if self.skip_word("OR") {
            self.skip_word("REPLACE");
        }
    }

    fn skip_if_exists(&mut self) {
        if self.skip_word("IF") {
            self.skip_word("NOT");
            self.skip_word("EXISTS");
        }
    }

    fn identifier(&mut self) -> Option<String> {
        let name = match self.peek()? {
            Token::Word(name) | Token::Quoted(name) | Token::Text(name) => name.clone(),
            Token::Symbol(_) => return None,
        };
        self.at += 1;
        Some(name)
    }

    fn name(&mut self) -> Option<TableName> {
        let first = self.identifier()?;
        if self.skip_symbol('.') {
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

    /// The clause of an ALTER TABLE that changes more than one table's definition, if there is one.
    fn alter_beyond_simple(&mut self) -> Option<&'static str> {
        let start = self.at;
        let mut depth = 0_u32;
        let mut found = None;
        while let Some(token) = self.next() {
            match token {
                Token::Symbol('(') => depth += 1,
                Token::Symbol(')') => depth = depth.saturating_sub(1),
                Token::Word(word) if depth == 0 => {
                    let word = word.to_ascii_uppercase();
                    match word.as_str() {
                        "RENAME" => {
                            let part_of_table = ["COLUMN", "INDEX", "KEY"];
                            if !part_of_table.iter().any(|part| self.skip_word(part)) {
                                found = Some("ALTER TABLE ... RENAME");
                                break;
                            }
                        }
                        "EXCHANGE" => {
                            found = Some("ALTER TABLE ... EXCHANGE PARTITION");
                            break;
                        }
                        "TRUNCATE" => {
                            found = Some("ALTER TABLE ... TRUNCATE PARTITION");
                            break;
                        }
                        "DISCARD" | "IMPORT" => {
                            found = Some("ALTER TABLE ... TABLESPACE");
                            break;
                        }
                        "DROP" if self.skip_word("PARTITION") => {
                            found = Some("ALTER TABLE ... DROP PARTITION");
                            break;
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        self.at = start;
        found
    }
}

/// Words, names, strings and symbols; comments are dropped, the content of `/*! */` is kept.
fn tokenize(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = sql.chars().peekable();
    let mut in_executable_comment = false;
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            '-' if chars.peek() == Some(&'-') => {
                chars.next();
                if chars.peek().is_none_or(|c| c.is_whitespace()) {
                    while chars.next_if(|c| *c != '\n').is_some() {}
                } else {
                    tokens.extend([Token::Symbol('-'), Token::Symbol('-')]);
                }
            }
            '/' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.next_if_eq(&'!').is_some() {
                    while chars.next_if(char::is_ascii_digit).is_some() {}
                    in_executable_comment = true;
                } else {
                    let mut last = ' ';
                    for c in chars.by_ref() {
                        if last == '*' && c == '/' {
                            break;
                        }
                        last = c;
                    }
                }
            }
            '*' if in_executable_comment && chars.peek() == Some(&'/') => {
                chars.next();
                in_executable_comment = false;
            }
            '`' | '\'' | '"' => {
                let mut text = String::new();
                while let Some(inner) = chars.next() {
                    if inner == c {
                        if chars.next_if_eq(&c).is_none() {
                            break;
                        }
                        text.push(c);
                    } else if inner == '\\' && c != '`' {
                        text.extend(chars.next());
                    } else {
                        text.push(inner);
                    }
                }
                tokens.push(if c == '`' {
                    Token::Quoted(text)
                } else {
                    Token::Text(text)
                });
            }
            c if c.is_alphanumeric() || c == '_' || c == '$' => {
                let mut word = String::from(c);
                while let Some(next) =
                    chars.next_if(|c| c.is_alphanumeric() || *c == '_' || *c == '$')
                {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
            c => tokens.push(Token::Symbol(c)),
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> TableFilter {
        TableFilter::parse(&["shop.*".to_owned(), "!shop.audit_*".to_owned()]).unwrap()
    }

    fn name(database: &str, table: &str) -> TableName {
        TableName {
            database: database.into(),
            table: table.into(),
        }
    }

    #[test]
    fn simple_table_statements_on_replicated_tables_are_carried() {
        let cases: &[(&str, &[TableName])] = &[
            ("CREATE TABLE t (a INT PRIMARY KEY)", &[name("shop", "t")]),
            (
                "create table if not exists `shop`.`a``b` (a int)",
                &[name("shop", "a`b")],
            ),
            (
                "/* app */ CREATE /*!80000 TABLE */ shop . t (a INT)",
                &[name("shop", "t")],
            ),
            (
                "ALTER TABLE t ADD COLUMN c INT, RENAME COLUMN a TO b",
                &[name("shop", "t")],
            ),
            (
                "ALTER TABLE t -- why\n RENAME INDEX i TO j",
                &[name("shop", "t")],
            ),
            (
                "DROP TABLE IF EXISTS `t`, shop.u /* generated by server */",
                &[name("shop", "t"), name("shop", "u")],
            ),
            ("CREATE TABLE t LIKE u", &[name("shop", "t")]),
        ];
        for (sql, tables) in cases {
            assert_eq!(
                decide(sql, "shop", &filter()),
                Decision::Carry(tables.to_vec()),
                "{sql}"
            );
        }
    }

    #[test]
    fn what_does_not_touch_replicated_tables_is_skipped() {
        for sql in [
            "CREATE TABLE other.t (a INT)",
            "DROP TABLE shop.audit_2024",
            "CREATE USER 'a'@'%' IDENTIFIED WITH 'caching_sha2_password' AS 'x'",
            "GRANT SELECT ON shop.* TO a",
            "ANALYZE TABLE shop.t",
            "DROP TEMPORARY TABLE IF EXISTS shop.tmp",
            "CREATE DATABASE other",
            "TRUNCATE other.t",
            "RENAME TABLE other.a TO other.b",
            "CREATE INDEX i ON other.t (a)",
            "CREATE DEFINER=`root`@`localhost` VIEW other.v AS SELECT 1",
            "",
        ] {
            assert_eq!(decide(sql, "shop", &filter()), Decision::Skip, "{sql}");
        }
    }

    #[test]
    fn all_else_on_replicated_databases_is_refused() {
        for sql in [
            "TRUNCATE TABLE t",
            "RENAME TABLE t TO u",
            "RENAME TABLE other.t TO shop.t",
            "ALTER TABLE t RENAME TO u",
            "ALTER TABLE t RENAME u",
            "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u",
            "ALTER TABLE t DROP PARTITION p",
            "CREATE UNIQUE INDEX i ON t (a)",
            "DROP INDEX i ON shop.t",
            "CREATE DATABASE shop",
            "DROP DATABASE shop",
            "CREATE DEFINER=`root`@`localhost` VIEW v AS SELECT 1",
            "CREATE TRIGGER shop.tr BEFORE INSERT ON t FOR EACH ROW SET @a = 1",
            "DROP TABLE t, other.u",
            "HANDLER t OPEN",
        ] {
            assert!(
                matches!(decide(sql, "shop", &filter()), Decision::Refuse(_)),
                "{sql}"
            );
        }
    }
}
