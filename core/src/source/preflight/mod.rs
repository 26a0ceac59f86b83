//! What a source says about itself, and whether that suffices.
//!
//! `SourceFacts::read` asks; `SourceFacts::findings` and `check_position` judge, purely, so that
//! every precondition is tested without a server. Nothing on the source is changed: a finding
//! carries the statement that an administrator can run.

mod findings;

use std::collections::BTreeMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use towpath_protocol::gtid::GtidSet;

use super::error::SourceError;

pub use findings::{Finding, FindingState, Needs, RETENTION_WARN_S};

/// The variables that matter. Those that a version doesn't know are simply not answered.
const VARIABLES: &[&str] = &[
    "version",
    "server_uuid",
    "server_id",
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_row_value_options",
    "gtid_mode",
    "enforce_gtid_consistency",
    "binlog_expire_logs_seconds",
    "binlog_checksum",
    "binlog_transaction_compression",
    "max_allowed_packet",
    "log_replica_updates",
    "log_slave_updates",
    "replica_preserve_commit_order",
    "replica_parallel_workers",
];

/// A replica of the source that has registered there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its server_id.
    pub server_id: u32,
    /// The host that it reports; `towpath:<pipeline>` if it is one of ours.
    pub host: String,
    /// Its UUID; empty if it has none.
    pub uuid: String,
}

/// What a source says about itself, at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFacts {
    /// Answers to `VARIABLES`, upper case names and values as the server writes them.
    variables: BTreeMap<String, String>,
    /// All transactions that it has executed; empty without GTIDs.
    pub gtid_executed: GtidSet,
    /// Those of them that are no longer in its binlog.
    pub gtid_purged: GtidSet,
    /// The account that we are, as `'user'@'host'`.
    pub account: String,
    /// The account's grants, as SHOW GRANTS prints them.
    pub grants: Vec<String>,
    /// Its replicas; None if we may not ask.
    pub replicas: Option<Vec<Replica>>,
    /// Whether it replicates from another server; None if we may not ask.
    pub is_replica: Option<bool>,
}

impl SourceFacts {
    /// Asks a source. Replicas and its own replication are left out if our account may not see
    /// them.
    ///
    /// # Errors
    /// A question that every account may ask fails.
    pub async fn read(conn: &mut Conn) -> Result<Self, SourceError> {
        let names: Vec<String> = VARIABLES.iter().map(|name| format!("'{name}'")).collect();
        let names = names.join(", ");
        let rows: Vec<(String, String)> = conn
            .query(format!(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})"
            ))
            .await
            .map_err(|cause| sql("its variables", cause))?;
        let variables: BTreeMap<String, String> = rows.into_iter().collect();
        let mut facts = Self {
            variables,
            ..Self::default()
        };
        // SHOW VARIABLES cuts values at 1024 characters, which GTID sets exceed.
        if facts.variables.contains_key("gtid_mode") {
            let sets: Option<(String, String)> = conn
                .query_first("SELECT @@global.gtid_executed, @@global.gtid_purged")
                .await
                .map_err(|cause| sql("its GTIDs", cause))?;
            let (executed, purged) = sets.unwrap_or_default();
            facts.gtid_executed = parse_set("gtid_executed", &executed)?;
            facts.gtid_purged = parse_set("gtid_purged", &purged)?;
        }
        let account: Option<String> = conn
            .query_first("SELECT CURRENT_USER()")
            .await
            .map_err(|cause| sql("our account", cause))?;
        facts.account = quote_account(&account.unwrap_or_default());
        facts.grants = conn
            .query("SHOW GRANTS")
            .await
            .map_err(|cause| sql("our privileges", cause))?;
        facts.replicas = read_replicas(conn, facts.knows_replica_word()).await?;
        facts.is_replica = read_is_replica(conn, facts.knows_replica_word()).await?;
        Ok(facts)
    }

    /// A variable as the server writes it; empty if its version doesn't have it.
    pub fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    /// The server's version as it gives it, such as `9.7.4`.
    pub fn version(&self) -> &str {
        self.variable("version")
    }

    /// The server's UUID; empty on MariaDB.
    pub fn server_uuid(&self) -> &str {
        self.variable("server_uuid")
    }

    /// The server's id; 0 if it has none.
    pub fn server_id(&self) -> u32 {
        self.number("server_id")
            .and_then(|id| u32::try_from(id).ok())
            .unwrap_or(0)
    }

    /// The largest packet that it accepts from a client, in bytes.
    pub fn max_allowed_packet(&self) -> u64 {
        self.number("max_allowed_packet").unwrap_or(0)
    }

    /// Whether it is a MariaDB server.
    pub fn is_mariadb(&self) -> bool {
        self.version().contains("MariaDB")
    }

    /// Whether a global privilege is granted to our account.
    pub fn has_privilege(&self, name: &str) -> bool {
        self.grants.iter().any(|grant| {
            let Some(list) = grant.strip_prefix("GRANT ") else {
                return false;
            };
            let Some((list, _)) = list.split_once(" ON *.* TO ") else {
                return false;
            };
            list == "ALL PRIVILEGES" || list.split(", ").any(|granted| granted == name)
        })
    }

    /// SHOW REPLICAS and the like, rather than the older words (MySQL 8.0.22).
    fn knows_replica_word(&self) -> bool {
        let mut parts = self
            .version()
            .split(|c: char| !c.is_ascii_digit())
            .map(str::parse::<u32>);
        let mut next = || parts.next().and_then(Result::ok).unwrap_or(0);
        !self.is_mariadb() && (next(), next(), next()) >= (8, 0, 22)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.variable(name).parse().ok()
    }

    fn is_on(&self, name: &str) -> bool {
        matches!(self.variable(name), "ON" | "1" | "YES")
    }

    /// `SET PERSIST` where the server has it, so that the fix outlives a restart.
    fn set(&self, name: &str, value: &str) -> Option<String> {
        let scope = if self.knows_replica_word() {
            "PERSIST"
        } else {
            "GLOBAL"
        };
        Some(format!("SET {scope} {name} = {value}"))
    }
}

