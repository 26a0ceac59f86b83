//! The in-process queue: a channel whose capacity is counted in bytes.
//!
//! Invariant: the cost of all messages sent and not yet received is at most the bound, except that a
//! single message larger than the bound travels alone.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::batch::Message;

/// Bytes per permit: a semaphore counts in 32 bits, a queue's bound may be larger.
const PERMIT_BYTES: u64 = 1024;

/// The other end is gone.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the queue's other end is closed")]
pub struct Closed;

/// The producer's end.
pub struct Sender {
    messages: mpsc::UnboundedSender<(Message, OwnedSemaphorePermit)>,
    permits: Arc<Semaphore>,
    permits_max: u32,
}

/// The consumer's end.
pub struct Receiver {
    messages: mpsc::UnboundedReceiver<(Message, OwnedSemaphorePermit)>,
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
    /// Queues a message, waiting while the queue is full.
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
        self.messages.send((message, permit)).map_err(|_| Closed)
    }

    /// Bytes queued now, rounded up to whole KiB per message.
    pub fn queued_bytes(&self) -> u64 {
        (self.permits_max as u64 - self.permits.available_permits() as u64) * PERMIT_BYTES
    }
}

impl Receiver {
    /// The next message; `None` when the producer is gone and the queue is empty.
    pub async fn recv(&mut self) -> Option<Message> {
        self.messages.recv().await.map(|(message, _permit)| message)
    }

    /// The next message if one is queued already.
    pub fn try_recv(&mut self) -> Option<Message> {
        self.messages
            .try_recv()
            .ok()
            .map(|(message, _permit)| message)
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
