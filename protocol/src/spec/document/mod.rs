//! A TOML document with lines and dotted keys, and the problems found in it so far.
//!
//! Readers here report what is wrong and return `None`, so that a caller goes on with a default
//! and every problem of a file is told at once. Whatever a caller builds is thrown away if
//! anything was reported.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Environment, SpecProblem, template};

mod section;

pub(super) use section::Section;

/// Characters of a value that an error quotes.
const QUOTED_CHARS_MAX: usize = 120;

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) key: String,
}

/// A key that a table may have.
pub(super) struct Field {
    pub(super) name: &'static str,
    /// The next step of an error: how to write it.
    pub(super) next: &'static str,
}

/// A file being read.
pub(super) struct Document<'a> {
    pub(super) path: &'a Path,
    pub(super) env: Environment<'a>,
    /// Whether variables and files are elsewhere: a variable stands for its own name.
    pub(super) blind: bool,
    text: &'a str,
    problems: RefCell<Vec<SpecProblem>>,
}

/// A string as it stands in the file.
pub(super) struct Raw<'a> {
    pub(super) place: Place,
    pub(super) text: &'a str,
}

/// A string with its variables replaced.
pub(super) struct Text<'a> {
    pub(super) place: Place,
    pub(super) raw: &'a str,
    pub(super) value: String,
}

impl<'a> Document<'a> {
    /// `env` is `None` where the variables' values aren't known.
    pub(super) fn new(text: &'a str, path: &'a Path, env: Option<Environment<'a>>) -> Self {
        Self {
            path,
            env: env.unwrap_or(&placeholder),
            blind: env.is_none(),
            text,
            problems: RefCell::default(),
        }
    }

    /// The syntax tree, or `None` with the syntax errors reported.
    pub(super) fn parse(&self) -> Option<Spanned<DeTable<'a>>> {
        let (root, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            return Some(root);
        }
        // After the first error of syntax the parser's guesses are noise; duplicates are exact.
        let mut broken = false;
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let place = Place {
                line: self.line(&span),
                key: self.key_by_text(&span),
            };
            if error.message().starts_with("duplicate key") {
                self.report(&place, "given twice; remove one of them");
            } else if !std::mem::replace(&mut broken, true) {
                let message = format!("not TOML: {}; correct this line", error.message());
                self.report(&place, message);
            }
        }
        None
    }

    pub(super) fn report(&self, place: &Place, message: impl Into<String>) {
        self.problems.borrow_mut().push(SpecProblem {
            path: self.path.into(),
            line: place.line,
            key: place.key.clone(),
            message: message.into(),
        });
    }

    /// Whether what is wrong with a string may be its placeholders' fault, so that it's neither
    /// right nor wrong.
    pub(super) fn unknown(&self, raw: &str) -> bool {
        self.blind && template::has_variables(raw)
    }

    /// Whether variables have no values here.
    pub(super) fn is_blind(&self) -> bool {
        self.blind
    }

    /// How many problems there are so far.
    pub(super) fn reported(&self) -> usize {
        self.problems.borrow().len()
    }

    /// Takes back the problems that were reported after the first `count`.
    pub(super) fn take_since(&self, count: usize) -> Vec<SpecProblem> {
        let mut problems = self.problems.borrow_mut();
        let count = count.min(problems.len());
        problems.split_off(count)
    }

    /// Every problem, by line.
    pub(super) fn into_problems(self) -> Vec<SpecProblem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    fn line(&self, span: &Range<usize>) -> usize {
        1 + self
            .text
            .bytes()
            .take(span.start)
            .filter(|byte| *byte == b'\n')
            .count()
    }

    /// The dotted key at a place that the parser didn't understand, from the looks of the text:
    /// the key of that line under the last header before it.
    fn key_by_text(&self, span: &Range<usize>) -> String {
        let bare = |key: &str| {
            let key = key.trim();
            let plain = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
            (!key.is_empty() && key.chars().all(plain)).then(|| key.to_owned())
        };
        let header = |line: &str| {
            let name = line.trim_start().strip_prefix('[')?.trim_start_matches('[');
            bare(name.split_once(']')?.0)
        };
        let mut section = None;
        for (at, line) in self.text.lines().enumerate() {
            let name = header(line);
            if at + 1 < self.line(span) {
                section = name.or(section);
                continue;
            }
            let key = line.split_once('=').and_then(|(key, _)| bare(key));
            return match (name, section, key) {
                (Some(name), ..) => name,
                (None, Some(section), Some(key)) => format!("{section}.{key}"),
                (None, section, key) => key.or(section).unwrap_or_default(),
            };
        }
        String::new()
    }

    /// Replaces the variables of a string.
    pub(super) fn resolve(&self, raw: Raw<'a>) -> Option<Text<'a>> {
        match template::resolve(raw.text, self.env) {
            Ok(value) => Some(Text {
                place: raw.place,
                raw: raw.text,
                value,
            }),
            Err(error) => {
                self.report(&raw.place, error.to_string());
                None
            }
        }
    }
}

/// What a variable whose value isn't known stands for: a name of its own, so that two texts are
/// the same exactly if they hold the same variables.
fn placeholder(name: &str) -> Option<String> {
    Some(format!(
        "var-{}",
        name.to_ascii_lowercase().replace('_', "-")
    ))
}

/// The bounds of a number.
pub(super) struct Bound {
    pub(super) range: RangeInclusive<u64>,
    /// How an error shows a number.
    pub(super) show: fn(u64) -> String,
    /// Their reason, for an error.
    pub(super) why: &'static str,
}

/// How a quantity is written, and its bounds.
pub(super) struct Quantity {
    pub(super) name: &'static str,
    pub(super) parse: fn(&str) -> Option<u64>,
    /// May it be a plain integer?
    pub(super) plain_numbers: bool,
    pub(super) bound: Bound,
}

impl Text<'_> {
    /// An error about this string. If the string has variables, the error, which quotes what is
    /// wrong, is not shown: it might quote a secret.
    fn explain(&self, error: &dyn std::fmt::Display, next: &str) -> String {
        if self.raw == self.value {
            error.to_string()
        } else {
            format!(
                "{} is not valid once its variables are replaced; {next}",
                quote(self.raw)
            )
        }
    }
}

/// A value for an error, in quotes and cut to a bound.
fn quote(raw: &str) -> String {
    let cut: String = raw.chars().take(QUOTED_CHARS_MAX).collect();
    let more = if cut.len() < raw.len() { "…" } else { "" };
    format!("\"{}{more}\"", cut.escape_debug())
}

fn quote_key(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !key.is_empty() && key.bytes().all(bare) {
        key.into()
    } else {
        quote(key)
    }
}

/// The nearest of some words, if it is near: a third of the letters may be wrong.
fn nearest<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    let near = |known: &&'w str| (strsim::osa_distance(&word.to_lowercase(), known), *known);
    let (distance, known) = words.iter().map(near).min()?;
    (distance * 3 <= known.chars().count().max(3)).then_some(known)
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a datetime",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
