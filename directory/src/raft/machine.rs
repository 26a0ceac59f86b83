//! The bridge from committed entries to the front, and the snapshots of what they made.
//!
//! A snapshot is written beside the running directory, from a view of the state that shares its
//! nodes; to a temporary name, flushed, renamed, and only then noted in the log as the current
//! one. A damaged snapshot is an error, never "none".

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, StoredMembership};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::log_redb::LogStore;
use super::room;
use super::types::{EntryId, Membership, Payload, SnapshotMeta, Types, newer};
use crate::front::{Front, Status};
use crate::state::{State, batch, command, snapshot};

/// How names of files end that are being written.
const UNFINISHED: &str = ".unfinished";

/// Bytes of a node in a file, beside its path and data; its access list seldom takes more.
const NODE_BYTES: u64 = 160;

type Current = openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>;

/// A snapshot in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SnapshotFile {
    pub(super) path: PathBuf,
}

/// What applies entries.
#[derive(Debug)]
pub(super) struct Machine {
    front: Arc<Front>,
    log: LogStore,
    dir: PathBuf,
    applied: Option<EntryId>,
    membership: Membership,
    /// All numbers that members ever had.
    used: BTreeSet<u64>,
    /// The zxid of the last snapshot.
    snapshot_at: i64,
    snapshot_commands: u64,
    snapshot_now: bool,
    /// Held while the current snapshot is looked up or changed.
    turn: Arc<Mutex<()>>,
}

impl Machine {
    /// Over an empty state; snapshots are kept in `dir`, and taken after `snapshot_commands`.
    pub(super) fn new(
        front: Arc<Front>,
        log: LogStore,
        dir: PathBuf,
        snapshot_commands: u64,
    ) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        // What a process that was killed has not finished.
        for file in fs::read_dir(&dir)? {
            let path = file?.path();
            let name = path.to_string_lossy();
            if name.ends_with(UNFINISHED) || name.ends_with(".tmp") {
                let _ = fs::remove_file(&path);
            }
        }
        Ok(Self {
            front,
            log,
            dir,
            applied: None,
            membership: Membership::default(),
            used: BTreeSet::new(),
            snapshot_at: 0,
            snapshot_commands,
            snapshot_now: false,
            turn: Arc::default(),
        })
    }

    /// The next snapshot that is asked for is taken, whatever it costs.
    pub(super) fn snapshot_now(&mut self) {
        self.snapshot_now = true;
    }

    /// The log that is applied.
    pub(super) fn log(&self) -> LogStore {
        self.log.clone()
    }

    /// Whether a member has or had this number.
    pub(super) fn used(&self, id: u64) -> bool {
        self.used.contains(&id)
    }

    /// A consistent view of the state with its place in the log.
    pub(super) fn view(&self) -> View {
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        View {
            state: self.front.view(),
            meta,
            used: self.used.clone(),
        }
    }
}

/// The state at one place of the log.
#[derive(Debug)]
pub(super) struct View {
    pub(super) state: State,
    pub(super) meta: SnapshotMeta,
    /// All numbers that members ever had.
    pub(super) used: BTreeSet<u64>,
}

/// What is stored beside the place in the log; a snapshot of the time of single members has none.
#[derive(Deserialize)]
struct Beside {
    #[serde(default)]
    used: BTreeSet<u64>,
}

impl View {
    /// Whether there's room for it beside `path`.
    pub(super) fn fits(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let tree = &self.state.tree;
        let bytes = tree.data_bytes() + tree.len() as u64 * NODE_BYTES;
        room::check(dir.unwrap_or(Path::new(".")), bytes)
    }

