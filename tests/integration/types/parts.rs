//! Parts of rows and of documents: `binlog_row_image` MINIMAL and NOBLOB, PARTIAL_JSON.

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;

use crate::harness::{Pair, number, same, same_table, stop};

const SCHEMA: &[&str] = &[
    "CREATE TABLE t (id INT PRIMARY KEY, a INT, b TEXT, j JSON, d INT DEFAULT 5, e VARCHAR(9) DEFAULT 'x', \
     at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, half INT AS (a DIV 2) VIRTUAL)",
    "CREATE TABLE u (id INT PRIMARY KEY, u INT UNIQUE, b BLOB, n INT)",
    "CREATE TABLE bare (a INT, b TEXT, j JSON)",
    "CREATE TABLE two_keys (z INT NOT NULL, a INT NOT NULL, b TEXT, v INT, UNIQUE KEY zz (z), UNIQUE KEY aa (a))",
    "CREATE TABLE parent (id INT PRIMARY KEY, v INT, b TEXT)",
    "CREATE TABLE child (id INT PRIMARY KEY, parent INT, v INT, FOREIGN KEY (parent) REFERENCES parent (id) ON UPDATE CASCADE)",
    "CREATE TABLE made (a INT, id INT AS (a % 100) STORED NOT NULL PRIMARY KEY, v INT)",
    "CREATE TABLE docs (id INT PRIMARY KEY, a JSON, n INT, b JSON, c JSON)",
];

/// Each is a transaction.
const LIFE: &[&str] = &[
    "INSERT INTO t (id, a, j) VALUES (1, 1, '{\"a\": 1, \"b\": [1, 2, 3]}'), (2, 1, '[]'), (3, NULL, NULL)",
    "INSERT INTO t (id) VALUES (4)",
    "INSERT INTO t (id, d, e) VALUES (5, NULL, NULL)",
    "INSERT INTO t VALUES (6, 6, 'whole', '{}', 6, 'e', '2020-01-01', DEFAULT)",
    // Different columns of a row in different transactions, and after a whole insert.
    "UPDATE t SET a = 7 WHERE id = 6",
    "UPDATE t SET b = 'changed' WHERE id = 6",
    "UPDATE t SET e = NULL WHERE id = 6",
    "UPDATE t SET a = id, b = 'all'",
    // An automatic timestamp that stays.
    "UPDATE t SET b = 'stays', at = at WHERE id = 6",
    "UPDATE t SET at = '2001-01-01' WHERE id = 5",
    // Keys that move, alone and with other columns; back, and onto a deleted one.
    "UPDATE t SET id = 60 WHERE id = 6",
    "UPDATE t SET id = 40, b = NULL WHERE id = 4",
    "BEGIN; DELETE FROM t WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2; INSERT INTO t (id, a) VALUES (2, 9); COMMIT",
    "UPDATE t SET id = id + 1000 ORDER BY id DESC",
    // Deleted and inserted again without the columns that it had.
    "BEGIN; DELETE FROM t WHERE id = 1001; INSERT INTO t (id) VALUES (1001); UPDATE t SET a = 3 WHERE id = 1001; COMMIT",
    // Unique values that swap, in parts.
    "INSERT INTO u VALUES (1, 1, 'one', 1), (2, 2, 'two', 2), (3, 3, 'three', 3)",
    "BEGIN; UPDATE u SET u = NULL WHERE id = 1; UPDATE u SET u = 1 WHERE id = 2; UPDATE u SET u = 2 WHERE id = 1; COMMIT",
    "UPDATE u SET n = 9 WHERE id = 1",
    "UPDATE u SET u = u + 10 ORDER BY u DESC",
    "BEGIN; DELETE FROM u WHERE id = 3; UPDATE u SET u = 13 WHERE id = 2; COMMIT",
    "INSERT INTO bare VALUES (1, 'x', '{\"a\": 1}'), (1, 'x', '{\"a\": 1}'), (1, 'x', '{\"a\": 1.0}'), (NULL, NULL, NULL)",
    "INSERT INTO bare (a) VALUES (2)",
    "UPDATE bare SET b = 'y' WHERE a = 1 LIMIT 1",
    "UPDATE bare SET j = JSON_SET(j, '$.a', 5) WHERE JSON_TYPE(j->'$.a') = 'DOUBLE'",
    "DELETE FROM bare WHERE b = 'x' LIMIT 1",
    "UPDATE bare SET a = 3 WHERE a IS NULL",
    "INSERT INTO two_keys VALUES (1, 10, 'a', 1), (2, 20, 'b', 1)",
    "UPDATE two_keys SET v = 2",
    "UPDATE two_keys SET b = 'c' WHERE a = 10",
    "UPDATE two_keys SET z = 3 WHERE z = 1",
    "UPDATE two_keys SET a = 30 WHERE z = 2",
    "DELETE FROM two_keys WHERE z = 3",
    "INSERT INTO parent VALUES (1, 1, 'x'), (2, 2, 'y')",
    "INSERT INTO child VALUES (1, 1, 1), (2, 2, 1)",
    "UPDATE parent SET id = 10 WHERE id = 1",
    "UPDATE child SET v = 2",
    "INSERT INTO made (a, v) VALUES (101, 1), (202, 2)",
    "UPDATE made SET v = 5 WHERE id = 1",
    "UPDATE made SET a = 303 WHERE id = 2",
    "DELETE FROM made WHERE id = 1",
];

