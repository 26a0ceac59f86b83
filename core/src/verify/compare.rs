//! One table: its ranges, those that differ narrowed to keys, and these proven.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::proof::{Judgement, Pair, ROUNDS_MAX, Suspect};
use super::report::{Difference, Kind};
use super::server::{HashedRow, Place, Server};
use super::statement::{RangeDigest, Statements};
use super::{Progress, VerifyError};
use crate::scan::{Key, KeyRange};

/// Rows of a range at first; then as many as are hashed in about [`RANGE_TIME`].
const RANGE_ROWS: u64 = 5_000;
/// The fewest: rows may be large.
const RANGE_ROWS_MIN: u64 = 100;
/// The most: what is under load must be narrowed to keys again and again.
const RANGE_ROWS_MAX: u64 = 100_000;
/// A statement of ours should not hold a server up longer than this.
const RANGE_TIME: Duration = Duration::from_millis(300);

/// A range that differs is read row by row if it has no more rows than this on either server.
const ROWS_READ_MAX: u64 = 1_000;
/// Into so many parts a larger one is cut.
const PARTS: u64 = 8;

/// Keys are proven together, so that the sink is waited for once: this many, for a bound on memory.
const SUSPECTS_MAX: usize = 500;
/// Between two rounds, so that what a transaction shows early is executed by the next one.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// Differences of a table that are listed. A table with more of them isn't mended row by row.
pub(super) const DIFFERENCES_MAX: usize = 10_000;

/// What came out of a table's rows.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Rows of the source.
    pub(super) rows: u64,
    /// What is proven to differ.
    pub(super) differences: Vec<Difference>,
    /// Whether there may be more than that.
    pub(super) is_cut: bool,
    /// Keys whose rows changed all the time, as people read them.
    pub(super) in_motion: Vec<String>,
    /// Keys that differ, while the sink isn't up to date.
    pub(super) unproven: u64,
}

/// The keys of rows that are proven to differ, at the source and at the sink.
type Proven = BTreeSet<(Vec<String>, Vec<String>)>;

/// A comparison of tables.
pub(super) struct Comparison<'a> {
    pub(super) source: Server,
    pub(super) sink: Server,
    pub(super) place: Place,
    /// How long the sink may stand still.
    pub(super) patience: Duration,
    /// Why nothing can be proven any more: the sink stands still.
    pub(super) stands_still: Option<VerifyError>,
    pub(super) progress: &'a mut (dyn FnMut(Progress<'_>) + Send),
}

