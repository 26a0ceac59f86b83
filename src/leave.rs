//! `towpath rewind`, `skip` and `adopt`: a sink's place is changed by hand, after showing what that
//! means.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use towpath_console::Screen;
use towpath_console::verb::ask;
use towpath_coordination::{CommandQueue, Session};
use towpath_core::leave::{Adopt, LeaveError, Replay, Rewind, RowCounts, Skip, Survey};
use towpath_protocol::epoch::Generation;
use towpath_protocol::gtid::GtidSet;
use towpath_protocol::spec::{PipelineSpec, StartAt};
use towpath_protocol::tree::path;
use towpath_protocol::tree::record::{Action, Cluster};

use crate::verify::line;
use crate::{cli, named};

/// What a Server may take to raise the generation.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Tables that people are shown.
const TABLES_SHOWN_MAX: usize = 100;

/// `--to`: a GTID set, or whatever `start` takes.
///
/// # Errors
/// It's neither; for people.
pub(crate) fn place(text: &str) -> Result<StartAt, String> {
    if text.trim().is_empty() {
        return Err("give a GTID set, <file>:<offset> or an RFC 3339 time".to_owned());
    }
    match text.parse::<GtidSet>() {
        Ok(set) => Ok(StartAt::Gtid(set)),
        Err(_) => text
            .parse::<StartAt>()
            .map_err(|error| format!("no GTID set, and no other place: {error}")),
    }
}

/// `--gtid`: one or more transactions.
///
/// # Errors
/// It's no set, or an empty one; for people.
pub(crate) fn gtids(text: &str) -> Result<GtidSet, String> {
    match text.parse::<GtidSet>() {
        Ok(set) if set.is_empty() => Err("give a GTID, or a set of them".to_owned()),
        Ok(set) => Ok(set),
        Err(error) => Err(error.to_string()),
    }
}

/// Lets a sink go back to an older place.
///
/// # Errors
/// It's refused, or nobody said yes.
pub(crate) async fn rewind(arguments: cli::Rewind) -> anyhow::Result<ExitCode> {
    let spec = named::pipeline(&arguments.of).await?;
    let replay = match (arguments.ddl_ran, arguments.ddl_again) {
        (true, _) => Replay::LeaveOut,
        (_, true) => Replay::RunAgain,
        _ => Replay::Refuse,
    };
    let rewind = Rewind::plan(&spec, &arguments.to, replay).await?;
    let (held, place) = (rewind.held().clone(), rewind.place());
    if held == place {
        return told(&format!("nothing to do: {} holds {held}\n", whose(&spec)));
    }
    let mut text = format!(
        "{}\n  holds         {held}\n  goes back to  {place}\n  comes again   {}\n",
        whose(&spec),
        transactions(held.subtract(&place).count())
    );
    tables(&mut text, rewind.survey());
    for change in rewind.runs_again() {
        let _ = writeln!(
            text,
            "    runs again: {}: {}",
            change.gtid, change.statement
        );
    }
    for change in rewind.left_out() {
        let _ = writeln!(text, "    left out: {}: {}", change.gtid, change.statement);
    }
    show(&text)?;
    confirm(
        arguments.yes,
        "Go back? Until the sink has caught up, rows of these tables show older states.",
    )?;
    let moved = rewind.make().await?;
    told(&format!(
        "{} went back\n  from  {}\n  to    {}\nWhat came since is applied again as soon as the pipeline runs, by key \
         until the sink holds all of it.\n",
        whose(&spec),
        moved.before,
        moved.after
    ))
}

/// Leaves transactions out.
///
/// # Errors
/// It's refused, or nobody said yes.
pub(crate) async fn skip(arguments: cli::Skip) -> anyhow::Result<ExitCode> {
    let spec = named::pipeline(&arguments.of).await?;
    let skip = Skip::plan(&spec, &arguments.gtids).await?;
    if skip.gtids().is_empty() {
        return told(&format!(
            "nothing to do: {} holds {} already\n",
            whose(&spec),
            arguments.gtids
        ));
    }
    let mut text = format!(
        "{}\n  holds       {}\n  leaves out  {}, {}\n",
        whose(&spec),
        skip.held(),
        skip.gtids(),
        transactions(skip.gtids().count())
    );
    tables(&mut text, skip.survey());
    for change in &skip.survey().schema_changes {
        let _ = writeln!(text, "    {}: {}", change.gtid, change.statement);
    }
    let survey = skip.survey();
    if survey.tables.is_empty() && survey.schema_changes.is_empty() && skip.purged().is_empty() {
        text.push_str("    nothing that the pipeline takes\n");
    }
    if !skip.purged().is_empty() {
        let _ = writeln!(
            text,
            "    not known, since the source has purged it: {}",
            skip.purged()
        );
    }
    show(&text)?;
    confirm(
        arguments.yes,
        "Leave that out for good? The sink's rows may differ from the source's afterwards.",
    )?;
    let mut names: Vec<String> = Vec::new();
    for name in survey.tables.keys().take(TABLES_SHOWN_MAX) {
        names.push(format!(" --table {}", line(&name.to_string())));
    }
    let known = skip.purged().is_empty() && survey.tables.len() <= TABLES_SHOWN_MAX;
    let wanted = skip.gtids().clone();
    let moved = skip.make().await?;
    let applied = wanted.subtract(&moved.after.subtract(&moved.before));
    let mut text = format!(
        "{}\n  held   {}\n  holds  {}\n",
        whose(&spec),
        moved.before,
        moved.after
    );
    if !applied.is_empty() {
        let _ = writeln!(
            text,
            "The pipeline had applied {applied} meanwhile: that isn't left out."
        );
    }
    let names = if known { names.concat() } else { String::new() };
    let _ = writeln!(
        text,
        "If the pipeline has stopped at it: towpath start {0}\nSee what differs, and mend it: towpath verify \
         {1}{names} --repair",
        spec.name, arguments.of.pipeline
    );
    told(&text)
}

