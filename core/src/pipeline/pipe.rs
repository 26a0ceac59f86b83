//! The two ends of what lies between producer and consumer: in one process a bounded channel, between
//! processes a log. Both carry the same messages; what a log has besides ([`Taken`]) comes of its
//! having several producers, one after the other, and an end that may be lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use towpath_protocol::gtid::{Gtid, GtidSet};
use tracing::warn;

use super::authority::Confirmed;
use super::error::PipelineError;
use super::progress::Progress;
use crate::batch::Message;
use crate::queue::inlet::{Inlet, Place, Received};
use crate::queue::outlet::Outlet;
use crate::queue::rabbitmq::LinkState;
use crate::queue::store::{Log, LogReader, LogWriter};
use crate::queue::{LARGE_BYTES, Lease, QueueError, Receiver, Sender};

/// The producer's end.
pub(super) enum Sending {
    Memory(Sender),
    Log(Box<Publishing>),
}

/// Into a log.
pub(super) struct Publishing {
    pub(super) outlet: Outlet<LogWriter>,
    /// Whether the right to write is confirmed now: nobody but the readers could judge a message.
    pub(super) confirmed: Confirmed,
    pub(super) progress: Arc<Progress>,
}

impl Sending {
    /// Hands a message on, and waits while the queue is full.
    pub(super) async fn send(&mut self, message: Message) -> Result<(), PipelineError> {
        match self {
            Self::Memory(sender) => sender
                .send(message)
                .await
                .map_err(|_closed| PipelineError::QueueClosed),
            Self::Log(log) => log.send(message).await,
        }
    }

    /// Whether something may wait for [`Sending::flush`].
    pub(super) fn gathers(&self) -> bool {
        matches!(self, Self::Log(_))
    }

    /// The source has nothing more at this moment.
    pub(super) async fn flush(&mut self) -> Result<(), PipelineError> {
        let Self::Log(log) = self else {
            return Ok(());
        };
        log.confirmed().await?;
        Ok(log.outlet.flush().await.map_err(QueueError::from)?)
    }

    pub(super) fn queued_bytes(&self) -> u64 {
        match self {
            Self::Memory(sender) => sender.queued_bytes(),
            Self::Log(log) => log.outlet.writer().pending_bytes(),
        }
    }
}

impl Publishing {
    async fn send(&mut self, message: Message) -> Result<(), PipelineError> {
        self.confirmed().await?;
        self.outlet.send(&message).await.map_err(QueueError::from)?;
        match &message {
            Message::Chunk(chunk) => {
                self.progress.caught_up(false);
                if chunk.last {
                    let mut gtids: GtidSet = std::iter::once(chunk.gtid.clone()).collect();
                    gtids.extend(chunk.ends.clone());
                    let (after, time_us) = (Some(&chunk.after), Some(chunk.commit_time_us));
                    self.progress.committed(1, 0, &gtids, after, time_us, 0);
                }
            }
            Message::CaughtUp { .. } => self.progress.caught_up(true),
            Message::Prepared(_) => {}
        }
        Ok(())
    }

    /// Waits until the directory confirms that we still lead.
    async fn confirmed(&mut self) -> Result<(), PipelineError> {
        if *self.confirmed.borrow() {
            return Ok(());
        }
        self.progress.waiting(true);
        let confirmed = self.confirmed.wait_for(|confirmed| *confirmed).await;
        self.progress.waiting(false);
        let is_over = |_closed| PipelineError::NotElected {
            detail: "this Core has left the election".to_owned(),
        };
        confirmed.map(drop).map_err(is_over)
    }
}

/// What comes out of the consumer's end.
pub(super) enum Taken {
    /// The next of the source's changes; with a lease if it is large.
    Message(Message, Option<Lease>),
    /// Reading may begin here, once all that came before it is committed.
    Open(Place),
    /// The rest of this transaction won't come.
    RollBack(Gtid),
    /// The log doesn't have these transactions.
    Missing(GtidSet),
    /// Nothing came for so long that nobody knows whether the source has something newer.
    Silent,
    /// The producer ended, and all that it sent was taken.
    Closed,
}

/// The consumer's end.
pub(super) enum Receiving {
    Memory(Receiver),
    Log(Box<Subscribing>),
}

