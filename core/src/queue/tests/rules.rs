//! The rules one by one, each on the shortest log that needs it.

use towpath_protocol::gtid::GtidSet;

use super::*;
use crate::queue::follow::{Ending, FollowError, Follower, Resume, Tail, Verdict};
use crate::queue::pack::{Claimed, Packer, Sealed};
use crate::queue::wire::{Entry, Message};

/// A producer's messages, decoded, in the order in which it made them.
struct Script {
    packer: Packer,
    made: Vec<Sealed>,
}

impl Script {
    /// CLAIM and OPEN.
    fn begin(term: Term, before: &[u64], ord: u64) -> Self {
        let (claimed, claim) = Claimed::new(format(term, 600, Compression::None), 0).unwrap();
        let before = before.iter().map(|number| gtid(*number)).collect();
        let (packer, open) = claimed.open(before, ord, 0).unwrap();
        Self {
            packer,
            made: vec![claim, open],
        }
    }

    /// One small transaction in a message of its own.
    fn small(mut self, number: u64) -> Self {
        let messages = transaction(number, &[vec![10]]);
        self.packer.push(&messages[0], 0, &mut self.made).unwrap();
        self.packer.flush(0, &mut self.made).unwrap();
        self
    }

    /// A transaction of three messages.
    fn large(mut self, number: u64) -> Self {
        let messages = transaction(number, &[vec![400, 400, 400]]);
        self.packer.push(&messages[0], 0, &mut self.made).unwrap();
        self.packer.flush(0, &mut self.made).unwrap();
        self
    }

    fn open(mut self) -> Self {
        self.packer.open(0, &mut self.made).unwrap();
        self
    }

    fn messages(&self) -> Vec<Message> {
        let open = |sealed: &Sealed| Message::open(&sealed.bytes).unwrap();
        self.made.iter().map(open).collect()
    }
}

fn set(numbers: &[u64]) -> GtidSet {
    numbers.iter().map(|number| gtid(*number)).collect()
}

fn follower(held: &[u64]) -> Follower {
    Follower::new(PIPELINE, set(held), None)
}

/// What is done about a message, in short: `+1.0` takes part 0 of transaction 1, `-1` rolls it back.
fn told(follower: &mut Follower, message: &Message) -> String {
    let step = follower.follow(message.clone()).unwrap();
    let mut told = step
        .roll_back
        .map_or(String::new(), |gtid| format!("-{} ", gtid.number));
    told += &match step.verdict {
        Verdict::Take(entries) => entries
            .iter()
            .map(|entry| match entry {
                Entry::Part(part) => format!("+{}.{}", part.gtid.number, part.part),
                Entry::Prepared(gtid) => format!("p{}", gtid.number),
            })
            .collect::<Vec<_>>()
            .join(" "),
        Verdict::CaughtUp { .. } => "caught up".into(),
        Verdict::InSequence => "in sequence".into(),
        Verdict::Claimed => "claimed".into(),
        Verdict::Duplicate => "duplicate".into(),
        Verdict::Zombie => "zombie".into(),
        Verdict::OutOfSequence => "out".into(),
        Verdict::Gap { missing } => {
            let intervals: Vec<_> = missing.origins().flat_map(|(_, list)| list).collect();
            format!("gap {intervals:?}")
        }
    };
    told
}

fn all_told<'a>(
    follower: &mut Follower,
    messages: impl IntoIterator<Item = &'a Message>,
) -> Vec<String> {
    messages
        .into_iter()
        .map(|message| told(follower, message))
        .collect()
}

#[test]
fn transactions_that_the_sink_has_are_skipped_with_all_their_parts() {
    let log = Script::begin(term(1, 0), &[], 1)
        .small(1)
        .large(2)
        .small(3)
        .messages();
    let mut follower = follower(&[1, 2]);
    assert_eq!(
        all_told(&mut follower, &log),
        ["claimed", "in sequence", "", "", "", "", "+3.0"]
    );
    assert_eq!(*follower.held(), set(&[1, 2, 3]));
}

#[test]
fn what_is_written_again_is_dropped() {
    let log = Script::begin(term(1, 0), &[], 1)
        .small(1)
        .small(2)
        .messages();
    let mut follower = follower(&[]);
    all_told(&mut follower, &log);
    assert_eq!(all_told(&mut follower, &log), ["duplicate"; 4]);
}

