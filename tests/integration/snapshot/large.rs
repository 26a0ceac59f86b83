//! A first copy of many rows under a load that never rests, killed again and again: no table begins anew, and in
//! the end every row is the source's. It tells how fast it went, what it took, and what the source's writers felt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use towpath_testing::{TowpathProcess, wait_until};

use super::{commits, copies};
use crate::harness::{Pair, Pipeline, same, stop};

/// Rows of the long form, if `TOWPATH_COPY_ROWS` doesn't say.
const ROWS_LONG: u64 = 5_000_000;
/// Rows of one INSERT that fills a table.
const FILL_ROWS: u64 = 200_000;
/// How often it is looked how far the copy is.
const LOOK: Duration = Duration::from_millis(20);
/// Connections that write.
const WORKERS: u32 = 4;
/// Keys that the load makes begin here, above all others.
const FRESH: i64 = 1 << 40;

/// A table, its share of all rows, and the row of number `n`.
struct Table {
    name: &'static str,
    percent: u64,
    columns: &'static str,
    row: &'static str,
}

const TABLES: [Table; 4] = [
    Table {
        name: "ints",
        percent: 45,
        columns: "(id BIGINT PRIMARY KEY, u BIGINT UNIQUE, v VARCHAR(60), n INT)",
        row: "n, n, CONCAT('v', n), n % 1000",
    },
    // To its collation, `Key` and `kéy` are one.
    Table {
        name: "names",
        percent: 25,
        columns: "(a VARCHAR(40) COLLATE utf8mb4_0900_ai_ci, b BIGINT, v DECIMAL(14,3), PRIMARY KEY (a, b))",
        row: "CONCAT(IF(n % 2, 'Key ', 'kéy '), n DIV 7), n, n / 3",
    },
    Table {
        name: "bins",
        percent: 20,
        columns: "(h VARBINARY(32) PRIMARY KEY, n BIGINT, v VARCHAR(30))",
        row: "UNHEX(SHA2(n, 224)), n, CONCAT('b', n % 97)",
    },
    Table {
        name: "wide",
        percent: 10,
        columns: "(id BIGINT PRIMARY KEY, j JSON, body TEXT, c1 TINYINT, c2 BIGINT UNSIGNED, c3 DOUBLE, \
                  c4 DATETIME(6), c5 INT, c6 VARCHAR(100), c7 DECIMAL(20,6), c8 CHAR(10), c9 DATE, c10 BLOB)",
        row: "n, JSON_OBJECT('n', n, 'd', CAST(n / 7 AS DECIMAL(12,3)), 'list', JSON_ARRAY(n, 'x', NULL, 1.5)), \
              REPEAT(CONCAT('text ', n, ' '), 20 + n % 40), n % 128, n * 4000000000, n / 3, \
              TIMESTAMP('2026-01-01') + INTERVAL n MICROSECOND, NULLIF(n % 5, 0), CONCAT('wide ', n), n / 7, \
              LEFT(SHA2(n, 224), 10), DATE('2000-01-01') + INTERVAL n % 9000 DAY, RANDOM_BYTES(16)",
    },
];

/// What is tried.
struct Plan {
    rows: u64,
    kills: usize,
    /// Transactions per second, all workers together.
    per_second: u32,
    /// The section `[snapshot]`.
    settings: &'static str,
}

impl Plan {
    fn rows_of(&self, table: &Table) -> u64 {
        (self.rows * table.percent / 100).max(1)
    }

