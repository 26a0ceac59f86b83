//! The keys that each table of a pipeline file may have, how to write them, and their bounds.

use crate::spec::document::{Bound, Field, Quantity};
use crate::spec::units;

pub(super) const HEARTBEAT_MS: Quantity = Quantity {
    name: "duration",
    parse: units::parse_duration,
    plain_numbers: false,
    bound: Bound {
        range: 100..=60_000,
        show: units::duration_text,
        why: "below, an idle source is kept busy; above, a dead one is noticed too late",
    },
};

pub(super) const SERVER_ID: Bound = Bound {
    range: 1..=u32::MAX as u64,
    show: plain,
    why: "a server id has 32 bits and 0 can't replicate",
};

pub(super) const QUEUE_BYTES: Quantity = Quantity {
    name: "size",
    parse: units::parse_size,
    plain_numbers: true,
    bound: Bound {
        range: (1 << 20)..=(16 << 30),
        show: units::size_text,
        why: "below, the queue is too small for a few events; above, it takes a machine's memory",
    },
};

pub(super) const BATCH_ROWS: Bound = Bound {
    range: 1..=1_000_000,
    show: plain,
    why: "above, the sink holds locks and undo for too long",
};

pub(super) const BATCH_BYTES: Quantity = Quantity {
    name: "size",
    parse: units::parse_size,
    plain_numbers: true,
    bound: Bound {
        range: (64 << 10)..=(256 << 20),
        show: units::size_text,
        why: "below, commits cost more than rows; above, the sink holds locks and undo for too \
              long",
    },
};

pub(super) const REPLICAS: Bound = Bound {
    range: 1..=5,
    show: plain,
    why: "one has to run it; each standby keeps connections to source and sink open",
};

pub(super) const RESTARTS: Bound = Bound {
    range: 0..=100,
    show: plain,
    why: "each try is kept in the directory until it's out of the window",
};

pub(super) const RESTART_WINDOW_MS: Quantity = Quantity {
    name: "duration",
    parse: units::parse_duration,
    plain_numbers: false,
    bound: Bound {
        range: 10_000..=86_400_000,
        show: units::duration_text,
        why: "below, the tries never count; above, a failure of yesterday does",
    },
};

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
        name: "apply",
        next: "write a table [apply]",
    },
    Field {
        name: "alert",
        next: "write a table [[alert.hook]]",
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
        next: "write snapshot = \"never\"",
    },
    Field {
        name: "server_id",
        next: "write server_id = 4711, or leave it out",
    },
    Field {
        name: "heartbeat",
        next: "write heartbeat = \"1s\"",
    },
];

pub(super) const QUEUE: &[Field] = &[
    Field {
        name: "kind",
        next: "write kind = \"memory\"",
    },
    Field {
        name: "bytes_max",
        next: "write bytes_max = \"64MiB\" (units KiB, MiB, GiB)",
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

pub(super) const ALERT: &[Field] = &[Field {
    name: "hook",
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
        name: "url",
        next: "write url = \"http://127.0.0.1:9000/alerts\"",
    },
];
