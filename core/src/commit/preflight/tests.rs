//! Every precondition of a sink, without one.

use towpath_protocol::spec::{DdlClass, DdlRule, DdlSpec};

use super::*;

const UUID: &str = "aaaaaaaa-71ca-11e1-9e33-c80aa9429562";
const SOURCE: SourceTraits<'_> = SourceTraits {
    server_uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562",
    max_allowed_packet: 64 << 20,
    lower_case_table_names: "0",
};

fn good() -> SinkFacts {
    let variables = [
        ("version", "9.7.4"),
        ("server_uuid", UUID),
        ("log_bin", "ON"),
        ("binlog_format", "ROW"),
        ("gtid_mode", "ON"),
        ("read_only", "OFF"),
        ("super_read_only", "OFF"),
        ("max_allowed_packet", "67108864"),
        ("default_storage_engine", "InnoDB"),
        ("lower_case_table_names", "0"),
    ];
    let grants = [
        "GRANT SESSION_VARIABLES_ADMIN ON *.* TO `app`@`%`",
        "GRANT SELECT, INSERT, UPDATE, CREATE ON `towpath`.* TO `app`@`%`",
        "GRANT ALL PRIVILEGES ON `shop`.* TO `app`@`%`",
    ];
    SinkFacts {
        variables: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        account: "'app'@'%'".to_owned(),
        grants: Grants::parse(&grants, false),
        offset: Offset::Absent,
    }
}

fn with(changes: &[(&str, &str)]) -> SinkFacts {
    let mut facts = good();
    let changes = changes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    facts.variables.extend(changes);
    facts
}

fn needs() -> Needs<'static> {
    Needs {
        databases: ["shop"].into(),
        tables: [("shop", "orders")].into(),
        source: Some(SOURCE),
        ddl: DdlSpec::default(),
    }
}

#[test]
fn rules_for_ddl_are_told_and_spare_its_privileges() {
    let facts = with(&[]);
    let told = |ddl: DdlSpec| {
        let findings = facts.findings(&Needs { ddl, ..needs() });
        let all: Vec<_> = findings
            .iter()
            .map(|finding| format!("{}: {}", finding.what, finding.found))
            .collect();
        all.join("\n")
    };
    let told_of_default = told(DdlSpec::default());
    assert!(told_of_default.contains("change tables") && !told_of_default.contains("[ddl]"));
    let one = told(DdlSpec::default().with(DdlClass::Truncate, DdlRule::Stop));
    assert!(one.contains("([ddl]): truncate = stop"), "{one}");
    let none = told(DdlSpec::default().with_default(DdlRule::Ignore));
    assert!(!none.contains("change tables"), "{none}");
    assert!(none.contains("table_create = ignore, "), "{none}");
}

/// The findings that are not right, as state and fix.
fn wrong(facts: &SinkFacts) -> Vec<(FindingState, String)> {
    let all = facts.findings(&needs()).into_iter();
    let wrong = all.filter(|finding| finding.state != FindingState::Ok);
    let fix = |fix: Option<Fix>| fix.map(|fix| fix.to_string()).unwrap_or_default();
    wrong
        .map(|finding| (finding.state, fix(finding.fix)))
        .collect()
}

#[test]
fn a_good_sink_has_nothing_to_mend() {
    assert_eq!(wrong(&good()), []);
}

#[test]
fn each_setting_is_found_with_the_statement_that_mends_it() {
    use FindingState::{Failed, Warning};
    for (changes, state, fix) in [
        (
            &[("read_only", "ON")][..],
            Failed,
            "SET PERSIST read_only = OFF;",
        ),
        (
            &[("read_only", "ON"), ("super_read_only", "ON")],
            Failed,
            "SET PERSIST super_read_only = OFF; SET PERSIST read_only = OFF;",
        ),
        (
            &[("max_allowed_packet", "1048576")],
            Warning,
            "SET PERSIST max_allowed_packet = 67108864;",
        ),
        (
            &[("binlog_format", "STATEMENT")],
            Failed,
            "SET PERSIST binlog_format = 'ROW';",
        ),
        (
            &[("gtid_mode", "ON_PERMISSIVE")],
            Warning,
            "SET PERSIST enforce_gtid_consistency = ON; SET PERSIST gtid_mode = ON;",
        ),
        (
            &[("default_storage_engine", "MyISAM")],
            Warning,
            "SET PERSIST default_storage_engine = 'InnoDB';",
        ),
        (
            &[("server_uuid", SOURCE.server_uuid)],
            Failed,
            "correct the url of [source] or of [[sink]]",
        ),
    ] {
        assert_eq!(
            wrong(&with(changes)),
            [(state, fix.to_owned())],
            "{changes:?}"
        );
    }
    assert_eq!(wrong(&with(&[("log_bin", "OFF")]))[0].0, Warning);
    assert_eq!(
        wrong(&with(&[("lower_case_table_names", "1")]))[0].0,
        Warning
    );
    assert_eq!(wrong(&with(&[("version", "5.7.44-log")]))[0].0, Warning);
}

