//! Where the data path is measured: durable servers, and `towpath run` on a pipeline in which
//! nothing is tuned.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use towpath_testing::{MysqlServer, ServerBuilder, TowpathProcess};

use crate::process::{busy, cpu_of, pid_of};
use crate::workload::DATABASE;

/// A durable server with room for the workloads.
pub fn server(id: u32) -> ServerBuilder {
    MysqlServer::builder()
        .server_id(id)
        .durable()
        .option("max-binlog-size", "1G")
        .option("max-allowed-packet", "64M")
        .option("innodb-buffer-pool-size", "512M")
        .option("innodb-redo-log-capacity", "1G")
}

/// The program `towpath`: the given one, or the one beside this.
///
/// # Errors
/// It isn't there.
pub fn program(given: Option<PathBuf>) -> Result<PathBuf> {
    given.map_or_else(
        || {
            towpath_testing::towpath_program()
                .context("the program is missing: cargo build --release")
        },
        Ok,
    )
}

/// `towpath run --standalone` at work; it is killed when dropped.
pub struct Standalone {
    /// The process.
    pub process: TowpathProcess,
    _folder: TempDir,
}

impl Standalone {
    /// Starts it on a pipeline as anyone would write it, from `source` to `target`. `source_keys`
    /// are further lines of `[source]`.
    ///
    /// # Errors
    /// A file can't be written, or the program not be started.
    pub fn start(
        program: &Path,
        name: &str,
        source: &MysqlServer,
        target: &MysqlServer,
        source_keys: &str,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("pipeline.toml");
        fs::write(
            &file,
            format!(
                r#"name = "{name}"

[source]
url = "{}"
tables = ["{DATABASE}.*"]
tls = "disabled"
{source_keys}

[[sink]]
name = "replica"
url = "{}"
tls = "disabled"
"#,
                source.url("repl"),
                target.url("app")
            ),
        )?;
        let process = TowpathProcess::builder()
            .program(program)
            .args(["run", "--standalone"])
            .arg(&file)
            .spawn()?;
        Ok(Self {
            process,
            _folder: folder,
        })
    }
}

/// What a run costs, from its start on.
pub struct Meter {
    source_pid: String,
    target_pid: String,
    source_cpu: Duration,
    target_cpu: Duration,
    busy: Duration,
    began: Instant,
}

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// From start to end.
    pub wall: Duration,
    /// CPU time of the source's server.
    pub source_cpu: Duration,
    /// CPU time of the target's server.
    pub target_cpu: Duration,
    /// CPU time that all other processes of the machine took meanwhile, as a share of one core.
    pub foreign_cores: f64,
}

impl Meter {
    /// The run begins now.
    ///
    /// # Errors
    /// A server isn't running.
    pub fn start(source: &MysqlServer, target: &MysqlServer) -> Result<Self> {
        let (source_pid, target_pid) = (pid_of(source)?, pid_of(target)?);
        Ok(Self {
            source_cpu: cpu_of(&source_pid)?,
            target_cpu: cpu_of(&target_pid)?,
            busy: busy()?,
            source_pid,
            target_pid,
            began: Instant::now(),
        })
    }

    /// The run has taken `wall`, which is over; `own` is the CPU time of what belongs to it beside
    /// the servers.
    ///
    /// # Errors
    /// A server isn't running.
    pub fn spent(&self, wall: Duration, own: Duration) -> Result<Spent> {
        let source_cpu = cpu_of(&self.source_pid)?.saturating_sub(self.source_cpu);
        let target_cpu = cpu_of(&self.target_pid)?.saturating_sub(self.target_cpu);
        let ours = source_cpu + target_cpu + own;
        let foreign = busy()?.saturating_sub(self.busy).saturating_sub(ours);
        Ok(Spent {
            wall,
            source_cpu,
            target_cpu,
            foreign_cores: foreign.as_secs_f64() / wall.as_secs_f64(),
        })
    }

    /// How long the run takes by now.
    pub fn wall(&self) -> Duration {
        self.began.elapsed()
    }
}
