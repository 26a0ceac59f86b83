//! What a trial kills: one process that is started again at once, or the Core of a cluster that runs
//! the pipeline, whose standby takes over.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;

use crate::cluster::{Cluster, ready};
use crate::{Rig, TowpathBuilder, TowpathProcess, wait_until};

/// What a process may need to end in order after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// A takeover is a matter of seconds, on a busy machine too.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two questions whether the standby is ready: each is a process.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// What replicates in a trial.
#[derive(Debug)]
pub enum Subject {
    /// One process.
    Alone(Alone),
    /// The processes of a cluster.
    Cluster(Box<Members>),
}

/// How a subject is.
#[derive(Debug)]
pub(crate) enum Look {
    Fine,
    /// It has ended by itself, or doesn't do what it must.
    Amiss(String),
    /// After a kill, another has committed.
    TookOver {
        by: String,
        after: Duration,
    },
}

impl Subject {
    /// `towpath run --standalone` on the rig's pipeline.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn alone(rig: &Rig) -> Result<Self> {
        let command = rig.towpath("run").arg("--standalone");
        let process = command.spawn()?;
        Ok(Self::Alone(Alone { command, process }))
    }

    pub(crate) async fn look(&mut self) -> Result<Look> {
        match self {
            Self::Alone(alone) => alone.look(),
            Self::Cluster(members) => members.look().await,
        }
    }

    /// Whether it can be killed: what the last kill took is there again.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Alone(_) => true,
            Self::Cluster(members) => matches!(members.phase, Phase::Whole { .. }),
        }
    }

    /// kill -9; says what was killed.
    pub(crate) async fn kill(&mut self) -> Result<String> {
        match self {
            Self::Alone(alone) => alone.kill(),
            Self::Cluster(members) => members.kill().await,
        }
    }

    /// SIGTERM to everything, in order; says what didn't obey.
    pub(crate) async fn stop(&mut self) -> Result<Option<String>> {
        let in_order: Vec<&TowpathProcess> = match self {
            Self::Alone(alone) => vec![&alone.process],
            Self::Cluster(members) => members.processes().map(|(_, process)| process).collect(),
        };
        for process in in_order {
            process.terminate()?;
            match process.wait_exit(STOP_TIMEOUT).await {
                Ok(status) if status.success() => {}
                Ok(status) => return Ok(Some(format!("SIGTERM: {status}\n{}", process.tail()))),
                Err(error) => return Ok(Some(format!("SIGTERM: {error:#}"))),
            }
        }
        Ok(None)
    }

    /// kill -9 of everything that is left.
    pub(crate) fn kill_all(&self) -> Result<()> {
        match self {
            Self::Alone(alone) => drop(alone.process.kill9()?),
            Self::Cluster(members) => {
                for (_, process) in members.processes() {
                    process.kill9()?;
                }
            }
        }
        Ok(())
    }

    /// The end of what it wrote.
    pub(crate) fn tail(&self) -> String {
        match self {
            Self::Alone(alone) => alone.process.tail(),
            Self::Cluster(members) => members.tail(),
        }
    }
}

/// One process.
#[derive(Debug)]
pub struct Alone {
    command: TowpathBuilder,
    process: TowpathProcess,
}

impl Alone {
    fn look(&self) -> Result<Look> {
        Ok(match self.process.exit_status()? {
            None => Look::Fine,
            Some(status) => {
                let tail = self.process.tail();
                Look::Amiss(format!("the pipeline ended by itself ({status}); {tail}"))
            }
        })
    }

    fn kill(&mut self) -> Result<String> {
        self.process.kill9()?;
        self.process = self.command.spawn()?;
        Ok("towpath run".to_owned())
    }
}

