//! The client that all of Towpath uses: what kazoo never asks for (operations 18 to 22, 103 to
//! 107), and sessions through a restart.

use std::time::Duration;

use tempfile::TempDir;
use towpath_directory::{Config, Directory};
use zookeeper_client::{
    Acls, AddWatchMode, AuthUser, Client, CreateMode, Error, EventType, MultiReadResult,
    MultiWriteError, MultiWriteResult, SessionState,
};

const OPEN: Acls<'static> = Acls::anyone_all();

async fn start(dir: &TempDir) -> (Directory, Client) {
    let mut config = Config::new(dir.path());
    config.timers.reap_scan = Duration::from_millis(100);
    let directory = Directory::start(config).await.unwrap();
    let client = connect(&directory).await;
    (directory, client)
}

async fn connect(directory: &Directory) -> Client {
    Client::connect(&directory.address().to_string())
        .await
        .unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what)
        .await
        .expect("it happens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_and_ttls() {
    let dir = TempDir::new().unwrap();
    let (directory, client) = start(&dir).await;
    client
        .create("/box", b"", &CreateMode::Container.with_acls(OPEN))
        .await
        .unwrap();
    let ttl = CreateMode::Persistent
        .with_acls(OPEN)
        .with_ttl(Duration::from_millis(300));
    client.create("/ttl", b"x", &ttl).await.unwrap();
    let sequence = CreateMode::PersistentSequential
        .with_acls(OPEN)
        .with_ttl(Duration::from_secs(60));
    let (_, number) = client.create("/ttl-", b"", &sequence).await.unwrap();
    assert!(
        client
            .check_stat(&format!("/ttl-{number}"))
            .await
            .unwrap()
            .is_some()
    );
    let (_, _, gone) = client.get_and_watch_data("/ttl").await.unwrap();
    assert_eq!(
        soon(gone.changed()).await.event_type,
        EventType::NodeDeleted
    );
    client
        .create("/box/child", b"", &CreateMode::Persistent.with_acls(OPEN))
        .await
        .unwrap();
    let (_, _, gone) = client.get_and_watch_data("/box").await.unwrap();
    client.delete("/box/child", None).await.unwrap();
    assert_eq!(
        soon(gone.changed()).await.event_type,
        EventType::NodeDeleted
    );
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn multi_read_and_write() {
    let dir = TempDir::new().unwrap();
    let (directory, client) = start(&dir).await;
    let options = CreateMode::Persistent.with_acls(OPEN);
    let mut writer = client.new_multi_writer();
    writer.add_create("/a", b"1", &options).unwrap();
    writer.add_create("/a/b", b"2", &options).unwrap();
    writer.add_set_data("/a", b"3", Some(0)).unwrap();
    writer.add_check_version("/a", 1).unwrap();
    writer
        .add_create("/a/box", b"", &CreateMode::Container.with_acls(OPEN))
        .unwrap();
    writer.add_delete("/a/b", None).unwrap();
    let results = writer.commit().await.unwrap();
    assert_eq!(results.len(), 6);
    let MultiWriteResult::SetData { stat } = &results[2] else {
        panic!("{results:?}")
    };
    assert_eq!((stat.version, stat.cversion, stat.num_children), (1, 1, 1));
    assert_eq!(results[3], MultiWriteResult::Check);

    let mut writer = client.new_multi_writer();
    writer.add_set_data("/a", b"4", None).unwrap();
    writer.add_check_version("/a", 7).unwrap();
    let error = writer.commit().await.unwrap_err();
    assert_eq!(
        error,
        MultiWriteError::OperationFailed {
            index: 1,
            source: Error::BadVersion
        }
    );

    let mut reader = client.new_multi_reader();
    reader.add_get_data("/a").unwrap();
    reader.add_get_children("/a").unwrap();
    reader.add_get_data("/none").unwrap();
    let results = reader.commit().await.unwrap();
    let MultiReadResult::Data { data, stat } = &results[0] else {
        panic!("{results:?}")
    };
    assert_eq!((&data[..], stat.version, stat.cversion), (&b"3"[..], 1, 3));
    assert!(matches!(&results[1], MultiReadResult::Children { children } if *children == ["box"]));
    assert!(matches!(
        &results[2],
        MultiReadResult::Error { err: Error::NoNode }
    ));
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    deprecated,
    reason = "dropping a watcher removes it too, but doesn't tell whether the server agreed"
)]
async fn persistent_and_recursive_watches() {
    let dir = TempDir::new().unwrap();
    let (directory, client) = start(&dir).await;
    let options = CreateMode::Persistent.with_acls(OPEN);
    client.create("/a", b"", &options).await.unwrap();
    let mut node = client.watch("/a", AddWatchMode::Persistent).await.unwrap();
    let mut tree = client
        .watch("/a", AddWatchMode::PersistentRecursive)
        .await
        .unwrap();
    for i in 0..3 {
        client
            .create(&format!("/a/{i}"), b"", &options)
            .await
            .unwrap();
        let event = soon(node.changed()).await;
        assert_eq!(
            (event.event_type, &*event.path),
            (EventType::NodeChildrenChanged, "/a")
        );
        let event = soon(tree.changed()).await;
        assert_eq!(
            (event.event_type, event.path),
            (EventType::NodeCreated, format!("/a/{i}"))
        );
    }
    node.remove().await.unwrap();
    client.set_data("/a/0", b"x", None).await.unwrap();
    assert_eq!(
        soon(tree.changed()).await.event_type,
        EventType::NodeDataChanged
    );
    tree.remove().await.unwrap();
    let (_, _, once) = client.get_and_watch_data("/a").await.unwrap();
    once.remove().await.unwrap();
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_what_and_how_many() {
    let dir = TempDir::new().unwrap();
    let (directory, client) = start(&dir).await;
    let options = CreateMode::Persistent.with_acls(OPEN);
    client.mkdir("/a/b/c", &options).await.unwrap();
    client
        .create("/a/e", b"", &CreateMode::Ephemeral.with_acls(OPEN))
        .await
        .unwrap();
    client
        .create("/f", b"", &CreateMode::Ephemeral.with_acls(OPEN))
        .await
        .unwrap();
    assert_eq!(client.count_descendants_number("/a").await.unwrap(), 3);
    assert_eq!(client.count_descendants_number("/a/b/c").await.unwrap(), 0);
    assert_eq!(
        client.count_descendants_number("/none").await,
        Err(Error::NoNode)
    );
    let mut mine = client.list_ephemerals("/").await.unwrap();
    mine.sort();
    assert_eq!(mine, ["/a/e", "/f"]);
    assert_eq!(client.list_ephemerals("/a").await.unwrap(), ["/a/e"]);
    client.auth("digest", b"user:secret").await.unwrap();
    let known = client.list_auth_users().await.unwrap();
    assert_eq!(
        known,
        [
            AuthUser::new("ip", "127.0.0.1"),
            AuthUser::new("digest", "user")
        ]
    );
    client.sync("/").await.unwrap();

    let own = CreateMode::Persistent.with_acls(Acls::creator_all());
    client.create("/own", b"secret", &own).await.unwrap();
    let other = connect(&directory).await;
    assert_eq!(other.get_data("/own").await.unwrap_err(), Error::NoAuth);
    assert_eq!(other.get_acl("/own").await.unwrap_err(), Error::NoAuth);
    assert_eq!(other.auth("sasl", b"").await, Err(Error::AuthFailed));
    directory.stop().await;
}

/// Who may not read a node must not learn by a watch that it changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_tell_nothing_that_may_not_be_read() {
    let dir = TempDir::new().unwrap();
    let (directory, client) = start(&dir).await;
    client.auth("digest", b"user:secret").await.unwrap();
    let open = CreateMode::Persistent.with_acls(OPEN);
    let own = CreateMode::Persistent.with_acls(Acls::creator_all());
    let spy = connect(&directory).await;
    let mut events = spy
        .watch("/", AddWatchMode::PersistentRecursive)
        .await
        .unwrap();
    client.create("/own", b"", &own).await.unwrap();
    client.set_data("/own", b"x", None).await.unwrap();
    client.delete("/own", None).await.unwrap();
    client.create("/open", b"", &open).await.unwrap();
    assert_eq!(soon(events.changed()).await.path, "/open");
    directory.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_lives_through_a_restart_with_its_watches() {
    let dir = TempDir::new().unwrap();
    let mut config = Config::new(dir.path());
    let first = Directory::start(config.clone()).await.unwrap();
    config.listen = first.address();
    let client = Client::connector()
        .with_session_timeout(Duration::from_secs(20))
        .connect(&first.address().to_string())
        .await
        .unwrap();
    let mut states = client.state_watcher();
    client
        .create("/e", b"", &CreateMode::Ephemeral.with_acls(OPEN))
        .await
        .unwrap();
    let (_, _, watcher) = client.get_and_watch_data("/e").await.unwrap();
    let mut tree = client
        .watch("/", AddWatchMode::PersistentRecursive)
        .await
        .unwrap();
    first.stop().await;
    assert_eq!(soon(states.changed()).await, SessionState::Disconnected);
    let second = Directory::start(config).await.unwrap();
    assert_eq!(soon(states.changed()).await, SessionState::SyncConnected);
    let other = connect(&second).await;
    other.set_data("/e", b"x", None).await.unwrap();
    assert_eq!(
        soon(watcher.changed()).await.event_type,
        EventType::NodeDataChanged
    );
    // The connection's own ups and downs are told on the same watcher.
    let event = soon(async {
        loop {
            let event = tree.changed().await;
            if event.event_type != EventType::Session {
                return event;
            }
        }
    })
    .await;
    assert_eq!(
        (event.event_type, &*event.path),
        (EventType::NodeDataChanged, "/e")
    );
    second.stop().await;
}
