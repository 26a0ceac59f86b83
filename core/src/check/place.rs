//! Whether the pipeline can go on, or begin, where it would. Pure.

use towpath_protocol::code;
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::position::BinlogPosition;
use uuid::Uuid;

use super::finding::{Finding, FindingState, Fix};
use crate::commit::preflight::{Offset, StoredOffset};
use crate::source::{SourceError, SourceFacts};

/// GTID sets are cut behind this many characters: the operator needs to see what they are about.
const SET_CHARS_MAX: usize = 200;

/// The findings about the sink's own place.
pub(super) fn of_sink(offset: &Offset, start: &str, source: Option<&SourceFacts>) -> Vec<Finding> {
    use FindingState::Failed;
    let what = "the sink's place (towpath.offset)";
    let stored = match offset {
        Offset::Absent => {
            return vec![Finding::ok(what, format!("none yet, it begins at {start}"))];
        }
        // Its privileges are a finding of their own.
        Offset::Hidden => return Vec::new(),
        Offset::Unreadable(why) => {
            let fix = "it was changed by hand or written by another version; use that version, or \
                       restore the schema towpath together with the data";
            return vec![
                Finding::new(
                    what,
                    Failed,
                    format!("can't be read: {why}"),
                    Fix::hand(fix),
                )
                .code(code::OFFSET_DAMAGED),
            ];
        }
        Offset::Stored(stored) => stored,
    };
    let mut all = vec![Finding::ok(what, told(stored, start))];
    if let Some(intent) = &stored.ddl_intent {
        all.push(Finding::ok(
            "a DDL statement was begun and is not known to be done; `towpath run` finds out",
            format!("{} of {}", one_line(&intent.statement), intent.gtid),
        ));
    }
    let (Some(source), Some(gtids)) = (source, &stored.gtids) else {
        return all;
    };
    let Ok(uuid) = Uuid::parse_str(source.server_uuid()) else {
        return all;
    };
    let extra = gtids.subtract(&source.gtid_executed);
    let is_same = stored.source_uuid == Some(uuid);
    let known = stored.source_uuid.unwrap_or_default();
    let what = "the source has every transaction that the sink holds";
    all.push(if extra.is_empty() && (is_same || !gtids.is_empty()) {
        let found = if is_same {
            String::from("yes")
        } else {
            format!("yes, though the sink was fed from {known} before")
        };
        Finding::ok(what, found)
    } else if is_same || gtids.intersects(&source.gtid_executed) {
        let fix = "the source lost them in a failover or was restored; point source.url at the \
                   server that has them, or copy the data again";
        Finding::new(
            what,
            Failed,
            format!("the source lacks {}", shown(&extra)),
            Fix::hand(fix),
        )
        .code(code::SOURCE_DIVERGED)
    } else {
        let found = format!("the sink was fed from source {known}, and {uuid} is another");
        let fix = "point source.url at that server or a replica of it, or give this pipeline \
                   another name";
        Finding::new(what, Failed, found, Fix::hand(fix)).code(code::OFFSET_OF_ANOTHER_SOURCE)
    });
    all
}

/// The set from which the dump would begin, if the sink has a place.
pub(super) fn stored(offset: &Offset) -> Option<&GtidSet> {
    match offset {
        Offset::Stored(stored) => stored.gtids.as_ref(),
        Offset::Absent | Offset::Hidden | Offset::Unreadable(_) => None,
    }
}

/// Where that place is in the source's binlog, if it is the source's.
pub(super) fn position<'a>(offset: &'a Offset, source: &SourceFacts) -> Option<&'a BinlogPosition> {
    let Offset::Stored(stored) = offset else {
        return None;
    };
    let uuid = Uuid::parse_str(source.server_uuid()).ok()?;
    let position = stored.position.as_ref();
    position.filter(|_| stored.source_uuid == Some(uuid))
}

/// The finding about what a dump by GTID would leave out.
pub(super) fn numbered(position: &BinlogPosition, checked: Result<(), SourceError>) -> Finding {
    let what = "what the source has written behind the sink's place has GTIDs";
    match checked {
        Ok(()) => Finding::ok(what, format!("as far as can be seen from {position}")),
        Err(error) => refused(what, &error),
    }
}

/// The finding about a stored place at the source.
pub(super) fn at_source(gtids: &GtidSet, source: &SourceFacts) -> Finding {
    let missing = source.gtid_purged.subtract(gtids);
    let behind = source.gtid_executed.subtract(gtids).count();
    let found = match (missing.is_empty(), behind) {
        (false, _) => format!("purged: {}", shown(&missing)),
        (true, 0) => "the sink is up to date".to_owned(),
        (true, 1) => "one transaction behind".to_owned(),
        (true, behind) => format!("{behind} transactions behind"),
    };
    let state = FindingState::ok_if(missing.is_empty(), FindingState::Failed);
    let fix = "copy the data again and start from its GTID set; then raise \
               binlog_expire_logs_seconds";
    Finding::new(
        "the source still has all that the sink lacks",
        state,
        found,
        Fix::hand(fix),
    )
    .code(code::SOURCE_PURGED)
}

