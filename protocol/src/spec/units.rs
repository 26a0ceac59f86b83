//! Sizes as `64MiB` and durations as `1s`.

const KIB: u64 = 1 << 10;

/// Units of a size, greatest first, with their bytes.
const SIZES: [(&str, u64); 4] = [
    ("GiB", KIB * KIB * KIB),
    ("MiB", KIB * KIB),
    ("KiB", KIB),
    ("B", 1),
];

/// Units of a duration, greatest first, with their milliseconds. `ms` comes before `s`, which is
/// its ending too.
const DURATIONS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];

/// Bytes of a size with a binary unit (`64MiB`, `512 KiB`) or of a plain number; `None` if it is
/// no size or beyond `u64`. Decimal units (MB) and bare letters (M) aren't sizes: which of the
/// two thousands they mean is a guess.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    number(text).or_else(|| with_unit(text, &SIZES))
}

/// Milliseconds of a duration with a unit (`500ms`, `1s`, `2m`, `1h`), rounded to nothing: only
/// whole numbers are durations.
pub(super) fn parse_duration(text: &str) -> Option<u64> {
    with_unit(text, &DURATIONS)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    units.iter().find_map(|(unit, factor)| {
        let digits = text.strip_suffix(unit)?;
        number(digits.trim_end())?.checked_mul(*factor)
    })
}

/// A number of decimal digits only.
pub(super) fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// A number of bytes in the greatest unit that divides it.
pub(super) fn size_text(bytes: u64) -> String {
    let mut sizes = SIZES.iter();
    sizes
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map_or_else(
            || "0".into(),
            |(unit, factor)| format!("{}{unit}", bytes / factor),
        )
}

/// A number of milliseconds, in seconds if they are whole.
pub(super) fn duration_text(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        format!("{}s", ms / 1000)
    } else {
        format!("{ms}ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in [
            ("64MiB", Some(64 << 20)),
            ("512 KiB", Some(512 << 10)),
            ("1GiB", Some(1 << 30)),
            ("7B", Some(7)),
            ("123", Some(123)),
            ("64MB", None),
            ("64M", None),
            ("64mib", None),
            ("1.5GiB", None),
            ("-1", None),
            ("+1KiB", None),
            ("MiB", None),
            ("", None),
            ("17179869184GiB", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text:?}");
        }
        for (bytes, text) in [(0, "0"), (1, "1B"), (1 << 20, "1MiB"), (1025, "1025B")] {
            assert_eq!(size_text(bytes), text);
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, ms) in [
            ("1s", Some(1000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("1 h", Some(3_600_000)),
            ("1", None),
            ("s", None),
            ("1.5s", None),
            ("", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(parse_duration(text), ms, "{text:?}");
        }
        assert_eq!(duration_text(2000), "2s");
        assert_eq!(duration_text(150), "150ms");
    }
}
