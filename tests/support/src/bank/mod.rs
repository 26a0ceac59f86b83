//! The load that every long test runs: bank transfers over several tables, with an audit row per
//! transaction.
//!
//! Invariants, at the source and therefore in any replica that is a prefix of it:
//! - the balances of all accounts add up to [`Bank::total`];
//! - the audit rows are numbered 1, 2, 3 … in commit order without a gap, since each transaction
//!   takes its number from a row that it keeps locked until its commit;
//! - `sequence.n` is the highest of those numbers.
//!
//! The tables differ in what makes replication hard: an integer, a composite and a collated string
//! primary key, a further unique key whose values are swapped, keys that move, values of many types.

mod plan;
mod load;
mod check;
mod reader;

pub use check::Verdict;
pub use load::{Load, LoadReport, LoadSettings};
pub use reader::{PrefixReader, ReaderReport, Snapshot};

use anyhow::{Context as _, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

/// Accounts that exist for ever, in each of the three account tables.
const CORE_ACCOUNTS: u32 = 200;
/// What each of them has at first.
const OPENING_BALANCE: u32 = 1_000;
/// Composite keys: this many core accounts per branch.
const ACCOUNTS_PER_BRANCH: u32 = 20;

/// The tables whose rows are compared, with a text that sorts by bytes as their primary key does
/// by value, to walk both sides in step. Nothing depends on the order being the server's own.
const TABLES: [(&str, &str); 5] = [
    ("account", "LPAD(id, 10, '0')"),
    (
        "branch_account",
        "CONCAT(LPAD(branch, 5, '0'), '/', LPAD(number, 10, '0'))",
    ),
    ("named_account", "HEX(name)"),
    ("sequence", "LPAD(id, 3, '0')"),
    ("audit", "LPAD(id, 20, '0')"),
];

/// A bank in one database. The same value describes it at the source and in a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bank {
    database: String,
}

impl Default for Bank {
    fn default() -> Self {
        Self::new("bank")
    }
}

impl Bank {
    /// A bank in `database`, which is a plain lower-case name.
    #[must_use]
    pub fn new(database: impl Into<String>) -> Self {
        Self {
            database: database.into(),
        }
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// What all balances add up to, always.
    #[must_use]
    pub fn total(&self) -> i64 {
        i64::from(CORE_ACCOUNTS) * 3 * i64::from(OPENING_BALANCE)
    }

    /// Creates the database anew with its accounts; the same rows wherever it is called.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create(&self, conn: &mut Conn) -> Result<()> {
        let database = &self.database;
        for statement in [
            format!("DROP DATABASE IF EXISTS {database}"),
            format!("CREATE DATABASE {database} CHARACTER SET utf8mb4"),
            format!("USE {database}"),
        ] {
            conn.query_drop(statement).await?;
        }
        for statement in SCHEMA {
            conn.query_drop(statement)
                .await
                .with_context(|| format!("running {statement}"))?;
        }
        for rows in [account_rows(), branch_rows(), named_rows()] {
            conn.query_drop(rows)
                .await
                .context("opening the accounts")?;
        }
        conn.query_drop("INSERT INTO sequence VALUES (1, 0)")
            .await?;
        Ok(())
    }

    fn total_query(&self) -> String {
        let database = &self.database;
        format!(
            "(SELECT CAST((SELECT SUM(balance) FROM {database}.account) + \
             (SELECT SUM(balance) FROM {database}.branch_account) + \
             (SELECT SUM(balance) FROM {database}.named_account) AS SIGNED))"
        )
    }
}

/// utf8mb4_unicode_ci pads with spaces and folds case and accents; MySQL and MariaDB have it.
const SCHEMA: [&str; 5] = [
    "CREATE TABLE account (
        id INT UNSIGNED NOT NULL PRIMARY KEY,
        balance BIGINT NOT NULL,
        note VARCHAR(200) NULL,
        rating DOUBLE NOT NULL DEFAULT 0.1,
        opened DATE NOT NULL DEFAULT '2024-02-29',
        updated TIMESTAMP(3) NULL)",
    "CREATE TABLE branch_account (
        branch SMALLINT UNSIGNED NOT NULL,
        number INT UNSIGNED NOT NULL,
        balance DECIMAL(20,2) NOT NULL,
        kind ENUM('current','savings','joint') NOT NULL DEFAULT 'current',
        flags SET('vip','locked','paper') NOT NULL DEFAULT '',
        bits BIT(12) NOT NULL DEFAULT b'101',
        opens TIME(2) NULL,
        since YEAR NULL,
        PRIMARY KEY (branch, number))",
    "CREATE TABLE named_account (
        name VARCHAR(60) COLLATE utf8mb4_unicode_ci NOT NULL PRIMARY KEY,
        iban VARCHAR(24) CHARACTER SET latin1 NOT NULL,
        balance BIGINT NOT NULL,
        profile JSON NULL,
        photo VARBINARY(300) NULL,
        seen DATETIME(6) NULL,
        UNIQUE KEY (iban))",
    "CREATE TABLE sequence (id TINYINT NOT NULL PRIMARY KEY, n BIGINT UNSIGNED NOT NULL)",
    // Neither n nor txn is unique, so that a duplicate would be stored and counted.
    "CREATE TABLE audit (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        n BIGINT UNSIGNED NOT NULL,
        txn BINARY(16) NOT NULL,
        from_account VARCHAR(60) NOT NULL,
        to_account VARCHAR(60) NOT NULL,
        amount BIGINT NOT NULL,
        at DATETIME(6) NOT NULL,
        KEY (n))",
];

fn account_rows() -> String {
    insert("account (id, balance)", |i| {
        format!("({i}, {OPENING_BALANCE})")
    })
}

fn branch_rows() -> String {
    insert("branch_account (branch, number, balance)", |i| {
        let (branch, number) = core_branch(i);
        format!("({branch}, {number}, {OPENING_BALANCE})")
    })
}

fn named_rows() -> String {
    insert("named_account (name, iban, balance, profile)", |i| {
        let name = core_name(i);
        format!(
            "('{name}', 'TP{i:022}', {OPENING_BALANCE}, '{{\"rank\": {i}, \"tags\": [\"á\"]}}')"
        )
    })
}

fn insert(into: &str, row: impl Fn(u32) -> String) -> String {
    let rows: Vec<String> = (1..=CORE_ACCOUNTS).map(row).collect();
    format!("INSERT INTO {into} VALUES {}", rows.join(", "))
}

/// The composite key of core account `i`, from 1.
fn core_branch(i: u32) -> (u32, u32) {
    (1 + i / ACCOUNTS_PER_BRANCH, i)
}

/// The string key of core account `i`, from 1.
fn core_name(i: u32) -> String {
    format!("Zoë {i:04}")
}

#[cfg(test)]
mod tests;
