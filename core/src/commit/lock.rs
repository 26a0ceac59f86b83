//! Named locks: the server-side proof that a connection is the only one of its lane.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What a connection does, as far as locks are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The n-th connection that applies rows, from 0.
    Rows(u32),
    /// The connection that runs DDL and reads definitions.
    Ddl,
}

/// The lock's name for `GET_LOCK`: at most 64 characters, equal for every process that runs this
/// lane of this pipeline and sink. Locks are global in a server, so the name carries the pipeline's
/// UUID.
pub fn lock_name(pipeline: Uuid, sink: &str, lane: Lane) -> String {
    let mut digest = Sha256::new();
    digest.update(pipeline.as_bytes());
    digest.update(sink.as_bytes());
    let lane = match lane {
        Lane::Rows(n) => format!("{n}"),
        Lane::Ddl => "ddl".to_owned(),
    };
    let hash = digest.finalize();
    let hex: String = hash
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("towpath:{hex}:{lane}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let pipeline = Uuid::from_u128(7);
        let name = lock_name(pipeline, "replica", Lane::Rows(4_000_000));
        assert!(name.len() <= 64, "{name}");
        let names = [
            lock_name(pipeline, "replica", Lane::Rows(0)),
            lock_name(pipeline, "replica", Lane::Rows(1)),
            lock_name(pipeline, "replica", Lane::Ddl),
            lock_name(pipeline, "other", Lane::Rows(0)),
            lock_name(Uuid::from_u128(8), "replica", Lane::Rows(0)),
        ];
        for (i, a) in names.iter().enumerate() {
            assert!(!names[i + 1..].contains(a), "{a}");
        }
    }
}
