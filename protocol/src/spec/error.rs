//! What is wrong with a pipeline file.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::code::{self, Code};

/// Why a pipeline file can't be used. No variant carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file can't be read.
    #[error("{}: can't read the pipeline file; check its path and permissions",
        path.display())]
    Read {
        /// The path as given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file's content is wrong; one line of text per problem.
    #[error("{}", lines(problems))]
    Invalid {
        /// Every problem, in the order of lines; never empty.
        problems: Vec<SpecProblem>,
    },
}

/// One problem of a pipeline file, printed as `file:line: key: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecProblem {
    /// The file as given.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The dotted key, as `source.start` or `sink[1].url` (counted from 1); empty where the
    /// syntax is too broken to tell.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl SpecError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Read { .. } => code::FILE_UNREADABLE,
            Self::Invalid { .. } => code::FILE_INVALID,
        }
    }

    /// The problems of the content; empty for a file that can't be read.
    pub fn problems(&self) -> &[SpecProblem] {
        match self {
            Self::Read { .. } => &[],
            Self::Invalid { problems } => problems,
        }
    }
}

impl fmt::Display for SpecProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.path.display(), self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

fn lines(problems: &[SpecProblem]) -> String {
    problems
        .iter()
        .map(SpecProblem::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
