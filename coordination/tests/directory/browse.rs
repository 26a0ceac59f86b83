//! Nodes of any kind, and a subtree kept in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_coordination::{CoordinationError, Expect, Mirror, Session, SessionState, TreeChange};
use towpath_protocol::tree::NodePath;

use crate::support::{Server, soon, state};

fn path(text: &str) -> NodePath {
    NodePath::parse(text).unwrap()
}

#[tokio::test]
async fn nodes_of_any_kind_are_read_written_and_removed() {
    let server = Server::start().await;
    let session = server.session().await;
    let node = path("/a/b/c");
    assert_eq!(session.node(&node).await.unwrap(), None);
    session.put(&node, b"one", Expect::Absent).await.unwrap();
    assert!(matches!(
        session.put(&node, b"two", Expect::Absent).await,
        Err(CoordinationError::Exists { .. })
    ));
    let (data, stat) = session.node(&node).await.unwrap().unwrap();
    assert_eq!((&*data, stat.version, stat.data_bytes), (&b"one"[..], 0, 3));
    let second = session.put(&node, b"two", Expect::Version(0)).await;
    assert_eq!(second.unwrap(), 1);
    assert!(matches!(
        session.put(&node, b"three", Expect::Version(0)).await,
        Err(CoordinationError::Changed { .. })
    ));
    let beside = session.put(&path("/a/d"), b"", Expect::Anything).await;
    assert_eq!(beside.unwrap(), 0);
    assert_eq!(session.children(&path("/a")).await.unwrap(), ["b", "d"]);
    assert_eq!(session.remove_all(&path("/a")).await.unwrap(), 4);
    assert_eq!(session.node(&path("/a")).await.unwrap(), None);
}

#[tokio::test]
async fn a_watch_tells_of_all_below() {
    let server = Server::start().await;
    let session = server.session().await;
    let mut watch = session.watch_tree(&path("/w"), true).await.unwrap();
    for (data, expect) in [(b"1", Expect::Absent), (b"2", Expect::Anything)] {
        session.put(&path("/w/x"), data, expect).await.unwrap();
    }
    session.remove_all(&path("/w")).await.unwrap();
    for (change, at) in [
        (TreeChange::Created, "/w"),
        (TreeChange::Created, "/w/x"),
        (TreeChange::Data, "/w/x"),
        (TreeChange::Deleted, "/w/x"),
        (TreeChange::Deleted, "/w"),
    ] {
        let event = soon(watch.next()).await.unwrap();
        assert_eq!((event.change, event.path), (change, path(at)));
    }
}

async fn read(session: &Session, top: &NodePath) -> BTreeMap<NodePath, Vec<u8>> {
    let mut nodes = BTreeMap::new();
    let mut waiting = vec![top.clone()];
    while let Some(node) = waiting.pop() {
        for child in session.children(&node).await.unwrap() {
            waiting.extend(node.listed(&child));
        }
        if let Some((data, _)) = session.node(&node).await.unwrap() {
            nodes.insert(node, data);
        }
    }
    nodes
}

/// Waits until the mirror shows what is there.
async fn equal(mirror: &Mirror, session: &Session, top: &NodePath) {
    let expected = read(session, top).await;
    let is_equal = || {
        mirror.look(|nodes| {
            let as_read = |(path, node): (&NodePath, &towpath_coordination::MirroredNode)| {
                expected.get(path).is_some_and(|data| **data == *node.data)
            };
            nodes.len() == expected.len() && nodes.iter().all(as_read)
        })
    };
    let mut changes = mirror.changes();
    soon(changes.wait_for(|_| is_equal())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_is_as_the_directory_is() {
    let mut server = Server::start().await;
    let (followed, link) = server.fragile().await;
    let top = path("/m");
    let mirror = Mirror::follow(&followed, top.clone()).await.unwrap();
    assert!(mirror.look(|nodes| nodes.is_empty()));
    let writer = server.session().await;
    let put = async |at: &str| {
        let node = path(at);
        let put = writer.put(&node, at.as_bytes(), Expect::Anything);
        put.await.unwrap();
    };
    for at in ["/m/a", "/m/a-b", "/m/a/c", "/m/a/c/d", "/m/b"] {
        put(at).await;
    }
    equal(&mirror, &writer, &top).await;
    mirror.look(|nodes| {
        let children =
            |of: &str| -> Vec<String> { nodes.children(&path(of)).map(str::to_owned).collect() };
        assert_eq!(children("/m"), ["a", "a-b", "b"]);
        assert_eq!(children("/m/a"), ["c"]);
        assert!(children("/none").is_empty());
    });

    // What happens while the connection breaks, and afterwards, in the same session.
    let before = followed.status();
    link.freeze(true);
    state(&followed, SessionState::Disconnected).await;
    put("/m/broken").await;
    link.freeze(false);
    state(&followed, SessionState::Connected).await;
    equal(&mirror, &writer, &top).await;
    put("/m/mended").await;
    equal(&mirror, &writer, &top).await;
    assert_eq!(followed.status(), before);

    // What happens while nothing comes through, even beyond the end of the session.
    link.freeze(true);
    writer.remove_all(&path("/m/a")).await.unwrap();
    put("/m/e").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    link.freeze(false);
    equal(&mirror, &writer, &top).await;

    // A Server that starts again.
    server.stop().await;
    server.start_again().await;
    put("/m/f").await;
    equal(&mirror, &writer, &top).await;
}
