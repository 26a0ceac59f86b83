//! What an account may do, read from the lines of SHOW GRANTS.
//!
//! The server prints the privileges of the roles that are active, too. Privileges on single columns
//! and on routines don't count: replication never gets by with those.

/// An account's privileges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    grants: Vec<Grant>,
    /// `REVOKE` lines: what is taken back for single schemas (`partial_revokes`).
    revokes: Vec<Grant>,
    /// Whether `_` and `%` in a schema's name stand for any characters.
    wildcards: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Grant {
    privileges: Vec<String>,
    scope: Scope,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    Global,
    Schema(String),
    Table(String, String),
}

impl Grants {
    /// Reads the lines of SHOW GRANTS; those that grant neither a global, nor a schema's, nor a
    /// table's privileges (roles, proxies, routines) say nothing. With the server's
    /// `partial_revokes` schema names are no patterns.
    pub fn parse<S: AsRef<str>>(lines: &[S], partial_revokes: bool) -> Self {
        let of = |verb: &str, end: &str| {
            let lines = lines
                .iter()
                .filter_map(|line| line.as_ref().strip_prefix(verb));
            lines.filter_map(|line| grant(line, end)).collect()
        };
        Self {
            grants: of("GRANT ", " TO "),
            revokes: of("REVOKE ", " FROM "),
            wildcards: !partial_revokes,
        }
    }

    /// Whether a privilege is granted for all schemas, or is a global one that is granted.
    pub fn has_global(&self, privilege: &str) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.scope == Scope::Global && grant.names(privilege))
    }

    /// Whether a privilege is granted for every table of a schema.
    pub fn has_on_schema(&self, privilege: &str, schema: &str) -> bool {
        let revoked = self.revokes.iter().any(|revoke| {
            matches!(&revoke.scope, Scope::Schema(name) if name == schema)
                && revoke.names(privilege)
        });
        self.grants.iter().any(|grant| {
            let covers = match &grant.scope {
                Scope::Global => !revoked,
                Scope::Schema(name) if self.wildcards => like(name, schema),
                Scope::Schema(name) => name == schema,
                Scope::Table(..) => false,
            };
            covers && grant.names(privilege)
        })
    }

    /// Whether a privilege is granted for a table.
    pub fn has_on_table(&self, privilege: &str, schema: &str, table: &str) -> bool {
        self.has_on_schema(privilege, schema)
            || self.grants.iter().any(|grant| {
                matches!(&grant.scope, Scope::Table(s, t) if s == schema && t == table)
                    && grant.names(privilege)
            })
    }

    /// A schema's name as a GRANT statement of this server needs it, quoted.
    pub fn quote_schema(&self, schema: &str) -> String {
        let schema = schema.replace('`', "``");
        if !self.wildcards {
            return format!("`{schema}`");
        }
        format!(
            "`{}`",
            schema
                .replace('\\', "\\\\")
                .replace('_', "\\_")
                .replace('%', "\\%")
        )
    }
}

impl Grant {
    fn names(&self, privilege: &str) -> bool {
        self.privileges
            .iter()
            .any(|name| name == privilege || is_all(name) && privilege != "USAGE")
    }
}

fn is_all(name: &str) -> bool {
    matches!(name, "ALL PRIVILEGES" | "ALL")
}

/// Reads a line behind its verb.
fn grant(line: &str, end: &str) -> Option<Grant> {
    let (privileges, rest) = split_outside(line, " ON ")?;
    let (scope, _) = split_outside(rest, end)?;
    let mut privileges_left = Some(privileges);
    let mut privileges = Vec::new();
    while let Some(list) = privileges_left {
        let (name, left) = match split_outside(list, ",") {
            Some((name, left)) => (name, Some(left)),
            None => (list, None),
        };
        privileges_left = left;
        // With columns behind it, it is no privilege on the whole table.
        if !name.contains('(') {
            privileges.push(name.trim().to_ascii_uppercase());
        }
    }
    let scope = match split_outside(scope.trim(), ".")? {
        ("*", "*") => Scope::Global,
        (schema, "*") => Scope::Schema(unquote(schema)?),
        (schema, table) => Scope::Table(unquote(schema)?, unquote(table)?),
    };
    Some(Grant { privileges, scope })
}

