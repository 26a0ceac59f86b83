//! Logs never stop replication: a log disk that is full, standard error that is; and old files go.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use towpath_testing::{TowpathBuilder, TowpathProcess, caught_up, wait_until};

use crate::harness::{Pair, Pipeline, WAIT, stop};

const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");
const TABLE: &[&str] = &["CREATE TABLE t (id INT PRIMARY KEY)"];

/// A shell that does this first, and then becomes `towpath run`; the pipeline file is `$1`, a folder
/// `$2`.
fn shell(before: &str, redirect: &str, pipeline: &Pipeline, dir: &Path) -> TowpathBuilder {
    let script = format!(
        "set -e; {before} exec \"$0\" run --standalone \"$1\" --log trace --log-dir \"$2\" {redirect}"
    );
    TowpathProcess::builder()
        .program("/bin/sh")
        .args(["-c", &script, TOWPATH])
        .arg(&pipeline.file)
        .arg(dir)
}

/// Writes some rows, and waits until the sink has them.
async fn replicates(
    pipeline: &Pipeline,
    process: &TowpathProcess,
    source: &mut Conn,
    sink: &mut Conn,
    ids: std::ops::Range<u32>,
) -> Result<()> {
    for id in ids {
        let insert = format!("INSERT INTO {}.t VALUES ({id})", pipeline.name);
        source.query_drop(insert).await?;
    }
    caught_up(source, sink, &pipeline.name, WAIT)
        .await
        .with_context(|| process.tail())
}

/// Whether a disk of one's own can be mounted here, in a namespace that ends with its process.
fn can_mount() -> bool {
    let tried = Command::new("unshare")
        .args([
            "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_disk_stops_nothing() -> Result<()> {
    let pair = Pair::start().await?;
    let (mut source, mut sink) = pair.conns().await?;
    let dir = tempfile::tempdir()?;

    // Every write to the file fails at once.
    let device = pair.pipeline("device", TABLE).await?;
    device.write()?;
    let now = jiff::Timestamp::now();
    for day in [now, now + jiff::SignedDuration::from_hours(24)] {
        let name = format!("run.{}.log", day.strftime("%Y-%m-%d"));
        std::os::unix::fs::symlink("/dev/full", dir.path().join(name))?;
    }
    // Standard error is full, too: nobody can be told.
    let process = shell("", "2>/dev/full", &device, dir.path()).spawn()?;
    replicates(&device, &process, &mut source, &mut sink, 0..50).await?;
    stop(&process).await?;
    for file in fs::read_dir(dir.path())? {
        let file = file?;
        ensure!(
            file.file_type()?.is_symlink(),
            "{file:?}: it wrote elsewhere"
        );
    }

    // A real disk of 1 MiB that is full.
    if !can_mount() {
        eprintln!("no file system can be mounted here; the rest isn't tested");
        return Ok(());
    }
    let disk = pair.pipeline("disk", TABLE).await?;
    disk.write()?;
    let place = tempfile::tempdir()?;
    let mount = "mount -t tmpfs -o size=1m none \"$2\"; \
                 head -c 2M /dev/zero > \"$2\"/other 2>/dev/null || true;";
    let process = TowpathProcess::builder()
        .program("unshare")
        .args(["-rm", "/bin/sh", "-c"])
        .arg(format!(
            "set -e; {mount} exec \"$0\" run --standalone \"$1\" --log trace --log-dir \"$2\" 2>/dev/null"
        ))
        .arg(TOWPATH)
        .arg(&disk.file)
        .arg(place.path())
        .spawn()?;
    // As the process sees it.
    let inside = Path::new("/proc")
        .join(process.pid().to_string())
        .join("root")
        .join(place.path().strip_prefix("/")?);
    let logged = || -> Result<u64> {
        let mut bytes = 0;
        for file in fs::read_dir(&inside)? {
            let file = file?;
            if file.file_name() != "other" {
                bytes += file.metadata()?.len();
            }
        }
        Ok(bytes)
    };
    replicates(&disk, &process, &mut source, &mut sink, 0..50).await?;
    ensure!(logged()? == 0, "there was room");
    // When there is room again, what happens is written again.
    fs::remove_file(inside.join("other"))?;
    pair.source.restart().await?;
    let mut source = pair.source.conn().await?;
    replicates(&disk, &process, &mut source, &mut sink, 50..100).await?;
    wait_until("lines in the file", WAIT, async || Ok(logged()? > 0)).await?;
    stop(&process).await
}

/// A file a day, and of these as many as asked for: the oldest go, and nothing else in the folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_log_files_go() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (logs, data) = (dir.path().join("logs"), dir.path().join("data"));
    fs::create_dir(&logs)?;
    let mut before = std::time::SystemTime::UNIX_EPOCH;
    for day in 1..=9 {
        // Age is when a file was made, and the kernel's clock has its grain.
        let file = logs.join(format!("server.2026-01-0{day}.log"));
        wait_until("a file that is newer", WAIT, async || {
            let _ = fs::remove_file(&file);
            fs::write(&file, "{}\n")?;
            let made = fs::metadata(&file)?.created()?;
            let is_newer = made > before;
            before = before.max(made);
            Ok(is_newer)
        })
        .await?;
    }
    fs::write(logs.join("core.2026-01-01.log"), "{}\n")?;
    let server = TowpathProcess::builder()
        .program(TOWPATH)
        .args(["server", "--listen", "127.0.0.1:0", "--log-files", "3"])
        .arg("--log-dir")
        .arg(&logs)
        .arg("--data")
        .arg(&data)
        .spawn()?;
    towpath_testing::cluster::ready(&server).await?;
    stop(&server).await?;
    let mut left = Vec::new();
    for file in fs::read_dir(&logs)? {
        left.push(file?.file_name().to_string_lossy().into_owned());
    }
    left.sort_unstable();
    let today = left.pop().context("no file")?;
    ensure!(
        left == [
            "core.2026-01-01.log",
            "server.2026-01-08.log",
            "server.2026-01-09.log"
        ],
        "{left:?}, {today}"
    );
    let lines = fs::read_to_string(logs.join(&today))?;
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).with_context(|| line.to_owned())?;
    }
    ensure!(lines.contains(r#""message":"ready""#), "{today}: {lines}");
    Ok(())
}
