//! Trees and stats as text and as JSON.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::{Value, json};
use towpath_coordination::{NodeStat, Session};
use towpath_protocol::tree::NodePath;

use crate::text;

/// Draws a node and what is below it.
pub(super) async fn tree(
    session: &Session,
    top: &NodePath,
    depth: Option<usize>,
    json: bool,
) -> anyhow::Result<()> {
    super::existing(session, top).await?;
    let drawn = draw(session, top, top.as_str(), depth, String::new(), json).await?;
    let mut out = std::io::stdout().lock();
    match drawn {
        Some((_, value)) if json => writeln!(out, "{value}")?,
        Some((text, _)) => write!(out, "{text}")?,
        None => {}
    }
    Ok(())
}

type Drawn = Option<(String, Value)>;

/// A node with its name, and below it its children, each behind `indent`.
async fn draw(
    session: &Session,
    path: &NodePath,
    name: &str,
    depth: Option<usize>,
    indent: String,
    json: bool,
) -> anyhow::Result<Drawn> {
    let Some((data, stat)) = session.node(path).await? else {
        return Ok(None);
    };
    let mut text = text::line(name);
    let mut marks = Vec::new();
    if stat.data_bytes > 0 {
        marks.push(format!("{} B", stat.data_bytes));
    }
    if stat.ephemeral_owner != 0 {
        marks.push(kind(&stat));
    }
    if !marks.is_empty() {
        let _ = write!(text, "  ({})", marks.join(", "));
    }
    text.push('\n');
    let mut children = serde_json::Map::new();
    if depth != Some(0) && stat.children > 0 {
        let names = session.children(path).await?;
        let last = names.len().saturating_sub(1);
        for (index, name) in names.iter().enumerate() {
            let Some(child) = path.listed(name) else {
                continue;
            };
            let (branch, rest) = match index == last {
                true => ("└─ ", "   "),
                false => ("├─ ", "│  "),
            };
            let below = format!("{indent}{rest}");
            let depth = depth.map(|depth| depth.saturating_sub(1));
            let drawn = Box::pin(draw(session, &child, name, depth, below, json)).await?;
            if let Some((drawn, value)) = drawn {
                let _ = write!(text, "{indent}{branch}{drawn}");
                children.insert(name.clone(), value);
            }
        }
    }
    if !json {
        return Ok(Some((text, Value::Null)));
    }
    let data = serde_json::from_slice(&data)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&data).into_owned()));
    let value = json!({"data": data, "stat": stat_json(name, &stat), "children": children});
    Ok(Some((text, value)))
}

/// How many nodes there are, this one included.
pub(super) async fn count(session: &Session, top: &NodePath) -> anyhow::Result<usize> {
    let mut waiting = vec![top.clone()];
    let mut count = 0;
    while let Some(node) = waiting.pop() {
        count += 1;
        for child in session.children(&node).await? {
            waiting.extend(node.listed(&child));
        }
    }
    Ok(count)
}

/// What to look at instead of a node that isn't there.
pub(super) async fn nearest(session: &Session, path: &NodePath) -> String {
    let mut above = path.parent();
    while let Some(node) = above {
        if let Ok(Some(_)) = session.node(&node).await {
            return format!("; {node} is: towpath dir ls {node}");
        }
        above = node.parent();
    }
    String::new()
}

/// Whether a node stays.
pub(super) fn kind(stat: &NodeStat) -> String {
    match stat.ephemeral_owner {
        0 => "persistent".to_owned(),
        owner => format!("ephemeral of {owner:#x}"),
    }
}

/// A stat for programs.
pub(super) fn stat_json(name: &str, stat: &NodeStat) -> Value {
    json!({
        "name": name,
        "version": stat.version,
        "children_version": stat.children_version,
        "acl_version": stat.acl_version,
        "bytes": stat.data_bytes,
        "children": stat.children,
        "kind": kind(stat),
        "created": text::time(stat.created_ms),
        "modified": text::time(stat.modified_ms),
        "created_zxid": stat.created_zxid,
        "modified_zxid": stat.modified_zxid,
        "children_zxid": stat.children_zxid,
    })
}

/// A stat for people.
pub(super) fn stat(path: &NodePath, stat: &NodeStat) -> String {
    format!(
        "path              {path}\n\
         kind              {}\n\
         created           {}  (zxid {})\n\
         changed           {}  (zxid {})\n\
         data              {} B, version {}\n\
         children          {}, version {}  (zxid {})\n\
         access list       version {}\n",
        kind(stat),
        text::time(stat.created_ms),
        stat.created_zxid,
        text::time(stat.modified_ms),
        stat.modified_zxid,
        stat.data_bytes,
        stat.version,
        stat.children,
        stat.children_version,
        stat.children_zxid,
        stat.acl_version,
    )
}
