//! What the tests share.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use towpath_core::decode::{EventType, GtidEvent};
use towpath_core::source::{DumpFrom, DumpOptions, EventStream, SourceError, SourceFacts};
use towpath_protocol::gtid::{Gtid, GtidSet};
use towpath_protocol::spec::{Endpoint, Secret, TlsMode};
use towpath_testing::MysqlServer;

/// Heartbeats keep a stream that lacks what a test waits for alive for ever.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn endpoint(port: u16, user: &str, password: &str, tls: TlsMode) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".to_owned(),
        port,
        user: user.to_owned(),
        password: Secret::new(password),
        tls,
        tls_ca: None,
    }
}

/// As the user `repl`, in plain text.
pub(crate) fn repl(port: u16) -> Endpoint {
    endpoint(port, "repl", "repl", TlsMode::Disabled)
}

pub(crate) fn options() -> DumpOptions {
    DumpOptions {
        server_id: 900,
        replica_uuid: None,
        pipeline: "orders".to_owned(),
        heartbeat: Duration::from_millis(200),
    }
}

pub(crate) async fn facts(conn: &mut Conn) -> SourceFacts {
    SourceFacts::read(conn).await.unwrap()
}

pub(crate) async fn executed(server: &MysqlServer) -> GtidSet {
    facts(&mut server.conn().await.unwrap()).await.gtid_executed
}

pub(crate) async fn run(conn: &mut Conn, statements: &[&str]) {
    for statement in statements {
        conn.query_drop(*statement)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

pub(crate) async fn open(server: &MysqlServer, from: &GtidSet) -> EventStream {
    EventStream::open(&repl(server.port()), &options(), DumpFrom::Gtid(from))
        .await
        .unwrap()
}

/// Reads until `set` has come, and returns the GTIDs in their order.
pub(crate) async fn read_gtids(
    stream: &mut EventStream,
    set: &GtidSet,
) -> Result<Vec<Gtid>, SourceError> {
    let (mut seen, mut order) = (GtidSet::new(), Vec::new());
    let start = Instant::now();
    while !set.is_subset(&seen) {
        let event = stream.next().await?;
        assert!(start.elapsed() < PATIENCE, "only {seen} of {set} came");
        let kind = event.header.event_type;
        if matches!(kind, EventType::GTID | EventType::GTID_TAGGED) {
            let gtid = GtidEvent::parse(kind, event.body).unwrap().gtid.unwrap();
            seen.add(&gtid);
            order.push(gtid);
        }
    }
    Ok(order)
}
