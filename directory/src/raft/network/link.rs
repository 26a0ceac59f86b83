//! The bytes between two members: TCP, and TLS in which both show a certificate that the peers'
//! authority has signed. A member's certificate names its number: `3.member.towpath` (or
//! `*.member.towpath`, one for all). Who dials demands the name of the member that it means; who
//! accepts keeps which numbers the other one may speak for.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::server::Connected;

use crate::wire::splice::Seen;

/// Most connections from peers at once: a member has three from each of four others.
const CONNECTIONS_MAX: usize = 64;
/// Most connections at once that have not proven themselves yet; and from one address, so that one
/// stranger leaves room for members. One who has as many addresses as there are places doesn't.
const GREETINGS_MAX: usize = 256;
const GREETINGS_PER_ADDRESS_MAX: usize = 16;
/// Longest time for a connection and its TLS handshake.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(2);
/// Greeting of HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The numbers that a member can have.
pub(crate) const IDS: std::ops::RangeInclusive<u8> = 1..=126;

/// The name in the certificate of member `id`.
fn name(id: u64) -> Result<ServerName<'static>, io::Error> {
    ServerName::try_from(format!("{id}.member.towpath")).map_err(io::Error::other)
}

/// The members for which the one at the other end may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proven(u128);

impl Proven {
    /// Without certificates nothing is proven, and all is believed.
    const ANYONE: Self = Self(u128::MAX);

    fn by(certificate: &CertificateDer<'_>) -> Self {
        let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
            return Self(0);
        };
        let named = |id: &u8| {
            name(u64::from(*id)).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        };
        Self(IDS.filter(named).fold(0, |all, id| all | 1 << id))
    }

    pub(super) fn is(self, id: u64) -> bool {
        u8::try_from(id).is_ok_and(|id| IDS.contains(&id) && self.0 >> id & 1 == 1)
    }
}

/// The cable between a member and all of its peers, to be pulled in tests and drills: while it's
/// out, no byte gets through either way, and nobody is told so.
#[derive(Clone, Debug, Default)]
pub struct Cable(Arc<Plug>);

#[derive(Debug, Default)]
struct Plug {
    is_out: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Cable {
    /// Cuts the member off.
    pub fn pull(&self) {
        self.0.is_out.store(true, Ordering::SeqCst);
    }

    /// Ends it.
    pub fn plug_in(&self) {
        self.0.is_out.store(false, Ordering::SeqCst);
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        waiting.drain(..).for_each(Waker::wake);
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.0.is_out.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !self.0.is_out.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection between two members.
pub(super) struct Link {
    io: Box<dyn Io>,
    /// What has been read ahead, backwards.
    ahead: Vec<u8>,
    cable: Cable,
    proven: Proven,
    /// This end's member stops.
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The place among [`CONNECTIONS_MAX`], of one that was accepted.
    _place: Option<OwnedSemaphorePermit>,
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if self.cable.poll(cx).is_pending() {
            return Poll::Pending;
        }
        if !self.ahead.is_empty() {
            while out.remaining() > 0
                && let Some(byte) = self.ahead.pop()
            {
                out.put_slice(&[byte]);
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, out)
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cable.poll(cx).is_pending() {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cable.poll(cx).is_pending() {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Connected for Link {
    type ConnectInfo = Proven;

    fn connect_info(&self) -> Proven {
        self.proven
    }
}

/// Dials one member.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) target: u64,
    pub(super) address: String,
    pub(super) tls: Option<TlsConnector>,
    pub(super) cable: Cable,
    pub(super) seen: Seen,
}

impl Dial {
    pub(super) async fn connect(self) -> io::Result<Link> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let address = stream.peer_addr()?;
        let io: Box<dyn Io> = match self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let connected = tls.connect(name(self.target)?, stream).await;
                let whose = self.target.to_string();
                Box::new(connected.map_err(|error| unproven(error, &whose))?)
            }
        };
        self.seen.note(self.target, address);
        Ok(Link {
            io,
            ahead: Vec::new(),
            cable: self.cable,
            proven: Proven::ANYONE,
            stopped: Box::pin(std::future::pending()),
            _place: None,
        })
    }
}

/// Accepts peers, and hands over those that have shown a certificate which is good, until nobody
/// takes them any more. All of them end once `stop` is true, or its sender is gone.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    cable: Cable,
    stop: watch::Receiver<bool>,
    accepted: mpsc::Sender<io::Result<Link>>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let greetings = Greetings::default();
    loop {
        let taken = tokio::select! {
            taken = listener.accept() => taken,
            () = accepted.closed() => return,
        };
        let (stream, peer) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(%error, "a member's connection could not be accepted; is the limit of open files too low?");
                // Without file descriptors every attempt fails at once: don't spin.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(greeted) = greetings.begin(peer.ip()) else {
            tracing::warn!(%peer, "too many connections to the peer port that say nothing; refused one");
            continue;
        };
        let places = places.clone();
        let (tls, cable, accepted) = (tls.clone(), cable.clone(), accepted.clone());
        let mut stop = stop.clone();
        tokio::spawn(async move {
            let greeting = tokio::time::timeout(HANDSHAKE, greet(stream, tls));
            let (io, proven) = match greeting.await {
                Ok(Ok(greeted)) => greeted,
                Ok(Err(error)) => {
                    tracing::warn!(%peer, %error, "refused a connection to the peer port");
                    return;
                }
                Err(_) => {
                    tracing::warn!(%peer, "a connection to the peer port said nothing in time");
                    return;
                }
            };
            drop(greeted);
            let Ok(place) = places.try_acquire_owned() else {
                tracing::warn!(%peer, "too many connections of members; refused one");
                return;
            };
            let link = Link {
                io,
                ahead: PREFACE.iter().rev().copied().collect(),
                cable,
                proven,
                stopped: Box::pin(async move {
                    let _ = stop.wait_for(|stop| *stop).await;
                }),
                _place: Some(place),
            };
            let _ = accepted.send(Ok(link)).await;
        });
    }
}

/// Those that have not proven themselves yet, by address.
#[derive(Clone, Default)]
struct Greetings(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Greetings {
    /// A place for one more, if there's one; until it's dropped.
    fn begin(&self, address: IpAddr) -> Option<Greeting> {
        let address = address.to_canonical();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.values().sum::<usize>() >= GREETINGS_MAX {
            return None;
        }
        let same = all.entry(address).or_default();
        if *same >= GREETINGS_PER_ADDRESS_MAX {
            return None;
        }
        *same += 1;
        Some(Greeting {
            all: self.clone(),
            address,
        })
    }
}

struct Greeting {
    all: Greetings,
    address: IpAddr,
}

impl Drop for Greeting {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = all.get_mut(&self.address) {
            *same = same.saturating_sub(1);
            if *same == 0 {
                all.remove(&self.address);
            }
        }
    }
}

/// An error of TLS; where it lies in the certificate that the other end has shown, with what it
/// should show.
fn unproven(error: io::Error, whose: &str) -> io::Error {
    let reason = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<rustls::Error>());
    match reason {
        Some(rustls::Error::InvalidCertificate(_)) => {
            let what = format!(
                "{error}; give that Server, with --peer-cert and --peer-key, a certificate for the DNS \
                 name {whose}.member.towpath that the authority of this one's --peer-ca has signed"
            );
            io::Error::new(io::ErrorKind::PermissionDenied, what)
        }
        _ => error,
    }
}

