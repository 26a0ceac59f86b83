//! The directory's nodes as ZooKeeper has them: data and a version, which is 0 when a node is made
//! and grows by one with each change.
//!
//! Nodes come in groups of [`NODES`]; a transaction stays within a group, so each group is checked
//! by itself. Every write carries a value of its own, so that a read says which write it saw.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::model::Model;
use super::search::Events;
use super::{Operation, Outcome, Verdict, explain, search};

/// Nodes of a group.
pub const NODES: usize = 2;

/// What is written in place of a value that nobody has ever seen.
const UNSEEN: u64 = 0;

/// Data and version of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its data: the number of the write that put it there, 1 or more.
    pub value: u64,
    /// How often it was changed since it was made.
    pub version: i32,
}

/// The nodes of a group; none where there's no such node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Group(pub [Option<Node>; NODES]);

/// One change, or one condition of a transaction. `node` is below [`NODES`]; without a version, any
/// will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named as in the protocol")]
pub enum Step {
    /// Makes a node that must not be there.
    Create { node: usize, value: u64 },
    /// Changes a node.
    Set {
        node: usize,
        value: u64,
        version: Option<i32>,
    },
    /// Removes a node.
    Delete { node: usize, version: Option<i32> },
    /// Looks at a version.
    Check { node: usize, version: Option<i32> },
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Data and version of one node.
    Read(usize),
    /// Those of all nodes of the group at one moment.
    ReadAll,
    /// Steps of which all happen, or none.
    Write(Vec<Step>),
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What a read has seen. Nodes that it didn't ask for count for nothing.
    Seen(Group),
    /// All steps have happened; the version after each that says one.
    Done(Vec<Option<i32>>),
    /// No step has happened, because of this one.
    Refused {
        /// The first that couldn't happen.
        step: usize,
        /// Why not.
        why: Refusal,
    },
}

/// Why a step can't happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The node isn't there.
    NoNode,
    /// It is there.
    NodeExists,
    /// It has another version.
    BadVersion,
}

/// The nodes after some steps, and the version after each step that has one.
pub type Effect = (Group, Vec<Option<i32>>);

impl Group {
    /// Does the steps, and tells the version after each that has one; or the first that can't be done.
    ///
    /// # Errors
    /// The step's place, and why.
    pub fn after(mut self, steps: &[Step]) -> Result<Effect, (usize, Refusal)> {
        let mut versions = Vec::with_capacity(steps.len());
        for (at, step) in steps.iter().enumerate() {
            versions.push(self.step(*step).map_err(|why| (at, why))?);
        }
        Ok((self, versions))
    }

    fn step(&mut self, step: Step) -> Result<Option<i32>, Refusal> {
        let Some(place) = self.0.get_mut(step.node()) else {
            return Err(Refusal::NoNode);
        };
        let there = |wanted: Option<i32>, node: &Option<Node>| match (node, wanted) {
            (None, _) => Err(Refusal::NoNode),
            (Some(node), Some(wanted)) if node.version != wanted => Err(Refusal::BadVersion),
            (Some(node), _) => Ok(*node),
        };
        match step {
            Step::Create { .. } if place.is_some() => Err(Refusal::NodeExists),
            Step::Create { value, .. } => {
                *place = Some(Node { value, version: 0 });
                Ok(Some(0))
            }
            Step::Set { value, version, .. } => {
                let version = there(version, place)?.version.wrapping_add(1);
                *place = Some(Node { value, version });
                Ok(Some(version))
            }
            Step::Delete { version, .. } => {
                there(version, place)?;
                *place = None;
                Ok(None)
            }
            Step::Check { version, .. } => there(version, place).map(|_| None),
        }
    }
}

impl Step {
    fn node(self) -> usize {
        match self {
            Self::Create { node, .. }
            | Self::Set { node, .. }
            | Self::Delete { node, .. }
            | Self::Check { node, .. } => node,
        }
    }
}

/// The model of one group.
#[derive(Clone, Copy, Debug)]
pub struct Nodes;

impl Model for Nodes {
    type State = Group;
    type Call = Call;
    type Answer = Answer;

    fn initial() -> Group {
        Group::default()
    }

