//! The producer: reads the source, assembles chunks and queues them. It reconnects by itself as
//! long as what was queued ends with a whole transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

use towpath_protocol::gtid::{Gtid, GtidSet};
use towpath_protocol::position::BinlogPosition;
use towpath_protocol::spec::{Endpoint, TableFilter};
use tracing::warn;
use uuid::Uuid;

use super::begin::parse_server_uuid;
use super::error::PipelineError;
use super::pace::Pace;
use super::pipe::Sending;
use super::progress::Progress;
use crate::batch::{Assembler, Message};
use crate::failpoint::{self, Point};
use crate::source::{
    Backoff, DumpFrom, DumpOptions, EventStream, Retry, SourceError, SourceFacts, anonymous,
    check_position,
};

/// Reads one source for one pipeline.
pub(super) struct Producer {
    pub(super) endpoint: Endpoint,
    pub(super) options: DumpOptions,
    pub(super) filter: TableFilter,
    /// The server that is read.
    pub(super) server_uuid: Uuid,
    /// A place in its binlog.
    pub(super) start_position: Option<BinlogPosition>,
    /// What was queued, as whole transactions, beside what the sink had.
    pub(super) gtids: GtidSet,
    pub(super) queue: Sending,
    /// Bytes that may be read.
    pub(super) pace: Pace,
    pub(super) progress: Arc<Progress>,
    /// What was queued last belongs to a transaction that may be damaged: its checksum has not come
    /// yet.
    pub(super) unverified: Arc<AtomicBool>,
    /// The transaction of which parts were queued, but not its end.
    pub(super) inside: Option<Gtid>,
}

impl Producer {
    /// Runs until an error that a new connection would not mend.
    pub(super) async fn run(mut self) -> PipelineError {
        let after = self.start_position.clone().unwrap_or(Assembler::NOWHERE);
        let mut assembler = Assembler::new(self.filter.clone(), after);
        let mut backoff = Backoff::new();
        let mut first = true;
        loop {
            let source = match self.dump(&mut assembler, first, &mut backoff).await {
                PipelineError::Source(source) => source,
                other => return other,
            };
            first = false;
            if source.retry().0 == Retry::Stop {
                return source.into();
            }
            if let Some(gtid) = self.inside {
                let gtid = gtid.to_string();
                return PipelineError::LostInside { gtid, source };
            }
            assembler.reset();
            self.progress.caught_up(false);
            self.progress.source_lost(Some(&source));
            let pause = backoff.failed(Instant::now(), rand::random());
            warn!(
                pipeline = self.options.pipeline, code = %source.code(), error = %source,
                pause_ms = pause.as_millis() as u64, "the source was lost; connecting again"
            );
            tokio::time::sleep(pause).await;
        }
    }

