//! `describe`: everything about one thing.

use std::fmt::Write as _;

use towpath_protocol::tree::record::{Alert, DataSource, Member, Probe};
use towpath_protocol::tree::{AlertId, DataSourceName, MemberId};

use super::get::labels;
use super::history::{Told, history};
use super::status::{severity_tone, symbol, tone};
use super::table::NOTHING;
use crate::mask;
use crate::model::{PipelineView, TaskView, View, desired_word, severity_word, task_word};
use crate::screen::{Paint, Tone};
use crate::text;

/// What there is to describe.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Described<'a> {
    Pipeline(&'a PipelineView),
    Core(&'a MemberId, &'a Member),
    Server(&'a MemberId, &'a Member),
    Monitor(&'a MemberId, &'a Member),
    Source(&'a DataSourceName, &'a DataSource, Option<&'a Probe>),
    Alert(&'a AlertId, &'a Alert),
}

/// Lines of `Name: value`, under headings.
struct Sheet {
    out: String,
    paint: Paint,
}

impl Sheet {
    fn heading(&mut self, heading: &str) {
        let heading = text::line(heading);
        let _ = writeln!(self.out, "\n{}", self.paint.paint(Tone::Strong, &heading));
    }

    fn line(&mut self, name: &str, value: impl AsRef<str>) {
        self.toned(Tone::Plain, name, value);
    }

    fn toned(&mut self, tone: Tone, name: &str, value: impl AsRef<str>) {
        let value = match value.as_ref() {
            "" => NOTHING.to_owned(),
            value => text::line(value),
        };
        let name = self
            .paint
            .paint(Tone::Faint, &format!("{:<12}", format!("{name}:")));
        let _ = writeln!(self.out, "{name} {}", self.paint.paint(tone, &value));
    }
}

/// All of it; `events` is the end of a pipeline's history.
pub(crate) fn describe(view: &View, what: Described<'_>, events: &[Told], paint: Paint) -> String {
    let mut sheet = Sheet {
        out: String::new(),
        paint,
    };
    match what {
        Described::Pipeline(pipeline) => describe_pipeline(&mut sheet, view, pipeline, events),
        Described::Core(id, core) => {
            sheet.line("Core", id.as_str());
            member(&mut sheet, view, core);
            let tasks = view.tasks_of(id);
            sheet.line("Runs", tasks.running.join(", "));
            sheet.line("Stands by", tasks.standby.join(", "));
            let load = core.load;
            let memory_mib = load.memory_bytes >> 20;
            sheet.line(
                "Load",
                format!("{} rows/s, {memory_mib} MiB resident", load.rows_per_second),
            );
            if let Some(drain) = view.drained.get(id) {
                let reason = drain.reason.as_deref().unwrap_or("no reason given");
                let since = text::age(drain.since, view.now);
                let text = format!(
                    "{since} ago by {}: {reason}; undo: towpath undrain {id}",
                    drain.by
                );
                sheet.toned(Tone::Warning, "Drained", text);
            }
        }
        Described::Server(id, server) => {
            sheet.line("Server", id.as_str());
            member(&mut sheet, view, server);
            sheet.line("Directory", server.client.as_deref().unwrap_or_default());
            sheet.line("Raft role", server.raft_role.as_deref().unwrap_or_default());
        }
        Described::Monitor(id, monitor) => {
            sheet.line("Monitor", id.as_str());
            member(&mut sheet, view, monitor);
        }
        Described::Source(name, source, probe) => {
            sheet.line("Source", name.as_str());
            sheet.line("Address", &source.address);
            let since = text::age(source.since, view.now);
            sheet.line("Set", format!("{since} ago by {}", source.by));
            sheet.line("Reason", source.reason.as_deref().unwrap_or_default());
            if let Some(probe) = probe {
                let since = text::age(probe.since, view.now);
                let (tone, word) = match probe.answers {
                    true => (Tone::Good, "yes"),
                    false => (Tone::Bad, "no"),
                };
                let text = format!("{word}, for {since}, at {}: {}", probe.address, probe.text);
                sheet.toned(tone, "Answers", text);
            }
        }
        Described::Alert(id, alert) => describe_alert(&mut sheet, view, id, alert),
    }
    sheet.out
}

fn member(sheet: &mut Sheet, view: &View, member: &Member) {
    sheet.line("Host", format!("{}, pid {}", member.host, member.pid));
    sheet.line("Address", &member.address);
    sheet.line("Release", &member.release);
    sheet.line("Up", text::age(member.started, view.now));
    sheet.line("Labels", labels(member));
}

fn describe_alert(sheet: &mut Sheet, view: &View, id: &AlertId, alert: &Alert) {
    sheet.line("Alert", id.as_str());
    let severity = severity_word(&alert.severity);
    sheet.toned(severity_tone(&alert.severity), "Severity", severity);
    sheet.line("Rule", &alert.rule);
    sheet.line("About", &alert.subject);
    sheet.line("What", &alert.text);
    sheet.line("Since", ago(alert.since, view));
    let resolved = alert.resolved.map(|at| ago(at, view));
    sheet.line(
        "Resolved",
        resolved.as_deref().unwrap_or("no, it still fires"),
    );
    let seen = match (&alert.acknowledged_by, alert.acknowledged) {
        (Some(by), Some(at)) => format!("{by}, {}", ago(at, view)),
        (Some(by), None) => by.clone(),
        (None, _) => format!("nobody; towpath ack {id}"),
    };
    sheet.line("Seen by", seen);
}

fn ago(at: jiff::Timestamp, view: &View) -> String {
    format!("{} ({} ago)", text::moment(at), text::age(at, view.now))
}

fn describe_pipeline(sheet: &mut Sheet, view: &View, pipeline: &PipelineView, events: &[Told]) {
    sheet.line("Pipeline", pipeline.name.as_str());
    let state = format!("{} {}", symbol(pipeline), pipeline.state());
    let tone = tone(pipeline.health());
    match &pipeline.status {
        None => sheet.toned(
            tone,
            "State",
            format!("{state}: the Servers' leader has not seen it yet"),
        ),
        Some(status) => {
            let since = text::age(status.since, view.now);
            sheet.toned(tone, "State", format!("{state}, for {since}"));
            sheet.line("Because", &status.cause);
        }
    }
    if let Some(desired) = &pipeline.desired {
        let word = desired_word(&desired.state);
        let (since, by) = (text::age(desired.since, view.now), &desired.by);
        sheet.line(
            "Wanted",
            format!("{word}, for {since}, by {by} ({})", desired.cause),
        );
    }
    if let Some(spec) = &pipeline.spec {
        let applied = ago(spec.applied, view);
        sheet.line(
            "Revision",
            format!("{}, applied {applied} by {}", spec.revision, spec.by),
        );
    }
    if let Some(status) = &pipeline.status
        && let Some(good) = status
            .good_revision
            .filter(|good| *good != status.spec_revision)
    {
        sheet.line(
            "Ran well",
            format!("revision {good} was the newest that did"),
        );
    }
    for task in &pipeline.tasks {
        describe_task(sheet, view, pipeline, task);
    }
    if !pipeline.firing.is_empty() {
        sheet.heading("Firing");
        for (id, alert) in &pipeline.firing {
            let since = text::age(alert.since, view.now);
            let word = severity_word(&alert.severity);
            let about = format!("{word}, {}, for {since}: {}", alert.subject, alert.text);
            sheet.toned(severity_tone(&alert.severity), id.as_str(), about);
        }
    }
    sheet.heading("Lately");
    let lately = history(events, view.now, sheet.paint);
    sheet.out.push_str(&lately);
    if let Some(spec) = &pipeline.spec {
        sheet.heading("Pipeline file");
        for line in text::lines(&mask::secrets(&spec.text)) {
            let _ = writeln!(sheet.out, "  {line}");
        }
    }
}

fn describe_task(sheet: &mut Sheet, view: &View, pipeline: &PipelineView, task: &TaskView) {
    sheet.heading(&format!("Task {}/{}", pipeline.name, task.name));
    match &task.assignment {
        None => sheet.line("Assigned", "to nobody yet"),
        Some(plan) => {
            let cores: Vec<String> = plan
                .cores
                .iter()
                .map(|core| match view.cores.contains_key(core) {
                    true => core.to_string(),
                    false => format!("{core} (not there)"),
                })
                .collect();
            let since = text::age(plan.since, view.now);
            let cores = cores.join(", ");
            sheet.line(
                "Assigned",
                format!("to {cores}, {since} ago: {}", plan.cause),
            );
            sheet.line("server_id", plan.server_id.to_string());
        }
    }
    for instance in &task.instances {
        let since = text::age(instance.since, view.now);
        let state = instance.state.word();
        let place = format!("{}, pid {}", instance.host, instance.pid);
        sheet.line(
            instance.member.as_str(),
            format!("{state} on {place}, a candidate for {since}"),
        );
    }
    if task.instances.is_empty() {
        sheet.toned(Tone::Warning, "Candidates", "none: nobody runs it");
    }
    if let Some(progress) = &task.progress {
        let state = task_word(&progress.state);
        let since = text::age(progress.since, view.now);
        let told = text::age(progress.updated, view.now);
        sheet.line(
            "Progress",
            format!("{state} on {} for {since}, told {told} ago", progress.core),
        );
        let lag = progress.lag_ms.map_or(NOTHING.to_owned(), text::lag);
        let kib = progress.bytes_per_second >> 10;
        sheet.line(
            "Lag",
            format!("{lag}; {} rows/s, {kib} KiB/s", progress.rows_per_second),
        );
        if let Some(copy) = &progress.snapshot {
            sheet.line("First copy", text::copy(copy));
            for table in &copy.under_way {
                sheet.line("Table", text::table_copy(table));
            }
        }
        if !progress.file.is_empty() {
            sheet.line(
                "Position",
                format!("{}:{}", progress.file, progress.position),
            );
        }
        sheet.line("Epoch", progress.epoch.to_string());
    }
    if let Some(last) = &task.committed {
        let at = text::age(last.at, view.now);
        sheet.line(
            "Last commit",
            format!("number {}, {at} ago", last.commit_seq),
        );
    }
    sheet.line("GTID set", task.gtid_set());
    if let Some(failure) = &task.failure {
        let at = text::age(failure.at, view.now);
        let (core, code) = (&failure.core, &failure.code);
        sheet.toned(
            Tone::Bad,
            "Failed",
            format!("{at} ago on {core} ({code}): {}", failure.text),
        );
        let next = match (failure.next.is_empty(), failure.transient) {
            (false, _) => &*failure.next,
            (true, true) => "wait: it's tried again by itself",
            (true, false) => "mend the cause, then start the pipeline again",
        };
        sheet.line("What to do", next);
    }
}
