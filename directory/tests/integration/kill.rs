//! kill -9 under a writing load, with a snapshot every 200 entries: nothing that was acknowledged is
//! lost, nothing is half done, and sessions resume.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use towpath_directory::wire::jute::Reader;

use crate::raw::{Raw, create, get, set};

fn program() -> PathBuf {
    // target/<profile>/deps/integration-… -> target/<profile>/examples/serve
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples").join("serve")
}

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(dir: &Path) -> Self {
        let mut child = Command::new(program())
            .args([dir.to_str().unwrap(), "127.0.0.1:0", "nobody", "200"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            child,
            address: line.trim().parse().expect("the directory starts"),
        }
    }
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One writer: a session, its ephemeral node, and a counter that it sets as fast as it can.
struct Writer {
    path: String,
    session: i64,
    password: Vec<u8>,
    last_zxid: i64,
    /// What the server has acknowledged.
    acked: u64,
    /// What was sent, acknowledged or not.
    sent: u64,
}

impl Writer {
    async fn begin(address: SocketAddr, number: usize) -> Self {
        let mut raw = Raw::resume(address, 0, 20_000, 0, &[0; 16]).await.unwrap();
        let path = format!("/w{number}");
        assert_eq!(raw.call(&create(1, &path, 0)).await.error, 0);
        assert_eq!(
            raw.call(&create(2, &format!("/e{number}"), 1)).await.error,
            0
        );
        let last_zxid = raw.call(&set(3, &path, &0_u64.to_be_bytes())).await.zxid;
        Self {
            path,
            session: raw.session,
            password: raw.password,
            last_zxid,
            acked: 0,
            sent: 0,
        }
    }

    /// Checks what is there after a restart, then writes until the server is killed.
    async fn round(&mut self, address: SocketAddr, checked: tokio::sync::mpsc::Sender<()>) {
        let mut raw = Raw::resume(
            address,
            self.last_zxid,
            20_000,
            self.session,
            &self.password,
        )
        .await
        .expect("the server has all that was acknowledged");
        assert_eq!(raw.session, self.session, "the session resumes");
        let ephemeral = self.path.replace("/w", "/e");
        assert_eq!(
            raw.call(&get(1, &ephemeral, false)).await.error,
            0,
            "{ephemeral} is there"
        );
        let reply = raw.call(&get(2, &self.path, false)).await;
        let found = u64::from_be_bytes(
            Reader::new(&reply.body)
                .buffer()
                .unwrap()
                .unwrap()
                .try_into()
                .unwrap(),
        );
        assert!(
            (self.acked..=self.sent).contains(&found),
            "{} was acknowledged, {} sent, {found} found",
            self.acked,
            self.sent
        );
        (self.acked, self.sent) = (found, found);
        checked.send(()).await.unwrap();
        let window = 16;
        loop {
            while self.sent < self.acked + window {
                let bytes = set(self.sent as i32, &self.path, &(self.sent + 1).to_be_bytes());
                self.sent += 1;
                if tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &bytes)
                    .await
                    .is_err()
                {
                    return;
                }
            }
            let Some(reply) = raw.reply().await else {
                return;
            };
            assert_eq!(reply.error, 0);
            assert!(reply.zxid > self.last_zxid, "zxids only grow");
            self.last_zxid = reply.zxid;
            self.acked += 1;
        }
    }
}

async fn kill_loop(kills: usize, writers: usize) {
    let dir = TempDir::new().unwrap();
    let mut server = Server::start(dir.path());
    let mut all = Vec::new();
    for number in 0..writers {
        all.push(Writer::begin(server.address, number).await);
    }
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = seed | 1;
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        let address = server.address;
        let (checked, mut all_checked) = tokio::sync::mpsc::channel(writers);
        let tasks: Vec<_> = all
            .drain(..)
            .map(|mut writer| {
                let checked = checked.clone();
                tokio::spawn(async move {
                    writer.round(address, checked).await;
                    writer
                })
            })
            .collect();
        drop(checked);
        for _ in 0..writers {
            all_checked
                .recv()
                .await
                .expect("every writer finds what it wrote");
        }
        // xorshift: when to kill, a time between no write at all and some hundred of them.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        tokio::time::sleep(Duration::from_millis(random % 150)).await;
        server.child.kill().unwrap();
        for task in tasks {
            all.push(task.await.unwrap());
        }
        // Its successor starts while the system still clears it up, as a supervisor would do it.
        let since = Instant::now();
        server = Server::start(dir.path());
        slowest = slowest.max(since.elapsed());
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "kill {kill}: the start took {:?}",
            since.elapsed()
        );
    }
    let acked: u64 = all.iter().map(|writer| writer.acked).sum();
    println!("{kills} kills, {acked} acknowledged writes, slowest start {slowest:?}");
    assert!(acked > 0, "there was a load");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    kill_loop(10, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long"]
async fn nothing_acknowledged_is_lost_in_200_kills() {
    kill_loop(200, 8).await;
}

/// A server that stood still has not heard its clients, which is not their fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_expires_nobody() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path());
    let mut raw = Raw::resume(server.address, 0, 1000, 0, &[0; 16])
        .await
        .unwrap();
    assert_eq!(raw.call(&create(1, "/e", 1)).await.error, 0);
    let signal = |signal: &str| {
        let pid = server.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    };
    signal("-STOP");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    signal("-CONT");
    // The client has noticed nothing, or has connected anew: both must work.
    assert_eq!(raw.call(&get(2, "/e", false)).await.error, 0);
    let mut again = Raw::resume(server.address, 0, 1000, raw.session, &raw.password)
        .await
        .unwrap();
    assert_eq!(again.session, raw.session);
    assert_eq!(again.call(&get(3, "/e", false)).await.error, 0);
}
