//! Clients of the directory that read and write the same few nodes, and note what they were told.
//!
//! Each client does one thing after the other: on a connection of its own, at a server that chance
//! picks of those it knows. When an answer doesn't come, it notes the operation as unknown and goes
//! on with a new session elsewhere. The nodes are groups as [`nodes`](crate::linear::nodes) models them.
//!
//! Invariants:
//! * The moment of a call is taken before its first byte is sent, that of a return after the last
//!   byte of the answer came, both of one monotonic clock.
//! * What may have reached a server is never left out, and nothing is sent twice.
//! * Each written value is written once in the whole run.

mod wire;
mod client;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::linear::nodes::{Answer, Call, Group, NODES, Step};
use crate::linear::{History, Operation, Outcome};
use crate::wait_until;

use client::{Client, Fault};

/// Where the groups are.
const ROOT: &str = "/linear";
/// Between two attempts to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Long enough for an answer that is late, short enough that abandoned sessions don't pile up.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// How long the last reads may take to get through, each group's together.
const LAST_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How the clients are to behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// The clients, each with the servers that it knows.
    pub clients: Vec<Vec<SocketAddr>>,
    /// So many of them, the first ones, only read: they stay where they are served, while who writes
    /// leaves a server that can't commit.
    pub readers: usize,
    /// Groups of nodes that they share at any time.
    pub groups: u32,
    /// After so many operations on each, new groups take their place: how hard a history is to check
    /// depends on the operations of one group that nobody knows the outcome of.
    pub operations_per_group: u64,
    /// What each client does follows from it; how they interleave doesn't.
    pub seed: u64,
    /// A client rests for a random time up to this between two operations.
    pub pause_max: Duration,
    /// After so long without an answer, an operation's outcome is unknown.
    pub answer_timeout: Duration,
    /// They end by themselves after so many operations together …
    pub operations_max: u64,
    /// … or after this time.
    pub time_max: Duration,
}

impl Options {
    /// So many clients that all know all the servers; 8 groups at a time, at most 100,000 operations in ten
    /// minutes.
    #[must_use]
    pub fn new(clients: usize, servers: &[SocketAddr]) -> Self {
        Self {
            clients: vec![servers.to_vec(); clients],
            readers: 0,
            groups: 8,
            operations_per_group: 300,
            seed: rand::random(),
            pause_max: Duration::from_millis(4),
            answer_timeout: Duration::from_secs(2),
            operations_max: 100_000,
            time_max: Duration::from_secs(600),
        }
    }
}

/// How often what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations that were answered, refusals included.
    pub ok: u64,
    /// Attempts that certainly did nothing: no server was reached, or it gave no session.
    pub failed: u64,
    /// Operations without an outcome, reads included.
    pub unknown: u64,
    /// Errors of the protocol that leave open what happened, by their number; they count as unknown.
    pub errors: BTreeMap<i32, u64>,
}

/// A stretch of time, from the beginning of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its beginning.
    pub from: Duration,
    /// Its end.
    pub until: Duration,
}

impl Stretch {
    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.until.saturating_sub(self.from)
    }
}

/// What the clients did and were told.
#[derive(Clone, Debug)]
pub struct Record {
    /// All operations that may have happened.
    pub history: History,
    /// How often what happened.
    pub counts: Counts,
    /// From the beginning to the end of the load; the last reads come after it.
    pub took: Duration,
    /// What it can be replayed with.
    pub seed: u64,
    returns_ns: Vec<u64>,
}

impl Record {
    /// The longest time within `stretch` in which no operation of any client was answered.
    #[must_use]
    pub fn longest_without_success(&self, within: Stretch) -> Stretch {
        let mut last = within.from;
        let mut longest = Stretch {
            from: last,
            until: last,
        };
        let returns = self.returns_ns.iter().map(|ns| Duration::from_nanos(*ns));
        let inside = returns.filter(|at| (within.from..within.until).contains(at));
        for at in inside.chain([within.until]) {
            let stretch = Stretch {
                from: last,
                until: at,
            };
            if stretch.length() > longest.length() {
                longest = stretch;
            }
            last = at;
        }
        longest
    }

