//! What the [oracle](crate::oracle) has found, without it: one test each, so that nobody needs
//! ZooKeeper to see it come back.

use bytes::BytesMut;
use tempfile::TempDir;
use towpath_directory::wire::jute::{JuteWrite as _, Reader};
use towpath_directory::{Config, Directory};

use crate::raw::{Raw, Reply, directory, get, request};

fn put_create(out: &mut BytesMut, path: &str, flags: i32) {
    out.ustring(path);
    out.buffer(Some(b""));
    out.count(1);
    out.int(31);
    out.ustring("world");
    out.ustring("anyone");
    out.int(flags);
}

fn create(opcode: i32, path: &str, flags: i32) -> BytesMut {
    request(1, opcode, |out| {
        put_create(out, path, flags);
        if opcode == 21 {
            out.long(3_600_000);
        }
    })
}

/// A multi of one step.
fn multi(opcode: i32, step: impl FnOnce(&mut BytesMut)) -> BytesMut {
    request(1, 14, |out| {
        out.int(opcode);
        out.boolean(false);
        out.int(-1);
        step(out);
        out.int(-1);
        out.boolean(true);
        out.int(-1);
    })
}

/// Path and ephemeral owner of a create that is answered with numbers.
fn created(reply: &Reply) -> (String, i64) {
    let mut r = Reader::new(&reply.body);
    let path = r.string().unwrap().to_owned();
    (path, owner(&mut r))
}

fn owner(r: &mut Reader<'_>) -> i64 {
    for _ in 0..4 {
        r.i64().unwrap();
    }
    for _ in 0..3 {
        r.i32().unwrap();
    }
    r.i64().unwrap()
}

#[tokio::test]
async fn the_root_is_the_parent_of_a_sequential_slash() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut raw = Raw::open(directory.address()).await;
    let first = created(&raw.call(&create(15, "/", 2)).await).0;
    let second = created(&raw.call(&create(15, "/", 2)).await).0;
    assert_eq!([&*first, &*second], ["/0000000000", "/0000000001"]);
    assert_eq!(raw.call(&create(15, "/", 0)).await.error, -110);
    directory.stop().await;
}

#[tokio::test]
async fn containers_and_ttl_nodes_show_no_owner() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut raw = Raw::open(directory.address()).await;
    assert_eq!(created(&raw.call(&create(19, "/c", 4)).await).1, 0);
    assert_eq!(created(&raw.call(&create(21, "/t", 5)).await).1, 0);
    let session = raw.session;
    assert_eq!(created(&raw.call(&create(15, "/e", 1)).await).1, session);
    directory.stop().await;
}

/// A container's node goes with its children, so what is one can be told by making it one.
#[tokio::test]
async fn the_operation_tells_the_kind_of_node() {
    let dir = TempDir::new().unwrap();
    let mut config = Config::new(dir.path());
    config.timers.reap_scan = std::time::Duration::from_millis(20);
    let directory = Directory::start(config).await.unwrap();
    let mut raw = Raw::open(directory.address()).await;
    let delete = |path: &'static str| {
        request(1, 2, |out| {
            out.ustring(path);
            out.int(-1);
        })
    };
    for (opcode, path, flags) in [(1, "/plain", 4), (19, "/box", 0), (19, "/boxes-", 2)] {
        assert_eq!(raw.call(&create(opcode, path, flags)).await.error, 0);
    }
    for path in ["/plain/x", "/box/x", "/boxes-0000000002/x"] {
        assert_eq!(raw.call(&create(1, path, 0)).await.error, 0, "{path}");
    }
    for path in ["/plain/x", "/box/x", "/boxes-0000000002/x"] {
        assert_eq!(raw.call(&delete(path)).await.error, 0, "{path}");
    }
    for path in ["/box", "/boxes-0000000002"] {
        while raw.call(&get(1, path, false)).await.error != -101 {}
    }
    assert_eq!(raw.call(&get(1, "/plain", false)).await.error, 0);
    assert_eq!(raw.call(&create(21, "/t", 0)).await.error, -8);
    directory.stop().await;
}