/// A Server, two Cores and a Monitor, each a process.
#[derive(Debug)]
pub struct Members {
    // Dropped in this order: the Cores before what they hold on to.
    cores: [(&'static str, TowpathProcess); 2],
    monitor: TowpathProcess,
    cluster: Cluster,
    pipeline: String,
    sink: Conn,
    phase: Phase,
}

/// What a cluster does about a kill.
#[derive(Debug)]
enum Phase {
    /// One Core runs the pipeline, the other stands by.
    Whole { running: usize },
    /// The one that ran is dead.
    Orphaned {
        killed: usize,
        at: Instant,
        /// What the dead one wrote last.
        before: Offset,
        /// What its successor began with.
        taken: Option<Offset>,
    },
    /// The dead one is started again, and doesn't stand by yet.
    Mending { since: Instant, asked: Instant },
}

/// Of the offset row: who may write, and how often they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offset {
    epoch: u64,
    commit_seq: u64,
}

impl Members {
    /// Starts them all and puts the rig's pipeline in force; one Core runs it then, and the other
    /// stands by. `program` as in [`Cluster::start`].
    ///
    /// # Errors
    /// One doesn't start, or the pipeline doesn't run.
    pub async fn start(rig: &Rig, program: Option<PathBuf>) -> Result<Self> {
        let cluster = Cluster::start(program).await?;
        let core = |id: &'static str| -> Result<_> {
            Ok((id, Rig::with_secrets(cluster.core(id)).spawn()?))
        };
        let members = Self {
            cores: [core("core-1")?, core("core-2")?],
            monitor: cluster.monitor("monitor-1").spawn()?,
            pipeline: rig.name().to_owned(),
            sink: rig.target().conn().await?,
            phase: Phase::Whole { running: 0 },
            cluster,
        };
        for (_, process) in members.processes() {
            ready(process).await?;
        }
        Ok(members)
    }

    /// Puts the pipeline file in force and waits until one Core runs it and the other stands by;
    /// answers what `towpath apply` says.
    ///
    /// # Errors
    /// It's refused, or doesn't come to that.
    pub async fn apply(&mut self, rig: &Rig) -> Result<String> {
        let said = self.cluster.apply(&rig.pipeline_file()).await?;
        ensure!(said.code == Some(0), "{}{}", said.out, said.err);
        let mut running = None;
        wait_until(
            "a Core to run the pipeline and another to stand by",
            TAKEOVER_TIMEOUT,
            async || {
                running = self.whole().await?;
                Ok(running.is_some())
            },
        )
        .await
        .with_context(|| self.tail())?;
        self.phase = Phase::Whole {
            running: running.context("nobody runs the pipeline")?,
        };
        Ok(said.out)
    }

    /// The cluster that they are.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Each with its name; in the order in which they are to end.
    pub fn processes(&self) -> impl Iterator<Item = (&'static str, &TowpathProcess)> {
        let cores = self.cores.iter().map(|(id, process)| (*id, process));
        cores.chain([
            ("monitor-1", &self.monitor),
            ("server-1", self.cluster.server()),
        ])
    }

    /// Which Core runs, if the other one stands by.
    async fn whole(&self) -> Result<Option<usize>> {
        let status = self.cluster.json("status").await?;
        let pipelines = status.get("pipelines").and_then(Value::as_array);
        let task = pipelines
            .into_iter()
            .flatten()
            .find(|pipeline| pipeline.get("name").and_then(Value::as_str) == Some(&self.pipeline))
            .and_then(|pipeline| pipeline.pointer("/tasks/0"));
        let Some(task) = task else { return Ok(None) };
        let runs = task.pointer("/running/pid").and_then(Value::as_u64);
        let stands_by = task.pointer("/standby/0/pid").and_then(Value::as_u64);
        let place = |pid: Option<u64>| {
            self.cores
                .iter()
                .position(|(_, process)| pid == Some(process.pid().as_u32().into()))
        };
        Ok(match (place(runs), place(stands_by)) {
            (Some(running), Some(standby)) if running != standby => Some(running),
            _ => None,
        })
    }

