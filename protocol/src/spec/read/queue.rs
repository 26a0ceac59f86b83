//! `[queue]`: its kind, and what belongs to that kind alone.

use std::path::PathBuf;

use super::endpoint::beside;
use super::fields::*;
use crate::spec::document::{Field, Section};
use crate::spec::{LogSpec, QueueKind, QueueSpec, Secret};

const QUEUE_BYTES_DEFAULT: u64 = 64 << 20;

/// A segment is at most this part of what is kept, since retention drops whole ones.
const SEGMENTS_MIN: u64 = 8;

/// Keys of each kind of log, beside those that all have.
const RABBITMQ_ONLY: [&str; 4] = ["urls", "tls_ca", "retention_age", "segment_bytes"];
const DISK_ONLY: [&str; 1] = ["path"];
const LOG_ONLY: [&str; 3] = ["retention_bytes", "body_bytes", "compression"];

pub(super) const QUEUE: &[Field] = &[
    Field {
        name: "kind",
        next: "write kind = \"memory\", \"disk\" or \"rabbitmq\"",
    },
    Field {
        name: "bytes_max",
        next: "write bytes_max = \"64MiB\" (units KiB, MiB, GiB)",
    },
    Field {
        name: "urls",
        next: "write urls = [\"amqp://user:${PASSWORD}@host:5672\"]",
    },
    Field {
        name: "tls_ca",
        next: TLS_CA_NEXT,
    },
    Field {
        name: "path",
        next: "write path = \"/var/lib/towpath/queue\"",
    },
    Field {
        name: "retention_bytes",
        next: "write retention_bytes = \"10GiB\" (units KiB, MiB, GiB)",
    },
    Field {
        name: "retention_age",
        next: "write retention_age = \"24h\" (units ms, s, m, h)",
    },
    Field {
        name: "segment_bytes",
        next: "write segment_bytes = \"100MiB\" (units KiB, MiB, GiB)",
    },
    Field {
        name: "body_bytes",
        next: "write body_bytes = \"255KiB\" (units KiB, MiB, GiB)",
    },
    Field {
        name: "compression",
        next: "write compression = \"none\" or \"zstd\"",
    },
];

pub(super) fn queue(top: &Section<'_>) -> QueueSpec {
    let mut spec = QueueSpec {
        kind: QueueKind::Memory,
        bytes_max: QUEUE_BYTES_DEFAULT,
        log: LogSpec::default(),
    };
    let Some(table) = top.table("queue", QUEUE) else {
        return spec;
    };
    // Servers place the tasks, which follow from it.
    table.literal("kind");
    let kind = table.choice(
        "kind",
        &[
            ("memory", QueueKind::Memory),
            ("disk", QueueKind::Disk),
            ("rabbitmq", QueueKind::Rabbitmq),
        ],
    );
    spec.kind = kind.unwrap_or_default();
    if let Some(bytes) = table.quantity("bytes_max", &QUEUE_BYTES) {
        spec.bytes_max = bytes;
    }
    spec.log = log(&table);
    if kind.is_some() || !table.has("kind") {
        match spec.kind {
            QueueKind::Memory => {
                refuse(&table, &RABBITMQ_ONLY, "rabbitmq");
                refuse(&table, &DISK_ONLY, "disk");
                refuse(&table, &LOG_ONLY, "disk\" or \"rabbitmq");
            }
            QueueKind::Disk => {
                refuse(&table, &RABBITMQ_ONLY, "rabbitmq");
                table.require("path");
            }
            QueueKind::Rabbitmq => {
                refuse(&table, &DISK_ONLY, "disk");
                table.require("urls");
            }
        }
    }
    spec
}

/// Reports keys that another kind has.
fn refuse(table: &Section<'_>, keys: &[&str], kind: &str) {
    for key in keys.iter().filter(|key| table.has(key)) {
        let message = format!("only with kind = \"{kind}\"; remove it, or change the kind");
        table.document.report(&table.place_of(key), message);
    }
}

fn log(table: &Section<'_>) -> LogSpec {
    let default = LogSpec::default();
    // Known and empty only if nothing is written there.
    let read = table.parsed_array("urls", broker);
    let tls_ca = table
        .text("tls_ca")
        .map(|text| beside(table.document, &text.value));
    let urls = read.clone().unwrap_or_default();
    let is_encrypted = |url: &Secret| url.expose().starts_with("amqps://");
    if tls_ca.is_none()
        && !table.document.is_blind()
        && let Some(at) = urls.iter().position(is_encrypted)
    {
        let place = table.place_of("urls");
        let message = format!(
            "[{}] is encrypted, and nothing says whose certificate to trust; {TLS_CA_NEXT}",
            at + 1
        );
        table.document.report(&place, message);
    }
    if read.as_ref().is_some_and(Vec::is_empty) {
        let message = format!("no broker; {}", table.next("urls"));
        table.document.report(&table.place_of("urls"), message);
    }
    let path = table.parsed("path", |path: &str| {
        let path = PathBuf::from(path);
        match path.is_absolute() {
            true => Ok(path),
            false => Err(
                "the folder must be absolute: which Core reads this isn't known here; write \
                          path = \"/var/lib/towpath/queue\"",
            ),
        }
    });
    let retention_bytes = table
        .quantity("retention_bytes", &RETENTION_BYTES)
        .unwrap_or(default.retention_bytes);
    let compressed = table.choice("compression", &[("none", false), ("zstd", true)]);
    let segment_bytes = table.quantity("segment_bytes", &SEGMENT_BYTES);
    if let Some(segment) = segment_bytes
        && segment > retention_bytes
    {
        let message = "a segment is larger than retention_bytes, of which whole segments are \
                       dropped: lower it";
        table
            .document
            .report(&table.place_of("segment_bytes"), message);
    }
    LogSpec {
        urls,
        tls_ca,
        path,
        retention_bytes,
        retention_age_ms: table.quantity("retention_age", &RETENTION_AGE_MS),
        segment_bytes: segment_bytes.unwrap_or(
            default
                .segment_bytes
                .min(retention_bytes / SEGMENTS_MIN)
                .max(*SEGMENT_BYTES.bound.range.start()),
        ),
        body_bytes: table
            .quantity("body_bytes", &BODY_BYTES)
            .unwrap_or(default.body_bytes),
        compressed: compressed.unwrap_or(default.compressed),
    }
}

/// A broker's address, which may hold a password: never quoted.
fn broker(text: &str) -> Result<Secret, &'static str> {
    let rest = text
        .strip_prefix("amqp://")
        .or_else(|| text.strip_prefix("amqps://"));
    match rest.map(|rest| rest.rsplit_once('@').map_or(rest, |(_, host)| host)) {
        Some(host) if !host.is_empty() && !host.starts_with([':', '/']) => Ok(Secret::new(text)),
        _ => Err(
            "not the address of a broker; write \"amqp://user:${PASSWORD}@host:5672/vhost\" or \
             \"amqps://…\", with what is special in it percent-encoded",
        ),
    }
}
