//! `[alert]`: hooks of each kind, bounds, and what a Monitor makes of a file that it can't use
//! whole.

use super::*;

const HOOKS: &str = r#"
[alert]
lag_max = "90s"
stalled_after = "2m"
not_running_after = "5s"
no_standby_after = "1m"

[[alert.hook]]
name = "oncall"
kind = "webhook"
url = "https://pager.example.net/${NAME}"
secret = "${SECRET}"
headers = ["Authorization: Bearer ${SECRET}", "X-Team:  db "]
body = '''{"key": "${NAME}$$", "summary": "{{ severity }}: {{text}}", "since": "{{since}}"}'''
tls_ca = "ca.pem"

[[alert.hook]]
name = "script"
kind = "command"
severity_min = "critical"
command = ["/bin/notify", "--token", "${SECRET}"]
timeout = "3s"

[[alert.hook]]
name = "journal"
kind = "log"
"#;

fn hooks_of(table: &str) -> String {
    refused(&format!("{LEAST}[[alert.hook]]\n{table}"))
}

#[test]
fn hooks_of_each_kind() {
    let alert = parse(&format!("{LEAST}{HOOKS}")).unwrap().alert;
    assert_eq!(
        (
            alert.lag_max_ms,
            alert.stalled_after_ms,
            alert.not_running_after_ms,
            alert.no_standby_after_ms
        ),
        (90_000, 120_000, 5000, 60_000)
    );
    let [oncall, script, journal] = &*alert.hooks else {
        panic!("{alert:?}");
    };
    let HookKind::Webhook(webhook) = &oncall.kind else {
        panic!("{oncall:?}");
    };
    assert_eq!(webhook.url.expose(), "https://pager.example.net/from-env");
    assert_eq!(webhook.secret, Some(Secret::new("tr0ub4dor")));
    assert_eq!(webhook.tls_ca, Some(PathBuf::from("ca.pem")));
    let headers: Vec<_> = webhook
        .headers
        .iter()
        .map(|header| (&*header.name, header.value.expose()))
        .collect();
    assert_eq!(
        headers,
        [("authorization", "Bearer tr0ub4dor"), ("x-team", "db")]
    );
    let body = webhook.body.as_ref().unwrap().render(|field| match field {
        BodyField::Severity => "warning".into(),
        BodyField::Text => "a \"b\"\n{{since}} ${SECRET}".into(),
        _ => "x".into(),
    });
    assert_eq!(
        body,
        r#"{"key": "from-env$", "summary": "warning: a \"b\"\n{{since}} ${SECRET}", "since": "x"}"#,
        "what an alert says is escaped, and not looked into again"
    );
    let HookKind::Command(command) = &script.kind else {
        panic!("{script:?}");
    };
    assert_eq!(
        (command.argv.len(), command.timeout_ms, &script.severity_min),
        (3, 3000, &Severity::Critical)
    );
    assert_eq!(
        (&journal.kind, journal.kind.name()),
        (&HookKind::Log, "log")
    );
    let shown = format!("{alert:?}");
    assert!(!shown.contains("tr0ub4dor"), "{shown}");
}

