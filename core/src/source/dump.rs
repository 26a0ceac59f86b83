//! Asking a source for its binlog: the session's settings, COM_REGISTER_SLAVE, COM_BINLOG_DUMP and
//! COM_BINLOG_DUMP_GTID (MySQL internals, "Replication Protocol"; `sql/rpl_replica.cc`,
//! `sql/rpl_binlog_sender.cc`).

use std::time::Duration;

use mysql_common::packets::ComRegisterSlave;
use mysql_common::proto::MySerialize;
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::position::{BinlogPosition, FIRST_EVENT_OFFSET};
use towpath_protocol::spec::Endpoint;
use uuid::Uuid;

use super::connection::SourceConnection;
use super::error::SourceError;

/// How often an idle source sends a heartbeat, unless a pipeline asks for another period: a dead
/// connection is noticed after three of them.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(1);

/// How long the source may wait for a dump that takes nothing, in seconds: a slow sink holds the
/// dump back, and the server's default of 60 s would cut it off. A dump that was abandoned is
/// ended sooner, by TCP or by the next dump with the same UUID.
const NET_WRITE_TIMEOUT_S: u32 = 3600;

/// The longest host name that every server shows in SHOW REPLICAS, in bytes (MariaDB's
/// `HOSTNAME_LENGTH`; MySQL takes 255).
const REPORTED_HOST_LEN_MAX: usize = 60;

const COM_BINLOG_DUMP: u8 = 0x12;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;

/// End with an EOF packet at the end of the last file, rather than wait.
const FLAG_NON_BLOCK: u16 = 1;

/// Heartbeats may be of the second kind, with 64-bit positions (since MySQL 8.0.26; ignored
/// before; on MariaDB the same bit asks for ANNOTATE_ROWS events).
const FLAG_HEARTBEAT_V2: u16 = 1 << 1;

/// How we present ourselves to the source.
#[derive(Clone, Debug)]
pub struct DumpOptions {
    /// Our server_id: not 0, and unlike that of the source and of all its replicas.
    pub server_id: u32,
    /// Our UUID; a random one if None. A new dump with the same UUID ends the older one at once,
    /// so a UUID that is the pipeline's own is a soft fence.
    pub replica_uuid: Option<Uuid>,
    /// The pipeline's name, for SHOW REPLICAS on the source.
    pub pipeline: String,
    /// How often an idle source shall say that it is alive; at least a millisecond.
    pub heartbeat: Duration,
}

