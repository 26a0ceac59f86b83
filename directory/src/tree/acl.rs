//! Who may do what: the schemes `world`, `digest`, `ip` and `auth`, and the superuser. Source:
//! `PrepRequestProcessor.fixupACL`, `ZooKeeperServer.checkACL`, `DigestAuthenticationProvider`
//! and `IPAuthenticationProvider` of ZooKeeper 3.8.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::code::Code;

/// May read the data and list the children.
pub const READ: i32 = 1;
/// May set the data.
pub const WRITE: i32 = 2;
/// May create children.
pub const CREATE: i32 = 4;
/// May delete children.
pub const DELETE: i32 = 8;
/// May set the access list.
pub const ADMIN: i32 = 16;
/// All of them.
pub const ALL: i32 = 31;

/// Most entries of one access list.
pub const ACL_ENTRIES_MAX: usize = 1024;

/// A name that a connection has shown, or that an access list speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// `world`, `digest`, `ip`, `auth` or `super`.
    pub scheme: Box<str>,
    /// What the scheme understands: `user:hash`, an address, `anyone`.
    pub id: Box<str>,
}

impl Id {
    /// The name `id` of `scheme`.
    pub fn new(scheme: &str, id: &str) -> Self {
        Self {
            scheme: scheme.into(),
            id: id.into(),
        }
    }
}

/// One line of an access list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Acl {
    /// Bits of what is allowed.
    pub perms: i32,
    /// To whom.
    pub id: Id,
}

/// An access list; nodes share equal ones.
pub type AclList = Arc<[Acl]>;

/// `world:anyone` with all permissions.
pub static OPEN: LazyLock<AclList> = LazyLock::new(|| {
    Arc::new([Acl {
        perms: ALL,
        id: Id::new("world", "anyone"),
    }])
});

/// `world:anyone`, reading only.
pub static READ_ONLY: LazyLock<AclList> = LazyLock::new(|| {
    Arc::new([Acl {
        perms: READ,
        id: Id::new("world", "anyone"),
    }])
});

/// The digest id of `user:password`: the user and the base64 of the whole's SHA-1.
pub fn digest(credentials: &str) -> String {
    let user = credentials.split(':').next().unwrap_or_default();
    format!(
        "{user}:{}",
        STANDARD.encode(Sha1::digest(credentials.as_bytes()))
    )
}

/// The names that credentials of `scheme` prove; `peer` is the connection's address,
/// `super_digest` the superuser's digest id if there is one.
///
/// # Errors
/// [`Code::AuthFailed`] for a scheme that isn't offered, or credentials that are none.
pub fn authenticate(
    scheme: &str,
    credentials: &[u8],
    peer: IpAddr,
    super_digest: Option<&str>,
) -> Result<Vec<Id>, Code> {
    match scheme {
        "digest" => {
            let text = std::str::from_utf8(credentials).map_err(|_| Code::AuthFailed)?;
            let id = digest(text);
            let mut ids = Vec::with_capacity(2);
            if super_digest == Some(&*id) {
                ids.push(Id::new("super", ""));
            }
            ids.push(Id::new("digest", &id));
            Ok(ids)
        }
        "ip" => Ok(vec![Id::new("ip", &peer.to_string())]),
        _ => Err(Code::AuthFailed),
    }
}

/// An access list as it's stored: duplicates removed, `auth` replaced by what `ids` prove.
///
/// # Errors
/// [`Code::InvalidAcl`] if it is empty, too long, or has an entry that no scheme understands.
pub fn resolve(acl: &[Acl], ids: &[Id]) -> Result<Vec<Acl>, Code> {
    if acl.is_empty() || acl.len() > ACL_ENTRIES_MAX {
        return Err(Code::InvalidAcl);
    }
    let mut out: Vec<Acl> = Vec::with_capacity(acl.len());
    for (at, entry) in acl.iter().enumerate() {
        if acl.iter().take(at).any(|earlier| earlier == entry) {
            continue;
        }
        match &*entry.id.scheme {
            "world" if &*entry.id.id == "anyone" => out.push(entry.clone()),
            "auth" => {
                let proven = ids.iter().filter(|id| &*id.scheme == "digest");
                let before = out.len();
                out.extend(proven.map(|id| Acl {
                    perms: entry.perms,
                    id: id.clone(),
                }));
                if out.len() == before {
                    return Err(Code::InvalidAcl);
                }
            }
            "digest" if entry.id.id.split(':').count() == 2 => out.push(entry.clone()),
            "ip" if parse_network(&entry.id.id).is_some() => out.push(entry.clone()),
            _ => return Err(Code::InvalidAcl),
        }
    }
    Ok(out)
}

