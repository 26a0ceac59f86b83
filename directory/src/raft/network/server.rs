//! Calls from other members, to this one's Raft. A call is taken from whom the connection has proven
//! to be, and only if it's meant for this member: an address may lead to another one than it did.

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use openraft::Raft;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest, VoteResponse};
use tokio::sync::{Semaphore, watch};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::Grpc;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::Incoming;
use super::link::{self, Proven};
use super::message::{Appended, Installed, Message, Part, Taken};
use super::receive;
use super::wire::{
    APPEND, ASK, DIRECTORY, FROM, MESSAGE_BYTES_MAX, PRE_VOTE, SNAPSHOT, TO, TRANSFER, VOTE, Wire,
};
use crate::raft::cluster::Cluster;
use crate::raft::heard::Heard;
use crate::raft::identity::{Belongs, DirectoryId};
use crate::raft::machine::Machine;
use crate::raft::members::{Answer, Question};
use crate::raft::types::Types;

/// Calls of one connection at once.
const CALLS_MAX: u32 = 64;
/// Longest list of headers.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// Bytes of one call, and of all of a connection, that may be on their way unread.
const WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// A call that is refused for the same reason as the one before is logged so seldom.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(2);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What all calls need.
#[derive(Clone)]
pub(in crate::raft) struct Peers {
    pub(in crate::raft) id: u64,
    pub(in crate::raft) raft: Raft<Types, Machine>,
    pub(in crate::raft) cluster: Cluster,
    pub(in crate::raft) belongs: Belongs,
    /// Told of each sign of a leader.
    pub(in crate::raft) heard: Heard,
    /// Where snapshots that are on their way lie.
    pub(in crate::raft) incoming: PathBuf,
    /// One snapshot is received at a time.
    pub(in crate::raft) receiving: Arc<Semaphore>,
    /// How many have come in this life.
    pub(in crate::raft) received: Arc<AtomicU64>,
    /// Why a call was refused last, and when that was logged.
    pub(in crate::raft) refused: Arc<Mutex<Option<(String, Instant)>>>,
}

/// Serves peers until `stop` is true, or its sender is gone.
pub(in crate::raft) async fn serve(
    incoming: Incoming,
    peers: Peers,
    mut stop: watch::Receiver<bool>,
) {
    let (accepted, links) = tokio::sync::mpsc::channel(1);
    let links = futures_util::stream::unfold(links, |mut links| async {
        links.recv().await.map(|link| (link, links))
    });
    let server = Server::builder()
        .max_concurrent_streams(CALLS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .serve_with_incoming(peers, links);
    let accepting = link::accept(
        incoming.listener,
        incoming.tls,
        incoming.cable,
        stop.clone(),
        accepted,
    );
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = accepting => {}
        served = server => if let Err(error) = served {
            tracing::error!(%error, "the peer port has stopped");
        },
    }
}

impl Peers {
    /// Who calls.
    fn caller<B>(&self, request: &http::Request<B>) -> Result<u64, Status> {
        let number = |name: &str| {
            let value = request.headers().get(name)?.to_str().ok()?;
            value.parse::<u64>().ok()
        };
        let malformed = || Status::invalid_argument("the call doesn't say from whom, or to whom");
        let from = number(FROM).ok_or_else(malformed)?;
        let to = number(TO).ok_or_else(malformed)?;
        let proven = request.extensions().get::<Proven>();
        if !proven.is_some_and(|proven| proven.is(from)) {
            return Err(Status::permission_denied(format!(
                "the certificate is not that of member {from}: it needs the DNS name \
                 {from}.member.towpath; give that Server its own with --peer-cert and --peer-key"
            )));
        }
        if to != self.id {
            return Err(Status::failed_precondition(format!(
                "this is member {}, and member {to} is meant; is an address wrong?",
                self.id
            )));
        }
        if from == self.id {
            return Err(Status::failed_precondition(format!(
                "two members have the number {from}"
            )));
        }
        Ok(from)
    }

    /// Whether the caller is a member of the same directory. Nobody else's Raft is heard: neither
    /// that of another directory, nor any before this member was added to one.
    fn kin<B>(&self, request: &http::Request<B>) -> Result<(), Status> {
        let header = request.headers().get(DIRECTORY);
        let theirs = header
            .and_then(|header| u64::from_str_radix(header.to_str().ok()?, 16).ok())
            .map(DirectoryId);
        match (self.belongs.to(), theirs) {
            (Some(ours), Some(theirs)) if ours == theirs => Ok(()),
            (None, _) => Err(Status::failed_precondition(
                "this member waits to be added to a directory, its data directory is empty; if it was \
                 a member before, what it has promised is lost: replace it by one with another number",
            )),
            (Some(ours), Some(theirs)) => Err(Status::failed_precondition(format!(
                "this member belongs to directory {ours}, and that one to {theirs}; is an address wrong, \
                 or was one of the two restored from a backup?"
            ))),
            (Some(_), None) => Err(Status::failed_precondition(
                "that member has not been added to a directory",
            )),
        }
    }

    /// Those who are refused come again at once.
    fn log_refused(&self, status: &Status) {
        let mut last = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = last
            .as_ref()
            .is_some_and(|(reason, at)| reason == status.message() && at.elapsed() < REFUSED_AGAIN);
        if !is_known {
            tracing::warn!(reason = status.message(), "refused a call to the peer port");
            *last = Some((status.message().to_owned(), Instant::now()));
        }
    }

