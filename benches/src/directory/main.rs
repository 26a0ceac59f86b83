//! The directory against ZooKeeper: throughput, latency, memory, CPU time and start-up, both on
//! the same disk, with the same clients, in one run.
//!
//! Clients are closed loops: one connection and one outstanding request each, 100 bytes of data,
//! every client on nodes of its own. What is measured is one phase: one kind of request for some
//! time, from 1, 16 or 128 clients. Phases go round by round, Towpath and ZooKeeper in turn, and
//! who begins alternates. Both servers acknowledge a change after its fsync, as they do by
//! default.
//!
//! Two pairs of servers are used. The first gets a load of a fixed number of requests, so that
//! memory and start-up are compared with the same data. The second is first warmed up with the
//! same load and some seconds of each kind of request, until the JVM has compiled what it
//! compiles; then it's measured.
//!
//! ```text
//! cargo build --release -p towpath-directory --example serve
//! cargo run --release -p towpath-benches --bin directory
//! ```

mod client;
mod load;
mod report;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use load::{Bound, Op, Phase};
use report::{Measured, Memory, Starts};
use server::{Kind, Programs, Server, Stop};

/// Compares the directory with ZooKeeper.
#[derive(Debug, Parser)]
struct Cli {
    /// The directory's server: `towpath`, or the directory's example `serve`, which is the default,
    /// beside this program.
    #[arg(long)]
    program: Option<PathBuf>,
    /// ZooKeeper's jar; the default is where Debian's package `zookeeper` puts it.
    #[arg(long, default_value = "/usr/share/java/zookeeper.jar")]
    zookeeper_jar: PathBuf,
    /// An option for the JVM; may be given several times. Debian's package sets none.
    #[arg(long, allow_hyphen_values = true)]
    java_option: Vec<String>,
    /// Where the servers keep their data for the time of the run; the default is the directory of
    /// this program, since /tmp may not be a disk.
    #[arg(long)]
    data: Option<PathBuf>,
    /// How often each phase runs on each server; medians are printed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long a phase runs, milliseconds.
    #[arg(long, default_value_t = 1500)]
    phase_ms: u64,
    /// Numbers of clients.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 128])]
    clients: Vec<usize>,
    /// Nodes of the fixed load; each is created, set once and read once.
    #[arg(long, default_value_t = 50_000)]
    load_nodes: u64,
    /// A run of less than a minute: short phases and a small load. Its figures are rough.
    #[arg(long)]
    quick: bool,
    /// Only the directory, without ZooKeeper: for profiling.
    #[arg(long)]
    alone: bool,
}

/// Clients of the fixed load.
const LOAD_CLIENTS: usize = 128;
/// Time between the end of a load and the reading of a server's memory.
const SETTLE: Duration = Duration::from_secs(2);

fn main() -> Result<()> {
    let mut cli = Cli::parse();
    if cli.quick {
        cli.phase_ms = cli.phase_ms.min(300);
        cli.load_nodes = cli.load_nodes.min(5_000);
    }
    // One thread makes all requests: it needs a fraction of a core, the rest is the servers'.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(bench(&cli))
}

async fn bench(cli: &Cli) -> Result<()> {
    ensure!(cli.rounds > 0, "--rounds must be at least 1");
    let exe = std::env::current_exe()?;
    let beside = exe.parent().context("this program is in no directory")?;
    let programs = Programs {
        towpath: match &cli.program {
            Some(program) => program.clone(),
            None => beside.join("examples").join("serve"),
        },
        zookeeper_jar: cli.zookeeper_jar.clone(),
        java_options: cli.java_option.clone(),
    };
    let data = tempfile::Builder::new()
        .prefix("bench-directory-")
        .tempdir_in(cli.data.as_deref().unwrap_or(beside))?;
    let kinds: &[Kind] = match cli.alone {
        true => &[Kind::Towpath],
        false => &[Kind::Towpath, Kind::ZooKeeper],
    };

    let mut memory = Vec::new();
    let mut starts = Vec::new();
    for kind in kinds {
        let folder = data.path().join(format!("{kind:?}-load"));
        let (used, took) = same_data(cli, &programs, *kind, folder).await?;
        memory.push(used);
        starts.push(took);
    }
    let measured = rounds(cli, &programs, kinds, data.path()).await?;

    println!(
        "\n{} rounds of {} ms per phase; medians\n",
        cli.rounds, cli.phase_ms
    );
    report::print_phases(&measured);
    report::print_servers(cli.load_nodes, kinds, &memory, &starts);
    Ok(())
}

