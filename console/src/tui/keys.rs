//! The one table of keys: it decides what a key does, and it is the help bar and the help page.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use Do::*;

/// Where a key holds, as a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope(u16);

impl Scope {
    pub(super) const PIPELINES: Self = Self(1);
    pub(super) const PIPELINE: Self = Self(1 << 1);
    pub(super) const CLUSTER: Self = Self(1 << 2);
    pub(super) const ALERTS: Self = Self(1 << 3);
    pub(super) const DIRECTORY: Self = Self(1 << 4);
    /// A question that is answered by yes or no.
    pub(super) const CONFIRM: Self = Self(1 << 5);
    /// A question that is answered by choosing.
    pub(super) const CHOOSE: Self = Self(1 << 6);
    /// A line being typed.
    pub(super) const LINE: Self = Self(1 << 7);
    /// The help page.
    pub(super) const HELP: Self = Self(1 << 8);

    const ANY_VIEW: Self = Self(0b1_1111);
    const OF_PIPELINES: Self = Self(0b0_0011);
    const LISTS: Self = Self(0b1_1101);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Do {
    Quit,
    Back,
    Help,
    Command,
    Filter,
    Open,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Top,
    Bottom,
    NextPart,
    Order,
    Reverse,
    Pause,
    Resume,
    Start,
    Stop,
    Move,
    Drain,
    Acknowledge,
    Yes,
    No,
    Accept,
    Complete,
    Erase,
    EraseAll,
}

/// A key, and what it does where.
#[derive(Debug)]
pub(super) struct Binding {
    /// Codes that mean it; the flag asks for Ctrl.
    presses: &'static [(KeyCode, bool)],
    /// How it's shown.
    pub(super) shown: &'static str,
    /// What it does, for people.
    pub(super) what: &'static str,
    scope: Scope,
    does: Do,
    /// Whether it's in the help bar, too.
    bar: bool,
}

const fn c(c: char) -> (KeyCode, bool) {
    (KeyCode::Char(c), false)
}

const fn ctrl(c: char) -> (KeyCode, bool) {
    (KeyCode::Char(c), true)
}

const fn k(code: KeyCode) -> (KeyCode, bool) {
    (code, false)
}

/// A row of the table; one that the bar shows has a star.
macro_rules! keys {
    ($($scope:expr, [$($press:expr),+], $shown:literal, $does:expr, $what:literal $(, $star:tt)?;)*) => {
        &[$(Binding {
            presses: &[$($press),+],
            shown: $shown,
            what: $what,
            scope: $scope,
            does: $does,
            bar: keys!(@bar $($star)?),
        }),*]
    };
    (@bar *) => { true };
    (@bar) => { false };
}

const PICK: Scope = Scope::LISTS.and(Scope::CHOOSE);
const MOVING: Scope = Scope::ANY_VIEW.and(Scope::CHOOSE).and(Scope::HELP);
const SIDEWAYS: Scope = Scope::DIRECTORY.and(Scope::PIPELINE);

/// All keys, in the order of the bar.
#[rustfmt::skip]
pub(super) const KEYS: &[Binding] = keys![
    // A question.
    Scope::CONFIRM, [c('y'), c('Y')],                "y",      Yes,      "yes, do it", *;
    Scope::CONFIRM, [c('n'), c('N'), k(KeyCode::Esc), c('q')], "n/Esc", No, "no, leave it", *;
    // A line.
    Scope::LINE,    [k(KeyCode::Enter)],             "Enter",  Accept,   "take it", *;
    Scope::LINE,    [k(KeyCode::Tab)],               "Tab",    Complete, "complete a command", *;
    Scope::LINE,    [k(KeyCode::Esc), ctrl('c')],    "Esc",    No,       "leave it", *;
    Scope::LINE,    [k(KeyCode::Backspace), ctrl('h')], "Backspace", Erase, "take a character back";
    Scope::LINE,    [ctrl('u')],                     "Ctrl-u", EraseAll, "take all back";
    // Views.
    Scope::ANY_VIEW, [c('?')],                       "?",      Help,     "help", *;
    Scope::ANY_VIEW.and(Scope::HELP).and(Scope::CHOOSE), [c('q')], "q",  Quit, "quit", *;
    PICK,           [k(KeyCode::Enter)],             "Enter",  Open,     "open", *;
    Scope::OF_PIPELINES, [c('p')],                   "p",      Pause,    "pause", *;
    Scope::OF_PIPELINES, [c('r')],                   "r",      Resume,   "resume", *;
    Scope::OF_PIPELINES, [c('s')],                   "s",      Start,    "start", *;
    Scope::OF_PIPELINES, [c('x')],                   "x",      Stop,     "stop", *;
    Scope::OF_PIPELINES, [c('m')],                   "m",      Move,     "move", *;
    Scope::CLUSTER, [c('d')],                        "d",      Drain,    "drain/undrain", *;
    Scope::ALERTS,  [c('a')],                        "a",      Acknowledge, "acknowledge", *;
    SIDEWAYS,       [k(KeyCode::Tab)],               "Tab",    NextPart, "next part", *;
    Scope::PIPELINES, [c('o')],                      "o",      Order,    "order", *;
    Scope::PIPELINES, [c('O')],                      "O",      Reverse,  "reverse the order";
    Scope::LISTS,   [c('/')],                        "/",      Filter,   "filter", *;
    Scope::ANY_VIEW, [c(':')],                       ":",      Command,  "go to", *;
    MOVING,         [k(KeyCode::Esc)],               "Esc",    Back,     "back", *;
    Scope(0x1ff & !(1 << 7)), [ctrl('c')],           "Ctrl-c", Quit,     "quit";
    MOVING,         [k(KeyCode::Up), c('k')],        "↑ k",    Up,       "up";
    MOVING,         [k(KeyCode::Down), c('j')],      "↓ j",    Down,     "down";
    SIDEWAYS,       [k(KeyCode::Left), c('h')],      "← h",    Left,     "close, or left";
    SIDEWAYS,       [k(KeyCode::Right), c('l')],     "→ l",    Right,    "open, or right";
    MOVING,         [k(KeyCode::PageUp), ctrl('b')], "PgUp",   PageUp,   "a page up";
    MOVING,         [k(KeyCode::PageDown), ctrl('f'), c(' ')], "PgDn", PageDown, "a page down";
    MOVING,         [k(KeyCode::Home), c('g')],      "Home g", Top,      "to the top";
    MOVING,         [k(KeyCode::End), c('G')],       "End G",  Bottom,   "to the end";
];

/// What a key does there.
pub(super) fn lookup(scope: Scope, event: &KeyEvent) -> Option<Do> {
    if event
        .modifiers
        .intersects(KeyModifiers::ALT | KeyModifiers::SUPER)
    {
        return None;
    }
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    KEYS.iter()
        .find(|key| key.scope.meets(scope) && key.presses.contains(&(event.code, control)))
        .map(|key| key.does)
}

/// What the bar shows there.
pub(super) fn bar(scope: Scope) -> impl Iterator<Item = &'static Binding> {
    all(scope).filter(|key| key.bar)
}

/// Every key there.
pub(super) fn all(scope: Scope) -> impl Iterator<Item = &'static Binding> {
    KEYS.iter().filter(move |key| key.scope.meets(scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_place() {
        for bit in 0..9 {
            let scope = Scope(1 << bit);
            let mut seen = Vec::new();
            for key in all(scope) {
                for press in key.presses {
                    assert!(!seen.contains(press), "{press:?} twice in {scope:?}");
                    seen.push(*press);
                }
            }
            assert!(!seen.is_empty());
        }
    }

    #[test]
    fn keys_hold_in_their_place_alone() {
        let key = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE);
        assert_eq!(lookup(Scope::PIPELINES, &key('p')), Some(Pause));
        assert_eq!(lookup(Scope::CLUSTER, &key('p')), None);
        assert_eq!(lookup(Scope::LINE, &key('q')), None);
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for bit in 0..9 {
            assert!(matches!(lookup(Scope(1 << bit), &ctrl_c), Some(Quit | No)));
        }
        let alt = KeyEvent::new(KeyCode::Char('x'), KeyModifiers::ALT);
        assert_eq!(lookup(Scope::PIPELINES, &alt), None);
    }
}
