//! The child process: one file over the network to JSON lines on standard output.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use towpath_core::source::{DumpFrom, DumpOptions, EventStream};
use towpath_core::tail::JsonLines;
use towpath_protocol::position::{BinlogPosition, FIRST_EVENT_OFFSET};
use towpath_protocol::spec::{Endpoint, Secret, TableFilter, TlsMode};

/// Lines are written in pieces of about this size, in bytes: what a pipe holds.
const WRITE_BYTES: usize = 64 * 1024;
/// Unlike that of the server.
const SERVER_ID: u32 = 4_000_000_001;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Port of the server on 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// Where the file ends, in bytes.
    #[arg(long)]
    end: u64,
    /// Read and check the events, print nothing.
    #[arg(long)]
    raw: bool,
    /// The binlog file.
    file: String,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let endpoint = Endpoint {
        host: "127.0.0.1".to_owned(),
        port: arguments.port,
        user: "repl".to_owned(),
        password: Secret::new("repl"),
        tls: TlsMode::Disabled,
        tls_ca: None,
    };
    let options = DumpOptions {
        server_id: SERVER_ID,
        replica_uuid: None,
        pipeline: "bench".to_owned(),
        heartbeat: Duration::from_secs(10),
    };
    let from = BinlogPosition {
        file: arguments.file.clone(),
        offset: FIRST_EVENT_OFFSET,
    };
    let mut stream = EventStream::open(&endpoint, &options, DumpFrom::File(&from)).await?;

    let mut lines = JsonLines::new(TableFilter::parse(&["*.*"])?);
    let mut out = Vec::with_capacity(2 * WRITE_BYTES);
    let mut stdout = std::io::stdout().lock();
    loop {
        let Some(event) = stream.try_next()? else {
            stream.fill().await?;
            continue;
        };
        if event.artificial {
            continue;
        }
        if !arguments.raw {
            lines.event(&event.header, event.body, (event.file, event.end), &mut out)?;
            if out.len() >= WRITE_BYTES {
                stdout.write_all(&out)?;
                out.clear();
            }
        }
        if event.end >= arguments.end {
            break;
        }
    }
    stdout.write_all(&out)?;
    stdout.flush()?;
    Ok(())
}
