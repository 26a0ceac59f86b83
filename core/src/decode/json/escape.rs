//! Text inside of JSON strings.

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

/// Appends text as a JSON string. Only what JSON demands is escaped, as the server does it
/// (`double_quote` in `json_dom.cc`): quotes, backslashes, control characters.
#[inline]
pub(crate) fn push_quoted(text: &[u8], out: &mut Vec<u8>) {
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

/// Appends one ASCII character of a JSON string.
pub(crate) fn push_escaped(byte: u8, out: &mut Vec<u8>) {
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
