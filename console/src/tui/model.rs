//! All that the console knows, between two messages.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use towpath_protocol::spec::PipelineName;
use towpath_protocol::tree::{NodePath, path};

use super::keys::Scope;
use super::message::Request;
use super::picture::{Health, Picture};
use super::samples::Samples;

/// What fills the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum View {
    Pipelines,
    Pipeline(PipelineName),
    Cluster,
    Alerts,
    Directory,
}

/// The views as one types them, the shortest names that are clear first tried in this order.
pub(super) const VIEWS: [(&str, View); 4] = [
    ("pipelines", View::Pipelines),
    ("cluster", View::Cluster),
    ("alerts", View::Alerts),
    ("dir", View::Directory),
];

impl View {
    /// Which keys hold.
    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Pipelines => Scope::PIPELINES,
            Self::Pipeline(_) => Scope::PIPELINE,
            Self::Cluster => Scope::CLUSTER,
            Self::Alerts => Scope::ALERTS,
            Self::Directory => Scope::DIRECTORY,
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Pipelines => "pipelines",
            Self::Pipeline(_) => "pipeline",
            Self::Cluster => "cluster",
            Self::Alerts => "alerts",
            Self::Directory => "dir",
        }
    }
}

/// The parts of a pipeline's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Now,
    History,
    Spec,
}

impl Part {
    pub(super) const ALL: [(Self, &'static str); 3] = [
        (Self::Now, "now"),
        (Self::History, "history"),
        (Self::Spec, "spec"),
    ];

    /// The part so many steps on; it wraps.
    pub(super) fn step(self, forward: bool) -> Self {
        match (self, forward) {
            (Self::Now, true) | (Self::Spec, false) => Self::History,
            (Self::History, true) | (Self::Now, false) => Self::Spec,
            (Self::Spec, true) | (Self::History, false) => Self::Now,
        }
    }
}

/// By what the pipelines are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Worst first.
    State,
    Name,
    /// Largest first.
    Lag,
    /// Largest first.
    Rows,
}

impl Order {
    pub(super) fn next(self) -> Self {
        match self {
            Self::State => Self::Name,
            Self::Name => Self::Lag,
            Self::Lag => Self::Rows,
            Self::Rows => Self::State,
        }
    }

    /// The column's heading.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::State => "STATE",
            Self::Name => "NAME",
            Self::Lag => "LAG",
            Self::Rows => "ROWS/S",
        }
    }
}

/// The cursor of a list: on a thing, not on a place, so that it stays when the order changes.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    pub(super) cursor: Option<String>,
    /// Where it was, for when the thing is gone.
    pub(super) index: usize,
    pub(super) filter: String,
}

/// What lies over the view.
#[derive(Clone, Debug)]
pub(super) enum Overlay {
    Help {
        scroll: usize,
    },
    /// Asks before something is stopped.
    Confirm {
        request: Request,
        /// What it means.
        consequence: String,
    },
    Choose(Choice),
}

/// One of several.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) title: String,
    pub(super) items: Vec<Item>,
    pub(super) cursor: usize,
}

/// What can be chosen, and what it leads to.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) label: String,
    pub(super) leads_to: Overlay,
}

/// A line being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) kind: LineKind,
    pub(super) text: String,
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineKind {
    Command,
    Filter,
}

/// A command that isn't answered yet.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) id: u64,
    pub(super) what: String,
    pub(super) since: Timestamp,
}

/// What the status line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) health: Health,
    pub(super) text: String,
    pub(super) at: Timestamp,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) now: Timestamp,
    /// Where the directory is, as the user said it.
    pub(super) directory: String,
    /// Since when the directory doesn't answer.
    pub(super) lost: Option<Timestamp>,
    pub(super) picture: Picture,
    pub(super) samples: Samples,
    pub(super) view: View,
    /// Where Esc goes.
    pub(super) back: Vec<View>,
    pub(super) overlay: Option<Overlay>,
    pub(super) line: Option<Line>,
    pub(super) lists: BTreeMap<&'static str, List>,
    pub(super) order: Order,
    pub(super) reversed: bool,
    pub(super) part: Part,
    /// Lines that are scrolled out: of a pipeline's part, of a node's data.
    pub(super) scroll: usize,
    /// In the directory: the arrows move in the node's data, not in the tree.
    pub(super) in_data: bool,
    pub(super) open: BTreeSet<NodePath>,
    pub(super) asking: Vec<Asking>,
    pub(super) said: Option<Said>,
    pub(super) asked: u64,
    pub(super) frame: usize,
    pub(super) size: (u16, u16),
}

impl Model {
    /// Before anything has happened.
    pub(super) fn new(directory: String, now: Timestamp, size: (u16, u16)) -> Self {
        Self {
            now,
            directory,
            lost: None,
            picture: Picture::default(),
            samples: Samples::default(),
            view: View::Pipelines,
            back: Vec::new(),
            overlay: None,
            line: None,
            lists: BTreeMap::new(),
            order: Order::State,
            reversed: false,
            part: Part::Now,
            scroll: 0,
            in_data: false,
            open: BTreeSet::from([path::root(), path::pipelines()]),
            asking: Vec::new(),
            said: None,
            asked: 0,
            frame: 0,
            size,
        }
    }

    /// Which keys hold now.
    pub(super) fn scope(&self) -> Scope {
        if self.line.is_some() {
            return Scope::LINE;
        }
        match &self.overlay {
            Some(Overlay::Help { .. }) => Scope::HELP,
            Some(Overlay::Confirm { .. }) => Scope::CONFIRM,
            Some(Overlay::Choose(_)) => Scope::CHOOSE,
            None => self.view.scope(),
        }
    }

    /// Whether a command waits for its answer.
    pub(super) fn is_asking(&self) -> bool {
        !self.asking.is_empty()
    }

    /// What the view's list is filtered by, as it's being typed too.
    pub(super) fn filter(&self) -> &str {
        match &self.line {
            Some(line) if line.kind == LineKind::Filter => &line.text,
            _ => self
                .lists
                .get(self.view.name())
                .map_or("", |list| &list.filter),
        }
    }

    /// The list of the view.
    pub(super) fn list(&mut self) -> &mut List {
        self.lists.entry(self.view.name()).or_default()
    }

    /// Where the cursor is among these: on its thing, or where that was.
    pub(super) fn cursor<S: AsRef<str>>(&self, keys: &[S]) -> usize {
        let Some(list) = self.lists.get(self.view.name()) else {
            return 0;
        };
        let thing = list.cursor.as_deref();
        keys.iter()
            .position(|key| thing == Some(key.as_ref()))
            .unwrap_or(list.index.min(keys.len().saturating_sub(1)))
    }
}
