//! All keys that hold in the view, from the table of keys; the commands; what the signs mean.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Clear;

use super::super::keys;
use super::super::model::Model;
use super::super::picture::Health;
use super::super::theme::Theme;

/// What the signs before states mean.
const SIGNS: [(Health, &str); 5] = [
    (Health::Bad, "needs somebody now"),
    (Health::Warn, "needs a look"),
    (Health::Busy, "is on its way"),
    (Health::Good, "as it should be"),
    (Health::Idle, "at rest, as asked"),
];

/// What a command line takes.
const COMMANDS: [(&str, &str); 7] = [
    (":pipelines", "all pipelines, worst first"),
    (":pipeline NAME", "one of them"),
    (":cluster", "Servers, Cores, Monitors"),
    (":alerts", "what fires, and what did"),
    (":dir [PATH]", "the directory's tree"),
    ("/TEXT", "rows that hold it; !TEXT those that don't"),
    (":q", "quit; a command's beginning is enough"),
];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, scroll: usize, theme: Theme) {
    frame.render_widget(Clear, area);
    super::scrolled(frame, area, lines(model, theme), scroll, theme);
}

/// How far it can be scrolled.
pub(in super::super) fn scroll_max(model: &Model) -> usize {
    let lines = lines(model, Theme::new(false, true)).len();
    lines.saturating_sub(super::body_rows(model))
}

fn lines(model: &Model, theme: Theme) -> Vec<Line<'static>> {
    let row = |key: String, what: &'static str| {
        Line::from(vec![
            Span::raw("  "),
            Span::styled(key, theme.title()),
            Span::raw(what),
        ])
    };
    let heading = |text: String| Line::styled(text, theme.title());
    let mut lines = vec![heading(format!("KEYS in {}", model.view.name()))];
    for key in keys::all(model.view.scope()) {
        lines.push(row(format!("{:<16}", key.shown), key.what));
    }
    lines.push(Line::default());
    lines.push(heading("LINES".to_owned()));
    for (command, what) in COMMANDS {
        lines.push(row(format!("{command:<16}"), what));
    }
    lines.push(Line::default());
    lines.push(heading("SIGNS".to_owned()));
    for (health, what) in SIGNS {
        lines.push(Line::from(vec![
            Span::styled(
                format!("  {:<16}", theme.sign(health)),
                theme.health(health),
            ),
            Span::raw(what),
        ]));
    }
    lines
}
