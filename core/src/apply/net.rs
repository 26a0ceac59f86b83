//! The net effect of a batch per key: however often a row was changed, the sink sees one statement.
//!
//! Invariants: for each key it is known whether the row was there before the batch (from the first
//! change: an INSERT says no, an UPDATE or DELETE yes) and whether it is there after it. An insert
//! of a row that the batch holds for present, or a change of one that it holds for absent, is a
//! contradiction and an error. A row that updates changed a unique column of is deleted and
//! inserted, so that values swapped between rows never collide.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::ApplyError;
use super::plan::{TablePlan, mask_bit};
use crate::decode::{DecodeError, RowImage};

/// The changes of one table in a batch, merged by key.
#[derive(Debug)]
pub struct TableEffect {
    /// The table.
    pub plan: Arc<TablePlan>,
    entries: HashMap<Box<[u8]>, Entry>,
    /// Source columns that any update changed, as a mask.
    pub changed: u64,
    /// Whether its statements must be right whatever rows are there: see [`super::idempotent`].
    pub idempotent: bool,
}

/// What a batch does to one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whether the row was there before the batch.
    pub existed: bool,
    /// Whether it is there after the batch.
    pub present: bool,
    /// Whether it must be deleted and inserted instead of updated.
    pub replace: bool,
    /// Number, within the batch, of the transaction that touched it last.
    pub transaction: u32,
    /// Where its last image is in the arena.
    pub image: Image,
}

/// A row image in the arena: a range of its copies, or with the length [`SHARED`] the number of a
/// shared one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    start: u32,
    length: u32,
}

/// A row image of at least this many bytes is shared with the events that it came in, not copied.
/// Less would keep events of many small rows in memory for one of them.
pub const SHARED_BYTES_MIN: usize = 1024 * 1024;

/// In place of a length.
const SHARED: u32 = u32::MAX;

/// Row images that a batch refers to after the events are gone: copies, and shares of large ones.
#[derive(Debug, Default)]
pub struct Arena {
    bytes: Vec<u8>,
    shared: Vec<Bytes>,
    shared_bytes: usize,
    /// The events that are being read.
    events: Bytes,
}

impl Arena {
    /// Row images that are kept from now on lie in these events.
    pub fn read_from(&mut self, events: Bytes) {
        self.events = events;
    }

    /// Keeps an image.
    pub fn keep(&mut self, image: RowImage<'_>) -> Image {
        let bytes = image.as_bytes();
        if bytes.len() >= SHARED_BYTES_MIN
            && let Some(share) = share(&self.events, bytes)
        {
            let start = self.shared.len() as u32;
            self.shared_bytes += share.len();
            self.shared.push(share);
            return Image {
                start,
                length: SHARED,
            };
        }
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        Image {
            start,
            length: bytes.len() as u32,
        }
    }

    /// Overwrites an image that is no longer needed if the new one fits, else keeps the new one
    /// beside.
    fn replace(&mut self, old: Image, image: RowImage<'_>) -> Image {
        let bytes = image.as_bytes();
        if old.length == SHARED {
            if let Some(share) = self.shared.get_mut(old.start as usize) {
                self.shared_bytes -= share.len();
                *share = Bytes::new();
            }
            return self.keep(image);
        }
        if bytes.len() <= old.length as usize
            && let Some(slot) = self
                .bytes
                .get_mut(old.start as usize..old.start as usize + bytes.len())
        {
            slot.copy_from_slice(bytes);
            return Image {
                start: old.start,
                length: bytes.len() as u32,
            };
        }
        self.keep(image)
    }

    /// An image's bytes.
    pub fn bytes(&self, image: Image) -> &[u8] {
        if image.length == SHARED {
            let share = self.shared.get(image.start as usize);
            return share.map(Bytes::as_ref).unwrap_or_default();
        }
        self.bytes
            .get(image.start as usize..image.start as usize + image.length as usize)
            .unwrap_or_default()
    }

    /// Bytes kept.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared_bytes
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all images, and goes on with the same events.
    pub fn clear(&mut self) {
        *self = Self {
            events: std::mem::take(&mut self.events),
            ..Self::default()
        };
    }
}

/// A part of the events without a copy, if it is one.
fn share(events: &Bytes, part: &[u8]) -> Option<Bytes> {
    let start = part.as_ptr().addr().checked_sub(events.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= events.len()).then(|| events.slice(start..end))
}

impl TableEffect {
    /// No change yet.
    pub fn new(plan: Arc<TablePlan>) -> Self {
        Self {
            plan,
            entries: HashMap::new(),
            changed: 0,
            idempotent: false,
        }
    }

    /// Rows touched.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no row was touched.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets which rows were there before the batch: those that are there after it are to be
    /// written whole, all others deleted.
    pub fn forget_before(&mut self) {
        for entry in self.entries.values_mut() {
            entry.existed = !entry.present;
            entry.replace = false;
        }
    }

