//! From a spec in the tree to one that this process can run: variables, the task's role and sink, the
//! replica's server_id, and where named databases are now. The one place where an address of a
//! pipeline file is overridden.

use std::collections::BTreeMap;
use std::path::Path;

use towpath_protocol::code::{self, Code};
use towpath_protocol::spec::{Endpoint, PipelineSpec, SnapshotMode, SpecError, TaskRole};
use towpath_protocol::tree::DataSourceName;
use uuid::Uuid;

use super::plan::{TaskKey, Wanted};

/// A spec that can't be run here.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A variable isn't set here, or the file is wrong.
    #[error("{0}")]
    Spec(#[from] SpecError),
    /// The spec is another pipeline's.
    #[error("the spec names the pipeline {0:?}")]
    Name(String),
    /// The spec has no such task.
    #[error("the spec has no task {0:?}")]
    Task(String),
    /// A data source's address can't be used.
    #[error("data source {name}: {address:?} is no HOST:PORT")]
    Address {
        /// The data source.
        name: DataSourceName,
        /// What its node says.
        address: String,
    },
}

impl ResolveError {
    /// The error's code.
    pub fn code(&self) -> Code {
        match self {
            Self::Spec(_) => code::SPEC_UNRESOLVED,
            Self::Name(_) | Self::Task(_) => code::SPEC_MISMATCH,
            Self::Address { .. } => code::DATASOURCE_ADDRESS,
        }
    }

    /// What to do.
    pub(super) fn advice(&self) -> String {
        match self {
            Self::Spec(_) => {
                "set the variables in the environment of every Core that may run this pipeline, or \
                 correct the file and apply it again"
                    .to_owned()
            }
            Self::Name(_) | Self::Task(_) => "apply the pipeline file again".to_owned(),
            Self::Address { name, .. } => {
                format!("set the address of data source {name} to HOST:PORT (towpath source)")
            }
        }
    }
}

/// A spec that can be run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) spec: PipelineSpec,
    pub(super) revision: u64,
    /// What the task does of it.
    pub(super) role: TaskRole,
    /// The pipeline's identity.
    pub(super) uuid: Uuid,
}

impl Resolved {
    /// Whether a sink begins by itself, whatever the others hold: behind a log, with a first copy of
    /// its own.
    pub(super) fn begins_by_itself(&self) -> bool {
        self.spec.queue.kind.is_log() && self.spec.source.snapshot != SnapshotMode::Never
    }
}

/// Resolves what is wanted of a task, with the values of `environment`.
pub(super) fn resolve(
    key: &TaskKey,
    wanted: &Wanted,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Resolved, ResolveError> {
    let file = Path::new(key.pipeline.as_str());
    let mut spec = PipelineSpec::parse_without_hooks(&wanted.spec.text, file, environment)?;
    if spec.name != key.pipeline {
        return Err(ResolveError::Name(spec.name.to_string()));
    }
    let role = spec.role(&key.task);
    let role = role.ok_or_else(|| ResolveError::Task(key.task.to_string()))?;
    if let Some(sink) = role.sink() {
        spec.sinks.retain(|found| found.name == *sink);
    }
    move_endpoints(&mut spec, &wanted.datasources)?;
    spec.source
        .server_id
        .get_or_insert(wanted.assignment.server_id);
    Ok(Resolved {
        spec,
        revision: wanted.spec.revision,
        role,
        uuid: wanted.spec.uuid,
    })
}

/// Puts the named databases of a pipeline where the directory says that they are.
///
/// # Errors
/// [`ResolveError::Address`].
pub fn move_endpoints(
    spec: &mut PipelineSpec,
    places: &BTreeMap<DataSourceName, String>,
) -> Result<(), ResolveError> {
    let source = &mut spec.source;
    move_endpoint(&mut source.endpoint, source.datasource.as_ref(), places)?;
    for sink in &mut spec.sinks {
        move_endpoint(&mut sink.endpoint, sink.datasource.as_ref(), places)?;
    }
    Ok(())
}

/// A named database is where its node says; without a node, where the url says.
fn move_endpoint(
    endpoint: &mut Endpoint,
    name: Option<&DataSourceName>,
    places: &BTreeMap<DataSourceName, String>,
) -> Result<(), ResolveError> {
    let Some((name, address)) = name.and_then(|name| places.get_key_value(name)) else {
        return Ok(());
    };
    let parsed = address.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty()).then(|| (host.to_owned(), port))
    });
    let Some((host, port)) = parsed else {
        return Err(ResolveError::Address {
            name: name.clone(),
            address: address.clone(),
        });
    };
    (endpoint.host, endpoint.port) = (host, port);
    Ok(())
}

