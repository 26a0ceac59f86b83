//! The source, as far as it is asked what transactions hold.

use std::time::Duration;

use mysql_async::Conn;
use tokio::time::Instant;
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::PipelineSpec;

use super::LeaveError;
use super::survey::{Survey, Surveyor};
use crate::endpoint;
use crate::pipeline::{PipelineError, default_server_id};
use crate::source::{DumpFrom, DumpOptions, EventStream, SourceError, SourceFacts};

/// What the sink holds was in the source's binlog before; `gtid_executed` follows at once.
const EXECUTED_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const EXECUTED_PAUSE: Duration = Duration::from_millis(50);

/// A source that is asked.
pub(super) struct Source<'a> {
    spec: &'a PipelineSpec,
    conn: Conn,
    pub(super) options: DumpOptions,
}

impl<'a> Source<'a> {
    /// Connects.
    pub(super) async fn connect(spec: &'a PipelineSpec) -> Result<Self, LeaveError> {
        let address = &spec.source.endpoint;
        let opts = endpoint::sql_opts(address)?;
        let conn = endpoint::connect(opts, address.tls)
            .await
            .map_err(|error| SourceError::from_login(address, error))?;
        // Beside the pipeline's own dump, which must not end by this one.
        let name = format!("leave-{}", std::process::id());
        let options = DumpOptions {
            server_id: default_server_id(spec.name.as_str(), &name),
            replica_uuid: None,
            pipeline: spec.name.to_string(),
            heartbeat: Duration::from_millis(spec.source.heartbeat_ms),
        };
        Ok(Self {
            spec,
            conn,
            options,
        })
    }

    /// The connection, for SQL.
    pub(super) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// What it says about itself now.
    pub(super) async fn facts(&mut self) -> Result<SourceFacts, LeaveError> {
        Ok(SourceFacts::read(&mut self.conn).await?)
    }

    /// Reads what some transactions hold, as far as that isn't known yet. None of them may be
    /// purged.
    ///
    /// # Errors
    /// The source has not executed all of them, has lost some, or its binlog can't be read.
    pub(super) async fn survey(
        &mut self,
        wanted: &GtidSet,
        into: &mut Survey,
    ) -> Result<(), LeaveError> {
        let wanted = wanted.subtract(&into.read);
        if wanted.is_empty() {
            return Ok(());
        }
        let since = Instant::now();
        let facts = loop {
            let facts = self.facts().await?;
            let lacks = wanted.subtract(&facts.gtid_executed);
            if lacks.is_empty() {
                break facts;
            }
            if since.elapsed() > EXECUTED_MAX {
                let extra = lacks.to_string();
                return Err(SourceError::Diverged { extra }.into());
            }
            tokio::time::sleep(EXECUTED_PAUSE).await;
        };
        let names = facts.variable("lower_case_table_names");
        let lower_case_names = !matches!(names, "" | "0");
        let from = facts.gtid_executed.subtract(&wanted);
        let address = &self.spec.source.endpoint;
        let from = DumpFrom::Gtid(&from);
        let mut stream = EventStream::open_to_end(address, &self.options, from).await?;
        let (filter, rules) = (&self.spec.source.tables, &self.spec.ddl);
        let mut surveyor = Surveyor::new(filter, rules, lower_case_names, &wanted, into);
        loop {
            let event = match stream.next().await {
                Ok(event) => event,
                Err(SourceError::Ended) => break,
                Err(error) => return Err(error.into()),
            };
            if let Err(source) = surveyor.event(event.header.event_type, event.body) {
                let gtid = surveyor.open().map(ToString::to_string);
                let gtid = gtid.unwrap_or_default();
                return Err(PipelineError::Decode { gtid, source }.into());
            }
            if surveyor.is_done() {
                break;
            }
        }
        surveyor.end();
        let missing = wanted.subtract(&into.read);
        if !missing.is_empty() {
            // Executed and not purged, and yet not there: a replica that doesn't log what it
            // replicates.
            let missing = missing.to_string();
            return Err(SourceError::Purged { missing }.into());
        }
        Ok(())
    }
}
