//! What comes out of a dump: order, place, size, compressed transactions, heartbeats.

use mysql_async::prelude::Queryable;
use towpath_core::decode::EventType;
use towpath_core::source::{DumpFrom, EventStream};
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::position::{BinlogPosition, FIRST_EVENT_OFFSET};
use towpath_testing::MysqlServer;

use crate::support::{executed, facts, open, options, read_gtids, repl, run};

#[tokio::test]
async fn a_dump_continues_after_any_set_tags_included() {
    let server = MysqlServer::builder().start().await.unwrap();
    let mut root = server.conn().await.unwrap();
    run(
        &mut root,
        &["CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)"],
    )
    .await;
    run(
        &mut root,
        &[
            "INSERT INTO d.t VALUES (1)",
            "SET gtid_next = 'AUTOMATIC:audit'",
        ],
    )
    .await;
    run(
        &mut root,
        &["INSERT INTO d.t VALUES (2)", "INSERT INTO d.t VALUES (3)"],
    )
    .await;
    let before = executed(&server).await;
    run(
        &mut root,
        &["FLUSH BINARY LOGS", "INSERT INTO d.t VALUES (4)"],
    )
    .await;
    run(
        &mut root,
        &["SET gtid_next = 'AUTOMATIC'", "INSERT INTO d.t VALUES (5)"],
    )
    .await;
    let after = executed(&server).await;
    assert!(before.to_string().contains(":audit:1-2"), "{before}");

    let mut all = open(&server, &GtidSet::new()).await;
    let order = read_gtids(&mut all, &after).await.unwrap();
    assert_eq!(order.len() as u64, after.count());

    let mut rest = open(&server, &before).await;
    let missing = after.subtract(&before);
    let order = read_gtids(&mut rest, &missing).await.unwrap();
    let order: Vec<String> = order.iter().map(ToString::to_string).collect();
    assert_eq!(missing.count(), 2);
    assert!(order[0].contains(":audit:3"), "{order:?}");
    assert!(!order[1].contains("audit"), "{order:?}");

    // A hole in the middle: only what is in it comes.
    let hole: GtidSet = order[0].parse().unwrap();
    let mut one = open(&server, &after.subtract(&hole)).await;
    assert_eq!(read_gtids(&mut one, &hole).await.unwrap().len(), 1);
}

#[tokio::test]
async fn places_are_the_servers_own() {
    let server = MysqlServer::builder().start().await.unwrap();
    let mut root = server.conn().await.unwrap();
    run(
        &mut root,
        &["CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)"],
    )
    .await;
    run(
        &mut root,
        &["INSERT INTO d.t VALUES (1)", "FLUSH BINARY LOGS"],
    )
    .await;
    run(&mut root, &["INSERT INTO d.t VALUES (2), (3)"]).await;
    let files: Vec<(String, u64, String)> = root.query("SHOW BINARY LOGS").await.unwrap();
    let mut stream = EventStream::open(
        &repl(server.port()),
        &options(),
        DumpFrom::File(&BinlogPosition {
            file: files[0].0.clone(),
            offset: FIRST_EVENT_OFFSET,
        }),
    )
    .await
    .unwrap();
    for (file, len, _) in &files {
        let shown: Vec<mysql_async::Row> = root
            .query(format!("SHOW BINLOG EVENTS IN '{file}'"))
            .await
            .unwrap();
        for row in shown {
            let (kind, end): (String, u64) = (row.get(2).unwrap(), row.get(4).unwrap());
            let event = loop {
                let event = stream.next().await.unwrap();
                if !event.artificial {
                    break event;
                }
            };
            assert_eq!(event.header.event_type.name(), Some(kind.as_str()));
            // A ROTATE event's own end, not the place that it points to, which SHOW prints.
            if kind != "Rotate" {
                assert_eq!((event.file, event.end), (file.as_str(), end), "{kind}");
            }
        }
        assert_eq!(
            (stream.position().file.as_str(), stream.position().offset),
            (file.as_str(), *len)
        );
    }
    // An idle source sends heartbeats, which keep the place.
    let heartbeat = stream.next().await.unwrap();
    assert_eq!(heartbeat.header.event_type, EventType::HEARTBEAT_V2);
    assert!(heartbeat.artificial);
    assert_eq!(
        (heartbeat.file, heartbeat.end),
        (files[1].0.as_str(), files[1].1)
    );
}