    /// What nothing may exceed, on a machine that has other things to do.
    fn patience(&self) -> Duration {
        Duration::from_secs(90 + self.rows / 500)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_on_where_it_was_killed() -> Result<()> {
    try_it(&Plan {
        rows: 60_000,
        kills: 2,
        per_second: 150,
        settings: "tables_at_once = 3\nchunk_time = \"50ms\"\n",
    })
    .await
}

/// For `make test-long`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten minutes and 5 GB of disk; TOWPATH_COPY_ROWS says how many rows"]
async fn five_million_rows_and_ten_kills() -> Result<()> {
    let rows = std::env::var("TOWPATH_COPY_ROWS").map_or(Ok(ROWS_LONG), |rows| rows.parse())?;
    try_it(&Plan {
        rows,
        kills: 10,
        per_second: 200,
        settings: "",
    })
    .await
}

async fn try_it(plan: &Plan) -> Result<()> {
    let seed: u64 = match std::env::var("TOWPATH_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => rand::random(),
    };
    eprintln!("TOWPATH_SEED={seed}");
    let server = |server: towpath_testing::ServerBuilder| {
        server
            .option("innodb-buffer-pool-size", "256M")
            .option("innodb-redo-log-capacity", "1G")
    };
    let pair = Pair::with(server, server).await?;
    // The sink gets its tables from the copy.
    let mut pipeline = pair.pipeline("big", &[]).await?;
    pipeline.start = "now".into();
    pipeline.snapshot = "initial";
    pipeline.further = format!("[snapshot]\n{}", plan.settings);
    let (mut source, mut sink) = pair.conns().await?;
    let began = Instant::now();
    fill(&mut source, plan).await?;
    eprintln!("{} rows made in {:.1?}", plan.rows, began.elapsed());

    let load = Load::start(&pair, plan, seed).await?;
    let began = Instant::now();
    let mut watch = Watch::default();
    let mut rng = StdRng::seed_from_u64(seed);
    let process = watch
        .copy(&pipeline, &mut sink, plan, &mut rng)
        .await
        .with_context(|| format!("seed {seed}"))?;
    let copied_in = began.elapsed();
    let rows: u64 = watch.seen.values().map(|(_, rows)| rows).sum();
    ensure!(
        rows >= plan.rows * 9 / 10,
        "only {rows} rows were copied of {}",
        plan.rows
    );

    // For as long without a copy: the stream alone.
    let (quiet, patience) = (Instant::now(), plan.patience());
    tokio::time::sleep(copied_in.min(patience)).await;
    let felt = load.stop().await?;
    towpath_testing::caught_up(&mut source, &mut sink, &pipeline.name, patience)
        .await
        .with_context(|| process.tail())?;
    watch.look(&pipeline, &mut sink).await?;
    watch.measure(&process);
    eprintln!(
        "{rows} rows copied in {copied_in:.1?} with {} kills: {:.0} rows/s; peak {} MiB",
        plan.kills,
        rows as f64 / copied_in.as_secs_f64(),
        watch.peak_kib / 1024,
    );
    let during = told("with the copy", &felt, began..began + copied_in)?;
    told("without it", &felt, quiet..Instant::now())?;
    ensure!(
        during as f64 > copied_in.as_secs_f64() * f64::from(plan.per_second) / 20.0,
        "the load was hardly there: {during} transactions"
    );

    let began = Instant::now();
    for table in &TABLES {
        let table = format!("CHECKSUM TABLE big.{}", table.name);
        same(&mut source, &mut sink, &table).await?;
    }
    verified(&pipeline, patience).await?;
    eprintln!("equal, said in {:.1?}", began.elapsed());
    stop(&process).await
}

/// Makes the tables at the source and fills them, without a word in its binlog.
async fn fill(source: &mut Conn, plan: &Plan) -> Result<()> {
    let rows_max = TABLES.iter().map(|table| plan.rows_of(table)).max();
    let rows_max = rows_max.context("no table")?;
    let mut statements = vec![
        "SET SESSION sql_log_bin = 0, unique_checks = 0, cte_max_recursion_depth = 10000".to_owned(),
        "CREATE DATABASE numbers".to_owned(),
        "CREATE TABLE numbers.numbers (n BIGINT PRIMARY KEY)".to_owned(),
        "INSERT INTO numbers.numbers WITH RECURSIVE q (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM q WHERE n < 1000) \
         SELECT n FROM q"
            .to_owned(),
    ];
    let mut numbers = 1000;
    while numbers < rows_max {
        statements.push(format!(
            "INSERT INTO numbers.numbers SELECT n + {numbers} FROM numbers.numbers WHERE n <= {}",
            rows_max - numbers
        ));
        numbers = (2 * numbers).min(rows_max);
    }
    for table in &TABLES {
        let Table {
            name, columns, row, ..
        } = table;
        statements.push(format!("CREATE TABLE big.{name} {columns}"));
        let rows = plan.rows_of(table);
        for first in (1..=rows).step_by(FILL_ROWS as usize) {
            let last = (first + FILL_ROWS - 1).min(rows);
            statements.push(format!(
                "INSERT INTO big.{name} SELECT {row} FROM numbers.numbers WHERE n BETWEEN {first} AND {last}"
            ));
        }
    }
    statements.push("SET SESSION sql_log_bin = 1, unique_checks = 1".to_owned());
    for sql in &statements {
        source.query_drop(sql).await.with_context(|| sql.clone())?;
    }
    Ok(())
}

/// What was seen of the copy, which may only get further.
#[derive(Default)]
struct Watch {
    seen: BTreeMap<String, (usize, u64)>,
    /// Of all processes.
    peak_kib: u64,
}

impl Watch {
    /// Copies, killed at random moments; answers the process that came to the end of the copy.
    async fn copy(
        &mut self,
        pipeline: &Pipeline,
        sink: &mut Conn,
        plan: &Plan,
        rng: &mut StdRng,
    ) -> Result<TowpathProcess> {
        let mut kill_at: Vec<u64> = (0..plan.kills)
            .map(|_| plan.rows * rng.random_range(2..80) / 100)
            .collect();
        kill_at.sort_unstable();
        for (n, rows) in kill_at.into_iter().enumerate() {
            let process = pipeline.run()?;
            let after = Duration::from_micros(rng.random_range(0..80_000));
            // Each has a go, also where the one before came further than this.
            let rows = rows.max(self.rows() + 1);
            self.until(&process, pipeline, sink, plan, |watch| watch.rows() >= rows)
                .await?;
            tokio::time::sleep(after).await;
            self.measure(&process);
            process.kill9()?;
            self.look(pipeline, sink).await?;
            let copied = self.rows();
            eprintln!("kill {} at {copied} rows", n + 1);
            ensure!(!self.is_done(), "the copy was over before kill {}", n + 1);
        }
        let process = pipeline.run()?;
        self.until(&process, pipeline, sink, plan, Self::is_done)
            .await?;
        Ok(process)
    }

    async fn until(
        &mut self,
        process: &TowpathProcess,
        pipeline: &Pipeline,
        sink: &mut Conn,
        plan: &Plan,
        accept: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        wait_until("the copy", plan.patience(), async || {
            if let Some(status) = process.exit_status()? {
                anyhow::bail!("towpath ended: {status}");
            }
            tokio::time::sleep(LOOK).await;
            self.look(pipeline, sink).await?;
            Ok(accept(self))
        })
        .await
        .with_context(|| process.tail())
    }

    /// Looks how far each table is: not less far than before.
    async fn look(&mut self, pipeline: &Pipeline, sink: &mut Conn) -> Result<()> {
        let now = copies(sink, pipeline).await?;
        for (table, (state, rows)) in now {
            let states = ["waiting", "copying", "settling", "done"];
            let state = states.iter().position(|known| *known == state);
            let state = state.with_context(|| format!("{table}: no such state"))?;
            let before = self.seen.insert(table.clone(), (state, rows));
            let (state_before, rows_before) = before.unwrap_or_default();
            ensure!(
                state >= state_before && rows >= rows_before,
                "{table} went back from {} with {rows_before} rows to {} with {rows}",
                states[state_before],
                states[state]
            );
        }
        Ok(())
    }

    fn rows(&self) -> u64 {
        self.seen.values().map(|(_, rows)| rows).sum()
    }

    fn is_done(&self) -> bool {
        self.seen.len() == TABLES.len() && self.seen.values().all(|(state, _)| *state == 3)
    }

    /// The kernel's own mark of how much memory it took.
    fn measure(&mut self, process: &TowpathProcess) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()));
        let status = status.unwrap_or_default();
        let peak = status.lines().find_map(|line| {
            let rest = line.strip_prefix("VmHWM:")?;
            rest.trim().strip_suffix(" kB")?.parse().ok()
        });
        self.peak_kib = self.peak_kib.max(peak.unwrap_or_default());
    }
}

