//! What a hook is told.

use serde_json::json;
use towpath_protocol::spec::BodyField;
use towpath_protocol::tree::AlertId;
use towpath_protocol::tree::record::Alert;

/// Where a rule is explained.
const RULES_PAGE: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/alerts.md");

/// One transition of one alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Which alert.
    pub id: AlertId,
    /// As it is in the tree.
    pub alert: Alert,
    /// The directory's id.
    pub cluster: String,
}

impl Message {
    /// The same again when the same is told again: alert, transition, and since when it fires.
    pub fn notification(&self) -> String {
        format!(
            "{}:{}:{}",
            self.id,
            self.alert.state.as_str(),
            self.alert.since
        )
    }

    /// One value, as text.
    pub fn field(&self, field: BodyField) -> String {
        let alert = &self.alert;
        match field {
            BodyField::Id => self.id.to_string(),
            BodyField::Rule => alert.rule.clone(),
            BodyField::Severity => alert.severity.as_str().to_owned(),
            BodyField::State => alert.state.as_str().to_owned(),
            BodyField::Subject => alert.subject.clone(),
            BodyField::Text => alert.text.clone(),
            BodyField::Since => alert.since.to_string(),
            BodyField::Resolved => alert.resolved.map_or_else(String::new, |at| at.to_string()),
            BodyField::Cluster => self.cluster.clone(),
            BodyField::Pipeline => alert.pipeline.clone().unwrap_or_default(),
            BodyField::Code => alert.code.clone().unwrap_or_default(),
            BodyField::Notification => self.notification(),
            BodyField::Link => format!("{RULES_PAGE}#{}", alert.rule),
        }
    }

    /// Towpath's own body; `docs/alerts.md` describes it. Keys are only ever added.
    pub fn json(&self) -> String {
        let alert = &self.alert;
        json!({
            "version": 1,
            "notification": self.notification(),
            "id": self.id,
            "rule": alert.rule,
            "severity": alert.severity,
            "state": alert.state,
            "subject": alert.subject,
            "text": alert.text,
            "since": alert.since,
            "resolved": alert.resolved,
            "pipeline": alert.pipeline,
            "code": alert.code,
            "cluster": self.cluster,
            "links": {
                "rule": self.field(BodyField::Link),
                "alert": towpath_protocol::tree::path::alert(&self.id).as_str(),
            },
        })
        .to_string()
    }
}
