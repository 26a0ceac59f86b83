//! What can be wrong with the bytes of a message.

use towpath_protocol::gtid::GtidDecodeError;

/// Bytes that are no message of this version. Reading them again gives the same error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// No `TOWQ` at the beginning.
    #[error(
        "a message of {length} bytes in the queue is not Towpath's; something else writes into this queue: \
         give the pipeline a queue of its own"
    )]
    Foreign {
        /// How long it is.
        length: usize,
    },
    /// A version that this program doesn't know.
    #[error(
        "a message in the queue has version {version}, known is {known}; update the Cores that consume before \
         the one that produces"
    )]
    Version {
        /// The message's.
        version: u8,
        /// This program's.
        known: u8,
    },
    /// The checksum is another one than that of the bytes.
    #[error(
        "a message in the queue fails its checksum: it says {stored:08x}, its bytes give {computed:08x}; it was \
         damaged on the way or on the queue's disk"
    )]
    Checksum {
        /// What the message says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A length that isn't the bytes' own, or out of bounds.
    #[error("a message in the queue has {what} of {found} bytes, expected {expected}")]
    Length {
        /// Which length.
        what: &'static str,
        /// What is there.
        found: usize,
        /// What should be, or the bound.
        expected: usize,
    },
    /// The bytes end inside of something.
    #[error("a message in the queue ends inside {what}")]
    Truncated {
        /// What was being read.
        what: &'static str,
    },
    /// The bytes are complete, but can't mean what they say.
    #[error("a message in the queue has a wrong {what}: {value}")]
    Value {
        /// Which field.
        what: &'static str,
        /// What it says.
        value: u64,
    },
    /// A compressed body that can't be inflated.
    #[error("the compressed body of a message in the queue can't be inflated: {cause}")]
    Inflate {
        /// What the library says.
        cause: String,
    },
    /// A GTID set that is none.
    #[error("an OPEN message in the queue: {0}")]
    Gtids(#[from] GtidDecodeError),
}
