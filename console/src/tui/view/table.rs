//! A table with a cursor: every column has its width, the last one the rest.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::theme::Theme;
use super::text::{fit, fit_right};

/// A column.
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Columns of the screen; 0 takes what is left.
    pub(super) width: usize,
    /// Numbers stand at the right.
    pub(super) right: bool,
}

impl Column {
    pub(super) fn left(title: &'static str, width: usize) -> Self {
        Self {
            title,
            width,
            right: false,
        }
    }

    pub(super) fn right(title: &'static str, width: usize) -> Self {
        Self {
            title,
            width,
            right: true,
        }
    }
}

/// A text and its look.
pub(super) type Cell = (String, Style);

/// Draws it, with the cursor in sight; `nothing` stands where no row is.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    columns: &[Column],
    rows: &[Vec<Cell>],
    cursor: usize,
    nothing: &str,
    theme: Theme,
) {
    let inner = usize::from(area.width).saturating_sub(2);
    let fixed: usize = columns.iter().map(|column| column.width + 1).sum();
    let rest = (inner + 1).saturating_sub(fixed);
    let cells = |row: &[Cell]| -> Vec<Span<'static>> {
        let mut spans = Vec::new();
        for (column, (text, style)) in columns.iter().zip(row) {
            let width = match column.width {
                0 => rest,
                width => width,
            };
            let text = match column.right {
                true => fit_right(text, width, theme),
                false => fit(text, width, theme),
            };
            spans.push(Span::styled(text, *style));
            spans.push(Span::raw(" "));
        }
        spans
    };
    let titles: Vec<Cell> = columns
        .iter()
        .map(|column| (column.title.to_owned(), theme.title()))
        .collect();
    let mut lines = vec![Line::from([vec![Span::raw("  ")], cells(&titles)].concat())];
    let height = usize::from(area.height).saturating_sub(1);
    let first = super::first_row(cursor, rows.len(), height);
    for (index, row) in rows.iter().enumerate().skip(first).take(height) {
        let mark = match index == cursor {
            true => format!("{} ", theme.pointer()),
            false => "  ".to_owned(),
        };
        let line = Line::from([vec![Span::raw(mark)], cells(row)].concat());
        lines.push(match index == cursor {
            true => line.style(theme.cursor()),
            false => line,
        });
    }
    if rows.is_empty() {
        for line in super::wrap(nothing, inner) {
            lines.push(Line::styled(format!("  {line}"), theme.faint()));
        }
    }
    frame.render_widget(Paragraph::new(lines), area);
}
