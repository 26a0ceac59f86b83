//! Roles: what a connection is beside the ids of the ZooKeeper protocol, and what follows from it.
//!
//! A connection proves a role by `digest` credentials `role:token`, or by a client certificate whose
//! subjectAltName holds the DNS name `role.role.towpath`. What a role may do with a node is asked of a
//! function of role and path, before a request gets into the log: what is in the log was allowed. So
//! rights are the same whoever made a node, and follow the program that runs, not the data.
//!
//! Invariants:
//! * With roles, a connection without one may do nothing but prove one, tell who it is, and end.
//! * Tokens come from the configuration. Neither they nor a hash of them is logged, put into the
//!   state, or told to anybody; only their SHA-256 is kept, and compared in constant time.
//! * Without roles, nothing here takes part.

use std::fmt;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};

use crate::tree::acl::{ADMIN, Acl, CREATE, DELETE, Id, READ, WRITE};
use crate::tree::op::Op;
use crate::wire::request::Read;

/// Scheme of the ids that stand for roles.
pub const SCHEME: &str = "role";
/// What the directory puts behind a sequential node's prefix looks like this.
const SEQUENCE: &str = "0000000000";

/// What `role` may do with the node at `path`: the bits of [`acl`](crate::tree::acl), about the node
/// itself ([`CREATE`]: to make it, [`DELETE`]: to remove it).
pub type Rights = fn(role: &str, path: &str) -> i32;

/// The roles that there are, and how they are proven.
#[derive(Clone)]
pub struct Roles {
    names: &'static [&'static str],
    tokens: Vec<(&'static str, [u8; 32])>,
    rights: Rights,
}

/// Who may do what beyond access lists.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Digest id of the one who may do all.
    pub super_digest: Option<String>,
    /// Roles; none means that access lists alone decide, as in ZooKeeper.
    pub roles: Option<Arc<Roles>>,
}

impl Roles {
    /// Roles of these names, which nobody can prove by a token yet.
    pub fn new(names: &'static [&'static str], rights: Rights) -> Self {
        Self {
            names,
            tokens: Vec::new(),
            rights,
        }
    }

    /// One more token for a role; several are good for rotating them.
    #[must_use]
    pub fn token(mut self, role: &'static str, token: &str) -> Self {
        self.tokens.push((role, Sha256::digest(token).into()));
        self
    }

    /// The role that `user:token` proves; `None` if the user is no role.
    ///
    /// # Errors
    /// The user is one, and this isn't its token.
    pub(crate) fn proven(&self, credentials: &[u8]) -> Option<Result<Id, WrongToken>> {
        let colon = credentials.iter().position(|byte| *byte == b':')?;
        let (user, token) = credentials.split_at_checked(colon)?;
        let name = self.names.iter().find(|name| name.as_bytes() == user)?;
        let shown: [u8; 32] = Sha256::digest(token.get(1..)?).into();
        // Every token is compared wholly, so that the time that it takes tells nothing.
        let matches = self.tokens.iter().fold(false, |found, (role, known)| {
            let differs = known
                .iter()
                .zip(&shown)
                .fold(0, |all, (a, b)| all | (a ^ b));
            found | ((differs == 0) & (role == name))
        });
        Some(match matches {
            true => Ok(Id::new(SCHEME, name)),
            false => Err(WrongToken),
        })
    }

    /// The roles that a certificate names; that its signer is trusted has been checked.
    pub(crate) fn vouched(&self, certificate: &CertificateDer<'_>) -> Vec<Id> {
        let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
            return Vec::new();
        };
        let named = |role: &&&str| {
            ServerName::try_from(format!("{role}.role.towpath"))
                .is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        };
        let found = self.names.iter().filter(named);
        found.map(|role| Id::new(SCHEME, role)).collect()
    }

    /// Whether `ids` may do all of `bits` with the node at `path`.
    fn allows(&self, ids: &[Id], path: &str, bits: i32) -> bool {
        ids.iter().any(|id| match &*id.scheme {
            "super" => true,
            SCHEME => (self.rights)(&id.id, path) & bits == bits,
            _ => false,
        })
    }

    /// Whether `ids` may make the change.
    pub(crate) fn allow_write(&self, ids: &[Id], op: &Op) -> bool {
        match op {
            Op::Create { path, mode, .. } if mode.sequential => {
                self.allows(ids, &format!("{path}{SEQUENCE}"), CREATE)
            }
            Op::Create { path, .. } => self.allows(ids, path, CREATE),
            Op::Delete { path, .. } => self.allows(ids, path, DELETE),
            Op::Set { path, .. } => self.allows(ids, path, WRITE),
            Op::SetAcl { path, .. } => self.allows(ids, path, ADMIN),
            Op::Check { path, .. } => self.allows(ids, path, READ),
            Op::Multi(steps) => steps.iter().all(|step| self.allow_write(ids, step)),
            // It changes nothing.
            Op::Refused(_) => true,
        }
    }

    /// Whether `ids` may be answered.
    pub(crate) fn allow_read(&self, ids: &[Id], read: &Read) -> bool {
        let reads = |path: &str| self.allows(ids, path, READ);
        match read {
            Read::Header(_)
            | Read::Ping
            | Read::WhoAmI
            | Read::CheckWatches(..)
            | Read::RemoveWatches(..) => true,
            Read::Exists(path, _)
            | Read::Get(path, _)
            | Read::GetAcl(path)
            | Read::Children(path, ..)
            | Read::Sync(path)
            | Read::Ephemerals(path)
            | Read::Descendants(path)
            | Read::AddWatch(path, _) => reads(path),
            Read::Multi(all) => all.iter().all(|read| self.allow_read(ids, read)),
            Read::SetWatches(set) => [
                &set.data,
                &set.exist,
                &set.child,
                &set.persistent,
                &set.recursive,
            ]
            .into_iter()
            .flatten()
            .all(|path| reads(path)),
        }
    }

    /// The access list that a node has by its path.
    pub(crate) fn list(&self, path: &str) -> Vec<Acl> {
        let entry = |name: &&'static str| Acl {
            perms: (self.rights)(name, path),
            id: Id::new(SCHEME, name),
        };
        self.names.iter().map(entry).collect()
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_tokens: Vec<_> = self.tokens.iter().map(|(role, _)| role).collect();
        f.debug_struct("Roles")
            .field("names", &self.names)
            .field("with_tokens", &with_tokens)
            .finish_non_exhaustive()
    }
}

