//! Who this directory is, and where named databases are.

use jiff::Timestamp;
use uuid::Uuid;

use crate::epoch::Generation;

record! {
    /// The directory's identity: `/towpath/cluster`. A row of another `id` is refused by sinks.
    example = r#"{"version":1,"id":"6f6c1b6e-43a5-4a5e-9d1b-0d6b7a7f3c11","generation":1,"created":"2026-11-22T02:40:00Z"}"#;
    pub struct Cluster {
        /// Made once, when the directory is.
        pub id: Uuid,
        /// Raised when the directory is rebuilt or adopts sinks, so that its epochs supersede.
        pub generation: Generation,
        /// When it was made.
        pub created: Timestamp,
    }
}

record! {
    /// Where a named database is now: `/towpath/datasources/{name}`. A change moves running
    /// pipelines. Holds no user and no password.
    example = r#"{"version":1,"address":"db2.example.net:3306","since":"2026-11-22T02:40:00Z","by":"anna","reason":"db1 is being replaced"}"#;
    pub struct DataSource {
        /// `host:port`.
        pub address: String,
        /// Since when it is there.
        pub since: Timestamp,
        /// Who moved it.
        pub by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reason: Option<String>,
    }
}
