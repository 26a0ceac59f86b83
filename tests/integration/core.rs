//! `towpath core` as processes that meet in a directory: who runs, who takes over and how fast, and
//! what a failure, a pause and a lost directory mean. The tests themselves play the planner.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use towpath_coordination::{ConnectOptions, Expect, Session};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::{
    AppliedSpec, Assignment, Committed, Desired, DesiredState, Failure, Instance, InstanceState,
    Member, Progress, Record, TaskState,
};
use towpath_protocol::tree::{NodePath, Sequenced, TaskName, path};
use towpath_testing::bank::{Bank, Load, LoadSettings};
use towpath_testing::{TcpProxy, TowpathProcess, gtid_executed, wait_until};
use uuid::Uuid;

use crate::harness::{Pair, Pipeline, SINK, WAIT, number, same, stop};

const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");

/// From kill -9 to the successor's first commit, with the session timeout of 1.5 s.
const FAILOVER_MAX: Duration = Duration::from_secs(3);
/// From SIGTERM to the successor's first commit, on a machine that has other things to do.
const HANDOVER_MAX: Duration = Duration::from_millis(1500);
/// From the moment at which the Core that runs loses a server to the successor's first commit.
const UNREACHED_MAX: Duration = Duration::from_secs(12);
/// How often each trouble is repeated when it's measured, if `TOWPATH_FAILOVERS` doesn't say.
const REPETITIONS: usize = 20;

/// A directory, and what a planner would write into it.
struct Cluster {
    server: TowpathProcess,
    port: u16,
    session: Session,
    _data: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let server = TowpathProcess::builder()
            .program(TOWPATH)
            .args(["server", "--directory-only", "--listen", "127.0.0.1:0"])
            .arg("--data")
            .arg(data.path())
            .spawn()?;
        let ready = |line: &str| line.contains(r#""message":"ready""#);
        let line = server.wait_for_line(ready, WAIT).await?;
        let line: serde_json::Value = serde_json::from_str(&line)?;
        let address = line["directory"].as_str().context("an address")?.to_owned();
        let port = address.rsplit(':').next().unwrap_or_default().parse()?;
        let session = Session::connect(ConnectOptions::new([address])).await?;
        Ok(Self {
            server,
            port,
            session,
            _data: data,
        })
    }

    /// A Core with proxies of its own between it and the others.
    async fn core(&self, id: &str, pair: &Pair) -> Result<Core> {
        let mut core = Core {
            id: id.to_owned(),
            process: None,
            directory: TcpProxy::start(self.port).await?,
            source: TcpProxy::start(pair.source.port()).await?,
            sink: TcpProxy::start(pair.sink.port()).await?,
        };
        core.start()?;
        Ok(core)
    }

    /// Puts a pipeline file in force.
    async fn apply(&self, pipeline: &Pipeline, revision: u64, cores: &[&str]) -> Result<()> {
        pipeline.write()?;
        let (name, task) = names(pipeline);
        let now = Timestamp::now();
        let spec = AppliedSpec {
            uuid: Uuid::new_v4(),
            revision,
            text: std::fs::read_to_string(&pipeline.file)?,
            applied: now,
            by: "test".into(),
        };
        self.put(&path::spec(&name), spec).await?;
        let assignment = Assignment {
            revision,
            cores: cores
                .iter()
                .map(|core| core.parse())
                .collect::<Result<_, _>>()?,
            server_id: 1_000_017,
            fail_back: false,
            since: now,
            cause: "test".into(),
        };
        self.put(&path::assignment(&name, &task), assignment)
            .await?;
        self.desire(pipeline, DesiredState::Running).await
    }

    async fn desire(&self, pipeline: &Pipeline, state: DesiredState) -> Result<()> {
        let desired = Desired {
            state,
            since: Timestamp::now(),
            by: "test".into(),
            cause: "test".into(),
        };
        self.put(&path::desired(&names(pipeline).0), desired).await
    }

    async fn put<T: Record>(&self, node: &NodePath, record: T) -> Result<()> {
        self.session.write(node, record, Expect::Anything).await?;
        Ok(())
    }

