//! The order in which one client sees things, and what its sessions go through.

use bytes::BytesMut;
use tempfile::TempDir;
use towpath_directory::wire::jute::{JuteWrite as _, Reader};

use crate::raw::{Raw, connect_record, create, directory, event, get, request, set};

#[tokio::test]
async fn requests_sent_before_the_connect_reply_are_answered_after_it_in_order() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut raw = Raw {
        stream: tokio::net::TcpStream::connect(directory.address())
            .await
            .unwrap(),
        session: 0,
        password: vec![],
        timeout_ms: 0,
    };
    let mut all = connect_record(0, 5000, 0, &[0; 16]);
    all.extend_from_slice(&request(-4, 100, |out| {
        out.int(0);
        out.ustring("digest");
        out.buffer(Some(b"u:p"));
    }));
    all.extend_from_slice(&create(1, "/a", 0));
    all.extend_from_slice(&get(2, "/a", true));
    all.extend_from_slice(&set(3, "/a", b"x"));
    all.extend_from_slice(&get(4, "/a", false));
    all.extend_from_slice(&request(-2, 11, |_| {}));
    all.extend_from_slice(&create(5, "/a", 0));
    raw.send(&all).await;
    assert!(raw.connected().await);
    let mut seen = Vec::new();
    for _ in 0..8 {
        let reply = raw.reply().await.unwrap();
        seen.push((reply.xid, reply.error));
    }
    // The event of its own write comes before the write's answer.
    assert_eq!(
        seen,
        [
            (-4, 0),
            (1, 0),
            (2, 0),
            (-1, 0),
            (3, 0),
            (4, 0),
            (-2, 0),
            (5, -110)
        ]
    );
    directory.stop().await;
}

#[tokio::test]
async fn a_deep_pipeline_keeps_its_order() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut raw = Raw::open(directory.address()).await;
    raw.call(&create(0, "/a", 0)).await;
    let total = 5000;
    let (mut input, mut output) = raw.stream.split();
    let writing = async {
        for xid in 1..=total {
            let bytes = if xid % 2 == 1 {
                set(xid, "/a", &xid.to_be_bytes())
            } else {
                get(xid, "/a", false)
            };
            tokio::io::AsyncWriteExt::write_all(&mut output, &bytes)
                .await
                .unwrap();
        }
    };
    let reading = async {
        let mut last_zxid = 0;
        for xid in 1..=total {
            let len = tokio::io::AsyncReadExt::read_i32(&mut input).await.unwrap();
            let mut frame = vec![0; len as usize];
            tokio::io::AsyncReadExt::read_exact(&mut input, &mut frame)
                .await
                .unwrap();
            let mut r = Reader::new(&frame);
            assert_eq!(r.i32(), Ok(xid));
            let zxid = r.i64().unwrap();
            assert!(zxid >= last_zxid, "zxids never go back");
            last_zxid = zxid;
            assert_eq!(r.i32(), Ok(0));
            if xid % 2 == 0 {
                assert_eq!(
                    r.buffer().unwrap().unwrap(),
                    (xid - 1).to_be_bytes(),
                    "a read sees the write before it"
                );
            }
        }
    };
    tokio::join!(writing, reading);
    directory.stop().await;
}

#[tokio::test]
async fn resuming_closes_the_former_connection_and_keeps_the_session() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut first = Raw::open(directory.address()).await;
    first.call(&create(1, "/e", 1)).await;
    let (session, password) = (first.session, first.password.clone());

    let wrong = Raw::resume(directory.address(), 0, 5000, session, &[9; 16])
        .await
        .unwrap();
    assert_eq!(
        (wrong.session, wrong.timeout_ms),
        (0, 0),
        "a wrong password finds no session"
    );

    let mut second = Raw::resume(directory.address(), 0, 5000, session, &password)
        .await
        .unwrap();
    assert_eq!(second.session, session);
    assert_eq!(first.reply().await, None, "the former connection is closed");
    assert_eq!(second.call(&get(1, "/e", false)).await.error, 0);

    let ahead = Raw::resume(directory.address(), 1 << 40, 5000, session, &password).await;
    assert!(
        ahead.is_none(),
        "a client that has seen the future is not served"
    );
    directory.stop().await;
}

