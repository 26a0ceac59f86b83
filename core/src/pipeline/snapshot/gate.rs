//! The gate: the stream doesn't overtake a chunk that was read and isn't on the sink yet.
//!
//! A chunk that was read at the source's state `c` may be written as long as the sink holds nothing
//! beyond `c`: the stream then comes to everything behind it once more, and leads each row to where
//! the source has it. So a read has two steps. First it *holds* the gate and learns what was taken
//! in: nothing more is, until the source says that all of this is visible there (a transaction is
//! streamed before it is). `gtid_executed` at that moment, the low water, is what the read will see
//! at least: from now on its transactions may be taken in, and no others, until the chunk is
//! committed or given up.
//!
//! Pure. Invariant: whatever is taken in is in the low water of each open read, or came before it.

use std::collections::BTreeMap;

use towpath_protocol::gtid::{Gtid, GtidSet};

/// Names a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::pipeline) struct Ticket(u64);

#[derive(Debug)]
struct Read {
    reader: u64,
    /// `None` while it holds the gate.
    low_water: Option<GtidSet>,
}

/// What may be taken in.
#[derive(Debug)]
pub(in crate::pipeline) struct Gate {
    /// Whole transactions that were taken in, and what the sink had before.
    taken: GtidSet,
    /// The transaction of which a part was taken in.
    inside: Option<Gtid>,
    reads: BTreeMap<Ticket, Read>,
    last_ticket: u64,
}

impl Gate {
    /// An open gate of a sink that holds `gtids`.
    pub(in crate::pipeline) fn new(gtids: GtidSet) -> Self {
        Self {
            taken: gtids,
            inside: None,
            reads: BTreeMap::new(),
            last_ticket: 0,
        }
    }

    /// Whether a transaction may be taken in. One that has begun is always let through to its end.
    pub(in crate::pipeline) fn lets(&self, gtid: &Gtid) -> bool {
        self.reads.values().all(|read| {
            let low_water = read.low_water.as_ref();
            low_water.is_some_and(|set| set.contains(gtid))
        })
    }

    /// A transaction's first part is taken in.
    pub(in crate::pipeline) fn began(&mut self, gtid: &Gtid) {
        self.inside = Some(gtid.clone());
    }

    /// Its last part was taken in; `further` is a transaction that ends with it.
    pub(in crate::pipeline) fn ended(&mut self, gtid: &Gtid, further: Option<&Gtid>) {
        self.inside = None;
        self.taken.add(gtid);
        if let Some(further) = further {
            self.taken.add(further);
        }
    }

    /// A transaction that brings nothing has come, and counts as executed at the source: one half of an XA
    /// transaction.
    pub(in crate::pipeline) fn passed(&mut self, gtid: &Gtid) {
        self.taken.add(gtid);
    }

    /// Whether all of a set was taken in, as whole transactions.
    pub(in crate::pipeline) fn has_passed(&self, set: &GtidSet) -> bool {
        set.is_subset(&self.taken)
    }

    /// Whether a transaction was taken in, whole.
    pub(in crate::pipeline) fn has_passed_gtid(&self, gtid: &Gtid) -> bool {
        self.taken.contains(gtid)
    }

    /// A read begins: nothing is taken in until it knows its low water, which must be a superset of
    /// the answered set.
    pub(super) fn hold(&mut self, reader: u64) -> (Ticket, GtidSet) {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let read = Read {
            reader,
            low_water: None,
        };
        self.reads.insert(ticket, read);
        let mut taken = self.taken.clone();
        if let Some(inside) = &self.inside {
            taken.add(inside);
        }
        (ticket, taken)
    }

    /// All of `set` is visible to a read that has not looked yet.
    pub(super) fn low_water(&mut self, ticket: Ticket, set: GtidSet) {
        if let Some(read) = self.reads.get_mut(&ticket) {
            read.low_water = Some(set);
        }
    }

    /// Whether the stream is where the read was: all of its low water was taken in, and nothing
    /// else can be.
    pub(super) fn is_level(&self, ticket: Ticket) -> bool {
        let read = self.reads.get(&ticket);
        let low_water = read.and_then(|read| read.low_water.as_ref());
        low_water.is_some_and(|set| self.has_passed(set))
    }

    /// Whether the stream can't get to where the read was: `next` comes next, is not to be taken in before the
    /// read is written, and the low water has others that come later. A source shows transactions in another
    /// order than it logs them if it is told to (`binlog_order_commits = OFF`), or is a replica that does.
    pub(super) fn is_out_of_reach(&self, ticket: Ticket, next: &Gtid) -> bool {
        let read = self.reads.get(&ticket);
        let low_water = read.and_then(|read| read.low_water.as_ref());
        low_water.is_some_and(|set| !set.contains(next) && !self.has_passed(set))
    }

    /// What was read is committed, or given up.
    pub(super) fn release(&mut self, ticket: Ticket) {
        self.reads.remove(&ticket);
    }

