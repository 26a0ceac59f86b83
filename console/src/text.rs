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

/// Whole lines for people, harmless to a terminal; tabs stay.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .map(|text| text.split('\t').map(line).collect::<Vec<_>>().join("\t"))
}

/// How long something lasts, in its largest unit: `3 s`, `2 min`, `5 h`, `4 d`. What lies in the
/// future, by another machine's clock, is `0 s`.
pub(crate) fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How long ago.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    span(now.as_millisecond().saturating_sub(then.as_millisecond()))
}

/// How far behind: with tenths where they matter.
pub(crate) fn lag(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => span(i64::try_from(ms).unwrap_or(i64::MAX)),
    }
}

/// To the second, for people: `2026-11-22 02:40:00Z`.
pub(crate) fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// "1 Core", "2 Cores", "no Core".
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        0 => format!("no {one}"),
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

/// The name that was meant, if one is near enough.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let far_max = (name.chars().count() / 2).clamp(1, 3);
    names
        .into_iter()
        .filter_map(|known| {
            // The beginning of a name is more than a slip of the hand.
            let distance = match known.starts_with(name) {
                true => 0,
                false => strsim::damerau_levenshtein(name, known),
            };
            (distance <= far_max).then_some((distance, known))
        })
        .min()
        .map(|(_, known)| known)
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
    fn spans_are_short() {
        for (ms, text) in [
            (-5, "0 s"),
            (999, "0 s"),
            (119_000, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(span(ms), text);
        }
        for (ms, text) in [
            (0, "0.0 s"),
            (120, "0.1 s"),
            (9_999, "9.9 s"),
            (68_000, "68 s"),
            (u64::MAX, "106751991167 d"),
        ] {
            assert_eq!(lag(ms), text);
        }
    }

    #[test]
    fn what_was_meant() {
        let known = ["orders", "users", "orders-archive"];
        for (name, meant) in [
            ("order", Some("orders")),
            ("odrers", Some("orders")),
            ("orders-a", Some("orders-archive")),
            ("invoices", None),
            ("x", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
    }

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
