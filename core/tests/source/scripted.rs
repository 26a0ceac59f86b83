//! Logins against a scripted peer: plugins that MySQL 9.7 has no more, and peers that don't keep
//! to the protocol.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use towpath_core::source::{DumpFrom, EventStream, SourceError};
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::TlsMode;

use crate::support::{endpoint, options};

/// Of mysql_common's vectors: this password with this nonce gives this scramble.
const PASSWORD: &str = "G!ider27";
const NONCE: &[u8; 20] = b"N3HP:qIYa_ad=?dx{`\x00\x00";
const NATIVE_NONCE: [u8; 20] = [
    0x4e, 0x52, 0x33, 0x48, 0x50, 0x3a, 0x71, 0x49, 0x59, 0x61, 0x5f, 0x39, 0x3d, 0x64, 0x62, 0x3f,
    0x53, 0x64, 0x7b, 0x60,
];
const NATIVE_SCRAMBLE: [u8; 20] = [
    0x09, 0xcf, 0xf8, 0x85, 0x5e, 0x9e, 0x70, 0x53, 0x40, 0xff, 0x22, 0x70, 0xd8, 0xfb, 0x9f, 0xad,
    0xba, 0x90, 0x6b, 0x70,
];
const OK: [u8; 7] = [0, 0, 0, 2, 0, 0, 0];

/// As MySQL 5.7 greets, whose capabilities these are; `tls` is CLIENT_SSL.
fn greeting(plugin: &str, nonce: &[u8; 20], tls: bool) -> Vec<u8> {
    let capabilities: u32 = 0xc1ff_f7ff | if tls { 0x0800 } else { 0 };
    let mut packet = b"\x0a5.7.44-log\0\x07\0\0\0".to_vec();
    packet.extend_from_slice(&nonce[..8]);
    packet.push(0);
    packet.extend_from_slice(&(capabilities as u16).to_le_bytes());
    packet.extend_from_slice(&[8, 2, 0]);
    packet.extend_from_slice(&((capabilities >> 16) as u16).to_le_bytes());
    packet.push(21);
    packet.extend_from_slice(&[0; 10]);
    packet.extend_from_slice(&nonce[8..]);
    packet.push(0);
    packet.extend_from_slice(plugin.as_bytes());
    packet.push(0);
    packet
}

struct Peer(TcpStream);

impl Peer {
    async fn send(&mut self, sequence: u8, payload: &[u8]) {
        let mut packet = (payload.len() as u32).to_le_bytes();
        packet[3] = sequence;
        self.0.write_all(&packet).await.unwrap();
        self.0.write_all(payload).await.unwrap();
    }

    async fn receive(&mut self) -> Vec<u8> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header).await.unwrap();
        header[3] = 0;
        let mut payload = vec![0; u32::from_le_bytes(header) as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        payload
    }

    /// Everything after the login: answers each command with OK, the dump with an error.
    async fn refuse_the_dump(&mut self) {
        loop {
            let command = self.receive().await;
            match command[0] {
                0x03 if command.starts_with(b"\x03SELECT") => {
                    self.send(1, &[1]).await;
                    self.send(
                        2,
                        b"\x03def\0\0\0\x01x\0\x0c\x2d\0\xff\xff\0\0\xfd\0\0\0\0\0",
                    )
                    .await;
                    self.send(3, b"\xfe\0\0\x02\0").await;
                    self.send(4, b"\x05CRC32").await;
                    self.send(5, b"\xfe\0\0\x02\0").await;
                }
                0x12 | 0x1e => {
                    self.send(1, b"\xff\xd4\x04#HY000Could not find first log file name in binary log index file").await;
                    return;
                }
                _ => self.send(1, &OK).await,
            }
        }
    }
}

/// Logs in at a peer that plays `script`; returns how that ended.
async fn play<F>(tls: TlsMode, script: impl FnOnce(Peer) -> F + Send + 'static) -> SourceError
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = endpoint(listener.local_addr().unwrap().port(), "repl", PASSWORD, tls);
    let peer = tokio::spawn(async move { script(Peer(listener.accept().await.unwrap().0)).await });
    let from = GtidSet::new();
    let error = match EventStream::open(&endpoint, &options(), DumpFrom::Gtid(&from)).await {
        Ok(mut stream) => stream.next().await.map(|event| event.end).unwrap_err(),
        Err(error) => error,
    };
    peer.await.unwrap();
    error
}

