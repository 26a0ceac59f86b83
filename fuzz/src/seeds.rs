//! Where the fuzzer begins: each operation of the protocol, as clients send it.

use bytes::BytesMut;
use towpath_directory::state::{Command, Kind, Origin, State, snapshot};
use towpath_directory::tree::acl::{Id, OPEN};
use towpath_directory::wire::jute::JuteWrite as _;
use towpath_directory::wire::request::{opcode::*, put_acls};

use crate::entry::SESSION;
use crate::request::framed;

type Body = (i32, BytesMut);

/// Seeds of the target `request`.
pub fn requests() -> Vec<Vec<u8>> {
    let all = every();
    let mut seeds: Vec<Vec<u8>> = all
        .iter()
        .map(|body| chunks(1, std::slice::from_ref(body)))
        .collect();
    seeds.push(chunks(1, &all));
    seeds.push(chunks(5, &all));
    // Two connections: the one watches what the other does.
    let twice: Vec<Body> = watches()
        .into_iter()
        .chain(changes())
        .chain(watches())
        .chain(changes())
        .collect();
    seeds.push(chunks(3, &twice));
    let mut plain = vec![0];
    plain.extend(framed(&chunks(1, &all)[1..]));
    seeds.push(plain);
    for word in ["ruok", "srvr", "mntr", "envi", "isro", "conf", "dump"] {
        seeds.push([&[0], word.as_bytes()].concat());
    }
    seeds
}

/// Seeds of the target `entry`.
pub fn entries() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut all = Vec::new();
    let mut add = |kind: Kind<'_>| {
        let command = Command {
            time_ms: 1_700_000_000_000,
            origin: Origin {
                life: 1,
                request: 1,
            },
            kind,
        };
        let seed = with_len(&command.encode());
        all.extend_from_slice(&seed);
        seeds.push(seed);
    };
    add(Kind::Open {
        session: SESSION + 1,
        timeout_ms: 1500,
        password: [1; 16],
    });
    for (opcode, body) in changes() {
        let ids = vec![Id::new("ip", "127.0.0.1"), Id::new("digest", "user:x")];
        add(Kind::Write {
            session: SESSION,
            ids: ids.into(),
            opcode,
            body: &body,
        });
    }
    add(Kind::Reap { path: "/box" });
    add(Kind::Reap { path: "/ttl" });
    add(Kind::Close {
        session: SESSION + 1,
    });
    seeds.push(all);
    seeds
}

/// Seeds of the target `snapshot`.
pub fn snapshots() -> Vec<Vec<u8>> {
    let mut state = State::default();
    let mut files = vec![image(&state)];
    for kind in [Kind::Open {
        session: SESSION,
        timeout_ms: 1500,
        password: [1; 16],
    }]
    .into_iter()
    .chain(changes().iter().map(|(opcode, body)| Kind::Write {
        session: SESSION,
        ids: vec![].into(),
        opcode: *opcode,
        body,
    })) {
        let command = Command {
            time_ms: 1,
            origin: Origin {
                life: 0,
                request: 0,
            },
            kind,
        };
        let _ = state.apply(&command, &mut Vec::new());
    }
    files.push(image(&state));
    let mut seeds = Vec::new();
    for file in files {
        seeds.push([&[0], &file[..]].concat());
        seeds.push([&[1], &blocks(&file)[..]].concat());
    }
    seeds
}

fn image(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    snapshot::write(state, b"log", &mut out).expect("memory takes it");
    out
}

/// A file without lengths and checksums, as the target takes it.
fn blocks(file: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = &file[8..];
    while !rest.is_empty() {
        let len = u32::from_be_bytes(rest[..4].try_into().expect("four bytes")) as usize;
        out.push(rest[8]);
        out.extend(with_len(&rest[9..8 + len]));
        rest = &rest[8 + len..];
    }
    out
}

fn chunks(mode: u8, bodies: &[Body]) -> Vec<u8> {
    let mut out = vec![mode];
    for (at, (opcode, body)) in bodies.iter().enumerate() {
        let mut frame = BytesMut::new();
        frame.int(at as i32 + 1);
        frame.int(*opcode);
        frame.extend_from_slice(body);
        out.extend(with_len(&frame));
    }
    out
}

fn with_len(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("seeds are small");
    [&len.to_be_bytes(), bytes].concat()
}

fn body(opcode: i32, put: impl FnOnce(&mut BytesMut)) -> Body {
    let mut out = BytesMut::new();
    put(&mut out);
    (opcode, out)
}

