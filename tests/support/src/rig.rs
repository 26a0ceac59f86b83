//! Two servers with a bank, and the file of a pipeline between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

use crate::bank::Bank;
use crate::scratch::ScratchDir;
use crate::{
    MysqlServer, Programs, ServerKind, TowpathBuilder, TowpathProcess, caught_up, gtid_executed,
    wait_until,
};

/// The passwords that the pipeline file leaves to the environment.
const SECRETS: [(&str, &str); 2] = [("SOURCE_PASSWORD", "repl"), ("TARGET_PASSWORD", "app")];
/// What a pipeline may need for the rest after the load has stopped, on a busy machine.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(180);

/// A source and a target that hold the same bank, and the file of a pipeline between them.
#[derive(Debug)]
pub struct Rig {
    source: MysqlServer,
    target: MysqlServer,
    bank: Bank,
    name: String,
    dir: ScratchDir,
}

impl Rig {
    /// Starts both servers, creates the bank on both, and writes the pipeline file; its start is
    /// the position right after the bank was created, so that nothing is missed however late the
    /// pipeline starts.
    ///
    /// # Errors
    /// When there is no server program, or a server doesn't start.
    pub async fn start(name: &str) -> Result<Self> {
        let programs = tokio::task::spawn_blocking(Programs::find).await??;
        let server = |id| {
            MysqlServer::builder()
                .server_id(id)
                .programs(programs.clone())
        };
        let (source, target) = tokio::try_join!(server(1).start(), server(2).start())?;
        let bank = Bank::default();
        let mut at_source = source.conn().await?;
        bank.create(&mut at_source).await?;
        bank.create(&mut target.conn().await?).await?;
        let start = match programs.kind() {
            ServerKind::MySql => format!("gtid:{}", gtid_executed(&mut at_source).await?),
            ServerKind::MariaDb => binlog_position(&mut at_source).await?,
        };
        let dir = ScratchDir::create("rig")?;
        let rig = Self {
            source,
            target,
            bank,
            name: name.to_owned(),
            dir,
        };
        fs::write(rig.pipeline_file(), rig.pipeline(&start))?;
        Ok(rig)
    }

    /// The source server.
    #[must_use]
    pub fn source(&self) -> &MysqlServer {
        &self.source
    }

    /// The target server.
    #[must_use]
    pub fn target(&self) -> &MysqlServer {
        &self.target
    }

    /// What both servers hold.
    #[must_use]
    pub fn bank(&self) -> &Bank {
        &self.bank
    }

    /// The pipeline's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the pipeline file is.
    #[must_use]
    pub fn pipeline_file(&self) -> PathBuf {
        self.dir.path().join("pipeline.toml")
    }

    /// A directory of the rig's own, removed with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `towpath` with `verb` and the pipeline file, and the passwords that the file asks for.
    #[must_use]
    pub fn towpath(&self, verb: &str) -> TowpathBuilder {
        Self::with_secrets(
            TowpathProcess::builder()
                .arg(verb)
                .arg(self.pipeline_file()),
        )
    }

    /// With the passwords that the file asks for in its environment.
    pub(crate) fn with_secrets(builder: TowpathBuilder) -> TowpathBuilder {
        let envs = SECRETS.into_iter();
        envs.fold(builder, |builder, (name, value)| builder.env(name, value))
    }

    fn pipeline(&self, start: &str) -> String {
        let Self {
            name,
            source,
            target,
            bank,
            ..
        } = self;
        format!(
            r#"name = "{name}"

[source]
url = "mysql://repl:${{SOURCE_PASSWORD}}@127.0.0.1:{}"
tables = ["{}.*"]
start = "{start}"
snapshot = "never"

[[sink]]
name = "replica"
url = "mysql://app:${{TARGET_PASSWORD}}@127.0.0.1:{}"
"#,
            source.port(),
            bank.database(),
            target.port()
        )
    }

    /// Waits until the target has what the source has now.
    pub(crate) async fn catch_up(&self) -> Result<()> {
        let mut source = self.source.conn().await?;
        let mut target = self.target.conn().await?;
        match self.source.programs().kind() {
            ServerKind::MySql => {
                caught_up(&mut source, &mut target, &self.name, CATCH_UP_TIMEOUT).await
            }
            // MariaDB has no GTID_SUBSET; the bank's own count says as much once nobody writes.
            ServerKind::MariaDb => {
                let last = self.bank.look(&mut source, 0).await?.sequence;
                wait_until(
                    "the target to reach the source",
                    CATCH_UP_TIMEOUT,
                    async || Ok(self.bank.look(&mut target, last).await?.sequence == last),
                )
                .await
            }
        }
    }
}

/// MariaDB's place as `file:position`; its GTIDs are of another kind than MySQL's.
async fn binlog_position(conn: &mut Conn) -> Result<String> {
    let row: Option<Row> = conn.query_first("SHOW BINLOG STATUS").await?;
    let place = row.and_then(|row| Some((row.get::<String, _>(0)?, row.get::<u64, _>(1)?)));
    let (file, position) = place.context("the source has no binary log")?;
    Ok(format!("{file}:{position}"))
}