/// The finding about a start that was resolved, or not.
pub(super) fn start(
    start: &str,
    resolved: Result<&GtidSet, &SourceError>,
    source: &SourceFacts,
) -> Finding {
    let what = format!("the source can start at {start}");
    match resolved {
        Ok(gtids) => {
            let found = match source.gtid_executed.subtract(gtids).count() {
                0 => "nothing is older than now".to_owned(),
                1 => "one transaction will be read".to_owned(),
                count => format!("{count} transactions will be read"),
            };
            Finding::ok(
                what,
                if start == "now" {
                    "after all that it has".to_owned()
                } else {
                    found
                },
            )
        }
        Err(SourceError::Purged { missing }) => {
            let found = format!("purged: {}", cut(missing));
            let fix = "copy the data again and start from its GTID set, or from `earliest` if the \
                       sink has all that was purged";
            Finding::new(what, FindingState::Failed, found, Fix::hand(fix))
                .code(code::SOURCE_PURGED)
        }
        Err(error) => refused(what, error),
    }
}

/// The finding about an error of the source: its text, and its advice apart.
pub(super) fn refused(what: impl Into<String>, error: &SourceError) -> Finding {
    let (_, advice) = error.retry();
    let text = error.to_string();
    let text = text
        .strip_suffix(advice)
        .unwrap_or(&text)
        .trim_end_matches("; ");
    Finding::new(what, FindingState::Failed, text, Fix::hand(advice)).code(error.code())
}

fn told(stored: &StoredOffset, start: &str) -> String {
    if stored.gtids.is_none() {
        return format!("a row without a place, it begins at {start}");
    }
    let at = stored
        .position
        .as_ref()
        .map(|position| format!(" at {position}"));
    format!(
        "commit {}{}, epoch {} of {}, pipeline {}",
        stored.commit_seq,
        at.unwrap_or_default(),
        stored.epoch,
        if stored.owner.is_empty() {
            "nobody"
        } else {
            &stored.owner
        },
        stored.pipeline_uuid
    )
}

fn shown(set: &GtidSet) -> String {
    cut(&set.to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SET_CHARS_MAX) {
        Some((at, _)) => format!("{} …", text.get(..at).unwrap_or(text)),
        None => text.to_owned(),
    }
}

fn one_line(statement: &str) -> String {
    cut(&statement.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::ddl::DdlIntent;

    const UUID: &str = "00000000-0000-0000-0000-000000000001";

    fn set(text: &str) -> GtidSet {
        text.replace('U', UUID).parse().unwrap()
    }

    fn source() -> SourceFacts {
        let mut facts = SourceFacts::default();
        facts.gtid_executed = set("U:1-100");
        facts.gtid_purged = set("U:1-10");
        facts.set_variable("server_uuid", UUID);
        facts
    }

    fn at(source_uuid: u128, gtids: &str) -> Offset {
        Offset::Stored(Box::new(StoredOffset {
            source_uuid: Some(Uuid::from_u128(source_uuid)),
            gtids: Some(set(gtids)),
            ..StoredOffset::default()
        }))
    }

    fn last(offset: &Offset) -> (FindingState, String) {
        let all = of_sink(offset, "now", Some(&source()));
        let last = all.last().unwrap();
        (last.state, last.found.clone())
    }

    #[test]
    fn a_sink_goes_on_with_its_own_history_only() {
        assert_eq!(last(&at(1, "U:1-50")), (FindingState::Ok, "yes".to_owned()));
        let found = format!("the source lacks {UUID}:101-103");
        assert_eq!(last(&at(1, "U:1-103")), (FindingState::Failed, found));
        // A replica that has it all may take over from the source.
        assert_eq!(last(&at(2, "U:1-50")).0, FindingState::Ok);
        assert_eq!(last(&at(2, "U:1-103")).0, FindingState::Failed);
        assert!(last(&at(2, "")).1.contains("is another"));
        assert_eq!(
            last(&Offset::Absent),
            (FindingState::Ok, "none yet, it begins at now".to_owned())
        );
        assert_eq!(
            last(&Offset::Unreadable("x".to_owned())).0,
            FindingState::Failed
        );
        assert!(of_sink(&Offset::Hidden, "now", Some(&source())).is_empty());
    }

    #[test]
    fn a_statement_in_progress_is_told() {
        let intent = DdlIntent {
            seq: 1,
            gtid: "g:1".to_owned(),
            statement: "ALTER TABLE t\n  ADD c INT".to_owned(),
            before: String::new(),
            traceless: false,
            answer: None,
        };
        let stored = StoredOffset {
            ddl_intent: Some(intent),
            ..StoredOffset::default()
        };
        let offset = Offset::Stored(Box::new(stored));
        let found = "ALTER TABLE t ADD c INT of g:1".to_owned();
        assert_eq!(last(&offset), (FindingState::Ok, found));
    }

    #[test]
    fn what_was_purged_before_it_was_applied_is_named() {
        let finding = at_source(&set("U:1-7"), &source());
        assert_eq!(finding.state, FindingState::Failed);
        assert_eq!(finding.found, format!("purged: {UUID}:8-10"));
        let finding = at_source(&set("U:1-99"), &source());
        assert_eq!(
            (finding.state, &*finding.found),
            (FindingState::Ok, "one transaction behind")
        );
    }

    #[test]
    fn an_errors_advice_is_the_fix() {
        let finding = refused("the binlog can be read", &SourceError::NoTls);
        assert_eq!(finding.found, "the source does not offer TLS");
        assert!(
            finding
                .fix
                .unwrap()
                .to_string()
                .starts_with("give the source a certificate")
        );
    }

    #[test]
    fn long_sets_are_cut() {
        assert_eq!(cut("a:1"), "a:1");
        assert!(cut(&"é".repeat(500)).chars().count() <= SET_CHARS_MAX + 2);
    }
}
