//! Why a task stopped by itself, with what to do: one exhaustive match for each type of error. What
//! passes by itself (another epoch) never gets here; see [`PipelineError::course`].

use towpath_protocol::code::{self, Code};

use super::resolve::ResolveError;
use crate::commit::{Advice, SinkError};
use crate::pipeline::PipelineError;
use crate::source::Retry;

/// A failure, as an operator and a program see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// Its code.
    pub(super) code: Code,
    /// What happened.
    pub(super) text: String,
    /// What to do.
    pub(super) next: String,
    /// Whether trying again may help by itself.
    pub(super) transient: bool,
}

const SEE_TEXT: &str = "do what the text says, then start the pipeline again";
const AGAIN: &str = "it is tried again";
const REPORT: &str = "report this with the Core's log";
const REPAIR: &str = "repair the row on the sink, then start the pipeline again";

impl Reason {
    pub(super) fn of_run(error: &PipelineError) -> Self {
        let (next, transient) = pipeline(error);
        Self::new(error.code(), error.to_string(), next, transient)
    }

    pub(super) fn of_spec(error: &ResolveError) -> Self {
        Self::new(error.code(), error.to_string(), &error.advice(), false)
    }

    pub(super) fn of_panic(text: &str) -> Self {
        let text = format!("a task of the program itself failed: {text}");
        Self::new(code::INTERNAL, text, REPORT, true)
    }

    fn new(code: Code, text: String, next: &str, transient: bool) -> Self {
        Self {
            code,
            text,
            next: format!("{next}; {} has the steps", code.hint()),
            transient,
        }
    }
}

fn pipeline(error: &PipelineError) -> (&'static str, bool) {
    match error {
        PipelineError::NoSink => ("apply the pipeline file again", false),
        PipelineError::Endpoint(_) => ("correct the pipeline file", false),
        PipelineError::NoServerUuid { .. } => {
            ("replicate from a MySQL of version 5.7 or later", false)
        }
        PipelineError::Source(error) => {
            let (retry, next) = error.retry();
            (next, retry == Retry::Again)
        }
        PipelineError::Decode { .. } | PipelineError::NoTableMap { .. } => {
            ("report this with the binlog file", false)
        }
        PipelineError::Batch(_) | PipelineError::Apply(_) => (SEE_TEXT, false),
        PipelineError::Copy(error) => (SEE_TEXT, error.advice() == Advice::Retry),
        PipelineError::Sink(error) => sink(error),
        PipelineError::Queue(error) => (SEE_TEXT, error.passes()),
        PipelineError::QueueClosed
        | PipelineError::LostInside { .. }
        | PipelineError::NotElected { .. } => (AGAIN, true),
        PipelineError::Task(_) => (REPORT, true),
    }
}

fn sink(error: &SinkError) -> (&'static str, bool) {
    match error {
        SinkError::Connection { .. } => ("check the sink's address, login and TLS", false),
        SinkError::Server { code, .. } => {
            let transient = error.advice() == Advice::Retry;
            server(crate::commit::code_of_number(*code), transient)
        }
        SinkError::Answers { .. } => (AGAIN, true),
        SinkError::Superseded { .. } | SinkError::Fenced { .. } => {
            ("another owner is at work", true)
        }
        SinkError::LockTimeout { .. } => ("see SHOW PROCESSLIST on the sink", true),
        SinkError::Diverged { .. } => (REPAIR, false),
        SinkError::LaneEnded => (REPORT, true),
        SinkError::Endpoint { .. }
        | SinkError::OffsetRow { .. }
        | SinkError::AnotherSource { .. }
        | SinkError::RowGone { .. }
        | SinkError::WentBack { .. }
        | SinkError::TooManyIntervals { .. }
        | SinkError::Cluster { .. }
        | SinkError::RanBefore { .. }
        | SinkError::NoPlace { .. }
        | SinkError::DdlRefused { .. }
        | SinkError::Ddl { .. }
        | SinkError::DdlUndecided { .. } => (SEE_TEXT, false),
    }
}

/// What the sink's server refused. What isn't known may be a table that is being repaired, so it is
/// worth another try; what lies in a row, a definition or an account is not.
fn server(code: Code, transient: bool) -> (&'static str, bool) {
    const DEFINITION: &str = "make the sink's table as the source's is (towpath check compares them), then start the \
         pipeline again";
    match code {
        code::ROW_DUPLICATE => (REPAIR, false),
        code::SINK_FOREIGN_KEY => (
            "repair the rows on the sink, then start the pipeline again",
            false,
        ),
        code::SINK_PRIVILEGE => (
            "grant what is missing (towpath check shows it all), then start the pipeline again",
            false,
        ),
        code::SINK_LOGIN | code::SINK_LOGIN_METHOD | code::SINK_TLS => (
            "correct user, password or TLS of the sink, then start the pipeline again",
            false,
        ),
        code::NO_TABLE
        | code::NO_COLUMN
        | code::COLUMN_NEEDS_VALUE
        | code::SINK_NULL
        | code::SINK_VALUE => (DEFINITION, false),
        code::ROW_TOO_LARGE => (
            "raise max_allowed_packet on the sink, then start the pipeline again",
            false,
        ),
        code::SINK_TRIGGER => (
            "drop the sink's trigger or constraint, then start the pipeline again",
            false,
        ),
        code::SINK_GROUP => (SEE_TEXT, false),
        _ if transient => (AGAIN, true),
        _ => ("see the sink's error log", true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceError;

    #[test]
    fn a_conflict_is_for_a_person_and_an_unknown_refusal_for_another_try() {
        let refused = |code| {
            PipelineError::Sink(SinkError::Server {
                sink: "replica".into(),
                doing: "apply rows",
                code,
                state: "23000".into(),
                message: "Duplicate entry".into(),
                context: "; INSERT on shop.orders".into(),
            })
        };
        let reason = Reason::of_run(&refused(1062));
        assert_eq!(
            (reason.code, reason.transient),
            (code::ROW_DUPLICATE, false)
        );
        assert!(reason.text.contains("shop.orders"), "{reason:?}");
        let reason = Reason::of_run(&refused(1114));
        assert_eq!((reason.code, reason.transient), (code::SINK_FULL, true));
        let purged = SourceError::Purged {
            missing: "…".into(),
        };
        let reason = Reason::of_run(&purged.into());
        assert_eq!(
            (reason.code, reason.transient),
            (code::SOURCE_PURGED, false)
        );
        assert!(reason.next.contains("towpath explain TP1210"), "{reason:?}");
    }
}
