//! Who may do what in the tree: the one place that says so.
//!
//! [`rights`] is about a node itself: to make *this* node, to set *its* data, to remove *it*.
//! Access lists of the ZooKeeper protocol can't say that: there the parent gives the right to make
//! and remove any of its children, and a task's `assignment` (the Server's) has the same parent as
//! its `epoch` (the Core's). So the directory asks this function, whoever made a node and however
//! old it is, and shows its answer as the node's access list.
//!
//! Everybody who has a role may read everything: no secret is in the tree. It's pure: a path that
//! is none gives nothing but reading, and the directory refuses it anyway.

use std::fmt;
use std::str::FromStr;

/// Who a process or a person is to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Plans, and writes all that the others don't.
    Server,
    /// Moves data: its own node, elections, epochs, and how its tasks do.
    Core,
    /// Alerts, and its own node and election.
    Monitor,
    /// Reads, and asks by commands.
    Operator,
    /// Changes the tree by hand: the way of last resort.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Server,
        Self::Core,
        Self::Monitor,
        Self::Operator,
        Self::Admin,
    ];

    /// Its name: the user of its credentials, and the name of its token's file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Core => "core",
            Self::Monitor => "monitor",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The environment variable that may hold its token.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Server => "TOWPATH_SERVER_TOKEN",
            Self::Core => "TOWPATH_CORE_TOKEN",
            Self::Monitor => "TOWPATH_MONITOR_TOKEN",
            Self::Operator => "TOWPATH_OPERATOR_TOKEN",
            Self::Admin => "TOWPATH_ADMIN_TOKEN",
        }
    }

    /// Whether it may do all that this one may.
    pub fn covers(self, other: Self) -> bool {
        self == other || matches!(self, Self::Server | Self::Admin)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such role; there are server, core, monitor, operator and admin")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let named = |role: &Self| role.name() == text;
        Self::ALL.into_iter().find(named).ok_or(UnknownRole)
    }
}

/// May read the data and list the children. The bits are those of the ZooKeeper protocol, about the
/// node itself.
pub const READ: i32 = 1;
/// May set the data.
pub const WRITE: i32 = 2;
/// May make this node.
pub const CREATE: i32 = 4;
/// May remove this node.
pub const DELETE: i32 = 8;
/// May set the access list that the protocol stores.
pub const ADMIN: i32 = 16;
/// All of them.
pub const ALL: i32 = 31;

/// What one owns wholly: made, changed and removed by the role.
const OWN: i32 = CREATE | WRITE | DELETE;