    fn apply(state: &Group, call: &Call, answer: Option<&Answer>) -> Option<Group> {
        match (call, answer) {
            (Call::Read(node), Some(Answer::Seen(seen))) => {
                (state.0.get(*node) == seen.0.get(*node)).then_some(*state)
            }
            (Call::ReadAll, Some(Answer::Seen(seen))) => (state == seen).then_some(*state),
            (Call::Write(steps), answer) => match (state.after(steps), answer) {
                (Ok((after, _)), None) => Some(after),
                (Ok((after, versions)), Some(Answer::Done(told))) => {
                    let same = |(is, told): (&Option<i32>, &Option<i32>)| {
                        told.is_none_or(|told| *is == Some(told))
                    };
                    (versions.len() == told.len() && versions.iter().zip(told).all(same))
                        .then_some(after)
                }
                (Err((at, because)), Some(Answer::Refused { step, why })) => {
                    ((at, because) == (*step, *why)).then_some(*state)
                }
                _ => None,
            },
            (Call::Read(_) | Call::ReadAll, _) => None,
        }
    }

    fn is_read(call: &Call, answer: &Answer) -> bool {
        match (call, answer) {
            (Call::Read(_) | Call::ReadAll, _) | (_, Answer::Refused { .. }) => true,
            (Call::Write(steps), _) => steps.iter().all(|step| matches!(step, Step::Check { .. })),
        }
    }

    fn show(call: &Call, answer: &Answer) -> String {
        match (call, answer) {
            (Call::Read(node), Answer::Seen(seen)) => {
                let seen = seen.0.get(*node).copied().flatten();
                format!("{call} -> {}", Shown(*node, seen))
            }
            _ => format!("{call} -> {answer}"),
        }
    }

    fn touches(call: &Call) -> u64 {
        match call {
            Call::Read(node) => 1 << node,
            Call::ReadAll => (1 << NODES) - 1,
            Call::Write(steps) => steps.iter().fold(0, |all, step| all | 1 << step.node()),
        }
    }
}

/// Operations on groups of nodes, each with the number of its group, in any order.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The operations.
    pub operations: Vec<(u32, Operation<Call, Answer>)>,
}

impl History {
    /// Whether it's linearizable. The first contradiction is what is shown, of the first group that
    /// has one.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let groups = self.operations.iter().map(|(group, _)| group + 1).max();
        let mut apart: Vec<Vec<Operation<Call, Answer>>> =
            vec![Vec::new(); groups.unwrap_or_default() as usize];
        for (group, operation) in &self.operations {
            if let Some(operations) = apart.get_mut(*group as usize) {
                operations.push(operation.clone());
            }
        }
        for (group, operations) in apart.iter().enumerate() {
            let verdict = of_group(group, operations);
            if verdict != Verdict::Linearizable {
                return verdict;
            }
        }
        Verdict::Linearizable
    }
}

fn of_group(group: usize, operations: &[Operation<Call, Answer>]) -> Verdict {
    let mut known = operations.to_vec();
    let seen = Seen::of(operations);
    seen.tell(&mut known);
    seen.blur(&mut known);
    match search::walk::<Nodes>(&known, &Events::of(&known)) {
        Ok(()) => Verdict::Linearizable,
        Err(search::Stop::TooMany(bound)) => Verdict::Undecided(format!(
            "group {group}: undecided, since there are more than {bound} ways in which things may \
             stand; have fewer clients share a group, or fewer operations end without an answer"
        )),
        Err(search::Stop::Stuck { .. }) => Verdict::Refused(format!(
            "group {group} is not linearizable\n{}",
            explain::contradiction::<Nodes>(&known, operations)
        )),
    }
}

/// A value of a node, as somebody has seen it.
#[derive(Clone, Copy, Debug)]
struct Sight {
    version: i32,
    returned_ns: u64,
}

/// What reads have seen.
#[derive(Debug, Default)]
struct Seen {
    /// Of each node, its values, each as it was seen first.
    first: [HashMap<u64, Sight>; NODES],
}

impl Seen {
    fn of(operations: &[Operation<Call, Answer>]) -> Self {
        let mut seen = Self::default();
        for operation in operations {
            let Outcome::Answered {
                answer: Answer::Seen(group),
                returned_ns,
            } = operation.outcome
            else {
                continue;
            };
            let asked = Nodes::touches(&operation.call);
            for (at, (node, values)) in group.0.iter().zip(&mut seen.first).enumerate() {
                let Some(node) = node.filter(|_| asked & 1 << at != 0) else {
                    continue;
                };
                let sight = Sight {
                    version: node.version,
                    returned_ns,
                };
                let first = values.entry(node.value).or_insert(sight);
                if returned_ns < first.returned_ns {
                    *first = sight;
                }
            }
        }
        seen
    }

