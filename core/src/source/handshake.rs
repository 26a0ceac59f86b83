//! The login: the server's greeting, TLS, our answer, authentication (MySQL internals,
//! "Connection Phase"; `sql/auth/sql_authentication.cc`).
//!
//! The server's steps are bounded in number and each in time; a step that the protocol doesn't
//! allow is an error, never a guess.

use std::collections::HashMap;

use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest,
};
use mysql_common::proto::MySerialize;
use towpath_protocol::spec::{Endpoint, TlsMode};

use super::auth::{self, NONCE_LEN, Plugin};
use super::connection::SourceConnection;
use super::error::SourceError;
use super::packet::PACKET_LEN_MAX;
use super::tls;

/// How many packets a server may send to authenticate us: MySQL needs at most five (switch, more
/// data, key, result), so a peer that never comes to an end is cut off.
const AUTH_STEPS_MAX: usize = 8;

const DOING: &str = "logging in";

/// What the greeting told.
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    pub(super) server_version: String,
    pub(super) connection_id: u32,
    capabilities: CapabilityFlags,
    nonce: Vec<u8>,
    plugin: Vec<u8>,
}

impl Greeting {
    fn parse(packet: &[u8]) -> Result<Self, SourceError> {
        if packet.first() != Some(&10) {
            return Err(unexpected(
                "the greeting is not of protocol 10: is this a MySQL port?",
            ));
        }
        // mysql_common subtracts from the nonce's length as a signed byte.
        let nonce_len = packet
            .iter()
            .position(|byte| *byte == 0)
            .and_then(|end| packet.get(end + 21));
        if nonce_len.is_none_or(|len| *len > 127) {
            return Err(unexpected("the greeting is cut short"));
        }
        let greeting: HandshakePacket<'_> = ParseBuf(packet)
            .parse(())
            .map_err(|error| unexpected(format!("the greeting can't be read: {error}")))?;
        Ok(Self {
            server_version: greeting.server_version_str().into_owned(),
            connection_id: greeting.connection_id(),
            capabilities: greeting.capabilities(),
            nonce: greeting.nonce(),
            plugin: greeting.auth_plugin_name_ref().unwrap_or_default().to_vec(),
        })
    }
}

/// Logs in on a connection that has just been opened.
pub(super) async fn log_in(
    conn: &mut SourceConnection,
    endpoint: &Endpoint,
) -> Result<Greeting, SourceError> {
    let packet = conn.receive(DOING).await?.to_vec();
    if packet.first() == Some(&0xff) {
        // Too many connections, host blocked: no capabilities are agreed yet.
        return Err(conn.server_error(DOING, &packet));
    }
    let greeting = Greeting::parse(&packet)?;
    let needed = CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_PLUGIN_AUTH;
    if !greeting.capabilities.contains(needed) {
        return Err(unexpected(format!(
            "server {} is too old: it lacks protocol 4.1 or authentication plugins",
            greeting.server_version
        )));
    }
    let offers_tls = greeting.capabilities.contains(CapabilityFlags::CLIENT_SSL);
    let encrypt = match endpoint.tls {
        TlsMode::Disabled => false,
        TlsMode::Preferred => offers_tls,
        TlsMode::Required | TlsMode::VerifyCa | TlsMode::VerifyIdentity if offers_tls => true,
        TlsMode::Required | TlsMode::VerifyCa | TlsMode::VerifyIdentity => {
            return Err(SourceError::NoTls);
        }
    };
    let mut ours = needed
        | CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_LONG_FLAG
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
        | CapabilityFlags::CLIENT_CONNECT_ATTRS;
    ours &= greeting.capabilities;
    if encrypt {
        ours |= CapabilityFlags::CLIENT_SSL;
        start_tls(conn, endpoint, ours).await?;
    }
    let plugin = Plugin::named(&greeting.plugin).unwrap_or(Plugin::CachingSha2Password);
    answer(conn, endpoint, &greeting, plugin, ours).await?;
    authenticate(conn, endpoint, plugin, &greeting.nonce).await?;
    Ok(greeting)
}

async fn start_tls(
    conn: &mut SourceConnection,
    endpoint: &Endpoint,
    ours: CapabilityFlags,
) -> Result<(), SourceError> {
    let mut request = Vec::new();
    let charset = mysql_common::collations::CollationId::UTF8MB4_GENERAL_CI as u8;
    SslRequest::new(ours, PACKET_LEN_MAX as u32, charset).serialize(&mut request);
    conn.send(&request, DOING).await?;
    // Whatever came in plain text after the greeting would be taken for encrypted: refuse it.
    if conn.reader.has_buffered() {
        return Err(unexpected("plain text came in place of the TLS handshake"));
    }
    conn.upgrade(
        async |stream| tls::encrypt(stream, endpoint).await,
        "negotiating TLS",
    )
    .await
}

