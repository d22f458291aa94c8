//! Devices by service as CSV: one row each, with what each column is a part of.
//!
//! Never: begins a cell with a character that a spreadsheet takes for a formula.
//! Source: RFC 4180; <https://owasp.org/www-community/attacks/CSV_Injection>.

use super::model::Report;
use super::tables::{self, Value};
use crate::answer::terminal::printable;
use crate::answer::verify::MARK;

/// The table; its last line is a comment with the digest.
pub fn render(report: &Report) -> Vec<u8> {
    let table = tables::uses(report);
    let heads: Vec<&str> = table.columns.iter().map(|c| c.code).collect();
    let mut out = heads.join(",");
    out.push_str("\r\n");
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(written).collect();
        out.push_str(&cells.join(","));
        out.push_str("\r\n");
    }
    out.push_str("# ");
    out.push_str(MARK);
    out.push_str("\r\n");
    out.into_bytes()
}

fn written(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Time(text) => cell(text),
        Value::Number(n) => n.to_string(),
        Value::Share(n, of) => format!("{n}/{of}"),
    }
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
