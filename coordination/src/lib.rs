//! The client side of Towpath's directory.
//!
//! [`Session`] keeps a session alive and says what it knows of it; everything else stands on it:
//! who is there ([`registration`]), who may write ([`election`]), who holds what ([`lock`]), what
//! holds now ([`live_config`], and of a whole subtree [`mirror`]), how far a task is
//! ([`progress`]), and what operators ask ([`commands`]).
//!
//! Invariants:
//! * What a process may do only while it's alone ends at Disconnected, not at Expired: the
//!   directory gives it to another at the session's timeout, and the client's own verdict comes
//!   later than that.
//! * An ephemeral node belongs to one session. What must outlive a session is made again in the
//!   next one; what must not (a win, a lock) is over.
//! * A lost reply is never taken for a refusal: the node that may have been made is looked for.
//! * Every wait has a bound, or ends with the session.
//!
//! It never decides by a clock who may write: the epoch and the sink do. And it resumes from
//! nothing that it reads in the tree.

pub mod error;
mod tls;
pub mod credentials;
mod probe;
pub mod session;
pub mod store;
pub mod transact;
mod ephemeral;
pub mod browse;
pub mod mirror;
pub mod cluster;
pub mod registration;
pub mod election;
pub mod lock;
pub mod live_config;
pub mod progress;
pub mod commands;

pub use browse::{NodeStat, TreeChange, TreeEvent, TreeWatch};
pub use commands::{CommandQueue, Inbox, Patience, TakenCommand};
pub use credentials::{Credentials, CredentialsError, Secret};
pub use election::{Candidate, Election, Loss, Renewer, Standing, Token};
pub use error::CoordinationError;
pub use live_config::LiveConfig;
pub use lock::{Lock, LockMode};
pub use mirror::{Mirror, MirroredNode, Nodes};
pub use progress::ProgressReporter;
pub use registration::{Registration, RegistrationState};
pub use session::{ConnectOptions, Session, SessionState, SessionStatus};
pub use store::{Entry, Expect};
pub use tls::{Identity, Tls};
pub use transact::Transaction;
