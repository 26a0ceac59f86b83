//! A cluster of real processes: `towpath server`, and Cores and Monitors that meet in its directory.
//!
//! The verbs are asked as an operator does, through the program; nothing here speaks to the
//! directory by itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::scratch::ScratchDir;
use crate::{TowpathBuilder, TowpathProcess, towpath_program};

/// What a process may need to be ready, on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(40);
/// A verb ends by itself long before; it waits 60 s for an answer if not told otherwise.
const VERB_TIMEOUT: Duration = Duration::from_secs(90);

/// A Server with a private folder, and the way to start others beside it. Dropping it kills the
/// Server and removes the folder.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    directory: String,
    server: TowpathProcess,
    dir: ScratchDir,
}

/// What a verb came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    /// From start to end.
    pub took: Duration,
}

impl Cluster {
    /// Starts a Server and waits until it's ready. `program` is the `towpath` that everything here
    /// runs; without it, the one that [`towpath_program`] finds.
    ///
    /// # Errors
    /// There is no program, or the Server doesn't start.
    pub async fn start(program: Option<PathBuf>) -> Result<Self> {
        let program = program.map_or_else(towpath_program, Ok)?;
        let dir = ScratchDir::create("cluster")?;
        let (server, directory) = serve(&program, dir.path(), "127.0.0.1:0", &[]).await?;
        Ok(Self {
            program,
            directory,
            server,
            dir,
        })
    }

    /// Where the directory is, as `--directory` takes it.
    #[must_use]
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// The private folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The Server.
    #[must_use]
    pub fn server(&self) -> &TowpathProcess {
        &self.server
    }

    /// Starts the Server again where it was, same data, same port, with further arguments. The
    /// former one must have ended.
    ///
    /// # Errors
    /// It doesn't start.
    pub async fn start_server_again(&mut self, further: &[&str]) -> Result<()> {
        let listen = &self.directory;
        let (server, _) = serve(&self.program, self.dir.path(), listen, further).await?;
        self.server = server;
        Ok(())
    }

    /// A Core to be started.
    #[must_use]
    pub fn core(&self, id: &str) -> TowpathBuilder {
        self.towpath("core").args(["--id", id])
    }

    /// A Monitor to be started.
    #[must_use]
    pub fn monitor(&self, id: &str) -> TowpathBuilder {
        self.towpath("monitor").args(["--id", id])
    }

    /// A verb with the directory's address behind it.
    #[must_use]
    pub fn towpath(&self, verb: &str) -> TowpathBuilder {
        TowpathProcess::builder()
            .program(&self.program)
            .arg(verb)
            .args(["--directory", &self.directory])
    }

    /// Does a verb, its words separated by spaces, and waits for its end.
    ///
    /// # Errors
    /// It doesn't start, or doesn't end.
    pub async fn ask(&self, words: &str) -> Result<Said> {
        let verb = TowpathProcess::builder()
            .program(&self.program)
            .args(words.split(' '))
            .args(["--directory", &self.directory]);
        self.said(&verb)
            .await
            .with_context(|| format!("towpath {words}"))
    }

    /// Puts a pipeline file in force.
    ///
    /// # Errors
    /// As [`Cluster::ask`].
    pub async fn apply(&self, file: &Path) -> Result<Said> {
        let verb = self.towpath("apply").arg("--yes").arg("--file").arg(file);
        self.said(&verb).await.context("towpath apply")
    }

    async fn said(&self, verb: &TowpathBuilder) -> Result<Said> {
        let began = Instant::now();
        let process = verb.spawn()?;
        let status = process.wait_exit(VERB_TIMEOUT).await?;
        Ok(Said {
            code: status.code(),
            out: lines(&process.stdout()),
            err: lines(&process.stderr()),
            took: began.elapsed(),
        })
    }

    /// What a verb shows that must be done.
    ///
    /// # Errors
    /// It isn't.
    pub async fn good(&self, words: &str) -> Result<String> {
        let said = self.ask(words).await?;
        ensure!(said.code == Some(0), "towpath {words}: {said:?}");
        Ok(said.out)
    }

    /// What a verb with `--json` shows.
    ///
    /// # Errors
    /// It isn't done, or that is no JSON.
    pub async fn json(&self, words: &str) -> Result<Value> {
        let words = format!("{words} --json");
        let out = self.good(&words).await?;
        serde_json::from_str(&out).with_context(|| format!("towpath {words} shows {out:?}"))
    }
}

/// Waits until a role says that it's ready, and answers that line of its log.
///
/// # Errors
/// It doesn't.
pub async fn ready(process: &TowpathProcess) -> Result<Value> {
    let is_ready = |line: &str| line.contains(r#""message":"ready""#);
    let line = process.wait_for_line(is_ready, READY_TIMEOUT).await?;
    serde_json::from_str(&line).with_context(|| format!("this is no JSON: {line}"))
}

async fn serve(
    program: &Path,
    dir: &Path,
    listen: &str,
    further: &[&str],
) -> Result<(TowpathProcess, String)> {
    let server = TowpathProcess::builder()
        .program(program)
        .args(["server", "--listen", listen, "--data"])
        .arg(dir.join("directory"))
        .args(further)
        .spawn()?;
    let line = ready(&server).await?;
    let directory = line.get("directory").and_then(Value::as_str);
    let directory = directory.context("the Server doesn't say where its directory is")?;
    Ok((server, directory.to_owned()))
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}