    /// Writes it to `path`, durably: there's the whole file or none.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut log = serde_json::to_value(&self.meta)?;
        if let Some(log) = log.as_object_mut() {
            log.insert("used".into(), serde_json::to_value(&self.used)?);
        }
        let log = serde_json::to_vec(&log)?;
        let temporary = unfinished(path)?;
        let mut out = BufWriter::with_capacity(256 << 10, File::create(&temporary)?);
        snapshot::write(&self.state, &log, &mut out)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        drop(out);
        fs::rename(&temporary, path)?;
        sync_dir(path)
    }

    /// Reads it, wholly checked.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let (state, log) = snapshot::read(BufReader::with_capacity(256 << 10, File::open(path)?))?;
        let meta: SnapshotMeta = serde_json::from_slice(&log)?;
        let Beside { mut used } = serde_json::from_slice(&log)?;
        used.extend(meta.last_membership.nodes().map(|(id, _)| *id));
        Ok(Self { state, meta, used })
    }

    /// The name under which it's kept.
    pub(super) fn file_name(&self) -> String {
        match &self.meta.last_log_id {
            Some(id) => format!(
                "{:020}-{}-{}.snapshot",
                id.index, id.leader_id.term, id.leader_id.node_id
            ),
            None => "empty.snapshot".into(),
        }
    }
}

/// About as long as a file of all that is there now.
fn file_bytes(status: &Status) -> u64 {
    status.data_bytes + status.nodes as u64 * NODE_BYTES
}

