//! Names that become one step of a path in the directory, and so are checked: no `/`, no `.` or
//! `..`, no control characters, nothing empty, nothing long.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most bytes of a name in the tree: a sink's name with a prefix fits, and a whole path stays
/// far below the directory's bound.
pub const TREE_NAME_BYTES_MAX: usize = 96;

/// A text that can't be a step of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is no {kind}; use 1 to {TREE_NAME_BYTES_MAX} lower-case letters, digits, \"-\", \
     \"_\" and \".\", beginning with a letter or a digit"
)]
pub struct TreeNameError {
    /// What it should have been.
    pub kind: &'static str,
    /// The text as given.
    pub name: String,
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= TREE_NAME_BYTES_MAX
        && text.bytes().next().is_some_and(plain)
        && text
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'_' | b'-' | b'.'))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes a name.
            ///
            /// # Errors
            /// When it isn't `[a-z0-9][a-z0-9_.-]*` of at most [`TREE_NAME_BYTES_MAX`] bytes.
            pub fn new(name: impl Into<String>) -> Result<Self, TreeNameError> {
                let name = name.into();
                if is_name(&name) {
                    Ok(Self(name))
                } else {
                    Err(TreeNameError { kind: $kind, name })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = TreeNameError;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = TreeNameError;

            fn try_from(name: String) -> Result<Self, Self::Error> {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The id of a Server, a Core or a Monitor, unique among its kind.
    MemberId, "id of a Server, Core or Monitor"
}

name! {
    /// The name of a task, unique in its pipeline: the sink's name, `producer`, or
    /// `consumer-{sink}`.
    TaskName, "name of a task"
}

name! {
    /// The name of a database that may move.
    DataSourceName, "name of a data source"
}

name! {
    /// The name of a lock.
    LockName, "name of a lock"
}

name! {
    /// The name of a node below `/towpath/config`.
    ConfigName, "name of a configuration node"
}

name! {
    /// The id of an alert.
    AlertId, "id of an alert"
}

impl LockName {
    /// The lock of a sink's target: a running apply holds it shared, repairs hold it exclusively.
    /// The parts are names already, so this can't fail to be one.
    pub fn target(pipeline: &crate::spec::PipelineName, task: &TaskName) -> Self {
        // At most 64 + 1 + 96 bytes; '.' is in no pipeline's name, so no two targets share a lock.
        Self(format!("{pipeline}.{task}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_place() {
        for name in ["core-1", "0", "core-1.example.net", "a_b", &"a".repeat(96)] {
            assert_eq!(MemberId::new(name).unwrap().as_str(), name);
        }
        let long = "a".repeat(97);
        let bad = [
            "", ".", "..", "../x", "a/b", "/a", "A", "-a", "a b", "a\0", "é", &long,
        ];
        for name in bad {
            let error = TaskName::new(name).unwrap_err();
            assert_eq!((error.kind, &*error.name), ("name of a task", name));
        }
    }

    #[test]
    fn a_record_can_t_bring_in_a_bad_name() {
        assert!(serde_json::from_str::<MemberId>("\"../cluster\"").is_err());
        assert_eq!(
            serde_json::from_str::<MemberId>("\"core-1\"").unwrap(),
            MemberId::new("core-1").unwrap()
        );
    }

    #[test]
    fn each_target_has_its_own_lock() {
        let lock = |pipeline: &str, task: &str| {
            LockName::target(&pipeline.parse().unwrap(), &task.parse().unwrap())
        };
        assert_eq!(lock("orders", "replica").as_str(), "orders.replica");
        assert_ne!(lock("a", "b.c"), lock("a-b", "c"));
    }
}
