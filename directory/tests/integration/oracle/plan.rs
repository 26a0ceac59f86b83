//! Random operations on a small tree, so that they meet. A seed gives always the same.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use towpath_directory::tree::acl::digest;
use towpath_directory::wire::request::opcode;

use super::op::{Acl, Mark, Op};
use super::side::SESSIONS;

/// Nodes that come and go. Those with digits are what sequential creates of `s-` make first.
const PATHS: [&str; 18] = [
    "/a",
    "/b",
    "/c",
    "/a/x",
    "/a/y",
    "/a/x/1",
    "/a/x/2",
    "/b/x",
    "/b/x/1",
    "/c/x",
    "/ab",
    "/a/ü日",
    "/a/s-0000000001",
    "/b/s-0000000000",
    "/b/s-0000000002",
    "/c/0000000000",
    "/a/x/1/deep",
    "/b/s-0000000000/x",
];
/// Always there; what may be asked of them without ending the sequence.
const FIXED: [&str; 4] = ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"];
/// Paths that are none.
const BAD_PATHS: [&str; 16] = [
    "",
    "a",
    "a/b",
    "/a/",
    "//",
    "//a",
    "/a//x",
    "/.",
    "/a/.",
    "/a/../b",
    "/a\u{0}",
    "/a/\u{1f}",
    "/\u{9f}",
    "/\u{e000}",
    "/a/\u{fff0}",
    "/\u{1f600}",
];

/// Kinds of watch that one connection keeps on one path: never mixed here, see
/// [`differences`](super::differences).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Once,
    Persistent,
    Recursive,
}

