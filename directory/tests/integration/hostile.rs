//! All kinds of hostile clients at once, against the program, while one that behaves is watched:
//! its session stays, each of its answers is right and comes in time, the server's memory stays
//! within a bound, and nothing of the others is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use towpath_directory::wire::jute::{JuteWrite as _, Reader};

use crate::kill::Server;
use crate::raw::{Raw, connect_record, create, get, request, set};

/// Longest wait for what must come about.
const PATIENCE: Duration = Duration::from_secs(60);
/// The good client's session timeout: an answer that takes longer would be the end of it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most memory of the server, ever: 64 MiB for each of [`DEAF`] clients that don't read, twice
/// while a buffer grows, 256 MiB of requests that wait for the log, and what it takes itself.
const RSS_BYTES_MAX: u64 = (DEAF * 2 * (64 << 20)) + (256 << 20) + (128 << 20);
/// Clients that never read their answers.
const DEAF: u64 = 2;
/// Connections from one address, the default of the server.
const CONNECTIONS_MAX: usize = 5_000;

/// Writes a counter and reads it back, again and again, over one connection.
struct Good {
    calls: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Duration>,
}

impl Good {
    async fn start(server: &Server) -> Self {
        let timeout_ms = TIMEOUT.as_millis() as i32;
        let mut raw = Raw::resume(server.address, 0, timeout_ms, 0, &[0; 16])
            .await
            .unwrap();
        assert_eq!(raw.call(&create(1, "/good", 1)).await.error, 0);
        let (calls, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (counter, stopped) = (calls.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            let mut xid = 2_i32;
            while !stopped.load(Ordering::Relaxed) {
                let value = xid.to_be_bytes();
                for (bytes, has_data) in [
                    (set(xid, "/good", &value), false),
                    (get(xid, "/good", false), true),
                ] {
                    let asked = Instant::now();
                    let reply = raw.call(&bytes).await;
                    slowest = slowest.max(asked.elapsed());
                    assert_eq!((reply.xid, reply.error), (xid, 0));
                    if has_data {
                        let data = Reader::new(&reply.body).buffer().unwrap();
                        assert_eq!(data, Some(&value[..]), "what it wrote itself");
                    }
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                xid += 1;
            }
            slowest
        });
        Self { calls, stop, task }
    }

    /// Returns once it has made so many further calls.
    async fn goes_on(&self, calls: u64) {
        let wanted = self.calls.load(Ordering::Relaxed) + calls;
        until("the good client goes on", async || {
            assert!(!self.task.is_finished(), "the good client was harmed");
            self.calls.load(Ordering::Relaxed) >= wanted
        })
        .await;
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads until the server closes.
async fn closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("the server ends it");
}

async fn sends(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // It may have closed already.
    let _ = stream.write_all(bytes).await;
    stream
}

/// A value of a line of `mntr`.
async fn counted(server: &Server, name: &str) -> u64 {
    let mut stream = sends(server, b"mntr").await;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

/// The most memory that the server has ever had.
fn peak_rss_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib * 1024
}

/// Bytes that have a pattern only for who knows `seed`.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// Asks for the large node until the server has enough of it.
async fn deaf(mut raw: Raw) {
    let ask = async {
        let mut xid = 0;
        while raw.stream.write_all(&get(xid, "/big", false)).await.is_ok() {
            xid += 1;
        }
    };
    tokio::time::timeout(PATIENCE, ask)
        .await
        .expect("it's dropped");
}

/// A small request whose answer would have 4 GB.
fn bomb() -> BytesMut {
    request(1, 22, |out| {
        for _ in 0..4096 {
            out.int(4);
            out.boolean(false);
            out.int(-1);
            out.ustring("/big");
            out.boolean(false);
        }
        out.int(-1);
        out.boolean(true);
        out.int(-1);
    })
}

/// Many writes at once, all answered, in their order.
async fn pipeline(mut raw: Raw, requests: i32) {
    let mut all = BytesMut::new();
    for xid in 1..=requests {
        all.extend_from_slice(&set(xid, "/pipe", &[7; 64]));
    }
    let (mut input, mut output) = raw.stream.split();
    let write = async { output.write_all(&all).await.unwrap() };
    let read = async {
        for xid in 1..=requests {
            let mut reply = vec![0; input.read_i32().await.unwrap() as usize];
            input.read_exact(&mut reply).await.unwrap();
            assert_eq!(reply[..4], xid.to_be_bytes());
        }
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(write, read) })
        .await
        .expect("all is answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_harmed_by_others() {
    let dir = TempDir::new().unwrap();
    let server = Arc::new(Server::start(dir.path()));
    let mut setup = Raw::open(server.address).await;
    for (path, data) in [("/big", vec![7; 1_000_000]), ("/pipe", vec![])] {
        assert_eq!(setup.call(&create(1, path, 0)).await.error, 0);
        assert_eq!(setup.call(&set(2, path, &data)).await.error, 0);
    }
    assert_eq!(setup.call(&request(3, -11, |_| {})).await.error, 0);
    drop(setup);
    let good = Good::start(&server).await;

    // These stay until the server ends them, or we do.
    let mut held: Vec<TcpStream> = Vec::new();
    let mut sessions: Vec<Raw> = Vec::new();
    let mut attacks = JoinSet::new();

    // One byte a second, until the time for the first record is over.
    let slow = sends(&server, b"").await;
    attacks.spawn(async move {
        let (mut input, mut output) = slow.into_split();
        let record = connect_record(0, 5000, 0, &[0; 16]);
        let drip = async {
            let mut second = tokio::time::interval(Duration::from_secs(1));
            for byte in record.iter() {
                second.tick().await;
                if output.write_all(&[*byte]).await.is_err() {
                    return;
                }
            }
        };
        let mut rest = Vec::new();
        tokio::select! {
            () = drip => {}
            _ = input.read_to_end(&mut rest) => assert!(rest.is_empty(), "no session for it"),
        }
    });

    // Noise, without and behind a connect record.
    for seed in 0..100 {
        let server = server.clone();
        attacks.spawn(async move {
            let mut bytes = if seed % 2 == 0 {
                BytesMut::new()
            } else {
                connect_record(0, 5000, 0, &[0; 16])
            };
            bytes.extend_from_slice(&noise(seed, 4096));
            let mut stream = sends(&server, &bytes).await;
            let _ = stream.shutdown().await;
            closed(stream).await;
        });
    }

    // Lengths that are none, of the first record and of a request.
    for len in [-1, i32::MIN, 0, 1025, 2_000_000, i32::MAX] {
        closed(sends(&server, &len.to_be_bytes()).await).await;
        let mut raw = Raw::open(server.address).await;
        raw.send(&len.to_be_bytes()).await;
        if (1..1_000_000).contains(&len) {
            sessions.push(raw);
        } else {
            assert_eq!(raw.frame().await, None, "a request of {len} bytes");
        }
    }
    good.goes_on(20).await;

    // Half a frame, half a word, half a connect record; and then nothing.
    for _ in 0..100 {
        let mut raw = Raw::open(server.address).await;
        raw.send(&1_000_000_i32.to_be_bytes()).await;
        raw.send(b"half").await;
        sessions.push(raw);
        held.push(sends(&server, b"ru").await);
        held.push(sends(&server, &connect_record(0, 5000, 0, &[0; 16])[..20]).await);
    }
    good.goes_on(20).await;

    // Connect records that make no sense.
    for (last_zxid, timeout_ms, session, password) in [
        (0, i32::MIN, 0, &[0; 16][..]),
        (0, i32::MAX, 0, &[0; 16]),
        (0, 0, 0, &[]),
        (i64::MIN, -1, 0, &[0xff; 900]),
        (i64::MAX, 5000, 0, &[0; 16]),
        (0, 5000, -1, &[0; 16]),
        (0, 5000, i64::MIN, &[]),
    ] {
        if let Some(raw) =
            Raw::resume(server.address, last_zxid, timeout_ms, session, password).await
        {
            let bounds = 1_000..=60_000;
            assert!(
                raw.session == 0 || bounds.contains(&raw.timeout_ms),
                "{}",
                raw.timeout_ms
            );
            sessions.push(raw);
        }
    }
    let mut lying = connect_record(0, 5000, 0, &[0; 16]).to_vec();
    lying[28..32].copy_from_slice(&i32::MAX.to_be_bytes());
    closed(sends(&server, &lying).await).await;

    // Who doesn't read, who asks for too much at once, who asks very often.
    for _ in 0..DEAF {
        attacks.spawn(deaf(Raw::open(server.address).await));
    }
    let mut greedy = Raw::open(server.address).await;
    greedy.send(&bomb()).await;
    greedy.stream.shutdown().await.unwrap();
    attacks.spawn(closed(greedy.stream));
    for _ in 0..4 {
        attacks.spawn(pipeline(Raw::open(server.address).await, 5_000));
    }
    // Watches on what can't be, in lists as long as a frame; and reads that wait for a write.
    let mut watcher = Raw::open(server.address).await.stream;
    let mut batch = set(1, "/pipe", b"x");
    for xid in 2..20 {
        batch.extend_from_slice(&request(xid, 101, |out| {
            out.long(0);
            for _ in 0..3 {
                out.count(80_000);
                (0..80_000).for_each(|_| out.ustring(""));
            }
        }));
    }
    attacks.spawn(async move {
        let _ = watcher.write_all(&batch).await;
        let _ = watcher.shutdown().await;
        closed(watcher).await;
    });
    good.goes_on(100).await;
    while let Some(attack) = attacks.join_next().await {
        attack.unwrap();
    }
    good.goes_on(20).await;

    // All the connections that one address may have. Who comes from another isn't shut out.
    held.clear();
    sessions.clear();
    for _ in 0..CONNECTIONS_MAX + 100 {
        held.push(sends(&server, b"").await);
    }
    let last = held.pop().unwrap();
    closed(last).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(server.address).await.unwrap();
    other.write_all(b"ruok").await.unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "imok");
    good.goes_on(20).await;
    drop(held);

    // Nothing is left but the good client. Sessions of the others end with their timeouts, which
    // isn't waited for here.
    until("connections are back to one", async || {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let mut text = String::new();
        // The server may still count the crowd.
        let asked = stream.write_all(b"srvr").await.is_ok()
            && stream.read_to_string(&mut text).await.is_ok();
        asked && text.contains("Connections: 1\n")
    })
    .await;
    good.stop.store(true, Ordering::Relaxed);
    let slowest = good.task.await.expect("the good client was never harmed");
    let peak = peak_rss_bytes(&server);
    println!("slowest answer {slowest:?}, peak {} MiB", peak >> 20);
    assert!(slowest < TIMEOUT, "{slowest:?}");
    assert!(peak < RSS_BYTES_MAX, "{peak} bytes");
    assert_eq!(counted(&server, "zk_outstanding_requests").await, 0);
}
