//! What holds for any tree, however it came about.

use towpath_directory::state::{State, snapshot};

/// Every node but the root is its parent's child and every child a node; the sums are right.
pub fn check(state: &State) {
    let tree = &state.tree;
    let (mut children, mut bytes, mut owned) = (0, 0, 0);
    for (path, node) in tree.sorted() {
        bytes += (path.len() + node.data_len()) as u64;
        children += node.children_len();
        for name in node.child_names() {
            let parent = if &**path == "/" { "" } else { path };
            assert!(
                tree.get(&format!("{parent}/{name}")).is_some(),
                "{path} has no {name}"
            );
        }
        if let towpath_directory::tree::node::Owner::Session(session) = node.owner {
            owned += 1;
            assert!(
                tree.ephemerals(session).any(|owned| owned == &**path),
                "{path} isn't owned"
            );
        }
    }
    assert_eq!(children + 1, tree.len(), "nodes that are nobody's children");
    assert_eq!(bytes, tree.data_bytes(), "bytes of data");
    assert_eq!(owned, tree.ephemerals_len(), "ephemeral nodes");
}

/// A snapshot gives the same state back.
pub fn check_snapshot(state: &State) {
    let image = image(state);
    let (back, log) = snapshot::read(&image[..]).expect("what was written is read");
    assert_eq!((back.zxid, &log[..]), (state.zxid, &b"log"[..]));
    assert!(
        self::image(&back) == image,
        "a snapshot of what a snapshot gave is another"
    );
}

/// The state as a snapshot.
pub fn image(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    snapshot::write(state, b"log", &mut out).expect("memory takes it");
    out
}
