//! Calls to other members. One long-lived connection per peer carries what must be quick, a second
//! one snapshots, so that these hold nothing up; both are made when they're needed, again and again.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use tokio::io::AsyncReadExt as _;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::codegen::Service;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use super::link::{Cable, Dial, HANDSHAKE, Link};
use super::message::{Appended, Installed, Message, Part, Taken};
use super::wire::{
    APPEND, ASK, CHUNK_BYTES, DIRECTORY, FROM, MESSAGE_BYTES_MAX, PRE_VOTE, SNAPSHOT, TO, TRANSFER,
    VOTE, Wire,
};
use crate::raft::identity::Belongs;
use crate::raft::machine::SnapshotFile;
use crate::raft::member::Member;
use crate::raft::members::{Answer, Question};
use crate::raft::types::{Types, Vote};
use crate::wire::splice::Seen;

/// After so long without a sign of life a connection is given up, and made anew: what a machine that
/// has lost its power, or a firewall, leaves behind.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_millis(1500);
/// A peer that has answered no append for so long, though it's alive, is asked anew: its disk may be
/// that slow, but no longer.
const APPEND_STALLED: Duration = Duration::from_secs(10);
/// A snapshot of which nothing has gone out for so long has got stuck.
const SNAPSHOT_STALLED: Duration = Duration::from_secs(10);
/// Longest time for a peer to read a snapshot that it has received.
const SNAPSHOT_INSTALLED: Duration = Duration::from_secs(300);

/// The way to all other members.
#[derive(Clone)]
pub(in crate::raft) struct Network {
    shared: Arc<Shared>,
}

struct Shared {
    id: u64,
    tls: Option<TlsConnector>,
    cable: Cable,
    seen: Seen,
    belongs: Belongs,
    /// Where members are, as the newest membership says.
    addresses: Mutex<HashMap<u64, String>>,
    /// By member and use; the address with which each was made.
    channels: Mutex<HashMap<(u64, Use), (String, Channel)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Use {
    /// What Raft says.
    Quick,
    /// Snapshots.
    Bulk,
    /// Questions, to addresses too that aren't a member's yet.
    Ask,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network")
            .field("id", &self.shared.id)
            .finish_non_exhaustive()
    }
}

/// Makes connections for a channel.
struct Connector(Dial);

impl Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = io::Result<TokioIo<Link>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dial = self.0.clone();
        Box::pin(async move { dial.connect().await.map(TokioIo::new) })
    }
}

impl Network {
    /// For member `id`.
    pub(in crate::raft) fn new(
        id: u64,
        tls: Option<TlsConnector>,
        cable: Cable,
        seen: Seen,
        belongs: Belongs,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                id,
                tls,
                cable,
                seen,
                belongs,
                addresses: Mutex::default(),
                channels: Mutex::default(),
            }),
        }
    }

    /// Asks a member for something that isn't Raft's.
    pub(in crate::raft) async fn ask(
        &self,
        target: u64,
        member: &Member,
        question: Question,
        within: Duration,
    ) -> Result<Answer, Status> {
        let peer = Peer {
            network: self.clone(),
            target,
            address: Some(member.peer.clone()),
            usage: Use::Ask,
        };
        tokio::time::timeout(within, peer.call(ASK, question))
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("it didn't answer in time")))
    }

    /// Notes where a member is: Raft goes on with the network that it has when a member moves.
    pub(in crate::raft) fn learn(&self, target: u64, member: &Member) {
        let addresses = self.shared.addresses.lock();
        let mut addresses = addresses.unwrap_or_else(PoisonError::into_inner);
        if addresses.get(&target) != Some(&member.peer) {
            addresses.insert(target, member.peer.clone());
        }
    }

    fn address(&self, target: u64) -> String {
        let addresses = self.shared.addresses.lock();
        let addresses = addresses.unwrap_or_else(PoisonError::into_inner);
        addresses.get(&target).cloned().unwrap_or_default()
    }

    fn channel(&self, target: u64, address: &str, usage: Use) -> Result<Channel, Unserved> {
        let shared = &self.shared;
        let mut channels = shared
            .channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((known, channel)) = channels.get(&(target, usage))
            && known == address
        {
            return Ok(channel.clone());
        }
        if address.is_empty() {
            return Err(Unserved::NoAddress(target));
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| Unserved::Address(address.to_owned()))?
            .connect_timeout(HANDSHAKE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect_with_connector_lazy(Connector(Dial {
            target,
            address: address.to_owned(),
            tls: shared.tls.clone(),
            cable: shared.cable.clone(),
            seen: shared.seen.clone(),
        }));
        channels.insert((target, usage), (address.to_owned(), channel.clone()));
        Ok(channel)
    }
}

