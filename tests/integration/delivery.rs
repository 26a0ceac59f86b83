//! `delivery`: what each mode does when a process dies between data and offset, and nothing else.

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use towpath_core::failpoint::Point;

use crate::crash::{Trouble, is_of_a_mode, killed, run_with};
use crate::harness::{Pair, Pipeline, number, rows, same, stop};

/// Bounds under which a transaction of a few hundred rows is a large one.
const BOUNDS: &str = "[apply]\nbatch_rows_max = 100";

/// The modes that separate data from offset, where a crash comes between, and what it does to a row.
const MODES: [(&str, Point, &str); 2] = [
    ("at-least-once", Point::DeliveryDataCommitted, "twice"),
    ("at-most-once", Point::DeliveryOffsetCommitted, "never"),
];

fn with_mode(mut pipeline: Pipeline, mode: &str, bounds: &str) -> Pipeline {
    pipeline.further = format!("delivery = \"{mode}\"\n{bounds}");
    pipeline
}

#[test]
fn each_failpoint_of_a_mode_is_tried() {
    let tried = MODES.map(|(_, point, _)| point);
    for &point in Point::ALL {
        assert!(
            !is_of_a_mode(point) || tried.contains(&point),
            "{}",
            point.name()
        );
    }
}

/// One transaction is caught between data and offset: rows without a key tell how often it came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_repeats_or_loses_as_the_mode_says() -> Result<()> {
    let pair = Pair::start().await?;
    let cases = [("exactly-once", Point::CommitAfterCommit, "once")];
    let before = [("exactly-once", Point::CommitBeforeOffset, "once")];
    for (n, (mode, point, comes)) in MODES.into_iter().chain(cases).chain(before).enumerate() {
        let name = format!("m{n}");
        let pipeline = pair
            .pipeline(
                &name,
                &[
                    "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, v VARCHAR(20))",
                    "CREATE TABLE log (n INT)",
                    "CREATE TABLE composed (a INT, b VARCHAR(20), PRIMARY KEY (b, a))",
                ],
            )
            .await?;
        let pipeline = with_mode(pipeline, mode, BOUNDS);
        let (mut source, mut sink) = pair.conns().await?;
        source.query_drop(format!("USE {name}")).await?;
        source
            .query_drop("INSERT INTO t VALUES (1, 1, 'kept'), (2, 2, 'deleted'), (3, 3, 'changed')")
            .await?;
        source.query_drop("INSERT INTO log VALUES (1), (2)").await?;
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;

        let process = run_with(&pipeline, &format!("{}=kill", point.name()))?;
        source
            .query_drop(
                "BEGIN; INSERT INTO log VALUES (7); UPDATE t SET v = 'new' WHERE id = 3; \
                 UPDATE t SET u = 20 WHERE id = 1; INSERT INTO t VALUES (4, 1, 'inserted'); \
                 DELETE FROM t WHERE id = 2; INSERT INTO composed VALUES (1, 'x'), (2, 'it''s'); COMMIT",
            )
            .await?;
        killed(&process, point.name()).await?;
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        let sevens = number(
            &mut sink,
            &format!("SELECT COUNT(*) FROM {name}.log WHERE n = 7"),
        )
        .await?;
        let expected = match comes {
            "twice" => 2,
            "never" => 0,
            _ => 1,
        };
        ensure!(sevens == expected, "{mode}: the row came {sevens} times");
        let equal = same(&mut source, &mut sink, &format!("SELECT * FROM {name}.t")).await;
        ensure!(
            equal.is_ok() == (comes != "never"),
            "{mode}, rows with a key: {equal:?}"
        );

        // What comes later finds rows that are missing, or there already, and goes on; with a key it
        // mends what it touches.
        source
            .query_drop(
                "BEGIN; UPDATE t SET v = CONCAT(v, '!') WHERE id IN (1, 3, 4); DELETE FROM composed; \
                 INSERT INTO t VALUES (2, 2, 'again'); INSERT INTO composed VALUES (1, 'x'); \
                 INSERT INTO log VALUES (8); COMMIT",
            )
            .await?;
        source
            .query_drop("DELETE FROM log WHERE n = 7")
            .await
            .context("rows without a key")?;
        pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        for table in ["t", "composed"] {
            same(
                &mut source,
                &mut sink,
                &format!("SELECT * FROM {name}.{table}"),
            )
            .await
            .context(mode)?;
        }
        let eights = number(
            &mut sink,
            &format!("SELECT COUNT(*) FROM {name}.log WHERE n = 8"),
        )
        .await?;
        ensure!(
            eights == 1,
            "{mode}: without a crash a row came {eights} times"
        );
        large(&pipeline, mode, comes, point, &mut source, &mut sink).await?;
    }
    Ok(())
}

