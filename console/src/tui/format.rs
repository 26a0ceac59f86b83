//! Ages, numbers and foreign text, as they stand on the screen.

use jiff::Timestamp;

/// A time span in two units at most: `45s`, `3m10s`, `2h05m`, `4d3h`.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// How long ago; a moment that another clock puts into the future is now.
pub(super) fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second());
    span(u64::try_from(seconds).unwrap_or(0))
}

/// A lag: to a tenth of a second below ten, then as a span.
pub(super) fn lag(lag_ms: Option<u64>) -> String {
    match lag_ms {
        None => "--".to_owned(),
        Some(ms @ 0..10_000) => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        Some(ms) => span(ms / 1000),
    }
}

/// A number of at most five characters: `0`, `9999`, `12.3k`, `450M`.
pub(super) fn count(value: u64) -> String {
    scaled(value, 1000, &["", "k", "M", "G", "T", "P", "E"])
}

/// Bytes: `0 B`, `70.0 MiB`.
pub(super) fn bytes(value: u64) -> String {
    scaled(
        value,
        1024,
        &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"],
    )
}

fn scaled(value: u64, base: u64, units: &[&str]) -> String {
    let first = units.first().copied().unwrap_or_default();
    if value < 10 * base && base == 1000 || value < base {
        return format!("{value}{first}");
    }
    let (mut scale, mut unit) = (1, first);
    for next in units.iter().skip(1) {
        if value / scale < base {
            break;
        }
        scale *= base;
        unit = next;
    }
    let whole = value / scale;
    match whole {
        100.. => format!("{whole}{unit}"),
        _ => format!("{whole}.{}{unit}", value % scale * 10 / scale),
    }
}

/// A moment of the day it was, in UTC, with the date.
pub(super) fn moment(at: Timestamp) -> String {
    at.strftime("%m-%d %H:%M:%S").to_string()
}

/// Foreign text on one line. What could move a cursor, or turn the direction of what follows, is
/// shown as its escape.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '\n' | '\t' => vec![' '],
            c if is_harmful(c) => c.escape_unicode().collect(),
            c => vec![c],
        })
        .collect()
}

/// Foreign text on its lines.
pub(super) fn clean_lines(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| clean(&line.replace('\t', "    ")))
        .collect()
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_numbers_keep_their_width() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (190, "3m10s"),
            (7500, "2h05m"),
            (356_400, "4d3h"),
        ] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(
            [
                lag(None),
                lag(Some(120)),
                lag(Some(9_999)),
                lag(Some(68_000))
            ],
            ["--", "0.1s", "9.9s", "1m08s"]
        );
        assert_eq!(
            [0, 9999, 12_345, 450_000, 1_000_000, u64::MAX].map(count),
            ["0", "9999", "12.3k", "450k", "1.0M", "18.4E"]
        );
        assert_eq!(
            [0, 1023, 73_400_320, u64::MAX].map(bytes),
            ["0 B", "1023 B", "70.0 MiB", "15.9 EiB"]
        );
    }

    #[test]
    fn foreign_text_can_t_move_the_cursor() {
        assert_eq!(clean("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb c");
        assert_eq!(clean("\u{202e}x\u{200b}"), "\\u{202e}x\\u{200b}");
        assert_eq!(clean("客户é"), "客户é");
        assert_eq!(clean_lines("a\tb\nc"), ["a    b", "c"]);
    }
}
