//! DATE, TIME, DATETIME and TIMESTAMP values (`mysys/my_time.cc`, the formats since MySQL 5.6).
//!
//! Fields are as stored: zero dates, partial dates such as `2024-00-00` and times beyond a day stay
//! what they are. `Display` prints MySQL's text, with the column's digits of fractional seconds.

use std::fmt;

use super::reader::{uint_be, uint_le};

/// Longest text: sign, date, time, six digits of a second.
pub const TEXT_LEN_MAX: usize = 32;

/// A DATE; any field may be 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Date {
    /// 0 to 9999.
    pub year: u16,
    /// 0 to 12.
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
}

/// A TIME, from -838:59:59 to 838:59:59.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Time {
    /// Whether it is below zero; the other fields are of its absolute value.
    pub negative: bool,
    /// Hours.
    pub hours: u16,
    /// Minutes.
    pub minutes: u8,
    /// Seconds.
    pub seconds: u8,
    /// Microseconds.
    pub micros: u32,
    /// Digits of fractional seconds to show, 0 to 6.
    pub fsp: u8,
}

/// A DATETIME; the date's fields may be 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// 0 to 9999.
    pub year: u16,
    /// 0 to 12.
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
    /// Hours.
    pub hours: u8,
    /// Minutes.
    pub minutes: u8,
    /// Seconds.
    pub seconds: u8,
    /// Microseconds.
    pub micros: u32,
    /// Digits of fractional seconds to show, 0 to 6.
    pub fsp: u8,
}

/// A TIMESTAMP: a point in time. `Display` prints it in UTC, and 0 as `0000-00-00 00:00:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timestamp {
    /// Seconds since 1970; 0 is the zero date.
    pub seconds: u32,
    /// Microseconds.
    pub micros: u32,
    /// Digits of fractional seconds to show, 0 to 6.
    pub fsp: u8,
}

/// Bytes of fractional seconds.
#[inline]
pub(super) fn fraction_len(fsp: u8) -> u8 {
    fsp.div_ceil(2)
}

/// Microseconds of a fraction of as many bytes as `fsp` takes.
fn micros(fraction: u64, fsp: u8) -> u32 {
    let unit = match fraction_len(fsp) {
        0 => 0,
        1 => 10_000,
        2 => 100,
        _ => 1,
    };
    (fraction as u32).wrapping_mul(unit)
}

/// Splits a cell into its whole seconds and its fraction, both big-endian.
fn whole_and_fraction(cell: &[u8], whole_len: usize) -> (u64, u64) {
    let (whole, fraction) = cell.split_at_checked(whole_len).unwrap_or((cell, &[]));
    (uint_be(whole), uint_be(fraction))
}

impl Date {
    /// From the three bytes of a column: day in 5 bits, month in 4, year.
    pub(super) fn from_packed(packed: u32) -> Self {
        Self {
            year: (packed >> 9) as u16,
            month: (packed >> 5 & 15) as u8,
            day: (packed & 31) as u8,
        }
    }

    /// Its text in `buffer`.
    pub fn text<'b>(&self, buffer: &'b mut [u8; TEXT_LEN_MAX]) -> &'b str {
        let mut text = Text { buffer, len: 0 };
        text.date(self.year, self.month, self.day);
        text.finish()
    }
}

impl Time {
    /// From a column's cell (`my_time_packed_from_binary`).
    pub(super) fn from_cell(cell: &[u8], fsp: u8) -> Self {
        // All bytes together are one big-endian number with an offset of half its range, in units
        // of the fraction.
        let fraction_bits = 8 * u32::from(fraction_len(fsp));
        let value = uint_be(cell) as i64 - (0x80_0000_i64 << fraction_bits);
        let absolute = value.unsigned_abs();
        let fraction = absolute & ((1 << fraction_bits) - 1);
        Self::from_fields(
            value < 0,
            absolute >> fraction_bits,
            micros(fraction, fsp),
            fsp,
        )
    }

    /// From the 64-bit form that JSON has (`TIME_from_longlong_time_packed`).
    pub(super) fn from_longlong(packed: i64, fsp: u8) -> Self {
        let absolute = packed.unsigned_abs();
        Self::from_fields(
            packed < 0,
            absolute >> 24,
            (absolute & 0xff_ffff) as u32,
            fsp,
        )
    }

    fn from_fields(negative: bool, hms: u64, micros: u32, fsp: u8) -> Self {
        Self {
            negative,
            hours: (hms >> 12 & 0x3ff) as u16,
            minutes: (hms >> 6 & 63) as u8,
            seconds: (hms & 63) as u8,
            micros,
            fsp,
        }
    }

    /// Its text in `buffer`.
    pub fn text<'b>(&self, buffer: &'b mut [u8; TEXT_LEN_MAX]) -> &'b str {
        let mut text = Text { buffer, len: 0 };
        if self.negative {
            text.push(b'-');
        }
        if self.hours > 99 {
            text.push(b'0' + (self.hours / 100 % 10) as u8);
        }
        text.clock((self.hours % 100) as u8, self.minutes, self.seconds);
        text.fraction(self.micros, self.fsp);
        text.finish()
    }
}

impl DateTime {
    /// From a column's cell (`my_datetime_packed_from_binary`).
    pub(super) fn from_cell(cell: &[u8], fsp: u8) -> Self {
        let (whole, fraction) = whole_and_fraction(cell, 5);
        Self::from_fields(whole & 0x7f_ffff_ffff, micros(fraction, fsp), fsp)
    }

    /// From the 64-bit form that JSON has (`TIME_from_longlong_datetime_packed`).
    pub(super) fn from_longlong(packed: i64, fsp: u8) -> Self {
        let absolute = packed.unsigned_abs();
        Self::from_fields(absolute >> 24, (absolute & 0xff_ffff) as u32, fsp)
    }

