//! `history`: what happened, and why.

use jiff::Timestamp;
use towpath_protocol::tree::record::HistoryEvent;

use super::table::{Cell, Table};
use crate::screen::{Paint, Tone};
use crate::text;

/// An event, and about what: a pipeline, or the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The pipeline; `None` for the cluster.
    pub(crate) pipeline: Option<String>,
    /// What happened.
    pub(crate) event: HistoryEvent,
}

/// Oldest first, so that the newest is beside the prompt.
pub(crate) fn history(events: &[Told], now: Timestamp, paint: Paint) -> String {
    if events.is_empty() {
        return "nothing has been written down\n".to_owned();
    }
    let mut table = Table::new(&["WHEN", ">AGO", "ABOUT", "WHAT", "BY", "WHY"]);
    for Told { pipeline, event } in events {
        let about = match (pipeline, &event.task) {
            (Some(pipeline), Some(task)) => format!("{pipeline}/{task}"),
            (Some(pipeline), None) => pipeline.clone(),
            (None, _) => "cluster".to_owned(),
        };
        table.row([
            Cell::toned(Tone::Faint, text::moment(event.at)),
            text::age(event.at, now).into(),
            about.into(),
            Cell::toned(Tone::Strong, &event.what),
            (&event.by).into(),
            (&event.text).into(),
        ]);
    }
    table.draw(paint)
}
