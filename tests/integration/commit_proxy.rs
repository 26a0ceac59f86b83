//! A proxy before a sink that knows MySQL's packets and strikes at a COMMIT.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to the next packet that commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Strike {
    /// It passes.
    None = 0,
    /// It never arrives; the connection is cut.
    LoseCommit = 1,
    /// It arrives and is carried out; its answer is lost and the connection cut.
    LoseAnswer = 2,
    /// It arrives; the client's connection is cut at once, the server's stays open, so that the
    /// server goes on with it.
    LeaveInFlight = 3,
    /// A COMMIT of data alone never arrives; it is refused in the server's name, with a deadlock.
    Refuse = 4,
}

/// An ERR packet (ER_LOCK_DEADLOCK) that answers a command.
const REFUSAL: &[u8] = b"\x1e\0\0\x01\xff\xbd\x04#40001refused by the proxy!";

/// The proxy; dropping it ends it.
pub(crate) struct CommitProxy {
    port: u16,
    strike: Arc<AtomicU8>,
    task: JoinHandle<()>,
}

impl CommitProxy {
    /// Forwards to a port of 127.0.0.1.
    pub(crate) async fn start(server_port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let strike = Arc::new(AtomicU8::new(Strike::None as u8));
        let armed = Arc::clone(&strike);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let armed = Arc::clone(&armed);
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await
                    {
                        // Whatever ends it, both ends are closed.
                        let _ = forward(client, server, &armed).await;
                    }
                });
            }
        });
        Ok(Self { port, strike, task })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Strikes at the next commit, once.
    pub(crate) fn arm(&self, strike: Strike) {
        self.strike.store(strike as u8, Ordering::SeqCst);
    }

    /// Whether it has struck.
    pub(crate) fn has_struck(&self) -> bool {
        self.strike.load(Ordering::SeqCst) == Strike::None as u8
    }
}

impl Drop for CommitProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(client: TcpStream, server: TcpStream, strike: &AtomicU8) -> Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let stroke = loop {
        let stroke = tokio::select! {
            stroke = packets(&mut from_client, &mut to_server, strike) => stroke?,
            copied = tokio::io::copy(&mut from_server, &mut to_client) => {
                copied?;
                return Ok(());
            }
        };
        if stroke != Strike::Refuse {
            break stroke;
        }
        // The client has had all answers before it sends a command.
        to_client.write_all(REFUSAL).await?;
    };
    match stroke {
        Strike::LoseAnswer => {
            // The first byte of the answer comes after the commit.
            from_server.read_u8().await?;
        }
        Strike::LeaveInFlight => {
            drop((from_client, to_client));
            tokio::io::copy(&mut from_server, &mut tokio::io::sink()).await?;
        }
        Strike::LoseCommit | Strike::Refuse | Strike::None => {}
    }
    Ok(())
}

/// Forwards the client's packets until one is struck at, or the client is gone.
async fn packets(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    strike: &AtomicU8,
) -> Result<Strike> {
    let mut packet = Vec::new();
    loop {
        let mut header = [0; 4];
        from.read_exact(&mut header).await?;
        let [a, b, c, _sequence] = header;
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        packet.clear();
        packet.extend_from_slice(&header);
        packet.resize(4 + length, 0);
        from.read_exact(packet.get_mut(4..).unwrap_or_default())
            .await?;
        let of_data = packet.ends_with(b"\x03COMMIT");
        let refuses = strike.load(Ordering::SeqCst) == Strike::Refuse as u8;
        let mut stroke = Strike::None;
        if (refuses && of_data) || (!refuses && packet.ends_with(b"; COMMIT")) {
            stroke = match strike.swap(Strike::None as u8, Ordering::SeqCst) {
                1 => Strike::LoseCommit,
                2 => Strike::LoseAnswer,
                3 => Strike::LeaveInFlight,
                4 => Strike::Refuse,
                _ => Strike::None,
            };
        }
        if !matches!(stroke, Strike::LoseCommit | Strike::Refuse) {
            to.write_all(&packet).await?;
        }
        if stroke != Strike::None {
            return Ok(stroke);
        }
    }
}
