//! What differs on purpose: one table, and a test that each difference is still there, so that
//! the table doesn't rot.

use towpath_directory::tree::path;

use super::op::Op;
use super::side::Seen;

/// A difference from ZooKeeper 3.8.0, as Debian has it.
pub(super) struct Difference {
    pub(super) what: &'static str,
    pub(super) because: &'static str,
}

/// Paths in whatever asks about them.
pub(super) const PATHS: Difference = Difference {
    what: "a path that is none is refused (-8), by reads and deletes too, and before all else",
    because: "ZooKeeper looks for it and finds nothing (-101), or takes \"\" for the root; its \
              clients never send one, and what isn't checked would be kept with each watch",
};
/// Watches looked for.
pub(super) const CHECKS: Difference = Difference {
    what: "checkWatches is about the asking connection's own watches",
    because: "3.8 says yes if anyone watches the path (`WatchManager.containsWatcher`); 3.9 mended \
              that",
};
/// All of them; those that are named above can happen in a random sequence, the others are kept
/// out of it.
pub(super) const ALL: [Difference; 12] = [
    PATHS,
    CHECKS,
    Difference {
        what: "paths have 4096 bytes at most",
        because: "each is kept with its node, its parent and its watches",
    },
    Difference {
        what: "quotas are refused (-6)",
        because: "they aren't kept, and nobody shall believe to have set one",
    },
    Difference {
        what: "watches of several kinds on one path live side by side",
        because: "in 3.8 the last one decides about all, so that a one-shot watch ends a \
                  persistent one; 3.9 mended that (ZOOKEEPER-4466)",
    },
    Difference {
        what: "one kind of watch is removed and the others stay; 4 and 5 are kinds",
        because: "as from 3.9 on (ZOOKEEPER-4471, ZOOKEEPER-4472)",
    },
    Difference {
        what: "an unknown operation is answered (-6), and the connection goes on",
        because: "ZooKeeper ends it, with whatever else was asked over it",
    },
    Difference {
        what: "reconfig is answered -123, SASL and deleteContainer -6",
        because: "none is offered: members aren't changed over this protocol, there's no SASL, and \
                  containers are removed by the directory alone",
    },
    Difference {
        what: "credentials that are no UTF-8 are refused (-115)",
        because: "ZooKeeper replaces what it can't read, so that different passwords become equal",
    },
    Difference {
        what: "a check outside a multi is answered when it succeeds",
        because: "ZooKeeper fails on itself and serves nobody any more",
    },
    Difference {
        what: "TTL nodes are always on",
        because: "in ZooKeeper they're off by default, since they cost it bits of server ids",
    },
    Difference {
        what: "answers to credentials and refusals carry a zxid",
        because: "ZooKeeper's have 0 there; clients skip what isn't above the last",
    },
];

/// The known difference that explains two answers to `op`, if one does.
pub(super) fn known(op: &Op, ours: &Seen, theirs: &Seen) -> Option<&'static Difference> {
    let text = |seen: &Seen| seen.concat().join(" ");
    let (ours, theirs) = (text(ours), text(theirs));
    match op {
        Op::CheckWatches(..) if ours == "error -121" && theirs == "ok" => Some(&ALL[1]),
        op if has_bad_path(op)
            && ours.contains("-8")
            && (!op.is_write() || theirs.contains("error") || theirs.contains("[-1 false")) =>
        {
            Some(&ALL[0])
        }
        _ => None,
    }
}

fn has_bad_path(op: &Op) -> bool {
    let bad = |path: &str| path::validate(path, false).is_err();
    match op {
        Op::Create { path, flags, .. } => path::validate(path, matches!(flags, 2 | 3 | 6)).is_err(),
        Op::Delete(path, _)
        | Op::Set(path, ..)
        | Op::SetAcl(path, ..)
        | Op::Check(path, _)
        | Op::Get(path, _)
        | Op::Exists(path, _)
        | Op::GetAcl(path)
        | Op::Children(path, _)
        | Op::Children2(path, _)
        | Op::Sync(path)
        | Op::Descendants(path)
        | Op::AddWatch(path, _) => bad(path),
        Op::Multi(steps) | Op::MultiRead(steps) => steps.iter().any(has_bad_path),
        _ => false,
    }
}
