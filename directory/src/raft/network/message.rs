//! What members say to one another, as bytes: a version, then fields in jute's encoding, and
//! entries as they lie in the log, each with its checksum. Pure; no bytes, however wrong, make it
//! panic or reserve more memory than they fill.

use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use openraft::LogId;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};

use super::super::members::{Answer, Question};
use super::super::types::{self, Entry, EntryId, LeaderId, Types, Vote};
use crate::wire::jute::{JuteError, JuteWrite as _, Reader};

const VERSION: u8 = 1;

/// Bytes that no member of this version sends.
#[derive(Debug, thiserror::Error)]
pub(in crate::raft) enum Malformed {
    /// Its fields don't fit the bytes.
    #[error("the message is malformed")]
    Fields(#[from] JuteError),
    /// It's of another version.
    #[error(
        "the message is of version {0}, and this member speaks version 1; run the same version of this program on all members"
    )]
    Version(u8),
    /// An entry is damaged, or is not the next one.
    #[error("the message's entries are damaged")]
    Entry(#[source] io::Error),
    /// Its JSON isn't what it should be.
    #[error("the message's JSON is malformed")]
    Json(#[source] serde_json::Error),
    /// An entry isn't the one that comes next.
    #[error("entry {0} of the message is out of order")]
    Order(u64),
}

/// One kind of message.
pub(in crate::raft) trait Message: Sized + Send + Sync + 'static {
    /// Writes its fields.
    fn put(&self, out: &mut BytesMut) -> io::Result<()>;

    /// Reads them.
    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// The whole message.
    fn encode(&self) -> io::Result<BytesMut> {
        let mut out = BytesMut::with_capacity(256);
        out.put_u8(VERSION);
        self.put(&mut out)?;
        Ok(out)
    }

    /// From a whole message.
    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        match r.u8()? {
            VERSION => {}
            other => return Err(Malformed::Version(other)),
        }
        let message = Self::read(&mut r)?;
        match r.rest() {
            [] => Ok(message),
            _ => Err(JuteError::Range.into()),
        }
    }
}

fn number(r: &mut Reader<'_>) -> Result<u64, JuteError> {
    Ok(r.i64()?.cast_unsigned())
}

fn put_vote(out: &mut BytesMut, vote: &Vote) {
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.node_id);
    out.boolean(vote.committed);
}

fn vote(r: &mut Reader<'_>) -> Result<Vote, JuteError> {
    let leader_id = leader_id(r)?;
    Ok(Vote {
        leader_id,
        committed: r.bool()?,
    })
}

fn leader_id(r: &mut Reader<'_>) -> Result<LeaderId, JuteError> {
    Ok(LeaderId {
        term: number(r)?,
        node_id: number(r)?,
    })
}

fn put_id(out: &mut BytesMut, id: &EntryId) {
    out.put_u64(id.leader_id.term);
    out.put_u64(id.leader_id.node_id);
    out.put_u64(id.index);
}

fn id(r: &mut Reader<'_>) -> Result<EntryId, JuteError> {
    Ok(LogId {
        leader_id: leader_id(r)?,
        index: number(r)?,
    })
}

fn put_option(out: &mut BytesMut, id: Option<&EntryId>) {
    out.boolean(id.is_some());
    if let Some(id) = id {
        put_id(out, id);
    }
}

fn option(r: &mut Reader<'_>) -> Result<Option<EntryId>, JuteError> {
    r.bool()?.then(|| id(r)).transpose()
}

impl Message for AppendEntriesRequest<Types> {
    fn put(&self, out: &mut BytesMut) -> io::Result<()> {
        put_vote(out, &self.vote);
        put_option(out, self.prev_log_id.as_ref());
        put_option(out, self.leader_commit.as_ref());
        out.count(self.entries.len());
        for entry in &self.entries {
            out.put_u64(entry.log_id.index);
            out.buffer(Some(&types::encode(entry)?));
        }
        Ok(())
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let vote = vote(r)?;
        let prev_log_id = option(r)?;
        let leader_commit = option(r)?;
        let mut before = prev_log_id;
        let entries = r.vector(|r| -> Result<Entry, Malformed> {
            let index = number(r)?;
            let row = r.buffer()?.ok_or(JuteError::Range)?;
            let entry = types::decode(index, row).map_err(Malformed::Entry)?;
            let follows = match &before {
                None => index == 0,
                Some(before) => {
                    before.index.checked_add(1) == Some(index)
                        && before.leader_id <= entry.log_id.leader_id
                }
            };
            // No leader has entries of one that came after it.
            if !follows || entry.log_id.leader_id > vote.leader_id {
                return Err(Malformed::Order(index));
            }
            before = Some(entry.log_id);
            Ok(entry)
        })?;
        Ok(Self {
            vote,
            prev_log_id,
            entries,
            leader_commit,
        })
    }
}

