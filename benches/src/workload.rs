//! Three workloads.
//!
//! - W1, many small transactions (sysbench's `oltp_write_only`): two updates, a delete and an
//!   insert of one row each, uniformly over four tables.
//! - W2, few large ones: inserts of 1,000 rows with twelve columns of as many types.
//! - W3, large values: inserts of one row with a 100 KiB BLOB.
//!
//! The same seed gives the same statements; how transactions of W1 interleave is up to the server.

use std::fmt::{self, Write as _};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use towpath_testing::MysqlServer;

/// How large the workloads are.
#[derive(Clone, Copy, Debug, Args)]
pub struct Sizes {
    /// Transactions of W1, four rows each.
    #[arg(long, default_value_t = 100_000)]
    pub w1_transactions: u32,
    /// Rows in each of the four tables of W1.
    #[arg(long, default_value_t = 100_000)]
    pub w1_table_rows: u32,
    /// Transactions of W2, 1,000 rows each.
    #[arg(long, default_value_t = 1_000)]
    pub w2_transactions: u32,
    /// Transactions of W3, one row of 100 KiB each.
    #[arg(long, default_value_t = 2_000)]
    pub w3_transactions: u32,
    /// Seed of all values.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
}

/// A workload's file.
#[derive(Debug)]
pub struct Binlog {
    /// The workload's name.
    pub name: &'static str,
    /// The file's name.
    pub file: String,
    /// Its size, bytes.
    pub bytes: u64,
    rows: u64,
}

impl fmt::Display for Binlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.bytes as f64 / f64::from(1 << 20);
        write!(f, "{}: {mib:.1} MiB, {} row changes", self.name, self.rows)
    }
}

const TABLES: u32 = 4;
const CONNECTIONS: u32 = 16;
const ROWS_PER_INSERT: u32 = 1_000;
const BLOB_BYTES: usize = 100 * 1024;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Many small transactions.
    W1,
    /// Few large ones.
    W2,
    /// Large values.
    W3,
}

/// What all workloads write to.
pub const DATABASE: &str = "bench";

impl Workload {
    /// All of them.
    pub const ALL: [Workload; 3] = [Workload::W1, Workload::W2, Workload::W3];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Workload::W1 => "W1",
            Workload::W2 => "W2",
            Workload::W3 => "W3",
        }
    }

    /// The tables that it writes to, with what is compared of each row beside its checksum: the
    /// inner types of JSON, which a checksum doesn't see.
    pub fn tables(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Workload::W1 => &[
                ("sbtest1", "''"),
                ("sbtest2", "''"),
                ("sbtest3", "''"),
                ("sbtest4", "''"),
            ],
            Workload::W2 => &[(
                "w2",
                "CONCAT_WS(',', JSON_TYPE(j), JSON_TYPE(j->'$.sku'), JSON_TYPE(j->'$.qty'), \
                 JSON_TYPE(j->'$.tags'), JSON_TYPE(j->'$.tags[0]'), JSON_TYPE(j->'$.price'))",
            )],
            Workload::W3 => &[("w3", "''")],
        }
    }

    /// Transactions and row changes.
    pub fn transactions_and_rows(self, sizes: &Sizes) -> (u64, u64) {
        match self {
            Workload::W1 => (
                sizes.w1_transactions.into(),
                u64::from(sizes.w1_transactions) * 4,
            ),
            Workload::W2 => (
                sizes.w2_transactions.into(),
                u64::from(sizes.w2_transactions) * u64::from(ROWS_PER_INSERT),
            ),
            Workload::W3 => (sizes.w3_transactions.into(), sizes.w3_transactions.into()),
        }
    }

    /// Makes its tables, and their first rows, in the connection's database.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn prepare(self, conn: &mut Conn, sizes: &Sizes) -> Result<()> {
        match self {
            Workload::W1 => prepare_w1(conn, sizes).await,
            Workload::W2 => Ok(conn
                .query_drop(
                    "CREATE TABLE w2 (id INT PRIMARY KEY, u BIGINT UNSIGNED, d DECIMAL(20,4), \
                     v VARCHAR(100), dt DATETIME(6), ts TIMESTAMP, j JSON, \
                     e ENUM('new','paid','sent','lost'), t TEXT, b BLOB, f DOUBLE, bits BIT(16))",
                )
                .await?),
            Workload::W3 => Ok(conn
                .query_drop("CREATE TABLE w3 (id INT PRIMARY KEY, b MEDIUMBLOB)")
                .await?),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn write(self, server: &MysqlServer, sizes: &Sizes) -> Result<()> {
        let mut conn = server.conn().await?;
        conn.query_drop(format!("USE {DATABASE}")).await?;
        match self {
            Workload::W1 => {
                let mut writers = tokio::task::JoinSet::new();
                for number in 0..CONNECTIONS {
                    let mut conn = server.conn().await?;
                    let sizes = *sizes;
                    writers.spawn(async move {
                        conn.query_drop(format!("USE {DATABASE}")).await?;
                        write_w1(&mut conn, &sizes, number).await
                    });
                }
                while let Some(written) = writers.join_next().await {
                    written??;
                }
                Ok(())
            }
            Workload::W2 => write_w2(&mut conn, sizes).await,
            Workload::W3 => write_w3(&mut conn, sizes).await,
        }
    }
}

