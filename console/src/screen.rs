//! Where verbs write, and whom they ask.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use crate::text;

/// Output of a verb: what it found goes to `out`, what it says about itself to `err`.
pub struct Screen {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    paint: Paint,
    /// Whether `out` is a terminal that can be drawn over.
    pub(crate) live: bool,
    asks: bool,
}

impl Screen {
    /// Standard output and standard error. Colours only on a terminal, and not with `NO_COLOR`.
    pub fn standard() -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            paint: Paint(terminal && !dumb && set("NO_COLOR").is_none()),
            live: terminal && !dumb,
            asks: true,
        }
    }

    /// Other places, without colours, where nobody can be asked.
    pub fn plain(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self {
            out: Box::new(out),
            err: Box::new(err),
            paint: Paint(false),
            live: false,
            asks: false,
        }
    }

    /// How states are coloured here.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// Shows lines that end in a newline.
    ///
    /// # Errors
    /// They can't be written.
    pub(crate) fn show(&mut self, lines: &str) -> io::Result<()> {
        self.out.write_all(lines.as_bytes())?;
        self.out.flush()
    }

    /// Shows JSON: indented for people.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = match self.live {
            true => serde_json::to_string_pretty(value)?,
            false => serde_json::to_string(value)?,
        };
        self.show(&format!("{text}\n"))
    }

    /// Shows JSON on one line.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.show(&format!("{}\n", serde_json::to_string(value)?))
    }

    /// Draws over what a terminal shows, as much as fits: the rest would push the beginning out.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn draw_over(&mut self, text: &str) -> io::Result<()> {
        let size = terminal_size::terminal_size();
        let (columns, rows) = size.map_or((80, 24), |(columns, rows)| {
            (usize::from(columns.0), usize::from(rows.0))
        });
        let mut drawn = "\x1b[H".to_owned();
        // Without a newline at the end, which would scroll.
        for (index, line) in text.lines().take(rows).enumerate() {
            drawn.push_str(if index == 0 { "" } else { "\r\n" });
            drawn.push_str(&cut(line, columns));
            drawn.push_str("\x1b[K");
        }
        drawn.push_str("\x1b[J");
        self.show(&drawn)
    }

    /// Leaves what was drawn where it is, and goes on below it.
    ///
    /// # Errors
    /// It can't be written.
    pub(crate) fn leave(&mut self) -> io::Result<()> {
        match self.live {
            true => self.show("\r\n"),
            false => Ok(()),
        }
    }

    /// Says something about what is being done.
    pub(crate) fn say(&mut self, line: &str) {
        // Whoever closed it doesn't want to hear.
        let _ = writeln!(self.err, "{line}");
    }

    /// Asks; where nobody can be asked that's a no.
    ///
    /// # Errors
    /// The terminal can't be read.
    pub fn confirmed(&mut self, question: &str) -> io::Result<bool> {
        match self.asks {
            true => text::confirmed(question),
            false => Ok(false),
        }
    }
}

/// Colours, if they are wanted. A colour never tells what a word or a symbol doesn't.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

/// What a colour means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Bad,
    Warning,
    Changing,
    Good,
    Faint,
    Strong,
}

impl Paint {
    #[cfg(test)]
    pub(crate) fn new(on: bool) -> Self {
        Self(on)
    }

    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Bad => "1;31",
            Tone::Warning => "33",
            Tone::Changing => "36",
            Tone::Good => "32",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        match self.0 && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// A line's first columns; colours take none.
fn cut(line: &str, columns: usize) -> String {
    let mut out = String::new();
    let (mut column, mut escape) = (0, false);
    for c in line.chars() {
        match (escape, c) {
            (false, '\x1b') => escape = true,
            (true, 'm') => escape = false,
            (true, _) => {}
            (false, _) if column == columns => continue,
            (false, _) => column += 1,
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_and_its_colours_end() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc");
        assert_eq!(cut("a\x1b[1;31mbcd\x1b[0me", 2), "a\x1b[1;31mb\x1b[0m");
    }
}
