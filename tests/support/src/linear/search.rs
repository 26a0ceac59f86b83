//! Walks through a history and keeps every way in which things may stand.
//!
//! A [`Stand`] is the data, with the operations under way that have happened already, and those
//! without an outcome that were taken for having happened. Operations happen as late as can be: when
//! one returns, and the others under way only as far as it needs them. What keeps the number of
//! stands small, all of it exact:
//! * A read under way happens as soon as it can, since it changes nothing.
//! * Before the return of an operation only those happen that touch the same parts of the data,
//!   themselves or by way of others; the rest can wait.
//! * Equal operations without an outcome stand for one another: the oldest happens first.
//! * Of two equal stands, the one for which fewer operations without an outcome had to happen is
//!   kept: the others can still happen in it, or never.
//!
//! Still, each operation without an outcome may double the number of stands. So the first walks let
//! only a few of them happen in a row, which is enough to explain almost every history that can be
//! explained; what they don't explain is decided by one that lets all happen.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use super::model::Model;
use super::{Operation, Outcome};

/// Stands that are looked at for one return; more would take hours for a long history.
pub(super) const STANDS_MAX: usize = 100_000;
/// How many operations without an outcome may happen in a row, in one walk after the other.
const LOST_IN_A_ROW_MAX: [usize; 4] = [1, 2, 4, usize::MAX];

/// A place in the list of operations.
pub(super) type Place = usize;

/// A moment in the history. Calls come before returns of the same moment: those overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Call(Place),
    Return(Place),
}

/// The events in their order.
#[derive(Clone, Debug)]
pub(super) struct Events(pub(super) Vec<Event>);

impl Events {
    pub(super) fn of<C, A>(operations: &[Operation<C, A>]) -> Self {
        let mut events = Vec::with_capacity(operations.len() * 2);
        for (place, operation) in operations.iter().enumerate() {
            events.push((operation.called_ns, Event::Call(place)));
            if let Outcome::Answered { returned_ns, .. } = operation.outcome {
                events.push((returned_ns, Event::Return(place)));
            }
        }
        events.sort_unstable();
        Self(events.into_iter().map(|(_, event)| event).collect())
    }
}

/// One way in which things may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stand<S> {
    pub(super) state: S,
    /// Answered operations under way that have happened, in order of place.
    done: Vec<Place>,
    /// Operations without an outcome that have happened, in order of place.
    used: Vec<Place>,
}

/// What a walk looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Operations without an outcome that may happen in a row.
    pub(super) lost_in_a_row: usize,
    /// Stands for one return.
    pub(super) stands: usize,
}

impl Bounds {
    /// All that can be.
    pub(super) const NONE: Self = Self {
        lost_in_a_row: usize::MAX,
        stands: STANDS_MAX,
    };
}

/// Why a walk ends early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At this event, nothing explains the answer.
    Stuck { event: usize },
    /// There were more stands than this.
    TooMany(usize),
}

/// A walk under way.
pub(super) struct Walk<'a, M: Model> {
    operations: &'a [Operation<M::Call, M::Answer>],
    /// Which operations count as if they had no outcome, by place.
    weak: &'a [bool],
    /// Operations with the same number ask the same.
    alike: &'a [usize],
    bounds: Bounds,
    /// Whether a bound kept something from being looked at.
    is_bounded: bool,
    open: Vec<Place>,
    lost: Vec<Place>,
    stands: Vec<Stand<M::State>>,
}

/// Whether the history is linearizable.
pub(super) fn walk<M: Model>(
    operations: &[Operation<M::Call, M::Answer>],
    events: &Events,
) -> Result<(), Stop> {
    let weak = vec![false; operations.len()];
    let alike = alike::<M>(operations);
    let mut last = Ok(());
    for lost_in_a_row in LOST_IN_A_ROW_MAX {
        let bounds = Bounds {
            lost_in_a_row,
            stands: STANDS_MAX,
        };
        let mut walk = Walk::<M>::new(operations, &weak, &alike, bounds);
        last = walk.run(events, 0..events.0.len(), |_, _| {});
        if last.is_ok() || !walk.is_bounded {
            break;
        }
    }
    last
}

/// Gives each operation the place of the first that asks the same.
pub(super) fn alike<M: Model>(operations: &[Operation<M::Call, M::Answer>]) -> Vec<Place> {
    let mut first = HashMap::new();
    let calls = operations.iter().map(|operation| &operation.call);
    calls
        .enumerate()
        .map(|(place, call)| *first.entry(call).or_insert(place))
        .collect()
}