/// Writes all three, each into one binlog file.
///
/// # Errors
/// Those of the server, and when one doesn't fit into a file.
pub async fn write_all(server: &MysqlServer, sizes: &Sizes) -> Result<Vec<Binlog>> {
    let mut conn = server.conn().await?;
    // Preparing is not part of what is read.
    conn.query_drop(format!(
        "SET sql_log_bin = 0; CREATE DATABASE {DATABASE}; USE {DATABASE}"
    ))
    .await?;
    for workload in Workload::ALL {
        workload.prepare(&mut conn, sizes).await?;
    }
    conn.query_drop("SET sql_log_bin = 1").await?;

    let mut binlogs = Vec::new();
    for workload in Workload::ALL {
        let file = begin(&mut conn).await?;
        workload.write(server, sizes).await?;
        let (_, rows) = workload.transactions_and_rows(sizes);
        binlogs.push(end(&mut conn, workload.name(), file, rows).await?);
    }
    Ok(binlogs)
}

async fn begin(conn: &mut Conn) -> Result<String> {
    conn.query_drop("FLUSH BINARY LOGS").await?;
    current_file(conn).await
}

async fn current_file(conn: &mut Conn) -> Result<String> {
    let status: Option<(String, u64)> = conn
        .exec_map("SHOW BINARY LOG STATUS", (), |mut row: mysql_async::Row| {
            (
                row.take(0).unwrap_or_default(),
                row.take(1).unwrap_or_default(),
            )
        })
        .await?
        .pop();
    Ok(status.context("the server has no binary log")?.0)
}

async fn end(conn: &mut Conn, name: &'static str, file: String, rows: u64) -> Result<Binlog> {
    ensure!(
        current_file(conn).await? == file,
        "{name} did not fit into one binlog file; make it smaller"
    );
    conn.query_drop("FLUSH BINARY LOGS").await?;
    let files: Vec<(String, u64)> = conn
        .query_map("SHOW BINARY LOGS", |mut row: mysql_async::Row| {
            (
                row.take(0).unwrap_or_default(),
                row.take(1).unwrap_or_default(),
            )
        })
        .await?;
    let (file, bytes) = files
        .into_iter()
        .find(|(listed, _)| *listed == file)
        .with_context(|| format!("SHOW BINARY LOGS does not list {file}"))?;
    Ok(Binlog {
        name,
        file,
        bytes,
        rows,
    })
}

/// Digits in groups of eleven, as sysbench makes them.
fn digits(rng: &mut StdRng, groups: usize, out: &mut String) {
    for group in 0..groups {
        if group > 0 {
            out.push('-');
        }
        let _ = write!(out, "{:011}", rng.random_range(0..100_000_000_000_u64));
    }
}

async fn prepare_w1(conn: &mut Conn, sizes: &Sizes) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(sizes.seed);
    for table in 1..=TABLES {
        conn.query_drop(format!(
            "CREATE TABLE sbtest{table} (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, \
             k INT NOT NULL DEFAULT 0, c CHAR(120) NOT NULL DEFAULT '', \
             pad CHAR(60) NOT NULL DEFAULT '', KEY k_{table} (k))"
        ))
        .await?;
        let mut id = 0;
        while id < sizes.w1_table_rows {
            let mut sql = format!("INSERT INTO sbtest{table} VALUES ");
            for row in 0..ROWS_PER_INSERT.min(sizes.w1_table_rows - id) {
                id += 1;
                w1_row(&mut rng, sizes, id, row == 0, &mut sql);
            }
            conn.query_drop(sql).await?;
        }
    }
    Ok(())
}

fn w1_row(rng: &mut StdRng, sizes: &Sizes, id: u32, first: bool, sql: &mut String) {
    let separator = if first { "" } else { "," };
    let _ = write!(
        sql,
        "{separator}({id},{},'",
        rng.random_range(1..=sizes.w1_table_rows)
    );
    digits(rng, 10, sql);
    sql.push_str("','");
    digits(rng, 5, sql);
    sql.push_str("')");
}

