//! A client that sends exactly the bytes that a test wants.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use towpath_directory::wire::jute::{JuteWrite as _, Reader};
use towpath_directory::{Config, Directory};

/// Longest wait for anything: long enough for a loaded machine, short enough to be told.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory on a free port, in a directory of its own.
pub(crate) async fn directory(dir: &std::path::Path) -> Directory {
    Directory::start(Config::new(dir)).await.unwrap()
}

pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    pub(crate) session: i64,
    pub(crate) password: Vec<u8>,
    pub(crate) timeout_ms: i32,
}

/// One answer or event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) xid: i32,
    pub(crate) zxid: i64,
    pub(crate) error: i32,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn connect_record(
    last_zxid: i64,
    timeout_ms: i32,
    session: i64,
    password: &[u8],
) -> BytesMut {
    let mut out = BytesMut::new();
    out.int(0);
    out.long(last_zxid);
    out.int(timeout_ms);
    out.long(session);
    out.buffer(Some(password));
    out.boolean(false);
    framed(&out)
}

pub(crate) fn framed(body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.buffer(Some(body));
    out
}

pub(crate) fn request(xid: i32, opcode: i32, body: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    out.int(xid);
    out.int(opcode);
    body(&mut out);
    framed(&out)
}

pub(crate) fn create(xid: i32, path: &str, flags: i32) -> BytesMut {
    request(xid, 1, |out| {
        out.ustring(path);
        out.buffer(Some(b""));
        out.count(1);
        out.int(31);
        out.ustring("world");
        out.ustring("anyone");
        out.int(flags);
    })
}

pub(crate) fn set(xid: i32, path: &str, data: &[u8]) -> BytesMut {
    request(xid, 5, |out| {
        out.ustring(path);
        out.buffer(Some(data));
        out.int(-1);
    })
}

pub(crate) fn get(xid: i32, path: &str, watch: bool) -> BytesMut {
    request(xid, 4, |out| {
        out.ustring(path);
        out.boolean(watch);
    })
}

impl Raw {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::resume(address, 0, 5000, 0, &[0; 16]).await.unwrap()
    }

    /// `None` if the server closed the connection instead of answering.
    pub(crate) async fn resume(
        address: SocketAddr,
        last_zxid: i64,
        timeout_ms: i32,
        session: i64,
        password: &[u8],
    ) -> Option<Self> {
        let mut raw = Self {
            stream: TcpStream::connect(address).await.ok()?,
            session: 0,
            password: vec![],
            timeout_ms: 0,
        };
        let record = connect_record(last_zxid, timeout_ms, session, password);
        if !raw.try_send(&record).await {
            return None;
        }
        raw.connected().await.then_some(raw)
    }

    pub(crate) async fn connected(&mut self) -> bool {
        let Some(frame) = self.frame().await else {
            return false;
        };
        let mut r = Reader::new(&frame);
        r.i32().unwrap();
        self.timeout_ms = r.i32().unwrap();
        self.session = r.i64().unwrap();
        self.password = r.buffer().unwrap().unwrap().to_vec();
        assert_eq!(r.bool(), Ok(false));
        true
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// False if the connection has ended.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn frame(&mut self) -> Option<Vec<u8>> {
        let read = async {
            let len = self.stream.read_i32().await.ok()?;
            let mut frame = vec![0; len as usize];
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(frame)
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("the server answers or closes")
    }

    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        let frame = self.frame().await?;
        let mut r = Reader::new(&frame);
        Some(Reply {
            xid: r.i32().unwrap(),
            zxid: r.i64().unwrap(),
            error: r.i32().unwrap(),
            body: r.rest().to_vec(),
        })
    }

    pub(crate) async fn call(&mut self, request: &[u8]) -> Reply {
        self.send(request).await;
        self.reply().await.expect("the connection is open")
    }
}

/// Kind and path of a watch event.
pub(crate) fn event(reply: &Reply) -> (i32, String) {
    assert_eq!(reply.xid, -1, "{reply:?} is an event");
    let mut r = Reader::new(&reply.body);
    let kind = r.i32().unwrap();
    assert_eq!(r.i32(), Ok(3));
    (kind, r.string().unwrap().to_owned())
}
