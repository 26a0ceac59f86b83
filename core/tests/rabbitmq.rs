//! The log in a real RabbitMQ: killed, blocked, refused, and with a stream that was declared
//! otherwise.
//!
//! Where RabbitMQ isn't installed, this says so and passes, unless `TOWPATH_RABBITMQ_BIN` is set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use towpath_core::batch::{self, Chunk};
use towpath_core::queue::Term;
use towpath_core::queue::follow::{Follower, Resume, Verdict};
use towpath_core::queue::join::Joiner;
use towpath_core::queue::log::{ReadFrom, TailError, find_tail};
use towpath_core::queue::pack::{Claimed, Format, Packer};
use towpath_core::queue::rabbitmq::{
    LinkState, Options, Publisher, RabbitError, Retention, Subscriber, Window,
};
use towpath_core::queue::wire::{Compression, Message};
use towpath_protocol::epoch::{Epoch, Generation};
use towpath_protocol::gtid::{Gtid, GtidOrigin, GtidSet};
use towpath_protocol::position::BinlogPosition;
use towpath_testing::RabbitMq;
use uuid::Uuid;

const PIPELINE: Uuid = Uuid::from_u128(0xfeed);

/// A broker takes a few seconds to come back.
const PATIENCE: Duration = Duration::from_secs(60);

const WINDOW: Window = Window {
    bytes_max: 64 * 1024,
    messages_max: 16,
};

fn options(queue: &str, brokers: &[String]) -> Options {
    Options {
        brokers: brokers.iter().map(|url| url.parse().unwrap()).collect(),
        tls_ca: None,
        queue: queue.to_owned(),
        retention: Retention {
            bytes_max: 64 * 1024 * 1024,
            age_max: Some(Duration::from_secs(3600)),
            segment_bytes: 1024 * 1024,
        },
        window: WINDOW,
        prefetch: 10,
        heartbeat: Duration::from_secs(5),
    }
}

fn term(epoch: u64) -> Term {
    Term {
        generation: Generation(1),
        epoch: Epoch(epoch),
        run: 0,
        producer: Uuid::new_v4(),
    }
}

fn gtid(number: u64) -> Gtid {
    Gtid::new(GtidOrigin::untagged(Uuid::from_u128(9)), number).unwrap()
}

/// A transaction of one event of about 3 kB, or 30 kB: larger than a body.
fn transaction(number: u64) -> batch::Message {
    let bytes = if number.is_multiple_of(20) {
        30_000
    } else {
        3000
    };
    let mut events = vec![(number % 251) as u8; 19 + bytes];
    events[9..13].copy_from_slice(&((19 + bytes) as u32).to_le_bytes());
    batch::Message::Chunk(Chunk {
        ord: number,
        gtid: gtid(number),
        commit_time_us: number,
        part: 0,
        last: true,
        ends: None,
        events: Bytes::from(events),
        after: BinlogPosition {
            file: "binlog.000001".into(),
            offset: number,
        },
    })
}

/// A producer by the rules of the protocol.
struct Producer {
    publisher: Publisher,
    packer: Packer,
    /// What it found when it began.
    resume: Option<Resume>,
}

impl Producer {
    async fn begin(options: &Arc<Options>, epoch: u64) -> Self {
        let mut publisher = Publisher::new(Arc::clone(options));
        let format = Format {
            pipeline: PIPELINE,
            term: term(epoch),
            body_bytes: 8 * 1024,
            compression: Compression::None,
        };
        let ours = format.term;
        let (claimed, claim) = Claimed::new(format, 0).unwrap();
        publisher.publish(claim).await.unwrap();
        publisher.settle().await.unwrap();
        let mut reader = Subscriber::new(Arc::clone(options), ReadFrom::Last);
        let resume = find_tail(&mut reader, PIPELINE, ours).await.unwrap();
        let (before, ord) = resume
            .clone()
            .map_or((GtidSet::new(), 1), |resume| (resume.before, resume.ord));
        let (packer, open) = claimed.open(before, ord, 0).unwrap();
        publisher.publish(open).await.unwrap();
        Self {
            publisher,
            packer,
            resume,
        }
    }

