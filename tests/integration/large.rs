//! Large transactions and large rows go through in bounded memory.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use towpath_testing::{MysqlServer, TcpProxy, TowpathProcess, wait_until};

use crate::crash::run_with;
use crate::harness::{Pair, Pipeline, WAIT, number, same, stop};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What the process may take at any moment.
const RSS_MAX: u64 = 300 * MIB;

/// Of full size, everything takes minutes on a busy machine.
const LONG: Duration = Duration::from_secs(900);

/// Servers that take rows and transactions of any size.
async fn pair() -> Result<Pair> {
    let large = |server: towpath_testing::ServerBuilder| {
        server
            .option("max-allowed-packet", "1G")
            // A BLOB may take a tenth of it.
            .option("innodb-redo-log-capacity", "2G")
            .option("innodb-buffer-pool-size", "512M")
    };
    Pair::with(large, large).await
}

/// Peak and present resident memory of a process, bytes.
fn rss(process: &TowpathProcess) -> Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.map(|kib| kib * KIB)
            .with_context(|| format!("no {name} in\n{status}"))
    };
    Ok((field("VmHWM:")?, field("VmRSS:")?))
}

/// Waits as long as it takes.
async fn arrived(
    pipeline: &Pipeline,
    process: &TowpathProcess,
    source: &mut Conn,
    sink: &mut Conn,
) -> Result<()> {
    towpath_testing::caught_up(source, sink, &pipeline.name, LONG)
        .await
        .with_context(|| process.tail())
}

/// Writes rows of `row_bytes` each in one transaction.
async fn write(source: &mut Conn, name: &str, bytes: u64, row_bytes: u64) -> Result<()> {
    let rows = bytes / row_bytes;
    source
        .query_drop("SET SESSION cte_max_recursion_depth = 100000000")
        .await?;
    // Bytes that zstd can't halve and a literal must escape here and there.
    source
        .query_drop(format!(
            "INSERT INTO {name}.t (v) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s \
             WHERE n < {rows}) SELECT REPEAT(RANDOM_BYTES(64), {row_bytes} DIV 64) FROM s"
        ))
        .await?;
    Ok(())
}

fn tell(what: &str, began: Instant, process: &TowpathProcess) -> Result<u64> {
    let (peak, now) = rss(process)?;
    eprintln!(
        "{what}: {:.1} s, peak {} MiB, now {} MiB",
        began.elapsed().as_secs_f64(),
        peak / MIB,
        now / MIB
    );
    Ok(peak)
}

const TABLE: &str = "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v LONGBLOB)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transactions_and_rows_take_little_memory() -> Result<()> {
    let pair = pair().await?;
    // Nothing is hidden in a queue that has room for all of it.
    transaction(
        &pair,
        64 * MIB,
        20 * KIB,
        "[queue]\nbytes_max = \"8MiB\"",
        130 * MIB,
    )
    .await?;
    rows(&pair, 24 * MIB, 140 * MIB).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes, and 10 GB of disk"]
