//! `apply`: a pipeline file is put in force.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use futures_util::{StreamExt as _, stream};
use similar::{ChangeTag, TextDiff};
use towpath_coordination::{CommandQueue, Session};
use towpath_protocol::spec::{FILE_BYTES_MAX, PipelineName, PipelineSpec};
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{Action, AppliedSpec, Journal};

use super::{Order, pipeline_names};
use crate::screen::{Paint, Screen, Tone};
use crate::{mask, text};

/// Files that are under way at the same time: an answer comes when the pipeline runs.
const ASKED_TOGETHER: usize = 16;
/// Unchanged lines that are shown around a change.
const CONTEXT_LINES: usize = 3;

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// The pipeline files; - reads standard input.
    #[arg(long = "file", short = 'f', value_name = "FILE", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    /// Don't ask.
    #[arg(long, short)]
    yes: bool,
    /// Only check the files and show what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    order: Order,
}

/// A file that may be put in force.
struct Candidate {
    file: String,
    name: PipelineName,
    text: String,
    /// The version that is in force now.
    present: Option<AppliedSpec>,
    /// Its runs are ending, for another version.
    is_passing: bool,
}

impl Candidate {
    fn revision(&self) -> u64 {
        self.present.as_ref().map_or(0, |spec| spec.revision)
    }

    fn is_same(&self) -> bool {
        !self.is_passing && self.has_text_in_force()
    }

    fn has_text_in_force(&self) -> bool {
        let present = self.present.as_ref();
        present.is_some_and(|spec| spec.text == self.text)
    }
}

