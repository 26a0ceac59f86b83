//! Sockets: admission, TLS, framing. One task per connection reads and writes at the same time;
//! neither waits for the other, except that too many outstanding requests hold reading back.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::request::Connect;
use super::splice::Others;
use super::words;
use crate::config::{Limits, Timers};
use crate::front::{Front, Outbox};

/// Longest connect record: 44 bytes with a password of ours.
const CONNECT_BYTES_MAX: usize = 1024;
/// How long a client has to read what is left for it when its connection ends.
const FAREWELL: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 16 << 10;

/// What connections share.
#[derive(Clone)]
pub struct Listen {
    /// Where requests go.
    pub front: Arc<Front>,
    /// Certificates, if the port speaks TLS.
    pub tls: Option<TlsAcceptor>,
    /// Bounds.
    pub limits: Limits,
    /// Timeouts.
    pub timers: Timers,
    /// Other members, to which clients are passed on; none if there can't be any.
    pub others: Option<Others>,
}

impl std::fmt::Debug for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listen")
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// Why the server ended a connection.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Reading or writing failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The client didn't say in time what it wants.
    #[error("no connect record came in time")]
    Handshake,
    /// A frame's length is negative, or above its bound.
    #[error(
        "a frame of {0} bytes is longer than allowed; raise the limit on both sides if nodes must be that large"
    )]
    FrameLength(i64),
    /// The first record is none.
    #[error("the connect record is malformed")]
    Connect(#[from] super::jute::JuteError),
    /// This member can't take it.
    #[error(transparent)]
    Refused(#[from] crate::front::Refused),
}

/// Accepts clients until `stop` turns true; then ends their connections.
pub async fn run(listener: TcpListener, listen: Listen, mut stop: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    let admission = Arc::new(Admission::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = tasks.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted; is the limit of open files too low?");
                // Without file descriptors every attempt fails at once: don't spin.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let others = listen.others.as_ref();
        let is_member = others.is_some_and(|others| others.seen.contains(peer.ip()));
        let Some(ticket) = admission.admit(peer.ip(), is_member, &listen.limits) else {
            tracing::warn!(%peer, "too many connections; refused one");
            continue;
        };
        let listen = listen.clone();
        let stop = stop.clone();
        tasks.spawn(async move {
            let _ticket = ticket;
            if let Err(ended) = accept(stream, peer, &listen, stop).await {
                match ended {
                    Ended::Io(error) => tracing::debug!(%peer, %error, "connection failed"),
                    other => tracing::warn!(%peer, reason = %other, "connection closed"),
                }
            }
        });
    }
    drop(listener);
    listen.front.stop_serving();
    let _ = tokio::time::timeout(2 * FAREWELL, async {
        while tasks.join_next().await.is_some() {}
    })
    .await;
    tasks.shutdown().await;
}

async fn accept(
    stream: TcpStream,
    peer: SocketAddr,
    listen: &Listen,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Ended> {
    stream.set_nodelay(true)?;
    let stream = match &listen.others {
        Some(others) if !listen.front.is_serving() => {
            let patience = listen.timers.leader;
            let passed = others.pass_on(stream, &listen.front, listen.tls.is_some(), patience);
            tokio::select! {
                passed = passed => match passed? {
                    Some(stream) => stream,
                    None => return Ok(()),
                },
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            }
        }
        _ => stream,
    };
    match &listen.tls {
        None => connection(stream, peer, listen).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(listen.timers.handshake, acceptor.accept(stream));
            let stream = handshake.await.map_err(|_| Ended::Handshake)??;
            let chain = stream.get_ref().1.peer_certificates();
            let shown = chain.and_then(<[_]>::first).cloned();
            serve(stream, peer, shown, listen).await
        }
    }
}

/// Serves one client from its first byte on, whatever carries the bytes, until it or the front
/// ends it. Requests that reached the front are decided, even if their answers are not written.
///
/// # Errors
/// [`Ended`]; the client has been told nothing of it.
pub async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    listen: &Listen,
) -> Result<(), Ended> {
    serve(stream, peer, None, listen).await
}