    async fn dump(
        &mut self,
        assembler: &mut Assembler,
        first: bool,
        backoff: &mut Backoff,
    ) -> PipelineError {
        match self.read(assembler, first, backoff).await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    async fn read(
        &mut self,
        assembler: &mut Assembler,
        first: bool,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, PipelineError> {
        if !first {
            // The server behind the address may be another one now.
            self.check_position(assembler).await?;
        }
        let mut stream =
            EventStream::open(&self.endpoint, &self.options, DumpFrom::Gtid(&self.gtids)).await?;
        failpoint::reach(Point::ProducerConnected)
            .await
            .map_err(SourceError::Lost)?;
        backoff.connected(Instant::now());
        self.progress.source_lost(None);
        loop {
            while let Some(event) = stream.try_next()? {
                let message = assembler.push(&event.header, event.body, event.file, event.end);
                let message = match message {
                    Ok(message) => message,
                    Err(error) => return Err(undamaged(&mut stream, error).await),
                };
                if let Some(message) = message {
                    self.hand_on(message, &mut stream).await?;
                }
                if assembler.awaits_large() {
                    self.large(assembler, &mut stream).await?;
                }
            }
            self.fill(&mut stream).await?;
        }
    }

    /// Waits for more from the source; what was gathered goes out meanwhile.
    async fn fill(&mut self, stream: &mut EventStream) -> Result<(), PipelineError> {
        if !self.queue.gathers() {
            return Ok(stream.fill().await?);
        }
        let fill = stream.fill();
        tokio::pin!(fill);
        if let Poll::Ready(filled) = futures_util::poll!(fill.as_mut()) {
            return Ok(filled?);
        }
        self.queue.flush().await?;
        Ok(fill.await?)
    }

    /// Queues the event that was read last, in the memory that it was read into.
    async fn large(
        &mut self,
        assembler: &mut Assembler,
        stream: &mut EventStream,
    ) -> Result<(), PipelineError> {
        let event = stream.take();
        let at = stream.position();
        if let Some(message) = assembler.large(event, &at.file, at.offset) {
            self.hand_on(message, stream).await?;
        }
        Ok(())
    }

    /// Queues what was made of the stream's events. A transaction's end is queued once all of the
    /// transaction is known to be as the source wrote it.
    async fn hand_on(
        &mut self,
        message: Message,
        stream: &mut EventStream,
    ) -> Result<(), PipelineError> {
        let ends = match &message {
            Message::Chunk(chunk) => chunk.last,
            Message::Prepared(_) => true,
            Message::CaughtUp { .. } => false,
        };
        if ends {
            stream.verify().await?;
        }
        let unverified = stream.is_unverified();
        if unverified {
            self.unverified.store(true, Ordering::Release);
        }
        match self.queue(message).await {
            Err(PipelineError::QueueClosed) => {
                Err(undamaged(stream, PipelineError::QueueClosed).await)
            }
            Err(error) => Err(error),
            Ok(()) => {
                if !unverified {
                    self.unverified.store(false, Ordering::Release);
                }
                Ok(())
            }
        }
    }

    async fn queue(&mut self, message: Message) -> Result<(), PipelineError> {
        if let Message::Chunk(chunk) = &message {
            let bytes = chunk.events.len() as u64;
            failpoint::reach(Point::ProducerBeforeQueue)
                .await
                .map_err(SourceError::Lost)?;
            self.pace.free().await;
            self.pace.passed(bytes);
            self.progress.read(bytes);
            self.inside = (!chunk.last).then(|| chunk.gtid.clone());
            if chunk.last {
                self.gtids.add(&chunk.gtid);
                if let Some(ended) = &chunk.ends {
                    self.gtids.add(ended);
                }
            }
        }
        let inside = matches!(&message, Message::Chunk(chunk) if !chunk.last);
        self.queue.send(message).await?;
        if inside {
            failpoint::reach(Point::ProducerInside)
                .await
                .map_err(SourceError::Lost)?;
        }
        self.progress.queued(self.queue.queued_bytes());
        Ok(())
    }

    async fn check_position(&mut self, assembler: &mut Assembler) -> Result<(), PipelineError> {
        let opts = crate::endpoint::sql_opts(&self.endpoint).map_err(PipelineError::Endpoint)?;
        let mut conn = crate::endpoint::connect(opts, self.endpoint.tls)
            .await
            .map_err(|error| SourceError::from_login(&self.endpoint, error))?;
        let facts = SourceFacts::read(&mut conn).await?;
        check_position(&self.gtids, &facts)?;
        let server_uuid = parse_server_uuid(&facts)?;
        if self.server_uuid != server_uuid {
            self.server_uuid = server_uuid;
            assembler.forget_position();
        }
        if *assembler.position() != Assembler::NOWHERE {
            anonymous::check_behind(&mut conn, assembler.position()).await?;
        }
        let _ = conn.disconnect().await;
        Ok(())
    }
}

/// An error of what came out of the stream, unless that was damaged on its way.
async fn undamaged(stream: &mut EventStream, error: impl Into<PipelineError>) -> PipelineError {
    match stream.damage().await {
        Some(damage) => damage.into(),
        None => error.into(),
    }
}
