//! When clients may be served: while this member leads, has applied all that was committed before,
//! and holds its lease.
//!
//! The lease runs from the moment at which the leader sent what a quorum has acknowledged: for the
//! longest election timeout from then on, none of those who acknowledged it votes for another. That
//! holds if they are restarted meanwhile, too: a member that has followed another one waits as long
//! before it takes part again. A tenth of it is left out, so that clocks may run at rates that differ
//! by as much. A member that is the only voter needs no lease.
//!
//! A leader that hands over tells the others to vote at once, whatever they acknowledged. So nobody
//! is served from before that until it leads anew, in a later term.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{Instant as _, Raft, ServerState};

use super::heard::Heard;
use super::machine::Machine;
use super::types::{LeaderId, Types};
use crate::front::Front;

/// Opens and closes the front.
pub(super) struct Gate {
    id: u64,
    raft: Raft<Types, Machine>,
    front: Arc<Front>,
    heard: Heard,
    lease: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// As which leader this member serves.
    serves: Option<LeaderId>,
    /// As which leader it won't serve again.
    handed_over: Option<LeaderId>,
    /// Others may come to vote at any moment, though there may be none yet.
    grows: bool,
}

impl Gate {
    /// With the longest election timeout.
    pub(super) fn new(
        id: u64,
        raft: Raft<Types, Machine>,
        front: Arc<Front>,
        heard: Heard,
        election_max: Duration,
    ) -> Self {
        Self {
            id,
            raft,
            front,
            heard,
            lease: election_max * 9 / 10,
            state: Mutex::default(),
        }
    }

    /// Opens or closes as things are now; when to look again, whatever happens.
    fn look(&self) -> Option<Instant> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (leader, acked, is_alone) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let own = LeaderId {
                term: metrics.current_term,
                node_id: self.id,
            };
            // The first entry of its own term comes after all that was committed before.
            let leads = metrics.running_state.is_ok()
                && metrics.state == ServerState::Leader
                && metrics
                    .last_applied
                    .is_some_and(|applied| applied.leader_id == own);
            // Rather too early than too late.
            let now = Instant::now();
            let acked = metrics
                .last_quorum_acked
                .and_then(|at| now.checked_sub(at.into_inner().elapsed()));
            let is_alone = metrics.membership_config.voter_ids().eq([self.id]);
            (leads.then_some(own), acked, is_alone)
        };
        let leader = leader.filter(|leader| state.handed_over != Some(*leader));
        let sole_until = match is_alone && !state.grows {
            true => None,
            false => Some(acked.map_or_else(Instant::now, |acked| acked + self.lease)),
        };
        let holds = sole_until.is_none_or(|until| Instant::now() < until);
        match leader {
            Some(leader) if holds => {
                let silence = match state.serves {
                    Some(_) => Duration::ZERO,
                    None => self.heard.silence(),
                };
                // Between two terms somebody else may have led.
                if state.serves.is_some_and(|served| served != leader) {
                    self.front.stop_serving();
                }
                state.serves = Some(leader);
                self.front.begin_serving(sole_until, silence);
                sole_until
            }
            _ => {
                if state.serves.take().is_some() {
                    tracing::warn!(
                        "this member doesn't lead, or can't tell; clients are sent away"
                    );
                    self.front.stop_serving();
                    self.heard.note();
                }
                None
            }
        }
    }

    /// Nobody is served from here on, until this member leads anew.
    pub(super) fn hand_over(&self) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.handed_over = Some(LeaderId {
                term: self.raft.metrics().borrow_watched().current_term,
                node_id: self.id,
            });
        }
        self.look();
    }

    /// Others are about to be given a vote, or that is over: until then the lease counts even if
    /// there is no other voter yet.
    pub(super) fn grows(&self, grows: bool) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .grows = grows;
        self.look();
    }

    /// Keeps looking, until Raft ends.
    pub(super) async fn run(&self) {
        let mut metrics = self.raft.metrics();
        loop {
            let changed = match self.look() {
                None => metrics.changed().await,
                Some(until) => {
                    tokio::select! {
                        changed = metrics.changed() => changed,
                        () = tokio::time::sleep_until(until.into()) => Ok(()),
                    }
                }
            };
            if changed.is_err() {
                break;
            }
        }
        self.front.stop_serving();
    }
}