#[tokio::test]
async fn we_are_seen_among_the_replicas_and_facts_are_read() {
    let server = MysqlServer::builder().start().await.unwrap();
    let mut stream = open(&server, &GtidSet::new()).await;
    stream.next().await.unwrap();
    let mut conn = server.conn_as("repl").await.unwrap();
    let facts = facts(&mut conn).await;
    let replicas = facts.replicas.clone().unwrap();
    assert_eq!(replicas.len(), 1, "{replicas:?}");
    assert_eq!(
        (replicas[0].server_id, replicas[0].host.as_str()),
        (900, "towpath:orders")
    );
    assert!(!replicas[0].uuid.is_empty());
    assert_eq!(facts.is_replica, Some(false));
    assert_eq!(facts.server_id(), 1);
    assert_eq!(facts.account, "'repl'@'%'");
    assert!(facts.has_privilege("REPLICATION SLAVE"));
    let needs = towpath_core::source::Needs {
        server_id: 901,
        gtid: true,
        whole_rows: true,
    };
    let wrong: Vec<_> = facts
        .findings(&needs)
        .into_iter()
        .filter(|finding| finding.state != towpath_core::check::finding::FindingState::Ok)
        .collect();
    assert_eq!(wrong, []);
}

#[tokio::test]
async fn an_event_over_16_mib_comes_whole() {
    let server = MysqlServer::builder()
        .option("max_allowed_packet", "64M")
        .start()
        .await
        .unwrap();
    let mut root = server.conn().await.unwrap();
    run(
        &mut root,
        &[
            "CREATE DATABASE d",
            "CREATE TABLE d.t (id INT PRIMARY KEY, b LONGBLOB)",
        ],
    )
    .await;
    // Just under one packet's limit, and over two.
    for (id, len) in [(1, 16_777_000), (2, 40_000_000)] {
        run(
            &mut root,
            &[&format!(
                "INSERT INTO d.t VALUES ({id}, REPEAT('towpath.', {len} / 8))"
            )],
        )
        .await;
    }
    let mut stream = open(&server, &GtidSet::new()).await;
    let mut lens = Vec::new();
    while lens.len() < 2 {
        let event = stream.next().await.unwrap();
        if event.header.event_type == EventType::WRITE_ROWS {
            assert!(event.body.ends_with(b"towpath.towpath."));
            lens.push(event.body.len());
        }
    }
    assert!(lens[0] > 16_777_000 && lens[0] < 16_777_216, "{lens:?}");
    assert!(lens[1] > 40_000_000, "{lens:?}");
}

#[tokio::test]
async fn compressed_transactions_are_flattened() {
    let server = MysqlServer::builder().start().await.unwrap();
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
    let insert = "INSERT INTO d.t SELECT n, REPEAT('towpath.', 1000) FROM \
        (WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 300) SELECT n FROM r) AS r";
    run(&mut root, &[insert]).await;
    run(
        &mut root,
        &["DELETE FROM d.t", "SET binlog_transaction_compression = ON"],
    )
    .await;
    run(&mut root, &[insert]).await;
    let to = executed(&server).await;
    let mut stream = open(&server, &from).await;
    // Rows' bodies behind the post header with its table id, per transaction.
    let mut bodies: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut inner = 0;
    let mut ends = Vec::new();
    while bodies.len() < 3 || ends.len() < 3 {
        let event = stream.next().await.unwrap();
        match event.header.event_type {
            EventType::GTID => bodies.push(Vec::new()),
            EventType::XID => ends.push(event.end),
            kind if kind.is_rows() => {
                inner += usize::from(event.inner);
                bodies.last_mut().unwrap().push(event.body[8..].to_vec());
            }
            EventType::TRANSACTION_PAYLOAD => panic!("not flattened"),
            _ => {}
        }
    }
    assert!(inner > 100, "{inner} inner rows events");
    assert!(bodies[0] == bodies[2], "compressed and plain rows differ");
    let status: Vec<mysql_async::Row> = root.query("SHOW BINARY LOG STATUS").await.unwrap();
    assert_eq!(ends[2], status[0].get::<u64, _>(1).unwrap());
    assert_eq!(
        read_gtids(&mut open(&server, &from).await, &to.subtract(&from))
            .await
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn a_source_without_checksums_is_read_too() {
    let server = MysqlServer::builder()
        .option("binlog_checksum", "NONE")
        .start()
        .await
        .unwrap();
    let mut root = server.conn().await.unwrap();
    run(&mut root, &["CREATE DATABASE d", "CREATE DATABASE e"]).await;
    let mut stream = open(&server, &GtidSet::new()).await;
    read_gtids(&mut stream, &executed(&server).await)
        .await
        .unwrap();
    // Switched on while the dump runs: a new file, from which on events carry one.
    run(
        &mut root,
        &["SET GLOBAL binlog_checksum = 'CRC32'", "CREATE DATABASE f"],
    )
    .await;
    let set = executed(&server).await;
    let last: GtidSet = set
        .origins()
        .map(|(origin, intervals)| format!("{origin}:{}", intervals.last().unwrap().1))
        .next()
        .unwrap()
        .parse()
        .unwrap();
    read_gtids(&mut stream, &last).await.unwrap();
    // And a new dump across both kinds of files.
    read_gtids(&mut open(&server, &GtidSet::new()).await, &set)
        .await
        .unwrap();
}
