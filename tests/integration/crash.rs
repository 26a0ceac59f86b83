//! What a crash leaves: processes, servers and connections end at every place where it could matter,
//! and the sink holds each row once, with the offset that belongs to it.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use towpath_core::failpoint::Point;
use towpath_testing::bank::{Bank, Load, LoadSettings};
use towpath_testing::{Direction, TcpProxy, TowpathProcess, gtid_executed, wait_until};

use crate::harness::{Pair, Pipeline, WAIT, number, same_table, stop};

/// Bounds that a transaction of [`Trouble::large`] exceeds several times.
const SMALL_BOUNDS: &str = "[queue]\nbytes_max = \"1MiB\"\n\
                            [apply]\nbatch_rows_max = 50\nbatch_bytes_max = \"256KiB\"";

/// Rows of 8 KB in a large transaction.
const LARGE_ROWS: u32 = 200;

/// Cuts of an exchange that a short run tries, of about a thousand.
const CUTS_SHORT: usize = 24;

/// Pipelines that are cut at the same time.
const CUT_WORKERS: usize = 8;

/// A pipeline under a load that never rests, with everything in it that a failpoint is about.
pub(crate) struct Trouble {
    pub(crate) pair: Pair,
    pub(crate) pipeline: Pipeline,
    bank: Bank,
    load: Option<Load>,
    rounds: u32,
}

impl Trouble {
    /// Starts servers and load.
    pub(crate) async fn start() -> Result<Self> {
        let pair = Pair::start().await?;
        let mut pipeline = pair.pipeline("p", &[]).await?;
        pipeline.further = SMALL_BOUNDS.into();
        let (mut source, mut sink) = pair.conns().await?;
        let bank = Bank::new("p");
        for conn in [&mut source, &mut sink] {
            bank.create(conn).await?;
            conn.query_drop(
                "CREATE TABLE p.large (round INT, n INT, v TEXT, PRIMARY KEY (round, n))",
            )
            .await?;
            conn.query_drop("CREATE TABLE p.changing (id INT PRIMARY KEY)")
                .await?;
            conn.query_drop("CREATE TABLE p.keyless (n INT)").await?;
        }
        pipeline.start = format!("gtid:{}", gtid_executed(&mut source).await?);
        pipeline.write()?;
        let settings = LoadSettings {
            connections: 2,
            rate_max: Some(150),
            ..LoadSettings::default()
        };
        let load = bank.start_load(&pair.source.url("app"), &settings)?;
        Ok(Self {
            pair,
            pipeline,
            bank,
            load: Some(load),
            rounds: 0,
        })
    }

    /// Starts `towpath run` with failpoints.
    pub(crate) fn run(&self, failpoints: &str) -> Result<TowpathProcess> {
        run_with(&self.pipeline, failpoints)
    }

    /// Beside the load: a transaction in several pieces, one for a table without a key, and DDL.
    pub(crate) async fn round(&mut self) -> Result<()> {
        let round = self.rounds;
        self.rounds += 1;
        let mut source = self.pair.source.conn().await?;
        source
            .query_drop(format!(
                "INSERT INTO p.large WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s \
                 WHERE n < {LARGE_ROWS}) SELECT {round}, n, REPEAT('x', 8000) FROM s"
            ))
            .await?;
        source
            .query_drop(format!("INSERT INTO p.keyless VALUES ({round}), ({round})"))
            .await?;
        source
            .query_drop(format!(
                "ALTER TABLE p.changing ADD COLUMN c{round} INT DEFAULT {round}"
            ))
            .await?;
        source
            .query_drop(format!("INSERT INTO p.changing (id) VALUES ({round})"))
            .await?;
        Ok(())
    }

    /// Ends the load.
    pub(crate) async fn quiet(&mut self) -> Result<()> {
        if let Some(load) = self.load.take() {
            load.stop().await?;
        }
        Ok(())
    }

    /// Ends the load and waits until all has arrived.
    pub(crate) async fn arrived(&mut self, process: &TowpathProcess) -> Result<()> {
        self.quiet().await?;
        let (mut source, mut sink) = self.pair.conns().await?;
        self.pipeline
            .caught_up(process, &mut source, &mut sink)
            .await
    }

