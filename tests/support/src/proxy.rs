//! A TCP proxy on loopback that misbehaves on command.
//!
//! Byte counts run from the moment of the command and over all connections, so that a test which
//! commands before it connects counts from the connection's first byte. Each cut and each flip
//! happens once.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Small enough that a cut or a stall meets a stream in the middle.
const CHUNK_BYTES: usize = 8 * 1024;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What the client sends.
    ToServer,
    /// What the server answers.
    ToClient,
}

/// The faults that are waiting for one direction's bytes.
#[derive(Debug, Default)]
struct Lane {
    passed_bytes: u64,
    cut_after_bytes: Option<u64>,
    flip_after_bytes: Option<u64>,
}

#[derive(Debug)]
struct State {
    to_server: Lane,
    to_client: Lane,
    connections: u64,
    server_port: u16,
    delay: Duration,
}

/// What running connections watch: a change of `epoch` ends them.
#[derive(Clone, Copy, Debug)]
struct Orders {
    epoch: u64,
    stalled: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    orders: watch::Sender<Orders>,
}

/// The proxy; dropping it ends it and its connections.
#[derive(Debug)]
pub struct TcpProxy {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl TcpProxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `server_port` of 127.0.0.1.
    ///
    /// # Errors
    /// When it can't listen.
    pub async fn start(server_port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let state = State {
            to_server: Lane::default(),
            to_client: Lane::default(),
            connections: 0,
            server_port,
            delay: Duration::ZERO,
        };
        let (orders, _) = watch::channel(Orders {
            epoch: 0,
            stalled: false,
        });
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            orders,
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, task })
    }

    /// Where clients connect, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections now; new ones are accepted.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Ends all connections after `bytes` more have passed in `direction`, once.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.shared.state().lane(direction).cut_after_bytes = Some(bytes);
    }

    /// Whether a cut that was ordered hasn't happened.
    #[must_use]
    pub fn cut_is_due(&self, direction: Direction) -> bool {
        let mut state = self.shared.state();
        state.lane(direction).cut_after_bytes.is_some()
    }

    /// Takes the order of [`TcpProxy::cut_after`] back.
    pub fn cut_no_more(&self, direction: Direction) {
        self.shared.state().lane(direction).cut_after_bytes = None;
    }

    /// Inverts the lowest bit of one byte, once, after `bytes` more have passed in `direction`.
    pub fn flip_byte(&self, direction: Direction, bytes: u64) {
        self.shared.state().lane(direction).flip_after_bytes = Some(bytes);
    }

    /// Forwards nothing more, on old and new connections alike, and closes none: what a lost
    /// route or a frozen machine looks like.
    pub fn stall(&self) {
        self.shared
            .orders
            .send_modify(|orders| orders.stalled = true);
    }

    /// Ends a stall and any delay; what was held back is forwarded.
    pub fn resume(&self) {
        self.shared.state().delay = Duration::ZERO;
        self.shared
            .orders
            .send_modify(|orders| orders.stalled = false);
    }

    /// Holds each piece of up to 8 KiB back for `delay`, in both directions.
    pub fn delay(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// Forwards new connections to another port.
    pub fn retarget(&self, server_port: u16) {
        self.shared.state().server_port = server_port;
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.state().connections
    }

    /// How many bytes passed in `direction` so far.
    #[must_use]
    pub fn passed_bytes(&self, direction: Direction) -> u64 {
        self.shared.state().lane(direction).passed_bytes
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.cut();
    }
}

impl State {
    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }
}

