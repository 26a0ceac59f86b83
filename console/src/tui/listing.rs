//! The rows of each view, filtered and in order: what is drawn, and where the cursor can go.

use towpath_protocol::tree::record::{Alert, Member};
use towpath_protocol::tree::{AlertId, MemberId, NodePath, path};

use super::format;
use super::model::{Model, Order, View};
use super::picture::{Health, Pipeline, word};

/// A row of the cluster.
#[derive(Clone, Debug)]
pub(super) struct ClusterRow<'a> {
    /// server, core, monitor.
    pub(super) kind: &'static str,
    pub(super) id: &'a MemberId,
    /// `None` for one that isn't there.
    pub(super) member: Option<&'a Member>,
    pub(super) state: String,
    pub(super) health: Health,
    /// What it runs, or why it's drained.
    pub(super) work: String,
}

/// A row of the directory.
#[derive(Clone, Debug)]
pub(super) struct NodeRow {
    pub(super) path: NodePath,
    pub(super) depth: usize,
    /// Whether what is below it is shown; `None` if there is nothing.
    pub(super) open: Option<bool>,
}

/// The names of the rows of the view, in their order.
pub(super) fn keys(model: &Model) -> Vec<String> {
    match &model.view {
        View::Pipelines => names(pipelines(model).iter().map(|pipeline| &pipeline.name)),
        View::Pipeline(_) => Vec::new(),
        View::Cluster => cluster(model).iter().map(ClusterRow::key).collect(),
        View::Alerts => names(alerts(model).iter().map(|(id, _)| id)),
        View::Directory => names(nodes(model).iter().map(|row| &row.path)),
    }
}

fn names<T: ToString>(things: impl Iterator<Item = T>) -> Vec<String> {
    things.map(|thing| thing.to_string()).collect()
}

/// Whether a row's text passes the filter: it holds it, or with `!` before it doesn't; upper and
/// lower case are the same.
fn passes(filter: &str, text: &str) -> bool {
    let (inverted, wanted) = match filter.strip_prefix('!') {
        Some(wanted) => (true, wanted),
        None => (false, filter),
    };
    wanted.is_empty() || text.to_lowercase().contains(&wanted.to_lowercase()) != inverted
}

/// The pipelines.
pub(super) fn pipelines(model: &Model) -> Vec<&Pipeline> {
    let mut shown: Vec<&Pipeline> = model
        .picture
        .pipelines
        .iter()
        .filter(|pipeline| {
            let cores = [pipeline.running_on(), pipeline.standbys()].concat();
            let text = [
                pipeline.name.to_string(),
                pipeline.state(),
                pipeline.cause(),
            ];
            passes(model.filter(), &[text.join(" "), cores.join(" ")].join(" "))
        })
        .collect();
    // Sorts are stable, and the pipelines are in the order of their names.
    match model.order {
        Order::Name => {}
        Order::State => shown.sort_by_key(|pipeline| {
            (
                pipeline.health(),
                std::cmp::Reverse(pipeline.lag_ms().unwrap_or(0)),
            )
        }),
        Order::Lag => shown.sort_by_key(|pipeline| std::cmp::Reverse(pipeline.lag_ms())),
        Order::Rows => shown.sort_by_key(|pipeline| std::cmp::Reverse(pipeline.rows_per_second())),
    }
    if model.reversed {
        shown.reverse();
    }
    shown
}

/// The alerts.
pub(super) fn alerts(model: &Model) -> Vec<&(AlertId, Alert)> {
    let shown = model.picture.alerts.iter().filter(|(id, alert)| {
        let text = format!(
            "{id} {} {} {} {} {}",
            alert.rule,
            alert.subject,
            alert.text,
            word(&alert.state),
            word(&alert.severity)
        );
        passes(model.filter(), &text)
    });
    shown.collect()
}

