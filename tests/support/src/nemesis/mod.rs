//! What can go wrong around a process, done to real ones.
//!
//! * [`sandbox`]: namespaces for a test's network and file systems. Nothing needs root, and nothing
//!   stays behind, however the test ends: the kernel clears away what nobody is in.
//! * [`network`]: a machine's address for each member, and partitions between them.
//! * [`disk`]: a disk that is full, slow or broken.
//!
//! `kill -9`, SIGSTOP and SIGCONT are methods of a process.

pub mod sandbox;
pub mod network;
pub mod disk;

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Runs a program of the system that says nothing when it's done.
fn run(program: &str, words: &[&str]) -> Result<()> {
    let told = || format!("{program} {}", words.join(" "));
    let output = Command::new(program)
        .args(words)
        .output()
        .with_context(|| format!("{}: is it installed?", told()))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        told(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