fn create(opcode: i32, path: &str, flags: i32) -> Body {
    body(opcode, |out| {
        out.ustring(path);
        out.buffer(Some(b"data"));
        put_acls(out, &OPEN);
        out.int(flags);
        if opcode == CREATE_TTL {
            out.long(1000);
        }
    })
}

fn versioned(opcode: i32, path: &str) -> Body {
    body(opcode, |out| {
        out.ustring(path);
        if opcode == SET_DATA {
            out.buffer(Some(b"other"));
        }
        if opcode == SET_ACL {
            put_acls(out, &OPEN);
        }
        out.int(-1);
    })
}

fn flagged(opcode: i32, path: &str) -> Body {
    body(opcode, |out| {
        out.ustring(path);
        out.boolean(true);
    })
}

fn named(opcode: i32, path: &str) -> Body {
    body(opcode, |out| out.ustring(path))
}

fn numbered(opcode: i32, path: &str, number: i32) -> Body {
    body(opcode, |out| {
        out.ustring(path);
        out.int(number);
    })
}

fn multi(opcode: i32, steps: &[Body]) -> Body {
    body(opcode, |out| {
        for (opcode, step) in steps {
            out.int(*opcode);
            out.boolean(false);
            out.int(-1);
            out.extend_from_slice(step);
        }
        out.int(-1);
        out.boolean(true);
        out.int(-1);
    })
}

fn set_watches(opcode: i32) -> Body {
    body(opcode, |out| {
        out.long(1);
        for _ in 0..if opcode == SET_WATCHES { 3 } else { 5 } {
            out.count(2);
            out.ustring("/a");
            out.ustring("/none");
        }
    })
}

fn changes() -> Vec<Body> {
    vec![
        create(CREATE, "/a", 0),
        create(CREATE, "/a/b", 0),
        create(CREATE2, "/e", 1),
        create(CREATE2, "/a/s-", 2),
        create(CREATE, "/a/es-", 3),
        create(CREATE_CONTAINER, "/box", 4),
        create(CREATE, "/box/c", 0),
        create(CREATE_TTL, "/ttl", 5),
        create(CREATE_TTL, "/ttl-", 6),
        versioned(SET_DATA, "/a"),
        versioned(SET_ACL, "/a"),
        versioned(CHECK, "/a"),
        multi(
            MULTI,
            &[
                create(CREATE, "/m", 0),
                versioned(SET_DATA, "/m"),
                versioned(CHECK, "/m"),
                versioned(DELETE, "/a/b"),
                create(CREATE2, "/m/n", 0),
            ],
        ),
        multi(
            MULTI,
            &[
                versioned(DELETE, "/m/n"),
                versioned(CHECK, "/none"),
                create(CREATE, "/x", 0),
            ],
        ),
        versioned(DELETE, "/box/c"),
    ]
}

fn watches() -> Vec<Body> {
    vec![
        flagged(EXISTS, "/a"),
        flagged(GET_DATA, "/"),
        flagged(GET_CHILDREN2, "/"),
        numbered(ADD_WATCH, "/a", 0),
        numbered(ADD_WATCH, "/", 1),
    ]
}

/// Every operation that there is, and some that there aren't.
fn every() -> Vec<Body> {
    let mut all = watches();
    all.extend(changes());
    all.extend([
        flagged(EXISTS, "/none"),
        flagged(GET_DATA, "/a"),
        named(GET_ACL, "/a"),
        flagged(GET_CHILDREN, "/a"),
        flagged(GET_CHILDREN2, "/a"),
        named(SYNC, "/"),
        body(PING, |_| {}),
        body(RECONFIG, |_| {}),
        numbered(CHECK_WATCHES, "/a", 3),
        numbered(REMOVE_WATCHES, "/a", 2),
        numbered(20, "/a", -1),
        multi(
            MULTI_READ,
            &[
                flagged(GET_DATA, "/a"),
                flagged(GET_CHILDREN, "/a"),
                flagged(GET_DATA, "/none"),
            ],
        ),
        body(102, |out| out.buffer(Some(b"token"))),
        set_watches(SET_WATCHES),
        set_watches(SET_WATCHES2),
        named(GET_EPHEMERALS, "/"),
        named(GET_ALL_CHILDREN_NUMBER, "/"),
        body(WHO_AM_I, |_| {}),
        body(AUTH, |out| {
            out.int(0);
            out.ustring("digest");
            out.buffer(Some(b"user:secret"));
        }),
        create(CREATE, "/own", 0),
        body(CLOSE_SESSION, |_| {}),
    ]);
    all
}
