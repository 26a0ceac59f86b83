//! A log between producer and consumers: RabbitMQ and a file, real servers, real kills.

mod alone;
mod bus;
mod kill;
mod zombie;
mod large;
mod sinks;
mod lost;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use towpath_testing::RabbitMq;

/// `[queue]` of a pipeline file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Disk,
    RabbitMq,
}

/// A broker of a test's own. It is an error if RabbitMQ isn't installed: then nothing of this is
/// shown.
pub(super) async fn broker() -> Result<RabbitMq> {
    tokio::task::spawn_blocking(RabbitMq::start).await?
}

/// The section for a broker.
pub(super) fn rabbitmq(broker: &RabbitMq, further: &str) -> String {
    format!(
        "[queue]\nkind = \"rabbitmq\"\nurls = [\"{}\"]\n{further}\n",
        broker.url()
    )
}

/// The section for a file in a folder.
pub(super) fn disk(folder: &Path, further: &str) -> Result<String> {
    let folder = folder.to_str().context("a path")?;
    ensure!(folder.starts_with('/'), "{folder}");
    Ok(format!(
        "[queue]\nkind = \"disk\"\npath = \"{folder}\"\n{further}\n"
    ))
}
