//! Why a task stopped by itself, in a stable code, with what to do: one exhaustive match for each
//! type of error. What passes by itself (another epoch) never gets here; see
//! [`PipelineError::course`].

use super::resolve::ResolveError;
use crate::apply::ApplyError;
use crate::batch::BatchError;
use crate::commit::SinkError;
use crate::pipeline::PipelineError;
use crate::source::SourceError;

/// A failure, as an operator and a program see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// `area.what`; never changes its meaning.
    pub(super) code: &'static str,
    /// What happened.
    pub(super) text: String,
    /// What to do.
    pub(super) next: String,
    /// Whether trying again may help by itself.
    pub(super) transient: bool,
}

const SEE_TEXT: &str = "do what the text says, then start the pipeline again";

impl Reason {
    pub(super) fn of_run(error: &PipelineError) -> Self {
        let (code, next, transient) = pipeline(error);
        Self {
            code,
            text: error.to_string(),
            next: next.to_owned(),
            transient,
        }
    }

    pub(super) fn of_spec(error: &ResolveError) -> Self {
        let (code, next) = error.advice();
        Self {
            code,
            text: error.to_string(),
            next,
            transient: false,
        }
    }

    pub(super) fn of_panic(text: String) -> Self {
        Self {
            code: "internal.panic",
            text: format!("a task of the program itself failed: {text}"),
            next: "report this with the Core's log".to_owned(),
            transient: true,
        }
    }
}

fn pipeline(error: &PipelineError) -> (&'static str, &'static str, bool) {
    match error {
        PipelineError::NoSink => ("spec.mismatch", "apply the pipeline file again", false),
        PipelineError::Endpoint(_) => ("spec.endpoint", "correct the pipeline file", false),
        PipelineError::NoServerUuid { .. } => (
            "source.unsupported",
            "replicate from a MySQL of version 5.7 or later",
            false,
        ),
        PipelineError::SourceSql(_) => (
            "source.refused",
            "check user, password and the host part of the account on the source",
            false,
        ),
        PipelineError::Source(error) => source(error),
        PipelineError::Batch(error) => batch(error),
        PipelineError::Decode { .. } => {
            ("source.damaged", "report this with the binlog file", false)
        }
        PipelineError::NoTableMap { .. } => {
            ("source.damaged", "report this with the binlog file", false)
        }
        PipelineError::Apply(error) => apply(error),
        PipelineError::Sink(error) => sink(error),
        PipelineError::QueueClosed => ("internal.queue-closed", "it is tried again", true),
        PipelineError::LostInside { .. } => ("source.lost", "it is tried again", true),
        PipelineError::NotElected { .. } => ("core.not-elected", "it is tried again", true),
        PipelineError::Task(_) => ("internal.panic", "report this with the Core's log", true),
    }
}

fn source(error: &SourceError) -> (&'static str, &'static str, bool) {
    let (retry, next) = error.retry();
    let transient = retry == crate::source::Retry::Again;
    let code = match error {
        SourceError::Connect { .. } => "source.connect",
        SourceError::Timeout { .. } => "source.timeout",
        SourceError::Lost(_) | SourceError::Closed | SourceError::Ended => "source.lost",
        SourceError::Silent { .. } => "source.silent",
        SourceError::AccessDenied { .. } => "source.access-denied",
        SourceError::Privilege { .. } => "source.privilege",
        SourceError::NoTls => "source.no-tls",
        SourceError::Tls { .. } => "source.tls",
        SourceError::TlsConfig { .. } => "source.tls-config",
        SourceError::UnknownPlugin { .. } => "source.login-plugin",
        SourceError::RsaKey { .. } => "source.rsa-key",
        SourceError::Purged { .. } => "source.purged",
        SourceError::Diverged { .. } => "source.diverged",
        SourceError::ServerIdClash => "source.server-id-clash",
        SourceError::EventTooLarge { .. } => "source.event-too-large",
        SourceError::NoSuchFile { .. } => "source.no-such-file",
        SourceError::OffsetTooLarge { .. } | SourceError::BadPosition { .. } => {
            "source.bad-position"
        }
        SourceError::BadStart { .. } => "source.bad-start",
        SourceError::Server { .. } | SourceError::Sql { .. } => "source.refused",
        SourceError::PacketTooLong { .. }
        | SourceError::Sequence { .. }
        | SourceError::Protocol { .. } => "source.protocol",
        SourceError::Malformed { .. }
        | SourceError::Checksum { .. }
        | SourceError::Payload { .. } => "source.damaged",
    };
    (code, next, transient)
}

