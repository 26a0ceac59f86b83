//! A pipeline file without the passwords that somebody wrote into it in clear.
//!
//! It works on the text as it stands, comments and files that can't be read included, and masks
//! rather too much. `${NAME}` and `file:…` are no secrets, and stay.

/// What stands for a password.
const MASKED: &str = "***";

/// The text, its passwords masked: those of URLs, and the values of keys that hold one.
pub(crate) fn secrets(text: &str) -> String {
    keys(&urls(text))
}

/// The names of the variables that a text holds, each once, sorted.
pub(crate) fn variables(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        rest = match after.strip_prefix('$') {
            Some(escaped) => escaped,
            None => after,
        };
        if let Some(inside) = after.strip_prefix('{')
            && let Some((name, after)) = inside.split_once('}')
        {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if !name.is_empty() && name.bytes().all(plain) {
                names.push(name);
            }
            rest = after;
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether there's nothing in clear: it's empty, or variables alone.
fn is_no_secret(value: &str) -> bool {
    let mut rest = value;
    while let Some((name, after)) = rest
        .strip_prefix("${")
        .and_then(|rest| rest.split_once('}'))
    {
        if name.contains('$') {
            return false;
        }
        rest = after;
    }
    rest.is_empty() || rest == MASKED
}

/// Masks what stands between the first `:` and the last `@` after each `://`.
fn urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        // A password may hold anything but what ends the string or the line.
        let end = after.find(['"', '\'', '\n', '\r']).unwrap_or(after.len());
        let (url, next) = after.split_at(end);
        match url
            .rsplit_once('@')
            .map(|(login, host)| (login.split_once(':'), host))
        {
            Some((Some((user, password)), host)) if !is_no_secret(password) => {
                out.push_str(user);
                out.push(':');
                out.push_str(MASKED);
                out.push('@');
                out.push_str(host);
            }
            _ => out.push_str(url),
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

/// Masks the string after each `password =`.
fn keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("password") {
        out.push_str(before);
        out.push_str("password");
        rest = after;
        let Some((lead, delimiter, value, next)) = assigned(after) else {
            continue;
        };
        out.push_str(lead);
        out.push_str(delimiter);
        match is_no_secret(value) || value.starts_with("file:") {
            true => out.push_str(value),
            false => out.push_str(MASKED),
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

/// What is assigned here: what stands before the string, its delimiter, what is in it, and the
/// rest from the closing delimiter on.
fn assigned(text: &str) -> Option<(&str, &'static str, &str, &str)> {
    // The key's own closing quote may come first.
    let key = text.strip_prefix(['"', '\'']).unwrap_or(text);
    let value = key.trim_start_matches([' ', '\t']).strip_prefix('=')?;
    let value = value.trim_start_matches([' ', '\t']);
    let lead = text.get(..text.len() - value.len())?;
    let delimiters = ["\"\"\"", "'''", "\"", "'"];
    let delimiter = delimiters
        .into_iter()
        .find(|quote| value.starts_with(quote))?;
    let inside = value.strip_prefix(delimiter)?;
    let basic = delimiter.starts_with('"');
    let mut from = 0;
    let end = loop {
        let Some(found) = inside.get(from..).and_then(|rest| rest.find(delimiter)) else {
            break inside.len();
        };
        let end = from + found;
        let before = inside.get(..end).unwrap_or_default();
        let escapes = before.len() - before.trim_end_matches('\\').len();
        if !basic || escapes % 2 == 0 {
            break end;
        }
        from = end + 1;
    };
    let (value, next) = inside.split_at(end);
    Some((lead, delimiter, value, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_clear_are_masked_and_variables_stay() {
        for (text, shown) in [
            ("url = \"mysql://u:p@h:1\"", "url = \"mysql://u:***@h:1\""),
            ("url = \"mysql://u:a@b:c/d@h\"", "url = \"mysql://u:***@h\""),
            ("url = 'mysql://u:p${X}@h'", "url = 'mysql://u:***@h'"),
            ("url = 'mysql://u:${X}@h'", "url = 'mysql://u:${X}@h'"),
            (
                "url = 'mysql://u:${X}${Y}@h'",
                "url = 'mysql://u:${X}${Y}@h'",
            ),
            ("url = 'mysql://u:${${X}@h'", "url = 'mysql://u:***@h'"),
            ("url = 'mysql://u@h'", "url = 'mysql://u@h'"),
            ("# mysql://u:old@h\nx = 1", "# mysql://u:***@h\nx = 1"),
            ("http://127.0.0.1:9000/a", "http://127.0.0.1:9000/a"),
            ("password = \"s\\\"e\\\\\" # x", "password = \"***\" # x"),
            ("{ \"password\" ='s', a=1 }", "{ \"password\" ='***', a=1 }"),
            (
                "password = \"\"\"\na\nb\"\"\"\nx",
                "password = \"\"\"***\"\"\"\nx",
            ),
            ("password = \"file:/x\"", "password = \"file:/x\""),
            ("password = \"${X}\"", "password = \"${X}\""),
            ("password = \"open", "password = \"***"),
            ("a password is needed", "a password is needed"),
        ] {
            assert_eq!(secrets(text), shown, "{text}");
            assert_eq!(secrets(shown), shown, "{text}");
        }
    }

    #[test]
    fn which_variables_a_file_needs() {
        let text = "a = '${B}x${A}' # $${C} ${B} ${ ${D";
        assert_eq!(variables(text), ["A", "B"]);
        assert_eq!(variables("$"), [""; 0]);
    }
}
