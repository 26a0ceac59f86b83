//! A directory in this process, leaders and Cores on it, and what a test asks and waits for.

use std::time::Duration;

use jiff::SignedDuration;
use tempfile::TempDir;
use tokio::sync::watch;
use towpath_coordination::{CommandQueue, ConnectOptions, Mirror, Nodes, Patience, Session};
use towpath_directory::{Config, Directory};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{
    Action, Answer, AppliedSpec, Assignment, HistoryEvent, LifeState, Outcome, PipelineStatus,
};
use towpath_protocol::tree::{MemberId, TaskName, path};
use towpath_server::commands::Hosted;
use towpath_server::lead::{Lead, LeadTimings};
use towpath_server::life::LifeTimings;

use crate::core::{Core, Labels};

const PATIENCE: Patience = Patience {
    take: Duration::from_secs(20),
    answer: Duration::from_secs(30),
};

/// Short enough for a test, long enough to be told apart.
pub(crate) fn timings() -> LeadTimings {
    LeadTimings {
        grace: Duration::from_millis(1500),
        answer: Duration::from_secs(15),
        probe: Duration::from_millis(200),
        life: LifeTimings {
            good_after: SignedDuration::from_millis(700),
            stop_max: SignedDuration::from_secs(10),
            move_max: SignedDuration::from_secs(10),
            backoff_min: SignedDuration::from_millis(50),
            backoff_max: SignedDuration::from_millis(200),
        },
    }
}

pub(crate) struct Rig {
    pub(crate) session: Session,
    pub(crate) mirror: Mirror,
    directory: Directory,
    pub(crate) dir: TempDir,
}

/// A leader that can be ended.
pub(crate) struct Leader {
    lead: Lead,
    session: Session,
    _turn: watch::Sender<bool>,
}

impl Leader {
    pub(crate) async fn stop(self) {
        self.lead.stop().await;
        self.session.close().await;
    }
}

pub(crate) fn pipeline(name: &str) -> PipelineName {
    name.parse().unwrap()
}

pub(crate) fn replica() -> TaskName {
    "replica".parse().unwrap()
}

pub(crate) fn member(id: &str) -> MemberId {
    id.parse().unwrap()
}

/// A pipeline file that needs variables that nobody here has.
pub(crate) fn spec(name: &str, more: &str) -> String {
    format!(
        "name = \"{name}\"\n[source]\nurl = \"mysql://repl:${{SOURCE}}@source\"\n\
         tables = [\"shop.*\"]\n[[sink]]\nname = \"replica\"\n\
         url = \"mysql://app:${{SINK}}@sink\"\n{more}"
    )
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let directory = Directory::start(Config::new(dir.path())).await.unwrap();
        let session = connect(&directory).await;
        session.found_cluster().await.unwrap();
        let mirror = Mirror::follow(&session, path::root()).await.unwrap();
        Self {
            session,
            mirror,
            directory,
            dir,
        }
    }

    pub(crate) async fn lead(&self, id: &str) -> Leader {
        self.lead_with(id, timings()).await
    }

    pub(crate) async fn lead_with(&self, id: &str, timings: LeadTimings) -> Leader {
        let session = connect(&self.directory).await;
        let (turn, mine) = watch::channel(true);
        let lead = Lead::start(
            session.clone(),
            member(id),
            mine,
            timings,
            Some(self.hosted()),
        );
        Leader {
            lead,
            session,
            _turn: turn,
        }
    }

    /// The only member of the directory, as its Server has it.
    fn hosted(&self) -> Hosted {
        Hosted {
            cluster: self.directory.cluster(),
            backups: self.dir.path().join("backups"),
            host: "here".to_owned(),
        }
    }

    pub(crate) async fn core(&self, id: &str) -> Core {
        self.core_with(id, &[]).await
    }

    pub(crate) async fn core_with(&self, id: &str, labels: Labels<'_>) -> Core {
        Core::start(connect(&self.directory).await, member(id), labels).await
    }

    pub(crate) async fn ask_cluster(&self, action: Action) -> Answer {
        let queue = CommandQueue::Cluster;
        let asked = self.session.command(&queue, None, action, "anna", PATIENCE);
        asked.await.unwrap()
    }

    pub(crate) async fn ask(&self, name: &str, action: Action) -> Answer {
        let queue = CommandQueue::Pipeline(pipeline(name));
        let asked = self.session.command(&queue, None, action, "anna", PATIENCE);
        asked.await.unwrap()
    }

    /// Applies a file, and expects that it's done.
    pub(crate) async fn apply(&self, text: &str, revision: u64) -> Answer {
        let text = text.to_owned();
        let answer = self.ask_cluster(Action::Apply { text, revision }).await;
        assert_eq!(answer.outcome, Outcome::Done, "{answer:?}");
        answer
    }

    /// Waits until something holds of the tree.
    pub(crate) async fn until<T>(&self, what: &str, look: impl Fn(&Nodes) -> Option<T>) -> T {
        let mut changes = self.mirror.changes();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if let Some(found) = self.mirror.look(&look) {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(30), wait).await {
            Ok(found) => found,
            Err(_) => panic!("not reached: {what}\n{}", self.dump()),
        }
    }

    fn dump(&self) -> String {
        self.mirror.look(|nodes| {
            let lines = nodes
                .iter()
                .map(|(path, node)| format!("{path} {}", String::from_utf8_lossy(&node.data)));
            lines.take(400).collect::<Vec<_>>().join("\n")
        })
    }

    /// Waits for a state; tells its cause.
    pub(crate) async fn state(&self, name: &str, state: LifeState) -> PipelineStatus {
        let path = path::status(&pipeline(name));
        let what = format!("{name} {state:?}");
        self.until(&what, |nodes| {
            let status = nodes.record::<PipelineStatus>(&path)?;
            (status.state == state).then_some(status)
        })
        .await
    }

    pub(crate) fn assigned(&self, name: &str) -> Option<Assignment> {
        let path = path::assignment(&pipeline(name), &replica());
        self.mirror.look(|nodes| nodes.record(&path))
    }

    /// Waits until a task has exactly these Cores.
    pub(crate) async fn has(&self, name: &str, cores: &str) -> Assignment {
        let path = path::assignment(&pipeline(name), &replica());
        let cores: Vec<MemberId> = cores.split_whitespace().map(member).collect();
        self.until(&format!("{name} on {cores:?}"), |nodes| {
            let assignment = nodes.record::<Assignment>(&path)?;
            (assignment.cores == cores).then_some(assignment)
        })
        .await
    }

    pub(crate) fn spec(&self, name: &str) -> AppliedSpec {
        let path = path::spec(&pipeline(name));
        self.mirror.look(|nodes| nodes.record(&path)).unwrap()
    }

    /// The events of a pipeline, `what: text`.
    pub(crate) fn history(&self, name: &str) -> Vec<String> {
        let parent = path::history(&pipeline(name));
        self.mirror.look(|nodes| {
            nodes
                .children(&parent)
                .filter_map(|event| nodes.record::<HistoryEvent>(&parent.listed(event)?))
                .map(|event| format!("{}: {}", event.what, event.text))
                .collect()
        })
    }
}

async fn connect(directory: &Directory) -> Session {
    let mut options = ConnectOptions::new([directory.address().to_string()]);
    options.session_timeout = Duration::from_secs(10);
    Session::connect(options).await.unwrap()
}
