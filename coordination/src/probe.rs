//! Why there is no session. The client tries one Server after another and says in the end that
//! time is over; this looks once at each, by hand, and finds out what a person can mend: nobody
//! listening, TLS on one side only, a certificate that isn't trusted, one that is demanded.
//!
//! It never opens a session, and sends nothing but a greeting: `ruok`, or the beginning of TLS.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error as TlsError, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::tls::{Certificates, provider};

/// Longest greeting that is read: a Server's is shorter.
const GREETING_BYTES_MAX: u64 = 256;

/// What was found at one address.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Unreachable(String),
    SpeaksTls,
    SpeaksPlainText,
    Untrusted(String),
    OtherName,
    DemandsCertificate,
    RefusesCertificate(String),
    TlsFailed(String),
    NotServing,
    Serving,
    Stranger,
    Silent,
}

/// What is wrong at each of `addresses`, in their order, as a text; looks until `deadline`.
pub(crate) async fn look(
    addresses: &[String],
    certificates: Option<&Certificates>,
    deadline: Instant,
) -> String {
    let mut looking = JoinSet::new();
    for (at, address) in addresses.iter().enumerate() {
        let (address, certificates) = (address.clone(), certificates.cloned());
        looking.spawn(async move {
            let finding = probe(&address, certificates.as_ref(), deadline).await;
            let ca = certificates.map(|found| found.tls().server_ca.display().to_string());
            let ca = ca.unwrap_or_default();
            (at, format!("{address} {}", Advice { finding, ca }))
        });
    }
    let mut found = Vec::new();
    while let Some(finding) = looking.join_next().await {
        found.extend(finding);
    }
    found.sort();
    let texts: Vec<String> = found.into_iter().map(|(_, text)| text).collect();
    texts.join("; ")
}

/// A finding, and what to do next.
struct Advice {
    finding: Finding,
    ca: String,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ca = &self.ca;
        match &self.finding {
            Finding::Unreachable(reason) => {
                write!(f, "can't be reached ({reason}), is a Server running there?")
            }
            Finding::SpeaksTls => {
                f.write_str("speaks TLS, give the PEM file of its certificate's authority")
            }
            Finding::SpeaksPlainText => {
                f.write_str("doesn't speak TLS, give the Server a certificate or leave TLS out here")
            }
            Finding::Untrusted(reason) => write!(
                f,
                "shows a certificate that {ca} doesn't vouch for ({reason}), is this the right authority, and the right Server?"
            ),
            Finding::OtherName => f.write_str(
                "shows a certificate for another name, use a name that is in it or issue one for this name",
            ),
            Finding::DemandsCertificate => {
                f.write_str("demands a client certificate, give one and its key")
            }
            Finding::RefusesCertificate(reason) => write!(
                f,
                "refuses our client certificate ({reason}), is it signed by the Server's client authority, and not expired?"
            ),
            Finding::TlsFailed(reason) => write!(f, "ends the TLS handshake ({reason})"),
            Finding::NotServing => f.write_str("is a Server without a leader, are enough of them up?"),
            Finding::Serving => f.write_str("answers, but opens no session, see the Server's log"),
            Finding::Stranger => f.write_str("is no Server of a directory, is the port right?"),
            Finding::Silent => {
                f.write_str("takes connections but doesn't answer, is the Server overloaded or stopped?")
            }
        }
    }
}

/// What a greeting came to.
type Greeting = Option<io::Result<Vec<u8>>>;

