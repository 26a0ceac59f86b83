//! Whole pipeline files: the complete example, defaults, every kind of problem with its exact
//! message, and secrets that stay secret.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::tree::record::Severity;

mod wrong_files;
mod alert;

use wrong_files::wrong_files;

const EXAMPLE: &str = r#"name = "orders"

[source]
url = "mysql://repl:${SOURCE_PASSWORD}@127.0.0.1:3306"
tables = ["shop.*", "!shop.audit_*"]   # globs over database.table; ! excludes
start = "now"                          # now | earliest | gtid:<set> | <file>:<pos> | <RFC 3339 time>
snapshot = "never"                     # initial | never | only

[queue]
kind = "memory"                        # memory | disk | rabbitmq
bytes_max = "64MiB"

[[sink]]
name = "replica"
url = "mysql://app:${TARGET_PASSWORD}@127.0.0.1:3307"
delivery = "exactly-once"              # exactly-once | at-least-once | at-most-once

[[alert.hook]]
name = "oncall"
kind = "webhook"
url = "http://127.0.0.1:9000/alerts"
"#;

/// The least that a file must say; cases add to it or change it.
const LEAST: &str = r#"name = "p"
[source]
url = "mysql://u:hunter2@a"
tables = ["shop.*"]
[[sink]]
name = "s"
url = "mysql://u@b"
"#;

/// What no error may say.
const SECRETS: [&str; 3] = ["hunter2", "tr0ub4dor", "correct-horse"];

fn env(name: &str) -> Option<String> {
    let value = match name {
        "SOURCE_PASSWORD" => "p@ss:w/rd#?%41\"\n${x}",
        "TARGET_PASSWORD" => "",
        "SECRET" => "tr0ub4dor",
        "NAME" => "from-env",
        "GTID" => "gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
        "ROW" => "512KiB",
        _ => return None,
    };
    Some(value.into())
}

fn parse(text: &str) -> Result<PipelineSpec, SpecError> {
    PipelineSpec::parse(text, Path::new("pipeline.toml"), &env)
}

