//! A reader of the replica that checks, while it is written, that it never sees anything but a
//! prefix of the source's history.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::task::JoinHandle;

use super::Bank;

/// Often enough to look between two commits, seldom enough to leave the server to the pipeline.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How many violations are named.
const NAMED_MAX: usize = 10;

/// What one look, a single statement and so a single read view, has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Audit rows beyond those of the look before.
    pub new_rows: u64,
    /// The highest number among all audit rows.
    pub highest: u64,
    /// `sequence.n`.
    pub sequence: u64,
    /// What the balances add up to.
    pub total: i64,
}

/// What a reader has found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReaderReport {
    /// How many times it looked.
    pub looks: u64,
    /// The highest audit number that it saw.
    pub highest: u64,
    /// Audit numbers that were missing or repeated below the highest when it looked.
    pub reordered: u64,
    /// Looks that saw a transaction in part: wrong total, or a sequence that isn't the highest.
    pub torn: u64,
    /// The first violations, for people.
    pub findings: Vec<String>,
}

impl ReaderReport {
    /// Judges one look. If all looks so far were dense, then only the new numbers need counting:
    /// a row that arrives late is missing from the range that it belongs to.
    fn judge(&mut self, snapshot: &Snapshot, total: i64) {
        self.looks += 1;
        let expected = snapshot.highest.saturating_sub(self.highest);
        if snapshot.highest < self.highest || snapshot.new_rows != expected {
            let went_back = self.highest.saturating_sub(snapshot.highest);
            self.reordered += expected.abs_diff(snapshot.new_rows) + went_back;
            self.find(format!("after audit {}: {snapshot:?}", self.highest));
        }
        if snapshot.total != total || snapshot.sequence != snapshot.highest {
            self.torn += 1;
            self.find(format!("torn, the total should be {total}: {snapshot:?}"));
        }
        self.highest = snapshot.highest;
    }

    fn find(&mut self, finding: String) {
        if self.findings.len() < NAMED_MAX {
            self.findings.push(finding);
        }
    }
}

/// A reader at work; dropping it ends it.
#[derive(Debug)]
pub struct PrefixReader {
    report: Arc<Mutex<ReaderReport>>,
    task: JoinHandle<Result<()>>,
}

impl Bank {
    /// Starts reading the replica at `url` over and over.
    ///
    /// # Errors
    /// When the replica doesn't answer.
    pub async fn start_reader(&self, url: &str) -> Result<PrefixReader> {
        let opts = OptsBuilder::from_opts(Opts::from_url(url)?).prefer_socket(Some(false));
        let mut conn = Conn::new(opts)
            .await
            .context("connecting the reader to the replica")?;
        let report = Arc::new(Mutex::new(ReaderReport::default()));
        let task = tokio::spawn({
            let (bank, report) = (self.clone(), Arc::clone(&report));
            async move {
                loop {
                    let after = lock(&report).highest;
                    let snapshot = bank.look(&mut conn, after).await?;
                    lock(&report).judge(&snapshot, bank.total());
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
        });
        Ok(PrefixReader { report, task })
    }

    /// One look at the bank: what is there beyond audit number `after`.
    ///
    /// # Errors
    /// When the server doesn't answer.
    pub async fn look(&self, conn: &mut Conn, after: u64) -> Result<Snapshot> {
        let database = self.database();
        let query = format!(
            "SELECT (SELECT COUNT(*) FROM {database}.audit WHERE n > {after}), \
             (SELECT COALESCE(MAX(n), 0) FROM {database}.audit), \
             (SELECT n FROM {database}.sequence WHERE id = 1), {}",
            self.total_query()
        );
        let row: Option<(u64, u64, u64, i64)> = conn.query_first(query).await?;
        let (new_rows, highest, sequence, total) = row.context("the bank is empty")?;
        Ok(Snapshot {
            new_rows,
            highest,
            sequence,
            total,
        })
    }
}

impl PrefixReader {
    /// What it has found so far.
    #[must_use]
    pub fn report(&self) -> ReaderReport {
        lock(&self.report).clone()
    }

    /// Asks whether it is still at work.
    ///
    /// # Errors
    /// What ended it.
    pub async fn check(&mut self) -> Result<()> {
        if self.task.is_finished() {
            (&mut self.task)
                .await
                .context("the reader of the replica")??;
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// What ended it early.
    pub async fn stop(mut self) -> Result<ReaderReport> {
        self.check().await?;
        Ok(self.report())
    }
}

impl Drop for PrefixReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(report: &Mutex<ReaderReport>) -> MutexGuard<'_, ReaderReport> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(looks: &[(u64, u64, u64, i64)]) -> ReaderReport {
        let mut report = ReaderReport::default();
        for &(new_rows, highest, sequence, total) in looks {
            report.judge(
                &Snapshot {
                    new_rows,
                    highest,
                    sequence,
                    total,
                },
                100,
            );
        }
        report
    }

    #[test]
    fn a_prefix_that_grows_is_fine() {
        let report = judged(&[
            (0, 0, 0, 100),
            (3, 3, 3, 100),
            (0, 3, 3, 100),
            (2, 5, 5, 100),
        ]);
        assert_eq!((report.reordered, report.torn, report.highest), (0, 0, 5));
    }

    #[test]
    fn a_hole_a_repeat_and_a_step_back_are_seen() {
        assert_eq!(judged(&[(2, 3, 3, 100)]).reordered, 1);
        assert_eq!(judged(&[(4, 3, 3, 100)]).reordered, 1);
        assert_eq!(judged(&[(5, 5, 5, 100), (0, 3, 3, 100)]).reordered, 2);
    }

    #[test]
    fn half_a_transaction_is_seen() {
        assert_eq!(judged(&[(1, 1, 1, 99)]).torn, 1);
        assert_eq!(judged(&[(1, 1, 2, 100)]).torn, 1);
    }
}