/// When a transaction of the load began, and how long it took.
type Felt = Vec<(Instant, Duration)>;

/// Changes of every kind at a bounded rate, until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<tokio::task::JoinHandle<Result<Felt>>>,
}

impl Load {
    async fn start(pair: &Pair, plan: &Plan, seed: u64) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let period = Duration::from_secs(1) * WORKERS / plan.per_second;
        let mut workers = Vec::new();
        for worker in 1..=WORKERS {
            let mut conn = pair.source.conn_as("app").await?;
            conn.query_drop("USE big").await?;
            let mut changes = Changes {
                rng: StdRng::seed_from_u64(seed ^ u64::from(worker)),
                rows: TABLES.each_ref().map(|table| plan.rows_of(table)),
                fresh: FRESH * i64::from(worker),
            };
            let stop = Arc::clone(&stop);
            workers.push(tokio::spawn(async move {
                let mut ticks = tokio::time::interval(period);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                let mut felt = Felt::new();
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    let statements = changes.next();
                    let began = Instant::now();
                    if commits(&mut conn, &statements).await? {
                        felt.push((began, began.elapsed()));
                    }
                }
                Ok(felt)
            }));
        }
        Ok(Self { stop, workers })
    }

    async fn stop(self) -> Result<Felt> {
        self.stop.store(true, Ordering::Relaxed);
        let mut felt = Felt::new();
        for worker in self.workers {
            felt.extend(worker.await??);
        }
        Ok(felt)
    }
}

