//! A set of GTIDs.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::interval::{self, Interval};
use super::{Gtid, GtidOrigin, NUMBER_MAX, NUMBER_MIN};

/// A set of GTIDs: for each origin, disjoint, ascending, non-adjacent inclusive intervals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GtidSet {
    pub(super) intervals: BTreeMap<GtidOrigin, Vec<Interval>>,
}

/// An interval that no server can have executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{first}-{last} is no interval of transaction numbers; \
     give {NUMBER_MIN} or more, {NUMBER_MAX} or less, the smaller one first"
)]
pub struct GtidBoundsError {
    /// The first number as given.
    pub first: u64,
    /// The last number as given.
    pub last: u64,
}

pub(super) fn check_bounds(first: u64, last: u64) -> Result<(), GtidBoundsError> {
    if NUMBER_MIN <= first && first <= last && last <= NUMBER_MAX {
        Ok(())
    } else {
        Err(GtidBoundsError { first, last })
    }
}

impl GtidSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Is nothing in it?
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Adds one transaction; constant time (after the search for its origin) when it follows the
    /// last one of its origin.
    ///
    /// The number isn't checked again: `Gtid::new` and `FromStr` do that.
    pub fn add(&mut self, gtid: &Gtid) {
        self.insert(&gtid.origin, gtid.number, gtid.number);
    }

    /// Adds the transactions `first..=last` of an origin.
    ///
    /// # Errors
    /// When the interval is reversed or outside `NUMBER_MIN..=NUMBER_MAX`; the set is unchanged.
    pub fn add_interval(
        &mut self,
        origin: &GtidOrigin,
        first: u64,
        last: u64,
    ) -> Result<(), GtidBoundsError> {
        check_bounds(first, last)?;
        self.insert(origin, first, last);
        Ok(())
    }

    fn insert(&mut self, origin: &GtidOrigin, first: u64, last: u64) {
        // Two searches on a first sight, so that the common case needn't clone the origin.
        match self.intervals.get_mut(origin) {
            Some(list) => interval::add(list, first, last),
            None => {
                self.intervals.insert(origin.clone(), vec![(first, last)]);
            }
        }
    }

    /// Adds every transaction of another set.
    pub fn add_set(&mut self, other: &Self) {
        for (origin, theirs) in &other.intervals {
            match self.intervals.entry(origin.clone()) {
                Entry::Vacant(slot) => {
                    slot.insert(theirs.clone());
                }
                Entry::Occupied(mut slot) => {
                    let merged = interval::union(slot.get(), theirs);
                    slot.insert(merged);
                }
            }
        }
    }

    /// Is the transaction in it?
    pub fn contains(&self, gtid: &Gtid) -> bool {
        interval::covers(self.of(&gtid.origin), gtid.number, gtid.number)
    }

    /// Is each of its transactions in `other` too?
    pub fn is_subset(&self, other: &Self) -> bool {
        self.origins().all(|(origin, ours)| {
            let theirs = other.of(origin);
            ours.iter()
                .all(|&(first, last)| interval::covers(theirs, first, last))
        })
    }

    /// What is in it or in `other`.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.add_set(other);
        out
    }

    /// What is in it and not in `other`: which transactions `other` misses.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut out = Self::new();
        for (origin, ours) in self.origins() {
            let rest = interval::subtract(ours, other.of(origin));
            if !rest.is_empty() {
                out.intervals.insert(origin.clone(), rest);
            }
        }
        out
    }

    /// Is any transaction in both?
    pub fn intersects(&self, other: &Self) -> bool {
        self.origins()
            .any(|(origin, ours)| interval::intersects(ours, other.of(origin)))
    }

    /// How many transactions are in it; stops at `u64::MAX`.
    pub fn count(&self) -> u64 {
        self.intervals
            .values()
            .flatten()
            .fold(0_u64, |sum, &(first, last)| {
                sum.saturating_add(last - first).saturating_add(1)
            })
    }

    /// How many intervals it has, over all origins: what its text and binary form grow with.
    pub fn interval_count(&self) -> usize {
        self.intervals.values().map(Vec::len).sum()
    }

    /// Its origins in order, each with its inclusive intervals, ascending; none is empty.
    pub fn origins(&self) -> impl Iterator<Item = (&GtidOrigin, &[(u64, u64)])> {
        self.intervals
            .iter()
            .map(|(origin, list)| (origin, list.as_slice()))
    }

    fn of(&self, origin: &GtidOrigin) -> &[Interval] {
        self.intervals.get(origin).map_or(&[], Vec::as_slice)
    }
}

impl Extend<Gtid> for GtidSet {
    fn extend<I: IntoIterator<Item = Gtid>>(&mut self, gtids: I) {
        for gtid in gtids {
            self.add(&gtid);
        }
    }
}

impl FromIterator<Gtid> for GtidSet {
    fn from_iter<I: IntoIterator<Item = Gtid>>(gtids: I) -> Self {
        let mut set = Self::new();
        set.extend(gtids);
        set
    }
}
