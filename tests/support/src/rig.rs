//! Two servers with a bank, a pipeline between them, and a trial: load, kills, comparison.
//!
//! The soak and the demo are this with different printing.

use std::collections::VecDeque;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::time::{MissedTickBehavior, interval};

use crate::bank::{Bank, Load, LoadReport, LoadSettings, PrefixReader, ReaderReport, Verdict};
use crate::scratch::ScratchDir;
use crate::{
    MysqlServer, Programs, ServerKind, TowpathBuilder, TowpathProcess, caught_up, gtid_executed,
    wait_until,
};

/// How often the trial looks at its processes and samples the lag.
const STEP: Duration = Duration::from_millis(20);
/// How often it reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// What a pipeline may need for the rest after the load has stopped, on a busy machine.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(180);
/// What a pipeline may need to end in order after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// One look takes milliseconds.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// A source and a target that hold the same bank, and the file of a pipeline between them.
#[derive(Debug)]
pub struct Rig {
    source: MysqlServer,
    target: MysqlServer,
    bank: Bank,
    name: String,
    dir: ScratchDir,
}

impl Rig {
    /// Starts both servers, creates the bank on both, and writes the pipeline file; its start is
    /// the position right after the bank was created, so that nothing is missed however late the
    /// pipeline starts.
    ///
    /// # Errors
    /// When there is no server program, or a server doesn't start.
    pub async fn start(name: &str) -> Result<Self> {
        let programs = tokio::task::spawn_blocking(Programs::find).await??;
        let server = |id| {
            MysqlServer::builder()
                .server_id(id)
                .programs(programs.clone())
        };
        let (source, target) = tokio::try_join!(server(1).start(), server(2).start())?;
        let bank = Bank::default();
        let mut at_source = source.conn().await?;
        bank.create(&mut at_source).await?;
        bank.create(&mut target.conn().await?).await?;
        let start = match programs.kind() {
            ServerKind::MySql => format!("gtid:{}", gtid_executed(&mut at_source).await?),
            ServerKind::MariaDb => binlog_position(&mut at_source).await?,
        };
        let dir = ScratchDir::create("rig")?;
        let rig = Self {
            source,
            target,
            bank,
            name: name.to_owned(),
            dir,
        };
        fs::write(rig.pipeline_file(), rig.pipeline(&start))?;
        Ok(rig)
    }

    /// The source server.
    #[must_use]
    pub fn source(&self) -> &MysqlServer {
        &self.source
    }

    /// The target server.
    #[must_use]
    pub fn target(&self) -> &MysqlServer {
        &self.target
    }

    /// What both servers hold.
    #[must_use]
    pub fn bank(&self) -> &Bank {
        &self.bank
    }

    /// The pipeline's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the pipeline file is.
    #[must_use]
    pub fn pipeline_file(&self) -> PathBuf {
        self.dir.path().join("pipeline.toml")
    }

    /// A directory of the rig's own, removed with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `towpath` with `verb` and the pipeline file, and the passwords that the file asks for.
    #[must_use]
    pub fn towpath(&self, verb: &str) -> TowpathBuilder {
        TowpathProcess::builder()
            .arg(verb)
            .arg(self.pipeline_file())
            .env("SOURCE_PASSWORD", "repl")
            .env("TARGET_PASSWORD", "app")
    }

    fn pipeline(&self, start: &str) -> String {
        let Self {
            name,
            source,
            target,
            bank,
            ..
        } = self;
        format!(
            r#"name = "{name}"

[source]
url = "mysql://repl:${{SOURCE_PASSWORD}}@127.0.0.1:{}"
tables = ["{}.*"]
start = "{start}"
snapshot = "never"

[[sink]]
name = "replica"
url = "mysql://app:${{TARGET_PASSWORD}}@127.0.0.1:{}"
"#,
            source.port(),
            bank.database(),
            target.port()
        )
    }