#[cfg(test)]
mod tests {
    use towpath_protocol::tree::record::{
        AppliedSpec, Assignment, DesiredState, LimitsConfig, Record as _,
    };

    use super::*;

    fn wanted(text: &str, places: &[(&str, &str)]) -> Wanted {
        let mut spec: AppliedSpec = serde_json::from_str(AppliedSpec::EXAMPLE).unwrap();
        spec.text = text.to_owned();
        Wanted {
            spec,
            desired: DesiredState::Running,
            assignment: serde_json::from_str(Assignment::EXAMPLE).unwrap(),
            failure: None,
            instances: Vec::new(),
            datasources: places
                .iter()
                .map(|(name, address)| (name.parse().unwrap(), (*address).to_owned()))
                .collect(),
            limits: LimitsConfig::default(),
        }
    }

    const TEXT: &str = r#"
name = "orders"
[source]
url = "mysql://repl:${SECRET}@db1:3306"
datasource = "primary"
tables = ["shop.*"]
[[sink]]
name = "replica"
url = "mysql://app:x@db9:3307"
"#;

    fn of(text: &str, places: &[(&str, &str)]) -> Result<Resolved, ResolveError> {
        let key = TaskKey {
            pipeline: "orders".parse().unwrap(),
            task: "replica".parse().unwrap(),
        };
        let environment = |name: &str| (name == "SECRET").then(|| "hunter2".to_owned());
        resolve(&key, &wanted(text, places), &environment)
    }

    #[test]
    fn a_named_database_is_where_its_node_says() {
        let resolved = of(TEXT, &[]).unwrap();
        let endpoint = &resolved.spec.source.endpoint;
        assert_eq!((&*endpoint.host, endpoint.port), ("db1", 3306));
        assert_eq!(resolved.spec.source.server_id, Some(1_000_017));
        for (address, host, port) in [("db2:33", "db2", 33), ("[::1]:34", "::1", 34)] {
            let resolved = of(TEXT, &[("primary", address), ("other", "x:1")]).unwrap();
            let endpoint = &resolved.spec.source.endpoint;
            assert_eq!((&*endpoint.host, endpoint.port), (host, port));
            assert_eq!(endpoint.password.expose(), "hunter2");
            assert_eq!(resolved.spec.sinks[0].endpoint.host, "db9");
        }
        let error = of(TEXT, &[("primary", "db2")]).unwrap_err();
        assert_eq!(error.code(), code::DATASOURCE_ADDRESS);
    }

    #[test]
    fn what_can_t_be_run_here_says_why_without_the_secret() {
        let unset = TEXT.replace("SECRET", "ABSENT");
        let error = of(&unset, &[]).unwrap_err();
        assert_eq!(error.code(), code::SPEC_UNRESOLVED);
        assert!(error.to_string().contains("ABSENT"), "{error}");
        let other = TEXT.replace("\"replica\"", "\"elsewhere\"");
        assert_eq!(of(&other, &[]).unwrap_err().code(), code::SPEC_MISMATCH);
        let renamed = TEXT.replace("\"orders\"", "\"items\"");
        assert_eq!(of(&renamed, &[]).unwrap_err().code(), code::SPEC_MISMATCH);
    }
}
