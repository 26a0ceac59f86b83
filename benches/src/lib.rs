//! What several benchmarks need: the same workloads, and what a process costs.

pub mod process;
pub mod workload;
