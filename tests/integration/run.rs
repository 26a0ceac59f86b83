//! `towpath run` as a process: where it begins, how it ends, and what it goes through in between.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use towpath_testing::bank::{Bank, LoadSettings};
use towpath_testing::{gtid_executed, wait_until};

use crate::harness::{Pair, WAIT, number, same, stop};

/// What SIGTERM promises.
const STOP_MAX: Duration = Duration::from_secs(1);

/// Rows of a transaction that is larger than the queue and every batch.
const LARGE_ROWS: u64 = 200_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_start_begins_at_its_place() -> Result<()> {
    let pair = Pair::start().await?;
    let mut pipeline = pair
        .pipeline("s", &["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await?;
    let (mut source, mut sink) = pair.conns().await?;
    // The oldest binlog begins behind the schema.
    source.query_drop("RESET BINARY LOGS AND GTIDS").await?;
    insert(&mut source, 1..=3).await?;
    let gtids = gtid_executed(&mut source).await?;
    source.query_drop("FLUSH BINARY LOGS").await?;
    insert(&mut source, 4..=6).await?;
    let status: Row = source
        .query_first("SHOW BINARY LOG STATUS")
        .await?
        .context("no status")?;
    let (file, offset): (String, u64) = (
        status.get(0).context("no file")?,
        status.get(1).context("no offset")?,
    );
    let time: Option<String> = source
        .query_first("SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')")
        .await?;
    insert(&mut source, 7..=9).await?;

    for (n, (start, first)) in [
        ("now".to_owned(), 10),
        ("earliest".to_owned(), 1),
        (format!("gtid:{gtids}"), 4),
        (format!("{file}:{offset}"), 7),
        (format!("{file}:4"), 4),
        (time.context("no time")?, 7),
    ]
    .into_iter()
    .enumerate()
    {
        sink.query_drop("TRUNCATE s.t").await?;
        pipeline.name = format!("s{n}");
        pipeline.start = start.clone();
        let process = pipeline.run()?;
        process
            .wait_for_line(|line| line.contains("starting here"), WAIT)
            .await?;
        if n == 0 {
            insert(&mut source, 10..=12).await?;
        }
        pipeline.caught_up(&process, &mut source, &mut sink).await?;
        let ids: Vec<u32> = sink.query("SELECT id FROM s.t ORDER BY id").await?;
        ensure!(ids == (first..=12).collect::<Vec<_>>(), "{start}: {ids:?}");
        stop(&process).await?;

        // It counts only for a sink that has no offset.
        pipeline.start = "earliest".into();
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        let again: Vec<u32> = sink.query("SELECT id FROM s.t ORDER BY id").await?;
        ensure!(again == ids, "{start}: {again:?} after the next start");
    }

    for (name, start, code, says) in [
        (
            "inside",
            format!("{file}:{}", offset - 1),
            "TP1215",
            "not between two transactions",
        ),
        (
            "beyond",
            format!("{file}:{}", offset + 1_000_000),
            "TP1215",
            "the file ends at",
        ),
        (
            "absent",
            "binlog.999999:4".to_owned(),
            "TP1214",
            "no binlog file `binlog.999999`",
        ),
        (
            "ahead",
            format!("{gtids}0").replacen("", "gtid:", 1),
            "TP1211",
            "lacks transactions",
        ),
    ] {
        pipeline.name = name.into();
        pipeline.start = start;
        let said = pipeline.run_until_it_fails().await?;
        ensure!(
            said.contains(says) && said.contains(&format!("error[{code}]: ")),
            "{name}: {code} and {says:?} are not in\n{said}"
        );
        ensure!(
            pipeline.stored(&mut sink).await?.is_empty(),
            "{name}: it has an offset"
        );
    }
    Ok(())
}

async fn insert(source: &mut Conn, ids: std::ops::RangeInclusive<u32>) -> Result<()> {
    for id in ids {
        source
            .query_drop(format!("INSERT INTO s.t VALUES ({id})"))
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_outlives_its_servers_and_stops_at_once() -> Result<()> {
    let pair = Pair::start().await?;
    let mut pipeline = pair.pipeline("p", &[]).await?;
    let (mut source, mut sink) = pair.conns().await?;
    let bank = Bank::new("p");
    bank.create(&mut source).await?;
    bank.create(&mut sink).await?;
    pipeline.start = format!("gtid:{}", gtid_executed(&mut source).await?);
    let settings = LoadSettings {
        rate_max: Some(400),
        ..LoadSettings::default()
    };
    let load = bank.start_load(&pair.source.url("app"), &settings)?;

    let mut process = pipeline.run()?;
    for n in 1..=5 {
        progress(&pair, &bank)
            .await
            .with_context(|| process.tail())?;
        let began = Instant::now();
        process.terminate()?;
        let status = process.wait_exit(WAIT).await?;
        let took = began.elapsed();
        eprintln!("SIGTERM {n}: {took:?}");
        ensure!(
            status.success(),
            "SIGTERM {n}: {status}; {}",
            process.tail()
        );
        ensure!(
            took <= STOP_MAX,
            "SIGTERM {n}: it took {took:?}; {}",
            process.tail()
        );
        process = pipeline.run()?;
    }

    progress(&pair, &bank)
        .await
        .with_context(|| process.tail())?;
    pair.source.kill9()?;
    pair.source.restart().await?;
    progress(&pair, &bank)
        .await
        .with_context(|| process.tail())?;

    // Connection ids begin anew with the sink, so that a remembered one is now a stranger's.
    pair.sink.kill9()?;
    pair.sink.restart().await?;
    let mut strangers = Vec::new();
    for _ in 0..40 {
        strangers.push(pair.sink.conn_as("app").await?);
    }
    progress(&pair, &bank)
        .await
        .with_context(|| process.tail())?;
    ensure!(process.exit_status()?.is_none(), "{}", process.tail());
    for stranger in &mut strangers {
        stranger
            .query_drop("DO 1")
            .await
            .context("a stranger was killed")?;
    }

    load.stop().await?;
    let (mut source, mut sink) = pair.conns().await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    stop(&process).await?;
    let verdict = bank.check(&mut source, &mut sink).await?;
    ensure!(verdict.is_equal() && verdict.transactions > 0, "{verdict}");
    Ok(())
}

/// Waits until more of the bank's transactions have arrived.
async fn progress(pair: &Pair, bank: &Bank) -> Result<()> {
    let mut sink = pair.sink.conn().await?;
    let count = format!("SELECT COUNT(*) FROM {}.audit", bank.database());
    let before = number(&mut sink, &count).await?;
    wait_until("transactions to arrive", WAIT, async || {
        Ok(number(&mut sink, &count).await? >= before + 50)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_arrives_in_one() -> Result<()> {
    let pair = Pair::start().await?;
    let mut pipeline = pair
        .pipeline(
            "large",
            &[
                "CREATE TABLE t (id INT UNSIGNED PRIMARY KEY, v VARCHAR(40))",
                "CREATE TABLE small (id INT PRIMARY KEY)",
            ],
        )
        .await?;
    pipeline.further = "[queue]\nbytes_max = \"1MiB\"\n\
                        [apply]\nbatch_rows_max = 5000\nbatch_bytes_max = \"256KiB\""
        .into();
    let (mut source, mut sink) = pair.conns().await?;
    let process = pipeline.run()?;
    source
        .query_drop("INSERT INTO large.small VALUES (1)")
        .await?;
    pipeline.caught_up(&process, &mut source, &mut sink).await?;

    // Others are filtered out: they move the offset, but seldom.
    source.query_drop("CREATE DATABASE elsewhere").await?;
    source
        .query_drop("CREATE TABLE elsewhere.t (id INT AUTO_INCREMENT PRIMARY KEY)")
        .await?;
    let before = pipeline.row(&mut sink).await?.commit_seq;
    let began = Instant::now();
    let mut written = 0;
    while began.elapsed() < Duration::from_secs(3) {
        source
            .query_drop("INSERT INTO elsewhere.t VALUES ()")
            .await?;
        written += 1;
    }
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    let commits = pipeline.row(&mut sink).await?.commit_seq - before;
    let seconds = began.elapsed().as_secs() + 1;
    ensure!(
        (1..=seconds).contains(&commits),
        "{commits} commits for {written} in {seconds} s"
    );
    ensure!(
        written > 20 * seconds,
        "only {written} filtered transactions"
    );

    let before = pipeline.row(&mut sink).await?;
    let mut reader = pair.sink.conn().await?;
    let reading = tokio::spawn(async move {
        let mut looks = 0;
        loop {
            let count = number(&mut reader, "SELECT COUNT(*) FROM large.t").await?;
            ensure!(
                count == 0 || count == LARGE_ROWS,
                "a reader sees {count} rows"
            );
            looks += 1;
            if count > 0 {
                return Ok(looks);
            }
        }
    });
    source
        .query_drop("SET SESSION cte_max_recursion_depth = 1000000")
        .await?;
    source
        .query_drop(format!(
            "INSERT INTO large.t WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n \
             WHERE n < {LARGE_ROWS}) SELECT n, CONCAT('row number ', n) FROM n"
        ))
        .await?;
    source
        .query_drop("INSERT INTO large.small VALUES (2)")
        .await?;
    let looks = tokio::time::timeout(WAIT, reading).await???;
    ensure!(looks > 10, "the reader looked only {looks} times");
    pipeline.caught_up(&process, &mut source, &mut sink).await?;
    let after = pipeline.row(&mut sink).await?;
    ensure!(after.epoch == before.epoch, "{}", process.tail());
    ensure!(
        after.commit_seq - before.commit_seq <= 3,
        "{before:?}, {after:?}"
    );
    same(
        &mut source,
        &mut sink,
        "CHECKSUM TABLE large.t, large.small",
    )
    .await?;
    stop(&process).await
}
