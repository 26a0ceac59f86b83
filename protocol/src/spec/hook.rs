//! Whom to tell about trouble, and how.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{HookName, Secret, SpecProblem};
use crate::tree::record::Severity;

/// Whom to tell about trouble, and what counts as trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertSpec {
    /// The most that a sink may be behind its source, in milliseconds: 1 s to 24 h.
    pub lag_max_ms: u64,
    /// A place that hasn't moved for this long, while there is something to do, is stalled, in
    /// milliseconds: 5 s to 24 h.
    pub stalled_after_ms: u64,
    /// How long a task may be without a Core that runs it, in milliseconds: 1 s to 1 h.
    pub not_running_after_ms: u64,
    /// How long a task with several Cores may be without a standby, in milliseconds: 1 s to 1 h.
    pub no_standby_after_ms: u64,
    /// The hooks, in the order of the file; their names are unique.
    pub hooks: Vec<HookSpec>,
}

impl Default for AlertSpec {
    fn default() -> Self {
        Self {
            lag_max_ms: 30_000,
            stalled_after_ms: 60_000,
            not_running_after_ms: 10_000,
            no_standby_after_ms: 30_000,
            hooks: Vec::new(),
        }
    }
}

/// What a Monitor reads of a pipeline file: what can be used, and what can't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertReading {
    /// The bounds, and the hooks that can be used.
    pub spec: AlertSpec,
    /// The others.
    pub problems: Vec<HookProblem>,
}

/// A hook, or a key of `[alert]`, that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookProblem {
    /// Which hook, if its name is legible.
    pub hook: Option<HookName>,
    /// What is wrong with it, and what to do. Quotes no secret.
    pub text: String,
}

impl HookProblem {
    pub(super) fn new(hook: Option<HookName>, problems: &[SpecProblem]) -> Self {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Self {
            hook,
            text: lines.join("; "),
        }
    }
}

/// One way to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSpec {
    /// Its name.
    pub name: HookName,
    /// It's told only of what is at least as bad as this.
    pub severity_min: Severity,
    /// How it tells.
    pub kind: HookKind,
}

/// How a hook tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// An HTTP request.
    Webhook(Webhook),
    /// A program.
    Command(CommandHook),
    /// A line in the Monitor's log.
    Log,
}

impl HookKind {
    /// The word for it in a pipeline file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Command(_) => "command",
            Self::Log => "log",
        }
    }
}

/// An HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where it goes, http or https. Secret, since such addresses carry tokens.
    pub url: Secret,
    /// What it's signed with.
    pub secret: Option<Secret>,
    /// Further headers.
    pub headers: Vec<Header>,
    /// What it says; Towpath's own JSON if there is none.
    pub body: Option<BodyTemplate>,
    /// A PEM file with the certificate authorities to trust, instead of Mozilla's.
    pub tls_ca: Option<PathBuf>,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandHook {
    /// The program and its arguments, 1 to 64; no shell is between.
    pub argv: Vec<Secret>,
    /// It's killed after this, in milliseconds: 1 s to 60 s.
    pub timeout_ms: u64,
}

/// A header of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name, in lower case.
    pub name: String,
    /// Its value; printable.
    pub value: Secret,
}

/// A text that is no header. Never quotes the text: it may hold a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not of that form.
    #[error("no header; write \"Name: value\" with printable characters")]
    Form,
    /// Set by Towpath.
    #[error("this header is Towpath's own; choose another name")]
    Reserved,
}

/// Headers that a request has anyway.
const RESERVED: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "idempotency-key",
    "towpath-signature",
    "user-agent",
];

impl FromStr for Header {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once(':').ok_or(HeaderError::Form)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        // RFC 9110, 5.6.2: the characters of a token.
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let printable = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
        if name.is_empty() || !name.bytes().all(token) || !value.bytes().all(printable) {
            return Err(HeaderError::Form);
        }
        if RESERVED.contains(&&*name) {
            return Err(HeaderError::Reserved);
        }
        Ok(Self {
            name,
            value: Secret::new(value),
        })
    }
}

