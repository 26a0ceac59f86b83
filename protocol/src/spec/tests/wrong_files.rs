//! Wrong pipeline files with the exact lines of their errors.

use super::{EXAMPLE, LEAST, least_with};

/// What is said of a `[ddl]` in which nothing is right.
const DDL_LINES: &[&str] = &[
    "9: ddl.default: \"aply\" is not one of apply, ignore, stop; did you mean \"apply\"?",
    "10: ddl.program: triggers, routines and events aren't run on a sink: what they do is in the \
     binlog as rows, and would be done twice; write program = \"ignore\" or program = \"stop\"",
    "11: ddl.other: what isn't understood can't be run exactly once; write other = \"stop\" or \
     other = \"ignore\"",
    "12: ddl.trigger: unknown key; valid keys are default, table_create, table_alter, table_drop, \
     table_rename, truncate, index, partition, database, view, program, other",
    "13: ddl.view: expected a string, found an integer; write view = \"apply\", \"ignore\" or \
     \"stop\"",
    "14: ddl.index: \"no\" is not one of apply, ignore, stop",
];

/// Each wrong file, and the lines of its error without the file's name.
pub(super) fn wrong_files() -> Vec<(String, &'static [&'static str])> {
    let url = r#"url = "mysql://u:hunter2@a""#;
    let tables = r#"tables = ["shop.*"]"#;
    let after = |key: &str, line: &str| least_with(key, &format!("{key}\n{line}"));
    vec![
        (
            String::new(),
            &[
                "1: name: missing; write name = \"orders\"",
                "1: source: missing; write a table [source] with url and tables",
                "1: sink: missing; write a table [[sink]] with name and url",
            ],
        ),
        (
            "x".into(),
            &[
                "1: not TOML: key with no value, expected `=`; correct this line",
            ],
        ),
        (
            "name = \"a\"\nname = \"b\"\n[source]\nurl = \"hunter2\"\nurl=1\n[source]\n[queue]\nx = hunter2".into(),
            &[
                "2: name: given twice; remove one of them",
                "5: source.url: given twice; remove one of them",
                "6: source: given twice; remove one of them",
                "8: queue.x: not TOML: string values must be quoted, expected literal string; \
                 correct this line",
            ],
        ),
        (
            EXAMPLE
                .replace("\"never\" ", "\"initial\"")
                .replace("\"now\" ", "\"earliest\""),
            &[
                "6: source.start: a first copy begins now; remove start, or write \
                 snapshot = \"never\"",
            ],
        ),
        (
            format!(
                "{LEAST}[ddl]\ndefault = \"aply\"\nprogram = \"apply\"\nother = \"apply\"\ntrigger = 1\nview = 2\nindex = \"no\""
            ),
            DDL_LINES,
        ),
        (
            after(tables, "tabels = 1"),
            &[
                "5: source.tabels: unknown key; did you mean \"tables\"?",
            ],
        ),
        (
            after(tables, "zzz = \"hunter2\""),
            &[
                "5: source.zzz: unknown key; valid keys are url, password, tls, tls_ca, \
                 tables, start, snapshot, server_id, heartbeat, datasource",
            ],
        ),
        (
            after(tables, "\"a b\" = \"hunter2\""),
            &[
                "5: source.\"a b\": unknown key; valid keys are url, password, tls, tls_ca, \
                 tables, start, snapshot, server_id, heartbeat, datasource",
            ],
        ),
        (
            after(tables, "table.x = \"hunter2\""),
            &[
                "5: source.table: unknown key; did you mean \"tables\"?",
            ],
        ),
        (
            format!(
                "{LEAST}[placement]\nlabels = [1]\nreplicas = 6\nfail_back = 1\nlabel.zone = 1\n\
                 [restart]\nmax = 101\nwindow = \"1s\"\n"
            ),
            &[
                "9: placement.labels: expected a table of strings, found an array; write labels = \
                 { zone = \"a\" }",
                "10: placement.replicas: 6 is out of bounds; give 1 to 5 (one has to run it; each \
                 standby keeps connections to source and sink open)",
                "11: placement.fail_back: expected true or false, found an integer; write \
                 fail_back = true or fail_back = false",
                "12: placement.label: unknown key; did you mean \"labels\"?",
                "14: restart.max: 101 is out of bounds; give 0 to 100 (each try is kept in the \
                 directory until it's out of the window)",
                "15: restart.window: \"1s\" is out of bounds; give 10s to 86400s (below, the \
                 tries never count; above, a failure of yesterday does)",
            ],
        ),
        (
            format!("{LEAST}[placement.labels]\nzone = 1\n"),
            &[
                "9: placement.labels.zone: expected a string, found an integer; write labels = { \
                 zone = \"a\" }",
            ],
        ),
        (
            least_with("[[sink]]", "[sinks]"),
            &[
                "1: sink: missing; write a table [[sink]] with name and url",
                "5: sinks: unknown key; did you mean \"sink\"?",
            ],
        ),
        (
            least_with("[[sink]]", "[sink]"),
            &[
                "5: sink: expected an array of tables, found a table; write a table [[sink]] \
                 with name and url",
            ],
        ),
        (
            least_with("[source]", "[[source]]"),
            &[
                "2: source: expected a table, found an array; write a table [source] with url \
                 and tables",
            ],
        ),
        (
            format!("{LEAST}[queue]\nkind = \"disk\"\nbytes_max = \"64MB\"\nx = 1"),
            &[
                "8: queue.path: missing; write path = \"/var/lib/towpath/queue\"",
                "10: queue.bytes_max: \"64MB\" is no size; write bytes_max = \"64MiB\" (units \
                 KiB, MiB, GiB)",
                "11: queue.x: unknown key; valid keys are kind, bytes_max, urls, tls_ca, path, \
                 retention_bytes, retention_age, segment_bytes, body_bytes, compression",
            ],
        ),
        (
            format!("{LEAST}[queue]\nkind = \"disk\"\npath = \"queue\"\nurls = [\"amqp://h\"]"),
            &[
                "10: queue.path: the folder must be absolute: which Core reads this isn't known \
                 here; write path = \"/var/lib/towpath/queue\"",
                "11: queue.urls: only with kind = \"rabbitmq\"; remove it, or change the kind",
            ],
        ),
        (
            format!(
                "{LEAST}[queue]\nkind = \"rabbitmq\"\nurls = [\"amqp:/u:s3cret@h\"]\n\
                 segment_bytes = \"2MiB\"\nretention_bytes = \"1MiB\"\npath = \"/q\""
            ),
            &[
                "10: queue.urls[1]: not the address of a broker; write \
                 \"amqp://user:${PASSWORD}@host:5672/vhost\" or \"amqps://…\", with what is \
                 special in it percent-encoded",
                "11: queue.segment_bytes: a segment is larger than retention_bytes, of which \
                 whole segments are dropped: lower it",
                "13: queue.path: only with kind = \"disk\"; remove it, or change the kind",
            ],
        ),
        (
            format!("{LEAST}[queue]\nkind = \"rabbitmq\"\nurls = [\"amqps://u@h\"]"),
            &[
                "10: queue.urls: [1] is encrypted, and nothing says whose certificate to trust; \
                 write tls_ca = \"ca.pem\"",
            ],
        ),
        (
            format!("{LEAST}[queue]\nkind = \"rabbitmq\"\nurls = []"),
            &["10: queue.urls: no broker; write urls = [\"amqp://user:${PASSWORD}@host:5672\"]"],
        ),
        (
            format!("{LEAST}[queue]\nretention_bytes = \"1GiB\""),
            &[
                "9: queue.retention_bytes: only with kind = \"disk\" or \"rabbitmq\"; remove \
                 it, or change the kind",
            ],
        ),
        (
            format!("{LEAST}[queue]\nkind = \"memry\"\nbytes_max = 1023"),
            &[
                "9: queue.kind: \"memry\" is not one of memory, disk, rabbitmq; did you mean \
                 \"memory\"?",
                "10: queue.bytes_max: 1023 is out of bounds; give 1MiB to 16GiB (below, the \
                 queue is too small for a few events; above, it takes a machine's memory)",
            ],
        ),
        (
            format!("{LEAST}[queue]\nkind = \"Kafka\"\nbytes_max = \"${{ROW}}\""),
            &[
                "9: queue.kind: \"Kafka\" is not one of memory, disk, rabbitmq",
                "10: queue.bytes_max: \"${ROW}\" is out of bounds; give 1MiB to 16GiB (below, \
                 the queue is too small for a few events; above, it takes a machine's memory)",
            ],
        ),
        (
            format!("{LEAST}[queue]\nkind = \"${{SECRET}}\"\nbytes_max = \"${{SECRET}}\""),
            &[
                "9: queue.kind: \"${SECRET}\" is not one of memory, disk, rabbitmq",
                "10: queue.bytes_max: \"${SECRET}\" is no size; write bytes_max = \"64MiB\" \
                 (units KiB, MiB, GiB)",
            ],
        ),
        (
            format!("{LEAST}[queue]\nbytes_max = -1"),
            &[
                "9: queue.bytes_max: -1 is out of bounds; give 1MiB to 16GiB (below, the queue \
                 is too small for a few events; above, it takes a machine's memory)",
            ],
        ),
        (
            format!("{LEAST}[queue]\nbytes_max = 1.5"),
            &[
                "9: queue.bytes_max: expected a string, found a float; write bytes_max = \
                 \"64MiB\" (units KiB, MiB, GiB)",
            ],
        ),
        (
            format!("{LEAST}[queue]\nbytes_max = \"17GiB\""),
            &[
                "9: queue.bytes_max: \"17GiB\" is out of bounds; give 1MiB to 16GiB (below, \
                 the queue is too small for a few events; above, it takes a machine's memory)",
            ],
        ),
        (
            format!("{LEAST}delivery = \"at-least-onse\""),
            &[
                "8: sink[1].delivery: \"at-least-onse\" is not one of exactly-once, at-least-once, \
                 at-most-once; did you mean \"at-least-once\"?",
            ],
        ),
        (
            format!("{LEAST}delivery = 1"),
            &[
                "8: sink[1].delivery: expected a string, found an integer; write delivery = \
                 \"exactly-once\"",
            ],
        ),
        (
            format!("{LEAST}[[sink]]\nname = \"s\"\nurl = \"mysql://u@c\""),
            &[
                "8: sink[2]: a queue in memory has one sink; write [queue] kind = \"rabbitmq\" or \
                 \"disk\", or a file per sink, \
                 each with a name of its own",
                "9: sink[2].name: another sink has this name; give each its own",
            ],
        ),
        (
            format!("{LEAST}[[sink]]\n"),
            &[
                "8: sink[2]: a queue in memory has one sink; write [queue] kind = \"rabbitmq\" or \
                 \"disk\", or a file per sink, \
                 each with a name of its own",
                "8: sink[2].name: missing; write name = \"replica\"",
                "8: sink[2].url: missing; write url = \"mysql://user:${PASSWORD}@host:3306\"",
            ],
        ),
        (
            least_with("mysql://u@b", "mysql://u@A:3306/"),
            &[
                "7: sink[1].url: the same server as the source: rows would be written to the \
                 tables they come from; give another server",
            ],
        ),
        (
            format!("{LEAST}[apply]\nbatch_rows_max = 0\nbatch_bytes_max = \"1KiB\"\nbatch_delay_ms_max = 1"),
            &[
                "9: apply.batch_rows_max: 0 is out of bounds; give 1 to 1000000 (above, the \
                 sink holds locks and undo for too long)",
                "10: apply.batch_bytes_max: \"1KiB\" is out of bounds; give 64KiB to 256MiB \
                 (below, commits cost more than rows; above, the sink holds locks and undo for \
                 too long)",
                "11: apply.batch_delay_ms_max: unknown key; valid keys are batch_rows_max, batch_bytes_max",
            ],
        ),
        (
            format!("{LEAST}[apply]\nbatch_bytes_max = \"128MiB\""),
            &[
                "9: apply.batch_bytes_max: 128MiB is more than the queue holds, 64MiB; lower \
                 it or raise queue.bytes_max",
            ],
        ),
        (
            format!("{LEAST}[[alert.hook]]\nname = \"h\"\nkind = \"mail\"\nurl = \"hunter2\"\n[[alert.hook]]\nname = \"h\"\n[alert.x]"),
            &[
                "10: alert.hook[1].kind: \"mail\" is not one of webhook, command, log",
                "11: alert.hook[1].url: neither http:// nor https://; write url = \
                 \"http://127.0.0.1:9000/alerts\"",
                "12: alert.hook[2].kind: missing; write kind = \"webhook\"",
                "12: alert.hook[2].url: missing; write url = \"http://127.0.0.1:9000/alerts\"",
                "13: alert.hook[2].name: another hook has this name; give each its own",
                "14: alert.x: unknown key; valid keys are hook, lag_max, stalled_after, \
                 not_running_after, no_standby_after",
            ],
        ),
        (
            after(tables, "start = \"gtid:x:1\""),
            &[
                "5: source.start: \"x\" is no server UUID; write 32 hexadecimal digits in \
                 groups of 8-4-4-4-12, as @@server_uuid prints it",
            ],
        ),
        (
            after(tables, "start = \"gtid:\""),
            &[
                "5: source.start: the GTID set is empty; write the transactions that the \
                 sink's data contain, or earliest to begin with the source's oldest binlog",
            ],
        ),
        (
            after(tables, "start = \"yesterday\""),
            &[
                "5: source.start: \"yesterday\" is no start; write now, earliest, gtid:<set>, \
                 <file>:<offset>, or a time like 2026-01-31T08:00:00Z",
            ],
        ),
        (
            after(tables, "start = 2026-01-01T00:00:00Z"),
            &[
                "5: source.start: expected a string, found a datetime; write start = \"now\", \
                 \"earliest\", \"gtid:<set>\", \"<file>:<offset>\" or \"<time with offset>\"",
            ],
        ),
        (
            after(tables, "start = \"gtid:${SECRET}\""),
            &[
                "5: source.start: \"gtid:${SECRET}\" is not valid once its variables are \
                 replaced; write start = \"now\", \"earliest\", \"gtid:<set>\", \
                 \"<file>:<offset>\" or \"<time with offset>\"",
            ],
        ),
        (
            after(tables, "start = \"b.000001:1\""),
            &[
                "5: source.start: \"1\" is no offset in a binlog file; write a number of \
                 bytes, 4 for the file's first event",
            ],
        ),
        (
            after(tables, "heartbeat = \"1\"\nserver_id = 0"),
            &[
                "5: source.heartbeat: \"1\" is no duration; write heartbeat = \"1s\"",
                "6: source.server_id: 0 is out of bounds; give 1 to 4294967295 (a server id \
                 has 32 bits and 0 can't replicate)",
            ],
        ),
        (
            after(tables, "heartbeat = 5\nserver_id = 4294967296"),
            &[
                "5: source.heartbeat: expected a string, found an integer; write heartbeat = \
                 \"1s\"",
                "6: source.server_id: 4294967296 is out of bounds; give 1 to 4294967295 (a \
                 server id has 32 bits and 0 can't replicate)",
            ],
        ),
        (
            after(tables, "heartbeat = \"10ms\"\nserver_id = \"7\""),
            &[
                "5: source.heartbeat: \"10ms\" is out of bounds; give 100ms to 60s (below, an \
                 idle source is kept busy; above, a dead one is noticed too late)",
                "6: source.server_id: expected an integer, found a string; write server_id = \
                 4711, or leave it out",
            ],
        ),
        (
            format!(
                "{}[snapshot]\ntables_at_once = 0\nallow_keyless = [\"!a.b\"]\n",
                after(tables, "snapshot = \"first\"")
            ),
            &[
                "5: source.snapshot: \"first\" is not one of initial, never, only",
                "10: snapshot.tables_at_once: 0 is out of bounds; give 1 to 16 (each takes a \
                 connection to the source, and memory for two chunks)",
                "11: snapshot.allow_keyless: no rule includes a table; add one without \"!\", as in \
                 \"shop.*\" or \"*.*\"",
            ],
        ),
        (
            least_with(tables, "tables = []"),
            &[
                "4: source.tables: no rule includes a table; add one without \"!\", as in \
                 \"shop.*\" or \"*.*\"",
            ],
        ),
        (
            least_with(tables, "tables = \"shop.*\""),
            &[
                "4: source.tables: expected an array of strings, found a string; write tables \
                 = [\"shop.*\"], or [\"*.*\"] for all",
            ],
        ),
        (
            least_with(tables, "tables = [\n\"shop.*\",\n1,\n\"shop\",\n]"),
            &[
                "6: source.tables[2]: expected a string, found an integer; write tables = \
                 [\"shop.*\"], or [\"*.*\"] for all",
                "7: source.tables[3]: \"shop\" is not database.table; write \"shop.*\" for \
                 every table of a database, or name the table after a dot",
            ],
        ),
        (
            least_with(tables, "tables = [\"!shop.*\"]"),
            &[
                "4: source.tables: no rule includes a table; add one without \"!\", as in \
                 \"shop.*\" or \"*.*\"",
            ],
        ),
        (
            least_with(url, "url = 5"),
            &[
                "3: source.url: expected a string, found an integer; write url = \
                 \"mysql://user:${PASSWORD}@host:3306\"",
            ],
        ),
        (
            least_with(url, "url = \"mysql://u:hunter2/@a\""),
            &[
                "3: source.url: no user before the first \"/\", \"?\" or \"#\"; percent-encode \
                 these in a password (%2F, %3F, %23), or write ${PASSWORD}, which needs no \
                 encoding",
            ],
        ),
        (
            least_with(url, "url = \"mysql://u:hunter2@a/hunter2\""),
            &[
                "3: source.url: a path after the host; remove it (which tables are taken is \
                 said by source.tables)",
            ],
        ),
        (
            least_with(url, "url = \"postgres://u:hunter2@a\""),
            &[
                "3: source.url: postgres:// is not in this version; write \
                 mysql://user:${PASSWORD}@host:3306",
            ],
        ),
        (
            least_with(url, "url = \"mysql://u:${NONE}@a\""),
            &[
                "3: source.url: environment variable NONE is not set; export it, or write $$ \
                 for a literal $",
            ],
        ),
        (
            least_with(url, "url = \"mysql://u:hunter2${@a\""),
            &[
                "3: source.url: \"${\" has no closing \"}\"; write ${NAME} for a variable, $$ \
                 for a literal $",
            ],
        ),
        (
            after(url, "password = \"hunter2\""),
            &[
                "4: source.password: given here and in url; remove one of them",
            ],
        ),
        (
            after(url, "password = 12345"),
            &[
                "4: source.password: expected a string, found an integer; write password = \
                 \"${PASSWORD}\" or password = \"file:/path\"",
                "4: source.password: given here and in url; remove one of them",
            ],
        ),
        (
            after(url, "tls = \"verify-ca\""),
            &[
                "4: source.tls: verify-ca needs the certificate authorities to trust; write \
                 tls_ca = \"ca.pem\"",
            ],
        ),
        (
            after(url, "tls = \"verify_ca\""),
            &[
                "4: source.tls: \"verify_ca\" is not one of disabled, preferred, required, \
                 verify-ca, verify-identity; did you mean \"verify-ca\"?",
            ],
        ),
        (
            after(url, "tls = \"required\"\ntls_ca = \"ca.pem\""),
            &[
                "4: source.tls: required verifies nothing, so the certificate authorities \
                 would not be looked at; choose verify-ca or verify-identity, or remove them",
            ],
        ),
        (
            least_with("mysql://u:hunter2@a", "mysql://u:hunter2@a/?ssl-mode=required\"\ntls = \"required"),
            &[
                "4: source.tls: given here and in url; remove one of them",
            ],
        ),
        (
            least_with("mysql://u@b", "mysql://u@b\"\npassword = \"file:/nonexistent/x"),
            &[
                "8: sink[1].password: can't take the secret from the file \"/nonexistent/x\" \
                 (No such file or directory (os error 2)); check its path, permissions and \
                 content",
            ],
        ),
        (
            least_with("mysql://u@b", "mysql://u@b\"\npassword = \"file:"),
            &[
                "8: sink[1].password: can't take the secret from the file \"\" (No such file \
                 or directory (os error 2)); check its path, permissions and content",
            ],
        ),
        (
            least_with("\"p\"", "\"Hunter2\""),
            &[
                "1: name: \"Hunter2\" is no name; use 1 to 64 lower-case letters, digits, \
                 \"-\" and \"_\", beginning with a letter or a digit",
            ],
        ),
        (
            least_with("\"p\"", "\"P${SECRET}\""),
            &[
                "1: name: \"P${SECRET}\" is not valid once its variables are replaced; write \
                 name = \"orders\"",
            ],
        ),
        (
            least_with("\"p\"", "hunter2"),
            &[
                "1: name: not TOML: string values must be quoted, expected literal string; \
                 correct this line",
            ],
        ),
        (
            least_with("\"shop.*\"]", "\"shop.*\""),
            &[
                "5: sink: not TOML: missing comma between array elements, expected `,`; \
                 correct this line",
            ],
        ),
        (
            least_with("@a\"", "@a"),
            &[
                "3: source.url: not TOML: invalid basic string, expected `\"`; correct this \
                 line",
            ],
        ),
    ]
}
