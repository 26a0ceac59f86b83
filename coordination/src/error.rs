//! What can go wrong between a process and the directory.

use std::path::PathBuf;
use std::time::Duration;

use towpath_protocol::code::{self, Code};
use towpath_protocol::tree::{NodePath, RecordError, Role};

/// Why something wasn't done.
#[derive(Debug, thiserror::Error)]
pub enum CoordinationError {
    /// The addresses can't be used.
    #[error("{address:?} is no address of a directory; use host:port")]
    Address {
        /// The one that can't.
        address: String,
    },
    /// A certificate or key can't be used.
    #[error("{}: {reason}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory has roles, and this process shows none.
    #[error(
        "the directory wants to know the role of its clients, and nothing shows it this one's, {role}: \
         set {}, or --tokens to the folder with the file {role}, or use a client certificate of the \
         name {role}.role.towpath",
        .role.variable()
    )]
    NoRole {
        /// The role of this process.
        role: Role,
    },
    /// The directory doesn't know the token.
    #[error(
        "the directory refuses the token of role {role}: the one in {} or in the file {role} of \
         --tokens isn't among those that its Server was started with",
        .role.variable()
    )]
    WrongToken {
        /// The role of this process.
        role: Role,
    },
    /// What this process shows is another role's.
    #[error("this process needs the role {role}, and its credentials are those of {shown}")]
    WrongRole {
        /// The role of this process.
        role: Role,
        /// What it has shown.
        shown: String,
    },
    /// These credentials don't allow it.
    #[error(
        "the directory doesn't allow {path} to be used so with the credentials of this process; \
         docs/security.md says which role may do what"
    )]
    Forbidden {
        /// What was asked for.
        path: NodePath,
    },
    /// No session within the time for it.
    #[error("no session with the directory within {}: {found}", seconds(.after))]
    Unreachable {
        /// What each address looked like at the end, and what to do about it.
        found: String,
        /// For how long.
        after: Duration,
        /// The last failure.
        #[source]
        source: zookeeper_client::Error,
    },
    /// The session in which this began has ended.
    #[error("the session with the directory ended during {what}; begin again")]
    SessionEnded {
        /// What was going on.
        what: String,
    },
    /// The connection broke, several times: whether it was done isn't known.
    #[error("the connection to the directory broke during {what}; whether it was done is unknown")]
    Unknown {
        /// What was going on.
        what: String,
    },
    /// There is no such node.
    #[error("{path} isn't in the directory")]
    NotFound {
        /// Which.
        path: NodePath,
    },
    /// There is such a node already.
    #[error("{path} is in the directory already")]
    Exists {
        /// Which.
        path: NodePath,
    },
    /// Another changed the node since it was read.
    #[error("{path} was changed meanwhile; read it and decide again")]
    Changed {
        /// Which.
        path: NodePath,
    },
    /// The node's data can't be read or written.
    #[error("{path} can't be used")]
    Record {
        /// Which.
        path: NodePath,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// A lock wasn't free in time.
    #[error("lock {lock} not free within {}; held by {holder}", seconds(.after))]
    LockBusy {
        /// Which.
        lock: NodePath,
        /// How long was waited.
        after: Duration,
        /// Who is before us.
        holder: String,
    },
    /// Nobody took a command; it has been removed.
    #[error(
        "nobody took the command within {}, it was removed; is a Core of this pipeline running?",
        seconds(.after)
    )]
    NobodyTook {
        /// How long was waited.
        after: Duration,
    },
    /// A command was taken, and not answered in time.
    #[error("{by} took the command, and didn't answer within {}; see {path}", seconds(.after))]
    Unanswered {
        /// Who has it.
        by: String,
        /// Where the answer will be.
        path: NodePath,
        /// How long was waited.
        after: Duration,
    },
    /// The directory refused.
    #[error("the directory refused {what}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its reason.
        #[source]
        source: zookeeper_client::Error,
    },
}

fn seconds(duration: &Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

impl CoordinationError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Address { .. } | Self::Certificate { .. } => code::DIRECTORY_SETTINGS,
            Self::NoRole { .. }
            | Self::WrongToken { .. }
            | Self::WrongRole { .. }
            | Self::Forbidden { .. } => code::DIRECTORY_ROLE,
            Self::Unreachable { .. } | Self::SessionEnded { .. } | Self::Unknown { .. } => {
                code::DIRECTORY_UNREACHABLE
            }
            Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::Changed { .. }
            | Self::Record { .. }
            | Self::Refused { .. } => code::DIRECTORY_NODE,
            Self::LockBusy { .. } | Self::NobodyTook { .. } | Self::Unanswered { .. } => {
                code::DIRECTORY_WAIT
            }
        }
    }

    /// The directory's error about a path.
    pub(crate) fn at(path: &NodePath, source: zookeeper_client::Error) -> Self {
        use zookeeper_client::Error;
        let path = path.clone();
        match source {
            Error::NoAuth => Self::Forbidden { path },
            Error::NoNode => Self::NotFound { path },
            Error::NodeExists => Self::Exists { path },
            Error::BadVersion => Self::Changed { path },
            Error::SessionExpired | Error::ClientClosed | Error::SessionMoved => {
                Self::SessionEnded {
                    what: path.to_string(),
                }
            }
            source if is_broken(&source) => Self::Unknown {
                what: path.to_string(),
            },
            source => Self::Refused {
                what: path.to_string(),
                source,
            },
        }
    }
}

/// Whether the connection broke, so that it isn't known what became of the request. The client
/// says so in several ways: a silent connection and an I/O error come as `Custom`.
pub(crate) fn is_broken(error: &zookeeper_client::Error) -> bool {
    use zookeeper_client::Error;
    matches!(
        error,
        Error::ConnectionLoss
            | Error::Timeout
            | Error::NoHosts
            | Error::Custom(_)
            | Error::UnmarshalError { .. }
            | Error::UnexpectedError(_)
    )
}