/// Changes to documents; between them, other changes of the same rows.
const DOCUMENTS: &[&str] = &[
    "BEGIN; INSERT INTO docs VALUES (1, '{\"a\": 1, \"b\": [1, [2], 3], \"s\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}', 1, '[1, 2, 3]', NULL), \
     (2, '{\"a\": {\"b\": {\"c\": \"yyyyyyyyyyyyyyyyyyyyyyyyyy\"}}}', 1, '{\"x y\": 1, \"ü\": 2, \"q\\\\\"\": 3}', '[]'); \
     UPDATE docs SET a = JSON_SET(a, '$.a', 2) WHERE id = 1; COMMIT",
    "UPDATE docs SET a = JSON_REPLACE(a, '$.b[1][0]', 7) WHERE id = 1",
    "UPDATE docs SET b = JSON_REPLACE(b, '$[0]', 7), n = 2 WHERE id = 1",
    "UPDATE docs SET b = JSON_REPLACE(b, '$[2]', 8), a = JSON_REMOVE(a, '$.b[0]') WHERE id = 1",
    "UPDATE docs SET n = 3",
    "UPDATE docs SET a = JSON_SET(a, '$.s', 1.10) WHERE id = 1",
    "UPDATE docs SET a = JSON_SET(a, '$.s', CAST('2024-01-01' AS DATE)) WHERE id = 1",
    "UPDATE docs SET a = JSON_SET(a, '$.s', TIMESTAMP'2024-01-01 01:02:03.5') WHERE id = 1",
    "UPDATE docs SET a = JSON_SET(a, '$.s', X'00FF27') WHERE id = 1",
    "UPDATE docs SET a = JSON_SET(a, '$.s', CAST(7 AS UNSIGNED)) WHERE id = 1",
    "UPDATE docs SET a = JSON_SET(a, '$.s', CAST('null' AS JSON)) WHERE id = 1",
    "UPDATE docs SET a = JSON_SET(a, '$.s', 9223372036854775807) WHERE id = 1",
    "UPDATE docs SET a = JSON_SET(a, '$.s', JSON_ARRAY(1, 2.50)) WHERE id = 1",
    "UPDATE docs SET a = JSON_SET(a, '$.a.b.c', 'it''s \\\\ \"') WHERE id = 2",
    "UPDATE docs SET b = JSON_SET(b, '$.\"x y\"', 2, '$.\"ü\"', TRUE) WHERE id = 2",
    "UPDATE docs SET b = JSON_SET(b, '$.\"q\\\\\"\"', 4) WHERE id = 2",
    "UPDATE docs SET a = JSON_REMOVE(JSON_SET(a, '$.a.b.c', 'z'), '$.a.b') WHERE id = 2",
    "UPDATE docs SET a = JSON_SET(a, '$.a', 'n', '$.new', 1) WHERE id = 2",
    "UPDATE docs SET b = JSON_REMOVE(b, '$.\"x y\"') WHERE id = 2",
    "UPDATE docs SET b = JSON_ARRAY_INSERT(JSON_REMOVE(b, '$[0]'), '$[0]', 0) WHERE id = 1",
    "UPDATE docs SET c = JSON_ARRAY(1.10, NOW(6)) WHERE id = 1",
    "UPDATE docs SET c = JSON_SET(c, '$[0]', 2.20) WHERE id = 1",
    "UPDATE docs SET id = 10, a = JSON_SET(a, '$.a', 5) WHERE id = 1",
    "BEGIN; UPDATE docs SET a = JSON_SET(a, '$.a', 6) WHERE id = 10; DELETE FROM docs WHERE id = 10; COMMIT",
];