/// Servers, Cores with those that are lost, Monitors.
pub(super) fn cluster(model: &Model) -> Vec<ClusterRow<'_>> {
    let picture = &model.picture;
    let mut rows = Vec::new();
    for (id, member) in &picture.servers {
        let role = member.raft_role.as_deref().unwrap_or("unknown");
        let health = match role {
            "leader" | "follower" => Health::Good,
            _ => Health::Busy,
        };
        let work = match &member.client {
            Some(client) => format!("directory at {client}"),
            None => String::new(),
        };
        rows.push(ClusterRow::of(
            "server",
            id,
            Some(member),
            (role, health),
            work,
        ));
    }
    for (id, member) in &picture.cores {
        let mut work: Vec<String> = picture
            .work_of(id)
            .into_iter()
            .map(|(task, runs)| match runs {
                true => task,
                false => format!("({task})"),
            })
            .collect();
        let state = match picture.drained.iter().find(|(drained, _)| drained == id) {
            Some((_, drain)) => {
                let reason = drain.reason.as_deref().unwrap_or("no reason given");
                work.insert(0, format!("drained by {}: {reason}", drain.by));
                ("drained", Health::Idle)
            }
            None => ("up", Health::Good),
        };
        rows.push(ClusterRow::of(
            "core",
            id,
            Some(member),
            state,
            work.join(" "),
        ));
    }
    let lost = picture.lost_cores();
    for (id, tasks) in &lost {
        let work = format!("was assigned {}", tasks.join(" "));
        rows.push(ClusterRow::of(
            "core",
            id,
            None,
            ("lost", Health::Bad),
            work,
        ));
    }
    for (id, drain) in &picture.drained {
        let known = picture.cores.iter().any(|(core, _)| core == id)
            || lost.iter().any(|(core, _)| *core == id);
        if !known {
            let work = format!("drained by {}", drain.by);
            rows.push(ClusterRow::of(
                "core",
                id,
                None,
                ("away", Health::Idle),
                work,
            ));
        }
    }
    for (id, member) in &picture.monitors {
        let state = match picture.leading_monitor.as_ref() == Some(id) {
            true => ("alerting", Health::Good),
            false => ("standby", Health::Good),
        };
        rows.push(ClusterRow::of(
            "monitor",
            id,
            Some(member),
            state,
            String::new(),
        ));
    }
    let text = |row: &ClusterRow<'_>| {
        let host = row.member.map_or("", |member| &member.host);
        format!("{} {host} {} {}", row.key(), row.state, row.work)
    };
    rows.retain(|row| passes(model.filter(), &text(row)));
    rows
}

impl<'a> ClusterRow<'a> {
    fn of(
        kind: &'static str,
        id: &'a MemberId,
        member: Option<&'a Member>,
        (state, health): (&str, Health),
        work: String,
    ) -> Self {
        Self {
            kind,
            id,
            member,
            state: format::clean(state),
            health,
            work,
        }
    }

    /// Its name among the rows.
    pub(super) fn key(&self) -> String {
        format!("{} {}", self.kind, self.id)
    }
}

/// The nodes that are open; with a filter all that pass it, and what is above them.
pub(super) fn nodes(model: &Model) -> Vec<NodeRow> {
    let tree = &model.picture.tree;
    let filter = model.filter();
    let top = path::root();
    let row = |path: &NodePath, open: Option<bool>| NodeRow {
        path: path.clone(),
        depth: path.below(&top).map_or(0, Iterator::count),
        open,
    };
    let mut rows = Vec::new();
    if !filter.is_empty() {
        let mut kept: Vec<&NodePath> = Vec::new();
        let mut paths: Vec<&NodePath> = tree.paths().collect();
        paths.sort_by_cached_key(|path| steps(path));
        // From the end: what is below a node has been seen before it.
        for path in paths.iter().rev() {
            let inside = kept.last().is_some_and(|last| last.below(path).is_some());
            if inside || passes(filter, path.as_str()) {
                kept.push(path);
            }
        }
        kept.reverse();
        for path in kept {
            let open = tree.children(path).next().map(|_| true);
            rows.push(row(path, open));
        }
        return rows;
    }
    let mut waiting = vec![top.clone()];
    while let Some(path) = waiting.pop() {
        if tree.get(&path).is_none() {
            continue;
        }
        let children: Vec<&NodePath> = tree.children(&path).collect();
        let open = (!children.is_empty()).then(|| model.open.contains(&path));
        if open == Some(true) {
            waiting.extend(children.into_iter().rev().cloned());
        }
        rows.push(row(&path, open));
    }
    rows
}

/// The steps of a path: their order is that of the tree, which the order of the texts isn't.
fn steps(path: &NodePath) -> Vec<&str> {
    path.as_str().split('/').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_ignores_case_and_can_be_inverted() {
        assert!(passes("", "anything"));
        assert!(passes("ORD", "orders running"));
        assert!(!passes("!ord", "orders running"));
        assert!(passes("!ord", "billing"));
        assert!(passes("!", "anything"));
    }
}
