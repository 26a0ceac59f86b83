//! Where a pipeline begins when its sink has no place yet.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::gtid::{GtidParseError, GtidSet};
use crate::position::{BinlogPosition, PositionParseError};

/// Where to begin. It counts only for a sink that has no offset yet: afterwards the place is the
/// sink's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// What the source commits from now on.
    #[default]
    Now,
    /// The oldest transaction that the source's binlogs still have.
    Earliest,
    /// After these transactions: the sink's data contain them. Never empty.
    Gtid(GtidSet),
    /// At a place of the source's binlog.
    Position(BinlogPosition),
    /// With the first transaction committed at or after a time.
    Time(Timestamp),
}

/// Why a text is no start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartParseError {
    /// None of the forms.
    #[error(
        "{text:?} is no start; write now, earliest, gtid:<set>, <file>:<offset>, or a time \
         like 2026-01-31T08:00:00Z"
    )]
    Form {
        /// The text as given.
        text: String,
    },
    /// `gtid:` and no set.
    #[error(
        "the GTID set is empty; write the transactions that the sink's data contain, \
         or earliest to begin with the source's oldest binlog"
    )]
    EmptyGtid,
    /// `gtid:` and something that is no set.
    #[error(transparent)]
    Gtid(#[from] GtidParseError),
    /// A place in a binlog that is none.
    #[error(transparent)]
    Position(#[from] PositionParseError),
    /// A time that is none, or that doesn't say its offset from UTC.
    #[error(
        "{text:?} is no time; write date, time and offset from UTC, as in \
         2026-01-31T08:00:00Z or 2026-01-31T09:00:00+01:00"
    )]
    Time {
        /// The text as given.
        text: String,
    },
}

/// Does it begin like `2026-`? No binlog file's name does in practice, and nothing else here.
fn looks_like_a_time(text: &str) -> bool {
    text.split_once('-')
        .is_some_and(|(year, _)| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()))
}

impl FromStr for StartAt {
    type Err = StartParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        match text {
            "now" => return Ok(Self::Now),
            "earliest" => return Ok(Self::Earliest),
            _ => {}
        }
        if let Some(set) = text.strip_prefix("gtid:") {
            let set: GtidSet = set.parse()?;
            return if set.is_empty() {
                Err(StartParseError::EmptyGtid)
            } else {
                Ok(Self::Gtid(set))
            };
        }
        if looks_like_a_time(text) {
            let time = text
                .parse()
                .map_err(|_| StartParseError::Time { text: text.into() })?;
            return Ok(Self::Time(time));
        }
        if text.contains(':') {
            return Ok(Self::Position(text.parse()?));
        }
        Err(StartParseError::Form { text: text.into() })
    }
}

/// As written in a pipeline file.
impl fmt::Display for StartAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::Earliest => f.write_str("earliest"),
            Self::Gtid(set) => write!(f, "gtid:{set}"),
            Self::Position(position) => position.fmt(f),
            Self::Time(time) => time.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_returns() {
        for text in [
            "now",
            "earliest",
            "gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:mytag:7",
            "binlog.000042:4",
            "2026-01-31T08:00:00Z",
        ] {
            assert_eq!(text.parse::<StartAt>().unwrap().to_string(), text);
        }
        let local: StartAt = " 2026-01-31 09:00:00+01:00".parse().unwrap();
        assert_eq!(local, "2026-01-31T08:00:00Z".parse().unwrap());
    }

    #[test]
    fn bad_starts_say_what_is_wrong() {
        use StartParseError as E;
        let time = |text: &str| E::Time { text: text.into() };
        for (text, error) in [
            (
                "",
                E::Form {
                    text: String::new(),
                },
            ),
            ("Now", E::Form { text: "Now".into() }),
            ("gtid: ,", E::EmptyGtid),
            ("gtid:x", E::Gtid(GtidParseError::Uuid { part: "x".into() })),
            (
                "b.000001:x",
                E::Position(PositionParseError::Offset { offset: "x".into() }),
            ),
            ("2026-01-31", time("2026-01-31")),
            ("2026-01-31T08:00:00", time("2026-01-31T08:00:00")),
        ] {
            assert_eq!(text.parse::<StartAt>(), Err(error), "{text:?}");
        }
    }
}
