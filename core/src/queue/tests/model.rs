//! A log that forgets its tail and its head, producers that die, come back from the dead, write
//! twice and cut otherwise, consumers that crash: what is taken is what the source did, in order.
//!
//! The model is the source's list of transactions: at any moment a consumer has applied a beginning
//! of it, byte by byte; and once the storm is over, all of it.

use std::collections::VecDeque;

use proptest::prelude::*;
use towpath_protocol::gtid::GtidSet;

use super::*;
use crate::queue::follow::{Ending, Follower, Resume, Tail, Verdict};
use crate::queue::join::Joiner;
use crate::queue::pack::{Claimed, Packer, Sealed};
use crate::queue::wire::{Body, Message};

/// What happens next; indices are taken modulo what is there.
#[derive(Clone, Debug)]
enum Op {
    /// A producer, the present one or a zombie, writes so many messages.
    Write { producer: usize, messages: usize },
    /// It writes what it has gathered, and an OPEN.
    Open { producer: usize },
    /// One of its messages was refused or lost on its way: later ones are in the log, then it writes
    /// all from that one on again.
    Refused { producer: usize, behind: usize },
    /// It writes its last messages twice.
    Twice { producer: usize, messages: usize },
    /// A new producer, which reads the log's tail from so many messages before its end.
    Succeed {
        tail: usize,
        body_bytes: usize,
        compressed: bool,
    },
    /// The log loses confirmed messages.
    LoseTail { messages: usize },
    /// Retention.
    LoseHead { messages: usize },
    /// A consumer reads so many messages.
    Read { consumer: usize, messages: usize },
    /// It commits what it has taken.
    Commit { consumer: usize },
    /// It dies, and begins where it remembers, or from the first message.
    Crash { consumer: usize, remembers: bool },
    /// It reads again from the first message.
    Restart { consumer: usize },
    /// A sink asks for what the log no longer has: opened anew from what all sinks hold.
    Rewind { body_bytes: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let some = any::<usize>;
    let body_bytes = || prop_oneof![300..900_usize, Just(4000)];
    prop_oneof![
        8 => (some(), 1..12_usize).prop_map(|(producer, messages)| Op::Write { producer, messages }),
        2 => some().prop_map(|producer| Op::Open { producer }),
        2 => (some(), 1..4_usize).prop_map(|(producer, behind)| Op::Refused { producer, behind }),
        2 => (some(), 1..8_usize).prop_map(|(producer, messages)| Op::Twice { producer, messages }),
        3 => (0..40_usize, body_bytes(), any::<bool>())
            .prop_map(|(tail, body_bytes, compressed)| Op::Succeed { tail, body_bytes, compressed }),
        2 => (1..15_usize).prop_map(|messages| Op::LoseTail { messages }),
        1 => (1..15_usize).prop_map(|messages| Op::LoseHead { messages }),
        8 => (some(), 1..20_usize).prop_map(|(consumer, messages)| Op::Read { consumer, messages }),
        3 => some().prop_map(|consumer| Op::Commit { consumer }),
        2 => (some(), any::<bool>()).prop_map(|(consumer, remembers)| Op::Crash { consumer, remembers }),
        1 => some().prop_map(|consumer| Op::Restart { consumer }),
        1 => body_bytes().prop_map(|body_bytes| Op::Rewind { body_bytes }),
    ]
}

/// Messages at offsets from `first` on. Offsets of a lost tail are used again.
#[derive(Default)]
struct Log {
    first: usize,
    messages: VecDeque<Bytes>,
}

impl Log {
    fn end(&self) -> usize {
        self.first + self.messages.len()
    }

    fn get(&self, offset: usize) -> Option<&Bytes> {
        self.messages.get(offset.checked_sub(self.first)?)
    }
}

struct Producer {
    packer: Packer,
    /// The next of the source's messages.
    next: usize,
    /// Made, and not written yet.
    made: VecDeque<Sealed>,
    written: Vec<Sealed>,
}

impl Producer {
    /// Makes at least one message more, unless the source has nothing more.
    fn make(&mut self, source: &[batch::Message]) {
        let mut out = Vec::new();
        while out.is_empty() && self.next < source.len() {
            self.packer.push(&source[self.next], 0, &mut out).unwrap();
            self.next += 1;
        }
        if out.is_empty() {
            self.packer.flush(0, &mut out).unwrap();
        }
        self.made.extend(out);
    }

