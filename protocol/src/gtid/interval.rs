//! Arithmetic of interval lists: ascending, disjoint, non-adjacent inclusive `(first, last)`.
//!
//! All functions take and return lists of that form, and are total: any `u64` is allowed.

/// An inclusive interval of numbers.
pub(super) type Interval = (u64, u64);

/// Adds `first..=last` to a list. Constant time when it comes after the last interval or extends
/// it, as transactions mostly do; else a binary search and a move of what follows.
pub(super) fn add(list: &mut Vec<Interval>, first: u64, last: u64) {
    match list.last_mut() {
        Some(tail) if first > tail.1 => {
            if first - 1 == tail.1 {
                tail.1 = last;
            } else {
                list.push((first, last));
            }
        }
        Some(_) => insert(list, first, last),
        None => list.push((first, last)),
    }
}

fn insert(list: &mut Vec<Interval>, mut first: u64, mut last: u64) {
    let from = list.partition_point(|&(_, end)| end < first.saturating_sub(1));
    let to = list.partition_point(|&(start, _)| start <= last.saturating_add(1));
    if let Some(&(start, _)) = list.get(from).filter(|_| from < to) {
        first = first.min(start);
    }
    if let Some(&(_, end)) = to
        .checked_sub(1)
        .and_then(|at| list.get(at))
        .filter(|_| from < to)
    {
        last = last.max(end);
    }
    list.splice(from..to, [(first, last)]);
}

/// Is `first..=last` wholly in the list?
pub(super) fn covers(list: &[Interval], first: u64, last: u64) -> bool {
    let at = list.partition_point(|&(_, end)| end < first);
    list.get(at)
        .is_some_and(|&(start, end)| start <= first && last <= end)
}

/// What is in `a` or in `b`.
pub(super) fn union(a: &[Interval], b: &[Interval]) -> Vec<Interval> {
    let mut out = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x.0 > y.0 => b.next(),
            (Some(_), _) => a.next(),
            (None, _) => b.next(),
        };
        let Some(&(first, last)) = next else {
            return out;
        };
        add(&mut out, first, last);
    }
}

/// What is in `a` and not in `b`.
pub(super) fn subtract(a: &[Interval], b: &[Interval]) -> Vec<Interval> {
    let mut out = Vec::new();
    let mut holes = b.iter().copied().peekable();
    'intervals: for &(mut first, last) in a {
        while let Some(&(hole_first, hole_last)) = holes.peek() {
            if hole_first > last {
                break;
            }
            if hole_first > first {
                out.push((first, hole_first - 1));
            }
            if hole_last >= last {
                // The hole may reach into the next interval: keep it.
                continue 'intervals;
            }
            first = first.max(hole_last + 1);
            holes.next();
        }
        out.push((first, last));
    }
    out
}

/// Do the lists share a number?
pub(super) fn intersects(a: &[Interval], b: &[Interval]) -> bool {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        if x.1 < y.0 {
            a.next();
        } else if y.1 < x.0 {
            b.next();
        } else {
            return true;
        }
    }
    false
}
