//! Where a pipeline begins.

use jiff::Timestamp;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use towpath_core::source::{SourceError, start};
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::position::BinlogPosition;
use towpath_protocol::spec::StartAt;
use towpath_testing::MysqlServer;

use crate::support::{executed, facts, options, repl, run};

async fn resolve(server: &MysqlServer, at: &StartAt) -> Result<GtidSet, SourceError> {
    let mut conn = server.conn_as("repl").await.unwrap();
    let facts = facts(&mut conn).await;
    start::resolve(at, &repl(server.port()), &options(), &facts, &mut conn).await
}

async fn end(conn: &mut Conn) -> BinlogPosition {
    let row: mysql_async::Row = conn
        .query_first("SHOW BINARY LOG STATUS")
        .await
        .unwrap()
        .unwrap();
    BinlogPosition {
        file: row.get(0).unwrap(),
        offset: row.get(1).unwrap(),
    }
}

#[tokio::test]
async fn each_kind_of_start_is_exact() {
    let server = MysqlServer::builder().start().await.unwrap();
    let mut root = server.conn().await.unwrap();
    run(
        &mut root,
        &["CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)"],
    )
    .await;
    run(&mut root, &["FLUSH BINARY LOGS"]).await;

    // Three places with the set that belongs to each; the second transaction is compressed and
    // tagged.
    let mut places = vec![(end(&mut root).await, executed(&server).await)];
    run(&mut root, &["INSERT INTO d.t VALUES (1)"]).await;
    places.push((end(&mut root).await, executed(&server).await));
    run(
        &mut root,
        &["SET binlog_transaction_compression = ON, gtid_next = 'AUTOMATIC:x'"],
    )
    .await;
    run(&mut root, &["INSERT INTO d.t VALUES (2)"]).await;
    run(
        &mut root,
        &["SET gtid_next = 'AUTOMATIC', timestamp = DEFAULT"],
    )
    .await;
    places.push((end(&mut root).await, executed(&server).await));
    // Microseconds of commits are compared, so the clock must have moved.
    let time = Timestamp::now();
    run(&mut root, &["INSERT INTO d.t VALUES (3)"]).await;
    let all = executed(&server).await;

    assert_eq!(resolve(&server, &StartAt::Now).await.unwrap(), all);
    assert_eq!(
        resolve(&server, &StartAt::Earliest).await.unwrap(),
        GtidSet::new()
    );
    for (place, set) in &places {
        let found = resolve(&server, &StartAt::Position(place.clone()))
            .await
            .unwrap();
        assert_eq!(&found, set, "{place}");
    }
    let head = BinlogPosition {
        offset: 4,
        ..places[0].0.clone()
    };
    assert_eq!(
        resolve(&server, &StartAt::Position(head)).await.unwrap(),
        places[0].1
    );
    let last = end(&mut root).await;
    assert_eq!(
        resolve(&server, &StartAt::Position(last.clone()))
            .await
            .unwrap(),
        all
    );

    assert_eq!(
        resolve(&server, &StartAt::Time(time)).await.unwrap(),
        places[2].1
    );
    assert_eq!(
        resolve(&server, &StartAt::Time(Timestamp::now()))
            .await
            .unwrap(),
        all
    );
    let past: Timestamp = "2001-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(
        resolve(&server, &StartAt::Time(past)).await.unwrap(),
        GtidSet::new()
    );

    // Between the events of a transaction, inside one, and behind the end.
    let shown: Vec<mysql_async::Row> = root
        .query(format!(
            "SHOW BINLOG EVENTS IN '{}' FROM {}",
            last.file, places[0].0.offset
        ))
        .await
        .unwrap();
    let inside: u64 = shown[0].get(4).unwrap();
    for offset in [
        inside,
        inside + 1,
        places[1].0.offset - 1,
        last.offset - 1,
        last.offset + 1,
    ] {
        let place = BinlogPosition {
            file: last.file.clone(),
            offset,
        };
        let outcome = resolve(&server, &StartAt::Position(place)).await;
        assert!(
            matches!(outcome, Err(SourceError::BadPosition { .. })),
            "{offset}: {outcome:?}"
        );
    }
    let far = BinlogPosition {
        file: last.file.clone(),
        offset: last.offset + 100,
    };
    let error = resolve(&server, &StartAt::Position(far)).await.unwrap_err();
    assert!(error.to_string().contains("the file ends at"), "{error}");

    // The first file goes: what is gone can't be a start.
    run(
        &mut root,
        &[&format!("PURGE BINARY LOGS TO '{}'", last.file)],
    )
    .await;
    assert_eq!(
        resolve(&server, &StartAt::Earliest).await.unwrap(),
        places[0].1
    );
    let gone = BinlogPosition {
        file: "binlog.000001".to_owned(),
        offset: 4,
    };
    let error = resolve(&server, &StartAt::Position(gone))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, SourceError::NoSuchFile { file } if file == "binlog.000001"),
        "{error}"
    );
    let error = resolve(&server, &StartAt::Time(past)).await.unwrap_err();
    assert!(matches!(error, SourceError::BadStart { .. }), "{error}");

    // A set: with the purged ones it stands, without them it can't be.
    let set = StartAt::Gtid(places[1].1.clone());
    assert_eq!(resolve(&server, &set).await.unwrap(), places[1].1);
    let own = places[1].1.subtract(&places[0].1);
    let error = resolve(&server, &StartAt::Gtid(own)).await.unwrap_err();
    assert!(matches!(error, SourceError::Purged { .. }), "{error}");
    let strange = "aaaaaaaa-71ca-11e1-9e33-c80aa9429562:1-3".parse().unwrap();
    let error = resolve(&server, &StartAt::Gtid(strange)).await.unwrap_err();
    assert!(matches!(error, SourceError::Diverged { .. }), "{error}");
}
