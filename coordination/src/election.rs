//! Who runs, and by which right.
//!
//! Each candidate has an ephemeral sequential node; the lowest wins. Who waits watches its
//! predecessor only, so that one death wakes one standby. The winner takes its epoch by one
//! multi: its own node still stands, the cluster's generation is as read, the epoch node is set.
//! The zxid of that is the epoch: it only rises, whoever wins.
//!
//! Invariants:
//! * [`Standing::Leading`] is said only while the session is connected; at Disconnected it's
//!   [`Standing::Suspended`] at once, and Leading again when the same session is confirmed.
//! * [`Standing::Lost`] is final. Who wants to go on stands again, with a new node.
//! * A member stands once in a session: a later candidacy of it ends the earlier one.
//!
//! A paused process believes itself the leader for as long as it's paused. The token is what
//! stops it at the sink; nothing here can.

use std::pin::pin;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use towpath_protocol::epoch::{Epoch, Generation};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{Cluster, EpochHolder, Instance, InstanceState};
use towpath_protocol::tree::{MemberId, NodePath, Sequenced, TaskName, Versioned, path};
use zookeeper_client::{Client, Error as Refusal, MultiWriteError, MultiWriteResult};

use crate::ephemeral::{Attached, Owned, gone};
use crate::error::CoordinationError;
use crate::session::{Session, SessionState};
use crate::store::encode;

/// How often the epoch is tried when the cluster's record changes at that very moment.
const RACES_MAX: usize = 8;
/// Renewals that wait at once; a leader has no use for more.
const RENEWALS_MAX: usize = 4;

/// The right of one leader. Orders by generation, then epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// Of the cluster when the epoch was taken.
    pub generation: Generation,
    /// zxid at which the leader's node was confirmed.
    pub epoch: Epoch,
}

/// Why a candidacy is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// Its session has ended.
    #[error("the session with the directory ended")]
    SessionEnded,
    /// Somebody removed its node.
    #[error("the candidate's node was removed from the directory")]
    Removed,
    /// The directory refused something.
    #[error("the directory refused: {0}")]
    Refused(String),
}

