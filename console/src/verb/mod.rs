//! The operator's verbs.
//!
//! Whoever changes something writes a command into the directory and waits for the answer of the
//! one who did it; no verb writes anything else. Whoever looks reads the directory, and needs
//! nobody to answer but it.

mod look;
mod change;
mod apply;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use towpath_coordination::{CommandQueue, CoordinationError, Patience, Session};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::TaskName;
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{Action, Answer, AppliedSpec, Member, Outcome};

use crate::Connect;
use crate::screen::Screen;
use crate::text;

/// The longest that a command waits to be taken: the Servers' leader takes it at once, and another
/// leads within a few seconds.
const TAKE_MAX: Duration = Duration::from_secs(10);

/// The operator's verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Put pipeline files in force: new pipelines, or new versions of them.
    ///
    /// Each file is checked first, and what would change is shown. ${NAME} stays as it is: secrets
    /// are taken from the environment of the Core that runs the pipeline, and never leave it. A
    /// version that doesn't run is rolled back to the last one that did.
    Apply(apply::Apply),
    /// Let stopped or failed pipelines run.
    Start(change::Pipelines),
    /// Let pipelines end in order; nobody runs them until they are started.
    Stop(change::Pipelines),
    /// Let pipelines hold their place; standbys stay ready.
    Pause(change::Pipelines),
    /// Let paused pipelines go on.
    Resume(change::Pipelines),
    /// Let another Core run a pipeline, or one of its tasks.
    ///
    /// A switchover in order: the present Core stops first, then the other takes over where the
    /// sink stands.
    Move(change::Move),
    /// Forget pipelines with their history. Asks first.
    ///
    /// The sinks keep their data and their offset rows: a pipeline of the same name that is applied
    /// later goes on there.
    Delete(change::Delete),
    /// Show what is wrong, on one screen: pipelines, worst first, alerts, lost members.
    Status(look::Status),
    /// List what is there.
    Get(look::Get),
    /// Show everything about one thing.
    Describe(look::Describe),
    /// Show what happened, and why.
    History(look::History),
    /// List alerts that fire.
    Alerts(look::Alerts),
    /// Tell the others that you have seen an alert.
    Ack(change::Ack),
    /// Take a Core's work away, and give it none: before maintenance.
    Drain(change::Drain),
    /// Let a drained Core have work again.
    Undrain(change::Undrain),
    /// Say where a named database is now; running pipelines follow.
    Source(change::Source),
    /// Show or change what every process logs, while it runs.
    LogLevel(change::LogLevel),
}

impl Verb {
    /// Does it on standard output.
    ///
    /// # Errors
    /// The directory can't be reached, the command wasn't done, or the output can't be written.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        self.run_on(&mut Screen::standard()).await
    }

    /// Does it on this screen. `FAILURE` if a part of it wasn't done, which the screen was told.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_on(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let done = match self {
            Self::Apply(arguments) => arguments.run(screen).await,
            Self::Start(pipelines) => pipelines.run(Action::Start, screen).await,
            Self::Stop(pipelines) => pipelines.run(Action::Stop, screen).await,
            Self::Pause(pipelines) => pipelines.run(Action::Pause, screen).await,
            Self::Resume(pipelines) => pipelines.run(Action::Resume, screen).await,
            Self::Move(arguments) => arguments.run(screen).await,
            Self::Delete(arguments) => arguments.run(screen).await,
            Self::Status(arguments) => arguments.run(screen).await,
            Self::Get(arguments) => arguments.run(screen).await,
            Self::Describe(arguments) => arguments.run(screen).await,
            Self::History(arguments) => arguments.run(screen).await,
            Self::Alerts(arguments) => arguments.run(screen).await,
            Self::Ack(arguments) => arguments.run(screen).await,
            Self::Drain(arguments) => arguments.run(screen).await,
            Self::Undrain(arguments) => arguments.run(screen).await,
            Self::Source(arguments) => arguments.run(screen).await,
            Self::LogLevel(arguments) => arguments.run(screen).await,
        };
        match done {
            // Whoever read it has seen enough.
            Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
            done => done,
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// How a verb asks for a change.
#[derive(Debug, Args)]
pub(super) struct Order {
    /// Wait this long for the answer, as 500ms, 60s or 5m. What was begun goes on without us.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration,
        global = true)]
    timeout: Duration,
    // Last: its heading in the help holds for what follows.
    #[command(flatten)]
    connect: Connect,
}

/// A duration as an operator writes it; a number alone is seconds.
///
/// # Errors
/// It isn't one of 1 ms to 24 h; for people.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("use a number with ms, s, m or h, as 60s".to_owned()),
    };
    let ms = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_ms));
    match ms {
        Some(1..=86_400_000) => Ok(Duration::from_millis(ms.unwrap_or_default())),
        _ => Err("use 1ms to 24h".to_owned()),
    }
}

impl Order {
    /// Asks, and waits for the answer: the text of one that says done.
    ///
    /// # Errors
    /// It wasn't done, or isn't known to be; the error says what to do.
    async fn ask(
        &self,
        session: &Session,
        queue: &CommandQueue,
        task: Option<TaskName>,
        action: Action,
    ) -> anyhow::Result<String> {
        ask(session, queue, task, action, self.timeout).await
    }
}

/// Asks, and waits for the answer: the text of one that says done.
///
/// # Errors
/// It wasn't done, or isn't known to be; the error says what to do.
pub async fn ask(
    session: &Session,
    queue: &CommandQueue,
    task: Option<TaskName>,
    action: Action,
    timeout: Duration,
) -> anyhow::Result<String> {
    let answer = answer(session, queue, task, action, timeout).await?;
    Ok(answer.text)
}

