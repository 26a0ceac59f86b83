//! Changes that must reach the sink row by row in the source's order: of tables whose foreign keys the
//! sink checks, and of tables without a key.

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
}