fn batch(error: &BatchError) -> (&'static str, &'static str, bool) {
    let code = match error {
        BatchError::Decode { .. } | BatchError::OutOfPlace { .. } => "source.damaged",
        BatchError::StatementFormat { .. } => "source.statement-format",
        BatchError::Unsupported { .. } => "apply.unsupported",
    };
    (code, SEE_TEXT, false)
}

fn apply(error: &ApplyError) -> (&'static str, &'static str, bool) {
    let code = match error {
        ApplyError::Decode { .. } => "source.damaged",
        ApplyError::NoMetadata { .. } => "source.no-metadata",
        ApplyError::Default { .. } => "sink.default-differs",
        ApplyError::NoTable { .. } => "sink.no-table",
        ApplyError::Mismatch { .. } => "sink.table-differs",
        ApplyError::PartialImage { .. } => "source.partial-image",
        ApplyError::Contradiction { .. } => "apply.contradiction",
        ApplyError::RowTooLarge { .. } => "sink.row-too-large",
    };
    (code, SEE_TEXT, false)
}

fn sink(error: &SinkError) -> (&'static str, &'static str, bool) {
    const REPAIR: &str = "repair the row on the sink, then start the pipeline again";
    match error {
        SinkError::Connection { .. } => {
            ("sink.connect", "check the sink's address and login", false)
        }
        SinkError::Server { code, .. } => server(*code),
        SinkError::Answers { .. } => ("sink.protocol", "it is tried again", true),
        SinkError::Superseded { .. } | SinkError::Fenced { .. } => {
            ("sink.superseded", "another owner is at work", true)
        }
        SinkError::OffsetRow { .. } => ("sink.offset", SEE_TEXT, false),
        SinkError::Cluster { .. } => ("sink.foreign-directory", SEE_TEXT, false),
        SinkError::RanBefore { .. } => ("sink.no-offset", SEE_TEXT, false),
        SinkError::LockTimeout { .. } => ("sink.lock", "see SHOW PROCESSLIST on the sink", true),
        SinkError::Diverged { .. } => ("sink.conflict", REPAIR, false),
        SinkError::Ddl { .. } => ("sink.ddl", SEE_TEXT, false),
    }
}

/// What the sink's server refused (MySQL Error Message Reference). What isn't known may be a full
/// disk or a table that is being repaired, so it is worth another try.
fn server(code: u16) -> (&'static str, &'static str, bool) {
    match code {
        // Duplicate key.
        1062 | 1586 => (
            "sink.conflict",
            "repair the row on the sink, then start the pipeline again",
            false,
        ),
        // Foreign keys.
        1216 | 1217 | 1451 | 1452 => (
            "sink.foreign-key",
            "repair the rows on the sink, then start the pipeline again",
            false,
        ),
        1044 | 1045 | 1142 | 1143 | 1227 | 1698 => (
            "sink.privilege",
            "grant what is missing; towpath check shows it all",
            false,
        ),
        _ => ("sink.refused", "see the sink's error log", true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!((reason.code, reason.transient), ("sink.conflict", false));
        assert!(reason.text.contains("shop.orders"), "{reason:?}");
        let reason = Reason::of_run(&refused(1114));
        assert_eq!((reason.code, reason.transient), ("sink.refused", true));
        let purged = SourceError::Purged {
            missing: "…".into(),
        };
        let reason = Reason::of_run(&purged.into());
        assert_eq!((reason.code, reason.transient), ("source.purged", false));
        assert!(!reason.next.is_empty());
    }
}
