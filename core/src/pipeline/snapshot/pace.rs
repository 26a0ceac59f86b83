//! How many rows the next chunk has: as many as take about the time that one shall take.

use std::time::Duration;

/// Rows of the first chunk of a table.
pub(super) const ROWS_FIRST: u32 = 500;

/// Fewer per chunk, and round trips would cost more than rows.
const ROWS_MIN: u32 = 50;

/// More are held back by the bound on bytes, unless rows are tiny.
const ROWS_MAX: u32 = 200_000;

/// Rows of the next chunk, after one of `rows` (asked for: `asked`) that took `took`. One step is
/// at most twice or half of the one before: a single slow answer says little.
pub(super) fn next_rows(asked: u32, rows: u64, took: Duration, target: Duration) -> u32 {
    if rows == 0 {
        return asked;
    }
    let per_row = took.as_secs_f64() / rows as f64;
    let fitting = target.as_secs_f64() / per_row.max(1e-9);
    let (least, most) = (f64::from(asked) / 2.0, f64::from(asked) * 2.0);
    (fitting.clamp(least, most) as u32).clamp(ROWS_MIN, ROWS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_and_shrink_towards_their_time() {
        let ms = Duration::from_millis;
        assert_eq!(next_rows(1000, 1000, ms(250), ms(250)), 1000);
        assert_eq!(next_rows(1000, 1000, ms(10), ms(250)), 2000);
        assert_eq!(next_rows(1000, 1000, ms(9000), ms(250)), 500);
        // The bytes were the bound: rows are slow, not the chunk.
        assert_eq!(next_rows(1000, 10, ms(250), ms(250)), 500);
        assert_eq!(next_rows(60, 60, ms(9000), ms(250)), ROWS_MIN);
        assert_eq!(next_rows(150_000, 150_000, ms(1), ms(250)), ROWS_MAX);
        assert_eq!(next_rows(1000, 0, ms(1), ms(250)), 1000);
    }
}
