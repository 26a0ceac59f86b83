//! Histories of which it's known whether they are linearizable.

use std::time::Instant;

use proptest::prelude::*;

use super::nodes::{Answer, Call, Group, History, NODES, Node, Refusal, Step};
use super::{Operation, Outcome, Verdict};

type Op = Operation<Call, Answer>;

fn op(client: u32, called_ns: u64, returned_ns: u64, call: Call, answer: Answer) -> Op {
    let outcome = Outcome::Answered {
        answer,
        returned_ns,
    };
    Operation {
        client,
        call,
        called_ns,
        outcome,
    }
}

fn lost(client: u32, called_ns: u64, call: Call) -> Op {
    Operation {
        client,
        call,
        called_ns,
        outcome: Outcome::Unknown,
    }
}

fn node(value: u64, version: i32) -> Option<Node> {
    Some(Node { value, version })
}

fn create(value: u64) -> Call {
    Call::Write(vec![Step::Create { node: 0, value }])
}

fn set(value: u64) -> Call {
    set_at(value, None)
}

fn set_at(value: u64, version: impl Into<Option<i32>>) -> Call {
    Call::Write(vec![Step::Set {
        node: 0,
        value,
        version: version.into(),
    }])
}

fn delete() -> Call {
    Call::Write(vec![Step::Delete {
        node: 0,
        version: None,
    }])
}

fn done(version: i32) -> Answer {
    Answer::Done(vec![Some(version)])
}

fn gone() -> Answer {
    Answer::Done(vec![None])
}

fn refused(why: Refusal) -> Answer {
    Answer::Refused { step: 0, why }
}

fn sees(node: Option<Node>) -> Answer {
    Answer::Seen(Group([node, None]))
}

const READ: Call = Call::Read(0);

fn verdict(operations: impl IntoIterator<Item = Op>) -> Verdict {
    let operations = operations.into_iter().map(|op| (0, op)).collect();
    History { operations }.verdict()
}

#[track_caller]
fn accepts(operations: impl IntoIterator<Item = Op>) {
    assert_eq!(verdict(operations), Verdict::Linearizable);
}

/// Answers what is shown.
#[track_caller]
fn refuses(operations: impl IntoIterator<Item = Op>) -> String {
    match verdict(operations) {
        Verdict::Refused(text) => text,
        verdict => panic!("{verdict:?}"),
    }
}

#[test]
fn what_happened_in_order_is_linearizable() {
    accepts([
        op(1, 0, 1, READ, sees(None)),
        op(1, 2, 3, set(1), refused(Refusal::NoNode)),
        op(1, 4, 5, create(2), done(0)),
        op(1, 6, 7, create(3), refused(Refusal::NodeExists)),
        op(1, 8, 9, set(4), done(1)),
        op(1, 10, 11, set_at(5, 0), refused(Refusal::BadVersion)),
        op(1, 12, 13, set_at(6, 1), done(2)),
        op(1, 14, 15, READ, sees(node(6, 2))),
        op(1, 16, 17, delete(), gone()),
        op(1, 18, 19, create(7), done(0)),
        op(1, 20, 21, READ, sees(node(7, 0))),
    ]);
}

#[test]
fn a_read_during_a_write_may_see_either() {
    let write = |and: Op| {
        [
            op(1, 0, 1, create(1), done(0)),
            op(2, 2, 9, set(2), done(1)),
            and,
        ]
    };
    accepts(write(op(3, 3, 4, READ, sees(node(1, 0)))));
    accepts(write(op(3, 3, 4, READ, sees(node(2, 1)))));
}

#[test]
fn two_readers_during_a_write_agree_on_its_moment() {
    refuses([
        op(1, 0, 1, create(1), done(0)),
        op(2, 2, 9, set(2), done(1)),
        op(3, 3, 4, READ, sees(node(2, 1))),
        op(4, 5, 6, READ, sees(node(1, 0))),
    ]);
}

#[test]
fn a_stale_read_is_shown_as_such() {
    let text = refuses([
        op(1, 0, 1, create(1), done(0)),
        op(1, 2, 3, set(2), done(1)),
        op(4, 3, 4, READ, sees(node(2, 1))),
        op(2, 4_000, 5_000, set(3), done(2)),
        op(3, 6_000, 7_000, READ, sees(node(2, 1))),
        op(1, 8_000, 9_000, set(4), done(3)),
    ]);
    // Nothing but the write that was missed, and the read that missed it.
    assert_eq!(
        text,
        "group 0 is not linearizable\n\
         \x20 at first: a = 2 (version 1), no b\n\
         \x20 client  2      0.000004 s …     0.000005 s  set a = 3 -> done, version 2\n\
         \x20 client  3      0.000006 s …     0.000007 s  read a -> a = 2 (version 1)   <- impossible\n\
         \x20 possible by then: a = what nobody read (version 2), no b\n"
    );
}

