//! Log, vote, purge point and the pointer to the snapshot, in one redb file.
//!
//! All writes go through one thread, in order. It takes whatever waits into one transaction and
//! reports each as done after the commit, which is an fsync: that's the group commit, and nothing
//! is acknowledged before it. The point up to which entries are committed is written with the next
//! change that isn't an append, and when the log is closed: an older one only means that more is
//! found out from the log at the start, and a transaction less page costs less.
//!
//! The newest entries are kept in memory, since they are read back at once to be applied.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::identity::DirectoryId;
use super::types::{Entry, EntryId, Payload, Types, Vote, decode, encode};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const SNAPSHOT: &str = "snapshot";
const MEMBER: &str = "member";
const DIRECTORY: &str = "directory";

/// Bytes of entries that are read, and sent, together; one entry may be longer.
const TOGETHER_BYTES_MAX: usize = 1 << 20;

/// Bytes of entries that are kept in memory beside the file.
const CACHE_BYTES_MAX: usize = 8 << 20;
/// Bytes of pages that redb keeps in memory: the log is written once, and read at the start.
const PAGES_BYTES_MAX: usize = 32 << 20;
/// Writes in one transaction: bounds what one fsync waits for.
const GROUP_MAX: usize = 4096;

type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

enum Change {
    Append(Vec<(u64, Vec<u8>)>, u64),
    Meta(&'static str, Vec<u8>),
    TruncateFrom(u64),
    PurgeTo(u64, Vec<u8>),
}

struct Job {
    change: Change,
    done: Done,
}

#[derive(Default)]
struct Tail {
    /// The newest entries, each with the number of the append that brought it.
    entries: BTreeMap<u64, (Entry, u64)>,
    bytes: usize,
    last_append: u64,
    last: Option<EntryId>,
    purged: Option<EntryId>,
    vote: Option<Vote>,
    committed: Option<EntryId>,
    committed_dirty: bool,
}

struct Shared {
    database: Database,
    tail: Mutex<Tail>,
    /// Dropped after the file is closed.
    _closed: oneshot::Sender<()>,
}

/// The log of one member; clones are handles to the same one.
#[derive(Clone)]
pub(super) struct LogStore {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

impl Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore").finish_non_exhaustive()
    }
}

