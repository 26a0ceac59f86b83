//! The operator's side: verbs of the command line, and the TUI.
//!
//! It reads and writes the directory, and nothing else: no source, no sink, no file but those
//! that the user names.

pub mod connect;
pub mod dir;
pub mod screen;
pub mod verb;
mod tree;
mod model;
mod show;
mod mask;
mod text;
mod tui;

pub use connect::Connect;
pub use dir::Dir;
pub use screen::Screen;
pub use tui::Console;
pub use verb::Verb;