    /// The whole time of the load.
    #[must_use]
    pub fn all(&self) -> Stretch {
        Stretch {
            from: Duration::ZERO,
            until: self.took,
        }
    }
}

/// A running load; dropping it ends it at once.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    clients: JoinSet<Result<Vec<Recorded>>>,
}

type Recorded = (u32, Operation<Call, Answer>);

#[derive(Debug)]
struct Shared {
    options: Options,
    began: Instant,
    stop: AtomicBool,
    begun: AtomicU64,
    ok: AtomicU64,
    /// Those of clients that write.
    got_on: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    errors: Mutex<BTreeMap<i32, u64>>,
    failure: Mutex<Option<String>>,
}

impl Workload {
    /// Makes the parent of the groups, which must be new, and starts the clients. They need no
    /// server to be there all the time.
    ///
    /// # Errors
    /// The directory doesn't take the parent.
    pub async fn start(options: Options) -> Result<Self> {
        let servers = options.clients.iter().flatten().copied().next();
        let server = servers.context("no client knows a server")?;
        let mut client = Client::connect(server, SESSION_TIMEOUT, options.answer_timeout).await?;
        client.make_parent(ROOT).await?;
        let shared = Arc::new(Shared {
            options,
            began: Instant::now(),
            stop: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            ok: AtomicU64::new(0),
            got_on: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            errors: Mutex::default(),
            failure: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for (number, servers) in shared.options.clients.iter().enumerate() {
            let worker = Worker {
                shared: Arc::clone(&shared),
                number: u32::try_from(number)?,
                servers: servers.clone(),
                dice: StdRng::seed_from_u64(shared.options.seed.wrapping_add(number as u64)),
                known: BTreeMap::new(),
                client: None,
                recorded: Vec::new(),
            };
            clients.spawn(worker.run());
        }
        Ok(Self { shared, clients })
    }

    /// The time since it began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.began.elapsed()
    }

    /// Waits until so many more operations of clients that write were answered.
    ///
    /// # Errors
    /// They weren't until `timeout`, or a client met what it doesn't understand.
    pub async fn until_answered(&self, more: u64, timeout: Duration) -> Result<()> {
        let wanted = self.shared.got_on.load(Ordering::Relaxed) + more;
        wait_until("answers to the load's clients", timeout, async || {
            if let Some(failure) = &*lock(&self.shared.failure) {
                bail!("{failure}");
            }
            Ok(self.shared.got_on.load(Ordering::Relaxed) >= wanted)
        })
        .await
    }

    /// Ends it, reads what is there at last, and answers what was recorded. The servers of the first
    /// client must be reachable by then.
    ///
    /// # Errors
    /// A client was told what it doesn't understand, or the last reads don't get through.
    pub async fn stop(mut self) -> Result<Record> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut operations = Vec::new();
        while let Some(recorded) = self.clients.join_next().await {
            operations.extend(recorded??);
        }
        let took = self.elapsed();
        operations.extend(self.shared.last_reads().await?);
        let mut returns_ns: Vec<u64> = operations
            .iter()
            .filter_map(|(_, operation)| match operation.outcome {
                Outcome::Answered { returned_ns, .. } => Some(returned_ns),
                Outcome::Unknown => None,
            })
            .collect();
        returns_ns.sort_unstable();
        let shared = &self.shared;
        Ok(Record {
            history: History { operations },
            counts: Counts {
                ok: shared.ok.load(Ordering::Relaxed),
                failed: shared.failed.load(Ordering::Relaxed),
                unknown: shared.unknown.load(Ordering::Relaxed),
                errors: lock(&shared.errors).clone(),
            },
            took,
            seed: shared.options.seed,
            returns_ns,
        })
    }
}

