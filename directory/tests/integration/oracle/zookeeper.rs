//! Real ZooKeeper, a process of its own in a folder of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for it to serve.
const START: Duration = Duration::from_secs(60);

/// Longest wait for the answer to a four-letter word.
const WORD: Duration = Duration::from_secs(2);

/// A server that ends with this value.
pub(super) struct ZooKeeper {
    process: Child,
    pub(super) address: SocketAddr,
}

impl ZooKeeper {
    /// Starts it, empty. Sessions of 1 to 60 seconds, as ours; containers and TTL nodes stay,
    /// since the time at which they go is nobody's promise; `super:test` is the superuser.
    /// `extended_types` are TTL nodes.
    pub(super) async fn start(dir: &Path, extended_types: bool) -> Self {
        let get = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zookeeper/get");
        let found = Command::new(get).stderr(Stdio::inherit()).output().unwrap();
        assert!(found.status.success(), "{get} finds ZooKeeper");
        let class_path = String::from_utf8(found.stdout).unwrap();
        let address = free_address();
        let settings = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\ntickTime=500\n\
             maxSessionTimeout=60000\nmaxClientCnxns=0\nadmin.enableServer=false\n",
            dir.join("data").display(),
            address.port()
        );
        let file = dir.join("zoo.cfg");
        std::fs::write(&file, settings).unwrap();
        let log = std::fs::File::create(dir.join("zookeeper.log")).unwrap();
        let process = Command::new("java")
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .arg(format!("-Dzookeeper.extendedTypesEnabled={extended_types}"))
            .arg("-Dzookeeper.snapshot.trust.empty=true")
            .arg("-Dzookeeper.4lw.commands.whitelist=*")
            .arg("-Dzookeeper.forceSync=no")
            .arg("-Dzookeeper.preAllocSize=1024")
            .arg("-Dzookeeper.admin.enableServer=false")
            .arg("-Dznode.container.checkIntervalMs=86400000")
            .arg(format!(
                "-Dzookeeper.DigestAuthenticationProvider.superDigest={}",
                super::SUPER_DIGEST
            ))
            .args(["-cp", class_path.trim()])
            .arg("org.apache.zookeeper.server.ZooKeeperServerMain")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("java starts");
        let mut zookeeper = Self { process, address };
        let since = Instant::now();
        while !zookeeper.is_serving().await {
            let ended = zookeeper.process.try_wait().unwrap();
            assert!(
                ended.is_none() && since.elapsed() < START,
                "ZooKeeper serves within {START:?}; it said: {}",
                std::fs::read_to_string(dir.join("zookeeper.log")).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        zookeeper
    }

    async fn is_serving(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address).await else {
            return false;
        };
        let mut answer = String::new();
        let ask = async {
            stream.write_all(b"srvr").await.is_ok()
                && stream.read_to_string(&mut answer).await.is_ok()
                && answer.contains("Mode: standalone")
        };
        tokio::time::timeout(WORD, ask).await.unwrap_or(false)
    }
}

/// A port that nothing listens on, and that no connection gets as its own: one that is made to it
/// before the server listens would meet itself.
fn free_address() -> SocketAddr {
    let mut ports = std::iter::repeat_with(|| rand::random_range(15_000..30_000_u16));
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
    let listener = ports
        .by_ref()
        .take(100)
        .find_map(free)
        .expect("a port is free");
    listener.local_addr().unwrap()
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
