//! One pipeline: what it does now, what led there, and what was applied.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{HistoryEvent, Progress, TaskState};

use super::super::format;
use super::super::model::{Model, Part};
use super::super::picture::{Health, Pipeline, Task, word};
use super::super::theme::Theme;
use super::text::wrap;
use crate::mask;

/// From this many columns on, the last events stand beside what is now.
const WIDE: usize = 120;
/// Columns of a label, with the blank after it.
const LABEL: usize = 12;
/// Last events below what is now, where they can't stand beside it.
const EVENTS: usize = 5;

pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    model: &Model,
    name: &PipelineName,
    theme: Theme,
) {
    let width = usize::from(area.width);
    let lines = lines(model, name, width, theme);
    if model.part == Part::Now && width >= WIDE {
        let columns = [Constraint::Percentage(58), Constraint::Fill(1)];
        let [left, right] = Layout::horizontal(columns).areas(area);
        let events = model.picture.history(name);
        let mut beside = vec![Line::styled("LAST EVENTS", theme.title())];
        let rows = usize::from(right.height);
        for event in events.iter().take(rows) {
            beside.extend(event_lines(event, usize::from(right.width), theme));
        }
        beside.truncate(rows);
        super::scrolled(frame, left, lines, model.scroll, theme);
        super::scrolled(frame, right, beside, 0, theme);
        return;
    }
    super::scrolled(frame, area, lines, model.scroll, theme);
}

/// Rows of what can be scrolled.
pub(super) fn rows(model: &Model, name: &PipelineName, width: usize) -> usize {
    lines(model, name, width, Theme::new(false, true)).len()
}

fn lines(model: &Model, name: &PipelineName, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let Some(pipeline) = model.picture.pipeline(name.as_str()) else {
        let text = format!("{name} isn't there any more; Esc goes back.");
        return vec![Line::styled(text, theme.health(Health::Warn))];
    };
    match model.part {
        Part::Now => now(model, pipeline, width, theme),
        Part::History => {
            let events = model.picture.history(name);
            if events.is_empty() {
                return vec![Line::styled("Nothing has happened yet.", theme.faint())];
            }
            let lines = events.iter().flat_map(|e| event_lines(e, width, theme));
            lines.collect()
        }
        Part::Spec => spec(model, name, theme),
    }
}

fn spec(model: &Model, name: &PipelineName, theme: Theme) -> Vec<Line<'static>> {
    let Some(spec) = model.picture.spec(name) else {
        return vec![Line::styled(
            "It has no spec that can be read.",
            theme.faint(),
        )];
    };
    let head = format!(
        "revision {}, applied {} UTC by {}",
        spec.revision,
        format::moment(spec.applied),
        format::clean(&spec.by)
    );
    let mut lines = vec![Line::styled(head, theme.title()), Line::default()];
    lines.extend(
        format::clean_lines(&mask::secrets(&spec.text))
            .into_iter()
            .map(Line::raw),
    );
    lines
}