/// Where a dump begins.
#[derive(Clone, Copy, Debug)]
pub enum DumpFrom<'a> {
    /// All transactions that are not in this set.
    Gtid(&'a GtidSet),
    /// All events of a file from an offset on, and those of the files after it.
    File(&'a BinlogPosition),
}

/// A connection on which the dump has begun.
#[derive(Debug)]
pub(super) struct Dump {
    pub(super) conn: SourceConnection,
    /// Whether events carry a CRC32 until the first FORMAT_DESCRIPTION event says more.
    pub(super) checksum: bool,
}

/// Connects, logs in, registers and asks for the binlog. With `until_end` the dump ends where the
/// binlog ends now.
pub(super) async fn begin(
    endpoint: &Endpoint,
    options: &DumpOptions,
    from: DumpFrom<'_>,
    until_end: bool,
) -> Result<Dump, SourceError> {
    let mut flags = if until_end { FLAG_NON_BLOCK } else { 0 };
    let mut conn = SourceConnection::open(endpoint).await?;
    if !conn.server_version().contains("MariaDB") {
        flags |= FLAG_HEARTBEAT_V2;
    }
    let command = match from {
        DumpFrom::Gtid(set) => dump_gtid(options.server_id, flags, set),
        DumpFrom::File(position) => dump_file(options.server_id, flags, position)?,
    };
    conn.execute(&session_settings(options), "the session's settings")
        .await?;
    let checksum = conn
        .query_value("SELECT @source_binlog_checksum", "the checksum's kind")
        .await?;
    conn.command(&register(options), "the registration as a replica")
        .await?;
    conn.expect_ok("the registration as a replica").await?;
    conn.command(&command, "the dump").await?;
    tracing::info!(
        server_id = options.server_id,
        connection_id = conn.connection_id(),
        tls = conn.is_encrypted(),
        from = %Shown(from),
        "binlog dump begun"
    );
    let checksum = checksum.is_some_and(|name| name.eq_ignore_ascii_case("CRC32"));
    Ok(Dump { conn, checksum })
}

/// Both spellings of each variable: servers before 8.0.26 know only the old ones.
fn session_settings(options: &DumpOptions) -> String {
    let heartbeat_ns = options.heartbeat.max(Duration::from_millis(1)).as_nanos();
    let uuid = options.replica_uuid.unwrap_or_else(Uuid::new_v4);
    format!(
        "SET @source_binlog_checksum = @@global.binlog_checksum, \
         @master_binlog_checksum = @@global.binlog_checksum, \
         @source_heartbeat_period = {heartbeat_ns}, @master_heartbeat_period = {heartbeat_ns}, \
         @replica_uuid = '{uuid}', @slave_uuid = '{uuid}', \
         SESSION net_write_timeout = {NET_WRITE_TIMEOUT_S}"
    )
}

fn register(options: &DumpOptions) -> Vec<u8> {
    let host = format!("towpath:{}", options.pipeline);
    let fits = |(start, c): &(usize, char)| start + c.len_utf8() <= REPORTED_HOST_LEN_MAX;
    let host: String = host
        .char_indices()
        .take_while(fits)
        .map(|(_, c)| c)
        .collect();
    let mut payload = Vec::new();
    ComRegisterSlave::new(options.server_id)
        .with_hostname(host.into_bytes())
        .serialize(&mut payload);
    payload
}

fn dump_gtid(server_id: u32, flags: u16, set: &GtidSet) -> Vec<u8> {
    let set = set.encode_dump();
    let mut payload = vec![COM_BINLOG_DUMP_GTID];
    payload.extend_from_slice(&flags.to_le_bytes());
    payload.extend_from_slice(&server_id.to_le_bytes());
    // No file name: the server finds the file by the set.
    payload.extend_from_slice(&0_u32.to_le_bytes());
    payload.extend_from_slice(&FIRST_EVENT_OFFSET.to_le_bytes());
    payload.extend_from_slice(&(set.len() as u32).to_le_bytes());
    payload.extend_from_slice(&set);
    payload
}

fn dump_file(
    server_id: u32,
    flags: u16,
    position: &BinlogPosition,
) -> Result<Vec<u8>, SourceError> {
    let offset = u32::try_from(position.offset).map_err(|_| SourceError::OffsetTooLarge {
        file: position.file.clone(),
        offset: position.offset,
    })?;
    let mut payload = vec![COM_BINLOG_DUMP];
    payload.extend_from_slice(&offset.to_le_bytes());
    payload.extend_from_slice(&flags.to_le_bytes());
    payload.extend_from_slice(&server_id.to_le_bytes());
    payload.extend_from_slice(position.file.as_bytes());
    Ok(payload)
}

/// A start as the log shows it.
struct Shown<'a>(DumpFrom<'a>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            DumpFrom::Gtid(set) => write!(f, "gtid:{set}"),
            DumpFrom::File(position) => write!(f, "{}:{}", position.file, position.offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pipeline: &str) -> DumpOptions {
        DumpOptions {
            server_id: 77,
            replica_uuid: None,
            pipeline: pipeline.to_owned(),
            heartbeat: HEARTBEAT_DEFAULT,
        }
    }

    #[test]
    fn an_offset_beyond_4_gib_is_refused() {
        let position = BinlogPosition {
            file: "binlog.000001".to_owned(),
            offset: 1 << 32,
        };
        let error = dump_file(77, 0, &position).unwrap_err();
        assert!(matches!(
            error,
            SourceError::OffsetTooLarge {
                offset: 4_294_967_296,
                ..
            }
        ));
        let most = BinlogPosition {
            offset: (1 << 32) - 1,
            ..position
        };
        assert_eq!(dump_file(77, 0, &most).unwrap()[1..5], [0xff; 4]);
    }

    #[test]
    fn the_reported_host_fits_and_stays_text() {
        let payload = register(&options(&"ü".repeat(200)));
        let len = usize::from(payload[5]);
        assert!(len <= REPORTED_HOST_LEN_MAX);
        assert!(
            std::str::from_utf8(&payload[6..6 + len])
                .unwrap()
                .starts_with("towpath:ü")
        );
    }

    #[test]
    fn both_spellings_get_the_same_values() {
        let given = Uuid::from_u128(5);
        let settings = session_settings(&DumpOptions {
            replica_uuid: Some(given),
            ..options("orders")
        });
        assert_eq!(settings.matches("1000000000").count(), 2);
        assert_eq!(settings.matches(&given.to_string()).count(), 2);
    }
}