/// Gives a sink's place to the directory.
///
/// # Errors
/// It's refused, or nobody said yes.
pub(crate) async fn adopt(arguments: cli::Adopt) -> anyhow::Result<ExitCode> {
    let spec = named::pipeline(&arguments.of).await?;
    let session = arguments.of.connect.session().await?;
    let done = adopt_into(&session, &spec, arguments.yes).await;
    session.close().await;
    done
}

async fn adopt_into(session: &Session, spec: &PipelineSpec, yes: bool) -> anyhow::Result<ExitCode> {
    let cluster = identity(session).await?;
    let adopt = Adopt::plan(spec).await?;
    let owner = adopt.owner().clone();
    let Some(former) = owner.cluster.clone() else {
        return told(&format!(
            "nothing to do: {} belongs to no directory; the first Core that takes it over makes it its own's\n",
            whose(spec)
        ));
    };
    if former == cluster.id.to_string() {
        return told(&format!(
            "nothing to do: {} belongs to this directory, {former}\n",
            whose(spec)
        ));
    }
    let mut text = format!(
        "{}\n  belongs to    {}, generation {}, last owner {}\n  is given to   {}\n",
        whose(spec),
        line(&former),
        owner.generation,
        line(&owner.name),
        cluster.id
    );
    let _ = match adopt.holder() {
        Some(holder) => writeln!(
            text,
            "  written now   by connection {} of the sink, which is refused from then on",
            holder.connection_id
        ),
        None => writeln!(text, "  written now   by nobody"),
    };
    show(&text)?;
    confirm(
        yes,
        "Take it over for this directory? Cores of the other one can't write any more.",
    )?;
    let action = Action::Adopt {
        above: owner.generation,
    };
    ask(session, &CommandQueue::Cluster, None, action, ANSWER_MAX).await?;
    let generation = identity(session).await?.generation;
    adopt
        .make(cluster.id, generation)
        .await
        .map_err(|error| refused(error, generation))?;
    told(&format!(
        "{} belongs to {} now, before to {}; this directory is in generation {generation}\nIf the pipeline has \
         stopped because of it: towpath start {}\n",
        whose(spec),
        cluster.id,
        line(&former),
        spec.name
    ))
}

fn refused(error: LeaveError, generation: Generation) -> anyhow::Error {
    let raised = format!(
        "the row wasn't given to this directory, which is in generation {generation} now (that does no harm)"
    );
    anyhow::Error::from(error).context(raised)
}

async fn identity(session: &Session) -> anyhow::Result<Cluster> {
    let entry = session.read::<Cluster>(&path::cluster()).await?;
    let entry = entry.context("the directory has no identity; has a Server ever run there?")?;
    Ok(entry.value.record)
}

fn whose(spec: &PipelineSpec) -> String {
    let sinks = spec.sinks.first();
    let sink = sinks.map_or("", |sink| sink.name.as_str());
    format!("pipeline {}, sink {sink}", spec.name)
}

fn transactions(count: u64) -> String {
    match count {
        1 => "1 transaction".to_owned(),
        count => format!("{count} transactions"),
    }
}

/// Rows by table.
fn tables(out: &mut String, survey: &Survey) {
    let shown = || survey.tables.iter().take(TABLES_SHOWN_MAX);
    let names: Vec<String> = shown().map(|(name, _)| line(&name.to_string())).collect();
    let wide = names.iter().map(|name| name.chars().count()).max();
    let wide = wide.unwrap_or_default();
    for (name, (_, rows)) in names.iter().zip(shown()) {
        let _ = writeln!(out, "    {name:wide$}  {}", counts(rows));
    }
    let more = survey.tables.len().saturating_sub(TABLES_SHOWN_MAX);
    if more > 0 {
        let _ = writeln!(out, "    and {more} tables more");
    }
}

fn counts(rows: &RowCounts) -> String {
    let parts = [
        (rows.inserted, "inserted"),
        (rows.updated, "updated"),
        (rows.deleted, "deleted"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let word = if rows.all() == 1 { "row" } else { "rows" };
    format!("{} {word}: {}", rows.all(), parts.join(", "))
}

/// Asks, unless that was answered beforehand.
fn confirm(yes: bool, question: &str) -> anyhow::Result<()> {
    if yes || Screen::standard().confirmed(question)? {
        return Ok(());
    }
    bail!("nothing was changed; --yes says yes where nobody can be asked")
}

fn show(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write the answer")
}

fn told(text: &str) -> anyhow::Result<ExitCode> {
    show(text)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "00000000-0000-0000-0000-00000000000a";

    #[test]
    fn a_place_is_a_set_or_what_start_takes() {
        let set = format!("{A}:1-5");
        for text in [set.clone(), format!("gtid:{set}")] {
            let StartAt::Gtid(found) = place(&text).unwrap() else {
                panic!("{text}")
            };
            assert_eq!(found.to_string(), set);
        }
        assert!(matches!(
            place("binlog.000002:157"),
            Ok(StartAt::Position(_))
        ));
        assert!(matches!(
            place("2026-11-22T02:40:00Z"),
            Ok(StartAt::Time(_))
        ));
        for text in ["", " ", "yesterday", "a:b:c"] {
            assert!(place(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_left_out_is_named() {
        assert!(gtids(&format!("{A}:7")).is_ok());
        for text in ["", "7", A] {
            assert!(gtids(text).is_err(), "{text:?}");
        }
    }
}
