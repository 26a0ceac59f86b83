//! What is asked of the members that host the directory. The leading Server does it, by the member
//! that it hosts itself: that one leads too.
//!
//! A change may take leadership away from the very member that makes it. The one who began it
//! answers all the same: its session goes through its own port, to whoever leads then.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use towpath_coordination::Session;
use towpath_directory::{Change, Cluster, Member, MemberError, Members};
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{DirectoryAction, HistoryEvent, MemberAddress, Outcome};

use super::Reply;

/// The answer doesn't wait longer for the history to be written.
const HISTORY_WITHIN: Duration = Duration::from_secs(5);
/// Longest name of a backup.
const NAME_BYTES_MAX: usize = 128;

/// The member of the directory that a Server hosts.
#[derive(Clone, Debug)]
pub struct Hosted {
    /// All members, seen from it.
    pub cluster: Cluster,
    /// Where backups go; made if it isn't there.
    pub backups: PathBuf,
    /// The machine's name, for people.
    pub host: String,
}

/// Does what is asked, and puts it into words.
pub async fn carry_out(
    session: &Session,
    hosted: Option<&Hosted>,
    ask: &DirectoryAction,
    by: &str,
) -> Reply {
    let Some(hosted) = hosted else {
        return refused("this Server hosts no member of the directory");
    };
    let (what, reply) = match ask {
        DirectoryAction::Members => {
            return match hosted.cluster.members().await {
                Ok(members) => done(sizes(&members), &members),
                Err(error) => failure(&error),
            };
        }
        DirectoryAction::Add { id, at } => {
            let change = Change::Add {
                id: u64::from(*id),
                member: member(at),
            };
            let text = format!("member {id} is added");
            ("members", hosted.change(change, text).await)
        }
        DirectoryAction::Remove { id } => {
            let text = format!(
                "member {id} is removed: stop its Server, and never use its data folder again"
            );
            let change = Change::Remove { id: u64::from(*id) };
            ("members", hosted.change(change, text).await)
        }
        DirectoryAction::Replace { id, by, at } => {
            let change = Change::Replace {
                id: u64::from(*id),
                by: u64::from(*by),
                member: member(at),
            };
            let text = format!(
                "member {by} is in the place of member {id}, whose data folder must never be used \
                 again"
            );
            ("members", hosted.change(change, text).await)
        }
        DirectoryAction::Snapshot => ("snapshot", hosted.snapshot().await),
        DirectoryAction::Backup { name } => ("backup", hosted.backup(name).await),
    };
    if reply.outcome == Outcome::Done {
        let event = HistoryEvent {
            at: Timestamp::now(),
            what: what.to_owned(),
            text: format!("{}, asked by {by}", reply.text),
            by: by.to_owned(),
            task: None,
        };
        let prefix = path::cluster_history_event();
        let told = session.append(&prefix, event);
        if !matches!(tokio::time::timeout(HISTORY_WITHIN, told).await, Ok(Ok(_))) {
            tracing::warn!(text = %reply.text, "the cluster's history lacks what was done");
        }
    }
    reply
}

impl Hosted {
    async fn change(&self, change: Change, text: String) -> Reply {
        match self.cluster.change(change).await {
            Ok(members) => done(format!("{text}; {}", sizes(&members)), &members),
            Err(error) => failure(&error),
        }
    }

    async fn snapshot(&self) -> Reply {
        match self.cluster.snapshot().await {
            Ok(()) => reply(
                Outcome::Done,
                format!("the log on {} is being folded into a snapshot", self.host),
                Value::Null,
            ),
            Err(error) => reply(Outcome::Failed, error.to_string(), Value::Null),
        }
    }

    async fn backup(&self, name: &str) -> Reply {
        if let Err(problem) = check_name(name) {
            return refused(&format!("{name:?} is no name for a backup: {problem}"));
        }
        let file = self.backups.join(name);
        match self.write(&file).await {
            Ok(bytes) => reply(
                Outcome::Done,
                format!(
                    "{} on {} holds the directory, {bytes} bytes; copy it to another machine",
                    file.display(),
                    self.host
                ),
                json!({"host": self.host, "file": file, "bytes": bytes}),
            ),
            Err(text) => reply(Outcome::Failed, text, Value::Null),
        }
    }

    /// Its size, or what went wrong.
    async fn write(&self, file: &Path) -> Result<u64, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", file.display());
        tokio::fs::create_dir_all(&self.backups)
            .await
            .map_err(failed)?;
        if tokio::fs::try_exists(file).await.map_err(failed)? {
            return Err(format!(
                "{} is there already; take another name",
                file.display()
            ));
        }
        let written = self.cluster.backup(file).await;
        written.map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })?;
        let found = tokio::fs::metadata(file).await.map_err(failed)?;
        Ok(found.len())
    }
}

fn member(at: &MemberAddress) -> Member {
    Member {
        peer: at.peer.clone(),
        client: at.client.clone(),
    }
}

fn sizes(members: &Members) -> String {
    let count = match members.members.len() {
        1 => "1 member".to_owned(),
        count => format!("{count} members"),
    };
    match members.leader {
        Some(leader) => format!("{count}, {leader} leads"),
        None => format!("{count}, nobody leads now"),
    }
}

fn done(text: String, members: &Members) -> Reply {
    let details = serde_json::to_value(members).unwrap_or_default();
    reply(Outcome::Done, text, details)
}

fn refused(text: &str) -> Reply {
    reply(Outcome::Refused, text.to_owned(), Value::Null)
}

fn reply(outcome: Outcome, text: String, details: Value) -> Reply {
    Reply {
        outcome,
        text,
        details,
    }
}

fn failure(error: &MemberError) -> Reply {
    let outcome = match error {
        MemberError::Unclear(_) | MemberError::Lags { .. } | MemberError::HandOver => {
            Outcome::Failed
        }
        MemberError::Alone
        | MemberError::NoLeader
        | MemberError::Unreachable { .. }
        | MemberError::Busy
        | MemberError::Unknown(_)
        | MemberError::Used(_)
        | MemberError::Present { .. }
        | MemberError::Number(_)
        | MemberError::Address(_)
        | MemberError::Full
        | MemberError::Last(_)
        | MemberError::Majority { .. }
        | MemberError::Refused { .. } => Outcome::Refused,
    };
    let text = match error {
        MemberError::Alone => {
            "this Server has no port for other members; start it with --peer-listen".to_owned()
        }
        error => error.to_string(),
    };
    reply(outcome, text, Value::Null)
}

/// A plain file name: it's written by the Server, wherever the one who asks is.
fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err("it has 1 to 128 characters");
    }
    if name.starts_with(['.', '-']) {
        return Err("it begins with a letter or a digit");
    }
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
    match name.chars().all(plain) {
        true => Ok(()),
        false => {
            Err("it's made of letters, digits, dots, dashes and underscores, without a folder")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_backups_name_no_folder() {
        for good in ["2026-11-22", "a", "before_upgrade.1"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for bad in ["", ".", "..", "a/b", "/etc/passwd", "-f", "a b", &long] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
