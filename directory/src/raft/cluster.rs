//! Changes of who the members are: one at a time, by the leader, whoever is asked.
//!
//! * A number is given to one data directory, once. All that were ever given are in the state.
//! * A member gets a vote once it has what the others have; before, it's shown to be new and empty.
//! * A change of voters goes through a joint membership, so no two majorities ever decide apart. If
//!   its leader dies in between, the next one finishes it.
//! * Nothing is begun that too few members answer to be finished.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{ChangeMembers, Instant as _, Raft, RaftMetrics, ServerState};
use tokio::sync::{Mutex, watch};

use super::gate::Gate;
use super::identity::{Belongs, DirectoryId};
use super::machine::Machine;
use super::member::Member;
use super::members::{
    Answer, Change, Hello, MemberError, MemberStatus, Members, Question, Role, VOTERS_MAX,
    milliseconds,
};
use super::network::{Network, link};
use super::node::{self, RaftError};
use super::types::Types;
use crate::wire::splice::Leader;

/// Longest wait for somebody to lead, and for a new member to say who it is.
const LEADER_WITHIN: Duration = Duration::from_secs(5);
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for another change to end.
const TURN_WITHIN: Duration = Duration::from_secs(2);
/// Longest wait for an answer of the leader's to a change: a new member may have much to copy.
const CHANGE_WITHIN: Duration = Duration::from_secs(3600);
/// Longest wait for one membership to be committed.
const COMMITTED_WITHIN: Duration = Duration::from_secs(30);
/// A new member that hasn't got closer for so long doesn't catch up.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(60);
/// It has caught up when it lags no more entries than this: what the others commit meanwhile.
const CAUGHT_UP_ENTRIES: u64 = 100;
/// A member answers if it has acknowledged the leader so lately.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// How often it's looked whether the leader is still heard.
const HEARD_LOOK: Duration = Duration::from_secs(1);
/// A joint membership that is so old without anybody working on it was left by a former leader.
const LEFT_OVER: Duration = Duration::from_secs(1);