#[test]
fn a_hole_is_not_stepped_over_and_may_be_filled() {
    let log = Script::begin(term(1, 0), &[], 1)
        .small(1)
        .small(2)
        .small(3)
        .messages();
    let mut follower = follower(&[]);
    // Message 3 was refused; the producer writes on from it again.
    let order = [0, 1, 2, 4, 3, 4];
    assert_eq!(
        all_told(&mut follower, order.map(|at| &log[at])),
        ["claimed", "in sequence", "+1.0", "out", "+2.0", "+3.0"]
    );
}

#[test]
fn a_hole_that_is_never_filled_is_a_gap_at_the_next_open() {
    let log = Script::begin(term(1, 0), &[], 1)
        .small(1)
        .small(2)
        .small(3)
        .open()
        .small(4)
        .messages();
    let mut lacks = follower(&[]);
    let order = [0, 1, 2, 4, 5, 6];
    assert_eq!(
        all_told(&mut lacks, order.map(|at| &log[at])),
        [
            "claimed",
            "in sequence",
            "+1.0",
            "out",
            "gap [(2, 3)]",
            "out"
        ]
    );
    // It heals all the same when the hole is filled.
    assert_eq!(
        all_told(&mut lacks, [3, 4, 5, 6].map(|at| &log[at])),
        ["+2.0", "+3.0", "in sequence", "+4.0"]
    );
    // Who has what is missing goes on.
    let mut holds = follower(&[1, 2, 3]);
    assert_eq!(
        all_told(&mut holds, order.map(|at| &log[at])),
        ["claimed", "in sequence", "", "out", "in sequence", "+4.0"]
    );
}

#[test]
fn who_begins_in_the_middle_waits_for_an_open() {
    let log = Script::begin(term(1, 0), &[], 1)
        .small(1)
        .small(2)
        .open()
        .small(3)
        .messages();
    assert_eq!(
        all_told(&mut follower(&[1, 2]), &log[2..]),
        ["out", "out", "in sequence", "+3.0"]
    );
    assert_eq!(
        all_told(&mut follower(&[1]), &log[2..]),
        ["out", "out", "gap [(2, 2)]", "out"]
    );
}

#[test]
fn a_higher_term_closes_the_lower_and_rolls_back_what_was_begun() {
    let first = Script::begin(term(1, 0), &[], 1).large(1).messages();
    let second = Script::begin(term(2, 0), &[], 1)
        .large(1)
        .small(2)
        .messages();
    let mut follower = follower(&[]);
    all_told(&mut follower, &first[..4]);
    // As good as a CLAIM, and then the CLAIM itself, written again.
    assert_eq!(all_told(&mut follower, [&second[2]]), ["-1 out"]);
    assert_eq!(
        all_told(&mut follower, second.iter().chain(&first)),
        [
            "claimed",
            "in sequence",
            "+1.0",
            "+1.1",
            "+1.2",
            "+2.0",
            "zombie",
            "zombie",
            "zombie",
            "zombie",
            "zombie"
        ]
    );
}

#[test]
fn what_was_skipped_needs_no_rollback() {
    let first = Script::begin(term(1, 0), &[], 1).large(1).messages();
    let second = Script::begin(term(1, 1), &[1], 2).messages();
    let mut follower = follower(&[1]);
    all_told(&mut follower, &first[..4]);
    assert_eq!(all_told(&mut follower, &second), ["claimed", "in sequence"]);
}

#[test]
fn who_begins_at_an_open_that_was_remembered_knows_who_is_a_zombie() {
    let zombie = Script::begin(term(1, 0), &[], 1).small(1).messages();
    let mut fresh = Follower::new(PIPELINE, set(&[]), None);
    assert_eq!(all_told(&mut fresh, &zombie[1..]), ["in sequence", "+1.0"]);
    let mut knows = Follower::new(PIPELINE, set(&[]), Some(term(2, 0)));
    assert_eq!(all_told(&mut knows, &zombie[1..]), ["zombie", "zombie"]);
}

#[test]
fn reading_again_from_further_back_follows_the_log_anew() {
    let first = Script::begin(term(1, 0), &[], 1)
        .small(1)
        .large(2)
        .messages();
    let second = Script::begin(term(2, 0), &[1, 2], 3).small(3).messages();
    let mut follower = follower(&[]);
    // The middle of the log: not begun, and the second term isn't for this sink yet.
    assert_eq!(
        all_told(&mut follower, first[3..].iter().chain(&second)),
        ["out", "out", "out", "claimed", "gap [(1, 2)]", "out"]
    );
    assert_eq!(follower.restart(), None);
    assert_eq!(
        all_told(&mut follower, first[..4].iter()),
        ["claimed", "in sequence", "+1.0", "+2.0"]
    );
    assert_eq!(follower.restart(), Some(gtid(2)));
    assert_eq!(
        all_told(&mut follower, first.iter().chain(&second)),
        [
            "claimed",
            "in sequence",
            "",
            "+2.0",
            "+2.1",
            "+2.2",
            "claimed",
            "in sequence",
            "+3.0"
        ]
    );
}