/// What `role` may do with the node at `path`; bits.
pub fn rights(role: Role, path: &str) -> i32 {
    use Role::{Admin, Core, Monitor, Operator, Server};
    if matches!(role, Server | Admin) {
        return ALL;
    }
    let Some(below) = path.strip_prefix("/towpath/") else {
        return READ;
    };
    let steps: Vec<&str> = below.split('/').collect();
    let further = match (role, &*steps) {
        // Parents of what one writes may be made by the first who needs them.
        (Core, ["cores"] | ["pipelines", _, "tasks", _, "instances"]) => CREATE,
        (Core, ["cores", _] | ["pipelines", _, "tasks", _, "instances", _]) => OWN,
        (Core, ["pipelines", _, "tasks", _, "epoch" | "commit"]) => CREATE | WRITE,
        (Core, ["pipelines", _, "tasks", _, "progress" | "failure"]) => OWN,
        (Monitor, ["monitors" | "alerts"]) => CREATE,
        // The Monitors' epoch is kept there.
        (Monitor, ["monitors-election" | "seen"]) => CREATE | WRITE,
        (Monitor, ["monitors" | "monitors-election" | "alerts", _]) => OWN,
        (Operator, ["commands"] | ["pipelines", _, "commands"]) => CREATE,
        // Who asked withdraws what nobody took.
        (Operator, ["commands", _] | ["pipelines", _, "commands", _]) => CREATE | DELETE,
        _ => 0,
    };
    READ | further
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::PipelineName;
    use crate::tree::path::{self, MemberKind, NodePath};

    /// Every path of the tree, and what Core, Monitor and Operator may do there beside reading.
    fn table() -> Vec<(NodePath, &'static str, &'static str, &'static str)> {
        let p: PipelineName = "orders".parse().unwrap();
        let t = "replica".parse().unwrap();
        let id = "a1".parse().unwrap();
        let source = "primary".parse().unwrap();
        let member = "m-1".parse().unwrap();
        let lock = "x".parse().unwrap();
        let config = "orders".parse().unwrap();
        let of = |kind| path::member(kind, &member);
        vec![
            (path::root(), "", "", ""),
            (path::cluster(), "", "", ""),
            (path::log_config().parent().unwrap(), "", "", ""),
            (path::log_config(), "", "", ""),
            (path::limits_config(&config), "", "", ""),
            (path::datasources(), "", "", ""),
            (path::datasource(&source), "", "", ""),
            (path::members(MemberKind::Server), "", "", ""),
            (of(MemberKind::Server), "", "", ""),
            (path::members(MemberKind::Core), "c", "", ""),
            (of(MemberKind::Core), "cwd", "", ""),
            (path::members(MemberKind::Monitor), "", "c", ""),
            (of(MemberKind::Monitor), "", "cwd", ""),
            (path::monitors_election(), "", "cw", ""),
            (path::monitors_candidate(), "", "cwd", ""),
            (path::pipelines(), "", "", ""),
            (path::pipeline(&p), "", "", ""),
            (path::spec(&p), "", "", ""),
            (path::spec_history(&p), "", "", ""),
            (path::spec_revision(&p, 3), "", "", ""),
            (path::desired(&p), "", "", ""),
            (path::tasks(&p), "", "", ""),
            (path::task(&p, &t), "", "", ""),
            (path::assignment(&p, &t), "", "", ""),
            (path::instances(&p, &t), "c", "", ""),
            (path::instance(&p, &t, &member), "cwd", "", ""),
            (path::epoch(&p, &t), "cw", "", ""),
            (path::progress(&p, &t), "cwd", "", ""),
            (path::commit(&p, &t), "cw", "", ""),
            (path::failure(&p, &t), "cwd", "", ""),
            (path::commands(&p), "", "", "c"),
            (path::command(&p), "", "", "cd"),
            (path::status(&p), "", "", ""),
            (path::journal(&p), "", "", ""),
            (path::history(&p), "", "", ""),
            (path::history_event(&p), "", "", ""),
            (path::cluster_commands(), "", "", "c"),
            (path::cluster_command(), "", "", "cd"),
            (path::cluster_history(), "", "", ""),
            (path::cluster_history_event(), "", "", ""),
            (path::drained(), "", "", ""),
            (path::drain(&member), "", "", ""),
            (path::probes(), "", "", ""),
            (path::probe(&source), "", "", ""),
            (path::alerts(), "", "c", ""),
            (path::alert(&id), "", "cwd", ""),
            (path::seen(), "", "cw", ""),
            (path::lock(&lock), "", "", ""),
            (path::lock_exclusive(&lock), "", "", ""),
            (path::lock_shared(&lock), "", "", ""),
        ]
    }

    fn bits(letters: &str) -> i32 {
        letters.chars().fold(READ, |bits, letter| {
            bits | match letter {
                'c' => CREATE,
                'w' => WRITE,
                'd' => DELETE,
                _ => panic!("{letter}"),
            }
        })
    }

    #[test]
    fn every_path_and_role() {
        for (path, core, monitor, operator) in table() {
            for (role, letters) in [
                (Role::Core, core),
                (Role::Monitor, monitor),
                (Role::Operator, operator),
            ] {
                assert_eq!(
                    rights(role, path.as_str()),
                    bits(letters),
                    "{role} at {path}"
                );
            }
            assert_eq!(rights(Role::Server, path.as_str()), ALL);
            assert_eq!(rights(Role::Admin, path.as_str()), ALL);
        }
    }

    /// A function of `path` that the table above doesn't name would be a hole in the test.
    #[test]
    fn the_table_names_every_function_of_path() {
        let source = include_str!("path.rs");
        let (product, _) = source.split_once("#[cfg(test)]").unwrap();
        let table = include_str!("access.rs");
        for line in product.lines() {
            if let Some(rest) = line.strip_prefix("pub fn ")
                && let Some((name, _)) = rest.split_once('(')
            {
                let named = table.contains(&format!("path::{name}("));
                assert!(named, "path::{name} isn't in the table");
            }
        }
    }

    #[test]
    fn what_is_beside_or_deeper_is_only_read() {
        for path in [
            "/",
            "/towpath",
            "/towpathx/cores/a",
            "/zookeeper/config",
            "/other/towpath/cores/a",
            "/towpath/cores/a/b",
            "/towpath/cores0000000001",
            "/towpath/pipelines/p/tasks/t/epoch/x",
            "/towpath/pipelines/p/tasks/t/epoch0000000001",
            "/towpath/pipelines/p/spec/tasks/t/epoch",
            "/towpath/alerts/a/b",
            "",
            "towpath/cores/a",
        ] {
            for role in [Role::Core, Role::Monitor, Role::Operator] {
                assert_eq!(rights(role, path), READ, "{role} at {path}");
            }
        }
    }

    #[test]
    fn names_are_read_again() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            let upper = role.name().to_uppercase();
            assert_eq!(role.variable(), format!("TOWPATH_{upper}_TOKEN"));
        }
        assert_eq!("root".parse::<Role>(), Err(UnknownRole));
    }
}
