//! Colour means state, and nothing else has colour; a terminal without colour still tells it, by
//! a sign before every state and by the state's word.
//!
//! Colours are the sixteen that every terminal has and every user's palette sets.

use ratatui::style::{Color, Modifier, Style};

use super::picture::Health;

/// How things look on this terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Theme {
    colour: bool,
    unicode: bool,
}

impl Theme {
    /// With what the terminal can.
    pub(super) fn new(colour: bool, unicode: bool) -> Self {
        Self { colour, unicode }
    }

    /// As the environment says: `NO_COLOR`, `TERM`, and the locale.
    pub(super) fn of_environment() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| matches!(&*term, "dumb" | "vt100" | "vt220"));
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let unicode = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        Self::new(set("NO_COLOR").is_none() && !dumb, unicode)
    }

    fn colour(self, colour: Color) -> Style {
        match self.colour {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    /// A state.
    pub(super) fn health(self, health: Health) -> Style {
        match health {
            Health::Bad => self.colour(Color::Red).add_modifier(Modifier::BOLD),
            Health::Warn => self.colour(Color::Yellow),
            Health::Busy => self.colour(Color::Cyan),
            Health::Good => self.colour(Color::Green),
            Health::Idle => self.faint(),
        }
    }

    /// The sign of a state, one column wide.
    pub(super) fn sign(self, health: Health) -> &'static str {
        match (health, self.unicode) {
            (Health::Bad, true) => "✗",
            (Health::Bad, false) => "X",
            (Health::Warn, _) => "!",
            (Health::Busy, _) => "~",
            (Health::Good, true) => "●",
            (Health::Good, false) => "*",
            (Health::Idle, true) => "·",
            (Health::Idle, false) => ".",
        }
    }

    /// What matters less.
    pub(super) fn faint(self) -> Style {
        self.colour(Color::DarkGray)
    }

    /// Headings and names of columns.
    pub(super) fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The row with the cursor; it's also marked with `>`.
    pub(super) fn cursor(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The sign before the row with the cursor.
    pub(super) fn pointer(self) -> &'static str {
        ">"
    }

    /// The banner of a lost connection.
    pub(super) fn banner(self) -> Style {
        self.health(Health::Bad).add_modifier(Modifier::REVERSED)
    }

    /// What was true when the connection was lost.
    pub(super) fn stale(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// A frame of the spinner.
    pub(super) fn spinner(self, frame: usize) -> char {
        let frames: &[char] = match self.unicode {
            true => &['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'],
            false => &['|', '/', '-', '\\'],
        };
        frames
            .get(frame % frames.len())
            .copied()
            .unwrap_or_default()
    }

    /// Marks of a node that can be opened, is open, or has nothing below it.
    pub(super) fn branch(self, open: Option<bool>) -> &'static str {
        match (open, self.unicode) {
            (None, _) => " ",
            (Some(true), true) => "▾",
            (Some(false), true) => "▸",
            (Some(true), false) => "-",
            (Some(false), false) => "+",
        }
    }

    /// The mark of a text that goes on.
    pub(super) fn ellipsis(self) -> char {
        match self.unicode {
            true => '…',
            false => '~',
        }
    }

    /// Values as a line of bars, each up to the largest; a column without a value is blank.
    pub(super) fn sparkline(self, values: &[Option<u64>]) -> String {
        let bars: &[char] = match self.unicode {
            true => &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
            false => &['_', '.', '-', '=', '+', '*', '#'],
        };
        let largest = values.iter().flatten().max().copied().unwrap_or(0).max(1);
        let steps = u128::try_from(bars.len().saturating_sub(1)).unwrap_or(0);
        let bar = |value: &Option<u64>| {
            let step = u128::from((*value)?) * steps / u128::from(largest);
            bars.get(usize::try_from(step).ok()?).copied()
        };
        values
            .iter()
            .map(|value| bar(value).unwrap_or(' '))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_scales_to_its_largest_and_leaves_gaps() {
        let theme = Theme::new(true, true);
        let values = [Some(0), Some(50), None, Some(u64::MAX / 2), Some(u64::MAX)];
        assert_eq!(theme.sparkline(&values), "▁▁ ▄█");
        assert_eq!(theme.sparkline(&[Some(0), Some(0)]), "▁▁");
        assert_eq!(Theme::new(false, false).sparkline(&values), "__ -#");
    }

    #[test]
    fn without_colour_every_state_still_has_its_own_sign() {
        let healths = [
            Health::Bad,
            Health::Warn,
            Health::Busy,
            Health::Good,
            Health::Idle,
        ];
        for unicode in [true, false] {
            let theme = Theme::new(false, unicode);
            let mut signs: Vec<_> = healths.map(|health| theme.sign(health)).to_vec();
            signs.dedup();
            assert_eq!(signs.len(), healths.len());
            assert!(healths.iter().all(|h| theme.health(*h).fg.is_none()));
        }
    }
}
