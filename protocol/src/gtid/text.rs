//! GTIDs and sets of them as text, in the server's own format.
//!
//! `uuid:1-26:mytag:1:other:3-4,uuid2:5`: a comma between UUIDs, a tag holds for the intervals
//! after it. Reading tolerates what the server does (blanks and newlines around every part, upper
//! case, stray commas, overlapping intervals) and refuses what the server would silently read as
//! nothing: a reversed interval, a UUID or a tag without numbers. A set that says less than its
//! author meant is worse than an error.
//!
//! Sources: MySQL manual, "GTID Format and Storage"; `sql/rpl_gtid_set.cc`,
//! `Gtid_set::add_gtid_text` and `Gtid_set::to_string`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::set::check_bounds;
use super::{Gtid, GtidOrigin, GtidSet, NUMBER_MAX, TAG_CHARS_MAX};

/// Characters of the offending part that an error shows: enough to find it, not a whole set.
const PART_CHARS_MAX: usize = 80;

/// Why a text is no GTID or GTID set. Each names the offending part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GtidParseError {
    /// The server UUID isn't one.
    #[error(
        "{part:?} is no server UUID; write 32 hexadecimal digits in groups of 8-4-4-4-12, \
         as @@server_uuid prints it"
    )]
    Uuid {
        /// The offending part.
        part: String,
    },
    /// The tag breaks the rules of MySQL 8.3.
    #[error(
        "{part:?} is neither a number nor a tag; a tag is at most {TAG_CHARS_MAX} letters, \
         digits and underscores and begins with no digit"
    )]
    Tag {
        /// The offending part.
        part: String,
    },
    /// A number or an interval isn't one, or is out of bounds.
    #[error(
        "{part:?} is no transaction number or interval; write N or FIRST-LAST, \
         from 1 to {NUMBER_MAX}, the smaller one first"
    )]
    Interval {
        /// The offending part.
        part: String,
    },
    /// A UUID or a tag stands without numbers.
    #[error("{part:?} has no transaction numbers; append them, as in :1-5")]
    NoNumbers {
        /// The offending part.
        part: String,
    },
    /// More than one GTID where one is expected.
    #[error("{part:?} is not a single GTID; write uuid:number or uuid:tag:number")]
    NotOne {
        /// The offending part.
        part: String,
    },
}

fn quote(part: &str) -> String {
    let mut out: String = part.chars().take(PART_CHARS_MAX).collect();
    if out.len() < part.len() {
        out.push('…');
    }
    out
}

fn parse_uuid(part: &str) -> Result<Uuid, GtidParseError> {
    // The other spellings that the uuid crate knows (no dashes, braces, urn:) have other lengths.
    const TEXT_LENGTH: usize = 36;
    Some(part)
        .filter(|part| part.len() == TEXT_LENGTH)
        .and_then(|part| Uuid::try_parse(part).ok())
        .ok_or_else(|| GtidParseError::Uuid { part: quote(part) })
}

pub(super) fn parse_tag(part: &str) -> Result<String, GtidParseError> {
    let starts = part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let continues = part
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if starts && continues && part.len() <= TAG_CHARS_MAX {
        Ok(part.to_ascii_lowercase())
    } else {
        Err(GtidParseError::Tag { part: quote(part) })
    }
}

fn parse_interval(part: &str) -> Result<(u64, u64), GtidParseError> {
    let number = |text: &str| -> Option<u64> {
        let text = text.trim();
        // `u64::from_str` would also take a sign.
        text.starts_with(|first: char| first.is_ascii_digit())
            .then(|| text.parse().ok())?
    };
    let interval = match part.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)),
        None => number(part).map(|number| (number, number)),
    };
    interval
        .filter(|&(first, last)| check_bounds(first, last).is_ok())
        .ok_or_else(|| GtidParseError::Interval { part: quote(part) })
}