impl LogStore {
    /// Opens or makes the file; the receiver ends when it's closed again. `WouldBlock`: another
    /// process has it open.
    pub(super) fn open(path: &Path) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let mut builder = Database::builder();
        builder.set_cache_size(PAGES_BYTES_MAX);
        let database = builder.create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => io::Error::new(io::ErrorKind::WouldBlock, error),
            error => io::Error::other(error),
        })?;
        let write = database.begin_write().map_err(io::Error::other)?;
        write.open_table(LOG).map_err(io::Error::other)?;
        write.open_table(META).map_err(io::Error::other)?;
        write.commit().map_err(io::Error::other)?;
        let mut tail = Tail {
            vote: read_meta(&database, VOTE)?,
            committed: read_meta(&database, COMMITTED)?,
            purged: read_meta(&database, PURGED)?,
            ..Tail::default()
        };
        tail.last = match read_last(&database)? {
            Some(entry) => Some(entry.log_id),
            None => tail.purged,
        };
        let (closed, receiver) = oneshot::channel();
        let shared = Arc::new(Shared {
            database,
            tail: Mutex::new(tail),
            _closed: closed,
        });
        let (jobs, receive_jobs) = mpsc::channel();
        let for_writer = shared.clone();
        std::thread::Builder::new()
            .name("directory-log".into())
            .spawn(move || write_loop(&for_writer, &receive_jobs))?;
        Ok((Self { shared, jobs }, receiver))
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.shared
            .tail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, change: Change, done: Done) -> io::Result<()> {
        self.jobs
            .send(Job { change, done })
            .map_err(|_| io::Error::other("the log's writer has stopped"))
    }

    async fn write(&self, change: Change) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        self.send(change, Box::new(|result| drop(tell.send(result))))?;
        told.await
            .map_err(|_| io::Error::other("the log's writer has stopped"))?
    }

    /// Makes this the log of member `id`, if it's nobody's yet; whose it is.
    pub(super) async fn own(&self, id: u64) -> io::Result<u64> {
        match read_meta(&self.shared.database, MEMBER)? {
            Some(owner) => Ok(owner),
            None => {
                let change = Change::Meta(MEMBER, serde_json::to_vec(&id)?);
                self.write(change).await.map(|()| id)
            }
        }
    }

    /// For whom this member has voted last.
    pub(super) fn vote(&self) -> Option<Vote> {
        self.tail().vote
    }

    /// Whether nothing was ever logged or voted here.
    pub(super) fn is_new(&self) -> bool {
        let tail = self.tail();
        tail.vote.is_none() && tail.last.is_none()
    }

    /// Which directory this log belongs to, if that's known.
    pub(super) fn directory(&self) -> io::Result<Option<DirectoryId>> {
        read_meta(&self.shared.database, DIRECTORY)
    }

    /// Makes this the log of a member of `directory`.
    pub(super) async fn save_directory(&self, directory: DirectoryId) -> io::Result<()> {
        self.write(Change::Meta(DIRECTORY, serde_json::to_vec(&directory)?))
            .await
    }

    /// Notes which snapshot file is the current one.
    pub(super) async fn save_snapshot(&self, name: &str) -> io::Result<()> {
        self.write(Change::Meta(SNAPSHOT, serde_json::to_vec(name)?))
            .await
    }

    /// The current snapshot file's name.
    pub(super) fn snapshot(&self) -> io::Result<Option<String>> {
        read_meta(&self.shared.database, SNAPSHOT)
    }

    /// Makes an empty log, that of `member`, begin a directory of its own after what a snapshot
    /// contains. It counts terms from the snapshot's on: the first leader's entries come after all
    /// that it contains.
    pub(super) async fn begin_after(
        &self,
        member: u64,
        id: &EntryId,
        snapshot: &str,
    ) -> io::Result<()> {
        self.own(member).await?;
        self.save_directory(DirectoryId::random()).await?;
        self.save_snapshot(snapshot).await?;
        let vote = Vote {
            leader_id: id.leader_id,
            committed: false,
        };
        self.write(Change::Meta(VOTE, json(&vote)?)).await?;
        self.write(Change::Meta(COMMITTED, serde_json::to_vec(&Some(id))?))
            .await?;
        self.write(Change::PurgeTo(id.index, serde_json::to_vec(&Some(id))?))
            .await
    }

    fn range(&self, range: (Bound<u64>, Bound<u64>), bytes_max: usize) -> io::Result<Vec<Entry>> {
        let empty = match (range.0, range.1) {
            (Bound::Included(a), Bound::Excluded(b)) => a >= b,
            (Bound::Included(a), Bound::Included(b)) => a > b,
            _ => false,
        };
        if empty {
            return Ok(Vec::new());
        }
        let mut fits = fitting(bytes_max);
        let (cached_from, cached): (u64, Vec<Entry>) = {
            let tail = self.tail();
            let from = tail.entries.keys().next().copied().unwrap_or(u64::MAX);
            let entries = tail.entries.range(range).map(|(_, (entry, _))| entry);
            (
                from,
                entries.take_while(|entry| fits(entry)).cloned().collect(),
            )
        };
        let before_cache = match range.0 {
            Bound::Included(from) => from < cached_from,
            _ => true,
        };
        if !before_cache {
            return Ok(cached);
        }
        // What is older than the cache is in the file.
        let read = self
            .shared
            .database
            .begin_read()
            .map_err(io::Error::other)?;
        let table = read.open_table(LOG).map_err(io::Error::other)?;
        let mut entries = Vec::new();
        let mut fits = fitting(bytes_max);
        for row in table.range(range).map_err(io::Error::other)? {
            let (index, row) = row.map_err(io::Error::other)?;
            if index.value() >= cached_from {
                break;
            }
            let entry = decode(index.value(), row.value())?;
            if !fits(&entry) {
                return Ok(entries);
            }
            entries.push(entry);
        }
        entries.extend(cached.into_iter().take_while(|entry| fits(entry)));
        Ok(entries)
    }
}

fn read_meta<T: DeserializeOwned>(database: &Database, key: &str) -> io::Result<Option<T>> {
    let read = database.begin_read().map_err(io::Error::other)?;
    let table = read.open_table(META).map_err(io::Error::other)?;
    let Some(value) = table.get(key).map_err(io::Error::other)? else {
        return Ok(None);
    };
    Ok(serde_json::from_slice(value.value())?)
}

fn read_last(database: &Database) -> io::Result<Option<Entry>> {
    let read = database.begin_read().map_err(io::Error::other)?;
    let table = read.open_table(LOG).map_err(io::Error::other)?;
    let last = table.last().map_err(io::Error::other)?;
    last.map(|(index, row)| decode(index.value(), row.value()))
        .transpose()
}

fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(value)?)
}

/// The one thread that writes. After an error nothing is written any more: the member has to stop.
fn write_loop(shared: &Shared, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(job) = jobs.try_recv()
        {
            group.push(job);
        }
        let result = commit(shared, &group);
        if let Err(error) = &result {
            tracing::error!(%error, "the directory's log can't be written; is the disk full or failing?");
        }
        for job in group {
            (job.done)(
                result
                    .as_ref()
                    .copied()
                    .map_err(|error| io::Error::new(error.kind(), error.to_string())),
            );
        }
        if result.is_err() {
            return;
        }
    }
    // The last committed point, for a quicker start.
    if let Err(error) = commit(shared, &[]) {
        tracing::warn!(%error, "the directory's log could not be closed cleanly");
    }
}