/// What became of an append.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::raft) struct Appended(pub(in crate::raft) StreamAppendResult<Types>);

impl Message for Appended {
    fn put(&self, out: &mut BytesMut) -> io::Result<()> {
        match &self.0 {
            Ok(matching) => {
                out.put_u8(0);
                put_option(out, matching.as_ref());
            }
            Err(StreamAppendError::Conflict(at)) => {
                out.put_u8(1);
                put_id(out, at);
            }
            Err(StreamAppendError::HigherVote(higher)) => {
                out.put_u8(2);
                put_vote(out, higher);
            }
        }
        Ok(())
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self(match r.u8()? {
            0 => Ok(option(r)?),
            1 => Err(StreamAppendError::Conflict(id(r)?)),
            2 => Err(StreamAppendError::HigherVote(vote(r)?)),
            _ => return Err(JuteError::Range.into()),
        }))
    }
}

impl Message for VoteRequest<Types> {
    fn put(&self, out: &mut BytesMut) -> io::Result<()> {
        put_vote(out, &self.vote);
        put_option(out, self.last_log_id.as_ref());
        out.boolean(self.leadership_transfer);
        Ok(())
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            vote: vote(r)?,
            last_log_id: option(r)?,
            leadership_transfer: r.bool()?,
        })
    }
}

impl Message for VoteResponse<Types> {
    fn put(&self, out: &mut BytesMut) -> io::Result<()> {
        put_vote(out, &self.vote);
        out.boolean(self.vote_granted);
        put_option(out, self.last_log_id.as_ref());
        Ok(())
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            vote: vote(r)?,
            vote_granted: r.bool()?,
            last_log_id: option(r)?,
        })
    }
}

impl Message for TransferLeaderRequest<Types> {
    fn put(&self, out: &mut BytesMut) -> io::Result<()> {
        put_vote(out, self.from_leader());
        out.put_u64(*self.to_node_id());
        put_option(out, self.last_log_id());
        Ok(())
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self::new(vote(r)?, number(r)?, option(r)?))
    }
}

/// The answer to a message that needs none but that it has come.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::raft) struct Taken;

impl Message for Taken {
    fn put(&self, _: &mut BytesMut) -> io::Result<()> {
        Ok(())
    }

    fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self)
    }
}

/// A piece of a snapshot on its way.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::raft) enum Part {
    /// What comes; first, and once.
    Head {
        /// The leader's vote.
        vote: Vote,
        /// Place in the log and membership, as JSON.
        meta: Bytes,
        /// Length of the file.
        bytes: u64,
    },
    /// The file's next bytes.
    Chunk(Bytes),
}

impl Message for Part {
    fn put(&self, out: &mut BytesMut) -> io::Result<()> {
        match self {
            Self::Head { vote, meta, bytes } => {
                out.put_u8(0);
                put_vote(out, vote);
                out.buffer(Some(meta));
                out.put_u64(*bytes);
            }
            Self::Chunk(chunk) => {
                out.put_u8(1);
                out.buffer(Some(chunk));
            }
        }
        Ok(())
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bytes = |r: &mut Reader<'_>| -> Result<Bytes, JuteError> {
            Ok(Bytes::copy_from_slice(r.buffer()?.ok_or(JuteError::Range)?))
        };
        Ok(match r.u8()? {
            0 => Self::Head {
                vote: vote(r)?,
                meta: bytes(r)?,
                bytes: number(r)?,
            },
            1 => Self::Chunk(bytes(r)?),
            _ => return Err(JuteError::Range.into()),
        })
    }
}

/// The vote of a member that has taken a snapshot, or refuses it for a later vote.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::raft) struct Installed(pub(in crate::raft) Vote);

impl Message for Installed {
    fn put(&self, out: &mut BytesMut) -> io::Result<()> {
        put_vote(out, &self.0);
        Ok(())
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self(vote(r)?))
    }
}

