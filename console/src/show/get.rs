//! `get`: one line each.

use std::collections::BTreeMap;

use towpath_protocol::tree::MemberId;
use towpath_protocol::tree::record::{AlertState, Member};

use super::status::{runs_on, seen_by, severity_symbol, severity_tone, standby, symbol, tone};
use super::table::{Cell, NOTHING, Table};
use crate::model::{View, desired_word, severity_word};
use crate::screen::{Paint, Tone};
use crate::text;

/// A table, or that there is nothing to put into it.
fn drawn(table: &Table, count: usize, nothing: &str, paint: Paint) -> String {
    match count {
        0 => format!("{nothing}\n"),
        _ => table.draw(paint),
    }
}

/// `get pipelines`.
pub(crate) fn pipelines(view: &View, paint: Paint) -> String {
    let mut table = Table::new(&[
        "",
        "PIPELINE",
        "WANTED",
        "STATE",
        "FOR",
        ">REVISION",
        "RUNS ON",
        "STANDBY",
        "BY",
    ]);
    for pipeline in &view.pipelines {
        let spec = pipeline.spec.as_ref();
        let tone = tone(pipeline.health());
        let since = pipeline.status.as_ref().map(|status| status.since);
        let desired = pipeline.desired.as_ref();
        table.row([
            Cell::toned(tone, symbol(pipeline)),
            pipeline.name.as_str().into(),
            desired
                .map_or(NOTHING, |desired| desired_word(&desired.state))
                .into(),
            Cell::toned(tone, pipeline.state()),
            since
                .map_or(NOTHING.to_owned(), |since| text::age(since, view.now))
                .into(),
            spec.map_or(NOTHING.to_owned(), |spec| spec.revision.to_string())
                .into(),
            runs_on(pipeline).into(),
            standby(pipeline).into(),
            spec.map_or(NOTHING, |spec| &spec.by).into(),
        ]);
    }
    let nothing = "no pipelines; put one in force: towpath apply -f FILE";
    drawn(&table, view.pipelines.len(), nothing, paint)
}

/// `get tasks`: a line per instance, and one per task that has none.
pub(crate) fn tasks(view: &View, paint: Paint) -> String {
    let mut table = Table::new(&[
        "TASK", "CORE", "STATE", "FOR", ">PID", ">LAG", ">ROWS/S", "POSITION",
    ]);
    let mut count = 0;
    for pipeline in &view.pipelines {
        for task in &pipeline.tasks {
            count += 1;
            let name = format!("{}/{}", pipeline.name, task.name);
            if task.instances.is_empty() {
                let none = || Cell::from(NOTHING);
                let state = Cell::toned(Tone::Warning, "nobody");
                table.row([
                    (&name).into(),
                    none(),
                    state,
                    none(),
                    none(),
                    none(),
                    none(),
                    none(),
                ]);
            }
            for instance in &task.instances {
                let runs = task.running().is_some_and(|running| running == instance);
                let progress = task.progress.as_ref().filter(|_| runs);
                table.row([
                    (&name).into(),
                    instance.member.as_str().into(),
                    instance.state.word().into(),
                    text::age(instance.since, view.now).into(),
                    instance.pid.to_string().into(),
                    progress
                        .and_then(|progress| progress.lag_ms)
                        .map_or(NOTHING.to_owned(), text::lag)
                        .into(),
                    progress
                        .map_or(NOTHING.to_owned(), |progress| {
                            progress.rows_per_second.to_string()
                        })
                        .into(),
                    progress
                        .map_or(NOTHING.to_owned(), |progress| {
                            format!("{}:{}", progress.file, progress.position)
                        })
                        .into(),
                ]);
            }
        }
    }
    drawn(&table, count, "no tasks", paint)
}

/// `get cores`. A Core that is drained and isn't there has a line, too.
pub(crate) fn cores(view: &View, paint: Paint) -> String {
    let mut table = Table::new(&[
        "CORE",
        "HOST",
        ">PID",
        "UP",
        "RUNS",
        "STANDS BY",
        ">ROWS/S",
        "LABELS",
        "DRAINED",
    ]);
    for (id, core) in &view.cores {
        let tasks = view.tasks_of(id);
        table.row([
            id.as_str().into(),
            (&core.host).into(),
            core.pid.to_string().into(),
            text::age(core.started, view.now).into(),
            listed(&tasks.running).into(),
            listed(&tasks.standby).into(),
            core.load.rows_per_second.to_string().into(),
            labels(core).into(),
            drained(view, id),
        ]);
    }
    let gone: Vec<_> = view
        .drained
        .keys()
        .filter(|id| !view.cores.contains_key(id))
        .collect();
    for id in &gone {
        let none = || Cell::from(NOTHING);
        table.row([
            id.as_str().into(),
            none(),
            none(),
            "not there".into(),
            none(),
            none(),
            none(),
            none(),
            drained(view, id),
        ]);
    }
    let count = view.cores.len() + gone.len();
    drawn(
        &table,
        count,
        "no Cores; start one: towpath core --directory ADDR:PORT",
        paint,
    )
}

fn drained(view: &View, id: &MemberId) -> Cell {
    match view.drained.get(id) {
        None => NOTHING.into(),
        Some(drain) => {
            let reason = drain.reason.as_ref().map(|reason| format!(": {reason}"));
            let text = format!(
                "{} ago by {}{}",
                text::age(drain.since, view.now),
                drain.by,
                reason.unwrap_or_default()
            );
            Cell::toned(Tone::Warning, text)
        }
    }
}

