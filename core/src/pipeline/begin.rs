//! What an epoch begins with: the sink's side, which is taken over, and the source's, which is only
//! looked at. Each can begin without the other, but for a sink that has no place yet: that one is found
//! at the source.

use std::time::Duration;

use mysql_async::Conn;
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::position::BinlogPosition;
use towpath_protocol::spec::{PipelineSpec, SinkSpec, SnapshotMode, StartAt};
use tracing::info;
use uuid::Uuid;

use super::error::PipelineError;
use super::{Authority, default_server_id, snapshot};
use crate::commit::SinkError;
use crate::commit::lane::Lane;
use crate::commit::offset::OffsetWriter;
use crate::commit::preflight::{Offset, read_offset};
use crate::commit::session::{ServerFacts, Session};
use crate::commit::takeover::{Claim, Held, take_over};
use crate::source::{DumpOptions, SourceError, SourceFacts, anonymous, check_position, start};

/// Both sides.
pub(super) struct Begun {
    pub(super) sink: BegunSink,
    pub(super) options: DumpOptions,
    pub(super) source_uuid: Uuid,
}

/// A sink that was taken over.
pub(super) struct BegunSink {
    pub(super) held: Held,
    pub(super) lane: Lane,
    pub(super) ddl: Session,
    pub(super) facts: ServerFacts,
    /// Where to go on.
    pub(super) gtids: GtidSet,
}

/// Takes the sink over, looks at the source, and finds where to begin.
pub(super) async fn begin(
    spec: &PipelineSpec,
    sink: &SinkSpec,
    claim: &mut Claim,
    authority: &mut impl Authority,
) -> Result<Begun, PipelineError> {
    // All at once: a successor must be quick.
    let (sessions, conn) = tokio::try_join!(SinkSide::connect(claim, sink), connect_source(spec))?;
    let target = SinkSide::look(sessions, claim).await?;
    let source = SourceSide::look(conn).await?;
    let source_uuid = source.uuid;
    let mut source = Some(source);
    let begun = begin_sink(spec, sink, claim, authority, target, &mut source).await?;
    if let Some(source) = source {
        source.leave().await;
    }
    Ok(Begun {
        options: dump_options(spec, claim, &begun.held),
        source_uuid,
        sink: begun,
    })
}

/// Takes over a sink that is filled from a log.
pub(super) async fn begin_consumer(
    spec: &PipelineSpec,
    sink: &SinkSpec,
    claim: &mut Claim,
    authority: &mut impl Authority,
) -> Result<BegunSink, PipelineError> {
    let sessions = SinkSide::connect(claim, sink).await?;
    let target = SinkSide::look(sessions, claim).await?;
    let mut source = None;
    let begun = begin_sink(spec, sink, claim, authority, target, &mut source).await?;
    if let Some(source) = source {
        source.leave().await;
    }
    Ok(begun)
}

/// Looks at the source for a producer that has no sink.
pub(super) async fn begin_source(spec: &PipelineSpec) -> Result<SourceSide, PipelineError> {
    SourceSide::look(connect_source(spec).await?).await
}

/// A sink that was looked at, and isn't ours yet.
pub(super) struct SinkSide {
    rows: Session,
    ddl: Session,
    facts: ServerFacts,
    onlooker: Offset,
}

impl SinkSide {
    /// Both connections that an owner needs.
    async fn connect(claim: &Claim, sink: &SinkSpec) -> Result<(Session, Session), PipelineError> {
        Ok(tokio::try_join!(
            Session::connect(&claim.sink, &sink.endpoint),
            Session::connect(&claim.sink, &sink.endpoint),
        )?)
    }

    async fn look(
        (mut rows, mut ddl): (Session, Session),
        claim: &Claim,
    ) -> Result<Self, PipelineError> {
        let facts = rows.facts().await?;
        ddl.facts().await?;
        let onlooker = read_offset(rows.conn(), &claim.pipeline, &claim.sink)
            .await
            .map_err(|error| {
                SinkError::from_driver(&claim.sink, "look at the offset row", error)
            })?;
        Ok(Self {
            rows,
            ddl,
            facts,
            onlooker,
        })
    }

    /// Whether an onlooker sees that the sink has no place yet.
    fn has_no_place(&self) -> bool {
        match &self.onlooker {
            Offset::Absent => true,
            Offset::Stored(row) => row.gtids.is_none(),
            Offset::Hidden | Offset::Unreadable(_) => false,
        }
    }
}

