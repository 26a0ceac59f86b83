//! Connections, from the first byte to the last answer: four-letter words, the connect record,
//! framing, requests, the log and what is applied of it, watches, answers. No socket: the bytes
//! come from memory, and the log is a queue.
//!
//! The first byte says how the rest is to be taken. Bit 0: as chunks that are framed here, behind
//! a connect record (else: bytes as they are). Bit 1: two connections at once, each with half of
//! the bytes. Bit 2: few bytes at a time.
//!
//! Nothing panics or hangs, answers decode and come in the order of the requests, a connection
//! that broke no rule gets all of them, and the tree stays whole.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc::UnboundedReceiver;
use towpath_directory::front::{Front, Proposal};
use towpath_directory::roles::Access;
use towpath_directory::state::batch::Batch;
use towpath_directory::wire::jute::JuteWrite as _;
use towpath_directory::wire::listen::{self, Listen};
use towpath_directory::{Limits, Timers};

use crate::{answer, chunk, whole};

const FRAMED: u8 = 1;
const TWO: u8 = 2;
const SLOWLY: u8 = 4;
/// Times that a connection may be looked at without anything having come of it.
const IDLE_MAX: usize = 100_000;

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
}

/// Serves the connections that `data` describes.
pub fn check(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else {
        return;
    };
    let halves = if mode & TWO == 0 {
        vec![rest]
    } else {
        vec![&rest[..rest.len() / 2], &rest[rest.len() / 2..]]
    };
    let inputs: Vec<Vec<u8>> = halves
        .into_iter()
        .map(|half| {
            if mode & FRAMED == 0 {
                half.to_vec()
            } else {
                framed(half)
            }
        })
        .collect();
    let step = if mode & SLOWLY == 0 { usize::MAX } else { 3 };
    let limits = Limits::default();
    let access = Access {
        super_digest: Some("super:x".into()),
        roles: None,
    };
    let (front, proposals) = Front::new(1, Timers::default(), limits, access);
    front.begin_serving(None);
    let outputs = RUNTIME.with(|runtime| runtime.block_on(serve(&front, proposals, &inputs, step)));
    for (input, output) in inputs.iter().zip(&outputs) {
        answer::check(input, output, limits.frame_bytes_max);
    }
    let status = front.status();
    assert_eq!(
        (status.connections, status.watches, status.outstanding),
        (0, 0, 0),
        "{status:?}"
    );
    whole::check(&front.view());
}

/// A connect record, and each chunk as a frame.
pub fn framed(mut chunks: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut record = BytesMut::new();
    record.int(0);
    record.long(0);
    record.int(5000);
    record.long(0);
    record.buffer(Some(&[0; 16]));
    record.boolean(false);
    out.buffer(Some(&record));
    while let Some(body) = chunk(&mut chunks) {
        out.buffer(Some(body));
    }
    out.to_vec()
}

async fn serve(
    front: &Arc<Front>,
    mut proposals: UnboundedReceiver<Proposal>,
    inputs: &[Vec<u8>],
    step: usize,
) -> Vec<Vec<u8>> {
    let listen = Listen {
        front: front.clone(),
        tls: None,
        limits: Limits::default(),
        timers: Timers::default(),
        others: None,
    };
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let mut outputs = vec![Vec::new(); inputs.len()];
    let mut connections: VecDeque<_> = inputs
        .iter()
        .zip(&mut outputs)
        .map(|(input, output)| {
            let pipe = Pipe {
                front,
                input,
                output,
                step,
                idle: 0,
            };
            Box::pin(listen::connection(pipe, peer, &listen))
        })
        .collect();
    let mut batch = Batch::default();
    std::future::poll_fn(|context| {
        // By turns, so that what they do is a function of the bytes.
        for _ in 0..connections.len() {
            let Some(mut connection) = connections.pop_front() else {
                break;
            };
            if connection.as_mut().poll(context).is_pending() {
                connections.push_back(connection);
            }
        }
        // The log: what one turn proposed is committed after it.
        while let Ok(proposal) = proposals.try_recv() {
            batch.push(&proposal.command);
            front.apply(&batch.take());
        }
        if connections.is_empty() {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    drop(connections);
    outputs
}

/// The client's end: gives its bytes, then waits until nothing is outstanding, then ends.
struct Pipe<'a> {
    front: &'a Front,
    input: &'a [u8],
    output: &'a mut Vec<u8>,
    step: usize,
    idle: usize,
}

impl AsyncRead for Pipe<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.input.len().min(self.step).min(buffer.remaining());
        let (now, later) = self.input.split_at(len);
        self.input = later;
        buffer.put_slice(now);
        if len > 0 {
            return Poll::Ready(Ok(()));
        }
        // Once more even if nothing is: what was just answered may be on its way.
        self.idle += 1;
        assert!(self.idle < IDLE_MAX, "a request is never applied");
        if self.idle > 3 && self.front.status().outstanding == 0 {
            return Poll::Ready(Ok(()));
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for Pipe<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
