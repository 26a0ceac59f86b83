//! What is wrong: pure functions of the tree and of what was observed of it so far.
//!
//! ```text
//! View + History ── rules ──> findings ── Holds ──> what fires
//! ```
//! A rule says of the present moment: bad, or unclear, or nothing. [`Holds`](hold::Holds) makes
//! alerts of that which don't flap. No rule reads a clock: the time is an argument, and it's the
//! Monitor's own since its start; clocks of other machines are never compared with it.

use std::fmt;
use std::time::Duration;

use ring::digest;
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::AlertId;
use towpath_protocol::tree::record::Severity;

use crate::view::View;

mod history;
mod pipeline;
mod cluster;
pub mod hold;
#[cfg(test)]
mod tests;

pub use history::History;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A task stopped by itself, or a pipeline can't go on.
    Failed,
    /// Nobody runs what is to run.
    NotRunning,
    /// A task that should move doesn't.
    Stalled,
    /// A sink is too far behind.
    Lag,
    /// Nobody would take over.
    NoStandby,
    /// Another Core took over. An event.
    Failover,
    /// A Core went without leaving in order.
    CoreLost,
    /// A Server went.
    ServerLost,
    /// A member of the directory doesn't keep up.
    DirectoryMemberLags,
    /// A data source doesn't answer.
    SourceDown,
    /// A hook can't be used.
    Hook,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Failed,
        Self::NotRunning,
        Self::Stalled,
        Self::Lag,
        Self::NoStandby,
        Self::Failover,
        Self::CoreLost,
        Self::ServerLost,
        Self::DirectoryMemberLags,
        Self::SourceDown,
        Self::Hook,
    ];

    /// Its name in alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::NotRunning => "not-running",
            Self::Stalled => "stalled",
            Self::Lag => "lag",
            Self::NoStandby => "no-standby",
            Self::Failover => "failover",
            Self::CoreLost => "core-lost",
            Self::ServerLost => "server-lost",
            Self::DirectoryMemberLags => "directory-member-lags",
            Self::SourceDown => "source-down",
            Self::Hook => "hook",
        }
    }

    /// The rule of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == name)
    }

    /// Whether its text says a measure as of the beginning, and so isn't kept up to date.
    pub(crate) fn measures(self) -> bool {
        matches!(self, Self::Lag | Self::Failover)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How long things must hold. Those that a pipeline's spec gives are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Lag beyond its bound, before it's told: one late batch is no trouble.
    pub lag_hold: Duration,
    /// A failure that may pass by itself, before it's told.
    pub transient_hold: Duration,
    /// A data source that doesn't answer, before it's told.
    pub source_hold: Duration,
    /// A Core that still has work and isn't there, before it's lost; at once if its session ended
    /// while it had instances.
    pub core_absent: Duration,
    /// How long a lost Core is told at least, if others have its work by then.
    pub core_shown: Duration,
    /// A Server that isn't there, before it's lost: a restart is shorter.
    pub server_absent: Duration,
    /// A member of the directory that doesn't keep up, before it's told: a restart is shorter.
    pub member_behind: Duration,
    /// How long a failover is told.
    pub failover_shown: Duration,
    /// How long a task must run again, before its failure is over.
    pub failed_clear: Duration,
    /// How long anything else must be well, before it's over.
    pub clear: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            lag_hold: seconds(5),
            transient_hold: seconds(10),
            source_hold: seconds(5),
            core_absent: seconds(10),
            core_shown: seconds(60),
            server_absent: seconds(10),
            member_behind: seconds(10),
            failover_shown: seconds(300),
            failed_clear: seconds(10),
            clear: seconds(5),
        }
    }
}

impl Timings {
    /// How long a rule must find nothing, before its alert is over.
    pub fn clear_of(&self, rule: Option<Rule>) -> Duration {
        match rule {
            Some(Rule::Failed) => self.failed_clear,
            Some(Rule::Failover) => self.failover_shown,
            Some(Rule::Hook) => Duration::ZERO,
            _ => self.clear,
        }
    }
}

/// What a rule says of a subject. It says nothing of what is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It's bad.
    Bad,
    /// What fires goes on to fire, what doesn't doesn't begin.
    Unclear,
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// Whose hooks are told; those of the Monitors if `None`.
    pub pipeline: Option<PipelineName>,
    /// About what.
    pub subject: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and what to do.
    pub text: String,
    /// Whether it is.
    pub level: Level,
    /// How long it must be bad before it's told.
    pub hold: Duration,
    /// Which one, of an event.
    pub occurrence: Option<u64>,
    /// The code of the error behind it.
    pub code: Option<String>,
}

impl Finding {
    fn new(rule: Rule, subject: impl Into<String>, severity: Severity, text: String) -> Self {
        Self {
            rule,
            pipeline: None,
            subject: subject.into(),
            severity,
            text,
            level: Level::Bad,
            hold: Duration::ZERO,
            occurrence: None,
            code: None,
        }
    }

    fn of(mut self, pipeline: &PipelineName) -> Self {
        self.pipeline = Some(pipeline.clone());
        self
    }

    fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    fn unclear(mut self) -> Self {
        self.level = Level::Unclear;
        self
    }

    /// The alert's id: the same for the same rule and subject, whichever Monitor says it.
    pub fn id(&self) -> AlertId {
        // No rule and no pipeline has a dot in its name, so no two subjects share an id.
        let plain = format!("{}.{}", self.rule, self.subject.replace('/', "."));
        plain.parse().unwrap_or_else(|_| {
            // Too long for a name.
            let hash = digest::digest(&digest::SHA256, plain.as_bytes());
            let hex: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
            format!("{}.{hex}", self.rule)
                .parse()
                .unwrap_or_else(|_| other_id())
        })
    }
}

/// A rule's name, a dot and 64 digits are a name; should that ever change, all such alerts share
/// this one.
#[expect(clippy::unwrap_used, reason = "a constant, which a test reads")]
fn other_id() -> AlertId {
    AlertId::new("other").unwrap()
}

/// Everything that is wrong at this moment.
pub fn findings(view: &View, history: &History, timings: &Timings, now: Duration) -> Vec<Finding> {
    let mut found = Vec::new();
    pipeline::look(view, history, timings, now, &mut found);
    cluster::look(view, history, timings, now, &mut found);
    found
}
