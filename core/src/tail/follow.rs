//! Reads a source and writes its changes: the wiring of `towpath tail`. Reconnects while the fault
//! may pass; the sink and its offset are never touched.

use std::io::Write;
use std::time::Instant;

use tokio::sync::watch;
use towpath_protocol::code::Code;
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::{Endpoint, TableFilter};
use tracing::warn;

use super::{JsonLines, TailError};
use crate::decode::{EventType, GtidEvent, QueryEvent};
use crate::source::{Backoff, DumpFrom, DumpOptions, EventStream, Retry, SourceError};

/// Lines are written when this many bytes have gathered, and whenever the source has no more for
/// now.
const WRITE_BYTES: usize = 64 * 1024;

/// Why following a source ended.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The source, or the connection to it.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An event can't be read.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// The lines can't be written; a reader that has gone away is no error.
    #[error("cannot write the lines: {0}")]
    Write(#[source] std::io::Error),
}

impl FollowError {
    /// The error's code; None where it's only about the output.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Source(error) => Some(error.code()),
            Self::Tail(error) => Some(error.code()),
            Self::Write(_) => None,
        }
    }
}

/// What to follow.
#[derive(Debug)]
pub struct Follow {
    /// The source.
    pub endpoint: Endpoint,
    /// How we present ourselves.
    pub options: DumpOptions,
    /// The tables to print.
    pub filter: TableFilter,
    /// What not to print: everything before the start.
    pub from: GtidSet,
    /// End when all of these were printed; `None` goes on for ever.
    pub until: Option<GtidSet>,
}

impl Follow {
    /// Writes lines until the end, a stop, or an error. After a reconnect it goes on behind the
    /// last transaction that was read whole; lines of one that was cut off are written again.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn run(
        mut self,
        out: &mut impl Write,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), FollowError> {
        let mut backoff = Backoff::new();
        loop {
            let result = tokio::select! {
                result = self.dump(out, &mut backoff) => result,
                Ok(_) = stop.wait_for(|stopped| *stopped) => return Ok(()),
            };
            match result {
                Ok(()) => return Ok(()),
                Err(FollowError::Write(error))
                    if error.kind() == std::io::ErrorKind::BrokenPipe =>
                {
                    return Ok(());
                }
                Err(FollowError::Source(error)) if error.retry().0 == Retry::Again => {
                    let pause = backoff.failed(Instant::now(), rand::random());
                    warn!(code = %error.code(), %error, pause_ms = pause.as_millis() as u64, "the source was lost; connecting again");
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn dump(
        &mut self,
        out: &mut impl Write,
        backoff: &mut Backoff,
    ) -> Result<(), FollowError> {
        let mut remaining = self
            .until
            .as_ref()
            .map(|until| until.subtract(&self.from).count());
        if remaining == Some(0) {
            return Ok(());
        }
        let mut lines = JsonLines::new(self.filter.clone());
        let mut buffer = Vec::with_capacity(2 * WRITE_BYTES);
        let mut open = None;
        let mut stream =
            EventStream::open(&self.endpoint, &self.options, DumpFrom::Gtid(&self.from)).await?;
        backoff.connected(Instant::now());
        loop {
            while let Some(event) = stream.try_next()? {
                lines.event(
                    &event.header,
                    event.body,
                    (event.file, event.end),
                    &mut buffer,
                )?;
                if buffer.len() >= WRITE_BYTES {
                    out.write_all(&buffer).map_err(FollowError::Write)?;
                    buffer.clear();
                }
                match event.header.event_type {
                    EventType::GTID | EventType::GTID_TAGGED => {
                        open = GtidEvent::parse(event.header.event_type, event.body)
                            .ok()
                            .and_then(|event| event.gtid);
                    }
                    EventType::XID => {}
                    EventType::QUERY => {
                        let begins = QueryEvent::parse(event.body)
                            .is_ok_and(|query| query.sql.eq_ignore_ascii_case(b"BEGIN"));
                        if begins {
                            continue;
                        }
                    }
                    _ => continue,
                }
                if matches!(event.header.event_type, EventType::XID | EventType::QUERY)
                    && let Some(gtid) = open.take()
                {
                    let counts = self
                        .until
                        .as_ref()
                        .is_some_and(|until| until.contains(&gtid));
                    self.from.add(&gtid);
                    if let (Some(left), true) = (&mut remaining, counts) {
                        *left = left.saturating_sub(1);
                        if *left == 0 {
                            out.write_all(&buffer).map_err(FollowError::Write)?;
                            return out.flush().map_err(FollowError::Write);
                        }
                    }
                }
            }
            out.write_all(&buffer).map_err(FollowError::Write)?;
            out.flush().map_err(FollowError::Write)?;
            buffer.clear();
            stream.fill().await?;
        }
    }
}