/// The same life under each form of image; all of it at once, so that much is merged, and step by step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_rows_arrive() -> Result<()> {
    let pair = Pair::start().await?;
    for (name, image, options, at_once) in [
        ("p_minimal", "MINIMAL", "", true),
        ("p_noblob", "NOBLOB", "", true),
        ("p_json", "FULL", "PARTIAL_JSON", true),
        ("p_both", "MINIMAL", "PARTIAL_JSON", true),
        ("p_steps", "MINIMAL", "PARTIAL_JSON", false),
        ("p_noblob_json", "NOBLOB", "PARTIAL_JSON", true),
    ] {
        let pipeline = pair.pipeline(name, SCHEMA).await?;
        let (mut source, mut sink) = pair.conns().await?;
        source.query_drop(format!("USE {name}")).await?;
        source
            .query_drop(format!(
                "SET SESSION binlog_row_image = '{image}', SESSION binlog_row_value_options = '{options}', \
                 time_zone = '+00:00', timestamp = 1700000000"
            ))
            .await?;
        let mut process = None;
        for statement in LIFE.iter().chain(DOCUMENTS) {
            source.query_drop(*statement).await.context(*statement)?;
            if !at_once {
                let process = match &process {
                    Some(process) => process,
                    None => process.insert(pipeline.run()?),
                };
                pipeline
                    .caught_up(process, &mut source, &mut sink)
                    .await
                    .with_context(|| format!("{name}: {statement}"))?;
            }
        }
        let process = match process {
            Some(process) => process,
            None => pipeline.run()?,
        };
        pipeline
            .caught_up(&process, &mut source, &mut sink)
            .await
            .with_context(|| name.to_owned())?;
        for table in [
            "t", "u", "bare", "two_keys", "parent", "child", "made", "docs",
        ] {
            same_table(&mut source, &mut sink, &format!("{name}.{table}"))
                .await
                .with_context(|| name.to_owned())?;
        }
        for column in ["a", "b", "c"] {
            super::same_documents(
                &mut source,
                &mut sink,
                &format!("{name}.docs"),
                column,
                "id",
            )
            .await?;
        }
        ensure!(number(&mut sink, &format!("SELECT COUNT(*) FROM {name}.t")).await? == 6);
        same(
            &mut source,
            &mut sink,
            &format!("SELECT id, JSON_TYPE(c->'$[0]'), JSON_TYPE(c->'$[1]') FROM {name}.docs"),
        )
        .await?;
        stop(&process).await?;
    }
    Ok(())
}

/// A part of a document that is for a row which isn't there stops the pipeline, as for a whole row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_row_that_is_missing_stops() -> Result<()> {
    let pair = Pair::start().await?;
    let schema = ["CREATE TABLE t (id INT PRIMARY KEY, v INT, j JSON)"];
    let pipeline = pair.pipeline("missing", &schema).await?;
    let (mut source, mut sink) = pair.conns().await?;
    source.query_drop("USE missing").await?;
    source
        .query_drop("SET SESSION binlog_row_image = 'MINIMAL', SESSION binlog_row_value_options = 'PARTIAL_JSON'")
        .await?;
    source
        .query_drop("INSERT INTO t VALUES (1, 1, '{\"a\": 1}'), (2, 1, '{\"a\": 1}')")
        .await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    sink.query_drop("DELETE FROM missing.t WHERE id = 2")
        .await?;
    let before = pipeline.stored(&mut sink).await?;
    source
        .query_drop("UPDATE t SET j = JSON_SET(j, '$.a', 2)")
        .await?;
    let said = pipeline.run_until_it_fails().await?;
    ensure!(
        said.contains("UPDATE on missing.t") && said.contains("key (2)"),
        "{said}"
    );
    ensure!(pipeline.stored(&mut sink).await? == before);
    ensure!(number(&mut sink, "SELECT j->'$.a' FROM missing.t WHERE id = 1").await? == 1);
    Ok(())
}

/// Of a DELETE behind changes of its table in one transaction nobody can see which rows were missing: those that were
/// inserted in it are not named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_behind_inserts_of_its_transaction_names_none_of_them() -> Result<()> {
    let pair = Pair::start().await?;
    let schema = ["CREATE TABLE t (id INT PRIMARY KEY)"];
    let mut pipeline = pair.pipeline("behind", &schema).await?;
    pipeline.further = "[apply]\nbatch_rows_max = 100".into();
    let (mut source, mut sink) = pair.conns().await?;
    source.query_drop("USE behind").await?;
    source.query_drop("INSERT INTO t VALUES (1), (2)").await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    sink.query_drop("DELETE FROM behind.t WHERE id = 2").await?;
    source.query_drop("BEGIN").await?;
    // In several statements: between these a batch may end.
    for first in [1000, 2000, 3000] {
        source
            .query_drop(format!(
                "INSERT INTO t WITH RECURSIVE s (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s \
                 WHERE n < {first} + 299) SELECT n FROM s"
            ))
            .await?;
    }
    source.query_drop("DELETE FROM t WHERE id < 1050").await?;
    source.query_drop("COMMIT").await?;
    let said = pipeline.run_until_it_fails().await?;
    ensure!(
        said.contains("DELETE on behind.t") && !said.contains("key (1000)"),
        "{said}"
    );
    Ok(())
}