/// One connection's share. Each changes rows of its own, so that none waits for another or is
/// rolled back, and all transactions are in the binlog.
async fn write_w1(conn: &mut Conn, sizes: &Sizes, number: u32) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(sizes.seed + 1 + u64::from(number));
    let own = sizes.w1_table_rows / CONNECTIONS;
    ensure!(own > 0, "--w1-table-rows must be at least {CONNECTIONS}");
    let share = sizes.w1_transactions / CONNECTIONS
        + u32::from(number < sizes.w1_transactions % CONNECTIONS);
    let mut sql = String::new();
    for _ in 0..share {
        let mut any = || {
            let table = rng.random_range(1..=TABLES);
            (table, 1 + number + CONNECTIONS * rng.random_range(0..own))
        };
        let (index, non_index, replaced) = (any(), any(), any());
        sql.clear();
        let (table, id) = index;
        let _ = write!(sql, "BEGIN; UPDATE sbtest{table} SET k=k+1 WHERE id={id}; ");
        let (table, id) = non_index;
        let _ = write!(sql, "UPDATE sbtest{table} SET c='");
        digits(&mut rng, 10, &mut sql);
        let _ = write!(sql, "' WHERE id={id}; ");
        let (table, id) = replaced;
        let _ = write!(
            sql,
            "DELETE FROM sbtest{table} WHERE id={id}; INSERT INTO sbtest{table} VALUES "
        );
        w1_row(&mut rng, sizes, id, true, &mut sql);
        sql.push_str("; COMMIT");
        conn.query_drop(sql.as_str()).await?;
    }
    Ok(())
}

/// Prose with what names and comments bring along: one word in eight is not ASCII, one in 24 has
/// to be escaped.
const WORDS: [&str; 24] = [
    "canal",
    "lock",
    "barge",
    "Treidelpfad",
    "été",
    "運河",
    "say \"when\"",
    "tow",
    "rope",
    "horse",
    "bridge",
    "winding",
    "hole",
    "paid",
    "by",
    "invoice",
    "please",
    "deliver",
    "to",
    "the",
    "yard",
    "before",
    "noon",
    "Größe",
];

fn words(rng: &mut StdRng, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        text.push_str(
            WORDS
                .get(rng.random_range(0..WORDS.len()))
                .copied()
                .unwrap_or_default(),
        );
        text.push(' ');
    }
    text
}

async fn write_w2(conn: &mut Conn, sizes: &Sizes) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(sizes.seed);
    let mut id = 0;
    for _ in 0..sizes.w2_transactions {
        let mut sql = "INSERT INTO w2 VALUES ".to_owned();
        for row in 0..ROWS_PER_INSERT {
            id += 1;
            let separator = if row == 0 { "" } else { "," };
            let _ = write!(
                sql,
                "{separator}({id},{},{}.{:04},'{}','20{:02}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}',\
                 FROM_UNIXTIME({}),'{{\"sku\":{},\"qty\":{},\"tags\":[\"a\",\"b\"],\"price\":{}.5}}',\
                 {},'{}',x'",
                rng.random::<u64>(),
                rng.random_range(-1_000_000_000_i64..1_000_000_000),
                rng.random_range(0..10_000),
                words(&mut rng, 4),
                rng.random_range(0..100),
                rng.random_range(1..=12),
                rng.random_range(1..=28),
                rng.random_range(0..24),
                rng.random_range(0..60),
                rng.random_range(0..60),
                rng.random_range(0..1_000_000),
                rng.random_range(1_000_000_000..2_000_000_000),
                rng.random_range(0..100_000),
                rng.random_range(0..100),
                rng.random_range(0..1_000),
                rng.random_range(1..=4),
                words(&mut rng, 12),
            );
            for _ in 0..8 {
                let _ = write!(sql, "{:016x}", rng.random::<u64>());
            }
            let bits: u16 = rng.random();
            let _ = write!(sql, "',{:e},{bits})", rng.random_range(-1e6..1e6));
        }
        conn.query_drop(sql).await?;
    }
    Ok(())
}

async fn write_w3(conn: &mut Conn, sizes: &Sizes) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(sizes.seed);
    let mut blob = vec![0; BLOB_BYTES];
    let insert = conn.prep("INSERT INTO w3 VALUES (?, ?)").await?;
    for id in 0..sizes.w3_transactions {
        rng.fill(blob.as_mut_slice());
        conn.exec_drop(&insert, (id, &blob)).await?;
    }
    Ok(())
}

/// Compares what a workload has written: rows by the checksum of their table, and the inner types
/// of JSON, which that doesn't see.
///
/// # Errors
/// They differ; or those of the servers.
pub async fn compare(workload: Workload, source: &MysqlServer, target: &MysqlServer) -> Result<()> {
    let (mut at_source, mut at_target) = (source.conn().await?, target.conn().await?);
    for (table, types) in workload.tables() {
        let checksum = format!("CHECKSUM TABLE {DATABASE}.{table}");
        let inner = format!(
            "SELECT {types} AS types, COUNT(*) FROM {DATABASE}.{table} GROUP BY types ORDER BY types"
        );
        let mut found = Vec::new();
        for conn in [&mut at_source, &mut at_target] {
            let sum: Option<(String, Option<u64>)> = conn.query_first(checksum.as_str()).await?;
            let types: Vec<(Option<String>, u64)> = conn.query(inner.as_str()).await?;
            found.push((sum, types));
        }
        ensure!(found.first() == found.get(1), "{table} differs: {found:?}");
    }
    Ok(())
}
