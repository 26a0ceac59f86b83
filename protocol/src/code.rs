//! The codes of errors: short, stable, and each with a page of documentation in `docs/errors`,
//! which is part of the program (`towpath explain CODE`).
//!
//! A code stands for a cause and a cure, not for a place in the code: errors that are mended alike
//! share one. The first two digits say where in the data path it arises. A number is never used for
//! anything else later, not even after its error is gone. `docs/errors/README.md` says how to add
//! one.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The letters before the number.
const PREFIX: &str = "TP";

/// A code of an error, printed as `TP1203`. Only codes that have a page exist.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

/// A text that is no code of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no error code of this version; `towpath explain` lists them all")]
pub struct UnknownCode {
    /// The text.
    pub text: String,
}

struct Entry {
    code: Code,
    page: &'static str,
}

/// Declares codes: a constant for each, and its page, which must be there.
macro_rules! codes {
    ($($(#[$doc:meta])+ $name:ident = $number:literal;)+) => {
        $($(#[$doc])+ pub const $name: Code = Code($number);)+

        const ENTRIES: &[Entry] = &[$(Entry {
            code: $name,
            page: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/../docs/errors/TP", stringify!($number), ".md"
            )),
        }),+];

        /// The constants' names, for the test that each is used.
        #[cfg(test)]
        const NAMES: &[&str] = &[$(stringify!($name)),+];
    };
}

// 10: the pipeline file and what it names.
codes! {
    /// A pipeline file can't be read from the disk.
    FILE_UNREADABLE = 1001;
    /// A pipeline file has problems.
    FILE_INVALID = 1002;
    /// A spec of the tree can't be used on this Core: a variable isn't set there, mostly.
    SPEC_UNRESOLVED = 1003;
    /// A spec of the tree isn't the one that the task is of.
    SPEC_MISMATCH = 1004;
    /// A named data source has no usable address.
    DATASOURCE_ADDRESS = 1005;
    /// The TLS settings of an endpoint can't be used.
    TLS_SETTINGS = 1006;

    // 12: the source: connection, login, privileges, settings, place.
    /// The source can't be reached.
    SOURCE_UNREACHABLE = 1201;
    /// The connection to the source broke.
    SOURCE_LOST = 1202;
    /// The source refuses user or password.
    SOURCE_LOGIN = 1203;
    /// The source's account lacks a privilege.
    SOURCE_PRIVILEGE = 1204;
    /// The source offers no TLS.
    SOURCE_NO_TLS = 1205;
    /// TLS with the source failed.
    SOURCE_TLS = 1206;
    /// The account's login method can't be used.
    SOURCE_LOGIN_METHOD = 1207;
    /// The source is no MySQL that this version reads.
    SOURCE_PRODUCT = 1208;
    /// The source has no GTIDs.
    SOURCE_GTID_OFF = 1209;
    /// The source has purged what is needed.
    SOURCE_PURGED = 1210;
    /// The source lacks what the sink holds.
    SOURCE_DIVERGED = 1211;
    /// Another replica uses our server_id or UUID.
    SERVER_ID_CLASH = 1212;
    /// An event is larger than the source may send.
    EVENT_TOO_LARGE = 1213;
    /// The source has no such binlog file.
    NO_SUCH_FILE = 1214;
    /// A position is not between two transactions.
    BAD_POSITION = 1215;
    /// The source can't give this start.
    BAD_START = 1216;
    /// The source refused a request for a reason of its own.
    SOURCE_REFUSED = 1217;
    /// The peer doesn't speak MySQL's protocol.
    SOURCE_PROTOCOL = 1218;
    /// The source takes no connection just now.
    SOURCE_BUSY = 1219;
    /// The source writes no binlog.
    SOURCE_NO_BINLOG = 1220;

    // 13: what is in the binlog.
    /// A change was logged as a statement.
    STATEMENT_FORMAT = 1301;
    /// A row image is not full.
    PARTIAL_IMAGE = 1302;
    /// A table map has no column names.
    NO_METADATA = 1303;
    /// A transaction has no GTID.
    ANONYMOUS = 1304;
    /// A kind of transaction that isn't carried.
    NOT_CARRIED = 1305;
    /// An event's checksum is wrong.
    CHECKSUM = 1306;
    /// An event can't be read, or is out of place.
    DAMAGED = 1307;
    /// A compressed transaction can't be inflated.
    PAYLOAD = 1308;
    /// An event or a part of one that this version doesn't know.
    UNKNOWN_EVENT = 1309;
    /// The source says that its binlog may lack changes.
    INCIDENT = 1310;

    // 14: changes that don't fit the sink's tables.
    /// The sink lacks a table.
    NO_TABLE = 1401;
    /// The sink's table lacks a column.
    NO_COLUMN = 1402;
    /// The sink's column can't hold every value.
    COLUMN_DIFFERS = 1403;
    /// A column that only the sink has needs a value.
    COLUMN_NEEDS_VALUE = 1404;
    /// The sink's table differs in another way.
    TABLE_DIFFERS = 1405;
    /// Two changes of one key contradict each other.
    CONTRADICTION = 1406;
    /// A row needs a larger packet than the sink takes.
    ROW_TOO_LARGE = 1407;
    /// An INSERT that was logged in part left a column to a default that the sink's column hasn't.
    DEFAULT_DIFFERS = 1408;
    /// Tables without a key can't be copied.
    COPY_KEYLESS = 1409;
    /// Tables that are to be copied have rows on the sink already.
    COPY_NOT_EMPTY = 1410;
    /// The source doesn't show what it has sent.
    COPY_NOT_VISIBLE = 1411;
    /// Foreign keys change rows that are to be copied, and the source doesn't log it.
    COPY_CASCADES = 1412;
    /// A table that is to be copied has a unique index on the sink alone.
    COPY_SINK_UNIQUE = 1413;

    // 15: the sink: connection, login, and what its server refuses.
    /// The sink can't be reached, or the connection broke.
    SINK_UNREACHABLE = 1501;
    /// The sink refuses user or password.
    SINK_LOGIN = 1502;
    /// The sink's account lacks a privilege.
    SINK_PRIVILEGE = 1503;
    /// TLS with the sink failed, or isn't offered.
    SINK_TLS = 1504;
    /// The sink is read-only.
    SINK_READ_ONLY = 1505;
    /// The sink has no room.
    SINK_FULL = 1506;
    /// The sink's rows are locked by others.
    SINK_LOCKED = 1507;
    /// The sink takes no connection just now, or ended ours.
    SINK_BUSY = 1508;
    /// The sink's column refuses a value.
    SINK_VALUE = 1509;
    /// The sink's column takes no NULL.
    SINK_NULL = 1510;
    /// A foreign key of the sink is violated.
    SINK_FOREIGN_KEY = 1511;
    /// The sink's group replication refuses a table.
    SINK_GROUP = 1512;
    /// A trigger or a CHECK constraint of the sink refuses a row.
    SINK_TRIGGER = 1513;
    /// The sink refused a statement for a reason of its own.
    SINK_REFUSED = 1514;
    /// The sink's answers don't fit what was sent.
    SINK_PROTOCOL = 1515;
    /// The sink's login method can't be used.
    SINK_LOGIN_METHOD = 1516;

    // 16: the offset row, and who may write.
    /// Another process has taken the sink over.
    SUPERSEDED = 1601;
    /// A commit met an offset row that had moved.
    FENCED = 1602;
    /// The offset row can't be read.
    OFFSET_DAMAGED = 1603;
    /// The offset row was written by a pipeline of another source.
    OFFSET_OF_ANOTHER_SOURCE = 1604;
    /// The offset row belongs to another directory.
    OFFSET_OF_ANOTHER_DIRECTORY = 1605;
    /// The pipeline ran before, and its offset row is gone.
    OFFSET_MISSING = 1606;
    /// The offset row went away while we ran.
    OFFSET_GONE = 1607;
    /// The offset row went back while we ran.
    OFFSET_WENT_BACK = 1608;
    /// The predecessor's locks are still held.
    LOCK_HELD = 1609;
    /// A row that is to change is missing at the sink.
    ROW_MISSING = 1610;
    /// A row, or a unique value of it, is at the sink already.
    ROW_DUPLICATE = 1611;
    /// The GTID set has too many holes.
    TOO_MANY_INTERVALS = 1612;

    // 17: schema changes.
    /// A statement that this version doesn't carry.
    DDL_NOT_CARRIED = 1701;
    /// The sink refused a statement of the source.
    DDL_REFUSED = 1702;
    /// The sink can't tell whether a statement of the source ran.
    DDL_UNDECIDED = 1703;

    // 18: the directory.
    /// The directory can't be reached, or the session ended.
    DIRECTORY_UNREACHABLE = 1801;
    /// The directory doesn't allow it.
    DIRECTORY_ROLE = 1802;
    /// An address, certificate or key for the directory can't be used.
    DIRECTORY_SETTINGS = 1803;
    /// Another Core may run the task.
    NOT_ELECTED = 1804;
    /// A node of the directory is not as it must be.
    DIRECTORY_NODE = 1805;
    /// Somebody didn't answer or release in time.
    DIRECTORY_WAIT = 1806;

    // 19: the program itself.
    /// A part of the program ended unexpectedly.
    INTERNAL = 1901;

    // 20: comparing, repairing, and what else an operator does to a sink's place.
    /// The sink has no place of the pipeline.
    NO_PLACE = 2001;
    /// The pipeline takes no such table.
    NO_SUCH_TABLE = 2002;
    /// A table has no key by which its rows could be told apart.
    NO_KEY = 2003;
    /// A table is in the course of being copied.
    TABLE_BEING_COPIED = 2004;
    /// The condition of a copy isn't understood.
    BAD_CONDITION = 2005;
    /// The sink doesn't get up to the source, so differences can't be proven.
    SINK_STANDS_STILL = 2006;
    /// The place to go back to isn't behind the present one.
    PLACE_NOT_BEHIND = 2007;
    /// Schema changes lie between the place to go back to and the present one.
    SCHEMA_CHANGES_BETWEEN = 2008;
    /// Rows can't be applied a second time.
    NOT_REPEATABLE = 2009;
    /// What is to be left out was never executed.
    NOT_EXECUTED = 2010;
    /// A schema change may be running on the sink.
    SCHEMA_CHANGE_UNDER_WAY = 2011;

    // 21: the queue between processes.
    /// A sink needs what neither the queue nor the source has any more.
    QUEUE_RETENTION = 2101;
    /// A broker refuses us, or its address can't be used.
    QUEUE_BROKER = 2102;
    /// The queue is there, and was declared otherwise.
    QUEUE_DECLARED = 2103;
    /// The queue's file can't be used.
    QUEUE_FILE = 2104;
    /// The queue holds what no producer of this pipeline writes.
    QUEUE_DAMAGED = 2105;
    /// Another producer writes the queue.
    QUEUE_SUPERSEDED = 2106;
}

impl Code {
    /// All codes, in the order of their numbers.
    pub fn all() -> impl ExactSizeIterator<Item = Code> {
        ENTRIES.iter().map(|entry| entry.code)
    }

    /// The page: Markdown, with the title as its first line.
    pub fn page(self) -> &'static str {
        let entry = ENTRIES.iter().find(|entry| entry.code == self);
        entry.map_or("", |entry| entry.page)
    }

    /// What it means, in one line.
    pub fn title(self) -> &'static str {
        let first = self.page().lines().next().unwrap_or_default();
        first.split_once(": ").map_or(first, |(_, title)| title)
    }

    /// Where a person is sent for more.
    pub fn hint(self) -> String {
        format!("towpath explain {self}")
    }

    /// Up to `max` codes that may be meant by a text: those of the nearest numbers, or those whose
    /// titles have its words.
    pub fn nearest(text: &str, max: usize) -> Vec<Code> {
        let mut all: Vec<Code> = Self::all().collect();
        if let Some(number) = number(text) {
            all.sort_by_key(|code| code.0.abs_diff(number));
        } else {
            let text = text.to_lowercase();
            let score = |code: &Code| {
                let title = code.title().to_lowercase();
                let hits = text.split_whitespace().filter(|word| title.contains(*word));
                hits.count()
            };
            all.retain(|code| score(code) > 0);
            all.sort_by_key(|code| std::cmp::Reverse(score(code)));
        }
        all.truncate(max);
        all
    }
}