#[tokio::test]
async fn a_wrong_step_of_a_multi_is_told_apart_from_a_wrong_multi() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut raw = Raw::open(directory.address()).await;
    let step = raw.call(&multi(1, |out| put_create(out, "/a", 99))).await;
    let mut r = Reader::new(&step.body);
    assert_eq!(
        (step.error, r.i32(), r.bool(), r.i32()),
        (0, Ok(-1), Ok(false), Ok(-8))
    );
    for opcode in [7, 4, 14, 4711] {
        let whole = raw.call(&multi(opcode, |out| out.ustring("/a"))).await;
        assert_eq!(whole.error, -5, "operation {opcode}");
    }
    directory.stop().await;
}

#[tokio::test]
async fn in_a_multi_only_containers_and_ttl_nodes_are_answered_with_numbers() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut raw = Raw::open(directory.address()).await;
    for (opcode, path, flags, answered) in [
        (15, "/a", 0, 1),
        (15, "/b", 4, 15),
        (1, "/c", 4, 15),
        (19, "/d", 0, 1),
    ] {
        let reply = raw
            .call(&multi(opcode, |out| put_create(out, path, flags)))
            .await;
        let mut r = Reader::new(&reply.body);
        assert_eq!(
            (r.i32(), r.bool(), r.i32()),
            (Ok(answered), Ok(false), Ok(0)),
            "{path}"
        );
        assert_eq!(r.string(), Ok(path));
        if answered == 15 {
            assert_eq!(owner(&mut r), 0);
            assert_eq!(r.rest().len(), 16 + 9);
        } else {
            assert_eq!(r.rest().len(), 9);
        }
    }
    directory.stop().await;
}

#[tokio::test]
async fn kinds_of_watch_that_are_none_are_no_record() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut raw = Raw::open(directory.address()).await;
    for (opcode, kind) in [(17, 0), (18, 6), (106, -1), (106, 2)] {
        let ask = request(1, opcode, |out| {
            out.ustring("/");
            out.int(kind);
        });
        assert_eq!(
            raw.call(&ask).await.error,
            -5,
            "operation {opcode}, kind {kind}"
        );
    }
    directory.stop().await;
}

#[tokio::test]
async fn the_superuser_is_told_so() {
    let dir = TempDir::new().unwrap();
    let mut config = Config::new(dir.path());
    config.super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".into());
    let directory = Directory::start(config).await.unwrap();
    let mut raw = Raw::open(directory.address()).await;
    let auth = request(-4, 100, |out| {
        out.int(0);
        out.ustring("digest");
        out.buffer(Some(b"super:test"));
    });
    assert_eq!(raw.call(&auth).await.error, 0);
    let reply = raw.call(&request(1, 107, |_| {})).await;
    let mut r = Reader::new(&reply.body);
    let len = r.i32().unwrap();
    let ids = (0..len).map(|_| {
        (
            r.string().unwrap().to_owned(),
            r.string().unwrap().to_owned(),
        )
    });
    assert!(
        ids.collect::<Vec<_>>()
            .contains(&("super".into(), String::new()))
    );
    directory.stop().await;
}

#[tokio::test]
async fn blanks_ask_for_all_ephemerals() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut raw = Raw::open(directory.address()).await;
    raw.call(&create(1, "/e", 1)).await;
    for (prefix, len) in [
        ("", 1),
        (" ", 1),
        ("/", 1),
        ("/e", 1),
        ("/x", 0),
        (" /e", 0),
        (" /", 1),
    ] {
        let reply = raw.call(&request(1, 103, |out| out.ustring(prefix))).await;
        assert_eq!(Reader::new(&reply.body).i32(), Ok(len), "{prefix:?}");
    }
    directory.stop().await;
}

#[tokio::test]
async fn the_nodes_of_the_protocol_are_as_zookeeper_has_them() {
    let dir = TempDir::new().unwrap();
    let directory = directory(dir.path()).await;
    let mut raw = Raw::open(directory.address()).await;
    for (path, aversion) in [("/", 0), ("/zookeeper", 0), ("/zookeeper/config", -1)] {
        let reply = raw.call(&get(1, path, false)).await;
        let mut r = Reader::new(&reply.body);
        assert_eq!(r.buffer(), Ok(Some(&b""[..])), "{path}");
        assert_eq!(r.rest()[40..44], i32::to_be_bytes(aversion), "{path}");
    }
    directory.stop().await;
}
