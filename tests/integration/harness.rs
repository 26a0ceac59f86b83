//! A source, a sink and pipelines between them: what every test here begins with.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};
use towpath_core::commit::lock::{Lane, lock_name};
use towpath_protocol::spec::{Endpoint, Secret, TlsMode};
use towpath_testing::{MysqlServer, ServerBuilder, TowpathProcess, gtid_executed, wait_until};

/// Bounds every wait: ten times what a busy machine needs.
pub(crate) const WAIT: Duration = Duration::from_secs(40);

/// The sink's name in every pipeline here.
pub(crate) const SINK: &str = "replica";

/// Two servers of a test's own.
pub(crate) struct Pair {
    pub(crate) source: MysqlServer,
    pub(crate) sink: MysqlServer,
    dir: tempfile::TempDir,
}

impl Pair {
    pub(crate) async fn start() -> Result<Self> {
        Self::with(|source| source, |sink| sink).await
    }

    /// With options of their own.
    pub(crate) async fn with(
        source: impl FnOnce(ServerBuilder) -> ServerBuilder,
        sink: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Result<Self> {
        let (source, sink) = tokio::try_join!(
            source(MysqlServer::builder().server_id(1)).start(),
            sink(MysqlServer::builder().server_id(2)).start(),
        )?;
        let dir = tempfile::Builder::new().prefix("towpath-test-").tempdir()?;
        Ok(Self { source, sink, dir })
    }

    /// A connection to each.
    pub(crate) async fn conns(&self) -> Result<(Conn, Conn)> {
        Ok((self.source.conn().await?, self.sink.conn().await?))
    }

    /// A pipeline with a database of its name, which is created on both sides with `schema`; it
    /// starts right behind that.
    pub(crate) async fn pipeline(&self, name: &str, schema: &[&str]) -> Result<Pipeline> {
        let (mut source, mut sink) = self.conns().await?;
        for conn in [&mut source, &mut sink] {
            conn.query_drop(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"))
                .await?;
            conn.query_drop(format!("USE {name}")).await?;
            for statement in schema {
                conn.query_drop(*statement)
                    .await
                    .with_context(|| (*statement).to_owned())?;
            }
        }
        let pipeline = Pipeline {
            name: name.to_owned(),
            file: self.dir.path().join(format!("{name}.toml")),
            source_port: self.source.port().to_string(),
            source_user: "repl:repl".to_owned(),
            sink_port: self.sink.port().to_string(),
            sink_user: "app:app".to_owned(),
            sink_parameters: String::new(),
            tables: format!("{name}.*"),
            start: format!("gtid:{}", gtid_executed(&mut source).await?),
            snapshot: "never",
            source_further: String::new(),
            further: String::new(),
        };
        pipeline.write()?;
        Ok(pipeline)
    }
}

/// A pipeline file.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    /// A port, or a variable that each Core has for itself.
    pub(crate) source_port: String,
    pub(crate) source_user: String,
    pub(crate) sink_port: String,
    pub(crate) sink_user: String,
    /// Behind the sink's URL, with its question mark.
    pub(crate) sink_parameters: String,
    pub(crate) tables: String,
    pub(crate) start: String,
    /// `never`, `initial` or `only`.
    pub(crate) snapshot: &'static str,
    /// Further keys of the source.
    pub(crate) source_further: String,
    /// Further sections.
    pub(crate) further: String,
}

impl Pipeline {
    /// Writes the file anew.
    pub(crate) fn write(&self) -> Result<()> {
        let Self {
            name,
            source_port,
            source_user,
            sink_port,
            sink_user,
            snapshot,
            ..
        } = self;
        let text = format!(
            r#"name = "{name}"

[source]
url = "mysql://{source_user}@127.0.0.1:{source_port}"
tables = ["{}"]
start = "{}"
snapshot = "{snapshot}"
heartbeat = "200ms"
{}

[[sink]]
name = "{SINK}"
url = "mysql://{sink_user}@127.0.0.1:{sink_port}{}"

{}
"#,
            self.tables, self.start, self.source_further, self.sink_parameters, self.further
        );
        fs::write(&self.file, text)?;
        Ok(())
    }

    /// Starts `towpath run` on it.
    pub(crate) fn run(&self) -> Result<TowpathProcess> {
        self.write()?;
        TowpathProcess::builder()
            .program(env!("CARGO_BIN_EXE_towpath"))
            .args(["run", "--standalone"])
            .arg(&self.file)
            .spawn()
    }

