//! Tables that are read in chunks and written elsewhere: every value of every type, every row once and in
//! key order, and tables made as they are at the source.

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use towpath_core::apply::target::TargetTable;
use towpath_core::commit::session::Session;
use towpath_core::scan::{
    self, CreateError, Definitions, Key, KeyRange, ScanChunk, ScanTable, upserts,
};
use towpath_protocol::spec::TableFilter;
use towpath_testing::MysqlServer;

use crate::harness::{Pair, SINK, endpoint, rows, same, same_table};
use crate::types;

/// More than any table here has.
const ROWS_MAX: u32 = 1_000;
const BYTES_MAX: u64 = 1 << 20;

/// A connection of the source as a pipeline's reader has it.
async fn reader(server: &MysqlServer) -> Result<Conn> {
    let mut conn = server.conn_as("repl").await?;
    scan::prepare(&mut conn).await?;
    Ok(conn)
}

/// A session of the sink as the lane has it.
async fn lane(server: &MysqlServer) -> Result<Session> {
    let mut session = Session::connect(SINK, &endpoint(server)).await?;
    session.read_bytes().await?;
    Ok(session)
}

async fn table(conn: &mut Conn, database: &str, table: &str) -> Result<ScanTable> {
    let read = ScanTable::read(conn, database, table).await?;
    read.with_context(|| format!("no table {database}.{table}"))
}

/// All chunks of a table, each from where the one before ended. Keys go through JSON, as they are stored.
async fn chunks(
    conn: &mut Conn,
    table: &ScanTable,
    condition: Option<&str>,
    rows_max: u32,
    bytes_max: u64,
) -> Result<Vec<ScanChunk>> {
    let mut all = Vec::new();
    if !table.has_key() {
        let mut rows = table.rows(conn, condition).await?;
        loop {
            let chunk = rows.next(u64::from(rows_max), bytes_max).await?;
            let ended = chunk.ended;
            all.push(chunk);
            if ended {
                rows.close().await?;
                return Ok(all);
            }
        }
    }
    let Some(until) = table.last_key(conn).await? else {
        return Ok(all);
    };
    let mut range = KeyRange {
        after: None,
        until: Some(until),
    };
    loop {
        let chunk = table
            .chunk(conn, &range, condition, rows_max, bytes_max)
            .await
            .with_context(|| range.predicate(table))?;
        ensure!(chunk.rows <= u64::from(rows_max), "{} rows", chunk.rows);
        if condition.is_none() && chunk.rows > 0 {
            let rows = u32::try_from(chunk.rows)?;
            assert_eq!(table.nth_key(conn, &range, rows).await?, chunk.last);
        }
        if chunk.ended {
            all.push(chunk);
            return Ok(all);
        }
        let stored = serde_json::to_string(&chunk.last)?;
        let last: Option<Key> = serde_json::from_str(&stored)?;
        ensure!(last.is_some(), "no rows, and not ended");
        range.after = last;
        all.push(chunk);
    }
}

/// A row's cells, as text.
fn texts(table: &ScanTable, chunks: &[ScanChunk]) -> Vec<Vec<String>> {
    let width = table.definition().columns.len();
    let row = |chunk: &ScanChunk, row: usize| {
        (0..width)
            .map(|column| String::from_utf8_lossy(chunk.cell(row, column).unwrap()).into_owned())
            .collect()
    };
    chunks
        .iter()
        .flat_map(|chunk| (0..chunk.rows as usize).map(move |at| row(chunk, at)))
        .collect()
}

