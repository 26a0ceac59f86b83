//! What copies a database.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use towpath_benches::process::memory_of;
use towpath_benches::rig::{Meter, Spent, Standalone};
use towpath_benches::workload::{DATABASE, Workload, compare};
use towpath_testing::MysqlServer;

/// The longest that a copy may take.
const RUN_MAX: Duration = Duration::from_secs(1800);
/// How often a process is looked at while it runs: what it cost is gone when it ends.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Copier {
    /// The program `towpath`.
    Towpath(PathBuf),
    /// `mysqldump --single-transaction | mysql`. By default the dump turns the target's binlog off.
    Dump {
        /// With `--set-gtid-purged=OFF`, by which the target writes its binlog as it does for
        /// Towpath.
        binlog: bool,
    },
}

impl fmt::Display for Copier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Copier::Towpath(_) => "towpath",
            Copier::Dump { binlog: false } => "mysqldump into mysql",
            Copier::Dump { binlog: true } => "the same, with the target's binlog",
        })
    }
}

/// What a copy took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) spent: Spent,
    /// Of the programs that copy.
    pub(crate) own_cpu: Duration,
    /// The most memory that `towpath` had; not known of the pipe.
    pub(crate) rss_max_kib: u64,
}

impl Copier {
    /// Copies everything, and waits for the end.
    pub(crate) async fn run(&self, source: &MysqlServer, target: &MysqlServer) -> Result<Run> {
        let children_before = cpu_of_children()?;
        let meter = Meter::start(source, target)?;
        let rss_max_kib = match self {
            Copier::Towpath(program) => {
                let copy = Copy::start(program, source, target, "only")?;
                copy.ended().await?
            }
            Copier::Dump { binlog } => {
                dump(source, target, *binlog).await?;
                0
            }
        };
        let wall = meter.wall();
        let own_cpu = cpu_of_children()?.saturating_sub(children_before);
        Ok(Run {
            spent: meter.spent(wall, own_cpu)?,
            own_cpu,
            rss_max_kib,
        })
    }

    /// Compares what was copied with the source.
    pub(crate) async fn compare(&self, source: &MysqlServer, target: &MysqlServer) -> Result<()> {
        for workload in Workload::ALL {
            compare(workload, source, target).await?;
        }
        Ok(())
    }
}

/// `towpath` copying.
pub(crate) struct Copy(Standalone);

impl Copy {
    /// Starts it.
    pub(crate) fn start(
        program: &Path,
        source: &MysqlServer,
        target: &MysqlServer,
        snapshot: &str,
    ) -> Result<Self> {
        let keys = format!("snapshot = \"{snapshot}\"");
        Standalone::start(program, "copy", source, target, &keys).map(Self)
    }

    /// Whether it has ended, as it should.
    pub(crate) fn has_ended(&self) -> Result<bool> {
        match self.0.process.exit_status()? {
            Some(status) => {
                ensure!(
                    status.success(),
                    "towpath: {status}; {}",
                    self.0.process.tail()
                );
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Waits until it has ended by itself; answers the most memory that it had, KiB.
    pub(crate) async fn ended(&self) -> Result<u64> {
        let pid = self.0.process.pid().to_string();
        let mut rss_max_kib = 0;
        let ended = async {
            loop {
                if self.has_ended()? {
                    return Ok(rss_max_kib);
                }
                rss_max_kib = memory_of(&pid, "VmHWM:").unwrap_or(rss_max_kib);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(RUN_MAX, ended)
            .await
            .context("the copy did not get to its end")?
    }
}

/// The pipe that everyone knows.
async fn dump(source: &MysqlServer, target: &MysqlServer, binlog: bool) -> Result<()> {
    // What a restore of a whole database would set aside, too: the dump brings the source's
    // numbers.
    let mut conn = target.conn().await?;
    conn.query_drop("RESET BINARY LOGS AND GTIDS").await?;
    drop(conn);
    let script = "set -o pipefail; \"$0\" --no-defaults --user=root --socket=\"$2\" --single-transaction \
        --set-gtid-purged=\"$5\" --databases \"$4\" | \"$1\" --no-defaults --user=root --socket=\"$3\"";
    let status = tokio::process::Command::new("bash")
        .args(["-c", script])
        .arg(source.programs().program("mysqldump"))
        .arg(source.programs().program("mysql"))
        .arg(source.socket())
        .arg(target.socket())
        .arg(DATABASE)
        .arg(if binlog { "OFF" } else { "AUTO" })
        .kill_on_drop(true)
        .status();
    let status = tokio::time::timeout(RUN_MAX, status)
        .await
        .context("the dump did not get to its end")??;
    ensure!(status.success(), "mysqldump | mysql: {status}");
    Ok(())
}

/// User and system time of all children that have ended, and theirs. Source: getrusage(2).
fn cpu_of_children() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    // cutime and cstime, the 16th and 17th fields. Source: proc(5).
    let ticks: u64 = rest
        .split_whitespace()
        .skip(13)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or_default())
        .sum();
    Ok(Duration::from_millis(ticks * 10))
}
