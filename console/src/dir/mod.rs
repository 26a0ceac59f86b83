//! `towpath dir`: looking into the directory, and changing it by hand.
//!
//! A way of last resort for the latter: what belongs to Towpath's own tree must be a JSON object,
//! and what is removed with all below it is confirmed.

mod show;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use towpath_coordination::{CoordinationError, Expect, NodeStat, Session, TreeChange};
use towpath_protocol::tree::{NodePath, path};

use crate::Connect;
use crate::text;

/// Arguments of `dir`.
#[derive(Debug, Args)]
pub struct Dir {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List a node's children.
    Ls {
        /// The node.
        #[arg(default_value = "/towpath", value_parser = NodePath::parse)]
        path: NodePath,
        /// Also versions, sizes, and which are ephemeral.
        #[arg(long, short)]
        long: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Draw a node and all below it.
    Tree {
        /// The node.
        #[arg(default_value = "/towpath", value_parser = NodePath::parse)]
        path: NodePath,
        /// Go down this many steps.
        #[arg(long, value_name = "N")]
        depth: Option<usize>,
        /// Print JSON: an object with the data of every node.
        #[arg(long)]
        json: bool,
    },
    /// Print a node's data.
    ///
    /// JSON is indented and bytes that are no text come as a hex dump, if this is a terminal.
    Get {
        /// The node.
        #[arg(value_parser = NodePath::parse)]
        path: NodePath,
        /// Print the bytes as they are.
        #[arg(long)]
        raw: bool,
    },
    /// Change a node's data.
    ///
    /// Goes past all checks that the other commands make. What is below /towpath must be a JSON
    /// object.
    Set {
        /// The node.
        #[arg(value_parser = NodePath::parse)]
        path: NodePath,
        /// The data; - reads it from standard input.
        data: String,
        /// Only if the node's version is this one (see stat).
        #[arg(long, value_name = "N")]
        version: Option<i32>,
        /// Make the node, and those above it, if it isn't there.
        #[arg(long)]
        create: bool,
        /// Write it though it's no JSON object.
        #[arg(long)]
        force: bool,
    },
    /// Remove a node.
    Rm {
        /// The node.
        #[arg(value_parser = NodePath::parse)]
        path: NodePath,
        /// With all below it. Asks, unless --yes is given.
        #[arg(long, short)]
        recursive: bool,
        /// Only if the node's version is this one (see stat).
        #[arg(long, value_name = "N", conflicts_with = "recursive")]
        version: Option<i32>,
        /// Don't ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Print the changes at a node, until Ctrl-C.
    Watch {
        /// The node; it needn't be there yet.
        #[arg(default_value = "/towpath", value_parser = NodePath::parse)]
        path: NodePath,
        /// The node itself and its children's coming and going, not all below it.
        #[arg(long)]
        shallow: bool,
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Print what the directory knows of a node beside its data.
    Stat {
        /// The node.
        #[arg(value_parser = NodePath::parse)]
        path: NodePath,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Dir {
    /// Does it.
    ///
    /// # Errors
    /// The directory can't be reached or refuses, or standard output can't be written.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let session = match self.verb {
            Verb::Set { .. } | Verb::Rm { .. } => self.connect.session_of_admin().await?,
            _ => self.connect.session().await?,
        };
        let result = match self.verb {
            Verb::Ls { path, long, json } => ls(&session, &path, long, json).await,
            Verb::Tree { path, depth, json } => show::tree(&session, &path, depth, json).await,
            Verb::Get { path, raw } => get(&session, &path, raw).await,
            Verb::Set {
                path,
                data,
                version,
                create,
                force,
            } => set(&session, &path, &data, version, create, force).await,
            Verb::Rm {
                path,
                recursive,
                version,
                yes,
            } => rm(&session, &path, recursive, version, yes).await,
            Verb::Watch {
                path,
                shallow,
                json,
            } => watch(&session, &path, shallow, json).await,
            Verb::Stat { path, json } => stat(&session, &path, json).await,
        };
        session.close().await;
        result.map(|()| ExitCode::SUCCESS)
    }
}

async fn existing(session: &Session, path: &NodePath) -> anyhow::Result<(Vec<u8>, NodeStat)> {
    match session.node(path).await? {
        Some(node) => Ok(node),
        None => bail!(
            "{path} isn't in the directory{}",
            show::nearest(session, path).await
        ),
    }
}

async fn ls(session: &Session, path: &NodePath, long: bool, json: bool) -> anyhow::Result<()> {
    existing(session, path).await?;
    let names = session.children(path).await?;
    let mut out = std::io::stdout().lock();
    if !long {
        match json {
            true => writeln!(out, "{}", json!(names))?,
            false => {
                for name in names {
                    writeln!(out, "{}", text::line(&name))?;
                }
            }
        }
        return Ok(());
    }
    drop(out);
    let mut rows = Vec::new();
    for name in &names {
        let Some(child) = path.listed(name) else {
            continue;
        };
        // One that has gone meanwhile isn't there.
        if let Some((_, stat)) = session.node(&child).await? {
            rows.push((name, stat));
        }
    }
    let mut out = std::io::stdout().lock();
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, stat)| show::stat_json(name, stat))
            .collect();
        writeln!(out, "{}", json!(rows))?;
        return Ok(());
    }
    let wide = names.iter().map(|name| name.chars().count()).max();
    let wide = wide.unwrap_or(0).max(4);
    writeln!(
        out,
        "{:wide$}  {:>7}  {:>9}  {:>8}  {:20}  KIND",
        "NAME", "VERSION", "BYTES", "CHILDREN", "CHANGED"
    )?;
    for (name, stat) in rows {
        writeln!(
            out,
            "{:wide$}  {:>7}  {:>9}  {:>8}  {:20}  {}",
            text::line(name),
            stat.version,
            stat.data_bytes,
            stat.children,
            text::time(stat.modified_ms / 1000 * 1000),
            show::kind(&stat),
        )?;
    }
    Ok(())
}