#[test]
fn a_read_only_sink_takes_writes_of_an_exempt_account() {
    let mut facts = with(&[("read_only", "ON")]);
    facts.grants = Grants::parse(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`%`"], false);
    assert_eq!(wrong(&facts), []);
    facts
        .variables
        .insert("super_read_only".to_owned(), "ON".to_owned());
    assert_eq!(wrong(&facts)[0].0, FindingState::Failed);
}

#[test]
fn mariadb_has_other_words_and_no_gtids_for_ddl() {
    let facts = with(&[
        ("version", "11.4.2-MariaDB-log"),
        ("gtid_mode", ""),
        ("server_uuid", ""),
    ]);
    assert_eq!(wrong(&facts), []);
    assert!(facts.findings(&needs())[0].found.contains("without GTIDs"));
    let facts = with(&[
        ("version", "11.4.2-MariaDB-log"),
        ("binlog_format", "STATEMENT"),
    ]);
    assert_eq!(wrong(&facts)[0].1, "SET GLOBAL binlog_format = 'ROW';");
}

#[test]
fn missing_privileges_are_named_with_their_grant() {
    let mut facts = good();
    facts.grants = Grants::parse(&["GRANT SELECT ON `shop`.* TO `app`@`%`"], false);
    let grant = |list: &str| format!("GRANT {list} TO 'app'@'%';");
    assert_eq!(
        wrong(&facts),
        [
            (
                FindingState::Failed,
                grant("SELECT, INSERT, UPDATE, CREATE ON `towpath`.*")
            ),
            (
                FindingState::Failed,
                grant("INSERT, UPDATE, DELETE ON `shop`.*")
            ),
            (
                FindingState::Warning,
                grant("CREATE, ALTER, DROP, INDEX ON `shop`.*")
            ),
            (
                FindingState::Warning,
                grant("SESSION_VARIABLES_ADMIN ON *.*")
            ),
        ]
    );
    let lines = [
        "GRANT REPLICATION_APPLIER ON *.* TO `app`@`%`",
        "GRANT ALL PRIVILEGES ON `towpath`.* TO `app`@`%`",
        "GRANT ALL PRIVILEGES ON `shop`.`orders` TO `app`@`%`",
    ];
    facts.grants = Grants::parse(&lines, false);
    assert_eq!(
        wrong(&facts),
        [(
            FindingState::Warning,
            grant("SESSION_VARIABLES_ADMIN ON *.*")
        )]
    );
}

#[test]
fn with_the_tables_there_nothing_need_be_created() {
    let mut facts = good();
    facts.offset = Offset::Stored(Box::default());
    let lines = [
        "GRANT SESSION_VARIABLES_ADMIN ON *.* TO `app`@`%`",
        "GRANT SELECT, INSERT, UPDATE ON `towpath`.* TO `app`@`%`",
        "GRANT ALL PRIVILEGES ON `shop`.* TO `app`@`%`",
    ];
    facts.grants = Grants::parse(&lines, false);
    assert_eq!(wrong(&facts), []);
    facts.offset = Offset::Absent;
    assert_eq!(
        wrong(&facts),
        [(
            FindingState::Failed,
            "GRANT CREATE ON `towpath`.* TO 'app'@'%';".to_owned()
        )]
    );
}

#[test]
fn a_process_of_another_user_can_be_ended_only_by_an_administrator() {
    let mut facts = good();
    let holder = |is_other_user| {
        Some(Holder {
            connection_id: 7,
            is_other_user,
        })
    };
    let stored = StoredOffset {
        holder: holder(false),
        ..StoredOffset::default()
    };
    facts.offset = Offset::Stored(Box::new(stored.clone()));
    assert_eq!(wrong(&facts), []);
    facts.offset = Offset::Stored(Box::new(StoredOffset {
        holder: holder(true),
        ..stored
    }));
    assert_eq!(
        wrong(&facts),
        [(
            FindingState::Warning,
            "GRANT CONNECTION_ADMIN ON *.* TO 'app'@'%';".to_owned()
        )]
    );
}