#[test]
fn a_write_that_was_acknowledged_and_lost() {
    refuses([
        op(1, 0, 1, create(1), done(0)),
        op(1, 2, 3, set(2), done(1)),
        op(2, 4, 5, set(3), done(1)),
    ]);
    refuses([
        op(1, 0, 1, create(1), done(0)),
        op(2, 2, 3, READ, sees(None)),
    ]);
}

#[test]
fn a_write_that_happened_twice() {
    refuses([
        op(1, 0, 1, create(1), done(0)),
        op(1, 2, 3, set(2), done(1)),
        op(2, 4, 5, READ, sees(node(2, 2))),
    ]);
    // Without an outcome it happens once, too.
    refuses([
        op(1, 0, 1, create(1), done(0)),
        lost(1, 2, set(2)),
        op(2, 4, 5, READ, sees(node(2, 2))),
    ]);
}

#[test]
fn a_version_that_goes_back() {
    refuses([
        op(1, 0, 1, create(1), done(0)),
        op(1, 2, 3, set(2), done(1)),
        op(1, 4, 5, set(3), done(2)),
        op(2, 6, 7, READ, sees(node(3, 1))),
    ]);
}

#[test]
fn an_unknown_may_take_effect_late_but_once_seen_it_has() {
    let late = |and: &[Op]| {
        let mut all = vec![
            op(1, 0, 1, create(1), done(0)),
            lost(1, 2, set(2)),
            op(2, 3, 4, READ, sees(node(1, 0))),
            op(2, 5, 6, set(3), done(1)),
            op(2, 7, 8, READ, sees(node(2, 2))),
        ];
        all.extend_from_slice(and);
        all
    };
    accepts(late(&[]));
    accepts(late(&[op(2, 9, 10, set(4), done(3))]));
    refuses(late(&[op(3, 9, 10, READ, sees(node(3, 1)))]));
}

#[test]
fn an_unknown_may_never_take_effect() {
    accepts([
        op(1, 0, 1, create(1), done(0)),
        lost(1, 2, set(2)),
        lost(2, 2, delete()),
        op(2, 3, 4, READ, sees(node(1, 0))),
        op(2, 5, 6, set(3), done(1)),
        op(2, 7, 8, READ, sees(node(3, 1))),
    ]);
}

#[test]
fn an_unknown_takes_no_effect_before_it_was_asked() {
    refuses([
        op(1, 0, 1, create(1), done(0)),
        op(2, 2, 3, READ, sees(node(2, 1))),
        lost(1, 4, set(2)),
    ]);
}

#[test]
fn an_unknown_that_nobody_saw_still_counts_in_the_version() {
    let skips = |version| {
        [
            op(1, 0, 1, create(1), done(0)),
            lost(1, 2, set(2)),
            lost(1, 3, set(3)),
            op(2, 4, 5, set(4), done(version)),
        ]
    };
    accepts(skips(1));
    accepts(skips(3));
    refuses(skips(4));
}

#[test]
fn of_two_changes_under_one_version_one_is_refused() {
    let both = |second| {
        [
            op(1, 0, 1, create(1), done(0)),
            op(1, 2, 9, set_at(2, 0), done(1)),
            op(2, 3, 8, set_at(3, 0), second),
        ]
    };
    accepts(both(refused(Refusal::BadVersion)));
    refuses(both(done(1)));
}

#[test]
fn a_transaction_happens_at_one_moment() {
    let both = Call::Write(vec![
        Step::Set {
            node: 0,
            value: 3,
            version: None,
        },
        Step::Set {
            node: 1,
            value: 4,
            version: None,
        },
    ]);
    let make = Call::Write(vec![
        Step::Create { node: 0, value: 1 },
        Step::Create { node: 1, value: 2 },
    ]);
    let sees = |a, b| {
        [
            op(1, 0, 1, make.clone(), Answer::Done(vec![Some(0), Some(0)])),
            op(1, 2, 9, both.clone(), Answer::Done(vec![Some(1), Some(1)])),
            op(2, 3, 4, Call::ReadAll, Answer::Seen(Group([a, b]))),
        ]
    };
    accepts(sees(node(1, 0), node(2, 0)));
    accepts(sees(node(3, 1), node(4, 1)));
    refuses(sees(node(3, 1), node(2, 0)));
    refuses(sees(node(1, 0), node(4, 1)));
}

