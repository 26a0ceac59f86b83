//! kazoo's own tests; see `tests/kazoo/run`.

use std::process::Command;

/// Takes a minute and a half, and Python packages from PyPI.
#[test]
#[ignore = "takes long"]
fn kazoo() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kazoo/run");
    assert!(Command::new(script).status().unwrap().success());
}
