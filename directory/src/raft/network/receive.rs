//! A snapshot that comes in: into a file of its own, checked as a whole, and only then given to
//! Raft, for which a snapshot that can't be read is the end.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::storage::Snapshot;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tonic::{Request, Response, Status, Streaming};

use super::message::{Installed, Part};
use super::server::{Peers, speaks_for, stopped};
use crate::raft::machine::{SnapshotFile, View};
use crate::raft::room;
use crate::raft::types::{SnapshotMeta, Vote};

/// Longest snapshot: more than the state that fits into any machine's memory.
const BYTES_MAX: u64 = 256 << 30;
/// A sender that sends nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(10);

pub(super) async fn snapshot(
    peers: Peers,
    from: u64,
    request: Request<Streaming<Part>>,
) -> Result<Response<Installed>, Status> {
    let Ok(turn) = peers.receiving.clone().try_acquire_owned() else {
        return Err(Status::resource_exhausted(
            "this member receives a snapshot already",
        ));
    };
    let mut parts = request.into_inner();
    let Some(Part::Head { vote, meta, bytes }) = next(&mut parts).await? else {
        return Err(Status::invalid_argument("the snapshot has no head"));
    };
    speaks_for(from, vote.leader_id.node_id)?;
    let meta: SnapshotMeta = serde_json::from_slice(&meta)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let Some(last) = meta.last_log_id else {
        return Err(Status::invalid_argument("the snapshot is empty"));
    };
    // Raft takes neither for possible.
    if last.leader_id > vote.leader_id {
        return Err(Status::invalid_argument(
            "the snapshot is of a leader that came after its sender",
        ));
    }
    let committed = {
        use openraft::async_runtime::watch::WatchReceiver as _;
        peers.raft.data_metrics().borrow_watched().local_committed
    };
    if committed.is_some_and(|committed| last > committed && last.index <= committed.index) {
        return Err(Status::failed_precondition(
            "the snapshot contradicts what this member has committed; do the two belong to one directory?",
        ));
    }
    if bytes > BYTES_MAX {
        return Err(Status::invalid_argument("the snapshot is too long"));
    }
    room::check(&peers.incoming, bytes).map_err(|error| {
        tracing::error!(from, %error, "no room for a snapshot");
        Status::resource_exhausted(error.to_string())
    })?;
    tracing::info!(from, bytes, index = last.index, "receiving a snapshot");
    // A sender that gives up and comes again finds another name.
    let number = peers.received.fetch_add(1, Ordering::Relaxed);
    let file = Temporary(peers.incoming.join(format!("{from}-{number}.snapshot")));
    write(&file.0, &mut parts, bytes).await?;
    // From here on a sender that is gone changes nothing: Raft takes the file as soon as it can, and
    // one that isn't there then would be the end of it.
    let taken = tokio::spawn(async move {
        let _turn = turn;
        take(&peers, from, vote, meta, file).await
    });
    taken.await.map_err(|error| stopped(&error))?
}

/// Checks a file that has come, and gives it to Raft.
async fn take(
    peers: &Peers,
    from: u64,
    vote: Vote,
    meta: SnapshotMeta,
    file: Temporary,
) -> Result<Response<Installed>, Status> {
    let (path, announced) = (file.0.clone(), meta.clone());
    let checked = tokio::task::spawn_blocking(move || {
        let view = View::read(&path)?;
        match view.meta == announced {
            true => Ok(()),
            false => Err(std::io::Error::other("it isn't the one that was announced")),
        }
    });
    match checked.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(from, %error, "a snapshot has come damaged");
            return Err(Status::data_loss(error.to_string()));
        }
        Err(error) => return Err(Status::internal(error.to_string())),
    }
    let snapshot = Snapshot {
        meta,
        snapshot: SnapshotFile {
            path: file.0.clone(),
        },
    };
    let installed = peers.raft.install_full_snapshot(vote, snapshot).await;
    let installed = installed.map_err(|fatal| stopped(&fatal))?;
    Ok(Response::new(Installed(installed.vote)))
}

async fn next(parts: &mut Streaming<Part>) -> Result<Option<Part>, Status> {
    tokio::time::timeout(STALLED, parts.message())
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("the snapshot has stalled")))
}

async fn write(path: &Path, parts: &mut Streaming<Part>, bytes: u64) -> Result<(), Status> {
    let unwritable = |error: std::io::Error| {
        tracing::error!(file = %path.display(), %error, "a snapshot can't be written; is the disk full?");
        Status::internal(error.to_string())
    };
    let mut file = File::create(path).await.map_err(unwritable)?;
    let mut left = bytes;
    while left > 0 {
        let Some(Part::Chunk(chunk)) = next(parts).await? else {
            return Err(Status::data_loss("the snapshot ends too early"));
        };
        left = left
            .checked_sub(chunk.len() as u64)
            .ok_or_else(|| Status::invalid_argument("the snapshot is longer than announced"))?;
        file.write_all(&chunk).await.map_err(unwritable)?;
    }
    if next(parts).await?.is_some() {
        return Err(Status::invalid_argument(
            "the snapshot is longer than announced",
        ));
    }
    file.sync_all().await.map_err(unwritable)
}

/// A file that is removed in the end, unless it was moved elsewhere.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
