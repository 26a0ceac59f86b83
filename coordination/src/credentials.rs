//! Tokens: by which a process shows the directory its role.
//!
//! A role's token is in the environment variable that [`Role::variable`] names, or in the file of
//! the role's name in a folder of tokens. More than one, separated by blanks or lines, is for
//! rotating them: a Server takes each, everybody else shows the first. No error and no `Debug`
//! shows one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use towpath_protocol::tree::Role;
use uuid::Uuid;

/// Shorter ones could be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// Longest: credentials are one small frame.
const TOKEN_BYTES_MAX: usize = 512;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file can't be read.
    #[error("the token of role {role}: {}: {source}", .path.display())]
    File {
        /// Whose.
        role: Role,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is there is no token.
    #[error(
        "the token of role {role}, in {place}: {reason}; make one, for example by: openssl rand -hex 32"
    )]
    NoToken {
        /// Whose.
        role: Role,
        /// The variable or the file.
        place: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A folder of tokens is given, and none of this role is there.
    #[error(
        "no token of role {role}: put it into {} or into {}",
        .path.display(),
        .role.variable()
    )]
    Missing {
        /// Whose.
        role: Role,
        /// Where it would be.
        path: PathBuf,
    },
}

/// A token. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A token that nobody has yet: 244 random bits.
    pub fn random() -> Self {
        Self(format!(
            "{}{}",
            Uuid::new_v4().simple(),
            Uuid::new_v4().simple()
        ))
    }

    /// The token itself, to be hashed or sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a process shows of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its role.
    pub role: Role,
    /// Its token; without one a client certificate has to name the role, if the directory has
    /// roles.
    pub token: Option<Secret>,
}

impl Credentials {
    /// Those of a role, from the environment or the folder.
    ///
    /// # Errors
    /// [`CredentialsError`]: also if there is a folder, and no token of this role.
    pub fn load(role: Role, folder: Option<&Path>) -> Result<Self, CredentialsError> {
        let token = tokens(role, folder)?.into_iter().next();
        match (&token, folder) {
            (None, Some(folder)) => Err(CredentialsError::Missing {
                role,
                path: folder.join(role.name()),
            }),
            _ => Ok(Self { role, token }),
        }
    }
}

/// All tokens of a role; none if neither variable nor file is there. The variable goes first, and
/// alone.
///
/// # Errors
/// [`CredentialsError`].
pub fn tokens(role: Role, folder: Option<&Path>) -> Result<Vec<Secret>, CredentialsError> {
    let variable = std::env::var_os(role.variable()).filter(|value| !value.is_empty());
    if let Some(value) = variable {
        let text = value.to_string_lossy();
        return parse(role, &text, role.variable());
    }
    let Some(folder) = folder else {
        return Ok(Vec::new());
    };
    let path = folder.join(role.name());
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(role, &text, &path.display().to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(CredentialsError::File { role, path, source }),
    }
}

fn parse(role: Role, text: &str, place: &str) -> Result<Vec<Secret>, CredentialsError> {
    let wrong = |reason| CredentialsError::NoToken {
        role,
        place: place.to_owned(),
        reason,
    };
    let mut found = Vec::new();
    for token in text.split_whitespace() {
        match token.len() {
            ..TOKEN_BYTES_MIN => return Err(wrong("it has less than 16 characters")),
            TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX => {}
            _ => return Err(wrong("it has more than 512 characters")),
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("it has other than visible ASCII characters"));
        }
        found.push(Secret(token.to_owned()));
    }
    match found.is_empty() {
        true => Err(wrong("there is none in it")),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_tokens_and_none() {
        let folder = tempfile::tempdir().unwrap();
        let of = |role| tokens(role, Some(folder.path()));
        assert!(of(Role::Core).unwrap().is_empty());
        let error = Credentials::load(Role::Core, Some(folder.path())).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("TOWPATH_CORE_TOKEN"), "{error}");
        let (new, old) = ("0123456789abcdef", "fedcba9876543210");
        std::fs::write(folder.path().join("core"), format!("{new}\n{old}\n")).unwrap();
        let found = of(Role::Core).unwrap();
        let shown: Vec<_> = found.iter().map(Secret::expose).collect();
        assert_eq!(shown, [new, old]);
        let own = Credentials::load(Role::Core, Some(folder.path())).unwrap();
        assert_eq!(own.token.as_ref().map(Secret::expose), Some(new));
        assert!(!format!("{own:?}").contains(new));
        for bad in ["", "\n", "short-secret", "0123456789abcdef\u{e9}"] {
            std::fs::write(folder.path().join("core"), bad).unwrap();
            let error = of(Role::Core).unwrap_err().to_string();
            assert!(bad.trim().is_empty() || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn random_ones_differ_and_are_tokens() {
        let (a, b) = (Secret::random(), Secret::random());
        assert_ne!(a, b);
        assert_eq!(parse(Role::Core, a.expose(), "x").unwrap(), [a]);
    }
}
