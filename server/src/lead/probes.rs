//! Looks at every data source now and then, and writes what changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use towpath_coordination::{CoordinationError, Expect, Mirror, Session};
use towpath_protocol::tree::record::{DataSource, Probe};
use towpath_protocol::tree::{DataSourceName, path};

use crate::probe::probe;

/// Data sources that are looked at, at the same time.
const PROBES_MAX: usize = 32;

/// Probes until it's dropped.
pub(super) struct Probes(JoinHandle<()>);

impl Probes {
    pub(super) fn start(session: &Session, mirror: &Arc<Mirror>, pace: Duration) -> Self {
        let (session, mirror) = (session.clone(), mirror.clone());
        Self(tokio::spawn(async move {
            let mut ticks = interval(pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                round(&session, &mirror).await;
            }
        }))
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn round(session: &Session, mirror: &Mirror) {
    let sources: BTreeMap<DataSourceName, DataSource> = mirror.look(|nodes| {
        let parent = path::datasources();
        nodes
            .children(&parent)
            .filter_map(|name| {
                let name: DataSourceName = name.parse().ok()?;
                let source = nodes.record(&path::datasource(&name))?;
                Some((name, source))
            })
            .collect()
    });
    let gone: Vec<DataSourceName> = mirror.look(|nodes| {
        nodes
            .children(&path::probes())
            .filter_map(|name| name.parse().ok())
            .filter(|name| !sources.contains_key(name))
            .collect()
    });
    for name in gone {
        if let Err(error) = session.remove(&path::probe(&name), None).await {
            tracing::debug!(source = %name, %error, "a probe's node stays");
        }
    }
    let mut probing = JoinSet::new();
    for (name, source) in sources {
        if probing.len() >= PROBES_MAX {
            let _ = probing.join_next().await;
        }
        let session = session.clone();
        probing.spawn(async move {
            let answer = probe(&source.address).await;
            if let Err(error) = tell(&session, &name, source.address, answer).await {
                tracing::debug!(source = %name, %error, "a probe isn't written");
            }
        });
    }
    while probing.join_next().await.is_some() {}
}

async fn tell(
    session: &Session,
    name: &DataSourceName,
    address: String,
    answer: Result<String, String>,
) -> Result<(), CoordinationError> {
    let node = path::probe(name);
    let answers = answer.is_ok();
    let (Ok(text) | Err(text)) = answer;
    let former = session.read::<Probe>(&node).await?;
    let expect = former
        .as_ref()
        .map_or(Expect::Absent, |entry| Expect::Version(entry.node_version));
    if let Some(former) = &former {
        let record = &former.value.record;
        if record.address == address && record.answers == answers && record.text == text {
            return Ok(());
        }
    }
    let since = former
        .filter(|former| former.value.record.answers == answers)
        .map_or_else(Timestamp::now, |former| former.value.record.since);
    tracing::info!(source = %name, %address, answers, %text, "data source");
    let probe = Probe {
        address,
        answers,
        text,
        since,
    };
    session.write(&node, probe, expect).await.map(drop)
}
