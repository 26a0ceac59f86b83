//! Table plans by table id: a table map is matched with the sink's table once, and again only when
//! it changes.

use std::collections::HashMap;
use std::sync::Arc;

use mysql_async::Conn;
use towpath_protocol::gtid::Gtid;
use towpath_protocol::spec::Endpoint;

use super::PipelineError;
use crate::apply::ApplyError;
use crate::apply::names::{self, DifferingDefault};
use crate::apply::plan::TablePlan;
use crate::apply::target::TargetTable;
use crate::commit::SinkError;
use crate::commit::session::Session;
use crate::decode::{DecodeError, RowsEvent, RowsKind, TableMap};
use crate::endpoint::{connect, sql_opts};
use crate::source::SourceError;

/// Plans kept; a source with more tables than this pays for parsing some of them again.
const PLANS_MAX: usize = 10_000;

/// Where the body of a table map goes on behind its table id.
const TABLE_ID_BYTES: usize = 6;

/// The cache.
pub(super) struct Plans {
    source: SourceTables,
    /// Columns whose defaults aren't the source's, of the tables that were asked about.
    defaults: HashMap<(String, String), Vec<DifferingDefault>>,
    by_id: HashMap<u64, Arc<TablePlan>>,
    by_body: HashMap<Box<[u8]>, Arc<TablePlan>>,
    by_name: HashMap<(String, String), Arc<TablePlan>>,
}

/// Definitions at the source, for what the binlog leaves out. A connection is made when the first
/// one is asked for.
struct SourceTables {
    endpoint: Endpoint,
    conn: Option<Conn>,
}

impl SourceTables {
    async fn read(
        &mut self,
        database: &str,
        table: &str,
    ) -> Result<Option<TargetTable>, PipelineError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                let opts = sql_opts(&self.endpoint).map_err(PipelineError::Endpoint)?;
                connect(opts, self.endpoint.tls)
                    .await
                    .map_err(|error| SourceError::from_login(&self.endpoint, error))?
            }
        };
        let found = TargetTable::read(&mut conn, database, table)
            .await
            .map_err(|error| SourceError::Sql {
                about: "a table's definition",
                cause: Box::new(error),
            })?;
        self.conn = Some(conn);
        Ok(found)
    }
}

impl Plans {
    /// No plan yet; `source` is asked for definitions where the binlog doesn't have them.
    pub(super) fn new(source: Endpoint) -> Self {
        Self {
            source: SourceTables {
                endpoint: source,
                conn: None,
            },
            defaults: HashMap::new(),
            by_id: HashMap::new(),
            by_body: HashMap::new(),
            by_name: HashMap::new(),
        }
    }

    /// An INSERT that was logged in part left columns to their defaults: the sink's must be the
    /// source's.
    pub(super) async fn check_defaults(
        &mut self,
        rows: &RowsEvent<'_>,
        gtid: &Gtid,
    ) -> Result<(), PipelineError> {
        if rows.kind != RowsKind::Write || rows.has_all_columns() {
            return Ok(());
        }
        let Some(plan) = self.get(rows.table_id).cloned() else {
            return Ok(());
        };
        let name = (plan.map.database.clone(), plan.map.table.clone());
        let differing = match self.defaults.get(&name) {
            Some(differing) => differing,
            None => {
                let source = self.source.read(&name.0, &name.1).await?;
                let found = names::differing_defaults(&plan.map, source.as_ref(), &plan.target);
                self.defaults.entry(name).or_insert(found)
            }
        };
        let mut left_out = differing.iter().filter(|d| !rows.has_column_after(d.at));
        match left_out.next().cloned() {
            None => Ok(()),
            Some(differs) => Err(ApplyError::Default {
                gtid: gtid.to_string(),
                table: plan.name(),
                column: differs.column,
                source_default: differs.source,
                sink_default: differs.sink,
            }
            .into()),
        }
    }

    /// Takes a table map event; from now on its table id stands for its plan. Answers whether this
    /// plan may replace another one of the same table.
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
        let mut map = TableMap::parse(body).map_err(decode)?;
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
        if !map.full_metadata {
            let source = self.source.read(&map.database, &map.table).await?;
            names::take_names(&mut map, source.as_ref(), &target).map_err(|detail| {
                ApplyError::NoMetadata {
                    gtid: gtid.to_string(),
                    table: format!("{}.{}", name.0, name.1),
                    detail,
                }
            })?;
        }
        let plan = Arc::new(TablePlan::new(
            map,
            Arc::new(target),
            values_row,
            &gtid.to_string(),
        )?);
        let is_full = self.by_name.len() >= PLANS_MAX || self.by_body.len() >= PLANS_MAX;
        if is_full {
            // Not the ids: rows of this statement may be on their way under them.
            self.by_body.clear();
            self.by_name.clear();
            self.defaults.clear();
        }
        // By position in the map that was.
        self.defaults.remove(&name);
        let replaced = self.by_name.insert(name, Arc::clone(&plan));
        if let Some(replaced) = &replaced {
            self.by_body.retain(|_, plan| !Arc::ptr_eq(plan, replaced));
        }
        self.by_body.insert(definition.into(), Arc::clone(&plan));
        self.by_id.insert(table_id, plan);
        Ok(is_full || replaced.is_some())
    }

    /// A source transaction begins: table ids of an earlier one say nothing any more.
    pub(super) fn begin(&mut self) {
        self.by_id.clear();
    }

    /// The plan of a table id of the present statement.
    pub(super) fn get(&self, table_id: u64) -> Option<&Arc<TablePlan>> {
        self.by_id.get(&table_id)
    }

    /// Forgets all, after the sink's definitions changed.
    pub(super) fn clear(&mut self) {
        self.by_id.clear();
        self.by_body.clear();
        self.by_name.clear();
        self.defaults.clear();
    }
}
