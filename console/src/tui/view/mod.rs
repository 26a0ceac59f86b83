//! What is on the screen, as a function of the model.
//!
//! ```text
//! towpath  pipelines 4 (1 bad)  cores 3  alerts 2          127.0.0.1:2181 connected
//! NO DIRECTORY for 12s: what you see is as old …                      (if it's lost)
//! pipelines > orders                                              filter: ord
//! the view
//! what a command came to, or the line being typed                     (1 to 3 rows)
//! p pause  r resume  …                                                (the keys here)
//! ```

pub(super) mod help;
mod alerts;
mod cluster;
mod dialog;
mod directory;
mod pipeline;
mod pipelines;
mod table;
mod text;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::format;
use super::keys;
use super::model::{LineKind, Model, Overlay, View};
use super::picture::Health;
use super::theme::Theme;
use super::update::candidates;
use text::{fit, wrap};

/// The most rows of what a command came to.
const STATUS_ROWS_MAX: usize = 3;
/// With fewer columns, the directory's address isn't shown: it wouldn't be recognised.
const PLACE_MIN: usize = 9;

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, theme: Theme) {
    let area = frame.area();
    let status = status(model, theme, area.width.into());
    let banner = u16::from(model.lost.is_some());
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(banner),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(u16::try_from(status.len()).unwrap_or(1)),
        Constraint::Length(1),
    ]);
    let [
        header_row,
        banner_row,
        title_row,
        body,
        status_rows,
        bar_row,
    ] = rows.areas(area);
    frame.render_widget(header(model, theme, area.width.into()), header_row);
    frame.render_widget(title(model, theme, area.width.into()), title_row);
    match &model.view {
        View::Pipelines => pipelines::draw(frame, body, model, theme),
        View::Pipeline(name) => pipeline::draw(frame, body, model, name, theme),
        View::Cluster => cluster::draw(frame, body, model, theme),
        View::Alerts => alerts::draw(frame, body, model, theme),
        View::Directory => directory::draw(frame, body, model, theme),
    }
    if let Some(lost) = model.lost {
        let age = format::age(model.now, lost);
        let text =
            format!(" NO DIRECTORY for {age}: what you see is at least that old. Trying again.");
        let text = fit(&text, area.width.into(), theme);
        frame.render_widget(Paragraph::new(text).style(theme.banner()), banner_row);
        frame.buffer_mut().set_style(title_row, theme.stale());
        frame.buffer_mut().set_style(body, theme.stale());
    }
    match &model.overlay {
        None => {}
        Some(Overlay::Help { scroll }) => help::draw(frame, body, model, *scroll, theme),
        Some(Overlay::Confirm {
            request,
            consequence,
        }) => dialog::confirm(frame, body, &request.what, consequence, theme),
        Some(Overlay::Choose(choice)) => dialog::choose(frame, body, choice, theme),
    }
    frame.render_widget(Paragraph::new(status), status_rows);
    frame.render_widget(bar(model, theme, area.width.into()), bar_row);
}

/// Rows of the view's body, its headings left out: a page.
pub(super) fn body_rows(model: &Model) -> usize {
    let banner = usize::from(model.lost.is_some());
    usize::from(model.size.1).saturating_sub(5 + banner)
}

/// How far the view, or the part of it that has the focus, can be scrolled.
pub(super) fn scroll_max(model: &Model) -> usize {
    let width = usize::from(model.size.0);
    let lines = match &model.view {
        View::Pipeline(name) => pipeline::rows(model, name, width),
        View::Directory => directory::data_rows(model, width),
        _ => 0,
    };
    lines.saturating_sub(body_rows(model))
}

fn header(model: &Model, theme: Theme, width: usize) -> Line<'static> {
    let picture = &model.picture;
    let count = |health: Health| {
        let all = picture.pipelines.iter();
        all.filter(|pipeline| pipeline.health() == health).count()
    };
    let mut spans = vec![
        Span::styled("towpath", theme.title()),
        Span::raw(format!("  pipelines {}", picture.pipelines.len())),
    ];
    for (health, word) in [(Health::Bad, "bad"), (Health::Warn, "warn")] {
        let count = count(health);
        if count > 0 {
            let text = format!(" {} {count} {word}", theme.sign(health));
            spans.push(Span::styled(text, theme.health(health)));
        }
    }
    let lost = picture.lost_cores().len();
    spans.push(Span::raw(format!("  cores {}", picture.cores.len())));
    if lost > 0 {
        let text = format!(" {} {lost} lost", theme.sign(Health::Bad));
        spans.push(Span::styled(text, theme.health(Health::Bad)));
    }
    let firing = picture.alerts_firing();
    if firing > 0 {
        let worst = picture.alerts.first().map(|(_, alert)| alert);
        let health = worst.map_or(Health::Warn, super::picture::alert_health);
        let text = format!("  alerts {} {firing}", theme.sign(health));
        spans.push(Span::styled(text, theme.health(health)));
    }
    let (word, health) = match model.lost {
        None => ("connected", Health::Good),
        Some(_) => ("lost", Health::Bad),
    };
    let used: usize = spans.iter().map(Span::width).sum();
    let state = format!("{} {word}", theme.sign(health));
    // The address goes first where there is no room.
    let room = width.saturating_sub(used + text::wide(&state) + 3);
    let place = match room {
        0..PLACE_MIN => String::new(),
        room => format!(
            "{} ",
            fit(
                &model.directory,
                room.min(text::wide(&model.directory)),
                theme
            )
        ),
    };
    let gap = width.saturating_sub(used + text::wide(&place) + text::wide(&state));
    spans.push(Span::raw(" ".repeat(gap.max(1))));
    spans.push(Span::styled(place, theme.faint()));
    spans.push(Span::styled(state, theme.health(health)));
    Line::from(spans)
}

