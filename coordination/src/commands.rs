//! What operators ask of the cluster and of a pipeline, and the answers.
//!
//! The one who asks writes a node; one of those who can do it takes it, by a compare-and-set on
//! the node's version; the answer is written into the same node. A command is taken at most once:
//! if the one who took it dies, it isn't begun again by another, and the asker is told who had it.
//! A command that nobody takes in time is removed, and can't surprise anybody later.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{Action, Answer, Command, Outcome, Taken};
use towpath_protocol::tree::{NodePath, Sequenced, TaskName, Versioned, path};
use uuid::Uuid;
use zookeeper_client::{CreateMode, Error as Refusal, OneshotWatcher};

use crate::error::{CoordinationError, is_broken};
use crate::session::{Session, ended};
use crate::store::{Entry, Expect, decode, encode};

/// How often a command whose creation wasn't confirmed is looked for and written again.
const ATTEMPTS_MAX: usize = 8;
/// Answered commands are kept this long for people to see; then whoever finds them removes them.
const ANSWERED_KEPT: SignedDuration = SignedDuration::from_mins(60);

/// How long the one who asks waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For somebody to take the command.
    pub take: Duration,
    /// For the answer, after that.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            take: Duration::from_secs(10),
            answer: Duration::from_secs(60),
        }
    }
}

/// Of whom something is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CommandQueue {
    /// Whoever runs the cluster.
    Cluster,
    /// Whoever runs this pipeline.
    Pipeline(PipelineName),
}

impl CommandQueue {
    fn parent(&self) -> NodePath {
        match self {
            Self::Cluster => path::cluster_commands(),
            Self::Pipeline(pipeline) => path::commands(pipeline),
        }
    }

    fn prefix(&self) -> NodePath {
        match self {
            Self::Cluster => path::cluster_command(),
            Self::Pipeline(pipeline) => path::command(pipeline),
        }
    }
}

