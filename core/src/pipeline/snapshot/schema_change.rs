//! What a statement in the stream does to the copies of the tables that it names.

use towpath_protocol::gtid::Gtid;
use tracing::info;

use super::{Copies, read_target};
use crate::apply::ddl::{Carried, ObjectName, TableName, Trace};
use crate::commit::copies::{CopyState, TableCopy};
use crate::commit::session::Session;
use crate::pipeline::PipelineError;

impl Copies {
    /// A statement has run on the sink; answers the states that change with it. A table of which a
    /// copy is under way begins anew where its rows may be others now, and ends where it is gone.
    /// TRUNCATE and what changes columns need nothing: what was read before is written before, and
    /// the rest is read again.
    ///
    /// # Errors
    /// Those of the sink's connection.
    pub(in crate::pipeline) async fn schema_changed(
        &mut self,
        gtid: &Gtid,
        carried: &Carried,
        statement: &[u8],
        session: &mut Session,
    ) -> Result<Vec<TableCopy>, PipelineError> {
        self.targets.clear();
        if self.relaxed == 0 {
            return Ok(Vec::new());
        }
        let mut states = match &carried.trace {
            Trace::Renames(pairs) => self.renamed(pairs),
            Trace::None => self.exchanged(&carried.objects),
            Trace::Definitions => Vec::new(),
        };
        for at in self.relaxed_of(&carried.objects) {
            let Some(copy) = self.tables.get(at) else {
                continue;
            };
            let (database, table) = (copy.database.clone(), copy.table.clone());
            let is_gone = read_target(session, &database, &table).await?.is_none();
            if is_gone {
                states.extend(self.over(at));
            } else if numbers_rows(statement) {
                states.extend(self.anew(at));
            }
        }
        // The last word about each table.
        let mut last: Vec<TableCopy> = Vec::new();
        for state in states.into_iter().rev() {
            if !last
                .iter()
                .any(|other| (&other.database, &other.table) == (&state.database, &state.table))
            {
                info!(
                    %gtid, table = format!("{}.{}", state.database, state.table), state = state.state.word(),
                    "a statement has changed what is to be copied"
                );
                last.push(state);
            }
        }
        Ok(last)
    }

    /// Those of some objects whose copy isn't done.
    fn relaxed_of(&self, objects: &[ObjectName]) -> Vec<usize> {
        let is_named = |copy: &TableCopy| {
            objects.iter().any(|object| match object {
                ObjectName::Table(name) => {
                    (&name.database, &name.table) == (&copy.database, &copy.table)
                }
                ObjectName::Database(name) => *name == copy.database,
            })
        };
        let tables = self.tables.iter().enumerate();
        tables
            .filter(|(_, copy)| copy.is_relaxed() && is_named(copy))
            .map(|(at, _)| at)
            .collect()
    }

    /// Tables have taken each other's names: a copy that wasn't done begins anew under the new one.
    fn renamed(&mut self, pairs: &[(TableName, TableName)]) -> Vec<TableCopy> {
        let mut states = Vec::new();
        for (from, to) in pairs {
            let is_relaxed = |copies: &Self, name: &TableName| {
                let at = copies.find(&name.database, &name.table).ok()?;
                copies.tables.get(at)?.is_relaxed().then_some(at)
            };
            // Only what left it before in this statement had the new name.
            if let Some(at) = is_relaxed(self, to) {
                states.extend(self.over(at));
            }
            let Some(at) = is_relaxed(self, from) else {
                continue;
            };
            let condition = self.tables.get(at).and_then(|copy| copy.condition.clone());
            states.extend(self.over(at));
            let at = self.enter(to);
            if let Some(copy) = self.tables.get_mut(at) {
                copy.state = CopyState::Waiting;
                copy.condition = condition;
            }
            states.extend(self.anew(at));
        }
        states
    }

    /// Rows have changed places between tables: if one of them was being copied, all are.
    fn exchanged(&mut self, objects: &[ObjectName]) -> Vec<TableCopy> {
        if self.relaxed_of(objects).is_empty() {
            return Vec::new();
        }
        let mut states = Vec::new();
        for object in objects {
            if let ObjectName::Table(name) = object {
                let at = self.enter(name);
                states.extend(self.anew(at));
            }
        }
        states
    }

    /// A table's place in the list, made if there is none. All places change with that, so readers,
    /// which know theirs, begin again from what is committed.
    fn enter(&mut self, name: &TableName) -> usize {
        match self.find(&name.database, &name.table) {
            Ok(at) => at,
            Err(at) => {
                let readers: Vec<u64> = self.running.iter().map(|running| running.id).collect();
                for reader in readers {
                    self.end_reader(reader);
                }
                self.lost.clear();
                self.lock_pauses.clear();
                self.targets.clear();
                self.tables
                    .insert(at, TableCopy::waiting(&name.database, &name.table));
                self.count();
                at
            }
        }
    }
}

/// Whether a statement may have given the sink's rows numbers in an order of its own.
fn numbers_rows(statement: &[u8]) -> bool {
    const WORD: &[u8] = b"AUTO_INCREMENT";
    statement
        .windows(WORD.len())
        .any(|window| window.eq_ignore_ascii_case(WORD))
}
