//! Text as JSON strings.

use crate::decode::json::escape::{push_escaped, push_quoted};

/// What a column's bytes are, by its collation id (`information_schema.collations`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextEncoding {
    /// utf8mb4, utf8mb3, ascii.
    Utf8,
    /// latin1, which for MySQL is Windows-1252.
    Latin1,
    /// binary, and every character set that is not converted here.
    Bytes,
}

impl TextEncoding {
    pub(super) fn of_collation(collation: u16) -> Self {
        match collation {
            // utf8mb3, utf8mb4, ascii.
            33 | 76 | 83 | 192..=215 | 223 | 45 | 46 | 224..=247 | 255..=323 | 11 | 65 => {
                Self::Utf8
            }
            5 | 8 | 15 | 31 | 47 | 48 | 49 | 94 => Self::Latin1,
            _ => Self::Bytes,
        }
    }
}

/// Appends text as a JSON string: UTF-8 as it is, latin1 converted. What is not valid UTF-8 where
/// it should be, and other character sets, become base64.
#[inline]
pub(super) fn push(bytes: &[u8], encoding: TextEncoding, out: &mut Vec<u8>) {
    match encoding {
        TextEncoding::Utf8 if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() => {
            push_quoted(bytes, out);
        }
        TextEncoding::Latin1 => push_latin1(bytes, out),
        TextEncoding::Utf8 | TextEncoding::Bytes => super::base64::push(bytes, out),
    }
}

/// Appends a string that is valid already.
pub(super) fn push_str(text: &str, out: &mut Vec<u8>) {
    push_quoted(text.as_bytes(), out);
}

/// Windows-1252's upper half where it differs from Unicode's first 256 code points, 0x80 to 0x9f;
/// the five bytes that it leaves out are control characters, as for MySQL.
static WINDOWS_1252: [char; 32] = [
    '\u{20ac}', '\u{81}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}',
    '\u{2c6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8d}', '\u{17d}', '\u{8f}',
    '\u{90}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}', '\u{2014}',
    '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}', '\u{9d}', '\u{17e}', '\u{178}',
];

fn push_latin1(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_ascii() {
        return push_quoted(bytes, out);
    }
    out.push(b'"');
    for byte in bytes {
        if byte.is_ascii() {
            push_escaped(*byte, out);
            continue;
        }
        let index = usize::from(byte.wrapping_sub(0x80));
        let character = WINDOWS_1252
            .get(index)
            .copied()
            .unwrap_or(char::from(*byte));
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8], encoding: TextEncoding) -> String {
        let mut out = Vec::new();
        push(bytes, encoding, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_character_survives() {
        // At every offset of a word, in front of and behind it.
        for code in (0..0x300).chain([0x2028, 0xffff, 0x1f600, 0x10_ffff]) {
            let Some(character) = char::from_u32(code) else {
                continue;
            };
            for before in 0..10 {
                let text = format!(
                    "{}{character}{}",
                    "x".repeat(before),
                    "y".repeat(9 - before)
                );
                let found = json(text.as_bytes(), TextEncoding::Utf8);
                assert_eq!(serde_json::from_str::<String>(&found).unwrap(), text);
            }
        }
    }

    #[test]
    fn latin1_is_windows_1252() {
        assert_eq!(
            json(b"\x80\xe4\"\xff\x81", TextEncoding::Latin1),
            "\"€ä\\\"ÿ\u{81}\""
        );
    }

    #[test]
    fn what_is_no_text_is_base64() {
        assert_eq!(json(b"\xff\x00", TextEncoding::Utf8), "\"/wA=\"");
        assert_eq!(json(b"abc", TextEncoding::Bytes), "\"YWJj\"");
        assert_eq!(json(b"", TextEncoding::Bytes), "\"\"");
    }
}
