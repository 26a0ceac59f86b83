//! When a row that differs is a difference, and not just late. Pure.
//!
//! A round reads the row at the source, then what the source has executed (HW), waits until the
//! sink's offset holds HW, reads the sink's row and the offset in one read view, and reads the
//! source's row again. What the sink holds is at a known place: rows and offset commit together. If
//! the source's row was the same both times, and the sink's is another, then it differs, unless it
//! was changed and changed back in between. So this must be so in several rounds, with the same
//! rows each time; else it is looked at again, and at last told as in motion. A sink's row that
//! equals either of the source's is right.

use super::server::FoundRow;
use crate::scan::Key;

/// Rounds in a row that must find the same two rows.
pub(super) const CONFIRMATIONS: u32 = 3;

/// A row that still changes after so many rounds is in motion.
pub(super) const ROUNDS_MAX: u32 = 40;

/// A row that may differ.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) key: Key,
    seen: Option<Pair>,
    times: u32,
}

/// What both servers have for one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    pub(super) source: Vec<FoundRow>,
    pub(super) sink: Vec<FoundRow>,
}

/// What a round came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The sink has what the source has.
    Same,
    /// It is to be looked at again.
    Open,
    /// It differs.
    Different(Pair),
}

impl Suspect {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            seen: None,
            times: 0,
        }
    }

    /// Judges a round.
    pub(super) fn judge(
        &mut self,
        before: Vec<FoundRow>,
        sink: Vec<FoundRow>,
        after: Vec<FoundRow>,
    ) -> Judgement {
        let is_same = |source: &[FoundRow]| {
            let cells = |rows: &[FoundRow]| -> Vec<Vec<String>> {
                rows.iter().map(|row| row.cells.clone()).collect()
            };
            cells(source) == cells(&sink)
        };
        if is_same(&before) || is_same(&after) {
            return Judgement::Same;
        }
        if before != after {
            (self.seen, self.times) = (None, 0);
            return Judgement::Open;
        }
        let pair = Pair {
            source: after,
            sink,
        };
        if self.seen.as_ref() == Some(&pair) {
            self.times += 1;
        } else {
            self.times = 1;
        }
        if self.times >= CONFIRMATIONS {
            return Judgement::Different(pair);
        }
        self.seen = Some(pair);
        Judgement::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cell: &str) -> Vec<FoundRow> {
        vec![FoundRow {
            literals: vec!["1".to_owned()],
            shown: vec!["1".to_owned()],
            cells: vec![cell.to_owned()],
        }]
    }

    fn suspect() -> Suspect {
        Suspect::new(Key::new(vec!["1".to_owned()]))
    }

    #[test]
    fn a_row_that_is_late_or_early_is_no_difference() {
        assert_eq!(
            suspect().judge(row("a"), row("a"), row("b")),
            Judgement::Same
        );
        assert_eq!(
            suspect().judge(row("a"), row("b"), row("b")),
            Judgement::Same
        );
        assert_eq!(suspect().judge(row("a"), vec![], vec![]), Judgement::Same);
        assert_eq!(suspect().judge(vec![], vec![], row("a")), Judgement::Same);
    }

    #[test]
    fn a_difference_must_stand_still() {
        let mut suspect = suspect();
        for _ in 1..CONFIRMATIONS {
            assert_eq!(suspect.judge(row("a"), row("x"), row("a")), Judgement::Open);
        }
        // The source's row moved, or the sink's did: from the beginning.
        assert_eq!(suspect.judge(row("a"), row("x"), row("b")), Judgement::Open);
        for sink in ["x", "y"] {
            for _ in 1..CONFIRMATIONS {
                assert_eq!(
                    suspect.judge(row("a"), row(sink), row("a")),
                    Judgement::Open
                );
            }
        }
        assert_eq!(
            suspect.judge(row("a"), row("y"), row("a")),
            Judgement::Different(Pair {
                source: row("a"),
                sink: row("y")
            })
        );
    }
}
