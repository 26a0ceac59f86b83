//! The way to other members: gRPC over TLS in which both sides show a certificate.
//!
//! * A member is called under the name that its certificate has to bear, and takes calls only from
//!   whom the caller's certificate names, and only those that are meant for it.
//! * Whatever comes in is bounded before it's read, and checked before it's believed.
//! * Nothing here decides: it carries what Raft says to Raft.
//!
//! [`message`] is pure; [`link`] is the bytes between two members; [`client`] calls, [`server`] is
//! called; [`receive`] takes snapshots in.

mod message;
mod wire;
pub(crate) mod link;
mod client;
mod server;
mod receive;

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub(super) use client::Network;
pub(super) use server::{Peers, serve};

use crate::config;
use crate::tls::{self, TlsError};
use link::Cable;

/// The peer port, before anybody is answered.
pub(super) struct Incoming {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    cable: Cable,
}

/// Why the peer port can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The address can't be listened on.
    #[error("can't listen for members on {address}; is another process there?")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// Peers would not be known from strangers.
    #[error(
        "members on {0} would speak without TLS, where anybody can listen, and vote; give certificates for peers, or say that it shall be insecure"
    )]
    Insecure(String),
    /// Others can't reach the address.
    #[error(
        "{0:?} is no address at which others reach this member; say which one to advertise, as host:port"
    )]
    Address(String),
    /// The certificates can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Incoming {
    /// Listens; and how to dial others in the same way.
    pub(super) async fn bind(
        peers: &config::Peers,
    ) -> Result<(Self, SocketAddr, Option<TlsConnector>), PeerError> {
        let listening = |source| PeerError::Listen {
            address: peers.listen,
            source,
        };
        let tls = peers.tls.as_ref().map(tls::peers).transpose()?;
        if tls.is_none() && !peers.insecure && !peers.listen.ip().is_loopback() {
            return Err(PeerError::Insecure(peers.listen.to_string()));
        }
        if tls.is_none() && peers.insecure {
            tracing::warn!(listen = %peers.listen, "members speak without TLS: whoever reaches the peer port can read and change everything");
        }
        let listener = TcpListener::bind(peers.listen).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let (acceptor, connector) = tls.unzip();
        let incoming = Self {
            listener,
            tls: acceptor,
            cable: peers.cable.clone(),
        };
        Ok((incoming, address, connector))
    }
}
