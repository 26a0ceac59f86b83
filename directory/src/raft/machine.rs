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

use super::log_redb::LogStore;
use super::types::{EntryId, Membership, Payload, SnapshotMeta, Types, newer};
use crate::front::Front;
use crate::state::{State, batch, command, snapshot};

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
        })
    }

    /// The next snapshot that is asked for is taken, whatever it costs.
    pub(super) fn snapshot_now(&mut self) {
        self.snapshot_now = true;
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
    /// Writes it to `path`, durably: there's the whole file or none.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut log = serde_json::to_value(&self.meta)?;
        if let Some(log) = log.as_object_mut() {
            log.insert("used".into(), serde_json::to_value(&self.used)?);
        }
        let log = serde_json::to_vec(&log)?;
        let temporary = path.with_extension("tmp");
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

/// Makes `name` the current snapshot, and removes all others.
async fn adopt(log: &LogStore, dir: &Path, name: String) -> io::Result<()> {
    log.save_snapshot(&name).await?;
    for file in fs::read_dir(dir)? {
        let file = file?;
        if file.file_name().to_str() != Some(&name)
            && let Err(error) = fs::remove_file(file.path())
        {
            tracing::warn!(file = %file.path().display(), %error, "an old snapshot could not be removed");
        }
    }
    Ok(())
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
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.snapshot_now = false;
        self.snapshot_at = self.front.zxid();
        Builder {
            view: Some(Arc::new(self.view())),
            log: self.log.clone(),
            dir: self.dir.clone(),
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
        adopt(&self.log, &self.dir, name).await?;
        tracing::info!(file = %path.display(), "snapshot written");
        Ok(Snapshot {
            meta,
            snapshot: SnapshotFile { path },
        })
    }
}