/// One worker's transactions.
struct Changes {
    rng: StdRng,
    /// Of each table, as it was filled.
    rows: [u64; 4],
    fresh: i64,
}

impl Changes {
    /// A row's number.
    fn any(&mut self, table: usize) -> u64 {
        self.rng.random_range(1..=self.rows[table])
    }

    /// A number that no row has: above all others, or below, so that rows move to where the copy has been, too.
    fn fresh(&mut self) -> i64 {
        self.fresh += 1;
        if self.rng.random_range(0..2) == 0 {
            self.fresh
        } else {
            -self.fresh
        }
    }

    /// The next transaction.
    fn next(&mut self) -> Vec<String> {
        let fresh = self.fresh();
        match self.rng.random_range(0..14) {
            0 => vec![format!(
                "INSERT INTO ints VALUES ({fresh}, {fresh}, 'new', 1), ({fresh} + 500000000, NULL, 'new', 2)"
            )],
            1 => {
                let a = self.any(0);
                vec![format!(
                    "UPDATE ints SET v = 'changed {fresh}', n = n + 1 WHERE id BETWEEN {a} AND {a} + 3"
                )]
            }
            2 => vec![format!(
                "UPDATE ints SET id = {fresh} WHERE id = {}",
                self.any(0)
            )],
            3 => vec![format!(
                "DELETE FROM ints WHERE id IN ({}, {})",
                self.any(0),
                self.any(0)
            )],
            4 | 5 => {
                let (a, b) = (self.any(0), self.any(0));
                vec![
                    "BEGIN".into(),
                    "SET @a = NULL, @b = NULL".into(),
                    format!("SELECT u INTO @a FROM ints WHERE id = {a} FOR UPDATE"),
                    format!("SELECT u INTO @b FROM ints WHERE id = {b} FOR UPDATE"),
                    format!("UPDATE ints SET u = NULL WHERE id = {a}"),
                    format!("UPDATE ints SET u = @a WHERE id = {b}"),
                    format!("UPDATE ints SET u = @b WHERE id = {a}"),
                    "COMMIT".into(),
                ]
            }
            6 => {
                let n = self.any(1);
                vec![format!(
                    "INSERT INTO names VALUES (CONCAT('KEY ', {n} DIV 7), {}, 1.5) ON DUPLICATE KEY UPDATE v = v + 1",
                    if n.is_multiple_of(2) { n as i64 } else { fresh }
                )]
            }
            7 => {
                let n = self.any(1);
                let prefix = ["a", "Z", "Kez"][(n % 3) as usize];
                vec![format!(
                    "UPDATE names SET a = CONCAT('{prefix}', b), v = v * 2 WHERE a = CONCAT('key ', {n} DIV 7) AND b = {n}"
                )]
            }
            8 => {
                let n = self.any(1);
                vec![format!(
                    "DELETE FROM names WHERE a = CONCAT('KEY ', {n} DIV 7) AND b = {n}"
                )]
            }
            9 => vec![format!(
                "INSERT INTO bins VALUES (UNHEX(SHA2({fresh}, 224)), {fresh}, 'new')"
            )],
            10 => vec![format!(
                "UPDATE bins SET h = UNHEX(SHA2({fresh}, 256)) WHERE h = UNHEX(SHA2({}, 224))",
                self.any(2)
            )],
            11 => vec![format!(
                "DELETE FROM bins WHERE h = UNHEX(SHA2({}, 224))",
                self.any(2)
            )],
            12 => vec![format!(
                "UPDATE wide SET j = JSON_SET(j, '$.n', {fresh}, '$.d', CAST({fresh} / 7 AS DECIMAL(20,3))), \
                 body = LEFT(CONCAT('b', body), 1000) WHERE id = {}",
                self.any(3)
            )],
            _ => {
                let (a, b, moved) = (self.any(3), self.any(3), self.fresh());
                vec![
                    "BEGIN".into(),
                    format!(
                        "INSERT INTO wide (id, j) VALUES ({fresh}, '[1, 2.5, {{\"a\": null}}]')"
                    ),
                    format!("DELETE FROM wide WHERE id = {a}"),
                    format!("UPDATE wide SET id = {moved} WHERE id = {b}"),
                    "COMMIT".into(),
                ]
            }
        }
    }
}

