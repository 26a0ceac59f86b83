//! Whether a data source answers: a TCP connection, and the greeting that a MySQL server sends
//! first. Never logs in, so it costs the server nothing but an aborted connect.
//!
//! Source: MySQL source documentation, `Protocol::HandshakeV10` and `ERR_Packet`.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a server may take to greet.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes of a greeting that are looked at: far more than any has.
const GREETING_BYTES_MAX: u64 = 4096;
/// `Protocol::HandshakeV10` begins so.
const PROTOCOL_V10: u8 = 10;
/// `ERR_Packet` begins so.
const ERR: u8 = 0xff;

/// The server's version, or what went wrong.
pub(crate) async fn probe(address: &str) -> Result<String, String> {
    match timeout(PROBE_TIMEOUT, greeting(address)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no greeting within {} s", PROBE_TIMEOUT.as_secs())),
    }
}

async fn greeting(address: &str) -> Result<String, String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let mut stream = stream.take(GREETING_BYTES_MAX);
    let mut header = [0; 4];
    let broken = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "closed the connection without a greeting".to_owned(),
        _ => error.to_string(),
    };
    stream.read_exact(&mut header).await.map_err(broken)?;
    let [low, middle, high, _sequence] = header;
    let length = usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16;
    let mut payload = vec![0; length.min(GREETING_BYTES_MAX as usize - header.len())];
    stream.read_exact(&mut payload).await.map_err(broken)?;
    version(&payload)
}

fn version(payload: &[u8]) -> Result<String, String> {
    match payload.split_first() {
        Some((&PROTOCOL_V10, rest)) => {
            let end = rest.iter().position(|byte| *byte == 0);
            let version = end.and_then(|end| rest.get(..end)).unwrap_or_default();
            let version = printable(version);
            if version.is_empty() {
                return Err("greets, but not as MySQL does".to_owned());
            }
            Ok(version)
        }
        // Before the handshake there is no SQL state: number, then text.
        Some((&ERR, rest)) => Err(format!(
            "refuses connections: {}",
            printable(rest.get(2..).unwrap_or_default())
        )),
        _ => Err("greets, but not as MySQL does".to_owned()),
    }
}

fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|char| !char.is_control())
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn greeted(bytes: &'static [u8]) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(bytes).await.unwrap();
        });
        probe(&address).await
    }

    #[tokio::test]
    async fn greetings() {
        let greeting = b"\x0a\0\0\0\x0a9.7.0\0\x01\0\0\0";
        assert_eq!(greeted(greeting).await, Ok("9.7.0".to_owned()));
        let blocked = b"\x12\0\0\0\xff\x69\x04Host is blocked";
        let blocked = greeted(blocked).await.unwrap_err();
        assert!(
            blocked.starts_with("refuses connections: Host"),
            "{blocked}"
        );
        for strange in [
            &b"\x04\0\0\0HTTP"[..],
            b"\0\0\0\0",
            b"\x02\0\0\0\x0a\0",
            b"\x03\0\0\0\x0a1.0",
        ] {
            assert!(greeted(strange).await.is_err(), "{strange:?}");
        }
        let closed = greeted(b"\xff\xff\xff\0\x0a").await.unwrap_err();
        assert!(closed.contains("closed"), "{closed}");
        assert!(greeted(b"").await.is_err());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        assert!(probe(&address).await.is_err());
    }
}