impl Lane {
    /// Lets `chunk` pass: damages it where ordered and says how much of it goes through, and
    /// whether the connections end then.
    fn pass(&mut self, chunk: &mut [u8]) -> (usize, bool) {
        let len = chunk.len() as u64;
        let (passing, cut) = match self.cut_after_bytes {
            Some(left) if left <= len => {
                self.cut_after_bytes = None;
                (left, true)
            }
            left => {
                self.cut_after_bytes = left.map(|left| left - len);
                (len, false)
            }
        };
        let flip = self
            .flip_after_bytes
            .and_then(|left| usize::try_from(left).ok());
        match flip.and_then(|offset| chunk.get_mut(offset)) {
            Some(byte) => {
                *byte ^= 1;
                self.flip_after_bytes = None;
            }
            None => self.flip_after_bytes = self.flip_after_bytes.map(|left| left - passing),
        }
        self.passed_bytes += passing;
        (usize::try_from(passing).unwrap_or(usize::MAX), cut)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        self.orders.send_modify(|orders| orders.epoch += 1);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let server_port = {
            let mut state = shared.state();
            state.connections += 1;
            state.server_port
        };
        let epoch = shared.orders.borrow().epoch;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // A server that is down shows as a connection that ends at once.
            if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await {
                let mut orders = shared.orders.subscribe();
                tokio::select! {
                    _ = forward(client, server, &shared) => {}
                    _ = orders.wait_for(|orders| orders.epoch != epoch) => {}
                }
            }
        });
    }
}

async fn forward(client: TcpStream, server: TcpStream, shared: &Shared) -> Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(
        pump(from_client, to_server, Direction::ToServer, shared),
        pump(from_server, to_client, Direction::ToClient, shared),
    )?;
    Ok(())
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: Direction,
    shared: &Shared,
) -> Result<()> {
    let mut orders = shared.orders.subscribe();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let n = from.read(&mut buffer).await?;
        // A stall may have begun during the read.
        orders
            .wait_for(|orders| !orders.stalled)
            .await
            .context("the proxy has ended")?;
        if n == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        let delay = shared.state().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let chunk = buffer.get_mut(..n).unwrap_or_default();
        let (passing, cut) = shared.state().lane(direction).pass(chunk);
        to.write_all(chunk.get(..passing).unwrap_or_default())
            .await?;
        if cut {
            to.flush().await?;
            shared.cut();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    /// A server that sends back what it gets.
    async fn echo() -> (TcpProxy, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = TcpProxy::start(listener.local_addr().unwrap().port())
            .await
            .unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))
            .await
            .unwrap();
        (proxy, client)
    }

    #[tokio::test]
    async fn cuts_at_the_byte() {
        let (proxy, mut client) = echo().await;
        proxy.cut_after(Direction::ToClient, 5);
        client.write_all(b"0123456789").await.unwrap();
        let mut got = Vec::new();
        let _ = client.read_to_end(&mut got).await;
        assert_eq!(got, b"01234");
        assert_eq!(proxy.passed_bytes(Direction::ToClient), 5);
        assert!(!proxy.cut_is_due(Direction::ToClient));
        proxy.cut_after(Direction::ToClient, 2);
        assert!(proxy.cut_is_due(Direction::ToClient));
        proxy.cut_no_more(Direction::ToClient);

        let mut next = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))
            .await
            .unwrap();
        next.write_all(b"whole").await.unwrap();
        next.shutdown().await.unwrap();
        let mut got = Vec::new();
        next.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"whole");
        assert_eq!(proxy.connections(), 2);
    }

    #[tokio::test]
    async fn flips_one_byte_once() {
        let (proxy, mut client) = echo().await;
        proxy.flip_byte(Direction::ToServer, 2);
        for expected in [b"ab`d", b"abad"] {
            client.write_all(b"abad").await.unwrap();
            let mut got = [0; 4];
            client.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, expected);
        }
    }

    #[tokio::test]
    async fn a_stall_is_silent_and_ends() {
        let (proxy, mut client) = echo().await;
        proxy.stall();
        client.write_all(b"x").await.unwrap();
        let mut got = [0];
        assert!(
            tokio::time::timeout(SHORT, client.read_exact(&mut got))
                .await
                .is_err()
        );
        proxy.resume();
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"x");
    }
}
