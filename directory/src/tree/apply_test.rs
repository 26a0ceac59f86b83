use super::super::acl::Acl;
use super::*;

struct World {
    tree: Tree,
    zxid: i64,
    changes: Vec<Change>,
}

fn world() -> World {
    World {
        tree: Tree::default(),
        zxid: 0,
        changes: Vec::new(),
    }
}

const KINDS: [CreateKind; 4] = [
    CreateKind::Persistent,
    CreateKind::Ephemeral,
    CreateKind::Container,
    CreateKind::Ttl(100),
];

impl World {
    fn run_as(&mut self, session: i64, ids: &[Id], op: Op) -> Result<Done, Code> {
        self.zxid += 1;
        let context = Context {
            zxid: self.zxid,
            time_ms: 1000 * self.zxid,
            session,
            ids,
        };
        self.tree.apply(op, context, &mut self.changes)
    }

    fn run(&mut self, op: Op) -> Result<Done, Code> {
        self.run_as(1, &[], op)
    }
}

fn create_as(path: &str, kind: CreateKind, sequential: bool) -> Op {
    let mode = CreateMode { kind, sequential };
    Op::Create {
        path: path.into(),
        data: None,
        acl: acl::OPEN.to_vec(),
        mode,
        with_stat: false,
    }
}

fn create(path: &str) -> Op {
    create_as(path, CreateKind::Persistent, false)
}

fn set(path: &str, data: &[u8], version: i32) -> Op {
    Op::Set {
        path: path.into(),
        data: Some(data.into()),
        version,
    }
}

fn delete(path: &str, version: i32) -> Op {
    Op::Delete {
        path: path.into(),
        version,
    }
}

/// The tree as one could compare it: every path with its numbers and data.
fn image(tree: &Tree) -> String {
    let nodes: Vec<_> = tree
        .sorted()
        .iter()
        .map(|(path, node)| format!("{path} {:?} {:?} {:?}", node.stat(), node.data, node.acl))
        .collect();
    format!(
        "{nodes:#?} {:?} {:?} {}",
        tree.ephemerals, tree.mortal, tree.data_bytes
    )
}

#[test]
fn numbers_of_a_node_and_its_parent() {
    let mut w = world();
    w.run(create("/a")).unwrap();
    w.run(create("/a/b")).unwrap();
    w.run(create("/a/c")).unwrap();
    w.run(set("/a", b"xyz", 0)).unwrap();
    w.run(delete("/a/b", -1)).unwrap();
    let stat = w.tree.exists("/a").unwrap();
    assert_eq!((stat.czxid, stat.mzxid, stat.pzxid), (1, 4, 5));
    assert_eq!(
        (
            stat.version,
            stat.cversion,
            stat.num_children,
            stat.data_length
        ),
        (1, 3, 1, 3)
    );
    assert_eq!((stat.ctime_ms, stat.mtime_ms), (1000, 4000));
}

#[test]
fn sequence_counts_creations_not_children() {
    let mut w = world();
    let next = |w: &mut World| {
        w.run(create_as("/s-", CreateKind::Persistent, true))
            .unwrap()
    };
    // /zookeeper was there from the start and isn't counted, as in ZooKeeper.
    assert_eq!(next(&mut w), Done::Created("/s-0000000000".into(), None));
    w.run(delete("/s-0000000000", -1)).unwrap();
    assert_eq!(next(&mut w), Done::Created("/s-0000000001".into(), None));
}

#[test]
fn refusals() {
    let mut w = world();
    w.run(create("/a")).unwrap();
    w.run(create("/a/b")).unwrap();
    w.run(create_as("/e", CreateKind::Ephemeral, false))
        .unwrap();
    for (op, code) in [
        (create("/a"), Code::NodeExists),
        (create("/"), Code::NodeExists),
        (create("/x/y"), Code::NoNode),
        (create("a"), Code::BadArguments),
        (create("/e/child"), Code::NoChildrenForEphemerals),
        (create("/zookeeper/quota/a"), Code::Unimplemented),
        (delete("/a", -1), Code::NotEmpty),
        (delete("/", -1), Code::BadArguments),
        (delete("/zookeeper", -1), Code::BadArguments),
        (delete("/none", -1), Code::NoNode),
        (delete("/a/b", 3), Code::BadVersion),
        (set("/a", b"", 7), Code::BadVersion),
        (set("/none", b"", -1), Code::NoNode),
        (
            Op::Check {
                path: "/a".into(),
                version: 1,
            },
            Code::BadVersion,
        ),
        (
            Op::SetAcl {
                path: "/a".into(),
                acl: vec![],
                version: -1,
            },
            Code::InvalidAcl,
        ),
    ] {
        let before = image(&w.tree);
        assert_eq!(w.run(op.clone()), Err(code), "{op:?}");
        assert_eq!(image(&w.tree), before, "{op:?} changed something");
    }
}

