//! One GTID, and where it came from.

use uuid::Uuid;

use super::set::{GtidBoundsError, check_bounds};
use super::text::{GtidParseError, parse_tag};

/// The part of a GTID that names where a transaction came from: the source's server UUID and,
/// since MySQL 8.3, an optional tag (empty when the GTID has none).
///
/// Ordered by UUID, then tag, the untagged origin first: the order in which the server prints
/// and encodes a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GtidOrigin {
    /// The server's UUID.
    pub uuid: Uuid,
    /// The tag, lower case, at most 32 characters; empty for an untagged GTID.
    pub tag: String,
}

/// One transaction's identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    /// Where it came from.
    pub origin: GtidOrigin,
    /// Its number there, from 1.
    pub number: u64,
}

impl GtidOrigin {
    /// An origin with a tag; an empty tag means none. Upper case is folded.
    ///
    /// # Errors
    /// `GtidParseError::Tag` unless the tag is empty or at most 32 of `[a-z_][a-z0-9_]*`.
    pub fn new(uuid: Uuid, tag: &str) -> Result<Self, GtidParseError> {
        let tag = if tag.is_empty() {
            String::new()
        } else {
            parse_tag(tag)?
        };
        Ok(Self { uuid, tag })
    }

    /// The origin of GTIDs without a tag.
    pub fn untagged(uuid: Uuid) -> Self {
        Self {
            uuid,
            tag: String::new(),
        }
    }

    /// Does it have a tag?
    pub fn is_tagged(&self) -> bool {
        !self.tag.is_empty()
    }
}

impl Gtid {
    /// The transaction `number` of an origin.
    ///
    /// # Errors
    /// When the number is outside `NUMBER_MIN..=NUMBER_MAX`.
    pub fn new(origin: GtidOrigin, number: u64) -> Result<Self, GtidBoundsError> {
        check_bounds(number, number)?;
        Ok(Self { origin, number })
    }
}
