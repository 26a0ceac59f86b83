//! Connections that come to a member which doesn't lead: their bytes are passed on to the one that
//! does, as they are, so that TLS is between client and leader.
//!
//! A member passes connections to whom it has seen elected. That one was elected before it was seen,
//! so it passes none on to a member elected earlier, and none goes round in a circle.
//!
//! What the leader sees of such a client is the address of the member between; limits per address
//! are kept where a client comes in, and the leader exempts members from them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::words;
use crate::front::Front;

/// Longest wait for a connection to the leader.
const CONNECT: Duration = Duration::from_secs(1);

/// Who leads, as far as a member knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Leader {
    /// Nobody it knows of.
    #[default]
    Nobody,
    /// Nobody will before others add this member: it belongs to no directory.
    Never,
    /// This member.
    Here,
    /// Another one, with its address for clients.
    There(String),
}

/// The other members of the directory.
#[derive(Clone, Debug)]
pub struct Others {
    /// Who leads.
    pub leader: watch::Receiver<Leader>,
    /// Where members were seen.
    pub seen: Seen,
}

/// Where members were seen that have proven who they are, by their number.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<HashMap<u64, IpAddr>>>);

impl Seen {
    /// Member `id` is there.
    pub(crate) fn note(&self, id: u64, address: SocketAddr) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(id, address.ip().to_canonical());
    }

    /// Whether a member was seen there.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = address.to_canonical();
        seen.values().any(|known| *known == address)
    }
}

impl Others {
    /// Whether another member leads.
    pub(crate) fn follows(&self) -> bool {
        matches!(&*self.leader.borrow(), Leader::There(_))
    }

    /// Passes a connection on until it ends, or another member leads. Gives it back if it's to be
    /// served here: this member leads, or it's a question about this member.
    pub(super) async fn pass_on(
        &self,
        mut client: TcpStream,
        front: &Front,
        speaks_tls: bool,
        patience: Duration,
    ) -> io::Result<Option<TcpStream>> {
        let mut leader = self.leader.clone();
        let mut serving = front.serving();
        let found = async {
            loop {
                serving.mark_unchanged();
                if front.is_serving() {
                    return Ok(None);
                }
                let (address, is_outside) = match &*leader.borrow_and_update() {
                    Leader::There(address) => (Some(address.clone()), false),
                    Leader::Nobody | Leader::Here => (None, false),
                    Leader::Never => (None, true),
                };
                if !speaks_tls && asks_word(&client).await? {
                    return Ok(None);
                }
                // Whoever names all Servers to be finds another one sooner.
                if is_outside {
                    return Err(io::Error::other("this member waits to be added"));
                }
                if let Some(address) = address {
                    match tokio::time::timeout(CONNECT, TcpStream::connect(&address)).await {
                        // It would be passed on again, and again.
                        Ok(Ok(server)) if server.peer_addr()? == client.local_addr()? => {
                            tracing::warn!(
                                leader = address,
                                "the leader's address for clients leads to this member; what does it advertise?"
                            );
                            return Err(io::Error::other("the leader's address is this member's"));
                        }
                        Ok(Ok(server)) => return Ok(Some((server, address))),
                        Ok(Err(error)) => {
                            tracing::debug!(leader = address, %error, "the leader can't be reached");
                        }
                        Err(_) => {
                            tracing::debug!(
                                leader = address,
                                "the leader can't be reached in time"
                            );
                        }
                    }
                }
                tokio::select! {
                    changed = leader.changed() => changed.map_err(io::Error::other)?,
                    changed = serving.changed() => changed.map_err(io::Error::other)?,
                }
            }
        };
        let found = tokio::time::timeout(patience, found).await;
        let Some((mut server, address)) = found
            .unwrap_or_else(|_| Err(io::Error::other("no member leads that can be reached")))?
        else {
            return Ok(Some(client));
        };
        server.set_nodelay(true)?;
        let leads = |leader: &Leader| *leader == Leader::There(address.clone());
        tokio::select! {
            copied = tokio::io::copy_bidirectional(&mut client, &mut server) => copied.map(drop)?,
            // A former leader that stands still would hold its clients for as long.
            _ = leader.wait_for(|leader| !leads(leader)) => {}
        }
        Ok(None)
    }
}

/// Whether a client has asked with a four-letter word, which is about the member that it asks.
async fn asks_word(client: &TcpStream) -> io::Result<bool> {
    let mut word = [0; 4];
    // What comes in pieces is passed on: the leader answers it, for itself.
    let len = client.peek(&mut word).await?;
    Ok(len == word.len() && words::is_word(word))
}
