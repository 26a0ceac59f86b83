//! Killed at each step of a statement, of each shape that a statement can have.

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use towpath_core::failpoint::Point;

use super::{compare_database, marked_statements};
use crate::crash::{killed, run_with};
use crate::harness::Pair;

/// A statement, marked unless the source writes it anew, with rows before and behind it that depend on
/// it. `#` is the run's number.
const SHAPES: &[&[&str]] = &[
    // Its rows are one commit with its end.
    &[
        "CREATE TABLE made# (PRIMARY KEY (id)) SELECT id, v FROM a",
        "UPDATE made# SET v = 'changed'",
    ],
    // As gh-ost does it.
    &[
        "RENAME TABLE a TO old#, ghost TO a /* ddl swap # */",
        "INSERT INTO a (id, v, extra) VALUES (1000 + #, 'swapped', 1)",
        "CREATE TABLE ghost LIKE a",
        "INSERT INTO ghost SELECT * FROM a",
    ],
    // Leaves no trace in the definitions.
    &[
        "ALTER TABLE parts EXCHANGE PARTITION p WITH TABLE b /* ddl exchange # */",
        "INSERT INTO b VALUES (1000 + #)",
    ],
    &[
        "TRUNCATE TABLE cut /* ddl truncate # */",
        "INSERT INTO cut VALUES (1), (2)",
    ],
    // Narrowed: it runs as another statement.
    &["DROP TABLE taken#, no_#"],
];

/// All that a statement comes by, and how often it does without being killed.
const DDL: &[(Point, &str)] = &[
    (Point::DdlBeforeIntent, "kill"),
    (Point::DdlAfterIntent, "kill"),
    (Point::DdlBeforeStatement, "kill"),
    (Point::DdlAfterStatement, "kill"),
    (Point::DdlBeforeDone, "kill"),
    (Point::DdlAfterDone, "kill"),
];

/// Further points of CREATE TABLE ... SELECT: its rows are the first that are sent, and their commit is
/// the second one, behind the intent's.
const ROWS: &[(Point, &str)] = &[
    (Point::CommitBeforeData, "kill"),
    (Point::CommitAfterData, "kill"),
    (Point::CommitBeforeOffset, "1*off->kill"),
    (Point::CommitAfterCommit, "1*off->kill"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_step_a_statement_runs_once() -> Result<()> {
    let pair = Pair::start().await?;
    let mut pipeline = pair
        .pipeline(
            "steps",
            &[
                "CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20), extra INT)",
                "CREATE TABLE ghost LIKE a",
                "CREATE TABLE b (id INT PRIMARY KEY)",
                "CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY RANGE (id) \
                 (PARTITION p VALUES LESS THAN MAXVALUE)",
                "CREATE TABLE cut (id INT PRIMARY KEY)",
            ],
        )
        .await?;
    pipeline.tables = r#"steps.*", "!steps.no_*"#.to_owned();
    let (mut source, mut sink) = pair.conns().await?;
    source.query_drop("USE steps").await?;
    pipeline.run_until_caught_up(&mut source, &mut sink).await?;
    let mut run = 0;
    for (shape, statements) in SHAPES.iter().enumerate() {
        let with_rows = shape == 0;
        let points = DDL
            .iter()
            .filter(|(point, _)| !with_rows || *point != Point::DdlAfterDone);
        let rows = if with_rows { ROWS } else { &[] };
        for (point, action) in points.chain(rows) {
            run += 1;
            for table in [format!("taken{run}"), format!("no_{run}")] {
                let create = format!("CREATE TABLE {table} (id INT PRIMARY KEY)");
                source.query_drop(create).await?;
            }
            pipeline.run_until_caught_up(&mut source, &mut sink).await?;
            if !rows.contains(&(*point, action)) {
                source
                    .query_drop(format!("INSERT INTO a (id, v) VALUES ({run}, 'before')"))
                    .await?;
            }
            for statement in *statements {
                let statement = statement.replace('#', &run.to_string());
                source.query_drop(&statement).await.context(statement)?;
            }
            let failpoint = format!("{}={action}", point.name());
            let process = run_with(&pipeline, &failpoint)?;
            killed(&process, &failpoint)
                .await
                .with_context(|| format!("run {run}, shape {shape}"))?;
            pipeline.run_until_caught_up(&mut source, &mut sink).await?;
        }
    }
    let ran = marked_statements(&mut sink).await?;
    let twice: Vec<_> = ran.iter().filter(|(_, times)| **times != 1).collect();
    ensure!(twice.is_empty(), "not once: {twice:?}");
    ensure!(ran.len() == 3 * DDL.len(), "{ran:?}");
    let row = pipeline.row(&mut sink).await?;
    ensure!(row.ddl_intent.is_none(), "{row:?}");
    // What the filter leaves out is the source's alone.
    for no in 1..=run {
        source
            .query_drop(format!("DROP TABLE IF EXISTS no_{no}"))
            .await?;
    }
    compare_database(&mut source, &mut sink, "steps").await
}