impl Session {
    /// Asks something of the cluster, a pipeline, or of one of its tasks, and waits for the answer.
    ///
    /// # Errors
    /// [`CoordinationError::NobodyTook`] (it's removed then, and won't be done) and
    /// [`CoordinationError::Unanswered`] (it may still be done; the answer will be in the node).
    pub async fn command(
        &self,
        queue: &CommandQueue,
        task: Option<TaskName>,
        action: Action,
        by: &str,
        patience: Patience,
    ) -> Result<Answer, CoordinationError> {
        let asked = Timestamp::now();
        let patience_take = SignedDuration::try_from(patience.take).unwrap_or(SignedDuration::MAX);
        let command = Command {
            id: Uuid::new_v4(),
            action,
            task,
            by: by.to_owned(),
            asked,
            take_before: asked.checked_add(patience_take).unwrap_or(Timestamp::MAX),
            taken: None,
            answer: None,
        };
        let path = self.post(queue, command).await?;
        let mut deadline = Instant::now() + patience.take;
        let mut taken: Option<Taken> = None;
        loop {
            let incarnation = self.connected().await?;
            let Some((entry, watcher)) = self.look(incarnation, &path).await? else {
                // Removed by one who found it too old, or by an operator.
                return Err(match taken {
                    None => CoordinationError::NobodyTook {
                        after: patience.take,
                    },
                    Some(taken) => CoordinationError::Unanswered {
                        by: taken.by,
                        path,
                        after: patience.answer,
                    },
                });
            };
            let command = entry.value.record;
            if let Some(answer) = command.answer {
                return Ok(answer);
            }
            if taken.is_none() && command.taken.is_some() {
                deadline = Instant::now() + patience.answer;
                taken = command.taken;
            }
            let changed = async {
                tokio::select! {
                    _ = watcher.changed() => {}
                    () = self.over(incarnation) => {}
                }
            };
            if timeout_at(deadline, changed).await.is_ok() {
                continue;
            }
            if let Some(taken) = taken {
                return Err(CoordinationError::Unanswered {
                    by: taken.by,
                    path,
                    after: patience.answer,
                });
            }
            match self.remove(&path, Some(entry.node_version)).await {
                Ok(()) => {
                    return Err(CoordinationError::NobodyTook {
                        after: patience.take,
                    });
                }
                // Taken at the last moment.
                Err(CoordinationError::Changed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes a command's node.
    async fn post(
        &self,
        queue: &CommandQueue,
        command: Command,
    ) -> Result<NodePath, CoordinationError> {
        let prefix = queue.prefix();
        let parent = queue.parent();
        let id = command.id;
        let data = encode(&prefix, &Versioned::new(command))?;
        let options = CreateMode::PersistentSequential.with_acls(self.acls());
        for _ in 0..ATTEMPTS_MAX {
            let incarnation = self.connected().await?;
            let client = self
                .client(incarnation)
                .ok_or_else(|| ended(prefix.as_str()))?;
            match client.create(prefix.as_str(), &data, &options).await {
                Ok((_, sequence)) => return Ok(prefix.sequenced(sequence)),
                Err(Refusal::NoNode) => self.ensure(incarnation, &parent).await?,
                Err(refusal) if is_broken(&refusal) || refusal == Refusal::SessionExpired => {
                    for name in self.children(&parent).await? {
                        let Some(path) = parent.listed(&name) else {
                            continue;
                        };
                        if let Ok(Some(entry)) = self.read::<Command>(&path).await
                            && entry.value.record.id == id
                        {
                            return Ok(path);
                        }
                    }
                }
                Err(refusal) => return Err(CoordinationError::at(&prefix, refusal)),
            }
        }
        Err(CoordinationError::at(&prefix, Refusal::ConnectionLoss))
    }

    /// Reads a command, and watches its node; `None` if it isn't there.
    async fn look(
        &self,
        incarnation: u64,
        path: &NodePath,
    ) -> Result<Option<(Entry<Command>, OneshotWatcher)>, CoordinationError> {
        let node = path.as_str();
        let answer = self
            .ask(incarnation, path, |client| async move {
                client.get_and_watch_data(node).await
            })
            .await;
        match answer {
            Ok((data, stat, watcher)) => {
                let entry = Entry {
                    value: decode(path, &data)?,
                    node_version: stat.version,
                    zxid: stat.mzxid,
                };
                Ok(Some((entry, watcher)))
            }
            Err(CoordinationError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Where a member finds commands.
#[derive(Debug)]
pub struct Inbox {
    session: Session,
    queue: CommandQueue,
    worker: String,
    /// Nodes that can't be read, aren't for us, or are done, and until when they aren't looked at.
    passed: HashMap<String, Instant>,
}

impl Inbox {
    /// The commands of a queue, for `worker`.
    pub fn new(session: &Session, queue: CommandQueue, worker: impl Into<String>) -> Self {
        Self {
            session: session.clone(),
            queue,
            worker: worker.into(),
            passed: HashMap::new(),
        }
    }

    /// Waits for the next command that `accepts`, and takes it, in the order in which they were
    /// written. Commands that nobody took in time, and old answers, are removed on the way.
    ///
    /// `accepts` should say no to what another member does, and yes to [`Action::Other`] if this
    /// is the member that refuses what nobody knows. It's asked once per command.
    ///
    /// # Errors
    /// [`CoordinationError::SessionEnded`] at the session's end: ask again, the next session will
    /// do.
    pub async fn next(
        &mut self,
        accepts: impl Fn(&Command) -> bool,
    ) -> Result<TakenCommand, CoordinationError> {
        let session = self.session.clone();
        let parent = self.queue.parent();
        let node = parent.as_str();
        let incarnation = session.connected().await?;
        session.ensure(incarnation, &parent).await?;
        loop {
            let (names, watcher) = session
                .ask(incarnation, &parent, |client| async move {
                    client.list_and_watch_children(node).await
                })
                .await?;
            let present: HashSet<&String> = names.iter().collect();
            self.passed.retain(|name, _| present.contains(name));
            for Sequenced { name, .. } in Sequenced::sorted(&names) {
                let Some(path) = parent.listed(&name) else {
                    continue;
                };
                if self
                    .passed
                    .get(&name)
                    .is_some_and(|until| Instant::now() < *until)
                {
                    continue;
                }
                let entry = match session.read_in::<Command>(incarnation, &path).await {
                    Ok(Some(entry)) => entry,
                    Ok(None) => continue,
                    Err(error @ CoordinationError::Record { .. }) => {
                        tracing::warn!(%path, %error, "command left alone");
                        self.pass(name);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                if stale(&entry.value.record, Timestamp::now()) {
                    match session
                        .remove_in(incarnation, &path, Some(entry.node_version))
                        .await
                    {
                        Ok(()) | Err(CoordinationError::Changed { .. }) => continue,
                        Err(error) => return Err(error),
                    }
                }
                let command = &entry.value.record;
                if command.answer.is_some() || command.taken.is_some() || !accepts(command) {
                    self.pass(name);
                    continue;
                }
                if let Some(taken) = self.take(incarnation, path, entry).await? {
                    return Ok(taken);
                }
            }
            tokio::select! {
                _ = watcher.changed() => {}
                () = session.over(incarnation) => return Err(ended(node)),
            }
        }
    }

    /// Reads a command no more for as long as answers are kept: then it may be there to be removed.
    fn pass(&mut self, name: String) {
        self.passed
            .insert(name, Instant::now() + ANSWERED_KEPT.unsigned_abs());
    }

    /// Writes that it's ours; `None` if another was first.
    async fn take(
        &self,
        incarnation: u64,
        path: NodePath,
        entry: Entry<Command>,
    ) -> Result<Option<TakenCommand>, CoordinationError> {
        let nonce = Uuid::new_v4();
        let mut value = entry.value;
        value.record.taken = Some(Taken {
            by: self.worker.clone(),
            nonce,
            at: Timestamp::now(),
        });
        let data = encode(&path, &value)?;
        let (node, data) = (path.as_str(), data.as_slice());
        let answer = self
            .session
            .ask(incarnation, &path, |client| async move {
                client.set_data(node, data, Some(entry.node_version)).await
            })
            .await;
        let node_version = match answer {
            Ok(stat) => stat.version,
            // Another was first, or our own try whose reply was lost.
            Err(CoordinationError::Changed { .. }) => {
                let Some(present) = self.session.read_in::<Command>(incarnation, &path).await?
                else {
                    return Ok(None);
                };
                let taken = present.value.record.taken;
                if taken.is_none_or(|taken| taken.nonce != nonce) {
                    return Ok(None);
                }
                present.node_version
            }
            Err(CoordinationError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(TakenCommand {
            session: self.session.clone(),
            path,
            value,
            node_version,
        }))
    }
}

/// Whether a command is only to be removed: nobody took it in time, or its answer is old.
fn stale(command: &Command, now: Timestamp) -> bool {
    match (&command.taken, &command.answer) {
        (_, Some(answer)) => now.duration_since(answer.at) > ANSWERED_KEPT,
        (None, None) => now > command.take_before,
        (Some(_), None) => false,
    }
}

/// A command that is ours to do, and to answer.
#[derive(Debug)]
pub struct TakenCommand {
    session: Session,
    path: NodePath,
    value: Versioned<Command>,
    node_version: i32,
}

impl TakenCommand {
    /// What is asked.
    pub fn command(&self) -> &Command {
        &self.value.record
    }

    /// Its node.
    pub fn path(&self) -> &NodePath {
        &self.path
    }

    /// Writes what came of it; in a later session too, if this one ends meanwhile.
    ///
    /// # Errors
    /// [`CoordinationError::NotFound`] or [`CoordinationError::Changed`] if an operator removed
    /// or changed the node.
    pub async fn answer(
        mut self,
        outcome: Outcome,
        text: impl Into<String>,
        details: Value,
    ) -> Result<(), CoordinationError> {
        let answer = Answer {
            outcome,
            text: text.into(),
            details,
            at: Timestamp::now(),
        };
        self.value.record.answer = Some(answer.clone());
        for _ in 0..ATTEMPTS_MAX {
            let expect = Expect::Version(self.node_version);
            match self
                .session
                .write(&self.path, self.value.clone(), expect)
                .await
            {
                Ok(_) => return Ok(()),
                Err(CoordinationError::SessionEnded { .. } | CoordinationError::Unknown { .. }) => {
                    // Ends with `Session::close`.
                    self.session.connected().await?;
                }
                Err(CoordinationError::Changed { path }) => {
                    let present = self.session.read::<Command>(&path).await?;
                    let ours = present
                        .is_some_and(|entry| entry.value.record.answer.as_ref() == Some(&answer));
                    return if ours {
                        Ok(())
                    } else {
                        Err(CoordinationError::Changed { path })
                    };
                }
                Err(error) => return Err(error),
            }
        }
        Err(CoordinationError::at(&self.path, Refusal::ConnectionLoss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_protocol::tree::Record;

    #[test]
    fn stale_commands() {
        let answered = Versioned::<Command>::from_json(Command::EXAMPLE.as_bytes());
        let answered = answered.unwrap().record;
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(!stale(&answered, at("2026-11-22T03:40:00Z")));
        assert!(stale(&answered, at("2026-11-22T03:40:03Z")));
        let mut open = answered.clone();
        open.answer = None;
        assert!(
            !stale(&open, at("2030-01-01T00:00:00Z")),
            "somebody does it"
        );
        open.taken = None;
        assert!(!stale(&open, at("2026-11-22T02:40:10Z")));
        assert!(stale(&open, at("2026-11-22T02:40:11Z")));
    }
}
