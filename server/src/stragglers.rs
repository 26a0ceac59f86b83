//! Which members of the directory don't keep up with the one that leads.
//!
//! A pure function of what the leader sees at each look, and of the time. What it says changes
//! seldom: a member that is told stays told until it has kept up for a while, and how far it was
//! behind is said as of the moment at which that was noticed. Learners aren't told: whoever adds
//! one is told by that.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_directory::{MemberStatus, Members, Role};
use towpath_protocol::tree::record::{DirectoryMembers, MemberBehind};

/// A member that has acknowledged nothing for so long is silent: it's asked several times a second.
const SILENT: Duration = Duration::from_secs(3);
/// One that lacks something, and hasn't taken in anything for so long, doesn't keep up: its disk
/// hangs, or it can't.
const RESTS: Duration = Duration::from_secs(5);
/// Nor does one that lacks so many entries; what is on its way to one that keeps up is a few.
const LAG_ENTRIES_MANY: u64 = 1_000;
/// It has caught up when it lacks fewer: what the others commit meanwhile, as for a new member.
const LAG_ENTRIES_FEW: u64 = 100;
/// It keeps up when it has for so long.
const WELL: Duration = Duration::from_secs(2);

/// What the leader remembers between its looks; begins anew with each leader.
#[derive(Debug, Default)]
pub(crate) struct Stragglers(BTreeMap<u64, Track>);

impl Stragglers {
    /// One more look, at a time since any beginning. None if the member whose look it is doesn't
    /// lead: then it knows nothing of the others, and what was known is forgotten.
    pub(crate) fn look(&mut self, members: &Members, now: Duration) -> Option<DirectoryMembers> {
        if members.leader != Some(members.seen_by) {
            self.0.clear();
            return None;
        }
        let mut former = std::mem::take(&mut self.0);
        let mut seen = DirectoryMembers::default();
        let votes = |status: &&MemberStatus| status.role != Role::Learner;
        for status in members.members.iter().filter(votes) {
            seen.voters += 1;
            if status.id == members.seen_by {
                continue;
            }
            let mut track = former.remove(&status.id).unwrap_or(Track {
                begun: now,
                matched_index: None,
                moved: now,
                well_since: None,
                told: None,
            });
            track.look(status, now);
            seen.behind.extend(track.told.clone());
            self.0.insert(status.id, track);
        }
        Some(seen)
    }
}

/// A member, as it was so far.
#[derive(Debug)]
struct Track {
    /// Since when it's looked at: it may not have been asked before.
    begun: Duration,
    /// The last entry that it's known to have …
    matched_index: Option<u64>,
    /// … and when that last changed, or was all that there was.
    moved: Duration,
    well_since: Option<Duration>,
    told: Option<MemberBehind>,
}