/// The order of changes of different nodes matters to one who sees both.
#[test]
fn a_read_of_both_nodes_orders_their_changes() {
    let other = |value| Call::Write(vec![Step::Create { node: 1, value }]);
    accepts([
        op(1, 0, 9, other(1), done(0)),
        op(
            2,
            0,
            20,
            Call::ReadAll,
            Answer::Seen(Group([None, node(1, 0)])),
        ),
        op(3, 1, 3, create(2), done(0)),
    ]);
    refuses([
        op(1, 0, 9, other(1), done(0)),
        op(
            2,
            0,
            20,
            Call::ReadAll,
            Answer::Seen(Group([None, node(1, 0)])),
        ),
        op(
            3,
            0,
            20,
            Call::ReadAll,
            Answer::Seen(Group([node(2, 0), None])),
        ),
        op(4, 1, 3, create(2), done(0)),
    ]);
}

#[test]
fn groups_are_checked_apart() {
    let apart = History {
        operations: vec![
            (0, op(1, 0, 1, create(1), done(0))),
            (7, op(1, 2, 3, READ, sees(None))),
        ],
    };
    assert_eq!(apart.verdict(), Verdict::Linearizable);
    let broken = History {
        operations: vec![
            (7, op(1, 0, 1, create(1), done(0))),
            (0, op(1, 2, 3, READ, sees(None))),
            (7, op(1, 2, 3, READ, sees(None))),
        ],
    };
    let Verdict::Refused(text) = broken.verdict() else {
        panic!("it's broken");
    };
    assert!(text.starts_with("group 7 "), "{text}");
}

/// What operations under way at once do to the real object, in an order that chance picks.
#[derive(Clone, Debug)]
struct Played {
    history: Vec<Op>,
    /// The states that there ever were, in order, each with the moment of its beginning.
    states: Vec<(u64, Group)>,
}

/// How a play goes.
#[derive(Clone, Copy, Debug)]
struct Play {
    clients: usize,
    operations: usize,
    /// Of a hundred answers, so many are lost.
    lost: u64,
    /// Whether nodes are removed, so that versions begin again.
    deletes: bool,
}

/// Numbers that a seed decides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn any_call(dice: &mut Dice, value: u64, known: Group, deletes: bool) -> Call {
    let node = dice.below(NODES as u64) as usize;
    let version = (dice.below(3) == 0)
        .then(|| known.0[node].map(|node| node.version))
        .flatten();
    let step = |dice: &mut Dice, node| match dice.below(if deletes { 6 } else { 5 }) {
        0 => Step::Create { node, value },
        1..5 => Step::Set {
            node,
            value,
            version,
        },
        _ => Step::Delete { node, version },
    };
    match dice.below(10) {
        0..4 => Call::Read(node),
        4 => Call::ReadAll,
        5..9 => Call::Write(vec![step(dice, node)]),
        _ => Call::Write(vec![
            Step::Check { node, version },
            step(dice, node),
            step(dice, 1 - node),
        ]),
    }
}