impl<'a, M: Model> Walk<'a, M> {
    pub(super) fn new(
        operations: &'a [Operation<M::Call, M::Answer>],
        weak: &'a [bool],
        alike: &'a [Place],
        bounds: Bounds,
    ) -> Self {
        let stands = vec![Stand {
            state: M::initial(),
            done: Vec::new(),
            used: Vec::new(),
        }];
        Self {
            operations,
            weak,
            alike,
            bounds,
            is_bounded: false,
            open: Vec::new(),
            lost: Vec::new(),
            stands,
        }
    }

    /// The same walk as if it stood before the event of number `at`, with these stands.
    pub(super) fn resumed(
        mut self,
        events: &Events,
        at: usize,
        stands: Vec<Stand<M::State>>,
    ) -> Self {
        for event in events.0.iter().take(at) {
            match *event {
                Event::Call(place) => self.begin(place),
                Event::Return(place) => self.open.retain(|open| *open != place),
            }
        }
        self.stands = stands;
        self
    }

    /// How things may stand now.
    pub(super) fn stands(&self) -> &[Stand<M::State>] {
        &self.stands
    }

    /// Goes through events; `look` is called before each.
    pub(super) fn run(
        &mut self,
        events: &Events,
        range: std::ops::Range<usize>,
        mut look: impl FnMut(&Self, usize),
    ) -> Result<(), Stop> {
        let (from, count) = (range.start, range.len());
        for (number, event) in events.0.iter().enumerate().skip(from).take(count) {
            look(self, number);
            match *event {
                Event::Call(place) => {
                    self.begin(place);
                    if let Some(answer) = self.reads(place) {
                        let call = self.call(place);
                        for stand in &mut self.stands {
                            if call.is_some_and(|call| {
                                M::apply(&stand.state, call, Some(answer)).is_some()
                            }) {
                                insert(&mut stand.done, place);
                            }
                        }
                    }
                }
                Event::Return(place) if self.is_weak(place) => {}
                Event::Return(place) => self.pass(place, number)?,
            }
        }
        Ok(())
    }