#[tokio::test]
async fn mysql_native_password_from_the_greeting() {
    let error = play(TlsMode::Disabled, async |mut peer: Peer| {
        peer.send(0, &greeting("mysql_native_password", &NATIVE_NONCE, false))
            .await;
        let answer = peer.receive().await;
        assert!(answer.windows(20).any(|bytes| bytes == NATIVE_SCRAMBLE));
        assert!(
            answer
                .windows(22)
                .any(|bytes| bytes == b"mysql_native_password\0")
        );
        peer.send(2, &OK).await;
        peer.refuse_the_dump().await;
    })
    .await;
    assert!(matches!(error, SourceError::NoSuchFile { .. }), "{error}");
}

#[tokio::test]
async fn a_switch_of_plugins_with_a_new_nonce() {
    let error = play(TlsMode::Preferred, async |mut peer: Peer| {
        peer.send(0, &greeting("caching_sha2_password", NONCE, false))
            .await;
        peer.receive().await;
        let mut switch = b"\xfemysql_native_password\0".to_vec();
        switch.extend_from_slice(&NATIVE_NONCE);
        switch.push(0);
        peer.send(2, &switch).await;
        assert_eq!(peer.receive().await, NATIVE_SCRAMBLE);
        peer.send(4, &OK).await;
        peer.refuse_the_dump().await;
    })
    .await;
    assert!(matches!(error, SourceError::NoSuchFile { .. }), "{error}");
}

#[tokio::test]
async fn a_plugin_that_we_do_not_speak_is_named() {
    let error = play(TlsMode::Disabled, async |mut peer: Peer| {
        peer.send(0, &greeting("caching_sha2_password", NONCE, false))
            .await;
        peer.receive().await;
        peer.send(2, b"\xfemysql_clear_password\0").await;
        // The password must not come.
        let mut rest = Vec::new();
        peer.0.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    })
    .await;
    assert!(
        matches!(&error, SourceError::UnknownPlugin { plugin, .. } if plugin == "mysql_clear_password"),
        "{error}"
    );
}

#[tokio::test]
async fn a_key_that_was_not_asked_for_gets_no_password() {
    let error = play(TlsMode::Disabled, async |mut peer: Peer| {
        peer.send(0, &greeting("caching_sha2_password", NONCE, false))
            .await;
        peer.receive().await;
        peer.send(2, b"\x01-----BEGIN PUBLIC KEY-----").await;
        let mut rest = Vec::new();
        peer.0.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    })
    .await;
    assert!(matches!(error, SourceError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn plain_text_in_place_of_tls_is_refused() {
    let error = play(TlsMode::Required, async |mut peer: Peer| {
        peer.send(0, &greeting("caching_sha2_password", NONCE, true))
            .await;
        // Answers to what was never asked, meant to be taken for encrypted ones.
        peer.send(2, &OK).await;
        let request = peer.receive().await;
        assert_eq!(request.len(), 32);
        let mut rest = Vec::new();
        let _ = peer.0.read_to_end(&mut rest).await;
        assert!(!rest.windows(8).any(|bytes| bytes == PASSWORD.as_bytes()));
    })
    .await;
    assert!(
        matches!(
            error,
            SourceError::Protocol { .. } | SourceError::Tls { .. }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_full_server_is_tried_again() {
    let error = play(TlsMode::Disabled, async |mut peer: Peer| {
        peer.send(0, b"\xff\x10\x04Too many connections").await;
    })
    .await;
    assert!(
        matches!(&error, SourceError::Server { code: 1040, message, .. } if message == "Too many connections"),
        "{error}"
    );
    assert_eq!(error.retry().0, towpath_core::source::Retry::Again);
}

#[tokio::test]
async fn an_authentication_without_end_is_cut_off() {
    let error = play(TlsMode::Disabled, async |mut peer: Peer| {
        peer.send(0, &greeting("caching_sha2_password", NONCE, false))
            .await;
        peer.receive().await;
        for sequence in 2..20 {
            peer.send(sequence, &[0x01, 0x03]).await;
        }
        let mut rest = Vec::new();
        let _ = peer.0.read_to_end(&mut rest).await;
    })
    .await;
    assert!(matches!(error, SourceError::Protocol { .. }), "{error}");
}
