//! Logging in to a server, and what is wrong if that fails.

use std::net::IpAddr;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error};
use towpath_protocol::code::{self, Code};
use towpath_protocol::spec::{Endpoint, TlsMode};

use super::finding::{Finding, FindingState, Fix};
use crate::endpoint;

/// A server that is there answers sooner.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// MySQL's error for an account that must use TLS (ER_SECURE_TRANSPORT_REQUIRED).
const SECURE_TRANSPORT_REQUIRED: u16 = 3159;

/// Which server's login: the part of the pipeline file, and the codes of what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where changes come from.
    Source,
    /// Where they go.
    Sink,
}

impl Side {
    fn section(self) -> &'static str {
        match self {
            Self::Source => "[source]",
            Self::Sink => "[[sink]]",
        }
    }

    /// As it is called in a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
        }
    }

    /// The code of what the library says.
    pub fn code(self, error: &Error) -> Code {
        match self {
            Self::Source => crate::source::code_of_driver(error),
            Self::Sink => crate::commit::code_of_driver(error),
        }
    }

    fn unreachable(self) -> Code {
        match self {
            Self::Source => code::SOURCE_UNREACHABLE,
            Self::Sink => code::SINK_UNREACHABLE,
        }
    }
}

/// Logs in. The findings are about the
/// login and how private the connection is.
pub(super) async fn log_in(endpoint: &Endpoint, side: Side) -> (Option<Conn>, Vec<Finding>) {
    let section = side.section();
    let what = format!("{} can log in", endpoint.user);
    let failed = |found: String, fix: String, code: Code| {
        let finding = Finding::new(what.clone(), FindingState::Failed, found, Fix::hand(fix));
        (None, vec![finding.code(code)])
    };
    let options = match endpoint::sql_opts(endpoint) {
        Ok(options) => options,
        Err(error) => {
            let fix = format!("set tls_ca in {section}");
            return failed(error.to_string(), fix, error.code());
        }
    };
    let login = tokio::time::timeout(LOGIN_TIMEOUT, endpoint::connect(options, endpoint.tls));
    let mut conn = match login.await {
        Ok(Ok(conn)) => conn,
        Ok(Err(error)) => {
            let (found, fix) = explain(&error, section);
            return failed(found, fix, side.code(&error));
        }
        Err(_elapsed) => {
            let found = format!("no answer within {} s", LOGIN_TIMEOUT.as_secs());
            return failed(found, unreachable_fix(section), side.unreachable());
        }
    };
    let tls: Result<Option<(String, String)>, Error> = conn
        .query_first("SHOW SESSION STATUS LIKE 'Ssl_version'")
        .await;
    let tls = tls
        .ok()
        .flatten()
        .map(|(_, version)| version)
        .unwrap_or_default();
    let findings = vec![Finding::ok(what, "yes"), privacy(endpoint, &tls, section)];
    (Some(conn), findings)
}

fn privacy(endpoint: &Endpoint, tls: &str, section: &str) -> Finding {
    let what = "the connection is private";
    let is_local = endpoint.host == "localhost"
        || endpoint
            .host
            .trim_matches(['[', ']'])
            .parse()
            .is_ok_and(|ip: IpAddr| ip.is_loopback());
    if !tls.is_empty() {
        let verified = if endpoint.tls.verifies() {
            "verified"
        } else {
            "not verified"
        };
        return Finding::ok(what, format!("{tls}, certificate {verified}"));
    }
    match endpoint.tls {
        _ if is_local => Finding::ok(what, "plain text, on this machine only"),
        TlsMode::Disabled => Finding::ok(what, "plain text, as tls = \"disabled\" asks"),
        _ => Finding::new(
            what,
            FindingState::Warning,
            "plain text, the server offers no TLS",
            Fix::hand(format!(
                "give the server a certificate (ssl_cert, ssl_key) and set tls = \"required\" in \
                 {section}, or tls = \"disabled\" if the network between is trusted"
            )),
        ),
    }
}

/// What is wrong, and what to do. No variant of the library's errors carries the password.
fn explain(error: &Error, section: &str) -> (String, String) {
    match error {
        Error::Server(server) => {
            let fix = match server.code {
                // Access denied; not allowed from this host.
                1045 | 1130 | 1698 => format!(
                    "correct user or password of the url in {section}; the server compares the \
                     host that we come from, too (SELECT user, host FROM mysql.user)"
                ),
                SECURE_TRANSPORT_REQUIRED => format!("set tls = \"required\" in {section}"),
                1040 | 1203 => "raise max_connections on the server, or end connections".to_owned(),
                _ => "see the server's error log".to_owned(),
            };
            (format!("ERROR {}: {}", server.code, server.message), fix)
        }
        Error::Driver(DriverError::NoClientSslFlagFromServer) => (
            "the server offers no TLS".to_owned(),
            format!(
                "give the server a certificate (ssl_cert, ssl_key), or set tls = \"preferred\" in \
                 {section} if the network between is trusted"
            ),
        ),
        Error::Io(mysql_async::IoError::Tls(error)) => (
            format!("TLS failed: {error}"),
            format!(
                "check that tls_ca in {section} is the authority that signed the server's \
                 certificate, and that the certificate names the host of the url"
            ),
        ),
        Error::Io(mysql_async::IoError::Io(error)) => (error.to_string(), unreachable_fix(section)),
        error => (error.to_string(), unreachable_fix(section)),
    }
}

fn unreachable_fix(section: &str) -> String {
    format!("start the server, or correct host and port of the url in {section}")
}

#[cfg(test)]
mod tests {
    use towpath_protocol::spec::Secret;

    use super::*;

    fn endpoint(host: &str, tls: TlsMode) -> Endpoint {
        Endpoint {
            host: host.to_owned(),
            port: 3306,
            user: "repl".to_owned(),
            password: Secret::new("secret"),
            tls,
            tls_ca: None,
        }
    }

    #[test]
    fn plain_text_over_a_network_is_a_warning_unless_asked_for() {
        use FindingState::{Ok, Warning};
        for (host, mode, tls, state) in [
            ("db1", TlsMode::Preferred, "TLSv1.3", Ok),
            ("db1", TlsMode::Preferred, "", Warning),
            ("db1", TlsMode::Disabled, "", Ok),
            ("127.0.0.1", TlsMode::Preferred, "", Ok),
            ("::1", TlsMode::Preferred, "", Ok),
            ("localhost", TlsMode::Preferred, "", Ok),
        ] {
            let finding = privacy(&endpoint(host, mode), tls, "[source]");
            assert_eq!(finding.state, state, "{host} {mode} {tls:?}");
        }
    }

    #[tokio::test]
    async fn nobody_at_home_is_said_with_what_to_do() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut nobody = endpoint("127.0.0.1", TlsMode::Preferred);
        nobody.port = listener.local_addr().unwrap().port();
        drop(listener);
        let (conn, findings) = log_in(&nobody, Side::Source).await;
        assert!(conn.is_none());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].code, Some(code::SOURCE_UNREACHABLE));
        assert!(
            findings[0].found.starts_with("Connection refused"),
            "{}",
            findings[0].found
        );
        assert_eq!(
            findings[0].fix.as_ref().unwrap().to_string(),
            "start the server, or correct host and port of the url in [source]"
        );
    }
}