async fn probe(address: &str, certificates: Option<&Certificates>, deadline: Instant) -> Finding {
    let config = match certificates.map(Certificates::config) {
        None => stranger(),
        Some(config) => config.map_err(|error| error.to_string()),
    };
    let config = match config {
        Ok(config) => config,
        Err(reason) => return Finding::TlsFailed(reason),
    };
    let connected = timeout_at(deadline, TcpStream::connect(address)).await;
    match connected {
        Err(_) => return Finding::Unreachable("no answer".into()),
        Ok(Err(error)) => return Finding::Unreachable(error.to_string()),
        Ok(Ok(_)) => {}
    }
    let plain = async { timeout_at(deadline, greet(address)).await.ok() };
    let secured = async {
        timeout_at(deadline, greet_secured(address, config))
            .await
            .ok()
    };
    // Who waits for TLS doesn't answer plain text, and the other way round: each would cost all
    // the time there is.
    tokio::pin!(plain, secured);
    tokio::select! {
        said = &mut plain => match judge_plain(certificates.is_some(), &said) {
            Some(finding) => finding,
            None => judge(certificates, secured.await),
        },
        said = &mut secured => match judge(certificates, said) {
            Finding::TlsFailed(reason) => {
                judge_plain(certificates.is_some(), &plain.await).unwrap_or(Finding::TlsFailed(reason))
            }
            finding => finding,
        },
    }
}

/// `None` if plain text isn't understood there.
fn judge_plain(tls: bool, said: &Greeting) -> Option<Finding> {
    match said {
        Some(Ok(text)) if text.is_empty() || text.first() == Some(&ALERT) => None,
        Some(Ok(text)) => Some(match judge_greeting(text) {
            Finding::Stranger => Finding::Stranger,
            _ if tls => Finding::SpeaksPlainText,
            finding => finding,
        }),
        Some(Err(_)) | None => None,
    }
}

/// First byte of a TLS record that says what is wrong (RFC 8446, section 5.1).
const ALERT: u8 = 21;

fn judge_greeting(text: &[u8]) -> Finding {
    if text == b"imok" || text.starts_with(b"ruok is not executed") {
        Finding::Serving
    } else if text.starts_with(b"This ") {
        Finding::NotServing
    } else {
        Finding::Stranger
    }
}

fn judge(certificates: Option<&Certificates>, said: Greeting) -> Finding {
    let error = match said {
        None => return Finding::Silent,
        Some(Ok(_)) if certificates.is_none() => return Finding::SpeaksTls,
        Some(Ok(text)) => return judge_greeting(&text),
        Some(Err(error)) => error,
    };
    let tls = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<TlsError>());
    let Some(certificates) = certificates else {
        return match tls {
            Some(TlsError::InvalidCertificate(_) | TlsError::AlertReceived(_)) => {
                Finding::SpeaksTls
            }
            _ => Finding::TlsFailed(error.to_string()),
        };
    };
    match tls {
        Some(TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) if certificates.tls().verify_host_name => Finding::OtherName,
        Some(TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Finding::TlsFailed("after its certificate was found good".into()),
        Some(TlsError::InvalidCertificate(reason)) => Finding::Untrusted(reason.to_string()),
        // What is sent to who shows none: RFC 8446 has its own alert, older TLS doesn't.
        Some(TlsError::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
        )) if certificates.tls().identity.is_none() => Finding::DemandsCertificate,
        Some(TlsError::AlertReceived(alert)) if certificates.tls().identity.is_some() => {
            Finding::RefusesCertificate(format!("{alert:?}"))
        }
        _ => Finding::TlsFailed(error.to_string()),
    }
}

async fn greet(address: &str) -> io::Result<Vec<u8>> {
    exchange(TcpStream::connect(address).await?).await
}

async fn greet_secured(address: &str, config: ClientConfig) -> io::Result<Vec<u8>> {
    let name = host(address)
        .and_then(|host| ServerName::try_from(host).ok())
        .ok_or_else(|| io::Error::other("this is no host name"))?
        .to_owned();
    let stream = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(Arc::new(config));
    exchange(connector.connect(name, stream).await?).await
}

async fn exchange(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    // Who has closed already may still have said why.
    let sent = match stream.write_all(b"ruok").await {
        Ok(()) => stream.flush().await,
        Err(error) => Err(error),
    };
    stream
        .take(GREETING_BYTES_MAX)
        .read_to_end(&mut text)
        .await?;
    sent.map(|()| text)
}

/// Trusts nobody: only to see whether TLS is spoken.
fn stranger() -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// The host of `host:port`, an IPv6 address without its brackets.
pub(crate) fn host(address: &str) -> Option<&str> {
    let (host, _) = address.rsplit_once(':')?;
    Some(
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host),
    )
}
