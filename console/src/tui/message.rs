//! What happens to the console, and what it wants done.

use crossterm::event::KeyEvent;
use jiff::Timestamp;
use towpath_coordination::CommandQueue;
use towpath_protocol::tree::TaskName;
use towpath_protocol::tree::record::{Action, Answer};

use super::tree::Tree;

/// Something happened.
#[derive(Debug)]
pub(super) enum Message {
    /// A key.
    Press(KeyEvent),
    /// The terminal has this many columns and rows.
    Resize(u16, u16),
    /// A second has gone by.
    Tick(Timestamp),
    /// The next frame of the spinner.
    Spin,
    /// The directory's nodes as they are now.
    Tree(Tree),
    /// Whether the directory answers.
    Link(bool),
    /// What came of a command.
    Answered {
        /// Of which.
        id: u64,
        /// The answer, or why there is none.
        result: Result<Answer, String>,
    },
}

/// Something is to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// End.
    Quit,
    /// Put a command, and say what came of it.
    Ask {
        /// Comes back with the answer.
        id: u64,
        /// Of whom it's asked.
        request: Request,
    },
}

/// A command to be asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) queue: CommandQueue,
    pub(super) task: Option<TaskName>,
    pub(super) action: Action,
    /// For people: `pause orders`.
    pub(super) what: String,
}