    async fn get<T: Record>(&self, node: &NodePath) -> Result<Option<T>> {
        let entry = self.session.read(node).await?;
        Ok(entry.map(|entry| entry.value.record))
    }

    /// Who stands for a pipeline's task, lowest node first.
    async fn instances(&self, pipeline: &Pipeline) -> Result<Vec<(String, InstanceState)>> {
        let (name, task) = names(pipeline);
        let parent = path::instances(&name, &task);
        let mut out = Vec::new();
        for node in Sequenced::sorted(self.session.children(&parent).await?) {
            let node = parent.listed(&node.name).context("a path")?;
            if let Some(instance) = self.get::<Instance>(&node).await? {
                out.push((instance.member.to_string(), instance.state));
            }
        }
        Ok(out)
    }

    /// Waits until exactly these stand.
    async fn until_standing(
        &self,
        pipeline: &Pipeline,
        wanted: &[(&str, InstanceState)],
    ) -> Result<()> {
        let mut seen = Vec::new();
        wait_until("the Cores to stand as wanted", WAIT, async || {
            seen = self.instances(pipeline).await?;
            let seen = seen.iter().map(|(core, state)| (core.as_str(), state));
            Ok(seen.eq(wanted.iter().map(|(core, state)| (*core, state))))
        })
        .await
        .with_context(|| format!("wanted {wanted:?}, there are {seen:?}"))
    }

    async fn until_failed(&self, pipeline: &Pipeline) -> Result<Failure> {
        let (name, task) = names(pipeline);
        let node = path::failure(&name, &task);
        let mut failure = None;
        wait_until("a failure to be told", WAIT, async || {
            failure = self.get::<Failure>(&node).await?;
            Ok(failure.is_some())
        })
        .await?;
        failure.context("no failure")
    }
}

fn names(pipeline: &Pipeline) -> (PipelineName, TaskName) {
    (pipeline.name.parse().unwrap(), SINK.parse().unwrap())
}

/// A Core of a test.
struct Core {
    id: String,
    process: Option<TowpathProcess>,
    directory: TcpProxy,
    source: TcpProxy,
    sink: TcpProxy,
}

impl Core {
    fn start(&mut self) -> Result<()> {
        let directory = format!("127.0.0.1:{}", self.directory.port());
        let process = TowpathProcess::builder()
            .program(TOWPATH)
            .args(["core", "--directory", &directory, "--id", &self.id])
            .args(["--labels", "zone=a"])
            // What the pipeline files here leave to the environment.
            .env("SINK_PASSWORD", "app")
            .env("SOURCE_PORT", self.source.port().to_string())
            .env("SINK_PORT", self.sink.port().to_string())
            .spawn()?;
        self.process = Some(process);
        Ok(())
    }

    fn process(&self) -> &TowpathProcess {
        self.process.as_ref().unwrap()
    }
}

/// The ends of the Cores' logs, for an error message.
fn tails(cores: &[Core]) -> String {
    let tail = |core: &Core| core.process().tail();
    cores.iter().map(tail).collect::<Vec<_>>().join("\n")
}

/// What befalls the Core that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// kill -9.
    Killed,
    /// SIGTERM.
    Terminated,
    /// SIGSTOP, and SIGCONT when another has taken over.
    Frozen,
    /// Nothing passes between it and the directory, until another has taken over.
    CutOff,
    /// Likewise between it and the source.
    NoSource,
    /// Likewise between it and the sink.
    NoSink,
}

impl Trouble {
    const ALL: [Self; 6] = [
        Self::Killed,
        Self::Terminated,
        Self::Frozen,
        Self::CutOff,
        Self::NoSource,
        Self::NoSink,
    ];
}

/// Two Cores, a bank and a load on it.
struct Scene {
    pair: Pair,
    cluster: Cluster,
    cores: [Core; 2],
    bank: Bank,
    pipeline: Pipeline,
    load: Load,
    /// Which of the two runs.
    running: usize,
}