/// Why there's no way to a member.
#[derive(Clone, Debug, thiserror::Error)]
enum Unserved {
    #[error("member {0} has no address for peers")]
    NoAddress(u64),
    #[error("{0} is no address of a member")]
    Address(String),
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, member: &Member) -> Peer {
        self.learn(target, member);
        Peer {
            network: self.clone(),
            target,
            address: None,
            usage: Use::Quick,
        }
    }

    async fn new_snapshot_client(&mut self, target: u64, member: &Member) -> Peer {
        let quick = self.new_client(target, member).await;
        Peer {
            usage: Use::Bulk,
            ..quick
        }
    }
}

/// Another member.
pub(in crate::raft) struct Peer {
    network: Network,
    target: u64,
    /// Where it is, whatever the membership says.
    address: Option<String>,
    usage: Use,
}

impl Peer {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let headers = request.metadata_mut();
        headers.insert(FROM, MetadataValue::from(self.network.shared.id));
        headers.insert(TO, MetadataValue::from(self.target));
        if let Some(directory) = self.network.shared.belongs.to()
            && let Ok(directory) = MetadataValue::try_from(directory.to_string())
        {
            headers.insert(DIRECTORY, directory);
        }
        request
    }

    async fn grpc(&self) -> Result<Grpc<Channel>, Status> {
        let address = match &self.address {
            Some(address) => address.clone(),
            None => self.network.address(self.target),
        };
        let channel = self.network.channel(self.target, &address, self.usage);
        let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let ready = grpc.ready().await;
        ready.map_err(|error| Status::unavailable(causes(&error)))?;
        Ok(grpc)
    }

    async fn call<Q: Message, A: Message>(
        &self,
        path: &'static str,
        question: Q,
    ) -> Result<A, Status> {
        let mut grpc = self.grpc().await?;
        let answer = grpc.unary(
            self.request(question),
            PathAndQuery::from_static(path),
            Wire::<Q, A>::default(),
        );
        Ok(answer.await?.into_inner())
    }

    /// A call within the time that Raft gives it.
    async fn ask<Q: Message, A: Message>(
        &self,
        path: &'static str,
        question: Q,
        option: &RPCOption,
    ) -> Result<A, RPCError<Types>> {
        match tokio::time::timeout(option.hard_ttl(), self.call(path, question)).await {
            Ok(answer) => answer.map_err(|status| failed(&status)),
            Err(elapsed) => Err(RPCError::Network(NetworkError::new(&elapsed))),
        }
    }

    async fn appends<S>(
        &self,
        requests: S,
    ) -> Result<
        BoxStream<'static, Result<StreamAppendResult<Types>, RPCError<Types>>>,
        RPCError<Types>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + 'static,
    {
        let mut requests = Box::pin(requests.peekable());
        // Raft waits in its stream before it tries again what has failed.
        if requests.as_mut().peek().await.is_none() {
            return Ok(Box::pin(futures_util::stream::empty()));
        }
        let sent = Arc::new(AtomicU64::new(0));
        let counted = sent.clone();
        let (guard, abandoned) = guard();
        let requests = requests.take_until(abandoned).inspect(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let begin = async {
            let mut grpc = self.grpc().await?;
            grpc.streaming(
                self.request(requests),
                PathAndQuery::from_static(APPEND),
                Wire::<AppendEntriesRequest<Types>, Appended>::default(),
            )
            .await
        };
        let replies = match tokio::time::timeout(HANDSHAKE, begin).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(failed(&status)),
            Err(elapsed) => return Err(RPCError::Unreachable(Unreachable::new(&elapsed))),
        };
        let answers = futures_util::stream::unfold(Some((replies, 0, guard)), move |state| {
            let sent = sent.clone();
            async move {
                let (mut replies, answered, guard) = state?;
                loop {
                    let reply = tokio::time::timeout(APPEND_STALLED, replies.message());
                    return match reply.await {
                        Ok(Ok(Some(Appended(result)))) => {
                            Some((Ok(result), Some((replies, answered + 1, guard))))
                        }
                        Ok(Ok(None)) => None,
                        Ok(Err(status)) => Some((Err(failed(&status)), None)),
                        Err(_) if sent.load(Ordering::Relaxed) <= answered => continue,
                        Err(elapsed) => {
                            Some((Err(RPCError::Network(NetworkError::new(&elapsed))), None))
                        }
                    };
                }
            }
        });
        Ok(Box::pin(answers))
    }

    /// Sends a file, and waits until it's installed.
    async fn snapshot(
        &self,
        vote: Vote,
        meta: Bytes,
        file: &std::path::Path,
    ) -> Result<Vote, StreamingError<Types>> {
        let unreadable = |error: &io::Error| StreamingError::Network(NetworkError::new(error));
        // One that is replaced by a newer one just now is asked for again.
        let file = tokio::fs::File::open(file)
            .await
            .map_err(|error| unreadable(&error))?;
        let bytes = file
            .metadata()
            .await
            .map_err(|error| unreadable(&error))?
            .len();
        let head = Part::Head { vote, meta, bytes };
        let sent = Arc::new(AtomicU64::new(0));
        let counted = sent.clone();
        let chunks = futures_util::stream::unfold(file, move |mut file| {
            let counted = counted.clone();
            async move {
                let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
                match file.read_buf(&mut chunk).await {
                    Ok(0) => None,
                    Ok(read) => {
                        counted.fetch_add(read as u64, Ordering::Relaxed);
                        Some((Part::Chunk(chunk.freeze()), file))
                    }
                    // It ends too early then, which the receiver sees.
                    Err(error) => {
                        tracing::error!(%error, "a snapshot can't be read");
                        None
                    }
                }
            }
        });
        let (_guard, abandoned) = guard();
        let parts = futures_util::stream::once(std::future::ready(head))
            .chain(chunks)
            .take_until(abandoned);
        let call = async {
            let mut grpc = self.grpc().await?;
            let answer = grpc.client_streaming(
                self.request(parts),
                PathAndQuery::from_static(SNAPSHOT),
                Wire::<Part, Installed>::default(),
            );
            Ok(answer.await?.into_inner())
        };
        tokio::select! {
            answer = call => match answer {
                Ok(Installed(vote)) => Ok(vote),
                Err(status) => Err(failed(&status).into()),
            },
            () = stalled(&sent, bytes) => Err(unreadable(&io::ErrorKind::TimedOut.into())),
        }
    }
}

