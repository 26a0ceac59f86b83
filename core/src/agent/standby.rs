//! Whether this Core could take a task over now: both servers answer it, and grant what it needs.
//!
//! The connections are kept, so that a lost one is noticed. Nothing is written, no lock is taken,
//! and the source's dump is left to whoever runs.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::sync::watch;
use tokio::time::Instant;
use towpath_protocol::spec::PipelineSpec;

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
    pub(super) spec: PipelineSpec,
    readiness: watch::Receiver<Readiness>,
    _task: OwnedTask<()>,
}

impl Standby {
    pub(super) fn keep_ready(spec: PipelineSpec) -> Self {
        let (publish, readiness) = watch::channel(Readiness::Unknown);
        Self {
            _task: OwnedTask::spawn(run(spec.clone(), publish)),
            spec,
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

async fn run(spec: PipelineSpec, publish: watch::Sender<Readiness>) {
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
                    warm = Some(check(&spec).await?);
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
    source: Conn,
    sink: Conn,
}

async fn ping(warm: &mut Warm) -> Result<(), String> {
    let (source, sink) = tokio::join!(warm.source.ping(), warm.sink.ping());
    source.map_err(|error| format!("the source was lost: {error}"))?;
    sink.map_err(|error| format!("the sink was lost: {error}"))
}

async fn check(spec: &PipelineSpec) -> Result<Warm, String> {
    let Some(sink_spec) = spec.sinks.first() else {
        return Err("the spec has no sink".to_owned());
    };
    let (source, sink) = tokio::join!(connect(&spec.source.endpoint), connect(&sink_spec.endpoint));
    let mut source = source.map_err(|error| format!("source: {error}"))?;
    let mut sink = sink.map_err(|error| format!("sink: {error}"))?;
    let mut facts = SourceFacts::read(&mut source)
        .await
        .map_err(|error| error.to_string())?;
    // The one who runs has the same server_id: that is no clash.
    facts.replicas = None;
    let needs = Needs {
        server_id: spec.source.server_id.unwrap_or_default(),
        gtid: true,
        // It goes on with what was begun.
        whole_rows: false,
    };
    let sink_facts = SinkFacts::read(&mut sink, spec.name.as_str(), sink_spec.name.as_str())
        .await
        .map_err(|error| format!("sink: {error}"))?;
    let sink_needs = preflight::Needs {
        source: Some(SourceTraits {
            server_uuid: facts.server_uuid(),
            max_allowed_packet: facts.max_allowed_packet(),
            lower_case_table_names: facts.variable("lower_case_table_names"),
        }),
        ..preflight::Needs::default()
    };
    let of = |server: &'static str, findings: Vec<crate::check::finding::Finding>| {
        findings
            .into_iter()
            .find(|finding| finding.state == FindingState::Failed)
            .map(|finding| format!("{server}: {}: {}", finding.what, finding.found))
    };
    let failed = of("source", facts.findings(&needs))
        .or_else(|| of("sink", sink_facts.findings(&sink_needs)));
    match failed {
        Some(why) => Err(why),
        None => Ok(Warm { source, sink }),
    }
}

async fn connect(at: &towpath_protocol::spec::Endpoint) -> Result<Conn, String> {
    let opts = endpoint::sql_opts(at).map_err(|error| error.to_string())?;
    endpoint::connect(opts, at.tls)
        .await
        .map_err(|error| format!("{at}: {error}"))
}