impl From<CoordinationError> for Loss {
    fn from(error: CoordinationError) -> Self {
        match error {
            CoordinationError::SessionEnded { .. } => Self::SessionEnded,
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Where a candidate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Others are before it.
    Standby,
    /// It leads.
    Leading(Token),
    /// It led, and doesn't hear from the directory: another may lead soon.
    Suspended(Token),
    /// It's over.
    Lost(Loss),
}

/// What is to be won.
#[derive(Clone, Debug)]
pub struct Election {
    candidates: NodePath,
    prefix: NodePath,
    epoch: NodePath,
}

impl Election {
    /// Among the Cores of a task.
    pub fn task(pipeline: &PipelineName, task: &TaskName, core: &MemberId) -> Self {
        Self {
            candidates: path::instances(pipeline, task),
            prefix: path::instance(pipeline, task, core),
            epoch: path::epoch(pipeline, task),
        }
    }

    /// Among the Monitors. The epoch is kept in the candidates' parent.
    pub fn monitors() -> Self {
        Self {
            candidates: path::monitors_election(),
            prefix: path::monitors_candidate(),
            epoch: path::monitors_election(),
        }
    }

    /// Stands as a candidate, in the present session; waits for one first.
    ///
    /// # Errors
    /// [`CoordinationError`].
    pub async fn stand(
        &self,
        session: &Session,
        instance: Instance,
    ) -> Result<Candidate, CoordinationError> {
        let incarnation = session.connected().await?;
        let member = instance.member.clone();
        let owned = Owned::create(session, incarnation, &self.prefix, instance.clone()).await?;
        let (state, states) = watch::channel(instance.state.clone());
        let updates = update(owned.clone(), session.clone(), instance, states);
        let (publish, standing) = watch::channel(Standing::Standby);
        let (renew, renewals) = mpsc::channel(RENEWALS_MAX);
        let campaign = Campaign {
            session: session.clone(),
            election: self.clone(),
            member,
            own: owned.path.clone(),
            incarnation,
            publish,
        };
        Ok(Candidate {
            owned: Some(owned),
            standing,
            renew,
            state,
            tasks: vec![
                Attached(tokio::spawn(campaign.run(renewals))),
                Attached(tokio::spawn(updates)),
            ],
        })
    }
}

type Renewal = oneshot::Sender<Result<Token, CoordinationError>>;

/// A candidate. Dropping it resigns in the background.
#[derive(Debug)]
pub struct Candidate {
    owned: Option<Owned>,
    standing: watch::Receiver<Standing>,
    renew: mpsc::Sender<Renewal>,
    state: watch::Sender<InstanceState>,
    tasks: Vec<Attached>,
}

/// A candidate's right to take further epochs, for whoever works in its name. Ends with the
/// candidate.
#[derive(Clone, Debug)]
pub struct Renewer {
    standing: watch::Receiver<Standing>,
    renew: mpsc::Sender<Renewal>,
}

impl Renewer {
    /// Each change of where the candidate stands. Its sender is gone with the candidate.
    pub fn standings(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// As [`Candidate::renew`].
    ///
    /// # Errors
    /// As there.
    pub async fn renew(&self) -> Result<Token, CoordinationError> {
        let unknown = || CoordinationError::Unknown {
            what: "taking a new epoch".to_owned(),
        };
        if !matches!(*self.standing.borrow(), Standing::Leading(_)) {
            return Err(unknown());
        }
        let (reply, answer) = oneshot::channel();
        self.renew.send(reply).await.map_err(|_| unknown())?;
        answer.await.map_err(|_| unknown())?
    }
}

impl Candidate {
    /// Where it stands now.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Each change of it, at least the last one.
    pub fn standings(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Waits until it leads.
    ///
    /// # Errors
    /// [`Loss`], when it's over.
    pub async fn leading(&self) -> Result<Token, Loss> {
        let mut standings = self.standings();
        let standing = standings
            .wait_for(|standing| matches!(standing, Standing::Leading(_) | Standing::Lost(_)))
            .await
            .map(|standing| standing.clone());
        match standing {
            Ok(Standing::Leading(token)) => Ok(token),
            Ok(Standing::Lost(loss)) => Err(loss),
            _ => Err(Loss::SessionEnded),
        }
    }

    /// Takes a new, higher epoch under the same node: after the connection to the sink was lost.
    ///
    /// # Errors
    /// [`CoordinationError::Unknown`] if it doesn't lead now, or is disconnected meanwhile; the
    /// old token is then to be taken as superseded, and this asked again.
    pub async fn renew(&self) -> Result<Token, CoordinationError> {
        self.renewer().renew().await
    }

    /// The incarnation of the session in which it stands.
    pub fn incarnation(&self) -> u64 {
        self.owned.as_ref().map_or(0, |owned| owned.incarnation)
    }

    /// The right to take further epochs, to be handed on.
    pub fn renewer(&self) -> Renewer {
        Renewer {
            standing: self.standing.clone(),
            renew: self.renew.clone(),
        }
    }

    /// Says in our own node what we are ready for; returns at once. Of several changes in short
    /// order the last one is written.
    pub fn update(&self, state: InstanceState) {
        self.state.send_if_modified(|present| {
            let changed = *present != state;
            *present = state;
            changed
        });
    }

    /// Leaves the election, and waits until the directory has confirmed that. Stop what only the
    /// leader may do first.
    ///
    /// # Errors
    /// [`CoordinationError`]; the node goes with the session then.
    pub async fn resign(mut self) -> Result<(), CoordinationError> {
        self.tasks.clear();
        // Who gives up waiting for this drops the candidate, by which the node is removed yet.
        if let Some(owned) = &self.owned {
            owned.remove().await?;
        }
        self.owned = None;
        Ok(())
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if let Some(owned) = self.owned.take() {
            owned.abandon();
        }
    }
}

/// Writes each new state into our own node, until the session is over.
async fn update(
    owned: Owned,
    session: Session,
    mut instance: Instance,
    mut states: watch::Receiver<InstanceState>,
) {
    while states.changed().await.is_ok() {
        instance.state = states.borrow_and_update().clone();
        let data = match encode(&owned.path, &Versioned::new(instance.clone())) {
            Ok(data) => data,
            Err(error) => {
                tracing::warn!(node = %owned.path, %error, "can't say what we are ready for");
                continue;
            }
        };
        let (path, data) = (owned.path.as_str(), data.as_slice());
        let written = session
            .ask(owned.incarnation, &owned.path, |client| async move {
                client.set_data(path, data, None).await
            })
            .await;
        match written {
            Ok(_) => {}
            // Removed: the campaign finds that out, too.
            Err(CoordinationError::SessionEnded { .. } | CoordinationError::NotFound { .. }) => {
                return;
            }
            Err(error) => {
                tracing::warn!(node = %owned.path, %error, "can't say what we are ready for");
            }
        }
    }
}

struct Campaign {
    session: Session,
    election: Election,
    member: MemberId,
    own: NodePath,
    incarnation: u64,
    publish: watch::Sender<Standing>,
}

impl Campaign {
    async fn run(self, renewals: mpsc::Receiver<Renewal>) {
        let loss = match self.win().await {
            Ok(token) => self.lead(token, renewals).await,
            Err(loss) => loss,
        };
        tracing::info!(node = %self.own, %loss, "candidacy over");
        self.publish.send_replace(Standing::Lost(loss));
    }

    /// Waits for those before us, then takes the epoch.
    async fn win(&self) -> Result<Token, Loss> {
        let (session, incarnation) = (&self.session, self.incarnation);
        loop {
            let names = session
                .children_in(incarnation, &self.election.candidates)
                .await?;
            let line = Sequenced::sorted(names);
            let place = line.iter().position(|node| node.name == self.own.name());
            let Some(place) = place else {
                return Err(Loss::Removed);
            };
            let before = place.checked_sub(1).and_then(|before| line.get(before));
            let Some(before) = before else {
                return self.take_epoch().await;
            };
            let Some(path) = self.election.candidates.listed(&before.name) else {
                return Err(Loss::Removed);
            };
            if before.name.starts_with(self.election.prefix.name()) && self.is_ours(&path).await? {
                // Of an earlier candidacy, whose creation was answered too late for anybody to know
                // of it: nobody else would remove it as long as our session lives.
                tracing::warn!(node = %path, "removing a node of ours that stands before us");
                session.remove_in(incarnation, &path, None).await?;
                continue;
            }
            gone(session, incarnation, &path).await?;
        }
    }

    /// Whether a node belongs to our session.
    async fn is_ours(&self, path: &NodePath) -> Result<bool, CoordinationError> {
        let node = path.as_str();
        self.session
            .ask(self.incarnation, path, |client| async move {
                let stat = client.check_stat(node).await?;
                let owner = stat.map(|stat| stat.ephemeral_owner);
                Ok(owner == Some(client.session_id().0))
            })
            .await
    }

    /// Says where we stand until it's over.
    async fn lead(&self, mut token: Token, mut renewals: mpsc::Receiver<Renewal>) -> Loss {
        let mut statuses = self.session.statuses();
        let mut removed = pin!(gone(&self.session, self.incarnation, &self.own));
        loop {
            let status = *statuses.borrow_and_update();
            let standing = match status.state {
                _ if status.incarnation != self.incarnation => return Loss::SessionEnded,
                SessionState::Expired | SessionState::Closed => return Loss::SessionEnded,
                SessionState::Connected => Standing::Leading(token),
                SessionState::Disconnected => Standing::Suspended(token),
            };
            self.publish.send_if_modified(|present| {
                let changed = *present != standing;
                if changed {
                    tracing::info!(node = %self.own, ?standing, "standing");
                    *present = standing;
                }
                changed
            });
            tokio::select! {
                biased;
                changed = statuses.changed() => if changed.is_err() {
                    return Loss::SessionEnded;
                },
                removed = &mut removed => return match removed {
                    Ok(()) => Loss::Removed,
                    Err(error) => error.into(),
                },
                Some(reply) = renewals.recv() => {
                    let mut seen = self.session.statuses();
                    let disconnected = seen
                        .wait_for(|status| status.state != SessionState::Connected);
                    let answer = tokio::select! {
                        answer = self.take_epoch() => answer,
                        _ = disconnected => Err(Loss::SessionEnded),
                    };
                    if let Ok(renewed) = answer {
                        token = renewed;
                    }
                    let answer = answer.map_err(|loss| CoordinationError::Unknown {
                        what: format!("taking a new epoch ({loss})"),
                    });
                    let _ = reply.send(answer);
                }
            }
        }
    }

    /// Sets the epoch node under the check that our own node stands.
    async fn take_epoch(&self) -> Result<Token, Loss> {
        let (session, incarnation) = (&self.session, self.incarnation);
        let cluster = path::cluster();
        for _ in 0..RACES_MAX {
            let Some(identity) = session.read_in::<Cluster>(incarnation, &cluster).await? else {
                return Err(CoordinationError::NotFound { path: cluster }.into());
            };
            let generation = identity.value.record.generation;
            let holder = EpochHolder {
                generation,
                member: self.member.clone(),
                instance: self.own.name().to_owned(),
                since: Timestamp::now(),
            };
            let epoch = &self.election.epoch;
            let data = encode(epoch, &Versioned::new(holder))?;
            let change = Change {
                own: self.own.as_str(),
                cluster: cluster.as_str(),
                cluster_version: identity.node_version,
                epoch: epoch.as_str(),
                data: &data,
            };
            let answer = session
                .ask(incarnation, epoch, |client| async move {
                    change.commit(&client).await
                })
                .await?;
            match answer {
                Ok(zxid) => {
                    let epoch = u64::try_from(zxid)
                        .map_err(|_| Loss::Refused(format!("zxid {zxid} is no epoch")))?;
                    return Ok(Token {
                        generation,
                        epoch: Epoch(epoch),
                    });
                }
                Err(Unmet::Own) => return Err(Loss::Removed),
                Err(Unmet::Cluster) => {}
                Err(Unmet::Epoch) => session.ensure(incarnation, epoch).await?,
            }
        }
        Err(CoordinationError::Changed { path: cluster }.into())
    }
}

/// The multi by which an epoch is taken.
#[derive(Clone, Copy)]
struct Change<'a> {
    own: &'a str,
    cluster: &'a str,
    cluster_version: i32,
    epoch: &'a str,
    data: &'a [u8],
}

/// Which condition of it didn't hold.
enum Unmet {
    Own,
    Cluster,
    Epoch,
}

impl Change<'_> {
    /// The zxid at which it was done.
    async fn commit(self, client: &Client) -> Result<Result<i64, Unmet>, Refusal> {
        let mut multi = client.new_multi_writer();
        multi.add_check_version(self.own, ANY_VERSION)?;
        multi.add_check_version(self.cluster, self.cluster_version)?;
        multi.add_set_data(self.epoch, self.data, None)?;
        match multi.commit().await {
            Ok(results) => match results.last() {
                Some(MultiWriteResult::SetData { stat }) => Ok(Ok(stat.mzxid)),
                _ => Err(Refusal::MarshallingError),
            },
            Err(MultiWriteError::OperationFailed { index, source }) => match (index, source) {
                (0, Refusal::NoNode) => Ok(Err(Unmet::Own)),
                (1, Refusal::NoNode | Refusal::BadVersion) => Ok(Err(Unmet::Cluster)),
                (2, Refusal::NoNode) => Ok(Err(Unmet::Epoch)),
                (_, refusal) => Err(refusal),
            },
            Err(MultiWriteError::RequestFailed { source }) => Err(source),
        }
    }
}

/// ZooKeeper's "any version" in a check: the node has only to be there.
const ANY_VERSION: i32 = -1;
