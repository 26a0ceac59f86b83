//! The directory's tree: where each thing is ([`path`]), how it is named ([`name`]), and what is
//! written there ([`record`]), and who may do what there ([`access`]).
//!
//! Invariants:
//! - Every path of the tree is made by a function of [`path`], from checked names: no name can
//!   leave its place, whatever a user or a wire gave. ([`NodePath::parse`] is for looking around.)
//! - Every record is a JSON object with a `version`. A newer program's record can be read, and
//!   what this program doesn't know of it is written back unchanged.
//! - No secret is in a record: a spec keeps its `${NAME}` placeholders.

pub mod name;
pub mod path;
pub mod access;
pub mod record;

pub use access::Role;
pub use name::{AlertId, ConfigName, DataSourceName, LockName, MemberId, TaskName, TreeNameError};
pub use path::{MemberKind, NodePath, PathError, Sequenced};
pub use record::{Record, RecordError, Versioned};
