//! What operations do, one after the other.

use std::fmt::{Debug, Display};
use std::hash::Hash;

/// The data, and what operations do to it when nothing happens at the same time.
pub trait Model {
    /// The data.
    type State: Clone + Debug + Display + Eq + Hash;
    /// What is asked. Two equal ones whose outcome isn't known can stand for one another.
    type Call: Clone + Debug + Display + Eq + Hash;
    /// What is answered.
    type Answer: Clone + Debug + Display;

    /// The data before the first operation.
    fn initial() -> Self::State;

    /// What the data is after an operation that was answered so; none if it couldn't have been.
    /// Without an answer: what it is if the operation had its effect, and none if it has none.
    fn apply(
        state: &Self::State,
        call: &Self::Call,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;

    /// Whether an operation that was answered so leaves the data as it is, whatever it is.
    fn is_read(call: &Self::Call, answer: &Self::Answer) -> bool;

    /// What an operation asked and was answered, for people.
    fn show(call: &Self::Call, answer: &Self::Answer) -> String {
        format!("{call} -> {answer}")
    }

    /// Parts of the data that an operation looks at or changes, one bit each. The order of two
    /// operations that share none makes no difference.
    fn touches(call: &Self::Call) -> u64;
}