#[test]
fn wrong_hooks_are_told_what_to_do() {
    let name = "name = \"h\"\n";
    for (table, problem) in [
        (
            "kind = \"log\"\nurl = \"http://a\"",
            "11: alert.hook[1].url: a hook of kind \"log\" has no url; remove it, or choose \
             another kind",
        ),
        (
            "kind = \"webhook\"\nurl = \"http:///x\"",
            "11: alert.hook[1].url: it names no host; write url = \"http://127.0.0.1:9000/alerts\"",
        ),
        (
            "kind = \"webhook\"\nurl = \"http://u:hunter2@a\"",
            "11: alert.hook[1].url: a user and a password belong into headers (\"Authorization: \
             …\"); write url = \"http://127.0.0.1:9000/alerts\"",
        ),
        (
            "kind = \"webhook\"\nurl = \"http://a\"\nheaders = [\"hunter2\", \"Host: a\"]",
            "12: alert.hook[1].headers[1]: no header; write \"Name: value\" with printable \
             characters\npipeline.toml:12: alert.hook[1].headers[2]: this header is Towpath's \
             own; choose another name",
        ),
        (
            "kind = \"webhook\"\nurl = \"http://a\"\nbody = \"{{texts}} hunter2\"",
            "12: alert.hook[1].body: {{texts}} is nothing that an alert says; names are id, rule, \
             severity, state, subject, text, since, resolved, cluster, pipeline, code, notification, link",
        ),
        (
            "kind = \"webhook\"\nurl = \"http://a\"\nbody = \"{{text hunter2\"",
            "12: alert.hook[1].body: \"{{\" has no closing \"}}\"; write {{text}} for what an \
             alert says",
        ),
        (
            "kind = \"webhook\"\nurl = \"http://a\"\nsecret = \"\"",
            "12: alert.hook[1].secret: empty, so anybody could sign; give a secret, or remove the \
             key",
        ),
        (
            "kind = \"command\"",
            "8: alert.hook[1].command: missing; write command = [\"/usr/local/bin/notify\", \
             \"--urgent\"]",
        ),
        (
            "kind = \"command\"\ncommand = []\ntimeout = \"2m\"",
            "11: alert.hook[1].command: it names no program; write command = \
             [\"/usr/local/bin/notify\", \"--urgent\"]\npipeline.toml:12: alert.hook[1].timeout: \
             \"2m\" is out of bounds; give 1s to 60s (below, a program can't reach anything; \
             above, it holds up what comes after)",
        ),
        (
            "kind = \"log\"\nseverity_min = \"fatal\"",
            "11: alert.hook[1].severity_min: \"fatal\" is not one of info, warning, critical",
        ),
    ] {
        let said = hooks_of(&format!("{name}{table}"));
        assert_eq!(said, format!("pipeline.toml:{problem}"));
        assert!(!said.contains("hunter2"), "{said}");
    }
    let said = refused(&format!("{LEAST}[alert]\nlag_max = \"10ms\""));
    assert!(said.contains("give 1s to 86400s (below, every"), "{said}");
}

/// The Monitor has other variables than the Core, and one bad hook doesn't silence the others.
#[test]
fn a_monitor_takes_what_it_can_use() {
    let text = format!(
        "{LEAST}zzz = 1\n{}[[alert.hook]]\nname = \"broken\"\nkind = \"webhook\"\n\
         url = \"http://a/${{UNSET}}\"\n[[alert.hook]]\nkind = \"logg\"\n",
        HOOKS
    )
    .replace("hunter2", "${NOT_HERE_EITHER}");
    let reading = AlertSpec::read(&text, Path::new("orders"), &env);
    let names: Vec<_> = reading
        .spec
        .hooks
        .iter()
        .map(|hook| hook.name.as_str())
        .collect();
    assert_eq!(names, ["oncall", "script", "journal"]);
    assert_eq!(reading.spec.lag_max_ms, 90_000);
    let [broken, nameless] = &*reading.problems else {
        panic!("{:?}", reading.problems);
    };
    assert_eq!(broken.hook, Some(HookName::new("broken").unwrap()));
    assert!(
        broken
            .text
            .contains("environment variable UNSET is not set"),
        "{}",
        broken.text
    );
    assert_eq!(nameless.hook, None);
    assert!(nameless.text.contains("did you mean \"log\"?"));

    let reading = AlertSpec::read("x", Path::new("orders"), &env);
    assert_eq!(reading.spec, AlertSpec::default());
    assert!(reading.problems[0].text.contains("not TOML"));
    let reading = AlertSpec::read("alert = 1\nname = 7", Path::new("orders"), &env);
    assert_eq!(reading.problems.len(), 1, "{:?}", reading.problems);
    assert_eq!(
        AlertSpec::read(LEAST, Path::new("p"), &env),
        AlertReading::default()
    );
}

/// A Core needs no secret of a hook.
#[test]
fn a_core_leaves_hooks_out() {
    let text = format!("{LEAST}{HOOKS}").replace("${SECRET}", "${UNSET}");
    let path = Path::new("pipeline.toml");
    assert!(PipelineSpec::parse(&text, path, &env).is_err());
    let spec = PipelineSpec::parse_without_hooks(&text, path, &env).unwrap();
    assert_eq!((spec.alert.lag_max_ms, spec.alert.hooks.len()), (90_000, 0));
}

#[test]
fn a_file_of_hooks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hooks.toml");
    std::fs::write(&path, "[[alert.hook]]\nname = \"a\"\nkind = \"log\"\n").unwrap();
    assert_eq!(AlertSpec::load_hooks(&path, &env).unwrap().len(), 1);
    std::fs::write(&path, "name = \"x\"\n[alert]\nlag_max = \"1s\"\n").unwrap();
    let error = AlertSpec::load_hooks(&path, &env).unwrap_err();
    assert_eq!(error.problems().len(), 2, "{error}");
    let missing = directory.path().join("none.toml");
    assert!(matches!(
        AlertSpec::load_hooks(&missing, &env),
        Err(SpecError::Read { .. })
    ));
}
