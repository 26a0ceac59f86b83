//! What carries the source's transactions to the target.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mysql_async::prelude::Queryable as _;
use towpath_benches::process::{cpu_of, memory_of};
use towpath_benches::rig::Standalone;
use towpath_testing::{MysqlServer, gtid_executed, stored_gtid_set};

/// The longest that a run may take.
const RUN_MAX: Duration = Duration::from_secs(600);
/// How often the offset row is looked at: seldom, since looking costs the target, too.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Between a signal and the end of a process.
const STOP_MAX: Duration = Duration::from_secs(20);
const PIPELINE: &str = "bench";

/// An applier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applier {
    /// The program `towpath`, one process with one connection that applies.
    Towpath(PathBuf),
    /// The target's own replication threads.
    Replica {
        /// `replica_parallel_workers`.
        workers: u32,
    },
}

impl fmt::Display for Applier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Applier::Towpath(_) => f.write_str("towpath"),
            Applier::Replica { workers: 1 } => f.write_str("replica, 1 worker"),
            Applier::Replica { workers } => write!(f, "replica, {workers} workers"),
        }
    }
}

/// An applier at work; it is killed when dropped.
pub(crate) enum Running {
    Towpath(Standalone),
    Replica,
}

impl Applier {
    /// What the target's server needs to be told before it starts.
    pub(crate) fn server_options(&self) -> Vec<(&'static str, String)> {
        match self {
            Applier::Towpath(_) => Vec::new(),
            Applier::Replica { workers } => {
                vec![("replica-parallel-workers", workers.to_string())]
            }
        }
    }

    /// What comes before the clock starts.
    pub(crate) async fn prepare(&self, source: &MysqlServer, target: &MysqlServer) -> Result<()> {
        if let Applier::Replica { .. } = self {
            let mut conn = target.conn().await?;
            conn.query_drop(format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, \
                 SOURCE_USER = 'repl', SOURCE_PASSWORD = 'repl', SOURCE_AUTO_POSITION = 1, \
                 GET_SOURCE_PUBLIC_KEY = 1",
                source.port()
            ))
            .await?;
        }
        Ok(())
    }

    /// Starts it.
    pub(crate) async fn start(
        &self,
        source: &MysqlServer,
        target: &MysqlServer,
    ) -> Result<Running> {
        match self {
            Applier::Replica { .. } => {
                target.conn().await?.query_drop("START REPLICA").await?;
                Ok(Running::Replica)
            }
            Applier::Towpath(program) => {
                let keys = "start = \"earliest\"\nsnapshot = \"never\"";
                let run = Standalone::start(program, PIPELINE, source, target, keys)?;
                Ok(Running::Towpath(run))
            }
        }
    }
}

impl Running {
    /// Waits until the target has all that the source has.
    pub(crate) async fn caught_up(&self, source: &MysqlServer, target: &MysqlServer) -> Result<()> {
        let mut at_source = source.conn().await?;
        let wanted = gtid_executed(&mut at_source).await?;
        let mut at_target = target.conn().await?;
        match self {
            Running::Replica => {
                let late: Option<u8> = at_target
                    .exec_first(
                        "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)",
                        (&wanted, RUN_MAX.as_secs()),
                    )
                    .await?;
                if late != Some(0) {
                    bail!("the replica did not get to the end in {RUN_MAX:?}");
                }
                Ok(())
            }
            Running::Towpath(Standalone { process, .. }) => {
                let reached = async {
                    loop {
                        if process.exit_status()?.is_some() {
                            bail!("towpath ended");
                        }
                        let stored = stored_gtid_set(&mut at_target, PIPELINE).await?;
                        if stored == wanted {
                            return Ok(());
                        }
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                };
                tokio::time::timeout(RUN_MAX, reached)
                    .await
                    .context("towpath did not get to the end")?
                    .with_context(|| process.tail())
            }
        }
    }

    /// CPU time of its own process, if it has one.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        match self {
            Running::Towpath(Standalone { process, .. }) => cpu_of(&process.pid().to_string()),
            Running::Replica => Ok(Duration::ZERO),
        }
    }

    /// The most memory that its own process had, KiB.
    pub(crate) fn rss_max_kib(&self) -> Result<u64> {
        match self {
            Running::Towpath(Standalone { process, .. }) => {
                memory_of(&process.pid().to_string(), "VmHWM:")
            }
            Running::Replica => Ok(0),
        }
    }

    /// Ends it.
    pub(crate) async fn stop(self, target: &MysqlServer) -> Result<()> {
        match self {
            Running::Towpath(Standalone { process, .. }) => {
                process.terminate()?;
                process.wait_exit(STOP_MAX).await?;
            }
            Running::Replica => target.conn().await?.query_drop("STOP REPLICA").await?,
        }
        Ok(())
    }
}
