//! The whole of it: three Servers, two Cores, and a bank between two MySQL servers.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::task::JoinHandle;
use towpath_coordination::{ConnectOptions, Session};
use towpath_protocol::tree::record::{Instance, InstanceState};
use towpath_protocol::tree::{Sequenced, path};
use towpath_testing::bank::{Bank, Load, LoadSettings, PrefixReader};
use towpath_testing::cluster::ready;
use towpath_testing::ensemble::Ensemble;
use towpath_testing::{TowpathProcess, gtid_executed, wait_until};

use super::grow::{addresses, further, members};
use crate::harness::{Pair, Pipeline, SINK, WAIT, number};

pub(super) const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");

/// Transactions per second of the load: enough that there's always one to come, few enough to leave
/// two cores to a dozen processes.
const RATE: u32 = 100;
/// Between two looks at how far behind the sink is.
const LAG_POLL: Duration = Duration::from_millis(20);
/// A member that has acknowledged its leader within this time takes part.
const ACKED_MS_MAX: u64 = 1000;

/// The processes, the servers, and a load that runs.
pub(super) struct Bus {
    pub(super) ensemble: Ensemble,
    pub(super) pair: Pair,
    pub(super) pipeline: Pipeline,
    pub(super) cores: Vec<Option<TowpathProcess>>,
    pub(super) session: Session,
    bank: Bank,
    load: Load,
    reader: PrefixReader,
}

impl Bus {
    /// Everything is started, and replicates.
    pub(super) async fn start() -> Result<Self> {
        let mut ensemble = Ensemble::new(Some(TOWPATH.into()), 3, further)?;
        let (pair, ()) = tokio::try_join!(Pair::start(), ensemble.start())?;
        gather(&ensemble).await?;
        let (mut source, mut sink) = pair.conns().await?;
        let mut pipeline = pair.pipeline("bank", &[]).await?;
        let bank = Bank::new("bank");
        bank.create(&mut source).await?;
        bank.create(&mut sink).await?;
        pipeline.start = format!("gtid:{}", gtid_executed(&mut source).await?);
        pipeline.write()?;
        let settings = LoadSettings {
            rate_max: Some(RATE),
            ..LoadSettings::default()
        };
        let load = bank.start_load(&pair.source.url("app"), &settings)?;
        let reader = bank.start_reader(&pair.sink.url("root")).await?;
        let session = session(&ensemble).await?;
        let mut bus = Self {
            ensemble,
            pair,
            pipeline,
            cores: vec![None, None],
            session,
            bank,
            load,
            reader,
        };
        for core in 0..bus.cores.len() {
            bus.start_core(core)?;
        }
        bus.apply().await?;
        bus.settled().await?;
        bus.watch_writers(&mut sink).await?;
        Ok(bus)
    }

