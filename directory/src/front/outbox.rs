//! What waits to be written to one connection. Answers and watch events go through the same one,
//! in the order in which they came about.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use tokio::sync::Notify;

/// Most memory that a connection keeps for its next answers.
const KEPT_BYTES_MAX: usize = 16 << 10;

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
        let fits = self.put(bytes_max, put);
        self.work.notify_one();
        fits
    }

    /// Likewise, for who calls [`Self::wake`] soon.
    pub(super) fn put(&self, bytes_max: usize, put: impl FnOnce(&mut BytesMut)) -> bool {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        put(&mut bytes);
        bytes.len() <= bytes_max
    }

    /// There are bytes to write, and there is room for further requests.
    pub(super) fn wake(&self) {
        self.work.notify_one();
        self.room.notify_one();
    }

    /// The connection ends once what waits is written.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.work.notify_one();
        self.end.notify_one();
    }

    /// Waits for bytes to write, and puts them into `taken`, whose memory is used for the next
    /// ones. False once the connection shall end and all is taken.
    pub async fn take(&self, taken: &mut BytesMut) -> bool {
        match taken.capacity() {
            0..=KEPT_BYTES_MAX => taken.clear(),
            _ => *taken = BytesMut::new(),
        }
        loop {
            let closing = self.closing.load(Ordering::Acquire);
            std::mem::swap(
                &mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner),
                taken,
            );
            if !taken.is_empty() {
                return true;
            }
            if closing {
                return false;
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
