//! Every path of the tree, as a function of checked names.
//!
//! ```text
//! /towpath/cluster
//! /towpath/config/{name}
//! /towpath/datasources/{name}
//! /towpath/{servers,cores,monitors}/{id}                   E
//! /towpath/monitors-election/n-…                           ES
//! /towpath/pipelines/{p}/spec, spec/history/{revision}, desired
//! /towpath/pipelines/{p}/tasks/{t}/assignment, epoch, commit
//! /towpath/pipelines/{p}/tasks/{t}/instances/{core}-…      ES
//! /towpath/pipelines/{p}/tasks/{t}/progress                E
//! /towpath/pipelines/{p}/commands/c-…                      PS
//! /towpath/pipelines/{p}/status, journal
//! /towpath/pipelines/{p}/history/h-…                       PS
//! /towpath/pipelines/{p}/tasks/{t}/failure
//! /towpath/commands/c-…                                    PS
//! /towpath/history/h-…                                     PS
//! /towpath/drained/{core}
//! /towpath/probes/{datasource}
//! /towpath/alerts/{id}
//! /towpath/locks/{name}/exclusive-…, shared-…              ES
//! ```
//! E: ephemeral, S: sequential, P: persistent. Paths that end in `-` are prefixes: the directory
//! appends the sequence number.

use std::fmt;

use super::name::{AlertId, ConfigName, DataSourceName, LockName, MemberId, TaskName};
use crate::spec::PipelineName;

/// Prefix of an exclusive lock's nodes.
pub const LOCK_EXCLUSIVE: &str = "exclusive-";
/// Prefix of a shared lock's nodes.
pub const LOCK_SHARED: &str = "shared-";

/// A path in the directory: absolute, of checked steps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePath(String);

/// A text that is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is no path of the directory: {reason}")]
pub struct PathError {
    /// The text as given.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl NodePath {
    fn root() -> Self {
        Self("/towpath".to_owned())
    }

    fn step(mut self, step: &str) -> Self {
        if self.0 != "/" {
            self.0.push('/');
        }
        self.0.push_str(step);
        self
    }

    /// The path that a user gave, of this tree or of another one's beside it: for looking around.
    /// A `/` at its end is left out.
    ///
    /// # Errors
    /// [`PathError`] where the ZooKeeper protocol allows no such path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let wrong = |reason| PathError {
            path: text.to_owned(),
            reason,
        };
        let steps = text
            .strip_prefix('/')
            .ok_or_else(|| wrong("it has to begin with \"/\""))?;
        if steps.is_empty() {
            return Ok(Self("/".to_owned()));
        }
        let steps = steps.strip_suffix('/').unwrap_or(steps);
        for step in steps.split('/') {
            match step {
                "" => return Err(wrong("a step is empty")),
                "." | ".." => return Err(wrong("\".\" and \"..\" mean nothing here")),
                step if step.chars().any(char::is_control) => {
                    return Err(wrong("it holds a control character"));
                }
                _ => {}
            }
        }
        Ok(Self(format!("/{steps}")))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The steps below `above`, none if it's that node itself; `None` if it isn't below it.
    pub fn below<'a>(&'a self, above: &Self) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        let rest = match &*above.0 {
            "/" => self.0.strip_prefix('/'),
            above => self
                .0
                .strip_prefix(above)
                .filter(|rest| rest.is_empty() || rest.starts_with('/')),
        }?;
        Some(rest.split('/').filter(|step| !step.is_empty()))
    }

    /// The node above; `None` above `/towpath`, and of what stands at the top.
    pub fn parent(&self) -> Option<Self> {
        match self.0.rsplit_once('/') {
            Some((parent, _)) if !parent.is_empty() => Some(Self(parent.to_owned())),
            _ => None,
        }
    }

    /// The last step.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }

    /// A child as the directory listed it; `None` if that isn't a single step.
    pub fn listed(&self, child: &str) -> Option<Self> {
        let single = !child.is_empty() && child != "." && child != ".." && !child.contains('/');
        single.then(|| self.clone().step(child))
    }

    /// The node that the directory made from this prefix, with its sequence number as printed.
    pub fn sequenced(&self, sequence: impl fmt::Display) -> Self {
        Self(format!("{}{sequence}", self.0))
    }
}

impl fmt::Display for NodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sequential node's name, read apart. Orders by the number first, as elections and locks do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequenced {
    /// The number that the directory gave.
    pub sequence: u64,
    /// The whole name.
    pub name: String,
}