#[tokio::test]
async fn a_silent_session_expires_and_its_nodes_go() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut silent = Raw::resume(directory.address(), 0, 1, 0, &[0; 16])
        .await
        .unwrap();
    assert_eq!(silent.timeout_ms, 1000, "one second is the least");
    silent.call(&create(1, "/e", 1)).await;
    let mut watcher = Raw::open(directory.address()).await;
    assert_eq!(watcher.call(&get(1, "/e", true)).await.error, 0);
    let since = std::time::Instant::now();
    assert_eq!(event(&watcher.reply().await.unwrap()), (2, "/e".into()));
    assert!(
        since.elapsed() < std::time::Duration::from_millis(2500),
        "took {:?}",
        since.elapsed()
    );
    assert_eq!(silent.reply().await, None);
    let late = Raw::resume(
        directory.address(),
        0,
        5000,
        silent.session,
        &silent.password,
    )
    .await
    .unwrap();
    assert_eq!(late.session, 0);
    directory.stop().await;
}

#[tokio::test]
async fn closing_a_session_is_answered_and_removes_its_nodes_at_once() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut first = Raw::open(directory.address()).await;
    let mut second = Raw::open(directory.address()).await;
    first.call(&create(1, "/e", 1)).await;
    second.call(&get(1, "/e", true)).await;
    assert_eq!(first.call(&request(2, -11, |_| {})).await.error, 0);
    assert_eq!(first.reply().await, None);
    assert_eq!(event(&second.reply().await.unwrap()), (2, "/e".into()));
    directory.stop().await;
}

fn strings(out: &mut BytesMut, paths: &[&str]) {
    out.count(paths.len());
    paths.iter().for_each(|path| out.ustring(path));
}

/// By operation 101, as older clients send it; see [`operations`](crate::operations).
#[tokio::test]
async fn watches_set_again_fire_what_was_missed() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut raw = Raw::open(directory.address()).await;
    for (xid, path) in ["/changed", "/same", "/parent", "/made"]
        .into_iter()
        .enumerate()
    {
        raw.call(&create(xid as i32, path, 0)).await;
    }
    let seen = raw.call(&get(9, "/same", false)).await.zxid;
    raw.call(&set(10, "/changed", b"x")).await;
    raw.call(&create(11, "/parent/child", 0)).await;
    raw.send(&request(-8, 101, |out| {
        out.long(seen);
        strings(out, &["/changed", "/same", "/gone"]);
        strings(out, &["/made", "/absent"]);
        strings(out, &["/parent", "/same"]);
    }))
    .await;
    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(event(&raw.reply().await.unwrap()));
    }
    let expected = [(3, "/changed"), (2, "/gone"), (1, "/made"), (4, "/parent")];
    assert_eq!(events, expected.map(|(kind, path)| (kind, path.to_owned())));
    let answer = raw.reply().await.unwrap();
    assert_eq!((answer.xid, answer.error), (-8, 0));
    // What had missed nothing is watched.
    let check = |xid, path: &str, kind| {
        request(xid, 17, |out| {
            out.ustring(path);
            out.int(kind);
        })
    };
    assert_eq!(raw.call(&check(20, "/same", 2)).await.error, 0);
    assert_eq!(raw.call(&check(21, "/same", 1)).await.error, 0);
    assert_eq!(raw.call(&check(22, "/changed", 3)).await.error, -121);
    assert_eq!(raw.call(&check(23, "/changed", 9)).await.error, -5);
    raw.send(&create(24, "/absent", 0)).await;
    assert_eq!(event(&raw.reply().await.unwrap()), (1, "/absent".into()));
    assert_eq!(raw.reply().await.unwrap().error, 0);
    directory.stop().await;
}
