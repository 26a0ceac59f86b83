//! Node paths: which are valid, and how they fall into parent and name. Source:
//! `PathUtils.validatePath` of ZooKeeper 3.8.

use crate::code::Code;

/// Longest path in bytes. Paths are kept once per node and once per watch, and go over the wire
/// with every request; ZooKeeper has no bound but its frame.
pub const PATH_BYTES_MAX: usize = 4096;

/// Checks `path`; `sequential` allows a closing slash, since digits will follow it.
///
/// # Errors
/// [`Code::BadArguments`] for a path that is relative, too long, has an empty, `.` or `..`
/// component or a control character.
pub fn validate(path: &str, sequential: bool) -> Result<(), Code> {
    if path == "/" && !sequential {
        return Ok(());
    }
    if !path.starts_with('/') || path.len() > PATH_BYTES_MAX {
        return Err(Code::BadArguments);
    }
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "" if last && sequential => {}
            "." | ".." if last && sequential => {}
            "" | "." | ".." => return Err(Code::BadArguments),
            _ if part.chars().any(forbidden) => return Err(Code::BadArguments),
            _ => {}
        }
    }
    Ok(())
}

fn forbidden(c: char) -> bool {
    // What is beyond U+FFFF is two surrogates to Java, which ZooKeeper refuses.
    matches!(c, '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

/// Parent and name of a valid path; `None` for the root, which has neither.
pub fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    match (parent, name) {
        ("", "") => None,
        ("", name) => Some(("/", name)),
        pair => Some(pair),
    }
}

/// Whether `path` is `ancestor` or lies below it.
pub fn is_within(path: &str, ancestor: &str) -> bool {
    ancestor == "/"
        || path
            .strip_prefix(ancestor)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_paths() {
        for path in ["/", "/a", "/a/b", "/a.b", "/...", "/ü/日本"] {
            assert_eq!(validate(path, false), Ok(()), "{path}");
        }
        assert_eq!(validate("/a/", true), Ok(()));
        assert_eq!(validate("/", true), Ok(()));
    }

    #[test]
    fn refused_paths() {
        for path in [
            "",
            "a",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/a/../b",
            "/a\u{0}",
            "/\u{7f}",
            "/\u{e000}",
            "/\u{1f600}",
        ] {
            assert_eq!(validate(path, false), Err(Code::BadArguments), "{path:?}");
        }
        let long = format!("/{}", "x".repeat(PATH_BYTES_MAX));
        assert_eq!(validate(&long, false), Err(Code::BadArguments));
    }

    #[test]
    fn splits() {
        assert_eq!(split("/"), None);
        assert_eq!(split("/a"), Some(("/", "a")));
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && is_within("/a", "/"));
        assert!(!is_within("/ab", "/a"));
    }
}
