//! What a precondition's check comes to. Plain data, so that every stage can state its own.

use std::fmt;

use towpath_protocol::code::Code;

/// How a precondition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingState {
    /// Met.
    Ok,
    /// Met well enough to run, with a risk that the finding names.
    Warning,
    /// Not met: the pipeline doesn't start, or is sure to stop.
    Failed,
}

/// What mends a precondition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// SQL for an administrator of that server: one statement, or several with `; ` between them,
    /// and none behind the last.
    Sql(String),
    /// What to do by hand.
    Hand(String),
}

/// One precondition and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The precondition.
    pub what: String,
    /// Why it is one, for people to whom it is news; empty where that is plain.
    pub why: &'static str,
    /// How it stands.
    pub state: FindingState,
    /// What was found.
    pub found: String,
    /// What mends it; None where all is well.
    pub fix: Option<Fix>,
    /// The code of the error that a run would end with, or be held up by; None where all is well,
    /// and where there is only a risk.
    pub code: Option<Code>,
}

impl Fix {
    /// A statement.
    pub fn sql(statement: impl Into<String>) -> Option<Self> {
        Some(Self::Sql(statement.into()))
    }

    /// An advice.
    pub fn hand(advice: impl Into<String>) -> Option<Self> {
        Some(Self::Hand(advice.into()))
    }
}

/// As it can be pasted: statements end with a semicolon.
impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(statement) => write!(f, "{statement};"),
            Self::Hand(advice) => f.write_str(advice),
        }
    }
}

impl Finding {
    /// A finding. A fix belongs to what isn't right only, and is dropped otherwise; a server's
    /// empty value is shown as `not set`.
    pub fn new(
        what: impl Into<String>,
        state: FindingState,
        found: impl Into<String>,
        fix: Option<Fix>,
    ) -> Self {
        let found = found.into();
        Self {
            what: what.into(),
            why: "",
            state,
            found: if found.is_empty() {
                "not set".to_owned()
            } else {
                found
            },
            fix: fix.filter(|_| state != FindingState::Ok),
            code: None,
        }
    }

    /// A precondition that is met.
    pub fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(what, FindingState::Ok, found, None)
    }

    /// The same finding with the code of the error that it would become; dropped if all is well.
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        self.code = Some(code).filter(|_| self.state != FindingState::Ok);
        self
    }

    /// The same finding with a code, where it would become that error.
    #[must_use]
    pub fn code_if(self, would: bool, code: Code) -> Self {
        if would { self.code(code) } else { self }
    }

    /// The same finding with its reason.
    #[must_use]
    pub fn why(mut self, why: &'static str) -> Self {
        self.why = why;
        self
    }
}

impl FindingState {
    /// `Ok` if so, else the given state.
    pub fn ok_if(met: bool, otherwise: Self) -> Self {
        if met { Self::Ok } else { otherwise }
    }
}
