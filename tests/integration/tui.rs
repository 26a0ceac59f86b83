//! `towpath console` in a real terminal, on a cluster that runs a real pipeline.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use towpath_testing::TowpathProcess;

use crate::harness::{Pair, WAIT, stop};

const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");

/// With `TOWPATH_PANES=DIR`, every screen is kept there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs tmux; make test-long runs it"]
async fn a_walk_through_every_view_pauses_and_resumes() -> Result<()> {
    let pair = Pair::start().await?;
    let pipeline = pair
        .pipeline("orders", &["CREATE TABLE t (id INT PRIMARY KEY)"])
        .await?;
    pipeline.write()?;
    let (mut source, mut sink) = pair.conns().await?;
    let (data, runtime) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let run = TowpathProcess::builder()
        .program(TOWPATH)
        .arg("run")
        .arg(&pipeline.file)
        .arg("--data")
        .arg(data.path())
        .env("XDG_RUNTIME_DIR", runtime.path())
        .spawn()?;
    let in_force = |line: &str| line.contains("pipelines are in force");
    let line: Value = serde_json::from_str(&run.wait_for_line(in_force, WAIT).await?)?;
    let directory = line["directory"].as_str().context("an address")?;
    source
        .query_drop("INSERT INTO orders.t VALUES (1), (2)")
        .await?;
    pipeline.caught_up(&run, &mut source, &mut sink).await?;

    let walk = Path::new(env!("CARGO_MANIFEST_DIR")).join("console/tests/tmux/walk");
    let mut walk = TowpathProcess::builder()
        .program(walk)
        .args(["--live", directory]);
    if let Some(panes) = std::env::var_os("TOWPATH_PANES") {
        walk = walk.arg("--panes").arg(panes);
    }
    let walk = walk.arg(TOWPATH).spawn()?;
    let status = walk.wait_exit(3 * WAIT).await?;
    ensure!(status.success(), "{status}; {}", walk.tail());

    source.query_drop("INSERT INTO orders.t VALUES (3)").await?;
    pipeline.caught_up(&run, &mut source, &mut sink).await?;
    stop(&run).await
}

/// The same on records that nobody runs: what a directory that goes and comes back looks like.
#[tokio::test]
#[ignore = "needs tmux; make test-long runs it"]
async fn a_walk_through_a_directory_that_goes_and_comes_back() -> Result<()> {
    let walk = Path::new(env!("CARGO_MANIFEST_DIR")).join("console/tests/tmux/walk");
    let walk = TowpathProcess::builder()
        .program(walk)
        .arg(TOWPATH)
        .spawn()?;
    let status = walk.wait_exit(3 * WAIT).await?;
    ensure!(status.success(), "{status}; {}", walk.tail());
    Ok(())
}
