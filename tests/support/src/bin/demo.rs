//! `towpath-demo`: watch a cluster of processes replicate and survive kills, then see that nothing is
//! amiss.

use std::io::{IsTerminal as _, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use towpath_testing::bank::LoadSettings;
use towpath_testing::{Members, Moment, Outcome, Rig, ServerKind, Subject, Tick, Trial};

/// What a shell reports for a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// Replicates a bank from one MySQL server to another with a Server, two Cores and a Monitor, kills the
/// Core that runs the pipeline, and compares the rows.
#[derive(Parser)]
#[command(name = "towpath-demo", version)]
struct Args {
    /// How long the load runs, in seconds.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(3..))]
    seconds: u64,
    /// How often the Core that runs the pipeline is killed with -9.
    #[arg(long, default_value_t = 3)]
    kills: u32,
    /// Transactions per second at the source, at most.
    #[arg(long, default_value_t = 600)]
    rate: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    run(&Args::parse()).await.unwrap_or_else(|error| {
        eprintln!("demo: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(args: &Args) -> Result<ExitCode> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = demo(args) => ended,
        _ = tokio::signal::ctrl_c() => Ok(interrupted()),
        _ = terminated.recv() => Ok(interrupted()),
    }
}

/// All processes ended when the other branch was dropped.
fn interrupted() -> ExitCode {
    println!("\ndemo: interrupted; all processes have ended, their data is removed");
    ExitCode::from(INTERRUPTED)
}

async fn demo(args: &Args) -> Result<ExitCode> {
    println!("demo: starting a source and a target server");
    let rig = Rig::start("demo").await?;
    let programs = rig.source().programs();
    let kind = match programs.kind() {
        ServerKind::MySql => "MySQL",
        ServerKind::MariaDb => "MariaDB",
    };
    println!(
        "demo: {kind} {}, source on port {}, target on port {}",
        programs.version(),
        rig.source().port(),
        rig.target().port()
    );
    if programs.kind() == ServerKind::MariaDb {
        println!("demo: no MySQL server was found, so this is MariaDB instead");
    }
    let mut members = Members::start(&rig, None).await?;
    let processes: Vec<String> = members
        .processes()
        .map(|(name, process)| format!("{name} (pid {})", process.pid()))
        .collect();
    println!("demo: a cluster of {}", processes.join(", "));
    let file = rig.pipeline_file();
    println!("\n$ towpath apply --yes --file {}", file.display());
    print!("{}", members.apply(&rig).await?);
    println!("\n$ towpath status");
    print!("{}", members.cluster().good("status").await?);
    println!(
        "\ndemo: transfers between accounts for {} s; the Core that runs the pipeline gets kill -9 {} \
         times\n",
        args.seconds, args.kills
    );
    let seed = rand::random();
    let trial = Trial {
        duration: Duration::from_secs(args.seconds),
        seed,
        kills: args.kills,
        // Not before there is something to see.
        kill_window: 0.3..0.9,
        load: LoadSettings {
            connections: 4,
            seed,
            rate_max: Some(args.rate),
        },
    };
    let style = Style::of_stdout();
    println!(
        "{}",
        style.faint("    time      at the source    in the target          lag    kills")
    );
    let outcome = rig
        .run_trial(&trial, Subject::Cluster(Box::new(members)), |tick| {
            println!("{}", line(tick, style));
        })
        .await?;
    if !outcome.takeovers.is_empty() {
        println!(
            "\ndemo: from kill -9 to the next commit at the target: {}",
            takeovers(&outcome)
        );
    }
    println!(
        "demo: {} rows compared one by one",
        grouped(outcome.verdict.rows)
    );
    println!("{}", closing(&outcome, style));
    Ok(if outcome.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn line(tick: &Tick, style: Style) -> String {
    let text = format!(
        "{:6.1} s  {:>15}  {:>15}  {:>11}  {:>7}",
        tick.elapsed.as_secs_f64(),
        grouped(tick.at_source),
        grouped(tick.in_target),
        format!(
            "{} ms",
            grouped(u64::try_from(tick.lag.as_millis()).unwrap_or(u64::MAX))
        ),
        tick.kills
    );
    match &tick.moment {
        Moment::Second => text,
        Moment::Killed(who) => style.alarm(&format!("{text}  {who} killed with -9")),
        Moment::TookOver { by, after } => style.good(&format!(
            "{text}  {by} took over: next commit {:.2} s after the kill",
            after.as_secs_f64()
        )),
        Moment::LoadStopped => format!("{text}  the load has stopped"),
        Moment::Ended if tick.in_target == tick.at_source => format!("{text}  caught up"),
        Moment::Ended => style.alarm(&format!("{text}  NOT caught up")),
    }
}

fn takeovers(outcome: &Outcome) -> String {
    let times = outcome.takeovers.iter();
    let times = times.map(|after| format!("{:.2} s", after.as_secs_f64()));
    times.collect::<Vec<_>>().join(", ")
}

fn closing(outcome: &Outcome, style: Style) -> String {
    let verdict = &outcome.verdict;
    let did = format!(
        "demo: {} transactions, {} kills with -9",
        grouped(verdict.transactions),
        outcome.kills
    );
    if outcome.is_good() {
        return style.good(&format!(
            "{did}: source and target are equal, row by row; 0 lost, 0 duplicated"
        ));
    }
    if let Some(failure) = &outcome.failure {
        // What is missing then says nothing about exactness.
        let cause = "demo: FAILED: the pipeline did not go through with it, see above";
        return format!("{failure}\n{}", style.alarm(cause));
    }
    let complaints = outcome.complaints().join("\n  ");
    let counts = format!(
        "{did}: source and target DIFFER; {} lost, {} duplicated, {} reordered, {} rows differ",
        verdict.lost, verdict.duplicated, outcome.reader.reordered, verdict.differing
    );
    format!("  {complaints}\n{}", style.alarm(&counts))
}

/// Colour where there is a terminal; the words say the same without it.
#[derive(Clone, Copy)]
struct Style {
    colour: bool,
}

impl Style {
    fn of_stdout() -> Self {
        Self {
            colour: stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn good(self, text: &str) -> String {
        self.paint("1;32", text)
    }

    fn alarm(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// 21344 as 21,344.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (21_344_123, "21,344,123"),
        ];
        for (n, text) in cases {
            assert_eq!(grouped(n), text);
        }
    }
}
