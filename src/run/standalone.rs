//! `towpath run --standalone`: one pipeline in this process, without a directory.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use towpath_core::commit::copies::CopyState;
use towpath_core::pipeline::progress::View;
use towpath_core::pipeline::{self, Controls, Progress};
use towpath_protocol::spec::PipelineSpec;
use tracing::info;

use crate::coded::{self, Coded};
use crate::process::logs;
use crate::process::stop::stop_signal;
use crate::{EXIT_SUPERSEDED, cli};

/// How often the status line is drawn.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Runs a pipeline until a signal or an error.
///
/// # Errors
/// The pipeline file, or whatever ended the pipeline.
pub(super) async fn run(arguments: &cli::Run, file: &Path) -> anyhow::Result<ExitCode> {
    let spec = PipelineSpec::load(file)?;
    let _logs = logs::start(&arguments.log, "run")?;
    let (stop_sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        stop_signal().await;
        info!("asked to stop; finishing the present commit");
        let _ = stop_sender.send(true);
        // A second signal is a wish to be gone at once; the sink stays exact all the same.
        stop_signal().await;
        std::process::exit(130);
    });
    let progress = Arc::new(Progress::new());
    let status = std::io::stdout()
        .is_terminal()
        .then(|| tokio::spawn(show_status(spec.name.to_string(), Arc::clone(&progress))));
    info!(pipeline = %spec.name, file = %file.display(), "starting");
    let controls = Controls {
        progress: Arc::clone(&progress),
        limits: watch::channel(spec.limits).1,
        stop,
    };
    // As a task of the runtime: what runs outside of one is woken by another thread each time.
    let pipeline = {
        let spec = spec.clone();
        async move { pipeline::run_whole(&spec, &owner(), controls).await }
    };
    let result = tokio::spawn(pipeline).await?;
    if let Some(status) = status {
        status.abort();
        println!();
    }
    let view = progress.view();
    match result {
        Ok(()) => {
            info!(
                pipeline = %spec.name, transactions = view.transactions, rows = view.rows,
                gtid_set = %view.gtids, "stopped"
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.is_superseded() => {
            eprint!("{}", coded::lines(&error.into()));
            Ok(ExitCode::from(EXIT_SUPERSEDED))
        }
        Err(error) => Err(Coded {
            code: error.code(),
            text: format!(
                "pipeline {} stopped: {error}\n  towpath check {} looks at all that it needs",
                spec.name,
                file.display()
            ),
        }
        .into()),
    }
}

/// Who we are in the offset row: host and process.
fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |host| host.trim().to_owned());
    format!("{host}:{}", std::process::id())
}

/// Draws one line a second, over the last one.
async fn show_status(name: String, progress: Arc<Progress>) {
    let mut before = (Instant::now(), progress.view());
    let mut ticks = tokio::time::interval(STATUS_EVERY);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = (Instant::now(), progress.view());
        let line = status_line(&name, &before.1, &now.1, now.0 - before.0);
        let mut out = std::io::stdout().lock();
        let _ = write!(out, "\r\x1b[2K{line}");
        let _ = out.flush();
        before = now;
    }
}

fn status_line(name: &str, before: &View, now: &View, elapsed: Duration) -> String {
    let per_second = |now: u64, before: u64| {
        (now.saturating_sub(before) as f64 / elapsed.as_secs_f64().max(0.001)).round() as u64
    };
    if !now.connected {
        return format!("{name}  connecting …");
    }
    let position = now
        .position
        .as_ref()
        .map_or_else(|| "-".to_owned(), ToString::to_string);
    let lag = now.lag_us.map_or_else(|| "--".to_owned(), lag_text);
    let copy = match now.copies.iter().any(|copy| copy.state != CopyState::Done) {
        true => {
            let rows: u64 = now.copies.iter().map(|copy| copy.rows).sum();
            let done = now
                .copies
                .iter()
                .filter(|copy| copy.state == CopyState::Done);
            let (done, all) = (done.count(), now.copies.len());
            format!("  copied {done} of {all} tables, {rows} rows")
        }
        false => String::new(),
    };
    format!(
        "{name}{copy}  at {position}  lag {lag}  {} rows/s  {} txn/s  {} txn in all  queue {} KiB",
        per_second(now.rows, before.rows),
        per_second(now.transactions, before.transactions),
        now.transactions,
        now.queued_bytes / 1024,
    )
}

fn lag_text(us: u64) -> String {
    match us {
        0 => "0 s".to_owned(),
        1..1_000_000 => format!("{} ms", us.div_ceil(1000)),
        1_000_000..120_000_000 => format!("{:.1} s", us as f64 / 1e6),
        _ => format!("{} min", us / 60_000_000),
    }
}

#[cfg(test)]
mod tests {
    use towpath_protocol::position::BinlogPosition;

    use super::*;

    fn view(rows: u64, transactions: u64) -> View {
        View {
            connected: true,
            transactions,
            rows,
            commits: 1,
            queued_bytes: 2048,
            position: Some(BinlogPosition {
                file: "binlog.000007".into(),
                offset: 1234,
            }),
            gtids: Default::default(),
            lag_us: Some(1_500_000),
            read_bytes: 0,
            generation: Default::default(),
            epoch: Default::default(),
            commit_seq: 1,
            waiting: false,
            trouble: None,
            copies: Vec::new(),
            queue_place: None,
            missing: None,
            queue_trouble: None,
        }
    }

    #[test]
    fn the_status_line_says_place_lag_and_rates() {
        let line = status_line(
            "orders",
            &view(100, 10),
            &view(500, 30),
            Duration::from_secs(2),
        );
        assert_eq!(
            line,
            "orders  at binlog.000007:1234  lag 1.5 s  200 rows/s  10 txn/s  30 txn in all  queue 2 KiB"
        );
    }

    #[test]
    fn lag_is_told_in_units_that_people_read() {
        assert_eq!(lag_text(0), "0 s");
        assert_eq!(lag_text(900), "1 ms");
        assert_eq!(lag_text(2_340_000), "2.3 s");
        assert_eq!(lag_text(300_000_000), "5 min");
    }
}
