//! `towpath explain`: the pages of error codes, which are part of the program.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use towpath_protocol::code::Code;

use crate::cli;

/// As many as one looks through.
const NEAREST_MAX: usize = 5;

/// Prints the page of a code, or the list of them.
///
/// # Errors
/// No such code, or the output can't be written.
pub(crate) fn explain(arguments: &cli::Explain) -> anyhow::Result<ExitCode> {
    let words = arguments.code.join(" ");
    let text = if words.trim().is_empty() {
        list(Code::all())
    } else if let Ok(code) = words.parse::<Code>() {
        code.page().to_owned()
    } else {
        let nearest = Code::nearest(&words, NEAREST_MAX);
        if nearest.is_empty() {
            anyhow::bail!("no error code is like {words:?}; towpath explain lists them all");
        }
        let is_number = words.bytes().any(|byte| byte.is_ascii_digit());
        if !is_number {
            list(nearest.into_iter())
        } else {
            let nearest = list(nearest.into_iter());
            anyhow::bail!(
                "there is no error code {words}; the nearest:\n{}",
                nearest.trim_end()
            );
        }
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever pages through it may leave early.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        result => result.context("cannot write the page")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(codes: impl Iterator<Item = Code>) -> String {
    codes.fold(String::new(), |mut text, code| {
        let _ = writeln!(text, "{code}  {}", code.title());
        text
    })
}
