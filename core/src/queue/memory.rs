//! The in-process queue: a channel whose capacity is counted in bytes.
//!
//! Invariant: the cost of all messages sent and not yet received is at most the bound, except that
//! a single message larger than the bound travels alone. Of messages larger than [`LARGE_BYTES`]
//! there is one at a time, in the queue or with whoever took it: the next message is not even read
//! before its [`Lease`] ends.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::batch::Message;

/// Bytes per permit: a semaphore counts in 32 bits, a queue's bound may be larger.
const PERMIT_BYTES: u64 = 1024;

/// What takes more memory than this is applied before anything else is read: an event, its
/// statement and what is being read would add up.
pub const LARGE_BYTES: usize = 8 * 1024 * 1024;

/// Held while a large message takes memory.
#[derive(Debug)]
pub struct Lease {
    _ends: oneshot::Sender<()>,
}

impl Lease {
    /// A lease, and what answers when it has ended.
    pub fn new() -> (Self, oneshot::Receiver<()>) {
        let (ends, end) = oneshot::channel();
        (Self { _ends: ends }, end)
    }
}

/// What travels.
struct Queued {
    message: Message,
    _permit: OwnedSemaphorePermit,
    lease: Option<Lease>,
}

/// The other end is gone.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the queue's other end is closed")]
pub struct Closed;

/// The producer's end.
pub struct Sender {
    messages: mpsc::UnboundedSender<Queued>,
    permits: Arc<Semaphore>,
    permits_max: u32,
}

/// The consumer's end.
pub struct Receiver {
    messages: mpsc::UnboundedReceiver<Queued>,
}

/// A queue that holds at most `bytes_max` bytes of messages.
pub fn memory(bytes_max: u64) -> (Sender, Receiver) {
    let permits_max = u32::try_from((bytes_max / PERMIT_BYTES).max(1)).unwrap_or(u32::MAX >> 4);
    let (sender, receiver) = mpsc::unbounded_channel();
    (
        Sender {
            messages: sender,
            permits: Arc::new(Semaphore::new(permits_max as usize)),
            permits_max,
        },
        Receiver { messages: receiver },
    )
}

impl Sender {
    /// Queues a message, waiting while the queue is full; a large one also until its lease has
    /// ended.
    ///
    /// # Errors
    /// [`Closed`] when the consumer is gone.
    pub async fn send(&self, message: Message) -> Result<(), Closed> {
        let wanted = (message.cost_bytes() as u64).div_ceil(PERMIT_BYTES);
        let wanted = u32::try_from(wanted)
            .unwrap_or(u32::MAX)
            .min(self.permits_max);
        let permit = tokio::select! {
            permit = Arc::clone(&self.permits).acquire_many_owned(wanted) => permit.map_err(|_| Closed)?,
            () = self.messages.closed() => return Err(Closed),
        };
        let mut ended = None;
        let lease = (message.cost_bytes() > LARGE_BYTES).then(|| {
            let (lease, end) = Lease::new();
            ended = Some(end);
            lease
        });
        let queued = Queued {
            message,
            _permit: permit,
            lease,
        };
        self.messages.send(queued).map_err(|_| Closed)?;
        if let Some(ended) = ended {
            // It ends by being dropped.
            let _ = ended.await;
        }
        Ok(())
    }

    /// Bytes queued now, rounded up to whole KiB per message.
    pub fn queued_bytes(&self) -> u64 {
        (self.permits_max as u64 - self.permits.available_permits() as u64) * PERMIT_BYTES
    }
}

impl Receiver {
    /// The next message, with a lease if it is large; `None` when the producer is gone and the
    /// queue is empty.
    pub async fn recv(&mut self) -> Option<(Message, Option<Lease>)> {
        let queued = self.messages.recv().await?;
        Some((queued.message, queued.lease))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use towpath_protocol::gtid::{Gtid, GtidOrigin};
    use towpath_protocol::position::BinlogPosition;

    use super::*;
    use crate::batch::Chunk;

    fn message(bytes: usize) -> Message {
        Message::Chunk(Chunk {
            ord: 1,
            gtid: Gtid {
                origin: GtidOrigin {
                    uuid: uuid::Uuid::nil(),
                    tag: String::new(),
                },
                number: 1,
            },
            commit_time_us: 0,
            part: 0,
            last: true,
            ends: None,
            events: Bytes::from(vec![0; bytes]),
            after: BinlogPosition {
                file: "binlog.000001".into(),
                offset: 4,
            },
        })
    }

    #[tokio::test]
    async fn a_full_queue_stops_the_producer_until_the_consumer_takes() {
        let (sender, mut receiver) = memory(64 * 1024);
        for _ in 0..2 {
            sender.send(message(30 * 1024)).await.unwrap();
        }
        let third = sender.send(message(30 * 1024));
        tokio::pin!(third);
        assert!(
            futures_poll(&mut third).await.is_none(),
            "the third message must not fit"
        );
        receiver.recv().await.unwrap();
        third.await.unwrap();
    }

    #[tokio::test]
    async fn a_message_over_the_bound_travels_alone() {
        let (sender, mut receiver) = memory(64 * 1024);
        sender.send(message(1024 * 1024)).await.unwrap();
        let next = sender.send(message(1));
        tokio::pin!(next);
        assert!(futures_poll(&mut next).await.is_none());
        receiver.recv().await.unwrap();
        next.await.unwrap();
    }

    #[tokio::test]
    async fn behind_a_large_message_nothing_is_read_until_its_memory_is_free() {
        let (sender, mut receiver) = memory(1024 * 1024 * 1024);
        let large = sender.send(message(LARGE_BYTES + 1));
        tokio::pin!(large);
        assert!(futures_poll(&mut large).await.is_none());
        let (message, lease) = receiver.recv().await.unwrap();
        drop(message);
        assert!(
            futures_poll(&mut large).await.is_none(),
            "the lease is held"
        );
        drop(lease);
        large.await.unwrap();
    }

    #[tokio::test]
    async fn a_waiting_producer_learns_that_the_consumer_is_gone() {
        let (sender, receiver) = memory(64 * 1024);
        sender.send(message(63 * 1024)).await.unwrap();
        let waiting = tokio::spawn(async move { sender.send(message(63 * 1024)).await });
        drop(receiver);
        assert_eq!(waiting.await.unwrap(), Err(Closed));
    }

    /// Polls once: `Some` if it is ready now.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