    fn sight(&self, node: usize, value: u64) -> Option<Sight> {
        self.first.get(node)?.get(&value).copied()
    }

    /// Gives an outcome to the operations without one whose values were seen: they happened before
    /// the first read of it returned, and with the version that it saw.
    fn tell(&self, operations: &mut [Operation<Call, Answer>]) {
        let mut writers: HashMap<u64, usize> = HashMap::new();
        for operation in &*operations {
            let values: HashSet<u64> = operation.call.written().map(|(_, value)| value).collect();
            for value in values {
                *writers.entry(value).or_default() += 1;
            }
        }
        for operation in operations {
            let Call::Write(steps) = &operation.call else {
                continue;
            };
            if operation.outcome != Outcome::Unknown {
                continue;
            }
            let sights = steps.iter().map(|step| {
                let (node, value) = step.written()?;
                self.sight(node, value)
                    .filter(|_| writers.get(&value) == Some(&1))
            });
            let sights: Vec<Option<Sight>> = sights.collect();
            let first = sights.iter().flatten().map(|sight| sight.returned_ns).min();
            // A read that saw it before it was asked is impossible by itself.
            if let Some(returned_ns) = first.filter(|first| *first >= operation.called_ns) {
                let versions = sights.iter().map(|sight| Some((*sight)?.version)).collect();
                operation.outcome = Outcome::Answered {
                    answer: Answer::Done(versions),
                    returned_ns,
                };
            }
        }
    }

    /// Puts one value in place of all that nobody has seen: writes of it can then stand for one another.
    fn blur(&self, operations: &mut [Operation<Call, Answer>]) {
        for operation in operations {
            let Call::Write(steps) = &mut operation.call else {
                continue;
            };
            for step in steps {
                if let Some((node, value)) = step.written()
                    && self.sight(node, value).is_none()
                    && let Step::Create { value, .. } | Step::Set { value, .. } = step
                {
                    *value = UNSEEN;
                }
            }
        }
    }
}

impl Call {
    /// The nodes that it writes, with their values.
    fn written(&self) -> impl Iterator<Item = (usize, u64)> {
        let steps: &[Step] = match self {
            Self::Read(_) | Self::ReadAll => &[],
            Self::Write(steps) => steps,
        };
        steps.iter().filter_map(|step| step.written())
    }
}

impl Step {
    fn written(&self) -> Option<(usize, u64)> {
        match *self {
            Self::Create { node, value } | Self::Set { node, value, .. } => Some((node, value)),
            Self::Delete { .. } | Self::Check { .. } => None,
        }
    }
}

fn letter(node: usize) -> char {
    char::from(b'a'.saturating_add(u8::try_from(node).unwrap_or(u8::MAX)))
}

struct Shown(usize, Option<Node>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(Node {
                value: UNSEEN,
                version,
            }) => write!(
                f,
                "{} = what nobody read (version {version})",
                letter(self.0)
            ),
            Some(Node { value, version }) => {
                write!(f, "{} = {value} (version {version})", letter(self.0))
            }
            None => write!(f, "no {}", letter(self.0)),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (node, state) in self.0.iter().enumerate() {
            let comma = if node == 0 { "" } else { ", " };
            write!(f, "{comma}{}", Shown(node, *state))?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = letter(self.node());
        let version = match self {
            Self::Create { value, .. } => return write!(f, "create {name} = {value}"),
            Self::Set { value, version, .. } => {
                write!(f, "set {name} = {value}")?;
                version
            }
            Self::Delete { version, .. } => {
                write!(f, "delete {name}")?;
                version
            }
            Self::Check { version, .. } => {
                write!(f, "check {name}")?;
                version
            }
        };
        match version {
            Some(version) => write!(f, " at version {version}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(node) => write!(f, "read {}", letter(*node)),
            Self::ReadAll => f.write_str("read all"),
            Self::Write(steps) => {
                for (at, step) in steps.iter().enumerate() {
                    let and = if at == 0 { "" } else { " and " };
                    write!(f, "{and}{step}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seen(group) => write!(f, "{group}"),
            Self::Done(versions) => {
                f.write_str("done")?;
                for version in versions.iter().flatten() {
                    write!(f, ", version {version}")?;
                }
                Ok(())
            }
            Self::Refused { step, why } => {
                let why = match why {
                    Refusal::NoNode => "no such node",
                    Refusal::NodeExists => "the node exists",
                    Refusal::BadVersion => "another version",
                };
                write!(f, "refused: {why} (step {})", step + 1)
            }
        }
    }
}