    async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
        let path = request.uri().path().to_owned();
        let kin = self.kin(&request);
        let called = self.caller(&request).and_then(|from| match &*path {
            ASK => Ok(from),
            _ => kin.clone().map(|()| from),
        });
        let from = match called {
            Ok(from) => from,
            Err(status) => {
                self.log_refused(&status);
                return status.into_http();
            }
        };
        match &*path {
            APPEND => {
                let handler = Handler(move |request| self.clone().append(from, request));
                grpc::<Appended, AppendEntriesRequest<Types>>()
                    .streaming(handler, request)
                    .await
            }
            VOTE => {
                let handler = Handler(move |request| self.clone().vote(from, request));
                grpc::<VoteResponse<Types>, VoteRequest<Types>>()
                    .unary(handler, request)
                    .await
            }
            PRE_VOTE => {
                let handler = Handler(move |request| self.clone().pre_vote(from, request));
                grpc::<VoteResponse<Types>, VoteRequest<Types>>()
                    .unary(handler, request)
                    .await
            }
            TRANSFER => {
                let handler = Handler(move |request| self.clone().transfer(from, request));
                grpc::<Taken, TransferLeaderRequest<Types>>()
                    .unary(handler, request)
                    .await
            }
            SNAPSHOT => {
                let handler =
                    Handler(move |request| receive::snapshot(self.clone(), from, request));
                grpc::<Installed, Part>()
                    .client_streaming(handler, request)
                    .await
            }
            ASK => {
                let handler = Handler(move |request| self.clone().ask(kin.clone(), request));
                grpc::<Answer, Question>().unary(handler, request).await
            }
            _ => Status::unimplemented("members don't call this").into_http(),
        }
    }

    async fn ask(
        self,
        kin: Result<(), Status>,
        request: Request<Question>,
    ) -> Result<Response<Answer>, Status> {
        let question = request.into_inner();
        if !matches!(question, Question::Hello | Question::Join(_)) {
            kin?;
        }
        // What has begun goes on if who asked is gone.
        let cluster = self.cluster;
        let answer = tokio::spawn(async move { cluster.answer(question).await });
        let answer = answer.await.map_err(|error| stopped(&error))?;
        Ok(Response::new(answer))
    }

    async fn append(
        self,
        from: u64,
        request: Request<Streaming<AppendEntriesRequest<Types>>>,
    ) -> Result<Response<Answers>, Status> {
        let heard = self.heard;
        let requests = futures_util::stream::unfold(
            Some((request.into_inner(), heard)),
            move |requests| async move {
                let (mut requests, heard) = requests?;
                let request = match requests.message().await {
                    Ok(request) => request?,
                    Err(status) => {
                        tracing::debug!(from, %status, "a stream of appends has ended");
                        return None;
                    }
                };
                if request.vote.leader_id.node_id != from {
                    tracing::warn!(from, vote = %request.vote, "a member spoke in another one's name");
                    return None;
                }
                heard.note();
                Some((request, Some((requests, heard))))
            },
        );
        let answers = self
            .raft
            .stream_append(requests)
            .map(|answer| match answer {
                Ok(result) => Ok(Appended(result)),
                Err(fatal) => Err(stopped(&fatal)),
            });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn vote(
        self,
        from: u64,
        request: Request<VoteRequest<Types>>,
    ) -> Result<Response<VoteResponse<Types>>, Status> {
        let request = request.into_inner();
        speaks_for(from, request.vote.leader_id.node_id)?;
        let answer = self.raft.vote(request).await;
        answer.map(Response::new).map_err(|error| stopped(&error))
    }

    async fn pre_vote(
        self,
        from: u64,
        request: Request<VoteRequest<Types>>,
    ) -> Result<Response<VoteResponse<Types>>, Status> {
        let request = request.into_inner();
        speaks_for(from, request.vote.leader_id.node_id)?;
        let answer = self.raft.pre_vote(request).await;
        answer.map(Response::new).map_err(|error| stopped(&error))
    }

    async fn transfer(
        self,
        from: u64,
        request: Request<TransferLeaderRequest<Types>>,
    ) -> Result<Response<Taken>, Status> {
        let request = request.into_inner();
        speaks_for(from, request.from_leader().leader_id.node_id)?;
        match self.raft.handle_transfer_leader(request).await {
            Ok(Ok(())) => Ok(Response::new(Taken)),
            Ok(Err(not_ready)) => Err(Status::failed_precondition(not_ready.to_string())),
            Err(fatal) => Err(stopped(&fatal)),
        }
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<Appended, Status>> + Send>>;

/// A member speaks for itself alone.
pub(super) fn speaks_for(from: u64, id: u64) -> Result<(), Status> {
    match from == id {
        true => Ok(()),
        false => Err(Status::permission_denied(format!(
            "member {from} spoke in the name of member {id}"
        ))),
    }
}

pub(super) fn stopped(error: &dyn std::error::Error) -> Status {
    Status::unavailable(format!("this member has stopped: {error}"))
}

fn grpc<A: Message, Q: Message>() -> Grpc<Wire<A, Q>> {
    Grpc::new(Wire::default()).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

impl Service<http::Request<Body>> for Peers {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.clone().answer(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

/// A function as what tonic calls.
struct Handler<F>(F);

impl<F, Q, A, Fut> Service<Request<Q>> for Handler<F>
where
    F: FnMut(Request<Q>) -> Fut,
    Fut: Future<Output = Result<Response<A>, Status>>,
{
    type Response = Response<A>;
    type Error = Status;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Fut {
        (self.0)(request)
    }
}
