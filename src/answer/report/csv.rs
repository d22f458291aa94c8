//! Devices by service as CSV: one row each, with what each column is a part of.
//!
//! Never: begins a cell with a character that a spreadsheet takes for a formula.
//! Source: RFC 4180; <https://owasp.org/www-community/attacks/CSV_Injection>.

use super::model::Report;
use crate::answer::terminal::printable;
use crate::answer::verify::MARK;

const HEAD: &str = "device,department,service,service_name,status,level,clients,days,days_of_period,sessions,\
sessions_of_all,bytes_sent,bytes_sent_of_all,bytes_received,bytes_received_of_all,flows,flows_of_all,first_seen,last_seen\r\n";

/// The table; its last line is a comment with the digest.
pub fn render(report: &Report) -> Vec<u8> {
    let mut out = HEAD.to_owned();
    let of = &report.uses.of;
    for row in &report.uses.rows {
        let texts = [
            &row.device,
            &row.department,
            &row.service,
            &row.service_name,
            &row.status,
            &row.level,
            &row.clients.join(" "),
        ];
        let mut cells: Vec<String> = texts.iter().map(|t| cell(t)).collect();
        for (count, of) in [
            (row.days, of.days),
            (row.sessions, of.sessions),
            (row.sent, of.sent),
            (row.received, of.received),
            (row.flows, of.flows),
        ] {
            cells.extend([count.to_string(), of.to_string()]);
        }
        cells.extend([cell(&row.first_seen), cell(&row.last_seen)]);
        out.push_str(&cells.join(","));
        out.push_str("\r\n");
    }
    out.push_str("# ");
    out.push_str(MARK);
    out.push_str("\r\n");
    out.into_bytes()
}

/// A cell, quoted where it must be, and never a formula.
pub fn cell(text: &str) -> String {
    let text = printable(text);
    let formula = text.starts_with(['=', '+', '-', '@', '\t']);
    let text = if formula { format!("'{text}") } else { text.into_owned() };
    if text.contains([',', '"', '\n', '\r', '#']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stay_cells() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("@x", "'@x"),
            ("-1", "'-1"),
            ("two\nlines", "two\u{fffd}lines"),
        ] {
            assert_eq!(cell(text), expected);
        }
    }
}
