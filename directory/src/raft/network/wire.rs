//! Messages on tonic: the paths of the service, and a codec for gRPC's frames. There is no `.proto`
//! file: nobody but members of one cluster speaks this.

use std::marker::PhantomData;

use bytes::{Buf as _, BufMut as _};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::message::Message;

/// A stream of appends, answered in their order.
pub(super) const APPEND: &str = "/towpath.Directory/Append";
pub(super) const VOTE: &str = "/towpath.Directory/Vote";
pub(super) const PRE_VOTE: &str = "/towpath.Directory/PreVote";
pub(super) const TRANSFER: &str = "/towpath.Directory/Transfer";
/// A stream of a snapshot's parts, answered once it's installed.
pub(super) const SNAPSHOT: &str = "/towpath.Directory/Snapshot";
/// What isn't Raft's: one question, one answer.
pub(super) const ASK: &str = "/towpath.Directory/Ask";

/// Header: the number of the member that speaks.
pub(super) const FROM: &str = "towpath-from";
/// Header: the number of the member that is meant.
pub(super) const TO: &str = "towpath-to";
/// Header: the directory of the member that speaks, hexadecimal; without it it has none yet.
pub(super) const DIRECTORY: &str = "towpath-directory";

/// Longest message: one entry of the longest kind, whatever the limits of the member that wrote it.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Bytes of a snapshot in one message.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// Encodes `E`s and decodes `D`s.
pub(super) struct Wire<E, D>(PhantomData<fn(E) -> D>);

impl<E, D> Default for Wire<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: Message, D: Message> Codec for Wire<E, D> {
    type Encode = E;
    type Decode = D;
    type Encoder = Half<E>;
    type Decoder = Half<D>;

    fn encoder(&mut self) -> Half<E> {
        Half(PhantomData)
    }

    fn decoder(&mut self) -> Half<D> {
        Half(PhantomData)
    }
}

/// One direction of a [`Wire`].
pub(super) struct Half<M>(PhantomData<fn() -> M>);

impl<M: Message> Encoder for Half<M> {
    type Item = M;
    type Error = Status;

    fn encode(&mut self, message: M, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let bytes = message
            .encode()
            .map_err(|error| Status::internal(error.to_string()))?;
        out.put(bytes);
        Ok(())
    }

    /// A message goes out as soon as it's there: none waits for the next.
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(8 << 10, 1)
    }
}

impl<M: Message> Decoder for Half<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        let bytes = bytes.copy_to_bytes(bytes.remaining());
        let message = M::decode(&bytes);
        message
            .map(Some)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    }
}