    /// Runs the load for a while, kills the pipeline with -9 at random times, starts it again at
    /// once each time, waits until it has caught up, and compares. `report` is called about once
    /// a second and after each kill.
    ///
    /// # Errors
    /// When something that is not under test fails: a server, the load, starting a program. What
    /// the pipeline does wrong is in the [`Outcome`].
    pub async fn run_trial(&self, trial: &Trial, report: impl FnMut(&Tick)) -> Result<Outcome> {
        let reader = self.bank.start_reader(&self.target.url("root")).await?;
        let load = self.bank.start_load(&self.source.url("app"), &trial.load)?;
        let command = self.towpath("run").arg("--standalone");
        let mut running = Running {
            pipeline: command.spawn()?,
            command,
            load: Some(load),
            reader,
            began: Instant::now(),
            last_report: Instant::now(),
            committed: 0,
            kills: 0,
            committed_at: VecDeque::new(),
            report,
        };
        let mut failure = running.load_and_kills(trial).await?;
        let load = match running.load.take() {
            Some(load) => load.stop().await?,
            None => LoadReport::default(),
        };
        running.committed = load.committed;
        running.tell(Moment::LoadStopped);
        if failure.is_none() {
            failure = tokio::select! {
                caught_up = self.catch_up() => caught_up.err().map(|error| {
                    format!("{error:#}\n{}", running.pipeline.tail())
                }),
                died = running.watch() => Some(died?),
            };
        }
        running.next_look().await?;
        running.tell(Moment::Ended);
        if failure.is_none() {
            running.pipeline.terminate()?;
            failure = match running.pipeline.wait_exit(STOP_TIMEOUT).await {
                Ok(status) if status.success() => None,
                Ok(status) => Some(format!("SIGTERM: {status}\n{}", running.pipeline.tail())),
                Err(error) => Some(format!("SIGTERM: {error:#}")),
            };
        }
        // Whatever happened, it must not write during the comparison.
        running.pipeline.kill9()?;
        let mut source = self.source.conn().await?;
        let mut target = self.target.conn().await?;
        Ok(Outcome {
            kills: running.kills,
            verdict: self.bank.check(&mut source, &mut target).await?,
            reader: running.reader.stop().await?,
            load,
            failure,
        })
    }

    async fn catch_up(&self) -> Result<()> {
        let mut source = self.source.conn().await?;
        let mut target = self.target.conn().await?;
        match self.source.programs().kind() {
            ServerKind::MySql => {
                caught_up(&mut source, &mut target, &self.name, CATCH_UP_TIMEOUT).await
            }
            // MariaDB has no GTID_SUBSET; the bank's own count says as much once nobody writes.
            ServerKind::MariaDb => {
                let last = self.bank.look(&mut source, 0).await?.sequence;
                wait_until(
                    "the target to reach the source",
                    CATCH_UP_TIMEOUT,
                    async || Ok(self.bank.look(&mut target, last).await?.sequence == last),
                )
                .await
            }
        }
    }
}

/// MariaDB's place as `file:position`; its GTIDs are of another kind than MySQL's.
async fn binlog_position(conn: &mut Conn) -> Result<String> {
    let row: Option<Row> = conn.query_first("SHOW BINLOG STATUS").await?;
    let place = row.and_then(|row| Some((row.get::<String, _>(0)?, row.get::<u64, _>(1)?)));
    let (file, position) = place.context("the source has no binary log")?;
    Ok(format!("{file}:{position}"))
}

/// What a trial does.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// How long the load runs.
    pub duration: Duration,
    /// The kills' times follow from it.
    pub seed: u64,
    /// How often the pipeline is killed with -9: once in each of as many equal parts of the run.
    pub kills: u32,
    /// Where in its part a kill may fall, as fractions; all of it is `0.0..1.0`.
    pub kill_window: Range<f64>,
    /// The load.
    pub load: LoadSettings,
}

impl Trial {
    fn kill_times(&self) -> VecDeque<Duration> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let part = self.duration / self.kills.max(1);
        (0..self.kills)
            .map(|i| part * i + part.mul_f64(rng.random_range(self.kill_window.clone())))
            .collect()
    }
}

/// Why a trial tells how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// About a second has passed.
    Second,
    /// The pipeline was killed and started again.
    Killed,
    /// The load has stopped; what the target lacks now is all that there is to wait for.
    LoadStopped,
    /// The target has caught up, or has failed to.
    Ended,
}

/// How a running trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Since the load began.
    pub elapsed: Duration,
    /// Transactions acknowledged by the source.
    pub at_source: u64,
    /// Transactions visible in the target.
    pub in_target: u64,
    /// How long ago the source had what the target has.
    pub lag: Duration,
    /// Kills so far.
    pub kills: u32,
    /// Why this is told.
    pub moment: Moment,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The comparison after everything had stopped.
    pub verdict: Verdict,
    /// What the reader of the target saw during the run.
    pub reader: ReaderReport,
    /// What the load did.
    pub load: LoadReport,
    /// How often the pipeline was killed.
    pub kills: u32,
    /// The pipeline ended by itself, did not catch up, or did not obey SIGTERM.
    pub failure: Option<String>,
}

