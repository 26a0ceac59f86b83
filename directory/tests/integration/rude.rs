//! Clients that send garbage, half frames, too much, or don't read: nobody else notices.

use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use towpath_directory::wire::jute::JuteWrite as _;
use towpath_directory::{Config, Directory};

use crate::raw::{Raw, create, directory, framed, get, request, set};

async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest))
        .await
        .is_ok()
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let dir = TempDir::new().unwrap();
    let mut config = Config::new(dir.path());
    config.timers.handshake = Duration::from_millis(300);
    let directory = Directory::start(config).await.unwrap();
    let mut good = Raw::open(directory.address()).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        &[0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0, 0, 0, 44, 0],
        b"",
    ] {
        let mut stream = TcpStream::connect(directory.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert!(is_closed(&mut stream).await, "{bytes:?}");
    }
    let mut short = Raw::open(directory.address()).await;
    short.send(&framed(&[1, 2, 3])).await;
    assert_eq!(short.reply().await, None, "a frame without a header");
    let mut long = Raw::open(directory.address()).await;
    long.send(&(2_000_000_i32).to_be_bytes()).await;
    assert_eq!(long.reply().await, None, "a frame beyond the bound");
    let mut odd = Raw::open(directory.address()).await;
    assert_eq!(
        odd.call(&request(1, 1, |out| out.ustring("/cut")))
            .await
            .error,
        -5,
        "a record that is cut off"
    );
    assert_eq!(
        odd.call(&get(2, "/", false)).await.error,
        0,
        "the connection goes on"
    );
    assert_eq!(good.call(&get(1, "/", false)).await.error, 0);
    directory.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let dir = TempDir::new().unwrap();
    let mut config = Config::new(dir.path());
    config.limits.outbox_bytes_max = 1 << 20;
    let directory = Directory::start(config).await.unwrap();
    let mut good = Raw::open(directory.address()).await;
    good.call(&create(1, "/big", 0)).await;
    good.call(&set(2, "/big", &vec![7; 500_000])).await;
    let mut deaf = Raw::open(directory.address()).await;
    let ask = async {
        for xid in 0.. {
            if deaf
                .stream
                .write_all(&get(xid, "/big", false))
                .await
                .is_err()
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ask)
        .await
        .expect("it's dropped");
    assert_eq!(good.call(&get(3, "/big", false)).await.error, 0);
    assert_eq!(directory.status().connections, 1);
    directory.stop().await;
}

#[tokio::test]
async fn bounds_on_connections() {
    let dir = TempDir::new().unwrap();
    let mut config = Config::new(dir.path());
    config.limits.connections_per_address_max = 2;
    let directory = Directory::start(config).await.unwrap();
    let first = Raw::open(directory.address()).await;
    let mut second = Raw::open(directory.address()).await;
    let mut third = TcpStream::connect(directory.address()).await.unwrap();
    assert!(is_closed(&mut third).await);
    drop(first);
    assert_eq!(second.call(&get(1, "/", false)).await.error, 0);
    directory.stop().await;
}

#[tokio::test]
async fn four_letter_words() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    for (word, wanted) in [
        ("ruok", "imok"),
        ("isro", "rw"),
        ("envi", "zookeeper.version=3.8.0"),
        ("srvr", "Mode: leader"),
        ("mntr", "zk_znode_count\t4"),
    ] {
        let mut stream = TcpStream::connect(directory.address()).await.unwrap();
        stream.write_all(word.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(wanted), "{word}: {answer}");
    }
    directory.stop().await;
}
