//! A place in a source's binlog.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The offset of a binlog file's first event: four bytes of magic number come before it
/// (MySQL: `sql/binlog.h`, `BIN_LOG_HEADER_SIZE`).
pub const FIRST_EVENT_OFFSET: u64 = 4;

/// A binlog file and the byte offset in it at which the next event begins. Written `file:offset`.
///
/// The order is that of names, then offsets: right for the files of one server, whose numbers
/// have six digits until the millionth.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BinlogPosition {
    /// The file's name as `SHOW BINARY LOGS` prints it.
    pub file: String,
    /// Byte offset of the next event; the first event of a file is at 4.
    pub offset: u64,
}

/// Why a text is no binlog position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionParseError {
    /// No `file:offset`.
    #[error(
        "{text:?} is no binlog position; write file:offset, as in binlog.000042:4 \
         (SHOW BINARY LOGS lists the files)"
    )]
    Form {
        /// The text as given.
        text: String,
    },
    /// The file's name has a directory, white space or a control character in it.
    #[error(
        "{file:?} is no binlog file's name; write it as SHOW BINARY LOGS prints it, \
         without a directory"
    )]
    File {
        /// The name as given.
        file: String,
    },
    /// The offset is no number, or lies inside the file's magic number.
    #[error(
        "{offset:?} is no offset in a binlog file; write a number of bytes, \
         {FIRST_EVENT_OFFSET} for the file's first event"
    )]
    Offset {
        /// The offset as given.
        offset: String,
    },
}

impl FromStr for BinlogPosition {
    type Err = PositionParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (file, offset) = text
            .rsplit_once(':')
            .filter(|(file, _)| !file.is_empty())
            .ok_or_else(|| PositionParseError::Form { text: text.into() })?;
        let odd = |char: char| char.is_whitespace() || char.is_control() || "/\\:".contains(char);
        if file.contains(odd) {
            return Err(PositionParseError::File { file: file.into() });
        }
        Some(offset)
            .filter(|offset| offset.starts_with(|first: char| first.is_ascii_digit()))
            .and_then(|offset| offset.parse().ok())
            .filter(|&offset| offset >= FIRST_EVENT_OFFSET)
            .map(|offset| Self {
                file: file.into(),
                offset,
            })
            .ok_or_else(|| PositionParseError::Offset {
                offset: offset.into(),
            })
    }
}

impl fmt::Display for BinlogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

/// Serialised as its text.
impl Serialize for BinlogPosition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BinlogPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_returns_the_position(file in "[a-z.-]{1,20}\\.[0-9]{6}", offset in 4_u64..) {
            let position = BinlogPosition { file, offset };
            prop_assert_eq!(position.to_string().parse::<BinlogPosition>(), Ok(position));
        }

        #[test]
        fn garbage_never_panics(text in ".{0,40}") {
            if let Ok(position) = text.parse::<BinlogPosition>() {
                prop_assert_eq!(position.to_string().parse::<BinlogPosition>(), Ok(position));
            }
        }
    }

    #[test]
    fn errors_name_the_offending_part() {
        use PositionParseError as E;
        let form = |text: &str| E::Form { text: text.into() };
        let file = |file: &str| E::File { file: file.into() };
        let offset = |offset: &str| E::Offset {
            offset: offset.into(),
        };
        for (text, error) in [
            ("", form("")),
            ("binlog.000001", form("binlog.000001")),
            (":4", form(":4")),
            (
                "/var/lib/mysql/binlog.000001:4",
                file("/var/lib/mysql/binlog.000001"),
            ),
            ("binlog .000001:4", file("binlog .000001")),
            ("binlog.000001:4:4", file("binlog.000001:4")),
            ("binlog.000001:", offset("")),
            ("binlog.000001:3", offset("3")),
            ("binlog.000001:+4", offset("+4")),
            (
                "binlog.000001:18446744073709551616",
                offset("18446744073709551616"),
            ),
        ] {
            assert_eq!(text.parse::<BinlogPosition>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn places_of_one_server_are_ordered() {
        let place = |text: &str| text.parse::<BinlogPosition>().unwrap();
        assert!(place("b.000009:900") < place("b.000010:4"));
        assert!(place("b.000010:4") < place("b.000010:100"));
    }

    #[test]
    fn serialised_as_text() {
        let position: BinlogPosition = "binlog.000042:197".parse().unwrap();
        let value = toml::Value::try_from(&position).unwrap();
        assert_eq!(value.as_str(), Some("binlog.000042:197"));
        assert_eq!(value.try_into::<BinlogPosition>().unwrap(), position);
    }
}
