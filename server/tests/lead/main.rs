//! A leader, a real directory, and Cores that only pretend to move data.

mod rig;
mod core;
mod placement;
mod verbs;
mod recovery;
mod hundred;
