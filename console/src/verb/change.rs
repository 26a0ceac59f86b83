//! Verbs that ask for a change.

use std::process::ExitCode;
use std::str::FromStr;

use anyhow::bail;
use clap::{Args, Subcommand};
use towpath_coordination::{CommandQueue, Session};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::path::{self, MemberKind};
use towpath_protocol::tree::record::{Action, Alert, DataSource, LogConfig};
use towpath_protocol::tree::{AlertId, DataSourceName, MemberId, TaskName};

use super::{Order, existing, unknown};
use crate::model::{View, is_shown};
use crate::screen::Screen;
use crate::show;
use crate::tree::Tree;

/// Arguments of `start`, `stop`, `pause` and `resume`.
#[derive(Debug, Args)]
pub struct Pipelines {
    /// Which pipelines.
    #[arg(value_name = "PIPELINE", required = true)]
    pipelines: Vec<PipelineName>,
    #[command(flatten)]
    order: Order,
}

impl Pipelines {
    pub(super) async fn run(self, action: Action, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.order.connect.session().await?;
        let done = each(&self.order, &session, &self.pipelines, action, screen).await;
        session.close().await;
        done
    }
}

/// Asks the same of several pipelines, one after the other. All must be there before the first is
/// asked.
async fn each(
    order: &Order,
    session: &Session,
    pipelines: &[PipelineName],
    action: Action,
    screen: &mut Screen,
) -> anyhow::Result<ExitCode> {
    for pipeline in pipelines {
        existing(session, pipeline).await?;
    }
    let mut code = ExitCode::SUCCESS;
    for pipeline in pipelines {
        let queue = CommandQueue::Pipeline(pipeline.clone());
        match order.ask(session, &queue, None, action.clone()).await {
            Ok(text) => screen.show(&format!("{pipeline}: {text}\n"))?,
            Err(error) => {
                screen.say(&format!("towpath: {pipeline}: {error:#}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// Which pipelines.
    #[arg(value_name = "PIPELINE", required = true)]
    pipelines: Vec<PipelineName>,
    /// Don't ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    order: Order,
}

impl Delete {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.order.connect.session().await?;
        let done = self.delete(&session, screen).await;
        session.close().await;
        done
    }

    async fn delete(&self, session: &Session, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        for pipeline in &self.pipelines {
            existing(session, pipeline).await?;
        }
        let names: Vec<&str> = self.pipelines.iter().map(PipelineName::as_str).collect();
        let question = format!(
            "Delete {} with its history? The sink keeps its data and its offset row.",
            names.join(", ")
        );
        if !self.yes && !screen.confirmed(&question)? {
            bail!("nothing was deleted; --yes says yes where nobody can be asked");
        }
        each(
            &self.order,
            session,
            &self.pipelines,
            Action::Delete,
            screen,
        )
        .await
    }
}

/// `PIPELINE[/TASK]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    pipeline: PipelineName,
    task: Option<TaskName>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pipeline, task) = match text.split_once('/') {
            Some((pipeline, task)) => (pipeline, Some(task)),
            None => (text, None),
        };
        let task = task.map(TaskName::new).transpose();
        Ok(Self {
            pipeline: pipeline.parse().map_err(|error| format!("{error}"))?,
            task: task.map_err(|error| error.to_string())?,
        })
    }
}

/// Arguments of `move`.
#[derive(Debug, Args)]
pub struct Move {
    /// Which pipeline, or which of its tasks.
    #[arg(value_name = "PIPELINE[/TASK]")]
    what: Target,
    /// The Core that is to run it.
    #[arg(long, value_name = "CORE")]
    to: MemberId,
    #[command(flatten)]
    order: Order,
}

impl Move {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.order.connect.session().await?;
        let done = self.ask(&session).await;
        session.close().await;
        screen.show(&format!("{}\n", done?))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(&self, session: &Session) -> anyhow::Result<String> {
        let pipeline = &self.what.pipeline;
        existing(session, pipeline).await?;
        if let Some(task) = &self.what.task {
            let tasks = session.children(&path::tasks(pipeline)).await?;
            if !tasks.iter().any(|known| known == task.as_str()) {
                let kind = format!("task of {pipeline} called");
                bail!(
                    "{}",
                    unknown(&kind, task.as_str(), &tasks, "towpath get tasks")
                );
            }
        }
        existing_core(session, &self.to).await?;
        let queue = CommandQueue::Pipeline(pipeline.clone());
        let action = Action::Move {
            to: self.to.clone(),
        };
        let text = self
            .order
            .ask(session, &queue, self.what.task.clone(), action)
            .await?;
        Ok(format!("{pipeline}: {text}"))
    }
}

/// That this Core is there.
async fn existing_core(session: &Session, core: &MemberId) -> anyhow::Result<()> {
    let cores = session.children(&path::members(MemberKind::Core)).await?;
    match cores.iter().any(|known| known == core.as_str()) {
        true => Ok(()),
        false => bail!(
            "{}",
            unknown("Core", core.as_str(), &cores, "towpath get cores")
        ),
    }
}

/// Arguments of `drain`.
#[derive(Debug, Args)]
pub struct Drain {
    /// Which Core.
    core: MemberId,
    /// Why, for the others.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    order: Order,
}

impl Drain {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.order.connect.session().await?;
        let done = async {
            existing_core(&session, &self.core).await?;
            let action = Action::Drain {
                core: self.core.clone(),
                reason: self.reason.clone(),
            };
            self.order
                .ask(&session, &CommandQueue::Cluster, None, action)
                .await
        };
        let done = done.await;
        session.close().await;
        screen.show(&format!("{}: {}\n", self.core, done?))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `undrain`.
#[derive(Debug, Args)]
pub struct Undrain {
    /// Which Core; it needn't be there.
    core: MemberId,
    #[command(flatten)]
    order: Order,
}

impl Undrain {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.order.connect.session().await?;
        let done = async {
            let drained = session.children(&path::drained()).await?;
            if !drained.iter().any(|core| core == self.core.as_str()) {
                let kind = "drained Core";
                bail!(
                    "{}",
                    unknown(kind, self.core.as_str(), &drained, "towpath get cores")
                );
            }
            let core = self.core.clone();
            let action = Action::Undrain { core };
            self.order
                .ask(&session, &CommandQueue::Cluster, None, action)
                .await
        };
        let done = done.await;
        session.close().await;
        screen.show(&format!("{}: {}\n", self.core, done?))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `ack`.
#[derive(Debug, Args)]
pub struct Ack {
    /// Which alerts; see towpath alerts.
    #[arg(value_name = "ALERT", required = true)]
    alerts: Vec<AlertId>,
    #[command(flatten)]
    order: Order,
}

impl Ack {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.order.connect.session().await?;
        let done = self.ask(&session, screen).await;
        session.close().await;
        done
    }

    async fn ask(&self, session: &Session, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        for id in &self.alerts {
            if session.read::<Alert>(&path::alert(id)).await?.is_none() {
                let known = session.children(&path::alerts()).await?;
                bail!(
                    "{}",
                    unknown("alert", id.as_str(), &known, "towpath alerts --all")
                );
            }
        }
        let mut code = ExitCode::SUCCESS;
        for id in &self.alerts {
            let action = Action::Acknowledge { alert: id.clone() };
            match self
                .order
                .ask(session, &CommandQueue::Cluster, None, action)
                .await
            {
                Ok(text) => screen.show(&format!("{id}: {text}\n"))?,
                Err(error) => {
                    screen.say(&format!("towpath: {id}: {error:#}"));
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    }
}

/// Arguments of `source`.
#[derive(Debug, Args)]
pub struct Source {
    #[command(subcommand)]
    verb: SourceVerb,
    #[command(flatten)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum SourceVerb {
    /// Say where a database is from now on: running pipelines that name it follow. Asks first.
    ///
    /// The other server must have what this one had: GTIDs keep the place.
    Set {
        /// Its name, as pipeline files use it.
        name: DataSourceName,
        /// Where it is.
        #[arg(value_name = "HOST:PORT", value_parser = address)]
        address: String,
        /// Why, for the others.
        #[arg(long)]
        reason: Option<String>,
        /// Don't ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// List named databases, where they are, and whether they answer.
    Ls {
        /// Print JSON: an array.
        #[arg(long)]
        json: bool,
    },
}

/// `host:port`, an IPv6 address in brackets.
fn address(text: &str) -> Result<String, String> {
    let wrong = || "use HOST:PORT, as db2.example.net:3306 or [::1]:3306".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host_is_good = match inside {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |c: char| c.is_alphanumeric() || "-._".contains(c);
            !host.is_empty() && host.chars().all(plain)
        }
    };
    match port.parse::<u16>() {
        Ok(1..) if host_is_good => Ok(text.to_owned()),
        _ => Err(wrong()),
    }
}

impl Source {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.order.connect.session().await?;
        let done = match &self.verb {
            SourceVerb::Set {
                name,
                address,
                reason,
                yes,
            } => {
                self.set(&session, name, address, reason.clone(), *yes, screen)
                    .await
            }
            SourceVerb::Ls { json } => list(&session, *json, screen).await,
        };
        session.close().await;
        done.map(|()| ExitCode::SUCCESS)
    }

    async fn set(
        &self,
        session: &Session,
        name: &DataSourceName,
        address: &str,
        reason: Option<String>,
        yes: bool,
        screen: &mut Screen,
    ) -> anyhow::Result<()> {
        let present = session.read::<DataSource>(&path::datasource(name)).await?;
        let present = present.map(|entry| entry.value.record.address);
        if present.as_deref() == Some(address) {
            return Ok(screen.show(&format!("{name} is at {address} already\n"))?);
        }
        let question = match &present {
            Some(present) => format!(
                "{name} is at {present}. Move it to {address}? Running pipelines that name it follow."
            ),
            None => {
                let known = session.children(&path::datasources()).await?;
                let near = crate::text::nearest(name.as_str(), known.iter().map(String::as_str));
                let near = near
                    .map(|near| format!(" (there is {near})"))
                    .unwrap_or_default();
                format!("{name} is new{near}. Put it at {address}?")
            }
        };
        if !yes && !screen.confirmed(&question)? {
            bail!("nothing was changed; --yes says yes where nobody can be asked");
        }
        let action = Action::SetSource {
            name: name.clone(),
            address: address.to_owned(),
            reason,
        };
        let text = self
            .order
            .ask(session, &CommandQueue::Cluster, None, action)
            .await?;
        Ok(screen.show(&format!("{name}: {text}\n"))?)
    }
}

async fn list(session: &Session, json: bool, screen: &mut Screen) -> anyhow::Result<()> {
    let tree = Tree::read(session, path::root(), is_shown).await?;
    let view = View::new(&tree, jiff::Timestamp::now());
    match json {
        true => screen.json(&crate::model::json::sources(&view))?,
        false => screen.show(&show::sources(&view, screen.paint()))?,
    }
    Ok(())
}

/// Arguments of `log-level`.
#[derive(Debug, Args)]
pub struct LogLevel {
    /// Log this from now on, everywhere: a level, or a filter such as info,towpath_core=debug.
    /// Without it, print what holds.
    #[arg(value_parser = filter)]
    filter: Option<String>,
    /// Let each process log again what it was started with.
    #[arg(long, conflicts_with = "filter")]
    reset: bool,
    #[command(flatten)]
    order: Order,
}

/// A filter that every process will understand.
fn filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        Ok(_) => Err("use a level (error, warn, info, debug, trace), or --reset".to_owned()),
        Err(error) => Err(format!(
            "{error}; use a level or target=level, as info,towpath_core=debug"
        )),
    }
}

impl LogLevel {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.order.connect.session().await?;
        let done = self.ask(&session).await;
        session.close().await;
        screen.show(&format!("{}\n", done?))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(&self, session: &Session) -> anyhow::Result<String> {
        if self.filter.is_none() && !self.reset {
            let present = session.read::<LogConfig>(&path::log_config()).await?;
            return Ok(match present {
                Some(entry) => crate::text::line(&entry.value.record.filter),
                None => "each process logs what it was started with".to_owned(),
            });
        }
        let action = Action::LogLevel {
            filter: self.filter.clone(),
        };
        self.order
            .ask(session, &CommandQueue::Cluster, None, action)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_databases() {
        for good in [
            "db:1",
            "db-2.example.net:3306",
            "127.0.0.1:3306",
            "[::1]:65535",
        ] {
            assert_eq!(address(good), Ok(good.to_owned()));
        }
        for bad in [
            "", "db", ":1", "db:", "db:0", "db:65536", "::1:3306", "[x]:1", "u@db:1", "a b:1",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pipelines_and_tasks() {
        let target: Target = "orders/replica".parse().unwrap();
        assert_eq!(target.pipeline.as_str(), "orders");
        assert_eq!(target.task.unwrap().as_str(), "replica");
        assert_eq!("orders".parse::<Target>().unwrap().task, None);
        for bad in ["", "/", "orders/", "Orders", "orders/a/b"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_that_every_process_understands() {
        for good in ["debug", "info,towpath_core::apply=trace"] {
            assert_eq!(filter(good), Ok(good.to_owned()));
        }
        for bad in ["", " ", "info,=x", "a=b=c=d"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
