//! One connection to a source that speaks MySQL's protocol: opened, encrypted, logged in, and able
//! to send a command, run a statement and read one row.
//!
//! It exists for the dump; all other SQL goes through mysql_async. Every wait has a bound. It
//! never reconnects by itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use towpath_protocol::spec::Endpoint;

use super::error::{SourceError, from_server};
use super::handshake::{self, Greeting};
use super::packet::{PacketReader, write_packet};

/// Bound on opening the TCP connection, name lookup included: a firewall that drops packets
/// would otherwise hold us for minutes.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bound on each answer during login and session setup. MySQL's own `connect_timeout` is 10 s.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest text answer to a statement of ours, in packets: a row with its columns.
const ANSWER_PACKETS_MAX: usize = 256;

/// The bytes' way: in plain text or by TLS.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A logged-in connection.
#[derive(Debug)]
pub(super) struct SourceConnection {
    /// None only while TLS is being negotiated, or after that failed.
    transport: Option<Transport>,
    pub(super) reader: PacketReader,
    user: String,
    greeting: Option<Greeting>,
}

impl SourceConnection {
    /// Connects and logs in.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self, SourceError> {
        let host = endpoint.host.trim_start_matches('[').trim_end_matches(']');
        let connecting = TcpStream::connect((host, endpoint.port));
        let address = || format!("{}:{}", endpoint.host, endpoint.port);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| SourceError::Timeout {
                doing: "connecting",
                after: CONNECT_TIMEOUT,
            })?
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|cause| SourceError::Connect {
                address: address(),
                cause,
            })?;
        let mut conn = Self {
            transport: Some(Transport::Plain(stream)),
            reader: PacketReader::new(),
            user: endpoint.user.clone(),
            greeting: None,
        };
        let greeting = handshake::log_in(&mut conn, endpoint).await?;
        tracing::debug!(
            address = address(),
            version = greeting.server_version,
            connection_id = greeting.connection_id,
            tls = matches!(conn.transport, Some(Transport::Tls(_))),
            "logged in to the source"
        );
        conn.greeting = Some(greeting);
        Ok(conn)
    }

    /// The server's version as it gives it, such as `9.7.4` or `10.11.6-MariaDB-log`.
    pub(super) fn server_version(&self) -> &str {
        self.greeting
            .as_ref()
            .map_or("", |greeting| &greeting.server_version)
    }

    /// The server's id for this connection, as in SHOW PROCESSLIST.
    pub(super) fn connection_id(&self) -> u32 {
        self.greeting
            .as_ref()
            .map_or(0, |greeting| greeting.connection_id)
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.transport, Some(Transport::Tls(_)))
    }

    /// Puts TLS around the open connection.
    pub(super) async fn upgrade(
        &mut self,
        encrypt: impl AsyncFnOnce(TcpStream) -> Result<TlsStream<TcpStream>, SourceError>,
        doing: &'static str,
    ) -> Result<(), SourceError> {
        let Some(Transport::Plain(stream)) = self.transport.take() else {
            return Err(SourceError::Closed);
        };
        let encrypted = tokio::time::timeout(ANSWER_TIMEOUT, encrypt(stream))
            .await
            .map_err(|_| SourceError::Timeout {
                doing,
                after: ANSWER_TIMEOUT,
            })??;
        self.transport = Some(Transport::Tls(Box::new(encrypted)));
        Ok(())
    }

    /// Sends a command: a new exchange, whose packets are numbered from 0.
    pub(super) async fn command(
        &mut self,
        payload: &[u8],
        doing: &'static str,
    ) -> Result<(), SourceError> {
        self.reader.expect(0);
        self.send(payload, doing).await
    }

    /// Sends the next packet of an exchange.
    pub(super) async fn send(
        &mut self,
        payload: &[u8],
        doing: &'static str,
    ) -> Result<(), SourceError> {
        let sequence = self.reader.sequence();
        let transport = self.transport.as_mut().ok_or(SourceError::Closed)?;
        let next = tokio::time::timeout(ANSWER_TIMEOUT, write_packet(transport, sequence, payload))
            .await
            .map_err(|_| SourceError::Timeout {
                doing,
                after: ANSWER_TIMEOUT,
            })??;
        self.reader.expect(next);
        Ok(())
    }

    /// The next packet's payload.
    pub(super) async fn receive(&mut self, doing: &'static str) -> Result<&[u8], SourceError> {
        loop {
            if let Some(range) = self.reader.next_buffered()? {
                return Ok(self.reader.bytes(range));
            }
            if !self.fill(ANSWER_TIMEOUT).await? {
                return Err(SourceError::Timeout {
                    doing,
                    after: ANSWER_TIMEOUT,
                });
            }
        }
    }

    /// Reads more bytes; false if none came within `patience`. Cancelling it loses nothing.
    pub(super) async fn fill(&mut self, patience: Duration) -> Result<bool, SourceError> {
        let transport = self.transport.as_mut().ok_or(SourceError::Closed)?;
        match tokio::time::timeout(patience, self.reader.fill(transport)).await {
            Ok(outcome) => outcome.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Runs a statement that returns no rows.
    pub(super) async fn execute(
        &mut self,
        statement: &str,
        doing: &'static str,
    ) -> Result<(), SourceError> {
        self.command(&query(statement), doing).await?;
        self.expect_ok(doing).await
    }

    /// Reads an OK packet.
    pub(super) async fn expect_ok(&mut self, doing: &'static str) -> Result<(), SourceError> {
        let packet = self.receive(doing).await?;
        match packet.first() {
            Some(0x00) => Ok(()),
            Some(0xff) => {
                let packet = packet.to_vec();
                Err(self.server_error(doing, &packet))
            }
            _ => Err(SourceError::Protocol {
                doing,
                what: "neither OK nor an error".to_owned(),
            }),
        }
    }

    /// Runs a statement that returns one row of one column, and returns it as text; None for NULL
    /// or no row (text protocol, MySQL internals, "COM_QUERY Response").
    pub(super) async fn query_value(
        &mut self,
        statement: &str,
        doing: &'static str,
    ) -> Result<Option<String>, SourceError> {
        let odd = |what: &str| SourceError::Protocol {
            doing,
            what: what.to_owned(),
        };
        self.command(&query(statement), doing).await?;
        let mut value = None;
        // Column count, column, EOF, rows, EOF.
        let mut ends = 0;
        for index in 0..ANSWER_PACKETS_MAX {
            let packet = self.receive(doing).await?;
            match packet {
                [0xff, ..] => {
                    let packet = packet.to_vec();
                    return Err(self.server_error(doing, &packet));
                }
                [0x00, ..] if index == 0 => return Ok(None),
                [0xfe, ..] if packet.len() < 9 => {
                    ends += 1;
                    if ends == 2 {
                        return Ok(value);
                    }
                }
                [0xfb, ..] if ends == 1 => {}
                [len, text @ ..] if ends == 1 => {
                    let text = text.get(..usize::from(*len)).filter(|_| *len < 0xfb);
                    let text = text.ok_or_else(|| odd("a row that can't be read"))?;
                    value = Some(String::from_utf8_lossy(text).into_owned());
                }
                _ => {}
            }
        }
        Err(odd("an answer without an end"))
    }

    /// An ERR packet as an error (MySQL internals, "ERR_Packet").
    pub(super) fn server_error(&self, doing: &'static str, packet: &[u8]) -> SourceError {
        let Some(([_, code @ ..], rest)) = packet.split_first_chunk::<3>() else {
            return SourceError::Protocol {
                doing,
                what: "an error that is cut short".to_owned(),
            };
        };
        let (state, message) = match rest.split_first_chunk::<6>() {
            Some(([b'#', state @ ..], message)) => (state.as_slice(), message),
            _ => (&b""[..], rest),
        };
        from_server(
            doing,
            &self.user,
            self.greeting.is_some(),
            u16::from_le_bytes(*code),
            &String::from_utf8_lossy(state),
            String::from_utf8_lossy(message).into_owned(),
        )
    }
}

/// COM_QUERY.
fn query(statement: &str) -> Vec<u8> {
    let mut payload = Vec::with_capacity(1 + statement.len());
    payload.push(0x03);
    payload.extend_from_slice(statement.as_bytes());
    payload
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
