//! The pipeline file: what a user writes, in TOML, to describe one pipeline.
//!
//! ```text
//! text ─ toml ─> document (tables with lines) ─ read ─> PipelineSpec
//!                      └ template: ${NAME}, after the syntax, so a secret can't break it
//! ```
//!
//! Invariants:
//! - A `PipelineSpec` is resolved and valid: each default is filled in, each bound checked.
//! - Every problem of a file is reported at once, each with file, line, key and a next step.
//! - A secret is in no error, no `Debug` and no `Display`. For that, errors quote a value only as
//!   it stands in the file, before substitution, and never quote a URL or a password.
//!
//! Parsing never connects to anything; it reads the file, the environment, and the files that
//! `password = "file:…"` names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

mod template;
mod document;
mod units;
mod name;
mod endpoint;
mod url;
mod tables;
mod start;
mod hook;
mod ddl;
mod pipeline;
mod queue;
mod read;
mod error;
#[cfg(test)]
mod tests;

pub use ddl::{DdlClass, DdlRule, DdlSpec};
pub use endpoint::{Endpoint, Secret, TlsMode, TlsModeParseError};
pub use error::{SpecError, SpecProblem};
pub use hook::{
    AlertReading, AlertSpec, BodyField, BodyTemplate, CommandHook, Header, HeaderError, HookKind,
    HookProblem, HookSpec, Webhook,
};
pub use name::{HookName, NAME_CHARS_MAX, NameError, PipelineName, SinkName};
pub use pipeline::{
    ApplySpec, Delivery, LimitsSpec, PipelineSpec, PlacementSpec, RestartSpec, SinkSpec,
    SnapshotMode, SnapshotSpec, SourceSpec,
};
pub use queue::{LogSpec, PRODUCER, QueueKind, QueueSpec, TaskRole};
pub use start::{StartAt, StartParseError};
pub use tables::{SYSTEM_SCHEMAS, TableFilter, TableFilterError, TableRule};

/// The most bytes that a pipeline file may have: far above any real one, and low enough that a
/// wrong path, a table dump say, is refused at once.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The environment, as a function from a variable's name to its value.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl PipelineSpec {
    /// Reads a pipeline file; `${NAME}` is replaced from this process's environment.
    ///
    /// # Errors
    /// When the file can't be read, or `SpecError::Invalid` with every problem in it.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        let text = read_bounded(path, FILE_BYTES_MAX).map_err(|source| SpecError::Read {
            path: path.into(),
            source,
        })?;
        Self::parse(&text, path, &|name| std::env::var(name).ok())
    }

    /// Parses the text of a pipeline file. `path` is named in errors, and files that the text
    /// names are looked for beside it; `env` gives the values of variables.
    ///
    /// # Errors
    /// `SpecError::Invalid` with every problem of the text.
    pub fn parse(
        text: &str,
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SpecError> {
        read::pipeline(text, path, Some(env), true)
            .map_err(|problems| SpecError::Invalid { problems })
    }

    /// Parses the text of a pipeline file where its variables and the files that it names aren't:
    /// on a Server. `origin` is named in errors. What depends on a variable isn't checked, and is
    /// a placeholder or its default in the spec: no connection is to be made with it. What a
    /// Server has to know (names, placement, restarts) may hold no variable.
    ///
    /// # Errors
    /// `SpecError::Invalid` with every problem of the text.
    pub fn parse_without_secrets(text: &str, origin: &str) -> Result<Self, SpecError> {
        read::pipeline(text, Path::new(origin), None, true)
            .map_err(|problems| SpecError::Invalid { problems })
    }

    /// As [`PipelineSpec::parse`], but for a process that moves data and tells nobody: the hooks
    /// are left out, so that their variables, which a Monitor has, needn't be set here.
    ///
    /// # Errors
    /// `SpecError::Invalid` with every problem of the text.
    pub fn parse_without_hooks(
        text: &str,
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, SpecError> {
        read::pipeline(text, path, Some(env), false)
            .map_err(|problems| SpecError::Invalid { problems })
    }
}

impl AlertSpec {
    /// Reads no more of a pipeline file than a Monitor needs, and as much of that as can be used:
    /// a hook that names a variable which isn't set doesn't silence the others. What is outside of
    /// `[alert]` isn't looked at.
    pub fn read(text: &str, path: &Path, env: &dyn Fn(&str) -> Option<String>) -> AlertReading {
        read::alert_only(text, path, env)
    }

    /// Loads a file of `[[alert.hook]]` tables, and nothing else.
    ///
    /// # Errors
    /// When the file can't be read, or `SpecError::Invalid` with every problem in it.
    pub fn load_hooks(
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<HookSpec>, SpecError> {
        let text = read_bounded(path, FILE_BYTES_MAX).map_err(|source| SpecError::Read {
            path: path.into(),
            source,
        })?;
        read::hooks_file(&text, path, env).map_err(|problems| SpecError::Invalid { problems })
    }
}

/// Reads a text file of at most `bytes_max`.
fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(bytes_max.saturating_add(1))
        .read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        let message = format!("larger than {}", units::size_text(bytes_max));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}
