//! Who is there.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

record! {
    /// A live Server, Core or Monitor: `/towpath/{servers,cores,monitors}/{id}`, ephemeral.
    example = r#"{"version":1,"host":"node1","pid":4711,"address":"10.0.0.1:7070","release":"0.1.0","labels":{"zone":"a"},"started":"2026-11-22T02:40:00Z","load":{"tasks":3,"rows_per_second":12000,"memory_bytes":73400320},"client":"10.0.0.1:2181","raft_role":"leader","directory":{"voters":3,"behind":[{"member":3,"client":"10.0.0.3:2181","lag_entries":1200,"silent":true}]}}"#;
    pub struct Member {
        /// Its machine.
        pub host: String,
        /// Its process there.
        pub pid: u32,
        /// Where it answers: metrics, health, status.
        pub address: String,
        /// The program's release.
        pub release: String,
        /// What a spec may ask for.
        #[serde(default)]
        pub labels: BTreeMap<String, String>,
        /// When it started.
        pub started: Timestamp,
        /// How busy it is.
        #[serde(default)]
        pub load: Load,
        /// Servers: where clients of the directory connect.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub client: Option<String>,
        /// Servers: leader, follower, learner or candidate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub raft_role: Option<String>,
        /// The Server whose member of the directory leads: how the others do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub directory: Option<DirectoryMembers>,
    }
}

/// The members that host the directory, as the one that leads sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryMembers {
    /// How many have a vote.
    pub voters: u32,
    /// Those of them that don't keep up, by number.
    #[serde(default)]
    pub behind: Vec<MemberBehind>,
}

/// A member of the directory that doesn't keep up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberBehind {
    /// Its number.
    pub member: u64,
    /// Where clients reach its Server, `host:port`.
    pub client: String,
    /// Entries of the log that it lacked when this was written; none if that wasn't known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_entries: Option<u64>,
    /// It acknowledges nothing at all.
    #[serde(default)]
    pub silent: bool,
}

/// How busy a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Tasks that it runs.
    pub tasks: u32,
    /// Rows that it moves each second.
    pub rows_per_second: u64,
    /// Memory that it has resident.
    pub memory_bytes: u64,
}
