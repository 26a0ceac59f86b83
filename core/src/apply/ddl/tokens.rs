//! A statement's words, names, strings and symbols, as MySQL's lexer (`sql_lex.cc`) cuts them.
//!
//! Comments and optimizer hints are dropped; the content of `/*! */` counts, since the server
//! writes such a comment to its binlog only if it executed it (others lose their `!`). What `"` and
//! `\` mean follows the session's sql_mode. Nothing here fails: what doesn't end, ends with the
//! text.

/// `MODE_ANSI_QUOTES` of sql_mode.
const ANSI_QUOTES: u64 = 1 << 2;
/// `MODE_NO_BACKSLASH_ESCAPES` of sql_mode.
const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

/// The digits behind `/*!` are a version if they are this many, or one more.
const VERSION_DIGITS: usize = 5;

/// A piece of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// An unquoted word.
    Word(String),
    /// A quoted identifier.
    Quoted(String),
    /// A string.
    Text,
    /// Any other character.
    Symbol(char),
}

/// Cuts a statement under a session's sql_mode.
pub(super) fn tokenize(sql: &str, sql_mode: u64) -> Vec<Token> {
    let mut lexer = Lexer {
        rest: sql,
        ansi_quotes: sql_mode & ANSI_QUOTES != 0,
        escapes: sql_mode & NO_BACKSLASH_ESCAPES == 0,
        in_executable_comment: false,
    };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next() {
        tokens.push(token);
    }
    tokens
}

struct Lexer<'a> {
    rest: &'a str,
    ansi_quotes: bool,
    escapes: bool,
    in_executable_comment: bool,
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<Token> {
        loop {
            let c = self.rest.chars().next()?;
            if c.is_ascii_whitespace() || c == '\x0b' {
                self.skip(1);
            } else if c == '#' || (c == '-' && self.is_dash_comment()) {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.skip(end);
            } else if self.rest.starts_with("/*!") {
                self.skip(3);
                self.skip_version();
                self.in_executable_comment = true;
            } else if self.rest.starts_with("/*") {
                self.skip(2);
                let end = self
                    .rest
                    .find("*/")
                    .map_or(self.rest.len(), |at| at + "*/".len());
                self.skip(end);
            } else if self.in_executable_comment && self.rest.starts_with("*/") {
                self.skip(2);
                self.in_executable_comment = false;
            } else if matches!(c, '`' | '\'' | '"') {
                return Some(self.quoted(c));
            } else if is_word(c) {
                let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
                let word = self.rest.get(..end).unwrap_or_default().to_owned();
                self.skip(end);
                return Some(Token::Word(word));
            } else {
                self.skip(c.len_utf8());
                return Some(Token::Symbol(c));
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// `--` begins a comment only before a space, a control character or the end.
    fn is_dash_comment(&self) -> bool {
        self.rest.strip_prefix("--").is_some_and(|rest| {
            let next = rest.chars().next();
            next.is_none_or(|c| c.is_ascii_whitespace() || c.is_ascii_control())
        })
    }

    fn skip_version(&mut self) {
        let digits = self
            .rest
            .bytes()
            .take(VERSION_DIGITS + 1)
            .take_while(u8::is_ascii_digit)
            .count();
        if digits >= VERSION_DIGITS {
            self.skip(digits);
        }
    }

    fn quoted(&mut self, quote: char) -> Token {
        self.skip(1);
        let is_name = quote == '`' || (quote == '"' && self.ansi_quotes);
        let escapes = self.escapes && !is_name;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().peekable();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                if chars.next_if(|(_, next)| *next == quote).is_none() {
                    end = at + c.len_utf8();
                    break;
                }
            } else if escapes && c == '\\' {
                chars.next();
                continue;
            }
            if is_name {
                text.push(c);
            }
        }
        self.skip(end);
        if is_name {
            Token::Quoted(text)
        } else {
            Token::Text
        }
    }
}

/// Identifiers without quotes: letters, digits, `$`, `_`, and all beyond ASCII.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `w:` words, `q:` quoted names, `'` strings, symbols as they are.
    fn cut(sql: &str, sql_mode: u64) -> String {
        let show = |token: &Token| match token {
            Token::Word(word) => word.clone(),
            Token::Quoted(name) => format!("<{name}>"),
            Token::Text => "''".to_owned(),
            Token::Symbol(c) => c.to_string(),
        };
        let tokens: Vec<_> = tokenize(sql, sql_mode).iter().map(show).collect();
        tokens.join(" ")
    }

    #[test]
    fn statements_are_cut_as_the_server_cuts_them() {
        for (sql, mode, tokens) in [
            ("a/**/b/* x */c/*+ hint */d", 0, "a b c d"),
            ("a -- b\nc # d\ne--f", 0, "a c e - - f"),
            ("a --\tb\nc --", 0, "a c"),
            (
                "/*!80000 a */ b /*!080030c*/ d /*!e*/ /*!80030TABLE*/",
                0,
                "a b c d e TABLE",
            ),
            ("/*!50000 a /* inner */ b */ c", 0, "a b c"),
            ("/* 99999 a */ b", 0, "b"),
            ("`a``b`.`c.d` `e\\`", 0, "<a`b> . <c.d> <e\\>"),
            (r"'it\'s' x", 0, "'' x"),
            (r"'it\' x", NO_BACKSLASH_ESCAPES, "'' x"),
            (r#""a""b" x"#, ANSI_QUOTES, "<a\"b> x"),
            (r#""a\" x"#, ANSI_QUOTES, r"<a\> x"),
            (r#""a\" x" y"#, 0, "'' y"),
            ("'/*' `--` '#'", 0, "'' <--> ''"),
            ("таблица.表\u{3000}1", 0, "таблица . 表\u{3000}1"),
            ("'unended", 0, "''"),
            ("/* unended", 0, ""),
        ] {
            assert_eq!(cut(sql, mode), tokens, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_cut(sql in "[-a `'\"/*!#\\\\\n8é(,.]{0,40}", mode in any::<u64>()) {
            tokenize(&sql, mode);
        }
    }
}