fn commit(shared: &Shared, group: &[Job]) -> io::Result<()> {
    let appends_only = !group.is_empty()
        && group
            .iter()
            .all(|job| matches!(job.change, Change::Append(..)));
    let committed = if appends_only {
        None
    } else {
        let mut tail = shared.tail.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut tail.committed_dirty).then_some(tail.committed)
    };
    let write = shared.database.begin_write().map_err(io::Error::other)?;
    let mut durable = None;
    {
        let mut log = write.open_table(LOG).map_err(io::Error::other)?;
        let mut meta = write.open_table(META).map_err(io::Error::other)?;
        if let Some(committed) = committed {
            meta.insert(COMMITTED, &*json(&committed)?)
                .map_err(io::Error::other)?;
        }
        for job in group {
            match &job.change {
                Change::Append(rows, append) => {
                    for (index, row) in rows {
                        log.insert(index, &**row).map_err(io::Error::other)?;
                    }
                    durable = Some(*append);
                }
                Change::Meta(key, value) => {
                    meta.insert(*key, &**value).map_err(io::Error::other)?;
                }
                Change::TruncateFrom(index) => log
                    .retain_in(*index.., |_, _| false)
                    .map_err(io::Error::other)?,
                Change::PurgeTo(index, id) => {
                    log.retain_in(..=*index, |_, _| false)
                        .map_err(io::Error::other)?;
                    meta.insert(PURGED, &**id).map_err(io::Error::other)?;
                }
            }
        }
    }
    write.commit().map_err(io::Error::other)?;
    if let Some(durable) = durable {
        let mut tail = shared.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = &mut *tail;
        while tail.bytes > CACHE_BYTES_MAX
            && let Some(oldest) = tail.entries.first_entry()
            && oldest.get().1 <= durable
        {
            let (entry, _) = oldest.remove();
            tail.bytes = tail.bytes.saturating_sub(size(&entry));
        }
    }
    Ok(())
}

/// Whether one more entry fits into so many bytes; the first one always does.
fn fitting(bytes_max: usize) -> impl FnMut(&Entry) -> bool {
    let mut bytes = 0_usize;
    move |entry| {
        let is_first = bytes == 0;
        bytes = bytes.saturating_add(size(entry));
        is_first || bytes <= bytes_max
    }
}

fn size(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(Payload(bytes)) => bytes.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    payload + 160
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        self.range(range, usize::MAX)
    }

    /// As many as go out in one message.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let range = (Bound::Included(start), Bound::Excluded(end));
        self.range(range, TOGETHER_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.tail().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let tail = self.tail();
        Ok(LogState {
            last_purged_log_id: tail.purged,
            last_log_id: tail.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.write(Change::Meta(VOTE, json(vote)?)).await?;
        self.tail().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<EntryId>) -> io::Result<()> {
        let mut tail = self.tail();
        tail.committed = committed;
        tail.committed_dirty = true;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<EntryId>> {
        // A purge or a truncation may have overtaken what was written last.
        let tail = self.tail();
        Ok(tail.committed.min(tail.last))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut rows = Vec::new();
        let append = {
            let mut tail = self.tail();
            tail.last_append += 1;
            let append = tail.last_append;
            for entry in entries {
                rows.push((entry.log_id.index, encode(&entry)?));
                tail.bytes += size(&entry);
                tail.last = Some(entry.log_id);
                tail.entries.insert(entry.log_id.index, (entry, append));
            }
            append
        };
        self.send(
            Change::Append(rows, append),
            Box::new(|result| callback.io_completed(result)),
        )
    }

    async fn truncate_after(&mut self, last_log_id: Option<EntryId>) -> io::Result<()> {
        let from = last_log_id.map_or(0, |id| id.index.saturating_add(1));
        {
            let mut tail = self.tail();
            let removed = tail.entries.split_off(&from);
            let bytes: usize = removed.values().map(|(entry, _)| size(entry)).sum();
            tail.bytes = tail.bytes.saturating_sub(bytes);
            tail.last = tail.last.min(last_log_id).max(tail.purged);
        }
        self.write(Change::TruncateFrom(from)).await
    }

    async fn purge(&mut self, log_id: EntryId) -> io::Result<()> {
        {
            let mut tail = self.tail();
            let kept = tail.entries.split_off(&log_id.index.saturating_add(1));
            let removed = std::mem::replace(&mut tail.entries, kept);
            let bytes: usize = removed.values().map(|(entry, _)| size(entry)).sum();
            tail.bytes = tail.bytes.saturating_sub(bytes);
            tail.purged = Some(log_id);
            tail.last = tail.last.max(Some(log_id));
        }
        self.write(Change::PurgeTo(log_id.index, json(&Some(log_id))?))
            .await
    }
}