    async fn offset(&mut self) -> Result<Offset> {
        let row: Option<(u64, u64)> = self
            .sink
            .exec_first(
                "SELECT epoch, commit_seq FROM towpath.`offset` WHERE pipeline = ?",
                (&self.pipeline,),
            )
            .await
            .context("reading the sink's offset")?;
        let (epoch, commit_seq) = row.context("the pipeline has no offset in the sink")?;
        Ok(Offset { epoch, commit_seq })
    }

    async fn kill(&mut self) -> Result<String> {
        let Phase::Whole { running: killed } = self.phase else {
            bail!("a Core is to be killed, and it isn't known who runs the pipeline");
        };
        let at = Instant::now();
        let (id, process) = self.cores.get(killed).context("no such Core")?;
        process.kill9()?;
        let id = (*id).to_owned();
        self.phase = Phase::Orphaned {
            killed,
            at,
            before: self.offset().await?,
            taken: None,
        };
        Ok(id)
    }

    async fn look(&mut self) -> Result<Look> {
        let dead = match &self.phase {
            Phase::Orphaned { killed, .. } => self.cores.get(*killed).map(|(id, _)| *id),
            Phase::Whole { .. } | Phase::Mending { .. } => None,
        };
        for (id, process) in self.processes().filter(|(id, _)| Some(*id) != dead) {
            if let Some(status) = process.exit_status()? {
                let tail = process.tail();
                return Ok(Look::Amiss(format!(
                    "{id} ended by itself ({status}); {tail}"
                )));
            }
        }
        match self.phase {
            Phase::Whole { .. } => Ok(Look::Fine),
            Phase::Orphaned {
                killed,
                at,
                before,
                taken,
            } => self.succession(killed, at, before, taken).await,
            Phase::Mending { since, asked } => self.mending(since, asked).await,
        }
    }

    /// Has the other one committed?
    async fn succession(
        &mut self,
        killed: usize,
        at: Instant,
        before: Offset,
        taken: Option<Offset>,
    ) -> Result<Look> {
        let now = self.offset().await?;
        if let Some(taken) = taken
            && now.commit_seq > taken.commit_seq
        {
            let after = at.elapsed();
            let others = self.cores.iter().enumerate().filter(|(n, _)| *n != killed);
            let by = others.map(|(_, (id, _))| *id).collect();
            if let Some((id, process)) = self.cores.get_mut(killed) {
                *process = Rig::with_secrets(self.cluster.core(id)).spawn()?;
            }
            let now = Instant::now();
            self.phase = Phase::Mending {
                since: now,
                asked: now,
            };
            return Ok(Look::TookOver { by, after });
        }
        if at.elapsed() > TAKEOVER_TIMEOUT {
            return Ok(self.too_late("no other Core has committed"));
        }
        if taken.is_none() && now.epoch > before.epoch {
            self.phase = Phase::Orphaned {
                killed,
                at,
                before,
                taken: Some(now),
            };
        }
        Ok(Look::Fine)
    }

    /// Does the killed one stand by again?
    async fn mending(&mut self, since: Instant, asked: Instant) -> Result<Look> {
        if asked.elapsed() < STATUS_INTERVAL {
            return Ok(Look::Fine);
        }
        if let Some(running) = self.whole().await? {
            self.phase = Phase::Whole { running };
            return Ok(Look::Fine);
        }
        if since.elapsed() > TAKEOVER_TIMEOUT {
            return Ok(self.too_late("the Core that was started again doesn't stand by"));
        }
        let asked = Instant::now();
        self.phase = Phase::Mending { since, asked };
        Ok(Look::Fine)
    }

    fn too_late(&self, what: &str) -> Look {
        let bound = TAKEOVER_TIMEOUT.as_secs();
        Look::Amiss(format!("{what} within {bound} s; {}", self.tail()))
    }

    fn tail(&self) -> String {
        let tails = self.cores.iter();
        let tails = tails.map(|(id, process)| format!("{id}: {}", process.tail()));
        tails.collect::<Vec<_>>().join("\n")
    }
}
