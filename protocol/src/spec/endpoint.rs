//! Where a MySQL server is and how to log in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A secret that is never printed: `Debug` and `Display` show `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

/// How a connection to a server uses TLS (the modes of MySQL's `--ssl-mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Plain text.
    Disabled,
    /// TLS where the server offers it, unverified.
    #[default]
    Preferred,
    /// TLS or nothing, unverified.
    Required,
    /// TLS, the server's certificate must be signed by the given authority.
    VerifyCa,
    /// As `VerifyCa`, and the certificate must name the host.
    VerifyIdentity,
}

/// Where a MySQL server is and how to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password; empty if none.
    pub password: Secret,
    /// TLS mode. From a pipeline file it verifies exactly if `tls_ca` is given, as the mysql
    /// client's modes do.
    pub tls: TlsMode,
    /// PEM file of the certificate authorities to trust.
    pub tls_ca: Option<PathBuf>,
}

impl Secret {
    /// Wraps a secret value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the login only; never log or store it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl TlsMode {
    /// The modes with their names in a pipeline file.
    pub(super) const NAMES: [(&'static str, Self); 5] = [
        ("disabled", Self::Disabled),
        ("preferred", Self::Preferred),
        ("required", Self::Required),
        ("verify-ca", Self::VerifyCa),
        ("verify-identity", Self::VerifyIdentity),
    ];

    /// Is the server's certificate verified?
    pub fn verifies(self) -> bool {
        match self {
            Self::Disabled | Self::Preferred | Self::Required => false,
            Self::VerifyCa | Self::VerifyIdentity => true,
        }
    }

    /// The name in a pipeline file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Preferred => "preferred",
            Self::Required => "required",
            Self::VerifyCa => "verify-ca",
            Self::VerifyIdentity => "verify-identity",
        }
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no TLS mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no TLS mode; write disabled, preferred, required, verify-ca or verify-identity")]
pub struct TlsModeParseError;

impl FromStr for TlsMode {
    type Err = TlsModeParseError;

    /// Takes `verify-ca` and the spelling of the mysql client, `VERIFY_CA`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_ascii_lowercase().replace('_', "-");
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, mode)| *mode).ok_or(TlsModeParseError)
    }
}

/// `user@host:port`, never the password.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}@[{}]:{}", self.user, self.host, self.port)
        } else {
            write!(f, "{}@{}:{}", self.user, self.host, self.port)
        }
    }
}
