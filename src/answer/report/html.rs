//! The report as one HTML file: no script, no outside link, readable on paper and on a phone.
//!
//! Never: lets a text act: every one is escaped, and control and direction characters are replaced.

use std::fmt::Write as _;

use super::Failure;
use super::chart::{Anchor, Drawing, Tone as ChartTone, WIDTH};
use super::model::Report;
use super::pages::{Block, Cell, Table, Tone, blocks};
use crate::answer::terminal::printable;
use crate::answer::verify::MARK;

const STYLE: &str = include_str!("report.css");

/// The page; its last line holds the digest.
pub fn render(report: &Report) -> Result<Vec<u8>, Failure> {
    let mut out = String::new();
    page(&mut out, report).map_err(|e| Failure::Format("HTML", e.to_string()))?;
    Ok(out.into_bytes())
}

fn page(out: &mut String, report: &Report) -> std::fmt::Result {
    let blocks = blocks(report);
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"generator\" content=\"{}\">\n<title>{}: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the report</a>",
        text(&report.judged.program),
        text(&report.title),
        text(&report.period.text)
    )?;
    let sections: Vec<(&str, &str)> = blocks
        .iter()
        .filter_map(|b| match b {
            Block::Section(id, title) => Some((*id, title.as_str())),
            _ => None,
        })
        .collect();
    let mut has_main = false;
    for block in &blocks {
        if !has_main && !matches!(block, Block::Head { .. }) {
            writeln!(out, "<nav aria-label=\"Sections\"><ul>")?;
            for (id, title) in &sections {
                let title = title.split(':').next().unwrap_or(title);
                writeln!(out, "<li><a href=\"#{id}\">{}</a></li>", text(title))?;
            }
            writeln!(out, "</ul></nav>\n<main id=\"main\">")?;
            has_main = true;
        }
        write(out, block)?;
    }
    writeln!(out, "<p class=\"seal\">{MARK}</p>\n</main>\n</body>\n</html>")
}

fn write(out: &mut String, block: &Block) -> std::fmt::Result {
    match block {
        Block::Head { title, period, verdict, trend, privacy } => writeln!(
            out,
            "<header><div>\n<h1>{}</h1>\n<p class=\"verdict\">{}</p>\n<p>{}</p>\n\
             <p class=\"meta\">{}</p>\n<p class=\"meta\">{}</p>\n</div></header>",
            text(title),
            text(verdict),
            text(trend),
            text(period),
            text(privacy)
        ),
        Block::Cards(cards) => {
            writeln!(out, "<ul class=\"cards\">")?;
            for card in cards {
                writeln!(
                    out,
                    "<li><b>{}</b><span>{}</span><span class=\"part\">{}</span><span class=\"then\">{}</span></li>",
                    text(&card.amount),
                    text(&card.label),
                    text(&card.part),
                    text(&card.compared)
                )?;
            }
            writeln!(out, "</ul>")
        }
        Block::Risks(risks) => {
            writeln!(out, "<ol class=\"risks\">")?;
            for risk in risks {
                writeln!(
                    out,
                    "<li>{}<div class=\"what\"><a href=\"#{}\">{}</a></div><div>{}</div><div class=\"facts\">{}</div></li>",
                    pill(&risk.rating),
                    text(&risk.anchor),
                    text(&risk.title),
                    text(&risk.proposal),
                    text(&risk.facts)
                )?;
            }
            writeln!(out, "</ol>")
        }
        Block::Chart(title, drawing, of) => {
            figure(out, title, drawing)?;
            writeln!(out, "<details><summary>The chart as a table</summary>")?;
            table(out, of)?;
            writeln!(out, "</details>")
        }
        Block::Page => writeln!(out, "<div class=\"page\"></div>"),
        Block::Section(id, title) => writeln!(out, "<h2 id=\"{id}\">{}</h2>", text(title)),
        Block::Sub(id, title, cell) => {
            let id = if id.is_empty() { String::new() } else { format!(" id=\"{}\"", text(id)) };
            let mark =
                if cell.text.is_empty() { String::new() } else { format!(" {}", pill(cell)) };
            writeln!(out, "<h3{id}>{}{mark}</h3>", text(title))
        }
        Block::Text(words) => writeln!(out, "<p>{}</p>", text(words)),
        Block::Note(words) => writeln!(out, "<p class=\"note\">{}</p>", text(words)),
        Block::Facts(facts) => {
            writeln!(out, "<dl>")?;
            for (name, value) in facts.iter().filter(|(_, v)| !v.is_empty()) {
                writeln!(out, "<dt>{name}</dt><dd>{}</dd>", text(value))?;
            }
            writeln!(out, "</dl>")
        }
        Block::Actions(actions) => {
            writeln!(out, "<ul class=\"do\">")?;
            for (what, command) in actions {
                write!(out, "<li>{}", text(what))?;
                if !command.is_empty() {
                    write!(out, "<code>{}</code>", text(command))?;
                }
                writeln!(out, "</li>")?;
            }
            writeln!(out, "</ul>")
        }
        Block::Table(of) => table(out, of),
    }
}

