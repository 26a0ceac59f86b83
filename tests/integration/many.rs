//! Many pipelines on three Cores, with everything real: where they run, what moves when a Core is
//! lost, how soon all run again, and what that costs the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use towpath_coordination::{ConnectOptions, Mirror, Session};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{Assignment, Instance, InstanceState};
use towpath_testing::cluster::{Cluster, ready};
use towpath_testing::{TowpathProcess, wait_until};

use crate::harness::{Pair, Pipeline, SINK, stop};

const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");
const CORES: [&str; 3] = ["core-a", "core-b", "core-c"];
/// Bounds every wait.
const WAIT: Duration = Duration::from_secs(240);
/// The steady load is taken over this long.
const STEADY: Duration = Duration::from_secs(10);

/// A Server, three Cores and pipelines on them.
struct Company {
    pair: Pair,
    cluster: Cluster,
    cores: BTreeMap<&'static str, TowpathProcess>,
    pipelines: Vec<Pipeline>,
    mirror: Mirror,
    _session: Session,
}

impl Company {
    async fn start(count: usize) -> Result<Self> {
        let many =
            |server: towpath_testing::ServerBuilder| server.option("max-connections", "4000");
        let pair = Pair::with(many, many).await?;
        let cluster = Cluster::start(Some(TOWPATH.into())).await?;
        let mut cores = BTreeMap::new();
        for core in CORES {
            let started = cluster.core(core).spawn()?;
            ready(&started).await?;
            cores.insert(core, started);
        }
        let mut pipelines = Vec::with_capacity(count);
        for number in 0..count {
            let schema = ["CREATE TABLE t (id BIGINT PRIMARY KEY)"];
            pipelines.push(pair.pipeline(&format!("p{number:03}"), &schema).await?);
        }
        let begun = Instant::now();
        let mut apply = cluster.towpath("apply").args(["--yes", "--timeout", "5m"]);
        for pipeline in &pipelines {
            apply = apply.arg("-f").arg(&pipeline.file);
        }
        let apply = apply.spawn()?;
        let status = apply.wait_exit(WAIT).await?;
        ensure!(status.success(), "apply: {}", apply.tail());
        println!("{count} pipelines applied in {:.2?}", begun.elapsed());
        let directory = cluster.directory().to_owned();
        let session = Session::connect(ConnectOptions::new([directory])).await?;
        let mirror = Mirror::follow(&session, path::pipelines()).await?;
        let company = Self {
            pair,
            cluster,
            cores,
            pipelines,
            mirror,
            _session: session,
        };
        company.all_stand().await?;
        println!(
            "all run, with a standby each, {:.2?} after the first was applied",
            begun.elapsed()
        );
        Ok(company)
    }

    /// Where each pipeline is to run, preferred Core first.
    fn assignments(&self) -> BTreeMap<String, Assignment> {
        let task = SINK.parse().unwrap();
        self.mirror.look(|nodes| {
            let assignment = |pipeline: &Pipeline| {
                let name: PipelineName = pipeline.name.parse().unwrap();
                let node = path::assignment(&name, &task);
                Some((pipeline.name.clone(), nodes.record(&node)?))
            };
            self.pipelines.iter().filter_map(assignment).collect()
        })
    }

    /// Waits until each pipeline runs on one Core that lives, with a standby on another.
    async fn all_stand(&self) -> Result<()> {
        let task = SINK.parse()?;
        let mut lacking = Vec::new();
        wait_until("all pipelines to run with a standby", WAIT, async || {
            lacking = self.mirror.look(|nodes| {
                let lacks = |pipeline: &&Pipeline| {
                    let name: PipelineName = pipeline.name.parse().unwrap();
                    let parent = path::instances(&name, &task);
                    let mut states: Vec<InstanceState> = nodes
                        .children(&parent)
                        .filter_map(|node| parent.listed(node))
                        .filter_map(|node| nodes.record::<Instance>(&node))
                        .map(|instance| instance.state)
                        .collect();
                    states.sort_by_key(|state| *state != InstanceState::Running);
                    states != [InstanceState::Running, InstanceState::Standby]
                };
                let lacking = self.pipelines.iter().filter(lacks);
                lacking.map(|pipeline| pipeline.name.clone()).collect()
            });
            Ok(lacking.is_empty())
        })
        .await
        .with_context(|| format!("not so: {lacking:?}"))
    }

    /// Writes row `id` to every pipeline's table, and waits until all sinks have it.
    async fn row_passes(&self, source: &mut Conn, sink: &mut Conn, id: u64) -> Result<()> {
        for pipeline in &self.pipelines {
            let insert = format!("INSERT INTO {}.t VALUES ({id})", pipeline.name);
            source.query_drop(insert).await?;
        }
        let count = |pipeline: &Pipeline| {
            format!("SELECT COUNT(*) c FROM {}.t WHERE id = {id}", pipeline.name)
        };
        let counts: Vec<String> = self.pipelines.iter().map(count).collect();
        let query = format!(
            "SELECT CAST(SUM(c) AS UNSIGNED) FROM ({}) x",
            counts.join(" UNION ALL ")
        );
        wait_until("the row to be in every sink", WAIT, async || {
            let arrived: Option<usize> = sink.query_first(&query).await?;
            Ok(arrived == Some(self.pipelines.len()))
        })
        .await
    }