impl Sequenced {
    /// Reads a name such as `core-1-0000000007`; `None` if it doesn't end in `-` and ten or more
    /// digits.
    pub fn parse(name: &str) -> Option<Self> {
        let (_, digits) = name.rsplit_once('-')?;
        if digits.len() < 10 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            sequence: digits.parse().ok()?,
            name: name.to_owned(),
        })
    }

    /// The name without its number, `-` included.
    pub fn prefix(&self) -> &str {
        self.name
            .rfind('-')
            .and_then(|dash| self.name.get(..=dash))
            .unwrap_or_default()
    }

    /// The sequential nodes among `names`, lowest first; others are left out.
    pub fn sorted<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Vec<Self> {
        let mut sequenced: Vec<_> = names
            .into_iter()
            .filter_map(|name| Self::parse(name.as_ref()))
            .collect();
        sequenced.sort();
        sequenced
    }
}

/// What kind of process registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberKind {
    /// Hosts a member of the directory, and plans.
    Server,
    /// Moves data.
    Core,
    /// Raises alerts.
    Monitor,
}

impl MemberKind {
    fn step(self) -> &'static str {
        match self {
            Self::Server => "servers",
            Self::Core => "cores",
            Self::Monitor => "monitors",
        }
    }
}

/// The top of Towpath's tree.
pub fn root() -> NodePath {
    NodePath::root()
}

/// [`Cluster`](super::record::Cluster).
pub fn cluster() -> NodePath {
    NodePath::root().step("cluster")
}

fn configs() -> NodePath {
    NodePath::root().step("config")
}

/// [`LogConfig`](super::record::LogConfig).
pub fn log_config() -> NodePath {
    configs().step("log")
}

/// [`LimitsConfig`](super::record::LimitsConfig).
pub fn limits_config(name: &ConfigName) -> NodePath {
    configs().step("limits").step(name.as_str())
}

/// Parent of the data sources.
pub fn datasources() -> NodePath {
    NodePath::root().step("datasources")
}

/// [`DataSource`](super::record::DataSource).
pub fn datasource(name: &DataSourceName) -> NodePath {
    datasources().step(name.as_str())
}

/// Parent of the members of a kind.
pub fn members(kind: MemberKind) -> NodePath {
    NodePath::root().step(kind.step())
}

/// [`Member`](super::record::Member), ephemeral.
pub fn member(kind: MemberKind, id: &MemberId) -> NodePath {
    members(kind).step(id.as_str())
}

/// Parent of the Monitors' election nodes.
pub fn monitors_election() -> NodePath {
    NodePath::root().step("monitors-election")
}

/// Prefix of [`Instance`](super::record::Instance), ephemeral and sequential.
pub fn monitors_candidate() -> NodePath {
    monitors_election().step("n-")
}

/// Parent of the pipelines.
pub fn pipelines() -> NodePath {
    NodePath::root().step("pipelines")
}

/// A pipeline.
pub fn pipeline(pipeline: &PipelineName) -> NodePath {
    pipelines().step(pipeline.as_str())
}

/// [`AppliedSpec`](super::record::AppliedSpec): the one that holds.
pub fn spec(name: &PipelineName) -> NodePath {
    pipeline(name).step("spec")
}

/// Parent of the older specs.
pub fn spec_history(pipeline: &PipelineName) -> NodePath {
    spec(pipeline).step("history")
}

/// [`AppliedSpec`](super::record::AppliedSpec): an older one.
pub fn spec_revision(pipeline: &PipelineName, revision: u64) -> NodePath {
    spec_history(pipeline).step(&revision.to_string())
}

/// [`Desired`](super::record::Desired).
pub fn desired(name: &PipelineName) -> NodePath {
    pipeline(name).step("desired")
}

/// Parent of a pipeline's tasks.
pub fn tasks(name: &PipelineName) -> NodePath {
    pipeline(name).step("tasks")
}

/// A task.
pub fn task(pipeline: &PipelineName, task: &TaskName) -> NodePath {
    tasks(pipeline).step(task.as_str())
}

/// [`Assignment`](super::record::Assignment).
pub fn assignment(pipeline: &PipelineName, name: &TaskName) -> NodePath {
    task(pipeline, name).step("assignment")
}

/// Parent of a task's instances.
pub fn instances(pipeline: &PipelineName, name: &TaskName) -> NodePath {
    task(pipeline, name).step("instances")
}