fn refused(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

/// `LEAST` with one piece of text replaced by another.
fn least_with(from: &str, to: &str) -> String {
    assert_eq!(LEAST.matches(from).count(), 1, "{from:?}");
    LEAST.replace(from, to)
}

#[test]
fn every_problem_is_told_with_line_key_and_next_step() {
    for (text, problems) in wrong_files() {
        let lines: Vec<_> = problems
            .iter()
            .map(|line| format!("pipeline.toml:{line}"))
            .collect();
        assert_eq!(refused(&text), lines.join("\n"), "{text}");
    }
}

#[test]
fn no_error_tells_a_secret() {
    for (text, _) in wrong_files() {
        let error = parse(&text).unwrap_err();
        let shown = format!("{error} {error:?}");
        for secret in SECRETS {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn the_complete_example_parses() {
    let spec = parse(EXAMPLE).unwrap();
    let endpoint = |port, user: &str, password: &str| Endpoint {
        host: "127.0.0.1".into(),
        port,
        user: user.into(),
        password: Secret::new(password),
        tls: TlsMode::Preferred,
        tls_ca: None,
    };
    let expected = PipelineSpec {
        name: PipelineName::new("orders").unwrap(),
        source: SourceSpec {
            endpoint: endpoint(3306, "repl", "p@ss:w/rd#?%41\"\n${x}"),
            datasource: None,
            tables: TableFilter::parse(&["shop.*", "!shop.audit_*"]).unwrap(),
            start: StartAt::Now,
            snapshot: SnapshotMode::Never,
            server_id: None,
            heartbeat_ms: 1000,
        },
        queue: QueueSpec {
            kind: QueueKind::Memory,
            bytes_max: 64 << 20,
            log: LogSpec::default(),
        },
        sinks: vec![SinkSpec {
            name: SinkName::new("replica").unwrap(),
            endpoint: endpoint(3307, "app", ""),
            datasource: None,
            delivery: Delivery::ExactlyOnce,
        }],
        snapshot: SnapshotSpec::default(),
        apply: ApplySpec {
            batch_rows_max: 10_000,
            batch_bytes_max: 4 << 20,
        },
        ddl: DdlSpec::default(),
        alert: AlertSpec {
            hooks: vec![HookSpec {
                name: HookName::new("oncall").unwrap(),
                severity_min: Severity::Info,
                kind: HookKind::Webhook(Webhook {
                    url: Secret::new("http://127.0.0.1:9000/alerts"),
                    secret: None,
                    headers: vec![],
                    body: None,
                    tls_ca: None,
                }),
            }],
            ..AlertSpec::default()
        },
        placement: PlacementSpec {
            labels: Default::default(),
            replicas: 2,
            fail_back: false,
        },
        restart: RestartSpec {
            max: 5,
            window_ms: 600_000,
        },
        limits: LimitsSpec::default(),
    };
    assert_eq!(spec, expected);
}

#[test]
fn a_spec_shows_no_secret() {
    let text = EXAMPLE
        .replace("${TARGET_PASSWORD}", "${SECRET}")
        .replace("/alerts", "/hunter2");
    let spec = parse(&text).unwrap();
    let shown = format!("{spec:?} {:#?} {}", spec, spec.sinks[0].endpoint);
    for secret in SECRETS.into_iter().chain(["p@ss"]) {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert_eq!(spec.sinks[0].endpoint.to_string(), "app@127.0.0.1:3307");
    assert_eq!(spec.sinks[0].endpoint.password.to_string(), "***");
}

#[test]
fn keys_that_are_left_out_have_defaults() {
    let spec = parse(LEAST).unwrap();
    assert_eq!(
        (spec.queue.kind, spec.queue.bytes_max),
        (QueueKind::Memory, 64 << 20)
    );
    assert_eq!(
        (spec.source.start, spec.source.snapshot),
        (StartAt::Now, SnapshotMode::Never)
    );
    assert_eq!(
        (spec.source.endpoint.port, spec.source.endpoint.tls),
        (3306, TlsMode::Preferred)
    );
    assert_eq!(
        (spec.source.server_id, spec.source.heartbeat_ms),
        (None, 1000)
    );
    assert_eq!(spec.sinks[0].delivery, Delivery::ExactlyOnce);
    assert_eq!(spec.sinks[0].endpoint.password, Secret::default());
    assert_eq!(spec.alert, AlertSpec::default());
}

#[test]
fn keys_that_are_given_count() {
    let text = least_with(
        "tables = [\"shop.*\"]",
        "tables = [\"${NAME}.*\"]\nstart = \"${GTID}:9\"\nserver_id = 0x11\nheartbeat = \"500ms\"\n\
         tls = \"required\"",
    );
    let text = format!(
        "{text}password = \"$$${{SECRET}}\"\ntls_ca = \"certs/ca.pem\"\n\
         [queue]\nbytes_max = 1048576\n[apply]\nbatch_rows_max = 7\n",
    );
    let path = Path::new("/etc/towpath/p.toml");
    let spec = PipelineSpec::parse(&text, path, &env).unwrap();
    assert!(spec.source.tables.matches("from-env", "t"));
    let start = "gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:9";
    assert_eq!(spec.source.start.to_string(), start);
    assert_eq!(
        (spec.source.server_id, spec.source.heartbeat_ms),
        (Some(17), 500)
    );
    assert_eq!(spec.source.endpoint.tls, TlsMode::Required);
    let sink = &spec.sinks[0].endpoint;
    assert_eq!(sink.password.expose(), "$tr0ub4dor");
    assert_eq!(
        sink.tls,
        TlsMode::VerifyCa,
        "authorities are there to be used"
    );
    assert_eq!(
        sink.tls_ca,
        Some(PathBuf::from("/etc/towpath/certs/ca.pem"))
    );
    let apply = ApplySpec {
        batch_rows_max: 7,
        batch_bytes_max: 1 << 20,
    };
    assert_eq!(spec.apply, apply, "a batch is no larger than the queue");
}

#[test]
fn rules_for_schema_changes_are_read() {
    let text =
        format!("{LEAST}[ddl]\ndefault = \"stop\"\nview = \"ignore\"\ntable_create = \"apply\"\n");
    let ddl = parse(&text).unwrap().ddl;
    for (class, rule) in [
        (DdlClass::View, DdlRule::Ignore),
        (DdlClass::TableCreate, DdlRule::Apply),
        (DdlClass::Truncate, DdlRule::Stop),
        (DdlClass::Program, DdlRule::Ignore),
        (DdlClass::Other, DdlRule::Stop),
    ] {
        assert_eq!(ddl.rule(class), rule, "{class:?}");
    }
}

#[test]
fn how_the_first_copy_goes_is_read() {
    let text = least_with("tables = [", "snapshot = \"initial\"\ntables = [");
    let spec = parse(&text).unwrap();
    assert_eq!(
        (spec.source.snapshot, spec.source.start, spec.snapshot),
        (SnapshotMode::Initial, StartAt::Now, SnapshotSpec::default())
    );
    let text = format!(
        "{text}[snapshot]\ntables_at_once = 3\nchunk_time = \"1s\"\nrows_per_second_max = 500\n\
         lag_max = \"5s\"\nallow_keyless = [\"shop.log\"]\n"
    );
    let expected = SnapshotSpec {
        tables_at_once: 3,
        chunk_ms: 1000,
        rows_per_second_max: Some(500),
        lag_max_ms: 5000,
        allow_keyless: Some(TableFilter::parse(&["shop.log"]).unwrap()),
    };
    assert_eq!(parse(&text).unwrap().snapshot, expected);
}

#[test]
fn placement_and_restarts_are_read() {
    let text = format!(
        "{LEAST}[placement]\nlabels = {{ zone = \"a\", \"disk type\" = \"ssd\" }}\nreplicas = 1\n\
         fail_back = true\n[restart]\nmax = 0\nwindow = \"1h\"\n"
    );
    let spec = parse(&text).unwrap();
    let labels = [("disk type", "ssd"), ("zone", "a")];
    let placement = PlacementSpec {
        labels: labels.map(|(k, v)| (k.into(), v.into())).into(),
        replicas: 1,
        fail_back: true,
    };
    assert_eq!(spec.placement, placement);
    let restart = RestartSpec {
        max: 0,
        window_ms: 3_600_000,
    };
    assert_eq!(spec.restart, restart);
}

#[test]
fn a_server_reads_a_file_without_its_secrets() {
    let text = EXAMPLE
        .replace("\"shop.*\"", "\"${RULE}\"")
        .replace(
            "start = \"now\"  ",
            "start = \"${START}\"\nheartbeat = \"${BEAT}\"",
        )
        .replace(
            "@127.0.0.1:3307\"",
            "@${SINK_HOST}:${SINK_PORT}\"\ntls = \"${TLS}\"",
        )
        .replace("http://127.0.0.1:9000/alerts", "${HOOK}");
    let spec = PipelineSpec::parse_without_secrets(&text, "orders").unwrap();
    assert_eq!(spec.name.as_str(), "orders");
    assert_eq!(spec.sinks[0].name.as_str(), "replica");
    let text = format!("{LEAST}password = \"file:nowhere/${{SECRET}}\"\n");
    assert!(PipelineSpec::parse_without_secrets(&text, "orders").is_ok());

    let hooks = format!(
        "{LEAST}[[alert.hook]]\nname = \"a\"\nkind = \"webhook\"\nurl = \"${{HOOK}}\"\nsecret = \"${{S}}\"\n\
         headers = [\"${{HEADER}}\"]\n[[alert.hook]]\nname = \"b\"\nkind = \"command\"\ncommand = [\"${{PROGRAM}}\"]\n"
    );
    PipelineSpec::parse_without_secrets(&hooks, "orders").unwrap();

    let whole = least_with("\"mysql://u:hunter2@a\"", "\"${URL}\"");
    assert!(PipelineSpec::parse_without_secrets(&whole, "orders").is_ok());

    for (text, line) in [
        (
            least_with("\"p\"", "\"${NAME}\""),
            "orders:1: name: \"${NAME}\" can't be known to the Servers, which don't have the \
             variable; write it out",
        ),
        (
            format!("{LEAST}[placement]\nlabels.zone = \"${{ZONE}}\"\n"),
            "orders:9: placement.labels.zone: can't be known to the Servers, which don't have the \
             variable; write it out",
        ),
        (
            format!("{LEAST}[restart]\nwindow = \"${{WINDOW}}\"\n"),
            "orders:9: restart.window: \"${WINDOW}\" can't be known to the Servers, which don't \
             have the variable; write it out",
        ),
        (
            least_with("[\"shop.*\"]", "[\"shop.*\", \"x\"]\nstart = \"soon\""),
            "orders:5: source.start: \"soon\" is no start; write now, earliest, gtid:<set>, \
             <file>:<offset>, or a time like 2026-01-31T08:00:00Z",
        ),
        (
            least_with("\"mysql://u@b\"", "\"mysql://u:${SINK}@a\""),
            "orders:7: sink[1].url: the same server as the source: rows would be written to the \
             tables they come from; give another server",
        ),
    ] {
        let error = PipelineSpec::parse_without_secrets(&text, "orders").unwrap_err();
        let shown = error.to_string();
        assert!(shown.lines().any(|shown| shown == line), "{shown}");
    }
}

#[test]
fn secrets_come_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes);
    let path = directory.path().join("pipeline.toml");
    for (bytes, password) in [
        ("correct-horse", Some("correct-horse")),
        ("correct-horse\n", Some("correct-horse")),
        ("correct-horse\r\n", Some("correct-horse")),
        ("correct-horse\n\n", Some("correct-horse\n")),
        (" file:${x}$$ ", Some(" file:${x}$$ ")),
        ("\n", None),
        ("", None),
        (&"correct-horse".repeat(10_000), None),
    ] {
        write("from-env.txt", bytes.as_bytes()).unwrap();
        let text = format!("{LEAST}password = \"file:${{NAME}}.txt\"\n");
        write("pipeline.toml", text.as_bytes()).unwrap();
        match (PipelineSpec::parse(&text, &path, &env), password) {
            (Ok(spec), Some(password)) => {
                assert_eq!(spec.sinks[0].endpoint.password.expose(), password);
            }
            (Err(error), None) => {
                let (shown, key) = (format!("{error} {error:?}"), ":8: sink[1].password: ");
                assert!(
                    shown.contains(key) && shown.contains("${NAME}.txt"),
                    "{shown}"
                );
                assert!(
                    !shown.contains("horse") && !shown.contains("from-env"),
                    "{shown}"
                );
            }
            (found, _) => panic!("{bytes:?}: {found:?}"),
        }
    }
    write("from-env.txt", b"\xff").unwrap();
    let text = format!("{LEAST}password = \"file:from-env.txt\"\n");
    assert!(PipelineSpec::parse(&text, &path, &env).is_err());
}

#[test]
fn a_file_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipeline.toml");
    let error = PipelineSpec::load(&path).unwrap_err();
    assert!(matches!(error, SpecError::Read { .. }) && error.problems().is_empty());
    assert!(
        error.to_string().starts_with(path.to_str().unwrap()),
        "{error}"
    );

    std::fs::write(&path, LEAST).unwrap();
    assert_eq!(PipelineSpec::load(&path).unwrap(), parse(LEAST).unwrap());

    std::fs::write(&path, "#".repeat(FILE_BYTES_MAX as usize + 1)).unwrap();
    assert!(matches!(
        PipelineSpec::load(&path),
        Err(SpecError::Read { .. })
    ));
}

#[test]
fn control_characters_of_a_file_are_escaped_in_errors() {
    let text = least_with("\"p\"", "\"\\u001b[31m\"");
    assert!(!refused(&text).contains('\u{1b}'));
}

proptest! {
    #[test]
    fn damaged_files_never_panic(
        from in any::<prop::sample::Index>(), length in 0..40_usize,
        insert in "[\\[\\]{}=\"'#.,$a-z0-9:/@\n é-]{0,12}",
    ) {
        let chars: Vec<char> = EXAMPLE.chars().collect();
        let from = from.index(chars.len());
        let to = (from + length).min(chars.len());
        let text: String =
            chars[..from].iter().copied().chain(insert.chars()).chain(chars[to..].iter().copied()).collect();
        if let Err(error) = parse(&text) {
            prop_assert!(!error.problems().is_empty());
            for problem in error.problems() {
                prop_assert!((1..=text.lines().count() + 1).contains(&problem.line));
                prop_assert!(!problem.message.is_empty());
            }
        }
    }
}