/// Takes over a sink that was looked at, and finds where it goes on. A sink that has no place yet finds it at
/// the source, which is connected for that if it isn't.
pub(super) async fn begin_sink(
    spec: &PipelineSpec,
    sink: &SinkSpec,
    claim: &mut Claim,
    authority: &mut impl Authority,
    target: SinkSide,
    source: &mut Option<SourceSide>,
) -> Result<BegunSink, PipelineError> {
    // Whoever can't read the source, or reads another one, must not end an owner that does: that is
    // found out before the takeover, as far as an onlooker can.
    if let (Offset::Stored(row), Some(source)) = (&target.onlooker, &source) {
        source.refuse_another(claim, row.source_uuid, row.gtids.as_ref())?;
    }
    let has_no_place = target.has_no_place();
    if has_no_place {
        refuse_a_lost_place(spec, claim, authority).await?;
    }
    if has_no_place && source.is_none() {
        // Before anything is taken: a successor waits for the source, too.
        *source = Some(begin_source(spec).await?);
    }
    let SinkSide {
        mut rows,
        mut ddl,
        facts,
        onlooker: _,
    } = target;

    // The right is taken last: each step between it and the takeover is one in which it could age.
    claim.right = authority.right().await?;
    let mut held = take_over(claim, &mut rows, &mut ddl).await?;
    claim.held = Some((held.generation, held.epoch));
    if let Some(source) = source {
        // The predecessor may have gone on until then, with transactions newer than the facts.
        source.look_again().await?;
        source.refuse_another(claim, held.source_uuid, held.gtids.as_ref())?;
    }
    let fresh = held.gtids.is_none();
    if fresh && !has_no_place {
        // An onlooker may have seen less than the owner does.
        refuse_a_lost_place(spec, claim, authority).await?;
    }
    let known = held.gtids.clone().zip(held.source_uuid);
    let (gtids, source_uuid) = match (&source, known) {
        (None, Some(known)) => known,
        _ => {
            let source = match source {
                Some(source) => source,
                None => source.insert(begin_source(spec).await?),
            };
            let gtids = match &held.gtids {
                Some(gtids) => gtids.clone(),
                None => source.beginning(spec, claim, &mut held, &mut ddl).await?,
            };
            if held.source_uuid != Some(source.uuid) {
                // It is a place in the binlog of another server.
                held.position = None;
            }
            source.check(&gtids, held.position.as_ref()).await?;
            (gtids, source.uuid)
        }
    };

    rows.read_bytes().await?;
    let mut offset = OffsetWriter::new(
        &claim.pipeline,
        &claim.sink,
        &held,
        source_uuid,
        gtids.clone(),
    );
    if fresh {
        offset.commit_start(&mut rows, &held.copies).await?;
        info!(
            pipeline = claim.pipeline, sink = claim.sink, gtid_set = %gtids,
            "the sink has no offset yet; starting here"
        );
    }
    Ok(BegunSink {
        lane: Lane::new(rows, offset, &facts, sink.delivery),
        ddl,
        facts,
        gtids,
        held,
    })
}

/// A source that can be followed by GTIDs.
pub(super) struct SourceSide {
    conn: Conn,
    pub(super) facts: SourceFacts,
    pub(super) uuid: Uuid,
}

impl SourceSide {
    async fn look(mut conn: Conn) -> Result<Self, PipelineError> {
        let facts = SourceFacts::read(&mut conn).await?;
        let uuid = parse_server_uuid(&facts)?;
        // Without GTIDs, an offset would be an empty set: everything, once there are some.
        if facts.variable("gtid_mode") != "ON" {
            let mode = facts.variable("gtid_mode").to_owned();
            return Err(SourceError::GtidOff { mode }.into());
        }
        Ok(Self { conn, facts, uuid })
    }

    pub(super) async fn look_again(&mut self) -> Result<(), PipelineError> {
        self.facts = SourceFacts::read(&mut self.conn).await?;
        Ok(())
    }

    fn refuse_another(
        &self,
        claim: &Claim,
        known: Option<Uuid>,
        gtids: Option<&GtidSet>,
    ) -> Result<(), PipelineError> {
        refuse_another_source(claim, known, gtids, &self.facts, self.uuid)
    }