/// Under which name a file is written until it's whole. No whole one ends so.
fn unfinished(path: &Path) -> io::Result<PathBuf> {
    if path.to_string_lossy().ends_with(UNFINISHED) {
        let what = format!("a name that ends in {UNFINISHED} is that of a file half written");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    Ok(name.into())
}

fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

/// Runs `work`, which reads or writes files, beside the tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

/// The last entry in a snapshot, from its name.
fn index(name: &str) -> Option<u64> {
    name.split('-').next()?.parse().ok()
}

/// Makes `name` the current snapshot, and removes those of what was before; those that are being
/// written stay. False, and nothing is done, if there is a newer one: while one was written, another
/// may have been installed.
async fn adopt(log: &LogStore, dir: &Path, name: String) -> io::Result<bool> {
    if (log.snapshot()?).is_some_and(|current| index(&current) > index(&name)) {
        return Ok(false);
    }
    log.save_snapshot(&name).await?;
    for file in fs::read_dir(dir)? {
        let file = file?;
        let is_former = file.file_name().to_str().is_some_and(|other| {
            other.ends_with(".snapshot") && other != name && index(other) <= index(&name)
        });
        if is_former && let Err(error) = fs::remove_file(file.path()) {
            tracing::warn!(file = %file.path().display(), %error, "an old snapshot could not be removed");
        }
    }
    Ok(true)
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<EntryId>, Membership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            if let EntryPayload::Normal(Payload(commands)) = &entry.payload
                && let Some(version) = batch::newer(commands)
            {
                // Members that know it apply it, so one that leaves it out would be another tree.
                return Err(newer(entry.log_id.index, version, command::VERSION));
            }
            self.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(Payload(batch)) => self.front.apply(&batch),
                EntryPayload::Membership(membership) => {
                    self.used.extend(membership.nodes().map(|(id, _)| *id));
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    /// An entry holds one command or a thousand, so commands are what counts. A snapshot costs as
    /// much as the tree is large, so one of a large tree waits until half as many commands are in
    /// the log: writing snapshots never costs more than a fixed share.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        let since = self.front.zxid().saturating_sub(self.snapshot_at);
        let enough = self.snapshot_commands.max(self.front.nodes() as u64 / 2);
        if !force && !self.snapshot_now && since.unsigned_abs() < enough {
            return None;
        }
        if let Err(error) = room::check(&self.dir, file_bytes(&self.front.status())) {
            tracing::error!(%error, "no room for a snapshot, so the log grows");
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.snapshot_now = false;
        self.snapshot_at = self.front.zxid();
        Builder {
            view: Some(Arc::new(self.view())),
            log: self.log.clone(),
            dir: self.dir.clone(),
            turn: self.turn.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> io::Result<()> {
        let view =
            blocking(move || View::read(&snapshot.path).map(|view| (view, snapshot.path))).await;
        let (view, path) = view?;
        if view.meta.last_log_id != meta.last_log_id {
            let what = format!(
                "snapshot {} is not the one that was announced",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let name = view.file_name();
        let place = self.dir.join(&name);
        let _turn = self.turn.lock().await;
        if path != place {
            fs::rename(&path, &place)?;
            sync_dir(&place)?;
        }
        adopt(&self.log, &self.dir, name).await?;
        self.applied = view.meta.last_log_id;
        self.membership = view.meta.last_membership;
        self.used = view.used;
        self.front.install(view.state);
        self.snapshot_at = self.front.zxid();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Current>> {
        let _turn = self.turn.lock().await;
        let Some(name) = self.log.snapshot()? else {
            return Ok(None);
        };
        let path = self.dir.join(name);
        let (_, log) = snapshot::peek(BufReader::new(File::open(&path)?))?;
        let meta = serde_json::from_slice(&log)?;
        Ok(Some(Snapshot {
            meta,
            snapshot: SnapshotFile { path },
        }))
    }
}

/// Writes one snapshot.
#[derive(Debug)]
pub(super) struct Builder {
    view: Option<Arc<View>>,
    log: LogStore,
    dir: PathBuf,
    turn: Arc<Mutex<()>>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Current> {
        let view = self
            .view
            .take()
            .ok_or_else(|| io::Error::other("a snapshot is built once"))?;
        let name = view.file_name();
        let path = self.dir.join(&name);
        let meta = view.meta.clone();
        let target = path.clone();
        blocking(move || view.write(&target)).await?;
        let _turn = self.turn.lock().await;
        if adopt(&self.log, &self.dir, name).await? {
            tracing::info!(file = %path.display(), "snapshot written");
        } else {
            let _ = fs::remove_file(&path);
        }
        Ok(Snapshot {
            meta,
            snapshot: SnapshotFile { path },
        })
    }
}

#[cfg(test)]
mod tests {
    use openraft::LogId;
    use tempfile::TempDir;

    use super::*;
    use crate::config::{Limits, Timers};
    use crate::raft::types::LeaderId;
    use crate::roles::Access;

    fn id(index: u64) -> EntryId {
        LogId {
            leader_id: LeaderId {
                term: 1,
                node_id: 1,
            },
            index,
        }
    }

    /// One is being written while a newer one comes in, and is finished after that.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_snapshot_never_replaces_a_newer_one() {
        let dir = TempDir::new().unwrap();
        let snapshots = dir.path().join("snapshots");
        let (log, _) = LogStore::open(&dir.path().join("log.redb")).unwrap();
        let (front, _) = Front::new(1, Timers::default(), Limits::default(), Access::default());
        let mut machine = Machine::new(front, log, snapshots.clone(), 1).unwrap();
        machine.applied = Some(id(5));
        let mut builder = machine.get_snapshot_builder().await;
        let half = unfinished(&snapshots.join("00000000000000000005-1-1.snapshot")).unwrap();
        fs::write(&half, "half of it").unwrap();

        machine.applied = Some(id(9));
        let newer = machine.view();
        let path = dir.path().join("newer");
        newer.write(&path).unwrap();
        machine.applied = Some(id(5));
        let installed = machine.install_snapshot(&newer.meta, SnapshotFile { path });
        installed.await.unwrap();
        assert!(half.exists(), "what is being written stays");

        builder.build_snapshot().await.unwrap();
        let current = machine.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!(current.meta.last_log_id, Some(id(9)));
        let left = fs::read_dir(&snapshots).unwrap();
        let left: Vec<_> = left.map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, ["00000000000000000009-1-1.snapshot"]);
    }

    #[test]
    fn files_half_written_have_names_of_their_own() {
        let name = |path: &str| unfinished(Path::new(path)).unwrap();
        assert_eq!(name("/b/a.1"), Path::new("/b/a.1.unfinished"));
        assert_ne!(name("/b/a.1"), name("/b/a.2"));
        assert!(unfinished(&name("/b/a")).is_err());
    }
}
