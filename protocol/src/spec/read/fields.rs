//! The keys that each table of a pipeline file may have, how to write them, and their bounds.

use std::ops::RangeInclusive;

use crate::spec::document::{Bound, Field, Quantity};
use crate::spec::units;

/// A duration, milliseconds.
const fn duration(range: RangeInclusive<u64>, why: &'static str) -> Quantity {
    Quantity {
        name: "duration",
        parse: units::parse_duration,
        plain_numbers: false,
        bound: Bound {
            range,
            show: units::duration_text,
            why,
        },
    }
}

/// A size, bytes.
const fn size(range: RangeInclusive<u64>, why: &'static str) -> Quantity {
    Quantity {
        name: "size",
        parse: units::parse_size,
        plain_numbers: true,
        bound: Bound {
            range,
            show: units::size_text,
            why,
        },
    }
}

/// A plain number.
const fn number(range: RangeInclusive<u64>, why: &'static str) -> Bound {
    Bound {
        range,
        show: plain,
        why,
    }
}

pub(super) const HEARTBEAT_MS: Quantity = duration(
    100..=60_000,
    "below, an idle source is kept busy; above, a dead one is noticed too late",
);

pub(super) const SERVER_ID: Bound = number(
    1..=u32::MAX as u64,
    "a server id has 32 bits and 0 can't replicate",
);

pub(super) const QUEUE_BYTES: Quantity = size(
    (1 << 20)..=(16 << 30),
    "below, the queue is too small for a few events; above, it takes a machine's memory",
);

pub(super) const RETENTION_BYTES: Quantity = size(
    (1 << 20)..=(64 << 40),
    "below, a sink that rests for a moment is passed; above, it is no bound",
);

pub(super) const RETENTION_AGE_MS: Quantity = duration(
    10_000..=(366 * 86_400_000),
    "below, a sink that rests for a moment is passed; above, it is no bound",
);

pub(super) const SEGMENT_BYTES: Quantity = size(
    (128 << 10)..=(2 << 30),
    "below, the broker has more files than messages; above, it takes no such segments",
);

pub(super) const BODY_BYTES: Quantity = size(
    (64 << 10)..=(512 << 10),
    "below, messages cost more than bytes; above, one of them holds up the others",
);

pub(super) const BATCH_ROWS: Bound = number(
    1..=1_000_000,
    "above, the sink holds locks and undo for too long",
);

pub(super) const BATCH_BYTES: Quantity = size(
    (64 << 10)..=(256 << 20),
    "below, commits cost more than rows; above, the sink holds locks and undo for too long",
);

pub(super) const TABLES_AT_ONCE: Bound = number(
    1..=16,
    "each takes a connection to the source, and memory for two chunks",
);

pub(super) const CHUNK_MS: Quantity = duration(
    20..=10_000,
    "below, round trips cost more than rows; above, the stream waits too long",
);

pub(super) const COPY_LAG_MS: Quantity = duration(
    1000..=86_400_000,
    "below, the copy hardly moves; above, it is no bound",
);

pub(super) const REPLICAS: Bound = number(
    1..=5,
    "one has to run it; each standby keeps connections to source and sink open",
);

pub(super) const RESTARTS: Bound = number(
    0..=100,
    "each try is kept in the directory until it's out of the window",
);

pub(super) const RESTART_WINDOW_MS: Quantity = duration(
    10_000..=86_400_000,
    "below, the tries never count; above, a failure of yesterday does",
);

pub(super) const ROWS_PER_SECOND: Bound = number(
    1..=1_000_000_000,
    "below, nothing moves; above, it is no bound",
);

pub(super) const BYTES_PER_SECOND: Quantity = size(
    (64 << 10)..=(64 << 30),
    "below, the source gives up on a reader that is so slow; above, it is no bound",
);

fn plain(number: u64) -> String {
    number.to_string()
}

pub(super) const ROOT: &[Field] = &[
    Field {
        name: "name",
        next: "write name = \"orders\"",
    },
    Field {
        name: "source",
        next: "write a table [source] with url and tables",
    },
    Field {
        name: "queue",
        next: "write a table [queue]",
    },
    Field {
        name: "sink",
        next: "write a table [[sink]] with name and url",
    },
    Field {
        name: "snapshot",
        next: "write a table [snapshot]",
    },
    Field {
        name: "apply",
        next: "write a table [apply]",
    },
    Field {
        name: "ddl",
        next: "write a table [ddl]",
    },
    Field {
        name: "alert",
        next: "write a table [[alert.hook]]",
    },
    Field {
        name: "limits",
        next: "write a table [limits]",
    },
    Field {
        name: "placement",
        next: "write a table [placement]",
    },
    Field {
        name: "restart",
        next: "write a table [restart]",
    },
];

