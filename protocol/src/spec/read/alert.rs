//! `[alert]` and its hooks.

use std::collections::BTreeSet;

use super::endpoint::beside;
use super::fields::*;
use crate::spec::document::Section;
use crate::spec::hook::{
    AlertReading, AlertSpec, BodyPiece, BodyTemplate, CommandHook, Header, HookKind, HookProblem,
    HookSpec, RawPiece, Webhook, body_pieces,
};
use crate::spec::{HookName, Secret};
use crate::tree::record::Severity;

const COMMAND_MS_DEFAULT: u64 = 10_000;

/// The most arguments of a command, and the most headers of a request: far above any real one.
const LIST_MAX: usize = 64;

/// Everything of `[alert]`; hooks only `with_hooks`.
pub(super) fn alert(top: &Section<'_>, with_hooks: bool) -> AlertSpec {
    let Some(table) = top.table("alert", ALERT) else {
        return AlertSpec::default();
    };
    let mut spec = bounds(&table);
    if with_hooks {
        spec.hooks = hooks(&table);
    }
    spec
}

/// As much of `[alert]` as can be used.
pub(super) fn reading(top: &Section<'_>) -> AlertReading {
    let document = top.document;
    let mut reading = AlertReading::default();
    let Some(table) = top.table("alert", ALERT) else {
        let problems = document.take_since(0);
        if !problems.is_empty() {
            reading.problems.push(HookProblem::new(None, &problems));
        }
        return reading;
    };
    reading.spec = bounds(&table);
    let tables = table.tables("hook", HOOK).unwrap_or_default();
    let before = document.reported();
    let mut names = BTreeSet::new();
    for table in &tables {
        let spec = hook(table, &mut names);
        let problems = document.take_since(before);
        match spec {
            Some(spec) if problems.is_empty() => reading.spec.hooks.push(spec),
            _ => {
                let name = table.raw("name").and_then(|raw| raw.text.parse().ok());
                // Reported again by the look at the name.
                document.take_since(before);
                reading.problems.push(HookProblem::new(name, &problems));
            }
        }
    }
    let problems = document.take_since(0);
    if !problems.is_empty() {
        reading.problems.push(HookProblem::new(None, &problems));
    }
    reading
}

/// The hooks of a file that holds nothing else.
pub(super) fn hooks_only(top: &Section<'_>) -> Vec<HookSpec> {
    top.table("alert", ALERT_HOOKS)
        .map(|table| hooks(&table))
        .unwrap_or_default()
}

fn bounds(table: &Section<'_>) -> AlertSpec {
    let default = AlertSpec::default();
    AlertSpec {
        lag_max_ms: table
            .quantity("lag_max", &LAG_MS)
            .unwrap_or(default.lag_max_ms),
        stalled_after_ms: table
            .quantity("stalled_after", &STALLED_MS)
            .unwrap_or(default.stalled_after_ms),
        not_running_after_ms: table
            .quantity("not_running_after", &NOT_RUNNING_MS)
            .unwrap_or(default.not_running_after_ms),
        no_standby_after_ms: table
            .quantity("no_standby_after", &NO_STANDBY_MS)
            .unwrap_or(default.no_standby_after_ms),
        hooks: Vec::new(),
    }
}

fn hooks(alert: &Section<'_>) -> Vec<HookSpec> {
    let mut names = BTreeSet::new();
    let tables = alert.tables("hook", HOOK).unwrap_or_default();
    tables
        .iter()
        .filter_map(|table| hook(table, &mut names))
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Webhook,
    Command,
    Log,
}

const KINDS: [(&str, Kind); 3] = [
    ("webhook", Kind::Webhook),
    ("command", Kind::Command),
    ("log", Kind::Log),
];

/// The keys that a hook of one kind alone may have.
const OWN_KEYS: [(&str, Kind); 7] = [
    ("url", Kind::Webhook),
    ("secret", Kind::Webhook),
    ("headers", Kind::Webhook),
    ("body", Kind::Webhook),
    ("tls_ca", Kind::Webhook),
    ("command", Kind::Command),
    ("timeout", Kind::Command),
];