fn table(out: &mut String, of: &Table) -> std::fmt::Result {
    if of.rows.is_empty() {
        return writeln!(out, "<p class=\"note\">None.</p>");
    }
    write!(out, "<div class=\"sheet\"><table><caption>{}</caption><thead><tr>", text(&of.caption))?;
    for column in &of.columns {
        let right = if column.right { " class=\"r\"" } else { "" };
        write!(out, "<th scope=\"col\"{right}>{}</th>", column.head)?;
    }
    writeln!(out, "</tr></thead><tbody>")?;
    for row in &of.rows {
        write!(out, "<tr>")?;
        for (cell, column) in row.iter().zip(&of.columns) {
            let right = if column.right { " class=\"r\"" } else { "" };
            let shown = match cell.tone {
                Tone::Plain => text(&cell.text),
                // A number keeps its place in the column.
                _ if column.right => text(&cell.text),
                _ => pill(cell),
            };
            write!(out, "<td{right} data-head=\"{}\">{shown}</td>", column.head)?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")?;
    if !of.foot.is_empty() {
        writeln!(out, "<p class=\"foot\">{}</p>", text(&of.foot))?;
    }
    Ok(())
}

fn figure(out: &mut String, title: &str, drawing: &Drawing) -> std::fmt::Result {
    writeln!(
        out,
        "<figure><svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{}; the table below has the numbers\">",
        drawing.height,
        text(title)
    )?;
    for (from, to, y) in &drawing.lines {
        writeln!(out, "<line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>")?;
    }
    for rect in &drawing.rects {
        let class = match rect.tone {
            ChartTone::Forbidden => "f",
            ChartTone::Unreviewed => "u",
            ChartTone::Allowed => "a",
            ChartTone::Gap => "g",
        };
        let (x, y, w, h) = (rect.x, rect.y, rect.w, rect.h);
        writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\"/>"
        )?;
    }
    for label in &drawing.labels {
        let anchor = match label.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y) = (label.x, label.y);
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            text(&label.text)
        )?;
    }
    let gaps = drawing.rects.iter().any(|r| r.tone == ChartTone::Gap);
    let gap = if gaps { "<li><i class=\"g\"></i>nothing captured</li>" } else { "" };
    writeln!(
        out,
        "</svg><ul class=\"key\"><li><i class=\"f\"></i>forbidden</li><li><i class=\"u\"></i>not yet reviewed</li>\
         <li><i class=\"a\"></i>allowed</li>{gap}</ul></figure>"
    )
}

fn pill(cell: &Cell) -> String {
    let class = match cell.tone {
        Tone::Bad => " bad",
        Tone::Serious => " serious",
        Tone::Care => " care",
        Tone::Good => " good",
        Tone::Plain | Tone::Quiet => "",
    };
    format!("<span class=\"pill{class}\">{}</span>", text(&cell.text))
}

/// The text, harmless between tags and in attributes.
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_stays_text() {
        for (given, expected) in [
            ("a<script>b", "a&lt;script&gt;b"),
            ("\" onload='x'", "&quot; onload=&#39;x&#39;"),
            ("a&amp;b", "a&amp;amp;b"),
            ("x\u{202e}y\0", "x\u{fffd}y\u{fffd}"),
        ] {
            assert_eq!(super::text(given), expected);
        }
    }
}
