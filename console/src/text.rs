//! How things are shown to people.

use std::io::{IsTerminal as _, Write as _};

use jiff::Timestamp;
use towpath_protocol::tree::record::{SnapshotProgress, TableProgress};

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

/// How far a first copy is: `3 of 12 tables, 90 000 of about 400 000 rows (22 %), 15 500 rows/s, 20
/// s left`.
pub(crate) fn copy(copy: &SnapshotProgress) -> String {
    let tables = format!("{} of {} tables copied", copy.tables_done, copy.tables);
    let rows = rows(copy.rows, Some(copy.rows_estimated));
    let speed = speed(copy.rows_per_second, copy.seconds_left);
    format!("{tables}, {rows}{speed}")
}

/// How far the copy of one table is.
pub(crate) fn table_copy(table: &TableProgress) -> String {
    let name = line(&table.table);
    let state = line(&table.state);
    if table.rows == 0 && table.rows_estimated.is_none() {
        return format!("{name}: {state}");
    }
    let rows = rows(table.rows, table.rows_estimated);
    let speed = speed(table.rows_per_second, table.seconds_left);
    format!("{name}: {state}, {rows}{speed}")
}

/// Statistics may tell of fewer rows than there are: no share is then told.
fn rows(copied: u64, estimated: Option<u64>) -> String {
    match estimated {
        Some(all) if all >= copied && all > 0 => {
            let percent = u128::from(copied) * 100 / u128::from(all);
            let (copied, all) = (grouped(copied), grouped(all));
            format!("{copied} of about {all} rows ({percent} %)")
        }
        _ => format!("{} rows", grouped(copied)),
    }
}

fn speed(rows_per_second: u64, seconds_left: Option<u64>) -> String {
    let mut out = String::new();
    if rows_per_second > 0 {
        out.push_str(&format!(", {} rows/s", grouped(rows_per_second)));
    }
    if let Some(seconds) = seconds_left {
        let ms = i64::try_from(seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000);
        out.push_str(&format!(", {} left", span(ms)));
    }
    out
}

/// A number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
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
    fn a_copy_says_how_far_it_is_and_no_share_that_cannot_be() {
        let mut all = SnapshotProgress {
            tables: 12,
            tables_done: 3,
            rows: 90_000,
            rows_estimated: 1_400_000,
            rows_per_second: 15_500,
            seconds_left: Some(130),
            under_way: Vec::new(),
        };
        assert_eq!(
            copy(&all),
            "3 of 12 tables copied, 90 000 of about 1 400 000 rows (6 %), 15 500 rows/s, 2 min left"
        );
        (all.rows_estimated, all.rows_per_second, all.seconds_left) = (80_000, 0, None);
        assert_eq!(copy(&all), "3 of 12 tables copied, 90 000 rows");
        let mut table = TableProgress {
            table: "shop.orders".into(),
            state: "waiting".into(),
            ..TableProgress::default()
        };
        assert_eq!(table_copy(&table), "shop.orders: waiting");
        table.rows_estimated = Some(7);
        assert_eq!(
            table_copy(&table),
            "shop.orders: waiting, 0 of about 7 rows (0 %)"
        );
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