impl Apply {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        // Nothing is asked of anybody before every file is good.
        let mut read = Vec::new();
        let mut wrong = Vec::new();
        for file in &self.files {
            match load(file) {
                Ok(candidate) => read.push(candidate),
                Err(error) => wrong.push(format!("{error:#}")),
            }
        }
        if !wrong.is_empty() {
            bail!("nothing was applied:\n{}", wrong.join("\n"));
        }
        for (index, one) in read.iter().enumerate() {
            if let Some(other) = read
                .iter()
                .skip(index + 1)
                .find(|other| other.name == one.name)
            {
                bail!(
                    "nothing was applied: {} and {} are both pipeline {}",
                    one.file,
                    other.file,
                    one.name
                );
            }
        }
        let session = self.order.connect.session().await?;
        let done = self.apply(&session, read, screen).await;
        session.close().await;
        done
    }

    async fn apply(
        &self,
        session: &Session,
        mut candidates: Vec<Candidate>,
        screen: &mut Screen,
    ) -> anyhow::Result<ExitCode> {
        let known = pipeline_names(session).await?;
        for candidate in &mut candidates {
            // Before the spec: an update that ends meanwhile is told of, not missed.
            let journal = session
                .read::<Journal>(&path::journal(&candidate.name))
                .await?;
            candidate.is_passing =
                journal.is_some_and(|entry| entry.value.record.after_the_stop().is_some());
            let entry = session
                .read::<AppliedSpec>(&path::spec(&candidate.name))
                .await?;
            candidate.present = entry.map(|entry| entry.value.record);
            screen.show(&introduced(candidate, &known, screen.paint()))?;
            if mask::secrets(&candidate.text) != candidate.text {
                screen.say(&format!(
                    "towpath: warning: {} has a password in clear, which everybody who may read the \
                     directory would see; write ${{NAME}} and give the Cores that variable",
                    candidate.file
                ));
            }
        }
        candidates.retain(|candidate| !candidate.is_same());
        if self.dry_run || candidates.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let names: Vec<&str> = candidates
            .iter()
            .map(|candidate| candidate.name.as_str())
            .collect();
        let from_input = self.files.iter().any(|file| file == Path::new("-"));
        let question = format!("Apply {}?", names.join(", "));
        if !self.yes && (from_input || !screen.confirmed(&question)?) {
            bail!("nothing was applied; --yes says yes where nobody can be asked");
        }
        let mut code = ExitCode::SUCCESS;
        let asked = candidates.into_iter().map(|candidate| async move {
            let action = Action::Apply {
                revision: candidate.revision(),
                text: candidate.text,
            };
            let queue = CommandQueue::Cluster;
            let answer = self.order.ask(session, &queue, None, action).await;
            (candidate.name, answer)
        });
        let mut answers = stream::iter(asked).buffered(ASKED_TOGETHER);
        while let Some((name, answer)) = answers.next().await {
            match answer {
                Ok(text) => screen.show(&format!("{name}: {text}\n"))?,
                Err(error) => {
                    screen.say(&format!("towpath: {name}: {error:#}"));
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    }
}

/// Reads a file, and checks what can be checked without its secrets.
fn load(file: &Path) -> anyhow::Result<Candidate> {
    let origin = match file == Path::new("-") {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    };
    let mut bytes = Vec::new();
    let bound = FILE_BYTES_MAX.saturating_add(1);
    let read = match file == Path::new("-") {
        true => std::io::stdin().take(bound).read_to_end(&mut bytes),
        false => {
            std::fs::File::open(file).and_then(|open| open.take(bound).read_to_end(&mut bytes))
        }
    };
    read.with_context(|| format!("{origin}: can't be read"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("{origin}: larger than {FILE_BYTES_MAX} bytes; is it a pipeline file?");
    }
    let text = String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{origin}: not UTF-8 text"))?;
    let spec = PipelineSpec::parse_without_secrets(&text, &origin)?;
    Ok(Candidate {
        file: origin,
        name: spec.name,
        text,
        present: None,
        is_passing: false,
    })
}

/// What applying would do.
fn introduced(candidate: &Candidate, known: &[String], paint: Paint) -> String {
    let name = &candidate.name;
    let Some(present) = &candidate.present else {
        let mut out = format!("{name} is new");
        if let Some(near) = text::nearest(name.as_str(), known.iter().map(String::as_str)) {
            out.push_str(&format!(" (there is {near}, which stays as it is)"));
        }
        out.push('\n');
        let variables = mask::variables(&candidate.text);
        if !variables.is_empty() {
            let variables = variables.join(", ");
            out.push_str(&format!(
                "the Cores that run it need in their environment: {variables}\n"
            ));
        }
        return out;
    };
    if candidate.is_same() {
        return format!("{name} is unchanged, at revision {}\n", present.revision);
    }
    if candidate.has_text_in_force() {
        return format!(
            "{name} has this text, at revision {}, and is being updated to another\n",
            present.revision
        );
    }
    let (old, new) = (mask::secrets(&present.text), mask::secrets(&candidate.text));
    if old == new {
        return format!("{name} changes only in a password, which isn't shown\n");
    }
    diff(
        &old,
        &new,
        &format!("{name}, revision {}, by {}", present.revision, present.by),
        &candidate.file,
        paint,
    )
}

/// A unified diff.
fn diff(old: &str, new: &str, old_name: &str, new_name: &str, paint: Paint) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut out = String::new();
    let mut put = |tone, line: &str| {
        let line = line.trim_end_matches(['\n', '\r']);
        let line: Vec<String> = line.split('\t').map(text::line).collect();
        out.push_str(&paint.paint(tone, &line.join("\t")));
        out.push('\n');
    };
    put(Tone::Strong, &format!("--- {old_name}"));
    put(Tone::Strong, &format!("+++ {new_name}"));
    for hunk in diff
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .iter_hunks()
    {
        put(Tone::Changing, &hunk.header().to_string());
        for change in hunk.iter_changes() {
            let (tone, mark) = match change.tag() {
                ChangeTag::Delete => (Tone::Bad, '-'),
                ChangeTag::Insert => (Tone::Good, '+'),
                ChangeTag::Equal => (Tone::Plain, ' '),
            };
            put(tone, &format!("{mark}{}", change.value()));
            if change.missing_newline() {
                put(Tone::Faint, "\\ No newline at end of file");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_what_changes_and_no_escape_sequence() {
        let plain = Paint::new(false);
        assert_eq!(
            diff("a\nb\nc\n", "a\nB\u{1b}[2J\nc", "old", "new", plain),
            "--- old\n+++ new\n@@ -1,3 +1,3 @@\n a\n-b\n-c\n+B\\u{1b}[2J\n+c\n\\ No newline at end of file\n"
        );
        let coloured = diff("a\n", "b\n", "old", "new", Paint::new(true));
        assert!(
            coloured.contains("\x1b[1;31m-a\x1b[0m\n\x1b[32m+b\x1b[0m\n"),
            "{coloured:?}"
        );
    }
}
