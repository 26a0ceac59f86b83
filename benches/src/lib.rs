//! What several benchmarks need: the same servers and workloads, what a process costs, and how
//! figures are told.

pub mod figures;
pub mod process;
pub mod rig;
pub mod workload;
