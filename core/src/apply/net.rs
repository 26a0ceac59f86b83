//! The net effect of a batch per key: however often a row was changed, the sink sees one statement.
//!
//! Invariants: for each key it is known whether the row was there before the batch (from the first
//! change: an INSERT says no, an UPDATE or DELETE yes) and whether it is there after it. An insert of a
//! row that the batch holds for present, or a change of one that it holds for absent, is a
//! contradiction and an error. A row that updates changed a unique column of is deleted and inserted,
//! so that values swapped between rows never collide.

use std::collections::HashMap;
use std::sync::Arc;

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

/// A row image in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    start: u32,
    length: u32,
}

/// Copies of row images: what a batch refers to after the events are gone.
#[derive(Debug, Default)]
pub struct Arena {
    bytes: Vec<u8>,
}

impl Arena {
    /// Keeps an image.
    pub fn keep(&mut self, image: RowImage<'_>) -> Image {
        let start = self.bytes.len() as u32;
        let bytes = image.as_bytes();
        self.bytes.extend_from_slice(bytes);
        Image {
            start,
            length: bytes.len() as u32,
        }
    }

    /// Overwrites an image that is no longer needed if the new one fits, else keeps the new one beside.
    fn replace(&mut self, old: Image, image: RowImage<'_>) -> Image {
        let bytes = image.as_bytes();
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
        self.bytes
            .get(image.start as usize..(image.start + image.length) as usize)
            .unwrap_or_default()
    }

    /// Bytes kept.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl TableEffect {
    /// No change yet.
    pub fn new(plan: Arc<TablePlan>) -> Self {
        Self {
            plan,
            entries: HashMap::new(),
            changed: 0,
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
                    // Deleted and inserted again: an update of every column, unless it would collide
                    // on another unique key or leave the sink's own columns as they were.
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