/// The credentials name a role, and aren't its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongToken;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::op::{CreateKind, CreateMode};

    fn roles() -> Roles {
        let rights: Rights = |role, path| match (role, path) {
            ("core", "/cores/a" | "/n-0000000000") => READ | CREATE,
            _ => READ,
        };
        Roles::new(&["core", "operator"], rights)
            .token("core", "first")
            .token("core", "second")
            .token("operator", "third")
    }

    #[test]
    fn a_token_proves_its_own_role_only() {
        let roles = roles();
        let core = Id::new(SCHEME, "core");
        assert_eq!(roles.proven(b"core:first"), Some(Ok(core.clone())));
        assert_eq!(roles.proven(b"core:second"), Some(Ok(core)));
        for wrong in [&b"core:third"[..], b"core:", b"core:firs", b"core:first "] {
            assert_eq!(roles.proven(wrong), Some(Err(WrongToken)), "{wrong:?}");
        }
        for other in [&b"core"[..], b"", b":first", b"super:first", b"\xff:first"] {
            assert_eq!(roles.proven(other), None, "{other:?}");
        }
        assert!(!format!("{roles:?}").contains("first"));
    }

    #[test]
    fn a_change_is_allowed_as_a_whole_or_not() {
        let roles = roles();
        let core = [Id::new("ip", "127.0.0.1"), Id::new(SCHEME, "core")];
        let create = |path: &str, sequential| Op::Create {
            path: path.into(),
            data: None,
            acl: Vec::new(),
            mode: CreateMode {
                kind: CreateKind::Persistent,
                sequential,
            },
            with_stat: false,
        };
        let check = Op::Check {
            path: "/b".into(),
            version: 0,
        };
        let (own, other) = (create("/cores/a", false), create("/b", false));
        assert!(roles.allow_write(&core, &own));
        assert!(roles.allow_write(&core, &create("/n-", true)));
        // Its name would be another one than that which is allowed.
        assert!(!roles.allow_write(&core, &create("/cores/a", true)));
        assert!(roles.allow_write(&core, &Op::Multi(vec![check.clone(), own.clone()])));
        assert!(!roles.allow_write(&core, &Op::Multi(vec![own.clone(), other])));
        assert!(!roles.allow_write(&core[..1], &own));
        assert!(!roles.allow_write(&core[..1], &check));
        assert!(roles.allow_write(&[Id::new("super", "")], &own));
    }
}
