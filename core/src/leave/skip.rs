//! Leaving transactions out: the sink counts as holding them, and they are never applied to it.
//!
//! From then on the rows that they changed may differ from the source's. A later change of such a
//! row stops the pipeline, as any divergence does; comparing tells which rows they are.

use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::{PipelineSpec, SinkSpec};

use super::source::Source;
use super::survey::Survey;
use super::{LeaveError, Moved, both, held, sink_of};
use crate::commit::intervene::Intervention;
use crate::commit::session::Session;

/// Transactions that could be left out.
pub struct Skip<'a> {
    spec: &'a PipelineSpec,
    sink: &'a SinkSpec,
    held: GtidSet,
    wanted: GtidSet,
    purged: GtidSet,
    survey: Survey,
}

impl<'a> Skip<'a> {
    /// Finds out what leaving `gtids` out would mean. Changes nothing.
    ///
    /// # Errors
    /// It can't be made, and why.
    pub async fn plan(spec: &'a PipelineSpec, gtids: &GtidSet) -> Result<Skip<'a>, LeaveError> {
        let sink = sink_of(spec)?;
        let mut session = Session::connect(sink.name.as_str(), &sink.endpoint).await?;
        let held = held(spec, sink, &mut session).await?;
        session.disconnect().await;
        let wanted = gtids.subtract(&held);
        let mut source = Source::connect(spec).await?;
        let facts = source.facts().await?;
        let unknown = wanted.subtract(&facts.gtid_executed);
        if !unknown.is_empty() {
            return Err(LeaveError::NotExecuted {
                gtids: unknown.to_string(),
            });
        }
        let purged = both(&wanted, &facts.gtid_purged);
        let mut survey = Survey::default();
        source
            .survey(&wanted.subtract(&purged), &mut survey)
            .await?;
        Ok(Skip {
            spec,
            sink,
            held,
            wanted,
            purged,
            survey,
        })
    }

    /// What the sink holds.
    pub fn held(&self) -> &GtidSet {
        &self.held
    }

    /// What would be left out: what it doesn't hold already.
    pub fn gtids(&self) -> &GtidSet {
        &self.wanted
    }

    /// Those of which the source's binlog doesn't tell any more what they held.
    pub fn purged(&self) -> &GtidSet {
        &self.purged
    }

    /// What the others hold.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Makes it. What the pipeline has applied meanwhile isn't left out: see what was held before.
    ///
    /// # Errors
    /// A schema change among them may be running now, or the sink refused it. Nothing is changed
    /// then.
    pub async fn make(self) -> Result<Moved, LeaveError> {
        let (pipeline, sink) = (self.spec.name.as_str(), self.sink.name.as_str());
        let mut change = Intervention::begin(pipeline, sink, &self.sink.endpoint).await?;
        let before = change.gtids().clone();
        let intent = change.intent().cloned();
        let intent = intent.filter(|intent| {
            let gtid = intent.gtid.parse();
            gtid.is_ok_and(|gtid| self.wanted.contains(&gtid))
        });
        if let Some(intent) = intent {
            if change.may_run_ddl().await? {
                return Err(LeaveError::UnderWay {
                    gtid: intent.gtid,
                    statement: intent.statement,
                    next: "it may be running now; stop the pipeline first (towpath stop), or wait for its end",
                });
            }
            change.forget_intent();
        }
        let after = before.union(&self.wanted);
        change.set_gtids(after.clone()).await?;
        change.commit().await?;
        Ok(Moved { before, after })
    }
}