async fn a_gigabyte_goes_through() -> Result<()> {
    let pair = pair().await?;
    transaction(&pair, 1024 * MIB, KIB, "", RSS_MAX).await?;
    transaction(&pair, 1024 * MIB, 100 * KIB, "", RSS_MAX).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes, and gigabytes of disk"]
async fn a_row_of_64_mib_goes_through() -> Result<()> {
    rows(&pair().await?, 64 * MIB, RSS_MAX).await
}

/// One transaction of many rows, as it is and compressed, and through a connection that is slow.
async fn transaction(
    pair: &Pair,
    bytes: u64,
    row_bytes: u64,
    bounds: &str,
    peak_max: u64,
) -> Result<()> {
    let mut pipeline = pair.pipeline(&format!("x{row_bytes}"), &[TABLE]).await?;
    pipeline.further = bounds.to_owned();
    let name = pipeline.name.clone();
    let (mut source, mut sink) = pair.conns().await?;
    for compressed in [false, true] {
        let process = run_with(&pipeline, "")?;
        source
            .query_drop(format!(
                "SET SESSION binlog_transaction_compression = {compressed}"
            ))
            .await?;
        write(&mut source, &name, bytes, row_bytes).await?;
        let began = Instant::now();
        arrived(&pipeline, &process, &mut source, &mut sink).await?;
        let what = if compressed { "compressed" } else { "plain" };
        let what = format!("{} MiB of {} KiB, {what}", bytes / MIB, row_bytes / KIB);
        let peak = tell(&what, began, &process)?;
        stop(&process).await?;
        same(&mut source, &mut sink, &format!("CHECKSUM TABLE {name}.t")).await?;
        ensure!(peak < peak_max, "{what}: {peak} bytes at the peak");
        pipeline.name.clone_from(&name);
        source
            .query_drop(format!("DELETE FROM {name}.t LIMIT 1"))
            .await?;
    }

    // A sink that is slow holds the source back, not the memory.
    let proxy = TcpProxy::start(pair.sink.port()).await?;
    pipeline.sink_port = proxy.port().to_string();
    let process = run_with(&pipeline, "")?;
    process
        .wait_for_line(|line| line.contains("took the sink over"), WAIT)
        .await?;
    proxy.delay(Duration::from_millis(3));
    source
        .query_drop("SET SESSION binlog_transaction_compression = false")
        .await?;
    write(&mut source, &name, bytes, row_bytes).await?;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    tell("slow sink, under way", began, &process)?;
    proxy.resume();
    arrived(&pipeline, &process, &mut source, &mut sink).await?;
    let peak = tell("slow sink", began, &process)?;
    stop(&process).await?;
    ensure!(peak < peak_max, "a slow sink: {peak} bytes at the peak");
    same(&mut source, &mut sink, &format!("CHECKSUM TABLE {name}.t")).await?;
    takeover(pair, &mut pipeline, bytes, row_bytes).await?;
    for conn in [&mut source, &mut sink] {
        conn.query_drop(format!("DROP DATABASE {name}")).await?;
    }
    Ok(())
}

/// Killed with most of a transaction in the sink's open one: the next takes over once that is rolled
/// back.
async fn takeover(pair: &Pair, pipeline: &mut Pipeline, bytes: u64, row_bytes: u64) -> Result<()> {
    pipeline.sink_port = pair.sink.port().to_string();
    let name = &pipeline.name;
    let (mut source, mut sink) = pair.conns().await?;
    let process = run_with(pipeline, "")?;
    write(&mut source, name, bytes, row_bytes).await?;
    let mut watcher = pair.sink.conn().await?;
    watcher
        .query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
        .await?;
    let highest = format!("SELECT COALESCE(MAX(id), 0) FROM {name}.t");
    let wanted = number(&mut source, &highest).await? - bytes / row_bytes / 4;
    wait_until("most of the rows to be there", LONG, async || {
        Ok(number(&mut watcher, &highest).await? >= wanted)
    })
    .await?;
    process.kill9()?;
    let began = Instant::now();
    let process = run_with(pipeline, "")?;
    process
        .wait_for_line(|line| line.contains("took the sink over"), LONG)
        .await?;
    eprintln!("taken over after {:.1} s", began.elapsed().as_secs_f64());
    arrived(pipeline, &process, &mut source, &mut sink).await?;
    stop(&process).await?;
    same(&mut source, &mut sink, &format!("CHECKSUM TABLE {name}.t")).await
}

/// One large row after the other: inserted, updated with its full images, deleted.
async fn rows(pair: &Pair, bytes: u64, peak_max: u64) -> Result<()> {
    let pipeline = pair.pipeline("r", &[TABLE]).await?;
    let (mut source, mut sink) = pair.conns().await?;
    let process = run_with(&pipeline, "")?;
    process
        .wait_for_line(|line| line.contains("took the sink over"), WAIT)
        .await?;
    let value = format!("REPEAT(RANDOM_BYTES(64), {bytes} DIV 64)");
    // Twice as long as literals, and slow to write in a debug build.
    let quotes = if bytes < 32 * MIB { 4 * MIB } else { bytes };
    let mut peaks = Vec::new();
    for (what, statement) in [
        ("insert", format!("INSERT INTO r.t VALUES (1, {value})")),
        (
            "insert of another",
            format!("INSERT INTO r.t VALUES (2, {value})"),
        ),
        ("update", format!("UPDATE r.t SET v = {value} WHERE id = 1")),
        ("update of both", format!("UPDATE r.t SET v = {value}")),
        (
            "quotes",
            format!("INSERT INTO r.t VALUES (3, REPEAT('''', {quotes}))"),
        ),
        ("delete", "DELETE FROM r.t WHERE id < 3".to_owned()),
    ] {
        let began = Instant::now();
        source.query_drop(&statement).await?;
        arrived(&pipeline, &process, &mut source, &mut sink).await?;
        let peak = tell(&format!("{} MiB, {what}", bytes / MIB), began, &process)?;
        same(&mut source, &mut sink, "CHECKSUM TABLE r.t").await?;
        peaks.push(peak);
    }
    let peak = peaks.into_iter().max().unwrap_or_default();
    ensure!(peak < peak_max, "{peak} bytes at the peak");
    // What was large is given back.
    source
        .query_drop("INSERT INTO r.t VALUES (9, 'small')")
        .await?;
    arrived(&pipeline, &process, &mut source, &mut sink).await?;
    let (_, now) = rss(&process)?;
    ensure!(now < 100 * MIB, "{now} bytes are kept");
    stop(&process).await?;
    drop((source, sink));
    refused(pair, bytes).await
}

/// A row that the sink does not take is told before it is sent, and taken once the sink allows it.
async fn refused(pair: &Pair, bytes: u64) -> Result<()> {
    let pipeline = pair.pipeline("small", &[TABLE]).await?;
    set_packet(&pair.sink, bytes / 2).await?;
    let (mut source, mut sink) = pair.conns().await?;
    source
        .query_drop(format!(
            "INSERT INTO small.t VALUES (1, REPEAT('x', {bytes}))"
        ))
        .await?;
    let said = pipeline.run_until_it_fails().await?;
    ensure!(said.contains("max_allowed_packet"), "{said}");
    ensure!(number(&mut sink, "SELECT COUNT(*) FROM small.t").await? == 0);
    set_packet(&pair.sink, 1024 * MIB).await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    same(&mut source, &mut sink, "CHECKSUM TABLE small.t").await
}

async fn set_packet(server: &MysqlServer, bytes: u64) -> Result<()> {
    let mut conn = server.conn().await?;
    conn.query_drop(format!("SET GLOBAL max_allowed_packet = {bytes}"))
        .await?;
    Ok(())
}
