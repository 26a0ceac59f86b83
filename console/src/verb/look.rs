//! Verbs that read.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use towpath_coordination::{CoordinationError, Mirror, Session, SessionState};
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::record::HistoryEvent;
use towpath_protocol::tree::{NodePath, Sequenced, path};

use super::{existing, pipeline_names, unknown};
use crate::Connect;
use crate::model::{View, is_shown, json};
use crate::screen::Screen;
use crate::show::{self, Described, Told};
use crate::tree::Tree;

/// Between two drawings of a screen that is watched: what changes faster can't be read.
const REDRAW_PAUSE: Duration = Duration::from_millis(500);
/// How much of a history a description shows.
const LATELY_MAX: usize = 10;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this pipeline.
    pipeline: Option<PipelineName>,
    /// Go on, and draw again when something changed, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,
    /// Print JSON; with --watch an object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// What is there, now.
async fn view(session: &Session) -> Result<View, CoordinationError> {
    let tree = Tree::read(session, path::root(), is_shown).await?;
    Ok(View::new(&tree, Timestamp::now()))
}

impl Status {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.connect.session().await?;
        let done = match self.watch {
            true => self.follow(&session, screen).await,
            false => self.once(&session, screen).await,
        };
        session.close().await;
        done.map(|()| ExitCode::SUCCESS)
    }

    async fn once(&self, session: &Session, screen: &mut Screen) -> anyhow::Result<()> {
        let view = view(session).await?;
        self.check(&view)?;
        Ok(self.draw(&view, screen)?)
    }

    fn only(&self) -> Option<&str> {
        self.pipeline.as_ref().map(PipelineName::as_str)
    }

    fn check(&self, view: &View) -> anyhow::Result<()> {
        match self.only() {
            Some(name) if view.pipeline(name).is_none() => {
                let known = view.pipelines.iter();
                let known: Vec<_> = known.map(|pipeline| pipeline.name.to_string()).collect();
                bail!(
                    "{}",
                    unknown("pipeline", name, &known, "towpath get pipelines")
                )
            }
            _ => Ok(()),
        }
    }

    fn draw(&self, view: &View, screen: &mut Screen) -> std::io::Result<()> {
        match self.json {
            true => screen.json(&json::status(view, self.only())),
            false => screen.show(&show::status(view, self.only(), screen.paint())),
        }
    }

    async fn follow(&self, session: &Session, screen: &mut Screen) -> anyhow::Result<()> {
        let mirror = Mirror::follow(session, path::root()).await?;
        let mut changes = mirror.changes();
        let mut statuses = session.statuses();
        let mut first = true;
        loop {
            changes.mark_unchanged();
            let connected = statuses.borrow_and_update().state == SessionState::Connected;
            let drawn = Instant::now();
            let tree = mirror.look(|nodes| Tree::from(nodes));
            let view = View::new(&tree, Timestamp::now());
            if first {
                self.check(&view)?;
            }
            match (self.json, screen.live) {
                (true, _) => screen.json_line(&json::status(&view, self.only()))?,
                (false, live) => {
                    let mut text = show::status(&view, self.only(), screen.paint());
                    if !connected {
                        text.insert_str(
                            0,
                            "! the directory doesn't answer: this is what it said last\n",
                        );
                    }
                    match live {
                        true => screen.draw_over(&text)?,
                        false if first => screen.show(&text)?,
                        false => screen.show(&format!("\n{text}"))?,
                    }
                }
            }
            first = false;
            tokio::select! {
                changed = async {
                    tokio::select! {
                        changed = changes.changed() => changed.is_ok(),
                        changed = statuses.changed() => changed.is_ok(),
                    }
                } => if !changed {
                    bail!("the session with the directory ended");
                },
                _ = tokio::signal::ctrl_c() => return Ok(screen.leave()?),
            }
            tokio::select! {
                () = tokio::time::sleep_until(drawn + REDRAW_PAUSE) => {}
                _ = tokio::signal::ctrl_c() => return Ok(screen.leave()?),
            }
        }
    }
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// What is in force, and how it is.
    #[value(alias = "pipeline")]
    Pipelines,
    /// Each task with its candidates.
    #[value(alias = "task")]
    Tasks,
    /// Who moves data.
    #[value(alias = "core")]
    Cores,
    /// Members of the directory, and who leads.
    #[value(alias = "server")]
    Servers,
    /// Who raises alerts.
    #[value(alias = "monitor")]
    Monitors,
    /// Named databases, and where they are.
    #[value(aliases = ["datasource", "sources", "source"])]
    Datasources,
    /// What fires, and what did.
    #[value(alias = "alert")]
    Alerts,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub struct Get {
    /// Of what.
    kind: Kind,
    /// Print JSON: an array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Get {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.connect.session().await?;
        let view = view(&session).await;
        session.close().await;
        let view = view?;
        if self.json {
            screen.json(&listed(&view, self.kind))?;
            return Ok(ExitCode::SUCCESS);
        }
        let paint = screen.paint();
        screen.show(&match self.kind {
            Kind::Pipelines => show::pipelines(&view, paint),
            Kind::Tasks => show::tasks(&view, paint),
            Kind::Cores => show::cores(&view, paint),
            Kind::Servers => show::servers(&view, paint),
            Kind::Monitors => show::monitors(&view, paint),
            Kind::Datasources => show::sources(&view, paint),
            Kind::Alerts => show::alerts(&view, true, paint),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn listed(view: &View, kind: Kind) -> Value {
    match kind {
        Kind::Pipelines => view.pipelines.iter().map(json::pipeline).collect(),
        Kind::Tasks => json::tasks(view),
        Kind::Cores => json::cores(view),
        Kind::Servers => json::servers(view),
        Kind::Monitors => json::monitors(view),
        Kind::Datasources => json::sources(view),
        Kind::Alerts => json::alerts(view, true),
    }
}

/// Arguments of `alerts`.
#[derive(Debug, Args)]
pub struct Alerts {
    /// Also those that are resolved.
    #[arg(long, short)]
    all: bool,
    /// Print JSON: an array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Alerts {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.connect.session().await?;
        let view = view(&session).await;
        session.close().await;
        let view = view?;
        match self.json {
            true => screen.json(&json::alerts(&view, self.all))?,
            false => screen.show(&show::alerts(&view, self.all, screen.paint()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// A name: of a pipeline, a Core, a Server, a Monitor, a data source, an alert. Where several
    /// have it, say which: core/NAME.
    #[arg(value_name = "[KIND/]NAME")]
    what: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Describe {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.connect.session().await?;
        let done = self.describe(&session, screen).await;
        session.close().await;
        done.map(|()| ExitCode::SUCCESS)
    }

    async fn describe(&self, session: &Session, screen: &mut Screen) -> anyhow::Result<()> {
        let view = view(session).await?;
        let what = found(&view, &self.what)?;
        let events = match what {
            Described::Pipeline(pipeline) => {
                told(session, Some(&pipeline.name), LATELY_MAX).await?
            }
            _ => Vec::new(),
        };
        if self.json {
            let value = described_json(&view, what, &events);
            return Ok(screen.json(&value)?);
        }
        let text = show::describe(&view, what, &events, screen.paint());
        Ok(screen.show(&text)?)
    }
}

fn described_json(view: &View, what: Described<'_>, events: &[Told]) -> Value {
    match what {
        Described::Pipeline(pipeline) => {
            let events: Vec<_> = events.iter().map(|told| told.event.clone()).collect();
            json::described(pipeline, &events)
        }
        Described::Core(id, core) => json::core(view, id, core),
        Described::Server(id, server) => json::server(id, server),
        Described::Monitor(id, monitor) => json::member(id, monitor),
        Described::Source(name, source, probe) => json::source(name, source, probe),
        Described::Alert(id, alert) => json::alert(id, alert),
    }
}

/// All that can be described, each with its kind and name.
fn all(view: &View) -> Vec<(&'static str, String, Described<'_>)> {
    let mut all = Vec::new();
    for pipeline in &view.pipelines {
        all.push((
            "pipeline",
            pipeline.name.to_string(),
            Described::Pipeline(pipeline),
        ));
    }
    for (id, core) in &view.cores {
        all.push(("core", id.to_string(), Described::Core(id, core)));
    }
    for (id, server) in &view.servers {
        all.push(("server", id.to_string(), Described::Server(id, server)));
    }
    for (id, monitor) in &view.monitors {
        all.push(("monitor", id.to_string(), Described::Monitor(id, monitor)));
    }
    for (name, (source, probe)) in &view.sources {
        let what = Described::Source(name, source, probe.as_ref());
        all.push(("source", name.to_string(), what));
    }
    for (id, alert) in &view.alerts {
        all.push(("alert", id.to_string(), Described::Alert(id, alert)));
    }
    all
}

/// What was meant by `[KIND/]NAME`. A task's `PIPELINE/TASK` is its pipeline.
fn found<'a>(view: &'a View, asked: &str) -> anyhow::Result<Described<'a>> {
    let all = all(view);
    let (kind, name) = match asked.split_once('/') {
        Some((kind, name)) => (Some(kind), name),
        None => (None, asked),
    };
    let named = |of: Option<&str>, name: &str| -> Vec<_> {
        let those = all.iter();
        those
            .filter(|(kind, known, _)| known == name && of.is_none_or(|of| of == *kind))
            .collect()
    };
    let mut found = named(kind, name);
    if found.is_empty()
        && let Some(pipeline) = kind.and_then(|pipeline| view.pipeline(pipeline))
        && pipeline.tasks.iter().any(|task| task.name.as_str() == name)
    {
        return Ok(Described::Pipeline(pipeline));
    }
    match (found.pop(), found.is_empty()) {
        (Some((_, _, what)), true) => Ok(*what),
        (Some((kind, _, _)), false) => {
            let kinds = found.iter().map(|(kind, _, _)| *kind).chain([*kind]);
            let names: Vec<_> = kinds.map(|kind| format!("{kind}/{name}")).collect();
            bail!(
                "{name:?} is several things; say which: {}",
                names.join(", ")
            )
        }
        (None, _) => {
            let known: Vec<String> = all.into_iter().map(|(_, known, _)| known).collect();
            bail!(
                "{}",
                unknown("thing called", asked, &known, "towpath status, towpath get")
            )
        }
    }
}

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct History {
    /// Only of this pipeline; otherwise of the cluster and all pipelines.
    pipeline: Option<PipelineName>,
    /// The last so many events.
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 20)]
    number: usize,
    /// Print JSON: an array, oldest first.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

impl History {
    pub(super) async fn run(self, screen: &mut Screen) -> anyhow::Result<ExitCode> {
        let session = self.connect.session().await?;
        let done = self.read(&session).await;
        session.close().await;
        let events = done?;
        if self.json {
            let events = events.iter().map(|Told { pipeline, event }| {
                json!({
                    "pipeline": pipeline,
                    "task": event.task,
                    "at": event.at,
                    "what": event.what,
                    "text": event.text,
                    "by": event.by,
                })
            });
            screen.json(&events.collect::<Vec<_>>())?;
        } else {
            screen.show(&show::history(&events, Timestamp::now(), screen.paint()))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn read(&self, session: &Session) -> anyhow::Result<Vec<Told>> {
        if let Some(pipeline) = &self.pipeline {
            let events = told(session, Some(pipeline), self.number).await?;
            if events.is_empty() {
                existing(session, pipeline).await?;
            }
            return Ok(events);
        }
        let mut events = told(session, None, self.number).await?;
        for name in pipeline_names(session).await? {
            if let Ok(pipeline) = name.parse() {
                events.extend(told(session, Some(&pipeline), self.number).await?);
            }
        }
        events.sort_by_key(|told| told.event.at);
        let early = events.len().saturating_sub(self.number);
        Ok(events.split_off(early))
    }
}

/// The last events of a history, oldest first. One that can't be read is left out.
async fn told(
    session: &Session,
    pipeline: Option<&PipelineName>,
    number: usize,
) -> Result<Vec<Told>, CoordinationError> {
    let parent = match pipeline {
        Some(pipeline) => path::history(pipeline),
        None => path::cluster_history(),
    };
    let nodes = Sequenced::sorted(session.children(&parent).await?);
    let early = nodes.len().saturating_sub(number);
    let nodes: Vec<NodePath> = nodes
        .iter()
        .skip(early)
        .filter_map(|node| parent.listed(&node.name))
        .collect();
    let mut events = Vec::with_capacity(nodes.len());
    for node in nodes {
        match session.read::<HistoryEvent>(&node).await {
            Ok(Some(entry)) => events.push(Told {
                pipeline: pipeline.map(ToString::to_string),
                event: entry.value.record,
            }),
            // Removed meanwhile, being old; or not ours to read.
            Ok(None) | Err(CoordinationError::Record { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(events)
}