impl Outcome {
    /// Whether all went as promised.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failure.is_none()
            && self.verdict.is_equal()
            && self.reader.reordered == 0
            && self.reader.torn == 0
    }

    /// Everything that did not, for people; empty if all went well.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.failure.iter().cloned().collect();
        complaints.extend(self.verdict.findings.iter().cloned());
        complaints.extend(
            self.reader
                .findings
                .iter()
                .map(|found| format!("the reader: {found}")),
        );
        complaints
    }
}

struct Running<R> {
    command: TowpathBuilder,
    pipeline: TowpathProcess,
    load: Option<Load>,
    reader: PrefixReader,
    began: Instant,
    last_report: Instant,
    committed: u64,
    kills: u32,
    /// When the source reached which count, for what the target hasn't reached.
    committed_at: VecDeque<(Instant, u64)>,
    report: R,
}

impl<R: FnMut(&Tick)> Running<R> {
    /// Returns what the pipeline did wrong, if anything; then the load ends early.
    async fn load_and_kills(&mut self, trial: &Trial) -> Result<Option<String>> {
        let mut kill_times = trial.kill_times();
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.began.elapsed() < trial.duration || !kill_times.is_empty() {
            steps.tick().await;
            if let Some(died) = self.step().await? {
                return Ok(Some(died));
            }
            if kill_times
                .front()
                .is_some_and(|&time| time <= self.began.elapsed())
            {
                kill_times.pop_front();
                self.pipeline.kill9()?;
                self.kills += 1;
                self.pipeline = self.command.spawn()?;
                self.tell(Moment::Killed);
            }
        }
        Ok(None)
    }

    /// Waits for the reader to look once more, from now on.
    async fn next_look(&mut self) -> Result<()> {
        let looks = self.reader.report().looks;
        wait_until("the reader to look", LOOK_TIMEOUT, async || {
            self.reader.check().await?;
            // The look under way may have begun before.
            Ok(self.reader.report().looks > looks + 1)
        })
        .await
    }

    /// Watches until the pipeline ends by itself.
    async fn watch(&mut self) -> Result<String> {
        let mut steps = interval(STEP);
        loop {
            steps.tick().await;
            if let Some(died) = self.step().await? {
                return Ok(died);
            }
        }
    }

    async fn step(&mut self) -> Result<Option<String>> {
        if let Some(status) = self.pipeline.exit_status()? {
            let tail = self.pipeline.tail();
            return Ok(Some(format!(
                "the pipeline ended by itself ({status}); {tail}"
            )));
        }
        self.reader.check().await?;
        if let Some(load) = self.load.take_if(|load| load.has_failed()) {
            load.stop().await?;
            bail!("the load ended early");
        }
        self.sample();
        if self.last_report.elapsed() >= REPORT_INTERVAL {
            self.tell(Moment::Second);
        }
        Ok(None)
    }

    fn sample(&mut self) {
        self.committed = self.load.as_ref().map_or(self.committed, Load::committed);
        if self
            .committed_at
            .back()
            .is_none_or(|&(_, count)| count < self.committed)
        {
            self.committed_at
                .push_back((Instant::now(), self.committed));
        }
    }

    fn tell(&mut self, moment: Moment) {
        self.sample();
        let in_target = self.reader.report().highest;
        while self
            .committed_at
            .front()
            .is_some_and(|&(_, count)| count <= in_target)
        {
            self.committed_at.pop_front();
        }
        let lag = self
            .committed_at
            .front()
            .map_or(Duration::ZERO, |(at, _)| at.elapsed());
        let tick = Tick {
            elapsed: self.began.elapsed(),
            // A transaction may be seen in the target before its client has heard of it.
            at_source: self.committed.max(in_target),
            in_target,
            lag,
            kills: self.kills,
            moment,
        };
        (self.report)(&tick);
        if moment != Moment::Killed {
            self.last_report = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_spread_over_the_run_and_follow_the_seed() {
        let duration = Duration::from_secs(20);
        let trial = |seed| Trial {
            duration,
            seed,
            kills: 10,
            kill_window: 0.0..1.0,
            load: LoadSettings::default(),
        };
        let times = trial(3).kill_times();
        assert_eq!(times, trial(3).kill_times());
        assert_ne!(times, trial(4).kill_times());
        assert_eq!(times.len(), 10);
        for (i, time) in times.iter().enumerate() {
            let part = Duration::from_secs(2 * i as u64)..Duration::from_secs(2 * i as u64 + 2);
            assert!(part.contains(time), "{times:?}");
        }
    }
}