/// Prefix of [`Instance`](super::record::Instance), ephemeral and sequential; the lowest runs.
pub fn instance(pipeline: &PipelineName, task: &TaskName, core: &MemberId) -> NodePath {
    instances(pipeline, task).step(&format!("{core}-"))
}

/// [`EpochHolder`](super::record::EpochHolder); its zxid is the epoch.
pub fn epoch(pipeline: &PipelineName, name: &TaskName) -> NodePath {
    task(pipeline, name).step("epoch")
}

/// [`Progress`](super::record::Progress), ephemeral.
pub fn progress(pipeline: &PipelineName, name: &TaskName) -> NodePath {
    task(pipeline, name).step("progress")
}

/// [`Committed`](super::record::Committed), advisory.
pub fn commit(pipeline: &PipelineName, name: &TaskName) -> NodePath {
    task(pipeline, name).step("commit")
}

/// Parent of a pipeline's commands.
pub fn commands(name: &PipelineName) -> NodePath {
    pipeline(name).step("commands")
}

/// Prefix of [`Command`](super::record::Command), persistent and sequential.
pub fn command(pipeline: &PipelineName) -> NodePath {
    commands(pipeline).step("c-")
}

/// [`PipelineStatus`](super::record::PipelineStatus).
pub fn status(name: &PipelineName) -> NodePath {
    pipeline(name).step("status")
}

/// [`Journal`](super::record::Journal).
pub fn journal(name: &PipelineName) -> NodePath {
    pipeline(name).step("journal")
}

/// Parent of what happened to a pipeline, and why.
pub fn history(name: &PipelineName) -> NodePath {
    pipeline(name).step("history")
}

/// Prefix of [`HistoryEvent`](super::record::HistoryEvent), persistent and sequential.
pub fn history_event(name: &PipelineName) -> NodePath {
    history(name).step("h-")
}

/// [`Failure`](super::record::Failure).
pub fn failure(pipeline: &PipelineName, name: &TaskName) -> NodePath {
    task(pipeline, name).step("failure")
}

/// Parent of the commands to the cluster.
pub fn cluster_commands() -> NodePath {
    NodePath::root().step("commands")
}

/// Prefix of [`Command`](super::record::Command) to the cluster, persistent and sequential.
pub fn cluster_command() -> NodePath {
    cluster_commands().step("c-")
}

/// Parent of what happened to the cluster, and why.
pub fn cluster_history() -> NodePath {
    NodePath::root().step("history")
}

/// Prefix of [`HistoryEvent`](super::record::HistoryEvent) of the cluster, persistent and
/// sequential.
pub fn cluster_history_event() -> NodePath {
    cluster_history().step("h-")
}

/// Parent of the Cores that get no work.
pub fn drained() -> NodePath {
    NodePath::root().step("drained")
}

/// [`Drain`](super::record::Drain).
pub fn drain(core: &MemberId) -> NodePath {
    drained().step(core.as_str())
}

/// Parent of what the Server found out about data sources.
pub fn probes() -> NodePath {
    NodePath::root().step("probes")
}

/// [`Probe`](super::record::Probe).
pub fn probe(name: &DataSourceName) -> NodePath {
    probes().step(name.as_str())
}

/// Parent of the alerts.
pub fn alerts() -> NodePath {
    NodePath::root().step("alerts")
}

/// [`Alert`](super::record::Alert).
pub fn alert(id: &AlertId) -> NodePath {
    alerts().step(id.as_str())
}

/// Parent of a lock's nodes.
pub fn lock(name: &LockName) -> NodePath {
    NodePath::root().step("locks").step(name.as_str())
}

/// Prefix of [`LockHolder`](super::record::LockHolder), ephemeral and sequential.
pub fn lock_exclusive(name: &LockName) -> NodePath {
    lock(name).step(LOCK_EXCLUSIVE)
}

