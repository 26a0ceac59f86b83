//! What a newer release has written: an older one says so, and leaves it as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tempfile::TempDir;

use crate::raw::{Raw, create, directory, get};
use towpath_directory::{Config, Directory};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// Version, checksum, term, member, kind: what comes before an entry's commands.
const HEAD: usize = 22;
/// Before the version of its first command comes that one's length.
const FIRST: usize = HEAD + 4;
/// A directory that ends closes its files within this time.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// The version that comes next.
const NEWER: u8 = 2;

/// The log's file, once a directory that has stopped, or didn't start, has closed it.
fn log(dir: &Path) -> Database {
    let until = Instant::now() + CLOSED_WITHIN;
    loop {
        match Database::create(dir.join("log.redb")) {
            Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
}

/// The last entry of the log that holds commands.
fn last(dir: &Path) -> (u64, Vec<u8>) {
    let log = log(dir);
    let read = log.begin_read().unwrap();
    let table = read.open_table(LOG).unwrap();
    let mut rows = table.iter().unwrap().rev();
    rows.find_map(|row| {
        let (index, row) = row.unwrap();
        (row.value().len() > FIRST && row.value()[FIRST] == 1)
            .then(|| (index.value(), row.value().to_vec()))
    })
    .unwrap()
}

fn put(dir: &Path, index: u64, row: &[u8]) {
    let log = log(dir);
    let write = log.begin_write().unwrap();
    write.open_table(LOG).unwrap().insert(index, row).unwrap();
    write.commit().unwrap();
}

/// The error of a start, with all that caused it.
async fn refused(dir: &Path) -> String {
    let error = Directory::start(Config::new(dir)).await.map(drop);
    let mut text = String::new();
    let error = error.expect_err("it isn't understood");
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        text.push_str(&format!("{error}: "));
        cause = error.source();
    }
    text
}

/// A directory with a node, which has stopped.
async fn stopped() -> TempDir {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut raw = Raw::open(directory.address()).await;
    assert_eq!(raw.call(&create(1, "/kept", 0)).await.error, 0);
    directory.stop().await;
    dir
}

/// It goes on as it was.
async fn whole(dir: &Path) {
    let directory = directory(dir).await;
    let mut raw = Raw::open(directory.address()).await;
    assert_eq!(raw.call(&get(1, "/kept", false)).await.error, 0);
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_a_newer_release_is_named_and_kept() {
    let dir = stopped().await;
    let (index, row) = last(dir.path());
    // The entry's own form, and a command in it, whose checksum is right.
    let mut form = row.clone();
    form[0] = NEWER;
    let mut command = row.clone();
    command[FIRST] = NEWER;
    let crc = crc32fast::hash(&command[5..]);
    command[1..5].copy_from_slice(&crc.to_be_bytes());
    for newer in [form, command] {
        put(dir.path(), index, &newer);
        let said = refused(dir.path()).await;
        for part in [
            &*format!("log entry {index} is of version {NEWER}"),
            "run the newer release",
        ] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        assert_eq!(last_row(dir.path(), index), newer, "it's kept as it is");
    }
    put(dir.path(), index, &row);
    whole(dir.path()).await;
}

fn last_row(dir: &Path, index: u64) -> Vec<u8> {
    let log = log(dir);
    let read = log.begin_read().unwrap();
    let table = read.open_table(LOG).unwrap();
    let row = table.get(index).unwrap().unwrap();
    row.value().to_vec()
}

#[tokio::test]
async fn a_snapshot_of_a_newer_release_is_named_and_kept() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut raw = Raw::open(directory.address()).await;
    assert_eq!(raw.call(&create(1, "/kept", 0)).await.error, 0);
    directory.snapshot().await.unwrap();
    directory.stop().await;
    let files: Vec<PathBuf> = fs::read_dir(dir.path().join("snapshots"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    let [file] = &*files else {
        panic!("one snapshot: {files:?}");
    };
    let mut bytes = fs::read(file).unwrap();
    bytes[7] = NEWER;
    fs::write(file, &bytes).unwrap();
    let said = refused(dir.path()).await;
    for part in ["the snapshot is of version 2", "run the newer release"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert_eq!(fs::read(file).unwrap(), bytes, "it's kept as it is");
    bytes[7] = 1;
    fs::write(file, &bytes).unwrap();
    whole(dir.path()).await;
}