impl Comparison<'_> {
    /// Compares the rows of one table.
    pub(super) async fn table(&mut self, of: &Statements) -> Result<Compared, VerifyError> {
        let mut compared = Compared::default();
        let mut suspects = BTreeSet::new();
        let mut proven = Proven::new();
        let mut rows_max = RANGE_ROWS;
        let mut range = KeyRange::default();
        loop {
            range.until = self.source.boundary(of, &range, rows_max).await?;
            let begun = Instant::now();
            let rows = self
                .range(of, range.clone(), &mut suspects, &mut proven, &mut compared)
                .await?;
            compared.rows += rows;
            let took = begun.elapsed();
            if took > RANGE_TIME {
                rows_max = (rows_max / 2).max(RANGE_ROWS_MIN);
            } else if took < RANGE_TIME / 4 {
                rows_max = (rows_max * 2).min(RANGE_ROWS_MAX);
            }
            (self.progress)(Progress {
                table: of.name(),
                rows: compared.rows,
                rows_estimate: of.table().rows_estimate(),
            });
            if range.until.is_none() {
                self.prove(of, &mut suspects, &mut proven, &mut compared)
                    .await?;
            }
            if compared.is_cut {
                return Ok(compared);
            }
            range = KeyRange {
                after: range.until.take(),
                until: None,
            };
            if range.after.is_none() {
                return Ok(compared);
            }
        }
    }

    /// Compares one range; the keys of rows that differ become suspects, and are proven when there
    /// are enough of them. Answers the source's rows in it.
    async fn range(
        &mut self,
        of: &Statements,
        range: KeyRange,
        suspects: &mut BTreeSet<Key>,
        proven: &mut Proven,
        compared: &mut Compared,
    ) -> Result<u64, VerifyError> {
        let mut rows = None;
        let mut open = vec![range];
        while let Some(range) = open.pop() {
            let (source, sink) =
                tokio::try_join!(self.source.digest(of, &range), self.sink.digest(of, &range))?;
            rows.get_or_insert(source.rows);
            if source == sink {
                continue;
            }
            let parts = match source.rows.max(sink.rows) > ROWS_READ_MAX {
                true => self.parts(of, &range, &source, &sink).await?,
                false => Vec::new(),
            };
            if parts.len() > 1 {
                open.extend(parts);
                continue;
            }
            let (source, sink) =
                tokio::try_join!(self.source.hashed(of, &range), self.sink.hashed(of, &range))?;
            suspects.extend(unlike(source, sink));
            if suspects.len() >= SUSPECTS_MAX {
                self.prove(of, suspects, proven, compared).await?;
            }
            if compared.differences.len() >= DIFFERENCES_MAX {
                compared.is_cut = true;
                break;
            }
        }
        Ok(rows.unwrap_or(0))
    }

    /// Cuts a range at keys of the server that has more rows in it.
    async fn parts(
        &mut self,
        of: &Statements,
        range: &KeyRange,
        source: &RangeDigest,
        sink: &RangeDigest,
    ) -> Result<Vec<KeyRange>, VerifyError> {
        let (server, rows) = if source.rows >= sink.rows {
            (&mut self.source, source.rows)
        } else {
            (&mut self.sink, sink.rows)
        };
        let step = (rows / PARTS).max(ROWS_READ_MAX / 2);
        let mut parts = Vec::new();
        let mut rest = range.clone();
        while let Some(key) = server.boundary(of, &rest, step).await? {
            parts.push(KeyRange {
                after: rest.after.take(),
                until: Some(key.clone()),
            });
            rest.after = Some(key);
        }
        parts.push(rest);
        Ok(parts)
    }

    /// Looks at suspects until each is the same, differs, or has moved too often.
    async fn prove(
        &mut self,
        of: &Statements,
        keys: &mut BTreeSet<Key>,
        proven: &mut Proven,
        compared: &mut Compared,
    ) -> Result<(), VerifyError> {
        let mut open: Vec<Suspect> = std::mem::take(keys).into_iter().map(Suspect::new).collect();
        for round in 0..ROUNDS_MAX {
            if open.is_empty() {
                return Ok(());
            }
            if self.stands_still.is_some() {
                compared.unproven += open.len() as u64;
                return Ok(());
            }
            if round > 0 {
                tokio::time::sleep(ROUND_PAUSE).await;
            }
            let keys: Vec<&Key> = open.iter().map(|suspect| &suspect.key).collect();
            let before = self.source.look_up(of, &keys).await?;
            let executed = self.source.gtid_executed().await?;
            let reached = self
                .sink
                .reaches(&self.place, &executed, self.patience)
                .await;
            if let Err(error @ VerifyError::StandsStill { .. }) = reached {
                self.stands_still = Some(error);
                continue;
            }
            reached?;
            self.sink.begin_view().await?;
            let at_sink = self.sink.look_up(of, &keys).await?;
            let held = self.sink.offset(&self.place).await?;
            self.sink.end_view().await?;
            let after = self.source.look_up(of, &keys).await?;
            if !executed.is_subset(&held) {
                // It went back: the sink was restored meanwhile.
                continue;
            }
            let mut rest = Vec::with_capacity(open.len());
            for (((mut suspect, before), sink), after) in
                open.into_iter().zip(before).zip(at_sink).zip(after)
            {
                match suspect.judge(before, sink, after) {
                    Judgement::Same => {}
                    Judgement::Open => rest.push(suspect),
                    Judgement::Different(pair) => {
                        let difference = difference(of, pair);
                        // Two keys of which a collation makes one lead to the same rows.
                        let rows = (difference.at_source.concat(), difference.at_sink.concat());
                        if proven.insert(rows) {
                            compared.differences.push(difference);
                        }
                    }
                }
            }
            open = rest;
        }
        let moving = open.iter().map(|suspect| suspect.key.to_string());
        compared.in_motion.extend(moving);
        Ok(())
    }
}

/// The keys whose rows one of two servers lacks, or has otherwise.
fn unlike(source: Vec<HashedRow>, sink: Vec<HashedRow>) -> BTreeSet<Key> {
    let pairs = |rows: Vec<HashedRow>| -> BTreeSet<(Key, String)> {
        rows.into_iter().map(|row| (row.key, row.hash)).collect()
    };
    let (source, sink) = (pairs(source), pairs(sink));
    let unlike = source.symmetric_difference(&sink);
    unlike.map(|(key, _)| key.clone()).collect()
}

fn difference(of: &Statements, pair: Pair) -> Difference {
    let literals = |rows: &[super::server::FoundRow]| -> Vec<Vec<String>> {
        rows.iter().map(|row| row.literals.clone()).collect()
    };
    let kind = match (pair.source.first(), pair.sink.first()) {
        (Some(_), None) => Kind::Missing,
        (None, _) => Kind::Extra,
        (Some(source), Some(sink)) => {
            let cells = source.cells.iter().zip(&sink.cells);
            let columns = of.columns().zip(cells);
            let unlike = columns.filter(|(_, (source, sink))| source != sink);
            Kind::Changed(unlike.map(|(name, _)| name.to_owned()).collect())
        }
    };
    let shown = pair.source.first().or(pair.sink.first());
    Difference {
        key: shown.map(|row| row.shown.clone()).unwrap_or_default(),
        kind,
        at_source: literals(&pair.source),
        at_sink: literals(&pair.sink),
        repaired: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_unlike_by_key_and_hash_whatever_their_order() {
        let row = |key: &str, hash: &str| HashedRow {
            key: Key::new(vec![key.to_owned()]),
            hash: hash.to_owned(),
        };
        let found = unlike(
            vec![row("1", "a"), row("2", "b"), row("3", "c")],
            vec![row("3", "c"), row("2", "x"), row("4", "d")],
        );
        let keys: Vec<String> = found.iter().map(Key::to_string).collect();
        assert_eq!(keys, ["1", "2", "4"]);
    }
}
