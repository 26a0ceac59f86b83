//! A release build holds no failpoint.

use std::process::Command;

use towpath_core::failpoint::Point;

/// The module stands for all of it: names, parser and actions are nowhere else, and the other
/// modules only call it. It has no dependencies in a release build, or this wouldn't compile.
#[test]
fn a_release_build_holds_no_failpoint() {
    let dir = std::env::temp_dir().join(format!("towpath-failpoint-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let built = dir.join("failpoint.o");
    let status = Command::new("rustc")
        // Not optimized: inlining would leave out what nobody calls within this file.
        .args(["--edition=2024", "--crate-type=lib", "--emit=obj"])
        .args(["-Cdebug-assertions=no", "-o"])
        .arg(&built)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/failpoint.rs"))
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    let release = std::fs::read(&built).unwrap();
    let debug = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let holds =
        |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|at| at == text.as_bytes());
    for text in Point::ALL
        .iter()
        .map(|point| point.name())
        .chain(["TOWPATH_FAILPOINTS"])
    {
        assert!(!holds(&release, text), "{text} is in a release build");
    }
    // What is looked for can be found.
    assert!(holds(&debug, "TOWPATH_FAILPOINTS"));
}
