//! A contradiction, cut down to what a person can read.
//!
//! It begins at the last moment at which the answer that nothing explains was still right, and leaves
//! out all operations without which it's a contradiction too: whatever came of those.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::model::Model;
use super::search::{Bounds, Event, Events, Place, Stand, Stop, Walk, alike};
use super::{Operation, Outcome};

/// Lines of one kind in a text.
const LINES_MAX: usize = 40;

/// Stands that may be looked at to leave one operation out; if there are more, it's shown.
const BOUNDS: Bounds = Bounds {
    lost_in_a_row: usize::MAX,
    stands: 2_000,
};

/// The first contradiction of a history, as text; empty if there's none. `shown` are the operations
/// in the form in which people are to see them.
pub(super) fn contradiction<M: Model>(
    operations: &[Operation<M::Call, M::Answer>],
    shown: &[Operation<M::Call, M::Answer>],
) -> String {
    let events = Events::of(operations);
    let alike = alike::<M>(operations);
    let explain = Explain::<M> {
        operations,
        shown,
        events: &events,
        alike: &alike,
    };
    let all = 0..events.0.len();
    match explain
        .walk(&vec![false; operations.len()])
        .run(&events, all, |_, _| {})
    {
        Err(Stop::Stuck { event }) => explain.text(event),
        Err(Stop::TooMany(_)) | Ok(()) => String::new(),
    }
}

struct Explain<'a, M: Model> {
    operations: &'a [Operation<M::Call, M::Answer>],
    shown: &'a [Operation<M::Call, M::Answer>],
    events: &'a Events,
    alike: &'a [Place],
}

