//! Operations that kazoo never sends, and where each is tested. `client` has what
//! zookeeper-client sends; the rest is sent as bytes.
//!
//! | number | operation | by zookeeper-client | as bytes |
//! |---|---|---|---|
//! | 13 | check, alone | | `a_check_alone` |
//! | 16 | reconfig | | `what_is_not_offered` |
//! | 17 | checkWatches | | `watches_are_checked_and_removed_by_kind`, `order::watches_set_again_fire_what_was_missed` |
//! | 18 | removeWatches | `client::persistent_and_recursive_watches` | `watches_are_checked_and_removed_by_kind` |
//! | 19 | createContainer | `client::containers_and_ttls`, `client::multi_read_and_write` | `containers_and_ttls_answer_with_numbers` |
//! | 20 | deleteContainer: between ZooKeeper's servers only | | `what_is_not_offered` |
//! | 21 | createTTL | `client::containers_and_ttls` | `containers_and_ttls_answer_with_numbers` |
//! | 22 | multiRead | `client::multi_read_and_write` | `a_multi_read_takes_reads_only`, `hostile` |
//! | 101 | setWatches | `client::a_session_lives_through_a_restart_with_its_watches` (without persistent ones) | `order::watches_set_again_fire_what_was_missed` |
//! | 102 | sasl | | `what_is_not_offered` |
//! | 103 | getEphemerals | `client::who_what_and_how_many` | `numbers_of_a_session` |
//! | 104 | getAllChildrenNumber | `client::who_what_and_how_many` | `numbers_of_a_session` |
//! | 105 | setWatches2 | `client::a_session_lives_through_a_restart_with_its_watches` | `persistent_watches_are_set_again` |
//! | 106 | addWatch | `client::persistent_and_recursive_watches` | `watches_are_checked_and_removed_by_kind` |
//! | 107 | whoAmI | `client::who_what_and_how_many` | `numbers_of_a_session` |

use bytes::BytesMut;
use tempfile::TempDir;
use towpath_directory::Directory;
use towpath_directory::wire::jute::{JuteWrite as _, Reader};

use crate::raw::{Raw, Reply, create, directory, event, get, request, set};

const MARSHALLING: i32 = -5;
const BAD_ARGUMENTS: i32 = -8;
const UNIMPLEMENTED: i32 = -6;
const NO_WATCHER: i32 = -121;
const RECONFIG_DISABLED: i32 = -123;

async fn start(dir: &TempDir) -> (Directory, Raw) {
    let directory = directory(dir.path()).await;
    let raw = Raw::open(directory.address()).await;
    (directory, raw)
}

fn numbered(xid: i32, opcode: i32, path: &str, number: i32) -> BytesMut {
    request(xid, opcode, |out| {
        out.ustring(path);
        out.int(number);
    })
}

fn named(xid: i32, opcode: i32, path: &str) -> BytesMut {
    request(xid, opcode, |out| out.ustring(path))
}

fn created(xid: i32, opcode: i32, path: &str, flags: i32, ttl_ms: Option<i64>) -> BytesMut {
    request(xid, opcode, |out| {
        out.ustring(path);
        out.buffer(Some(b"abc"));
        out.count(1);
        out.int(31);
        out.ustring("world");
        out.ustring("anyone");
        out.int(flags);
        if let Some(ttl_ms) = ttl_ms {
            out.long(ttl_ms);
        }
    })
}

/// Path, owner field, and length of the data in an answer with a path and numbers.
fn path_and_numbers(reply: &Reply) -> (String, i64, i32) {
    assert_eq!(reply.error, 0, "{reply:?}");
    let mut r = Reader::new(&reply.body);
    let path = r.string().unwrap().to_owned();
    for _ in 0..4 {
        r.i64().unwrap();
    }
    for _ in 0..3 {
        r.i32().unwrap();
    }
    let (owner, len) = (r.i64().unwrap(), r.i32().unwrap());
    assert_eq!((r.i32(), r.i64()), (Ok(0), Ok(reply.zxid)));
    assert!(r.rest().is_empty());
    (path, owner, len)
}

#[tokio::test]
async fn what_is_not_offered() {
    let dir = TempDir::new().unwrap();
    let (directory, mut raw) = start(&dir).await;
    for (xid, opcode, error) in [
        (1, 16, RECONFIG_DISABLED),
        (2, 20, UNIMPLEMENTED),
        (3, 102, UNIMPLEMENTED),
        (4, -10, UNIMPLEMENTED),
        (5, 0, UNIMPLEMENTED),
        (6, 4711, UNIMPLEMENTED),
        (7, i32::MIN, UNIMPLEMENTED),
    ] {
        let reply = raw.call(&named(xid, opcode, "/")).await;
        assert_eq!((reply.xid, reply.error), (xid, error), "operation {opcode}");
        assert!(reply.body.is_empty(), "operation {opcode}");
    }
    assert_eq!(raw.call(&get(8, "/", false)).await.error, 0);
    directory.stop().await;
}

