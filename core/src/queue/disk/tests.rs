//! The file as its writers and readers meet it: retention, a second writer, kill -9.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use redb::{ReadableDatabase as _, ReadableTable as _};
use tempfile::TempDir;
use towpath_protocol::gtid::GtidSet;

use super::*;
use crate::queue::follow::{Follower, Resume, Verdict};
use crate::queue::join::Joiner;
use crate::queue::log::{ReadFrom, find_tail};
use crate::queue::pack::{Claimed, Packer};
use crate::queue::tests::{PIPELINE, format, gtid, term, transaction};
use crate::queue::wire::{Compression, Message};

/// Names the file, in the process that is to be killed.
const CHILD: &str = "TOWPATH_TEST_DISK_QUEUE";

fn options(path: &Path) -> DiskOptions {
    DiskOptions {
        path: path.to_owned(),
        retention_bytes: 1 << 30,
        window_bytes: 64 * 1024,
    }
}

/// A producer by the rules of the protocol.
async fn begin(options: DiskOptions, epoch: u64) -> (DiskWriter, Packer, Option<Resume>) {
    let path = options.path.clone();
    let mut writer = DiskWriter::open(options).await.unwrap();
    let ours = term(epoch, 0);
    let (claimed, claim) = Claimed::new(format(ours, 8 * 1024, Compression::None), 0).unwrap();
    writer.publish(claim).await.unwrap();
    writer.settle().await.unwrap();
    let mut reader = DiskReader::new(path, ReadFrom::Last);
    let resume = find_tail(&mut reader, PIPELINE, ours).await.unwrap();
    let (before, ord) = resume
        .clone()
        .map_or((GtidSet::new(), 1), |resume| (resume.before, resume.ord));
    let (packer, open) = claimed.open(before, ord, 0).unwrap();
    writer.publish(open).await.unwrap();
    (writer, packer, resume)
}

async fn write(writer: &mut DiskWriter, packer: &mut Packer, numbers: impl Iterator<Item = u64>) {
    let mut out = Vec::new();
    for number in numbers {
        for message in transaction(number, &[vec![1500, 1500]]) {
            packer.push(&message, 0, &mut out).unwrap();
        }
        for sealed in out.drain(..) {
            writer.publish(sealed).await.unwrap();
        }
    }
    packer.flush(0, &mut out).unwrap();
    for sealed in out {
        writer.publish(sealed).await.unwrap();
    }
}

