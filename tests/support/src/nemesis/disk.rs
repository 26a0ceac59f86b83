//! Disks that misbehave.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::run;

/// What fills a disk is written in pieces of this size, and then by single bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// A small file system in memory. Only within a [`sandbox`](super::sandbox), which ends it.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `mib` MiB at `path`, which is made.
    ///
    /// # Errors
    /// The system doesn't allow it.
    pub fn mount(path: &Path, mib: u32) -> Result<Self> {
        fs::create_dir_all(path)?;
        let shown = path.display().to_string();
        let size = format!("size={mib}m");
        run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &shown])?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Fills it to the last byte.
    ///
    /// # Errors
    /// It fails otherwise than for want of room.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::create(self.ballast())?;
        for size in [PIECE_BYTES, 1] {
            loop {
                match file.write_all(&vec![0; size]) {
                    Ok(()) => {}
                    Err(full) if full.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// It wasn't full.
    pub fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }
}

/// A disk whose `fsync` and `fdatasync` can be made slow or made to fail while a process runs. They are
/// those of a library that is loaded before the C library's (`src/nemesis/preload.rs`), and needs
/// neither a device nor rights.
#[derive(Debug)]
pub struct SlowDisk {
    orders: PathBuf,
    library: PathBuf,
}

impl SlowDisk {
    /// One that is as fast as it is; `orders` is a file of its own, which is made.
    ///
    /// # Errors
    /// The library isn't built.
    pub fn new(orders: &Path) -> Result<Self> {
        let own = std::env::current_exe()?;
        let library = own
            .ancestors()
            .skip(1)
            .take(2) // target/debug, or target/debug/deps below it
            .map(|dir| dir.join("examples/libdisk.so"))
            .find(|path| path.is_file());
        let Some(library) = library else {
            bail!(
                "no examples/libdisk.so beside {}: run `cargo build --package towpath-testing --examples`",
                own.display()
            )
        };
        let disk = Self {
            orders: orders.to_owned(),
            library,
        };
        disk.order("")?;
        Ok(disk)
    }

    /// What the process that has this disk needs in its environment.
    #[must_use]
    pub fn envs(&self) -> Vec<(OsString, OsString)> {
        vec![
            ("LD_PRELOAD".into(), self.library.clone().into()),
            ("TOWPATH_TEST_DISK".into(), self.orders.clone().into()),
        ]
    }

    /// Each flush takes so much longer from now on.
    ///
    /// # Errors
    /// The order can't be written.
    pub fn slow(&self, by: Duration) -> Result<()> {
        self.order(&format!("delay {}", by.as_millis()))
    }

    /// Each flush fails with EIO from now on.
    ///
    /// # Errors
    /// The order can't be written.
    pub fn fail(&self) -> Result<()> {
        self.order("fail")
    }

    /// All is well from now on.
    ///
    /// # Errors
    /// The order can't be written.
    pub fn heal(&self) -> Result<()> {
        self.order("")
    }

    fn order(&self, order: &str) -> Result<()> {
        // Renamed, so that nobody reads half an order.
        let new = self.orders.with_extension("new");
        fs::write(&new, order)?;
        fs::rename(&new, &self.orders).with_context(|| self.orders.display().to_string())
    }
}
