//! From an endpoint of a pipeline file to a connection of mysql_async, for all SQL that is not
//! the dump.

use std::time::Duration;

use mysql_async::{Conn, OptsBuilder, SslOpts};
use towpath_protocol::code::{self, Code};
use towpath_protocol::spec::{Endpoint, TlsMode};

/// Longest login. MySQL's own `connect_timeout` is 10 s.
pub const CONNECT_MAX: Duration = Duration::from_secs(10);

/// After so much silence the kernel asks whether the other machine is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// An endpoint that can't be used as it is written.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Verification without anything to trust.
    #[error(
        "tls verifies the certificate of {host} but tls_ca is not set; name the PEM file of the \
         authority that signed it (MySQL makes one itself: ca.pem in its data directory)"
    )]
    NoAuthority {
        /// The host.
        host: String,
    },
}

impl EndpointError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::NoAuthority { .. } => code::TLS_SETTINGS,
        }
    }
}

/// Options of a connection to `endpoint`: address, login and TLS. Further ones are the caller's.
///
/// `preferred` asks for TLS here; `connect` adds the fallback to plain text. mysql_async verifies
/// the host's name with `verify-ca` too (its test for that error looks for a text that rustls no
/// longer uses), so `verify-ca` is stricter here than on the dump connection, never laxer.
///
/// # Errors
/// TLS shall be verified, but no authority is named.
pub fn sql_opts(endpoint: &Endpoint) -> Result<OptsBuilder, EndpointError> {
    // mysql_async takes the process' provider; with several compiled in there is no default one.
    // An error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let unverified = || SslOpts::default().with_danger_accept_invalid_certs(true);
    let verified = || {
        let ca = endpoint
            .tls_ca
            .clone()
            .ok_or_else(|| EndpointError::NoAuthority {
                host: endpoint.host.clone(),
            })?;
        let options = SslOpts::default().with_disable_built_in_roots(true);
        Ok(options.with_root_certs(vec![ca.into()]))
    };
    let tls = match endpoint.tls {
        TlsMode::Disabled => None,
        TlsMode::Preferred | TlsMode::Required => Some(unverified()),
        TlsMode::VerifyCa => Some(verified()?.with_danger_skip_domain_validation(true)),
        TlsMode::VerifyIdentity => Some(verified()?),
    };
    let host = endpoint.host.trim_start_matches('[').trim_end_matches(']');
    let builder = OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(endpoint.port)
        .user(Some(&endpoint.user))
        .pass(Some(endpoint.password.expose()).filter(|password| !password.is_empty()))
        // A URL names a TCP address: never go around it through a local socket.
        .prefer_socket(false)
        .tcp_nodelay(true)
        // A statement may take long, so an answer has no deadline; a machine that is gone is
        // noticed.
        .tcp_keepalive(Some(KEEPALIVE))
        .ssl_opts(tls);
    Ok(builder)
}

/// Opens a connection, within [`CONNECT_MAX`]; with `preferred` in plain text if the server doesn't
/// offer TLS.
///
/// # Errors
/// Those of mysql_async.
pub async fn connect(options: OptsBuilder, tls: TlsMode) -> Result<Conn, mysql_async::Error> {
    match tokio::time::timeout(CONNECT_MAX, open(options, tls)).await {
        Ok(opened) => opened,
        Err(_) => {
            let what = format!(
                "no login within {} s; does something between here and the server hold packets back?",
                CONNECT_MAX.as_secs()
            );
            let error = std::io::Error::new(std::io::ErrorKind::TimedOut, what);
            Err(mysql_async::IoError::Io(error).into())
        }
    }
}

/// Whether an error of a connection is TLS refusing what the other side shows: trying again doesn't
/// help. (A record that can't be decrypted, or an alert, is a damaged or ended connection.)
pub(crate) fn is_certificate_error(error: &std::io::Error) -> bool {
    use rustls::Error;
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
        .is_some_and(|error| {
            matches!(
                error,
                Error::InvalidCertificate(_)
                    | Error::NoCertificatesPresented
                    | Error::InvalidCertRevocationList(_)
                    | Error::UnsupportedNameType
                    | Error::PeerIncompatible(_)
            )
        })
}

async fn open(options: OptsBuilder, tls: TlsMode) -> Result<Conn, mysql_async::Error> {
    match Conn::new(options.clone()).await {
        Err(mysql_async::Error::Driver(mysql_async::DriverError::NoClientSslFlagFromServer))
            if tls == TlsMode::Preferred =>
        {
            Conn::new(options.ssl_opts(None)).await
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use mysql_async::Opts;
    use towpath_protocol::spec::Secret;

    use super::*;

    fn endpoint(tls: TlsMode, ca: Option<&str>) -> Endpoint {
        Endpoint {
            host: "[::1]".to_owned(),
            port: 3307,
            user: "app".to_owned(),
            password: Secret::new(""),
            tls,
            tls_ca: ca.map(Into::into),
        }
    }

    #[test]
    fn each_mode_verifies_what_it_says() {
        let of = |tls| {
            let options = Opts::from(sql_opts(&endpoint(tls, Some("/ca.pem"))).unwrap());
            options
                .ssl_opts()
                .map(|tls| (tls.accept_invalid_certs(), tls.skip_domain_validation()))
        };
        assert_eq!(of(TlsMode::Disabled), None);
        assert_eq!(of(TlsMode::Preferred), Some((true, false)));
        assert_eq!(of(TlsMode::Required), Some((true, false)));
        assert_eq!(of(TlsMode::VerifyCa), Some((false, true)));
        assert_eq!(of(TlsMode::VerifyIdentity), Some((false, false)));
    }

    #[test]
    fn public_authorities_are_not_trusted_in_place_of_ours() {
        let options = sql_opts(&endpoint(TlsMode::VerifyIdentity, Some("/ca.pem"))).unwrap();
        assert!(
            Opts::from(options)
                .ssl_opts()
                .unwrap()
                .disable_built_in_roots()
        );
        let error = sql_opts(&endpoint(TlsMode::VerifyCa, None)).unwrap_err();
        assert!(error.to_string().contains("tls_ca"), "{error}");
    }

    #[test]
    fn an_empty_password_is_none_and_brackets_go() {
        let options = Opts::from(sql_opts(&endpoint(TlsMode::Disabled, None)).unwrap());
        assert_eq!(options.pass(), None);
        assert_eq!(
            (options.ip_or_hostname(), options.tcp_port()),
            ("::1", 3307)
        );
        assert!(!options.prefer_socket());
    }
}
