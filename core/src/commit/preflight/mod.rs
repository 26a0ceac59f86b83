//! What a sink says about itself, and whether that suffices.
//!
//! `SinkFacts::read` asks and changes nothing, not even an epoch; `SinkFacts::findings` judges,
//! purely.

mod offset;

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use towpath_protocol::spec::{DdlClass, DdlRule, DdlSpec};

pub use offset::{Holder, Offset, StoredOffset, read_offset};

use towpath_protocol::code;

use super::session::quote;
use crate::check::finding::{Finding, FindingState, Fix};
use crate::check::grants::Grants;

/// The variables that matter. Those that a version doesn't know are simply not answered.
const VARIABLES: &[&str] = &[
    "version",
    "server_uuid",
    "log_bin",
    "binlog_format",
    "gtid_mode",
    "read_only",
    "super_read_only",
    "max_allowed_packet",
    "default_storage_engine",
    "lower_case_table_names",
    "partial_revokes",
];

/// The oldest MySQL that this version writes to: table definitions are changed atomically.
const MYSQL_MIN: (u32, u32) = (8, 0);

/// Privileges by which rows are applied; SELECT finds the rows that an UPDATE names.
const ROW_PRIVILEGES: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];

/// Privileges by which definitions are changed.
const DDL_PRIVILEGES: &[&str] = &["CREATE", "ALTER", "DROP", "INDEX"];

/// Privileges of which one is needed to restore the session of a DDL statement, and to give it a
/// GTID: REPLICATION_APPLIER alone allows `SET gtid_next`, not `SET sql_require_primary_key`
/// (tried on 9.7).
const SESSION_PRIVILEGES: &[&str] = &["SESSION_VARIABLES_ADMIN", "SYSTEM_VARIABLES_ADMIN", "SUPER"];

/// What a sink says about itself, at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkFacts {
    /// Answers to `VARIABLES`.
    variables: BTreeMap<String, String>,
    /// The account that we are, as `'user'@'host'`.
    pub account: String,
    /// What it may do.
    pub grants: Grants,
    /// The offset row of this pipeline and sink.
    pub offset: Offset,
}

/// What a sink is judged against.
#[derive(Clone, Debug, Default)]
pub struct Needs<'a> {
    /// Databases of which tables are replicated.
    pub databases: BTreeSet<&'a str>,
    /// The replicated tables, by database and name, that are known.
    pub tables: BTreeSet<(&'a str, &'a str)>,
    /// The source; None if it doesn't answer.
    pub source: Option<SourceTraits<'a>>,
    /// What is done about schema changes.
    pub ddl: DdlSpec,
}

/// What of a source its sink must match.
#[derive(Clone, Copy, Debug)]
pub struct SourceTraits<'a> {
    /// `server_uuid`.
    pub server_uuid: &'a str,
    /// `max_allowed_packet`, in bytes.
    pub max_allowed_packet: u64,
    /// `lower_case_table_names`.
    pub lower_case_table_names: &'a str,
}