    async fn write(&mut self, numbers: impl Iterator<Item = u64>) {
        let mut out = Vec::new();
        for number in numbers {
            self.packer.push(&transaction(number), 0, &mut out).unwrap();
            for sealed in out.drain(..) {
                self.publisher.publish(sealed).await.unwrap();
                assert!(
                    self.publisher.pending_bytes() <= WINDOW.bytes_max,
                    "beyond the window"
                );
            }
        }
        self.packer.flush(0, &mut out).unwrap();
        for sealed in out {
            self.publisher.publish(sealed).await.unwrap();
        }
        self.publisher.settle().await.unwrap();
    }
}

/// Reads until the transactions `1..=to` were taken, in order and whole.
async fn take_all(reader: &mut Subscriber, follower: &mut Follower, to: u64) {
    let mut joiner = Joiner::default();
    let mut expected = follower.held().count() + 1;
    while expected <= to {
        let fetched = reader.next().await.unwrap();
        let step = follower
            .follow(Message::open(&fetched.bytes).unwrap())
            .unwrap();
        if step.roll_back.is_some() {
            joiner.reset();
        }
        let Verdict::Take(entries) = step.verdict else {
            continue;
        };
        for entry in entries {
            if let Some(batch::Message::Chunk(chunk)) = joiner.push(entry).unwrap() {
                let batch::Message::Chunk(wanted) = transaction(expected) else {
                    panic!("no chunk");
                };
                assert_eq!((&chunk.gtid, &chunk.events), (&wanted.gtid, &wanted.events));
                expected += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_rabbitmq() {
    if RabbitMq::installed().is_none() && std::env::var_os("TOWPATH_RABBITMQ_BIN").is_none() {
        eprintln!("skipped: RabbitMQ isn't installed");
        return;
    }
    let mut broker = RabbitMq::start().unwrap();
    what_was_written_comes_back_from_any_offset(&broker).await;
    who_may_not_or_declares_otherwise_is_told(&broker).await;
    a_broker_in_need_of_memory_stops_the_producer_visibly(&broker).await;
    nothing_is_lost_when_the_broker_is_killed(&mut broker).await;
}

async fn what_was_written_comes_back_from_any_offset(broker: &RabbitMq) {
    // The first address answers nobody.
    let brokers = ["amqp://guest:guest@127.0.0.1:9".to_owned(), broker.url()];
    let options = Arc::new(options("offsets", &brokers));
    let mut first = Producer::begin(&options, 1).await;
    assert_eq!(first.resume, None, "the log is empty");
    first.write(1..=100).await;
    let mut follower = Follower::new(PIPELINE, GtidSet::new(), None);
    let mut reader = Subscriber::new(Arc::clone(&options), ReadFrom::First);
    take_all(&mut reader, &mut follower, 100).await;

    // Exactly there.
    reader.seek(ReadFrom::Offset(7));
    for offset in 7..30 {
        assert_eq!(reader.next().await.unwrap().offset, offset);
    }
    // The successor goes on behind it; a sink that has seen all only takes what is new.
    let mut second = Producer::begin(&options, 2).await;
    let held = (1..=100).map(gtid).collect();
    assert_eq!(
        second.resume,
        Some(Resume {
            before: held,
            ord: 101
        })
    );
    second.write(101..=150).await;
    reader.seek(ReadFrom::First);
    take_all(&mut reader, &mut follower, 150).await;

    // Behind the log's end, which a lost tail may have moved, comes what is written next.
    reader.seek(ReadFrom::Offset(1_000_000));
    let more = async {
        for number in 151..451 {
            second.write(number..=number).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let fetched = tokio::select! {
        fetched = reader.next() => fetched.unwrap(),
        () = more => panic!("nothing comes"),
    };
    assert!((100..1000).contains(&fetched.offset), "{fetched:?}");

    // Whoever comes too late learns it.
    let late = term(1);
    let format = Format {
        pipeline: PIPELINE,
        term: late,
        body_bytes: 8 * 1024,
        compression: Compression::None,
    };
    let (_, claim) = Claimed::new(format, 0).unwrap();
    first.publisher.publish(claim).await.unwrap();
    first.publisher.settle().await.unwrap();
    reader.seek(ReadFrom::First);
    let error = find_tail(&mut reader, PIPELINE, late).await.unwrap_err();
    assert!(matches!(error, TailError::Superseded { .. }), "{error}");
}

async fn who_may_not_or_declares_otherwise_is_told(broker: &RabbitMq) {
    let right = options("declared", &[broker.url()]);
    let mut reader = Subscriber::new(Arc::new(right.clone()), ReadFrom::First);
    let mut producer = Producer::begin(&Arc::new(right.clone()), 1).await;
    producer.write(1..=1).await;
    reader.next().await.unwrap();

    let mut otherwise = right.clone();
    otherwise.retention.bytes_max *= 2;
    let error = Subscriber::new(Arc::new(otherwise), ReadFrom::First)
        .next()
        .await
        .unwrap_err();
    assert!(matches!(error, RabbitError::Declared { .. }), "{error}");
    println!("{error}");

    let wrong = broker.url().replace("guest:guest", "guest:wrong");
    let wrong = options("declared", &[wrong]);
    let error = Subscriber::new(Arc::new(wrong), ReadFrom::First)
        .next()
        .await
        .unwrap_err();
    assert!(matches!(error, RabbitError::Refused { .. }), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    println!("{error}");
}

async fn a_broker_in_need_of_memory_stops_the_producer_visibly(broker: &RabbitMq) {
    let options = Arc::new(options("blocked", &[broker.url()]));
    let mut producer = Producer::begin(&options, 1).await;
    producer.write(1..=10).await;
    let mut state = producer.publisher.state();
    assert!(matches!(*state.borrow(), LinkState::Connected { .. }));
    broker
        .ctl(&["set_vm_memory_high_watermark", "0.0001"])
        .unwrap();
    let writing = tokio::spawn(async move {
        producer.write(11..=100).await;
        producer
    });
    tokio::time::timeout(
        PATIENCE,
        state.wait_for(|state| matches!(state, LinkState::Blocked { .. })),
    )
    .await
    .expect("the alarm isn't visible")
    .unwrap();
    println!("{:?}", *state.borrow());
    assert!(!writing.is_finished());
    // Who reads isn't held up.
    let mut reader = Subscriber::new(Arc::clone(&options), ReadFrom::First);
    let mut follower = Follower::new(PIPELINE, GtidSet::new(), None);
    take_all(&mut reader, &mut follower, 10).await;
    assert!(!writing.is_finished(), "written although blocked");
    broker
        .ctl(&["set_vm_memory_high_watermark", "0.4"])
        .unwrap();
    tokio::time::timeout(PATIENCE, writing)
        .await
        .unwrap()
        .unwrap();
    take_all(&mut reader, &mut follower, 100).await;
}

async fn nothing_is_lost_when_the_broker_is_killed(broker: &mut RabbitMq) {
    const TRANSACTIONS: u64 = 3000;
    let options = Arc::new(options("killed", &[broker.url()]));
    let mut producer = Producer::begin(&options, 1).await;
    let mut state = producer.publisher.state();
    let writing = tokio::spawn(async move { producer.write(1..=TRANSACTIONS).await });
    let mut reader = Subscriber::new(Arc::clone(&options), ReadFrom::First);
    let reading = tokio::spawn(async move {
        let mut follower = Follower::new(PIPELINE, GtidSet::new(), None);
        take_all(&mut reader, &mut follower, TRANSACTIONS).await;
    });
    for pause_ms in [150, 400] {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        assert!(
            !writing.is_finished(),
            "the broker was killed too late to show anything"
        );
        let killed = Instant::now();
        broker.kill().unwrap();
        tokio::time::timeout(
            PATIENCE,
            state.wait_for(|state| matches!(state, LinkState::Connecting { .. })),
        )
        .await
        .expect("the loss isn't visible")
        .unwrap();
        broker.resume().unwrap();
        tokio::time::timeout(
            PATIENCE,
            state.wait_for(|state| matches!(state, LinkState::Connected { .. })),
        )
        .await
        .expect("not connected again")
        .unwrap();
        println!("killed, and connected again {:?} later", killed.elapsed());
    }
    tokio::time::timeout(PATIENCE, writing)
        .await
        .unwrap()
        .unwrap();
    tokio::time::timeout(PATIENCE, reading)
        .await
        .unwrap()
        .unwrap();
}