fn listed(names: &[String]) -> String {
    match names.is_empty() {
        true => NOTHING.to_owned(),
        false => names.join(", "),
    }
}

/// Labels as `zone=a,disk=ssd`.
pub(super) fn labels(member: &Member) -> String {
    let labels: Vec<String> = member
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    match labels.is_empty() {
        true => NOTHING.to_owned(),
        false => labels.join(","),
    }
}

/// `get servers`.
pub(crate) fn servers(view: &View, paint: Paint) -> String {
    let mut table = Table::new(&[
        "SERVER",
        "HOST",
        ">PID",
        "UP",
        "DIRECTORY",
        "RAFT ROLE",
        "RELEASE",
        "LABELS",
    ]);
    for (id, server) in &view.servers {
        let role = server.raft_role.as_deref().unwrap_or(NOTHING);
        let tone = match role {
            "leader" => Tone::Strong,
            _ => Tone::Plain,
        };
        table.row([
            id.as_str().into(),
            (&server.host).into(),
            server.pid.to_string().into(),
            text::age(server.started, view.now).into(),
            server.client.as_deref().unwrap_or(NOTHING).into(),
            Cell::toned(tone, role),
            (&server.release).into(),
            labels(server).into(),
        ]);
    }
    drawn(
        &table,
        view.servers.len(),
        "no Servers are registered",
        paint,
    )
}

/// `get monitors`.
pub(crate) fn monitors(view: &View, paint: Paint) -> String {
    members(
        "MONITOR",
        &view.monitors,
        "no Monitors; start one: towpath monitor --directory ADDR:PORT",
        view,
        paint,
    )
}

fn members(
    heading: &'static str,
    members: &BTreeMap<MemberId, Member>,
    nothing: &str,
    view: &View,
    paint: Paint,
) -> String {
    let mut table = Table::new(&[
        heading, "HOST", ">PID", "UP", "ADDRESS", "RELEASE", "LABELS",
    ]);
    for (id, member) in members {
        table.row([
            id.as_str().into(),
            (&member.host).into(),
            member.pid.to_string().into(),
            text::age(member.started, view.now).into(),
            (&member.address).into(),
            (&member.release).into(),
            labels(member).into(),
        ]);
    }
    drawn(&table, members.len(), nothing, paint)
}

/// `get datasources` and `source ls`.
pub(crate) fn sources(view: &View, paint: Paint) -> String {
    let mut table = Table::new(&[
        "SOURCE", "ADDRESS", "ANSWERS", "FOR", "SET BY", "SET", "REASON",
    ]);
    for (name, (source, probe)) in &view.sources {
        // A probe of another address says nothing of this one.
        let probe = probe
            .as_ref()
            .filter(|probe| probe.address == source.address);
        let answers = match probe {
            None => NOTHING.into(),
            Some(probe) if probe.answers => Cell::toned(Tone::Good, format!("yes: {}", probe.text)),
            Some(probe) => Cell::toned(Tone::Bad, format!("no: {}", probe.text)),
        };
        table.row([
            name.as_str().into(),
            (&source.address).into(),
            answers,
            probe
                .map_or(NOTHING.to_owned(), |probe| text::age(probe.since, view.now))
                .into(),
            (&source.by).into(),
            format!("{} ago", text::age(source.since, view.now)).into(),
            source.reason.as_deref().unwrap_or(NOTHING).into(),
        ]);
    }
    let nothing = "no named data sources; name one: towpath source set NAME HOST:PORT";
    drawn(&table, view.sources.len(), nothing, paint)
}

/// `alerts` and `get alerts`: what fires, or all; worst first, then resolved ones, newest first.
pub(crate) fn alerts(view: &View, all: bool, paint: Paint) -> String {
    let mut table = Table::new(&[
        "", "SEVERITY", "ALERT", "ABOUT", "STATE", "SINCE", "SEEN BY",
    ]);
    let mut count = 0;
    for (id, alert) in view.alerts(all) {
        count += 1;
        let (symbol, state) = match (&alert.state, alert.resolved) {
            (AlertState::Firing, _) => (severity_symbol(&alert.severity), "firing".to_owned()),
            (AlertState::Resolved, Some(resolved)) => {
                let ago = text::age(resolved, view.now);
                ("✓".into(), format!("resolved {ago} ago"))
            }
            (AlertState::Resolved, None) => ("✓".into(), "resolved".to_owned()),
            (AlertState::Other(word), _) => ("~".into(), word.clone()),
        };
        table.row([
            symbol,
            Cell::toned(
                severity_tone(&alert.severity),
                severity_word(&alert.severity),
            ),
            id.as_str().into(),
            (&alert.subject).into(),
            state.into(),
            format!("{} ago", text::age(alert.since, view.now)).into(),
            seen_by(alert).into(),
        ]);
        table.note((&alert.text).into());
    }
    let nothing = match (all, view.monitors.is_empty()) {
        (_, true) => "no alerts, and no Monitor is there to raise any",
        (true, false) => "no alerts",
        (false, false) => "nothing fires",
    };
    drawn(&table, count, nothing, paint)
}
