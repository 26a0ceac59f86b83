//! Both ends on a log in memory: succession, rollback, looking for what is missing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use towpath_protocol::gtid::GtidSet;

use super::*;
use crate::queue::follow::Resume;
use crate::queue::inlet::{Inlet, Place, Received};
use crate::queue::log::{Fetched, LogError, ReadFrom, Reader, TailError, Writer};
use crate::queue::outlet::{Claim, Outlet, OutletError};
use crate::queue::pack::Sealed;

const PATIENCE: Duration = Duration::from_millis(30);

#[derive(Default)]
struct Kept {
    first: usize,
    messages: Vec<Bytes>,
}

/// A log in memory; clones are the same one.
#[derive(Clone, Default)]
struct Memory {
    kept: Arc<Mutex<Kept>>,
    grown: Arc<Notify>,
}

impl Memory {
    fn end(&self) -> usize {
        let kept = self.kept.lock().unwrap();
        kept.first + kept.messages.len()
    }

    fn forget_until(&self, offset: usize) {
        let mut kept = self.kept.lock().unwrap();
        let count = offset - kept.first;
        kept.messages.drain(..count);
        kept.first = offset;
    }

    fn truncate(&self, offset: usize) {
        let mut kept = self.kept.lock().unwrap();
        let count = offset - kept.first;
        kept.messages.truncate(count);
    }

    /// Takes a message out: it was refused.
    fn remove(&self, offset: usize) -> Bytes {
        let mut kept = self.kept.lock().unwrap();
        let at = offset - kept.first;
        kept.messages.remove(at)
    }

    fn push(&self, bytes: Bytes) {
        self.kept.lock().unwrap().messages.push(bytes);
        self.grown.notify_waiters();
    }

    fn reader(&self) -> MemoryReader {
        MemoryReader {
            log: self.clone(),
            next: 0,
        }
    }
}

impl Writer for Memory {
    async fn publish(&mut self, sealed: Sealed) -> Result<(), LogError> {
        self.push(sealed.bytes);
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}

struct MemoryReader {
    log: Memory,
    next: usize,
}

impl Reader for MemoryReader {
    async fn next(&mut self) -> Result<Fetched, LogError> {
        loop {
            let grown = self.log.grown.notified();
            {
                let kept = self.log.kept.lock().unwrap();
                self.next = self.next.max(kept.first);
                if let Some(bytes) = kept.messages.get(self.next - kept.first) {
                    self.next += 1;
                    return Ok(Fetched {
                        offset: self.next as u64 - 1,
                        bytes: bytes.clone(),
                    });
                }
            }
            grown.await;
        }
    }

    fn seek(&mut self, from: ReadFrom) {
        self.next = match from {
            ReadFrom::First => 0,
            ReadFrom::Last => self.log.end().saturating_sub(1),
            ReadFrom::Offset(offset) => offset as usize,
        };
    }
}

async fn produce(log: &Memory, term: Term) -> Outlet<Memory> {
    let format = format(term, 600, Compression::None);
    let claim = Claim::take(log.clone(), &mut log.reader(), format)
        .await
        .unwrap();
    let resume = claim.resume().cloned().unwrap_or(Resume {
        before: GtidSet::new(),
        ord: 1,
    });
    claim.open(resume).await.unwrap()
}

/// Transactions in messages of their own.
async fn send(outlet: &mut Outlet<Memory>, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        for message in transaction(number, &[vec![100]]) {
            outlet.send(&message).await.unwrap();
        }
        outlet.flush().await.unwrap();
    }
}

fn consume(log: &Memory, held: u64, place: Option<Place>) -> Inlet<MemoryReader> {
    let held = (1..=held).map(gtid).collect();
    Inlet::new(log.reader(), PIPELINE, held, place).with_patience(PATIENCE)
}

/// The next `count` things that were received, in short; OPENs are left out.
async fn told(inlet: &mut Inlet<MemoryReader>, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    while told.len() < count {
        let received = tokio::time::timeout(Duration::from_secs(20), inlet.recv());
        told.push(match received.await.expect("nothing comes").unwrap() {
            Received::Message(batch::Message::Chunk(chunk)) if chunk.last => {
                chunk.gtid.number.to_string()
            }
            Received::Message(batch::Message::Chunk(chunk)) => {
                format!("{}.{}", chunk.gtid.number, chunk.part)
            }
            Received::Message(batch::Message::Prepared(gtid)) => format!("p{}", gtid.number),
            Received::Message(batch::Message::CaughtUp { position }) => position.to_string(),
            Received::RollBack(gtid) => format!("-{}", gtid.number),
            Received::Missing(missing) => format!("missing {}", missing.count()),
            Received::Open(_) => continue,
        });
    }
    told
}

