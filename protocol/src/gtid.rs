//! Global transaction identifiers and sets of them, as MySQL writes them: `uuid[:tag]:number`.

use std::collections::BTreeMap;

/// The part of a GTID that names where a transaction came from: the source's server UUID and,
/// since MySQL 8.3, an optional tag (empty when the GTID has none).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GtidOrigin {
    /// The server's UUID.
    pub uuid: uuid::Uuid,
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

/// A set of GTIDs: for each origin, disjoint, ascending, non-adjacent inclusive intervals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GtidSet {
    intervals: BTreeMap<GtidOrigin, Vec<(u64, u64)>>,
}