    /// Waits until all has arrived, ends the pipeline in order and compares everything.
    pub(crate) async fn compare(mut self, process: &TowpathProcess) -> Result<()> {
        self.arrived(process).await?;
        let (mut source, mut sink) = self.pair.conns().await?;
        stop(process).await?;
        let verdict = self.bank.check(&mut source, &mut sink).await?;
        ensure!(verdict.is_equal() && verdict.transactions > 0, "{verdict}");
        for table in ["p.large", "p.changing", "p.keyless"] {
            same_table(&mut source, &mut sink, table).await?;
        }
        let (executed, stored) = (
            gtid_executed(&mut source).await?,
            self.pipeline.stored(&mut sink).await?,
        );
        let equal: Option<bool> = source
            .exec_first("SELECT GTID_SUBSET(?, ?)", (&stored, &executed))
            .await?;
        ensure!(
            equal == Some(true),
            "the sink has {stored}, the source {executed}"
        );
        let row = self.pipeline.row(&mut sink).await?;
        ensure!(
            row.ddl_intent.is_none() && row.ddl_seq == u64::from(self.rounds),
            "{row:?}"
        );
        Ok(())
    }
}

/// Starts `towpath run` on a pipeline, with failpoints.
pub(crate) fn run_with(pipeline: &Pipeline, failpoints: &str) -> Result<TowpathProcess> {
    pipeline.write()?;
    TowpathProcess::builder()
        .program(env!("CARGO_BIN_EXE_towpath"))
        .args(["run", "--standalone"])
        .arg(&pipeline.file)
        .env("TOWPATH_FAILPOINTS", failpoints)
        .spawn()
}

/// Waits until a process has killed itself.
pub(crate) async fn killed(process: &TowpathProcess, point: &str) -> Result<()> {
    let status = process
        .wait_exit(WAIT)
        .await
        .with_context(|| format!("{point} was not reached"))?;
    ensure!(
        status.signal() == Some(9),
        "{point}: not killed but {status}; {}",
        process.tail()
    );
    Ok(())
}

/// Points of the modes that may repeat or lose something; `delivery` has these.
pub(crate) fn is_of_a_mode(point: Point) -> bool {
    point.name().starts_with("delivery.")
}

/// Points of the first copy; `snapshot` has these.
fn is_of_a_copy(point: Point) -> bool {
    point.name().starts_with("copy.")
}

/// Points that no pipeline comes to; `verify` has these.
fn is_of_an_operator(point: Point) -> bool {
    point.name().starts_with("repair.")
}

