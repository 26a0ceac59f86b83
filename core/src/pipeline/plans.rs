//! Table plans by table id: a table map is matched with the sink's table once, and again only when it
//! changes.

use std::collections::HashMap;
use std::sync::Arc;

use towpath_protocol::gtid::Gtid;

use super::PipelineError;
use crate::apply::ApplyError;
use crate::apply::plan::TablePlan;
use crate::apply::target::TargetTable;
use crate::commit::SinkError;
use crate::commit::session::Session;
use crate::decode::{DecodeError, TableMap};

/// Plans kept; a source with more tables than this pays for parsing some of them again.
const PLANS_MAX: usize = 10_000;

/// Where the body of a table map goes on behind its table id.
const TABLE_ID_BYTES: usize = 6;

/// The cache.
#[derive(Default)]
pub(super) struct Plans {
    by_id: HashMap<u64, Arc<TablePlan>>,
    by_body: HashMap<Box<[u8]>, Arc<TablePlan>>,
    by_name: HashMap<(String, String), Arc<TablePlan>>,
}

impl Plans {
    /// Takes a table map event; from now on its table id stands for its plan. Answers whether this plan
    /// replaces another one of the same table.
    pub(super) async fn table_map(
        &mut self,
        body: &[u8],
        values_row: bool,
        session: &mut Session,
        gtid: &Gtid,
    ) -> Result<bool, PipelineError> {
        let decode = |source: DecodeError| ApplyError::Decode {
            gtid: gtid.to_string(),
            source,
        };
        let (table_id, ..) = TableMap::names(body).map_err(decode)?;
        let definition = body.get(TABLE_ID_BYTES..).unwrap_or_default();
        if let Some(plan) = self.by_body.get(definition) {
            self.by_id.insert(table_id, Arc::clone(plan));
            return Ok(false);
        }
        let map = TableMap::parse(body).map_err(decode)?;
        let name = (map.database.clone(), map.table.clone());
        let target = TargetTable::read(session.conn(), &map.database, &map.table).await;
        let target = match target {
            Ok(Some(target)) => target,
            Ok(None) => {
                let table = format!("{}.{}", map.database, map.table);
                return Err(ApplyError::NoTable {
                    gtid: gtid.to_string(),
                    table,
                }
                .into());
            }
            Err(error) => {
                return Err(SinkError::from_driver(
                    session.sink(),
                    "read a table's definition",
                    error,
                )
                .into());
            }
        };
        let plan = Arc::new(TablePlan::new(
            map,
            Arc::new(target),
            values_row,
            &gtid.to_string(),
        )?);
        if self.by_body.len() >= PLANS_MAX {
            self.by_body.clear();
        }
        let replaced = self.by_name.insert(name, Arc::clone(&plan));
        if let Some(replaced) = &replaced {
            self.by_body.retain(|_, plan| !Arc::ptr_eq(plan, replaced));
        }
        self.by_body.insert(definition.into(), Arc::clone(&plan));
        self.by_id.insert(table_id, plan);
        Ok(replaced.is_some())
    }

    /// The plan of a table id of the present statement.
    pub(super) fn get(&self, table_id: u64) -> Option<&Arc<TablePlan>> {
        self.by_id.get(&table_id)
    }

    /// Forgets all, after the sink's definitions changed.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