    fn write(&mut self, log: &mut Log, source: &[batch::Message]) -> bool {
        if self.made.is_empty() {
            self.make(source);
        }
        let Some(sealed) = self.made.pop_front() else {
            return false;
        };
        log.messages.push_back(sealed.bytes.clone());
        self.written.push(sealed);
        true
    }
}

struct Consumer {
    follower: Follower,
    joiner: Joiner,
    offset: usize,
    /// Whole transactions that were applied, committed or not.
    applied: Vec<(u64, Vec<u8>)>,
    /// What was applied of the open one.
    open: Vec<u8>,
    /// How many of them are committed.
    committed: usize,
    /// Offset and term of the last OPEN in sequence; the same, once what came before is committed.
    seen: Option<(usize, Term)>,
    remembered: Option<(usize, Term)>,
    gap: bool,
}

impl Consumer {
    fn new() -> Self {
        Self {
            follower: Follower::new(PIPELINE, GtidSet::new(), None),
            joiner: Joiner::default(),
            offset: 0,
            applied: Vec::new(),
            open: Vec::new(),
            committed: 0,
            seen: None,
            remembered: None,
            gap: false,
        }
    }

    fn held(&self) -> GtidSet {
        (1..=self.committed as u64).map(gtid).collect()
    }

    fn roll_back(&mut self) {
        self.joiner.reset();
        self.open.clear();
    }

    fn read(&mut self, log: &Log, model: &[(u64, Vec<u8>)]) -> bool {
        self.offset = self.offset.max(log.first);
        let Some(bytes) = log.get(self.offset) else {
            // What was lost doesn't come before something new is there.
            self.offset = self.offset.min(log.end());
            return false;
        };
        let offset = self.offset;
        self.offset += 1;
        let message = Message::open(bytes).unwrap();
        let term = message.term;
        let step = self.follower.follow(message).unwrap();
        if step.roll_back.is_some() {
            self.roll_back();
        }
        match step.verdict {
            Verdict::Take(entries) => {
                for entry in entries {
                    let joined = self.joiner.push(entry).unwrap();
                    if let Some(batch::Message::Chunk(chunk)) = joined {
                        self.apply(&chunk, model);
                    }
                }
            }
            Verdict::InSequence => {
                assert!(self.open.is_empty(), "an OPEN inside a transaction");
                (self.gap, self.seen) = (false, Some((offset, term)));
            }
            Verdict::Gap { missing } => {
                assert!(!missing.is_empty());
                self.gap = true;
            }
            Verdict::OutOfSequence => self.gap = true,
            _ => {}
        }
        true
    }

    fn apply(&mut self, chunk: &Chunk, model: &[(u64, Vec<u8>)]) {
        self.open.extend_from_slice(&chunk.events);
        let expected = &model[self.applied.len()];
        assert_eq!(chunk.gtid.number, expected.0, "lost, twice or out of order");
        if chunk.last {
            let whole = std::mem::take(&mut self.open);
            assert_eq!(
                whole, expected.1,
                "transaction {} has other bytes",
                expected.0
            );
            self.applied.push((chunk.gtid.number, whole));
        }
    }

    fn commit(&mut self) {
        self.committed = self.applied.len();
        self.remembered = self.seen.or(self.remembered);
    }

    fn crash(&mut self, remembers: bool) {
        self.roll_back();
        self.applied.truncate(self.committed);
        self.seen = None;
        let (offset, floor) = match self.remembered.filter(|_| remembers) {
            Some((offset, term)) => (offset, Some(term)),
            None => (0, None),
        };
        self.offset = offset;
        self.follower = Follower::new(PIPELINE, self.held(), floor);
    }

    fn restart(&mut self) {
        let begun = self.follower.restart();
        assert!(
            begun.is_some() || self.open.is_empty(),
            "what was begun is forgotten"
        );
        self.roll_back();
        self.offset = 0;
    }
}

struct World {
    source: Vec<batch::Message>,
    /// The source's transactions, whole.
    model: Vec<(u64, Vec<u8>)>,
    log: Log,
    /// The last one is the present one.
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    epoch: u64,
}

impl World {
    fn new(transactions: &[Vec<Vec<usize>>]) -> Self {
        let source: Vec<_> = transactions
            .iter()
            .enumerate()
            .flat_map(|(at, parts)| transaction(at as u64 + 1, parts))
            .collect();
        let mut model: Vec<(u64, Vec<u8>)> = Vec::new();
        for message in &source {
            let batch::Message::Chunk(chunk) = message else {
                continue;
            };
            if chunk.part == 0 {
                model.push((chunk.gtid.number, Vec::new()));
            }
            model.last_mut().unwrap().1.extend_from_slice(&chunk.events);
        }
        Self {
            source,
            model,
            log: Log::default(),
            producers: Vec::new(),
            consumers: vec![Consumer::new(), Consumer::new()],
            epoch: 0,
        }
    }