/// The number in `TP1203`, `tp1203`, `1203` or `error[TP1203]`.
fn number(text: &str) -> Option<u16> {
    let text = text.trim().trim_end_matches([':', ']']);
    let text = text.rsplit('[').next().unwrap_or(text);
    let digits = match text.get(..PREFIX.len()) {
        Some(letters) if letters.eq_ignore_ascii_case(PREFIX) => text.get(PREFIX.len()..)?,
        _ => text,
    };
    digits.parse().ok()
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By `pad`, so that it can be aligned.
        f.pad(&format!("{PREFIX}{}", self.0))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = number(text).and_then(|number| Self::all().find(|code| code.0 == number));
        found.ok_or_else(|| UnknownCode {
            text: text.to_owned(),
        })
    }
}

/// As text. It isn't read back: a record of the tree keeps a newer program's code as it is.
impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn each_code_has_a_page_and_a_line_in_the_index_and_each_page_a_code() {
        let folder = root().join("docs/errors");
        let index = fs::read_to_string(folder.join("README.md")).unwrap();
        let mut lines: BTreeSet<&str> = index
            .lines()
            .filter(|line| line.starts_with("| [TP"))
            .collect();
        for code in Code::all() {
            let line = format!("| [{code}]({code}.md) | {} |", code.title());
            assert!(
                lines.remove(line.as_str()),
                "docs/errors/README.md lacks: {line}"
            );
        }
        assert!(
            lines.is_empty(),
            "lines of the index without a code: {lines:?}"
        );
        let codes: BTreeSet<String> = Code::all().map(|code| format!("{code}.md")).collect();
        for entry in fs::read_dir(&folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                name == "README.md" || codes.contains(&name),
                "a page without a code: {name}"
            );
        }
    }

    #[test]
    fn numbers_are_unique_and_in_order() {
        let codes: Vec<Code> = Code::all().collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
        assert_eq!(codes.len(), NAMES.len());
    }

    #[test]
    fn each_page_has_its_parts_and_links_that_lead_somewhere() {
        for code in Code::all() {
            let page = code.page();
            assert!(page.starts_with(&format!("# {code}: ")), "{code}");
            let parts = [
                "## Likely causes",
                "## What to do",
                "## What Towpath has done",
                "## Related",
            ];
            let at: Vec<_> = parts.iter().map(|part| page.find(part)).collect();
            assert!(
                at.iter().all(Option::is_some) && at.is_sorted(),
                "{code}: {at:?}"
            );
            for link in page
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
            {
                let (file, _) = link.split_once('#').unwrap_or((link, ""));
                let is_there =
                    link.starts_with("https://") || root().join("docs/errors").join(file).exists();
                assert!(is_there, "{code}: {link} leads nowhere");
            }
            for other in page.split("TP").skip(1).filter_map(|rest| rest.get(..4)) {
                let is_number = other.bytes().all(|byte| byte.is_ascii_digit());
                assert!(
                    !is_number || other.parse::<Code>().is_ok(),
                    "{code} names TP{other}"
                );
            }
            assert!(
                page.lines().all(|line| line.chars().count() <= 140),
                "{code}"
            );
        }
    }

    /// A code that nothing gives would be documentation of what can't happen.
    #[test]
    fn each_code_is_given_by_some_error() {
        let mut text = String::new();
        for source in ["core/src", "protocol/src", "coordination/src"] {
            read_sources(&root().join(source), &mut text);
        }
        for name in NAMES {
            let used = format!("code::{name}");
            assert!(text.contains(&used), "{used} is not used");
        }
    }

    fn read_sources(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read_sources(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn a_code_is_read_however_it_was_copied() {
        for text in [
            "TP1203",
            "tp1203",
            "1203",
            "error[TP1203]",
            "error[TP1203]:",
            " TP1203 ",
        ] {
            assert_eq!(text.parse(), Ok(SOURCE_LOGIN), "{text}");
        }
        for text in ["", "TP", "TP9999", "TP12034", "TPx", "towpath", "é"] {
            assert!(text.parse::<Code>().is_err(), "{text}");
        }
        assert_eq!(
            format!("{SOURCE_LOGIN}|{SOURCE_LOGIN:8}|"),
            "TP1203|TP1203  |"
        );
        let json = serde_json::to_string(&SOURCE_LOGIN).unwrap();
        assert_eq!(json, "\"TP1203\"");
    }

    #[test]
    fn a_wrong_code_leads_to_near_ones_and_words_to_titles() {
        assert!(Code::nearest("TP1220", 3).contains(&SOURCE_BUSY));
        assert_eq!(Code::nearest("TP1203", 1), [SOURCE_LOGIN]);
        assert!(Code::nearest("purged", 3).contains(&SOURCE_PURGED));
        assert!(Code::nearest("xyzzy", 3).is_empty());
    }
}
