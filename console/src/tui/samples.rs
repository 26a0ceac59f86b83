//! Lag and rate of each task over the last minutes, for its sparklines.
//!
//! A column is [`COLUMN_SECONDS`] of our clock; columns stand still and don't flicker. Whether a
//! task still reports is judged by when we saw a change, so no other machine's clock matters.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use towpath_protocol::tree::record::Progress;

use super::picture::{Picture, Pipeline, Task};

/// Seconds of a column.
const COLUMN_SECONDS: i64 = 5;
/// The most columns: five minutes, and no wider than fits beside a label on 80 columns.
pub(super) const COLUMNS_MAX: usize = 60;
/// A Core reports twice a second; after twenty reports that didn't come something is wrong.
const SILENCE_SECONDS_MAX: i64 = 10;

/// What a column saw; `None` where nobody reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) lag_ms: Option<u64>,
    pub(super) rows_per_second: Option<u64>,
}

#[derive(Clone, Debug)]
struct Series {
    columns: VecDeque<Column>,
    /// Number of the last column since 1970.
    last: i64,
    updated: Timestamp,
    seen: Timestamp,
}

/// The series of all tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(BTreeMap<(String, String), Series>);

impl Samples {
    /// Adds what is so now. Called once a second.
    pub(super) fn take(&mut self, now: Timestamp, picture: &Picture) {
        let alive = |(pipeline, task): &(String, String)| {
            picture
                .pipeline(pipeline)
                .is_some_and(|found| found.tasks.iter().any(|t| t.name.as_str() == task))
        };
        self.0.retain(|key, _| alive(key));
        for pipeline in &picture.pipelines {
            for task in &pipeline.tasks {
                let series = self.0.entry(key(pipeline, task)).or_insert_with(|| Series {
                    columns: VecDeque::new(),
                    last: now.as_second() / COLUMN_SECONDS,
                    updated: Timestamp::MIN,
                    seen: now,
                });
                series.add(now, task.progress.as_ref());
            }
        }
    }

    /// The columns of a task, oldest first.
    pub(super) fn columns(&self, pipeline: &Pipeline, task: &Task) -> Vec<Column> {
        self.0
            .get(&key(pipeline, task))
            .map(|series| series.columns.iter().copied().collect())
            .unwrap_or_default()
    }

    /// For how many seconds a task has reported nothing new, if that is too long.
    pub(super) fn silent(&self, now: Timestamp, pipeline: &Pipeline, task: &Task) -> Option<u64> {
        let series = self.0.get(&key(pipeline, task))?;
        let silence = now.as_second().saturating_sub(series.seen.as_second());
        (silence > SILENCE_SECONDS_MAX).then(|| silence.unsigned_abs())
    }

    /// The directory was away: nobody was silent meanwhile.
    pub(super) fn forgive(&mut self, now: Timestamp) {
        for series in self.0.values_mut() {
            series.seen = now;
        }
    }
}

fn key(pipeline: &Pipeline, task: &Task) -> (String, String) {
    (pipeline.name.to_string(), task.name.to_string())
}

impl Series {
    fn add(&mut self, now: Timestamp, progress: Option<&Progress>) {
        let column = now.as_second() / COLUMN_SECONDS;
        let gap = column.saturating_sub(self.last);
        if gap != 0 || self.columns.is_empty() {
            for _ in 0..gap.clamp(1, i64::try_from(COLUMNS_MAX).unwrap_or(i64::MAX)) {
                self.columns.push_back(Column::default());
            }
            self.last = column;
        }
        while self.columns.len() > COLUMNS_MAX {
            self.columns.pop_front();
        }
        let Some(progress) = progress else {
            self.seen = now;
            return;
        };
        if progress.updated != self.updated {
            self.updated = progress.updated;
            self.seen = now;
        }
        if let Some(column) = self.columns.back_mut() {
            column.lag_ms = column.lag_ms.max(progress.lag_ms);
            column.rows_per_second = column.rows_per_second.max(Some(progress.rows_per_second));
        }
    }
}