/// Checks that one of `ids` has one of `perms` by `acl`.
///
/// # Errors
/// [`Code::NoAuth`] if not.
pub fn check(acl: &[Acl], perms: i32, ids: &[Id]) -> Result<(), Code> {
    let allowed = acl.iter().any(|entry| {
        entry.perms & perms != 0
            && ((&*entry.id.scheme == "world" && &*entry.id.id == "anyone")
                || ids
                    .iter()
                    .any(|id| id.scheme == entry.id.scheme && matches(id, &entry.id)))
    });
    if allowed || ids.iter().any(|id| &*id.scheme == "super") {
        Ok(())
    } else {
        Err(Code::NoAuth)
    }
}

/// The list as one may see it who can't change it: hashes of passwords are masked.
pub fn masked(acl: &[Acl]) -> Vec<Acl> {
    acl.iter()
        .map(
            |entry| match (&*entry.id.scheme, entry.id.id.split_once(':')) {
                ("digest", Some((user, _))) => Acl {
                    perms: entry.perms,
                    id: Id::new("digest", &format!("{user}:x")),
                },
                _ => entry.clone(),
            },
        )
        .collect()
}

fn matches(shown: &Id, wanted: &Id) -> bool {
    match &*wanted.scheme {
        "ip" => match (shown.id.parse::<IpAddr>(), parse_network(&wanted.id)) {
            (Ok(address), Some((network, bits))) => within(address, network, bits),
            _ => false,
        },
        _ => shown.id == wanted.id,
    }
}

fn parse_network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(width);
    (bits <= width).then_some((address, bits))
}

fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

    #[test]
    fn digest_is_zookeepers() {
        // From ZooKeeper's administrator's guide.
        assert_eq!(digest("super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
    }

    #[test]
    fn superuser_may_all() {
        let ids = authenticate(
            "digest",
            b"super:test",
            PEER,
            Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
        )
        .unwrap();
        let acl = [Acl {
            perms: READ,
            id: Id::new("digest", "a:b"),
        }];
        assert_eq!(check(&acl, WRITE, &ids), Ok(()));
        let ids = authenticate("digest", b"super:test", PEER, None).unwrap();
        assert_eq!(check(&acl, WRITE, &ids), Err(Code::NoAuth));
        assert_eq!(authenticate("sasl", b"", PEER, None), Err(Code::AuthFailed));
    }

    #[test]
    fn networks() {
        let ids = [Id::new("ip", "10.1.2.3")];
        for (network, allowed) in [
            ("10.1.2.3", true),
            ("10.1.0.0/16", true),
            ("10.2.0.0/16", false),
            ("0.0.0.0/0", true),
            ("::1", false),
        ] {
            let acl = [Acl {
                perms: READ,
                id: Id::new("ip", network),
            }];
            assert_eq!(check(&acl, READ, &ids).is_ok(), allowed, "{network}");
        }
        assert_eq!(
            resolve(
                &[Acl {
                    perms: READ,
                    id: Id::new("ip", "10.1.2.3/33")
                }],
                &[]
            ),
            Err(Code::InvalidAcl)
        );
    }

    #[test]
    fn auth_becomes_what_is_proven() {
        let auth = [Acl {
            perms: ALL,
            id: Id::new("auth", ""),
        }];
        let user = Id::new("digest", "u:h");
        assert_eq!(
            resolve(&auth, &[Id::new("ip", "10.1.2.3")]),
            Err(Code::InvalidAcl)
        );
        let stored = resolve(&auth, &[Id::new("ip", "10.1.2.3"), user.clone()]).unwrap();
        assert_eq!(
            stored,
            vec![Acl {
                perms: ALL,
                id: user
            }]
        );
        assert_eq!(&*masked(&stored)[0].id.id, "u:x");
    }
}
