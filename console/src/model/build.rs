//! From nodes to a [`View`].

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{Alert, AlertState, DataSource, Member, Probe};
use towpath_protocol::tree::{AlertId, DataSourceName, NodePath, Record, Sequenced, TaskName};

use super::{PipelineView, TaskView, View, severity_rank};
use crate::tree::Tree;

/// Whether a [`View`] needs a node: not what grows (histories, commands) or says nothing to it.
pub(crate) fn is_shown(node: &NodePath) -> bool {
    let Some(steps) = node.below(&path::root()) else {
        return false;
    };
    let steps: Vec<&str> = steps.collect();
    let unwanted = matches!(
        *steps.as_slice(),
        [
            "history" | "commands" | "config" | "locks" | "monitors-election",
            ..
        ] | ["pipelines", _, "history" | "commands" | "journal", ..]
            | ["pipelines", _, "spec", _, ..]
    );
    !unwanted
}

/// Reads records, and remembers those that can't be read.
struct Reader<'a> {
    tree: &'a Tree,
    unreadable: Vec<String>,
}

impl Reader<'_> {
    fn record<T: Record>(&mut self, path: &NodePath) -> Option<T> {
        match self.tree.record(path)? {
            Ok(record) => Some(record),
            Err(error) => {
                let reason = std::error::Error::source(&error).map(ToString::to_string);
                let reason = reason.map(|reason| format!(" ({reason})"));
                self.unreadable
                    .push(format!("{path}: {error}{}", reason.unwrap_or_default()));
                None
            }
        }
    }

    /// The records of a node's children, by names that can be read.
    fn all<N: FromStr + Ord, T: Record>(&mut self, parent: &NodePath) -> BTreeMap<N, T> {
        let names: Vec<&str> = self.tree.children(parent).collect();
        let mut all = BTreeMap::new();
        for name in names {
            if let (Ok(key), Some(path)) = (name.parse(), parent.listed(name))
                && let Some(record) = self.record(&path)
            {
                all.insert(key, record);
            }
        }
        all
    }

    fn pipeline(&mut self, name: PipelineName, alerts: &BTreeMap<AlertId, Alert>) -> PipelineView {
        let tasks = path::tasks(&name);
        let tasks: Vec<TaskName> = self
            .tree
            .children(&tasks)
            .filter_map(|task| task.parse().ok())
            .collect();
        let tasks = tasks.into_iter().map(|task| self.task(&name, task));
        let tasks = tasks.collect();
        let mut firing: Vec<_> = alerts
            .iter()
            .filter(|(_, alert)| {
                let about = alert.subject.split('/').next().unwrap_or_default();
                alert.state == AlertState::Firing && about == name.as_str()
            })
            .map(|(id, alert)| (id.clone(), alert.clone()))
            .collect();
        firing.sort_by_key(|(_, alert)| (severity_rank(&alert.severity), alert.since));
        PipelineView {
            spec: self.record(&path::spec(&name)),
            desired: self.record(&path::desired(&name)),
            status: self.record(&path::status(&name)),
            tasks,
            firing,
            name,
        }
    }

    fn task(&mut self, pipeline: &PipelineName, name: TaskName) -> TaskView {
        let parent = path::instances(pipeline, &name);
        let nodes: Vec<NodePath> = Sequenced::sorted(self.tree.children(&parent))
            .iter()
            .filter_map(|node| parent.listed(&node.name))
            .collect();
        TaskView {
            assignment: self.record(&path::assignment(pipeline, &name)),
            instances: nodes.iter().filter_map(|node| self.record(node)).collect(),
            progress: self.record(&path::progress(pipeline, &name)),
            committed: self.record(&path::commit(pipeline, &name)),
            failure: self.record(&path::failure(pipeline, &name)),
            name,
        }
    }
}

impl View {
    /// Puts together what was read. A pipeline without a spec is none: its node is a leftover.
    pub(crate) fn new(tree: &Tree, now: Timestamp) -> Self {
        let mut reader = Reader {
            tree,
            unreadable: Vec::new(),
        };
        let members = |reader: &mut Reader<'_>, kind| reader.all::<_, Member>(&path::members(kind));
        let servers = members(&mut reader, MemberKind::Server);
        let cores = members(&mut reader, MemberKind::Core);
        let monitors = members(&mut reader, MemberKind::Monitor);
        let alerts = reader.all::<AlertId, Alert>(&path::alerts());
        let sources = reader
            .all::<DataSourceName, DataSource>(&path::datasources())
            .into_iter()
            .map(|(name, source)| {
                let probe = reader.record::<Probe>(&path::probe(&name));
                (name, (source, probe))
            })
            .collect();
        let pipelines = path::pipelines();
        let names: Vec<PipelineName> = tree
            .children(&pipelines)
            .filter_map(|name| name.parse().ok())
            .filter(|name| tree.has_data(&path::spec(name)))
            .collect();
        let pipelines = names.into_iter().map(|name| reader.pipeline(name, &alerts));
        let pipelines = pipelines.collect();
        Self {
            now,
            pipelines,
            servers,
            cores,
            monitors,
            drained: reader.all(&path::drained()),
            sources,
            alerts,
            unreadable: reader.unreadable,
        }
    }
}
