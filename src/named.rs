//! A pipeline that a command names: by its file, or as it is in force in the directory.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use towpath_console::verb::existing;
use towpath_core::agent;
use towpath_protocol::spec::{PipelineName, PipelineSpec};
use towpath_protocol::tree::record::DataSource;
use towpath_protocol::tree::{DataSourceName, path};

use crate::cli;

/// Reads the pipeline, with the one sink that is meant.
///
/// # Errors
/// There is no such file, nor such a pipeline; a variable isn't set here; no such sink, or several.
pub(crate) async fn pipeline(named: &cli::Pipeline) -> anyhow::Result<PipelineSpec> {
    let file = Path::new(&named.pipeline);
    let mut spec = match named.pipeline.parse::<PipelineName>() {
        Ok(name) if !file.exists() => in_force(named, &name).await?,
        _ => PipelineSpec::load(file)?,
    };
    let names: Vec<String> = spec
        .sinks
        .iter()
        .map(|sink| sink.name.to_string())
        .collect();
    if let Some(wanted) = &named.sink {
        spec.sinks.retain(|sink| sink.name.as_str() == wanted);
        if spec.sinks.is_empty() {
            bail!(
                "pipeline {} has no sink {wanted:?}; it has {}",
                spec.name,
                names.join(", ")
            );
        }
    } else if names.len() > 1 {
        bail!(
            "pipeline {} has several sinks; say which: --sink {}",
            spec.name,
            names.join(" | ")
        );
    }
    Ok(spec)
}

async fn in_force(named: &cli::Pipeline, name: &PipelineName) -> anyhow::Result<PipelineSpec> {
    let session = named.connect.session().await.with_context(|| {
        format!("there is no file {name}, and the directory can't be asked for a pipeline {name}")
    })?;
    let read = async {
        let applied = existing(&session, name).await?;
        let mut places = BTreeMap::new();
        for child in session.children(&path::datasources()).await? {
            if let Ok(source) = child.parse::<DataSourceName>()
                && let Some(entry) = session
                    .read::<DataSource>(&path::datasource(&source))
                    .await?
            {
                places.insert(source, entry.value.record.address);
            }
        }
        anyhow::Ok((applied, places))
    };
    let read = read.await;
    session.close().await;
    let (applied, places) = read?;
    let origin = Path::new(name.as_str());
    let environment = |name: &str| std::env::var(name).ok();
    let mut spec = PipelineSpec::parse_without_hooks(&applied.text, origin, &environment)?;
    agent::move_endpoints(&mut spec, &places)?;
    Ok(spec)
}