/// Out of a log.
pub(super) struct Subscribing {
    inlet: Inlet<LogReader>,
    link: Option<watch::Receiver<LinkState>>,
    /// Until the large message that was taken last is applied.
    large: Option<oneshot::Receiver<()>>,
    /// The transaction of which parts were taken, but not its end.
    inside: Option<Gtid>,
    /// An idle source says so this often; who is silent for longer may be gone.
    silence_max: Duration,
    silent_at: Option<Instant>,
}

impl Subscribing {
    /// Reads `log` for a sink that holds `held`.
    pub(super) fn new(
        log: &Log,
        held: GtidSet,
        place: Option<Place>,
        silence_max: Duration,
    ) -> Self {
        let reader = log.reader();
        Self {
            link: reader.state(),
            inlet: Inlet::new(reader, log.uuid, held, place),
            large: None,
            inside: None,
            silence_max,
            silent_at: None,
        }
    }

    /// What others see of its connection.
    pub(super) fn link(&self) -> Option<watch::Receiver<LinkState>> {
        self.link.clone()
    }

    /// Whether it can go on for a sink that holds `held`: whatever was taken of it is there.
    pub(super) fn goes_on_for(&self, held: &GtidSet) -> bool {
        self.inside.is_none() && self.inlet.held() == held
    }

    async fn recv(&mut self) -> Result<Taken, QueueError> {
        if let Some(large) = &mut self.large {
            // It ends by being dropped.
            let _ = large.await;
            self.large = None;
        }
        let received = match self.silent_at {
            None => self.inlet.recv().await?,
            Some(at) => match timeout_at(at, self.inlet.recv()).await {
                Ok(received) => received?,
                Err(_elapsed) => {
                    self.silent_at = None;
                    return Ok(Taken::Silent);
                }
            },
        };
        self.silent_at = Some(Instant::now() + self.silence_max);
        Ok(match received {
            Received::Message(message) => {
                if let Message::Chunk(chunk) = &message {
                    self.inside = (!chunk.last).then(|| chunk.gtid.clone());
                }
                let lease = (message.cost_bytes() > LARGE_BYTES).then(|| {
                    let (lease, ends) = Lease::new();
                    self.large = Some(ends);
                    lease
                });
                Taken::Message(message, lease)
            }
            Received::Open(place) => Taken::Open(place),
            Received::RollBack(gtid) => {
                self.inside = None;
                Taken::RollBack(gtid)
            }
            Received::Missing(missing) => Taken::Missing(missing),
        })
    }

    /// Whether the producer gives up the transaction that came last: then nothing that was found in
    /// it was the source's word. It sends parts before it has seen the transaction's checksum.
    async fn is_given_up(&mut self, wait_max: Duration) -> bool {
        self.large = None;
        let end = async {
            while self.inside.is_some() {
                if let Taken::RollBack(_) = self.recv().await? {
                    return Ok(true);
                }
            }
            Ok::<_, QueueError>(false)
        };
        matches!(timeout(wait_max, end).await, Ok(Ok(true)))
    }
}

impl Receiving {
    /// What comes next. Cancelling it loses nothing.
    pub(super) async fn recv(&mut self) -> Result<Taken, PipelineError> {
        match self {
            Self::Memory(receiver) => Ok(match receiver.recv().await {
                Some((message, lease)) => Taken::Message(message, lease),
                None => Taken::Closed,
            }),
            Self::Log(log) => Ok(log.recv().await?),
        }
    }

    /// Whether a transaction that has begun may be taken back: by a log alone.
    pub(super) fn takes_back(&self) -> bool {
        matches!(self, Self::Log(_))
    }

    /// An error of the transaction that came last, unless that transaction turns out to be none.
    pub(super) async fn verified(
        &mut self,
        error: PipelineError,
        wait_max: Duration,
    ) -> PipelineError {
        let Self::Log(log) = self else {
            return error;
        };
        let Some(gtid) = log.inside.clone() else {
            return error;
        };
        warn!(%gtid, %error, "waiting for the end of a transaction, to see whether it is as the source wrote it");
        match log.is_given_up(wait_max).await {
            true => QueueError::RolledBack { gtid }.into(),
            false => error,
        }
    }
}
