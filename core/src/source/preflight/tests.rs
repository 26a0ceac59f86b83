//! Facts of a source, and what is found of them.

use super::*;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const NEEDS: Needs = Needs {
    server_id: 900,
    gtid: true,
    whole_rows: false,
};

fn good() -> SourceFacts {
    let variables = [
        ("version", "9.7.4"),
        ("server_uuid", UUID),
        ("server_id", "1"),
        ("log_bin", "ON"),
        ("binlog_format", "ROW"),
        ("binlog_row_image", "FULL"),
        ("binlog_row_metadata", "FULL"),
        ("gtid_mode", "ON"),
        ("enforce_gtid_consistency", "ON"),
        ("binlog_expire_logs_seconds", "2592000"),
        ("binlog_checksum", "CRC32"),
        ("max_allowed_packet", "67108864"),
        ("log_replica_updates", "ON"),
        ("replica_preserve_commit_order", "ON"),
        ("replica_parallel_workers", "4"),
    ];
    SourceFacts {
        variables: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        gtid_executed: format!("{UUID}:1-100").parse().unwrap(),
        gtid_purged: format!("{UUID}:1-10").parse().unwrap(),
        account: "'repl'@'%'".to_owned(),
        grants: vec!["GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `repl`@`%`".to_owned()],
        replicas: Some(Vec::new()),
        is_replica: Some(true),
    }
}

fn with(name: &str, value: &str) -> SourceFacts {
    let mut facts = good();
    facts.variables.insert(name.to_owned(), value.to_owned());
    facts
}

/// The findings that are not right, as state and fix.
fn wrong(facts: &SourceFacts) -> Vec<(FindingState, String)> {
    let all = facts.findings(&NEEDS);
    let wrong = all
        .into_iter()
        .filter(|finding| finding.state != FindingState::Ok);
    let fix = |fix: Option<Fix>| match fix {
        Some(Fix::Sql(text) | Fix::Hand(text)) => text,
        None => String::new(),
    };
    wrong
        .map(|finding| (finding.state, fix(finding.fix)))
        .collect()
}

#[test]
fn a_good_source_has_nothing_to_mend() {
    assert_eq!(wrong(&good()), []);
    assert!(
        good()
            .findings(&NEEDS)
            .iter()
            .all(|finding| finding.fix.is_none())
    );
}

#[test]
fn each_setting_is_found_with_the_statement_that_mends_it() {
    use FindingState::{Failed, Warning};
    for (name, value, state, fix) in [
        (
            "binlog_format",
            "STATEMENT",
            Failed,
            "SET PERSIST binlog_format = 'ROW'",
        ),
        (
            "binlog_format",
            "MIXED",
            Failed,
            "SET PERSIST binlog_format = 'ROW'",
        ),
        (
            "binlog_row_image",
            "MINIMAL",
            Warning,
            "SET PERSIST binlog_row_image = 'FULL'",
        ),
        (
            "binlog_row_metadata",
            "MINIMAL",
            Warning,
            "SET PERSIST binlog_row_metadata = 'FULL'",
        ),
        (
            "binlog_checksum",
            "NONE",
            Warning,
            "SET PERSIST binlog_checksum = 'CRC32'",
        ),
        (
            "gtid_mode",
            "OFF_PERMISSIVE",
            Failed,
            "SET PERSIST gtid_mode = ON_PERMISSIVE; SET PERSIST gtid_mode = ON",
        ),
        (
            "binlog_expire_logs_seconds",
            "3600",
            Warning,
            "SET PERSIST binlog_expire_logs_seconds = 604800",
        ),
        (
            "replica_preserve_commit_order",
            "OFF",
            Warning,
            "SET PERSIST replica_preserve_commit_order = ON",
        ),
    ] {
        assert_eq!(
            wrong(&with(name, value)),
            [(state, fix.to_owned())],
            "{name} = {value}"
        );
    }
    assert_eq!(wrong(&with("log_bin", "OFF"))[0].0, Failed);
    assert_eq!(wrong(&with("log_replica_updates", "OFF"))[0].0, Failed);
    assert_eq!(wrong(&with("binlog_expire_logs_seconds", "0")), []);
}

#[test]
fn an_older_server_is_told_to_set_global() {
    let mut facts = with("binlog_format", "MIXED");
    facts
        .variables
        .insert("version".to_owned(), "5.7.44-log".to_owned());
    assert_eq!(wrong(&facts)[0].1, "SET GLOBAL binlog_format = 'ROW'");
}

