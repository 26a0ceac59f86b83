//! Changes that must reach the sink row by row in the source's order: of tables whose foreign keys
//! the sink checks, of tables without a key, and rows of which the source logged only a part.
//!
//! A part of a row is never merged with others. What was gathered before it becomes statements
//! first, then comes the row alone, with the columns that were logged and no other: found by those
//! of its before image, which the source took for identifying. A key or unique value that moves is
//! right in that form, too, swaps included: the source checked each row when it changed it, in this
//! order.

use std::sync::Arc;

use super::net::Image;
use super::plan::TablePlan;

/// One change of one row.
#[derive(Debug)]
pub struct OrderedChange {
    /// The table.
    pub plan: Arc<TablePlan>,
    /// The row before; `None` for an INSERT.
    pub before: Option<Image>,
    /// The row after; `None` for a DELETE.
    pub after: Option<Image>,
    /// Number of the transaction within the batch.
    pub transaction: u32,
    /// What of the row the source logged; `None` for all of it.
    pub part: Option<Box<Part>>,
    /// Whether its statement must be right whatever row is there: see [`super::idempotent`].
    pub idempotent: bool,
}

/// Which columns the images of a row have.
#[derive(Debug)]
pub struct Part {
    /// Bitmap of the before image's columns.
    pub before: Box<[u8]>,
    /// Bitmap of the after image's columns.
    pub after: Box<[u8]>,
    /// Bitmap of the columns whose cell in the after image is no JSON document but changes to it.
    pub json_diffs: Box<[u8]>,
}
