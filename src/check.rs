//! `towpath check`: every precondition of a pipeline, and what mends those that are not met.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use towpath_core::check::finding::{Finding, FindingState, Fix};
use towpath_core::check::{Group, Report, check as check_servers};
use towpath_protocol::spec::{PipelineSpec, SpecError};

use crate::cli;

/// Lines are broken here, but for statements, which are pasted.
const LINE_CHARS_MAX: usize = 100;

/// Where the text behind `ok`, `warn` and `FAIL` begins.
const TEXT_COLUMN: usize = 8;

/// Checks a pipeline and prints what was found.
///
/// # Errors
/// The pipeline file is wrong, or the output can't be written.
pub(crate) async fn check(arguments: cli::Check) -> anyhow::Result<ExitCode> {
    let spec = match PipelineSpec::load(&arguments.file) {
        Ok(spec) => spec,
        Err(error) if arguments.json => {
            print(&json_text(&wrong_file(error)))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    let mut report = check_servers(&spec).await;
    report.groups.insert(0, file_group(&spec));
    if arguments.json {
        print(&json_text(&report))?;
    } else {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        print(&people_text(&report, &arguments.file, colour))?;
    }
    Ok(if report.is_ready() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .context("cannot write the findings")
}

const FILE_GROUP: &str = "pipeline file";

fn file_group(spec: &PipelineSpec) -> Group {
    let found = format!("pipeline {}", spec.name);
    Group {
        name: FILE_GROUP.to_owned(),
        findings: vec![Finding::ok(
            "the file can be read, and each key is right",
            found,
        )],
    }
}

/// The problems of a pipeline file, for programs.
fn wrong_file(error: SpecError) -> Report {
    let code = error.code();
    let finding = |what: String, found: String| {
        Finding::new(
            what,
            FindingState::Failed,
            found,
            Fix::hand("correct the pipeline file"),
        )
        .code(code)
    };
    let mut findings: Vec<Finding> = error
        .problems()
        .iter()
        .map(|problem| {
            let what = format!(
                "{}:{}: {}",
                problem.path.display(),
                problem.line,
                problem.key
            );
            finding(
                what.trim_end_matches([':', ' ']).to_owned(),
                problem.message.clone(),
            )
        })
        .collect();
    if findings.is_empty() {
        findings.push(finding(
            "the file can be read".to_owned(),
            format!("{:#}", anyhow::Error::from(error)),
        ));
    }
    Report {
        groups: vec![Group {
            name: FILE_GROUP.to_owned(),
            findings,
        }],
    }
}

fn json_text(report: &Report) -> String {
    let findings: Vec<_> = report
        .groups
        .iter()
        .flat_map(|group| group.findings.iter().map(move |finding| (group, finding)))
        .map(|(group, finding)| {
            let state = match finding.state {
                FindingState::Ok => "ok",
                FindingState::Warning => "warning",
                FindingState::Failed => "failed",
            };
            json!({
                "group": group.name,
                "what": finding.what,
                "state": state,
                "found": finding.found,
                "fix": finding.fix.as_ref().map(Fix::to_string),
                "code": finding.code,
            })
        })
        .collect();
    format!(
        "{}\n",
        json!({ "ready": report.is_ready(), "findings": findings })
    )
}

fn people_text(report: &Report, file: &Path, colour: bool) -> String {
    let mut out = String::new();
    for group in &report.groups {
        let _ = writeln!(out, "{}", paint(&group.name, "1", colour));
        for finding in &group.findings {
            write_finding(&mut out, finding, colour);
        }
        out.push('\n');
    }
    let failed = report.count(FindingState::Failed);
    let warnings = match report.count(FindingState::Warning) {
        0 => String::new(),
        1 => "1 warning".to_owned(),
        count => format!("{count} warnings"),
    };
    let mut codes = report.groups.iter().flat_map(|group| &group.findings);
    if let Some(code) = codes.find_map(|finding| finding.code) {
        let _ = writeln!(
            out,
            "{}: each such code has a page of what to do",
            code.hint()
        );
    }
    let _ = match (failed, warnings.as_str()) {
        (0, "") => writeln!(out, "ready: towpath run {}", file.display()),
        (0, warnings) => writeln!(
            out,
            "ready, with {warnings}: towpath run {}",
            file.display()
        ),
        (failed, "") => writeln!(out, "{failed} to mend"),
        (failed, warnings) => writeln!(out, "{failed} to mend, {warnings}"),
    };
    out
}

fn write_finding(out: &mut String, finding: &Finding, colour: bool) {
    let (mark, code) = match finding.state {
        FindingState::Ok => ("ok", "32"),
        FindingState::Warning => ("warn", "33"),
        FindingState::Failed => ("FAIL", "1;31"),
    };
    let padding = " ".repeat(TEXT_COLUMN.saturating_sub(2 + mark.len()));
    let _ = write!(out, "  {}{padding}", paint(mark, code, colour));
    // What is as the precondition says needs no repetition.
    let text = if finding.state == FindingState::Ok
        && (finding.found == "yes"
            || finding.found == "granted"
            || repeats(&finding.what, &finding.found))
    {
        finding.what.clone()
    } else {
        format!("{}: {}", finding.what, finding.found)
    };
    let text = match finding.code {
        Some(code) => format!("{text} [{code}]"),
        None => text,
    };
    let _ = writeln!(out, "{}", wrap(&text, TEXT_COLUMN));
    if finding.state != FindingState::Ok && !finding.why.is_empty() {
        write_detail(out, "why", &wrap(finding.why, TEXT_COLUMN + 5));
    }
    match &finding.fix {
        Some(fix @ Fix::Sql(_)) => write_detail(out, "fix", &fix.to_string()),
        Some(Fix::Hand(advice)) => write_detail(out, "do", &wrap(advice, TEXT_COLUMN + 5)),
        None => {}
    }
}

fn write_detail(out: &mut String, label: &str, text: &str) {
    let _ = writeln!(out, "{:TEXT_COLUMN$}{:<5}{text}", "", format!("{label}:"));
}

/// Whether a precondition such as `… (binlog_format = ROW)` already says what was found.
fn repeats(what: &str, found: &str) -> bool {
    what.ends_with(&format!("= {found})")) || found == "not set" && what.ends_with(" is empty)")
}

fn paint(text: &str, code: &str, colour: bool) -> String {
    if colour {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Breaks a text between words; lines after the first begin at `column`, where the first one
/// already stands.
fn wrap(text: &str, column: usize) -> String {
    let mut out = String::new();
    let mut used = column;
    for word in text.split(' ') {
        let length = word.chars().count();
        if out.is_empty() {
            used += length;
        } else if used + 1 + length <= LINE_CHARS_MAX {
            out.push(' ');
            used += 1 + length;
        } else {
            let _ = write!(out, "\n{:column$}", "");
            used = column + length;
        }
        out.push_str(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let failed = Finding::new(
            "rows are logged whole (binlog_row_image = FULL)",
            FindingState::Failed,
            "MINIMAL",
            Fix::sql("SET PERSIST binlog_row_image = 'FULL'"),
        );
        let warning = Finding::new("x", FindingState::Warning, "y", Fix::hand("z"));
        let findings = vec![
            Finding::ok("changes are logged as rows (binlog_format = ROW)", "ROW"),
            Finding::ok("the source is MySQL 5.7 or later", "MySQL 9.7.4"),
            failed.why("each change is checked"),
            warning,
        ];
        Report {
            groups: vec![Group {
                name: "source db1:3306".to_owned(),
                findings,
            }],
        }
    }

    #[test]
    fn people_see_one_line_each_and_what_mends() {
        assert_eq!(
            people_text(&report(), Path::new("orders.toml"), false),
            "\
source db1:3306
  ok    changes are logged as rows (binlog_format = ROW)
  ok    the source is MySQL 5.7 or later: MySQL 9.7.4
  FAIL  rows are logged whole (binlog_row_image = FULL): MINIMAL
        why: each change is checked
        fix: SET PERSIST binlog_row_image = 'FULL';
  warn  x: y
        do:  z

1 to mend, 1 warning
"
        );
    }

    #[test]
    fn the_closing_line_says_what_to_run() {
        let mut report = report();
        report.groups[0].findings.truncate(2);
        let closing = |report: &Report| {
            let text = people_text(report, Path::new("orders.toml"), false);
            text.lines().last().unwrap().to_owned()
        };
        assert_eq!(closing(&report), "ready: towpath run orders.toml");
        report.groups[0]
            .findings
            .push(Finding::new("x", FindingState::Warning, "y", None));
        assert_eq!(
            closing(&report),
            "ready, with 1 warning: towpath run orders.toml"
        );
    }

    #[test]
    fn programs_see_one_object() {
        let text = json_text(&report());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["ready"], false);
        assert_eq!(
            value["findings"][2],
            json!({
                "group": "source db1:3306",
                "what": "rows are logged whole (binlog_row_image = FULL)",
                "state": "failed",
                "code": null,
                "found": "MINIMAL",
                "fix": "SET PERSIST binlog_row_image = 'FULL';",
            })
        );
        assert_eq!(value["findings"][0]["fix"], serde_json::Value::Null);
    }

    #[test]
    fn colour_marks_states_and_nothing_else() {
        let text = people_text(&report(), Path::new("f"), true);
        assert!(text.contains("  \x1b[1;31mFAIL\x1b[0m  rows"), "{text}");
    }

    #[test]
    fn long_texts_go_on_below_themselves() {
        let text = wrap("word ".repeat(30).trim_end(), 8);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines.len() > 1 && lines[1].starts_with("        word"),
            "{text}"
        );
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() <= LINE_CHARS_MAX),
            "{text}"
        );
    }
}