async fn answer(
    conn: &mut SourceConnection,
    endpoint: &Endpoint,
    greeting: &Greeting,
    plugin: Plugin,
    ours: CapabilityFlags,
) -> Result<(), SourceError> {
    let scramble = plugin.scramble(&greeting.nonce, endpoint.password.expose());
    let attributes = ours
        .contains(CapabilityFlags::CLIENT_CONNECT_ATTRS)
        .then(|| {
            HashMap::from([
                ("_client_name".to_owned(), "towpath".to_owned()),
                (
                    "_client_version".to_owned(),
                    env!("CARGO_PKG_VERSION").to_owned(),
                ),
                ("program_name".to_owned(), "towpath".to_owned()),
            ])
        });
    let plugin = match plugin {
        Plugin::CachingSha2Password => AuthPlugin::CachingSha2Password,
        Plugin::MysqlNativePassword => AuthPlugin::MysqlNativePassword,
    };
    let mut response = Vec::new();
    HandshakeResponse::new(
        Some(scramble),
        (8, 0, 0),
        Some(endpoint.user.as_bytes()),
        None::<&[u8]>,
        Some(plugin),
        ours,
        attributes,
        PACKET_LEN_MAX as u32,
    )
    .serialize(&mut response);
    conn.send(&response, DOING).await
}

/// Follows the server through authentication until it says OK.
async fn authenticate(
    conn: &mut SourceConnection,
    endpoint: &Endpoint,
    mut plugin: Plugin,
    nonce: &[u8],
) -> Result<(), SourceError> {
    let password = endpoint.password.expose();
    let mut nonce = nonce.to_vec();
    let mut switched = false;
    let mut asked_for_key = false;
    for _ in 0..AUTH_STEPS_MAX {
        let packet = conn.receive(DOING).await?.to_vec();
        match packet.as_slice() {
            [0x00, ..] => return Ok(()),
            [0xff, ..] => return Err(conn.server_error(DOING, &packet)),
            [0xfe, ..] if !switched => {
                switched = true;
                (plugin, nonce) = read_switch(&packet, &endpoint.user)?;
                conn.send(&plugin.scramble(&nonce, password), DOING).await?;
            }
            // caching_sha2_password: the server knows the password's hash and it matched.
            [0x01, 0x03] if plugin == Plugin::CachingSha2Password => {}
            // It doesn't, and needs the password itself once.
            [0x01, 0x04] if plugin == Plugin::CachingSha2Password => match conn.is_encrypted() {
                true => conn.send(&auth::clear_password(password), DOING).await?,
                false => {
                    asked_for_key = true;
                    conn.send(&[0x02], DOING).await?;
                }
            },
            [0x01, pem @ ..] if asked_for_key => {
                asked_for_key = false;
                let encrypted = auth::encrypt_password(password, &nonce, pem)?;
                conn.send(&encrypted, DOING).await?;
            }
            _ => return Err(unexpected("an authentication packet that fits no step")),
        }
    }
    Err(unexpected(format!(
        "authentication has no end after {AUTH_STEPS_MAX} steps"
    )))
}

fn read_switch(packet: &[u8], user: &str) -> Result<(Plugin, Vec<u8>), SourceError> {
    if packet.len() == 1 {
        let plugin = "mysql_old_password".to_owned();
        return Err(SourceError::UnknownPlugin {
            user: user.to_owned(),
            plugin,
        });
    }
    let request: AuthSwitchRequest<'_> = ParseBuf(packet)
        .parse(())
        .map_err(|error| unexpected(format!("the switch of plugins can't be read: {error}")))?;
    let name = request.auth_plugin();
    let plugin = Plugin::named(name.as_bytes()).ok_or_else(|| SourceError::UnknownPlugin {
        user: user.to_owned(),
        plugin: String::from_utf8_lossy(name.as_bytes()).into_owned(),
    })?;
    let mut nonce = request.plugin_data().to_vec();
    nonce.resize(NONCE_LEN, 0);
    Ok((plugin, nonce))
}

fn unexpected(what: impl Into<String>) -> SourceError {
    SourceError::Protocol {
        doing: DOING,
        what: what.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_switch_to_a_plugin_that_we_do_not_speak_names_it() {
        let packet = b"\xfeauthentication_ldap_simple\0\0";
        let error = read_switch(packet, "repl").unwrap_err();
        assert!(
            error.to_string().contains("authentication_ldap_simple"),
            "{error}"
        );
        assert!(error.to_string().contains("ALTER USER"), "{error}");
        let error = read_switch(b"\xfe", "repl").unwrap_err();
        assert!(error.to_string().contains("mysql_old_password"), "{error}");
    }

    #[test]
    fn a_switch_carries_a_nonce_of_its_own() {
        let mut packet = b"\xfemysql_native_password\0".to_vec();
        packet.extend_from_slice(b"abcdefghijklmnopqrst\0");
        let (plugin, nonce) = read_switch(&packet, "repl").unwrap();
        assert_eq!(plugin, Plugin::MysqlNativePassword);
        assert_eq!(nonce, b"abcdefghijklmnopqrst");
    }

    #[test]
    fn an_http_server_is_not_taken_for_mysql() {
        let error = Greeting::parse(b"HTTP/1.1 400 Bad Request").unwrap_err();
        assert!(
            error.to_string().contains("is this a MySQL port?"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn a_garbled_greeting_never_panics(mut packet in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Greeting::parse(&packet);
            packet.insert(0, 10);
            let _ = Greeting::parse(&packet);
        }

        #[test]
        fn a_garbled_switch_never_panics(mut packet in proptest::collection::vec(any::<u8>(), 0..60)) {
            packet.insert(0, 0xfe);
            let _ = read_switch(&packet, "repl");
        }
    }
}