impl SinkFacts {
    /// Asks a sink, and looks for the offset row of a pipeline.
    ///
    /// # Errors
    /// A question that every account may ask fails.
    pub async fn read(conn: &mut Conn, pipeline: &str, sink: &str) -> Result<Self, Error> {
        let names: Vec<String> = VARIABLES.iter().map(|name| format!("'{name}'")).collect();
        let rows: Vec<(String, String)> = conn
            .query(format!(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})",
                names.join(", ")
            ))
            .await?;
        let mut facts = Self {
            variables: rows.into_iter().collect(),
            ..Self::default()
        };
        let account: Option<String> = conn.query_first("SELECT CURRENT_USER()").await?;
        facts.account = quote_account(&account.unwrap_or_default());
        let grants: Vec<String> = conn.query("SHOW GRANTS").await?;
        facts.grants = Grants::parse(&grants, facts.is_on("partial_revokes"));
        facts.offset = offset::read_offset(conn, pipeline, sink).await?;
        Ok(facts)
    }

    /// A variable as the server writes it; empty if its version doesn't have it.
    pub fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    /// Whether it is a MariaDB server.
    pub fn is_mariadb(&self) -> bool {
        self.variable("version")
            .to_ascii_lowercase()
            .contains("mariadb")
    }

    /// Product and version, for people.
    pub fn product(&self) -> String {
        let product = if self.is_mariadb() {
            "MariaDB"
        } else {
            "MySQL"
        };
        format!("{product} {}", self.variable("version"))
    }

    fn is_on(&self, name: &str) -> bool {
        matches!(self.variable(name), "ON" | "1" | "YES")
    }

    fn version(&self) -> (u32, u32) {
        let mut numbers = self
            .variable("version")
            .split(['.', '-'])
            .map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// Whether statements get GTIDs, so that the sink itself knows whether a DDL statement ran.
    fn has_gtids(&self) -> bool {
        self.variable("gtid_mode") == "ON" && self.is_on("log_bin")
    }

    /// `PERSIST` where the server has it, so that a fix outlives a restart.
    fn scope(&self) -> &'static str {
        if self.is_mariadb() || self.version() < MYSQL_MIN {
            "GLOBAL"
        } else {
            "PERSIST"
        }
    }

    fn set(&self, name: &str, value: &str) -> Option<Fix> {
        Fix::sql(format!("SET {} {name} = {value}", self.scope()))
    }

    /// Every precondition with its state; what the offset row's position means is judged where the
    /// source is known.
    pub fn findings(&self, needs: &Needs<'_>) -> Vec<Finding> {
        let mut all = vec![self.product_finding()];
        all.extend(self.source_findings(needs));
        all.push(self.read_only_finding());
        all.extend(self.binlog_findings());
        all.push(self.engine_finding());
        all.extend(self.privilege_findings(needs));
        all.extend(rules_finding(&needs.ddl));
        all
    }

    fn product_finding(&self) -> Finding {
        let what = "the sink is MySQL 8.0 or later, or MariaDB";
        if self.is_mariadb() {
            let found = format!("{}: a sink without GTIDs for DDL", self.product());
            return Finding::ok(what, found);
        }
        Finding::new(
            what,
            FindingState::ok_if(self.version() >= MYSQL_MIN, FindingState::Warning),
            self.product(),
            Fix::hand(
                "use a newer server; rows are exact here too, but a crash inside DDL may not be",
            ),
        )
    }

    fn source_findings(&self, needs: &Needs<'_>) -> Vec<Finding> {
        let Some(source) = needs.source else {
            return Vec::new();
        };
        let uuid = self.variable("server_uuid");
        let packet: u64 = self.variable("max_allowed_packet").parse().unwrap_or(0);
        let names = self.variable("lower_case_table_names");
        let is_same = !uuid.is_empty() && uuid == source.server_uuid;
        vec![
            Finding::new(
                "the sink is another server than the source",
                FindingState::ok_if(!is_same, FindingState::Failed),
                match (is_same, uuid) {
                    (true, uuid) => format!("both are {uuid}"),
                    (false, "") => "it has no server_uuid".to_owned(),
                    (false, uuid) => uuid.to_owned(),
                },
                Fix::hand("correct the url of [source] or of [[sink]]"),
            )
            .code(code::FILE_INVALID)
            .why("every change would be applied to the table that it came from"),
            Finding::new(
                "the sink takes statements as large as the source's (max_allowed_packet)",
                FindingState::ok_if(packet >= source.max_allowed_packet, FindingState::Warning),
                if packet >= source.max_allowed_packet {
                    mebibytes(packet)
                } else {
                    format!(
                        "{}, the source's is {}",
                        mebibytes(packet),
                        mebibytes(source.max_allowed_packet)
                    )
                },
                self.set("max_allowed_packet", &source.max_allowed_packet.to_string()),
            )
            .code(code::ROW_TOO_LARGE)
            .why("a row that is larger would stop the pipeline"),
            Finding::new(
                "tables are named alike on both sides (lower_case_table_names)",
                FindingState::ok_if(
                    names == source.lower_case_table_names,
                    FindingState::Warning,
                ),
                if names == source.lower_case_table_names {
                    names.to_owned()
                } else {
                    format!("{names}, the source's is {}", source.lower_case_table_names)
                },
                Fix::hand(
                    "take care that names differ by more than case; the setting can't be changed \
                     on a server with data",
                ),
            )
            .code(code::NO_TABLE),
        ]
    }

    fn read_only_finding(&self) -> Finding {
        // Accounts with these write all the same, unless super_read_only is on.
        let exempt = ["CONNECTION_ADMIN", "SUPER", "READ_ONLY ADMIN"];
        let is_exempt = exempt
            .iter()
            .any(|privilege| self.grants.has_global(privilege));
        let (read_only, super_read_only) = (self.is_on("read_only"), self.is_on("super_read_only"));
        let scope = self.scope();
        let fix = if super_read_only {
            // It turns read_only on with it.
            format!("SET {scope} super_read_only = OFF; SET {scope} read_only = OFF")
        } else {
            format!("SET {scope} read_only = OFF")
        };
        Finding::new(
            "the sink takes writes (read_only, super_read_only)",
            FindingState::ok_if(
                !super_read_only && (!read_only || is_exempt),
                FindingState::Failed,
            ),
            match (super_read_only, read_only) {
                (true, _) => "super_read_only is ON",
                (false, true) if is_exempt => "read_only is ON, the account is exempt",
                (false, true) => "read_only is ON",
                (false, false) => "OFF",
            },
            Fix::sql(fix),
        )
        .code(code::SINK_READ_ONLY)
        .why("a server that is read-only because it is a replica is the wrong sink")
    }

    fn binlog_findings(&self) -> Vec<Finding> {
        let mut all = Vec::new();
        if self.is_on("log_bin") {
            let format = self.variable("binlog_format");
            all.push(
                Finding::new(
                    "the sink's own binlog takes rows (binlog_format = ROW)",
                    FindingState::ok_if(format != "STATEMENT", FindingState::Failed),
                    format,
                    self.set("binlog_format", "'ROW'"),
                )
                .code(code::SINK_REFUSED)
                .why("InnoDB refuses writes in READ COMMITTED with STATEMENT"),
            );
        }
        if self.is_mariadb() {
            return all;
        }
        let mode = self.variable("gtid_mode");
        let (found, fix) = if !self.is_on("log_bin") {
            let line = "log_bin = binlog   # in [mysqld] of the option file; then restart";
            ("log_bin is OFF".to_owned(), Fix::hand(line))
        } else {
            let steps = ["OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"];
            let done = steps
                .iter()
                .position(|step| *step == mode)
                .map_or(0, |at| at + 1);
            let scope = self.scope();
            let consistency = format!("SET {scope} enforce_gtid_consistency = ON");
            let steps = steps.iter().skip(done);
            let steps: Vec<String> = std::iter::once(consistency)
                .chain(steps.map(|step| format!("SET {scope} gtid_mode = {step}")))
                .collect();
            (format!("gtid_mode is {mode}"), Fix::sql(steps.join("; ")))
        };
        all.push(
            Finding::new(
                "the sink knows whether a DDL statement ran (gtid_mode = ON, log_bin = ON)",
                FindingState::ok_if(self.has_gtids(), FindingState::Warning),
                found,
                fix,
            )
            .why("without, a crash inside a DDL statement is decided by comparing definitions"),
        );
        all
    }

    fn engine_finding(&self) -> Finding {
        let engine = self.variable("default_storage_engine");
        Finding::new(
            "new tables are transactional (default_storage_engine = InnoDB)",
            FindingState::ok_if(engine.eq_ignore_ascii_case("InnoDB"), FindingState::Warning),
            engine,
            self.set("default_storage_engine", "'InnoDB'"),
        )
        .why("rows and the place commit together only in transactional tables")
    }

    fn privilege_findings(&self, needs: &Needs<'_>) -> Vec<Finding> {
        let mut all = vec![self.offset_privileges()];
        all.extend(self.table_privileges(
            needs,
            "write rows",
            ROW_PRIVILEGES,
            FindingState::Failed,
            "",
        ));
        if DdlClass::ALL
            .iter()
            .all(|class| needs.ddl.rule(*class) != DdlRule::Apply)
        {
            all.extend(self.holder_finding());
            return all;
        }
        all.extend(self.table_privileges(
            needs,
            "change tables",
            DDL_PRIVILEGES,
            FindingState::Warning,
            "rows are applied without, but the first DDL statement stops the pipeline",
        ));
        if !self.is_mariadb() {
            let has = SESSION_PRIVILEGES
                .iter()
                .find(|name| self.grants.has_global(name));
            let dynamic = self.version() >= MYSQL_MIN;
            let name = if dynamic {
                "SESSION_VARIABLES_ADMIN"
            } else {
                "SUPER"
            };
            all.push(
                Finding::new(
                    format!("the account may run DDL in the session of its author ({name})"),
                    FindingState::ok_if(has.is_some(), FindingState::Warning),
                    match has {
                        Some(has) if *has == name => "granted".to_owned(),
                        Some(has) => format!("granted by {has}"),
                        None => "not granted".to_owned(),
                    },
                    Fix::sql(format!("GRANT {name} ON *.* TO {}", self.account)),
                )
                .code(code::SINK_PRIVILEGE)
                .why("rows are applied without, but the first DDL statement stops the pipeline"),
            );
        }
        all.extend(self.holder_finding());
        all
    }

    fn offset_privileges(&self) -> Finding {
        let needed = ["SELECT", "INSERT", "UPDATE", "CREATE"];
        let has_tables = matches!(self.offset, Offset::Stored(_) | Offset::Unreadable(_));
        let missing: Vec<&str> = needed
            .into_iter()
            .filter(|name| !(has_tables && *name == "CREATE"))
            .filter(|name| !self.grants.has_on_schema(name, super::schema::DATABASE))
            .filter(|name| {
                let has = |table| {
                    self.grants
                        .has_on_table(name, super::schema::DATABASE, table)
                };
                !(has_tables && has("offset") && has("offset_gtid") && has("snapshot"))
            })
            .collect();
        Finding::new(
            "the account may keep its place in schema towpath",
            FindingState::ok_if(missing.is_empty(), FindingState::Failed),
            lacks(&missing),
            Fix::sql(format!(
                "GRANT {} ON `towpath`.* TO {}",
                missing.join(", "),
                self.account
            )),
        )
        .code(code::SINK_PRIVILEGE)
    }

    fn table_privileges(
        &self,
        needs: &Needs<'_>,
        purpose: &str,
        needed: &[&str],
        otherwise: FindingState,
        why: &'static str,
    ) -> Option<Finding> {
        let databases: BTreeSet<&str> = needs
            .databases
            .iter()
            .copied()
            .chain(needs.tables.iter().map(|(database, _)| *database))
            .collect();
        let (mut found, mut fix) = (Vec::new(), Vec::new());
        for database in &databases {
            let mut tables = needs
                .tables
                .iter()
                .filter(|(of, _)| of == database)
                .peekable();
            let any = tables.peek().is_some();
            let tables: Vec<&str> = tables.map(|(_, table)| *table).collect();
            let missing: Vec<&str> = needed
                .iter()
                .copied()
                .filter(|name| !self.grants.has_on_schema(name, database))
                .filter(|name| {
                    let has = |table: &&str| self.grants.has_on_table(name, database, table);
                    !(any && tables.iter().all(has))
                })
                .collect();
            if !missing.is_empty() {
                found.push(format!("{} on {database}", lacks(&missing)));
                fix.push(format!(
                    "GRANT {} ON {}.* TO {}",
                    missing.join(", "),
                    self.grants.quote_schema(database),
                    self.account
                ));
            }
        }
        if databases.is_empty() {
            return None;
        }
        let names: Vec<&str> = databases.into_iter().collect();
        Some(
            Finding::new(
                format!("the account may {purpose} ({})", needed.join(", ")),
                FindingState::ok_if(found.is_empty(), otherwise),
                if found.is_empty() {
                    format!("in {}", names.join(", "))
                } else {
                    found.join("; ")
                },
                Fix::sql(fix.join("; ")),
            )
            .code(code::SINK_PRIVILEGE)
            .why(why),
        )
    }

    fn holder_finding(&self) -> Option<Finding> {
        let Offset::Stored(stored) = &self.offset else {
            return None;
        };
        let holder = stored.holder.as_ref()?;
        let id = holder.connection_id;
        if !holder.is_other_user {
            let found = format!("{} runs the pipeline now, on connection {id}", stored.owner);
            return Some(Finding::ok(
                "`towpath run` may take over from who runs it",
                found,
            ));
        }
        let may = ["CONNECTION_ADMIN", "SUPER", "CONNECTION ADMIN"];
        let has = may.iter().any(|name| self.grants.has_global(name));
        let name = if self.is_mariadb() {
            "CONNECTION ADMIN"
        } else {
            "CONNECTION_ADMIN"
        };
        let finding = Finding::new(
            format!("the account may end the connection {id} of another user ({name})"),
            FindingState::ok_if(has, FindingState::Warning),
            format!(
                "{} runs this pipeline now, and the sink's login has changed since",
                stored.owner
            ),
            Fix::sql(format!("GRANT {name} ON *.* TO {}", self.account)),
        );
        Some(finding.code(code::LOCK_HELD))
    }
}

/// What `[ddl]` says beside the defaults.
fn rules_finding(ddl: &DdlSpec) -> Option<Finding> {
    let default = DdlSpec::default();
    let rules: Vec<String> = DdlClass::ALL
        .into_iter()
        .filter(|class| ddl.rule(*class) != default.rule(*class))
        .map(|class| format!("{} = {}", class.key(), ddl.rule(class)))
        .collect();
    let what = "schema changes that are treated in another way than by default ([ddl])";
    (!rules.is_empty()).then(|| Finding::ok(what, rules.join(", ")))
}

fn lacks(missing: &[&str]) -> String {
    if missing.is_empty() {
        "granted".to_owned()
    } else {
        format!("lacks {}", missing.join(", "))
    }
}

fn mebibytes(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes.is_multiple_of(MIB) {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{bytes} bytes")
    }
}

/// `user@host` of CURRENT_USER(), quoted for a statement.
fn quote_account(account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    format!("{}@{}", quote(user), quote(host))
}

#[cfg(test)]
mod tests;
