//! Compares a replica with its source, row by row.

use std::collections::HashMap;
use std::fmt;

use anyhow::{Context as _, Result};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value};

use super::{Bank, TABLES};

/// How many differences are named.
const NAMED_MAX: usize = 10;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Transactions in the source's audit.
    pub transactions: u64,
    /// Rows in all tables of the source.
    pub rows: u64,
    /// Transactions of the source that the replica lacks.
    pub lost: u64,
    /// Audit rows of the replica beyond the source's: repeated or foreign.
    pub duplicated: u64,
    /// Rows, of all tables, that are missing, extra or different in the replica.
    pub differing: u64,
    /// Totals that are not [`Bank::total`], checksums that differ, and the first differing rows.
    pub findings: Vec<String>,
}

impl Verdict {
    /// Whether the replica is the source's equal in everything.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        let Self {
            transactions: _,
            rows: _,
            lost,
            duplicated,
            differing,
            findings,
        } = self;
        *lost == 0 && *duplicated == 0 && *differing == 0 && findings.is_empty()
    }

    fn find(&mut self, finding: String) {
        if self.findings.len() < NAMED_MAX {
            self.findings.push(finding);
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} transactions, {} rows: {} lost, {} duplicated, {} rows differ",
            self.transactions, self.rows, self.lost, self.duplicated, self.differing
        )?;
        self.findings
            .iter()
            .try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

impl Bank {
    /// Compares the replica with the source. Nothing may write meanwhile, on either side.
    ///
    /// # Errors
    /// When a server doesn't answer; a difference is no error but a [`Verdict`].
    pub async fn check(&self, source: &mut Conn, target: &mut Conn) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        for (side, conn) in [("source", &mut *source), ("target", &mut *target)] {
            let total: Option<i64> = conn.query_first(self.total_query()).await?;
            if total != Some(self.total()) {
                verdict.find(format!(
                    "the balances of the {side} add up to {total:?}, not {}",
                    self.total()
                ));
            }
        }
        self.check_audit(source, target, &mut verdict).await?;
        for (table, key) in TABLES {
            self.check_table(source, target, table, key, &mut verdict)
                .await
                .with_context(|| format!("comparing {}.{table}", self.database()))?;
        }
        Ok(verdict)
    }

    async fn check_audit(
        &self,
        source: &mut Conn,
        target: &mut Conn,
        verdict: &mut Verdict,
    ) -> Result<()> {
        // How often each transaction is in the source, and in the replica.
        let mut seen: HashMap<Vec<u8>, (u64, u64)> = HashMap::new();
        let query = format!("SELECT txn FROM {}.audit", self.database());
        for txn in source.query::<Vec<u8>, _>(&query).await? {
            seen.entry(txn).or_default().0 += 1;
            verdict.transactions += 1;
        }
        for txn in target.query::<Vec<u8>, _>(&query).await? {
            seen.entry(txn).or_default().1 += 1;
        }
        for (in_source, in_target) in seen.into_values() {
            verdict.lost += in_source.saturating_sub(in_target);
            verdict.duplicated += in_target.saturating_sub(in_source);
        }
        Ok(())
    }

    /// Walks both tables in the order of `key`, an expression that sorts by its bytes.
    async fn check_table(
        &self,
        source: &mut Conn,
        target: &mut Conn,
        table: &str,
        key: &str,
        verdict: &mut Verdict,
    ) -> Result<()> {
        let table = format!("{}.{table}", self.database());
        let query =
            format!("SELECT CAST({key} AS BINARY) AS walk, t.* FROM {table} t ORDER BY walk");
        let mut theirs = source.query_iter(&query).await?;
        let mut ours = target.query_iter(&query).await?;
        let (mut left, mut right) = (theirs.next().await?, ours.next().await?);
        loop {
            let (left_key, right_key) = (key_of(left.as_ref()), key_of(right.as_ref()));
            match (&left, &right) {
                (None, None) => break,
                (Some(there), Some(here)) if left_key == right_key => {
                    verdict.rows += 1;
                    if let Some(difference) = difference(there, here) {
                        verdict.differing += 1;
                        verdict.find(format!("{table} {}: {difference}", text(&left_key)));
                    }
                    (left, right) = (theirs.next().await?, ours.next().await?);
                }
                (Some(_), here) if here.is_none() || left_key < right_key => {
                    verdict.rows += 1;
                    verdict.differing += 1;
                    verdict.find(format!("{table} {}: only in the source", text(&left_key)));
                    left = theirs.next().await?;
                }
                _ => {
                    verdict.differing += 1;
                    verdict.find(format!("{table} {}: only in the target", text(&right_key)));
                    right = ours.next().await?;
                }
            }
        }
        drop((theirs, ours));
        // Independent of how the client reads values.
        let checksum = format!("CHECKSUM TABLE {table}");
        let there: Option<(String, Option<u64>)> = source.query_first(&checksum).await?;
        let here: Option<(String, Option<u64>)> = target.query_first(&checksum).await?;
        if there != here {
            verdict.find(format!(
                "{table}: CHECKSUM TABLE is {there:?} in the source, {here:?} in the target"
            ));
        }
        Ok(())
    }
}

fn key_of(row: Option<&Row>) -> Option<Value> {
    row.and_then(|row| row.as_ref(0)).cloned()
}

fn text(value: &Option<Value>) -> String {
    value
        .as_ref()
        .map_or_else(String::new, |value| value.as_sql(true))
}

/// The first column whose text differs. Text results are the server's own rendering, so bytes
/// tell everything that it tells.
fn difference(there: &Row, here: &Row) -> Option<String> {
    let columns = there.columns();
    columns.iter().enumerate().find_map(|(i, column)| {
        let (value_there, value_here) = (there.as_ref(i), here.as_ref(i));
        (value_there != value_here).then(|| {
            format!(
                "{} is {} in the source, {} in the target",
                column.name_str(),
                text(&value_there.cloned()),
                text(&value_here.cloned())
            )
        })
    })
}