pub(super) const SNAPSHOT: &[Field] = &[
    Field {
        name: "tables_at_once",
        next: "write tables_at_once = 2",
    },
    Field {
        name: "chunk_time",
        next: "write chunk_time = \"250ms\" (units ms, s, m, h)",
    },
    Field {
        name: "rows_per_second_max",
        next: "write rows_per_second_max = 20000",
    },
    Field {
        name: "lag_max",
        next: "write lag_max = \"30s\" (units ms, s, m, h)",
    },
    Field {
        name: "allow_keyless",
        next: "write allow_keyless = [\"shop.log\"]",
    },
];

pub(super) const PLACEMENT: &[Field] = &[
    Field {
        name: "labels",
        next: "write labels = { zone = \"a\" }",
    },
    Field {
        name: "replicas",
        next: "write replicas = 2, or 1 for no standby",
    },
    Field {
        name: "fail_back",
        next: "write fail_back = true or fail_back = false",
    },
];

pub(super) const RESTART: &[Field] = &[
    Field {
        name: "max",
        next: "write max = 5",
    },
    Field {
        name: "window",
        next: "write window = \"10m\" (units ms, s, m, h)",
    },
];

pub(super) const URL_NEXT: &str = "write url = \"mysql://user:${PASSWORD}@host:3306\"";
pub(super) const PASSWORD_NEXT: &str =
    "write password = \"${PASSWORD}\" or password = \"file:/path\"";
pub(super) const TLS_NEXT: &str =
    "write tls = \"disabled\", \"preferred\", \"required\", \"verify-ca\" or \"verify-identity\"";
pub(super) const TLS_CA_NEXT: &str = "write tls_ca = \"ca.pem\"";

pub(super) const SOURCE: &[Field] = &[
    Field {
        name: "url",
        next: URL_NEXT,
    },
    Field {
        name: "password",
        next: PASSWORD_NEXT,
    },
    Field {
        name: "tls",
        next: TLS_NEXT,
    },
    Field {
        name: "tls_ca",
        next: TLS_CA_NEXT,
    },
    Field {
        name: "tables",
        next: "write tables = [\"shop.*\"], or [\"*.*\"] for all",
    },
    Field {
        name: "start",
        next: "write start = \"now\", \"earliest\", \"gtid:<set>\", \"<file>:<offset>\" or \
               \"<time with offset>\"",
    },
    Field {
        name: "snapshot",
        next: "write snapshot = \"initial\", \"never\" or \"only\"",
    },
    Field {
        name: "server_id",
        next: "write server_id = 4711, or leave it out",
    },
    Field {
        name: "heartbeat",
        next: "write heartbeat = \"1s\"",
    },
    Field {
        name: "datasource",
        next: "write datasource = \"primary\", or leave it out",
    },
];

pub(super) const SINK: &[Field] = &[
    Field {
        name: "name",
        next: "write name = \"replica\"",
    },
    Field {
        name: "url",
        next: URL_NEXT,
    },
    Field {
        name: "password",
        next: PASSWORD_NEXT,
    },
    Field {
        name: "tls",
        next: TLS_NEXT,
    },
    Field {
        name: "tls_ca",
        next: TLS_CA_NEXT,
    },
    Field {
        name: "delivery",
        next: "write delivery = \"exactly-once\"",
    },
    Field {
        name: "datasource",
        next: "write datasource = \"primary\", or leave it out",
    },
];

pub(super) const APPLY: &[Field] = &[
    Field {
        name: "batch_rows_max",
        next: "write batch_rows_max = 10000",
    },
    Field {
        name: "batch_bytes_max",
        next: "write batch_bytes_max = \"4MiB\" (units KiB, MiB, GiB)",
    },
];