#[test]
fn a_message_made_anew_under_its_number_is_not_in_sequence() {
    let one = Script::begin(term(1, 0), &[], 1)
        .small(1)
        .small(2)
        .messages();
    let other = Script::begin(term(1, 0), &[], 1)
        .small(9)
        .small(2)
        .messages();
    let mut follower = follower(&[]);
    all_told(&mut follower, &one[..3]);
    assert_eq!(told(&mut follower, &other[3]), "out");
    assert_eq!(told(&mut follower, &one[3]), "+2.0");
}

#[test]
fn a_producer_that_breaks_the_rules_stops_the_consumer() {
    let log = Script::begin(term(1, 0), &[], 1)
        .large(1)
        .small(2)
        .messages();
    // A part that is missing, with numbers and links as if it weren't.
    let mut follower = follower(&[]);
    all_told(&mut follower, &log[..3]);
    let mut forged = log[4].clone();
    (forged.seq, forged.back_link) = (3, log[2].checksum);
    let error = follower.follow(forged).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a part of a transaction is missing"),
        "{error}"
    );

    let mut other = log[0].clone();
    other.pipeline = Uuid::from_u128(1);
    let error = follower.follow(other).unwrap_err();
    assert!(matches!(error, FollowError::Pipeline { .. }));
}

fn ending(log: &[&[Message]], ours: Term) -> Ending {
    let mut tail = Tail::new(PIPELINE);
    for message in log.iter().copied().flatten() {
        match tail.follow(message.clone(), ours).unwrap() {
            Ending::More => {}
            end => return end,
        }
    }
    Ending::More
}

fn resume(numbers: &[u64], ord: u64) -> Ending {
    Ending::Ours(Some(Resume {
        before: set(numbers),
        ord,
    }))
}

#[test]
fn a_producer_resumes_behind_the_last_whole_transaction() {
    let first = Script::begin(term(1, 0), &[1, 2], 7)
        .small(3)
        .large(4)
        .messages();
    let ours = Script::begin(term(2, 0), &[], 1).messages();
    assert_eq!(
        ending(&[&first, &ours], term(2, 0)),
        resume(&[1, 2, 3, 4], 9)
    );
    // Parts of a transaction count for nothing.
    assert_eq!(
        ending(&[&first[..5], &ours], term(2, 0)),
        resume(&[1, 2, 3], 8)
    );
    // From a hole on, everything comes again.
    assert_eq!(
        ending(&[&first[..2], &first[3..], &ours], term(2, 0)),
        resume(&[1, 2], 7)
    );
    // A term that was claimed and never opened changes nothing, a zombie behind it neither.
    let claim = &Script::begin(term(1, 1), &[], 1).messages()[..1];
    assert_eq!(
        ending(&[&first[..3], claim, &first[3..], &ours], term(2, 0)),
        resume(&[1, 2, 3], 8)
    );
    // Nothing to go by.
    assert_eq!(
        ending(&[&first[2..], &ours], term(2, 0)),
        Ending::Ours(None)
    );
    assert_eq!(ending(&[&ours], term(2, 0)), Ending::Ours(None));
    assert_eq!(ending(&[&first], term(2, 0)), Ending::More);
}

#[test]
fn a_producer_that_was_superseded_gives_up() {
    let other = Script::begin(term(3, 0), &[], 1).messages();
    assert_eq!(
        ending(&[&other], term(2, 5)),
        Ending::Superseded(term(3, 0))
    );
}

#[test]
fn after_a_rewind_what_was_held_before_it_counts_for_nothing() {
    let first = Script::begin(term(1, 0), &[], 1)
        .small(1)
        .small(2)
        .messages();
    let again = Script::begin(term(1, 1), &[], 1).small(1).messages();
    let ours = Script::begin(term(2, 0), &[], 1).messages();
    assert_eq!(
        ending(&[&first, &again, &ours], term(2, 0)),
        resume(&[1], 2)
    );
}
