//! What can go wrong at a sink, and who must act.

/// An error of a sink.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The connection could not be made or was lost.
    #[error("sink {sink}: {doing}: {source}")]
    Connection {
        /// The sink's name.
        sink: String,
        /// What was being done.
        doing: &'static str,
        /// The library's error.
        source: mysql_async::Error,
    },
    /// The server refused a statement.
    #[error("sink {sink}: {doing}: ERROR {code} ({state}): {message}{context}")]
    Server {
        /// The sink's name.
        sink: String,
        /// What was being done.
        doing: &'static str,
        /// MySQL's error number.
        code: u16,
        /// SQLSTATE.
        state: String,
        /// The server's text.
        message: String,
        /// Where: table, statement, GTIDs; empty or beginning with a space.
        context: String,
    },
    /// The server answered another number of statements than were sent.
    #[error(
        "sink {sink}: {doing}: {statements} statements were sent, {answered} answered; the epoch ends"
    )]
    Answers {
        /// The sink's name.
        sink: String,
        /// What was being done.
        doing: &'static str,
        /// Statements sent.
        statements: usize,
        /// Statements answered.
        answered: usize,
    },
    /// Another owner has taken the sink over.
    #[error(
        "sink {sink}: superseded: the offset row of pipeline {pipeline} is now at generation {generation}, \
         epoch {epoch}, owned by {owner}; this process (epoch {own_epoch}) has written nothing since and \
         stops. If both were meant to run, give them different names"
    )]
    Superseded {
        /// The sink's name.
        sink: String,
        /// The pipeline's name.
        pipeline: String,
        /// Generation in the row.
        generation: u64,
        /// Epoch in the row.
        epoch: u64,
        /// Owner in the row.
        owner: String,
        /// Our own epoch.
        own_epoch: u64,
    },
    /// The compare-and-set in a commit matched no row: somebody else moved the offset.
    #[error(
        "sink {sink}: fenced: the offset row is no longer at epoch {epoch}, commit {commit_seq}; rolled back"
    )]
    Fenced {
        /// The sink's name.
        sink: String,
        /// Our epoch.
        epoch: u64,
        /// The commit number that was expected.
        commit_seq: u64,
    },
    /// The offset row belongs to somebody else, or is damaged.
    #[error("sink {sink}: {detail}")]
    OffsetRow {
        /// The sink's name.
        sink: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// The offset row belongs to another directory.
    #[error(
        "sink {sink}: the offset row of pipeline {pipeline} belongs to directory {row} (ours: {own}), whose \
         Cores may be running it; {next}"
    )]
    Cluster {
        /// The sink's name.
        sink: String,
        /// The pipeline's name.
        pipeline: String,
        /// The directory that the row belongs to: `id` of its `/towpath/cluster`.
        row: String,
        /// Our own directory, or "none".
        own: String,
        /// What to do.
        next: &'static str,
    },
    /// The sink has no place, though the directory knows that the pipeline ran.
    #[error(
        "sink {sink}: it has no offset of pipeline {pipeline}, but the directory knows that the pipeline \
         ran before (was the sink restored or renamed?); `start = \"now\"` would skip what was written \
         since. Restore the row of towpath.offset with those of towpath.offset_gtid, or say where to begin \
         with `start = \"gtid:…\"`, or delete the pipeline and apply it anew"
    )]
    RanBefore {
        /// The sink's name.
        sink: String,
        /// The pipeline's name.
        pipeline: String,
    },
    /// The locks of the predecessor could not be had in time.
    #[error(
        "sink {sink}: lock {lock} is still held by connection {holder} after {waited_s} s; it is being \
         rolled back or can't be killed: see SHOW PROCESSLIST on the sink"
    )]
    LockTimeout {
        /// The sink's name.
        sink: String,
        /// The lock's name.
        lock: String,
        /// The connection that holds it, 0 if unknown.
        holder: u64,
        /// Seconds waited.
        waited_s: u64,
    },
    /// A statement matched another number of rows than the source changed.
    #[error(
        "sink {sink}: {operation} on {table} matched {matched} of {expected} rows{rows}; the sink has \
         diverged from the source (somebody else writes to it, or it was not a copy at the start): repair \
         these rows, then start again"
    )]
    Diverged {
        /// The sink's name.
        sink: String,
        /// UPDATE, DELETE or INSERT.
        operation: &'static str,
        /// Database and table.
        table: String,
        /// Rows matched.
        matched: u64,
        /// Rows expected.
        expected: u64,
        /// The rows and GTIDs found by bisection; empty or beginning with a colon.
        rows: String,
    },
    /// A DDL statement that this version does not carry, or can't decide upon.
    #[error("sink {sink}: DDL of {gtid}: {detail}: {statement}")]
    Ddl {
        /// The sink's name.
        sink: String,
        /// The source transaction.
        gtid: String,
        /// Why, and what to do.
        detail: String,
        /// The statement.
        statement: String,
    },
    /// A DDL statement was begun, and the sink can't tell whether it ran.
    #[error(
        "sink {sink}: DDL of {gtid}: it was begun before, and the sink's definitions are the same whether it \
         ran or not; compare the rows of its tables with the source's, then answer and start again; \
         {ways_on}: {statement}"
    )]
    DdlUndecided {
        /// The sink's name.
        sink: String,
        /// The source transaction.
        gtid: String,
        /// The statements that answer.
        ways_on: String,
        /// The statement.
        statement: String,
    },
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// End this epoch and take over again after a pause: it may well pass.
    Retry,
    /// Another owner is at work: end the process.
    GiveUp,
    /// An operator must act first.
    Stop,
}