/// Reads until the transactions up to `to` were taken, in order.
async fn take_all(reader: &mut DiskReader, follower: &mut Follower, to: u64) {
    let mut joiner = Joiner::default();
    let mut expected = follower.held().count() + 1;
    while expected <= to {
        let fetched = reader.next().await.unwrap();
        let step = follower
            .follow(Message::open(&fetched.bytes).unwrap())
            .unwrap();
        if let Verdict::Take(entries) = step.verdict {
            for entry in entries {
                let joined = joiner.push(entry).unwrap();
                if let Some(crate::batch::Message::Chunk(chunk)) = joined {
                    assert_eq!(chunk.gtid, gtid(expected));
                    expected += u64::from(chunk.last);
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_written_is_read_meanwhile_and_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("queue");
    let mut reader = DiskReader::new(path.clone(), ReadFrom::First);
    let mut follower = Follower::new(PIPELINE, GtidSet::new(), None);
    let (mut writer, mut packer, resume) = begin(options(&path), 1).await;
    assert_eq!(resume, None);
    let writing = async {
        write(&mut writer, &mut packer, 1..=200).await;
        writer.settle().await.unwrap();
    };
    tokio::join!(writing, take_all(&mut reader, &mut follower, 200));
    // One that writes; the others wait for it to end.
    let error = DiskWriter::open(options(&path)).await.err().unwrap();
    assert!(matches!(error, DiskError::Busy { .. }), "{error}");
    writer.close().await.unwrap();
    let (mut writer, mut packer, resume) = begin(options(&path), 2).await;
    let held = (1..=200).map(gtid).collect();
    assert_eq!(
        resume,
        Some(Resume {
            before: held,
            ord: 201
        })
    );
    write(&mut writer, &mut packer, 201..=300).await;
    take_all(&mut reader, &mut follower, 300).await;

    // Any offset; one beyond the end is the next one.
    reader.seek(ReadFrom::Offset(17));
    assert_eq!(reader.next().await.unwrap().offset, 17);
    reader.seek(ReadFrom::First);
    assert_eq!(reader.next().await.unwrap().offset, 0);
    writer.settle().await.unwrap();
    reader.seek(ReadFrom::Last);
    let last = reader.next().await.unwrap().offset;
    reader.seek(ReadFrom::Offset(last + 1000));
    write(&mut writer, &mut packer, 301..=301).await;
    assert_eq!(reader.next().await.unwrap().offset, last + 1);
}

#[tokio::test]
async fn what_retention_has_dropped_is_a_gap() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("queue");
    let mut small = options(&path);
    small.retention_bytes = 100_000;
    let (mut writer, mut packer, _) = begin(small, 1).await;
    write(&mut writer, &mut packer, 1..=400).await;
    let mut out = Vec::new();
    packer.open(0, &mut out).unwrap();
    for sealed in out {
        writer.publish(sealed).await.unwrap();
    }
    writer.settle().await.unwrap();
    let mut reader = DiskReader::new(path.clone(), ReadFrom::First);
    let first = reader.next().await.unwrap().offset;
    assert!(first > 50, "nothing was dropped before {first}");
    let mut follower = Follower::new(PIPELINE, GtidSet::new(), None);
    let missing = loop {
        let fetched = reader.next().await.unwrap();
        let step = follower
            .follow(Message::open(&fetched.bytes).unwrap())
            .unwrap();
        match step.verdict {
            Verdict::Gap { missing } => break missing,
            Verdict::OutOfSequence => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(missing.contains(&gtid(1)));
    drop(reader);
    // What is counted is what is there.
    let file = builder().open_read_only(&path).unwrap();
    let read = file.begin_read().unwrap();
    let messages = read.open_table(MESSAGES).unwrap();
    let kept: usize = messages
        .iter()
        .unwrap()
        .map(|message| message.unwrap().1.value().len())
        .sum();
    let state = read.open_table(STATE).unwrap();
    assert_eq!(state.get(BYTES).unwrap().unwrap().value(), kept as u64);
    assert!(kept <= 100_000, "{kept} bytes");
}

/// Not a test by itself: what the next one kills.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let (mut writer, mut packer, _) = begin(options(Path::new(&path)), 1).await;
    for number in 1.. {
        write(&mut writer, &mut packer, number..=number).await;
        writer.settle().await.unwrap();
        println!("confirmed {number}");
    }
}

#[tokio::test]
async fn what_a_killed_process_has_confirmed_is_there() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("queue");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "queue::disk::tests::child_that_writes_until_it_is_killed",
        ])
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let mut confirmed = 0;
    // A reader in another process than the writer.
    let mut reader = DiskReader::new(path.clone(), ReadFrom::First);
    let mut follower = Follower::new(PIPELINE, GtidSet::new(), None);
    for line in said.lines() {
        let line = line.unwrap();
        let Some((_, number)) = line.split_once("confirmed ") else {
            continue;
        };
        confirmed = number.parse().unwrap();
        take_all(&mut reader, &mut follower, confirmed).await;
        if confirmed == 60 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(confirmed >= 60, "{confirmed}");
    let (mut writer, mut packer, resume) = begin(options(&path), 2).await;
    let held = resume.unwrap().before.count();
    assert!(
        held >= confirmed,
        "{held} are there, {confirmed} were confirmed"
    );
    write(&mut writer, &mut packer, held + 1..=held + 20).await;
    take_all(&mut reader, &mut follower, held + 20).await;
}