/// Ends when nothing has gone out for too long, or all has and isn't installed in time.
async fn stalled(sent: &AtomicU64, bytes: u64) {
    let mut before = u64::MAX;
    loop {
        tokio::time::sleep(SNAPSHOT_STALLED).await;
        let now = sent.load(Ordering::Relaxed);
        if now >= bytes {
            return tokio::time::sleep(SNAPSHOT_INSTALLED).await;
        }
        if now == before {
            return;
        }
        before = now;
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let request = futures_util::stream::once(std::future::ready(request));
        match self.appends(request).await?.next().await {
            Some(answer) => Ok(answer?.into()),
            None => Err(RPCError::Network(NetworkError::new(&Status::aborted(
                "it ended the stream without an answer",
            )))),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            let answers: BoxStream<'s, _> = self.appends(requests).await?;
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(VOTE, request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(PRE_VOTE, request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let unfit = |error: serde_json::Error| {
            StreamingError::Network(NetworkError::new(&io::Error::from(error)))
        };
        let meta = Bytes::from(serde_json::to_vec(&snapshot.meta).map_err(unfit)?);
        tracing::info!(to = self.target, file = %snapshot.snapshot.path.display(), "sending a snapshot");
        tokio::select! {
            sent = self.snapshot(vote, meta, &snapshot.snapshot.path) => sent.map(SnapshotResponse::new),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.ask(TRANSFER, request, &option)
            .await
            .map(|Taken| Ok(()))
    }
}

/// Ends a call's requests when its answers are no longer waited for: hyper would keep them, and
/// with them what they read from.
fn guard() -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
    oneshot::channel()
}

/// What a failed call means to Raft.
fn failed(status: &Status) -> RPCError<Types> {
    match status.code() {
        tonic::Code::Unavailable
        | tonic::Code::PermissionDenied
        | tonic::Code::FailedPrecondition => RPCError::Unreachable(Unreachable::new(status)),
        _ => RPCError::Network(NetworkError::new(status)),
    }
}

/// An error with all that caused it: tonic's own text names none.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