impl Shared {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && self.began.elapsed() < self.options.time_max
    }

    /// The first of the groups that are in use at the operation of this number.
    fn first_group(&self, number: u64) -> u32 {
        let groups = self.options.groups;
        let all = self.options.operations_per_group.max(1) * u64::from(groups);
        u32::try_from(number / all).unwrap_or(u32::MAX / groups.max(1)) * groups
    }

    /// Reads every group once, however often it must be asked.
    async fn last_reads(&self) -> Result<Vec<Recorded>> {
        let servers = self.options.clients.first();
        let servers = servers.context("there are no clients")?;
        let mut recorded = Vec::new();
        let mut attempt = 0;
        let mut client: Option<Client> = None;
        let begun = self.begun.load(Ordering::Relaxed);
        for group in 0..self.first_group(begun) + self.options.groups {
            wait_until("the last reads", LAST_READ_TIMEOUT, async || {
                let Some(connected) = &mut client else {
                    attempt += 1;
                    if let Some(server) = servers.get(attempt % servers.len()) {
                        let timeout = self.options.answer_timeout;
                        client = Client::connect(*server, SESSION_TIMEOUT, timeout)
                            .await
                            .ok();
                    }
                    return Ok(false);
                };
                let called_ns = self.now_ns();
                match connected.ask(&Call::ReadAll, path(group)).await {
                    Ok(answer) => {
                        let returned_ns = self.now_ns();
                        let outcome = Outcome::Answered {
                            answer,
                            returned_ns,
                        };
                        recorded.push((
                            group,
                            Operation {
                                client: u32::try_from(self.options.clients.len())?,
                                call: Call::ReadAll,
                                called_ns,
                                outcome,
                            },
                        ));
                        Ok(true)
                    }
                    Err(Fault::Garbled(what)) => bail!("{what}"),
                    Err(Fault::Lost | Fault::Other(_)) => {
                        client = None;
                        Ok(false)
                    }
                }
            })
            .await?;
        }
        Ok(recorded)
    }
}

struct Worker {
    shared: Arc<Shared>,
    number: u32,
    servers: Vec<SocketAddr>,
    dice: StdRng,
    /// What it has last seen of each group that's in use.
    known: BTreeMap<u32, Group>,
    client: Option<Client>,
    recorded: Vec<Recorded>,
}

impl Worker {
    async fn run(mut self) -> Result<Vec<Recorded>> {
        while self.shared.goes_on() {
            let pause = self.shared.options.pause_max;
            tokio::time::sleep(self.dice.random_range(Duration::ZERO..=pause)).await;
            let Some(client) = self.connected().await else {
                tokio::time::sleep(RECONNECT_PAUSE).await;
                continue;
            };
            self.client = Some(client);
            let number = self.shared.begun.fetch_add(1, Ordering::Relaxed) + 1;
            if number > self.shared.options.operations_max {
                break;
            }
            if let Err(error) = self.once(number).await {
                *lock(&self.shared.failure) = Some(format!("{error:#}"));
                return Err(error);
            }
        }
        Ok(self.recorded)
    }

    async fn connected(&mut self) -> Option<Client> {
        if let Some(client) = self.client.take() {
            return Some(client);
        }
        let at = self.dice.random_range(0..self.servers.len().max(1));
        let server = self.servers.get(at)?;
        let timeout = self.shared.options.answer_timeout;
        let client = Client::connect(*server, SESSION_TIMEOUT, timeout).await;
        if client.is_err() {
            self.shared.failed.fetch_add(1, Ordering::Relaxed);
        }
        client.ok()
    }

    fn only_reads(&self) -> bool {
        usize::try_from(self.number).is_ok_and(|client| client < self.shared.options.readers)
    }