#[test]
fn gtids_are_needed_only_where_they_are_our_place() {
    let facts = with("gtid_mode", "OFF");
    let of = |gtid| {
        let findings = facts.findings(&Needs { gtid, ..NEEDS });
        findings
            .into_iter()
            .map(|finding| finding.state)
            .max()
            .unwrap()
    };
    assert_eq!(of(true), FindingState::Failed);
    assert_eq!(of(false), FindingState::Warning);
}

#[test]
fn parts_of_rows_are_a_risk_to_a_stream_and_no_use_to_a_copy() {
    for (name, value, fix) in [
        (
            "binlog_row_image",
            "NOBLOB",
            "SET PERSIST binlog_row_image = 'FULL'",
        ),
        (
            "binlog_row_value_options",
            "PARTIAL_JSON",
            "SET PERSIST binlog_row_value_options = ''",
        ),
    ] {
        let facts = with(name, value);
        assert_eq!(wrong(&facts), [(FindingState::Warning, fix.to_owned())]);
        let needs = Needs {
            whole_rows: true,
            ..NEEDS
        };
        let failed: Vec<_> = facts
            .findings(&needs)
            .into_iter()
            .filter(|finding| finding.state != FindingState::Ok)
            .map(|finding| (finding.state, finding.code))
            .collect();
        assert_eq!(
            failed,
            [(FindingState::Failed, Some(code::PARTIAL_IMAGE))],
            "{name}"
        );
    }
}

#[test]
fn privileges_are_read_from_the_grants() {
    let mut facts = good();
    facts.grants = vec!["GRANT SELECT ON *.* TO `repl`@`%`".to_owned()];
    assert_eq!(
        wrong(&facts),
        [
            (
                FindingState::Failed,
                "GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%'".to_owned()
            ),
            (
                FindingState::Warning,
                "GRANT REPLICATION CLIENT ON *.* TO 'repl'@'%'".to_owned()
            ),
        ]
    );
    // Of one database only, and a name within another: no privilege.
    facts.grants = vec!["GRANT ALL PRIVILEGES ON `shop`.* TO `repl`@`%`".to_owned()];
    assert!(!facts.has_privilege("REPLICATION SLAVE"));
    facts.grants = vec!["GRANT REPLICATION SLAVE ADMIN ON *.* TO `repl`@`%`".to_owned()];
    assert!(!facts.has_privilege("REPLICATION SLAVE"));
    facts.grants = vec!["GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION".to_owned()];
    assert!(facts.has_privilege("REPLICATION SLAVE"));
    assert_eq!(quote_account("o'neil@10.%"), "'o''neil'@'10.%'");
}

#[test]
fn a_server_id_in_use_is_found() {
    assert_eq!(wrong(&with("server_id", "900"))[0].0, FindingState::Failed);
    assert_eq!(wrong(&with("server_id", "0"))[0].0, FindingState::Failed);
    let mut facts = good();
    let host = "towpath:orders".to_owned();
    facts.replicas = Some(vec![Replica {
        server_id: 900,
        host,
        uuid: String::new(),
    }]);
    assert_eq!(wrong(&facts)[0].0, FindingState::Warning);
    facts.replicas = None;
    assert_eq!(wrong(&facts)[0].0, FindingState::Warning);
}

#[test]
fn an_account_that_may_not_ask_is_told_so_once() {
    let mut facts = good();
    facts.grants = vec!["GRANT REPLICATION CLIENT ON *.* TO `repl`@`%`".to_owned()];
    facts.replicas = None;
    let fix = "GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%'".to_owned();
    assert_eq!(wrong(&facts), [(FindingState::Failed, fix)]);
}

#[test]
fn a_position_must_lie_between_purged_and_executed() {
    let at = |set: &str| check_position(&set.parse().unwrap(), &good());
    assert!(at(&format!("{UUID}:1-10")).is_ok());
    assert!(at(&format!("{UUID}:1-100")).is_ok());
    let error = at(&format!("{UUID}:1-7")).unwrap_err();
    assert!(
        matches!(&error, SourceError::Purged { missing } if *missing == format!("{UUID}:8-10"))
    );
    let error = at(&format!("{UUID}:1-103")).unwrap_err();
    assert!(
        matches!(&error, SourceError::Diverged { extra } if *extra == format!("{UUID}:101-103"))
    );
    // Another server's transactions, which the source itself would accept silently.
    let other = "aaaaaaaa-71ca-11e1-9e33-c80aa9429562:1";
    assert!(matches!(
        at(&format!("{UUID}:1-50,{other}")),
        Err(SourceError::Diverged { .. })
    ));
}
