//! A member as the replicated membership knows it: where its peers and its clients reach it.
//!
//! Stored as JSON, in the log and in snapshots. The format before it had one address only, that of
//! the client port (`{"addr": …}`), and one member; it's still read.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest address: a DNS name and a port.
const ADDRESS_BYTES_MAX: usize = 260;
const VERSION: u8 = 1;

/// Where a member is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Member {
    /// Where other members reach it, `host:port`; empty if it was founded to be alone.
    pub peer: String,
    /// Where clients reach it, `host:port`.
    pub client: String,
}

impl Member {
    /// Whether both addresses look like `host:port`.
    pub(crate) fn is_reachable(&self) -> bool {
        [&self.peer, &self.client].into_iter().all(|address| {
            address.len() <= ADDRESS_BYTES_MAX
                && address.rsplit_once(':').is_some_and(|(host, port)| {
                    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
                })
                && !address.contains(['/', '@', '?', '#', ' '])
        })
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peers {}, clients {}", self.peer, self.client)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(default)]
    version: u8,
    /// The former format's only address.
    #[serde(default, skip_serializing)]
    addr: String,
    #[serde(default)]
    peer: String,
    #[serde(default)]
    client: String,
}

impl From<Member> for Stored {
    fn from(member: Member) -> Self {
        Self {
            version: VERSION,
            addr: String::new(),
            peer: member.peer,
            client: member.client,
        }
    }
}

impl TryFrom<Stored> for Member {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        match stored.version {
            0 => Ok(Self {
                peer: String::new(),
                client: stored.addr,
            }),
            VERSION => Ok(Self {
                peer: stored.peer,
                client: stored.client,
            }),
            newer => Err(format!(
                "a member is stored in format {newer}, which a newer version of this program has written; run that one"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read_and_newer_ones_refused() {
        let member = Member {
            peer: "a:1".into(),
            client: "b:2".into(),
        };
        let json = serde_json::to_string(&member).unwrap();
        assert_eq!(json, r#"{"version":1,"peer":"a:1","client":"b:2"}"#);
        assert_eq!(serde_json::from_str::<Member>(&json).unwrap(), member);
        let former: Member = serde_json::from_str(r#"{"addr":"127.0.0.1:2181"}"#).unwrap();
        assert_eq!((&*former.peer, &*former.client), ("", "127.0.0.1:2181"));
        let newer = serde_json::from_str::<Member>(r#"{"version":2,"peer":"a:1"}"#);
        assert!(newer.unwrap_err().to_string().contains("newer version"));
    }

    #[test]
    fn addresses() {
        let reachable = |address: &str| {
            Member {
                peer: address.into(),
                client: "a:1".into(),
            }
            .is_reachable()
        };
        for good in [
            "a:1",
            "127.0.0.1:65535",
            "[::1]:2182",
            "server-1.example:2182",
        ] {
            assert!(reachable(good), "{good}");
        }
        for bad in [
            "", "a", "a:", ":1", "a:0", "a:65536", "a/b:1", "u@a:1", "a:1/x",
        ] {
            assert!(!reachable(bad), "{bad}");
        }
    }
}
