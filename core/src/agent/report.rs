//! What a running task tells the tree: its progress, twice a second, and its last commit, at most
//! once a second. For people to see; nothing resumes from either, and nothing waits for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use towpath_coordination::progress::PROGRESS_PACE;
use towpath_coordination::{Expect, ProgressReporter, Session, SessionState};
use towpath_protocol::tree::record::{
    Committed, Progress as ProgressRecord, QueuePlace, SnapshotProgress, TABLES_LISTED_MAX,
    TableProgress, TaskState,
};
use towpath_protocol::tree::{MemberId, NodePath, path};

use super::TaskKey;
use crate::commit::copies::CopyState;
use crate::pipeline::Progress;
use crate::pipeline::progress::{CopyView, View};
use crate::task::OwnedTask;

/// Between two writes of the last commit.
const COMMITTED_PACE: Duration = Duration::from_secs(1);
/// Rates are measured over this long at least.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// The last write of a run is waited for this long: a stop must not hang on the directory.
const LAST_WRITE_MAX: Duration = Duration::from_millis(200);

/// Tells the tree about one task while this Core leads it.
pub(super) struct Report {
    session: Session,
    key: TaskKey,
    core: MemberId,
    reporter: Option<ProgressReporter>,
    commits: watch::Sender<Option<Committed>>,
    writer: OwnedTask<()>,
    commit: NodePath,
    /// Since when it's in the state that was reported last.
    state: Option<(TaskState, Timestamp)>,
    rates: Rates,
}

/// Rates between two looks at the counters of one run.
struct Rates {
    run: Option<Arc<Progress>>,
    at: Instant,
    rows: u64,
    bytes: u64,
    rows_per_second: u64,
    bytes_per_second: u64,
}

impl Rates {
    fn look(&mut self, run: &Arc<Progress>, view: &View) {
        let is_other = self
            .run
            .as_ref()
            .is_none_or(|before| !Arc::ptr_eq(before, run));
        let elapsed = self.at.elapsed();
        if !is_other && elapsed < RATE_WINDOW {
            return;
        }
        let per_second = |now: u64, before: u64| {
            let change = if is_other {
                0
            } else {
                now.saturating_sub(before)
            };
            (change as f64 / elapsed.as_secs_f64().max(0.001)).round() as u64
        };
        self.rows_per_second = per_second(view.rows, self.rows);
        self.bytes_per_second = per_second(view.read_bytes, self.bytes);
        (self.rows, self.bytes) = (view.rows, view.read_bytes);
        self.at = Instant::now();
        self.run = Some(Arc::clone(run));
    }
}

impl Report {
    pub(super) fn begin(session: &Session, key: &TaskKey, core: &MemberId) -> Self {
        let (commits, latest) = watch::channel(None);
        let commit = path::commit(&key.pipeline, &key.task);
        let writer = OwnedTask::spawn(write_commits(session.clone(), commit.clone(), latest));
        Self {
            session: session.clone(),
            key: key.clone(),
            core: core.clone(),
            reporter: None,
            commits,
            writer,
            commit,
            state: None,
            rates: Rates {
                run: None,
                at: Instant::now(),
                rows: 0,
                bytes: 0,
                rows_per_second: 0,
                bytes_per_second: 0,
            },
        }
    }