pub(super) const DDL: &[Field] = &[
    Field {
        name: "default",
        next: "write default = \"apply\", \"ignore\" or \"stop\"",
    },
    Field {
        name: "table_create",
        next: "write table_create = \"apply\", \"ignore\" or \"stop\"",
    },
    Field {
        name: "table_alter",
        next: "write table_alter = \"apply\", \"ignore\" or \"stop\"",
    },
    Field {
        name: "table_drop",
        next: "write table_drop = \"apply\", \"ignore\" or \"stop\"",
    },
    Field {
        name: "table_rename",
        next: "write table_rename = \"apply\", \"ignore\" or \"stop\"",
    },
    Field {
        name: "truncate",
        next: "write truncate = \"apply\", \"ignore\" or \"stop\"",
    },
    Field {
        name: "index",
        next: "write index = \"apply\", \"ignore\" or \"stop\"",
    },
    Field {
        name: "partition",
        next: "write partition = \"apply\", \"ignore\" or \"stop\"",
    },
    Field {
        name: "database",
        next: "write database = \"apply\", \"ignore\" or \"stop\"",
    },
    Field {
        name: "view",
        next: "write view = \"apply\", \"ignore\" or \"stop\"",
    },
    Field {
        name: "program",
        next: "write program = \"ignore\" or program = \"stop\"",
    },
    Field {
        name: "other",
        next: "write other = \"stop\" or other = \"ignore\"",
    },
];

pub(super) const LIMITS: &[Field] = &[
    Field {
        name: "rows_per_second_max",
        next: "write rows_per_second_max = 50000",
    },
    Field {
        name: "bytes_per_second_max",
        next: "write bytes_per_second_max = \"32MiB\" (units KiB, MiB, GiB)",
    },
];

pub(super) const LAG_MS: Quantity = duration(
    1000..=86_400_000,
    "below, every large transaction is an alert; above, nobody is told",
);

pub(super) const STALLED_MS: Quantity = duration(
    5000..=86_400_000,
    "below, a large transaction looks stalled; above, nobody is told",
);

pub(super) const NOT_RUNNING_MS: Quantity = duration(
    1000..=3_600_000,
    "below, a failover is an alert; above, nobody is told",
);

pub(super) const NO_STANDBY_MS: Quantity = duration(
    1000..=3_600_000,
    "below, a restart of a Core is an alert; above, nobody is told",
);

pub(super) const COMMAND_MS: Quantity = duration(
    1000..=60_000,
    "below, a program can't reach anything; above, it holds up what comes after",
);

const HOOK_TABLES: Field = Field {
    name: "hook",
    next: "write a table [[alert.hook]]",
};

pub(super) const ALERT: &[Field] = &[
    HOOK_TABLES,
    Field {
        name: "lag_max",
        next: "write lag_max = \"30s\"",
    },
    Field {
        name: "stalled_after",
        next: "write stalled_after = \"60s\"",
    },
    Field {
        name: "not_running_after",
        next: "write not_running_after = \"10s\"",
    },
    Field {
        name: "no_standby_after",
        next: "write no_standby_after = \"30s\"",
    },
];

/// `[alert]` in a file of hooks: the bounds are each pipeline's own.
pub(super) const ALERT_HOOKS: &[Field] = &[HOOK_TABLES];

/// A file of hooks.
pub(super) const HOOKS_ROOT: &[Field] = &[Field {
    name: "alert",
    next: "write a table [[alert.hook]]",
}];

pub(super) const HOOK: &[Field] = &[
    Field {
        name: "name",
        next: "write name = \"oncall\"",
    },
    Field {
        name: "kind",
        next: "write kind = \"webhook\"",
    },
    Field {
        name: "severity_min",
        next: "write severity_min = \"info\", \"warning\" or \"critical\"",
    },
    Field {
        name: "url",
        next: "write url = \"http://127.0.0.1:9000/alerts\"",
    },
    Field {
        name: "secret",
        next: "write secret = \"${HOOK_SECRET}\"",
    },
    Field {
        name: "headers",
        next: "write headers = [\"Authorization: Bearer ${TOKEN}\"]",
    },
    Field {
        name: "body",
        next: "write body = '''{\"text\": \"{{text}}\"}'''",
    },
    Field {
        name: "tls_ca",
        next: TLS_CA_NEXT,
    },
    Field {
        name: "command",
        next: "write command = [\"/usr/local/bin/notify\", \"--urgent\"]",
    },
    Field {
        name: "timeout",
        next: "write timeout = \"10s\"",
    },
];
