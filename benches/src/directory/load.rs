//! One phase: some clients make one kind of request, each as fast as it's answered.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::server::Server;
use towpath_benches::process::cpu_of;

/// What a node holds.
const DATA: [u8; 100] = [b'x'; 100];

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A new node each, under a parent per client.
    Create,
    /// The client's node again and again.
    Set,
    /// Likewise.
    Get,
    /// The nodes that [`Op::Create`] has made, one after another.
    SetEach,
    /// Likewise.
    GetEach,
}

impl Op {
    /// In this order.
    pub(crate) const MEASURED: [Self; 3] = [Self::Create, Self::Set, Self::Get];
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Set | Self::SetEach => "set",
            Self::Get | Self::GetEach => "get",
        })
    }
}

/// When a phase ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// After this time.
    For(Duration),
    /// After so many requests of each client.
    Count(u64),
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    /// Under which node; created if it isn't there.
    pub(crate) folder: String,
    pub(crate) op: Op,
    pub(crate) clients: usize,
    pub(crate) bound: Bound,
}

/// What came out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) ops_per_s: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// CPU time of the server per request.
    pub(crate) cpu_per_op: Duration,
    /// Share of one core that this program took.
    pub(crate) own_cpu: f64,
}

/// Runs a phase. Sessions are opened and nodes prepared before its clock starts.
pub(crate) async fn run(server: &Server, phase: &Phase) -> Result<Sample> {
    let mut control = Client::connect(server.port()).await?;
    control.create(&phase.folder, &[]).await?;
    control.close().await?;
    let mut clients = Vec::new();
    for number in 0..phase.clients {
        let mut client = Client::connect(server.port()).await?;
        let home = format!("{}/client-{number}", phase.folder);
        let own = format!("{home}-own");
        client.create(&home, &[]).await?;
        client.create(&own, &DATA).await?;
        clients.push((client, home, own));
    }
    let (server_cpu, own_cpu) = (server.cpu()?, cpu_of("self")?);
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (client, home, own) in clients {
        tasks.spawn(work(client, home, own, phase.op, phase.bound, begun));
    }
    let mut latencies: Vec<u32> = Vec::new();
    let mut done = Vec::new();
    while let Some(finished) = tasks.join_next().await {
        let (client, took) = finished??;
        latencies.extend_from_slice(&took);
        done.push(client);
    }
    let wall = begun.elapsed();
    let (server_cpu, own_cpu) = (
        server.cpu()?.saturating_sub(server_cpu),
        cpu_of("self")?.saturating_sub(own_cpu),
    );
    for client in done {
        client.close().await?;
    }
    latencies.sort_unstable();
    let at = |percent: usize| {
        let index = latencies.len() * percent / 100;
        Duration::from_micros(latencies.get(index).copied().unwrap_or_default().into())
    };
    Ok(Sample {
        ops_per_s: latencies.len() as f64 / wall.as_secs_f64(),
        p50: at(50),
        p99: at(99),
        cpu_per_op: server_cpu / u32::try_from(latencies.len().max(1))?,
        own_cpu: own_cpu.as_secs_f64() / wall.as_secs_f64(),
    })
}

/// One client; returns how long each request took, in microseconds.
async fn work(
    mut client: Client,
    home: String,
    own: String,
    op: Op,
    bound: Bound,
    begun: Instant,
) -> Result<(Client, Vec<u32>)> {
    let mut took = Vec::with_capacity(4096);
    let mut path = String::new();
    let mut sent = Instant::now();
    for number in 0_u64.. {
        match bound {
            Bound::For(time) if sent.duration_since(begun) >= time => break,
            Bound::Count(count) if number >= count => break,
            _ => {}
        }
        if matches!(op, Op::Create | Op::SetEach | Op::GetEach) {
            use std::fmt::Write as _;
            path.clear();
            let _ = write!(path, "{home}/node-{number:08}");
        }
        match op {
            Op::Create => client.create(&path, &DATA).await?,
            Op::Set => client.set(&own, &DATA).await?,
            Op::Get => client.get(&own).await?,
            Op::SetEach => client.set(&path, &DATA).await?,
            Op::GetEach => client.get(&path).await?,
        }
        let now = Instant::now();
        let micros = now.duration_since(sent).as_micros();
        took.push(u32::try_from(micros).unwrap_or(u32::MAX));
        sent = now;
    }
    Ok((client, took))
}