    /// What all sinks hold.
    fn least(&self) -> Resume {
        let least = self
            .consumers
            .iter()
            .map(|consumer| consumer.committed)
            .min();
        Resume {
            before: (1..=least.unwrap_or(0) as u64).map(gtid).collect(),
            ord: 1,
        }
    }

    /// A new producer, by the rules of the page.
    fn succeed(&mut self, tail: usize, body_bytes: usize, compression: Compression, rewind: bool) {
        self.epoch += 1;
        let ours = term(self.epoch, 0);
        let (claimed, claim) = Claimed::new(format(ours, body_bytes, compression), 0).unwrap();
        self.log.messages.push_back(claim.bytes.clone());
        let from = self.log.end().saturating_sub(tail).max(self.log.first);
        let resume = [from, self.log.first]
            .into_iter()
            .filter(|_| !rewind)
            .find_map(|from| {
                let mut reader = Tail::new(PIPELINE);
                (from..self.log.end()).find_map(|offset| {
                    let message = Message::open(self.log.get(offset).unwrap()).unwrap();
                    match reader.follow(message, ours).unwrap() {
                        Ending::Ours(resume) => resume,
                        Ending::More => None,
                        Ending::Superseded(term) => panic!("{term} is above {ours}"),
                    }
                })
            })
            .unwrap_or_else(|| self.least());
        // The source sends what isn't in that set.
        let next = self
            .source
            .iter()
            .position(|message| {
                matches!(message, batch::Message::Chunk(chunk) if !resume.before.contains(&chunk.gtid))
            })
            .unwrap_or(self.source.len());
        let (packer, open) = claimed.open(resume.before, resume.ord, 0).unwrap();
        self.producers.push(Producer {
            packer,
            next,
            made: VecDeque::from([open]),
            written: vec![claim],
        });
    }

    fn step(&mut self, op: &Op) {
        if self.producers.is_empty() {
            self.succeed(0, 700, Compression::None, false);
        }
        let producers = self.producers.len();
        let consumers = self.consumers.len();
        let (log, source) = (&mut self.log, &self.source);
        match *op {
            Op::Write { producer, messages } => {
                // Mostly the present one.
                let producer =
                    &mut self.producers[producers - 1 - producer % (producers + 3) % producers];
                for _ in 0..messages {
                    producer.write(log, source);
                }
            }
            Op::Open { producer } => {
                let producer = &mut self.producers[producer % producers];
                let mut out = Vec::new();
                producer.packer.open(0, &mut out).unwrap();
                producer.made.extend(out);
                while !producer.made.is_empty() {
                    producer.write(log, source);
                }
            }
            Op::Refused { producer, behind } => {
                let producer = &mut self.producers[producer % producers];
                while producer.made.len() <= behind {
                    let before = producer.made.len();
                    producer.make(source);
                    if producer.made.len() == before {
                        break;
                    }
                }
                let behind = producer.made.iter().skip(1).take(behind);
                log.messages
                    .extend(behind.map(|sealed| sealed.bytes.clone()));
            }
            Op::Twice { producer, messages } => {
                let written = &self.producers[producer % producers].written;
                let from = written.len().saturating_sub(messages);
                let again = written.iter().skip(from);
                log.messages
                    .extend(again.map(|sealed| sealed.bytes.clone()));
            }
            Op::Succeed {
                tail,
                body_bytes,
                compressed,
            } => {
                let compression = if compressed {
                    Compression::Zstd
                } else {
                    Compression::None
                };
                self.succeed(tail, body_bytes, compression, false);
            }
            Op::LoseTail { messages } => {
                let length = log.messages.len().saturating_sub(messages);
                log.messages.truncate(length);
            }
            Op::LoseHead { messages } => {
                let messages = messages.min(log.messages.len());
                log.messages.drain(..messages);
                log.first += messages;
            }
            Op::Read { consumer, messages } => {
                let consumer = &mut self.consumers[consumer % consumers];
                for _ in 0..messages {
                    consumer.read(log, &self.model);
                }
            }
            Op::Commit { consumer } => self.consumers[consumer % consumers].commit(),
            Op::Crash {
                consumer,
                remembers,
            } => self.consumers[consumer % consumers].crash(remembers),
            Op::Restart { consumer } => self.consumers[consumer % consumers].restart(),
            Op::Rewind { body_bytes } => self.succeed(0, body_bytes, Compression::None, true),
        }
    }