fn now(model: &Model, pipeline: &Pipeline, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let is_wide = width >= WIDE;
    let width = if is_wide { width * 58 / 100 - 1 } else { width };
    let health = pipeline.health();
    let mut lines = Vec::new();
    let state = format!("{} {}", theme.sign(health), pipeline.state());
    let text = match &pipeline.status {
        Some(status) => format!(
            "{state} for {}: {}",
            format::age(model.now, status.since),
            format::clean(&status.cause)
        ),
        None => format!("{state}: no Server has looked at it yet"),
    };
    for line in wrap(&text, width) {
        lines.push(Line::styled(line, theme.health(health)));
    }
    if let Some(desired) = &pipeline.desired {
        let text = format!(
            "{} since {} UTC, by {}: {}",
            word(&desired.state),
            format::moment(desired.since),
            format::clean(&desired.by),
            format::clean(&desired.cause)
        );
        labelled(&mut lines, "wanted", &text, width, theme);
    }
    if let Some(status) = &pipeline.status {
        let good = match status.good_revision {
            Some(good) if good == status.spec_revision => "; it has run well".to_owned(),
            Some(good) => format!("; the last that ran well is {good}"),
            None => "; none has run well yet".to_owned(),
        };
        let text = format!("revision {}{good}", status.spec_revision);
        labelled(&mut lines, "spec", &text, width, theme);
    }
    if let Some(worst) = pipeline.alert_worst {
        let text = format!(
            "{} {} firing; see :alerts",
            theme.sign(worst),
            pipeline.alerts_firing
        );
        labelled(&mut lines, "alerts", &text, width, theme);
    }
    if pipeline.tasks.is_empty() {
        lines.push(Line::default());
        lines.push(Line::styled("It has no task yet.", theme.faint()));
    }
    for task in &pipeline.tasks {
        lines.push(Line::default());
        task_lines(&mut lines, model, pipeline, task, width, theme);
    }
    if !is_wide {
        lines.push(Line::default());
        lines.push(Line::styled("LAST EVENTS", theme.title()));
        let events = model.picture.history(&pipeline.name);
        if events.is_empty() {
            lines.push(Line::styled("none", theme.faint()));
        }
        for event in events.iter().take(EVENTS) {
            lines.extend(event_lines(event, width, theme));
        }
    }
    lines
}

fn labelled(lines: &mut Vec<Line<'static>>, label: &str, text: &str, width: usize, theme: Theme) {
    let pieces = wrap(text, width.saturating_sub(LABEL));
    for (index, piece) in pieces.into_iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        lines.push(Line::from(vec![
            Span::styled(format!("  {label:<9} "), theme.faint()),
            Span::raw(piece),
        ]));
    }
}

fn task_health(task: &Task) -> (String, Health) {
    match (&task.progress, &task.failure) {
        (Some(progress), _) => {
            let health = match progress.state {
                TaskState::Running => Health::Good,
                TaskState::Paused => Health::Idle,
                TaskState::Failed => Health::Bad,
                _ => Health::Busy,
            };
            (word(&progress.state), health)
        }
        (None, Some(_)) => ("failed".to_owned(), Health::Bad),
        (None, None) => match task.instances.first() {
            Some(instance) => (word(&instance.state), Health::Busy),
            None => ("nobody runs it".to_owned(), Health::Idle),
        },
    }
}

fn task_lines(
    lines: &mut Vec<Line<'static>>,
    model: &Model,
    pipeline: &Pipeline,
    task: &Task,
    width: usize,
    theme: Theme,
) {
    let (state, health) = task_health(task);
    let mut head = vec![
        Span::styled(format!("TASK {}", task.name), theme.title()),
        Span::styled(
            format!("  {} {state}", theme.sign(health)),
            theme.health(health),
        ),
    ];
    if let Some(core) = task.running() {
        let since = task.progress.as_ref().map(|progress| progress.since);
        let age = since.map(|since| format!(" for {}", format::age(model.now, since)));
        head.push(Span::raw(format!(" on {core}{}", age.unwrap_or_default())));
    }
    lines.push(Line::from(head));
    failure_lines(lines, model, task, width, theme);
    if let Some(silence) = model.samples.silent(model.now, pipeline, task) {
        let text = format!(
            "  {} its Core has reported nothing for {}: what follows is that old",
            theme.sign(Health::Warn),
            format::span(silence)
        );
        lines.push(Line::styled(text, theme.health(Health::Warn)));
    }
    if let Some(progress) = &task.progress {
        rate_lines(lines, model, pipeline, task, progress, theme);
        if let Some(copy) = &progress.snapshot {
            labelled(lines, "copy", &crate::text::copy(copy), width, theme);
            for table in &copy.under_way {
                let line = format::clean(&crate::text::table_copy(table));
                labelled(lines, "", &line, width, theme);
            }
        }
        if !progress.file.is_empty() {
            let text = format!("{}:{}", format::clean(&progress.file), progress.position);
            labelled(lines, "position", &text, width, theme);
        }
    }
    let from_progress = task.progress.as_ref().map(|progress| &progress.gtid_set);
    let from_commit = task.commit.as_ref().map(|commit| &commit.gtid_set);
    if let Some(set) = from_progress.or(from_commit).filter(|set| !set.is_empty()) {
        labelled(lines, "GTID set", &format::clean(set), width, theme);
    }
    if let Some(commit) = &task.commit {
        let text = format!(
            "number {}, {} ago, in epoch {}-{}",
            commit.commit_seq,
            format::age(model.now, commit.at),
            commit.generation,
            commit.epoch
        );
        labelled(lines, "commit", &text, width, theme);
    }
    let instances: Vec<String> = task
        .instances
        .iter()
        .map(|instance| {
            let host = format::clean(&instance.host);
            let state = word(&instance.state);
            format!(
                "{} {state} (pid {} on {host})",
                instance.member, instance.pid
            )
        })
        .collect();
    match instances.is_empty() {
        true => labelled(lines, "instances", "none", width, theme),
        false => labelled(lines, "instances", &instances.join(", "), width, theme),
    }
    if let Some(assignment) = &task.assignment {
        let cores: Vec<String> = assignment.cores.iter().map(ToString::to_string).collect();
        let text = format!("{}: {}", cores.join(", "), format::clean(&assignment.cause));
        labelled(lines, "assigned", &text, width, theme);
    }
}

