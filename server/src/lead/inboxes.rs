//! One reader per command queue: the cluster's, and each pipeline's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use towpath_coordination::{CommandQueue, CoordinationError, Inbox, Mirror, Session, TakenCommand};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{Command, Outcome};
use towpath_protocol::tree::{MemberId, NodePath, path};

use super::view::View;
use crate::commands;

/// Pause after the directory refused.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The answer about a deleted pipeline is kept this long: its asker has read it by then.
const ANSWER_KEPT: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug)]
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The readers; they end when this is dropped.
pub(super) struct Inboxes {
    session: Session,
    id: MemberId,
    mirror: Arc<Mirror>,
    wait: Duration,
    _cluster: Reader,
    readers: BTreeMap<PipelineName, Reader>,
}

impl Inboxes {
    pub(super) fn new(
        session: &Session,
        id: &MemberId,
        mirror: &Arc<Mirror>,
        wait: Duration,
    ) -> Self {
        let cluster = read(session, CommandQueue::Cluster, id, mirror, wait);
        Self {
            session: session.clone(),
            id: id.clone(),
            mirror: mirror.clone(),
            wait,
            _cluster: cluster,
            readers: BTreeMap::new(),
        }
    }

    /// A reader for each pipeline that is there, and for commands to one that isn't.
    pub(super) async fn follow(&mut self, view: &View) {
        let mut wanted: BTreeSet<&PipelineName> = view.pipelines.keys().collect();
        for name in &view.remains {
            if self.is_over(name) {
                self.readers.remove(name);
                self.clear(name).await;
            } else {
                wanted.insert(name);
            }
        }
        self.readers.retain(|name, _| wanted.contains(name));
        for name in wanted {
            if !self.readers.contains_key(name) {
                let queue = CommandQueue::Pipeline(name.clone());
                let reader = read(&self.session, queue, &self.id, &self.mirror, self.wait);
                self.readers.insert(name.clone(), reader);
            }
        }
    }

    /// Whether of a pipeline that isn't there only commands are left that nobody needs.
    fn is_over(&self, name: &PipelineName) -> bool {
        let now = Timestamp::now();
        let commands = path::commands(name);
        self.mirror.look(|nodes| {
            nodes.children(&commands).all(|command| {
                commands
                    .listed(command)
                    .and_then(|node| nodes.record::<Command>(&node))
                    .and_then(|command| command.answer)
                    .is_some_and(|answer| now.duration_since(answer.at) > ANSWER_KEPT)
            })
        })
    }

    /// Removes what is left of a pipeline, from below; what somebody adds meanwhile stays.
    async fn clear(&self, name: &PipelineName) {
        let top = path::pipeline(name);
        let mut left: Vec<NodePath> = self.mirror.look(|nodes| {
            let below = nodes.iter().map(|(path, _)| path);
            below
                .filter(|path| path.below(&top).is_some())
                .cloned()
                .collect()
        });
        // Children come after their parents.
        left.reverse();
        for node in left {
            if let Err(error) = self.session.remove(&node, None).await {
                tracing::debug!(pipeline = %name, %error, "remains of a pipeline stay");
                return;
            }
        }
    }
}

fn read(
    session: &Session,
    queue: CommandQueue,
    id: &MemberId,
    mirror: &Arc<Mirror>,
    wait: Duration,
) -> Reader {
    let (session, mirror, worker) = (session.clone(), mirror.clone(), id.to_string());
    Reader(tokio::spawn(async move {
        let mut inbox = Inbox::new(&session, queue.clone(), worker);
        loop {
            match inbox.next(commands::is_ours).await {
                Ok(command) => take(&session, &queue, command, &mirror, wait).await,
                Err(error) => {
                    tracing::debug!(?queue, %error, "commands can't be read; trying again");
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }))
}

/// Begins a command; its answer comes by itself, so that the next one needn't wait.
async fn take(
    session: &Session,
    queue: &CommandQueue,
    taken: TakenCommand,
    mirror: &Arc<Mirror>,
    wait: Duration,
) {
    let begun = commands::begin(session, queue, taken.command()).await;
    let mirror = mirror.clone();
    let queue = queue.clone();
    tokio::spawn(async move {
        let reply = match begun {
            Ok(begun) => commands::finish(&mirror, begun, wait).await,
            Err(error) => failed(&error),
        };
        drop(mirror);
        let by = taken.command().by.clone();
        tracing::info!(?queue, %by, outcome = ?reply.outcome, answer = %reply.text, "command");
        let answer = taken.answer(reply.outcome, reply.text, reply.details);
        if let Err(error) = answer.await {
            tracing::warn!(?queue, %error, "a command isn't answered");
        }
    });
}

fn failed(error: &CoordinationError) -> commands::Reply {
    commands::Reply {
        outcome: Outcome::Failed,
        text: format!("{error}; see towpath status whether it was done"),
        details: Value::Null,
    }
}
