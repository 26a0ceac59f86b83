//! Columns.

use crate::screen::{Paint, Tone};
use crate::text;

/// What a cell without anything shows.
pub(crate) const NOTHING: &str = "-";

/// A cell: text on one line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn toned(tone: Tone, text: impl AsRef<str>) -> Self {
        let text = text::line(text.as_ref());
        Self { text, tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(Tone::Plain, text)
    }
}

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under headings, with lines between rows that belong to the row above.
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Line>,
}

enum Line {
    Cells(Vec<Cell>),
    Note(Cell),
}

impl Table {
    /// The headings; `>` before one stands the column to the right.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        let column = |heading: &&'static str| match heading.strip_prefix('>') {
            Some(heading) => (heading, Align::Right),
            None => (*heading, Align::Left),
        };
        Self {
            columns: headings.iter().map(column).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(Line::Cells(cells.into()));
    }

    /// A line below the last row, indented.
    pub(crate) fn note(&mut self, note: Cell) {
        self.rows.push(Line::Note(note));
    }

    pub(crate) fn draw(&self, paint: Paint) -> String {
        let mut wide: Vec<usize> = self
            .columns
            .iter()
            .map(|(heading, _)| width(heading))
            .collect();
        for row in &self.rows {
            if let Line::Cells(cells) = row {
                for (wide, cell) in wide.iter_mut().zip(cells) {
                    *wide = (*wide).max(width(&cell.text));
                }
            }
        }
        let headings: Vec<Cell> = self
            .columns
            .iter()
            .map(|(heading, _)| Cell::toned(Tone::Faint, heading))
            .collect();
        let mut out = self.line(&headings, &wide, paint);
        for row in &self.rows {
            match row {
                Line::Cells(cells) => out.push_str(&self.line(cells, &wide, paint)),
                Line::Note(note) => {
                    out.push_str("     ");
                    out.push_str(&paint.paint(note.tone, &note.text));
                    out.push('\n');
                }
            }
        }
        out
    }

    fn line(&self, cells: &[Cell], wide: &[usize], paint: Paint) -> String {
        let mut out = String::new();
        let mut owed = 0;
        for ((cell, (_, align)), wide) in cells.iter().zip(&self.columns).zip(wide) {
            let space = wide.saturating_sub(width(&cell.text));
            let before = match align {
                Align::Left => 0,
                Align::Right => space,
            };
            // Nothing is owed to the end of a line.
            if !cell.text.is_empty() {
                out.push_str(&" ".repeat(owed + before));
                out.push_str(&paint.paint(cell.tone, &cell.text));
                owed = 2 + space - before;
            } else {
                owed += 2 + wide;
            }
        }
        out.push('\n');
        out
    }
}

/// Columns that a text takes on a terminal, as far as names go: one a character.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_straight_and_lines_have_no_tail() {
        let mut table = Table::new(&["", "NAME", ">ROWS", "MORE"]);
        table.row(["!".into(), "a".into(), "1".into(), "x".into()]);
        table.row(["".into(), "long".into(), "12345".into(), "".into()]);
        table.note("why\u{1b}[2J".into());
        let drawn = table.draw(Paint::new(false));
        assert_eq!(
            drawn,
            "   NAME   ROWS  MORE\n\
             !  a         1  x\n\
             \x20  long  12345\n\
             \x20    why\\u{1b}[2J\n"
        );
        let coloured = table.draw(Paint::new(true));
        assert!(
            coloured.contains("\x1b[2mNAME\x1b[0m   \x1b[2mROWS"),
            "{coloured:?}"
        );
    }
}
