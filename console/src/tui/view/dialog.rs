//! Questions over the view.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Padding, Paragraph};

use super::super::model::Choice;
use super::super::picture::Health;
use super::super::theme::Theme;
use super::text::{fit, wrap};

/// The most columns of a question.
const WIDTH_MAX: u16 = 64;

/// A box in the middle, with room for so many rows, and its inside.
fn boxed(frame: &mut Frame<'_>, area: Rect, title: String, rows: usize, theme: Theme) -> Rect {
    let width = area.width.saturating_sub(4).min(WIDTH_MAX);
    let height = u16::try_from(rows + 2).unwrap_or(u16::MAX).min(area.height);
    let place = area.centered(
        ratatui::layout::Constraint::Length(width),
        ratatui::layout::Constraint::Length(height),
    );
    let block = Block::bordered()
        .title(title)
        .title_style(theme.title())
        .padding(Padding::horizontal(1));
    let inner = block.inner(place);
    frame.render_widget(Clear, place);
    frame.render_widget(block, place);
    inner
}

/// Asks before something is done.
pub(super) fn confirm(
    frame: &mut Frame<'_>,
    area: Rect,
    what: &str,
    consequence: &str,
    theme: Theme,
) {
    let width = usize::from(area.width.saturating_sub(4).min(WIDTH_MAX)).saturating_sub(4);
    let mut lines: Vec<Line<'_>> = wrap(consequence, width)
        .into_iter()
        .map(Line::raw)
        .collect();
    lines.push(Line::default());
    lines.push(Line::styled("y: yes, do it    n: no", theme.title()));
    let mut title = format!(" {what}? ");
    if let Some(first) = title.get_mut(1..2) {
        first.make_ascii_uppercase();
    }
    let inner = boxed(frame, area, title, lines.len(), theme);
    frame.render_widget(
        Paragraph::new(lines).style(theme.health(Health::Warn)),
        inner,
    );
}

/// Lets one be chosen.
pub(super) fn choose(frame: &mut Frame<'_>, area: Rect, choice: &Choice, theme: Theme) {
    let title = format!(" {} ", choice.title);
    let inner = boxed(frame, area, title, choice.items.len(), theme);
    let rows = usize::from(inner.height);
    let first = super::first_row(choice.cursor, choice.items.len(), rows);
    let mut lines = Vec::new();
    for (index, item) in choice.items.iter().enumerate().skip(first).take(rows) {
        let here = index == choice.cursor;
        let mark = if here { theme.pointer() } else { " " };
        let text = format!("{mark} {}", item.label);
        let line = Line::raw(fit(&text, inner.width.into(), theme));
        lines.push(if here {
            line.style(theme.cursor())
        } else {
            line
        });
    }
    frame.render_widget(Paragraph::new(lines), inner);
}
