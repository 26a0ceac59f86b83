//! Watches the directory, raises alerts in it, and tells people.
//!
//! ```text
//! tree ── view ──> rules (pure) ── holds ──> alerts in the tree ──> hooks, a task each
//! ```
//! Several Monitors may run; one of them leads, by election, and acts. What must be told, and what
//! has been, is in the tree alone, so that the next leader neither repeats nor forgets.
//!
//! Invariants:
//! * Nobody but a leader that is connected raises, ends or tells an alert.
//! * A rule is a pure function; time is its argument.
//! * A slow receiver holds up neither rules nor other receivers.
//! * A secret is resolved here, and goes nowhere but to its receiver.
//!
//! It never writes anything but alerts and what it remembers (`/towpath/seen`), never talks to a
//! database, and nothing that moves data waits for it.

pub mod view;
pub mod rules;
mod departures;
pub mod alerts;
pub mod hooks;
mod status;
mod monitor;

pub use monitor::{Monitor, MonitorError, MonitorOptions};
pub use rules::{Rule, Timings};
pub use status::{HookStatus, MonitorStatus};
pub use towpath_coordination::ConnectOptions;
