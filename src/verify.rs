//! `towpath verify`: what differs between source and sink, row by row.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use towpath_core::verify::{
    Difference, Kind, Options, Progress, Report, TableReport, Verdict, verify as compare,
};

use crate::{cli, coded, named};

/// Something differs.
const EXIT_DIFFERENT: u8 = 1;
/// Not everything could be compared.
const EXIT_UNKNOWN: u8 = 2;

/// Rows of a table that people are shown; programs get all that are listed.
const ROWS_SHOWN_MAX: usize = 100;

/// What changes faster on a terminal can't be read.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

/// Compares, prints what was found, and says by the exit code what it came to.
pub(crate) async fn verify(arguments: cli::Verify) -> ExitCode {
    match run(arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprint!("{}", coded::lines(&error));
            ExitCode::from(EXIT_UNKNOWN)
        }
    }
}

async fn run(arguments: cli::Verify) -> anyhow::Result<ExitCode> {
    let spec = named::pipeline(&arguments.of).await?;
    let options = Options {
        tables: arguments.tables,
        repair: arguments.repair,
        patience: arguments.patience,
    };
    let mut screen = ProgressLine::new();
    let report = compare(&spec, &options, &mut |progress| screen.show(progress)).await;
    screen.clear();
    let report = report?;
    let text = if arguments.json {
        format!("{}\n", json_of(&report))
    } else {
        people_text(&report)
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .context("cannot write what was found")?;
    Ok(match report.verdict() {
        Verdict::Equal => ExitCode::SUCCESS,
        Verdict::Different => ExitCode::from(EXIT_DIFFERENT),
        Verdict::Unknown => ExitCode::from(EXIT_UNKNOWN),
    })
}

/// One line on standard error, written over; nothing where that is no terminal.
struct ProgressLine {
    is_terminal: bool,
    drawn: Option<Instant>,
}

impl ProgressLine {
    fn new() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            drawn: None,
        }
    }

    fn show(&mut self, progress: Progress<'_>) {
        let is_due = self
            .drawn
            .is_none_or(|drawn| drawn.elapsed() >= PROGRESS_PAUSE);
        if !self.is_terminal || !is_due {
            return;
        }
        self.drawn = Some(Instant::now());
        let of = match progress.rows_estimate {
            Some(all) if all > progress.rows => format!(" of about {all}"),
            _ => String::new(),
        };
        eprint!(
            "\r\x1b[K{}: {}{of} rows",
            line(progress.table),
            progress.rows
        );
    }

    fn clear(&self) {
        if self.drawn.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

/// Text of a server's, on one line and harmless to a terminal.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

fn people_text(report: &Report) -> String {
    let mut out = String::new();
    let wide = report.tables.iter();
    let wide = wide
        .map(|table| table.name.to_string().chars().count())
        .max()
        .unwrap_or_default();
    for table in &report.tables {
        let _ = writeln!(
            out,
            "{:wide$}  {}",
            line(&table.name.to_string()),
            summary(table)
        );
        for note in &table.definitions {
            let mark = if note.is_difference {
                "differs"
            } else {
                "note"
            };
            let _ = writeln!(out, "  {mark}: {}", line(&note.text));
        }
        if let Some(hindrance) = &table.hindrance {
            let _ = writeln!(out, "  [{}] {}", hindrance.code, line(&hindrance.text));
        }
        rows_text(&mut out, table);
        if table.is_cut {
            let _ = writeln!(
                out,
                "  and perhaps more: comparing ended here; towpath resnapshot {} --table {} copies it anew",
                report.pipeline,
                line(&table.name.to_string())
            );
        }
        for key in table.in_motion.iter().take(ROWS_SHOWN_MAX) {
            let _ = writeln!(out, "  in motion: {}", line(key));
        }
    }
    out.push('\n');
    out.push_str(closing(report));
    out.push('\n');
    out
}

fn closing(report: &Report) -> &'static str {
    let all = || report.tables.iter().flat_map(|table| &table.differences);
    match report.verdict() {
        Verdict::Equal if all().next().is_some() => "repaired: what differed is as at the source",
        Verdict::Equal => "equal",
        Verdict::Different => "different",
        Verdict::Unknown => "not everything could be compared",
    }
}