    fn call(&self, place: Place) -> Option<&'a M::Call> {
        self.operations.get(place).map(|operation| &operation.call)
    }

    /// The answer, if it counts.
    fn answer(&self, place: Place) -> Option<&'a M::Answer> {
        match &self.operations.get(place)?.outcome {
            Outcome::Answered { answer, .. } if !self.is_weak(place) => Some(answer),
            _ => None,
        }
    }

    /// The answer, if it's one of a read that counts.
    fn reads(&self, place: Place) -> Option<&'a M::Answer> {
        let call = self.call(place)?;
        self.answer(place).filter(|answer| M::is_read(call, answer))
    }

    fn is_weak(&self, place: Place) -> bool {
        self.weak.get(place).copied().unwrap_or_default()
    }

    fn begin(&mut self, place: Place) {
        match self.answer(place) {
            Some(_) => self.open.push(place),
            None => self.lost.push(place),
        }
    }

    /// Lets the operation at `place` have happened, and others before it as far as it needs them.
    fn pass(&mut self, place: Place, event: usize) -> Result<(), Stop> {
        let (open, lost) = self.near(place);
        let mut passed = Kept::default();
        let mut seen = Kept::default();
        let mut todo = VecDeque::new();
        for stand in &self.stands {
            if stand.done.contains(&place) {
                passed.keep(without(stand.clone(), place));
            } else if seen.keep(stand.clone()) {
                todo.push_back((stand.clone(), 0));
            }
        }
        // Stands that need fewer operations without an outcome come first.
        while let Some((stand, in_a_row)) = todo.pop_front() {
            if seen.count > self.bounds.stands {
                return Err(Stop::TooMany(self.bounds.stands));
            }
            for next in open.iter().filter(|next| !stand.done.contains(next)) {
                if let Some(mut then) = self.after(&stand, *next, self.answer(*next)) {
                    insert(&mut then.done, *next);
                    self.settle(&mut then);
                    if then.done.contains(&place) {
                        passed.keep(without(then, place));
                    } else if seen.keep(then.clone()) {
                        todo.push_front((then, in_a_row));
                    }
                }
            }
            let mut tried = Vec::new();
            for next in lost.iter().filter(|next| !stand.used.contains(next)) {
                let alike = self.alike.get(*next);
                if stand.done.contains(next) || tried.contains(&alike) {
                    continue;
                }
                tried.push(alike);
                let then = self.after(&stand, *next, None);
                let Some(mut then) = then.filter(|then| then.state != stand.state) else {
                    continue;
                };
                if in_a_row >= self.bounds.lost_in_a_row {
                    self.is_bounded = true;
                    break;
                }
                insert(&mut then.used, *next);
                self.settle(&mut then);
                if then.done.contains(&place) {
                    passed.keep(without(then, place));
                } else if seen.keep(then.clone()) {
                    todo.push_back((then, in_a_row + 1));
                }
            }
        }
        if passed.count == 0 {
            return Err(Stop::Stuck { event });
        }
        self.open.retain(|open| *open != place);
        self.stands = passed.into_stands();
        Ok(())
    }

    /// The changes under way that could matter to an operation: those answered, and the others. A
    /// read of several parts makes the order of their changes matter. Where only one without an
    /// outcome may happen at a time, it joins no parts.
    fn near(&mut self, place: Place) -> (Vec<Place>, Vec<Place>) {
        let parts = self.call(place).map_or(0, M::touches);
        let touches = |place: &Place| self.call(*place).map_or(0, M::touches);
        let close = |parts: u64, places: &[Place]| {
            let close = places.iter().filter(|place| touches(place) & parts != 0);
            close.fold(parts, |parts, place| parts | touches(place))
        };
        let grown = |mut parts: u64, with_lost: bool| {
            loop {
                let mut more = close(parts, &self.open);
                if with_lost {
                    more = close(more, &self.lost);
                }
                if more == parts {
                    return parts;
                }
                parts = more;
            }
        };
        let all = grown(parts, true);
        let parts = match self.bounds.lost_in_a_row {
            1 => grown(parts, false),
            _ => all,
        };
        let is_near = |place: &Place| touches(place) & parts != 0 && self.reads(*place).is_none();
        let open = self.open.iter().copied().filter(is_near).collect();
        let lost = self.lost.iter().copied().filter(is_near).collect();
        self.is_bounded |= parts != all;
        (open, lost)
    }

    fn after(
        &self,
        stand: &Stand<M::State>,
        place: Place,
        answer: Option<&M::Answer>,
    ) -> Option<Stand<M::State>> {
        let state = M::apply(&stand.state, self.call(place)?, answer)?;
        Some(Stand {
            state,
            done: stand.done.clone(),
            used: stand.used.clone(),
        })
    }

    /// Lets every read under way happen that can.
    fn settle(&self, stand: &mut Stand<M::State>) {
        for place in &self.open {
            if let (Some(answer), Some(call)) = (self.reads(*place), self.call(*place))
                && !stand.done.contains(place)
                && M::apply(&stand.state, call, Some(answer)).is_some()
            {
                insert(&mut stand.done, *place);
            }
        }
    }
}

fn insert(places: &mut Vec<Place>, place: Place) {
    if let Err(at) = places.binary_search(&place) {
        places.insert(at, place);
    }
}

fn without<S>(mut stand: Stand<S>, place: Place) -> Stand<S> {
    stand.done.retain(|done| *done != place);
    stand
}

/// Stands, without those that another one of them makes needless.
struct Kept<S> {
    stands: HashMap<(S, Vec<Place>), Vec<Vec<Place>>>,
    /// How many were kept, those included that became needless since.
    count: usize,
}

impl<S> Default for Kept<S> {
    fn default() -> Self {
        Self {
            stands: HashMap::new(),
            count: 0,
        }
    }
}

impl<S: Clone + Eq + Hash> Kept<S> {
    /// Whether it was kept.
    fn keep(&mut self, stand: Stand<S>) -> bool {
        let Stand { state, done, used } = stand;
        let others = self.stands.entry((state, done)).or_default();
        if others.iter().any(|other| is_subset(other, &used)) {
            return false;
        }
        others.retain(|other| !is_subset(&used, other));
        others.push(used);
        self.count += 1;
        true
    }

    fn into_stands(self) -> Vec<Stand<S>> {
        let mut stands = Vec::new();
        for ((state, done), all) in self.stands {
            stands.extend(all.into_iter().map(|used| Stand {
                state: state.clone(),
                done: done.clone(),
                used,
            }));
        }
        stands
    }
}

/// Both are sorted.
fn is_subset(part: &[Place], whole: &[Place]) -> bool {
    let mut whole = whole.iter();
    part.iter()
        .all(|place| whole.by_ref().any(|other| other == place))
}