pub(super) struct Plan {
    rng: StdRng,
    step: Mark,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            step: 0,
        }
    }

    /// The next session and what it asks.
    pub(super) fn next(&mut self) -> (usize, Op) {
        self.step += 1;
        let session = self.below(SESSIONS);
        // Someone may do all, lest access lists lock everything up.
        if self.step <= 4 {
            return (0, Op::Auth("digest", b"super:test".to_vec()));
        }
        (session, self.op(session))
    }

    fn op(&mut self, session: usize) -> Op {
        match self.below(1000) {
            0..250 => self.create(),
            250..320 => self.delete(),
            320..450 => self.set(),
            450..490 => Op::SetAcl(self.changed(), self.acl(), self.version()),
            // One that succeeds stops ZooKeeper.
            490..500 => Op::Check(self.path(), 4711),
            500..580 => self.multi(),
            580..620 => {
                let (path, watch) = self.watched(session);
                Op::Get(path, watch)
            }
            620..690 => {
                let (path, watch) = self.watched(session);
                Op::Exists(path, watch)
            }
            690..730 => {
                let (path, watch) = self.watched(session);
                Op::Children(path, watch)
            }
            730..770 => {
                let (path, watch) = self.watched(session);
                Op::Children2(path, watch)
            }
            770..800 => Op::GetAcl(self.path()),
            800..820 => self.multi_read(),
            820..830 => Op::Sync(self.path()),
            830..840 => {
                let prefix = ["", "/", "/a", "/b/x", " ", " /", "x"];
                Op::Ephemerals(prefix[self.below(prefix.len())].into())
            }
            840..850 => Op::Descendants(self.path()),
            850..860 => Op::WhoAmI,
            860..880 => {
                let (path, kind) = self.removed(session);
                Op::RemoveWatches(path, kind)
            }
            880..895 => {
                let (path, kind) = self.removed(session);
                Op::CheckWatches(path, kind)
            }
            895..925 => self.add_watch(session),
            925..940 => self.set_watches(session),
            940..970 => self.auth(),
            970..976 => Op::Close,
            976..985 => Op::Reconnect,
            985..987 => Op::Forget,
            987..993 => {
                let codes = [
                    opcode::CREATE,
                    opcode::CREATE2,
                    opcode::DELETE,
                    opcode::SET_DATA,
                    opcode::GET_DATA,
                    opcode::EXISTS,
                    opcode::SET_ACL,
                    opcode::GET_CHILDREN,
                    opcode::GET_CHILDREN2,
                    opcode::ADD_WATCH,
                    opcode::REMOVE_WATCHES,
                ];
                Op::Cut(codes[self.below(codes.len())], self.path())
            }
            _ => Op::Bare([4711, -7, 0, opcode::CREATE, opcode::SYNC][self.below(5)]),
        }
    }

    fn create(&mut self) -> Op {
        let opcode = match self.below(20) {
            0..8 => opcode::CREATE,
            8..15 => opcode::CREATE2,
            15..17 => opcode::CREATE_CONTAINER,
            _ => opcode::CREATE_TTL,
        };
        let flags = match (opcode, self.below(20)) {
            (_, 0) => [-1, 4, 5, 6, 7, 99][self.below(6)],
            (opcode::CREATE_CONTAINER, 1..17) => 4,
            (opcode::CREATE_TTL, 1..17) => [5, 6][self.below(2)],
            _ => [0, 0, 1, 1, 2, 3][self.below(6)],
        };
        let sequential = matches!(flags, 2 | 3 | 6);
        let path = if sequential {
            let prefix = [
                "/a/s-", "/b/s-", "/c/", "/s-", "/a/x/s-", "/a/.", "/c/x/..", "/",
            ];
            prefix[self.below(prefix.len())].to_owned()
        } else {
            self.changed()
        };
        let ttl_ms = match self.below(8) {
            // One below 0 with flags that mean no TTL ends ZooKeeper itself.
            0 => [0, 1 << 20, 0x00ff_ffff_ffff, 0x0100_0000_0000][self.below(4)],
            _ => 3_600_000,
        };
        Op::Create {
            opcode,
            path,
            data: self.data(),
            acl: self.acl(),
            flags,
            ttl_ms,
        }
    }

    fn delete(&mut self) -> Op {
        // The fixed ones, too: all refuse.
        let path = if self.below(20) == 0 {
            FIXED[self.below(FIXED.len())].into()
        } else {
            self.changed()
        };
        Op::Delete(path, self.version())
    }

    fn set(&mut self) -> Op {
        let path = if self.below(20) == 0 {
            "/".into()
        } else {
            self.changed()
        };
        Op::Set(path, self.data(), self.version())
    }

    /// Flags of a TTL node without a TTL make ZooKeeper fail on itself.
    fn create_in_multi(&mut self) -> Op {
        loop {
            match self.create() {
                Op::Create {
                    opcode,
                    flags: 5 | 6,
                    ..
                } if opcode != opcode::CREATE_TTL => {}
                op => return op,
            }
        }
    }

    fn multi(&mut self) -> Op {
        let len = self.below(5);
        let steps = (0..len).map(|_| match self.below(60) {
            0 => Op::SetAcl(self.path(), self.acl(), -1),
            1 => Op::Get(self.path(), false),
            2 => Op::Multi(vec![]),
            _ => match self.below(10) {
                0..4 => self.create_in_multi(),
                4..6 => self.delete(),
                6..8 => self.set(),
                _ => Op::Check(self.path(), self.version()),
            },
        });
        Op::Multi(steps.collect())
    }

    fn multi_read(&mut self) -> Op {
        let len = self.below(4);
        let reads = (0..len).map(|_| match self.below(30) {
            0 => Op::Exists(self.path(), false),
            1..15 => Op::Get(self.path(), false),
            _ => Op::Children(self.path(), false),
        });
        Op::MultiRead(reads.collect())
    }

    fn add_watch(&mut self, session: usize) -> Op {
        let path = self.path();
        if self.below(20) == 0 {
            return Op::AddWatch(path, [-1, 2][self.below(2)]);
        }
        match kind(session, &path) {
            Kind::Once => Op::Exists(path, true),
            Kind::Persistent => Op::AddWatch(path, 0),
            Kind::Recursive => Op::AddWatch(path, 1),
        }
    }

    fn set_watches(&mut self, session: usize) -> Op {
        let mark = self.step.saturating_sub(self.below(60)).max(1);
        let mut lists: [Vec<String>; 5] = Default::default();
        for _ in 0..self.below(6) {
            let path = self.good();
            let list = match kind(session, &path) {
                Kind::Once => self.below(3),
                Kind::Persistent => 3,
                Kind::Recursive => 4,
            };
            // Once in one list only, since that's how a client has it.
            if !lists.iter().flatten().any(|other| *other == path) {
                lists[list].push(path);
            }
        }
        if self.below(2) == 0 {
            let [data, exist, child, ..] = lists;
            Op::SetWatches(mark, data, exist, child)
        } else {
            Op::SetWatches2(mark, lists)
        }
    }

    fn auth(&mut self) -> Op {
        let digests: [&[u8]; 7] = [
            b"super:test",
            b"u1:p1",
            b"u2:p2",
            b"u1:wrong",
            b"nocolon",
            b"a:b:c",
            b"",
        ];
        match self.below(20) {
            0 => Op::Auth(
                ["sasl", "world", "nonsense", ""][self.below(4)],
                b"x".to_vec(),
            ),
            1 => Op::Auth("ip", b"10.0.0.1".to_vec()),
            2..10 => Op::Auth("digest", b"super:test".to_vec()),
            _ => Op::Auth("digest", digests[self.below(digests.len())].to_vec()),
        }
    }

    fn acl(&mut self) -> Vec<Acl> {
        let anyone = |perms| (perms, "world", "anyone".to_owned());
        match self.below(120) {
            0 => vec![],
            1 => vec![(31, "world", "someone".into())],
            2 => vec![(31, "nonsense", "x".into())],
            3 => vec![(31, "digest", "nocolon".into())],
            4 => vec![(31, "ip", "10.0.0.0/33".into())],
            5 => vec![(31, "ip", "nowhere".into())],
            6 => vec![(31, "digest", "a:b:c".into())],
            7 => vec![anyone(31), anyone(31), anyone(1)],
            8 => vec![(31, "super", "".into())],
            9 => vec![anyone(0)],
            10 => vec![anyone(63)],
            11 => vec![anyone(-1)],
            12 => vec![(31, "", "".into())],
            13 => vec![(31, "sasl", "x".into())],
            14..16 => vec![(31, "auth", "".into())],
            16 => vec![(31, "auth", "ignored".into()), anyone(1)],
            17..19 => vec![(31, "digest", digest("u1:p1"))],
            19..21 => vec![(3, "digest", digest("u2:p2")), anyone(1)],
            21 => vec![(31, "ip", "127.0.0.1".into())],
            22 => vec![(31, "ip", "127.0.0.0/8".into()), anyone(1)],
            23 => vec![(31, "ip", "10.0.0.0/8".into())],
            24 => vec![(31, "ip", "127.0.0.1/0".into())],
            25 => vec![(16, "digest", digest("u1:p1")), anyone(4)],
            26 => vec![anyone(1)],
            27 => vec![anyone(30)],
            28 => vec![(31, "ip", "127.0.0.1/".into())],
            29 => vec![(31, "ip", "127.1".into())],
            _ => vec![anyone(31)],
        }
    }

    fn data(&mut self) -> Option<Vec<u8>> {
        match self.below(10) {
            0 => None,
            1 => Some(vec![]),
            2 => Some(vec![0xff; self.below(300)]),
            _ => Some(format!("data of step {}", self.step).into_bytes()),
        }
    }

    fn version(&mut self) -> i32 {
        match self.below(20) {
            0..12 => -1,
            12..19 => [0, 0, 1, 2][self.below(4)],
            _ => [-2, i32::MAX, i32::MIN, 7][self.below(4)],
        }
    }

    /// A path for a change: `/` and what belongs to the protocol are spared.
    fn changed(&mut self) -> String {
        match self.below(40) {
            0 => BAD_PATHS[self.below(BAD_PATHS.len())].into(),
            _ => self.node(),
        }
    }

    /// One of [`PATHS`], the first ones more often, since the others need them.
    fn node(&mut self) -> String {
        let at = self.below(PATHS.len()).min(self.below(PATHS.len()));
        PATHS[at].into()
    }

    fn good(&mut self) -> String {
        match self.below(15) {
            0 => FIXED[self.below(FIXED.len())].into(),
            _ => self.node(),
        }
    }

    /// Any path.
    fn path(&mut self) -> String {
        match self.below(40) {
            0 => BAD_PATHS[self.below(BAD_PATHS.len())].into(),
            _ => self.good(),
        }
    }

    /// A path, and whether to watch it once.
    fn watched(&mut self, session: usize) -> (String, bool) {
        let path = self.path();
        let watch = kind(session, &path) == Kind::Once && self.below(2) == 0;
        (path, watch)
    }

    /// A path and a kind of watch of those that mean the same to both servers.
    fn removed(&mut self, session: usize) -> (String, i32) {
        let path = self.good();
        let kind = match kind(session, &path) {
            Kind::Once => [1, 2, 3, 0, 6][self.below(5)],
            _ => [3, 3, -1][self.below(3)],
        };
        (path, kind)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound)
    }
}

fn kind(session: usize, path: &str) -> Kind {
    let sum: usize = path.bytes().map(usize::from).sum();
    match (session + sum) % 4 {
        0 => Kind::Persistent,
        1 => Kind::Recursive,
        _ => Kind::Once,
    }
}
