//! The pipeline file: what a user writes to describe one pipeline.

use std::path::PathBuf;

/// A secret that is never printed: `Debug` and `Display` show `***`.
#[derive(Clone, PartialEq, Eq)]
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
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password; empty if none.
    pub password: Secret,
    /// TLS mode.
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

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
