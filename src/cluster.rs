//! `towpath cluster`: which Servers host the directory, and its backups.
//!
//! All but `restore` is asked of the leading Server, by a command in the directory like every other.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use towpath_console::Screen;
use towpath_console::verb::answer;
use towpath_coordination::CommandQueue;
use towpath_directory::{Members, RestoreError};
use towpath_protocol::tree::record::{Action, Answer, DirectoryAction, MemberAddress};

use crate::cli::{self, At, ClusterVerb};

/// A cell without anything.
const NOTHING: &str = "-";

/// Does it.
///
/// # Errors
/// The directory can't be reached, or it isn't done.
pub(crate) async fn cluster(arguments: cli::Cluster) -> anyhow::Result<ExitCode> {
    let (ask, json) = match &arguments.verb {
        ClusterVerb::Restore {
            backup,
            data,
            node_id,
        } => return restore(backup, data, *node_id).await,
        ClusterVerb::Status { json } => (DirectoryAction::Members, Some(*json)),
        ClusterVerb::Add { id, at } => (
            DirectoryAction::Add {
                id: *id,
                at: address(at),
            },
            None,
        ),
        ClusterVerb::Remove { id, yes } => {
            let question = format!(
                "Remove member {id} from the directory? Its number and its data folder can't be used again."
            );
            confirm(*yes, &question)?;
            (DirectoryAction::Remove { id: *id }, None)
        }
        ClusterVerb::Replace { id, by, at, yes } => {
            let question = format!(
                "Put member {by} in the place of member {id}? The number and the data folder of {id} \
                 can't be used again."
            );
            confirm(*yes, &question)?;
            let ask = DirectoryAction::Replace {
                id: *id,
                by: *by,
                at: address(at),
            };
            (ask, None)
        }
        ClusterVerb::Snapshot => (DirectoryAction::Snapshot, None),
        ClusterVerb::Backup { name } => (DirectoryAction::Backup { name: name.clone() }, None),
    };
    let session = arguments.connect.session().await?;
    let action = Action::Directory { ask };
    let asked = answer(
        &session,
        &CommandQueue::Cluster,
        None,
        action,
        arguments.timeout,
    );
    let answered = asked.await;
    session.close().await;
    let Answer { text, details, .. } = answered?;
    show(&match json {
        None => format!("{text}\n"),
        Some(true) => format!("{details}\n"),
        Some(false) => {
            let members = serde_json::from_value(details);
            table(
                &members
                    .context("the Server's answer isn't understood; is it of another release?")?,
            )
        }
    })
}

fn address(at: &At) -> MemberAddress {
    MemberAddress {
        peer: at.peer.clone(),
        client: at.client.clone(),
    }
}

fn confirm(yes: bool, question: &str) -> anyhow::Result<()> {
    if yes || Screen::standard().confirmed(question)? {
        return Ok(());
    }
    bail!("nothing was changed; --yes says yes where nobody can be asked")
}

/// The first member of a new directory.
async fn restore(backup: &Path, data: &Path, node_id: u8) -> anyhow::Result<ExitCode> {
    let marker = data.join(towpath_server::RESTORED);
    // Before there's a directory: a Server that found one without it would take it for the former one.
    if !towpath_directory::is_occupied(data) {
        mark(data, &marker).with_context(|| {
            format!(
                "{}: can't be written; nothing was restored",
                marker.display()
            )
        })?;
    }
    let restored = towpath_directory::restore(backup, data, node_id).await;
    if restored.is_err() && !towpath_directory::is_occupied(data) {
        let _ = std::fs::remove_file(&marker);
    }
    restored.map_err(|error| match error {
        RestoreError::Occupied(_) => anyhow::Error::new(error)
            .context(format!("--data {}: nothing was changed", data.display())),
        error => anyhow::Error::new(error),
    })?;
    show(&format!(
        "{} holds the directory as it was in {}; member {node_id} is its only one\n\
         Now start it: towpath server --data {} --node-id {node_id} …\n\
         It's another directory than the one that was backed up: towpath adopt gives it each sink\n",
        data.display(),
        backup.display(),
        data.display(),
    ))
}

/// Makes the folder and the marker in it, durably.
fn mark(data: &Path, marker: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(data)?;
    std::fs::File::create(marker)?.sync_all()?;
    std::fs::File::open(data)?.sync_all()
}

/// Members for people.
fn table(members: &Members) -> String {
    let mut out = match members.leader {
        Some(leader) => format!("member {leader} leads in term {}", members.term),
        None => format!("nobody leads; the last term is {}", members.term),
    };
    if let Some(ms) = members.quorum_acked_ms {
        let _ = write!(out, ", acknowledged by a majority {ms} ms ago");
    }
    if members.changing {
        out.push_str("; its members are being changed");
    }
    out.push('\n');
    let headings = ["MEMBER", "ROLE", "LAG", "ACKED", "PEERS", "CLIENTS"].map(str::to_owned);
    let mut rows = vec![headings];
    let own = |id: u64| members.seen_by == id;
    let or_nothing = |cell: Option<String>| cell.unwrap_or_else(|| NOTHING.to_owned());
    for status in &members.members {
        let lag = status.lag_entries.filter(|_| !own(status.id));
        rows.push([
            status.id.to_string(),
            status.role.to_string(),
            or_nothing(lag.map(|lag| lag.to_string())),
            or_nothing(status.acked_ms.map(|ms| format!("{ms} ms ago"))),
            or_nothing(Some(printable(&status.member.peer)).filter(|text| !text.is_empty())),
            or_nothing(Some(printable(&status.member.client)).filter(|text| !text.is_empty())),
        ]);
    }
    let mut wide = [0; 6];
    for row in &rows {
        for (wide, cell) in wide.iter_mut().zip(row) {
            *wide = (*wide).max(cell.chars().count());
        }
    }
    for row in &rows {
        let mut line = String::new();
        for (cell, wide) in row.iter().zip(wide) {
            let _ = write!(line, "{cell:wide$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// An address that does nothing to a terminal.
fn printable(text: &str) -> String {
    text.chars().flat_map(char::escape_debug).collect()
}

fn show(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write the answer")?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_stand_in_columns() {
        let members = json!({
            "seen_by": 2, "leader": 2, "term": 7, "last_index": 90, "changing": false,
            "quorum_acked_ms": 12,
            "members": [
                {"id": 1, "member": {"version": 1, "peer": "10.0.0.1:2182", "client": "a\u{1b}[2J:2181"},
                 "role": "learner", "matched_index": 80, "lag_entries": 10, "acked_ms": 3},
                {"id": 2, "member": {"version": 1, "peer": "b:2182", "client": "b:2181"},
                 "role": "leader", "matched_index": 90, "lag_entries": 0, "acked_ms": null},
            ],
        });
        let members = serde_json::from_value(members).unwrap();
        assert_eq!(
            table(&members),
            "member 2 leads in term 7, acknowledged by a majority 12 ms ago\n\
             MEMBER  ROLE     LAG  ACKED     PEERS          CLIENTS\n\
             1       learner  10   3 ms ago  10.0.0.1:2182  a\\u{1b}[2J:2181\n\
             2       leader   -    -         b:2182         b:2181\n"
        );
    }
}
