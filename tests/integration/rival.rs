//! What other tools get silently wrong, or stop at: each arrives as it is at the source.

use anyhow::{Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::harness::{Pair, number, rows, same, same_table};

/// Runs the statements at the source, each a transaction, has them replicated in one run, and compares the
/// tables.
async fn arrives(
    pair: &Pair,
    name: &str,
    schema: &[&str],
    statements: &[&str],
    tables: &[&str],
) -> Result<(Conn, Conn)> {
    let pipeline = pair.pipeline(name, schema).await?;
    let (mut source, mut sink) = pair.conns().await?;
    let session =
        format!("USE {name}; SET SESSION sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'");
    source.query_drop(session).await?;
    for statement in statements {
        source.query_drop(*statement).await?;
    }
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    for table in tables {
        same_table(&mut source, &mut sink, &format!("{name}.{table}")).await?;
    }
    sink.query_drop(format!("USE {name}")).await?;
    Ok((source, sink))
}

/// One pair of servers for all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_get_wrong() -> Result<()> {
    let pair = Pair::start().await?;
    id_zero(&pair).await?;
    parts_of_documents(&pair).await?;
    srid(&pair).await?;
    decimals_in_json(&pair).await?;
    generated_columns(&pair).await?;
    zero_dates(&pair).await?;
    vectors_filtered_out(&pair).await?;
    rows_before_a_drop_column(&pair).await?;
    swapped_unique_values(&pair).await?;
    one_of_three_equal_rows(&pair).await
}

async fn id_zero(pair: &Pair) -> Result<()> {
    let schema = ["CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)"];
    let life = [
        "INSERT INTO t VALUES (0, 1), (-1, 2), (5, 3)",
        "UPDATE t SET v = 9 WHERE id = 0",
    ];
    let (_, mut sink) = arrives(pair, "id_zero", &schema, &life, &["t"]).await?;
    ensure!(number(&mut sink, "SELECT v FROM t WHERE id = 0").await? == 9);
    Ok(())
}

async fn parts_of_documents(pair: &Pair) -> Result<()> {
    let schema = ["CREATE TABLE t (id INT PRIMARY KEY, j JSON)"];
    let life = [
        "INSERT INTO t VALUES (1, '{\"a\": \"long enough to be replaced in place\", \"b\": [1, 2]}')",
        "SET SESSION binlog_row_value_options = 'PARTIAL_JSON'",
        "UPDATE t SET j = JSON_SET(j, '$.a', 1.10)",
        "UPDATE t SET j = JSON_REPLACE(j, '$.b[1]', 3)",
        "UPDATE t SET j = JSON_REMOVE(j, '$.b[0]')",
    ];
    let (_, mut sink) = arrives(pair, "parts", &schema, &life, &["t"]).await?;
    let document: Option<String> = sink.query_first("SELECT CAST(j AS CHAR) FROM t").await?;
    ensure!(
        document.as_deref() == Some("{\"a\": 1.10, \"b\": [3]}"),
        "{document:?}"
    );
    Ok(())
}

async fn srid(pair: &Pair) -> Result<()> {
    let schema = ["CREATE TABLE t (id INT PRIMARY KEY, g GEOMETRY, p POINT SRID 4326)"];
    let life = [
        "INSERT INTO t VALUES (1, ST_GeomFromText('POINT(1 2)', 4326), ST_GeomFromText('POINT(3 4)', 4326)), \
         (2, ST_GeomFromText('POINT(1 2)', 3857), NULL), (3, POINT(1, 2), NULL)",
        "UPDATE t SET g = ST_SRID(g, 3857) WHERE id = 3",
    ];
    let (mut source, mut sink) = arrives(pair, "srid", &schema, &life, &["t"]).await?;
    let query = "SELECT id, ST_SRID(g), ST_SRID(p) FROM t";
    same(&mut source, &mut sink, query).await?;
    ensure!(
        rows(&mut sink, query).await?
            == [
                "'1', '4326', '4326'",
                "'2', '3857', NULL",
                "'3', '3857', NULL"
            ]
    );
    Ok(())
}

async fn decimals_in_json(pair: &Pair) -> Result<()> {
    let schema = ["CREATE TABLE t (id INT PRIMARY KEY, j JSON)"];
    let life =
        ["INSERT INTO t VALUES (1, JSON_OBJECT('d', 1.10, 'f', 1.10e0)), (2, CAST(1.10 AS JSON))"];
    let (mut source, mut sink) = arrives(pair, "decimals", &schema, &life, &["t"]).await?;
    let types =
        "SELECT id, CAST(j AS CHAR), JSON_TYPE(j), JSON_TYPE(j->'$.d'), JSON_TYPE(j->'$.f') FROM t";
    same(&mut source, &mut sink, types).await?;
    ensure!(rows(&mut sink, types).await?[0].contains("1.10"));
    Ok(())
}

async fn generated_columns(pair: &Pair) -> Result<()> {
    let schema = [
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, v INT AS (a + 1) VIRTUAL, s INT AS (a * 2) STORED, UNIQUE (s))",
    ];
    let life = [
        "INSERT INTO t (id, a) VALUES (1, 1), (2, 2)",
        "UPDATE t SET a = a + 5 ORDER BY a DESC",
        "DELETE FROM t WHERE s = 12",
    ];
    arrives(pair, "computed", &schema, &life, &["t"]).await?;
    Ok(())
}