/// The members of a directory, seen from one of them; clones are handles to the same.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    id: u64,
    raft: Raft<Types, Machine>,
    gate: Arc<Gate>,
    network: Network,
    /// Where this member says it is; none without a peer port.
    own: Option<Member>,
    election_max: Duration,
    belongs: Belongs,
    /// Whether who leads, as Raft remembers, was heard lately, or has a majority that hears it.
    is_heard: AtomicBool,
    /// One change at a time.
    turn: Mutex<()>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("id", &self.inner.id)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    pub(super) fn new(
        id: u64,
        raft: Raft<Types, Machine>,
        gate: Arc<Gate>,
        network: Network,
        own: Option<Member>,
        election_max: Duration,
        belongs: Belongs,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                id,
                raft,
                gate,
                network,
                own,
                election_max,
                belongs,
                is_heard: AtomicBool::new(false),
                turn: Mutex::default(),
            }),
        }
    }

    /// Where this member says it is; none if it was started without a peer port.
    pub fn own(&self) -> Option<&Member> {
        self.inner.own.as_ref()
    }

    /// What [`Directory::backup`](crate::Directory::backup) does.
    ///
    /// # Errors
    /// [`RaftError`].
    pub async fn backup(&self, path: &Path) -> Result<(), RaftError> {
        node::backup(&self.inner.raft, path).await
    }

    /// What [`Directory::snapshot`](crate::Directory::snapshot) does.
    ///
    /// # Errors
    /// [`RaftError::Stopped`].
    pub async fn snapshot(&self) -> Result<(), RaftError> {
        node::snapshot(&self.inner.raft).await
    }

    /// The members as this one sees them, for one who looks again and again; none once this member
    /// has stopped, which the looks don't hinder.
    pub fn views(&self) -> impl Fn() -> Option<Members> + Send + Sync + 'static {
        let inner = Arc::downgrade(&self.inner);
        move || inner.upgrade().map(|inner| Self { inner }.view())
    }

    /// Whether member `id` is there and talks to this one.
    ///
    /// # Errors
    /// [`MemberError::Refused`].
    pub async fn greeted_by(&self, id: u64, member: &Member) -> Result<(), MemberError> {
        self.greet(id, member, Question::Hello).await.map(drop)
    }

    /// All members, as the leader sees them; if nobody leads, as this one does.
    ///
    /// # Errors
    /// [`MemberError::Unreachable`].
    pub async fn members(&self) -> Result<Members, MemberError> {
        match self.heard_leader() {
            Some((leader, member)) if leader != self.inner.id => {
                self.ask(leader, &member, Question::Members, HELLO_WITHIN)
                    .await
            }
            _ => Ok(self.view()),
        }
    }

    /// Changes who the members are, and returns when that is done.
    ///
    /// # Errors
    /// [`MemberError`]; after [`MemberError::Unclear`] the change may be done, or half done.
    pub async fn change(&self, change: Change) -> Result<Members, MemberError> {
        if self.inner.own.is_none() {
            return Err(MemberError::Alone);
        }
        let (leader, member) = self.wait_for_leader(None).await?;
        self.change_at(leader, &member, change).await
    }

    async fn change_at(
        &self,
        leader: u64,
        member: &Member,
        change: Change,
    ) -> Result<Members, MemberError> {
        if leader == self.inner.id {
            return Box::pin(self.change_here(change)).await;
        }
        self.ask(leader, member, Question::Change(change), CHANGE_WITHIN)
            .await
    }

    async fn ask(
        &self,
        leader: u64,
        member: &Member,
        question: Question,
        within: Duration,
    ) -> Result<Members, MemberError> {
        let unreachable = |reason: String| MemberError::Unreachable { leader, reason };
        let changes = matches!(question, Question::Change(_));
        let asked = self.inner.network.ask(leader, member, question, within);
        match asked.await {
            Ok(Answer::Members(members)) => Ok(members),
            Ok(Answer::Failed(error)) => Err(error),
            Ok(Answer::Hello(_)) => Err(unreachable("it answers something else".into())),
            // What had begun may go on there.
            Err(status) if changes && status.code() != tonic::Code::PermissionDenied => {
                Err(MemberError::Unclear(status.message().into()))
            }
            Err(status) => Err(unreachable(status.message().into())),
        }
    }

    /// Answers another member.
    pub(super) async fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Hello => self.hello(None).await,
            Question::Join(directory) => self.hello(Some(directory)).await,
            Question::Members => Answer::Members(self.view()),
            Question::Change(change) => {
                // It's not passed on again: two that take each other for the leader would not end.
                if self
                    .leader()
                    .is_none_or(|(leader, _)| leader != self.inner.id)
                {
                    return Answer::Failed(MemberError::NoLeader);
                }
                match self.change_here(change).await {
                    Ok(members) => Answer::Members(members),
                    Err(error) => Answer::Failed(error),
                }
            }
        }
    }

    /// Says who this member is; one that is new joins the directory first, if it's told which.
    async fn hello(&self, joins: Option<DirectoryId>) -> Answer {
        let inner = &self.inner;
        let Ok(initialized) = inner.raft.is_initialized().await else {
            return Answer::Failed(MemberError::NoLeader);
        };
        if let Some(directory) = joins
            && !initialized
            && inner.belongs.to() != Some(directory)
        {
            let log = inner.raft.with_state_machine(|machine: &mut Machine| {
                let log = machine.log();
                Box::pin(async move { log })
            });
            let saved = match log.await {
                Ok(log) => log.save_directory(directory).await,
                Err(fatal) => Err(std::io::Error::other(fatal)),
            };
            if let Err(error) = saved {
                return Answer::Failed(MemberError::Unclear(error.to_string()));
            }
            inner.belongs.set(directory);
            tracing::info!(%directory, "a leader adds this member to its directory");
        }
        Answer::Hello(Hello {
            initialized,
            directory: inner.belongs.to(),
        })
    }

    /// Who leads, and where.
    fn leader(&self) -> Option<(u64, Member)> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        let member = metrics.membership_config.get_node(&leader)?;
        Some((leader, member.clone()))
    }

    /// The same, if it's known to lead still: Raft remembers the last one for ever.
    fn heard_leader(&self) -> Option<(u64, Member)> {
        self.leader()
            .filter(|_| self.inner.is_heard.load(Ordering::Relaxed))
    }

    /// Whether the leader has been heard within the time that it takes to elect another one; this
    /// member itself, whether a majority has heard it.
    async fn hears_leader(&self) -> bool {
        let inner = &self.inner;
        let within = inner.election_max * 4;
        let metrics = self.metrics();
        match metrics.current_leader {
            None => false,
            Some(leader) if leader == inner.id => {
                metrics.membership_config.voter_ids().eq([inner.id])
                    || metrics
                        .last_quorum_acked
                        .is_some_and(|at| at.into_inner().elapsed() < within)
            }
            Some(_) => {
                let heard = inner
                    .raft
                    .with_raft_state(|state| state.vote_last_modified());
                matches!(heard.await, Ok(Some(at)) if at.elapsed() < within)
            }
        }
    }

    /// Who leads, other than `not`.
    async fn wait_for_leader(&self, not: Option<u64>) -> Result<(u64, Member), MemberError> {
        let leads = |metrics: &RaftMetrics<Types>| {
            metrics
                .current_leader
                .is_some_and(|leader| Some(leader) != not)
        };
        let wait = self.inner.raft.wait(Some(LEADER_WITHIN));
        let found = wait.metrics(leads, "a leader").await;
        found.map_err(|_| MemberError::NoLeader)?;
        self.leader().ok_or(MemberError::NoLeader)
    }

    fn metrics(&self) -> RaftMetrics<Types> {
        self.inner.raft.metrics().borrow_watched().clone()
    }

    /// The members as this one sees them, whoever leads.
    pub fn view(&self) -> Members {
        let metrics = self.metrics();
        let membership = &metrics.membership_config;
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let last_index = metrics.last_log_index.unwrap_or_default();
        let leader = metrics
            .current_leader
            .filter(|_| self.inner.is_heard.load(Ordering::Relaxed));
        let status = |(id, member): (&u64, &Member)| {
            let is_own = *id == self.inner.id;
            let matched_index = match is_own {
                true => metrics.last_log_index,
                false => metrics
                    .replication
                    .as_ref()
                    .and_then(|all| all.get(id).copied().flatten())
                    .map(|matched| matched.index),
            };
            MemberStatus {
                id: *id,
                member: member.clone(),
                role: match (leader == Some(*id), voters.contains(id)) {
                    (true, _) => Role::Leader,
                    (_, true) => Role::Follower,
                    _ => Role::Learner,
                },
                matched_index,
                lag_entries: matched_index.map(|matched| last_index.saturating_sub(matched)),
                acked_ms: acked(&metrics, *id).map(milliseconds),
            }
        };
        let alone = voters.iter().eq([&self.inner.id]);
        Members {
            seen_by: self.inner.id,
            leader,
            term: metrics.current_term,
            last_index,
            changing: membership.get_joint_config().len() > 1,
            quorum_acked_ms: metrics
                .last_quorum_acked
                .filter(|_| !alone)
                .map(|at| milliseconds(at.into_inner().elapsed())),
            members: membership.nodes().map(status).collect(),
        }
    }

    /// As the leader.
    async fn change_here(&self, change: Change) -> Result<Members, MemberError> {
        // What a member does by itself is soon over.
        let turn = tokio::time::timeout(TURN_WITHIN, self.inner.turn.lock());
        let turn = turn.await.map_err(|_| MemberError::Busy)?;
        tracing::info!(?change, "changing members");
        let goes = match change {
            Change::Remove { id } | Change::Replace { id, .. } => Some(id),
            Change::Add { .. } | Change::Move { .. } => None,
        };
        if goes == Some(self.inner.id) {
            self.check_patiently(&change).await?;
            let (leader, member) = self.hand_over().await?;
            drop(turn);
            return self
                .ask(leader, &member, Question::Change(change), CHANGE_WITHIN)
                .await;
        }
        self.settle().await?;
        self.check_patiently(&change).await?;
        match change {
            Change::Add { id, member } => {
                self.teach(id, member).await?;
                self.commit(ChangeMembers::AddVoterIds(BTreeSet::from([id])))
                    .await?;
            }
            Change::Remove { id } => {
                let is_voter = self
                    .metrics()
                    .membership_config
                    .voter_ids()
                    .any(|v| v == id);
                let ids = BTreeSet::from([id]);
                self.commit(match is_voter {
                    true => ChangeMembers::RemoveVoters(ids),
                    false => ChangeMembers::RemoveNodes(ids),
                })
                .await?;
            }
            Change::Replace { id, by, member } => {
                self.teach(by, member).await?;
                let mut voters: BTreeSet<u64> =
                    self.metrics().membership_config.voter_ids().collect();
                voters.remove(&id);
                voters.insert(by);
                self.commit(ChangeMembers::ReplaceAllVoters(voters)).await?;
            }
            Change::Move { id, member } => {
                if self.metrics().membership_config.get_node(&id) == Some(&member) {
                    return Ok(self.view());
                }
                if id != self.inner.id {
                    let hello = self.greet(id, &member, Question::Hello).await?;
                    self.is_of_this_directory(id, hello)?;
                }
                self.commit(ChangeMembers::SetNodes(BTreeMap::from([(id, member)])))
                    .await?;
            }
        }
        tracing::info!("members are changed");
        Ok(self.view())
    }

    /// Likewise, by a leader that may just have begun to hear the others.
    async fn check_patiently(&self, change: &Change) -> Result<(), MemberError> {
        let since = Instant::now();
        let mut metrics = self.inner.raft.metrics();
        loop {
            metrics.borrow_and_update();
            match self.check(change) {
                Err(MemberError::Majority { .. }) if since.elapsed() < ANSWERS_WITHIN => {
                    let changed = tokio::time::timeout(ANSWERS_WITHIN, metrics.changed());
                    let _ = changed.await;
                }
                checked => return checked,
            }
        }
    }

    /// Whether the change makes sense, and can be finished.
    fn check(&self, change: &Change) -> Result<(), MemberError> {
        let metrics = self.metrics();
        let membership = &metrics.membership_config;
        let known = |id: u64| match membership.get_node(&id) {
            Some(_) => Ok(()),
            None => Err(MemberError::Unknown(id)),
        };
        let mut voters: BTreeSet<u64> = membership.voter_ids().collect();
        let mut arrives = None;
        match change {
            Change::Add { id, member } => {
                arrives = Some((*id, member));
                voters.insert(*id);
            }
            Change::Remove { id } => {
                known(*id)?;
                if voters.remove(id) && voters.is_empty() {
                    return Err(MemberError::Last(*id));
                }
            }
            Change::Replace { id, by, member } => {
                known(*id)?;
                arrives = Some((*by, member));
                voters.remove(id);
                voters.insert(*by);
            }
            Change::Move { id, member } => {
                known(*id)?;
                arrives = Some((*id, member));
            }
        }
        let grows = voters.len() > membership.voter_ids().count();
        if grows && voters.len() > VOTERS_MAX {
            return Err(MemberError::Full);
        }
        if let Some((id, member)) = arrives {
            if !u8::try_from(id).is_ok_and(|id| link::IDS.contains(&id)) {
                return Err(MemberError::Number(id));
            }
            if !member.is_reachable() {
                return Err(MemberError::Address(member.to_string()));
            }
            for (other, there) in membership.nodes() {
                for (address, taken) in
                    [(&member.peer, &there.peer), (&member.client, &there.client)]
                {
                    if *other != id && address == taken {
                        return Err(MemberError::Address(address.clone()));
                    }
                }
            }
        }
        let answers = |id: &u64| {
            // One that comes is asked by itself; one that has moved can't be heard yet.
            *id == self.inner.id
                || arrives.is_some_and(|(arrives, _)| arrives == *id)
                || acked(&metrics, *id).is_some_and(|ago| ago < ANSWERS_WITHIN)
        };
        let answering = voters.iter().filter(|id| answers(id)).count();
        match answering * 2 > voters.len() {
            true => Ok(()),
            false => Err(MemberError::Majority {
                answering,
                voters: voters.len(),
            }),
        }
    }

    /// Whether it's really member `id` that is there.
    async fn greet(
        &self,
        id: u64,
        member: &Member,
        greeting: Question,
    ) -> Result<Hello, MemberError> {
        let network = &self.inner.network;
        let reason = match network.ask(id, member, greeting, HELLO_WITHIN).await {
            Ok(Answer::Hello(hello)) => return Ok(hello),
            Ok(_) => "it answers something else".into(),
            Err(status) => status.message().into(),
        };
        Err(MemberError::Refused { id, reason })
    }

    /// The same, and makes it one of this directory if it's new.
    async fn invite(&self, id: u64, member: &Member) -> Result<Hello, MemberError> {
        let directory = self.inner.belongs.to().ok_or(MemberError::NoLeader)?;
        self.greet(id, member, Question::Join(directory)).await
    }

    fn is_of_this_directory(&self, id: u64, hello: Hello) -> Result<(), MemberError> {
        if hello.directory.is_some() && hello.directory == self.inner.belongs.to() {
            return Ok(());
        }
        let reason = match hello.initialized {
            true => "it belongs to another directory",
            false => {
                "its data directory is empty, so what it has promised is lost; replace it by a member with another number"
            }
        };
        Err(MemberError::Refused {
            id,
            reason: reason.into(),
        })
    }

    /// Makes `id` a learner, and waits until it has what the others have.
    async fn teach(&self, id: u64, member: Member) -> Result<(), MemberError> {
        let membership = self.metrics().membership_config;
        let known = membership.get_node(&id);
        if let Some(known) = known.filter(|known| **known != member) {
            return Err(MemberError::Present {
                id,
                member: known.clone(),
            });
        }
        if known.is_some() && id == self.inner.id {
            return Ok(());
        }
        if membership.voter_ids().any(|voter| voter == id) {
            // It has promised what a member without its data knows nothing of.
            let hello = self.greet(id, &member, Question::Hello).await?;
            self.is_of_this_directory(id, hello)?;
        } else if known.is_some() {
            // What it has doesn't count yet, so it may begin anew, unless it has told this leader.
            let matched = self.metrics().replication;
            let matched = matched.and_then(|all| all.get(&id).copied().flatten());
            let hello = match matched {
                Some(_) => self.greet(id, &member, Question::Hello).await?,
                None => self.invite(id, &member).await?,
            };
            self.is_of_this_directory(id, hello)?;
        } else {
            let used = self
                .inner
                .raft
                .with_state_machine(move |machine: &mut Machine| {
                    let used = machine.used(id);
                    Box::pin(async move { used })
                })
                .await;
            if used.map_err(|error| MemberError::Unclear(error.to_string()))? {
                return Err(MemberError::Used(id));
            }
            if self.invite(id, &member).await?.initialized {
                let reason = "it has been a member before; start it with an empty data directory";
                return Err(MemberError::Refused {
                    id,
                    reason: reason.into(),
                });
            }
            self.commit(ChangeMembers::AddNodes(BTreeMap::from([(id, member)])))
                .await?;
        }
        let mut metrics = self.inner.raft.metrics();
        let (mut closest, mut since) = (u64::MAX, Instant::now());
        loop {
            let (lag, leads) = {
                let metrics = metrics.borrow_watched();
                let last = metrics.last_log_index.unwrap_or_default();
                let matched = metrics
                    .replication
                    .as_ref()
                    .and_then(|all| all.get(&id).copied().flatten());
                // One that has nothing lags by one entry more than there are.
                let lag = matched.map_or(last + 1, |matched| last.saturating_sub(matched.index));
                (lag, metrics.state == ServerState::Leader)
            };
            if !leads {
                return Err(MemberError::Unclear("this member no longer leads".into()));
            }
            if lag <= CAUGHT_UP_ENTRIES && acked(&self.metrics(), id).is_some() {
                return Ok(());
            }
            if lag < closest {
                (closest, since) = (lag, Instant::now());
            } else if since.elapsed() > CATCHES_UP_WITHIN {
                return Err(MemberError::Lags {
                    id,
                    lag_entries: lag,
                });
            }
            let changed = tokio::time::timeout(Duration::from_secs(1), metrics.changed());
            if let Ok(Err(error)) = changed.await {
                return Err(MemberError::Unclear(error.to_string()));
            }
        }
    }

    /// Commits a change of the membership, through a joint one if voters change.
    async fn commit(&self, change: ChangeMembers<u64, Member>) -> Result<(), MemberError> {
        let votes = matches!(
            change,
            ChangeMembers::AddVoterIds(_)
                | ChangeMembers::RemoveVoters(_)
                | ChangeMembers::ReplaceAllVoters(_)
        );
        // From the first entry on that knows another voter, that one may vote.
        self.inner.gate.grows(votes);
        let changed = self.inner.raft.change_membership(change, false);
        let changed = tokio::time::timeout(COMMITTED_WITHIN, changed).await;
        self.inner.gate.grows(false);
        match changed {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(MemberError::Unclear(match error.forward_to_leader() {
                Some(_) => "this member ceased to lead meanwhile".into(),
                None => error.to_string(),
            })),
            Err(_) => Err(MemberError::Unclear(
                "too few members have acknowledged it in time".into(),
            )),
        }
    }

    /// Finishes a change of voters that a former leader has begun.
    async fn settle(&self) -> Result<(), MemberError> {
        if self.metrics().membership_config.get_joint_config().len() <= 1 {
            return Ok(());
        }
        tracing::info!("finishing a change of members that was begun before");
        self.commit(ChangeMembers::AddVoterIds(BTreeSet::new()))
            .await
    }

    /// Lets the member that lags least lead; who does then.
    pub(super) async fn hand_over(&self) -> Result<(u64, Member), MemberError> {
        let inner = &self.inner;
        let successor = successor(&self.metrics(), inner.id, inner.election_max)
            .ok_or(MemberError::HandOver)?;
        inner.gate.hand_over();
        let told = inner.raft.trigger().transfer_leader(successor).await;
        told.map_err(|error| MemberError::Unclear(error.to_string()))?;
        tracing::info!(to = successor, "handing over leadership");
        let other = |metrics: &RaftMetrics<Types>| {
            metrics
                .current_leader
                .is_some_and(|leader| leader != inner.id)
        };
        let wait = inner.raft.wait(Some(inner.election_max * 4));
        let taken = wait.metrics(other, "another leader").await;
        taken.map_err(|_| MemberError::HandOver)?;
        self.leader()
            .filter(|(leader, _)| *leader != inner.id)
            .ok_or(MemberError::HandOver)
    }

    /// Whether there is somebody to hand over to.
    pub(super) fn leads_others(&self) -> bool {
        let metrics = self.metrics();
        metrics.state == ServerState::Leader
            && successor(&metrics, self.inner.id, self.inner.election_max).is_some()
    }

    /// Tells the leader where this member is, if that has changed.
    async fn announce(&self, own: &Member, was_refused: &mut bool) {
        let id = self.inner.id;
        let change = Change::Move {
            id,
            member: own.clone(),
        };
        let mut told = Err(MemberError::NoLeader);
        if self.leader().is_some_and(|(leader, _)| leader == id) {
            told = self.change_here(change).await;
        } else {
            // The leader can't tell this one that it leads.
            let membership = self.metrics().membership_config;
            for (other, member) in membership.nodes().filter(|(other, _)| **other != id) {
                let question = Question::Change(change.clone());
                told = self.ask(*other, member, question, HELLO_WITHIN).await;
                if told.is_ok() {
                    break;
                }
            }
        }
        match told {
            Ok(_) => tracing::info!(member = %own, "the others know where this member is now"),
            // Another member has that address, and it takes a person to change that.
            Err(error @ MemberError::Address(_)) if !*was_refused => {
                *was_refused = true;
                tracing::warn!(member = %own, %error, "the others don't take down where this member is now");
            }
            Err(error) => tracing::debug!(%error, "nobody takes down where this member is now"),
        }
    }

    /// Tells who leads, and the network where members are, whenever that changes.
    pub(super) async fn tell_leader(&self, leads: &watch::Sender<Leader>) {
        let mut metrics = self.inner.raft.metrics();
        let mut looked: Option<(Instant, Option<u64>, u64)> = None;
        loop {
            let (membership, leader, term) = {
                let metrics = metrics.borrow_and_update();
                let membership = metrics.membership_config.clone();
                (membership, metrics.current_leader, metrics.current_term)
            };
            for (id, member) in membership.nodes() {
                self.inner.network.learn(*id, member);
            }
            let is_due = looked.is_none_or(|(at, seen, seen_in)| {
                at.elapsed() >= HEARD_LOOK || (seen, seen_in) != (leader, term)
            });
            if is_due || !self.inner.is_heard.load(Ordering::Relaxed) {
                let is_heard = self.hears_leader().await;
                self.inner.is_heard.store(is_heard, Ordering::Relaxed);
                looked = Some((Instant::now(), leader, term));
            }
            let now = match self.heard_leader() {
                None if membership.nodes().next().is_none() => Leader::Never,
                None => Leader::Nobody,
                Some((leader, _)) if leader == self.inner.id => Leader::Here,
                Some((_, member)) => Leader::There(member.client),
            };
            leads.send_if_modified(|before| {
                let changed = *before != now;
                *before = now;
                changed
            });
            let changed = tokio::time::timeout(HEARD_LOOK, metrics.changed());
            if let Ok(Err(_)) = changed.await {
                leads.send_replace(Leader::Nobody);
                return;
            }
        }
    }

    /// What a member does by itself: tells where it is now; and as the leader, finishes what a
    /// former one has begun.
    pub(super) async fn tend(&self) {
        let mut metrics = self.inner.raft.metrics();
        let mut left_over_since = None;
        let mut announced: Option<Instant> = None;
        let mut was_refused = false;
        loop {
            let (leads, is_joint, moved) = {
                let metrics = metrics.borrow_watched();
                let membership = &metrics.membership_config;
                let listed = membership.get_node(&self.inner.id);
                let own = self.inner.own.as_ref();
                let moved = own.filter(|own| listed.is_some_and(|listed| listed != *own));
                (
                    metrics.state == ServerState::Leader,
                    membership.get_joint_config().len() > 1,
                    moved,
                )
            };
            let waits = if let Some(own) = moved {
                if announced.is_none_or(|at| at.elapsed() >= LEFT_OVER) {
                    self.announce(own, &mut was_refused).await;
                    announced = Some(Instant::now());
                }
                LEFT_OVER
            } else if leads && is_joint {
                let since = *left_over_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= LEFT_OVER
                    && let Ok(_turn) = self.inner.turn.try_lock()
                    && let Err(error) = self.settle().await
                {
                    tracing::warn!(%error, "a change of members can't be finished yet");
                }
                LEFT_OVER
            } else {
                left_over_since = None;
                Duration::MAX
            };
            let changed = tokio::time::timeout(waits, metrics.changed());
            if let Ok(Err(_)) = changed.await {
                return;
            }
        }
    }
}

/// How long ago a member has acknowledged this one, which leads.
fn acked(metrics: &RaftMetrics<Types>, id: u64) -> Option<Duration> {
    let acked = metrics.heartbeat.as_ref()?.get(&id).copied().flatten()?;
    Some(acked.into_inner().elapsed())
}

/// The voter that lags least, of those that have answered lately, if there is another.
fn successor(metrics: &RaftMetrics<Types>, id: u64, lately: Duration) -> Option<u64> {
    let matched = metrics.replication.as_ref()?;
    metrics
        .membership_config
        .voter_ids()
        .filter(|voter| *voter != id)
        .filter(|voter| acked(metrics, *voter).is_some_and(|ago| ago < lately))
        .filter_map(|voter| Some((matched.get(&voter).copied().flatten()?, voter)))
        .max()
        .map(|(_, voter)| voter)
}
