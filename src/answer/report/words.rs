//! Words and numbers that every format of the report writes alike.

use super::model::{Figure, Number};
use crate::answer::terminal::number;
use crate::recorder::finding::bytes;

/// Names in a sentence, at most `max` of them.
pub fn listed(names: &[String], max: usize) -> String {
    let shown: Vec<&str> = names.iter().take(max).map(String::as_str).collect();
    match names.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {} more", shown.join(", "), number(more as u64)),
    }
}

/// `2026-11-23 09:30` of an RFC 3339 time.
pub fn minute(time: &str) -> String {
    time.get(..16).unwrap_or(time).replace('T', " ")
}

/// The number of the first page, in its unit.
pub fn amount(number_of: &Number, figure: &Figure) -> String {
    if number_of.unit == "bytes" { bytes(figure.count) } else { number(figure.count) }
}

/// `of 34 devices seen`, or the share where the unit is bytes.
pub fn part(number_of: &Number) -> String {
    let now = &number_of.now;
    if number_of.unit == "bytes" {
        format!("{} of {} {}", now.share(), bytes(now.of), now.of_what.replacen("bytes ", "", 1))
    } else {
        format!("of {} {}", number(now.of), now.of_what)
    }
}

/// What a number of the first page was before.
pub fn compared(number_of: &Number) -> String {
    match &number_of.before {
        None => "no earlier period".to_owned(),
        Some(before) => {
            let sign = match number_of.now.count.cmp(&before.count) {
                std::cmp::Ordering::Less => "down from",
                std::cmp::Ordering::Equal => "as before:",
                std::cmp::Ordering::Greater => "up from",
            };
            format!("{sign} {}", amount(number_of, before))
        }
    }
}

/// A figure in bytes or in counts, with its whole.
pub fn whole(figure: &Figure) -> String {
    if figure.of_what.contains("bytes") {
        let what = figure.of_what.replacen("bytes ", "", 1);
        format!("{} of {} {what} ({})", bytes(figure.count), bytes(figure.of), figure.share())
    } else {
        format!(
            "{} of {} {} ({})",
            number(figure.count),
            number(figure.of),
            figure.of_what,
            figure.share()
        )
    }
}

/// Status for a person.
pub fn status(status: &str) -> &str {
    match status {
        "unreviewed" => "not yet reviewed",
        "sanctioned" => "allowed",
        "unknown" => "in no catalogue",
        other => other,
    }
}

/// Client class for a person.
pub fn class(class: &str) -> &str {
    match class {
        "browser" => "people in browsers",
        "program" => "programs and agents",
        "server" => "servers",
        _ => "not told apart",
    }
}