    /// All reads of a reader but those in `kept` are given up.
    pub(super) fn release_reader(&mut self, reader: u64, kept: &[Ticket]) {
        self.reads
            .retain(|ticket, read| read.reader != reader || kept.contains(ticket));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOURCE: &str = "00000000-0000-0000-0000-00000000000a";

    fn set(intervals: &str) -> GtidSet {
        format!("{SOURCE}:{intervals}").parse().unwrap()
    }

    fn gtid(number: u64) -> Gtid {
        format!("{SOURCE}:{number}").parse().unwrap()
    }

    #[test]
    fn a_transaction_that_was_streamed_before_it_is_visible_keeps_the_read_waiting() {
        let mut gate = Gate::new(set("1-5"));
        // The source has written 6 to its binlog and sent it; a SELECT doesn't see it yet.
        assert!(gate.lets(&gtid(6)));
        gate.began(&gtid(6));
        gate.ended(&gtid(6), None);
        let (ticket, taken) = gate.hold(1);
        // The reader may not look before `gtid_executed` has 6, which is after it is visible.
        assert_eq!(taken, set("1-6"));
        assert!(
            !gate.lets(&gtid(7)),
            "nobody knows whether the read sees it"
        );
        gate.low_water(ticket, set("1-8"));
        assert!(gate.lets(&gtid(7)) && gate.lets(&gtid(8)));
        assert!(!gate.lets(&gtid(9)), "the read may not have seen it");
        gate.release(ticket);
        assert!(gate.lets(&gtid(9)));
    }

    #[test]
    fn a_transaction_of_which_a_part_came_counts() {
        let mut gate = Gate::new(set("1-5"));
        gate.began(&gtid(6));
        let (_, taken) = gate.hold(1);
        assert_eq!(taken, set("1-6"));
    }

    #[test]
    fn the_oldest_read_decides_and_the_next_one_follows() {
        let mut gate = Gate::new(set("1-5"));
        let (first, _) = gate.hold(1);
        gate.low_water(first, set("1-6"));
        let (second, _) = gate.hold(2);
        assert!(!gate.lets(&gtid(6)), "the second one holds it");
        gate.low_water(second, set("1-8"));
        assert!(gate.lets(&gtid(6)) && !gate.lets(&gtid(7)));
        gate.release(first);
        assert!(gate.lets(&gtid(7)) && !gate.lets(&gtid(9)));
        assert!(!gate.is_level(second));
        for number in 6..=8 {
            gate.began(&gtid(number));
            gate.ended(&gtid(number), None);
        }
        assert!(gate.is_level(second));
        gate.release_reader(2, &[second]);
        assert!(!gate.lets(&gtid(9)), "it is being written");
        gate.release_reader(2, &[]);
        assert!(gate.lets(&gtid(9)));
    }

    #[test]
    fn a_prepared_half_is_no_hole_in_what_a_read_waits_for() {
        let mut gate = Gate::new(set("1-5"));
        let (ticket, _) = gate.hold(1);
        // 6 is prepared and not ended.
        gate.low_water(ticket, set("1-7"));
        assert!(!gate.is_level(ticket));
        gate.passed(&gtid(6));
        assert!(gate.lets(&gtid(7)));
        gate.began(&gtid(7));
        gate.ended(&gtid(7), None);
        assert!(gate.is_level(ticket));
    }

    #[test]
    fn a_state_that_the_stream_never_comes_to_is_known() {
        let mut gate = Gate::new(set("1-5"));
        let (ticket, _) = gate.hold(1);
        assert!(!gate.is_out_of_reach(ticket, &gtid(6)), "it has not looked");
        // Logged as 6, 7; shown as 7, 6.
        gate.low_water(ticket, set("1-5:7"));
        assert!(gate.is_out_of_reach(ticket, &gtid(6)));
        gate.release(ticket);

        let (ticket, _) = gate.hold(1);
        gate.low_water(ticket, set("1-7"));
        assert!(!gate.is_out_of_reach(ticket, &gtid(6)), "it lets 6 in");
        for number in [6, 7] {
            gate.began(&gtid(number));
            gate.ended(&gtid(number), None);
        }
        // Level with it, the next one waits for it to be written.
        assert!(!gate.lets(&gtid(8)) && !gate.is_out_of_reach(ticket, &gtid(8)));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Commit,
        Stream,
        Show,
        Hold(u64),
        Look(u64),
        Write(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Commit),
            Just(Step::Stream),
            Just(Step::Show),
            (0..3u64).prop_map(Step::Hold),
            (0..3u64).prop_map(Step::Look),
            (0..3u64).prop_map(Step::Write),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        /// A source that writes its binlog, and shows what it wrote a little later; a stream that
        /// comes in between; three readers. No chunk is ever written to a sink that is beyond what
        /// it has seen.
        #[test]
        fn no_chunk_is_overtaken(steps in steps()) {
            let mut gate = Gate::new(GtidSet::new());
            let (mut logged, mut shown, mut taken) = (0u64, 0u64, 0u64);
            // Per reader: its ticket, what it must wait for, and what it saw once it has looked.
            type Reading = Option<(Ticket, GtidSet, Option<u64>)>;
            let mut readers: [Reading; 3] = [const { None }; 3];
            let up_to = |last: u64| if last == 0 { GtidSet::new() } else { set(&format!("1-{last}")) };
            for step in steps {
                match step {
                    Step::Commit => logged += 1,
                    Step::Show => shown = (shown + 1).min(logged),
                    Step::Stream => {
                        if taken < logged && gate.lets(&gtid(taken + 1)) {
                            taken += 1;
                            gate.began(&gtid(taken));
                            gate.ended(&gtid(taken), None);
                        }
                    }
                    Step::Hold(reader) => {
                        if readers[reader as usize].is_none() {
                            let (ticket, must_see) = gate.hold(reader);
                            readers[reader as usize] = Some((ticket, must_see, None));
                        }
                    }
                    Step::Look(reader) => {
                        if let Some((ticket, must_see, saw @ None)) = &mut readers[reader as usize]
                            && must_see.is_subset(&up_to(shown))
                        {
                            gate.low_water(*ticket, up_to(shown));
                            *saw = Some(shown);
                        }
                    }
                    Step::Write(reader) => {
                        if let Some((ticket, _, Some(saw))) = readers[reader as usize].clone() {
                            prop_assert!(taken <= saw, "the sink is at {taken}, the chunk is of {saw}");
                            gate.release(ticket);
                            readers[reader as usize] = None;
                        }
                    }
                }
            }
        }
    }
}