/// Plays against an object that does one thing at a time.
fn play(seed: u64, play: Play) -> Played {
    enum At {
        Rest,
        Called(Op),
        Effective(Op),
    }
    let mut dice = Dice(seed);
    let mut object = Group::default();
    let mut known = Group::default();
    let mut clients: Vec<At> = (0..play.clients).map(|_| At::Rest).collect();
    let mut abandoned: Vec<Op> = Vec::new();
    let mut history = Vec::new();
    let mut states = vec![(0, object)];
    let mut effect = |object: &mut Group, call: &Call, now: u64| match call {
        Call::Read(_) | Call::ReadAll => Answer::Seen(*object),
        Call::Write(steps) => match object.after(steps) {
            Ok((after, versions)) => {
                *object = after;
                states.push((now, after));
                Answer::Done(versions)
            }
            Err((step, why)) => Answer::Refused { step, why },
        },
    };
    let mut begun = 0;
    let mut now = 0;
    while begun < play.operations || clients.iter().any(|client| !matches!(client, At::Rest)) {
        now += 1;
        // What was given up on may still happen.
        if !abandoned.is_empty() && dice.below(4) == 0 {
            let at = dice.below(abandoned.len() as u64) as usize;
            effect(&mut object, &abandoned.swap_remove(at).call, now);
            continue;
        }
        let client = dice.below(play.clients as u64) as usize;
        let at = std::mem::replace(&mut clients[client], At::Rest);
        clients[client] = match at {
            At::Rest if begun < play.operations => {
                begun += 1;
                let call = any_call(&mut dice, begun as u64, known, play.deletes);
                At::Called(lost(client as u32, now, call))
            }
            At::Rest => At::Rest,
            At::Called(op) if dice.below(100) < play.lost => {
                history.push(op.clone());
                abandoned.push(op);
                At::Rest
            }
            At::Called(mut op) => {
                let answer = effect(&mut object, &op.call, now);
                // The moment of the return is known only later.
                op.outcome = Outcome::Answered {
                    answer,
                    returned_ns: 0,
                };
                At::Effective(op)
            }
            At::Effective(op) if dice.below(100) < play.lost => {
                history.push(lost(op.client, op.called_ns, op.call));
                At::Rest
            }
            At::Effective(mut op) => {
                if let Outcome::Answered {
                    answer,
                    returned_ns,
                } = &mut op.outcome
                {
                    *returned_ns = now;
                    if let Answer::Seen(seen) = answer {
                        known = *seen;
                    }
                }
                history.push(op);
                At::Rest
            }
        };
    }
    Played { history, states }
}

/// Whether some order explains all answers, found by trying every one.
fn brute_force(left: &[Op], state: Group) -> bool {
    let returned = |op: &Op| match op.outcome {
        Outcome::Answered { returned_ns, .. } => returned_ns,
        Outcome::Unknown => u64::MAX,
    };
    let first_return = left.iter().map(returned).min().unwrap_or(u64::MAX);
    if first_return == u64::MAX {
        return true;
    }
    (0..left.len()).any(|at| {
        let op = &left[at];
        if op.called_ns > first_return {
            return false;
        }
        let answer = match &op.outcome {
            Outcome::Answered { answer, .. } => Some(answer),
            Outcome::Unknown => None,
        };
        let Some(then) =
            <super::nodes::Nodes as super::model::Model>::apply(&state, &op.call, answer)
        else {
            return false;
        };
        let mut rest = left.to_vec();
        rest.remove(at);
        brute_force(&rest, then)
    })
}

/// Changes one answer, right or wrong as may be.
fn disturb(history: &mut [Op], dice: &mut Dice) {
    let at = dice.below(history.len() as u64) as usize;
    let number = dice.below(4);
    let node = dice.below(NODES as u64) as usize;
    let Outcome::Answered { answer, .. } = &mut history[at].outcome else {
        return;
    };
    match answer {
        Answer::Seen(seen) if number == 0 => seen.0[node] = None,
        Answer::Seen(seen) => {
            seen.0[node] = Some(Node {
                value: number,
                version: dice.below(3) as i32,
            });
        }
        Answer::Done(versions) => {
            for version in versions.iter_mut().flatten() {
                *version = number as i32;
            }
        }
        Answer::Refused { why, .. } => {
            *why = [Refusal::NoNode, Refusal::NodeExists, Refusal::BadVersion][number as usize % 3];
        }
    }
}

fn any_play() -> impl Strategy<Value = Play> {
    (1_usize..12, 1_usize..80, 0_u64..4, any::<bool>()).prop_map(
        |(clients, operations, lost, deletes)| Play {
            clients,
            operations,
            lost,
            deletes,
        },
    )
}

proptest! {
    #[test]
    fn what_a_real_object_did_is_accepted(seed: u64, how in any_play()) {
        let played = play(seed, how);
        prop_assert_eq!(verdict(played.history), Verdict::Linearizable);
    }

    #[test]
    fn it_agrees_with_trying_every_order(
        seed: u64,
        clients in 1_usize..5,
        operations in 1_usize..8,
        lost in 0_u64..60,
        disturbances in 0..3,
    ) {
        let how = Play { clients, operations, lost, deletes: true };
        let mut history = play(seed, how).history;
        let mut dice = Dice(seed);
        for _ in 0..disturbances {
            disturb(&mut history, &mut dice);
        }
        let expected = brute_force(&history, Group::default());
        let found = verdict(history.clone());
        prop_assert_eq!(found == Verdict::Linearizable, expected, "{:#?}\n{}", history, found);
    }

}

