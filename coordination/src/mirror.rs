//! A subtree, kept in memory as it is in the directory.
//!
//! One recursive watch tells which nodes changed, and these are read again, several at a time;
//! after a gap in the watch the whole subtree is. So what is here is never older than what the
//! directory told of last, and each node by itself is as it once was; two nodes together may be of
//! different moments.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use towpath_protocol::tree::{NodePath, Record, Versioned};

use crate::browse::{NodeStat, TreeChange, TreeEvent, TreeWatch};
use crate::ephemeral::Attached;
use crate::error::CoordinationError;
use crate::session::{Session, ended};

/// Pause after a refusal, before the subtree is read again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Nodes that are read at the same time.
const READS_MAX: usize = 32;
/// Changed nodes that are read before they are all shown.
const GATHERED_MAX: usize = 1000;

/// A node as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirroredNode {
    /// Its data.
    pub data: Arc<[u8]>,
    /// Its stat at that moment. The count of children is as of then.
    pub stat: NodeStat,
}

/// The nodes of a subtree by path.
#[derive(Clone, Debug, Default)]
pub struct Nodes(BTreeMap<NodePath, MirroredNode>);

impl Nodes {
    /// Reads a node and what is below it, but for the children that `wanted` says no to.
    ///
    /// # Errors
    /// The directory doesn't answer, or refuses.
    pub async fn read(
        session: &Session,
        top: NodePath,
        wanted: impl Fn(&NodePath) -> bool,
    ) -> Result<Self, CoordinationError> {
        let mut found = BTreeMap::new();
        let mut waiting = VecDeque::from([top]);
        let mut reads = JoinSet::new();
        loop {
            while reads.len() < READS_MAX
                && let Some(path) = waiting.pop_front()
            {
                let session = session.clone();
                reads.spawn(async move {
                    let node = session.node(&path).await?;
                    let children = match &node {
                        Some((_, stat)) if stat.children > 0 => session.children(&path).await?,
                        _ => Vec::new(),
                    };
                    Ok::<_, CoordinationError>((path, node, children))
                });
            }
            let Some(read) = reads.join_next().await else {
                return Ok(Self(found));
            };
            let (path, node, children) = read.map_err(|_| cut_short())??;
            let below = children.iter().filter_map(|child| path.listed(child));
            waiting.extend(below.filter(&wanted));
            if let Some((data, stat)) = node {
                let data = data.into();
                found.insert(path, MirroredNode { data, stat });
            }
        }
    }

    /// A node.
    pub fn get(&self, path: &NodePath) -> Option<&MirroredNode> {
        self.0.get(path)
    }

    /// The record in a node; `None` if there is no such node, it's empty, or can't be read (which
    /// is logged where it's first seen).
    pub fn record<T: Record>(&self, path: &NodePath) -> Option<T> {
        let node = self.0.get(path)?;
        Versioned::from_json(&node.data)
            .ok()
            .map(|versioned| versioned.record)
    }

    /// The names of a node's children, sorted.
    pub fn children<'a>(&'a self, path: &'a NodePath) -> impl Iterator<Item = &'a str> + 'a {
        // What is below a node follows it, with others between whose step goes on: "a", "a-b",
        // "a/c".
        self.0
            .range(path..)
            .take_while(move |(node, _)| node.as_str().starts_with(path.as_str()))
            .filter_map(move |(node, _)| {
                let mut steps = node.below(path)?;
                let child = steps.next()?;
                steps.next().is_none().then_some(child)
            })
    }

    /// All nodes in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&NodePath, &MirroredNode)> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Debug, Default)]
struct Shared {
    nodes: Mutex<Nodes>,
}

impl Shared {
    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subtree that is followed until this is dropped.
#[derive(Debug)]
pub struct Mirror {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
    _task: Attached,
}

impl Mirror {
    /// Reads the subtree and follows it.
    ///
    /// # Errors
    /// [`CoordinationError`], of the first reading.
    pub async fn follow(session: &Session, top: NodePath) -> Result<Self, CoordinationError> {
        Self::follow_only(session, top, |_| true).await
    }

