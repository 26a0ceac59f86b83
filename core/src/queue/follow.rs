//! Which messages of a log count: the consumer's rules of `docs/queue-protocol.md`, and those by
//! which a producer finds where to resume.
//!
//! Pure: messages in, in the log's order, and what to do out. Invariant: a transaction is taken only
//! when all that came before it at the source is held or was taken, and never when it is held
//! itself. That rests on `held` and on the order of messages alone: offsets, confirmations and
//! acknowledgements take no part.

use towpath_protocol::gtid::{Gtid, GtidSet};
use towpath_protocol::position::BinlogPosition;
use uuid::Uuid;

use super::Term;
use super::wire::{Body, Entry, Message, Part};

/// What to do about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// First of all: this transaction, of which parts were taken, is to be rolled back.
    pub roll_back: Option<Gtid>,
    /// Then this.
    pub verdict: Verdict,
}

/// What a message is for a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// These are to be applied, in this order; what the sink holds already is left out.
    Take(Vec<Entry>),
    /// The source has nothing newer.
    CaughtUp {
        /// Its position; of an unknown one the file is empty.
        position: BinlogPosition,
    },
    /// Nothing is missing as of here: a reader that holds what is held now may begin at this
    /// message.
    InSequence,
    /// A term begins; its OPEN is to come.
    Claimed,
    /// It was in the log before.
    Duplicate,
    /// From a producer that another one has superseded.
    Zombie,
    /// Something between the last message and this one is missing. It may still come.
    OutOfSequence,
    /// These transactions lie before this message, and weren't met. They may still come; else they
    /// are to be looked for further back, and at last asked for.
    Gap {
        /// What is missing.
        missing: GtidSet,
    },
}

/// Messages that no producer may write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// Of another pipeline.
    #[error(
        "the queue holds messages of another pipeline ({found}; this one is {expected}): give each pipeline a \
         queue of its own"
    )]
    Pipeline {
        /// Whose messages they are.
        found: Uuid,
        /// Whose they should be.
        expected: Uuid,
    },
    /// Parts of transactions that don't fit together.
    #[error(
        "message {seq} of term {term} in the queue is out of order: {what}; its producer is broken"
    )]
    Disorder {
        /// The producer's term.
        term: Term,
        /// The message.
        seq: u64,
        /// What doesn't fit.
        what: &'static str,
    },
}

/// How an OPEN is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opens {
    /// It is compared with what a sink holds.
    Compared,
    /// It tells what is held: a producer looks for where to resume.
    Believed,
}

/// Follows a log.
#[derive(Clone, Debug)]
pub struct Follower {
    pipeline: Uuid,
    opens: Opens,
    held: GtidSet,
    highest: Option<Term>,
    /// The last message in sequence, of the highest term.
    last: Option<InSequence>,
}

#[derive(Clone, Debug)]
struct InSequence {
    seq: u64,
    checksum: u32,
    /// Of the open transaction, else of the next one.
    ord: u64,
    inside: Option<Inside>,
}

/// The transaction that has begun and not ended.
#[derive(Clone, Debug)]
struct Inside {
    gtid: Gtid,
    /// Number of the next part.
    part: u32,
    /// The sink has it.
    is_skipped: bool,
}

impl Follower {
    /// For a sink that holds `held`. `floor`: the term of the OPEN at which reading begins, if it
    /// begins at one that was remembered; lower ones are over.
    pub fn new(pipeline: Uuid, held: GtidSet, floor: Option<Term>) -> Self {
        Self {
            pipeline,
            opens: Opens::Compared,
            held,
            highest: floor,
            last: None,
        }
    }

    /// What is held, and what was taken since, as whole transactions.
    pub fn held(&self) -> &GtidSet {
        &self.held
    }

    /// The highest term that was met.
    pub fn highest(&self) -> Option<Term> {
        self.highest
    }

    /// Whether some message of the highest term is in sequence: what follows it may still be found.
    pub fn is_in_sequence(&self) -> bool {
        self.last.is_some()
    }

    /// Reading begins anew, further back. Gives the transaction that is to be rolled back.
    pub fn restart(&mut self) -> Option<Gtid> {
        self.highest = None;
        self.begun()
    }

    /// Takes the log's next message.
    ///
    /// # Errors
    /// [`FollowError`]: an operator must look.
    pub fn follow(&mut self, message: Message) -> Result<Step, FollowError> {
        if message.pipeline != self.pipeline {
            return Err(FollowError::Pipeline {
                found: message.pipeline,
                expected: self.pipeline,
            });
        }
        let mut roll_back = None;
        match self.highest {
            Some(highest) if message.term < highest => {
                return Ok(Step {
                    roll_back,
                    verdict: Verdict::Zombie,
                });
            }
            Some(highest) if message.term == highest => {}
            _ => {
                self.highest = Some(message.term);
                roll_back = self.begun();
            }
        }
        let next = self.last.as_ref().map(|last| last.seq + 1);
        let verdict = match message.body {
            _ if next.is_some_and(|next| message.seq < next) => Verdict::Duplicate,
            Body::Open { ref before } => {
                if self.opens == Opens::Compared && !before.is_subset(&self.held) {
                    Verdict::Gap {
                        missing: before.subtract(&self.held),
                    }
                } else {
                    roll_back = roll_back.or(self.begun());
                    if self.opens == Opens::Believed {
                        self.held = before.clone();
                    }
                    self.last = Some(InSequence {
                        seq: message.seq,
                        checksum: message.checksum,
                        ord: message.ord,
                        inside: None,
                    });
                    Verdict::InSequence
                }
            }
            Body::Claim => Verdict::Claimed,
            Body::Data(_) | Body::Heartbeat { .. } => self.next(message)?,
        };
        Ok(Step { roll_back, verdict })
    }

