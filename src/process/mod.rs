//! What every long-running role has beside its work: logs, an HTTP port, certificates.

pub(crate) mod stop;
pub(crate) mod logs;
pub(crate) mod http;
pub(crate) mod exposition;
pub(crate) mod tls;
pub(crate) mod tokens;
