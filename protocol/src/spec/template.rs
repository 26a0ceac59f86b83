//! `${NAME}` in a string value: replaced from the environment. `$$` is a literal `$`; any other
//! `$` stands for itself. What a variable holds is taken as it is and not looked into again.

use super::Environment;

/// A part of a string value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text as written.
    Literal(&'a str),
    /// A variable's name.
    Variable(&'a str),
}

/// Why a string can't be resolved. Never quotes the string: it may be a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("\"${{\" has no closing \"}}\"; write ${{NAME}} for a variable, $$ for a literal $")]
    Unclosed,
    #[error(
        "the name between \"${{\" and \"}}\" must be letters, digits and underscores and begin \
         with no digit; write $$ for a literal $"
    )]
    Name,
    #[error("environment variable {name} is not set; export it, or write $$ for a literal $")]
    Missing { name: String },
    #[error("environment variable {name} holds a token of Towpath's own, which is for no pipeline")]
    Token { name: String },
}

/// Splits a string into text and variables.
pub(super) fn pieces(raw: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut out = Vec::new();
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('$') {
        out.push(Piece::Literal(before));
        if let Some(after) = after.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or(TemplateError::Unclosed)?;
            let starts =
                name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
            if !starts
                || !name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                return Err(TemplateError::Name);
            }
            out.push(Piece::Variable(name));
            rest = after;
        } else {
            out.push(Piece::Literal("$"));
            rest = after.strip_prefix('$').unwrap_or(after);
        }
    }
    out.push(Piece::Literal(rest));
    out.retain(|piece| *piece != Piece::Literal(""));
    Ok(out)
}

/// Whether a string's value depends on a variable.
pub(super) fn has_variables(raw: &str) -> bool {
    pieces(raw).is_ok_and(|pieces| {
        pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Variable(_)))
    })
}

/// A variable's value.
pub(super) fn variable(name: &str, env: Environment<'_>) -> Result<String, TemplateError> {
    // Who may write a pipeline file must not get at what makes a process a Core.
    if name.starts_with("TOWPATH_") && name.ends_with("_TOKEN") {
        return Err(TemplateError::Token { name: name.into() });
    }
    env(name).ok_or_else(|| TemplateError::Missing { name: name.into() })
}

/// The string with its variables replaced.
pub(super) fn resolve(raw: &str, env: Environment<'_>) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(raw.len());
    for piece in pieces(raw)? {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Variable(name) => out.push_str(&variable(name, env)?),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(raw: &str) -> Result<String, TemplateError> {
        resolve(raw, &|name| match name {
            "A" => Some("${B}$$".into()),
            "_b1" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn tokens_are_for_no_pipeline() {
        let all = |_: &str| Some("secret".to_owned());
        for name in ["TOWPATH_CORE_TOKEN", "TOWPATH_HTTP_TOKEN"] {
            let error = resolve(&format!("x${{{name}}}"), &all).unwrap_err();
            assert_eq!(error, TemplateError::Token { name: name.into() });
        }
        assert_eq!(resolve("${MY_TOKEN}", &all).as_deref(), Ok("secret"));
    }

    #[test]
    fn variables_are_replaced_once() {
        for (raw, value) in [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "${B}$$"),
            ("x${A}y${_b1}z", "x${B}$$yz"),
            ("$$", "$"),
            ("$${A}", "${A}"),
            ("$$$${A}$$${A}", "$${A}$${B}$$"),
            ("a$b $ {A} $", "a$b $ {A} $"),
            ("}{é}", "}{é}"),
        ] {
            assert_eq!(resolved(raw).as_deref(), Ok(value), "{raw:?}");
        }
    }

    #[test]
    fn bad_templates_are_refused() {
        for (raw, error) in [
            ("${A", TemplateError::Unclosed),
            ("${}", TemplateError::Name),
            ("${1A}", TemplateError::Name),
            ("${A-b}", TemplateError::Name),
            ("${É}", TemplateError::Name),
            ("${C}", TemplateError::Missing { name: "C".into() }),
        ] {
            assert_eq!(resolved(raw), Err(error), "{raw:?}");
        }
    }
}