async fn get(session: &Session, path: &NodePath, raw: bool) -> anyhow::Result<()> {
    let (data, _) = existing(session, path).await?;
    let mut out = std::io::stdout().lock();
    if raw || !out.is_terminal() {
        out.write_all(&data)?;
        if !raw && !data.ends_with(b"\n") {
            out.write_all(b"\n")?;
        }
        return Ok(());
    }
    match data.is_empty() {
        true => eprintln!("(no data)"),
        false => writeln!(out, "{}", text::data(&data))?,
    }
    Ok(())
}

async fn set(
    session: &Session,
    node: &NodePath,
    data: &str,
    version: Option<i32>,
    create: bool,
    force: bool,
) -> anyhow::Result<()> {
    let data = match data {
        "-" => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .context("standard input")?;
            bytes
        }
        data => data.as_bytes().to_vec(),
    };
    let is_object = || serde_json::from_slice::<serde_json::Map<_, _>>(&data).is_ok();
    if !force && node.below(&path::root()).is_some() && !is_object() {
        bail!(
            "{node} belongs to Towpath, and this is no JSON object: every process that reads it \
             would complain; --force writes it all the same"
        );
    }
    if !create {
        existing(session, node)
            .await
            .context("nothing was written; --create makes the node")?;
    }
    let expect = version.map_or(Expect::Anything, Expect::Version);
    match session.put(node, &data, expect).await {
        Ok(version) => {
            println!("{node} is at version {version}");
            Ok(())
        }
        Err(CoordinationError::Changed { .. }) => bail!(
            "nothing was written: {node} isn't at version {} any more; look at it again",
            version.unwrap_or_default()
        ),
        Err(error) => Err(error.into()),
    }
}

async fn rm(
    session: &Session,
    path: &NodePath,
    recursive: bool,
    version: Option<i32>,
    yes: bool,
) -> anyhow::Result<()> {
    let (_, stat) = existing(session, path).await?;
    if !recursive {
        if stat.children > 0 {
            bail!(
                "{path} has nodes below it ({}); --recursive removes them too",
                stat.children
            );
        }
        session.remove(path, version).await?;
        println!("removed {path}");
        return Ok(());
    }
    let count = show::count(session, path).await?;
    if !yes
        && !text::confirmed(&format!(
            "Remove {path} and the {} nodes below it?",
            count - 1
        ))?
    {
        bail!("nothing was removed; --yes says yes where nobody can be asked");
    }
    let removed = session.remove_all(path).await?;
    println!("removed {removed} nodes");
    Ok(())
}

async fn watch(
    session: &Session,
    path: &NodePath,
    shallow: bool,
    json: bool,
) -> anyhow::Result<()> {
    let mut watch = session.watch_tree(path, !shallow).await?;
    eprintln!("watching {path}; Ctrl-C ends");
    loop {
        let event = tokio::select! {
            event = watch.next() => event?,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let change = match event.change {
            TreeChange::Created => "created",
            TreeChange::Deleted => "deleted",
            TreeChange::Data => "data",
            TreeChange::Children => "children",
            TreeChange::Gap => "gap",
        };
        let time = jiff::Timestamp::now();
        let mut out = std::io::stdout().lock();
        let written = if json {
            let event = json!({"time": time, "change": change, "path": event.path.as_str()});
            writeln!(out, "{event}")
        } else if event.change == TreeChange::Gap {
            writeln!(
                out,
                "{time:.3}  the connection broke: changes may be missing here"
            )
        } else {
            writeln!(
                out,
                "{time:.3}  {change:8}  {}",
                text::line(event.path.as_str())
            )
        };
        match written.and_then(|()| out.flush()) {
            // Whoever read it has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
}

async fn stat(session: &Session, path: &NodePath, json: bool) -> anyhow::Result<()> {
    let (_, stat) = existing(session, path).await?;
    let mut out = std::io::stdout().lock();
    match json {
        true => writeln!(out, "{}", show::stat_json(path.as_str(), &stat))?,
        false => write!(out, "{}", show::stat(path, &stat))?,
    }
    Ok(())
}