proptest! {
    // To refuse, every way must be looked at.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Without removals a node's version only grows, so what came before one that was told is over.
    #[test]
    fn a_read_of_what_is_over_is_refused(seed: u64, how in any_play(), which: prop::sample::Index) {
        let mut played = play(seed, Play { deletes: false, ..how });
        let over = |op: &Op| {
            let (Call::Read(node), Outcome::Answered { .. }) = (&op.call, &op.outcome) else {
                return None;
            };
            let told = played.history.iter().filter_map(|other| match &other.outcome {
                Outcome::Answered { answer: Answer::Seen(seen), returned_ns }
                    if *returned_ns < op.called_ns
                        && matches!(other.call, Call::Read(n) if n == *node) =>
                {
                    seen.0[*node].map(|node| node.version)
                }
                _ => None,
            });
            let told = told.max()?;
            let old = |(_, state): &&(u64, Group)| state.0[*node].is_none_or(|node| node.version < told);
            played.states.iter().rev().find(old).map(|(_, state)| *state)
        };
        let possible: Vec<(usize, Group)> = played
            .history
            .iter()
            .enumerate()
            .filter_map(|(at, op)| over(op).map(|old| (at, old)))
            .collect();
        prop_assume!(!possible.is_empty());
        let (at, old) = possible[which.index(possible.len())];
        if let Outcome::Answered { answer, .. } = &mut played.history[at].outcome {
            *answer = Answer::Seen(old);
        }
        let verdict = verdict(played.history);
        prop_assert!(matches!(verdict, Verdict::Refused(_)), "{}", verdict);
    }

    #[test]
    fn a_version_that_two_writes_got_is_refused(seed: u64, how in any_play(), which: prop::sample::Index) {
        let how = Play { deletes: false, ..how };
        let mut history = play(seed, how).history;
        let single = |op: &Op| match (&op.call, &op.outcome) {
            (Call::Write(steps), Outcome::Answered { answer: Answer::Done(versions), .. }) => {
                match (&steps[..], &versions[..]) {
                    ([Step::Set { node, .. }], [Some(version)]) => Some((*node, *version)),
                    _ => None,
                }
            }
            _ => None,
        };
        let sets: Vec<(usize, (usize, i32))> = history
            .iter()
            .enumerate()
            .filter_map(|(at, op)| Some((at, single(op)?)))
            .collect();
        let pairs: Vec<(usize, i32)> = sets
            .iter()
            .flat_map(|(at, (node, version))| {
                let same = sets.iter().filter(move |(other, (n, v))| {
                    other != at && n == node && v != version
                });
                same.map(move |(_, (_, version))| (*at, *version))
            })
            .collect();
        prop_assume!(!pairs.is_empty());
        let (at, version) = pairs[which.index(pairs.len())];
        if let Outcome::Answered { answer, .. } = &mut history[at].outcome {
            *answer = done(version);
        }
        let verdict = verdict(history);
        prop_assert!(matches!(verdict, Verdict::Refused(_)), "{}", verdict);
    }

    #[test]
    fn a_value_that_nobody_wrote_is_refused(seed: u64, how in any_play(), which: prop::sample::Index) {
        let mut history = play(seed, how).history;
        let reads: Vec<usize> = (0..history.len())
            .filter(|at| {
                matches!(history[*at].call, Call::Read(_))
                    && history[*at].outcome != Outcome::Unknown
            })
            .collect();
        prop_assume!(!reads.is_empty());
        if let Outcome::Answered { answer, .. } = &mut history[reads[which.index(reads.len())]].outcome {
            *answer = Answer::Seen(Group([node(1 << 40, 1); NODES]));
        }
        let verdict = verdict(history);
        prop_assert!(matches!(verdict, Verdict::Refused(_)), "{}", verdict);
    }
}

/// As long as the longest that is recorded, with as many outcomes lost as hundreds of kills leave.
#[test]
fn a_long_history_is_decided_in_seconds() {
    let how = Play {
        clients: 20,
        operations: 400,
        lost: 2,
        deletes: true,
    };
    let operations: Vec<(u32, Op)> = (0..250)
        .flat_map(|group| {
            let played = play(u64::from(group), how).history;
            played.into_iter().map(move |op| (group, op))
        })
        .collect();
    let count = operations.len();
    let began = Instant::now();
    assert_eq!(History { operations }.verdict(), Verdict::Linearizable);
    let took = began.elapsed();
    println!("{count} operations in {took:?}");
    assert!(took.as_secs() < 60, "{count} operations took {took:?}");
}