impl Scene {
    async fn start() -> Result<Self> {
        let (pair, cluster) = tokio::try_join!(Pair::start(), Cluster::start())?;
        let (mut source, mut sink) = pair.conns().await?;
        let mut pipeline = pair.pipeline("bank", &[]).await?;
        let bank = Bank::new("bank");
        bank.create(&mut source).await?;
        bank.create(&mut sink).await?;
        pipeline.start = format!("gtid:{}", gtid_executed(&mut source).await?);
        pipeline.sink_user = "app:${SINK_PASSWORD}".into();
        pipeline.source_port = "${SOURCE_PORT}".into();
        pipeline.sink_port = "${SINK_PORT}".into();
        let cores = [
            cluster.core("core-1", &pair).await?,
            cluster.core("core-2", &pair).await?,
        ];
        let settings = LoadSettings {
            rate_max: Some(200),
            ..LoadSettings::default()
        };
        let load = bank.start_load(&pair.source.url("app"), &settings)?;
        cluster.apply(&pipeline, 1, &["core-1", "core-2"]).await?;
        let scene = Self {
            pair,
            cluster,
            cores,
            bank,
            pipeline,
            load,
            running: 0,
        };
        scene.settled().await?;
        scene.watch_writers(&mut sink).await?;
        Ok(scene)
    }

    /// From here on the sink notes under which epoch, and over which connection, each commit came:
    /// in their order, since all hold the offset row's lock until they're done.
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

    /// The sink never took writes of two: no commit under an older epoch followed one under a newer,
    /// and no epoch had two writers.
    async fn had_one_writer_at_a_time(sink: &mut Conn) -> Result<()> {
        let backwards = "SELECT COUNT(*) FROM (SELECT epoch, seq, LAG(epoch) OVER w AS epoch_before, \
                         LAG(seq) OVER w AS seq_before FROM watch.commits WINDOW w AS (ORDER BY id)) c \
                         WHERE epoch < epoch_before OR seq <> seq_before + 1";
        let shared = "SELECT COUNT(*) FROM (SELECT epoch FROM watch.commits GROUP BY epoch \
                      HAVING COUNT(DISTINCT writer) > 1) e";
        let (backwards, shared) = (number(sink, backwards).await?, number(sink, shared).await?);
        let commits = number(sink, "SELECT COUNT(*) FROM watch.commits").await?;
        let epochs = number(sink, "SELECT COUNT(DISTINCT epoch) FROM watch.commits").await?;
        eprintln!(
            "{commits} commits in {epochs} epochs: {backwards} out of turn, {shared} epochs with two writers"
        );
        ensure!(backwards == 0 && shared == 0 && epochs > 1);
        Ok(())
    }

    /// Waits until one runs and the other stands by.
    async fn settled(&self) -> Result<()> {
        let [first, second] = [self.running, 1 - self.running].map(|n| &self.cores[n].id);
        let wanted = [
            (first.as_str(), InstanceState::Running),
            (second.as_str(), InstanceState::Standby),
        ];
        self.cluster
            .until_standing(&self.pipeline, &wanted)
            .await
            .with_context(|| self.tails())
    }

    fn tails(&self) -> String {
        tails(&self.cores)
    }

    /// Does it to the one that runs; says how long it took until the other one committed. After
    /// that both are there again, with changed roles.
    async fn befall(&mut self, trouble: Trouble, sink: &mut Conn) -> Result<Duration> {
        let victim = &mut self.cores[self.running];
        let began = Instant::now();
        match trouble {
            Trouble::Killed => drop(victim.process().kill9()?),
            Trouble::Terminated => victim.process().terminate()?,
            Trouble::Frozen => victim.process().freeze()?,
            Trouble::CutOff => victim.directory.stall(),
            Trouble::NoSource => victim.source.stall(),
            Trouble::NoSink => victim.sink.stall(),
        }
        let before = self.pipeline.row(sink).await?;
        let pipeline = &self.pipeline;
        let mut taken = before.clone();
        wait_until("the other one to commit", WAIT, async || {
            let now = pipeline.row(sink).await?;
            if now.epoch > before.epoch && taken.epoch == before.epoch {
                taken = now.clone();
            }
            Ok(taken.epoch > before.epoch && now.commit_seq > taken.commit_seq)
        })
        .await
        .with_context(|| self.tails())?;
        let took = began.elapsed();
        let taken = self.pipeline.row(sink).await?;
        let victim = &mut self.cores[self.running];
        match trouble {
            Trouble::Killed => victim.start()?,
            Trouble::Terminated => {
                let status = victim.process().wait_exit(WAIT).await?;
                ensure!(status.success(), "{status}: {}", victim.process().tail());
                victim.start()?;
            }
            Trouble::Frozen => victim.process().thaw()?,
            Trouble::CutOff => victim.directory.resume(),
            Trouble::NoSource => victim.source.resume(),
            Trouble::NoSink => victim.sink.resume(),
        }
        self.running = 1 - self.running;
        self.settled()
            .await
            .with_context(|| format!("{trouble:?}"))?;
        let after = self.pipeline.row(sink).await?;
        ensure!(
            after.epoch == taken.epoch,
            "{trouble:?}: the successor was disturbed: {taken:?}, {after:?}; {}",
            self.tails()
        );
        Ok(took)
    }