fn points() -> impl Iterator<Item = Point> {
    Point::ALL
        .iter()
        .copied()
        .filter(|&point| !is_of_a_mode(point) && !is_of_a_copy(point) && !is_of_an_operator(point))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_failpoint_nothing_is_lost_or_repeated() -> Result<()> {
    let mut trouble = Trouble::start().await?;
    for point in points() {
        // Some are passed once in a life, the others are more telling under way.
        let name = point.name();
        let once = ["takeover.", "start.", "producer.connected", "ddl."]
            .iter()
            .any(|stage| name.starts_with(stage));
        let action = if once { "kill" } else { "2*off->kill" };
        let process = trouble.run(&format!("{name}={action}"))?;
        trouble.round().await?;
        killed(&process, name).await?;
    }
    let process = trouble.run("")?;
    trouble.compare(&process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_at_every_failpoint_ends_no_process() -> Result<()> {
    let mut trouble = Trouble::start().await?;
    // The start is a commit, too, and has points of its own.
    let action = |name: &str| match name.starts_with("commit.") {
        true => "4*off->1*error",
        false => "1*error",
    };
    let failpoints: Vec<_> = points()
        .map(|point| format!("{}={}", point.name(), action(point.name())))
        .collect();
    let process = trouble.run(&failpoints.join(";"))?;
    trouble.round().await?;
    for point in points() {
        process
            .wait_for_line(
                |line| line.contains("a failpoint acts") && line.contains(point.name()),
                WAIT,
            )
            .await
            .with_context(|| point.name())?;
    }
    trouble.compare(&process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_inside_a_large_transaction_leaves_none_of_it() -> Result<()> {
    let mut trouble = Trouble::start().await?;
    let acts = |point: &'static str| {
        move |line: &str| line.contains("a failpoint acts") && line.contains(point)
    };
    let process =
        trouble.run("commit.inside=1*off->1*sleep(1000);producer.inside=4*off->1*sleep(1000)")?;
    trouble.round().await?;
    process.wait_for_line(acts("commit.inside"), WAIT).await?;
    trouble.pair.sink.kill9()?;
    trouble.pair.sink.restart().await?;
    let (mut source, mut sink) = trouble.pair.conns().await?;
    trouble
        .pipeline
        .caught_up(&process, &mut source, &mut sink)
        .await?;
    // One transaction is a few parts.
    let reached = async {
        loop {
            trouble.round().await?;
            let acted = process
                .stderr()
                .iter()
                .any(|line| acts("producer.inside")(line));
            if acted {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(WAIT, reached).await??;
    trouble.pair.source.kill9()?;
    trouble.pair.source.restart().await?;
    // And in order, as an upgrade does it.
    trouble.round().await?;
    trouble.pair.source.restart().await?;
    trouble.pair.sink.restart().await?;
    trouble.round().await?;
    trouble.compare(&process).await
}

/// One pipeline whose connections to the sink go through a proxy.
struct Cut {
    pipeline: Pipeline,
    proxy: TcpProxy,
    process: TowpathProcess,
    source: Conn,
    sink: Conn,
    rows: u32,
}

impl Cut {
    async fn start(pair: &Pair, n: usize) -> Result<Self> {
        let mut pipeline = pair
            .pipeline(
                &format!("cut{n}"),
                &[
                    "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))",
                    "CREATE TABLE log (n INT)",
                ],
            )
            .await?;
        let proxy = TcpProxy::start(pair.sink.port()).await?;
        pipeline.sink_port = proxy.port().to_string();
        let process = pipeline.run()?;
        let (source, sink) = pair.conns().await?;
        let mut cut = Self {
            pipeline,
            proxy,
            process,
            source,
            sink,
            rows: 0,
        };
        cut.write().await?;
        cut.settled().await?;
        Ok(cut)
    }

    /// A small transaction; a repetition would show in `log`, which has no key.
    async fn write(&mut self) -> Result<()> {
        let (name, n) = (&self.pipeline.name, self.rows);
        self.rows += 1;
        self.source
            .query_drop(format!(
                "BEGIN; INSERT INTO {name}.t VALUES ({n}, 'row'); INSERT INTO {name}.log VALUES ({n}); COMMIT"
            ))
            .await?;
        Ok(())
    }

    /// Waits until all has arrived and the connections rest.
    async fn settled(&mut self) -> Result<()> {
        self.pipeline
            .caught_up(&self.process, &mut self.source, &mut self.sink)
            .await?;
        let passed = |proxy: &TcpProxy| {
            (
                proxy.connections(),
                proxy.passed_bytes(Direction::ToServer),
                proxy.passed_bytes(Direction::ToClient),
            )
        };
        let (mut before, mut rests) = (passed(&self.proxy), 0);
        wait_until("the connections to rest", WAIT, async || {
            let now = passed(&self.proxy);
            rests = if now == before { rests + 1 } else { 0 };
            before = now;
            Ok(rests >= 3)
        })
        .await
    }

    /// How many bytes a transaction takes, each way.
    async fn measure(&mut self) -> Result<[(Direction, u64); 2]> {
        let ways = [Direction::ToServer, Direction::ToClient];
        let before = ways.map(|way| self.proxy.passed_bytes(way));
        self.write().await?;
        self.settled().await?;
        let after = ways.map(|way| self.proxy.passed_bytes(way));
        Ok([
            (ways[0], after[0] - before[0]),
            (ways[1], after[1] - before[1]),
        ])
    }

    /// Cuts all connections after `bytes` of the next transaction's exchange.
    async fn strike(&mut self, direction: Direction, bytes: u64) -> Result<()> {
        let before = self.pipeline.row(&mut self.sink).await?.epoch;
        self.proxy.cut_after(direction, bytes);
        self.write().await?;
        wait_until("the cut", WAIT, async || {
            Ok(!self.proxy.cut_is_due(direction))
        })
        .await
        .with_context(|| format!("{direction:?} {bytes}"))?;
        wait_until("the next epoch", WAIT, async || {
            Ok(self.pipeline.row(&mut self.sink).await?.epoch > before)
        })
        .await
        .with_context(|| self.process.tail())?;
        self.settled().await
    }

    async fn compare(mut self) -> Result<()> {
        stop(&self.process).await?;
        for table in ["t", "log"] {
            let table = format!("{}.{table}", self.pipeline.name);
            same_table(&mut self.source, &mut self.sink, &table).await?;
        }
        let name = &self.pipeline.name;
        let rows = number(&mut self.sink, &format!("SELECT COUNT(*) FROM {name}.log")).await?;
        ensure!(rows == u64::from(self.rows), "{rows} of {} rows", self.rows);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_cut_at_sampled_bytes_happens_once() -> Result<()> {
    cut_a_commit(3, Some(CUTS_SHORT)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute: every byte of the exchange, both ways"]
async fn a_commit_cut_at_every_byte_happens_once() -> Result<()> {
    cut_a_commit(CUT_WORKERS, None).await
}

async fn cut_a_commit(workers: usize, sample: Option<usize>) -> Result<()> {
    let pair = Pair::start().await?;
    let mut cuts = Vec::new();
    for n in 0..workers {
        cuts.push(Cut::start(&pair, n).await?);
    }
    let mut exchange = [(Direction::ToServer, 0); 2];
    for cut in &mut cuts {
        exchange = cut.measure().await?;
    }
    // So many bytes pass; once all of them have, only what comes back can be lost.
    let all: Vec<_> = exchange
        .into_iter()
        .flat_map(|(direction, bytes)| (0..=bytes).map(move |at| (direction, at)))
        .collect();
    let every = sample.map_or(1, |sample| all.len().div_ceil(sample));
    let chosen: Vec<_> = all.iter().copied().step_by(every).collect();
    eprintln!(
        "an exchange has {} bytes there and {} back; cut at {} of them",
        exchange[0].1,
        exchange[1].1,
        chosen.len()
    );
    let began = std::time::Instant::now();
    let workers = cuts.into_iter().enumerate().map(|(n, mut cut)| {
        let own: Vec<_> = chosen.iter().copied().skip(n).step_by(workers).collect();
        async move {
            for (direction, at) in own {
                cut.strike(direction, at).await?;
            }
            cut.compare().await
        }
    });
    futures_util::future::try_join_all(workers).await?;
    eprintln!("{:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_silent_connections_lose_nothing() -> Result<()> {
    let mut trouble = Trouble::start().await?;
    let to_source = TcpProxy::start(trouble.pair.source.port()).await?;
    let to_sink = TcpProxy::start(trouble.pair.sink.port()).await?;
    trouble.pipeline.source_port = to_source.port().to_string();
    trouble.pipeline.sink_port = to_sink.port().to_string();
    let process = trouble.run("")?;
    trouble.round().await?;
    process
        .wait_for_line(|line| line.contains("took the sink over"), WAIT)
        .await?;
    for proxy in [&to_source, &to_sink] {
        proxy.delay(Duration::from_millis(15));
    }
    trouble.round().await?;
    let (mut source, mut sink) = trouble.pair.conns().await?;
    trouble
        .pipeline
        .caught_up(&process, &mut source, &mut sink)
        .await?;
    for proxy in [&to_source, &to_sink] {
        proxy.resume();
    }

    // Both ways silent and never closed. The source's heartbeats are missed after a while; a sink may
    // rightly take long to answer.
    to_source.stall();
    trouble.round().await?;
    process
        .wait_for_line(|line| line.contains("the source was lost"), WAIT)
        .await?;
    to_source.resume();
    to_sink.stall();
    trouble.round().await?;
    let before = trouble.pipeline.row(&mut sink).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = trouble.pipeline.row(&mut sink).await?;
    ensure!(after == before, "something passed: {before:?}, {after:?}");
    to_sink.resume();
    trouble.round().await?;
    trouble.compare(&process).await
}
