//! All pipelines, worst first, and why the one with the cursor is as it is.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::super::format;
use super::super::listing;
use super::super::model::Model;
use super::super::picture::{Health, Pipeline};
use super::super::theme::Theme;
use super::table::{self, Cell, Column};
use super::text::{wide, wrap};

/// Below this many columns, standbys are counted, and there is no column for why.
const WIDE: u16 = 120;
/// A lag that is worth a look, in ms; the Monitor's rules decide what is worth an alert.
const LAG_MS_MAX: u64 = 30_000;
/// Rows for why the one with the cursor is as it is.
const WHY_ROWS: u16 = 4;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) {
    let shown = listing::pipelines(model);
    let is_wide = area.width >= WIDE;
    let names = shown.iter().map(|pipeline| wide(pipeline.name.as_str()));
    let cap = if is_wide { 40 } else { 22 };
    let name = names.max().unwrap_or(0).clamp(12, cap);
    let mut columns = vec![
        Column::left("NAME", name),
        Column::left("STATE", 14),
        Column::right("LAG", 7),
        Column::right("ROWS/S", 6),
    ];
    columns.extend(match is_wide {
        true => vec![
            Column::left("CORE", 16),
            Column::left("STANDBY", 16),
            Column::left("ALERTS", 6),
            Column::right("FOR", 6),
            Column::left("WHY", 0),
        ],
        false => vec![
            Column::left("CORE", 0),
            Column::right("STANDBY", 7),
            Column::left("ALERTS", 6),
        ],
    });
    let rows: Vec<Vec<Cell>> = shown
        .iter()
        .map(|pipeline| row(pipeline, model, is_wide, theme))
        .collect();
    let keys: Vec<&str> = shown.iter().map(|p| p.name.as_str()).collect();
    let cursor = model.cursor(&keys);
    let why = match area.height > 3 * WHY_ROWS {
        true => WHY_ROWS,
        false => 0,
    };
    let [list, below] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(why)]).areas(area);
    let nothing = match model.picture.pipelines.is_empty() {
        true => "There is no pipeline yet: towpath apply FILE makes one.",
        false => "No pipeline passes the filter; Esc shows all.",
    };
    table::draw(frame, list, &columns, &rows, cursor, nothing, theme);
    if let Some(pipeline) = shown.get(cursor) {
        frame.render_widget(why_lines(pipeline, model, below, theme), below);
    }
}

fn row(pipeline: &Pipeline, model: &Model, is_wide: bool, theme: Theme) -> Vec<Cell> {
    let health = pipeline.health();
    let plain = Style::new();
    let lag = pipeline.lag_ms();
    let lag_style = match lag {
        Some(LAG_MS_MAX..) => theme.health(Health::Warn),
        _ => plain,
    };
    let rows = pipeline.rows_per_second();
    let rows = rows.map_or_else(|| "--".to_owned(), format::count);
    let list = |names: Vec<String>| match names.is_empty() {
        true => ("--".to_owned(), theme.faint()),
        false => (names.join(","), plain),
    };
    let alerts = match (pipeline.alerts_firing, pipeline.alert_worst) {
        (0, _) | (_, None) => ("--".to_owned(), theme.faint()),
        (count, Some(worst)) => (
            format!("{} {count}", theme.sign(worst)),
            theme.health(worst),
        ),
    };
    let standbys = pipeline.standbys();
    let standby = match (is_wide, standbys.len()) {
        (true, _) | (_, 0) => list(standbys),
        (false, count) => (count.to_string(), plain),
    };
    let mut cells = vec![
        (pipeline.name.to_string(), plain),
        (
            format!("{} {}", theme.sign(health), pipeline.state()),
            theme.health(health),
        ),
        (format::lag(lag), lag_style),
        (rows, plain),
        list(pipeline.running_on()),
        standby,
        alerts,
    ];
    if is_wide {
        let since = pipeline.status.as_ref().map(|status| status.since);
        let age = since.map_or_else(|| "--".to_owned(), |since| format::age(model.now, since));
        cells.push((age, plain));
        cells.push((format::clean(&pipeline.cause()), theme.faint()));
    }
    cells
}

fn why_lines(pipeline: &Pipeline, model: &Model, area: Rect, theme: Theme) -> Paragraph<'static> {
    let width = usize::from(area.width).saturating_sub(2);
    let health = pipeline.health();
    let age = match &pipeline.status {
        Some(status) => format!(" for {}", format::age(model.now, status.since)),
        None => String::new(),
    };
    let cause = format::clean(&pipeline.cause());
    let text = format!(
        "{} {}: {}{age}: {cause}",
        theme.sign(health),
        pipeline.name,
        pipeline.state()
    );
    let mut lines = vec![Line::default()];
    let next = pipeline.next_step().map(format::clean);
    let room = usize::from(WHY_ROWS) - 1 - usize::from(next.is_some());
    for line in wrap(&text, width).into_iter().take(room) {
        lines.push(Line::styled(format!("  {line}"), theme.health(health)));
    }
    if let Some(next) = next {
        lines.push(Line::styled(format!("  next: {next}"), theme.title()));
    }
    Paragraph::new(lines)
}