/// What a user's body may say of an alert: `{{text}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyField {
    /// The alert's id.
    Id,
    /// Its rule.
    Rule,
    /// Its severity.
    Severity,
    /// `firing` or `resolved`.
    State,
    /// What it's about.
    Subject,
    /// What it is, and what to do.
    Text,
    /// Since when, RFC 3339.
    Since,
    /// When it ended, RFC 3339; empty while it fires.
    Resolved,
    /// The directory's id.
    Cluster,
    /// The pipeline; empty if it's about none.
    Pipeline,
    /// The code of the error behind it, `TP1611`; empty if there is none.
    Code,
    /// The notification's id: the same again when it's sent again.
    Notification,
    /// A page about the rule.
    Link,
}

impl BodyField {
    /// The names that stand between `{{` and `}}`.
    pub const NAMES: [(&'static str, Self); 13] = [
        ("id", Self::Id),
        ("rule", Self::Rule),
        ("severity", Self::Severity),
        ("state", Self::State),
        ("subject", Self::Subject),
        ("text", Self::Text),
        ("since", Self::Since),
        ("resolved", Self::Resolved),
        ("cluster", Self::Cluster),
        ("pipeline", Self::Pipeline),
        ("code", Self::Code),
        ("notification", Self::Notification),
        ("link", Self::Link),
    ];
}

/// A body with places for what an alert says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyTemplate {
    pub(super) pieces: Vec<BodyPiece>,
}

/// A piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BodyPiece {
    /// As written; its variables are replaced.
    Text(Secret),
    /// Something of the alert.
    Field(BodyField),
}

impl BodyTemplate {
    /// The body of one notification. What stands in for a name is escaped as the inside of a JSON
    /// string, so that no text of an alert can end the string around it.
    pub fn render(&self, value: impl Fn(BodyField) -> String) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                BodyPiece::Text(text) => out.push_str(text.expose()),
                BodyPiece::Field(field) => out.push_str(&json_inside(&value(*field))),
            }
        }
        out
    }
}

/// A text as it stands between the quotes of a JSON string.
fn json_inside(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let inside = quoted.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    inside.unwrap_or_default().to_owned()
}

/// A body that can't be used. Never quotes it: it may hold a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("\"{{{{\" has no closing \"}}}}\"; write {{{{text}}}} for what an alert says")]
    Unclosed,
    #[error("{{{{{name}}}}} is nothing that an alert says; {}", BodyNames)]
    Unknown { name: String },
    #[error("between {{{{ and }}}} stands no name; {}", BodyNames)]
    NoName,
}

struct BodyNames;

impl fmt::Display for BodyNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = BodyField::NAMES.iter().map(|(name, _)| *name).collect();
        write!(f, "names are {}", names.join(", "))
    }
}

/// A piece of a body as it stands in the file.
pub(super) enum RawPiece<'a> {
    Text(&'a str),
    Field(BodyField),
}

/// Splits a body into text and names.
pub(super) fn body_pieces(raw: &str) -> Result<Vec<RawPiece<'_>>, BodyError> {
    let mut out = Vec::new();
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or(BodyError::Unclosed)?;
        let name = name.trim();
        let known = BodyField::NAMES.iter().find(|(known, _)| *known == name);
        let Some((_, field)) = known else {
            let plain = |char: char| char.is_ascii_alphanumeric() || char == '_';
            return Err(if !name.is_empty() && name.chars().all(plain) {
                let name = name.chars().take(32).collect();
                BodyError::Unknown { name }
            } else {
                BodyError::NoName
            });
        };
        out.push(RawPiece::Text(before));
        out.push(RawPiece::Field(*field));
        rest = after;
    }
    out.push(RawPiece::Text(rest));
    Ok(out)
}
