//! What arrives is what was written: every kind of value, whatever the servers' own settings, and
//! the net effect of merged transactions.

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::harness::{Pair, Pipeline, WAIT, number, rows, same, same_table, until_blocked};

/// Tables whose values break in a session that is not fixed, and rows for them.
const TABLES: &[(&str, &str)] = &[
    (
        "zero_id (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20), n INT)",
        "(0, 'zero', 1), (-5, 'minus', 1), (7, 'seven', 1)",
    ),
    (
        "moment (id INT PRIMARY KEY, ts TIMESTAMP(6) NULL, dt DATETIME(6), d DATE, t TIME(3), y YEAR, n INT)",
        "(1, '2024-07-01 12:00:00.123456', '2024-07-01 12:00:00.5', '2024-02-29', '-838:59:59.0', 0, 1), \
         (2, '1970-01-01 03:00:01', '0000-00-00', '0000-00-00', '00:00:00.999', 1901, 1), \
         (3, '0000-00-00', '2024-00-15 10:00:00', '2024-12-00', NULL, 2155, 1), \
         (4, NULL, '2024-02-31', '2024-02-31', '10:11:12', 2000, 1)",
    ),
    (
        "moment_key (ts TIMESTAMP PRIMARY KEY, n INT)",
        "('2024-07-01 12:00:00', 1), ('2024-01-01', 1)",
    ),
    (
        "text (id INT PRIMARY KEY, l VARCHAR(50) CHARACTER SET latin1, u VARCHAR(50) CHARACTER SET utf8mb4, \
         g VARCHAR(50) CHARACTER SET gbk, w VARCHAR(50) CHARACTER SET utf16, b VARBINARY(300), n INT)",
        "(1, 'é\\'\\\\\"\\0€', 'é\\'\\\\\"\\0😀`;--', '縗\\'\\\\', 'é\\'😀', X'00FF5C270A1A', 1), \
         (2, '', '', '', '', '', 1), (3, '%_', 'trail  ', '縗縗', NULL, X'C3', 1)",
    ),
    (
        "text_key (k VARCHAR(40) COLLATE utf8mb4_0900_ai_ci PRIMARY KEY, n INT)",
        "('it\\'s', 1), ('é\\\\', 1), ('😀', 1), ('', 1)",
    ),
    (
        "latin_key (k VARCHAR(40) CHARACTER SET latin1 PRIMARY KEY, n INT)",
        "('é\\'', 1), ('\\\\\\0', 1)",
    ),
    (
        "bytes_key (k VARBINARY(40) PRIMARY KEY, n INT)",
        "(X'00', 1), (X'FF5C27', 1), ('', 1)",
    ),
    (
        "fixed_bytes_key (k BINARY(4) PRIMARY KEY, n INT)",
        "(X'00', 1), (X'FF5C2700', 1)",
    ),
    (
        "char_key (k CHAR(10), n INT, PRIMARY KEY (k))",
        "('a', 1), ('b ', 1)",
    ),
    (
        "choice_key (k ENUM('2','1','x') PRIMARY KEY, n INT)",
        "('1', 1), ('2', 1), ('x', 1)",
    ),
    (
        "choices_key (k SET('a','b','1') PRIMARY KEY, n INT)",
        "('a', 1), ('a,b', 1), ('', 1), ('1', 1)",
    ),
    (
        "decimal_key (k DECIMAL(30,10) PRIMARY KEY, n INT)",
        "(-0.5, 1), (12345678901234567890.0123456789, 1)",
    ),
    (
        "double_key (k DOUBLE PRIMARY KEY, n INT)",
        "(0.1, 1), (-1e300, 1), (1e-300, 1)",
    ),
    (
        "float_key (k FLOAT PRIMARY KEY, n INT)",
        "(0.1, 1), (-1e30, 1)",
    ),
    (
        "date_key (k DATE, t TIME(2), n INT, PRIMARY KEY (k, t))",
        "('0000-00-00', '1:1:1', 1), ('2024-02-29', '-1:0:0.5', 1)",
    ),
    (
        "bit_key (k BIT(64) PRIMARY KEY, n INT)",
        "(0, 1), (18446744073709551615, 1)",
    ),
    (
        "big_key (k BIGINT UNSIGNED PRIMARY KEY, n INT)",
        "(0, 1), (18446744073709551615, 1)",
    ),
    (
        "small_key (a TINYINT, b SMALLINT, c MEDIUMINT, n INT, PRIMARY KEY (c, a, b))",
        "(-128, 32767, -8388608, 1), (127, 0, 8388607, 1)",
    ),
    (
        "no_key (f FLOAT, d DOUBLE, e ENUM('1','2','x'), s SET('a','b'), v VARCHAR(20), b VARBINARY(20), \
         c DECIMAL(10,3), ts TIMESTAMP NULL, j JSON, bits BIT(7), y YEAR, n INT)",
        "(0.1, 0.1, '2', 'a,b', 'a', 'a', 1.5, '2024-07-01', '{\"a\": 1.0}', b'101', 2024, 1), \
         (0.1, 0.1, '1', 'b', 'A', 'A', 1.5, NULL, '[]', b'1', 0, 1), \
         (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1)",
    ),
    (
        "`größe` (id INT PRIMARY KEY, `naïve` VARCHAR(9), n INT)",
        "(1, 'ü', 1), (2, 'x', 1)",
    ),
    (
        "document (id INT PRIMARY KEY, j JSON, n INT)",
        "(1, JSON_OBJECT('a', 1, 'b', 1.5e0, 'c', CAST(1.50 AS DECIMAL(5,2)), 'd', NOW(), 'e', 'it\\'s \\\\ \"'), 1), \
         (2, 'null', 1), (3, NULL, 1), (4, '[true, false, null, -1, 18446744073709551615, \"é\"]', 1)",
    ),
    (
        "computed (id INT PRIMARY KEY, n INT, a INT, twice INT AS (a * 2) STORED UNIQUE, half INT AS (a DIV 2) VIRTUAL)",
        "(1, 1, 10), (2, 1, 20), (3, 1, 30)",
    ),
];