#[tokio::test]
async fn a_check_alone() {
    let dir = TempDir::new().unwrap();
    let (directory, mut raw) = start(&dir).await;
    raw.call(&create(1, "/a", 0)).await;
    assert_eq!(raw.call(&numbered(2, 13, "/a", 0)).await.error, 0);
    assert_eq!(raw.call(&numbered(3, 13, "/a", 1)).await.error, -103);
    assert_eq!(raw.call(&numbered(4, 13, "/none", -1)).await.error, -101);
    directory.stop().await;
}

#[tokio::test]
async fn containers_and_ttls_answer_with_numbers() {
    let dir = TempDir::new().unwrap();
    let (directory, mut raw) = start(&dir).await;
    let reply = raw.call(&created(1, 19, "/box", 4, None)).await;
    assert_eq!(path_and_numbers(&reply), ("/box".into(), 0, 3));
    let reply = raw.call(&created(2, 21, "/ttl", 5, Some(60_000))).await;
    assert_eq!(path_and_numbers(&reply), ("/ttl".into(), 0, 3));
    let reply = raw.call(&created(3, 21, "/ttl-", 6, Some(1))).await;
    assert_eq!(path_and_numbers(&reply), ("/ttl-0000000002".into(), 0, 3));
    for ttl_ms in [0, -1, i64::MIN, 0x0100_0000_0000] {
        let reply = raw.call(&created(4, 21, "/bad", 5, Some(ttl_ms))).await;
        assert_eq!(reply.error, BAD_ARGUMENTS, "a TTL of {ttl_ms} ms");
    }
    let reply = raw.call(&created(5, 1, "/bad", 5, None)).await;
    assert_eq!(reply.error, BAD_ARGUMENTS, "a TTL node without a TTL");
    directory.stop().await;
}

#[tokio::test]
async fn a_multi_read_takes_reads_only() {
    let dir = TempDir::new().unwrap();
    let (directory, mut raw) = start(&dir).await;
    let multi = |xid, opcode: i32| {
        request(xid, 22, |out| {
            out.int(opcode);
            out.boolean(false);
            out.int(-1);
            out.ustring("/");
            out.boolean(false);
            out.int(-1);
            out.boolean(true);
            out.int(-1);
        })
    };
    assert_eq!(raw.call(&multi(1, 4)).await.error, 0);
    assert_eq!(raw.call(&multi(2, 8)).await.error, 0);
    for opcode in [1, 2, 3, 12, 14, 22] {
        let reply = raw.call(&multi(3, opcode)).await;
        assert_eq!(reply.error, MARSHALLING, "{opcode} within 22");
    }
    directory.stop().await;
}

#[tokio::test]
async fn watches_are_checked_and_removed_by_kind() {
    let [child, data, any, persistent, recursive] = [1, 2, 3, 4, 5];
    let dir = TempDir::new().unwrap();
    let (directory, mut raw) = start(&dir).await;
    raw.call(&create(1, "/a", 0)).await;
    raw.call(&get(2, "/a", true)).await;
    for mode in [0, 1] {
        let reply = raw.call(&numbered(3, 106, "/a", mode)).await;
        assert_eq!((reply.error, &reply.body[..]), (0, &[0; 4][..]));
    }
    assert_eq!(
        raw.call(&numbered(4, 106, "/a", 2)).await.error,
        MARSHALLING
    );
    // What is there besides the one that is looked for doesn't count.
    let kinds = [data, persistent, recursive];
    assert_eq!(
        raw.call(&numbered(5, 17, "/a", child)).await.error,
        NO_WATCHER
    );
    for (at, kind) in kinds.into_iter().enumerate() {
        assert_eq!(raw.call(&numbered(6, 17, "/a", any)).await.error, 0);
        for (other, kind) in kinds.into_iter().enumerate() {
            let wanted = if other < at { NO_WATCHER } else { 0 };
            let reply = raw.call(&numbered(7, 17, "/a", kind)).await;
            assert_eq!(reply.error, wanted, "kind {kind} after {at} removals");
        }
        assert_eq!(raw.call(&numbered(8, 18, "/a", kind)).await.error, 0);
        assert_eq!(
            raw.call(&numbered(9, 18, "/a", kind)).await.error,
            NO_WATCHER
        );
    }
    assert_eq!(
        raw.call(&numbered(10, 17, "/a", any)).await.error,
        NO_WATCHER
    );
    assert_eq!(raw.call(&set(11, "/a", b"x")).await.xid, 11, "no event");
    for opcode in [17, 18] {
        let reply = raw.call(&numbered(12, opcode, "/a", 6)).await;
        assert_eq!(reply.error, MARSHALLING);
    }
    directory.stop().await;
}

