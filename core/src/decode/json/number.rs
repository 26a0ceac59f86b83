//! Floating-point numbers as MySQL prints them in JSON.

/// Decimal exponents up to which the server writes digits out (`MAX_DECPT_FOR_F_FORMAT` in
/// `strings/dtoa.cc`).
const POINT_MAX: i32 = 15;

/// Appends `value` as the server prints it (`my_gcvt`, then `.0` where there is neither point nor
/// exponent): the shortest digits that give the same value back; written out from 1e-15 to below
/// 1e15, else with an exponent. `value` is finite, as [`JsonValue::Double`](super::JsonValue) is.
pub(super) fn write_double(value: f64, out: &mut Vec<u8>) {
    let mut buffer = ryu::Buffer::new();
    let shortest = buffer.format_finite(value);
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));

    // All significant digits, and where the point is: value = 0.DIGITS * 10^point.
    let mut digits = [0_u8; 32];
    let mut len = 0;
    let mut point = exponent.parse::<i32>().unwrap_or(0);
    for digit in whole.bytes() {
        push(&mut digits, &mut len, digit);
        point += 1;
        if len == 0 {
            point -= 1;
        }
    }
    for digit in fraction.bytes() {
        push(&mut digits, &mut len, digit);
        if len == 0 {
            point -= 1;
        }
    }
    let mut digits = digits.get(..len).unwrap_or_default();
    while let Some((b'0', rest)) = digits.split_last() {
        digits = rest;
    }

    if negative {
        out.push(b'-');
    }
    if digits.is_empty() {
        out.extend_from_slice(b"0.0");
    } else if point > POINT_MAX || point <= -POINT_MAX {
        let (first, rest) = digits.split_at_checked(1).unwrap_or_default();
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.push(b'e');
        out.extend_from_slice(itoa::Buffer::new().format(point - 1).as_bytes());
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        let point = point.unsigned_abs() as usize;
        match digits.split_at_checked(point) {
            Some((whole, fraction)) if !fraction.is_empty() => {
                out.extend_from_slice(whole);
                out.push(b'.');
                out.extend_from_slice(fraction);
            }
            _ => {
                out.extend_from_slice(digits);
                out.resize(out.len() + point.saturating_sub(digits.len()), b'0');
                out.extend_from_slice(b".0");
            }
        }
    }
}

/// Adds a digit; zeros at the front are left out.
fn push(digits: &mut [u8; 32], len: &mut usize, digit: u8) {
    if *len == 0 && digit == b'0' {
        return;
    }
    if let Some(slot) = digits.get_mut(*len) {
        *slot = digit;
        *len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::write_double;

    /// Against `SELECT JSON_ARRAY(...)` of MySQL 9.7.4.
    #[test]
    fn prints_as_the_server_does() {
        let cases = [
            (1.0, "1.0"),
            (1e15, "1e15"),
            (1e14, "100000000000000.0"),
            (9.99e14, "999000000000000.0"),
            (123_456_789_012_345_678.0, "1.2345678901234568e17"),
            (1.5e300, "1.5e300"),
            (1e-5, "0.00001"),
            (1.5e-10, "0.00000000015"),
            (0.1, "0.1"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e308"),
            (1.23e-15, "0.00000000000000123"),
            (1.23e-16, "1.23e-16"),
            (1e-15, "0.000000000000001"),
            (
                -1.234_567_890_123_456_7e-14,
                "-0.000000000000012345678901234567",
            ),
            (123_456_789_012_345.6, "123456789012345.6"),
            (1_234_567_890_123_456.7, "1.2345678901234568e15"),
            (30_000_000_000.0, "30000000000.0"),
            (-1.5e15, "-1.5e15"),
            (100.25, "100.25"),
        ];
        for (value, expected) in cases {
            let mut out = Vec::new();
            write_double(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{value:e}");
        }
    }
}
