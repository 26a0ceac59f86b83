//! JSON documents of a server as literals that keep every member's type.
//!
//! A document's text doesn't tell a DECIMAL from a DOUBLE, or a date from a string. So the server
//! lists the types beside it: that of the document; those of all members of objects, in the order
//! of `$**.*`; those of all elements of arrays, in the order of `$**[*]`. Both orders go through
//! the containers from the outside in, each container's own values before what is inside of them
//! (`Json_wrapper:: seek` in `sql-common/json_dom.cc`). A text that doesn't fit its list is an
//! error, never a guess.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::apply::literal::{write_as_column, write_opaque, write_quoted};

use super::value::{write_double, write_number};

/// `JSON_DOCUMENT_MAX_DEPTH`: MySQL stores nothing deeper.
const DEPTH_MAX: usize = 100;

/// Between the type of the document, the types of members, and those of elements.
const SEPARATOR: char = ';';

/// The expression of a document's list of types. The server compares texts slowly, so it gives
/// their names.
pub(super) fn types(column: &str) -> String {
    let all = |path: &str| {
        // JSON_TABLE makes an SQL NULL of JSON's null.
        format!(
            "IFNULL((SELECT GROUP_CONCAT(IFNULL(JSON_TYPE(towpath_v), 'NULL') ORDER BY towpath_n) FROM \
             JSON_TABLE({column}, '{path}' COLUMNS (towpath_n FOR ORDINALITY, towpath_v JSON PATH '$')) \
             AS towpath_json), '')"
        )
    };
    let (members, elements) = (all("$**.*"), all("$**[*]"));
    format!("CONCAT(JSON_TYPE({column}), '{SEPARATOR}', {members}, '{SEPARATOR}', {elements})")
}

/// What `JSON_TYPE` says, as a letter.
fn letter(name: &[u8]) -> u8 {
    match name {
        b"OBJECT" => b'o',
        b"ARRAY" => b'a',
        b"STRING" => b's',
        b"INTEGER" => b'i',
        b"DOUBLE" => b'f',
        b"BOOLEAN" => b'b',
        b"NULL" => b'n',
        b"UNSIGNED INTEGER" => b'u',
        b"DECIMAL" => b'd',
        b"DATE" => b'D',
        b"TIME" => b'T',
        b"DATETIME" => b'S',
        b"TIMESTAMP" => b'Z',
        b"BLOB" | b"BIT" | b"OPAQUE" => b'x',
        _ => b'?',
    }
}

/// The letters of the document, the members and the elements.
fn letters(types: &[u8]) -> Option<(u8, Vec<u8>, Vec<u8>)> {
    let mut lists = types.split(|c| *c == SEPARATOR as u8);
    let mut list = || {
        let list = lists.next()?;
        let names = list.split(|c| *c == b',').filter(|name| !name.is_empty());
        Some(names.map(letter).collect::<Vec<u8>>())
    };
    let (root, members, elements) = (list()?, list()?, list()?);
    Some((*root.first()?, members, elements))
}

/// Appends a document as a literal or an expression for a column of JSON; an error says what can't
/// be.
pub(super) fn write(out: &mut Vec<u8>, text: &[u8], types: &[u8]) -> Result<(), String> {
    let (root, members, elements) = letters(types).ok_or_else(|| unlike("no types"))?;
    let all = std::iter::once(&root).chain(&members).chain(&elements);
    if !is_plain(text, all) {
        let mut parser = Parser { text, at: 0 };
        let document = parser.value(1)?;
        let all = || Types {
            members: &members,
            elements: &elements,
        };
        if is_typed(&document, root, &mut all())? {
            return write_expression(out, &document, root, &mut all());
        }
    }
    write_quoted(out, "", text);
    Ok(())
}