fn failure_lines(
    lines: &mut Vec<Line<'static>>,
    model: &Model,
    task: &Task,
    width: usize,
    theme: Theme,
) {
    let Some(failure) = &task.failure else {
        return;
    };
    let text = format!(
        "{} {} on {} {} ago, revision {}: {}",
        theme.sign(Health::Bad),
        format::clean(&failure.code),
        failure.core,
        format::age(model.now, failure.at),
        failure.spec_revision,
        format::clean(&failure.text)
    );
    for line in wrap(&text, width.saturating_sub(2)) {
        lines.push(Line::styled(format!("  {line}"), theme.health(Health::Bad)));
    }
    let next = match (failure.next.is_empty(), failure.transient) {
        (false, _) => format::clean(&failure.next),
        (true, true) => "wait: it's tried again by itself".to_owned(),
        (true, false) => return,
    };
    for line in wrap(&format!("next: {next}"), width.saturating_sub(2)) {
        lines.push(Line::styled(format!("  {line}"), theme.title()));
    }
}

/// Lag and rates now, and over the last minutes.
fn rate_lines(
    lines: &mut Vec<Line<'static>>,
    model: &Model,
    pipeline: &Pipeline,
    task: &Task,
    progress: &Progress,
    theme: Theme,
) {
    let columns = model.samples.columns(pipeline, task);
    let mut row = |label: &str, value: String, values: Vec<Option<u64>>| {
        lines.push(Line::from(vec![
            Span::styled(format!("  {label:<9} "), theme.faint()),
            Span::raw(format!("{value:>6} ")),
            Span::raw(theme.sparkline(&values)),
        ]));
    };
    let lags = columns.iter().map(|column| column.lag_ms).collect();
    row("lag", format::lag(progress.lag_ms), lags);
    let rates = columns.iter().map(|c| c.rows_per_second).collect();
    row("rows/s", format::count(progress.rows_per_second), rates);
    let read = format!(
        "{}/s from the source",
        format::bytes(progress.bytes_per_second)
    );
    row("read", read, Vec::new());
}

fn event_lines(event: &HistoryEvent, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let head = format!("{} ", format::moment(event.at));
    let task = match &event.task {
        Some(task) => format!("{}: ", format::clean(task)),
        None => String::new(),
    };
    let text = format!(
        "{}: {task}{} ({})",
        format::clean(&event.what),
        format::clean(&event.text),
        format::clean(&event.by)
    );
    let indent = head.chars().count();
    wrap(&text, width.saturating_sub(indent))
        .into_iter()
        .enumerate()
        .map(|(index, piece)| {
            let before = match index {
                0 => head.clone(),
                _ => " ".repeat(indent),
            };
            Line::from(vec![Span::styled(before, theme.faint()), Span::raw(piece)])
        })
        .collect()
}
