//! The private data folder of a `towpath run`, and the note by which other commands find it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// A data folder that is ours alone as long as this lives.
pub(super) struct Place {
    dir: PathBuf,
    _lock: File,
}

/// Removes the note when dropped, if it's still ours.
pub(super) struct Note {
    file: PathBuf,
    text: String,
}

impl Place {
    /// Takes the folder that was given, or that of a pipeline of this name.
    ///
    /// # Errors
    /// It can't be made, or another process has it.
    pub(super) fn take(given: Option<&Path>, pipeline: &str) -> anyhow::Result<Self> {
        let dir = match given {
            Some(dir) => dir.to_owned(),
            None => state_folder()?.join("towpath").join(pipeline),
        };
        private_folder(&dir)?;
        let lock = File::create(dir.join("lock"))
            .with_context(|| format!("{}: can't write there", dir.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another towpath run uses {}; give this one another --data, or stop that one",
                dir.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{}: can't be locked", dir.display()));
            }
        }
        Ok(Self { dir, _lock: lock })
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    /// Where a child tells that it's ready.
    pub(super) fn ready_file(&self, role: &str) -> PathBuf {
        self.dir.join(format!("{role}.ready"))
    }

    /// Tells other commands of this user where the directory is.
    ///
    /// # Errors
    /// The note can't be written.
    pub(super) fn tell_user(&self, directory: &str) -> anyhow::Result<Note> {
        let file = towpath_console::connect::note()
            .context("no folder for the note that tells other commands where the directory is")?;
        if let Some(folder) = file.parent() {
            private_folder(folder)?;
        }
        let text = format!("{directory}\n{}\n", std::process::id());
        let unfinished = file.with_extension(std::process::id().to_string());
        File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .and_then(|mut out| out.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&unfinished, &file))
            .with_context(|| format!("{}: can't be written", file.display()))?;
        Ok(Note { file, text })
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if fs::read_to_string(&self.file).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// Where a user's programs keep what outlives them: the XDG base directory specification.
fn state_folder() -> anyhow::Result<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .context("no place for the data: give --data, or set HOME")
}

/// Makes a folder that no other user can look into; one that is there must be ours.
fn private_folder(dir: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("{}: can't be made", dir.display()))?;
    let own = fs::metadata("/proc/self").map(|own| own.uid());
    let of = fs::metadata(dir).map(|dir| dir.uid());
    if let (Ok(own), Ok(of)) = (own, of)
        && own != of
    {
        bail!(
            "{} belongs to another user; give another one",
            dir.display()
        );
    }
    Ok(())
}