    /// Does the operation of this number.
    async fn once(&mut self, number: u64) -> Result<()> {
        let first = self.shared.first_group(number);
        self.known.retain(|group, _| *group >= first);
        let group = first + self.dice.random_range(0..self.shared.options.groups);
        let known = self.known.get(&group).copied().unwrap_or_default();
        let call = match self.only_reads() {
            true => any_read(&mut self.dice),
            false => any_call(&mut self.dice, known, number),
        };
        let Some(client) = &mut self.client else {
            return Ok(());
        };
        let called_ns = self.shared.now_ns();
        let told = client.ask(&call, path(group)).await;
        let returned_ns = self.shared.now_ns();
        let outcome = match told {
            Ok(answer) => {
                self.shared.ok.fetch_add(1, Ordering::Relaxed);
                if !self.only_reads() {
                    self.shared.got_on.fetch_add(1, Ordering::Relaxed);
                }
                self.learn(group, &call, &answer);
                Outcome::Answered {
                    answer,
                    returned_ns,
                }
            }
            Err(Fault::Garbled(what)) => bail!("client {}: {call}: {what}", self.number),
            Err(fault) => {
                self.shared.unknown.fetch_add(1, Ordering::Relaxed);
                if let Fault::Other(error) = fault {
                    *lock(&self.shared.errors).entry(error).or_default() += 1;
                }
                self.client = None;
                if matches!(call, Call::Read(_) | Call::ReadAll) {
                    return Ok(());
                }
                Outcome::Unknown
            }
        };
        let client = self.number;
        self.recorded.push((
            group,
            Operation {
                client,
                call,
                called_ns,
                outcome,
            },
        ));
        Ok(())
    }

    fn learn(&mut self, group: u32, call: &Call, answer: &Answer) {
        let known = self.known.entry(group).or_default();
        match (call, answer) {
            (Call::ReadAll, Answer::Seen(seen)) => *known = *seen,
            (Call::Read(node), Answer::Seen(seen)) => {
                if let (Some(known), Some(seen)) = (known.0.get_mut(*node), seen.0.get(*node)) {
                    *known = *seen;
                }
            }
            (Call::Write(steps), Answer::Done(_)) => {
                if let Ok((after, _)) = known.after(steps) {
                    *known = after;
                }
            }
            _ => {}
        }
    }
}

/// A random operation that writes `value`, for a client that has last seen `known`. A third are
/// reads; versions are what was seen or any, rarely one that can't be right.
fn any_call(dice: &mut StdRng, known: Group, value: u64) -> Call {
    let node = dice.random_range(0..NODES);
    let last = known.0.get(node).copied().flatten();
    let version = match (dice.random_range(0..8), last) {
        (0..4, Some(last)) => Some(last.version),
        (4, last) => Some(last.map_or(0, |last| last.version) + 1),
        _ => None,
    };
    let step = |kind, node, version| match kind {
        0 => Step::Create { node, value },
        1 => Step::Delete { node, version },
        _ => Step::Set {
            node,
            value,
            version,
        },
    };
    // Most often what would work if nothing has changed.
    let kind = match (dice.random_range(0..10), last) {
        (0, _) | (1..8, None) => 0,
        (1, Some(_)) => 1,
        _ => 2,
    };
    match dice.random_range(0..12) {
        0..3 => Call::Read(node),
        3 => Call::ReadAll,
        4..10 => Call::Write(vec![step(kind, node, version)]),
        10 => Call::Write(vec![
            Step::Check { node, version },
            step(kind, node, None),
            step(2, NODES - 1 - node, None),
        ]),
        // A node that is made anew in one step.
        _ => Call::Write(vec![Step::Delete { node, version }, step(0, node, None)]),
    }
}

/// Mostly of one node.
fn any_read(dice: &mut StdRng) -> Call {
    match dice.random_range(0..4) {
        0 => Call::ReadAll,
        _ => Call::Read(dice.random_range(0..NODES)),
    }
}

/// Where the nodes of a group are.
fn path(group: u32) -> impl Fn(usize) -> String {
    move |node| format!("{ROOT}/{group}-{node}")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
