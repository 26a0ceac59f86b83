//! What a source says about itself, and whether that suffices.
//!
//! `SourceFacts::read` asks; `SourceFacts::findings` and `check_position` judge, purely, so that
//! every precondition is tested without a server. Nothing on the source is changed: a finding
//! carries the statement that an administrator can run.

use std::collections::BTreeMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use towpath_protocol::code::{self, Code};
use towpath_protocol::gtid::GtidSet;

use super::error::SourceError;
use crate::check::finding::{Finding, FindingState, Fix};

/// Below this retention a weekend's outage can cost a new snapshot, in seconds: three days.
pub const RETENTION_WARN_S: u64 = 3 * 86_400;

/// What `fix` proposes as retention, in seconds: a week.
const RETENTION_FIX_S: u64 = 7 * 86_400;

/// By which whole rows are logged, with the value.
const ROW_IMAGE: (&str, &str) = ("binlog_row_image", "FULL");
/// By which whole JSON documents are.
const ROW_VALUE_OPTIONS: (&str, &str) = ("binlog_row_value_options", "");

/// Why a pipeline that can do with parts of rows is better off without.
const WHY_PARTS: &str = "parts of rows are carried too, but one by one and unmerged, which is \
    slower, and nothing tells any more that the sink had the row that the source changed";
/// Why another can't do with them.
const WHY_WHOLE: &str = "a row that is written beside the stream, or may be written twice, can't \
    be brought up to date by a part of it";

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
    "partial_revokes",
    "gtid_mode",
    "enforce_gtid_consistency",
    "binlog_expire_logs_seconds",
    "binlog_checksum",
    "binlog_transaction_compression",
    "max_allowed_packet",
    "lower_case_table_names",
    "innodb_native_foreign_keys",
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

