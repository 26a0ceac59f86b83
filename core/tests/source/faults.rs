//! What breaks, and as which error.

use std::time::{Duration, Instant};

use towpath_core::source::{DumpFrom, DumpOptions, EventStream, Retry, SourceError};
use towpath_protocol::gtid::GtidSet;
use towpath_testing::{Direction, MysqlServer, TcpProxy};
use uuid::Uuid;

use crate::support::{executed, open, options, read_gtids, repl, run};

async fn until_error(stream: &mut EventStream) -> SourceError {
    loop {
        if let Err(error) = stream.next().await {
            return error;
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_is_an_error_and_the_stream_ends_there() {
    let server = MysqlServer::builder().start().await.unwrap();
    let proxy = TcpProxy::start(server.port()).await.unwrap();
    let mut root = server.conn().await.unwrap();
    run(
        &mut root,
        &[
            "CREATE DATABASE d",
            "CREATE TABLE d.t (id INT PRIMARY KEY, b LONGBLOB)",
        ],
    )
    .await;
    let from = executed(&server).await;
    run(
        &mut root,
        &["INSERT INTO d.t VALUES (1, REPEAT('x', 1000000))"],
    )
    .await;
    run(&mut root, &["INSERT INTO d.t VALUES (2, 'y')"]).await;

    // Inside the first row's megabyte.
    proxy.flip_byte(Direction::ToClient, 500_000);
    let mut stream = EventStream::open(&repl(proxy.port()), &options(), DumpFrom::Gtid(&from))
        .await
        .unwrap();
    let error = until_error(&mut stream).await;
    assert!(matches!(error, SourceError::Checksum { .. }), "{error}");
    assert_eq!(error.retry().0, Retry::Again);
    // What comes behind the corrupt event must never be had.
    assert!(stream.next().await.is_err());
    assert!(stream.try_next().is_err());
    assert!(stream.fill().await.is_err());

    // It was the way, not the file: the next attempt gets through.
    let mut stream = EventStream::open(&repl(proxy.port()), &options(), DumpFrom::Gtid(&from))
        .await
        .unwrap();
    read_gtids(&mut stream, &executed(&server).await.subtract(&from))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_killed_source_is_tried_again_and_goes_on() {
    let server = MysqlServer::builder().start().await.unwrap();
    let mut root = server.conn().await.unwrap();
    run(&mut root, &["CREATE DATABASE d"]).await;
    let set = executed(&server).await;
    let mut stream = open(&server, &GtidSet::new()).await;
    read_gtids(&mut stream, &set).await.unwrap();
    server.kill9().unwrap();
    let error = until_error(&mut stream).await;
    assert_eq!(error.retry().0, Retry::Again, "{error}");
    let error = EventStream::open(&repl(server.port()), &options(), DumpFrom::Gtid(&set)).await;
    let error = error.map(|_| ()).unwrap_err();
    assert!(matches!(error, SourceError::Connect { .. }), "{error}");
    assert_eq!(error.retry().0, Retry::Again);

    server.restart().await.unwrap();
    run(&mut server.conn().await.unwrap(), &["CREATE DATABASE e"]).await;
    let rest = executed(&server).await.subtract(&set);
    let mut stream = open(&server, &set).await;
    assert_eq!(read_gtids(&mut stream, &rest).await.unwrap().len(), 1);

    // A clean stop is one to try again after, too.
    server.stop().await.unwrap();
    let error = until_error(&mut stream).await;
    assert_eq!(error.retry().0, Retry::Again, "{error}");
}

#[tokio::test]
async fn a_silent_source_is_noticed() {
    let server = MysqlServer::builder().start().await.unwrap();
    let proxy = TcpProxy::start(server.port()).await.unwrap();
    let mut stream = EventStream::open(
        &repl(proxy.port()),
        &options(),
        DumpFrom::Gtid(&GtidSet::new()),
    )
    .await
    .unwrap();
    stream.next().await.unwrap();
    // Idle for longer than the bound, with heartbeats: nothing is wrong.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(3500) {
        stream.next().await.unwrap();
    }
    proxy.stall();
    let start = Instant::now();
    let error = until_error(&mut stream).await;
    assert!(matches!(error, SourceError::Silent { .. }), "{error}");
    assert_eq!(error.retry().0, Retry::Again);
    let waited = start.elapsed();
    assert!(
        waited > Duration::from_millis(2500) && waited < Duration::from_secs(6),
        "{waited:?}"
    );
}

#[tokio::test]
async fn the_sources_refusals_are_told_apart() {
    let server = MysqlServer::builder().start().await.unwrap();
    let mut root = server.conn().await.unwrap();
    run(
        &mut root,
        &[
            "CREATE DATABASE d",
            "FLUSH BINARY LOGS",
            "CREATE DATABASE e",
        ],
    )
    .await;
    let set = executed(&server).await;
    let origin = set.origins().next().unwrap().0.clone();

    // Ahead of the source by its own UUID.
    let mut ahead = set.clone();
    ahead.add_interval(&origin, 1, set.count() + 5).unwrap();
    let error = until_error(&mut open(&server, &ahead).await).await;
    assert!(matches!(error, SourceError::Diverged { .. }), "{error}");

    // A dump with our UUID ends the one before.
    let fenced = DumpOptions {
        replica_uuid: Some(Uuid::from_u128(7)),
        ..options()
    };
    let mut first = EventStream::open(&repl(server.port()), &fenced, DumpFrom::Gtid(&set))
        .await
        .unwrap();
    first.next().await.unwrap();
    let mut second = EventStream::open(&repl(server.port()), &fenced, DumpFrom::Gtid(&set))
        .await
        .unwrap();
    second.next().await.unwrap();
    let error = until_error(&mut first).await;
    assert!(matches!(error, SourceError::ServerIdClash), "{error}");
    second.next().await.unwrap();

    // Purged.
    let files: Vec<mysql_async::Row> =
        mysql_async::prelude::Queryable::query(&mut root, "SHOW BINARY LOGS")
            .await
            .unwrap();
    let last: String = files.last().unwrap().get(0).unwrap();
    run(&mut root, &[&format!("PURGE BINARY LOGS TO '{last}'")]).await;
    let error = until_error(&mut open(&server, &GtidSet::new()).await).await;
    assert!(matches!(error, SourceError::Purged { .. }), "{error}");
    assert_eq!(error.retry().0, Retry::Stop);
}
