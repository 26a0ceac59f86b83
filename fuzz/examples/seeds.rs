//! Writes the seeds of all targets to `corpus/`, where `cargo fuzz` looks for them.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let targets = [
        ("request", towpath_fuzz::seeds::requests()),
        ("entry", towpath_fuzz::seeds::entries()),
        ("snapshot", towpath_fuzz::seeds::snapshots()),
        ("event", towpath_fuzz::event::seeds()),
    ];
    for (target, seeds) in targets {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target);
        std::fs::create_dir_all(&dir)?;
        for (at, seed) in seeds.iter().enumerate() {
            std::fs::write(dir.join(format!("seed-{at:02}")), seed)?;
        }
    }
    Ok(())
}