impl<'a, M: Model> Explain<'a, M> {
    fn walk(&self, weak: &'a [bool]) -> Walk<'a, M> {
        Walk::new(self.operations, weak, self.alike, Bounds::NONE)
    }

    fn text(&self, stuck: usize) -> String {
        let Some(Event::Return(last)) = self.events.0.get(stuck).copied() else {
            return String::new();
        };
        let none = vec![false; self.operations.len()];
        let begin = self.begin(last, stuck);
        let mut at_begin = Vec::new();
        let mut before = Vec::new();
        let run = self
            .walk(&none)
            .run(self.events, 0..stuck + 1, |walk, event| {
                if event == begin {
                    at_begin = walk.stands().to_vec();
                }
                if event == stuck {
                    before = walk.stands().to_vec();
                }
            });
        debug_assert_eq!(run, Err(Stop::Stuck { event: stuck }));
        let within: BTreeSet<Place> = self.within(begin, stuck).collect();
        let needed = self.needed(begin, stuck, last, &at_begin, &within);
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = self.write(&mut text, last, &needed, &within, [&at_begin, &before]);
        text
    }

    /// The last event before which the operation's answer could have been right; else its call.
    fn begin(&self, last: Place, stuck: usize) -> usize {
        let none = vec![false; self.operations.len()];
        let called = |event: &Event| *event == Event::Call(last);
        let mut begin = self.events.0.iter().position(called).unwrap_or_default();
        let Some((call, answer)) = self.answered(last) else {
            return begin;
        };
        let mut right = None;
        let _ = self.walk(&none).run(self.events, 0..stuck, |walk, event| {
            let fits = |stand: &Stand<M::State>| M::apply(&stand.state, call, Some(answer));
            if walk.stands().iter().any(|stand| fits(stand).is_some()) {
                right = Some(event);
            }
        });
        begin = right.unwrap_or(begin).min(begin);
        begin
    }

    fn answered(&self, place: Place) -> Option<(&M::Call, &M::Answer)> {
        let operation = self.operations.get(place)?;
        match &operation.outcome {
            Outcome::Answered { answer, .. } => Some((&operation.call, answer)),
            Outcome::Unknown => None,
        }
    }

    /// Operations that are under way, or begin, between two events.
    fn within(&self, begin: usize, stuck: usize) -> impl Iterator<Item = Place> {
        let returned: BTreeSet<Place> = self
            .events
            .0
            .iter()
            .take(begin)
            .filter_map(|event| match event {
                Event::Return(place) => Some(*place),
                Event::Call(_) => None,
            })
            .collect();
        let events = self.events.0.iter().take(stuck);
        events.filter_map(move |event| match event {
            Event::Call(place) if !returned.contains(place) => Some(*place),
            _ => None,
        })
    }

    /// The answered operations without whose answers there would be no contradiction, and the last.
    fn needed(
        &self,
        begin: usize,
        stuck: usize,
        last: Place,
        stands: &[Stand<M::State>],
        within: &BTreeSet<Place>,
    ) -> BTreeSet<Place> {
        let is_stuck = |weak: &[bool]| {
            let mut walk = Walk::<M>::new(self.operations, weak, self.alike, BOUNDS).resumed(
                self.events,
                begin,
                stands.to_vec(),
            );
            let run = walk.run(self.events, begin..stuck + 1, |_, _| {});
            matches!(run, Err(Stop::Stuck { .. }))
        };
        let mut weak = vec![false; self.operations.len()];
        let answered = |place: &Place| *place != last && self.answered(*place).is_some();
        let mut left: Vec<Place> = within.iter().copied().filter(answered).collect();
        // Halves first, then quarters, at last one by one.
        let mut size = left.len().div_ceil(2).max(1);
        loop {
            let mut kept = Vec::new();
            for some in left.chunks(size) {
                let mut weaker = weak.clone();
                for place in some {
                    if let Some(weak) = weaker.get_mut(*place) {
                        *weak = true;
                    }
                }
                if is_stuck(&weaker) {
                    weak = weaker;
                } else {
                    kept.extend(some);
                }
            }
            left = kept;
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
        left.push(last);
        left.into_iter().collect()
    }

    fn write(
        &self,
        text: &mut String,
        last: Place,
        needed: &BTreeSet<Place>,
        within: &BTreeSet<Place>,
        [at_begin, before]: [&[Stand<M::State>]; 2],
    ) -> std::fmt::Result {
        writeln!(text, "  at first: {}", states(at_begin))?;
        let mut shown: Vec<Place> = needed.iter().copied().collect();
        shown.sort_by_key(|place| self.shown.get(*place).map(|at| at.called_ns));
        let skipped = shown.len().saturating_sub(LINES_MAX);
        if skipped > 0 {
            writeln!(text, "  … {skipped} more")?;
        }
        for place in shown.into_iter().skip(skipped) {
            let Some(operation) = self.shown.get(place) else {
                continue;
            };
            write!(
                text,
                "  client {:>2}  {:>14} ",
                operation.client,
                seconds(operation.called_ns)
            )?;
            match &operation.outcome {
                Outcome::Answered {
                    answer,
                    returned_ns,
                } => write!(
                    text,
                    "… {:>14}  {}",
                    seconds(*returned_ns),
                    M::show(&operation.call, answer)
                )?,
                Outcome::Unknown => write!(text, "… nothing  {}", operation.call)?,
            }
            let mark = if place == last {
                "   <- impossible"
            } else {
                ""
            };
            writeln!(text, "{mark}")?;
        }
        writeln!(text, "  possible by then: {}", states(before))?;
        let others = within.len() - needed.len();
        if others > 0 {
            writeln!(
                text,
                "  {others} further operations at that time don't explain it, whatever came of them"
            )?;
        }
        Ok(())
    }
}

fn seconds(ns: u64) -> String {
    format!("{}.{:06} s", ns / 1_000_000_000, ns % 1_000_000_000 / 1000)
}

fn states<S: std::fmt::Display>(stands: &[Stand<S>]) -> String {
    let states: BTreeSet<String> = stands.iter().map(|stand| stand.state.to_string()).collect();
    let more = states.len().saturating_sub(LINES_MAX);
    let mut text = states
        .into_iter()
        .take(LINES_MAX)
        .collect::<Vec<_>>()
        .join("; or ");
    if more > 0 {
        let _ = write!(text, "; or one of {more} more");
    }
    text
}
