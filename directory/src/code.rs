//! The protocol's own refusals. Everything that the tree or the front declines is one of these,
//! so that every client library knows it. Source: `KeeperException.Code` of ZooKeeper 3.8.

use std::fmt;

/// Why a request was refused; the discriminant is what goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// A step of a multi was not tried, since a step before it failed.
    RuntimeInconsistency = -2,
    /// The request could not be decoded.
    MarshallingError = -5,
    /// The operation is not offered.
    Unimplemented = -6,
    /// An argument is outside what the operation takes.
    BadArguments = -8,
    /// There is no such node.
    NoNode = -101,
    /// The node's ACL doesn't allow it.
    NoAuth = -102,
    /// The node's version is not the expected one.
    BadVersion = -103,
    /// The parent is ephemeral.
    NoChildrenForEphemerals = -108,
    /// There is such a node already.
    NodeExists = -110,
    /// The node has children.
    NotEmpty = -111,
    /// The session is closed or expired.
    SessionExpired = -112,
    /// The ACL is empty or names an unknown scheme.
    InvalidAcl = -114,
    /// Wrong credentials, or a scheme that is not offered.
    AuthFailed = -115,
    /// There is no such watch.
    NoWatcher = -121,
    /// Members are not changed over this protocol.
    ReconfigDisabled = -123,
    /// A bound of the directory is reached: children, nodes or watches.
    QuotaExceeded = -125,
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> i32 {
        self as i32
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self, self.number())
    }
}

impl std::error::Error for Code {}
