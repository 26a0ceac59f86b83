//! DECIMAL values, exact.

use std::fmt;

use super::reader::uint_be;

/// A DECIMAL as MySQL stores it (`decimal2bin` in `strings/decimal.cc`): groups of nine digits in
/// four big-endian bytes, fewer digits at both ends in fewer bytes, the sign in the highest bit
/// (inverted), all bits inverted for a negative value.
///
/// [`fmt::Display`] prints it as MySQL does: every digit of the scale, a zero before a leading
/// point, at most 65 digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Decimal<'a> {
    bytes: &'a [u8],
    precision: u8,
    scale: u8,
}

/// Bytes of 0 to 9 digits (`dig2bytes`).
const GROUP_BYTES: [u8; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
/// Longest text: sign, zero or digits, point.
pub const TEXT_LEN_MAX: usize = 68;

fn group_bytes(digits: u8) -> u8 {
    GROUP_BYTES.get(usize::from(digits)).copied().unwrap_or(4)
}

/// Bytes of a DECIMAL(precision, scale); `scale` is at most `precision`.
#[inline]
pub(super) fn size(precision: u8, scale: u8) -> u8 {
    let whole = precision.saturating_sub(scale);
    whole / 9 * 4 + group_bytes(whole % 9) + scale / 9 * 4 + group_bytes(scale % 9)
}

impl<'a> Decimal<'a> {
    /// Over a cell. Bytes that are missing count as zero digits, superfluous ones are ignored.
    pub(super) fn from_cell(bytes: &'a [u8], precision: u8, scale: u8) -> Self {
        Self {
            bytes,
            precision,
            scale,
        }
    }

    /// Digits in all, at most 65.
    pub fn precision(&self) -> u8 {
        self.precision
    }

    /// Digits behind the point, at most 30.
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.bytes.first().is_some_and(|first| first & 0x80 == 0)
    }

    /// Its text in `buffer`.
    pub fn text<'b>(&self, buffer: &'b mut [u8; TEXT_LEN_MAX]) -> &'b str {
        let negative = self.is_negative();
        let mut text = Text { buffer, len: 0 };
        if negative {
            text.push(b'-');
        }
        let mut rest = self.bytes;
        let mut first = true;
        let mut group = |digits: u8| -> u32 {
            let len = usize::from(group_bytes(digits));
            let (head, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            rest = behind;
            let mut value = uint_be(head) as u32;
            if std::mem::take(&mut first) {
                value ^= 0x80_u32 << (8 * len.saturating_sub(1).min(3));
            }
            if negative {
                value = !value & (u32::MAX >> (32 - 8 * len.clamp(1, 4)));
            }
            value
        };
        let whole = self.precision.saturating_sub(self.scale);
        let start = text.len;
        if !whole.is_multiple_of(9) {
            text.digits(group(whole % 9), whole % 9, start);
        }
        for _ in 0..whole / 9 {
            text.digits(group(9), 9, start);
        }
        if text.len == start {
            text.push(b'0');
        }
        if self.scale > 0 {
            text.push(b'.');
            for _ in 0..self.scale / 9 {
                text.digits(group(9), 9, usize::MAX);
            }
            if !self.scale.is_multiple_of(9) {
                text.digits(group(self.scale % 9), self.scale % 9, usize::MAX);
            }
        }
        text.finish()
    }
}

/// Text under construction. Never longer than its buffer: precision and scale are bounded by the
/// table map.
struct Text<'b> {
    buffer: &'b mut [u8; TEXT_LEN_MAX],
    len: usize,
}

impl<'b> Text<'b> {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.buffer.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    /// `count` digits of `value`; zeros at `start`, where the number's text starts, are left out.
    fn digits(&mut self, mut value: u32, count: u8, start: usize) {
        let mut digits = [b'0'; 9];
        for digit in digits.iter_mut().rev().take(usize::from(count)) {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
        let mut text = digits
            .get(9_usize.saturating_sub(usize::from(count))..)
            .unwrap_or_default();
        if self.len == start {
            let zeros = text.iter().take_while(|digit| **digit == b'0').count();
            text = text.get(zeros..).unwrap_or_default();
        }
        if let Some(room) = self.buffer.get_mut(self.len..self.len + text.len()) {
            room.copy_from_slice(text);
            self.len += text.len();
        }
    }

    fn finish(self) -> &'b str {
        let text = self.buffer.get(..self.len).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Display for Decimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; TEXT_LEN_MAX]))
    }
}

impl fmt::Debug for Decimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal({self})")
    }
}
