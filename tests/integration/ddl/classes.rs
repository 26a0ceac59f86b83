//! Every class of schema change, with rows in flight on both sides of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error};
use tokio::task::JoinHandle;

use super::{compare_database, compare_view, marked_statements};
use crate::harness::{Pair, number, same, stop};

/// Tables that rows go into all the while.
const LOADED: u32 = 3;

/// Writes into the loaded tables until it is told to stop; answers how many statements it ran.
struct Load {
    goes_on: Arc<AtomicBool>,
    task: JoinHandle<Result<u64>>,
}

impl Load {
    async fn start(pair: &Pair, database: &'static str) -> Result<Self> {
        let mut conn = pair.source.conn().await?;
        let goes_on = Arc::new(AtomicBool::new(true));
        let stop = Arc::clone(&goes_on);
        let task = tokio::spawn(async move {
            let mut done = 0;
            let mut key = 0_u64;
            while stop.load(Ordering::Relaxed) {
                key += 1;
                let table = format!("{database}.w{}", key % u64::from(LOADED));
                for statement in [
                    format!(
                        "INSERT INTO {table} (id, v) VALUES ({key}, 'a'), (1000000 + {key}, 'b')"
                    ),
                    format!("UPDATE {table} SET v = CONCAT('c', {key}) WHERE id = {key}"),
                    format!("DELETE FROM {table} WHERE id = 1000000 + {key}"),
                ] {
                    match conn.query_drop(&statement).await {
                        Ok(()) => done += 1,
                        // The table is being renamed: it is there again soon.
                        Err(Error::Server(error)) if error.code == 1146 => {}
                        Err(error) => return Err(error).context(statement),
                    }
                }
            }
            Ok(done)
        });
        Ok(Self { goes_on, task })
    }

    async fn stop(self) -> Result<u64> {
        self.goes_on.store(false, Ordering::Relaxed);
        self.task.await?
    }
}

