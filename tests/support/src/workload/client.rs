//! One connection to the directory, with a session of its own. It asks one thing at a time, and
//! never again by itself: whoever asks must know what was sent.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::wire::{self, Garbled, Told};
use crate::linear::nodes::{Answer, Call};

/// Longer answers are no answers: the load's own are below 300 bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why there's no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection was lost, or nothing came in time.
    Lost,
    /// An error that doesn't say whether it happened.
    Other(i32),
    /// What came is not of this protocol.
    Garbled(String),
}

impl From<Garbled> for Fault {
    fn from(Garbled(what): Garbled) -> Self {
        Self::Garbled(what)
    }
}

/// A connection with a session.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    timeout: Duration,
    xid: i32,
}

impl Client {
    /// Connects and opens a session.
    pub(super) async fn connect(
        address: SocketAddr,
        session_timeout: Duration,
        answer_timeout: Duration,
    ) -> Result<Self> {
        let connected = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut client = Self {
                stream,
                timeout: answer_timeout,
                xid: 0,
            };
            let first = wire::connect(session_timeout);
            let body = client.exchange(&first).await;
            match body.map(|body| wire::is_connected(&body)) {
                Ok(Ok(true)) => Ok(client),
                other => bail!("no session: {other:?}"),
            }
        };
        timeout(answer_timeout, connected).await?
    }

    /// Makes a node that may be there already.
    pub(super) async fn make_parent(&mut self, path: &str) -> Result<()> {
        self.xid += 1;
        let request = wire::create_parent(self.xid, path);
        let told = match self.exchange(&request).await {
            Ok(body) => wire::error(&body),
            Err(fault) => bail!("making {path}: {fault:?}"),
        };
        let is_there = told.as_ref().is_ok_and(|error| wire::is_there(*error));
        ensure!(is_there, "making {path}: {told:?}");
        Ok(())
    }

    /// Asks. After an error the connection is of no more use.
    pub(super) async fn ask(
        &mut self,
        call: &Call,
        path: impl Fn(usize) -> String,
    ) -> Result<Answer, Fault> {
        self.xid += 1;
        let request = wire::request(self.xid, call, path);
        let body = self.exchange(&request).await?;
        match wire::answer(self.xid, call, &body)? {
            Told::Answer(answer) => Ok(answer),
            Told::Other(error) => Err(Fault::Other(error)),
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, Fault> {
        let stream = &mut self.stream;
        let exchanged = async {
            stream.write_all(request).await?;
            let len = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
            if len > ANSWER_BYTES_MAX {
                return Ok(Err(Fault::Garbled(format!("an answer of {len} bytes"))));
            }
            let mut body = vec![0; len];
            stream.read_exact(&mut body).await?;
            Ok(Ok(body))
        };
        match timeout(self.timeout, exchanged).await {
            Ok(Ok(exchanged)) => exchanged,
            Ok(Err(lost)) => {
                let _: std::io::Error = lost;
                Err(Fault::Lost)
            }
            Err(_elapsed) => Err(Fault::Lost),
        }
    }
}