    /// No more faults: a producer writes all that there is, and every sink gets there, by reading
    /// from the first message, or at the latest by one rewind.
    fn calm(&mut self, body_bytes: usize) {
        self.succeed(usize::MAX, body_bytes, Compression::None, false);
        self.write_all();
        if !self
            .consumers
            .iter()
            .any(|consumer| self.is_behind(consumer))
        {
            return;
        }
        for consumer in &mut self.consumers {
            consumer.restart();
        }
        self.read_all();
        if !self
            .consumers
            .iter()
            .any(|consumer| self.is_behind(consumer))
        {
            return;
        }
        assert!(
            self.consumers
                .iter()
                .all(|consumer| consumer.gap || !self.is_behind(consumer)),
            "a sink is behind and doesn't know it"
        );
        self.succeed(0, body_bytes, Compression::Zstd, true);
        self.write_all();
        for consumer in &self.consumers {
            assert!(!self.is_behind(consumer), "behind after a rewind");
        }
    }

    fn is_behind(&self, consumer: &Consumer) -> bool {
        consumer.committed < self.model.len()
    }

    fn write_all(&mut self) {
        let present = self.producers.last_mut().unwrap();
        while present.write(&mut self.log, &self.source) {}
        let mut out = Vec::new();
        present.packer.open(0, &mut out).unwrap();
        present.made.extend(out);
        while !present.made.is_empty() {
            present.write(&mut self.log, &self.source);
        }
        self.read_all();
    }

    fn read_all(&mut self) {
        for consumer in &mut self.consumers {
            while consumer.read(&self.log, &self.model) {}
            consumer.commit();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_sink_takes_what_the_source_did(
        transactions in prop::collection::vec(
            prop_oneof![
                3 => Just(vec![vec![40]]),
                1 => prop::collection::vec(prop::collection::vec(0..900_usize, 1..4), 0..4),
            ],
            1..60,
        ),
        ops in prop::collection::vec(op(), 0..120),
        body_bytes in 300..900_usize,
    ) {
        let mut world = World::new(&transactions);
        for op in &ops {
            world.step(op);
        }
        world.calm(body_bytes);
    }
}

/// The storm isn't a drizzle: how often each thing that the rules are for has happened.
#[test]
fn the_storm_meets_every_rule() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut met = std::collections::BTreeMap::<&str, u64>::new();
    for _ in 0..60 {
        let ops = prop::collection::vec(op(), 120)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let mut world = World::new(&vec![vec![vec![40], vec![700, 800]]; 60]);
        for op in &ops {
            world.step(op);
            // A reader of everything, beside the consumers.
            let mut reader = Follower::new(PIPELINE, world.consumers[0].held(), None);
            for bytes in world.log.messages.iter().rev().take(30).rev() {
                let message = Message::open(bytes).unwrap();
                let is_open = matches!(message.body, Body::Open { .. });
                let step = reader.follow(message).unwrap();
                let name = match step.verdict {
                    Verdict::Take(entries) if entries.is_empty() => "skipped",
                    Verdict::Take(_) => "taken",
                    Verdict::CaughtUp { .. } => continue,
                    Verdict::InSequence => "in sequence",
                    Verdict::Claimed => "claimed",
                    Verdict::Duplicate => "duplicate",
                    Verdict::Zombie => "zombie",
                    Verdict::OutOfSequence => "out of sequence",
                    Verdict::Gap { .. } => "gap",
                };
                assert!(is_open || name != "gap");
                *met.entry(name).or_default() += 1;
                if step.roll_back.is_some() {
                    *met.entry("rolled back").or_default() += 1;
                }
            }
        }
    }
    assert_eq!(met.len(), 9, "{met:?}");
    assert!(met.values().all(|count| *count > 50), "{met:?}");
}