#[test]
fn access_lists_are_enforced() {
    let mut w = world();
    let user = Id::new("digest", &acl::digest("u:p"));
    let op = Op::Create {
        path: "/p".into(),
        data: None,
        acl: vec![Acl {
            perms: acl::ALL,
            id: user.clone(),
        }],
        mode: CreateMode {
            kind: CreateKind::Persistent,
            sequential: false,
        },
        with_stat: false,
    };
    w.run(op).unwrap();
    assert_eq!(w.run(set("/p", b"", -1)), Err(Code::NoAuth));
    assert_eq!(w.run(create("/p/q")), Err(Code::NoAuth));
    assert!(w.tree.readable("/p", &[]).is_err());
    assert!(w.run_as(1, &[user], set("/p", b"", -1)).is_ok());
    // Deleting asks the parent, which is open.
    assert!(w.run(delete("/p", -1)).is_ok());
}

#[test]
fn a_sessions_end_takes_its_nodes() {
    let mut w = world();
    w.run_as(7, &[], create_as("/b", CreateKind::Ephemeral, false))
        .unwrap();
    w.run_as(7, &[], create_as("/a", CreateKind::Ephemeral, true))
        .unwrap();
    w.run_as(8, &[], create_as("/c", CreateKind::Ephemeral, false))
        .unwrap();
    w.changes.clear();
    w.tree.close_session(7, 9, &mut w.changes);
    let gone: Vec<_> = w.changes.iter().map(|change| &*change.path).collect();
    assert_eq!(gone, ["/a0000000001", "/b"]);
    assert_eq!((gone.len(), w.tree.ephemerals_len()), (2, 1));
    assert_eq!(w.tree.exists("/").unwrap().pzxid, 9);
}

#[test]
fn containers_and_ttls_are_reaped_when_due() {
    let mut w = world();
    w.run(create_as("/c", CreateKind::Container, false))
        .unwrap();
    w.run(create_as("/t", CreateKind::Ttl(500), false)).unwrap();
    assert_eq!(w.tree.due(2500), Vec::<String>::new());
    assert_eq!(w.tree.due(2501), ["/t"]);
    w.run(create("/c/x")).unwrap();
    w.run(delete("/c/x", -1)).unwrap();
    assert_eq!(w.tree.due(0), ["/c"]);
    assert_eq!(
        w.tree.reap("/t", 2500, 9, &mut vec![]),
        Err(Code::BadVersion)
    );
    assert_eq!(w.tree.reap("/c", 0, 9, &mut vec![]), Ok(()));
    assert_eq!(w.tree.reap("/c", 0, 9, &mut vec![]), Err(Code::NoNode));
}

#[test]
fn a_multi_shows_each_steps_numbers() {
    let mut w = world();
    w.run(create("/a")).unwrap();
    let done = w
        .run(Op::Multi(vec![
            create("/a/1"),
            set("/a", b"x", 0),
            create("/a/2"),
            set("/a", b"yy", 1),
            delete("/a/1", 0),
        ]))
        .unwrap();
    let Done::Multi(steps) = done else {
        panic!("{done:?}")
    };
    let Done::Stat(first) = steps[1] else {
        panic!()
    };
    let Done::Stat(second) = steps[3] else {
        panic!()
    };
    assert_eq!(
        (first.version, first.cversion, first.num_children),
        (1, 1, 1)
    );
    assert_eq!(
        (second.version, second.cversion, second.num_children),
        (2, 2, 2)
    );
    assert_eq!(w.changes.len(), 6);
}

#[test]
fn a_multi_that_fails_changes_nothing() {
    let mut w = world();
    w.run(create("/a")).unwrap();
    w.run(create_as("/a/e", CreateKind::Ephemeral, false))
        .unwrap();
    w.changes.clear();
    let before = image(&w.tree);
    for kind in KINDS {
        let steps = vec![
            create_as("/a/n", kind, false),
            set("/a", b"data", -1),
            delete("/a/e", -1),
            Op::SetAcl {
                path: "/a".into(),
                acl: acl::READ_ONLY.to_vec(),
                version: 0,
            },
            delete("/none", -1),
            create("/b"),
        ];
        assert_eq!(
            w.run(Op::Multi(steps)).unwrap(),
            Done::MultiFailed(vec![
                None,
                None,
                None,
                None,
                Some(Code::NoNode),
                Some(Code::RuntimeInconsistency)
            ])
        );
        assert_eq!(image(&w.tree), before);
        assert_eq!(w.changes, []);
    }
}

/// The programmer's guide of ZooKeeper: the counter "will overflow when incremented beyond
/// 2147483647 (resulting in a name "<path>-2147483648")".
#[test]
fn the_counter_of_names_overflows_as_documented() {
    let mut world = world();
    world.run(create("/p")).unwrap();
    world.tree.node_mut("/p").unwrap().creates = i32::MAX;
    for name in ["/p/n-2147483647", "/p/n--2147483648", "/p/n--2147483647"] {
        let made = world.run(create_as("/p/n-", CreateKind::Persistent, true));
        assert_eq!(made, Ok(Done::Created(name.into(), None)));
    }
}