impl SinkError {
    /// Classifies every error; an error that isn't known to pass by itself stops the pipeline.
    pub fn advice(&self) -> Advice {
        match self {
            SinkError::Connection { source, .. } => match source {
                // A server that doesn't know the user names a plugin at random.
                mysql_async::Error::Driver(mysql_async::DriverError::UnknownAuthPlugin {
                    ..
                })
                | mysql_async::Error::Driver(mysql_async::DriverError::PacketTooLarge) => {
                    Advice::Stop
                }
                mysql_async::Error::Io(_) | mysql_async::Error::Driver(_) => Advice::Retry,
                mysql_async::Error::Server(server) => advice_for_code(server.code),
                mysql_async::Error::Other(_) | mysql_async::Error::Url(_) => Advice::Stop,
            },
            SinkError::Server { code, .. } => advice_for_code(*code),
            SinkError::LockTimeout { .. }
            | SinkError::Fenced { .. }
            | SinkError::Answers { .. } => Advice::Retry,
            SinkError::Superseded { .. } => Advice::GiveUp,
            SinkError::OffsetRow { .. }
            | SinkError::Cluster { .. }
            | SinkError::RanBefore { .. }
            | SinkError::Diverged { .. }
            | SinkError::Ddl { .. }
            | SinkError::DdlUndecided { .. } => Advice::Stop,
        }
    }

    pub(crate) fn from_driver(sink: &str, doing: &'static str, error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(server) => SinkError::Server {
                sink: sink.to_owned(),
                doing,
                code: server.code,
                state: server.state,
                message: server.message,
                context: String::new(),
            },
            source => SinkError::Connection {
                sink: sink.to_owned(),
                doing,
                source,
            },
        }
    }
}

/// MySQL's error numbers that pass by themselves (MySQL Error Message Reference).
fn advice_for_code(code: u16) -> Advice {
    const TOO_MANY_CONNECTIONS: u16 = 1040;
    const SERVER_SHUTDOWN: u16 = 1053;
    const NORMAL_SHUTDOWN: u16 = 1077;
    const TOO_MANY_USER_CONNECTIONS: u16 = 1203;
    const LOCK_WAIT_TIMEOUT: u16 = 1205;
    const DEADLOCK: u16 = 1213;
    const QUERY_INTERRUPTED: u16 = 1317;
    const READ_ONLY: u16 = 1290;
    const READ_ONLY_TRANSACTION: u16 = 1792;
    const READ_ONLY_MODE: u16 = 1836;
    const CONNECTION_KILLED: u16 = 1927;
    const CLIENT_INTERACTION_TIMEOUT: u16 = 4031;
    const DISK_FULL: u16 = 1021;
    match code {
        TOO_MANY_CONNECTIONS
        | SERVER_SHUTDOWN
        | NORMAL_SHUTDOWN
        | TOO_MANY_USER_CONNECTIONS
        | LOCK_WAIT_TIMEOUT
        | DEADLOCK
        | QUERY_INTERRUPTED
        | READ_ONLY
        | READ_ONLY_TRANSACTION
        | READ_ONLY_MODE
        | CONNECTION_KILLED
        | CLIENT_INTERACTION_TIMEOUT
        | DISK_FULL => Advice::Retry,
        _ => Advice::Stop,
    }
}
