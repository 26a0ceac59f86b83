//! Names of pipelines and sinks. They go into lock names, rows and paths of other programs, so
//! they are short, lower case, and need no quoting anywhere.

use std::fmt;
use std::str::FromStr;

/// The most characters of a name. MySQL's named locks hold 64.
pub const NAME_CHARS_MAX: usize = 64;

/// A text that is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is no name; use 1 to {NAME_CHARS_MAX} lower-case letters, digits, \"-\" and \"_\", \
     beginning with a letter or a digit"
)]
pub struct NameError {
    /// The text as given.
    pub name: String,
}

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= NAME_CHARS_MAX
        && text.bytes().next().is_some_and(plain)
        && text
            .bytes()
            .all(|byte| plain(byte) || byte == b'_' || byte == b'-')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes a name.
            ///
            /// # Errors
            /// When it isn't 1 to 64 characters `[a-z0-9][a-z0-9_-]*`.
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                let name = name.into();
                if is_name(&name) { Ok(Self(name)) } else { Err(NameError { name }) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::new(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The name of a pipeline: 1 to 64 of `[a-z0-9][a-z0-9_-]*`. It is the pipeline's identity:
    /// the place in a sink belongs to it.
    PipelineName
}

name! {
    /// The name of a sink, unique in its pipeline: 1 to 64 of `[a-z0-9][a-z0-9_-]*`.
    SinkName
}

name! {
    /// The name of an alert hook, unique in its pipeline: 1 to 64 of `[a-z0-9][a-z0-9_-]*`.
    HookName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_quoting() {
        for name in ["orders", "0", "a_b-c9", &"a".repeat(64)] {
            assert_eq!(PipelineName::new(name).unwrap().as_str(), name);
        }
        for name in [
            "",
            "Orders",
            "_a",
            "-a",
            "a.b",
            "a b",
            "é",
            "a/b",
            &"a".repeat(65),
        ] {
            assert_eq!(SinkName::new(name), Err(NameError { name: name.into() }));
        }
    }
}