impl GtidSet {
    /// Reads one comma-free entry, `uuid:1-26:tag:1`, into the set.
    fn add_entry(&mut self, entry: &str) -> Result<(), GtidParseError> {
        let mut parts = entry.split(':').map(str::trim);
        let mut name = parts.next().unwrap_or_default();
        let mut origin = GtidOrigin::untagged(parse_uuid(name)?);
        let mut numbers = 0_usize;
        for part in parts {
            if part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
                // The UUID may be followed by a tag at once; a tag must have numbers.
                if origin.is_tagged() && numbers == 0 {
                    return Err(GtidParseError::NoNumbers { part: quote(name) });
                }
                origin.tag = parse_tag(part)?;
                (name, numbers) = (part, 0);
            } else if part.starts_with(|first: char| first.is_ascii_digit()) {
                self.add_numbers(&origin, part)?;
                numbers += 1;
            } else if part.is_empty() {
                return Err(GtidParseError::NoNumbers { part: quote(name) });
            } else {
                return Err(GtidParseError::Tag { part: quote(part) });
            }
        }
        if numbers == 0 {
            return Err(GtidParseError::NoNumbers { part: quote(name) });
        }
        Ok(())
    }

    fn add_numbers(&mut self, origin: &GtidOrigin, part: &str) -> Result<(), GtidParseError> {
        let (first, last) = parse_interval(part)?;
        self.add_interval(origin, first, last)
            .map_err(|_| GtidParseError::Interval { part: quote(part) })
    }

    /// The intervals of one origin as the server writes them, `1-5:7`; `None` if it has none.
    pub fn intervals_text(&self, origin: &GtidOrigin) -> Option<String> {
        self.intervals
            .get(origin)
            .map(|list| Intervals(list).to_string())
    }

    /// The set of one origin's intervals as `intervals_text` writes them; an empty text is an
    /// empty set.
    ///
    /// # Errors
    /// `GtidParseError::Interval` with the offending part.
    pub fn from_intervals_text(origin: &GtidOrigin, text: &str) -> Result<Self, GtidParseError> {
        let mut set = Self::new();
        if !text.trim().is_empty() {
            for part in text.split(':') {
                set.add_numbers(origin, part.trim())?;
            }
        }
        Ok(set)
    }
}

/// Intervals as `1-5:7`.
struct Intervals<'a>(&'a [(u64, u64)]);

impl fmt::Display for Intervals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (first, last) in self.0 {
            write!(f, "{separator}{first}")?;
            if first != last {
                write!(f, "-{last}")?;
            }
            separator = ":";
        }
        Ok(())
    }
}

impl fmt::Display for GtidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.uuid.as_hyphenated())?;
        if self.is_tagged() {
            write!(f, ":{}", self.tag)?;
        }
        Ok(())
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.origin, self.number)
    }
}

/// On one line: a comma where `@@gtid_executed` prints a comma and a newline.
impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown: Option<Uuid> = None;
        for (origin, list) in self.origins() {
            if shown == Some(origin.uuid) {
                write!(f, ":{}", origin.tag)?;
            } else {
                let separator = if shown.is_some() { "," } else { "" };
                write!(f, "{separator}{origin}")?;
                shown = Some(origin.uuid);
            }
            write!(f, ":{}", Intervals(list))?;
        }
        Ok(())
    }
}

impl FromStr for Gtid {
    type Err = GtidParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not_one = || GtidParseError::NotOne {
            part: quote(text.trim()),
        };
        let (head, number) = text.trim().rsplit_once(':').ok_or_else(not_one)?;
        let (uuid, tag) = head.split_once(':').unwrap_or((head, ""));
        let uuid = parse_uuid(uuid.trim())?;
        let origin = match (tag.trim(), head.contains(':')) {
            (tag, true) => GtidOrigin {
                uuid,
                tag: parse_tag(tag)?,
            },
            (_, false) => GtidOrigin::untagged(uuid),
        };
        match parse_interval(number.trim())? {
            (first, last) if first == last => Ok(Self {
                origin,
                number: first,
            }),
            _ => Err(not_one()),
        }
    }
}

impl FromStr for GtidSet {
    type Err = GtidParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut set = Self::new();
        for entry in text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            set.add_entry(entry)?;
        }
        Ok(set)
    }
}

/// Serialised as its text.
macro_rules! serialize_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serialize_as_text!(Gtid, GtidSet);