    /// The entries in the order of their keys.
    pub fn sorted(&self) -> Vec<&Entry> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_unstable_by(|a, b| a.0.cmp(b.0));
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    /// A row was inserted.
    ///
    /// # Errors
    /// [`ApplyError::Contradiction`], or the row is damaged.
    pub fn insert(
        &mut self,
        arena: &mut Arena,
        row: RowImage<'_>,
        transaction: u32,
        gtid: &dyn std::fmt::Display,
    ) -> Result<(), ApplyError> {
        let key = self.key(row, gtid)?;
        match self.entries.get_mut(&key) {
            None => {
                let image = arena.keep(row);
                self.entries.insert(
                    key,
                    Entry {
                        existed: false,
                        present: true,
                        replace: false,
                        transaction,
                        image,
                    },
                );
            }
            Some(entry) if !entry.present => {
                entry.present = true;
                entry.transaction = transaction;
                entry.image = arena.replace(entry.image, row);
                if entry.existed {
                    // Deleted and inserted again: an update of every column, unless it would
                    // collide on another unique key or leave the sink's own columns as they were.
                    entry.replace |= self.plan.unique_mask != 0 || self.plan.extra_columns;
                    self.changed = u64::MAX;
                }
            }
            Some(_) => {
                return Err(self.contradiction("an INSERT of a row that is there already", gtid));
            }
        }
        Ok(())
    }

    /// A row was updated, its key perhaps too.
    ///
    /// # Errors
    /// [`ApplyError::Contradiction`], or the row is damaged.
    pub fn update(
        &mut self,
        arena: &mut Arena,
        before: RowImage<'_>,
        after: RowImage<'_>,
        transaction: u32,
        gtid: &dyn std::fmt::Display,
    ) -> Result<(), ApplyError> {
        let key = self.key(before, gtid)?;
        if key != self.key(after, gtid)? {
            self.delete(arena, before, transaction, gtid)?;
            return self.insert(arena, after, transaction, gtid);
        }
        let changed = changed_columns(before, after).map_err(|source| decode(source, gtid))?;
        self.changed |= changed;
        let replace = changed & self.plan.unique_mask != 0;
        match self.entries.get_mut(&key) {
            None => {
                let image = arena.keep(after);
                self.entries.insert(
                    key,
                    Entry {
                        existed: true,
                        present: true,
                        replace,
                        transaction,
                        image,
                    },
                );
            }
            Some(entry) if entry.present => {
                entry.transaction = transaction;
                entry.replace |= replace;
                entry.image = arena.replace(entry.image, after);
            }
            Some(_) => return Err(self.contradiction("an UPDATE of a row that is not there", gtid)),
        }
        Ok(())
    }

    /// A row was deleted.
    ///
    /// # Errors
    /// [`ApplyError::Contradiction`], or the row is damaged.
    pub fn delete(
        &mut self,
        arena: &mut Arena,
        row: RowImage<'_>,
        transaction: u32,
        gtid: &dyn std::fmt::Display,
    ) -> Result<(), ApplyError> {
        let key = self.key(row, gtid)?;
        match self.entries.get_mut(&key) {
            None => {
                let image = arena.keep(row);
                self.entries.insert(
                    key,
                    Entry {
                        existed: true,
                        present: false,
                        replace: false,
                        transaction,
                        image,
                    },
                );
            }
            Some(entry) if entry.present => {
                entry.present = false;
                entry.transaction = transaction;
                entry.image = arena.replace(entry.image, row);
            }
            Some(_) => return Err(self.contradiction("a DELETE of a row that is not there", gtid)),
        }
        Ok(())
    }

    fn key(
        &self,
        row: RowImage<'_>,
        gtid: &dyn std::fmt::Display,
    ) -> Result<Box<[u8]>, ApplyError> {
        let mut key = Vec::with_capacity(16);
        self.plan
            .write_key(row, &mut key)
            .map_err(|source| decode(source, gtid))?;
        Ok(key.into_boxed_slice())
    }

    fn contradiction(&self, detail: &'static str, gtid: &dyn std::fmt::Display) -> ApplyError {
        ApplyError::Contradiction {
            gtid: gtid.to_string(),
            table: self.plan.name(),
            detail,
        }
    }
}

fn decode(source: DecodeError, gtid: &dyn std::fmt::Display) -> ApplyError {
    ApplyError::Decode {
        gtid: gtid.to_string(),
        source,
    }
}

/// Which columns differ between two full images of one row, as a mask.
fn changed_columns(before: RowImage<'_>, after: RowImage<'_>) -> Result<u64, DecodeError> {
    let mut mask = 0;
    for (before, after) in before.cells().zip(after.cells()) {
        let ((at, before), (_, after)) = (before?, after?);
        if before != after {
            mask |= mask_bit(at);
        }
    }
    Ok(mask)
}
