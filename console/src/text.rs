//! How things are shown to people.

use std::io::{IsTerminal as _, Write as _};

use jiff::Timestamp;

/// Bytes from a node, as a terminal may see them: JSON and other text as it is, else a hex dump.
pub(crate) fn data(bytes: &[u8]) -> String {
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes)
        && (value.is_object() || value.is_array())
    {
        return serde_json::to_string_pretty(&value).unwrap_or_default();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(is_harmful) => text.to_owned(),
        _ => hex(bytes),
    }
}

/// What could change how a terminal behaves.
fn is_harmful(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

/// A name or a short text, on one line, harmless to a terminal.
pub(crate) fn line(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    let row = |(index, row): (usize, &[u8])| {
        let hex: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String = row
            .iter()
            .map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => '.',
            })
            .collect();
        format!("{:08x}  {:<47}  {text}", index * 16, hex.join(" "))
    };
    let rows: Vec<String> = bytes.chunks(16).enumerate().map(row).collect();
    rows.join("\n")
}

/// Milliseconds since 1970, as RFC 3339.
pub(crate) fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

/// Asks on the terminal; no terminal is a no.
///
/// # Errors
/// The terminal can't be read.
pub(crate) fn confirmed(question: &str) -> std::io::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let mut out = std::io::stderr();
    write!(out, "{question} [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_can_t_play_tricks_on_a_terminal() {
        assert_eq!(data(b"{\"a\":1}"), "{\n  \"a\": 1\n}");
        assert_eq!(data(b"plain\ntext"), "plain\ntext");
        assert_eq!(
            data(b"\x1b[2J"),
            "00000000  1b 5b 32 4a                                      .[2J"
        );
        assert_eq!(line("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }
}
