use serde_json::{Value, json};

use super::*;

fn holds<T: Record + PartialEq + std::fmt::Debug>() {
    let name = T::NAME;
    let example: Value = serde_json::from_str(T::EXAMPLE).unwrap();
    let read = Versioned::<T>::from_json(T::EXAMPLE.as_bytes()).unwrap();
    assert_eq!(read.version, T::VERSION, "{name}");
    assert!(read.unknown.is_empty(), "{name}: {:?}", read.unknown);
    let printed: Value = serde_json::from_slice(&read.to_json().unwrap()).unwrap();
    assert_eq!(printed, example, "{name}");
    assert_eq!(Versioned::new(read.record.clone()), read, "{name}");

    let mut newer = example.clone();
    newer["version"] = json!(9);
    newer["added_later"] = json!({"deep": [1, 2]});
    let read = Versioned::<T>::from_json(newer.to_string().as_bytes()).unwrap();
    let printed: Value = serde_json::from_slice(&read.to_json().unwrap()).unwrap();
    assert_eq!(printed, newer, "{name}");

    let mut without = example;
    without.as_object_mut().unwrap().remove("version");
    assert!(Versioned::<T>::from_json(without.to_string().as_bytes()).is_err());
    for broken in ["", "{", "[]", "null", "{\"version\":-1}", "\u{0}"] {
        let error = Versioned::<T>::from_json(broken.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn examples_are_read_and_printed_again_and_newer_ones_too() {
    holds::<Cluster>();
    holds::<DataSource>();
    holds::<LogConfig>();
    holds::<LimitsConfig>();
    holds::<Member>();
    holds::<AppliedSpec>();
    holds::<Desired>();
    holds::<Assignment>();
    holds::<Instance>();
    holds::<EpochHolder>();
    holds::<Progress>();
    holds::<Committed>();
    holds::<Command>();
    holds::<Alert>();
    holds::<Seen>();
    holds::<LockHolder>();
    holds::<PipelineStatus>();
    holds::<Journal>();
    holds::<Failure>();
    holds::<HistoryEvent>();
    holds::<Drain>();
    holds::<Probe>();
}

#[test]
fn an_unknown_value_of_an_enum_is_kept() {
    let text = Desired::EXAMPLE.replace("\"running\"", "\"hibernating\"");
    let read = Versioned::<Desired>::from_json(text.as_bytes()).unwrap();
    assert_eq!(
        read.record.state,
        DesiredState::Other("hibernating".to_owned())
    );
    let printed = String::from_utf8(read.to_json().unwrap()).unwrap();
    assert!(printed.contains("\"hibernating\""), "{printed}");
}

#[test]
fn an_unknown_or_incomplete_action_is_kept_as_it_is() {
    let mut command: Value = serde_json::from_str(Command::EXAMPLE).unwrap();
    for action in [
        json!({"kind": "teleport", "to": "mars"}),
        json!({"kind": "move"}),
        json!({"kind": "directory", "ask": {"kind": "split", "id": 1}}),
        json!({"kind": "directory", "ask": {"kind": "add", "id": 2, "peer": "a:1"}}),
    ] {
        command["action"] = action.clone();
        let read = Versioned::<Command>::from_json(command.to_string().as_bytes()).unwrap();
        assert_eq!(read.record.action, Action::Other(action));
        let printed: Value = serde_json::from_slice(&read.to_json().unwrap()).unwrap();
        assert_eq!(printed, command);
    }
    command["action"] = json!({"kind": "log-level"});
    let read = Versioned::<Command>::from_json(command.to_string().as_bytes()).unwrap();
    assert_eq!(read.record.action, Action::LogLevel { filter: None });
}

#[test]
fn what_is_asked_of_the_directory_is_flat() {
    let text = r#"{"kind":"directory","ask":{"kind":"add","id":2,"peer":"a:1","client":"a:2"}}"#;
    let action: Action = serde_json::from_str(text).unwrap();
    let at = MemberAddress {
        peer: "a:1".to_owned(),
        client: "a:2".to_owned(),
    };
    let ask = DirectoryAction::Add { id: 2, at };
    assert_eq!(action, Action::Directory { ask });
    assert_eq!(serde_json::to_string(&action).unwrap(), text);
}

#[test]
fn a_record_fits_into_a_node() {
    let record = LogConfig {
        filter: "x".repeat(RECORD_BYTES_MAX),
    };
    let error = Versioned::new(record).to_json().unwrap_err();
    assert!(matches!(error, RecordError::TooLarge { .. }), "{error}");
    let data = vec![b' '; RECORD_BYTES_MAX + 1];
    let error = Versioned::<LogConfig>::from_json(&data).unwrap_err();
    assert!(matches!(error, RecordError::TooLarge { .. }), "{error}");
}
