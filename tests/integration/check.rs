//! `towpath check` against real servers: every finding with its exact fix, and the fix run.
//!
//! Both tests use one pair of servers each, since settings can be changed while they run.

#![allow(clippy::indexing_slicing, reason = "in tests a panic is the report")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use towpath_testing::{MysqlServer, TowpathProcess, caught_up, gtid_executed, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);

/// The tables of both servers, as a good operator would have made them.
const SCHEMA: &str = "\
    CREATE DATABASE shop; \
    CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(200), amount DECIMAL(12,2)); \
    CREATE TABLE shop.items (id INT PRIMARY KEY, state ENUM('new','sent') NOT NULL)";

/// A finding of `--json`.
#[derive(Clone, Debug)]
struct Found {
    what: String,
    state: String,
    found: String,
    fix: String,
    code: String,
}

/// A source, a sink, and a pipeline file between them.
struct Pair {
    source: MysqlServer,
    sink: MysqlServer,
    at_source: Conn,
    at_sink: Conn,
    file: PathBuf,
}

impl Pair {
    async fn start(name: &str) -> Result<Self> {
        let (source, sink) = tokio::try_join!(
            MysqlServer::builder().server_id(1).start(),
            MysqlServer::builder().server_id(2).start(),
        )?;
        let (mut at_source, mut at_sink) = (source.conn().await?, sink.conn().await?);
        at_source.query_drop(SCHEMA).await?;
        at_sink.query_drop(SCHEMA).await?;
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("check-{name}-{}.toml", source.port()));
        let pair = Self {
            source,
            sink,
            at_source,
            at_sink,
            file,
        };
        pair.write(&pair.source.url("repl"), &pair.sink.url("app"), "now")?;
        Ok(pair)
    }

    /// Writes the pipeline file.
    fn write(&self, source: &str, sink: &str, start: &str) -> Result<()> {
        let text = format!(
            "name = \"orders\"\n[source]\nurl = \"{source}\"\ntables = [\"shop.*\"]\n\
             start = \"{start}\"\n[[sink]]\nname = \"replica\"\nurl = \"{sink}\"\n"
        );
        std::fs::write(&self.file, text)?;
        Ok(())
    }

    /// The pipeline file as it was at first.
    fn write_good(&self) -> Result<()> {
        self.write(&self.source.url("repl"), &self.sink.url("app"), "now")
    }

    async fn towpath(&self, arguments: &[&str]) -> Result<(Option<i32>, Vec<String>, Vec<String>)> {
        let process = TowpathProcess::builder()
            .program(env!("CARGO_BIN_EXE_towpath"))
            .args(arguments)
            .arg(&self.file)
            .spawn()?;
        let status = process.wait_exit(TIMEOUT).await?;
        Ok((status.code(), process.stdout(), process.stderr()))
    }

    /// The findings as programs see them. The exit code must agree with them.
    async fn check(&self) -> Result<Vec<Found>> {
        let (code, stdout, stderr) = self.towpath(&["check", "--json"]).await?;
        let all = stdout.concat();
        let report: serde_json::Value = serde_json::from_str(&all)
            .with_context(|| format!("no JSON: {all}\n{}", stderr.join("\n")))?;
        let text = |finding: &serde_json::Value, key: &str| {
            finding[key].as_str().unwrap_or_default().to_owned()
        };
        let findings: Vec<Found> = report["findings"]
            .as_array()
            .context("no findings")?
            .iter()
            .map(|finding| Found {
                what: text(finding, "what"),
                state: text(finding, "state"),
                found: text(finding, "found"),
                fix: text(finding, "fix"),
                code: text(finding, "code"),
            })
            .collect();
        let ready = findings.iter().all(|finding| finding.state != "failed");
        assert_eq!(report["ready"], ready);
        assert_eq!(code, Some(i32::from(!ready)), "{all}");
        assert!(
            findings
                .iter()
                .all(|finding| (finding.state == "ok") == finding.fix.is_empty())
        );
        // What a run would end with has the same code here; what is well has none.
        for finding in &findings {
            match finding.state.as_str() {
                "failed" => assert!(finding.code.starts_with("TP"), "{finding:#?}"),
                "ok" => assert_eq!(finding.code, "", "{finding:#?}"),
                _ => {}
            }
        }
        Ok(findings)
    }

    /// The findings that are not ok, as `state what: found | fix`.
    async fn wrong(&self) -> Result<Vec<String>> {
        let wrong = self
            .check()
            .await?
            .into_iter()
            .filter(|finding| finding.state != "ok");
        Ok(wrong
            .map(
                |Found {
                     what,
                     state,
                     found,
                     fix,
                     ..
                 }| format!("{state} {what}: {found} | {fix}"),
            )
            .collect())
    }

    /// The one finding about `what`.
    async fn find(&self, what: &str) -> Result<Found> {
        let all = self.check().await?;
        let mut hits = all.iter().filter(|finding| finding.what.contains(what));
        let hit = hits
            .next()
            .with_context(|| format!("nothing about {what:?} in {all:#?}"))?;
        assert!(hits.next().is_none(), "several about {what:?} in {all:#?}");
        Ok(hit.clone())
    }

    /// Whether nothing is wrong about `what`, be it that nothing is said of it any more.
    async fn is_well(&self, what: &str) -> Result<bool> {
        let all = self.check().await?;
        Ok(all
            .iter()
            .all(|finding| !finding.what.contains(what) || finding.state == "ok"))
    }

    /// Sees that `break_it` leads to a finding with exactly this fix, runs the fix on that server,
    /// and sees that all is well again.
    async fn mend(
        &mut self,
        side: Side,
        break_it: &str,
        what: &str,
        state: &str,
        fix: &str,
    ) -> Result<()> {
        let context = || format!("after {break_it}");
        self.conn(side)
            .query_drop(break_it)
            .await
            .with_context(context)?;
        let finding = self.find(what).await?;
        assert_eq!(
            (finding.state.as_str(), finding.fix.as_str()),
            (state, fix),
            "{break_it}"
        );
        self.conn(side)
            .query_drop(fix)
            .await
            .with_context(|| format!("the fix {fix}"))?;
        assert!(
            self.is_well(what).await?,
            "{what} after {fix}: {:#?}",
            self.wrong().await?
        );
        Ok(())
    }

    fn conn(&mut self, side: Side) -> &mut Conn {
        match side {
            Side::Source => &mut self.at_source,
            Side::Sink => &mut self.at_sink,
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Source,
    Sink,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_precondition_of_a_source_is_found_and_mended() -> Result<()> {
    let mut pair = Pair::start("source").await?;

    all_right(&mut pair).await?;
    wrong_file(&pair).await?;
    logins(&pair).await?;
    settings_of_the_source(&mut pair).await?;
    first_copy(&mut pair).await?;
    tables_of_the_source(&mut pair).await?;
    purged_start(&mut pair).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_precondition_of_a_sink_is_found_and_mended() -> Result<()> {
    let mut pair = Pair::start("sink").await?;

    settings_of_the_sink(&mut pair).await?;
    privileges_of_the_sink(&mut pair).await?;
    tables_of_the_sink(&mut pair).await?;
    sink_is_the_source(&pair).await?;
    stored_place(&mut pair).await
}

async fn all_right(pair: &mut Pair) -> Result<()> {
    let before = (
        gtid_executed(&mut pair.at_source).await?,
        gtid_executed(&mut pair.at_sink).await?,
    );
    assert_eq!(pair.wrong().await?, Vec::<String>::new());
    let (code, stdout, stderr) = pair.towpath(&["check"]).await?;
    assert_eq!(code, Some(0), "{stderr:?}");
    let closing = format!("ready: towpath run {}", pair.file.display());
    assert_eq!(stdout.last(), Some(&closing), "{stdout:#?}");
    let groups: Vec<&str> = stdout
        .iter()
        .map(String::as_str)
        .filter(|line| !line.starts_with([' ', 'r']))
        .collect();
    let source = format!("source 127.0.0.1:{}", pair.source.port());
    let sink = format!("sink replica 127.0.0.1:{}", pair.sink.port());
    assert_eq!(groups, ["pipeline file", "", &source, "", &sink, ""]);
    assert!(
        stdout
            .iter()
            .any(|line| line == "  ok    changes are logged as rows (binlog_format = ROW)")
    );

    // Nothing was changed by it.
    let after = (
        gtid_executed(&mut pair.at_source).await?,
        gtid_executed(&mut pair.at_sink).await?,
    );
    assert_eq!(before, after);
    let schema: Option<u8> = pair
        .at_sink
        .query_first("SELECT 1 FROM information_schema.schemata WHERE schema_name = 'towpath'")
        .await?;
    assert_eq!(schema, None);
    Ok(())
}

async fn wrong_file(pair: &Pair) -> Result<()> {
    pair.write(
        "mysql://repl:${NO_SUCH_VARIABLE}@127.0.0.1",
        &pair.sink.url("app"),
        "yesterday",
    )?;
    let (code, stdout, stderr) = pair.towpath(&["check"]).await?;
    assert_eq!((code, stdout), (Some(1), Vec::new()));
    let of_file = format!("{}:", pair.file.display());
    assert_eq!(
        stderr.iter().filter(|line| line.contains(&of_file)).count(),
        2,
        "{stderr:#?}"
    );
    let findings = pair.check().await?;
    assert_eq!(findings.len(), 2);
    assert!(findings[1].found.contains("yesterday"), "{findings:#?}");
    pair.write_good()
}

/// Wrong passwords at both servers: two findings, and nothing is guessed about the rest.
async fn logins(pair: &Pair) -> Result<()> {
    let wrong = |url: String, user: &str| url.replace(&format!(":{user}@"), ":Tr0ub4dor@");
    let source = wrong(pair.source.url("repl"), "repl");
    let sink = wrong(pair.sink.url("app"), "app");
    pair.write(&source, &sink, "now")?;
    let denied = |user: &str, section: &str| {
        format!(
            "failed {user} can log in: ERROR 1045: Access denied for user '{user}'@'127.0.0.1' \
             (using password: YES) | correct user or password of the url in {section}; the server \
             compares the host that we come from, too (SELECT user, host FROM mysql.user)"
        )
    };
    assert_eq!(
        pair.wrong().await?,
        [denied("repl", "[source]"), denied("app", "[[sink]]")]
    );
    let (code, stdout, stderr) = pair.towpath(&["check"]).await?;
    assert_eq!(code, Some(1));
    assert_eq!(stdout.last().map(String::as_str), Some("2 to mend"));
    for code in ["[TP1203]", "[TP1502]"] {
        assert_eq!(stdout.concat().matches(code).count(), 1, "{stdout:#?}");
    }
    assert!(
        !stdout
            .iter()
            .chain(&stderr)
            .any(|line| line.contains("Tr0ub4dor")),
        "{stdout:#?}"
    );
    pair.write_good()
}

async fn settings_of_the_source(pair: &mut Pair) -> Result<()> {
    for (break_it, what, state, fix) in [
        (
            "SET GLOBAL binlog_row_image = 'MINIMAL'",
            "binlog_row_image",
            "warning",
            "SET PERSIST binlog_row_image = 'FULL';",
        ),
        (
            "SET GLOBAL binlog_row_metadata = 'MINIMAL'",
            "binlog_row_metadata",
            "warning",
            "SET PERSIST binlog_row_metadata = 'FULL';",
        ),
        (
            "SET GLOBAL gtid_mode = ON_PERMISSIVE; SET GLOBAL gtid_mode = OFF_PERMISSIVE; \
             SET GLOBAL gtid_mode = OFF",
            "transactions have GTIDs",
            "failed",
            "SET PERSIST gtid_mode = OFF_PERMISSIVE; SET PERSIST gtid_mode = ON_PERMISSIVE; \
             SET PERSIST gtid_mode = ON;",
        ),
        (
            "REVOKE REPLICATION SLAVE ON *.* FROM repl",
            "read the binlog",
            "failed",
            "GRANT REPLICATION SLAVE ON *.* TO 'repl'@'%';",
        ),
    ] {
        pair.mend(Side::Source, break_it, what, state, fix).await?;
    }
    let fix = "GRANT SELECT ON *.* TO 'repl'@'%';";
    let what = "there are tables to replicate";
    pair.mend(
        Side::Source,
        "REVOKE SELECT ON *.* FROM repl",
        what,
        "warning",
        fix,
    )
    .await?;
    assert_eq!(pair.wrong().await?, Vec::<String>::new());
    Ok(())
}

/// What a first copy would refuse is found before.
async fn first_copy(pair: &mut Pair) -> Result<()> {
    let plain = std::fs::read_to_string(&pair.file)?;
    let copying = plain.replace("[[sink]]", "snapshot = \"initial\"\n[[sink]]");
    std::fs::write(&pair.file, &copying)?;
    assert_eq!(pair.wrong().await?, Vec::<String>::new());
    for (break_it, what, fix) in [
        (
            "SET GLOBAL binlog_row_image = 'MINIMAL'",
            "binlog_row_image",
            "SET PERSIST binlog_row_image = 'FULL';",
        ),
        (
            "SET GLOBAL binlog_row_value_options = 'PARTIAL_JSON'",
            "binlog_row_value_options",
            "SET PERSIST binlog_row_value_options = '';",
        ),
    ] {
        pair.mend(Side::Source, break_it, what, "failed", fix)
            .await?;
    }
    pair.at_source
        .query_drop("CREATE TABLE shop.log (line TEXT)")
        .await?;
    let keyless = pair.find("copied in chunks").await?;
    assert_eq!(
        (keyless.found.as_str(), keyless.code.as_str()),
        ("not shop.log", "TP1409")
    );
    let allowing = format!("{copying}[snapshot]\nallow_keyless = [\"shop.log\"]\n");
    std::fs::write(&pair.file, allowing)?;
    assert!(pair.is_well("copied in chunks").await?);
    let locks = pair.find("LOCK TABLES").await?;
    assert_eq!(
        (locks.state.as_str(), locks.fix.as_str()),
        (
            "failed",
            "GRANT SELECT, LOCK TABLES ON `shop`.* TO 'repl'@'%';"
        )
    );
    pair.at_source.query_drop(&locks.fix).await?;
    assert!(pair.is_well("LOCK TABLES").await?);
    pair.at_sink
        .query_drop("ALTER TABLE shop.items DROP PRIMARY KEY")
        .await?;
    let sink = pair.find("table shop.items has a primary key").await?;
    assert_eq!(
        (sink.state.as_str(), sink.code.as_str()),
        ("failed", "TP1409")
    );

    pair.at_sink
        .query_drop("ALTER TABLE shop.items ADD PRIMARY KEY (id)")
        .await?;
    let back = "DROP TABLE shop.log; REVOKE SELECT, LOCK TABLES ON shop.* FROM repl";
    pair.at_source.query_drop(back).await?;
    pair.write_good()?;
    assert_eq!(pair.wrong().await?, Vec::<String>::new());
    Ok(())
}

async fn tables_of_the_source(pair: &mut Pair) -> Result<()> {
    let create = "CREATE TABLE shop.log (line TEXT) ENGINE=MyISAM";
    let fix = "ALTER TABLE `shop`.`log` ENGINE = InnoDB;";
    pair.mend(
        Side::Source,
        create,
        "every table is transactional",
        "warning",
        fix,
    )
    .await?;
    let keyless = pair.find("every table has a primary key").await?;
    assert_eq!(
        (keyless.state.as_str(), keyless.found.as_str()),
        ("warning", "not shop.log")
    );
    pair.at_source
        .query_drop("ALTER TABLE shop.log ADD PRIMARY KEY (line(9))")
        .await?;
    // A prefix finds no single row.
    assert_eq!(
        pair.find("every table has a primary key").await?.state,
        "warning"
    );
    pair.at_source.query_drop("DROP TABLE shop.log").await?;
    assert_eq!(pair.wrong().await?, Vec::<String>::new());

    pair.at_source
        .query_drop("INSERT INTO shop.orders VALUES (1, 'a', 1)")
        .await?;
    let copy = pair.find("a copy of the rows").await?;
    assert_eq!(
        (copy.state.as_str(), copy.found.as_str()),
        (
            "warning",
            "empty on the sink, but not at the source: shop.orders"
        )
    );
    pair.at_sink
        .query_drop("INSERT INTO shop.orders VALUES (1, 'a', 1)")
        .await?;
    assert_eq!(pair.wrong().await?, Vec::<String>::new());
    Ok(())
}

async fn purged_start(pair: &mut Pair) -> Result<()> {
    let uuid: Option<String> = pair.at_source.query_first("SELECT @@server_uuid").await?;
    let uuid = uuid.context("no server_uuid")?;
    let last: Option<(String, u64)> = {
        pair.at_source.query_drop("FLUSH BINARY LOGS").await?;
        let rows: Vec<mysql_async::Row> = pair.at_source.query("SHOW BINARY LOGS").await?;
        rows.last().and_then(|row| Some((row.get(0)?, row.get(1)?)))
    };
    let (file, _) = last.context("no binlog")?;
    pair.at_source
        .query_drop(format!("PURGE BINARY LOGS TO '{file}'"))
        .await?;
    let purged: Option<String> = pair
        .at_source
        .query_first("SELECT @@global.gtid_purged")
        .await?;
    let missing: Option<String> = pair
        .at_source
        .exec_first(
            "SELECT GTID_SUBTRACT(?, ?)",
            (purged.clone(), format!("{uuid}:1-2")),
        )
        .await?;
    let start = format!("gtid:{uuid}:1-2");
    pair.write(&pair.source.url("repl"), &pair.sink.url("app"), &start)?;
    let finding = pair.find("the source can start at").await?;
    assert_eq!(finding.state, "failed");
    assert_eq!(
        finding.found,
        format!("purged: {}", missing.unwrap_or_default())
    );
    assert_eq!(
        finding.fix,
        "copy the data again and start from its GTID set, or from `earliest` if the sink has all \
         that was purged"
    );
    let start = format!("gtid:{}", purged.unwrap_or_default());
    pair.write(&pair.source.url("repl"), &pair.sink.url("app"), &start)?;
    assert!(pair.is_well("the source can start at").await?);
    pair.write_good()
}

async fn settings_of_the_sink(pair: &mut Pair) -> Result<()> {
    for (break_it, what, state, fix) in [
        (
            "SET GLOBAL super_read_only = ON",
            "the sink takes writes",
            "failed",
            "SET PERSIST super_read_only = OFF; SET PERSIST read_only = OFF;",
        ),
        (
            "SET GLOBAL max_allowed_packet = 1048576",
            "statements as large as",
            "warning",
            "SET PERSIST max_allowed_packet = 67108864;",
        ),
        (
            "SET GLOBAL gtid_mode = ON_PERMISSIVE",
            "whether a DDL statement ran",
            "warning",
            "SET PERSIST enforce_gtid_consistency = ON; SET PERSIST gtid_mode = ON;",
        ),
        (
            "SET GLOBAL binlog_format = 'STATEMENT'",
            "the sink's own binlog",
            "failed",
            "SET PERSIST binlog_format = 'ROW';",
        ),
        (
            "SET GLOBAL default_storage_engine = 'MyISAM'",
            "default_storage_engine",
            "warning",
            "SET PERSIST default_storage_engine = 'InnoDB';",
        ),
    ] {
        pair.mend(Side::Sink, break_it, what, state, fix).await?;
    }
    assert_eq!(pair.wrong().await?, Vec::<String>::new());
    Ok(())
}

/// An account with nothing: each GRANT makes one finding well, and with all of them the pipeline
/// really runs, DDL included (see `stored_place`).
async fn privileges_of_the_sink(pair: &mut Pair) -> Result<()> {
    pair.at_sink
        .query_drop("CREATE USER low IDENTIFIED BY 'low'")
        .await?;
    let url = pair.sink.url("app").replace("app:app@", "low:low@");
    pair.write(&pair.source.url("repl"), &url, "now")?;
    // In the order of an operator who reads from above.
    for (what, state, fix) in [
        (
            "keep its place",
            "failed",
            "GRANT SELECT, INSERT, UPDATE, CREATE ON `towpath`.* TO 'low'@'%';",
        ),
        (
            "write rows",
            "failed",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON `shop`.* TO 'low'@'%';",
        ),
        (
            "change tables",
            "warning",
            "GRANT CREATE, ALTER, DROP, INDEX ON `shop`.* TO 'low'@'%';",
        ),
        (
            "the session of its author",
            "warning",
            "GRANT SESSION_VARIABLES_ADMIN ON *.* TO 'low'@'%';",
        ),
        (
            "no trigger of the sink fires",
            "warning",
            "GRANT TRIGGER ON `shop`.* TO 'low'@'%';",
        ),
    ] {
        pair.mend(Side::Sink, "DO 0", what, state, fix).await?;
    }
    assert_eq!(pair.wrong().await?, Vec::<String>::new());
    Ok(())
}

async fn tables_of_the_sink(pair: &mut Pair) -> Result<()> {
    for (break_it, what, state, fix) in [
        (
            "DROP DATABASE shop",
            "table shop.orders is on the sink",
            "failed",
            "CREATE DATABASE IF NOT EXISTS `shop`; CREATE TABLE `shop`.`orders` (`id` int NOT NULL, \
             `note` varchar(200) DEFAULT NULL, `amount` decimal(12,2) DEFAULT NULL, \
             PRIMARY KEY (`id`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 \
             COLLATE=utf8mb4_0900_ai_ci;",
        ),
        (
            "DO 0",
            "table shop.items is on the sink",
            "failed",
            "CREATE TABLE `shop`.`items` (`id` int NOT NULL, `state` enum('new','sent') NOT NULL, \
             PRIMARY KEY (`id`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 \
             COLLATE=utf8mb4_0900_ai_ci;",
        ),
        (
            "ALTER TABLE shop.orders DROP COLUMN note",
            "table shop.orders has column note",
            "failed",
            "ALTER TABLE `shop`.`orders` ADD COLUMN `note` varchar(200) CHARACTER SET utf8mb4 \
             COLLATE utf8mb4_0900_ai_ci DEFAULT NULL AFTER `id`;",
        ),
        (
            "ALTER TABLE shop.orders MODIFY amount DECIMAL(8,2)",
            "table shop.orders has the same column amount",
            "failed",
            "ALTER TABLE `shop`.`orders` MODIFY COLUMN `amount` decimal(12,2) DEFAULT NULL;",
        ),
        (
            "ALTER TABLE shop.orders MODIFY note VARCHAR(20) COLLATE utf8mb4_bin",
            "table shop.orders has the same column note",
            "warning",
            "ALTER TABLE `shop`.`orders` MODIFY COLUMN `note` varchar(200) CHARACTER SET utf8mb4 \
             COLLATE utf8mb4_0900_ai_ci DEFAULT NULL;",
        ),
        (
            "ALTER TABLE shop.items MODIFY state ENUM('sent','new') NOT NULL",
            "table shop.items has the same column state",
            "failed",
            "ALTER TABLE `shop`.`items` MODIFY COLUMN `state` enum('new','sent') \
             CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci NOT NULL;",
        ),
        (
            "ALTER TABLE shop.items ENGINE = MyISAM",
            "table shop.items is transactional on the sink",
            "failed",
            "ALTER TABLE `shop`.`items` ENGINE = InnoDB;",
        ),
        (
            "CREATE TRIGGER shop.audit BEFORE INSERT ON shop.items FOR EACH ROW SET @seen = 1",
            "no trigger of the sink fires",
            "warning",
            "DROP TRIGGER `shop`.`audit`;",
        ),
    ] {
        pair.mend(Side::Sink, break_it, what, state, fix).await?;
    }
    assert_eq!(pair.wrong().await?, Vec::<String>::new());
    Ok(())
}

/// By another name of the same host, which the pipeline file's own check can't know.
async fn sink_is_the_source(pair: &Pair) -> Result<()> {
    let sink = pair.source.url("app").replace("127.0.0.1", "localhost");
    pair.write(&pair.source.url("repl"), &sink, "now")?;
    let finding = pair.find("another server than the source").await?;
    assert_eq!(finding.state, "failed");
    assert_eq!(finding.fix, "correct the url of [source] or of [[sink]]");
    Ok(())
}

/// While the pipeline runs, and after it has stopped with a place in the sink.
async fn stored_place(pair: &mut Pair) -> Result<()> {
    let url = pair.sink.url("app").replace("app:app@", "low:low@");
    pair.write(&pair.source.url("repl"), &url, "now")?;
    let process = TowpathProcess::builder()
        .program(env!("CARGO_BIN_EXE_towpath"))
        .args(["run", "--standalone"])
        .arg(&pair.file)
        .spawn()?;
    process
        .wait_for_line(|line| line.contains("binlog dump begun"), TIMEOUT)
        .await?;
    let rows = "INSERT INTO shop.orders VALUES (1, 'a', 1); ALTER TABLE shop.orders ADD COLUMN x INT; \
                INSERT INTO shop.orders VALUES (2, 'b', 2, 2)";
    pair.at_source.query_drop(rows).await?;
    caught_up(&mut pair.at_source, &mut pair.at_sink, "orders", TIMEOUT)
        .await
        .with_context(|| process.tail())?;
    let replicas = "SHOW REPLICAS";
    let before: Vec<mysql_async::Row> = pair.at_source.query(replicas).await?;

    assert_eq!(
        pair.wrong().await?,
        Vec::<String>::new(),
        "a running pipeline is no clash"
    );
    let running = pair.find("take over from who runs it").await?;
    assert!(
        running.found.contains("runs the pipeline now"),
        "{running:?}"
    );
    assert_eq!(
        pair.find("the source still has all").await?.found,
        "the sink is up to date"
    );
    // The trial dumps are gone, and the pipeline's own is there.
    wait_until("the trial dumps to end", TIMEOUT, async || {
        let mut conn = pair.source.conn().await?;
        let now: Vec<mysql_async::Row> = conn.query(replicas).await?;
        Ok(format!("{now:?}") == format!("{before:?}"))
    })
    .await?;
    // Its connections are of another user than app's, who may end them.
    pair.write_good()?;
    assert!(pair.is_well("connection").await?);
    pair.at_sink
        .query_drop("REVOKE CONNECTION_ADMIN, SUPER ON *.* FROM app")
        .await?;
    let holder = pair.find("of another user (CONNECTION_ADMIN)").await?;
    assert_eq!(holder.fix, "GRANT CONNECTION_ADMIN ON *.* TO 'app'@'%';");
    pair.at_sink.query_drop(&holder.fix).await?;
    assert!(pair.is_well("of another user").await?);

    process.terminate()?;
    assert!(
        process.wait_exit(TIMEOUT).await?.success(),
        "{}",
        process.tail()
    );
    assert_eq!(pair.wrong().await?, Vec::<String>::new());

    // The sink is ahead.
    pair.at_sink
        .query_drop("UPDATE towpath.offset_gtid SET intervals = '1-999999'")
        .await?;
    let ahead = pair.find("every transaction that the sink holds").await?;
    assert_eq!(ahead.state, "failed");
    assert!(ahead.found.starts_with("the source lacks ") && ahead.found.ends_with("-999999"));
    assert_eq!(
        ahead.fix,
        "the source lost them in a failover or was restored; point source.url at the server that \
         has them, or copy the data again"
    );
    // It was fed from elsewhere.
    let other = "11111111-2222-3333-4444-555555555555";
    let feed = format!(
        "UPDATE towpath.`offset` SET source_uuid = '{other}'; \
         UPDATE towpath.offset_gtid SET source_uuid = '{other}'"
    );
    pair.at_sink.query_drop(feed).await?;
    let foreign = pair.find("every transaction that the sink holds").await?;
    assert_eq!(foreign.state, "failed");
    assert!(
        foreign
            .found
            .starts_with(&format!("the sink was fed from source {other}"))
    );
    assert_eq!(
        foreign.fix,
        "point source.url at that server or a replica of it, or give this pipeline another name"
    );
    Ok(())
}