/// Tells what the writers felt; answers how many transactions that was.
fn told(what: &str, felt: &Felt, when: std::ops::Range<Instant>) -> Result<usize> {
    let mut took: Vec<Duration> = felt
        .iter()
        .filter(|(began, _)| when.contains(began))
        .map(|(_, took)| *took)
        .collect();
    took.sort_unstable();
    let at = |part: f64| took.get(((took.len() as f64 - 1.0) * part).max(0.0) as usize);
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    let (p50, p99, max) = (
        p50.with_context(|| format!("no transaction {what}"))?,
        p99.context("no p99")?,
        max.context("no maximum")?,
    );
    eprintln!(
        "the source's transactions {what}: {}, p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}",
        took.len()
    );
    Ok(took.len())
}

/// `towpath verify` says that every row of every table is the source's.
async fn verified(pipeline: &Pipeline, patience: Duration) -> Result<()> {
    let process = TowpathProcess::builder()
        .program(env!("CARGO_BIN_EXE_towpath"))
        .arg("verify")
        .arg(&pipeline.file)
        .arg("--json")
        .spawn()?;
    let status = process.wait_exit(patience).await?;
    let said = process.stdout().concat();
    let report: Value = serde_json::from_str(&said).unwrap_or_default();
    let tables = report["tables"].as_array().map_or(0, Vec::len);
    ensure!(
        status.success() && report["verdict"] == "equal" && tables == TABLES.len(),
        "{status}: {said}\n{}",
        process.tail()
    );
    Ok(())
}