    /// Ends the load and compares.
    async fn compare(self) -> Result<()> {
        self.load.stop().await?;
        let (mut source, mut sink) = self.pair.conns().await?;
        let process = self.cores[self.running].process();
        self.pipeline
            .caught_up(process, &mut source, &mut sink)
            .await?;
        let verdict = self.bank.check(&mut source, &mut sink).await?;
        eprintln!("{verdict}");
        ensure!(verdict.is_equal() && verdict.transactions > 0, "{verdict}");
        Self::had_one_writer_at_a_time(&mut sink).await?;
        for core in &self.cores {
            stop(core.process()).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_goes_from_core_to_core_and_pauses() -> Result<()> {
    let mut scene = Scene::start().await?;
    let mut sink = scene.pair.sink.conn().await?;
    for trouble in Trouble::ALL {
        let took = scene.befall(trouble, &mut sink).await?;
        eprintln!("{trouble:?}: committed again after {took:?}");
        let bound = match trouble {
            Trouble::Terminated => HANDOVER_MAX,
            Trouble::Killed | Trouble::Frozen | Trouble::CutOff => FAILOVER_MAX,
            Trouble::NoSource | Trouble::NoSink => UNREACHED_MAX,
        };
        ensure!(took <= bound, "{trouble:?}: {took:?}; {}", scene.tails());
    }

    // What the tree tells of it.
    let (name, task) = names(&scene.pipeline);
    let (progress, commit) = (path::progress(&name, &task), path::commit(&name, &task));
    let row = scene.pipeline.row(&mut sink).await?;
    let runs = &scene.cores[scene.running].id;
    wait_until("the progress to be told", WAIT, async || {
        let Some(told) = scene.cluster.get::<Progress>(&progress).await? else {
            return Ok(false);
        };
        Ok(told.core.as_str() == runs
            && told.epoch.0 == row.epoch
            && told.state == TaskState::Running
            && told.rows_per_second > 0
            && told.bytes_per_second > 0)
    })
    .await?;
    wait_until("the last commit to be told", WAIT, async || {
        let told = scene.cluster.get::<Committed>(&commit).await?;
        Ok(told.is_some_and(|told| told.epoch.0 == row.epoch && told.commit_seq > row.commit_seq))
    })
    .await?;
    let member = path::member(path::MemberKind::Core, &runs.parse()?);
    wait_until("the load to be told", WAIT, async || {
        let told = scene.cluster.get::<Member>(&member).await?;
        Ok(told.is_some_and(|told| {
            let load = told.load;
            told.labels["zone"] == "a"
                && load.tasks == 1
                && load.rows_per_second > 0
                && load.memory_bytes > 1 << 20
        }))
    })
    .await?;

    // Paused: nothing is committed, and the same one goes on afterwards.
    let before = scene.cluster.instances(&scene.pipeline).await?;
    scene
        .cluster
        .desire(&scene.pipeline, DesiredState::Paused)
        .await?;
    wait_until("the pause to be told", WAIT, async || {
        let told = scene.cluster.get::<Progress>(&progress).await?;
        Ok(told.is_some_and(|told| told.state == TaskState::Paused))
    })
    .await?;
    let paused = scene.pipeline.row(&mut sink).await?;
    let written = scene.load.committed() + 50;
    wait_until("the source to go on", WAIT, async || {
        Ok(scene.load.committed() >= written)
    })
    .await?;
    ensure!(scene.pipeline.row(&mut sink).await? == paused);
    scene
        .cluster
        .desire(&scene.pipeline, DesiredState::Running)
        .await?;
    wait_until("it to go on", WAIT, async || {
        Ok(scene.pipeline.row(&mut sink).await?.commit_seq > paused.commit_seq)
    })
    .await?;
    scene.settled().await?;
    ensure!(scene.cluster.instances(&scene.pipeline).await? == before);

    // Stopped: nobody stands.
    scene
        .cluster
        .desire(&scene.pipeline, DesiredState::Stopped)
        .await?;
    scene.cluster.until_standing(&scene.pipeline, &[]).await?;
    scene
        .cluster
        .desire(&scene.pipeline, DesiredState::Running)
        .await?;
    // The preferred one is the first again.
    scene.running = 0;
    scene.settled().await?;
    scene.compare().await
}

/// For `make test-long`: how long it takes, over many times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; TOWPATH_FAILOVERS says how often"]
async fn failovers_measured() -> Result<()> {
    let repetitions = match std::env::var("TOWPATH_FAILOVERS") {
        Ok(text) => text.parse()?,
        Err(_) => REPETITIONS,
    };
    let mut scene = Scene::start().await?;
    let mut sink = scene.pair.sink.conn().await?;
    for trouble in Trouble::ALL {
        let mut times = Vec::with_capacity(repetitions);
        for n in 1..=repetitions {
            let took = scene.befall(trouble, &mut sink).await?;
            eprintln!("{trouble:?} {n}: {} ms", took.as_millis());
            times.push(took);
        }
        times.sort_unstable();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        eprintln!(
            "{trouble:?}: {repetitions} times, median {} ms, worst {} ms",
            median.as_millis(),
            worst.as_millis()
        );
        if trouble == Trouble::Killed {
            ensure!(worst <= FAILOVER_MAX, "{trouble:?}: {worst:?}");
        }
    }
    scene.compare().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_stops_one_task_and_a_lost_directory_holds_only_ddl() -> Result<()> {
    let (pair, cluster) = tokio::try_join!(Pair::start(), Cluster::start())?;
    let cores = [
        cluster.core("core-1", &pair).await?,
        cluster.core("core-2", &pair).await?,
    ];
    let both = ["core-1", "core-2"];
    let schema = ["CREATE TABLE t (id INT PRIMARY KEY)"];
    let conflict = pair.pipeline("conflict", &schema).await?;
    let mut rows = pair.pipeline("plain", &schema).await?;
    rows.start = "now".into();
    let (mut source, mut sink) = pair.conns().await?;

    // A row that is there already: a failure with its code, and nobody tries it in a loop.
    sink.query_drop("INSERT INTO conflict.t VALUES (7)").await?;
    source
        .query_drop("INSERT INTO conflict.t VALUES (7)")
        .await?;
    cluster.apply(&conflict, 1, &both).await?;
    cluster.apply(&rows, 1, &both).await?;
    let failure = cluster.until_failed(&conflict).await?;
    ensure!(failure.code == "TP1611", "{failure:?}");
    ensure!(
        !failure.transient && failure.text.contains("conflict.t") && !failure.next.is_empty(),
        "{failure:?}"
    );
    cluster.until_standing(&conflict, &[]).await?;
    let failed = conflict.row(&mut sink).await?;

    // The other task goes on, in the same processes.
    let settled = [
        ("core-1", InstanceState::Running),
        ("core-2", InstanceState::Standby),
    ];
    cluster.until_standing(&rows, &settled).await?;
    source.query_drop("INSERT INTO plain.t VALUES (1)").await?;
    rows.caught_up(cores[0].process(), &mut source, &mut sink)
        .await?;

    // The directory hangs: rows go on, a DDL statement waits, and what is behind it.
    cluster.server.freeze()?;
    let process = cores[0].process();
    process
        .wait_for_line(
            |line| line.contains("disconnected from the directory"),
            WAIT,
        )
        .await?;
    source.query_drop("INSERT INTO plain.t VALUES (2)").await?;
    rows.caught_up(process, &mut source, &mut sink).await?;
    source
        .query_drop("ALTER TABLE plain.t ADD COLUMN v INT")
        .await?;
    source
        .query_drop("INSERT INTO plain.t VALUES (3, 3)")
        .await?;
    process
        .wait_for_line(|line| line.contains("a DDL statement waits"), WAIT)
        .await?;
    let columns = "SELECT COUNT(*) FROM information_schema.columns \
                   WHERE table_schema = 'plain' AND table_name = 't'";
    ensure!(number(&mut sink, columns).await? == 1);
    ensure!(number(&mut sink, "SELECT COUNT(*) FROM plain.t").await? == 2);
    cluster.server.thaw()?;
    rows.caught_up(process, &mut source, &mut sink).await?;
    ensure!(number(&mut sink, columns).await? == 2);
    same(&mut source, &mut sink, "SELECT * FROM plain.t").await?;

    // The failure has stood all the time, and nobody has touched the sink for it.
    ensure!(conflict.row(&mut sink).await? == failed);
    ensure!(cluster.instances(&conflict).await?.is_empty());
    sink.query_drop("DELETE FROM conflict.t").await?;
    let (name, task) = names(&conflict);
    cluster
        .session
        .remove(&path::failure(&name, &task), None)
        .await?;
    conflict.caught_up(process, &mut source, &mut sink).await?;
    same(&mut source, &mut sink, "SELECT * FROM conflict.t").await?;

    // The sink loses its place (restored, say): `now` would skip what comes meanwhile.
    let (name, task) = names(&rows);
    let commit = path::commit(&name, &task);
    wait_until("a commit to be known", WAIT, async || {
        Ok(cluster.get::<Committed>(&commit).await?.is_some())
    })
    .await?;
    cluster.desire(&rows, DesiredState::Stopped).await?;
    cluster
        .until_standing(&rows, &[])
        .await
        .with_context(|| tails(&cores))?;
    let place = rows.stored(&mut sink).await?;
    for table in ["offset", "offset_gtid"] {
        sink.query_drop(format!(
            "DELETE FROM towpath.`{table}` WHERE pipeline = 'plain'"
        ))
        .await?;
    }
    source
        .query_drop("INSERT INTO plain.t VALUES (4, 4)")
        .await?;
    cluster.desire(&rows, DesiredState::Running).await?;
    let failure = cluster.until_failed(&rows).await?;
    ensure!(failure.code == "TP1606", "{failure:?}");
    for way in ["Restore the row", "gtid:", "delete the pipeline"] {
        ensure!(failure.text.contains(way), "{way:?} is not in {failure:?}");
    }
    let count = "SELECT COUNT(*) FROM towpath.`offset` WHERE pipeline = 'plain'";
    ensure!(number(&mut sink, count).await? == 0, "a place was made up");
    // One of the two ways, as a new revision: the failure of the old one doesn't hold for it.
    rows.start = format!("gtid:{place}");
    cluster.apply(&rows, 2, &both).await?;
    rows.caught_up(process, &mut source, &mut sink)
        .await
        .with_context(|| tails(&cores))?;
    same(&mut source, &mut sink, "SELECT * FROM plain.t").await?;
    let node = path::failure(&name, &task);
    source
        .query_drop("INSERT INTO plain.t VALUES (5, 5)")
        .await?;
    wait_until("the old failure to be forgotten", WAIT, async || {
        Ok(cluster.get::<Failure>(&node).await?.is_none())
    })
    .await?;

    // A variable that no Core has.
    rows.sink_user = "app:${TOWPATH_TEST_ABSENT}".into();
    cluster.apply(&rows, 3, &both).await?;
    let failure = cluster.until_failed(&rows).await?;
    ensure!(failure.code == "TP1003", "{failure:?}");
    ensure!(failure.text.contains("TOWPATH_TEST_ABSENT"), "{failure:?}");
    for core in &cores {
        stop(core.process()).await?;
    }
    Ok(())
}