/// Splits at the first separator that is in neither quotes nor parentheses.
fn split_outside<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let (mut quote, mut depth) = (None, 0_u32);
    for (at, c) in text.char_indices() {
        if quote.is_none() && depth == 0 {
            let rest = text.get(at..)?;
            if let Some(rest) = rest.strip_prefix(separator) {
                return Some((text.get(..at)?, rest));
            }
        }
        match (quote, c) {
            (None, '`' | '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn unquote(name: &str) -> Option<String> {
    let quote = name.chars().next().filter(|c| matches!(c, '`' | '"'))?;
    let inner = name.strip_prefix(quote)?.strip_suffix(quote)?;
    Some(inner.replace(&format!("{quote}{quote}"), &quote.to_string()))
}

/// MySQL's LIKE: `%` any characters, `_` one, a backslash before either takes it as it is.
fn like(pattern: &str, text: &str) -> bool {
    let mut pattern = pattern.chars();
    let mut rest = text.chars();
    match pattern.next() {
        None => text.is_empty(),
        Some('%') => {
            let left = pattern.as_str();
            loop {
                if like(left, rest.as_str()) {
                    return true;
                }
                if rest.next().is_none() {
                    return false;
                }
            }
        }
        Some('_') => rest.next().is_some() && like(pattern.as_str(), rest.as_str()),
        Some(c) => {
            let wanted = if c == '\\' {
                pattern.next().unwrap_or(c)
            } else {
                c
            };
            rest.next() == Some(wanted) && like(pattern.as_str(), rest.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(lines: &[&str]) -> Grants {
        Grants::parse(lines, false)
    }

    #[test]
    fn each_scope_covers_what_it_says() {
        let grants = of(&[
            "GRANT USAGE ON *.* TO `app`@`%`",
            "GRANT SELECT, INSERT ON `shop`.* TO `app`@`%`",
            "GRANT DELETE, SELECT (`id`, `name`), UPDATE (`name`) ON `crm`.`t ON x` TO `app`@`%`",
            "GRANT REPLICATION_APPLIER,SESSION_VARIABLES_ADMIN ON *.* TO `app`@`%`",
            "GRANT EXECUTE ON PROCEDURE `shop`.`p` TO `app`@`%`",
            "GRANT PROXY ON ``@`` TO `root`@`localhost` WITH GRANT OPTION",
            "GRANT `writer`@`%` TO `app`@`%`",
        ]);
        assert!(grants.has_on_schema("INSERT", "shop"));
        assert!(grants.has_on_table("SELECT", "shop", "any"));
        assert!(!grants.has_on_schema("DELETE", "shop"));
        assert!(!grants.has_on_schema("EXECUTE", "shop"));
        assert!(!grants.has_global("SELECT"));
        assert!(grants.has_on_table("DELETE", "crm", "t ON x"));
        assert!(
            !grants.has_on_table("SELECT", "crm", "t ON x"),
            "only of some columns"
        );
        assert!(!grants.has_on_table("DELETE", "crm", "other"));
        assert!(grants.has_global("SESSION_VARIABLES_ADMIN"));
        assert!(!grants.has_global("SUPER"));
    }

    #[test]
    fn all_privileges_are_all_where_they_are_granted() {
        let grants = of(&["GRANT ALL PRIVILEGES ON `shop`.* TO 'app'@'%'"]);
        assert!(grants.has_on_schema("INDEX", "shop"));
        assert!(!grants.has_on_schema("INDEX", "crm"));
        assert!(!grants.has_global("SUPER"));
        assert!(of(&["GRANT ALL PRIVILEGES ON *.* TO 'a'@'%'"]).has_global("SUPER"));
    }

    #[test]
    fn names_of_schemas_are_patterns_unless_revokes_are_partial() {
        let lines = [
            r"GRANT SELECT ON `s\_1`.* TO `a`@`%`",
            "GRANT INSERT ON `a_%`.* TO `a`@`%`",
        ];
        let grants = Grants::parse(&lines, false);
        assert!(grants.has_on_schema("SELECT", "s_1") && !grants.has_on_schema("SELECT", "sx1"));
        assert!(grants.has_on_schema("INSERT", "ab") && !grants.has_on_schema("INSERT", "a"));
        assert_eq!(grants.quote_schema("s_1"), r"`s\_1`");
        let grants = Grants::parse(
            &[
                "GRANT SELECT, INSERT ON *.* TO `a`@`%`",
                "REVOKE INSERT ON `shop`.* FROM `a`@`%`",
                "GRANT UPDATE ON `s_1`.* TO `a`@`%`",
            ],
            true,
        );
        assert!(grants.has_on_schema("INSERT", "crm") && !grants.has_on_schema("INSERT", "shop"));
        assert!(grants.has_on_schema("SELECT", "shop"));
        assert!(!grants.has_on_schema("UPDATE", "sx1"));
        assert_eq!(grants.quote_schema("s_1"), "`s_1`");
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_ignored(line in "GRANT [A-Z,() `.*%\"']{0,40}( ON | TO )?.{0,20}") {
            let _ = Grants::parse(&[line], false).has_on_table("SELECT", "a", "b");
        }
    }
}
