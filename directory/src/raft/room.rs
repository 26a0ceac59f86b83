//! Whether a disk has room for what can wait. The log shares it with snapshots, and a member whose
//! log can't be written ends; one without a newer snapshot only starts more slowly.

use std::io;
use std::path::Path;

/// Bytes that are left to the log: many times what comes until somebody looks.
const LEFT_BYTES: u64 = 64 << 20;

/// An error if `bytes` more in `dir` would leave too few to the log.
pub(super) fn check(dir: &Path, bytes: u64) -> io::Result<()> {
    let disk = rustix::fs::statvfs(dir)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if bytes.saturating_add(LEFT_BYTES) <= free {
        return Ok(());
    }
    let what = format!(
        "{} has {} MiB free, and {} MiB are needed beside the {} MiB that the log may need; make room there",
        dir.display(),
        free >> 20,
        (bytes >> 20) + 1,
        LEFT_BYTES >> 20,
    );
    Err(io::Error::new(io::ErrorKind::StorageFull, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_larger_than_the_disk_is_refused() {
        let dir = tempfile::TempDir::new().unwrap();
        let error = check(dir.path(), u64::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(check(Path::new("/nowhere/at/all"), 0).is_err());
        let free = rustix::fs::statvfs(dir.path()).unwrap();
        if free.f_bavail * free.f_frsize > 2 * LEFT_BYTES {
            check(dir.path(), 1).unwrap();
        }
    }
}
