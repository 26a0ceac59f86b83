//! The record of a DDL statement in progress, in the offset row.

use serde::{Deserialize, Serialize};

/// A DDL statement in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DdlIntent {
    /// Its number: `n` of the GTID under which it runs.
    pub seq: u64,
    /// The source transaction.
    pub gtid: String,
    /// The statement, for people to read.
    pub statement: String,
    /// Fingerprint of the definitions of what it names, before it ran.
    pub before: String,
    /// Whether definitions that are as before don't tell whether it ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub traceless: bool,
    /// What an operator says who was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// An operator's answer to the question whether a statement ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It has run.
    Ran,
    /// It has not.
    NotRun,
}

impl DdlIntent {
    /// As stored in the offset row.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`DdlIntent::to_json`] wrote.
    ///
    /// # Errors
    /// What is wrong with the JSON.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_survives_its_storage() {
        let intent = DdlIntent {
            seq: 3,
            gtid: "00000000-0000-0000-0000-000000000001:5".into(),
            statement: "ALTER TABLE `t` ADD c VARCHAR(9) DEFAULT 'it''s'".into(),
            before: "ab".into(),
            traceless: true,
            answer: Some(Answer::NotRun),
        };
        assert_eq!(DdlIntent::from_json(&intent.to_json()).unwrap(), intent);
        assert!(DdlIntent::from_json("{").is_err());
    }

    #[test]
    fn an_intent_of_an_earlier_version_is_read() {
        let json = r#"{"seq": 3, "gtid": "g", "statement": "s", "before": "b"}"#;
        let intent = DdlIntent::from_json(json).unwrap();
        assert!(!intent.traceless && intent.answer.is_none());
        let answered = json.replace('}', r#", "answer": "ran"}"#);
        assert_eq!(
            DdlIntent::from_json(&answered).unwrap().answer,
            Some(Answer::Ran)
        );
    }
}
