//! Text that keeps to its columns, whatever is in it.

use ratatui::text::Span;

use super::super::theme::Theme;

/// Columns of a text.
pub(super) fn wide(text: &str) -> usize {
    Span::raw(text).width()
}

fn char_wide(c: char) -> usize {
    wide(c.encode_utf8(&mut [0; 4]))
}

/// The text in exactly so many columns: filled with blanks, or cut with a mark.
pub(super) fn fit(text: &str, width: usize, theme: Theme) -> String {
    let full = wide(text);
    if full <= width {
        return format!("{text}{}", " ".repeat(width - full));
    }
    if width == 0 {
        return String::new();
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        let more = char_wide(c);
        if used + more > width - 1 {
            break;
        }
        used += more;
        cut.push(c);
    }
    cut.push(theme.ellipsis());
    cut.push_str(&" ".repeat(width - used - 1));
    cut
}

/// The same, with the blanks before it.
pub(super) fn fit_right(text: &str, width: usize, theme: Theme) -> String {
    let full = wide(text);
    match full < width {
        true => format!("{}{text}", " ".repeat(width - full)),
        false => fit(text, width, theme),
    }
}

/// The text on lines of at most so many columns, broken after a blank or a comma where there is
/// one. At least one line.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(8);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for piece in text.split_inclusive([' ', ',']) {
        let trimmed = wide(piece.trim_end());
        if used + trimmed > width && used > 0 {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
            used = 0;
        }
        if trimmed <= width {
            line.push_str(piece);
            used += wide(piece);
            continue;
        }
        for c in piece.chars() {
            let more = char_wide(c);
            if used + more > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += more;
        }
    }
    lines.push(line.trim_end().to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_to_its_columns() {
        let theme = Theme::new(true, true);
        for (text, fitted) in [
            ("ab", "ab    "),
            ("abcdef", "abcdef"),
            ("abcdefg", "abcde…"),
            ("客户订单", "客户… "),
            ("", "      "),
        ] {
            assert_eq!(fit(text, 6, theme), fitted);
            assert_eq!(wide(&fit(text, 6, theme)), 6);
        }
        assert_eq!(fit("abc", 0, theme), "");
        assert_eq!(fit_right("ab", 4, theme), "  ab");
    }

    #[test]
    fn wrapped_lines_hold_everything_in_order() {
        let gtids =
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77,4e11fa47-71ca-11e1-9e33-c80aa9429562:1-9";
        assert_eq!(wrap(gtids, 45).concat(), gtids);
        assert_eq!(wrap(gtids, 45).len(), 2);
        assert!(wrap(gtids, 10).iter().all(|line| wide(line) <= 10));
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("", 8), [""]);
    }
}
