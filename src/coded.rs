//! Errors as people see them: with their code, and where it is explained.

use std::fmt;

use towpath_coordination::CoordinationError;
use towpath_core::agent::ResolveError;
use towpath_core::commit::SinkError;
use towpath_core::endpoint::EndpointError;
use towpath_core::leave::LeaveError;
use towpath_core::pipeline::PipelineError;
use towpath_core::source::SourceError;
use towpath_core::tail::FollowError;
use towpath_core::verify::VerifyError;
use towpath_protocol::code::Code;
use towpath_protocol::spec::SpecError;

/// An error whose text is ours, with its code.
#[derive(Debug)]
pub(crate) struct Coded {
    /// Its code.
    pub(crate) code: Code,
    /// What happened, and what to do.
    pub(crate) text: String,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Coded {}

/// The code of the first error in a chain that has one.
pub(crate) fn code_of(error: &anyhow::Error) -> Option<Code> {
    error.chain().find_map(|error| {
        let error = Some(error);
        None.or_else(|| Some(error?.downcast_ref::<Coded>()?.code))
            .or_else(|| Some(error?.downcast_ref::<SpecError>()?.code()))
            .or_else(|| Some(error?.downcast_ref::<PipelineError>()?.code()))
            .or_else(|| Some(error?.downcast_ref::<SourceError>()?.code()))
            .or_else(|| Some(error?.downcast_ref::<SinkError>()?.code()))
            .or_else(|| Some(error?.downcast_ref::<EndpointError>()?.code()))
            .or_else(|| error?.downcast_ref::<FollowError>()?.code())
            .or_else(|| Some(error?.downcast_ref::<VerifyError>()?.code()))
            .or_else(|| Some(error?.downcast_ref::<LeaveError>()?.code()))
            .or_else(|| Some(error?.downcast_ref::<ResolveError>()?.code()))
            .or_else(|| Some(error?.downcast_ref::<CoordinationError>()?.code()))
    })
}

/// What is printed of an error that ends the program; ends with a line's end.
pub(crate) fn lines(error: &anyhow::Error) -> String {
    match code_of(error) {
        Some(code) => format!("error[{code}]: {}\n  {}\n", text(error), hint(code)),
        None => format!("towpath: {error:#}\n"),
    }
}

/// Where more is said.
pub(crate) fn hint(code: Code) -> String {
    format!("{} says what to do", code.hint())
}

/// The chain of causes, without those that the line has already: some of our errors name their
/// causes themselves.
fn text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use towpath_protocol::code;

    use super::*;

    #[test]
    fn an_error_shows_its_code_and_where_it_is_explained() {
        let lost = SourceError::Lost(std::io::Error::other("reset"));
        let error = anyhow::Error::from(lost).context("tail");
        assert_eq!(code_of(&error), Some(code::SOURCE_LOST));
        assert_eq!(
            lines(&error),
            "error[TP1202]: tail: the connection to the source broke: reset\n  towpath explain TP1202 says what \
             to do\n"
        );
        let plain: anyhow::Result<()> = Err(anyhow::anyhow!("b"));
        assert_eq!(lines(&plain.context("a").unwrap_err()), "towpath: a: b\n");
    }
}
