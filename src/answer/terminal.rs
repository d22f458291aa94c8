//! Text and numbers for a person at a terminal.
//!
//! In: anything, also names that somebody on the network chose. Out: text that shows itself and
//! does nothing: no control character, nothing that turns the reading direction or hides.
//! Never: cuts a number.
//! Source: Unicode Standard Annex #9 §2 (directional formatting), RFC 3339 for times.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr;

use crate::types::Timestamp;

/// The text with a replacement character for everything that a terminal would obey.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if acts(c) { '\u{fffd}' } else { c }).collect()
}

/// Controls, directional marks and overrides, invisible joiners, separators and tags.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Columns that a text takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// `59,297`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 device`, `2 devices`.
pub fn counted(n: u64, one: &str) -> String {
    match (n, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{} {stem}ies", number(n)),
        _ => format!("{} {one}s", number(n)),
    }
}

/// `612 of 1,059 (58 %)`.
pub fn share(count: u64, of: u64) -> String {
    let (n, all) = (number(count), number(of));
    if of == 0 || count > of {
        return format!("{n} of {all}");
    }
    // 128 bits hold every product of two counts with room to spare.
    let percent = (u128::from(count) * 200 + u128::from(of)) / (u128::from(of) * 2);
    match percent {
        0 if count > 0 => format!("{n} of {all} (<1 %)"),
        100 if count < of => format!("{n} of {all} (>99 %)"),
        _ => format!("{n} of {all} ({percent} %)"),
    }
}

/// A time in UTC by a pattern of `strftime`.
pub fn time(at: Timestamp, pattern: &str) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(at.0))
        .unwrap_or(jiff::Timestamp::MAX)
        .strftime(pattern)
        .to_string()
}

/// Breaks a text at blanks into lines of at most `width` columns; a longer word has its own line,
/// broken where it must be.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let needed = columns(&line) + usize::from(!line.is_empty()) + columns(word);
        if !line.is_empty() && needed > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            let mut octets = [0; 4];
            if !line.is_empty() && columns(&line) + columns(c.encode_utf8(&mut octets)) > width {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Heading.
    pub head: &'static str,
    /// Numbers stand to the right.
    pub right: bool,
    /// Where there is no room the highest go first; 0 stays.
    pub spare: u8,
}

/// Blanks between columns.
const GAP: usize = 2;

/// The first column is at least this wide before others give way.
const FIRST_MIN: usize = 18;

/// Lines of a table: the heading, then each row; the first column is wrapped where it must be.
/// Cells are printable already. Each row comes as a list of lines.
pub fn table(columns_of: &[Column], rows: &[Vec<String>], width: usize) -> Vec<Vec<String>> {
    let mut kept: Vec<usize> = (0..columns_of.len()).collect();
    let widest = |at: usize| {
        let cells = rows.iter().filter_map(|r| r.get(at)).map(|c| columns(c)).max();
        let head = columns_of.get(at).map_or(0, |c| columns(c.head));
        cells.unwrap_or(0).max(head)
    };
    let others =
        |kept: &[usize]| -> usize { kept.iter().skip(1).map(|&at| widest(at) + GAP).sum() };
    let natural = widest(0);
    while others(&kept) + natural.min(FIRST_MIN) > width {
        let spare = |at: &usize| columns_of.get(*at).map_or(0, |c| c.spare);
        let Some(&worst) = kept.iter().filter(|at| spare(at) > 0).max_by_key(|at| spare(at)) else {
            break;
        };
        kept.retain(|&at| at != worst);
    }
    let room = width.saturating_sub(others(&kept)).max(1);
    let first = natural.min(room);
    let head: Vec<String> = columns_of.iter().map(|c| c.head.to_owned()).collect();
    let mut lines = Vec::new();
    for row in std::iter::once(&head).chain(rows) {
        let wrapped = wrap(row.first().map_or("", String::as_str), first);
        let mut of_row = Vec::new();
        for (i, text) in wrapped.iter().enumerate() {
            let mut line = padded(text, first, false);
            for &at in kept.iter().skip(1).filter(|_| i == 0) {
                let right = columns_of.get(at).is_some_and(|c| c.right);
                line.push_str(&" ".repeat(GAP));
                line.push_str(&padded(row.get(at).map_or("", String::as_str), widest(at), right));
            }
            of_row.push(line.trim_end().to_owned());
        }
        lines.push(of_row);
    }
    lines
}

/// Filled with blanks to `width` columns.
pub fn padded(text: &str, width: usize, right: bool) -> String {
    let blanks = " ".repeat(width.saturating_sub(columns(text)));
    if right { format!("{blanks}{text}") } else { format!("{text}{blanks}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_replaced() {
        for (name, text, expected) in [
            ("plain", "laptop-7", "laptop-7"),
            ("other scripts", "büro-ноутбук-電腦", "büro-ноутбук-電腦"),
            ("escape", "\u{1b}[2Jx", "\u{fffd}[2Jx"),
            ("C1 control", "\u{9b}31mx", "\u{fffd}31mx"),
            ("line feed", "a\nb\rc\0", "a\u{fffd}b\u{fffd}c\u{fffd}"),
            ("override", "gpj.\u{202e}exe", "gpj.\u{fffd}exe"),
            ("isolate and mark", "\u{2067}a\u{200f}", "\u{fffd}a\u{fffd}"),
            ("invisible", "a\u{200b}b\u{feff}c\u{e0041}", "a\u{fffd}b\u{fffd}c\u{fffd}"),
        ] {
            assert_eq!(printable(text), expected, "{name}");
        }
    }

    #[test]
    fn shares_do_not_round_to_lies() {
        for (count, of, expected) in [
            (0, 0, "0 of 0"),
            (612, 1_059, "612 of 1,059 (58 %)"),
            (1, 100_000, "1 of 100,000 (<1 %)"),
            (99_999, 100_000, "99,999 of 100,000 (>99 %)"),
            (
                u64::MAX,
                u64::MAX,
                "18,446,744,073,709,551,615 of 18,446,744,073,709,551,615 (100 %)",
            ),
            (3, 2, "3 of 2"),
        ] {
            assert_eq!(share(count, of), expected);
        }
    }

    #[test]
    fn lines_keep_to_the_width() {
        for (text, width, expected) in [
            ("a bc def", 4, &["a bc", "def"][..]),
            ("abcdef", 4, &["abcd", "ef"]),
            ("", 4, &[""]),
            ("電腦電腦", 4, &["電腦", "電腦"]),
        ] {
            assert_eq!(wrap(text, width), expected);
        }
    }
}