    /// Waits until the sink has what the source has now. A program that ends meanwhile is an
    /// error at once.
    pub(crate) async fn caught_up(
        &self,
        process: &TowpathProcess,
        source: &mut Conn,
        sink: &mut Conn,
    ) -> Result<()> {
        let wait = towpath_testing::caught_up(source, sink, &self.name, WAIT);
        let ended = async {
            loop {
                if let Ok(Some(status)) = process.exit_status() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            waited = wait => waited.with_context(|| process.tail()),
            status = ended => anyhow::bail!("towpath ended ({status}); {}", process.tail()),
        }
    }

    /// Starts it, waits until it has caught up, and ends it in order.
    pub(crate) async fn run_until_caught_up(
        &self,
        source: &mut Conn,
        sink: &mut Conn,
    ) -> Result<()> {
        let process = self.run()?;
        // There may be nothing to catch up with, and it must have begun before it can be ended.
        process
            .wait_for_line(|line| line.contains("took the sink over"), WAIT)
            .await?;
        self.caught_up(&process, source, sink).await?;
        stop(&process).await
    }

    /// Starts it and waits until it ends with exit code 1; answers what it said on stderr.
    pub(crate) async fn run_until_it_fails(&self) -> Result<String> {
        let process = self.run()?;
        failure(&process).await
    }

    /// What the offset row says.
    pub(crate) async fn row(&self, sink: &mut Conn) -> Result<OffsetRow> {
        let row: Option<(String, u64, u64, u64, Option<String>)> = sink
            .exec_first(
                "SELECT pipeline_uuid, epoch, commit_seq, ddl_seq, CAST(ddl_intent AS CHAR) \
                 FROM towpath.`offset` WHERE pipeline = ?",
                (&self.name,),
            )
            .await?;
        let (uuid, epoch, commit_seq, ddl_seq, ddl_intent) =
            row.with_context(|| format!("no offset row of {}", self.name))?;
        Ok(OffsetRow {
            uuid: uuid.parse()?,
            epoch,
            commit_seq,
            ddl_seq,
            ddl_intent,
        })
    }

    /// The connection of the sink that holds a lane's lock.
    pub(crate) async fn holder(&self, sink: &mut Conn, lane: Lane) -> Result<Option<u64>> {
        let name = lock_name(self.row(sink).await?.uuid, SINK, lane);
        let holder: Option<Option<u64>> =
            sink.exec_first("SELECT IS_USED_LOCK(?)", (name,)).await?;
        Ok(holder.flatten())
    }

    /// The offset: its GTID set.
    pub(crate) async fn stored(&self, sink: &mut Conn) -> Result<String> {
        towpath_testing::stored_gtid_set(sink, &self.name).await
    }
}

/// A row of `towpath.offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetRow {
    pub(crate) uuid: uuid::Uuid,
    pub(crate) epoch: u64,
    pub(crate) commit_seq: u64,
    pub(crate) ddl_seq: u64,
    pub(crate) ddl_intent: Option<String>,
}

/// A sink as the library is told of it.
pub(crate) fn endpoint(sink: &MysqlServer) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port: sink.port(),
        user: "app".into(),
        password: Secret::new("app"),
        tls: TlsMode::Disabled,
        tls_ca: None,
    }
}

/// SIGTERM, and exit code 0.
pub(crate) async fn stop(process: &TowpathProcess) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit(WAIT).await?;
    // Before its first word it has no handler yet, and nothing to finish.
    let is_early = status.signal().is_some() && process.stderr().is_empty();
    ensure!(
        status.success() || is_early,
        "SIGTERM: {status}; {}",
        process.tail()
    );
    Ok(())
}

/// Waits for exit code 1; answers stderr.
pub(crate) async fn failure(process: &TowpathProcess) -> Result<String> {
    let status = process.wait_exit(WAIT).await?;
    ensure!(
        status.code() == Some(1),
        "not exit code 1 but {status}; {}",
        process.tail()
    );
    Ok(process.stderr().join("\n"))
}

/// Every row of a query as text, sorted.
pub(crate) async fn rows(conn: &mut Conn, query: &str) -> Result<Vec<String>> {
    let rows: Vec<Row> = conn.query(query).await.with_context(|| query.to_owned())?;
    // A value's Debug shows only how it begins; this shows all of it.
    let text = |row: Row| {
        let values: Vec<String> = row
            .unwrap()
            .iter()
            .map(|value| value.as_sql(true))
            .collect();
        values.join(", ")
    };
    let mut texts: Vec<String> = rows.into_iter().map(text).collect();
    texts.sort_unstable();
    Ok(texts)
}

/// Both servers answer a query with the same rows.
pub(crate) async fn same(source: &mut Conn, sink: &mut Conn, query: &str) -> Result<()> {
    let (there, here) = (rows(source, query).await?, rows(sink, query).await?);
    ensure!(
        there == here,
        "{query}\n  source: {there:#?}\n  sink: {here:#?}"
    );
    Ok(())
}

/// Both servers hold the same rows in a table, by value and by checksum.
pub(crate) async fn same_table(source: &mut Conn, sink: &mut Conn, table: &str) -> Result<()> {
    same(source, sink, &format!("SELECT * FROM {table}")).await?;
    same(source, sink, &format!("CHECKSUM TABLE {table}")).await
}

/// A single number.
pub(crate) async fn number(conn: &mut Conn, query: &str) -> Result<u64> {
    let number: Option<u64> = conn
        .query_first(query)
        .await
        .with_context(|| query.to_owned())?;
    number.with_context(|| format!("no row: {query}"))
}

/// Waits until a query answers a number that is accepted. It asks seldom: the server renews
/// `innodb_trx` only for a reader that has let it rest for 0.1 s.
pub(crate) async fn until(
    what: &str,
    conn: &mut Conn,
    query: &str,
    accept: impl Fn(u64) -> bool,
) -> Result<()> {
    wait_until(what, WAIT, async || {
        tokio::time::sleep(Duration::from_millis(150)).await;
        Ok(accept(number(conn, query).await?))
    })
    .await
}

/// Waits until a statement with `part` in it waits in the server for somebody's row lock.
pub(crate) async fn until_blocked(conn: &mut Conn, part: &str) -> Result<()> {
    let query = format!(
        "SELECT COUNT(*) FROM information_schema.innodb_trx t \
         JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id \
         WHERE t.trx_state = 'LOCK WAIT' AND p.info LIKE '%{part}%'"
    );
    until(
        "a statement to wait for a row lock",
        conn,
        &query,
        |blocked| blocked > 0,
    )
    .await
}