/// What a pipeline needs of its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The server_id that our dump will use.
    pub server_id: u32,
    /// GTIDs, rather than file positions, are our place.
    pub gtid: bool,
    /// Whole rows: parts of them don't do.
    pub whole_rows: bool,
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

    /// Sets a variable, for a test's facts.
    #[cfg(test)]
    pub(crate) fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
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
    fn set(&self, name: &str, value: &str) -> Option<Fix> {
        let scope = if self.knows_replica_word() {
            "PERSIST"
        } else {
            "GLOBAL"
        };
        Fix::sql(format!("SET {scope} {name} = {value}"))
    }

    /// Every precondition with its state, the failed ones among them.
    pub fn findings(&self, needs: &Needs) -> Vec<Finding> {
        let mut all = self.binlog_findings(needs);
        all.extend(self.gtid_findings(needs));
        all.extend(self.retention_findings());
        all.extend(self.privilege_findings());
        all.extend(self.identity_findings(needs));
        all.extend(self.replica_findings());
        all
    }

    /// The setting by which parts of rows are logged, and what it is where whole ones are.
    pub(crate) fn logs_parts(&self) -> Option<(&'static str, &'static str)> {
        [ROW_IMAGE, ROW_VALUE_OPTIONS]
            .into_iter()
            .find(|(variable, wanted)| self.variable(variable) != *wanted)
    }

    fn binlog_findings(&self, needs: &Needs) -> Vec<Finding> {
        use FindingState::{Failed, Warning};
        let parts = needs.whole_rows.then_some(code::PARTIAL_IMAGE);
        let why = if needs.whole_rows {
            WHY_WHOLE
        } else {
            WHY_PARTS
        };
        let setting = |what: &str, name: &str, wanted: &str, otherwise: Option<Code>| {
            let value = self.variable(name);
            let shown = if wanted.is_empty() { "''" } else { wanted };
            let what = format!("{what} ({name} = {shown})");
            let state = FindingState::ok_if(
                value == wanted,
                if otherwise.is_some() { Failed } else { Warning },
            );
            let finding = Finding::new(what, state, value, self.set(name, &format!("'{wanted}'")));
            match otherwise {
                Some(code) => finding.code(code),
                None => finding,
            }
        };
        vec![
            Finding::new(
                "the binary log is written (log_bin)",
                FindingState::ok_if(self.is_on("log_bin"), Failed),
                self.variable("log_bin"),
                Fix::hand("log_bin = binlog   # in [mysqld] of the option file; then restart"),
            )
            .code(code::SOURCE_NO_BINLOG),
            setting(
                "changes are logged as rows",
                "binlog_format",
                "ROW",
                Some(code::STATEMENT_FORMAT),
            )
            .why(
                "statements can't be applied exactly; open sessions keep their setting \
                     until they reconnect",
            ),
            setting("rows are logged whole", ROW_IMAGE.0, ROW_IMAGE.1, parts).why(why),
            setting(
                "JSON documents are logged whole",
                ROW_VALUE_OPTIONS.0,
                ROW_VALUE_OPTIONS.1,
                parts,
            )
            .why(why),
            setting(
                "column names are logged",
                "binlog_row_metadata",
                "FULL",
                None,
            )
            .why(
                "without them, names are taken by position from the source's present tables, and a table that \
                 was altered behind rows that are still to be read stops the pipeline",
            ),
            setting("events carry a checksum", "binlog_checksum", "CRC32", None)
                .why("so that damage on the way is noticed"),
        ]
    }

    fn gtid_findings(&self, needs: &Needs) -> Vec<Finding> {
        let mode = self.variable("gtid_mode");
        let consistency = self.variable("enforce_gtid_consistency");
        let missing = if needs.gtid {
            FindingState::Failed
        } else {
            FindingState::Warning
        };
        let steps = ["OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"];
        let done = steps
            .iter()
            .position(|step| *step == mode)
            .map_or(0, |at| at + 1);
        let scope = if self.knows_replica_word() {
            "PERSIST"
        } else {
            "GLOBAL"
        };
        let fix: Vec<String> =
            std::iter::once(format!("SET {scope} enforce_gtid_consistency = ON"))
                .filter(|_| consistency != "ON")
                .chain(
                    steps
                        .iter()
                        .skip(done)
                        .map(|step| format!("SET {scope} gtid_mode = {step}")),
                )
                .collect();
        vec![
            Finding::new(
                "transactions have GTIDs (gtid_mode = ON)",
                FindingState::ok_if(mode == "ON", missing),
                mode,
                Fix::sql(fix.join("; ")),
            )
            .code(code::SOURCE_GTID_OFF)
            .why("so that the place is kept across servers and restarts"),
            Finding::new(
                "each transaction can have one GTID (enforce_gtid_consistency = ON)",
                FindingState::ok_if(consistency == "ON", missing),
                consistency,
                self.set("enforce_gtid_consistency", "ON"),
            )
            .code(code::SOURCE_GTID_OFF),
        ]
    }

    fn retention_findings(&self) -> Option<Finding> {
        let seconds = self.number("binlog_expire_logs_seconds")?;
        let found = match seconds {
            0 => "never purged".to_owned(),
            _ if seconds % 86_400 == 0 => format!("{} days", seconds / 86_400),
            _ => format!("{seconds} s"),
        };
        let long_enough = seconds == 0 || seconds >= RETENTION_WARN_S;
        let finding = Finding::new(
            "the binlog outlives an outage (binlog_expire_logs_seconds)",
            FindingState::ok_if(long_enough, FindingState::Warning),
            found,
            self.set("binlog_expire_logs_seconds", &RETENTION_FIX_S.to_string()),
        );
        let finding = finding.code(code::SOURCE_PURGED);
        Some(finding.why("what is purged before it was applied is lost to the sink"))
    }

    fn privilege_findings(&self) -> Vec<Finding> {
        // MariaDB's words for it since 10.5.2.
        let client = ["REPLICATION CLIENT", "BINLOG MONITOR"];
        [
            (
                &["REPLICATION SLAVE"][..],
                "read the binlog",
                FindingState::Failed,
            ),
            (
                &client[..],
                "list binlog files and replicas",
                FindingState::Warning,
            ),
        ]
        .into_iter()
        .filter_map(|(names, purpose, missing)| {
            let name = names.first()?;
            let has = names.iter().any(|name| self.has_privilege(name));
            let finding = Finding::new(
                format!("the account may {purpose} ({name})"),
                FindingState::ok_if(has, missing),
                if has { "granted" } else { "not granted" },
                Fix::sql(format!("GRANT {name} ON *.* TO {}", self.account)),
            );
            Some(finding.code(code::SOURCE_PRIVILEGE))
        })
        .collect()
    }

    fn identity_findings(&self, needs: &Needs) -> Vec<Finding> {
        let theirs = self.server_id();
        let other = self
            .replicas
            .iter()
            .flatten()
            .find(|replica| replica.server_id == needs.server_id);
        let own = Finding::new(
            "the source has a server_id of its own",
            FindingState::ok_if(
                theirs != 0 && theirs != needs.server_id,
                FindingState::Failed,
            ),
            format!("{theirs}, ours is {}", needs.server_id),
            match theirs {
                0 => self.set("server_id", "1"),
                _ => Fix::hand("give this pipeline another server_id, in [source]"),
            },
        )
        .code(code::SERVER_ID_CLASH);
        // Without the privilege, which is a finding of its own, nobody knows.
        if self.replicas.is_none() && !self.has_privilege("REPLICATION SLAVE") {
            return vec![own];
        }
        let alone = Finding::new(
            "no other replica uses our server_id",
            match (other, &self.replicas) {
                (Some(_), _) | (None, None) => FindingState::Warning,
                (None, Some(_)) => FindingState::Ok,
            },
            match (other, &self.replicas) {
                (Some(replica), _) => {
                    format!("{} is used by `{}`", replica.server_id, replica.host)
                }
                (None, None) => "not known, the account may not ask".to_owned(),
                (None, Some(all)) => match all.len() {
                    0 => "no other replicas".to_owned(),
                    1 => "one other replica".to_owned(),
                    count => format!("{count} other replicas"),
                },
            },
            match other {
                Some(_) => Fix::hand(
                    "give this pipeline another server_id, in [source], or stop the other \
                         replica if it is a leftover",
                ),
                None => Fix::sql(format!(
                    "GRANT REPLICATION SLAVE ON *.* TO {}",
                    self.account
                )),
            },
        )
        .code(match other {
            Some(_) => code::SERVER_ID_CLASH,
            None => code::SOURCE_PRIVILEGE,
        });
        vec![own, alone]
    }

    fn replica_findings(&self) -> Vec<Finding> {
        if self.is_replica != Some(true) {
            return Vec::new();
        }
        let updates = self.is_on("log_replica_updates") || self.is_on("log_slave_updates");
        let mut all =
            vec![Finding::new(
            "the source, itself a replica, logs what it replicates (log_replica_updates = ON)",
            FindingState::ok_if(updates, FindingState::Failed),
            if updates { "ON" } else { "OFF" },
            Fix::hand("log_replica_updates = ON   # in [mysqld] of the option file; then restart"),
        )
        .code(code::SOURCE_NO_BINLOG)];
        if !self.variable("replica_preserve_commit_order").is_empty() {
            let ordered = self.is_on("replica_preserve_commit_order")
                || self
                    .number("replica_parallel_workers")
                    .is_some_and(|workers| workers <= 1);
            all.push(Finding::new(
                "the source, itself a replica, commits in its own source's order \
                 (replica_preserve_commit_order = ON)",
                FindingState::ok_if(ordered, FindingState::Warning),
                self.variable("replica_preserve_commit_order"),
                self.set("replica_preserve_commit_order", "ON"),
            ));
        }
        all
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
