//! A Server in the directory: its session, its own node there, and when it leads. The one that leads
//! says there too which members of the directory don't keep up, whenever that changes.
//!
//! The session goes through the Server's own port like everybody else's, which passes it on to the
//! member that leads. So a Server that follows is there as long as both do their work.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use towpath_coordination::{ConnectOptions, CoordinationError, Expect, Registration, Session};
use towpath_protocol::tree::MemberId;
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{Cluster, DirectoryMembers, Load, Member};
use uuid::Uuid;

use crate::commands::Hosted;
use crate::lead::{Lead, LeadTimings};
use crate::stragglers::Stragglers;

/// Between two writes of this Server's own node.
const REGISTRATION_PACE: Duration = Duration::from_millis(500);
/// Between two looks at the other members, and so between two writes of how they do.
const LOOK: Duration = Duration::from_secs(1);
/// One of several Servers tries for so long before it says that it waits.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);
/// Pause before it tries again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long a Server that stops waits for a directory that doesn't answer.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// What a Server needs to be there, in a directory that it reaches through its own port.
pub(crate) struct Arrival {
    pub(crate) connect: ConnectOptions,
    pub(crate) id: MemberId,
    pub(crate) client: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) plans: bool,
    /// Whether its member leads.
    pub(crate) serving: watch::Receiver<bool>,
    pub(crate) hosted: Hosted,
    /// Is there if the directory was restored, and hasn't been served since.
    pub(crate) restored: PathBuf,
}

/// A Server that is there.
pub(crate) struct Present {
    pub(crate) session: Session,
    registration: Registration<Member>,
    member: Member,
}

impl Arrival {
    /// Connects, gives the directory its identity if it's new, and registers.
    pub(crate) async fn arrive(&self, within: Duration) -> Result<Present, CoordinationError> {
        let mut connect = self.connect.clone();
        connect.connect_timeout = within;
        let session = Session::connect(connect).await?;
        if self.restored.exists() {
            self.found_anew(&session).await?;
        }
        let cluster = session.found_cluster().await?;
        tracing::info!(cluster = %cluster.id, generation = cluster.generation.0, server = %self.id, "serving");
        let member = Member {
            host: self.hosted.host.clone(),
            pid: std::process::id(),
            address: self.client.clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            labels: self.labels.clone(),
            started: Timestamp::now(),
            load: Load::default(),
            client: Some(self.client.clone()),
            raft_role: Some(raft_role(*self.serving.borrow()).to_owned()),
            directory: None,
        };
        let node = path::member(MemberKind::Server, &self.id);
        let registration = Registration::new(&session, node, member.clone(), REGISTRATION_PACE)?;
        registration.present().await?;
        Ok(Present {
            session,
            registration,
            member,
        })
    }

    /// Gives a directory that was restored an identity of its own: the one of which the backup was
    /// made may be at work, and epochs of two directories can't be compared.
    async fn found_anew(&self, session: &Session) -> Result<(), CoordinationError> {
        let node = path::cluster();
        if let Some(entry) = session.read::<Cluster>(&node).await? {
            let mut cluster = entry.value.record;
            let former = std::mem::replace(&mut cluster.id, Uuid::new_v4());
            cluster.created = Timestamp::now();
            let id = cluster.id;
            session
                .write(&node, cluster, Expect::Version(entry.node_version))
                .await?;
            tracing::warn!(%former, cluster = %id, "restored from a backup: this is another directory now; towpath adopt gives it each sink of the former one");
        }
        if let Err(error) = std::fs::remove_file(&self.restored) {
            tracing::warn!(file = %self.restored.display(), %error, "remove this file, or the directory is another one again after the next start");
        }
        Ok(())
    }

    /// As [`arrive`](Self::arrive), however long no majority of the members runs.
    async fn arrive_patiently(&self) -> Present {
        let mut waits = false;
        loop {
            match self.arrive(ATTEMPT_MAX).await {
                Ok(present) => return present,
                Err(CoordinationError::Unreachable { .. }) if waits => {}
                Err(CoordinationError::Unreachable { .. }) => {
                    tracing::info!("waiting for a member that leads and is reached from here");
                    waits = true;
                }
                Err(error) => {
                    tracing::warn!(%error, "this Server can't use its own directory; trying again");
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Is there until it's to stop; leads whenever its member of the directory does.
    pub(crate) async fn keep(
        mut self,
        first: Option<Present>,
        found: watch::Sender<Option<Session>>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut present = match first {
            Some(present) => present,
            None => tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                present = self.arrive_patiently() => present,
            },
        };
        found.send_replace(Some(present.session.clone()));
        // One that doesn't plan never has its turn.
        let (_never, not_mine) = watch::channel(false);
        let turn = match self.plans {
            true => self.serving.clone(),
            false => not_mine,
        };
        let members = self.hosted.cluster.views();
        let lead = Lead::start(
            present.session.clone(),
            self.id.clone(),
            turn,
            LeadTimings::default(),
            Some(self.hosted),
        );
        let mut stragglers = Stragglers::default();
        let begun = Instant::now();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let serving = *self.serving.borrow_and_update();
            let directory = match serving {
                true => members().and_then(|seen| stragglers.look(&seen, begun.elapsed())),
                false => None,
            };
            if directory.is_none() {
                stragglers = Stragglers::default();
            }
            present.tell(serving, directory);
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => break,
                changed = self.serving.changed() => if changed.is_err() {
                    break;
                },
                _ = looks.tick(), if serving => {}
            }
        }
        lead.stop().await;
        if tokio::time::timeout(LEAVE_MAX, present.leave())
            .await
            .is_err()
        {
            tracing::warn!("no member leads now; this Server's node goes when its session expires");
        }
    }
}

impl Present {
    /// Tells whether its member of the directory leads, and how the others do then. Nothing is
    /// written as long as that is what was told.
    fn tell(&mut self, serving: bool, directory: Option<DirectoryMembers>) {
        tell_log(self.member.directory.as_ref(), directory.as_ref());
        self.member.raft_role = Some(raft_role(serving).to_owned());
        self.member.directory = directory;
        if let Err(error) = self.registration.update(self.member.clone()) {
            tracing::warn!(%error, "this Server's node doesn't tell who leads");
        }
    }

    async fn leave(self) {
        if let Err(error) = self.registration.withdraw().await {
            tracing::warn!(%error, "this Server's node stays until its session expires");
        }
        self.session.close().await;
    }
}

/// What changed of those that don't keep up, as long as this Server leads.
fn tell_log(before: Option<&DirectoryMembers>, now: Option<&DirectoryMembers>) {
    let Some(now) = now else { return };
    let before = before.map_or(&[][..], |before| &before.behind);
    for one in now.behind.iter().filter(|one| !before.contains(one)) {
        tracing::warn!(
            member = one.member, client = %one.client, silent = one.silent,
            lag_entries = one.lag_entries, "member of the directory doesn't keep up"
        );
    }
    let is_told = |member: u64| now.behind.iter().any(|one| one.member == member);
    for one in before.iter().filter(|one| !is_told(one.member)) {
        tracing::info!(
            member = one.member,
            "member of the directory keeps up again, or is gone"
        );
    }
}

fn raft_role(serving: bool) -> &'static str {
    match serving {
        true => "leader",
        false => "follower",
    }
}
