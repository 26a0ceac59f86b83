//! Whether this Core could take a task over now: both servers answer it, and grant what it needs.
//!
//! The connections are kept, so that a lost one is noticed. Nothing is written, no lock is taken,
//! and the source's dump is left to whoever runs.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::sync::watch;
use tokio::time::Instant;
use towpath_protocol::spec::{PipelineSpec, TaskRole};

use super::resolve::Resolved;
use crate::check::finding::FindingState;
use crate::commit::preflight::{self, SinkFacts, SourceTraits};
use crate::endpoint;
use crate::source::{Needs, SourceFacts};
use crate::task::OwnedTask;

/// Both servers are asked for a sign of life this often.
const PING_EVERY: Duration = Duration::from_secs(1);
/// Settings and privileges are looked at again this often.
const CHECK_EVERY: Duration = Duration::from_secs(30);
/// A server that has not answered a ping for this long is not ready.
const PING_MAX: Duration = Duration::from_secs(2);
/// A look at settings and privileges has this long, with its logins.
const CHECK_MAX: Duration = Duration::from_secs(10);

/// What a standby knows of its readiness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Not asked yet.
    #[default]
    Unknown,
    /// It could take over.
    Ready,
    /// It could not, and why.
    NotReady(String),
}

/// Checks that go on until this is dropped.
pub(super) struct Standby {
    pub(super) resolved: Resolved,
    readiness: watch::Receiver<Readiness>,
    _task: OwnedTask<()>,
}

impl Standby {
    pub(super) fn keep_ready(resolved: Resolved) -> Self {
        let (publish, readiness) = watch::channel(Readiness::Unknown);
        Self {
            _task: OwnedTask::spawn(run(resolved.clone(), publish)),
            resolved,
            readiness,
        }
    }

    pub(super) fn readiness(&self) -> Readiness {
        self.readiness.borrow().clone()
    }

    /// Waits for a change of it.
    pub(super) async fn changed(&mut self) {
        if self.readiness.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn run(resolved: Resolved, publish: watch::Sender<Readiness>) {
    let Resolved { spec, role, .. } = resolved;
    let mut warm = None;
    let mut checked_at = Instant::now();
    loop {
        let due = checked_at.elapsed() >= CHECK_EVERY;
        let answer_max = match &warm {
            Some(_) if !due => PING_MAX,
            _ => CHECK_MAX,
        };
        let look = async {
            match warm.as_mut() {
                Some(warm) if !due => ping(warm).await,
                _ => {
                    // One of each at a time.
                    warm = None;
                    warm = Some(check(&spec, &role).await?);
                    checked_at = Instant::now();
                    Ok(())
                }
            }
        };
        let looked = match tokio::time::timeout(answer_max, look).await {
            Ok(looked) => looked,
            Err(_) => Err(format!("no answer within {} s", answer_max.as_secs())),
        };
        let readiness = match looked {
            Ok(()) => Readiness::Ready,
            Err(why) => {
                warm = None;
                Readiness::NotReady(why)
            }
        };
        publish.send_if_modified(|present| {
            let changed = *present != readiness;
            if changed {
                match &readiness {
                    Readiness::NotReady(why) => {
                        tracing::warn!(pipeline = %spec.name, why, "not ready to take over");
                    }
                    Readiness::Ready | Readiness::Unknown => {
                        tracing::info!(pipeline = %spec.name, "ready to take over");
                    }
                }
                *present = readiness;
            }
            changed
        });
        tokio::time::sleep(PING_EVERY).await;
    }
}

/// Connections that stand.
struct Warm {
    source: Option<Conn>,
    sink: Option<Conn>,
}

async fn ping(warm: &mut Warm) -> Result<(), String> {
    async fn ping(conn: &mut Option<Conn>) -> Result<(), mysql_async::Error> {
        match conn {
            Some(conn) => conn.ping().await,
            None => Ok(()),
        }
    }
    let (source, sink) = tokio::join!(ping(&mut warm.source), ping(&mut warm.sink));
    source.map_err(|error| format!("the source was lost: {error}"))?;
    sink.map_err(|error| format!("the sink was lost: {error}"))
}

/// Looks at both servers, or at the one that a task of one side needs: a consumer goes on while the
/// source is away.
async fn check(spec: &PipelineSpec, role: &TaskRole) -> Result<Warm, String> {
    let source_at = (!matches!(role, TaskRole::Consumer(_))).then_some(&spec.source.endpoint);
    let sink_spec = match role.sink() {
        None => None,
        Some(_) => Some(spec.sinks.first().ok_or("the spec has no sink")?),
    };
    let sink_at = sink_spec.map(|sink| &sink.endpoint);
    let (source, sink) = tokio::join!(connect(source_at), connect(sink_at));
    let mut source = source.map_err(|error| format!("source: {error}"))?;
    let mut sink = sink.map_err(|error| format!("sink: {error}"))?;
    let of = |server: &'static str, findings: Vec<crate::check::finding::Finding>| {
        let failed = findings
            .into_iter()
            .find(|finding| finding.state == FindingState::Failed);
        match failed {
            None => Ok(()),
            Some(finding) => Err(format!("{server}: {}: {}", finding.what, finding.found)),
        }
    };
    let mut facts = None;
    if let Some(source) = &mut source {
        let mut read = SourceFacts::read(source)
            .await
            .map_err(|error| error.to_string())?;
        // The one who runs has the same server_id: that is no clash.
        read.replicas = None;
        let needs = Needs {
            server_id: spec.source.server_id.unwrap_or_default(),
            gtid: true,
            // It goes on with what was begun.
            whole_rows: false,
        };
        of("source", read.findings(&needs))?;
        facts = Some(read);
    }
    if let (Some(sink), Some(sink_spec)) = (&mut sink, sink_spec) {
        let sink_facts = SinkFacts::read(sink, spec.name.as_str(), sink_spec.name.as_str())
            .await
            .map_err(|error| format!("sink: {error}"))?;
        let sink_needs = preflight::Needs {
            source: facts.as_ref().map(|facts| SourceTraits {
                server_uuid: facts.server_uuid(),
                max_allowed_packet: facts.max_allowed_packet(),
                lower_case_table_names: facts.variable("lower_case_table_names"),
            }),
            ..preflight::Needs::default()
        };
        of("sink", sink_facts.findings(&sink_needs))?;
    }
    Ok(Warm { source, sink })
}

async fn connect(at: Option<&towpath_protocol::spec::Endpoint>) -> Result<Option<Conn>, String> {
    let Some(at) = at else {
        return Ok(None);
    };
    let opts = endpoint::sql_opts(at).map_err(|error| error.to_string())?;
    let conn = endpoint::connect(opts, at.tls).await;
    conn.map(Some).map_err(|error| format!("{at}: {error}"))
}
