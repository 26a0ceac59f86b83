//! The directory's tree, and the node with the cursor: its data and its stat, live.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};
use towpath_coordination::{MirroredNode, NodeStat};

use super::super::format;
use super::super::listing;
use super::super::model::Model;
use super::super::theme::Theme;
use super::text::{fit, wrap};
use crate::mask;
use crate::text::data;

/// The most bytes of a node that are drawn.
const DATA_BYTES_MAX: usize = 64 << 10;

/// Columns of the tree.
fn tree_width(width: usize) -> usize {
    (width * 2 / 5).clamp(20, 70)
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) {
    let width = tree_width(area.width.into());
    let columns = [
        Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)),
        Constraint::Fill(1),
    ];
    let [left, right] = Layout::horizontal(columns).areas(area);
    let rows = listing::nodes(model);
    let keys: Vec<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    let cursor = model.cursor(&keys);
    let height = usize::from(left.height);
    let first = super::first_row(cursor, rows.len(), height);
    let mut lines = Vec::new();
    for (index, row) in rows.iter().enumerate().skip(first).take(height) {
        let mark = match index == cursor {
            true => theme.pointer(),
            false => " ",
        };
        let name = match row.depth {
            0 => row.path.as_str(),
            _ => row.path.name(),
        };
        let node = model.picture.tree.get(&row.path);
        // An ephemeral node goes with its session: `*`, as `ls` would mark it.
        let star = match node {
            Some(node) if node.stat.ephemeral_owner > 0 => "*",
            _ => "",
        };
        let text = format!(
            "{mark} {}{} {}{star}",
            "  ".repeat(row.depth),
            theme.branch(row.open),
            format::clean(name)
        );
        let line = Line::raw(fit(&text, width.saturating_sub(1), theme));
        lines.push(match index == cursor {
            true => line.style(theme.cursor()),
            false => line,
        });
    }
    if rows.is_empty() {
        let text = match model.filter().is_empty() {
            true => "There is nothing yet.",
            false => "No path passes the filter.",
        };
        lines.push(Line::styled(format!("  {text}"), theme.faint()));
    }
    frame.render_widget(Paragraph::new(lines), left);
    let edge = match model.in_data {
        true => theme.title(),
        false => theme.faint(),
    };
    let block = Block::new().borders(Borders::LEFT).border_style(edge);
    let inner = block.inner(right);
    frame.render_widget(block, right);
    let lines = node_lines(model, usize::from(inner.width), theme);
    super::scrolled(frame, inner, lines, model.scroll, theme);
}

/// Rows of the node with the cursor.
pub(super) fn data_rows(model: &Model, width: usize) -> usize {
    let inner = width.saturating_sub(tree_width(width) + 1);
    node_lines(model, inner, Theme::new(false, true)).len()
}

fn node_lines(model: &Model, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let rows = listing::nodes(model);
    let keys: Vec<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    let Some(row) = rows.get(model.cursor(&keys)) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for line in wrap(&format::clean(row.path.as_str()), width) {
        lines.push(Line::styled(line, theme.title()));
    }
    let Some(MirroredNode { data: bytes, stat }) = model.picture.tree.get(&row.path) else {
        return lines;
    };
    for (label, text) in stat_texts(stat, model) {
        lines.push(Line::from(vec![
            Span::styled(format!("{label:<9}"), theme.faint()),
            Span::raw(text),
        ]));
    }
    lines.push(Line::default());
    let shown = bytes.get(..DATA_BYTES_MAX).unwrap_or(bytes);
    if bytes.is_empty() {
        lines.push(Line::styled("(no data)", theme.faint()));
        return lines;
    }
    for line in format::clean_lines(&mask::secrets(&data(shown))) {
        for piece in wrap_data(&line, width) {
            lines.push(Line::raw(piece));
        }
    }
    let left_out = bytes.len() - shown.len();
    if left_out > 0 {
        let text = format!("{left_out} bytes more: towpath dir get {}", row.path);
        lines.push(Line::styled(text, theme.faint()));
    }
    lines
}

/// Long lines go on below, as far in as they began.
fn wrap_data(line: &str, width: usize) -> Vec<String> {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let text = line.get(indent..).unwrap_or_default();
    let indent = indent.min(width / 2);
    let room = width.saturating_sub(indent);
    let pieces = wrap(text, room).into_iter();
    pieces
        .map(|piece| format!("{}{piece}", " ".repeat(indent)))
        .collect()
}

fn stat_texts(stat: &NodeStat, model: &Model) -> Vec<(&'static str, String)> {
    let at = |ms: i64| match jiff::Timestamp::from_millisecond(ms) {
        Ok(at) => format!("{} ago, {}", format::age(model.now, at), format::moment(at)),
        Err(_) => ms.to_string(),
    };
    let kind = match stat.ephemeral_owner {
        0 => "persistent".to_owned(),
        owner if owner < 0 => "container or with a time to live".to_owned(),
        owner => format!("ephemeral of {owner:#x}"),
    };
    vec![
        ("changed", at(stat.modified_ms)),
        ("made", at(stat.created_ms)),
        (
            "version",
            format!("{}, zxid {}", stat.version, stat.modified_zxid),
        ),
        ("kind", kind),
        (
            "holds",
            format!("{} bytes, {} children", stat.data_bytes, stat.children),
        ),
    ]
}
