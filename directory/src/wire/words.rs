//! Four-letter words: what operators and probes ask over a bare connection. Those that kazoo,
//! zkCli and common monitoring use; the formats are ZooKeeper 3.8's.

use std::fmt::Write as _;

use crate::front::Status;

/// The version that is told to clients which adapt to it: what is offered is ZooKeeper 3.8's.
const VERSION: &str = "3.8.0-towpath";

const NOT_SERVING: &str = "This member is not serving requests\n";

/// The answer to a word; `None` if these bytes are no word, but the length of a record.
pub fn answer(word: [u8; 4], status: &Status) -> Option<String> {
    Some(match &word {
        b"ruok" => if status.serving || status.follows {
            "imok"
        } else {
            NOT_SERVING
        }
        .into(),
        b"isro" => "rw".into(),
        b"envi" => environment(),
        b"srvr" | b"stat" => server(status),
        b"mntr" => monitor(status),
        b"conf" => "clientPort=see the directory's listen address\n".into(),
        b"cons" | b"crst" | b"dump" | b"dirs" | b"srst" | b"wchc" | b"wchp" | b"wchs" | b"hash" => {
            format!(
                "{} is not executed because it is not in the whitelist.\n",
                word.escape_ascii()
            )
        }
        _ => return None,
    })
}

/// Whether these bytes are a word.
pub(super) fn is_word(word: [u8; 4]) -> bool {
    answer(word, &Status::default()).is_some()
}

fn environment() -> String {
    format!(
        "Environment:\nzookeeper.version={VERSION}, built from towpath {}\nos.name={}\nos.arch={}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

fn mode(status: &Status) -> Option<&'static str> {
    match (status.serving, status.follows) {
        (true, _) => Some("leader"),
        (false, true) => Some("follower"),
        (false, false) => None,
    }
}

fn server(status: &Status) -> String {
    let Some(mode) = mode(status) else {
        return NOT_SERVING.into();
    };
    format!(
        "Zookeeper version: {VERSION}\nReceived: {}\nSent: {}\nConnections: {}\nOutstanding: {}\nZxid: {:#x}\nMode: {mode}\nNode count: {}\n",
        status.received,
        status.sent,
        status.connections,
        status.outstanding,
        status.zxid,
        status.nodes
    )
}

fn monitor(status: &Status) -> String {
    let Some(mode) = mode(status) else {
        return NOT_SERVING.into();
    };
    let mut out = format!("zk_version\t{VERSION}\nzk_server_state\t{mode}\n");
    for (name, value) in [
        ("packets_received", status.received),
        ("packets_sent", status.sent),
        ("num_alive_connections", status.connections as u64),
        ("outstanding_requests", status.outstanding as u64),
        ("znode_count", status.nodes as u64),
        ("watch_count", status.watches as u64),
        ("ephemerals_count", status.ephemerals as u64),
        ("approximate_data_size", status.data_bytes),
        ("global_sessions", status.sessions as u64),
        ("stale_sessions_expired", status.expired_sessions),
    ] {
        let _ = writeln!(out, "zk_{name}\t{value}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_lengths() {
        let status = Status {
            serving: true,
            zxid: 255,
            ..Status::default()
        };
        assert_eq!(answer(*b"ruok", &status).as_deref(), Some("imok"));
        assert!(answer(*b"srvr", &status).unwrap().contains("Zxid: 0xff\n"));
        assert!(
            answer(*b"mntr", &status)
                .unwrap()
                .contains("zk_znode_count\t0\n")
        );
        assert_eq!(answer([0, 0, 0, 45], &status), None);
    }
}