/// Whether the text alone gives every type again, as far as can be told without looking at it
/// closely.
fn is_plain<'a>(text: &[u8], letters: impl Iterator<Item = &'a u8>) -> bool {
    // As text a number is an integer of 32 bits, or has a point; longer ones are looked at.
    const DIGITS_MAX: usize = 9;
    let mut has_integers = false;
    for letter in letters {
        match letter {
            b'i' => has_integers = true,
            b'o' | b'a' | b's' | b'f' | b'b' | b'n' => {}
            _ => return false,
        }
    }
    !has_integers
        || text
            .split(|c| !c.is_ascii_digit())
            .all(|digits| digits.len() <= DIGITS_MAX)
}

fn unlike(what: &str) -> String {
    format!("a JSON document whose text and types don't fit ({what})")
}

/// What is left of the lists.
struct Types<'a> {
    members: &'a [u8],
    elements: &'a [u8],
}

fn take<'a>(list: &mut &'a [u8], n: usize) -> Result<&'a [u8], String> {
    let (taken, rest) = list
        .split_at_checked(n)
        .ok_or_else(|| unlike("fewer types than values"))?;
    *list = rest;
    Ok(taken)
}

/// A value; strings with their quotes, as in the text.
enum Node<'a> {
    Object(Vec<(&'a [u8], Node<'a>)>),
    Array(Vec<Node<'a>>),
    String(&'a [u8]),
    /// A number, `true`, `false` or `null`.
    Word(&'a [u8]),
}

/// Whether JSON text would lose a member's type; the rule of `apply::literal`.
fn is_typed(node: &Node<'_>, letter: u8, types: &mut Types<'_>) -> Result<bool, String> {
    match (node, letter) {
        (Node::Object(members), b'o') => {
            let letters = take(&mut types.members, members.len())?;
            for ((_, value), letter) in members.iter().zip(letters) {
                if is_typed(value, *letter, types)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Node::Array(elements), b'a') => {
            let letters = take(&mut types.elements, elements.len())?;
            for (value, letter) in elements.iter().zip(letters) {
                if is_typed(value, *letter, types)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        // Text of an integer becomes a signed one up to 32 bits, and an unsigned one beyond.
        (Node::Word(word), b'i') => Ok(integer(word)? > i128::from(u32::MAX)),
        (Node::Word(word), b'u') => Ok(integer(word)? <= i128::from(u32::MAX)),
        (Node::Word(_), b'f' | b'b' | b'n') | (Node::String(_), b's') => Ok(false),
        _ => Ok(true),
    }
}

fn integer(word: &[u8]) -> Result<i128, String> {
    let text = std::str::from_utf8(word).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| unlike("no integer"))
}

/// A member is an argument of JSON_OBJECT or JSON_ARRAY, which take SQL's own types as they are.
fn write_expression(
    out: &mut Vec<u8>,
    node: &Node<'_>,
    letter: u8,
    types: &mut Types<'_>,
) -> Result<(), String> {
    match (node, letter) {
        (Node::Object(members), b'o') => {
            let letters = take(&mut types.members, members.len())?;
            out.extend_from_slice(b"JSON_OBJECT(");
            for (n, ((key, value), letter)) in members.iter().zip(letters).enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_quoted(out, "_utf8mb4", unescape(key)?.as_bytes());
                out.push(b',');
                write_expression(out, value, *letter, types)?;
            }
            out.push(b')');
        }
        (Node::Array(elements), b'a') => {
            let letters = take(&mut types.elements, elements.len())?;
            out.extend_from_slice(b"JSON_ARRAY(");
            for (n, (value, letter)) in elements.iter().zip(letters).enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write_expression(out, value, *letter, types)?;
            }
            out.push(b')');
        }
        (Node::Word(b"null"), b'n') => out.extend_from_slice(b"NULL"),
        (Node::Word(b"true"), b'b') => out.extend_from_slice(b"CAST('true' AS JSON)"),
        (Node::Word(b"false"), b'b') => out.extend_from_slice(b"CAST('false' AS JSON)"),
        (Node::Word(word), b'i') => write_number(out, word)?,
        (Node::Word(word), b'f') => write_double(out, word)?,
        (Node::Word(word), b'u') => {
            out.extend_from_slice(b"CAST(CAST(");
            write_number(out, word)?;
            out.extend_from_slice(b" AS UNSIGNED) AS JSON)");
        }
        (Node::Word(word), b'd') => {
            let (precision, scale) = digits(word);
            out.extend_from_slice(b"CAST(CAST(");
            write_number(out, word)?;
            let _ = write!(out, " AS DECIMAL({precision},{scale})) AS JSON)");
        }
        (Node::String(text), _) => write_string(out, &unescape(text)?, letter)?,
        _ => return Err(unlike("a value of another type")),
    }
    Ok(())
}

/// What is a string in the text.
fn write_string(out: &mut Vec<u8>, text: &str, letter: u8) -> Result<(), String> {
    let name = match letter {
        b's' => {
            write_quoted(out, "_utf8mb4", text.as_bytes());
            return Ok(());
        }
        b'D' => "DATE",
        b'T' => "TIME(6)",
        b'S' => "DATETIME(6)",
        b'Z' => {
            write_as_column(out, "TIMESTAMP(6)", |out| {
                write_quoted(out, "_utf8mb4", text.as_bytes());
            });
            return Ok(());
        }
        b'x' => {
            let (kind, data) = opaque(text).ok_or_else(|| unlike("no opaque value"))?;
            return write_opaque(out, kind, &data).map_err(|error| error.to_string());
        }
        _ => return Err(unlike("a string of an unknown type")),
    };
    out.extend_from_slice(b"CAST(CAST(");
    write_quoted(out, "", text.as_bytes());
    let _ = write!(out, " AS {name}) AS JSON)");
    Ok(())
}

/// `base64:type15:…`, with a line end after each 76 characters.
fn opaque(text: &str) -> Option<(u8, Vec<u8>)> {
    let (kind, data) = text.strip_prefix("base64:type")?.split_once(':')?;
    let data: Vec<u8> = data.bytes().filter(|c| *c != b'\n').collect();
    Some((kind.parse().ok()?, STANDARD.decode(data).ok()?))
}

/// Precision and scale that hold a decimal's text.
fn digits(word: &[u8]) -> (usize, usize) {
    let count = |part: &[u8]| part.iter().filter(|c| c.is_ascii_digit()).count();
    let mut parts = word.splitn(2, |c| *c == b'.');
    let whole = parts.next().unwrap_or_default();
    let scale = parts.next().map_or(0, count);
    // The zero before the point isn't a digit of the type.
    let is_zero = whole.iter().all(|c| *c == b'-' || *c == b'0');
    let whole = if is_zero { 0 } else { count(whole) };
    ((whole + scale).max(1), scale)
}

fn unescape(quoted: &[u8]) -> Result<String, String> {
    serde_json::from_slice(quoted).map_err(|error| unlike(&error.to_string()))
}

/// Reads the server's own text.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Takes a character if it's the next one.
    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, String> {
        if depth > DEPTH_MAX {
            return Err(unlike("deeper than 100 levels"));
        }
        if self.take(b'{') {
            let mut members = Vec::new();
            while !self.take(b'}') {
                if !members.is_empty() && !self.take(b',') {
                    return Err(unlike("no comma"));
                }
                self.peek();
                let key = self.string()?;
                if !self.take(b':') {
                    return Err(unlike("no colon"));
                }
                members.push((key, self.value(depth + 1)?));
            }
            return Ok(Node::Object(members));
        }
        if self.take(b'[') {
            let mut elements = Vec::new();
            while !self.take(b']') {
                if !elements.is_empty() && !self.take(b',') {
                    return Err(unlike("no comma"));
                }
                elements.push(self.value(depth + 1)?);
            }
            return Ok(Node::Array(elements));
        }
        if self.peek() == Some(b'"') {
            return Ok(Node::String(self.string()?));
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|c| b",]} ".contains(c))
            .unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        if word.is_empty() {
            return Err(unlike("the text ends"));
        }
        self.at += end;
        Ok(Node::Word(word))
    }

    /// With its quotes.
    fn string(&mut self) -> Result<&'a [u8], String> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if rest.first() != Some(&b'"') {
            return Err(unlike("no string"));
        }
        let mut end = 1;
        loop {
            let ahead = rest.get(end..).unwrap_or_default();
            let next = memchr::memchr2(b'"', b'\\', ahead).ok_or_else(|| unlike("no quote"))?;
            end += next;
            if rest.get(end) == Some(&b'"') {
                break;
            }
            end += 2;
        }
        let string = rest.get(..=end).ok_or_else(|| unlike("no quote"))?;
        self.at += string.len();
        Ok(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, types: &str) -> Result<String, String> {
        let mut out = Vec::new();
        write(&mut out, text.as_bytes(), types.as_bytes())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn text_that_tells_its_types_stays_text() {
        assert_eq!(
            written(
                r#"{"a": [1, "x", null]}"#,
                "OBJECT;ARRAY;INTEGER,STRING,NULL"
            )
            .unwrap(),
            r#"'{"a": [1, "x", null]}'"#
        );
        assert_eq!(
            written("5000000000", "UNSIGNED INTEGER;;").unwrap(),
            "'5000000000'"
        );
        assert_eq!(written("4294967295", "INTEGER;;").unwrap(), "'4294967295'");
    }

    #[test]
    fn members_whose_type_the_text_hides_are_expressions() {
        for (text, types, expected) in [
            (
                "5",
                "UNSIGNED INTEGER;;",
                "CAST(CAST(5 AS UNSIGNED) AS JSON)",
            ),
            (
                "-0.10",
                "DECIMAL;;",
                "CAST(CAST(-0.10 AS DECIMAL(2,2)) AS JSON)",
            ),
            ("4294967296", "INTEGER;;", "4294967296"),
            (
                r#""base64:type15:AP8=""#,
                "BLOB;;",
                "CAST(_binary'\\0\u{fffd}' AS JSON)",
            ),
        ] {
            let mut out = Vec::new();
            write(&mut out, text.as_bytes(), types.as_bytes()).unwrap();
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        // Members of both objects before the elements: {"a", "b"}, then {"z"}.
        assert_eq!(
            written(
                r#"{"a": [1.0, {"z": "2024-01-01"}], "b": "1\"\u0001"}"#,
                "OBJECT;ARRAY,STRING,DATE;DOUBLE,OBJECT"
            )
            .unwrap(),
            "JSON_OBJECT(_utf8mb4'a',JSON_ARRAY(1.0e0,JSON_OBJECT(_utf8mb4'z',\
             CAST(CAST('2024-01-01' AS DATE) AS JSON))),_utf8mb4'b',_utf8mb4'1\"\u{1}')"
        );
    }

    #[test]
    fn a_text_that_does_not_fit_its_types_is_an_error() {
        for (text, types) in [
            ("[1, 2]", "ARRAY;;UNSIGNED INTEGER"),
            ("[1]", "OBJECT;UNSIGNED INTEGER;"),
            ("", "UNSIGNED INTEGER;;"),
            ("5", ""),
            ("[5", "ARRAY;;UNSIGNED INTEGER"),
            (r#""x"#, "DATE;;"),
            (r#""x\"#, "DATE;;"),
            (r#"{"x" 5}"#, "OBJECT;UNSIGNED INTEGER;"),
            ("5", "MOON;;"),
            (r#""AP8=""#, "BLOB;;"),
        ] {
            assert!(written(text, types).is_err(), "{text} {types}");
        }
    }
}
