//! One connection to a server of the ZooKeeper protocol, one request at a time. Source of the
//! layouts: `zookeeper.jute` of ZooKeeper 3.8.

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const CLOSE: i32 = -11;
/// Code of the answer to a create of what is there already.
const NODE_EXISTS: i32 = -110;
const SESSION_TIMEOUT_MS: i32 = 30_000;
/// Longest answer to what is asked here.
const ANSWER_BYTES_MAX: usize = 4096;

/// A session with a connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    xid: i32,
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// The first record of a connection that wants a new session, framed.
pub(crate) fn connect_record() -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&0_i32.to_be_bytes());
    out.extend_from_slice(&0_i64.to_be_bytes());
    out.extend_from_slice(&SESSION_TIMEOUT_MS.to_be_bytes());
    out.extend_from_slice(&0_i64.to_be_bytes());
    put_bytes(&mut out, &[0; 16]);
    out.push(0);
    frame(&mut out);
    out
}

/// The session's id from the answer to the connect record, without its length.
pub(crate) fn session(answer: &[u8]) -> Option<i64> {
    answer
        .get(8..16)?
        .first_chunk()
        .map(|bytes| i64::from_be_bytes(*bytes))
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn frame(out: &mut [u8]) {
    let len = (out.len() as i32 - 4).to_be_bytes();
    if let Some(place) = out.first_chunk_mut() {
        *place = len;
    }
}

impl Client {
    /// A new session.
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            xid: 0,
            request: connect_record(),
            answer: vec![0; ANSWER_BYTES_MAX],
        };
        let answer = client.exchange().await?;
        ensure!(
            session(answer).is_some_and(|id| id != 0),
            "the server opened no session"
        );
        Ok(client)
    }

    /// Creates a persistent node that everyone may use; one that is there stays as it is.
    pub(crate) async fn create(&mut self, path: &str, data: &[u8]) -> Result<()> {
        self.begin(CREATE);
        put_bytes(&mut self.request, path.as_bytes());
        put_bytes(&mut self.request, data);
        self.request.extend_from_slice(&1_i32.to_be_bytes());
        self.request.extend_from_slice(&31_i32.to_be_bytes());
        put_bytes(&mut self.request, b"world");
        put_bytes(&mut self.request, b"anyone");
        self.request.extend_from_slice(&0_i32.to_be_bytes());
        match self.call().await? {
            0 | NODE_EXISTS => Ok(()),
            code => bail!("creating {path}: code {code}"),
        }
    }

    /// Sets a node's data, whatever its version.
    pub(crate) async fn set(&mut self, path: &str, data: &[u8]) -> Result<()> {
        self.begin(SET_DATA);
        put_bytes(&mut self.request, path.as_bytes());
        put_bytes(&mut self.request, data);
        self.request.extend_from_slice(&(-1_i32).to_be_bytes());
        let code = self.call().await?;
        ensure!(code == 0, "setting {path}: code {code}");
        Ok(())
    }

    /// Reads a node's data, and throws it away.
    pub(crate) async fn get(&mut self, path: &str) -> Result<()> {
        self.begin(GET_DATA);
        put_bytes(&mut self.request, path.as_bytes());
        self.request.push(0);
        let code = self.call().await?;
        ensure!(code == 0, "reading {path}: code {code}");
        Ok(())
    }

    /// Ends the session, so that it doesn't expire in the middle of a later phase.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.begin(CLOSE);
        self.call().await.map(drop)
    }

    fn begin(&mut self, opcode: i32) {
        self.xid = self.xid.wrapping_add(1) & i32::MAX;
        self.request.clear();
        self.request.extend_from_slice(&[0; 4]);
        self.request.extend_from_slice(&self.xid.to_be_bytes());
        self.request.extend_from_slice(&opcode.to_be_bytes());
    }

    /// Sends the request and returns the code of its answer.
    async fn call(&mut self) -> Result<i32> {
        frame(&mut self.request);
        let xid = self.xid;
        let answer = self.exchange().await?;
        let int = |at: usize| {
            answer
                .get(at..at + 4)
                .and_then(|bytes| bytes.first_chunk())
                .map(|bytes| i32::from_be_bytes(*bytes))
        };
        ensure!(int(0) == Some(xid), "an answer to another request");
        int(12).context("an answer without a code")
    }

    /// Sends what is in `request`, and returns the frame that comes back. In most cases that's one
    /// write and one read.
    async fn exchange(&mut self) -> Result<&[u8]> {
        self.stream.write_all(&self.request).await?;
        let mut have = 0;
        loop {
            let read = match self.answer.get_mut(have..) {
                Some(free) if !free.is_empty() => self.stream.read(free).await?,
                _ => bail!("an answer longer than {ANSWER_BYTES_MAX} bytes"),
            };
            ensure!(read > 0, "the server closed the connection");
            have += read;
            let Some(head) = self.answer.first_chunk::<4>().filter(|_| have >= 4) else {
                continue;
            };
            let end = 4 + usize::try_from(i32::from_be_bytes(*head))?;
            if have >= end {
                ensure!(have == end, "more than one answer to one request");
                return self.answer.get(4..end).context("an answer cut short");
            }
        }
    }
}
