//! `status`: what is wrong, on one screen.

use std::fmt::Write as _;

use towpath_protocol::tree::record::{Alert, LifeState, Severity};

use super::table::{Cell, NOTHING, Table};
use crate::model::{Health, PipelineView, View, severity_word};
use crate::screen::{Paint, Tone};
use crate::text;

/// All pipelines, or one; below them what fires and what is wrong with the cluster.
pub(crate) fn status(view: &View, only: Option<&str>, paint: Paint) -> String {
    let mut out = String::new();
    let is_shown = |name: &str| only.is_none_or(|only| only == name);
    if only.is_none() {
        let _ = writeln!(out, "{}\n", summary(view));
    }
    let pipelines = view.worst_first().into_iter();
    let pipelines: Vec<_> = pipelines
        .filter(|pipeline| is_shown(pipeline.name.as_str()))
        .collect();
    match pipelines.is_empty() {
        true => out.push_str("no pipelines; put one in force: towpath apply -f FILE\n"),
        false => out.push_str(&table(view, &pipelines).draw(paint)),
    }
    let firing: Vec<_> = view
        .firing()
        .into_iter()
        .filter(|(_, alert)| is_shown(alert.subject.split('/').next().unwrap_or_default()))
        .collect();
    if !firing.is_empty() {
        let _ = writeln!(out, "\n{}", paint.paint(Tone::Strong, "Firing"));
        let mut table = Table::new(&["", "SEVERITY", "ALERT", "ABOUT", "FOR", "SEEN BY"]);
        for (id, alert) in firing {
            table.row([
                severity_symbol(&alert.severity),
                Cell::toned(
                    severity_tone(&alert.severity),
                    severity_word(&alert.severity),
                ),
                id.as_str().into(),
                (&alert.subject).into(),
                text::age(alert.since, view.now).into(),
                seen_by(alert).into(),
            ]);
            table.note((&alert.text).into());
        }
        out.push_str(&table.draw(paint));
    }
    let troubles = view.troubles();
    if only.is_none() && !troubles.is_empty() {
        let _ = writeln!(
            out,
            "\n{}",
            paint.paint(Tone::Strong, "Wrong with the cluster")
        );
        for trouble in troubles {
            let line = format!("! {}", text::line(&trouble));
            let _ = writeln!(out, "{}", paint.paint(Tone::Warning, &line));
        }
    }
    out
}

fn summary(view: &View) -> String {
    let pipelines = view.pipelines.len();
    let mut out = text::count(pipelines, "pipeline", "pipelines");
    let of = |health| {
        let those = view.pipelines.iter();
        those.filter(|pipeline| pipeline.health() == health).count()
    };
    let parts: Vec<String> = [
        (Health::Bad, "need you"),
        (Health::Troubled, "in trouble"),
        (Health::Changing, "changing"),
        (Health::Good, "fine"),
        (Health::Resting, "at rest"),
    ]
    .into_iter()
    .map(|(health, word)| (of(health), word))
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| match (count, word) {
        (1, "need you") => "1 needs you".to_owned(),
        (count, word) => format!("{count} {word}"),
    })
    .collect();
    if !parts.is_empty() {
        let _ = write!(out, " ({})", parts.join(", "));
    }
    let leads = view.leader().map(|leader| format!(" ({leader} leads)"));
    let _ = write!(
        out,
        "; {}{}, {}, {}",
        text::count(view.servers.len(), "Server", "Servers"),
        leads.unwrap_or_default(),
        text::count(view.cores.len(), "Core", "Cores"),
        text::count(view.monitors.len(), "Monitor", "Monitors"),
    );
    out
}

fn table(view: &View, pipelines: &[&PipelineView]) -> Table {
    let mut table = Table::new(&[
        "", "PIPELINE", "STATE", "FOR", ">LAG", ">ROWS/S", "RUNS ON", "STANDBY", "ALERTS",
    ]);
    for pipeline in pipelines {
        let health = pipeline.health();
        let status = pipeline.status.as_ref();
        table.row([
            Cell::toned(tone(health), symbol(pipeline)),
            pipeline.name.as_str().into(),
            Cell::toned(tone(health), pipeline.state()),
            status
                .map_or(NOTHING.to_owned(), |status| {
                    text::age(status.since, view.now)
                })
                .into(),
            pipeline
                .lag_ms()
                .map_or(NOTHING.to_owned(), text::lag)
                .into(),
            pipeline
                .rows_per_second()
                .map_or(NOTHING.to_owned(), |rows| rows.to_string())
                .into(),
            runs_on(pipeline).into(),
            standby(pipeline).into(),
            alerts(pipeline),
        ]);
        if !matches!(health, Health::Good | Health::Resting) {
            table.note(Cell::toned(Tone::Faint, why(pipeline)));
        }
        for copy in pipeline.copies() {
            table.note(Cell::toned(Tone::Faint, text::copy(copy)));
        }
        if let Some((_, failure)) = pipeline.failure()
            && !failure.next.is_empty()
        {
            table.note(format!("-> {}", failure.next).into());
        }
    }
    table
}