    /// Where a sink without a place begins; with a first copy, that of the tables is prepared.
    async fn beginning(
        &mut self,
        spec: &PipelineSpec,
        claim: &Claim,
        held: &mut Held,
        ddl: &mut Session,
    ) -> Result<GtidSet, PipelineError> {
        if spec.source.snapshot != SnapshotMode::Never {
            let beginning = snapshot::begin(spec, &mut self.conn, ddl).await?;
            (self.facts, held.copies) = (beginning.facts, beginning.copies);
        }
        let options = dump_options(spec, claim, held);
        let (start, endpoint) = (&spec.source.start, &spec.source.endpoint);
        let conn = &mut self.conn;
        Ok(start::resolve(start, endpoint, &options, &self.facts, conn).await?)
    }

    /// Whether its binlog can be followed from a place on.
    pub(super) async fn check(
        &mut self,
        gtids: &GtidSet,
        position: Option<&BinlogPosition>,
    ) -> Result<(), PipelineError> {
        check_position(gtids, &self.facts)?;
        if let Some(position) = position {
            anonymous::check_behind(&mut self.conn, position).await?;
        }
        Ok(())
    }

    pub(super) async fn leave(self) {
        let _ = self.conn.disconnect().await;
    }
}

/// Clause 16: `now` would skip what was written since the pipeline ran last.
async fn refuse_a_lost_place(
    spec: &PipelineSpec,
    claim: &Claim,
    authority: &mut impl Authority,
) -> Result<(), PipelineError> {
    if spec.source.start == StartAt::Now && claim.held.is_none() && authority.ran_before().await? {
        return Err(SinkError::RanBefore {
            sink: claim.sink.clone(),
            pipeline: claim.pipeline.clone(),
        }
        .into());
    }
    Ok(())
}

fn dump_options(spec: &PipelineSpec, claim: &Claim, held: &Held) -> DumpOptions {
    DumpOptions {
        server_id: spec
            .source
            .server_id
            .unwrap_or_else(|| default_server_id(&claim.pipeline, &claim.sink)),
        replica_uuid: Some(Uuid::new_v5(&held.pipeline_uuid, claim.sink.as_bytes())),
        pipeline: claim.pipeline.clone(),
        heartbeat: Duration::from_millis(spec.source.heartbeat_ms),
    }
}

pub(super) async fn connect_source(spec: &PipelineSpec) -> Result<Conn, PipelineError> {
    let endpoint = &spec.source.endpoint;
    let opts = crate::endpoint::sql_opts(endpoint).map_err(PipelineError::Endpoint)?;
    crate::endpoint::connect(opts, endpoint.tls)
        .await
        .map_err(|error| SourceError::from_login(endpoint, error).into())
}

pub(super) fn parse_server_uuid(facts: &SourceFacts) -> Result<Uuid, PipelineError> {
    Uuid::parse_str(facts.server_uuid()).map_err(|_| PipelineError::NoServerUuid {
        version: facts.version().to_owned(),
    })
}

/// An offset row may only go on with the history it came from: the same server, or one that has
/// executed all that the sink holds.
fn refuse_another_source(
    claim: &Claim,
    known: Option<Uuid>,
    gtids: Option<&GtidSet>,
    facts: &SourceFacts,
    source_uuid: Uuid,
) -> Result<(), PipelineError> {
    let (Some(known), Some(gtids)) = (known, gtids) else {
        return Ok(());
    };
    let same_history = !gtids.is_empty() && gtids.is_subset(&facts.gtid_executed);
    if known == source_uuid || same_history {
        return Ok(());
    }
    let lacks = gtids.subtract(&facts.gtid_executed);
    if gtids.intersects(&facts.gtid_executed) {
        // Of the same topology: promoted without the last transactions, or behind.
        return Err(SourceError::Diverged {
            extra: short_set(&lacks),
        }
        .into());
    }
    Err(SinkError::AnotherSource {
        sink: claim.sink.clone(),
        pipeline: claim.pipeline.clone(),
        known,
        found: source_uuid,
        example: match lacks.is_empty() {
            true => String::new(),
            false => format!(" ({})", short_set(&lacks)),
        },
    }
    .into())
}

/// A set as far as a message can show it.
pub(super) fn short_set(set: &GtidSet) -> String {
    const CHARS_MAX: usize = 200;
    let mut text = set.to_string();
    if let Some((at, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(at);
        text.push_str(" …");
    }
    text
}