    /// Tells how far a run is; returns at once.
    pub(super) fn tell(&mut self, state: TaskState, run: Option<&Arc<Progress>>) {
        let now = Timestamp::now();
        let view = run.map(|run| {
            let view = run.view();
            self.rates.look(run, &view);
            view
        });
        let copy = view.as_ref().and_then(snapshot);
        let runs = state == TaskState::Running;
        let state = match (&copy, runs) {
            (Some(_), true) => TaskState::Snapshot,
            _ => state,
        };
        let since = match &self.state {
            Some((before, since)) if *before == state => *since,
            _ => now,
        };
        self.state = Some((state.clone(), since));
        let position = view.as_ref().and_then(|view| view.position.clone());
        let record = ProgressRecord {
            core: self.core.clone(),
            pid: std::process::id(),
            epoch: view.as_ref().map(|view| view.epoch).unwrap_or_default(),
            state,
            gtid_set: view
                .as_ref()
                .map(|view| view.gtids.to_string())
                .unwrap_or_default(),
            file: position
                .as_ref()
                .map(|position| position.file.clone())
                .unwrap_or_default(),
            position: position.map(|position| position.offset).unwrap_or_default(),
            lag_ms: view
                .as_ref()
                .and_then(|view| view.lag_us)
                .map(|us| us / 1000),
            rows_per_second: if runs { self.rates.rows_per_second } else { 0 },
            bytes_per_second: if runs { self.rates.bytes_per_second } else { 0 },
            snapshot: copy,
            missing: view
                .as_ref()
                .and_then(|view| view.missing.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
            since,
            updated: now,
        };
        let told = match &self.reporter {
            Some(reporter) => reporter.report(record),
            None => {
                let (pipeline, task) = (&self.key.pipeline, &self.key.task);
                ProgressReporter::new(&self.session, pipeline, task, record, PROGRESS_PACE)
                    .map(|reporter| self.reporter = Some(reporter))
            }
        };
        if let Err(error) = told {
            tracing::warn!(pipeline = %self.key.pipeline, %error, "can't report progress");
        }
        if let Some(committed) = view.as_ref().and_then(committed) {
            self.commits.send_if_modified(|present| {
                let is_new = |before: &Committed| {
                    (before.epoch, before.commit_seq, before.queue)
                        != (committed.epoch, committed.commit_seq, committed.queue)
                };
                let changed = present.as_ref().is_none_or(is_new);
                if changed {
                    *present = Some(committed);
                }
                changed
            });
        }
    }

    /// The last commit of a run, before it's handed to another.
    pub(super) async fn last_commit(&mut self, run: &Arc<Progress>) {
        let Some(committed) = committed(&run.view()) else {
            return;
        };
        if self.session.status().state != SessionState::Connected {
            return;
        }
        let write = self
            .session
            .write(&self.commit, committed, Expect::Anything);
        if !matches!(tokio::time::timeout(LAST_WRITE_MAX, write).await, Ok(Ok(_))) {
            tracing::debug!(pipeline = %self.key.pipeline, "the last commit was not told");
        }
    }

    /// Ends: the progress node goes.
    pub(super) async fn end(self) {
        drop(self.writer);
        if let Some(reporter) = self.reporter {
            // What isn't removed in time goes with the session.
            let _ = tokio::time::timeout(LAST_WRITE_MAX, reporter.end()).await;
        }
    }
}

/// `None` once every table is as of one moment, and where none is copied.
fn snapshot(view: &View) -> Option<SnapshotProgress> {
    let is_done = |copy: &&CopyView| copy.state == CopyState::Done;
    let (done, not_done): (Vec<_>, Vec<_>) = view.copies.iter().partition(is_done);
    if not_done.is_empty() {
        return None;
    }
    let mut listed = not_done.clone();
    listed.sort_by_key(|copy| copy.state == CopyState::Waiting);
    listed.truncate(TABLES_LISTED_MAX);
    let seconds = |left: Duration| left.as_secs();
    let rows_per_second: u64 = not_done.iter().map(|copy| copy.rows_per_second).sum();
    let rows: u64 = view.copies.iter().map(|copy| copy.rows).sum();
    let estimated = |copy: &CopyView| copy.rows_estimated.unwrap_or(0).max(copy.rows);
    let rows_estimated: u64 = view.copies.iter().map(estimated).sum();
    Some(SnapshotProgress {
        tables: view.copies.len() as u64,
        tables_done: done.len() as u64,
        rows,
        rows_estimated,
        rows_per_second,
        seconds_left: (rows_estimated - rows).checked_div(rows_per_second),
        under_way: listed
            .into_iter()
            .map(|copy| TableProgress {
                table: format!("{}.{}", copy.database, copy.table),
                state: copy.state.word().to_owned(),
                rows: copy.rows,
                rows_estimated: copy.rows_estimated,
                rows_per_second: copy.rows_per_second,
                seconds_left: copy.left.map(seconds),
            })
            .collect(),
    })
}

/// `None` before the first commit.
fn committed(view: &View) -> Option<Committed> {
    (view.commit_seq > 0).then(|| Committed {
        generation: view.generation,
        epoch: view.epoch,
        commit_seq: view.commit_seq,
        gtid_set: view.gtids.to_string(),
        queue: view.queue_place.map(|place| QueuePlace {
            offset: place.offset,
            generation: place.term.generation,
            epoch: place.term.epoch,
            run: place.term.run,
            producer: place.term.producer,
        }),
        at: Timestamp::now(),
    })
}

async fn write_commits(
    session: Session,
    node: NodePath,
    mut latest: watch::Receiver<Option<Committed>>,
) {
    while latest.changed().await.is_ok() {
        // One that waits for the directory would come after a successor's.
        if session.status().state == SessionState::Connected {
            let committed = latest.borrow_and_update().clone();
            if let Some(committed) = committed
                && let Err(error) = session.write(&node, committed, Expect::Anything).await
            {
                tracing::debug!(path = %node, %error, "the last commit was not told");
            }
        }
        tokio::time::sleep(COMMITTED_PACE).await;
    }
}
