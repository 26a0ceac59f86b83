//! Cores, a broker, a source and its sinks, under the load of a bank.

use anyhow::{Context as _, Result, ensure};
use mysql_async::Conn;
use serde_json::Value;
use towpath_testing::bank::{Bank, Load, LoadSettings};
use towpath_testing::cluster::ready;
use towpath_testing::{Cluster, MysqlServer, RabbitMq, TowpathProcess, gtid_executed, wait_until};

use super::{broker, rabbitmq};
use crate::harness::{Pair, Pipeline, SINK, WAIT};

/// Enough that there's always one to come, few enough to leave two cores to ten processes.
const RATE: u32 = 60;

/// The second sink's name.
pub(super) const SECOND: &str = "second";

/// Everything, and a load that runs.
pub(super) struct Bus {
    pub(super) cores: Vec<Option<TowpathProcess>>,
    pub(super) cluster: Cluster,
    pub(super) broker: RabbitMq,
    pub(super) pipeline: Pipeline,
    pub(super) pair: Pair,
    pub(super) second: Option<MysqlServer>,
    pub(super) bank: Bank,
    load: Option<Load>,
}

impl Bus {
    /// Starts everything, with `further` keys of the queue; with a second sink if asked.
    pub(super) async fn start(cores: usize, further: &str, two: bool) -> Result<Self> {
        let program = env!("CARGO_BIN_EXE_towpath").into();
        let second = async {
            match two {
                true => MysqlServer::builder().server_id(3).start().await.map(Some),
                false => Ok(None),
            }
        };
        let (pair, cluster, broker, second) = tokio::try_join!(
            Pair::start(),
            Cluster::start(Some(program)),
            broker(),
            second
        )?;
        let (mut source, mut sink) = pair.conns().await?;
        let mut pipeline = pair.pipeline("bank", &[]).await?;
        let bank = Bank::new("bank");
        bank.create(&mut source).await?;
        bank.create(&mut sink).await?;
        pipeline.further = rabbitmq(&broker, further);
        if let Some(second) = &second {
            bank.create(&mut second.conn().await?).await?;
            pipeline.further += &format!(
                "[[sink]]\nname = \"{SECOND}\"\nurl = \"mysql://app:app@127.0.0.1:{}\"\n",
                second.port()
            );
        }
        pipeline.start = format!("gtid:{}", gtid_executed(&mut source).await?);
        pipeline.write()?;
        let mut bus = Self {
            cores: Vec::new(),
            cluster,
            broker,
            pipeline,
            pair,
            second,
            bank,
            load: None,
        };
        for core in 0..cores {
            bus.cores.push(None);
            bus.start_core(core).await?;
        }
        bus.apply().await?;
        bus.start_load()?;
        Ok(bus)
    }

    /// Puts the pipeline file in force.
    pub(super) async fn apply(&self) -> Result<()> {
        self.pipeline.write()?;
        let said = self.cluster.apply(&self.pipeline.file).await?;
        ensure!(said.code == Some(0), "{said:?}\n{}", self.tails());
        Ok(())
    }

    pub(super) async fn start_core(&mut self, core: usize) -> Result<()> {
        let process = self.cluster.core(&format!("core-{core}")).spawn()?;
        ready(&process).await?;
        *self.cores.get_mut(core).context("no such Core")? = Some(process);
        Ok(())
    }

    pub(super) fn core(&self, core: usize) -> Result<&TowpathProcess> {
        let process = self.cores.get(core).and_then(Option::as_ref);
        process.context("this Core doesn't run")
    }

    pub(super) fn start_load(&mut self) -> Result<()> {
        let settings = LoadSettings {
            rate_max: Some(RATE),
            ..LoadSettings::default()
        };
        let load = self
            .bank
            .start_load(&self.pair.source.url("app"), &settings)?;
        self.load = Some(load);
        Ok(())
    }

    pub(super) fn committed(&self) -> u64 {
        self.load.as_ref().map_or(0, Load::committed)
    }

    /// What `towpath status` says of a task.
    pub(super) async fn task(&self, name: &str) -> Result<Value> {
        let status = self.cluster.json("status").await?;
        let tasks = status["pipelines"][0]["tasks"].as_array().cloned();
        let found = tasks
            .unwrap_or_default()
            .into_iter()
            .find(|task| task["name"] == name);
        found.with_context(|| format!("no task {name} in {status}"))
    }

    /// Which Core runs a task, once one does.
    pub(super) async fn runs(&self, task: &str) -> Result<usize> {
        let mut found = None;
        wait_until("a Core to run a task", WAIT, async || {
            let Ok(task) = self.task(task).await else {
                return Ok(false);
            };
            let core = task.pointer("/running/core").and_then(Value::as_str);
            found = core.and_then(|core| core.strip_prefix("core-")?.parse().ok());
            Ok(found.is_some())
        })
        .await
        .with_context(|| format!("{task}\n{}", self.tails()))?;
        found.context("a Core of ours")
    }

    /// Waits until the sink has so many further transactions of the load's.
    pub(super) async fn moves_on(&self, sink: &mut Conn, transactions: u64) -> Result<()> {
        let last = self.bank.look(sink, 0).await?.sequence;
        wait_until("rows to arrive", WAIT, async || {
            Ok(self.bank.look(sink, last).await?.sequence >= last + transactions)
        })
        .await
        .with_context(|| self.tails())
    }

    /// Ends the load, and compares every sink with the source, row by row.
    pub(super) async fn compare(&mut self) -> Result<()> {
        if let Some(load) = self.load.take() {
            ensure!(!load.has_failed(), "the load ended early");
            load.stop().await?;
        }
        let mut source = self.pair.source.conn().await?;
        let sinks = [
            (SINK, Some(&self.pair.sink)),
            (SECOND, self.second.as_ref()),
        ];
        for (name, sink) in sinks {
            let Some(sink) = sink else { continue };
            let mut sink = sink.conn().await?;
            towpath_testing::caught_up(&mut source, &mut sink, "bank", WAIT * 2)
                .await
                .with_context(|| format!("{name}\n{}", self.tails()))?;
            let verdict = self.bank.check(&mut source, &mut sink).await?;
            println!("{name}: {verdict}");
            ensure!(
                verdict.is_equal() && verdict.transactions > 0,
                "{name}: {verdict}"
            );
        }
        Ok(())
    }

    /// Ends the Cores in order.
    pub(super) async fn stop(&self) -> Result<()> {
        for core in self.cores.iter().flatten() {
            crate::harness::stop(core).await?;
        }
        Ok(())
    }

    /// Whether a Core has said this.
    pub(super) fn has_said(&self, text: &str) -> bool {
        let cores = self.cores.iter().flatten();
        cores
            .flat_map(TowpathProcess::stderr)
            .any(|line| line.contains(text))
    }

    /// The ends of all logs.
    pub(super) fn tails(&self) -> String {
        let cores = self.cores.iter().flatten().map(TowpathProcess::tail);
        cores.collect::<Vec<_>>().join("\n")
    }
}
