//! Alerts: what fires first, and the whole text of the one with the cursor.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use towpath_protocol::tree::record::{Alert, AlertState};

use super::super::format;
use super::super::listing;
use super::super::model::Model;
use super::super::picture::{alert_health, word};
use super::super::theme::Theme;
use super::table::{self, Cell, Column};
use super::text::{wide, wrap};

/// Rows for the text of the one with the cursor.
const TEXT_ROWS: u16 = 6;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) {
    let shown = listing::alerts(model);
    let subjects = shown.iter().map(|(_, alert)| wide(&alert.subject));
    let subject = subjects.max().unwrap_or(0).clamp(10, 24);
    let columns = [
        Column::left("SEVERITY", 11),
        Column::left("STATE", 9),
        Column::right("FOR", 6),
        Column::left("ABOUT", subject),
        Column::left("SEEN BY", 8),
        Column::left("WHAT", 0),
    ];
    let rows: Vec<Vec<Cell>> = shown
        .iter()
        .map(|(_, alert)| row(alert, model, theme))
        .collect();
    let keys: Vec<&str> = shown.iter().map(|(id, _)| id.as_str()).collect();
    let cursor = model.cursor(&keys);
    let below = match area.height > 2 * TEXT_ROWS {
        true => TEXT_ROWS,
        false => 0,
    };
    let [list, below] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(below)]).areas(area);
    let nothing = match (
        model.picture.alerts.is_empty(),
        model.picture.leading_monitor.is_some(),
    ) {
        (true, true) => "Nothing fires.",
        (true, false) => "No alerts, and no Monitor that would raise any: start towpath monitor.",
        (false, _) => "No alert passes the filter; Esc shows all.",
    };
    table::draw(frame, list, &columns, &rows, cursor, nothing, theme);
    if let Some((id, alert)) = shown.get(cursor) {
        let width = usize::from(below.width).saturating_sub(2);
        let mut lines = vec![Line::default()];
        let since = format::moment(alert.since);
        let rule = format::clean(&alert.rule);
        let head = format!("  {id}: rule {rule}, since {since} UTC");
        lines.push(Line::styled(head, theme.title()));
        for line in wrap(&format::clean(&alert.text), width) {
            lines.push(Line::raw(format!("  {line}")));
        }
        frame.render_widget(Paragraph::new(lines), below);
    }
}

fn row(alert: &Alert, model: &Model, theme: Theme) -> Vec<Cell> {
    let health = alert_health(alert);
    let plain = match alert.state {
        AlertState::Resolved => theme.faint(),
        _ => Style::new(),
    };
    let severity = format!("{} {}", theme.sign(health), word(&alert.severity));
    let age = match alert.resolved {
        Some(resolved) => format::age(resolved, alert.since),
        None => format::age(model.now, alert.since),
    };
    let seen = alert.acknowledged_by.as_deref().unwrap_or("--");
    vec![
        (severity, theme.health(health)),
        (word(&alert.state), plain),
        (age, plain),
        (format::clean(&alert.subject), plain),
        (format::clean(seen), plain),
        (format::clean(&alert.text), plain),
    ]
}
