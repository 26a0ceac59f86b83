//! The preconditions that a source must meet, judged from its facts alone.

use super::SourceFacts;

/// Below this retention a weekend's outage can cost a new snapshot, in seconds: three days.
pub const RETENTION_WARN_S: u64 = 3 * 86_400;

/// What `fix` proposes as retention, in seconds: a week.
const RETENTION_FIX_S: u64 = 7 * 86_400;

/// What a pipeline needs of its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The server_id that our dump will use.
    pub server_id: u32,
    /// GTIDs, rather than file positions, are our place.
    pub gtid: bool,
}

/// How a precondition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingState {
    /// Met.
    Ok,
    /// Met well enough to run, with a risk that the finding names.
    Warning,
    /// Not met: the pipeline doesn't start.
    Failed,
}

/// One precondition and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The precondition, with its reason.
    pub what: String,
    /// How it stands.
    pub state: FindingState,
    /// What was found.
    pub found: String,
    /// The statement that mends it, or the line for the server's option file.
    pub fix: Option<String>,
}

impl SourceFacts {
    /// Every precondition with its state, the failed ones among them.
    pub fn findings(&self, needs: &Needs) -> Vec<Finding> {
        let mut all = self.binlog_findings();
        all.extend(self.gtid_findings(needs));
        all.extend(self.retention_findings());
        all.extend(self.privilege_findings());
        all.extend(self.identity_findings(needs));
        all.extend(self.replica_findings());
        all
    }