/// As [`ask`]: the whole answer, its text fit for a terminal.
///
/// # Errors
/// As [`ask`].
pub async fn answer(
    session: &Session,
    queue: &CommandQueue,
    task: Option<TaskName>,
    action: Action,
    timeout: Duration,
) -> anyhow::Result<Answer> {
    let patience = Patience {
        take: TAKE_MAX.min(timeout),
        answer: timeout,
    };
    let answer = match session
        .command(queue, task, action, &asker(), patience)
        .await
    {
        Ok(answer) => answer,
        Err(CoordinationError::NobodyTook { after }) => {
            bail!("{}", nobody(session, after).await)
        }
        Err(CoordinationError::Unanswered { by, path, after }) => bail!(
            "{by} took the command, and has not answered within {}: it may still be done. The \
             answer will be in the directory: towpath dir get {path}",
            text_of(after)
        ),
        Err(
            error @ (CoordinationError::SessionEnded { .. } | CoordinationError::Unknown { .. }),
        ) => bail!(
            "whether the command is done isn't known: {error}. Look at towpath history before \
             asking again"
        ),
        Err(error) => return Err(error.into()),
    };
    let text: Vec<String> = text::lines(&answer.text).collect();
    let text = text.join("\n");
    match answer.outcome {
        Outcome::Done => Ok(Answer { text, ..answer }),
        Outcome::Refused => bail!("refused, nothing was changed: {text}"),
        Outcome::Failed => bail!("begun, and failed: {text}"),
        Outcome::Other(word) => bail!(
            "answered {:?}, which this program doesn't know: {text}",
            word
        ),
    }
}

fn text_of(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms % 1000 {
        0 => format!("{} s", ms / 1000),
        _ => format!("{ms} ms"),
    }
}

/// Why nobody took a command, as far as the directory knows.
async fn nobody(session: &Session, after: Duration) -> String {
    let mut servers = Vec::new();
    for id in session
        .children(&path::members(MemberKind::Server))
        .await
        .unwrap_or_default()
    {
        if let Some(node) = path::members(MemberKind::Server).listed(&id)
            && let Ok(Some(entry)) = session.read::<Member>(&node).await
        {
            let role = entry.value.record.raft_role;
            servers.push(format!(
                "{id} ({})",
                role.as_deref().unwrap_or("no role told")
            ));
        }
    }
    let found = match servers.is_empty() {
        true => "no Server is registered; is one running? See towpath get servers".to_owned(),
        false => format!(
            "registered are {}; look at the leader's log, and at towpath get servers",
            servers.join(", ")
        ),
    };
    format!(
        "no Server took the command within {}, so it was withdrawn and nothing was changed: {found}",
        text_of(after)
    )
}

/// Who asks: user and machine.
fn asker() -> String {
    let user = ["USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|user| !user.is_empty());
    let uid = || {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata("/proc/self")
            .map_or_else(|_| "unknown".to_owned(), |own| format!("uid-{}", own.uid()))
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned());
    format!("{}@{host}", user.unwrap_or_else(uid))
}

/// Names of the pipelines that are in force.
///
/// # Errors
/// [`CoordinationError`].
async fn pipeline_names(session: &Session) -> Result<Vec<String>, CoordinationError> {
    let mut names = Vec::new();
    for name in session.children(&path::pipelines()).await? {
        if let Ok(pipeline) = name.parse::<PipelineName>()
            && session.node(&path::spec(&pipeline)).await?.is_some()
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// The spec in force of a pipeline that must be there.
///
/// # Errors
/// There is no such pipeline: says which was meant.
pub async fn existing(session: &Session, pipeline: &PipelineName) -> anyhow::Result<AppliedSpec> {
    match session.read::<AppliedSpec>(&path::spec(pipeline)).await? {
        Some(entry) => Ok(entry.value.record),
        None => {
            let names = pipeline_names(session).await?;
            bail!(
                "{}",
                unknown(
                    "pipeline",
                    pipeline.as_str(),
                    &names,
                    "towpath get pipelines"
                )
            )
        }
    }
}

/// That there is nothing of this name, and what was meant.
fn unknown(kind: &str, name: &str, known: &[String], list: &str) -> String {
    let meant = text::nearest(name, known.iter().map(String::as_str));
    match (meant, known) {
        (Some(meant), _) => format!("there is no {kind} {name:?}; did you mean {meant}?"),
        (None, []) => format!("there is no {kind} {name:?}, nor any other"),
        (None, [only]) => format!("there is no {kind} {name:?}; the only one is {only}"),
        (None, _) => format!("there is no {kind} {name:?}; see {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("500ms", 500),
            ("60s", 60_000),
            ("2", 2000),
            ("5m", 300_000),
            ("24h", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in [
            "",
            "s",
            "0",
            "-1",
            "1 s",
            "1d",
            "25h",
            "99999999999999999999",
            "1é",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_there() {
        let known = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let said = |name, names: &[&str]| unknown("Core", name, &known(names), "towpath get cores");
        assert_eq!(
            said("core1", &["core-1", "core-2"]),
            "there is no Core \"core1\"; did you mean core-1?"
        );
        assert_eq!(said("x", &[]), "there is no Core \"x\", nor any other");
        assert_eq!(
            said("x", &["core-1"]),
            "there is no Core \"x\"; the only one is core-1"
        );
        assert_eq!(
            said("x", &["core-1", "core-2"]),
            "there is no Core \"x\"; see towpath get cores"
        );
    }
}