/// Why a pipeline isn't as it should be.
fn why(pipeline: &PipelineView) -> String {
    let runs = matches!(&pipeline.status, Some(status) if status.state == LifeState::Running);
    let idle = pipeline.tasks.iter().find(|task| task.running().is_none());
    if let (None, true, Some(task)) = (pipeline.failure(), runs, idle) {
        return match task.standby().next() {
            Some(next) => format!(
                "nobody runs {} now; {} is to take over",
                task.name, next.member
            ),
            None => format!("nobody runs {} now, and nobody stands by", task.name),
        };
    }
    let cause = pipeline.status.as_ref().map(|status| &*status.cause);
    match (pipeline.failure(), cause) {
        (Some((task, failure)), _) => {
            format!("{} on {}: {}", task.name, failure.core, failure.text)
        }
        (None, Some(cause)) if !cause.is_empty() => cause.to_owned(),
        (None, Some(_)) => NOTHING.to_owned(),
        (None, None) => "the Servers' leader has not seen it yet".to_owned(),
    }
}

/// One mark a state, so that a monochrome screen tells it.
pub(super) fn symbol(pipeline: &PipelineView) -> &'static str {
    match pipeline.health() {
        Health::Bad => "✗",
        Health::Troubled => "!",
        Health::Changing => "~",
        Health::Good => "✓",
        Health::Resting => match pipeline.status.as_ref().map(|status| &status.state) {
            Some(LifeState::Paused) => "‖",
            _ => "·",
        },
    }
}

/// What a state's colour is.
pub(super) fn tone(health: Health) -> Tone {
    match health {
        Health::Bad => Tone::Bad,
        Health::Troubled => Tone::Warning,
        Health::Changing => Tone::Changing,
        Health::Good => Tone::Good,
        Health::Resting => Tone::Faint,
    }
}

/// What a severity's colour is.
pub(super) fn severity_tone(severity: &Severity) -> Tone {
    match severity {
        Severity::Critical => Tone::Bad,
        Severity::Warning | Severity::Other(_) => Tone::Warning,
        Severity::Info => Tone::Faint,
    }
}

/// One mark a severity.
pub(super) fn severity_symbol(severity: &Severity) -> Cell {
    let symbol = match severity {
        Severity::Critical => "✗",
        Severity::Warning | Severity::Other(_) => "!",
        Severity::Info => "·",
    };
    Cell::toned(severity_tone(severity), symbol)
}

/// Who has seen an alert.
pub(super) fn seen_by(alert: &Alert) -> &str {
    alert.acknowledged_by.as_deref().unwrap_or(NOTHING)
}

/// Which Cores run a pipeline's tasks.
pub(super) fn runs_on(pipeline: &PipelineView) -> String {
    let running = pipeline.tasks.iter().filter_map(|task| task.running());
    let mut names: Vec<String> = running
        .map(|instance| match instance.state.word() {
            "running" | "paused" => instance.member.to_string(),
            word => format!("{} ({word})", instance.member),
        })
        .collect();
    names.dedup();
    joined(names)
}

/// Which Cores stand by, or get ready to.
pub(super) fn standby(pipeline: &PipelineView) -> String {
    let mut names: Vec<String> = Vec::new();
    for task in &pipeline.tasks {
        let running = task.running().map(|instance| &instance.member);
        for instance in &task.instances {
            if running == Some(&instance.member) {
                continue;
            }
            names.push(match instance.state.word() {
                "standby" => instance.member.to_string(),
                word => format!("{} ({word})", instance.member),
            });
        }
    }
    names.sort();
    names.dedup();
    joined(names)
}

fn joined(names: Vec<String>) -> String {
    match names.is_empty() {
        true => NOTHING.to_owned(),
        false => names.join(", "),
    }
}

fn alerts(pipeline: &PipelineView) -> Cell {
    match pipeline.firing.first() {
        None => NOTHING.into(),
        Some((_, worst)) => {
            let word = severity_word(&worst.severity);
            let text = match pipeline.firing.len() {
                1 => format!("1 {word}"),
                count => format!("{count}, worst {word}"),
            };
            Cell::toned(severity_tone(&worst.severity), text)
        }
    }
}