/// Prefix of [`LockHolder`](super::record::LockHolder), ephemeral and sequential.
pub fn lock_shared(name: &LockName) -> NodePath {
    lock(name).step(LOCK_SHARED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree() {
        let (p, t) = ("orders".parse().unwrap(), "replica".parse().unwrap());
        let core: MemberId = "core-1".parse().unwrap();
        let id: AlertId = "a1".parse().unwrap();
        let name: LockName = "orders.replica".parse().unwrap();
        let config: ConfigName = "orders".parse().unwrap();
        let source: DataSourceName = "primary".parse().unwrap();
        for (path, text) in [
            (cluster(), "cluster"),
            (log_config(), "config/log"),
            (limits_config(&config), "config/limits/orders"),
            (datasource(&source), "datasources/primary"),
            (member(MemberKind::Server, &core), "servers/core-1"),
            (member(MemberKind::Core, &core), "cores/core-1"),
            (member(MemberKind::Monitor, &core), "monitors/core-1"),
            (monitors_candidate(), "monitors-election/n-"),
            (spec(&p), "pipelines/orders/spec"),
            (spec_revision(&p, 3), "pipelines/orders/spec/history/3"),
            (desired(&p), "pipelines/orders/desired"),
            (
                assignment(&p, &t),
                "pipelines/orders/tasks/replica/assignment",
            ),
            (
                instance(&p, &t, &core),
                "pipelines/orders/tasks/replica/instances/core-1-",
            ),
            (epoch(&p, &t), "pipelines/orders/tasks/replica/epoch"),
            (progress(&p, &t), "pipelines/orders/tasks/replica/progress"),
            (commit(&p, &t), "pipelines/orders/tasks/replica/commit"),
            (command(&p), "pipelines/orders/commands/c-"),
            (status(&p), "pipelines/orders/status"),
            (journal(&p), "pipelines/orders/journal"),
            (history_event(&p), "pipelines/orders/history/h-"),
            (failure(&p, &t), "pipelines/orders/tasks/replica/failure"),
            (cluster_command(), "commands/c-"),
            (cluster_history_event(), "history/h-"),
            (drain(&core), "drained/core-1"),
            (probe(&source), "probes/primary"),
            (alert(&id), "alerts/a1"),
            (lock_exclusive(&name), "locks/orders.replica/exclusive-"),
            (lock_shared(&name), "locks/orders.replica/shared-"),
        ] {
            assert_eq!(path.as_str(), format!("/towpath/{text}"));
        }
    }

    #[test]
    fn parents_end_at_the_root() {
        let path = cluster();
        assert_eq!(path.name(), "cluster");
        let root = path.parent().unwrap();
        assert_eq!(root.as_str(), "/towpath");
        assert_eq!(root.parent(), None);
    }

    #[test]
    fn a_path_that_a_user_gave() {
        for (text, path) in [("/", "/"), ("/a", "/a"), ("/a/b/", "/a/b")] {
            assert_eq!(NodePath::parse(text).unwrap().as_str(), path);
        }
        for bad in ["", "a", "a/b", "//", "/a//b", "/a/../b", "/.", "/a\n"] {
            assert!(NodePath::parse(bad).is_err(), "{bad:?}");
        }
        let top = NodePath::parse("/").unwrap();
        assert_eq!(top.listed("a").unwrap().as_str(), "/a");
        assert_eq!(top.parent(), None);
        assert_eq!(NodePath::parse("/a").unwrap().parent(), None);
    }

    #[test]
    fn what_is_below() {
        let steps = |path: &str, above: &str| -> Option<Vec<String>> {
            let path = NodePath::parse(path).unwrap();
            let steps = path.below(&NodePath::parse(above).unwrap())?;
            Some(steps.map(str::to_owned).collect())
        };
        assert_eq!(steps("/a/b/c", "/a"), Some(vec!["b".into(), "c".into()]));
        assert_eq!(steps("/a", "/a"), Some(vec![]));
        assert_eq!(steps("/ab", "/a"), None);
        assert_eq!(steps("/a", "/"), Some(vec!["a".into()]));
        assert_eq!(steps("/", "/a"), None);
    }

    #[test]
    fn a_listed_child_is_one_step() {
        let parent = alerts();
        assert_eq!(parent.listed("a1"), Some(alert(&"a1".parse().unwrap())));
        for child in ["", ".", "..", "a/b", "/"] {
            assert_eq!(parent.listed(child), None);
        }
    }

    #[test]
    fn sequences_order_whatever_the_prefix() {
        let sorted = Sequenced::sorted([
            "core-9-0000000002",
            "core-1-0000000010",
            "history",
            "x-12",
            "core-2-0000000001",
            "core-3--000000001",
        ]);
        let names: Vec<_> = sorted.iter().map(|s| &*s.name).collect();
        assert_eq!(
            names,
            [
                "core-2-0000000001",
                "core-9-0000000002",
                "core-1-0000000010"
            ]
        );
        assert_eq!(sorted[1].prefix(), "core-9-");
        assert_eq!(sorted[2].sequence, 10);
    }
}
