//! What waits to be written to one connection. Answers and watch events go through the same one,
//! in the order in which they came about.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use tokio::sync::Notify;

/// The bytes for one connection, and whether it shall end.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Mutex<BytesMut>,
    closing: AtomicBool,
    /// Something to write, or the end.
    work: Notify,
    /// The end, for who waits for nothing else.
    end: Notify,
    /// The connection has fewer outstanding requests again.
    pub(super) room: Notify,
}

impl Outbox {
    /// Adds what `put` writes. False if more than `bytes_max` wait: the client doesn't read.
    pub(super) fn push(&self, bytes_max: usize, put: impl FnOnce(&mut BytesMut)) -> bool {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        put(&mut bytes);
        let fits = bytes.len() <= bytes_max;
        drop(bytes);
        self.work.notify_one();
        fits
    }

    /// The connection ends once what waits is written.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.work.notify_one();
        self.end.notify_one();
    }

    /// Waits for bytes to write; `None` once the connection shall end and all is taken.
    pub async fn take(&self) -> Option<BytesMut> {
        loop {
            let closing = self.closing.load(Ordering::Acquire);
            let bytes =
                std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner));
            if !bytes.is_empty() {
                return Some(bytes);
            }
            if closing {
                return None;
            }
            self.work.notified().await;
        }
    }

    /// Waits until the connection shall end.
    pub async fn ended(&self) {
        while !self.closing.load(Ordering::Acquire) {
            self.end.notified().await;
        }
    }
}
