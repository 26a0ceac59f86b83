//! Who holds a lock, or waits for it.

use jiff::Timestamp;
use uuid::Uuid;

record! {
    /// `/towpath/locks/{name}/{exclusive,shared}-…`, ephemeral and sequential.
    example = r#"{"version":1,"owner":"core-1","purpose":"apply","request":"f2a1e5f3-2a39-4f47-9a50-1f0d9a6b6d7e","since":"2026-11-22T02:40:00Z"}"#;
    pub struct LockHolder {
        /// Who: the id of a member, a user.
        pub owner: String,
        /// What for.
        pub purpose: String,
        /// Made anew for each request, so that a node whose creation wasn't confirmed is found.
        pub request: Uuid,
        /// Since when it waits or holds.
        pub since: Timestamp,
    }
}