    /// Likewise, but for nodes that `wants` doesn't: these, with all below them, are neither read
    /// nor told of.
    ///
    /// # Errors
    /// [`CoordinationError`], of the first reading.
    pub async fn follow_only(
        session: &Session,
        top: NodePath,
        wants: fn(&NodePath) -> bool,
    ) -> Result<Self, CoordinationError> {
        let watch = session.watch_tree(&top, true).await?;
        let (publish, changes) = watch::channel(0);
        let shared = Arc::new(Shared::default());
        let follower = Follower {
            session: session.clone(),
            top,
            shared: shared.clone(),
            publish,
            wants,
        };
        follower.read_all().await?;
        Ok(Self {
            shared,
            changes,
            _task: Attached(tokio::spawn(follower.run(watch))),
        })
    }

    /// Looks at the nodes as they are now. Nobody else may meanwhile: be quick.
    pub fn look<T>(&self, look: impl FnOnce(&Nodes) -> T) -> T {
        look(&self.shared.nodes())
    }

    /// Counts the changes. Its sender is gone when the session is closed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

fn cut_short() -> CoordinationError {
    ended("reading the directory")
}

/// What a watch told of, each node once.
#[derive(Default)]
struct Told {
    changed: BTreeSet<NodePath>,
    gap: bool,
}

impl Told {
    fn note(&mut self, event: TreeEvent, wants: fn(&NodePath) -> bool) {
        match event.change {
            TreeChange::Gap => self.gap = true,
            // Of a child that came or went, the watch of a subtree tells by itself.
            TreeChange::Children => {}
            TreeChange::Created | TreeChange::Deleted | TreeChange::Data => {
                if wants(&event.path) {
                    self.changed.insert(event.path);
                }
            }
        }
    }
}

/// Waits for a change, and takes all that were told besides: whoever is behind reads a node that
/// changed ten times but once.
async fn gather(
    watch: &mut TreeWatch,
    wants: fn(&NodePath) -> bool,
) -> Result<Told, CoordinationError> {
    let mut told = Told::default();
    told.note(watch.next().await?, wants);
    while told.changed.len() < GATHERED_MAX
        && let Some(event) = watch.next().now_or_never()
    {
        told.note(event?, wants);
    }
    Ok(told)
}

struct Follower {
    session: Session,
    top: NodePath,
    shared: Arc<Shared>,
    publish: watch::Sender<u64>,
    wants: fn(&NodePath) -> bool,
}

impl Follower {
    async fn run(self, mut watch: TreeWatch) {
        loop {
            let result = match gather(&mut watch, self.wants).await {
                Ok(told) => self.follow(told).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                if self.session.connected().await.is_err() {
                    return;
                }
                tracing::warn!(path = %self.top, %error, "can't follow the directory; reading it again");
                loop {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    match self.read_all().await {
                        Ok(()) => break,
                        Err(_) if self.session.connected().await.is_err() => return,
                        Err(error) => {
                            tracing::warn!(path = %self.top, %error, "can't read the directory");
                        }
                    }
                }
            }
        }
    }

    async fn follow(&self, told: Told) -> Result<(), CoordinationError> {
        if told.gap {
            return self.read_all().await;
        }
        if told.changed.is_empty() {
            return Ok(());
        }
        let mut waiting = told.changed.into_iter();
        let mut reads = JoinSet::new();
        let mut read_nodes = Vec::new();
        loop {
            while reads.len() < READS_MAX
                && let Some(path) = waiting.next()
            {
                let session = self.session.clone();
                reads.spawn(async move { Ok((session.node(&path).await?, path)) });
            }
            match reads.join_next().await {
                Some(read) => {
                    let read: Result<_, CoordinationError> = read.map_err(|_| cut_short())?;
                    read_nodes.push(read?);
                }
                None => break,
            }
        }
        {
            let mut nodes = self.shared.nodes();
            for (node, path) in read_nodes {
                match node {
                    None => drop(nodes.0.remove(&path)),
                    Some((data, stat)) => {
                        let data = data.into();
                        nodes.0.insert(path, MirroredNode { data, stat });
                    }
                }
            }
        }
        self.publish.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// Reads the whole subtree. The watch stands already, so what changes meanwhile is told after.
    async fn read_all(&self) -> Result<(), CoordinationError> {
        let found = Nodes::read(&self.session, self.top.clone(), self.wants).await?;
        *self.shared.nodes() = found;
        self.publish.send_modify(|changes| *changes += 1);
        Ok(())
    }
}
