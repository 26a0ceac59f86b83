//! Exclusive and shared locks, by ZooKeeper's recipes: first come, first served; who waits
//! watches one node only, so a release wakes one waiter (or one group that shares).
//!
//! A shared request waits for the nearest exclusive one before it, so that readers never starve
//! a writer. A lock is a courtesy between processes that behave: what must never happen twice is
//! fenced at the sink.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;
use towpath_protocol::tree::path::{LOCK_EXCLUSIVE, lock, lock_exclusive, lock_shared};
use towpath_protocol::tree::record::LockHolder;
use towpath_protocol::tree::{LockName, NodePath, Sequenced};
use uuid::Uuid;

use crate::ephemeral::{Owned, gone};
use crate::error::CoordinationError;
use crate::session::{Session, SessionState, ended};

/// With whom a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// With nobody.
    Exclusive,
    /// With others that share it.
    Shared,
}

/// A lock that is held, until it's released or dropped, or its session ends.
#[derive(Debug)]
pub struct Lock {
    session: Session,
    owned: Option<Owned>,
    incarnation: u64,
}

impl Lock {
    /// Takes a lock, waiting for those before us. `owner` and `purpose` are what others are told.
    ///
    /// # Errors
    /// [`CoordinationError::LockBusy`] after `within`, which names who is before us.
    pub async fn acquire(
        session: &Session,
        name: &LockName,
        mode: LockMode,
        owner: &str,
        purpose: &str,
        within: Duration,
    ) -> Result<Self, CoordinationError> {
        let request = LockHolder {
            owner: owner.to_owned(),
            purpose: purpose.to_owned(),
            request: Uuid::new_v4(),
            since: Timestamp::now(),
        };
        let mut before = None;
        let waiting = Self::wait(session, name, mode, request, &mut before);
        if let Ok(answer) = timeout(within, waiting).await {
            return answer;
        }
        let holder = match &before {
            Some(path) if session.status().state == SessionState::Connected => {
                session.read::<LockHolder>(path).await.ok().flatten()
            }
            _ => None,
        };
        let holder = holder.map(|entry| entry.value.record);
        Err(CoordinationError::LockBusy {
            lock: lock(name),
            after: within,
            holder: holder.map_or_else(
                || "nobody known; is the directory there?".to_owned(),
                |holder| {
                    format!(
                        "{} ({}) since {}",
                        holder.owner, holder.purpose, holder.since
                    )
                },
            ),
        })
    }

    async fn wait(
        session: &Session,
        name: &LockName,
        mode: LockMode,
        request: LockHolder,
        before: &mut Option<NodePath>,
    ) -> Result<Self, CoordinationError> {
        let incarnation = session.connected().await?;
        let prefix = match mode {
            LockMode::Exclusive => lock_exclusive(name),
            LockMode::Shared => lock_shared(name),
        };
        let owned = Owned::create(session, incarnation, &prefix, request).await?;
        // From here on, dropping this future removes the node.
        let held = Self {
            session: session.clone(),
            owned: Some(owned.clone()),
            incarnation,
        };
        let parent = lock(name);
        loop {
            let names = session.children_in(incarnation, &parent).await?;
            match ahead(&names, owned.path.name(), mode) {
                Place::Gone => return Err(ended(owned.path.as_str())),
                Place::Held => return Ok(held),
                Place::After(name) => {
                    let Some(path) = parent.listed(&name) else {
                        return Err(ended(owned.path.as_str()));
                    };
                    *before = Some(path.clone());
                    gone(session, incarnation, &path).await?;
                }
            }
        }
    }

    /// Whether it's surely held: its session is connected. (An operator who removes the node by
    /// hand isn't noticed.)
    pub fn is_held(&self) -> bool {
        let status = self.session.status();
        status.incarnation == self.incarnation && status.state == SessionState::Connected
    }

    /// Waits until it isn't surely held any more: Disconnected is enough.
    pub async fn doubtful(&self) {
        let incarnation = self.incarnation;
        let mut statuses = self.session.statuses();
        let _ = statuses
            .wait_for(|status| {
                status.incarnation != incarnation || status.state != SessionState::Connected
            })
            .await;
    }

    /// Gives it back, and waits until the directory has confirmed that.
    ///
    /// # Errors
    /// [`CoordinationError`]; the lock goes with the session then.
    pub async fn release(mut self) -> Result<(), CoordinationError> {
        match self.owned.take() {
            Some(owned) => owned.remove().await,
            None => Ok(()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(owned) = self.owned.take() {
            owned.abandon();
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Our node isn't there any more.
    Gone,
    /// It's ours.
    Held,
    /// We wait for that node.
    After(String),
}

/// Where `own` is in the line.
fn ahead(names: &[String], own: &str, mode: LockMode) -> Place {
    let line = Sequenced::sorted(names);
    let Some(place) = line.iter().position(|node| node.name == own) else {
        return Place::Gone;
    };
    let blocker = line.iter().take(place).rev().find(|node| match mode {
        LockMode::Exclusive => true,
        LockMode::Shared => node.prefix() == LOCK_EXCLUSIVE,
    });
    blocker.map_or(Place::Held, |node| Place::After(node.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line() {
        let names: Vec<String> = [
            "exclusive-0000000004",
            "shared-0000000002",
            "shared-0000000003",
            "shared-0000000005",
            "other",
        ]
        .map(Into::into)
        .into();
        let place = |own: &str, mode| ahead(&names, own, mode);
        let after = |name: &str| Place::After(name.into());
        assert_eq!(place("shared-0000000002", LockMode::Shared), Place::Held);
        assert_eq!(place("shared-0000000003", LockMode::Shared), Place::Held);
        let exclusive = place("exclusive-0000000004", LockMode::Exclusive);
        assert_eq!(exclusive, after("shared-0000000003"));
        let late = place("shared-0000000005", LockMode::Shared);
        assert_eq!(late, after("exclusive-0000000004"));
        assert_eq!(place("shared-0000000009", LockMode::Shared), Place::Gone);
    }
}