    fn binlog_findings(&self) -> Vec<Finding> {
        let mut all = vec![finding(
            "binary log is written",
            if self.is_on("log_bin") {
                FindingState::Ok
            } else {
                FindingState::Failed
            },
            self.variable("log_bin"),
            Some("log_bin = binlog   # in [mysqld] of the option file; then restart".to_owned()),
        )];
        let format = self.variable("binlog_format");
        all.push(finding(
            "changes are logged as rows (binlog_format = ROW), statements can't be applied exactly",
            if format == "ROW" {
                FindingState::Ok
            } else {
                FindingState::Failed
            },
            format,
            self.set("binlog_format", "'ROW'"),
        ));
        let image = self.variable("binlog_row_image");
        all.push(finding(
            "rows are logged whole (binlog_row_image = FULL), so that each change is checked",
            if image == "FULL" {
                FindingState::Ok
            } else {
                FindingState::Failed
            },
            image,
            self.set("binlog_row_image", "'FULL'"),
        ));
        let metadata = self.variable("binlog_row_metadata");
        all.push(finding(
            "column names are logged (binlog_row_metadata = FULL); else they are taken from \
             information_schema and may be newer than the rows",
            if metadata == "FULL" {
                FindingState::Ok
            } else {
                FindingState::Warning
            },
            metadata,
            self.set("binlog_row_metadata", "'FULL'"),
        ));
        let options = self.variable("binlog_row_value_options");
        all.push(finding(
            "JSON values are logged whole (binlog_row_value_options is empty)",
            if options.is_empty() {
                FindingState::Ok
            } else {
                FindingState::Failed
            },
            options,
            self.set("binlog_row_value_options", "''"),
        ));
        let checksum = self.variable("binlog_checksum");
        all.push(finding(
            "events carry a checksum (binlog_checksum = CRC32), so that damage is noticed",
            if checksum == "CRC32" {
                FindingState::Ok
            } else {
                FindingState::Warning
            },
            checksum,
            self.set("binlog_checksum", "'CRC32'"),
        ));
        all
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
            finding(
                "transactions have GTIDs (gtid_mode = ON), so that the place is kept across \
                 servers and restarts",
                if mode == "ON" {
                    FindingState::Ok
                } else {
                    missing
                },
                mode,
                Some(fix.join("; ")),
            ),
            finding(
                "every transaction can have one GTID (enforce_gtid_consistency = ON)",
                if consistency == "ON" {
                    FindingState::Ok
                } else {
                    missing
                },
                consistency,
                self.set("enforce_gtid_consistency", "ON"),
            ),
        ]
    }

    fn retention_findings(&self) -> Option<Finding> {
        let seconds = self.number("binlog_expire_logs_seconds")?;
        Some(finding(
            "the binlog outlives an outage (binlog_expire_logs_seconds)",
            match seconds {
                0 => FindingState::Ok,
                short if short < RETENTION_WARN_S => FindingState::Warning,
                _ => FindingState::Ok,
            },
            &if seconds == 0 {
                "never purged".to_owned()
            } else {
                format!("{seconds} s")
            },
            self.set("binlog_expire_logs_seconds", &RETENTION_FIX_S.to_string()),
        ))
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
                "list binlog files and see other replicas",
                FindingState::Warning,
            ),
        ]
        .into_iter()
        .filter_map(|(names, purpose, missing)| {
            let name = names.first()?;
            let has = names.iter().any(|name| self.has_privilege(name));
            Some(finding(
                &format!("the account may {purpose} ({name})"),
                if has { FindingState::Ok } else { missing },
                if has { "granted" } else { "not granted" },
                Some(format!("GRANT {name} ON *.* TO {}", self.account)),
            ))
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
        vec![
            finding(
                "the source has a server_id of its own",
                if theirs == 0 || theirs == needs.server_id {
                    FindingState::Failed
                } else {
                    FindingState::Ok
                },
                &format!("{theirs}, ours is {}", needs.server_id),
                match theirs {
                    0 => self.set("server_id", "1"),
                    _ => Some("give this pipeline another server_id".to_owned()),
                },
            ),
            finding(
                "no other replica uses our server_id",
                match (other, &self.replicas) {
                    (Some(_), _) | (None, None) => FindingState::Warning,
                    (None, Some(_)) => FindingState::Ok,
                },
                &match (other, &self.replicas) {
                    (Some(replica), _) => {
                        format!("{} is used by `{}`", replica.server_id, replica.host)
                    }
                    (None, None) => "not known: the account may not ask".to_owned(),
                    (None, Some(all)) => format!("{} replicas, none with ours", all.len()),
                },
                Some(match other {
                    Some(_) => "give this pipeline another server_id, or stop the other replica \
                                if it is a leftover"
                        .to_owned(),
                    None => format!("GRANT REPLICATION SLAVE ON *.* TO {}", self.account),
                }),
            ),
        ]
    }

    fn replica_findings(&self) -> Vec<Finding> {
        if self.is_replica != Some(true) {
            return Vec::new();
        }
        let updates = self.is_on("log_replica_updates") || self.is_on("log_slave_updates");
        let mut all = vec![finding(
            "the source, itself a replica, logs what it replicates (log_replica_updates)",
            if updates {
                FindingState::Ok
            } else {
                FindingState::Failed
            },
            if updates { "ON" } else { "OFF" },
            Some(
                "log_replica_updates = ON   # in [mysqld] of the option file; then restart".into(),
            ),
        )];
        if !self.variable("replica_preserve_commit_order").is_empty() {
            let ordered = self.is_on("replica_preserve_commit_order")
                || self
                    .number("replica_parallel_workers")
                    .is_some_and(|workers| workers <= 1);
            all.push(finding(
                "the source, itself a replica, commits in its own source's order \
                 (replica_preserve_commit_order)",
                if ordered {
                    FindingState::Ok
                } else {
                    FindingState::Warning
                },
                self.variable("replica_preserve_commit_order"),
                self.set("replica_preserve_commit_order", "ON"),
            ));
        }
        all
    }
}

/// A fix belongs to what isn't right only.
fn finding(what: &str, state: FindingState, found: &str, fix: Option<String>) -> Finding {
    Finding {
        what: what.to_owned(),
        state,
        found: if found.is_empty() {
            "not set".to_owned()
        } else {
            found.to_owned()
        },
        fix: fix.filter(|_| state != FindingState::Ok),
    }
}