/// A transaction of several batches is repeated or lost whole.
async fn large(
    pipeline: &Pipeline,
    mode: &str,
    comes: &str,
    point: Point,
    source: &mut mysql_async::Conn,
    sink: &mut mysql_async::Conn,
) -> Result<()> {
    let name = &pipeline.name;
    let process = run_with(pipeline, &format!("{}=kill", point.name()))?;
    source
        .query_drop(format!(
            "INSERT INTO {name}.log WITH RECURSIVE s (n) AS (SELECT 100 UNION ALL SELECT n + 1 FROM s \
             WHERE n < 649) SELECT n FROM s"
        ))
        .await?;
    killed(&process, point.name()).await?;
    pipeline.run_until_caught_up(source, sink).await?;
    let counts = rows(
        sink,
        &format!(
            "SELECT COUNT(*) FROM {name}.log WHERE n >= 100 GROUP BY n UNION SELECT COUNT(DISTINCT n) \
             FROM {name}.log WHERE n >= 100"
        ),
    )
    .await?;
    let expected: &[&str] = match comes {
        "twice" => &["'2'", "'550'"],
        "never" => &["'0'"],
        _ => &["'1'", "'550'"],
    };
    ensure!(
        counts == expected,
        "{mode}: a large transaction: {counts:?}"
    );
    Ok(())
}

/// Many transactions, among them unique values that move from row to row and keys that change: repeated
/// from an older state, they end in the newest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_key_converges_under_load_and_crashes() -> Result<()> {
    for (mode, point, _) in MODES {
        let mut trouble = Trouble::start().await?;
        trouble.pipeline = with_mode(
            trouble.pipeline.clone(),
            mode,
            "[queue]\nbytes_max = \"1MiB\"\n[apply]\nbatch_rows_max = 50\nbatch_bytes_max = \"256KiB\"",
        );
        for n in 0..6 {
            let process = trouble.run(&format!("{}={}*off->kill", point.name(), n + 1))?;
            trouble.round().await?;
            killed(&process, point.name()).await?;
        }
        let process = trouble.run("")?;
        if mode == "at-least-once" {
            // Keyless rows may be there twice: any more would be wrong, and so would be fewer.
            let mut sink = trouble.pair.sink.conn().await?;
            trouble.arrived(&process).await?;
            let odd = number(
                &mut sink,
                "SELECT COUNT(*) FROM (SELECT COUNT(*) AS c FROM p.keyless GROUP BY n HAVING c < 2) x",
            )
            .await?;
            ensure!(odd == 0, "{odd} values of p.keyless were lost");
            sink.query_drop("TRUNCATE p.keyless").await?;
            let mut source = trouble.pair.source.conn().await?;
            let keyless = rows(&mut source, "SELECT n FROM p.keyless").await?;
            let values: Vec<_> = keyless.iter().map(|n| format!("({n})")).collect();
            sink.query_drop(format!(
                "INSERT INTO p.keyless VALUES {}",
                values.join(", ")
            ))
            .await?;
            trouble.compare(&process).await?;
        } else {
            trouble.arrived(&process).await?;
            let (mut source, mut sink) = trouble.pair.conns().await?;
            for table in ["p.audit", "p.large", "p.keyless"] {
                let count = format!("SELECT COUNT(*) FROM {table}");
                let (there, here) = (
                    number(&mut source, &count).await?,
                    number(&mut sink, &count).await?,
                );
                ensure!(
                    here <= there,
                    "{table}: {here} rows, the source has {there}"
                );
            }
            // Something was lost, or this says nothing about at-most-once.
            let count = "SELECT COUNT(*) FROM p.audit";
            ensure!(number(&mut sink, count).await? < number(&mut source, count).await?);
            stop(&process).await?;
        }
    }
    Ok(())
}
