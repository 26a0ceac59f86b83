//! Leases: until when each session is alive without a sign of life. Kept by the leader alone and
//! lost with it; the next one lets every session have what would be left of its timeout, had its last
//! sign of life been the former leader's own, but half of it at least. So a change of leader expires
//! nobody who is back in time, and who died with the leader isn't waited for twice. What has run out
//! is only proposed here: see [`table`](super::table).

use std::collections::HashMap;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
struct Lease {
    timeout: Duration,
    deadline: Instant,
    /// Its end has been proposed: nobody may resume it any more.
    closing: bool,
}

/// The leases of all sessions.
#[derive(Debug, Default)]
pub struct Leases {
    by_session: HashMap<i64, Lease>,
}

impl Leases {
    /// A full lease from `now` on, for a session that opens or resumes.
    pub fn grant(&mut self, session: i64, timeout_ms: i32, now: Instant) {
        let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or_default());
        self.by_session.insert(
            session,
            Lease {
                timeout,
                deadline: now + timeout,
                closing: false,
            },
        );
    }

    /// The lease of a session that another leader had, of which nothing was heard for `silence`: no
    /// client gave a sign of life since. Clients must notice that, and find this member; they have
    /// half of the timeout for it.
    pub fn inherit(&mut self, session: i64, timeout_ms: i32, now: Instant, silence: Duration) {
        self.grant(session, timeout_ms, now);
        if let Some(lease) = self.by_session.get_mut(&session) {
            lease.deadline = now + lease.timeout - silence.min(lease.timeout / 2);
        }
    }

    /// A sign of life; false if the session has none to give any more.
    pub fn touch(&mut self, session: i64, now: Instant) -> bool {
        match self.by_session.get_mut(&session) {
            Some(lease) if !lease.closing => {
                lease.deadline = now + lease.timeout;
                true
            }
            _ => false,
        }
    }

    /// Whether the session's end has been proposed.
    pub fn is_closing(&self, session: i64) -> bool {
        self.by_session
            .get(&session)
            .is_some_and(|lease| lease.closing)
    }

    /// The sessions whose lease has run out, each once: they are closing from here on.
    pub fn expire(&mut self, now: Instant) -> Vec<i64> {
        let mut expired = Vec::new();
        for (session, lease) in &mut self.by_session {
            if !lease.closing && lease.deadline <= now {
                lease.closing = true;
                expired.push(*session);
            }
        }
        expired.sort_unstable();
        expired
    }

    /// Moves all deadlines: the leader itself stood still for so long.
    pub fn extend(&mut self, by: Duration) {
        for lease in self.by_session.values_mut() {
            lease.deadline += by;
        }
    }

    /// The session's end has been proposed by its client.
    pub fn close(&mut self, session: i64) {
        if let Some(lease) = self.by_session.get_mut(&session) {
            lease.closing = true;
        }
    }

    /// The session has ended.
    pub fn remove(&mut self, session: i64) {
        self.by_session.remove(&session);
    }

    /// Forgets all: somebody else leads now.
    pub fn clear(&mut self) {
        self.by_session.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expires_once_and_never_comes_back() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut leases = Leases::default();
        leases.grant(1, 1000, start);
        leases.grant(2, 1000, start);
        assert!(leases.touch(2, after(500)));
        assert_eq!(leases.expire(after(999)), Vec::<i64>::new());
        assert_eq!(leases.expire(after(1000)), [1]);
        assert_eq!(leases.expire(after(1001)), Vec::<i64>::new());
        assert!(leases.is_closing(1) && !leases.touch(1, after(1002)));
        assert!(leases.touch(2, after(1499)));
        assert_eq!(leases.expire(after(1600)), Vec::<i64>::new());
        leases.grant(1, 1000, after(2000));
        assert!(!leases.is_closing(1));
    }

    #[test]
    fn the_time_without_a_leader_counts_up_to_half_of_the_timeout() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        for (silence_ms, left_ms) in [(0, 1000), (100, 900), (500, 500), (90_000, 500)] {
            let mut leases = Leases::default();
            leases.inherit(1, 1000, start, Duration::from_millis(silence_ms));
            assert_eq!(leases.expire(after(left_ms - 1)), Vec::<i64>::new());
            // Who is back has all of it again.
            assert!(leases.touch(1, after(left_ms - 1)));
            assert_eq!(leases.expire(after(left_ms + 998)), Vec::<i64>::new());
            assert_eq!(leases.expire(after(left_ms + 999)), [1]);
        }
    }
}
