//! A [`View`](crate::model::View) for people: pure functions from it to lines of text.

mod table;
mod status;
mod get;
mod describe;
mod history;
#[cfg(test)]
mod tests;

pub(crate) use describe::{Described, describe};
pub(crate) use get::{alerts, cores, monitors, pipelines, servers, sources, tasks};
pub(crate) use history::{Told, history};
pub(crate) use status::status;
