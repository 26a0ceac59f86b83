//! Who is there: Servers, Cores and what they run, Monitors; and who should be.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::super::format;
use super::super::listing::{self, ClusterRow};
use super::super::model::Model;
use super::super::theme::Theme;
use super::table::{self, Cell, Column};
use super::text::wide;

/// From this many columns on, hosts, releases and labels are shown.
const WIDE: u16 = 120;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) {
    let shown = listing::cluster(model);
    let is_wide = area.width >= WIDE;
    let ids = shown.iter().map(|row| wide(row.id.as_str()));
    let id = ids
        .max()
        .unwrap_or(0)
        .clamp(8, if is_wide { 32 } else { 16 });
    let mut columns = vec![
        Column::left("KIND", 7),
        Column::left("ID", id),
        Column::left("STATE", 11),
        Column::right("UP", 6),
        Column::right("TASKS", 5),
        Column::right("ROWS/S", 6),
    ];
    if is_wide {
        columns.extend([
            Column::right("MEMORY", 9),
            Column::left("HOST", 16),
            Column::right("PID", 8),
            Column::left("RELEASE", 8),
            Column::left("LABELS", 16),
        ]);
    }
    columns.push(Column::left("DOES (stands by for)", 0));
    let rows: Vec<Vec<Cell>> = shown
        .iter()
        .map(|shown| row(shown, model, is_wide, theme))
        .collect();
    let keys: Vec<String> = shown.iter().map(ClusterRow::key).collect();
    let cursor = model.cursor(&keys);
    let nothing = match model.filter().is_empty() {
        true => "Nobody has registered yet.",
        false => "Nobody passes the filter; Esc shows all.",
    };
    table::draw(frame, area, &columns, &rows, cursor, nothing, theme);
}

fn row(row: &ClusterRow<'_>, model: &Model, is_wide: bool, theme: Theme) -> Vec<Cell> {
    let plain = Style::new();
    let none = || ("--".to_owned(), theme.faint());
    let mut cells = vec![
        (row.kind.to_owned(), plain),
        (row.id.to_string(), plain),
        (
            format!("{} {}", theme.sign(row.health), row.state),
            theme.health(row.health),
        ),
    ];
    let Some(member) = row.member else {
        cells.extend((0..if is_wide { 8 } else { 3 }).map(|_| none()));
        cells.push((row.work.clone(), plain));
        return cells;
    };
    let load = &member.load;
    cells.push((format::age(model.now, member.started), plain));
    match row.kind {
        "core" => {
            cells.push((load.tasks.to_string(), plain));
            cells.push((format::count(load.rows_per_second), plain));
        }
        _ => cells.extend([none(), none()]),
    }
    if is_wide {
        let labels: Vec<String> = member
            .labels
            .iter()
            .map(|(name, value)| format::clean(&format!("{name}={value}")))
            .collect();
        cells.push(match load.memory_bytes {
            0 => none(),
            memory => (format::bytes(memory), plain),
        });
        cells.push((format::clean(&member.host), plain));
        cells.push((member.pid.to_string(), plain));
        cells.push((format::clean(&member.release), plain));
        cells.push((labels.join(","), plain));
    }
    cells.push((format::clean(&row.work), theme.faint()));
    cells
}