impl Track {
    fn look(&mut self, status: &MemberStatus, now: Duration) {
        if status.matched_index != self.matched_index || status.lag_entries == Some(0) {
            self.matched_index = status.matched_index;
            self.moved = now;
        }
        let unasked = now.saturating_sub(self.begun);
        let silent = status.acked_ms.map_or(unasked, Duration::from_millis) >= SILENT;
        let rests = now.saturating_sub(self.moved) >= RESTS;
        let lag_entries = status.lag_entries.unwrap_or_default();
        let is_bad = silent || rests || lag_entries >= LAG_ENTRIES_MANY;
        // Until it's known how far it is, nothing is known to be well.
        let is_well = !is_bad && status.lag_entries.is_some_and(|lag| lag < LAG_ENTRIES_FEW);
        if !is_well {
            self.well_since = None;
        }
        match &self.told {
            Some(_) if is_well => {
                let since = *self.well_since.get_or_insert(now);
                if now.saturating_sub(since) >= WELL {
                    self.told = None;
                }
            }
            // A silent one that speaks again may be far behind, and the other way round.
            Some(told) if told.silent == silent && told.client == status.member.client => {}
            None if !is_bad => {}
            _ => {
                self.told = Some(MemberBehind {
                    member: status.id,
                    client: status.member.client.clone(),
                    lag_entries: status.lag_entries,
                    silent,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_directory::Member;

    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Member 1 leads, and sees the others: how long ago each has acknowledged, what it has, and how
    /// much it lacks.
    fn seen(others: &[(Option<u64>, Option<u64>, Option<u64>)]) -> Members {
        let status = |id: u64, role, (acked_ms, matched_index, lag_entries)| MemberStatus {
            id,
            member: Member {
                peer: format!("10.0.0.{id}:2182"),
                client: format!("10.0.0.{id}:2181"),
            },
            role,
            matched_index,
            lag_entries,
            acked_ms,
        };
        let own = status(1, Role::Leader, (None, Some(5000), Some(0)));
        let others = (2..).zip(others);
        let others = others.map(|(id, one)| status(id, Role::Follower, *one));
        Members {
            seen_by: 1,
            leader: Some(1),
            term: 3,
            last_index: 5000,
            changing: false,
            quorum_acked_ms: Some(20),
            members: [own].into_iter().chain(others).collect(),
        }
    }

    const WELL_ONE: (Option<u64>, Option<u64>, Option<u64>) = (Some(50), Some(5000), Some(0));

    /// Looks every second for so long; what's said at last, of member 3 alone.
    fn pass(
        stragglers: &mut Stragglers,
        now: &mut f64,
        seconds: u32,
        third: (Option<u64>, Option<u64>, Option<u64>),
    ) -> Option<MemberBehind> {
        let mut told = None;
        for _ in 0..seconds {
            *now += 1.0;
            let said = stragglers.look(&seen(&[WELL_ONE, third]), at(*now));
            let said = said.expect("it leads");
            assert_eq!(said.voters, 3);
            assert!(said.behind.iter().all(|one| one.member == 3), "{said:?}");
            told = said.behind.first().cloned();
        }
        told
    }

    #[test]
    fn one_that_is_silent_is_told_until_it_has_caught_up_for_a_while() {
        let (mut stragglers, mut now) = (Stragglers::default(), 0.0);
        assert_eq!(pass(&mut stragglers, &mut now, 60, WELL_ONE), None);
        let short = (Some(2900), Some(5000), Some(0));
        assert_eq!(pass(&mut stragglers, &mut now, 1, short), None);
        let silent = (Some(3000), Some(4990), Some(10));
        let first = pass(&mut stragglers, &mut now, 1, silent).expect("told at once");
        assert!(first.silent && first.client == "10.0.0.3:2181");
        let later = (Some(60_000), Some(4990), Some(4000));
        let told = pass(&mut stragglers, &mut now, 60, later);
        assert_eq!(told, Some(first), "it's not written again and again");
        // It's back, and far behind.
        let back = (Some(10), Some(4990), Some(4010));
        let told = pass(&mut stragglers, &mut now, 1, back).expect("still told");
        assert_eq!((told.silent, told.lag_entries), (false, Some(4010)));
        let between = (Some(10), Some(8000), Some(500));
        assert_eq!(pass(&mut stragglers, &mut now, 1, between), Some(told));
        let near = (Some(10), Some(9000), Some(99));
        assert!(pass(&mut stragglers, &mut now, 2, near).is_some());
        assert!(pass(&mut stragglers, &mut now, 1, between).is_some());
        assert!(pass(&mut stragglers, &mut now, 2, near).is_some(), "anew");
        assert_eq!(pass(&mut stragglers, &mut now, 1, near), None);
    }

    #[test]
    fn one_that_answers_and_is_far_behind_is_told() {
        let (mut stragglers, mut now) = (Stragglers::default(), 0.0);
        let some = (Some(10), Some(4001), Some(999));
        assert_eq!(pass(&mut stragglers, &mut now, 1, some), None);
        let many = (Some(10), Some(4010), Some(1000));
        let told = pass(&mut stragglers, &mut now, 1, many).expect("told");
        assert_eq!((told.silent, told.lag_entries), (false, Some(1000)));
    }

    #[test]
    fn one_that_answers_and_takes_nothing_in_is_told() {
        let (mut stragglers, mut now) = (Stragglers::default(), 0.0);
        // All that there is, for however long.
        assert_eq!(pass(&mut stragglers, &mut now, 60, WELL_ONE), None);
        let rests = (Some(10), Some(5000), Some(1));
        assert_eq!(pass(&mut stragglers, &mut now, 4, rests), None);
        assert!(pass(&mut stragglers, &mut now, 1, rests).is_some());
        // Of a busy directory, one always lacks what is on its way.
        let (mut stragglers, mut now) = (Stragglers::default(), 0.0);
        for entry in 0..60 {
            let busy = (Some(10), Some(5000 + entry), Some(3));
            assert_eq!(pass(&mut stragglers, &mut now, 1, busy), None);
        }
    }

    #[test]
    fn a_new_leader_lets_the_others_answer_first() {
        let (mut stragglers, mut now) = (Stragglers::default(), 0.0);
        let unknown = (None, None, None);
        assert_eq!(pass(&mut stragglers, &mut now, 3, unknown), None);
        let told = pass(&mut stragglers, &mut now, 1, unknown).expect("told");
        assert_eq!((told.silent, told.lag_entries), (true, None));
        // It answers, and takes nothing in: how far it is remains unknown.
        let answers = (Some(10), None, None);
        let told = pass(&mut stragglers, &mut now, 60, answers).expect("told");
        assert!(!told.silent);
    }

    #[test]
    fn only_who_leads_says_and_learners_are_nobody_s_loss() {
        let (mut stragglers, mut now) = (Stragglers::default(), 0.0);
        let silent = (Some(9000), Some(1), Some(4999));
        assert!(pass(&mut stragglers, &mut now, 1, silent).is_some());
        let mut follows = seen(&[WELL_ONE, silent]);
        follows.leader = Some(2);
        assert_eq!(stragglers.look(&follows, at(now)), None);
        follows.leader = None;
        assert_eq!(stragglers.look(&follows, at(now)), None);
        let mut learns = seen(&[WELL_ONE, silent]);
        learns.members.last_mut().expect("three").role = Role::Learner;
        let said = stragglers.look(&learns, at(now)).expect("it leads");
        assert_eq!((said.voters, said.behind), (2, vec![]));
        // One that was removed is forgotten.
        assert!(pass(&mut stragglers, &mut now, 1, silent).is_some());
        let said = stragglers.look(&seen(&[WELL_ONE]), at(now));
        assert_eq!(said.expect("it leads").behind, vec![]);
        assert_eq!(stragglers.0.len(), 1);
    }
}