#[tokio::test]
async fn persistent_watches_are_set_again() {
    let dir = TempDir::new().unwrap();
    let (directory, mut raw) = start(&dir).await;
    raw.call(&create(1, "/p", 0)).await;
    let seen = raw.call(&create(2, "/r", 0)).await.zxid;
    raw.call(&set(3, "/p", b"missed")).await;
    let none: [&str; 0] = [];
    let again = request(-8, 105, |out| {
        out.long(seen);
        for paths in [&none[..], &["/absent"], &none, &["/p"], &["/r"]] {
            out.count(paths.len());
            paths.iter().for_each(|path| out.ustring(path));
        }
    });
    // Persistent watches tell nothing about what was missed, as in ZooKeeper.
    let reply = raw.call(&again).await;
    assert_eq!((reply.xid, reply.error), (-8, 0));
    for xid in [4, 5] {
        raw.send(&create(xid, &format!("/r/{xid}"), 0)).await;
        let wanted = (1, format!("/r/{xid}"));
        assert_eq!(event(&raw.reply().await.unwrap()), wanted);
        assert_eq!(raw.reply().await.unwrap().xid, xid);
        raw.send(&set(xid, "/p", b"x")).await;
        assert_eq!(event(&raw.reply().await.unwrap()), (3, "/p".into()));
        assert_eq!(raw.reply().await.unwrap().xid, xid);
    }
    raw.send(&create(6, "/absent", 0)).await;
    assert_eq!(event(&raw.reply().await.unwrap()), (1, "/absent".into()));
    directory.stop().await;
}

/// A path is bounded, a string in a request only by the frame: what is kept must be a path.
#[tokio::test]
async fn a_watch_on_what_can_never_be_is_not_kept() {
    let dir = TempDir::new().unwrap();
    let (directory, mut raw) = start(&dir).await;
    let endless = format!("/{}", "x".repeat(900_000));
    let again = request(1, 101, |out| {
        out.long(0);
        out.count(0);
        out.count(3);
        ["", &endless, "/absent"]
            .iter()
            .for_each(|path| out.ustring(path));
        out.count(0);
    });
    assert_eq!(raw.call(&again).await.error, 0);
    assert_eq!(directory.status().watches, 1);
    assert_eq!(raw.call(&numbered(2, 17, "/absent", 2)).await.error, 0);
    directory.stop().await;
}

#[tokio::test]
async fn numbers_of_a_session() {
    let dir = TempDir::new().unwrap();
    let (directory, mut raw) = start(&dir).await;
    raw.call(&create(1, "/a", 0)).await;
    raw.call(&create(2, "/a/e", 1)).await;
    let strings = |reply: Reply| {
        let mut r = Reader::new(&reply.body);
        let list: Result<Vec<_>, _> = r.vector(|r| r.string().map(str::to_owned));
        assert!(reply.error == 0 && r.rest().is_empty());
        list.unwrap()
    };
    assert_eq!(strings(raw.call(&named(3, 103, "/")).await), ["/a/e"]);
    assert_eq!(strings(raw.call(&named(4, 103, "/b")).await), [""; 0]);
    let mut other = Raw::open(directory.address()).await;
    assert_eq!(strings(other.call(&named(1, 103, "/")).await), [""; 0]);
    let reply = raw.call(&named(5, 104, "/a")).await;
    assert_eq!((reply.error, &reply.body[..]), (0, &[0, 0, 0, 1][..]));
    assert_eq!(raw.call(&named(6, 104, "/none")).await.error, -101);
    let reply = raw.call(&request(7, 107, |_| {})).await;
    let mut r = Reader::new(&reply.body);
    let who = r.vector(|r| {
        Ok::<_, towpath_directory::wire::jute::JuteError>((
            r.string()?.to_owned(),
            r.string()?.to_owned(),
        ))
    });
    assert_eq!(who.unwrap(), [("ip".to_owned(), "127.0.0.1".to_owned())]);
    directory.stop().await;
}
