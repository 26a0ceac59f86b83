//! Text as JSON strings.

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
            push_valid(bytes, out);
        }
        TextEncoding::Latin1 => push_latin1(bytes, out),
        TextEncoding::Utf8 | TextEncoding::Bytes => super::base64::push(bytes, out),
    }
}

/// Appends a string that is valid already.
pub(super) fn push_str(text: &str, out: &mut Vec<u8>) {
    push_valid(text.as_bytes(), out);
}

/// How each byte is written inside of a JSON string: 0 as it is, `u` as `\u00XX`, else behind a
/// backslash.
static ESCAPES: [u8; 256] = escapes();

// Constant evaluation: an index out of range would not compile.
#[allow(clippy::indexing_slicing)]
const fn escapes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = match byte {
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            _ => b'u',
        };
        byte += 1;
    }
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
}

#[inline]
fn escape_of(byte: u8) -> u8 {
    ESCAPES.get(usize::from(byte)).copied().unwrap_or(0)
}

/// Number of bytes at the front that are written as they are.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut len = 0;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        // The lowest high bit of `v - ONES & !v & HIGHS` is at the lowest byte of v that is zero.
        let zero = |v: u64| v.wrapping_sub(ONES) & !v;
        let control = word.wrapping_sub(0x20 * ONES) & !word;
        let found =
            (control | zero(word ^ (ONES * b'"' as u64)) | zero(word ^ (ONES * b'\\' as u64)))
                & HIGHS;
        if found != 0 {
            return len + (found.trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    len + rest
        .iter()
        .take_while(|byte| escape_of(**byte) == 0)
        .count()
}

#[inline]
fn push_valid(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    loop {
        let (plain, behind) = rest
            .split_at_checked(plain_len(rest))
            .unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((byte, behind)) = behind.split_first() else {
            break;
        };
        push_escaped(*byte, out);
        rest = behind;
    }
    out.push(b'"');
}

fn push_escaped(byte: u8, out: &mut Vec<u8>) {
    match escape_of(byte) {
        0 => out.push(byte),
        b'u' => {
            let hex = |nibble: u8| {
                if nibble < 10 {
                    b'0' + nibble
                } else {
                    b'a' + nibble - 10
                }
            };
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
        }
        short => out.extend_from_slice(&[b'\\', short]),
    }
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
        return push_valid(bytes, out);
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