async fn write(
    sink: &mut Session,
    target: &TargetTable,
    table: &ScanTable,
    chunks: &[ScanChunk],
) -> Result<()> {
    for chunk in chunks {
        for statement in upserts(chunk, table, target)? {
            sink.packet("write a chunk", &statement, 1)
                .await
                .map_err(|(_, error)| error)
                .with_context(|| {
                    String::from_utf8_lossy(&statement[..statement.len().min(500)]).into_owned()
                })?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_is_read_and_written() -> Result<()> {
    // Both at an offset, so that a TIMESTAMP that isn't carried in UTC is seen.
    let pair = Pair::with(
        |source| source.option("default-time-zone", "+03:00"),
        |sink| sink.option("default-time-zone", "-05:00"),
    )
    .await?;
    let (mut source, mut sink) = pair.conns().await?;
    types::prepare(&mut source).await?;
    let mut tables = types::Tables::new();
    // A few tables without a key are as good as all: how they are read hangs on no type.
    tables.retain(|name| {
        let number = name.strip_prefix('b').and_then(|n| n.parse::<u32>().ok());
        number.is_none_or(|number| number % 8 == 0)
    });
    source
        .query_drop("CREATE DATABASE scanned; USE scanned")
        .await?;
    for statement in tables.create.iter().chain(&tables.insert) {
        source
            .query_drop(statement)
            .await
            .with_context(|| statement.chars().take(300).collect::<String>())?;
    }

    let mut conn = reader(&pair.source).await?;
    let mut lane = lane(&pair.sink).await?;
    let filter = TableFilter::parse(&["scanned.*"])?;
    let definitions = Definitions::read(&mut conn, &filter).await?;
    let created = definitions.create(lane.conn()).await?;
    ensure!(created.len() == tables.create.len(), "{created:?}");
    for (name, _) in &tables.compare {
        let scanned = table(&mut conn, "scanned", name).await?;
        let target = TargetTable::read(lane.conn(), "scanned", name).await?;
        let target = target.with_context(|| name.clone())?;
        let copied = async {
            let all = chunks(&mut conn, &scanned, None, ROWS_MAX, BYTES_MAX).await?;
            write(&mut lane, &target, &scanned, &all).await?;
            if scanned.has_key() {
                // One row at a time, over what is there.
                let again = chunks(&mut conn, &scanned, None, 1, BYTES_MAX).await?;
                ensure!(
                    texts(&scanned, &again) == texts(&scanned, &all),
                    "in other chunks"
                );
                write(&mut lane, &target, &scanned, &again).await?;
            }
            anyhow::Ok(())
        };
        copied.await.with_context(|| name.clone())?;
    }
    // As the source's session, so that both print the same text.
    sink.query_drop("SET NAMES utf8mb4, time_zone = '+03:00', sql_mode = 'ALLOW_INVALID_DATES'")
        .await?;
    sink.query_drop("USE scanned").await?;
    tables.compare(&mut source, &mut sink).await?;
    tables.same_definitions(&mut source, &mut sink).await
}

/// Keys, each with rows: the columns, the key, and the rows without their number.
const KEYS: &[(&str, &str, &str)] = &[
    (
        "k BIGINT",
        "k",
        "-9223372036854775808 / -1 / 0 / 7 / 9223372036854775807",
    ),
    (
        "k BIGINT UNSIGNED",
        "k",
        "0 / 18446744073709551615 / 9223372036854775808",
    ),
    ("k BIGINT", "k DESC", "-3 / 5 / 0 / 2"),
    (
        "k DECIMAL(65,30)",
        "k",
        "-0.1 / 0 / 0.000000000000000000000000000001 / 99999999999999999999999999999999999.5",
    ),
    (
        "k DOUBLE",
        "k",
        "-1e-300 / 0.1 / 0.30000000000000004 / 0.3 / 1e300 / 5e-324",
    ),
    (
        "k DATE",
        "k",
        "'0000-00-00' / '2024-02-31' / '2024-00-15' / '9999-12-31' / '2024-03-01'",
    ),
    (
        "k DATETIME(6)",
        "k",
        "'0000-00-00' / '2024-01-01 00:00:00.000001' / '2024-01-01' / '2024-02-31 10:00:00'",
    ),
    (
        "k TIMESTAMP(6)",
        "k",
        "'0000-00-00' / '1970-01-01 03:00:01' / '2024-10-27 00:30:00.5' / '2024-10-27 00:30:00.500001'",
    ),
    (
        "k TIME(3)",
        "k",
        "'-838:59:59' / '-00:00:00.001' / '00:00:00' / '00:00:00.001' / '838:59:59'",
    ),
    ("k YEAR", "k", "0 / 1901 / 1970 / 2000 / 2069 / 2155"),
    (
        "k ENUM('z','a','m')",
        "k",
        "'z' / 'a' / 'm' / 'no such label'",
    ),
    (
        "k SET('z','a','m')",
        "k",
        "'z' / 'a' / 'z,m' / '' / 'z,a,m'",
    ),
    ("k BIT(12)", "k", "0 / 5 / 92 / 4000"),
    (
        "k BIT(64)",
        "k",
        "0 / 18446744073709551615 / 9223372036854775808 / 39",
    ),
    ("k CHAR(5)", "k", "'' / 'a' / 'é' / 'b' / 'a\\\\' / 'a\\''"),
    (
        "k VARCHAR(9) COLLATE utf8mb4_0900_ai_ci",
        "k",
        "'' / 'a' / 'a ' / 'B' / 'c' / '😀' / 'Ö' / 'zz'",
    ),
    (
        "k VARCHAR(9) COLLATE utf8mb4_0900_as_cs",
        "k",
        "'a' / 'A' / 'ä' / 'Ä' / 'a ' / 'b'",
    ),
    (
        "k VARCHAR(9) COLLATE utf8mb4_bin",
        "k",
        "'a' / 'A' / 'ä' / 'Z' / ''",
    ),
    (
        "k VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_german1_ci",
        "k",
        "'a' / 'B' / 'ß' / 'ü' / 'z' / ''''",
    ),
    (
        "k VARCHAR(9) CHARACTER SET sjis",
        "k",
        "'ソ' / '表' / 'a' / 'ｱ' / ''",
    ),
    (
        "k VARCHAR(9) CHARACTER SET gbk",
        "k",
        "'縗' / 'b' / X'815C'",
    ),
    (
        "k VARCHAR(9) CHARACTER SET utf16",
        "k",
        "'😀' / 'é' / 'a' / '\\\\'",
    ),
    (
        "k VARBINARY(9)",
        "k",
        "'' / X'00' / X'0000' / X'FF' / X'5C27' / 'a'",
    ),
    ("k BINARY(3)", "k", "'' / X'01' / X'FFFFFF' / 'ab'"),
    (
        "k VARCHAR(9) COLLATE utf8mb4_0900_ai_ci, m INT",
        "k, m",
        "'a', 1 / 'A', 2 / 'ä', 3 / 'A ', 1 / 'b', 1 / 'Ä', 0 / 'A', -5",
    ),
    (
        "k VARCHAR(9) COLLATE utf8mb4_general_ci, m DATE, o DECIMAL(5,2)",
        "k, m DESC, o",
        "'a', '2024-01-01', 1 / 'A ', '2024-01-02', 1 / 'a', '2024-01-01', -1 / 'ä', '0000-00-00', 0 / 'b', '2024-01-01', 9",
    ),
    (
        "k ENUM('z','a'), m BINARY(2), o BIT(3)",
        "k, m, o",
        "'z', 'a', 1 / 'z', 'a', 2 / 'z', X'FF', 0 / 'a', '', 7 / 'a', '', 6",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_comes_once_and_in_key_order() -> Result<()> {
    let source = MysqlServer::builder()
        .option("default-time-zone", "+03:00")
        .start()
        .await?;
    let mut root = source.conn().await?;
    root.query_drop(
        "SET NAMES utf8mb4, sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'; \
         CREATE DATABASE d; USE d",
    )
    .await?;
    let mut conn = reader(&source).await?;
    for (at, (columns, key, values)) in KEYS.iter().enumerate() {
        // The primary key of some, a unique one without NULLs of others.
        let columns = columns
            .replace(", ", " NOT NULL, ")
            .replace("NOT NULL NOT NULL", "NOT NULL");
        let columns = format!("{columns} NOT NULL");
        let kind = if at % 2 == 0 { "PRIMARY" } else { "UNIQUE" };
        let create = format!("CREATE TABLE t{at} (n INT, {columns}, {kind} KEY ({key}))");
        root.query_drop(&create)
            .await
            .with_context(|| create.clone())?;
        let written: Vec<&str> = columns
            .split(", ")
            .filter_map(|column| column.split(' ').next())
            .collect();
        let written = written.join(", ");
        for (n, row) in values.split(" / ").enumerate() {
            let insert = format!("INSERT IGNORE INTO t{at} (n, {written}) VALUES ({n}, {row})");
            root.query_drop(&insert)
                .await
                .with_context(|| insert.clone())?;
        }
        in_key_order(&mut root, &mut conn, &format!("t{at}"), key, values)
            .await
            .with_context(|| create.clone())?;
    }
    // A float is no key, nor is a column that may be NULL, nor one that is computed: it is in no statement.
    for columns in [
        "k FLOAT PRIMARY KEY",
        "m INT, k INT AS (m % 10) STORED NOT NULL PRIMARY KEY",
        "k INT NULL UNIQUE",
        "k TEXT, UNIQUE (k(9))",
    ] {
        root.query_drop(format!("CREATE OR REPLACE VIEW v AS SELECT 1; DROP TABLE IF EXISTS none; CREATE TABLE none ({columns})"))
            .await?;
        let none = table(&mut conn, "d", "none").await?;
        ensure!(!none.has_key(), "{columns}");
        let refused = none
            .chunk(&mut conn, &KeyRange::default(), None, 1, 1)
            .await
            .unwrap_err();
        ensure!(refused.to_string().contains("d.none"), "{refused}");
    }
    ensure!(ScanTable::read(&mut conn, "d", "gone").await?.is_none());
    changed_meanwhile(&mut root, &mut conn).await
}

async fn in_key_order(
    root: &mut Conn,
    conn: &mut Conn,
    name: &str,
    key: &str,
    values: &str,
) -> Result<()> {
    let ordered = format!("SELECT n FROM {name} ORDER BY {key}");
    let expected: Vec<String> = root.query(&ordered).await?;
    ensure!(
        expected.len() == values.split(" / ").count(),
        "{expected:?}"
    );
    let scanned = table(conn, "d", name).await?;
    let numbers = |chunks: &[ScanChunk]| -> Vec<String> {
        let texts = texts(&scanned, chunks);
        texts
            .into_iter()
            .map(|mut row| row.swap_remove(0))
            .collect()
    };
    for (rows_max, bytes_max) in [
        (1, BYTES_MAX),
        (2, BYTES_MAX),
        (3, 1),
        (ROWS_MAX, BYTES_MAX),
    ] {
        let all = chunks(conn, &scanned, None, rows_max, bytes_max).await?;
        let found = numbers(&all);
        ensure!(
            found == expected,
            "chunks of {rows_max}: {found:?}, not {expected:?}"
        );
        // Each row's own key finds it alone.
        for (chunk, at) in all
            .iter()
            .flat_map(|chunk| (0..chunk.rows as usize).map(move |at| (chunk, at)))
        {
            let range = KeyRange {
                after: None,
                until: chunk.key(at),
            };
            let upto = scanned
                .chunk(conn, &range, None, ROWS_MAX, BYTES_MAX)
                .await?;
            let upto = numbers(&[upto]);
            let wanted = numbers(std::slice::from_ref(chunk)).swap_remove(at);
            ensure!(
                upto.last() == Some(&wanted),
                "{range:?}: {upto:?}, not {wanted}"
            );
        }
    }
    let some = chunks(
        conn,
        &scanned,
        Some("n > 0 AND n < 3 -- a comment"),
        1,
        BYTES_MAX,
    )
    .await?;
    let wanted: Vec<&String> = expected.iter().filter(|n| *n == "1" || *n == "2").collect();
    ensure!(numbers(&some).iter().eq(wanted), "with a condition");
    Ok(())
}

/// A table that isn't as it was read is told apart from other errors, also where the rows don't show it.
async fn changed_meanwhile(root: &mut Conn, conn: &mut Conn) -> Result<()> {
    for (at, change) in [
        "ALTER TABLE moved RENAME COLUMN v TO w",
        "RENAME TABLE moved TO away",
        "ALTER TABLE moved DROP PRIMARY KEY, ADD UNIQUE other (k)",
    ]
    .into_iter()
    .enumerate()
    {
        root.query_drop(
            "DROP TABLE IF EXISTS moved; CREATE TABLE moved (k INT PRIMARY KEY, v INT)",
        )
        .await?;
        let moved = table(conn, "d", "moved").await?;
        root.query_drop(change).await?;
        let error = moved
            .chunk(conn, &KeyRange::default(), None, 1, 1)
            .await
            .unwrap_err();
        ensure!(error.is_stale(), "{at}: {error}");
        ensure!(moved.confirm(conn).await.unwrap_err().is_stale());
        // And the connection goes on.
        ensure!(conn.query_first::<u8, _>("SELECT 1").await? == Some(1));
    }
    for (column, change) in [
        ("ENUM('a','b')", "ENUM('b','a')"),
        (
            "VARCHAR(9) CHARACTER SET latin1",
            "VARCHAR(9) CHARACTER SET cp1251",
        ),
    ] {
        let create = format!("CREATE TABLE moved (k INT PRIMARY KEY, v {column})");
        root.query_drop(format!("DROP TABLE IF EXISTS moved; {create}"))
            .await?;
        let moved = table(conn, "d", "moved").await?;
        moved.confirm(conn).await?;
        root.query_drop(format!("ALTER TABLE moved MODIFY v {change}"))
            .await?;
        let error = moved.confirm(conn).await.unwrap_err();
        ensure!(error.is_stale(), "{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_overwritten_and_nothing_else() -> Result<()> {
    let pair = Pair::start().await?;
    let (mut source, mut sink) = pair.conns().await?;
    for root in [&mut source, &mut sink] {
        root.query_drop(
            "CREATE DATABASE d; USE d; CREATE TABLE taken (id INT PRIMARY KEY, u INT UNIQUE); \
             CREATE TABLE wide (id INT PRIMARY KEY, v LONGTEXT); \
             CREATE TABLE parent (id INT PRIMARY KEY, v INT); \
             CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)",
        )
        .await?;
    }
    source
        .query_drop(
            "CREATE TABLE own (id INT PRIMARY KEY, v INT); INSERT INTO own VALUES (1, 1), (2, 2); \
             INSERT INTO taken VALUES (1, 10), (2, 20); INSERT INTO parent VALUES (1, 1); INSERT INTO child VALUES (1, 1); \
             INSERT INTO wide SELECT n, REPEAT('x', 300000) FROM (SELECT 1 n UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5) AS r",
        )
        .await?;
    sink.query_drop(
        "CREATE TABLE own (more INT DEFAULT 5, v INT, id INT PRIMARY KEY); INSERT INTO own VALUES (9, 8, 1); \
         INSERT INTO taken VALUES (1, 20), (7, 10); INSERT INTO parent VALUES (1, 7); INSERT INTO child VALUES (1, 1)",
    )
    .await?;
    let mut conn = reader(&pair.source).await?;
    let mut lane = lane(&pair.sink).await?;
    lane.execute("check", "SET SESSION foreign_key_checks = 1")
        .await?;
    for name in ["taken", "child", "parent", "wide", "own"] {
        let scanned = table(&mut conn, "d", name).await?;
        let target = TargetTable::read(lane.conn(), "d", name).await?;
        let target = target.with_context(|| name.to_owned())?;
        let all = chunks(&mut conn, &scanned, None, ROWS_MAX, 64 * BYTES_MAX).await?;
        if name == "wide" {
            let sizes: Vec<usize> = upserts(&all[0], &scanned, &target)?
                .iter()
                .map(Vec::len)
                .collect();
            ensure!(
                sizes.len() == 2 && sizes.iter().all(|size| *size <= 1 << 20),
                "{sizes:?}"
            );
        }
        write(&mut lane, &target, &scanned, &all).await?;
    }
    for name in ["taken", "child", "parent", "wide"] {
        same_table(&mut source, &mut sink, name).await?;
    }
    let own = rows(&mut sink, "SELECT more, v, id FROM own").await?;
    ensure!(own == ["'5', '2', '2'", "'9', '1', '1'"], "{own:?}");

    // What can't take the rows is refused.
    for (change, code) in [
        ("ALTER TABLE own MODIFY v SMALLINT", "TP1403"),
        ("ALTER TABLE own DROP COLUMN v", "TP1402"),
    ] {
        sink.query_drop(change).await?;
        let scanned = table(&mut conn, "d", "own").await?;
        let target = TargetTable::read(lane.conn(), "d", "own").await?.unwrap();
        let all = chunks(&mut conn, &scanned, None, ROWS_MAX, BYTES_MAX).await?;
        let error = upserts(&all[0], &scanned, &target).unwrap_err();
        ensure!(error.code().to_string() == code, "{error}");
    }
    Ok(())
}

/// What is at the source, beside the types' tables.
const SCHEMA: &[&str] = &[
    "CREATE DATABASE made CHARACTER SET latin1 COLLATE latin1_german2_ci",
    "USE made",
    "CREATE TABLE b (id INT PRIMARY KEY, a INT, FOREIGN KEY (a) REFERENCES a (id))",
    "CREATE TABLE a (id INT PRIMARY KEY, b INT, FOREIGN KEY (b) REFERENCES b (id) ON DELETE SET NULL)",
    "CREATE TABLE counted (id INT AUTO_INCREMENT PRIMARY KEY COMMENT 'it''s ) ENGINE=x; AUTO_INCREMENT=3', \
     d DATE NOT NULL DEFAULT '0000-00-00', e DATE DEFAULT '2024-02-31', ts TIMESTAMP NOT NULL, h INT INVISIBLE, g INT AS (h + 1) VIRTUAL, \
     v VARCHAR(9) DEFAULT '\\\\\\'\\n', KEY ((h * 2)), CHECK (h > 0)) AUTO_INCREMENT = 100 COMMENT 'DATA DIRECTORY=''x'''",
    "CREATE TABLE parts (id INT, y INT, PRIMARY KEY (id, y)) PARTITION BY RANGE (y) \
     (PARTITION p0 VALUES LESS THAN (2000) COMMENT 'old', PARTITION p1 VALUES LESS THAN MAXVALUE)",
    "CREATE TABLE `od``d \"name` (`c``c` INT PRIMARY KEY) CHARACTER SET utf8mb4",
    "CREATE TABLE plain (id INT PRIMARY KEY) ENGINE = MyISAM",
    "CREATE TABLESPACE apart ADD DATAFILE 'apart.ibd'",
    "CREATE TABLE placed (id INT PRIMARY KEY) TABLESPACE apart COMMENT 'here'",
    "CREATE TABLE elsewhere (id INT PRIMARY KEY) DATA DIRECTORY = '$dir'",
    "CREATE TABLE keyless (a INT)",
    "CREATE TRIGGER tr BEFORE INSERT ON counted FOR EACH ROW SET NEW.h = 1",
    "CREATE VIEW v AS SELECT 1",
    "CREATE TABLE left_out (id INT)",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sink_lacks_is_made_as_at_the_source() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("towpath-test-").tempdir()?;
    let path = dir.path().to_str().unwrap().to_owned();
    let pair = Pair::with(
        |source| source.option("innodb-directories", &path),
        |sink| {
            sink.option("explicit-defaults-for-timestamp", "OFF")
                .option("sql-generate-invisible-primary-key", "ON")
        },
    )
    .await?;
    let (mut source, mut sink) = pair.conns().await?;
    source
        .query_drop("SET foreign_key_checks = 0, sql_mode = 'ALLOW_INVALID_DATES'")
        .await?;
    for statement in SCHEMA {
        let statement = statement.replace("$dir", &path);
        source.query_drop(&statement).await.context(statement)?;
    }
    let filter = TableFilter::parse(&["made.*", "!made.left_out"])?;
    let mut conn = reader(&pair.source).await?;
    let definitions = Definitions::read(&mut conn, &filter).await?;
    let mut lane = lane(&pair.sink).await?;
    let session = "SELECT @@character_set_client, @@character_set_results, @@collation_connection, @@sql_mode, \
        @@foreign_key_checks, @@explicit_defaults_for_timestamp, @@sql_generate_invisible_primary_key";
    let before = rows(lane.conn(), session).await?;
    let created = definitions.create(lane.conn()).await?;
    ensure!(
        rows(lane.conn(), session).await? == before,
        "the session is another"
    );
    let names: Vec<&str> = created.iter().map(|name| name.table.as_str()).collect();
    let all = [
        "a",
        "b",
        "counted",
        "elsewhere",
        "keyless",
        "od`d \"name",
        "parts",
        "placed",
        "plain",
    ];
    ensure!(names == all, "{names:?}");

    for name in ["a", "b", "counted", "keyless", "`od``d \"name`", "parts"] {
        let show = format!("SHOW CREATE TABLE made.{name}");
        let (there, here) = (
            rows(&mut source, &show).await?,
            rows(&mut sink, &show).await?,
        );
        // A column's own collation is printed with its character set where the definition had both.
        let here: Vec<String> = here
            .iter()
            .map(|text| text.replace(" CHARACTER SET latin1 COLLATE", " COLLATE"))
            .collect();
        ensure!(there == here, "source: {there:#?}\n  sink: {here:#?}");
    }
    same(&mut source, &mut sink, "SHOW CREATE DATABASE made").await?;
    let there = rows(
        &mut sink,
        "SELECT TABLE_NAME, ENGINE, TABLE_COMMENT FROM information_schema.tables \
         WHERE TABLE_SCHEMA = 'made' AND TABLE_NAME IN ('elsewhere', 'placed', 'plain', 'v', 'left_out')",
    )
    .await?;
    let expected = [
        "'elsewhere', 'InnoDB', ''",
        "'placed', 'InnoDB', 'here'",
        "'plain', 'InnoDB', ''",
    ];
    ensure!(there == expected, "{there:?}");
    ensure!(rows(&mut sink, "SHOW TRIGGERS FROM made").await?.is_empty());

    // Again after a crash between two tables; what is there stays.
    sink.query_drop("SET foreign_key_checks = 0; DROP TABLE made.b, made.parts; INSERT INTO made.keyless VALUES (1)")
        .await?;
    let created = definitions.create(lane.conn()).await?;
    let names: Vec<&str> = created.iter().map(|name| name.table.as_str()).collect();
    ensure!(names == ["b", "parts"], "{names:?}");
    ensure!(definitions.create(lane.conn()).await?.is_empty());
    ensure!(rows(&mut sink, "SELECT a FROM made.keyless").await? == ["'1'"]);

    // A counter that moves is no change; a column is.
    source
        .query_drop("INSERT INTO counted (id) VALUES (500)")
        .await?;
    let later = Definitions::read(&mut conn, &filter).await?;
    ensure!(later.is_same(&definitions), "a counter counts");
    source
        .query_drop("ALTER TABLE a ADD COLUMN more INT")
        .await?;
    let later = Definitions::read(&mut conn, &filter).await?;
    ensure!(!later.is_same(&definitions), "a column doesn't count");
    refused(&mut sink, &mut lane, &later).await
}

/// Tables that are there and can't take the rows, each under `check`'s code.
async fn refused(sink: &mut Conn, lane: &mut Session, definitions: &Definitions) -> Result<()> {
    for (change, undo, code) in [
        (
            "SELECT 1",
            "ALTER TABLE made.a ADD COLUMN more INT",
            "TP1402",
        ),
        (
            "ALTER TABLE made.parts MODIFY id SMALLINT",
            "ALTER TABLE made.parts MODIFY id INT",
            "TP1403",
        ),
        (
            "ALTER TABLE made.parts ADD COLUMN own INT NOT NULL",
            "ALTER TABLE made.parts DROP COLUMN own",
            "TP1404",
        ),
        (
            "SET sql_generate_invisible_primary_key = OFF; ALTER TABLE made.plain DROP PRIMARY KEY",
            "ALTER TABLE made.plain ADD PRIMARY KEY (id)",
            "TP1409",
        ),
        (
            "ALTER TABLE made.plain ENGINE = MyISAM",
            "ALTER TABLE made.plain ENGINE = InnoDB",
            "TP1405",
        ),
    ] {
        sink.query_drop(change).await?;
        let error = definitions.create(lane.conn()).await.unwrap_err();
        ensure!(matches!(error, CreateError::Differs { .. }), "{error}");
        ensure!(error.code().to_string() == code, "{error}");
        sink.query_drop(undo).await?;
    }
    ensure!(definitions.create(lane.conn()).await?.is_empty());
    Ok(())
}