/// Where one is, and what the list is filtered by.
fn title(model: &Model, theme: Theme, width: usize) -> Line<'static> {
    let mut spans = Vec::new();
    let step = |view: &View| match view {
        View::Pipeline(name) => name.to_string(),
        view => view.name().to_owned(),
    };
    // A view that one came through is shown once.
    let mut steps: Vec<String> = Vec::new();
    if matches!(model.view, View::Pipeline(_)) {
        let from = model.back.last().map_or("pipelines", View::name);
        steps.push(from.to_owned());
    }
    steps.push(step(&model.view));
    let last = steps.len().saturating_sub(1);
    for (index, step) in steps.into_iter().enumerate() {
        match index == last {
            true => spans.push(Span::styled(step, theme.title())),
            false => spans.push(Span::styled(format!("{step} > "), theme.faint())),
        }
    }
    if let View::Pipeline(_) = model.view {
        spans.push(Span::raw("  "));
        for (part, name) in super::model::Part::ALL {
            spans.push(Span::raw(" "));
            spans.push(match part == model.part {
                true => Span::styled(format!("[{name}]"), theme.title()),
                false => Span::styled(format!(" {name} "), theme.faint()),
            });
        }
    }
    if !model.filter().is_empty() {
        let filter = format::clean(model.filter());
        let text = format!("   only: {filter}  (Esc shows all)");
        spans.push(Span::styled(text, theme.health(Health::Warn)));
    }
    let reversed = if model.reversed { ", reversed" } else { "" };
    let beside = match (&model.view, &model.picture.cluster) {
        (View::Pipelines, _) => format!("by {}{reversed}", model.order.column().to_lowercase()),
        (View::Cluster, Some(cluster)) => {
            let id = cluster.id.to_string();
            let id = id.get(..8).unwrap_or_default();
            format!("cluster {id}, generation {}", cluster.generation)
        }
        _ => String::new(),
    };
    let used: usize = spans.iter().map(Span::width).sum();
    let gap = width.saturating_sub(used + text::wide(&beside));
    spans.push(Span::raw(" ".repeat(gap)));
    spans.push(Span::styled(beside, theme.faint()));
    Line::from(spans)
}

/// The line being typed, or what commands have come to.
fn status(model: &Model, theme: Theme, width: usize) -> Vec<Line<'static>> {
    if let Some(line) = &model.line {
        let (mark, hint) = match line.kind {
            LineKind::Command => (":", candidates(&line.text).join("  ")),
            LineKind::Filter => ("/", "Enter keeps it, Esc leaves it, ! inverts".to_owned()),
        };
        return vec![Line::from(vec![
            Span::styled(mark, theme.title()),
            Span::raw(format::clean(&line.text)),
            Span::styled(" ", theme.cursor()),
            Span::styled(format!("  {hint}"), theme.faint()),
        ])];
    }
    let mut lines = Vec::new();
    if let Some(said) = &model.said {
        let text = format!("{} {}", theme.sign(said.health), said.text);
        for line in wrap(&text, width).into_iter().take(STATUS_ROWS_MAX) {
            lines.push(Line::styled(line, theme.health(said.health)));
        }
    }
    if let Some(first) = model.asking.first() {
        let age = format::age(model.now, first.since);
        let more = match model.asking.len() {
            0 | 1 => String::new(),
            asking => format!(" (and {} more)", asking - 1),
        };
        let text = format!(
            "{} {} … {age}{more}",
            theme.spinner(model.frame),
            first.what
        );
        lines.push(Line::styled(text, theme.health(Health::Busy)));
    }
    if lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}

/// The keys that hold here, as many as there is room for; `?` has all.
fn bar(model: &Model, theme: Theme, width: usize) -> Line<'static> {
    let mut spans = Vec::new();
    let mut used = 0;
    for key in keys::bar(model.scope()) {
        let wide = key.shown.chars().count() + key.what.chars().count() + 3;
        if used + wide > width + 2 {
            break;
        }
        used += wide;
        spans.push(Span::styled(key.shown, theme.title()));
        spans.push(Span::styled(format!(" {}  ", key.what), theme.faint()));
    }
    Line::from(spans)
}

/// The rows of a list from which on it's drawn, so that the cursor is seen.
fn first_row(cursor: usize, count: usize, rows: usize) -> usize {
    let most = count.saturating_sub(rows);
    cursor.saturating_sub(rows / 2).min(most)
}

/// Lines from so many on; and at the right which part of them that is, if there are more.
fn scrolled(
    frame: &mut Frame<'_>,
    area: Rect,
    lines: Vec<Line<'static>>,
    scroll: usize,
    theme: Theme,
) {
    let rows = usize::from(area.height);
    let scroll = scroll.min(lines.len().saturating_sub(rows));
    let below = lines.len().saturating_sub(scroll + rows);
    let shown: Vec<_> = lines.into_iter().skip(scroll).take(rows).collect();
    frame.render_widget(Paragraph::new(shown), area);
    if below > 0 && area.height > 0 {
        let text = format!(" PgDn: {below} more ");
        let wide = u16::try_from(text.len()).unwrap_or(0).min(area.width);
        let corner = Rect::new(area.right() - wide, area.bottom() - 1, wide, 1);
        frame.render_widget(Paragraph::new(text).style(theme.cursor()), corner);
    }
}
