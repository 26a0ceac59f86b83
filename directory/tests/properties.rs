//! Whatever bytes come: decoding answers, and never panics. Whatever operations come: the tree
//! stays whole.

#![expect(
    clippy::unwrap_used,
    reason = "in tests a panic is the report, helpers included"
)]

use bytes::BytesMut;
use proptest::prelude::*;
use towpath_directory::session::table::Password;
use towpath_directory::state::{Command, Kind, Origin, State, snapshot};
use towpath_directory::tree::acl::OPEN;
use towpath_directory::tree::op::Done;
use towpath_directory::wire::jute::JuteWrite as _;
use towpath_directory::wire::request::{Connect, decode, decode_write, put_acls};

/// One step, as bytes of the wire.
#[derive(Clone, Debug)]
enum Step {
    Create(String, i32),
    Delete(String, i32),
    Set(String, usize, i32),
    Check(String, i32),
}

fn path() -> impl Strategy<Value = String> {
    // Few names, so that operations meet.
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
        .prop_map(|names| format!("/{}", names.join("/")))
}

fn version() -> impl Strategy<Value = i32> {
    prop_oneof![4 => Just(-1), 1 => 0..2]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (path(), 0..5).prop_map(|(path, flags)| Step::Create(path, flags)),
        2 => (path(), version()).prop_map(|(path, version)| Step::Delete(path, version)),
        2 => (path(), 0..9_usize, version()).prop_map(|(path, len, version)| Step::Set(path, len, version)),
        1 => (path(), version()).prop_map(|(path, version)| Step::Check(path, version)),
    ]
}

impl Step {
    fn encode(&self) -> (i32, BytesMut) {
        let mut out = BytesMut::new();
        let opcode = match self {
            Self::Create(path, flags) => {
                out.ustring(path);
                out.buffer(Some(b"data"));
                put_acls(&mut out, &OPEN);
                out.int(*flags);
                // What makes the same node alone and in a multi, and is answered the same.
                if *flags == 4 { 19 } else { 1 }
            }
            Self::Delete(path, version) => {
                out.ustring(path);
                out.int(*version);
                2
            }
            Self::Set(path, len, version) => {
                out.ustring(path);
                out.buffer(Some(&vec![7; *len]));
                out.int(*version);
                5
            }
            Self::Check(path, version) => {
                out.ustring(path);
                out.int(*version);
                13
            }
        };
        (opcode, out)
    }
}

fn multi(steps: &[Step]) -> BytesMut {
    let mut out = BytesMut::new();
    for step in steps {
        let (opcode, body) = step.encode();
        out.int(opcode);
        out.boolean(false);
        out.int(-1);
        out.extend_from_slice(&body);
    }
    out.int(-1);
    out.boolean(true);
    out.int(-1);
    out
}

fn run(
    state: &mut State,
    kind: Kind<'_>,
) -> Result<towpath_directory::state::Outcome, towpath_directory::code::Code> {
    let command = Command {
        time_ms: (state.zxid + 1) * 10,
        origin: Origin {
            life: 0,
            request: 0,
        },
        kind,
    };
    state.apply(&command, &mut Vec::new())
}

fn write(opcode: i32, body: &[u8]) -> Kind<'_> {
    Kind::Write {
        session: 1,
        ids: vec![].into(),
        opcode,
        body,
    }
}

fn image(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    snapshot::write(state, b"", &mut out).unwrap();
    // Without the header, which has the zxid.
    out.split_off(8 + 4 + 4 + 1 + 12)
}

fn opened() -> State {
    let mut state = State::default();
    let password: Password = [0; 16];
    run(
        &mut state,
        Kind::Open {
            session: 1,
            timeout_ms: 1000,
            password,
        },
    )
    .unwrap();
    state
}