/// Start-up and memory, empty and with the data of the fixed load.
async fn same_data(
    cli: &Cli,
    programs: &Programs,
    kind: Kind,
    folder: PathBuf,
) -> Result<(Memory, Starts)> {
    let mut starts = Starts::default();
    for round in 0..cli.rounds {
        let fresh = folder.with_extension(format!("empty-{round}"));
        let (server, took) = Server::start(kind, programs, &fresh)?;
        starts.empty.push(took);
        server.stop(Stop::Terminate)?;
    }
    let (mut server, _) = Server::start(kind, programs, &folder)?;
    println!("{kind:?}: {}", server.version()?);
    tokio::time::sleep(SETTLE).await;
    let idle_kib = server.rss_kib()?;
    fixed_load(cli, &server).await?;
    tokio::time::sleep(SETTLE).await;
    let memory = Memory {
        idle_kib,
        loaded_kib: server.rss_kib()?,
        peak_kib: server.rss_max_kib()?,
    };
    for _ in 0..cli.rounds {
        server.stop(Stop::Terminate)?;
        let (again, took) = Server::start(kind, programs, &folder)?;
        starts.stopped.push(took);
        again.stop(Stop::Kill)?;
        let (again, took) = Server::start(kind, programs, &folder)?;
        starts.killed.push(took);
        server = again;
    }
    server.stop(Stop::Terminate)?;
    Ok((memory, starts))
}

async fn fixed_load(cli: &Cli, server: &Server) -> Result<()> {
    let each = cli.load_nodes.div_ceil(LOAD_CLIENTS as u64);
    for op in [Op::Create, Op::SetEach, Op::GetEach] {
        let phase = Phase {
            folder: "/load".into(),
            op,
            clients: LOAD_CLIENTS,
            bound: Bound::Count(each),
        };
        load::run(server, &phase).await?;
    }
    Ok(())
}

async fn rounds(
    cli: &Cli,
    programs: &Programs,
    kinds: &[Kind],
    data: &std::path::Path,
) -> Result<Vec<Measured>> {
    let mut servers = Vec::new();
    for kind in kinds {
        let folder = data.join(format!("{kind:?}-rounds"));
        let (server, _) = Server::start(*kind, programs, &folder)?;
        fixed_load(cli, &server).await?;
        servers.push(server);
    }
    let phase = |round: &str, op, clients, ms| Phase {
        folder: format!("/round-{round}-{clients}"),
        op,
        clients,
        bound: Bound::For(Duration::from_millis(ms)),
    };
    for server in &servers {
        for clients in &cli.clients {
            for op in Op::MEASURED {
                load::run(server, &phase("warm", op, *clients, cli.phase_ms / 2)).await?;
            }
        }
    }
    let mut measured = Vec::new();
    for op in Op::MEASURED {
        for clients in &cli.clients {
            measured.push(Measured::new(op, *clients, kinds));
        }
    }
    for round in 0..cli.rounds {
        for measured in &mut measured {
            let phase = phase(
                &round.to_string(),
                measured.op,
                measured.clients,
                cli.phase_ms,
            );
            let mut turns: Vec<&Server> = servers.iter().collect();
            if round % 2 == 1 {
                turns.reverse();
            }
            for server in turns {
                let sample = load::run(server, &phase).await?;
                measured.add(server.kind(), sample);
            }
        }
    }
    for server in servers {
        server.stop(Stop::Terminate)?;
    }
    Ok(measured)
}
