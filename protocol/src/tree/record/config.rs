//! What is changed live, in every process.

record! {
    /// `/towpath/config/log`.
    example = r#"{"version":1,"filter":"info,towpath_core::apply=debug"}"#;
    pub struct LogConfig {
        /// A filter in the syntax of `tracing-subscriber`'s `EnvFilter`.
        pub filter: String,
    }
}

record! {
    /// `/towpath/config/limits/{name}`: bounds that hold from now on; one that isn't given is as
    /// the pipeline file says.
    example = r#"{"version":1,"rows_per_second_max":50000,"bytes_per_second_max":33554432,"queue_bytes_max":67108864}"#;
    #[derive(Default, Eq)]
    pub struct LimitsConfig {
        /// Most rows that go into the sink each second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rows_per_second_max: Option<u64>,
        /// Most bytes that are read from the source each second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub bytes_per_second_max: Option<u64>,
        /// Most bytes in the queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub queue_bytes_max: Option<u64>,
    }
}