/// What runs once on the sink is marked `/* ddl … */`, unless the server writes it anew.
const SCRIPT: &[&str] = &[
    // A change of a table that is written to, then rows that depend on it.
    "ALTER TABLE w0 ADD COLUMN n INT NOT NULL DEFAULT 3, ADD KEY k (n) /* ddl 1 */",
    "UPDATE w0 SET n = id % 7",
    "ALTER TABLE w1 ADD COLUMN g VARCHAR(60) AS (CONCAT(v, '!')) STORED /* ddl 2 */",
    "ALTER TABLE w1 MODIFY v VARCHAR(50) CHARACTER SET latin1, ALGORITHM=COPY /* ddl 3 */",
    "CREATE INDEX i ON w1 (v, g) /* ddl 4 */",
    "CREATE UNIQUE INDEX `on` USING BTREE ON w0 (id, n) /* ddl 5 */",
    "DROP INDEX i ON w1 /* ddl 6 */",
    "ALTER TABLE w0 RENAME COLUMN n TO m, RENAME INDEX k TO `k``2` /* ddl 7 */",
    "UPDATE w0 SET m = 8 WHERE id % 2 = 0",
    "TRUNCATE TABLE w2 /* ddl 8 */",
    "INSERT INTO w2 (id, v) VALUES (9000001, 'after')",
    "TRUNCATE /* all */ w2 /* ddl 9 */",
    // Renames, chained and across databases, of a table that is written to.
    "RENAME TABLE w2 TO w2_tmp, w2_tmp TO other.w2, other.w2 TO w2 /* ddl 10 */",
    "ALTER TABLE w1 ADD COLUMN x INT, RENAME TO w1_old /* ddl 11 */",
    "UPDATE w1_old SET x = 1",
    "ALTER TABLE w1_old RENAME AS w1 /* ddl 12 */",
    // Tables made of others.
    "CREATE TABLE copied LIKE w0 /* ddl 13 */",
    "INSERT INTO copied SELECT * FROM w0",
    "CREATE TABLE selected (PRIMARY KEY (id)) AS SELECT id, v FROM w0",
    "UPDATE selected SET v = 'changed' WHERE id % 3 = 0",
    "CREATE TABLE `no rows` SELECT * FROM w0 WHERE 0",
    "CREATE TABLE IF NOT EXISTS selected SELECT 1 AS id",
    "CREATE TEMPORARY TABLE tmp (a INT PRIMARY KEY)",
    "INSERT INTO tmp VALUES (1), (2)",
    "ALTER TABLE tmp ADD b INT",
    "CREATE TABLE like_tmp LIKE tmp",
    "CREATE TABLE of_tmp SELECT * FROM tmp",
    "DROP TABLE tmp, like_tmp",
    "CREATE TEMPORARY TABLE tmp2 (a INT)",
    "DROP TEMPORARY TABLE tmp2",
    // Partitions.
    "CREATE TABLE part (id INT PRIMARY KEY, v INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), \
     PARTITION p1 VALUES LESS THAN (20), PARTITION p2 VALUES LESS THAN (30)) /* ddl 14 */",
    "INSERT INTO part VALUES (1, 1), (11, 2), (21, 3), (22, 4)",
    "ALTER TABLE part ADD PARTITION (PARTITION p3 VALUES LESS THAN (40)) /* ddl 15 */",
    "INSERT INTO part VALUES (31, 5)",
    "ALTER TABLE part DROP PARTITION p0 /* ddl 16 */",
    "ALTER TABLE part TRUNCATE PARTITION p1 /* ddl 17 */",
    "INSERT INTO part VALUES (11, 6)",
    "ALTER TABLE part REORGANIZE PARTITION p2, p3 INTO (PARTITION q VALUES LESS THAN (40)) /* ddl 18 */",
    "CREATE TABLE swapped (id INT PRIMARY KEY, v INT) /* ddl 19 */",
    "INSERT INTO swapped VALUES (12, 7), (13, 8)",
    "ALTER TABLE part EXCHANGE PARTITION p1 WITH TABLE swapped /* ddl 20 */",
    "UPDATE part SET v = v + 1",
    "UPDATE swapped SET v = v + 1",
    "ALTER TABLE part REBUILD PARTITION p1",
    "ALTER TABLE part ANALYZE PARTITION ALL",
    "ALTER TABLE part REMOVE PARTITIONING /* ddl 21 */",
    "INSERT INTO part VALUES (100, 9)",
    "ALTER TABLE part ENGINE=InnoDB PARTITION BY HASH (id) PARTITIONS 3 /* ddl 22 */",
    "ALTER TABLE part COALESCE PARTITION 1 /* ddl 23 */",
    // Databases.
    "CREATE DATABASE IF NOT EXISTS classes_more CHARACTER SET latin1 /* ddl 24 */",
    "CREATE TABLE classes_more.t (id INT PRIMARY KEY, v VARCHAR(9)) /* ddl 25 */",
    "INSERT INTO classes_more.t VALUES (1, 'caf\u{e9}')",
    "ALTER DATABASE classes_more COLLATE latin1_bin /* ddl 26 */",
    "ALTER DATABASE classes_more READ ONLY = 1 /* ddl 27 */",
    "ALTER DATABASE classes_more READ ONLY = 0 /* ddl 28 */",
    "CREATE TABLE classes_more.u (v VARCHAR(9) PRIMARY KEY) /* ddl 29 */",
    "CREATE SCHEMA classes_gone /* ddl 30 */",
    "CREATE TABLE classes_gone.t SELECT * FROM w0",
    "DROP DATABASE classes_gone /* ddl 31 */",
    // Views.
    "CREATE VIEW seen (a, b) AS SELECT id, v FROM w0",
    "CREATE OR REPLACE ALGORITHM=MERGE SQL SECURITY INVOKER VIEW seen AS SELECT id FROM w0",
    "CREATE VIEW classes_more.`a view` AS SELECT 'it''s' AS s",
    "CREATE VIEW gone AS SELECT 1 AS one",
    "ALTER VIEW gone AS SELECT 2 AS two",
    "DROP VIEW IF EXISTS gone, not_there /* ddl 32 */",
    // Names, comments and quotes.
    "/* a */ CREATE /* b */ TABLE /*!80000 IF NOT EXISTS */ -- c\n `a.b c``d` # e\n (`x y` INT PRIMARY KEY) /* ddl 33 */",
    "INSERT INTO `a.b c``d` VALUES (1)",
    "CREATE TABLE \u{442}\u{430}\u{431}\u{43b} (\u{44f} INT PRIMARY KEY) /* ddl 34 */",
    "INSERT INTO \u{442}\u{430}\u{431}\u{43b} VALUES (1)",
    "CREATE TABLE Upper (id INT PRIMARY KEY) /* ddl 35 */",
    "CREATE TABLE upper (id INT PRIMARY KEY, v INT) /* ddl 36 */",
    "INSERT INTO Upper VALUES (1)",
    "ALTER TABLE w0 COMMENT 'RENAME TO x; -- /*' /* ddl 37 */",
    "SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
    "CREATE TABLE \"q\"\"t\" (\"a\" VARCHAR(9) DEFAULT 'it\\' PRIMARY KEY) /* ddl 38 */",
    "INSERT INTO \"q\"\"t\" VALUES (DEFAULT)",
    "SET sql_mode = DEFAULT",
    "SET NAMES sjis",
    "SET NAMES utf8mb4",
    // Values that depend on the session.
    "CREATE TABLE numbered (v INT) /* ddl 39 */",
    "INSERT INTO numbered VALUES (1), (2), (3)",
    "SET auto_increment_increment = 5, auto_increment_offset = 2",
    "ALTER TABLE numbered ADD id INT AUTO_INCREMENT PRIMARY KEY FIRST /* ddl 40 */",
    "SET auto_increment_increment = DEFAULT, auto_increment_offset = DEFAULT",
    "SET timestamp = 1700000000.123456, time_zone = '-07:00'",
    "ALTER TABLE numbered ADD at TIMESTAMP(6) DEFAULT CURRENT_TIMESTAMP(6) /* ddl 41 */",
    "SET timestamp = DEFAULT, time_zone = DEFAULT",
    "SET sql_generate_invisible_primary_key = ON",
    "CREATE TABLE hidden_key (v INT)",
    "INSERT INTO hidden_key VALUES (7)",
    "SET sql_generate_invisible_primary_key = OFF",
    "SET default_collation_for_utf8mb4 = utf8mb4_general_ci",
    "CREATE TABLE collated (v VARCHAR(9) CHARACTER SET utf8mb4 PRIMARY KEY) /* ddl 42 */",
    "SET default_collation_for_utf8mb4 = DEFAULT",
    // What is never run.
    "CREATE TRIGGER tr BEFORE INSERT ON w2 FOR EACH ROW SET NEW.v = CONCAT(NEW.v, '+')",
    "CREATE PROCEDURE p() INSERT INTO w2 (id, v) VALUES (9000002, 'p')",
    "CALL p()",
    "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1",
    "CREATE EVENT e ON SCHEDULE EVERY 1 HOUR DO INSERT INTO w2 (id, v) VALUES (9000003, 'e')",
    "CREATE USER classes_user@'%'",
    "GRANT SELECT ON classes.* TO classes_user@'%'",
    "DROP EVENT e",
    "ANALYZE TABLE w0",
    "OPTIMIZE TABLE w0",
    // The end of many.
    "DROP TABLE copied, selected /* not kept by the server */",
    "DROP TABLE IF EXISTS not_there, of_tmp",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_class_is_carried_under_load() -> Result<()> {
    let pair = Pair::start().await?;
    let (mut source, mut sink) = pair.conns().await?;
    for conn in [&mut source, &mut sink] {
        conn.query_drop("CREATE DATABASE other").await?;
    }
    let schema: Vec<String> = (0..LOADED)
        .map(|n| format!("CREATE TABLE w{n} (id INT PRIMARY KEY, v VARCHAR(40))"))
        .collect();
    let schema: Vec<&str> = schema.iter().map(String::as_str).collect();
    let mut pipeline = pair.pipeline("classes", &schema).await?;
    pipeline.tables = r#"classes.*", "classes_*.*", "other.w*"#.to_owned();
    let process = pipeline.run()?;
    let load = Load::start(&pair, "classes").await?;
    source.query_drop("USE classes").await?;
    for statement in SCRIPT {
        source
            .query_drop(*statement)
            .await
            .with_context(|| (*statement).to_owned())?;
    }
    let statements = load.stop().await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    ensure!(
        statements > 300,
        "only {statements} statements beside the schema changes"
    );

    compare(&mut source, &mut sink).await?;
    let ran = marked_statements(&mut sink).await?;
    let twice: Vec<_> = ran.iter().filter(|(_, times)| **times != 1).collect();
    ensure!(twice.is_empty(), "not once: {twice:?}");
    let marked = SCRIPT
        .iter()
        .filter(|statement| statement.contains("/* ddl "))
        .count();
    ensure!(
        ran.len() == marked,
        "{marked} statements are marked, {} ran: {ran:?}",
        ran.len()
    );

    let programs = "SELECT (SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = 'classes') \
                    + (SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = 'classes') \
                    + (SELECT COUNT(*) FROM mysql.user WHERE user = 'classes_user')";
    ensure!(number(&mut source, programs).await? == 4);
    ensure!(
        number(&mut sink, programs).await? == 0,
        "programs or accounts are on the sink"
    );
    for said in ["TRIGGER", "PROCEDURE", "FUNCTION", "EVENT"] {
        let told = format!(r#""kind":"{said}""#);
        let lines = process.stderr();
        ensure!(
            lines
                .iter()
                .any(|line| line.contains("not run on the sink") && line.contains(&told)),
            "nothing is said of {said}: {}",
            process.tail()
        );
    }
    stop(&process).await
}

async fn compare(source: &mut Conn, sink: &mut Conn) -> Result<()> {
    let databases = "SELECT schema_name, default_character_set_name, default_collation_name \
                     FROM information_schema.schemata WHERE schema_name LIKE 'classes%'";
    same(source, sink, databases).await?;
    ensure!(number(source, "SELECT COUNT(*) FROM classes.w0").await? > 30);
    for database in ["classes", "classes_more", "other"] {
        compare_database(source, sink, database).await?;
    }
    for view in ["classes.seen", "classes_more.`a view`"] {
        compare_view(source, sink, view).await?;
    }
    Ok(())
}