fn summary(table: &TableReport) -> String {
    let mut parts = vec![match table.rows {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    }];
    let count = |kind: fn(&Kind) -> bool| {
        let rows = table.differences.iter();
        rows.filter(|row| kind(&row.kind)).count()
    };
    for (word, count) in [
        ("changed", count(|kind| matches!(kind, Kind::Changed(_)))),
        ("missing", count(|kind| *kind == Kind::Missing)),
        ("extra", count(|kind| *kind == Kind::Extra)),
        (
            "repaired",
            table.differences.iter().filter(|row| row.repaired).count(),
        ),
        ("in motion", table.in_motion.len()),
        ("unproven", table.unproven as usize),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    let word = match table.verdict() {
        Verdict::Equal => "equal",
        Verdict::Different => "DIFFERENT",
        Verdict::Unknown if table.rows == 0 && table.hindrance.is_some() => {
            return "not compared".to_owned();
        }
        Verdict::Unknown => "unknown",
    };
    format!("{word}: {}", parts.join(", "))
}

fn rows_text(out: &mut String, table: &TableReport) {
    if table.differences.is_empty() {
        return;
    }
    let key = |row: &Difference| line(&row.key.join(", "));
    let heading = line(&table.key_columns.join(", "));
    let shown = || table.differences.iter().take(ROWS_SHOWN_MAX);
    let wide = shown()
        .map(|row| key(row).chars().count())
        .chain([heading.chars().count()])
        .max()
        .unwrap_or_default();
    let _ = writeln!(out, "  {heading:wide$}  what");
    for row in shown() {
        let what = match &row.kind {
            Kind::Missing => "missing".to_owned(),
            Kind::Extra => "extra".to_owned(),
            Kind::Changed(columns) => format!("changed: {}", line(&columns.join(", "))),
        };
        let repaired = if row.repaired { ", repaired" } else { "" };
        let _ = writeln!(out, "  {:wide$}  {what}{repaired}", key(row));
    }
    let more = table.differences.len().saturating_sub(ROWS_SHOWN_MAX);
    if more > 0 {
        let _ = writeln!(out, "  and {more} more; --json lists them");
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Equal => "equal",
        Verdict::Different => "different",
        Verdict::Unknown => "unknown",
    }
}

fn json_of(report: &Report) -> Value {
    let tables: Vec<Value> = report.tables.iter().map(json_of_table).collect();
    json!({
        "pipeline": report.pipeline,
        "sink": report.sink,
        "verdict": word(report.verdict()),
        "tables": tables,
    })
}

fn json_of_table(table: &TableReport) -> Value {
    let definitions: Vec<Value> = table
        .definitions
        .iter()
        .map(|note| json!({ "text": note.text, "is_difference": note.is_difference }))
        .collect();
    let differences: Vec<Value> = table
        .differences
        .iter()
        .map(|row| {
            let (what, columns): (_, &[String]) = match &row.kind {
                Kind::Missing => ("missing", &[]),
                Kind::Extra => ("extra", &[]),
                Kind::Changed(columns) => ("changed", columns),
            };
            json!({ "key": row.key, "what": what, "columns": columns, "repaired": row.repaired })
        })
        .collect();
    json!({
        "table": table.name.to_string(),
        "verdict": word(table.verdict()),
        "key_columns": table.key_columns,
        "rows": table.rows,
        "definitions": definitions,
        "differences": differences,
        "has_more": table.is_cut,
        "in_motion": table.in_motion,
        "unproven": table.unproven,
        "hindrance": table.hindrance.as_ref().map(|hindrance| {
            json!({ "code": hindrance.code, "text": hindrance.text })
        }),
    })
}