/// What isn't Raft's goes as JSON.
macro_rules! json {
    ($kind:ty) => {
        impl Message for $kind {
            fn put(&self, out: &mut BytesMut) -> io::Result<()> {
                out.buffer(Some(&serde_json::to_vec(self)?));
                Ok(())
            }

            fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
                let json = r.buffer()?.ok_or(JuteError::Range)?;
                serde_json::from_slice(json).map_err(Malformed::Json)
            }
        }
    };
}

json!(Question);
json!(Answer);

#[cfg(test)]
mod tests {
    use super::super::super::members::MemberError;
    use super::super::super::types::Payload;
    use super::*;
    use openraft::EntryPayload;

    fn log_id(term: u64, index: u64) -> EntryId {
        LogId {
            leader_id: LeaderId { term, node_id: 2 },
            index,
        }
    }

    fn a_vote(term: u64) -> Vote {
        Vote {
            leader_id: LeaderId { term, node_id: 2 },
            committed: true,
        }
    }

    fn entry(term: u64, index: u64) -> Entry {
        Entry {
            log_id: log_id(term, index),
            payload: EntryPayload::Normal(Payload(Bytes::from(vec![7; 40]))),
        }
    }

    fn append(entries: Vec<Entry>) -> AppendEntriesRequest<Types> {
        AppendEntriesRequest {
            vote: a_vote(4),
            prev_log_id: Some(log_id(3, 7)),
            entries,
            leader_commit: Some(log_id(3, 6)),
        }
    }

    /// Reads back what it writes, and neither a cut nor one byte more.
    fn round_trip<M: Message + std::fmt::Debug>(message: &M) {
        let bytes = message.encode().unwrap();
        let back = M::decode(&bytes).unwrap();
        assert_eq!(format!("{back:?}"), format!("{message:?}"));
        for cut in 0..bytes.len() {
            assert!(
                M::decode(&bytes[..cut]).is_err(),
                "{message:?} cut at {cut}"
            );
        }
        let mut longer = bytes.clone();
        longer.put_u8(0);
        assert!(M::decode(&longer).is_err());
        let mut newer = bytes.clone();
        newer[0] = 2;
        assert!(matches!(M::decode(&newer), Err(Malformed::Version(2))));
        // Whatever is flipped is read or refused.
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                let _ = M::decode(&wrong);
            }
        }
    }

    #[test]
    fn all_kinds_round_trip() {
        round_trip(&append(vec![entry(3, 8), entry(4, 9)]));
        round_trip(&append(vec![]));
        round_trip(&Appended(Ok(Some(log_id(1, 2)))));
        round_trip(&Appended(Ok(None)));
        round_trip(&Appended(Err(StreamAppendError::Conflict(log_id(1, 2)))));
        round_trip(&Appended(Err(StreamAppendError::HigherVote(a_vote(9)))));
        let mut request = VoteRequest::new(a_vote(5), Some(log_id(1, 2)));
        request.leadership_transfer = true;
        round_trip(&request);
        round_trip(&VoteResponse::<Types>::new(a_vote(5), None, true));
        round_trip(&TransferLeaderRequest::<Types>::new(
            a_vote(5),
            3,
            Some(log_id(5, 9)),
        ));
        round_trip(&Taken);
        round_trip(&Question::Hello);
        round_trip(&Question::Join(super::super::super::identity::DirectoryId(
            7,
        )));
        round_trip(&Answer::Failed(MemberError::Used(3)));
        round_trip(&Installed(a_vote(8)));
        round_trip(&Part::Chunk(Bytes::from_static(b"chunk")));
        round_trip(&Part::Head {
            vote: a_vote(1),
            meta: Bytes::from_static(b"{}"),
            bytes: u64::MAX,
        });
    }

    #[test]
    fn entries_are_whole_and_in_order() {
        for wrong in [
            vec![entry(3, 9)],
            vec![entry(3, 8), entry(3, 8)],
            vec![entry(4, 8), entry(3, 9)],
            vec![entry(2, 8)],
            // Of a leader that comes after the one who speaks.
            vec![entry(5, 8)],
        ] {
            let bytes = append(wrong).encode().unwrap();
            let read = AppendEntriesRequest::<Types>::decode(&bytes);
            assert!(matches!(read, Err(Malformed::Order(_))), "{read:?}");
        }
        let bytes = append(vec![entry(3, 8)]).encode().unwrap();
        let last = bytes.len() - 1;
        let mut damaged = bytes.clone();
        damaged[last] ^= 1;
        let read = AppendEntriesRequest::<Types>::decode(&damaged);
        assert!(matches!(read, Err(Malformed::Entry(_))), "{read:?}");
    }
}
