//! Writes messages into the file. One thread does it, in order: it takes whatever waits into one
//! commit, which is synced, and tells of it afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::error::DiskError;
use super::{BYTES, DiskOptions, MESSAGES, NEXT, STATE, builder};
use crate::queue::pack::Sealed;

/// Bytes of messages in one commit, about: what one sync waits for.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Bytes per permit: a semaphore counts in 32 bits.
const PERMIT_BYTES: usize = 1024;

/// Writes a log, in order. Dropping it closes the file some time after what waits is written.
pub struct DiskWriter {
    jobs: mpsc::UnboundedSender<Job>,
    permits: Arc<Semaphore>,
    permits_max: u32,
    done: watch::Receiver<Done>,
    /// Messages that were handed over.
    handed: u64,
}

struct Job {
    sealed: Sealed,
    _permit: OwnedSemaphorePermit,
}

/// What has become of it.
#[derive(Clone, Debug, Default)]
struct Done {
    /// Messages that are on the disk.
    written: u64,
    failed: Option<DiskError>,
}

impl DiskWriter {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`DiskError::Busy`], [`DiskError::Failed`].
    pub async fn open(options: DiskOptions) -> Result<Self, DiskError> {
        let permits_max =
            u32::try_from(options.window_bytes / PERMIT_BYTES).unwrap_or(u32::MAX >> 4);
        let permits_max = permits_max.max(1);
        let path = options.path.clone();
        let failed = |cause: String| DiskError::failed(&path, "opened", cause);
        let opened = tokio::task::spawn_blocking(move || File::open(options)).await;
        let file = opened.map_err(|error| failed(error.to_string()))??;
        let (jobs, waiting) = mpsc::unbounded_channel();
        let (report, done) = watch::channel(Done::default());
        thread::Builder::new()
            .name("queue-disk".to_owned())
            .spawn(move || file.write_all(waiting, &report))
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            jobs,
            permits: Arc::new(Semaphore::new(permits_max as usize)),
            permits_max,
            done,
            handed: 0,
        })
    }

    /// Hands a message over, waiting while too much waits. Cancelled while it waits, the message isn't
    /// written.
    ///
    /// # Errors
    /// [`DiskError::Failed`]; nothing more can be written then.
    pub async fn publish(&mut self, sealed: Sealed) -> Result<(), DiskError> {
        let wanted = sealed.bytes.len().div_ceil(PERMIT_BYTES);
        let wanted = u32::try_from(wanted)
            .unwrap_or(u32::MAX)
            .min(self.permits_max);
        let permit = tokio::select! {
            permit = Arc::clone(&self.permits).acquire_many_owned(wanted) => permit,
            error = failure(self.done.clone()) => return Err(error),
        };
        let handed = permit.is_ok_and(|permit| {
            let job = Job {
                sealed,
                _permit: permit,
            };
            self.jobs.send(job).is_ok()
        });
        if !handed {
            return Err(failure(self.done.clone()).await);
        }
        self.handed += 1;
        Ok(())
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// As [`DiskWriter::publish`].
    pub async fn settle(&mut self) -> Result<(), DiskError> {
        let handed = self.handed;
        let settled = |done: &Done| done.failed.is_some() || done.written >= handed;
        let answer = self.done.wait_for(settled).await;
        let failed = answer.map(|done| done.failed.clone());
        // A thread that is gone has left its last word.
        let failed = failed.unwrap_or_else(|_closed| self.done.borrow().failed.clone());
        failed.map_or(Ok(()), Err)
    }

    /// Writes what waits, and returns when the file is closed.
    ///
    /// # Errors
    /// As [`DiskWriter::publish`].
    pub async fn close(mut self) -> Result<(), DiskError> {
        let settled = self.settle().await;
        drop(self.jobs);
        // Its sender goes with the thread, after the file.
        while self.done.changed().await.is_ok() {}
        settled
    }
}

/// The writing thread's error, once it has one.
async fn failure(mut done: watch::Receiver<Done>) -> DiskError {
    let _ = done.wait_for(|done| done.failed.is_some()).await;
    let failed = done.borrow().failed.clone();
    failed.unwrap_or_else(|| DiskError::failed("-".as_ref(), "written", "its thread has ended"))
}

/// The open file, and its counters.
struct File {
    path: PathBuf,
    database: Database,
    retention_bytes: u64,
    next: u64,
    bytes: u64,
}

impl File {
    fn open(options: DiskOptions) -> Result<Self, DiskError> {
        let path = options.path;
        let database = builder().create(&path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => DiskError::Busy { path: path.clone() },
            error => DiskError::failed(&path, "opened", error),
        })?;
        let mut file = Self {
            path,
            database,
            retention_bytes: options.retention_bytes,
            next: 0,
            bytes: 0,
        };
        match file.read_state() {
            Ok((next, bytes)) => (file.next, file.bytes) = (next, bytes),
            Err(error) => return Err(DiskError::failed(&file.path, "opened", error)),
        }
        Ok(file)
    }

    /// The counters; makes the tables if they aren't there.
    fn read_state(&self) -> Result<(u64, u64), redb::Error> {
        let write = self.database.begin_write()?;
        write.open_table(MESSAGES)?;
        write.open_table(STATE)?;
        write.commit()?;
        let read = self.database.begin_read()?;
        let state = read.open_table(STATE)?;
        let of = |name| Ok::<_, redb::Error>(state.get(name)?.map_or(0, |value| value.value()));
        Ok((of(NEXT)?, of(BYTES)?))
    }

    /// Writes what comes until nobody can send any more, or until the first failure.
    fn write_all(
        mut self,
        mut waiting: mpsc::UnboundedReceiver<Job>,
        report: &watch::Sender<Done>,
    ) {
        while let Some(first) = waiting.blocking_recv() {
            let mut bytes = first.sealed.bytes.len();
            let mut group = vec![first];
            while bytes < GROUP_BYTES_MAX
                && let Ok(job) = waiting.try_recv()
            {
                bytes += job.sealed.bytes.len();
                group.push(job);
            }
            let count = group.len() as u64;
            match self.commit(&group) {
                Ok(()) => report.send_modify(|done| done.written += count),
                Err(error) => {
                    let error = DiskError::failed(&self.path, "written", error);
                    report.send_modify(|done| done.failed = Some(error));
                    return;
                }
            }
        }
    }

    fn commit(&mut self, group: &[Job]) -> Result<(), redb::Error> {
        let (mut next, mut kept) = (self.next, self.bytes);
        let mut write = self.database.begin_write()?;
        // After a crash the file is usable at once, however large it is.
        write.set_quick_repair(true);
        {
            let mut messages = write.open_table(MESSAGES)?;
            for job in group {
                let bytes = &job.sealed.bytes;
                messages.insert(next, bytes.as_ref())?;
                next += 1;
                kept += bytes.len() as u64;
            }
            while kept > self.retention_bytes {
                let oldest = messages.first()?.map(|(offset, _)| offset.value());
                let Some(oldest) = oldest.filter(|oldest| oldest + 1 < next) else {
                    break;
                };
                if let Some(removed) = messages.remove(oldest)? {
                    kept = kept.saturating_sub(removed.value().len() as u64);
                }
            }
            let mut state = write.open_table(STATE)?;
            state.insert(NEXT, next)?;
            state.insert(BYTES, kept)?;
        }
        write.commit()?;
        (self.next, self.bytes) = (next, kept);
        Ok(())
    }
}