/// What must hold for any tree.
fn check_whole(state: &State) {
    let tree = &state.tree;
    let mut children = 0;
    let mut bytes = 0;
    for (path, node) in tree.sorted() {
        bytes += (path.len() + node.data_len()) as u64;
        children += node.children_len();
        for name in node.child_names() {
            let child = if &**path == "/" {
                format!("/{name}")
            } else {
                format!("{path}/{name}")
            };
            assert!(tree.get(&child).is_some(), "{child} is listed and there");
        }
        assert!(node.stat().cversion >= -2 && node.pzxid <= state.zxid && node.mzxid >= node.czxid);
    }
    assert_eq!(
        children + 1,
        tree.len(),
        "every node but the root is its parent's child"
    );
    assert_eq!(bytes, tree.data_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_bytes_are_answered(code in prop_oneof![0..25_i32, 100..110_i32, any::<i32>()], body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(code, &body);
        let _ = decode_write(code, &body);
        let _ = Connect::decode(&body);
        let _ = Command::decode(&body);
        let _ = snapshot::read(&body[..]);
        // As an entry of the log it's applied or refused, and leaves the tree whole.
        let mut state = opened();
        let _ = run(&mut state, write(code, &body));
        check_whole(&state);
    }

    #[test]
    fn damaged_requests_are_answered(steps in prop::collection::vec(step(), 1..5), at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut body = multi(&steps);
        let at = at.index(body.len());
        body[at] ^= with;
        let _ = decode(14, &body);
        let _ = decode(14, &body[..cut.index(body.len())]);
        let mut state = opened();
        let _ = run(&mut state, write(14, &body));
        check_whole(&state);
    }

    /// A multi does all of its steps, as they would have been done one by one, or none of them.
    #[test]
    fn a_multi_is_all_or_nothing(before in prop::collection::vec(step(), 0..20), steps in prop::collection::vec(step(), 1..8)) {
        let mut state = opened();
        for step in &before {
            let (opcode, body) = step.encode();
            let _ = run(&mut state, write(opcode, &body));
        }
        check_whole(&state);
        let old = image(&state);
        let mut one_by_one = state.clone();
        let body = multi(&steps);
        let outcome = run(&mut state, write(14, &body)).unwrap();
        check_whole(&state);
        let towpath_directory::state::Outcome::Done(done) = outcome else { panic!("{outcome:?}") };
        let mut each = Vec::new();
        for step in &steps {
            // All in the same transaction, as in the multi.
            one_by_one.zxid = state.zxid - 1;
            let (opcode, body) = step.encode();
            each.push(run(&mut one_by_one, write(opcode, &body)));
        }
        match done {
            Done::Multi(answers) => {
                let each: Vec<_> = each.into_iter().map(Result::unwrap).collect();
                let answers: Vec<_> = answers.into_iter().map(towpath_directory::state::Outcome::Done).collect();
                prop_assert_eq!(answers, each);
                prop_assert_eq!(image(&state), image(&one_by_one));
            }
            Done::MultiFailed(codes) => {
                prop_assert_eq!(image(&state), old, "nothing is changed");
                let failed = codes.iter().position(Option::is_some).unwrap();
                prop_assert_eq!(each[failed].as_ref().err(), codes[failed].as_ref());
            }
            other => panic!("{other:?}"),
        }
    }

    /// The same log gives the same state, also across a snapshot in its middle.
    #[test]
    fn a_snapshot_changes_nothing(steps in prop::collection::vec(step(), 0..40), middle in any::<prop::sample::Index>()) {
        let mut through = opened();
        let mut restored = opened();
        let middle = middle.index(steps.len() + 1);
        for (at, step) in steps.iter().enumerate() {
            if at == middle {
                let mut file = Vec::new();
                snapshot::write(&restored, b"", &mut file).unwrap();
                restored = snapshot::read(&file[..]).unwrap().0;
            }
            let (opcode, body) = step.encode();
            prop_assert_eq!(run(&mut through, write(opcode, &body)), run(&mut restored, write(opcode, &body)));
        }
        prop_assert_eq!(image(&through), image(&restored));
        for state in [&mut through, &mut restored] {
            run(state, Kind::Close { session: 1 }).unwrap();
            prop_assert_eq!(state.tree.ephemerals_len(), 0);
            check_whole(state);
        }
    }
}