/// As [`connection`], of a client that has shown this certificate.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    shown: Option<CertificateDer<'static>>,
    listen: &Listen,
) -> Result<(), Ended> {
    let mut first = [0; 4];
    let handshake = async {
        stream.read_exact(&mut first).await?;
        let mut status = listen.front.status();
        status.follows = listen.others.as_ref().is_some_and(Others::follows);
        if let Some(text) = words::answer(first, &status) {
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
            return Ok(None);
        }
        let len = i64::from(i32::from_be_bytes(first));
        let mut record = vec![
            0;
            usize::try_from(len)
                .ok()
                .filter(|len| *len <= CONNECT_BYTES_MAX)
                .ok_or(Ended::FrameLength(len))?
        ];
        stream.read_exact(&mut record).await?;
        Ok::<_, Ended>(Some(Connect::decode(&record)?))
    };
    let record = tokio::time::timeout(listen.timers.handshake, handshake)
        .await
        .map_err(|_| Ended::Handshake)??;
    let Some(record) = record else { return Ok(()) };
    let (id, outbox) = listen.front.connect(peer, &record)?;
    let _guard = Disconnect {
        front: &listen.front,
        id,
    };
    if let Some(certificate) = &shown {
        listen.front.vouch(id, certificate);
    }
    let (input, output) = tokio::io::split(stream);
    let reading = async {
        tokio::select! {
            read = requests(input, id, &outbox, listen) => read,
            () = outbox.ended() => Ok(()),
        }
    };
    // Reading ends first or together with writing: then what is left is written.
    let mut writing = std::pin::pin!(answers(output, &outbox));
    tokio::select! {
        read = reading => {
            listen.front.disconnect(id);
            let _ = tokio::time::timeout(FAREWELL, writing).await;
            read
        }
        written = &mut writing => written.map_err(Ended::from),
    }
}

/// Ends the connection's entry in the front however its task ends.
struct Disconnect<'a> {
    front: &'a Front,
    id: u64,
}

impl Drop for Disconnect<'_> {
    fn drop(&mut self) {
        self.front.disconnect(self.id);
    }
}

async fn requests(
    mut input: impl AsyncRead + Unpin,
    id: u64,
    outbox: &Outbox,
    listen: &Listen,
) -> Result<(), Ended> {
    if !listen.front.opened(id, outbox).await {
        return Ok(());
    }
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        while let Some(frame) = next_frame(&mut buffer, listen.limits.frame_bytes_max)? {
            match listen.front.submit(id, &frame) {
                Ok(false) => {}
                Ok(true) => listen.front.room(id, outbox).await,
                Err(_) => return Ok(()),
            }
        }
        buffer.reserve(READ_BYTES);
        if input.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

fn next_frame(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, Ended> {
    let Some(head) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = i32::from_be_bytes(*head);
    let len = match usize::try_from(len) {
        Ok(len) if len <= bytes_max => len,
        _ => return Err(Ended::FrameLength(i64::from(len))),
    };
    if buffer.len() < 4 + len {
        buffer.reserve(4 + len - buffer.len());
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(len).freeze()))
}

async fn answers(mut output: impl AsyncWrite + Unpin, outbox: &Outbox) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    while outbox.take(&mut bytes).await {
        output.write_all(&bytes).await?;
        output.flush().await?;
    }
    output.shutdown().await
}

/// Who is connected, by address.
#[derive(Debug, Default)]
struct Admission {
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Admission {
    /// One more connection; those that a member passes on have been counted at its own port.
    fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        is_member: bool,
        limits: &Limits,
    ) -> Option<Ticket> {
        let mut by_address = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let total: usize = by_address.values().sum();
        let here = by_address.get(&address).copied().unwrap_or_default();
        let crowded = here >= limits.connections_per_address_max && !is_member;
        if total >= limits.connections_max || crowded {
            return None;
        }
        by_address.insert(address, here + 1);
        Some(Ticket {
            admission: self.clone(),
            address,
        })
    }
}

struct Ticket {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut by_address = self
            .admission
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_whole_half_and_too_long() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 2, 7, 8, 0, 0, 0][..]);
        assert_eq!(next_frame(&mut buffer, 10).unwrap().unwrap(), &[7, 8][..]);
        assert!(next_frame(&mut buffer, 10).unwrap().is_none());
        buffer.extend_from_slice(&[11]);
        assert!(next_frame(&mut buffer, 10).is_err());
        assert!(next_frame(&mut BytesMut::from(&[0xff, 0, 0, 0][..]), 10).is_err());
    }

    #[test]
    fn admission_per_address() {
        let admission = Arc::new(Admission::default());
        let limits = Limits {
            connections_max: 2,
            connections_per_address_max: 1,
            ..Limits::default()
        };
        let [a, b, c] = [1, 2, 3].map(|last| IpAddr::from([127, 0, 0, last]));
        let first = admission.admit(a, false, &limits);
        assert!(first.is_some() && admission.admit(a, false, &limits).is_none());
        let second = admission.admit(a, true, &limits);
        assert!(
            second.is_some(),
            "a member isn't held to the limit of one client"
        );
        assert!(admission.admit(b, false, &limits).is_none());
        assert!(admission.admit(c, true, &limits).is_none());
        drop(first);
        assert!(admission.admit(c, false, &limits).is_some());
    }
}
