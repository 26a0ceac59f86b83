//! A directory, a Server that answers, and verbs whose output is kept.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use tempfile::TempDir;
use towpath_console::{Screen, Verb};
use towpath_coordination::{CommandQueue, ConnectOptions, Expect, Inbox, Session};
use towpath_directory::{Config, Directory};
use towpath_protocol::tree::record::{Action, Command, Outcome};
use towpath_protocol::tree::{NodePath, Record};

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What a verb came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) done: bool,
    pub(crate) out: String,
    /// What it said about itself, and its error.
    pub(crate) err: String,
}

/// Keeps what is written.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) struct World {
    _directory: Directory,
    _dir: TempDir,
    pub(crate) address: String,
    pub(crate) session: Session,
    asked: Arc<Mutex<Vec<Command>>>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let directory = Directory::start(Config::new(dir.path())).await.unwrap();
        let address = directory.address().to_string();
        let session = connect(&address).await;
        Self {
            _directory: directory,
            _dir: dir,
            address,
            session,
            asked: Arc::default(),
        }
    }

    /// A record as its example is, with some of its fields changed.
    pub(crate) async fn put<T: Record>(&self, path: &str, changes: Value) {
        let mut value: Value = serde_json::from_str(T::EXAMPLE).unwrap();
        for (name, change) in changes.as_object().unwrap() {
            value[name] = change.clone();
        }
        let record: T = serde_json::from_value(value).unwrap();
        let path = NodePath::parse(&format!("/towpath/{path}")).unwrap();
        self.session
            .write(&path, record, Expect::Anything)
            .await
            .unwrap();
    }

    /// Answers each command of the cluster and of these pipelines as `answer` says.
    pub(crate) async fn answering(
        &self,
        pipelines: &[&str],
        answer: fn(&Action) -> (Outcome, String),
    ) {
        let queues = pipelines
            .iter()
            .map(|name| CommandQueue::Pipeline(name.parse().unwrap()));
        for queue in queues.chain([CommandQueue::Cluster]) {
            let session = connect(&self.address).await;
            let asked = self.asked.clone();
            tokio::spawn(async move {
                let mut inbox = Inbox::new(&session, queue, "server-1");
                while let Ok(taken) = inbox.next(|_| true).await {
                    let command = taken.command().clone();
                    let (outcome, text) = answer(&command.action);
                    asked.lock().unwrap().push(command);
                    taken.answer(outcome, text, json!({})).await.unwrap();
                }
            });
        }
    }

    /// What was asked since the last call: action and task.
    pub(crate) fn asked(&self) -> Vec<(Action, Option<String>)> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked
            .into_iter()
            .map(|command| {
                assert!(command.by.contains('@'), "{command:?}");
                (command.action, command.task.map(|task| task.to_string()))
            })
            .collect()
    }

    /// Does a verb; its words are separated by spaces.
    pub(crate) async fn towpath(&self, words: &str) -> Said {
        let (out, err) = (Kept::default(), Kept::default());
        let verb = self.verb(words);
        let mut screen = Screen::plain(out.clone(), err.clone());
        let run = verb.run_on(&mut screen);
        let result = tokio::time::timeout(Duration::from_secs(30), run)
            .await
            .unwrap();
        let mut said = err.text();
        let done = match result {
            Ok(code) => code == ExitCode::SUCCESS,
            Err(error) => {
                said.push_str(&format!("{error:#}"));
                false
            }
        };
        Said {
            done,
            out: out.text(),
            err: said,
        }
    }

    pub(crate) fn verb(&self, words: &str) -> Verb {
        let words = ["towpath"].into_iter().chain(words.split(' '));
        let words = words.chain(["--directory", &self.address]);
        Cli::try_parse_from(words).unwrap().verb
    }

    /// What a verb that is done shows.
    pub(crate) async fn good(&self, words: &str) -> String {
        let said = self.towpath(words).await;
        assert!(said.done, "{words}: {said:?}");
        said.out
    }

    /// What a verb that isn't done says.
    pub(crate) async fn bad(&self, words: &str) -> String {
        let said = self.towpath(words).await;
        assert!(!said.done, "{words}: {said:?}");
        said.err
    }

    pub(crate) async fn json(&self, words: &str) -> Value {
        serde_json::from_str(&self.good(words).await).unwrap()
    }
}

/// Whether these words are a usage error.
pub(crate) fn is_misused(words: &str) -> bool {
    let words = ["towpath"].into_iter().chain(words.split(' '));
    let error = Cli::try_parse_from(words).err();
    error.is_some_and(|error| error.exit_code() == 2)
}

async fn connect(address: &str) -> Session {
    let mut options = ConnectOptions::new([address]);
    options.session_timeout = Duration::from_secs(10);
    Session::connect(options).await.unwrap()
}

pub(crate) fn done(_: &Action) -> (Outcome, String) {
    (Outcome::Done, "it is so".to_owned())
}

/// A pipeline file.
pub(crate) fn file(name: &str, tables: &str) -> String {
    format!(
        "name = \"{name}\"\n\n[source]\nurl = \"mysql://repl:${{SOURCE_PASSWORD}}@127.0.0.1:3306\"\n\
         tables = [\"{tables}\"]\n\n[[sink]]\nname = \"replica\"\n\
         url = \"mysql://app:${{TARGET_PASSWORD}}@127.0.0.1:3307\"\n"
    )
}