    fn from_fields(whole: u64, micros: u32, fsp: u8) -> Self {
        let year_month = whole >> 22;
        Self {
            year: (year_month / 13) as u16,
            month: (year_month % 13) as u8,
            day: (whole >> 17 & 31) as u8,
            hours: (whole >> 12 & 31) as u8,
            minutes: (whole >> 6 & 63) as u8,
            seconds: (whole & 63) as u8,
            micros,
            fsp,
        }
    }

    /// Its date.
    pub fn date(&self) -> Date {
        Date {
            year: self.year,
            month: self.month,
            day: self.day,
        }
    }

    /// Its text in `buffer`.
    pub fn text<'b>(&self, buffer: &'b mut [u8; TEXT_LEN_MAX]) -> &'b str {
        self.text_with(b' ', b"", buffer)
    }

    fn text_with<'b>(
        &self,
        separator: u8,
        end: &[u8],
        buffer: &'b mut [u8; TEXT_LEN_MAX],
    ) -> &'b str {
        let mut text = Text { buffer, len: 0 };
        text.date(self.year, self.month, self.day);
        text.push(separator);
        text.clock(self.hours, self.minutes, self.seconds);
        text.fraction(self.micros, self.fsp);
        for byte in end {
            text.push(*byte);
        }
        text.finish()
    }
}

impl Timestamp {
    /// From a column's cell (`my_timestamp_from_binary`).
    pub(super) fn from_cell(cell: &[u8], fsp: u8) -> Self {
        let (whole, fraction) = whole_and_fraction(cell, 4);
        Self {
            seconds: whole as u32,
            micros: micros(fraction, fsp),
            fsp,
        }
    }

    /// The same point in time as a date and time in UTC; 0 gives the zero date.
    pub fn utc(&self) -> DateTime {
        let Self {
            seconds,
            micros,
            fsp,
        } = *self;
        let of_day = seconds % 86_400;
        // Days since 0000-03-01, so that the leap day is the last of its year.
        let days = seconds / 86_400 + 719_468;
        let era = days / 146_097;
        let of_era = days % 146_097;
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + u32::from(month <= 2);
        let (year, month, day) = if seconds == 0 {
            (0, 0, 0)
        } else {
            (year as u16, month as u8, day as u8)
        };
        DateTime {
            year,
            month,
            day,
            hours: (of_day / 3_600) as u8,
            minutes: (of_day / 60 % 60) as u8,
            seconds: (of_day % 60) as u8,
            micros,
            fsp,
        }
    }

    /// Its text in `buffer`, as MySQL prints it in UTC.
    pub fn text<'b>(&self, buffer: &'b mut [u8; TEXT_LEN_MAX]) -> &'b str {
        self.utc().text(buffer)
    }

    /// As RFC 3339 has it: `2024-02-29T12:00:00.5Z`. The zero date has no such form and stays
    /// `0000-00-00T00:00:00Z`.
    pub fn rfc3339<'b>(&self, buffer: &'b mut [u8; TEXT_LEN_MAX]) -> &'b str {
        self.utc().text_with(b'T', b"Z", buffer)
    }
}

/// From the 64-bit form that JSON has for a DATE.
pub(super) fn date_from_longlong(packed: i64) -> Date {
    DateTime::from_longlong(packed, 0).date()
}

/// A packed value in JSON: 8 bytes, little-endian.
pub(super) fn longlong(data: &[u8]) -> Option<i64> {
    (data.len() == 8).then(|| uint_le(data) as i64)
}

/// The last two digits of a number.
#[inline]
fn digits(value: u8) -> [u8; 2] {
    [b'0' + value / 10 % 10, b'0' + value % 10]
}

/// Text under construction; what does not fit its buffer is left out, which no value reaches.
struct Text<'b> {
    buffer: &'b mut [u8; TEXT_LEN_MAX],
    len: usize,
}

impl<'b> Text<'b> {
    #[inline]
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.buffer.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some(slot) = self
            .buffer
            .get_mut(self.len..)
            .and_then(<[u8]>::first_chunk_mut)
        {
            *slot = bytes;
            self.len += N;
        }
    }

    #[inline]
    fn clock(&mut self, hours: u8, minutes: u8, seconds: u8) {
        let ([a, b], [c, d], [e, f]) = (digits(hours), digits(minutes), digits(seconds));
        self.put([a, b, b':', c, d, b':', e, f]);
    }

    fn date(&mut self, year: u16, month: u8, day: u8) {
        if year > 9_999 {
            self.push(b'0' + (year / 10_000) as u8);
        }
        let ([a, b], [c, d]) = (digits((year / 100 % 100) as u8), digits((year % 100) as u8));
        let ([e, f], [g, h]) = (digits(month), digits(day));
        self.put([a, b, c, d, b'-', e, f, b'-', g, h]);
    }

    fn fraction(&mut self, micros: u32, fsp: u8) {
        if fsp == 0 {
            return;
        }
        let [a, b] = digits((micros / 10_000 % 100) as u8);
        let [c, d] = digits((micros / 100 % 100) as u8);
        let [e, f] = digits((micros % 100) as u8);
        let start = self.len;
        self.put([b'.', a, b, c, d, e, f]);
        self.len = self.len.min(start + 1 + usize::from(fsp));
    }

    fn finish(self) -> &'b str {
        let text = self.buffer.get(..self.len).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

macro_rules! display {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text(&mut [0; TEXT_LEN_MAX]))
            }
        }
    )*};
}

display! { Date Time DateTime Timestamp }
