//! Whether a running task's Core is cut off from its servers while another Core isn't.
//!
//! The source is heard by the dump's heartbeats, so its silence ends the epoch. A sink may be
//! silent for as long as a statement takes, so it's asked on a connection of its own. Nothing here
//! stops a run: the runner leaves the election, where another stands ready.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use tokio::sync::watch;
use tokio::time::Instant;
use towpath_protocol::spec::Endpoint;

use crate::endpoint;
use crate::pipeline::progress::View;
use crate::task::OwnedTask;

/// The sink is asked for a sign of life this often.
const PING_EVERY: Duration = Duration::from_secs(1);
/// A login has this long for it.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A sink that has not answered for this long counts as cut off, and a run that has lost
/// a server for so long. A standby that has lost the same server says so sooner, whether its
/// connection broke (it asks every second) or fell silent (it waits two seconds for an answer; the
/// dump's silence lasts three): what is down for all moves nothing.
const SILENT_AFTER: Duration = Duration::from_millis(3500);
const LOST_AFTER: Duration = Duration::from_millis(1500);

/// Watches a run's servers until it's dropped.
pub(super) struct Reach {
    answered: watch::Receiver<Instant>,
    _task: OwnedTask<()>,
    lost_since: Option<Instant>,
}

impl Reach {
    pub(super) fn watch(sink: Endpoint) -> Self {
        let (publish, answered) = watch::channel(Instant::now());
        Self {
            answered,
            _task: OwnedTask::spawn(ask(sink, publish)),
            lost_since: None,
        }
    }

    /// Why another Core should have the task, if so; `view` is what the run looks like now.
    pub(super) fn cut_off(&mut self, view: &View) -> Option<String> {
        let silent = self.answered.borrow().elapsed();
        if silent > SILENT_AFTER {
            return Some(format!(
                "the sink has not answered for {} s",
                silent.as_secs()
            ));
        }
        let Some(trouble) = &view.trouble else {
            self.lost_since = None;
            return None;
        };
        let since = *self.lost_since.get_or_insert_with(Instant::now);
        (since.elapsed() > LOST_AFTER).then(|| trouble.clone())
    }
}

async fn ask(sink: Endpoint, publish: watch::Sender<Instant>) {
    let mut conn = None;
    loop {
        let look = async {
            let mut open = match conn.take() {
                Some(open) => open,
                None => endpoint::connect(endpoint::sql_opts(&sink).ok()?, sink.tls)
                    .await
                    .ok()?,
            };
            open.ping().await.ok()?;
            Some(open)
        };
        conn = tokio::time::timeout(CONNECT_MAX, look).await.ok().flatten();
        if conn.is_some() {
            publish.send_replace(Instant::now());
        }
        tokio::time::sleep(PING_EVERY).await;
    }
}
