//! One reader per command queue: the cluster's, and each pipeline's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use towpath_coordination::{
    CommandQueue, CoordinationError, Inbox, Mirror, Nodes, Session, TakenCommand, Transaction,
};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{Action, Command, DirectoryAction, Outcome};
use towpath_protocol::tree::{MemberId, path};

use super::view::View;
use crate::commands::{self, Hosted};

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
        hosted: Option<&Hosted>,
    ) -> Self {
        let cluster = read(
            session,
            CommandQueue::Cluster,
            id,
            mirror,
            wait,
            hosted.cloned(),
        );
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
            match self
                .mirror
                .look(|nodes| over(nodes, name, Timestamp::now()))
            {
                Some(left) => {
                    self.readers.remove(name);
                    if let Err(error) = self.session.transact(left).await {
                        tracing::debug!(pipeline = %name, %error, "remains of a pipeline stay");
                    }
                }
                None => drop(wanted.insert(name)),
            }
        }
        self.readers.retain(|name, _| wanted.contains(name));
        for name in wanted {
            if !self.readers.contains_key(name) {
                let queue = CommandQueue::Pipeline(name.clone());
                let reader = read(
                    &self.session,
                    queue,
                    &self.id,
                    &self.mirror,
                    self.wait,
                    None,
                );
                self.readers.insert(name.clone(), reader);
            }
        }
    }
}

/// The removal of what is left of a pipeline that isn't there, if that is only what nobody needs.
///
/// All of it or nothing, and only what was seen: a pipeline that is applied meanwhile has nodes
/// that this doesn't name, by which the removal of the node above them is refused.
fn over(nodes: &Nodes, name: &PipelineName, now: Timestamp) -> Option<Transaction> {
    if nodes.get(&path::spec(name)).is_some() || nodes.get(&path::desired(name)).is_some() {
        return None;
    }
    let (top, commands) = (path::pipeline(name), path::commands(name));
    let mut left: Vec<_> = nodes
        .iter()
        .filter(|(path, _)| path.below(&top).is_some())
        .collect();
    let needed = left.iter().any(|(path, _)| {
        path.below(&commands)
            .is_some_and(|mut steps| steps.next().is_some())
            && nodes
                .record::<Command>(path)
                .and_then(|command| command.answer)
                .is_none_or(|answer| now.duration_since(answer.at) <= ANSWER_KEPT)
    });
    if needed {
        return None;
    }
    // Children come after their parents.
    left.reverse();
    let mut removal = Transaction::new();
    for (path, node) in left {
        removal.remove(path.clone(), Some(node.stat.version));
    }
    Some(removal)
}

fn read(
    session: &Session,
    queue: CommandQueue,
    id: &MemberId,
    mirror: &Arc<Mirror>,
    wait: Duration,
    hosted: Option<Hosted>,
) -> Reader {
    let (session, mirror, worker) = (session.clone(), mirror.clone(), id.to_string());
    Reader(tokio::spawn(async move {
        let mut inbox = Inbox::new(&session, queue.clone(), worker);
        loop {
            match inbox.next(|_| true).await {
                Ok(command) => {
                    take(&session, &queue, command, &mirror, wait, hosted.as_ref()).await;
                }
                Err(error) => {
                    tracing::debug!(?queue, %error, "commands can't be read; trying again");
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }))
}

/// Begins a command; its answer comes by itself, so that the next one needn't wait. What is asked of
/// the directory outlives this leader's term, which it may end.
async fn take(
    session: &Session,
    queue: &CommandQueue,
    taken: TakenCommand,
    mirror: &Arc<Mirror>,
    wait: Duration,
    hosted: Option<&Hosted>,
) {
    let by = taken.command().by.clone();
    let work = match (queue, &taken.command().action) {
        (CommandQueue::Cluster, Action::Directory { ask }) => {
            Work::Directory(hosted.cloned(), ask.clone())
        }
        _ => Work::Tree(commands::begin(session, queue, taken.command()).await),
    };
    let (session, mirror) = (session.clone(), mirror.clone());
    let queue = queue.clone();
    tokio::spawn(async move {
        let reply = match work {
            Work::Directory(hosted, ask) => {
                commands::carry_out(&session, hosted.as_ref(), &ask, &by).await
            }
            Work::Tree(Ok(begun)) => commands::finish(&session, &mirror, begun, wait).await,
            Work::Tree(Err(error)) => failed(&error),
        };
        tracing::info!(?queue, %by, outcome = ?reply.outcome, answer = %reply.text, "command");
        let answer = taken.answer(reply.outcome, reply.text, reply.details);
        if let Err(error) = answer.await {
            tracing::warn!(?queue, %error, "a command isn't answered");
        }
    });
}

/// What is left to be done for an answer.
enum Work {
    /// All of it, by the member of the directory.
    Directory(Option<Hosted>, DirectoryAction),
    /// What was written in the tree is to be reached.
    Tree(Result<commands::Begun, CoordinationError>),
}

fn failed(error: &CoordinationError) -> commands::Reply {
    commands::Reply {
        outcome: Outcome::Failed,
        text: format!("{error}; see towpath status whether it was done"),
        details: Value::Null,
    }
}