/// The sink's own settings, each of which would break something in a session that took it over.
const HOSTILE: &[&str] = &[
    "SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'",
    "SET GLOBAL time_zone = '+05:00'",
    "SET GLOBAL transaction_isolation = 'SERIALIZABLE'",
    "SET GLOBAL character_set_client = latin1",
    "SET GLOBAL character_set_connection = latin1",
    "SET GLOBAL character_set_results = latin1",
    "SET GLOBAL collation_connection = latin1_bin",
    "SET GLOBAL autocommit = 0",
    "SET GLOBAL completion_type = 'RELEASE'",
    "SET GLOBAL sql_safe_updates = 1",
    "SET GLOBAL sql_auto_is_null = 1",
    "SET GLOBAL sql_select_limit = 1",
    "SET GLOBAL sql_big_selects = 0",
    "SET GLOBAL max_join_size = 1",
    "SET GLOBAL auto_increment_increment = 7",
    "SET GLOBAL div_precision_increment = 0",
    "SET GLOBAL transaction_read_only = 1",
    "SET GLOBAL init_connect = 'SET NAMES latin1, autocommit = 0, sql_mode = \"\", time_zone = \"-09:00\"'",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_arrives_whatever_the_servers_settings() -> Result<()> {
    let pair = Pair::with(
        |source| {
            source
                .option("default-time-zone", "+03:00")
                .option("sql-mode", "")
        },
        |sink| sink.option("sql-mode", ""),
    )
    .await?;
    let mut schema: Vec<String> = TABLES
        .iter()
        .map(|(table, _)| format!("CREATE TABLE {table}"))
        .collect();
    schema.push(
        "CREATE TABLE stamped (id INT PRIMARY KEY, n INT, \
         changed TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, \
         at DATETIME DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP)"
            .into(),
    );
    let schema: Vec<&str> = schema.iter().map(String::as_str).collect();
    let mut pipeline = pair.pipeline("v", &schema).await?;
    let (mut source, mut sink) = pair.conns().await?;
    sink.query_drop("SET NAMES utf8mb4, time_zone = '+03:00'")
        .await?;
    // A user without the privilege to pass by init_connect.
    for statement in [
        "CREATE USER plain@'%' IDENTIFIED BY 'plain'",
        "GRANT ALL ON v.* TO plain@'%'",
        "GRANT ALL ON towpath.* TO plain@'%'",
    ] {
        sink.query_drop(statement).await?;
    }
    pipeline.sink_user = "plain:plain".into();
    for setting in HOSTILE {
        sink.query_drop(*setting)
            .await
            .with_context(|| (*setting).to_owned())?;
    }
    source.query_drop("USE v").await?;
    source
        .query_drop("SET NAMES utf8mb4, sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'")
        .await?;

    let process = pipeline.run()?;
    let name = |table: &str| table.split(' ').next().unwrap_or_default().to_owned();
    for (table, values) in TABLES {
        let columns = if table.starts_with("computed") {
            "(id, n, a)"
        } else {
            ""
        };
        source
            .query_drop(format!(
                "INSERT INTO {} {columns} VALUES {values}",
                name(table)
            ))
            .await?;
    }
    source.query_drop("SET timestamp = 1000000000").await?;
    source
        .query_drop("INSERT INTO stamped (id, n) VALUES (1, 1), (2, 1), (3, 1)")
        .await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    compare(&mut source, &mut sink).await?;

    // Found by their keys. Twice in the same second: an automatic timestamp is as it was.
    for n in [2, 3] {
        for (table, _) in TABLES {
            source
                .query_drop(format!("UPDATE {} SET n = {n}", name(table)))
                .await?;
        }
        source
            .query_drop(format!("UPDATE stamped SET n = {n}"))
            .await?;
        pipeline.caught_up(&process, &mut source, &mut sink).await?;
        compare(&mut source, &mut sink).await?;
    }
    source
        .query_drop("UPDATE stamped SET n = 4, changed = changed, at = at WHERE id = 2")
        .await?;
    // A value that only a computed column makes unique, swapped.
    source.query_drop("BEGIN; UPDATE computed SET a = 99 WHERE id = 1; UPDATE computed SET a = 10 WHERE id = 2; \
                       UPDATE computed SET a = 20 WHERE id = 1; COMMIT").await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    compare(&mut source, &mut sink).await?;

    for (table, _) in TABLES {
        source
            .query_drop(format!("DELETE FROM {} LIMIT 1", name(table)))
            .await?;
    }
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    compare(&mut source, &mut sink).await?;
    crate::harness::stop(&process).await
}

async fn compare(source: &mut Conn, sink: &mut Conn) -> Result<()> {
    let names = TABLES
        .iter()
        .map(|(table, _)| table.split(' ').next().unwrap_or_default());
    for table in names.chain(["stamped"]) {
        same_table(source, sink, &format!("v.{table}")).await?;
    }
    let types = "SELECT id, JSON_TYPE(j), JSON_TYPE(j->'$.a'), JSON_TYPE(j->'$.b'), JSON_TYPE(j->'$.c'), \
                 JSON_TYPE(j->'$.d'), JSON_TYPE(j->'$.e'), JSON_TYPE(j->'$[4]') FROM v.document";
    same(source, sink, types).await
}

const FAMILY: &[&str] = &[
    "CREATE TABLE parent (id INT PRIMARY KEY, v INT)",
    "CREATE TABLE child (id INT PRIMARY KEY, parent INT, v INT, \
     FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE)",
    "CREATE TABLE orphan (id INT PRIMARY KEY, parent INT, \
     FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE SET NULL ON UPDATE CASCADE)",
    "CREATE TABLE grandchild (id INT PRIMARY KEY, child INT, \
     FOREIGN KEY (child) REFERENCES child (id) ON DELETE CASCADE)",
];

const FAMILY_ROWS: &[&str] = &[
    "INSERT INTO parent VALUES (1, 1), (2, 1), (3, 1), (4, 1)",
    "INSERT INTO child SELECT p.id * 10 + n, p.id, 1 FROM parent p, (SELECT 1 AS n UNION SELECT 2) n",
    "INSERT INTO orphan SELECT id * 10, id FROM parent",
    "INSERT INTO grandchild SELECT id * 10, id FROM child",
];

const FAMILY_LIFE: &[&str] = &[
    "DELETE FROM parent WHERE id = 1",
    "UPDATE parent SET id = 20 WHERE id = 2",
    "UPDATE parent SET v = 7",
    "BEGIN; DELETE FROM parent WHERE id = 3; INSERT INTO parent VALUES (3, 5); \
     INSERT INTO child VALUES (31, 3, 5); COMMIT",
    "UPDATE parent SET id = id + 100",
    "DELETE FROM child WHERE id = 41",
    "DELETE FROM parent WHERE id = 104",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_follow_their_parents_once() -> Result<()> {
    let pair = Pair::start().await?;
    for (name, native) in [("family", false), ("native", true)] {
        if native {
            // The storage engine cascades, and the binlog has only the parents.
            pair.source.set_option("innodb-native-foreign-keys", "ON");
            pair.source.restart().await?;
        }
        let pipeline = pair.pipeline(name, FAMILY).await?;
        let (mut source, mut sink) = pair.conns().await?;
        source.query_drop(format!("USE {name}")).await?;
        for statement in FAMILY_ROWS {
            source.query_drop(*statement).await?;
        }
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        // One by one, then all in one batch.
        let process = pipeline.run()?;
        for statement in &FAMILY_LIFE[..3] {
            source.query_drop(*statement).await?;
            pipeline.caught_up(&process, &mut source, &mut sink).await?;
            compare_family(&mut source, &mut sink, name).await?;
        }
        crate::harness::stop(&process).await?;
        merged(&pair, &pipeline, &mut source, &mut sink, &FAMILY_LIFE[3..]).await?;
        compare_family(&mut source, &mut sink, name).await?;
        ensure!(number(&mut sink, &format!("SELECT COUNT(*) FROM {name}.child")).await? == 3);
    }
    Ok(())
}

async fn compare_family(source: &mut Conn, sink: &mut Conn, name: &str) -> Result<()> {
    for table in ["parent", "child", "orphan", "grandchild"] {
        same_table(source, sink, &format!("{name}.{table}")).await?;
    }
    Ok(())
}

/// Has the pipeline apply all statements, each a transaction of its own, in one batch: the commit
/// of the first one is held up until the others are gathered behind it.
async fn merged(
    pair: &Pair,
    pipeline: &Pipeline,
    source: &mut Conn,
    sink: &mut Conn,
    statements: &[&str],
) -> Result<()> {
    let name = &pipeline.name;
    source
        .query_drop(format!(
            "CREATE TABLE IF NOT EXISTS {name}.first (n INT PRIMARY KEY AUTO_INCREMENT)"
        ))
        .await?;
    let process = pipeline.run()?;
    pipeline.caught_up(&process, source, sink).await?;
    let mut holder = pair.sink.conn().await?;
    holder.query_drop("BEGIN").await?;
    holder
        .query_drop("SELECT * FROM towpath.`offset` FOR UPDATE")
        .await?;
    source
        .query_drop(format!("INSERT INTO {name}.first VALUES ()"))
        .await?;
    until_blocked(sink, "towpath")
        .await
        .with_context(|| process.tail())?;
    let before = pipeline.row(sink).await?.commit_seq;
    for statement in statements {
        source
            .query_drop(*statement)
            .await
            .with_context(|| (*statement).to_owned())?;
    }
    // The dump has sent them all when its thread has nothing left to send.
    towpath_testing::wait_until("the source to have sent all", WAIT, async || {
        let states = rows(
            source,
            "SELECT state FROM information_schema.processlist WHERE command = 'Binlog Dump GTID'",
        )
        .await?;
        Ok(matches!(&states[..], [state] if state.contains("sent all binlog")))
    })
    .await?;
    holder.query_drop("ROLLBACK").await?;
    pipeline.caught_up(&process, source, sink).await?;
    let commits = pipeline.row(sink).await?.commit_seq - before;
    // What the source has sent may still be in the socket's buffers when the lock is let go, so it is
    // not always one batch; that most were merged shows that merging was tried.
    ensure!(
        commits <= statements.len() as u64 / 2 + 2,
        "{} transactions were not merged: {commits} commits",
        statements.len()
    );
    crate::harness::stop(&process).await
}

/// Each is a transaction; all are merged into one batch. `k` is compared without case.
const LIVES: &[&str] = &[
    // Inserted and deleted; deleted and inserted; both several times.
    "INSERT INTO k VALUES ('new', 100, 1)",
    "DELETE FROM k WHERE id = 'new'",
    "DELETE FROM k WHERE id = 'b'",
    "INSERT INTO k VALUES ('b', 2, 22)",
    "DELETE FROM k WHERE id = 'c'",
    "INSERT INTO k VALUES ('c', 103, 33)",
    "UPDATE k SET v = 34 WHERE id = 'c'",
    "DELETE FROM k WHERE id = 'c'",
    // Changed and changed back: the row is found, and nothing is left to change.
    "UPDATE k SET v = 1 WHERE id = 'a'",
    "UPDATE k SET v = 0 WHERE id = 'a'",
    // Keys that move, and back, and onto a deleted one, and only in case.
    "UPDATE k SET id = 'moved' WHERE id = 'd'",
    "UPDATE k SET id = 'away' WHERE id = 'e'",
    "UPDATE k SET id = 'e', v = 55 WHERE id = 'away'",
    "DELETE FROM k WHERE id = 'f'",
    "UPDATE k SET id = 'f' WHERE id = 'g'",
    "UPDATE k SET id = 'H' WHERE id = 'h'",
    "UPDATE k SET v = 88 WHERE id = 'h'",
    "UPDATE k SET id = 'I' WHERE id = 'i'",
    "UPDATE k SET id = 'i' WHERE id = 'i'",
    // A chain of keys.
    "UPDATE k SET id = 'tmp' WHERE id = 'j'",
    "UPDATE k SET id = 'j' WHERE id = 'l'",
    "UPDATE k SET id = 'l' WHERE id = 'tmp'",
    // Unique values swapped in one transaction, and over several.
    "BEGIN; UPDATE k SET u = NULL WHERE id = 'm'; UPDATE k SET u = 12 WHERE id = 'n'; \
     UPDATE k SET u = 13 WHERE id = 'm'; COMMIT",
    "UPDATE k SET u = 1000 WHERE id = 'o'",
    "UPDATE k SET u = 14 WHERE id = 'p'",
    "UPDATE k SET u = 15 WHERE id = 'o'",
    // A unique value of a deleted row is taken by another one.
    "DELETE FROM k WHERE id = 'q'",
    "UPDATE k SET u = 16 WHERE id = 'r'",
    "INSERT INTO k VALUES ('s2', 18, 1) ON DUPLICATE KEY UPDATE id = 's2', v = 9",
    // Takes the place of two rows: of one by its key, of the other by its unique value.
    "REPLACE INTO k VALUES ('t', 20, 1)",
    // Without a key: the same row several times.
    "INSERT INTO bare VALUES (1), (1), (2)",
    "DELETE FROM bare WHERE n = 1 LIMIT 1",
    "UPDATE bare SET n = 3 WHERE n = 2",
    "UPDATE bare SET n = n + 1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merged_transactions_have_the_effect_of_each() -> Result<()> {
    let pair = Pair::start().await?;
    let letters = "abcdefghijlmnopqrstu";
    let initial: Vec<String> = letters
        .chars()
        .zip(1..)
        .map(|(id, n)| format!("('{id}', {n}, 0)"))
        .collect();
    let initial = format!("INSERT INTO k VALUES {}", initial.join(", "));
    let schema = [
        "CREATE TABLE k (id VARCHAR(20) COLLATE utf8mb4_0900_ai_ci PRIMARY KEY, u INT UNIQUE, v INT)",
        "CREATE TABLE bare (n INT)",
        initial.as_str(),
    ];
    for (name, one_by_one) in [("merged", false), ("single", true)] {
        let pipeline = pair.pipeline(name, &schema).await?;
        let (mut source, mut sink) = pair.conns().await?;
        source.query_drop(format!("USE {name}")).await?;
        if one_by_one {
            let process = pipeline.run()?;
            for statement in LIVES {
                source.query_drop(*statement).await?;
            }
            pipeline.caught_up(&process, &mut source, &mut sink).await?;
            crate::harness::stop(&process).await?;
        } else {
            merged(&pair, &pipeline, &mut source, &mut sink, LIVES).await?;
        }
        for table in ["k", "bare"] {
            same_table(&mut source, &mut sink, &format!("{name}.{table}")).await?;
        }
    }
    Ok(())
}