fn hook(table: &Section<'_>, names: &mut BTreeSet<HookName>) -> Option<HookSpec> {
    for required in ["name", "kind"] {
        table.require(required);
    }
    let name = table.parsed("name", str::parse::<HookName>);
    if let Some(name) = &name
        && !names.insert(name.clone())
    {
        let message = "another hook has this name; give each its own";
        table.document.report(&table.place_of("name"), message);
    }
    let severity_min = table.choice(
        "severity_min",
        &[("info", 0_u8), ("warning", 1), ("critical", 2)],
    );
    let severity_min = match severity_min {
        None | Some(0) => Severity::Info,
        Some(1) => Severity::Warning,
        Some(_) => Severity::Critical,
    };
    let kind = table.choice("kind", &KINDS);
    // A hook without a kind is told of what it has: a webhook's address, most likely.
    if kind.is_none() && !table.has("kind") && !table.has("command") {
        table.require("url");
    }
    if let Some(kind) = kind {
        for (key, _) in OWN_KEYS
            .iter()
            .filter(|(key, of)| *of != kind && table.has(key))
        {
            let word = KINDS.iter().find(|(_, word)| *word == kind);
            let message = format!(
                "a hook of kind \"{}\" has no {key}; remove it, or choose another kind",
                word.map_or("", |(word, _)| word)
            );
            table.document.report(&table.place_of(key), message);
        }
    }
    let kind = match kind {
        Some(Kind::Webhook) => HookKind::Webhook(webhook(table)?),
        Some(Kind::Command) => HookKind::Command(command(table)?),
        Some(Kind::Log) => HookKind::Log,
        None => {
            // For its problems.
            webhook_url(table);
            return None;
        }
    };
    Some(HookSpec {
        name: name?,
        severity_min,
        kind,
    })
}

fn webhook(table: &Section<'_>) -> Option<Webhook> {
    table.require("url");
    let url = webhook_url(table);
    let secret = table.text("secret").map(|text| {
        if text.value.is_empty() && !table.document.unknown(text.raw) {
            let message = "empty, so anybody could sign; give a secret, or remove the key";
            table.document.report(&text.place, message);
        }
        Secret::new(text.value)
    });
    let headers = if table.has("headers") {
        table.parsed_array("headers", str::parse::<Header>)?
    } else {
        Vec::new()
    };
    bounded(table, "headers", headers.len());
    let body = match table.raw("body") {
        Some(raw) => Some(body(table, raw.text)?),
        None => None,
    };
    let tls_ca = table
        .text("tls_ca")
        .map(|text| beside(table.document, &text.value));
    Some(Webhook {
        url: url?,
        secret,
        headers,
        body,
        tls_ca,
    })
}

fn webhook_url(table: &Section<'_>) -> Option<Secret> {
    let text = table.text("url")?;
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.value.strip_prefix(scheme));
    let problem = match rest {
        None => Some("neither http:// nor https://"),
        Some(rest) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            if authority.is_empty() {
                Some("it names no host")
            } else if authority.contains('@') {
                Some("a user and a password belong into headers (\"Authorization: …\")")
            } else if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
                Some("it holds a space or a character that isn't ASCII; escape it as %XX")
            } else {
                None
            }
        }
    };
    if let Some(problem) = problem
        && !table.document.unknown(text.raw)
    {
        let message = format!("{problem}; {}", table.next("url"));
        table.document.report(&text.place, message);
    }
    Some(Secret::new(text.value))
}

fn body(table: &Section<'_>, raw: &str) -> Option<BodyTemplate> {
    let document = table.document;
    let place = table.place_of("body");
    let raw = match body_pieces(raw) {
        Ok(raw) => raw,
        Err(error) => {
            document.report(&place, error.to_string());
            return None;
        }
    };
    let mut pieces = Vec::with_capacity(raw.len());
    for piece in raw {
        pieces.push(match piece {
            RawPiece::Field(field) => BodyPiece::Field(field),
            RawPiece::Text(text) => {
                let text = document.resolve(crate::spec::document::Raw {
                    place: place.clone(),
                    text,
                })?;
                BodyPiece::Text(Secret::new(text.value))
            }
        });
    }
    Some(BodyTemplate { pieces })
}

fn command(table: &Section<'_>) -> Option<CommandHook> {
    table.require("command");
    let argv = table.parsed_array("command", |word| {
        if word.contains('\0') {
            return Err("an argument can't hold a NUL");
        }
        Ok(Secret::new(word))
    });
    let timeout_ms = table
        .quantity("timeout", &COMMAND_MS)
        .unwrap_or(COMMAND_MS_DEFAULT);
    let argv = argv?;
    bounded(table, "command", argv.len());
    let nameless = argv
        .first()
        .is_none_or(|program| program.expose().is_empty());
    if nameless && !table.document.is_blind() {
        let message = format!("it names no program; {}", table.next("command"));
        table.document.report(&table.place_of("command"), message);
    }
    Some(CommandHook { argv, timeout_ms })
}

fn bounded(table: &Section<'_>, key: &str, count: usize) {
    if count > LIST_MAX {
        let message = format!("{count} of them; give at most {LIST_MAX}");
        table.document.report(&table.place_of(key), message);
    }
}
