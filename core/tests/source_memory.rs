//! A compressed transaction that inflates to 100 MB takes no 100 MB. In a process of its own, as
//! it's the process' memory that is looked at.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::time::Duration;

use mysql_async::prelude::Queryable;
use towpath_core::decode::EventType;
use towpath_core::source::{DumpFrom, DumpOptions, EventStream};
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::{Endpoint, Secret, TlsMode};
use towpath_testing::MysqlServer;

/// zstd's window at the default level, one inner event and the buffers are below 8 MiB.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

/// The largest resident size so far, in bytes (proc(5), VmHWM).
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[tokio::test]
async fn a_compressed_transaction_of_100_mb_is_read_in_bounded_memory() {
    let server = MysqlServer::builder()
        .option("max_allowed_packet", "64M")
        .option("binlog_transaction_compression", "ON")
        .start()
        .await
        .unwrap();
    let mut root = server.conn().await.unwrap();
    for statement in [
        "CREATE DATABASE d",
        "CREATE TABLE d.t (id INT PRIMARY KEY, b LONGBLOB)",
        "INSERT INTO d.t SELECT n, REPEAT('towpath.', 125000) FROM (WITH RECURSIVE r AS \
         (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 100) SELECT n FROM r) AS r",
    ] {
        root.query_drop(statement).await.unwrap();
    }
    let endpoint = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
        user: "repl".to_owned(),
        password: Secret::new("repl"),
        tls: TlsMode::Disabled,
        tls_ca: None,
    };
    let options = DumpOptions {
        server_id: 900,
        replica_uuid: None,
        pipeline: "orders".to_owned(),
        heartbeat: Duration::from_secs(1),
    };
    let before = peak_bytes();
    let from = GtidSet::new();
    let mut stream = EventStream::open(&endpoint, &options, DumpFrom::Gtid(&from))
        .await
        .unwrap();
    let mut inflated_bytes = 0;
    loop {
        let event = stream.next().await.unwrap();
        if event.inner && event.header.event_type.is_rows() {
            inflated_bytes += event.body.len();
        }
        if event.inner && event.header.event_type == EventType::XID {
            break;
        }
    }
    assert!(inflated_bytes > 100_000_000, "{inflated_bytes}");
    let growth = peak_bytes() - before;
    assert!(growth < GROWTH_BYTES_MAX, "memory grew by {growth} bytes");
}
