//! Runs planned transactions against the source on several connections until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{Bank, plan};

/// How often a connection asks for a server that is away.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(50);

/// How the load runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadSettings {
    /// Connections that write at the same time.
    pub connections: u32,
    /// The plan of each connection follows from it; how they interleave does not.
    pub seed: u64,
    /// At most this many transactions per second, all connections together; none: no limit.
    pub rate_max: Option<u32>,
}

impl Default for LoadSettings {
    fn default() -> Self {
        Self {
            connections: 4,
            seed: 1,
            rate_max: None,
        }
    }
}

/// What the load did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Transactions whose COMMIT was acknowledged.
    pub committed: u64,
    /// Transactions that were rolled back as planned.
    pub rolled_back: u64,
    /// Transactions that the server refused: deadlocks, key conflicts.
    pub refused: u64,
    /// Connections that were lost; a transaction that was in flight then may have committed.
    pub reconnects: u64,
}

#[derive(Debug, Default)]
struct Counters {
    stop: AtomicBool,
    failed: AtomicBool,
    committed: AtomicU64,
    rolled_back: AtomicU64,
    refused: AtomicU64,
    reconnects: AtomicU64,
}

/// A running load; dropping it ends it at once, within a transaction perhaps.
#[derive(Debug)]
pub struct Load {
    counters: Arc<Counters>,
    workers: JoinSet<Result<()>>,
}

impl Bank {
    /// Starts the load against the bank at `url`. A server that goes away and comes back is
    /// waited for; any other surprise ends the load and is told by [`Load::stop`].
    ///
    /// # Errors
    /// When `url` is not one.
    pub fn start_load(&self, url: &str, settings: &LoadSettings) -> Result<Load> {
        let opts: Opts = OptsBuilder::from_opts(Opts::from_url(url)?)
            .prefer_socket(Some(false))
            .db_name(Some(self.database()))
            .setup(vec![
                "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            ])
            .into();
        let counters = Arc::new(Counters::default());
        let connections = settings.connections.max(1);
        let pause = settings
            .rate_max
            .map(|rate| Duration::from_secs_f64(f64::from(connections) / f64::from(rate.max(1))));
        let mut workers = JoinSet::new();
        for connection in 0..connections {
            let rng = StdRng::seed_from_u64(settings.seed.wrapping_add(u64::from(connection)));
            let worker = Worker {
                opts: opts.clone(),
                connection,
                pause,
                rng,
            };
            let counters = Arc::clone(&counters);
            workers.spawn(async move {
                let ended = worker.run(&counters).await;
                counters.failed.fetch_or(ended.is_err(), Ordering::Relaxed);
                ended
            });
        }
        Ok(Load { counters, workers })
    }
}

impl Load {
    /// Transactions committed so far.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.counters.committed.load(Ordering::Relaxed)
    }

    /// Whether a connection has ended early; [`Load::stop`] tells why.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.counters.failed.load(Ordering::Relaxed)
    }

    /// Lets each connection finish its transaction.
    ///
    /// # Errors
    /// The first error that ended a connection early.
    pub async fn stop(mut self) -> Result<LoadReport> {
        self.counters.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.workers.join_next().await {
            ended??;
        }
        let counters = &self.counters;
        Ok(LoadReport {
            committed: counters.committed.load(Ordering::Relaxed),
            rolled_back: counters.rolled_back.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            reconnects: counters.reconnects.load(Ordering::Relaxed),
        })
    }
}

struct Worker {
    opts: Opts,
    connection: u32,
    pause: Option<Duration>,
    rng: StdRng,
}

/// What an error means for the load.
enum Trouble {
    /// The transaction is gone, the connection is fine.
    Refused,
    /// The connection is gone, the server may come back.
    Disconnected,
    /// Neither was foreseen.
    Unforeseen,
}

impl Worker {
    async fn run(mut self, counters: &Counters) -> Result<()> {
        let mut ticks = self.pause.map(|pause| {
            let mut ticks = interval(pause);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let mut conn = None;
        while !counters.stop.load(Ordering::Relaxed) {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let Some(open) = &mut conn else {
                match Conn::new(self.opts.clone()).await {
                    Ok(fresh) => conn = Some(fresh),
                    Err(error) => match classify(&error) {
                        Trouble::Disconnected => tokio::time::sleep(RECONNECT_INTERVAL).await,
                        _ => return Err(error).context("connecting the load to the source"),
                    },
                }
                continue;
            };
            let transaction = plan::next(&mut self.rng, self.connection);
            let text = transaction.text();
            match open.query_drop(&text).await {
                Ok(()) if transaction.rolls_back => count(&counters.rolled_back),
                Ok(()) => count(&counters.committed),
                Err(error) => match classify(&error) {
                    Trouble::Refused => {
                        count(&counters.refused);
                        if open.query_drop("ROLLBACK").await.is_err() {
                            conn = None;
                        }
                    }
                    Trouble::Disconnected => {
                        count(&counters.reconnects);
                        conn = None;
                    }
                    Trouble::Unforeseen => {
                        return Err(error)
                            .with_context(|| format!("the load's transaction: {text}"));
                    }
                },
            }
        }
        if let Some(conn) = conn {
            conn.disconnect().await?;
        }
        Ok(())
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn classify(error: &mysql_async::Error) -> Trouble {
    match error {
        mysql_async::Error::Server(error) => match error.code {
            // ER_DUP_ENTRY, ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK
            1062 | 1205 | 1213 => Trouble::Refused,
            // ER_SERVER_SHUTDOWN, ER_NORMAL_SHUTDOWN, ER_CONNECTION_KILLED, ER_QUERY_INTERRUPTED
            1053 | 1077 | 1927 | 1317 => Trouble::Disconnected,
            _ => Trouble::Unforeseen,
        },
        mysql_async::Error::Io(_) | mysql_async::Error::Driver(_) => Trouble::Disconnected,
        _ => Trouble::Unforeseen,
    }
}
