//! Temporary directories that do not pile up, even where processes are killed with -9.
//!
//! The owner holds a lock on a file in its directory for as long as it lives. Whoever makes a
//! directory first removes those of ours whose lock nobody holds.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

const PREFIX: &str = "towpath-";
const LOCK: &str = "owner.lock";

/// A directory of our own; dropping it removes it.
#[derive(Debug)]
pub(crate) struct ScratchDir {
    dir: TempDir,
    _lock: File,
}

impl ScratchDir {
    /// Makes one, named `towpath-{purpose}-…`, in the system's directory for temporary files.
    pub(crate) fn create(purpose: &str) -> Result<Self> {
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        Self::create_in(&parent, purpose)
            .with_context(|| format!("making a directory in {}", parent.display()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn create_in(parent: &Path, purpose: &str) -> io::Result<Self> {
        // Its lock file gets its final name only when it is locked: one without that name is new.
        let dir = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{purpose}-"))
            .tempdir_in(parent)?;
        let unlocked = dir.path().join("owner.new");
        let lock = File::create(&unlocked)?;
        lock.lock()?;
        fs::rename(unlocked, dir.path().join(LOCK))?;
        Ok(Self { dir, _lock: lock })
    }
}

/// Removes what dead processes left, as far as we may; another's directories are not ours to mind.
fn remove_abandoned(parent: &Path) {
    for dir in fs::read_dir(parent).into_iter().flatten().flatten() {
        if dir.file_name().to_string_lossy().starts_with(PREFIX) && is_abandoned(&dir.path()) {
            let _ = fs::remove_dir_all(dir.path());
        }
    }
}

fn is_abandoned(dir: &Path) -> bool {
    let lock: PathBuf = dir.join(LOCK);
    match File::options()
        .write(true)
        .open(lock)
        .map(|lock| lock.try_lock())
    {
        Ok(Ok(())) => true,
        Ok(Err(TryLockError::WouldBlock | TryLockError::Error(_))) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_directories_of_the_dead_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let dead = ScratchDir::create_in(parent.path(), "dead").unwrap();
        let alive = ScratchDir::create_in(parent.path(), "alive").unwrap();
        let foreign = parent.path().join("towpath-notes");
        fs::create_dir(&foreign).unwrap();
        let ScratchDir { dir, _lock: lock } = dead;
        let dead = dir.keep();
        remove_abandoned(parent.path());
        assert!(dead.exists());
        drop(lock);
        remove_abandoned(parent.path());
        assert!(!dead.exists());
        assert!(alive.path().exists() && foreign.exists());
        let alive_at = alive.path().to_owned();
        drop(alive);
        assert!(!alive_at.exists());
    }
}