    /// Where the directory is, as `--directory` takes it.
    pub(super) fn directory(&self) -> String {
        let known = self.ensemble.addresses();
        known
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// A role's process that isn't a Server.
    pub(super) fn role(&self, words: &[&str]) -> Result<TowpathProcess> {
        TowpathProcess::builder()
            .program(TOWPATH)
            .args(words)
            .args(["--directory", &self.directory()])
            .spawn()
    }

    /// Starts a Core where it was; it need not be ready when this returns.
    pub(super) fn start_core(&mut self, core: usize) -> Result<()> {
        let process = self.role(&["core", "--id", &name(core)])?;
        *self.cores.get_mut(core).context("no such Core")? = Some(process);
        Ok(())
    }

    /// A Core's process.
    pub(super) fn core(&self, core: usize) -> Result<&TowpathProcess> {
        let process = self.cores.get(core).and_then(Option::as_ref);
        process.context("this Core doesn't run")
    }

    /// SIGTERM, exit code 0, and a new start where it was.
    pub(super) async fn restart_core(&mut self, core: usize) -> Result<()> {
        crate::harness::stop(self.core(core)?).await?;
        self.start_core(core)?;
        ready(self.core(core)?).await.map(drop)
    }

    /// What a verb says that must be done.
    pub(super) async fn good(&self, words: &[&str]) -> Result<String> {
        said(&self.directory(), words).await
    }

    /// Puts the pipeline file in force.
    pub(super) async fn apply(&self) -> Result<()> {
        let file = self.pipeline.file.to_str().context("a path")?;
        let words = ["apply", "--yes", "--file", file];
        self.good(&words).await.map(drop)
    }

    /// Who stands for the pipeline, the one who runs first.
    pub(super) async fn standing(&self) -> Result<Vec<(String, InstanceState)>> {
        let parent = path::instances(&self.pipeline.name.parse()?, &SINK.parse()?);
        let mut out = Vec::new();
        for node in Sequenced::sorted(self.session.children(&parent).await?) {
            let node = parent.listed(&node.name).context("a path")?;
            if let Some(entry) = self.session.read::<Instance>(&node).await? {
                let instance = entry.value.record;
                out.push((instance.member.to_string(), instance.state));
            }
        }
        Ok(out)
    }

    /// Waits until one Core runs, the other is ready to take over, and all members of the
    /// directory take part. Answers which Core runs.
    pub(super) async fn settled(&self) -> Result<usize> {
        let mut seen = Vec::new();
        wait_until("one Core to run and one to stand by", WAIT, async || {
            // A session that finds no directory waits for one, however long.
            seen = tokio::time::timeout(WAIT, self.standing()).await??;
            let states = seen.iter().map(|(_, state)| state);
            Ok(states.eq(&[InstanceState::Running, InstanceState::Standby]))
        })
        .await
        .with_context(|| format!("{seen:?}\n{}", self.tails()))?;
        self.together().await?;
        let (runs, _) = seen.first().context("one that runs")?;
        let found = (0..self.cores.len()).find(|core| name(*core) == *runs);
        found.context("a Core that is ours")
    }

    /// Waits until all members of the directory acknowledge one that leads.
    pub(super) async fn together(&self) -> Result<()> {
        wait_until("all members to take part", WAIT, async || {
            let Ok(seen) = members(&self.ensemble).await else {
                return Ok(false);
            };
            let acked = |one: &serde_json::Value| {
                one["role"] == "leader"
                    || one["acked_ms"].as_u64().is_some_and(|ms| ms < ACKED_MS_MAX)
            };
            let all = seen["members"].as_array().context("members")?;
            Ok(all.len() == self.ensemble.places().len() && all.iter().all(acked))
        })
        .await
    }

    /// Waits until the sink has had so many further transactions of the source's.
    pub(super) async fn moves_on(&self, transactions: u64) -> Result<()> {
        let mut sink = self.pair.sink.conn().await?;
        let last = self.bank.look(&mut sink, 0).await?.sequence;
        wait_until("rows to arrive", WAIT, async || {
            let now = self.bank.look(&mut sink, last).await?.sequence;
            Ok(now >= last + transactions)
        })
        .await
        .with_context(|| self.tails())
    }

    /// From here on the sink notes under which epoch, and over which connection, each commit came.
    async fn watch_writers(&self, sink: &mut Conn) -> Result<()> {
        for statement in [
            "CREATE DATABASE watch",
            "CREATE TABLE watch.commits (id BIGINT AUTO_INCREMENT PRIMARY KEY, \
             epoch BIGINT UNSIGNED, seq BIGINT UNSIGNED, writer BIGINT UNSIGNED)",
            "CREATE TRIGGER towpath.watch AFTER UPDATE ON towpath.`offset` FOR EACH ROW \
             INSERT INTO watch.commits (epoch, seq, writer) \
             SELECT NEW.epoch, NEW.commit_seq, CONNECTION_ID() WHERE NEW.commit_seq <> OLD.commit_seq",
        ] {
            sink.query_drop(statement).await.context(statement)?;
        }
        Ok(())
    }

    /// Ends the load. Source and sink hold the same rows; the sink was a prefix of the source at
    /// every look.
    pub(super) async fn compare(self) -> Result<()> {
        let tails = self.tails();
        ensure!(!self.load.has_failed(), "the load ended early");
        let report = self.load.stop().await?;
        let (mut source, mut sink) = self.pair.conns().await?;
        towpath_testing::caught_up(&mut source, &mut sink, &self.pipeline.name, WAIT)
            .await
            .context(tails)?;
        let read = self.reader.stop().await?;
        let verdict = self.bank.check(&mut source, &mut sink).await?;
        println!("{verdict}; {report:?}");
        ensure!(verdict.is_equal() && verdict.transactions > 0, "{verdict}");
        ensure!(read.reordered == 0 && read.torn == 0, "{read:?}");
        for core in self.cores.iter().flatten() {
            crate::harness::stop(core).await?;
        }
        Ok(())
    }

    /// No commit under an older epoch followed one under a newer, none was left out of the count, and
    /// no epoch had two writers.
    pub(super) async fn had_one_writer_at_a_time(&self) -> Result<()> {
        let backwards = "SELECT COUNT(*) FROM (SELECT epoch, seq, LAG(epoch) OVER w AS epoch_before, \
                         LAG(seq) OVER w AS seq_before FROM watch.commits WINDOW w AS (ORDER BY id)) c \
                         WHERE epoch < epoch_before OR seq <> seq_before + 1";
        let shared = "SELECT COUNT(*) FROM (SELECT epoch FROM watch.commits GROUP BY epoch \
                      HAVING COUNT(DISTINCT writer) > 1) e";
        let mut sink = self.pair.sink.conn().await?;
        let (backwards, shared) = (
            number(&mut sink, backwards).await?,
            number(&mut sink, shared).await?,
        );
        let commits = number(&mut sink, "SELECT COUNT(*) FROM watch.commits").await?;
        let epochs = number(&mut sink, "SELECT COUNT(DISTINCT epoch) FROM watch.commits").await?;
        println!(
            "{commits} commits in {epochs} epochs: {backwards} out of turn, {shared} epochs with two writers"
        );
        ensure!(backwards == 0 && shared == 0 && epochs > 1);
        Ok(())
    }

    /// The ends of all logs.
    pub(super) fn tails(&self) -> String {
        let servers = (0..self.ensemble.places().len())
            .filter_map(|member| Some(self.ensemble.process(member).ok()?.tail()));
        let cores = self.cores.iter().flatten().map(TowpathProcess::tail);
        servers.chain(cores).collect::<Vec<_>>().join("\n")
    }

    /// Begins to measure how far the sink is behind.
    pub(super) async fn lag(&self) -> Result<Lag> {
        let (source, sink) = self.pair.conns().await?;
        let largest_ms = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(measure(source, sink, Arc::clone(&largest_ms)));
        Ok(Lag { largest_ms, task })
    }
}

/// The number of a Core as its name.
fn name(core: usize) -> String {
    format!("core-{}", core + 1)
}

/// A session of the test's own.
pub(super) async fn session(ensemble: &Ensemble) -> Result<Session> {
    let known = ensemble.addresses();
    let options = ConnectOptions::new(known.iter().map(ToString::to_string));
    Ok(Session::connect(options).await?)
}

/// Adds all members but the first, which has founded, and is asked.
pub(super) async fn gather(ensemble: &Ensemble) -> Result<()> {
    let founder = ensemble.addresses().first().map(ToString::to_string);
    let founder = founder.context("a first member")?;
    for member in 1..ensemble.places().len() {
        let (peer, client) = addresses(ensemble, member)?;
        let id = (member + 1).to_string();
        let words = ["cluster", "add", &id, "--peer", &peer, "--client", &client];
        said(&founder, &words).await?;
    }
    Ok(())
}

/// What a verb says that must be done.
async fn said(directory: &str, words: &[&str]) -> Result<String> {
    let mut command = Command::new(TOWPATH);
    command.args(words).args(["--directory", directory]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "{words:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Removes a member's data.
pub(super) fn lose(data: &Path) -> Result<()> {
    std::fs::remove_dir_all(data).with_context(|| data.display().to_string())
}

/// How far the sink is behind the source: the age of the oldest transaction that it lacks.
pub(super) struct Lag {
    largest_ms: Arc<AtomicU64>,
    task: JoinHandle<Result<()>>,
}

impl Lag {
    /// The largest since the last call.
    pub(super) fn largest(&self) -> Result<Duration> {
        ensure!(!self.task.is_finished(), "the measurement of lag has ended");
        let largest_ms = self.largest_ms.swap(0, Ordering::Relaxed);
        Ok(Duration::from_millis(largest_ms))
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn measure(mut source: Conn, mut sink: Conn, largest_ms: Arc<AtomicU64>) -> Result<()> {
    let last = "SELECT n FROM bank.sequence WHERE id = 1";
    let mut lacking: VecDeque<(Instant, u64)> = VecDeque::new();
    loop {
        let written = number(&mut source, last).await?;
        if lacking.back().is_none_or(|(_, n)| *n < written) {
            lacking.push_back((Instant::now(), written));
        }
        let arrived = number(&mut sink, last).await?;
        if let Some((at, _)) = lacking.front() {
            let age_ms = u64::try_from(at.elapsed().as_millis())?;
            largest_ms.fetch_max(age_ms, Ordering::Relaxed);
        }
        while lacking.front().is_some_and(|(_, n)| *n <= arrived) {
            lacking.pop_front();
        }
        tokio::time::sleep(LAG_POLL).await;
    }
}