async fn zero_dates(pair: &Pair) -> Result<()> {
    let schema =
        ["CREATE TABLE t (d DATE, dt DATETIME(3), ts TIMESTAMP NULL, v INT, PRIMARY KEY (d, dt))"];
    let life = [
        "INSERT INTO t VALUES ('0000-00-00', '0000-00-00', '0000-00-00', 1), ('2024-00-00', '2024-02-31 01:02:03.5', NULL, 1)",
        "UPDATE t SET v = 2",
        "DELETE FROM t WHERE ts IS NULL",
    ];
    arrives(pair, "zero_dates", &schema, &life, &["t"]).await?;
    Ok(())
}

/// A table of a type, or with what a type can do, is in nobody's way when it isn't replicated.
async fn vectors_filtered_out(pair: &Pair) -> Result<()> {
    let schema = [
        "CREATE TABLE t (id INT PRIMARY KEY)",
        "CREATE TABLE vectors (id INT PRIMARY KEY, v VECTOR(3))",
    ];
    let mut pipeline = pair.pipeline("filtered", &schema).await?;
    pipeline.tables = "filtered.t".to_owned();
    let (mut source, mut sink) = pair.conns().await?;
    sink.query_drop("DROP TABLE filtered.vectors").await?;
    for statement in [
        "INSERT INTO filtered.vectors VALUES (1, TO_VECTOR('[1,2,3]'))",
        "BEGIN; INSERT INTO filtered.t VALUES (1); UPDATE filtered.vectors SET v = TO_VECTOR('[3,2,1]'); COMMIT",
        "ALTER TABLE filtered.vectors ADD n INT",
        "DELETE FROM filtered.vectors",
    ] {
        source.query_drop(statement).await?;
    }
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    same_table(&mut source, &mut sink, "filtered.t").await
}

async fn rows_before_a_drop_column(pair: &Pair) -> Result<()> {
    let schema = ["CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, c INT)"];
    // All of it is in the binlog before the first row is read.
    let life = [
        "INSERT INTO t VALUES (1, 10, 20, 30)",
        "ALTER TABLE t DROP COLUMN a",
        "UPDATE t SET b = 21",
        "ALTER TABLE t ADD COLUMN a INT DEFAULT 7",
        "INSERT INTO t VALUES (2, 1, 2, 3)",
        "ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a",
        "INSERT INTO t (id, a, b, c) VALUES (3, 1, 2, 3)",
    ];
    let (_, mut sink) = arrives(pair, "dropped", &schema, &life, &["t"]).await?;
    ensure!(
        rows(&mut sink, "SELECT id, a, b, c FROM t WHERE id = 1").await?
            == ["'1', '21', '7', '30'"]
    );
    Ok(())
}

async fn swapped_unique_values(pair: &Pair) -> Result<()> {
    let schema = [
        "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE)",
        "CREATE TABLE p (id INT PRIMARY KEY, v INT)",
    ];
    let life = [
        "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)",
        "BEGIN; UPDATE t SET u = 0 WHERE id = 1; UPDATE t SET u = 1 WHERE id = 2; UPDATE t SET u = 2 WHERE id = 1; COMMIT",
        // In one statement: each value moves up, from the highest one on.
        "UPDATE t SET u = u + 1 ORDER BY u DESC",
        "UPDATE t SET u = -u ORDER BY u",
        "INSERT INTO p VALUES (1, 1), (2, 2)",
        "BEGIN; UPDATE p SET id = 3 WHERE id = 1; UPDATE p SET id = 1 WHERE id = 2; UPDATE p SET id = 2 WHERE id = 3; COMMIT",
    ];
    arrives(pair, "swapped", &schema, &life, &["t", "p"]).await?;
    for (name, image) in [("swapped_minimal", "MINIMAL"), ("swapped_noblob", "NOBLOB")] {
        let set = format!("SET SESSION binlog_row_image = '{image}'");
        let mut life = life.to_vec();
        life.insert(0, &set);
        arrives(pair, name, &schema, &life, &["t", "p"]).await?;
    }
    Ok(())
}

async fn one_of_three_equal_rows(pair: &Pair) -> Result<()> {
    let schema = ["CREATE TABLE t (a INT, b VARCHAR(10), f FLOAT)"];
    let life = [
        "INSERT INTO t VALUES (1, 'x', 0.1), (1, 'x', 0.1), (1, 'x', 0.1), (1, 'X', 0.1), (NULL, NULL, NULL), (NULL, NULL, NULL)",
        "DELETE FROM t WHERE a = 1 AND BINARY b = 'x' LIMIT 1",
        "UPDATE t SET f = -0.0e0 WHERE BINARY b = 'x' LIMIT 1",
        "DELETE FROM t WHERE a IS NULL LIMIT 1",
    ];
    let (_, mut sink) = arrives(pair, "equal", &schema, &life, &["t"]).await?;
    ensure!(number(&mut sink, "SELECT COUNT(*) FROM t").await? == 4);
    Ok(())
}
