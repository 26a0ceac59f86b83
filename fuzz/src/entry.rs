//! A log: entries are decoded and applied, or skipped. The same entries give the same state, and
//! an entry that is decoded encodes to one with the same meaning.

use towpath_directory::state::{Command, Kind, Origin, State};

use crate::{chunk, whole};

/// The session that exists from the start.
pub const SESSION: i64 = 0x0100_0000_0000_0001;

/// Applies a log of chunks.
pub fn check(data: &[u8]) {
    let once = replay(data);
    whole::check(&once);
    whole::check_snapshot(&once);
    let again = replay(data);
    assert!(
        whole::image(&once) == whole::image(&again),
        "the same log gave two states"
    );
    // The end of all sessions leaves no ephemeral node.
    let mut state = once;
    let sessions: Vec<i64> = state.sessions.iter().map(|(session, _)| session).collect();
    for session in sessions {
        apply(&mut state, Kind::Close { session });
        assert_eq!(state.tree.ephemerals(session).count(), 0);
    }
    whole::check(&state);
}

fn replay(mut data: &[u8]) -> State {
    let mut state = State::default();
    apply(
        &mut state,
        Kind::Open {
            session: SESSION,
            timeout_ms: 1000,
            password: [7; 16],
        },
    );
    while let Some(entry) = chunk(&mut data) {
        let Ok(command) = Command::decode(entry) else {
            continue;
        };
        let bytes = command.encode();
        assert_eq!(Command::decode(&bytes).as_ref(), Ok(&command));
        let before = state.tree.len();
        let mut changes = Vec::new();
        let outcome = state.apply(&command, &mut changes);
        if outcome.is_err() {
            assert!(
                changes.is_empty() && state.tree.len() == before,
                "{outcome:?} changed something"
            );
        }
    }
    state
}

fn apply(state: &mut State, kind: Kind<'_>) {
    let command = Command {
        time_ms: 1,
        origin: Origin {
            life: 0,
            request: 0,
        },
        kind,
    };
    state
        .apply(&command, &mut Vec::new())
        .expect("it's known to work");
}