    /// Nothing is in sequence any more. Gives the transaction that was begun and not skipped.
    fn begun(&mut self) -> Option<Gtid> {
        let inside = self.last.take()?.inside?;
        (!inside.is_skipped).then_some(inside.gtid)
    }

    /// A message that counts only if it is the next one.
    fn next(&mut self, message: Message) -> Result<Verdict, FollowError> {
        let Some(last) = &mut self.last else {
            return Ok(Verdict::OutOfSequence);
        };
        if message.seq != last.seq + 1 || message.back_link != last.checksum {
            return Ok(Verdict::OutOfSequence);
        }
        let disorder = |what| FollowError::Disorder {
            term: message.term,
            seq: message.seq,
            what,
        };
        if message.ord != last.ord {
            return Err(disorder("its transactions have other numbers"));
        }
        last.seq = message.seq;
        last.checksum = message.checksum;
        match message.body {
            Body::Heartbeat { position } => {
                if last.inside.is_some() {
                    return Err(disorder("a heartbeat inside a transaction"));
                }
                Ok(Verdict::CaughtUp { position })
            }
            Body::Data(mut entries) => {
                let mut wrong = None;
                entries.retain(|entry| {
                    wrong.is_none()
                        && match take(last, &mut self.held, entry) {
                            Ok(is_new) => is_new,
                            Err(what) => {
                                wrong = Some(what);
                                false
                            }
                        }
                });
                match wrong {
                    None => Ok(Verdict::Take(entries)),
                    Some(what) => Err(disorder(what)),
                }
            }
            // `follow` has answered these.
            Body::Claim | Body::Open { .. } => Ok(Verdict::OutOfSequence),
        }
    }
}

/// Whether an entry is new to who holds `held`.
fn take(last: &mut InSequence, held: &mut GtidSet, entry: &Entry) -> Result<bool, &'static str> {
    let part = match entry {
        Entry::Prepared(_) if last.inside.is_some() => {
            return Err("a prepared transaction inside another one");
        }
        Entry::Prepared(gtid) => return Ok(!held.contains(gtid)),
        Entry::Part(part) => part,
    };
    let inside = match last.inside.take() {
        None if part.part != 0 => return Err("a transaction without its first part"),
        None => Inside {
            gtid: part.gtid.clone(),
            part: 0,
            is_skipped: held.contains(&part.gtid),
        },
        Some(inside) if inside.gtid != part.gtid => {
            return Err("a transaction inside another one");
        }
        Some(inside) if inside.part != part.part => {
            return Err("a part of a transaction is missing");
        }
        Some(inside) => inside,
    };
    let is_new = !inside.is_skipped;
    end_or_go_on(last, held, part, inside)?;
    Ok(is_new)
}

fn end_or_go_on(
    last: &mut InSequence,
    held: &mut GtidSet,
    part: &Part,
    inside: Inside,
) -> Result<(), &'static str> {
    if part.last {
        held.add(&part.gtid);
        if let Some(ended) = &part.ends {
            held.add(ended);
        }
        last.ord += 1;
        return Ok(());
    }
    let number = part.part.checked_add(1).ok_or("too many parts")?;
    last.inside = Some(Inside {
        part: number,
        ..inside
    });
    Ok(())
}

/// Reads the end of a log for a producer that is about to open it: where to resume.
#[derive(Clone, Debug)]
pub struct Tail {
    follower: Follower,
    /// Number of the next transaction, once an OPEN was met.
    ord: Option<u64>,
}

/// Where a producer resumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// What the log holds, or what came before it, as whole transactions.
    pub before: GtidSet,
    /// Number of the next transaction.
    pub ord: u64,
}

/// What came of a message at a log's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There is more to read.
    More,
    /// Our own CLAIM: what was read before it counts. `None` if no OPEN was among it, so that
    /// reading must begin further back.
    Ours(Option<Resume>),
    /// Another producer has a higher term: give up.
    Superseded(Term),
}

impl Tail {
    /// A reader of the log of `pipeline`.
    pub fn new(pipeline: Uuid) -> Self {
        Self {
            follower: Follower {
                pipeline,
                opens: Opens::Believed,
                held: GtidSet::new(),
                highest: None,
                last: None,
            },
            ord: None,
        }
    }

    /// Takes the next message; `ours` is the term that was claimed.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn follow(&mut self, message: Message, ours: Term) -> Result<Ending, FollowError> {
        if message.pipeline == self.follower.pipeline {
            if message.term > ours {
                return Ok(Ending::Superseded(message.term));
            }
            if message.term == ours {
                return Ok(Ending::Ours(self.resume()));
            }
        }
        self.follower.follow(message)?;
        if let Some(last) = &self.follower.last {
            self.ord = Some(last.ord);
        }
        Ok(Ending::More)
    }

    /// Also behind the CLAIM of a term that was never opened.
    fn resume(&self) -> Option<Resume> {
        Some(Resume {
            before: self.follower.held.clone(),
            ord: self.ord?,
        })
    }
}