fn numbers(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_successor_goes_on_where_the_log_ends() {
    let log = Memory::default();
    let mut first = produce(&log, term(1, 0)).await;
    send(&mut first, 1..=3).await;
    // It dies inside a transaction.
    let large = transaction(4, &[vec![400, 400], vec![400]]);
    first.send(&large[0]).await.unwrap();
    first.flush().await.unwrap();
    let mut inlet = consume(&log, 0, None);
    assert_eq!(told(&mut inlet, 5).await, ["1", "2", "3", "4.0", "4.1"]);

    let mut second = produce(&log, term(2, 0)).await;
    assert_eq!(second.before().count(), 3);
    for message in &large {
        second.send(message).await.unwrap();
    }
    let position = BinlogPosition {
        file: "binlog.000001".into(),
        offset: 9,
    };
    second
        .send(&batch::Message::CaughtUp { position })
        .await
        .unwrap();
    // What the first one writes now is a zombie's.
    first.send(&large[1]).await.unwrap();
    send(&mut first, 5..=6).await;
    send(&mut second, 5..=5).await;
    assert_eq!(
        told(&mut inlet, 6).await,
        ["-4", "4.0", "4.1", "4", "binlog.000001:9", "5"]
    );

    let late = format(term(1, 1), 600, Compression::None);
    let late = Claim::take(log.clone(), &mut log.reader(), late)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(late, OutletError::Tail(TailError::Superseded { higher, .. }) if higher == term(2, 0)),
        "{late}"
    );
}

#[tokio::test]
async fn a_place_is_where_nothing_is_missing() {
    let log = Memory::default();
    let mut outlet = produce(&log, term(1, 0)).await;
    send(&mut outlet, 1..=100).await;
    let mut inlet = consume(&log, 0, None);
    let mut place = None;
    let mut taken = 0;
    while taken < 100 {
        match inlet.recv().await.unwrap() {
            Received::Open(at) => place = Some((at, taken)),
            Received::Message(_) => taken += 1,
            other => panic!("{other:?}"),
        }
    }
    let (place, held) = place.unwrap();
    assert!(held >= 32, "no OPEN came behind {held} transactions");
    // Whoever has committed all before it begins there, without a look at what is before.
    log.forget_until(place.offset as usize);
    let mut inlet = consume(&log, held, Some(place));
    assert_eq!(
        told(&mut inlet, 100 - held as usize).await,
        numbers(held + 1..=100)
    );
}

#[tokio::test]
async fn what_is_missing_is_looked_for_further_back() {
    let log = Memory::default();
    let mut outlet = produce(&log, term(1, 0)).await;
    send(&mut outlet, 1..=2000).await;
    // An offset that was remembered of another log, or of a tail that was lost since.
    let place = Place {
        offset: log.end() as u64 - 1,
        term: term(1, 0),
    };
    let mut inlet = consume(&log, 5, Some(place));
    assert_eq!(told(&mut inlet, 1995).await, numbers(6..=2000));
}

#[tokio::test]
async fn a_hole_that_is_filled_is_waited_for() {
    let log = Memory::default();
    let mut outlet = produce(&log, term(1, 0)).await;
    send(&mut outlet, 1..=5).await;
    let end = log.end();
    let refused = log.remove(end - 3);
    let mut inlet = consume(&log, 0, None).with_patience(Duration::from_secs(60));
    assert_eq!(told(&mut inlet, 2).await, ["1", "2"]);
    let behind: Vec<Bytes> = log.kept.lock().unwrap().messages[end - 3..].to_vec();
    let (received, ()) = tokio::join!(told(&mut inlet, 3), async {
        // Once the inlet has met the hole.
        tokio::task::yield_now().await;
        log.push(refused);
        behind.into_iter().for_each(|bytes| log.push(bytes));
    });
    assert_eq!(received, ["3", "4", "5"]);
}

#[tokio::test]
async fn what_the_log_no_longer_has_is_named_once_and_comes_when_it_is_opened_anew() {
    let log = Memory::default();
    let mut outlet = produce(&log, term(1, 0)).await;
    send(&mut outlet, 1..=300).await;
    log.forget_until(150);
    let mut inlet = consume(&log, 10, None);
    let told_first = told(&mut inlet, 1).await;
    let missing: usize = told_first[0]
        .strip_prefix("missing ")
        .unwrap()
        .parse()
        .unwrap();
    assert!((100..290).contains(&missing), "{told_first:?}");

    // The producer learns of it, and opens the log from what the sinks hold.
    let anew = format(term(1, 1), 600, Compression::None);
    let claim = Claim::take(log.clone(), &mut log.reader(), anew)
        .await
        .unwrap();
    let resume = Resume {
        before: (1..=10).map(gtid).collect(),
        ord: 11,
    };
    let mut outlet = claim.open(resume).await.unwrap();
    send(&mut outlet, 11..=300).await;
    assert_eq!(told(&mut inlet, 290).await, numbers(11..=300));
}

#[tokio::test]
async fn after_a_lost_tail_who_had_it_goes_on_and_who_had_not_is_told() {
    let log = Memory::default();
    let mut outlet = produce(&log, term(1, 0)).await;
    send(&mut outlet, 1..=20).await;
    let mut had = consume(&log, 0, None);
    assert_eq!(told(&mut had, 20).await, numbers(1..=20));
    // Its producer doesn't know.
    log.truncate(log.end() - 10);
    send(&mut outlet, 21..=100).await;
    // What comes next is at offsets that it has read before.
    assert_eq!(told(&mut had, 80).await, numbers(21..=100));
    let mut had_not = consume(&log, 0, None);
    let told = told(&mut had_not, 11).await;
    assert_eq!(told[..10], numbers(1..=10));
    assert!(told[10].starts_with("missing "), "{told:?}");
}