/// Who speaks, once it speaks HTTP/2.
async fn greet(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<(Box<dyn Io>, Proven)> {
    stream.set_nodelay(true)?;
    let (mut io, proven): (Box<dyn Io>, _) = match tls {
        None => (Box::new(stream), Proven::ANYONE),
        Some(tls) => {
            let accepted = tls.accept(stream).await;
            let stream = accepted.map_err(|error| unproven(error, "N"))?;
            let chain = stream.get_ref().1.peer_certificates();
            let proven = chain
                .and_then(<[_]>::first)
                .map_or(Proven(0), |shown| Proven::by(shown));
            if proven == Proven(0) {
                let what =
                    "its certificate names no member: it needs the DNS name N.member.towpath";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
            }
            (Box::new(stream), proven)
        }
    };
    let mut greeting = [0; PREFACE.len()];
    io.read_exact(&mut greeting).await?;
    if greeting != *PREFACE {
        let what = "it doesn't speak HTTP/2";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok((io, proven))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_places_to_others() {
        let address = |last: usize| IpAddr::from([10, 0, 0, u8::try_from(last).unwrap()]);
        let all = Greetings::default();
        let many = || std::iter::from_fn(|| all.begin(address(1)));
        let first: Vec<_> = many().take(1000).collect();
        assert_eq!(first.len(), GREETINGS_PER_ADDRESS_MAX);
        let other = all.begin(address(2));
        assert!(other.is_some());
        drop(first);
        assert_eq!(many().take(1000).count(), 1000, "each place is given back");
        let from = |last| std::iter::from_fn(move || Some(last));
        let crowd = (3..200).flat_map(|last| from(last).take(GREETINGS_PER_ADDRESS_MAX));
        let crowd: Vec<_> = crowd.map_while(|last| all.begin(address(last))).collect();
        assert_eq!(crowd.len(), GREETINGS_MAX - 1);
        drop((crowd, other));
        assert!(all.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_certificate_speaks_for_whom_it_names() {
        let proven = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            Proven::by(params.self_signed(&key).unwrap().der())
        };
        let third = proven("3.member.towpath");
        assert_eq!(third, Proven(1 << 3));
        assert!(third.is(3) && !third.is(2) && !third.is(0) && !third.is(300));
        let all = proven("*.member.towpath");
        assert!(all.is(1) && all.is(126) && !all.is(0) && !all.is(127));
        for other in ["member.towpath", "core.role.towpath", "03.member.towpath"] {
            assert_eq!(proven(other), Proven(0), "{other}");
        }
    }
}