    async fn epochs(&self, sink: &mut Conn) -> Result<BTreeMap<String, u64>> {
        let rows: Vec<(String, u64)> = sink
            .query("SELECT pipeline, epoch FROM towpath.`offset`")
            .await?;
        Ok(rows.into_iter().collect())
    }
}

/// By how many tasks the Cores differ.
fn spread(
    assignments: &BTreeMap<String, Assignment>,
    cores: &[&str],
    counts: impl Fn(&Assignment, &str) -> bool,
) -> usize {
    let count = |core: &&str| {
        assignments
            .values()
            .filter(|task| counts(task, core))
            .count()
    };
    let counts: Vec<usize> = cores.iter().map(count).collect();
    counts.iter().max().unwrap() - counts.iter().min().unwrap()
}

fn runs(task: &Assignment, core: &str) -> bool {
    task.cores
        .first()
        .is_some_and(|first| first.as_str() == core)
}

fn has(task: &Assignment, core: &str) -> bool {
    task.cores.iter().any(|assigned| assigned.as_str() == core)
}

/// CPU seconds of a process so far, and its resident MiB (proc(5)).
fn usage(process: &TowpathProcess) -> Result<(f64, f64)> {
    let pid = process.pid().as_u32();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("a name")?;
    let field = |n: usize| {
        fields
            .split_whitespace()
            .nth(n)
            .and_then(|field| field.parse::<f64>().ok())
    };
    let ticks = field(11).zip(field(12)).map(|(user, system)| user + system);
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    // USER_HZ is 100 on every architecture that is built for.
    let seconds = ticks.context("times")? / 100.0;
    Ok((seconds, resident.context("VmRSS")? / 1024.0))
}

/// What the Server's process says of the directory.
async fn print_load(company: &Company) -> Result<()> {
    let watched: Vec<(&str, &TowpathProcess)> =
        std::iter::once(("server", company.cluster.server()))
            .chain(company.cores.iter().map(|(name, core)| (*name, core)))
            .collect();
    let mut before = Vec::new();
    for (_, process) in &watched {
        before.push(usage(process)?.0);
    }
    tokio::time::sleep(STEADY).await;
    for ((name, process), before) in watched.iter().zip(before) {
        let (after, resident) = usage(process)?;
        println!(
            "{name}: {:.1} % of a core, {resident:.1} MiB",
            100.0 * (after - before) / STEADY.as_secs_f64()
        );
    }
    Ok(())
}

async fn many(count: usize) -> Result<()> {
    let mut company = Company::start(count).await?;
    let (mut source, mut sink) = company.pair.conns().await?;
    company.row_passes(&mut source, &mut sink, 1).await?;
    let before = company.assignments();
    ensure!(before.len() == count);
    ensure!(spread(&before, &CORES, runs) <= 1, "{before:#?}");
    // Pipelines that the planner sees in several lots: each lot is spread evenly, and nothing that stands moves.
    ensure!(spread(&before, &CORES, has) <= 2, "{before:#?}");
    let ids: BTreeSet<_> = before.values().map(|task| task.server_id).collect();
    ensure!(
        ids.len() == count,
        "server_ids are given twice: {before:#?}"
    );
    print_load(&company).await?;

    let epochs = company.epochs(&mut sink).await?;
    let lost = company.cores.remove("core-b").context("core-b")?;
    let died = Instant::now();
    lost.kill9()?;
    company.row_passes(&mut source, &mut sink, 2).await?;
    println!(
        "core-b killed: all pipelines commit again after {:.2?}",
        died.elapsed()
    );
    wait_until("core-b to have nothing", WAIT, async || {
        Ok(!company
            .assignments()
            .values()
            .any(|task| has(task, "core-b")))
    })
    .await?;
    company.all_stand().await?;
    println!(
        "core-b killed: all have a standby again after {:.2?}",
        died.elapsed()
    );

    let left = ["core-a", "core-c"];
    let after = company.assignments();
    ensure!(spread(&after, &left, runs) <= 1 + count / 20, "{after:#?}");
    let now = company.epochs(&mut sink).await?;
    for (name, task) in &before {
        if !has(task, "core-b") {
            ensure!(
                after.get(name) == Some(task),
                "{name} had to stay: {task:?}, {:?}",
                after.get(name)
            );
        }
        let moved = now.get(name) != epochs.get(name);
        ensure!(
            moved == runs(task, "core-b"),
            "{name}: {task:?}, moved: {moved}"
        );
    }
    print_load(&company).await?;
    company.row_passes(&mut source, &mut sink, 3).await?;
    for core in company.cores.values() {
        stop(core).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dozen_pipelines_on_three_cores() -> Result<()> {
    many(12).await
}

/// For `make test-long`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn a_hundred_pipelines_on_three_cores() -> Result<()> {
    many(100).await
}