/// Whether a source can go on from a set: it must still have all that we lack, and must itself
/// have all that we have.
///
/// The source checks the first when the dump begins, and the second only for its own UUID: a set
/// with transactions of another server that it never saw is silently accepted. So this is to be
/// called on every connect, with facts read just before.
///
/// # Errors
/// `Purged` with the GTIDs that we miss, `Diverged` with those that the source lacks.
pub fn check_position(ours: &GtidSet, facts: &SourceFacts) -> Result<(), SourceError> {
    let extra = ours.subtract(&facts.gtid_executed);
    if !extra.is_empty() {
        return Err(SourceError::Diverged {
            extra: extra.to_string(),
        });
    }
    let missing = facts.gtid_purged.subtract(ours);
    if !missing.is_empty() {
        return Err(SourceError::Purged {
            missing: missing.to_string(),
        });
    }
    Ok(())
}

fn parse_set(about: &'static str, text: &str) -> Result<GtidSet, SourceError> {
    text.parse().map_err(|error| SourceError::Protocol {
        doing: "reading its GTIDs",
        what: format!("{about}: {error}"),
    })
}

/// `user@host` of CURRENT_USER(), quoted for a statement.
fn quote_account(account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    let quote = |part: &str| part.replace('\\', "\\\\").replace('\'', "''");
    format!("'{}'@'{}'", quote(user), quote(host))
}

async fn read_replicas(
    conn: &mut Conn,
    knows_replica_word: bool,
) -> Result<Option<Vec<Replica>>, SourceError> {
    let statement = if knows_replica_word {
        "SHOW REPLICAS"
    } else {
        "SHOW SLAVE HOSTS"
    };
    let Some(rows) = ask_if_allowed(conn, statement, "its replicas").await? else {
        return Ok(None);
    };
    let replica = |row: &mysql_async::Row| {
        Some(Replica {
            server_id: row.get_opt(0)?.ok()?,
            host: row.get_opt(1)?.ok()?,
            // Server_Id, Host, [User, Password,] Port, Source_Id, Replica_UUID.
            uuid: row.get_opt(row.len().checked_sub(1)?)?.unwrap_or_default(),
        })
    };
    Ok(Some(rows.iter().filter_map(replica).collect()))
}

async fn read_is_replica(
    conn: &mut Conn,
    knows_replica_word: bool,
) -> Result<Option<bool>, SourceError> {
    let statement = if knows_replica_word {
        "SHOW REPLICA STATUS"
    } else {
        "SHOW SLAVE STATUS"
    };
    let rows = ask_if_allowed(conn, statement, "its own replication").await?;
    Ok(rows.map(|rows| !rows.is_empty()))
}

/// None if our account may not ask that.
async fn ask_if_allowed(
    conn: &mut Conn,
    statement: &str,
    about: &'static str,
) -> Result<Option<Vec<mysql_async::Row>>, SourceError> {
    match conn.query(statement).await {
        Ok(rows) => Ok(Some(rows)),
        Err(mysql_async::Error::Server(error)) if matches!(error.code, 1227 | 1044 | 1045) => {
            Ok(None)
        }
        Err(cause) => Err(sql(about, cause)),
    }
}

pub(super) fn sql(about: &'static str, cause: mysql_async::Error) -> SourceError {
    SourceError::Sql {
        about,
        cause: Box::new(cause),
    }
}

#[cfg(test)]
mod tests;
