//! How much CPU time it takes to read a binlog over the network and to print its rows, Towpath
//! against `mysqlbinlog`.
//!
//! Starts a real server, writes three workloads into one binlog file each, then reads each file
//! with each reader, one after another, round by round. What is counted is user and system time of
//! the whole reading process, its start included, all output to `/dev/null`.
//!
//! ```text
//! cargo run --release -p towpath-benches --bin decode
//! ```

mod measure;
mod report;
mod tail;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use towpath_testing::MysqlServer;

use measure::{Cost, cost_of};
use report::{Row, print_table};
use towpath_benches::workload::{self, Binlog, Sizes};

/// Measures what reading and printing a binlog costs.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    child: Option<Child>,
    /// How often each reader reads each file; medians are printed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    sizes: Sizes,
}

/// What runs in a process of its own, so that its time can be told from the rest.
#[derive(Debug, Subcommand)]
enum Child {
    /// Reads a file of a server and prints its rows as JSON lines.
    #[command(hide = true)]
    Tail(tail::Arguments),
    /// Runs a command and prints what it costs.
    #[command(hide = true)]
    Measure {
        /// The program.
        program: String,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// What reads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    MysqlbinlogRaw,
    MysqlbinlogRows,
    TowpathRaw,
    TowpathLines,
}

const READERS: [(Reader, &str); 4] = [
    (Reader::MysqlbinlogRaw, "mysqlbinlog --raw"),
    (
        Reader::MysqlbinlogRows,
        "mysqlbinlog --base64-output=decode-rows -v",
    ),
    (Reader::TowpathRaw, "towpath, events only"),
    (Reader::TowpathLines, "towpath, JSON lines"),
];
/// What the ratios are to.
const BASELINE: Reader = Reader::MysqlbinlogRows;

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match &cli.child {
        Some(Child::Measure { program, arguments }) => measure::measure(program, arguments)?,
        Some(Child::Tail(arguments)) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(tail::run(arguments))?;
        }
        None => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(bench(&cli))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn bench(cli: &Cli) -> Result<()> {
    ensure!(cli.rounds > 0, "--rounds must be at least 1");
    let server = MysqlServer::builder()
        .option("max-binlog-size", "1G")
        .option("max-allowed-packet", "64M")
        .option("innodb-buffer-pool-size", "512M")
        .option("innodb-redo-log-capacity", "512M")
        .start()
        .await?;
    println!("{}", server.programs().version());
    let binlogs = workload::write_all(&server, &cli.sizes).await?;

    let mut rows = Vec::new();
    for binlog in &binlogs {
        println!("{binlog}");
        let mut costs: Vec<Vec<Cost>> = READERS.iter().map(|_| Vec::new()).collect();
        for _ in 0..cli.rounds {
            for ((reader, name), costs) in READERS.iter().zip(&mut costs) {
                let command = command(*reader, &server, binlog)?;
                // In a thread that may wait: the server's own process is watched by this one.
                let cost = tokio::task::spawn_blocking(move || cost_of(&command))
                    .await?
                    .with_context(|| format!("{name} on {}", binlog.name))?;
                costs.push(cost);
            }
        }
        for ((reader, name), costs) in READERS.iter().zip(costs) {
            rows.push(Row {
                workload: binlog.name,
                reader: *reader,
                name,
                costs,
            });
        }
    }
    print_table(&rows, BASELINE);
    server.stop().await
}

fn command(reader: Reader, server: &MysqlServer, binlog: &Binlog) -> Result<Command> {
    let mut command = match reader {
        Reader::MysqlbinlogRaw | Reader::MysqlbinlogRows => {
            let mut command = Command::new(server.programs().program("mysqlbinlog"));
            command
                .args([
                    "--no-defaults",
                    "--read-from-remote-server",
                    "--ssl-mode=DISABLED",
                ])
                .args(["--get-server-public-key", "--protocol=TCP"])
                .args(["--host=127.0.0.1", "--user=root"])
                .arg(format!("--port={}", server.port()));
            command
        }
        Reader::TowpathRaw | Reader::TowpathLines => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("tail").arg(format!("--port={}", server.port()));
            command
        }
    };
    match reader {
        // It adds the file's name to the prefix.
        Reader::MysqlbinlogRaw => command.args(["--raw", "--result-file=/dev/null"]),
        Reader::MysqlbinlogRows => command.args(["--base64-output=decode-rows", "-v"]),
        Reader::TowpathRaw => command
            .args(["--raw", "--end"])
            .arg(binlog.bytes.to_string()),
        Reader::TowpathLines => command.arg("--end").arg(binlog.bytes.to_string()),
    };
    command.arg(&binlog.file);
    Ok(command)
}
