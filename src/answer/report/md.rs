//! The report as Markdown, for a ticket or a mail.

use std::fmt::Write as _;

use super::model::Report;
use super::pages::{Block, Table, blocks};
use crate::answer::terminal::printable;
use crate::answer::verify::MARK;

/// The text; its last line is a comment with the digest.
pub fn render(report: &Report) -> Vec<u8> {
    let mut out = String::new();
    for block in blocks(report) {
        // Writing to a string cannot fail.
        let _ = write(&mut out, &block);
    }
    let _ = writeln!(out, "<!-- {MARK} -->");
    out.into_bytes()
}

fn write(out: &mut String, block: &Block) -> std::fmt::Result {
    match block {
        Block::Head { title, period, verdict, trend, privacy } => {
            writeln!(out, "# {}\n", plain(title))?;
            writeln!(out, "**{}**\n", plain(verdict))?;
            writeln!(out, "{}\n\n{}\n\n_{}_\n", plain(trend), plain(period), plain(privacy))
        }
        Block::Cards(cards) => {
            for card in cards {
                let (amount, label) = (plain(&card.amount), plain(&card.label));
                writeln!(
                    out,
                    "- **{amount}** {label}, {} ({})",
                    plain(&card.part),
                    plain(&card.compared)
                )?;
            }
            writeln!(out)
        }
        Block::Risks(risks) => {
            for (i, risk) in (1..).zip(risks) {
                let (title, proposal) = (plain(&risk.title), plain(&risk.proposal));
                writeln!(out, "{i}. **{}**: {title}  ", plain(&risk.rating.text))?;
                writeln!(out, "   {proposal}  \n   {}", plain(&risk.facts))?;
            }
            writeln!(out)
        }
        Block::Chart(_, _, of) => table(out, of),
        Block::Page => Ok(()),
        Block::Section(_, title) => writeln!(out, "## {}\n", plain(title)),
        Block::Sub(_, title, cell) if cell.text.is_empty() => {
            writeln!(out, "### {}\n", plain(title))
        }
        Block::Sub(_, title, cell) => {
            writeln!(out, "### {}\n\n{}\n", plain(title), plain(&cell.text))
        }
        Block::Text(text) => writeln!(out, "{}\n", plain(text)),
        Block::Note(text) => writeln!(out, "_{}_\n", plain(text)),
        Block::Facts(facts) => {
            for (name, value) in facts.iter().filter(|(_, v)| !v.is_empty()) {
                writeln!(out, "- {name}: {}", plain(value))?;
            }
            writeln!(out)
        }
        Block::Actions(actions) => {
            for (what, command) in actions {
                match command.as_str() {
                    "" => writeln!(out, "- [ ] {}", plain(what))?,
                    command => {
                        writeln!(
                            out,
                            "- [ ] {}: `{}`",
                            plain(what),
                            printable(command).replace('`', "'")
                        )?;
                    }
                }
            }
            writeln!(out)
        }
        Block::Table(of) => table(out, of),
    }
}

fn table(out: &mut String, of: &Table) -> std::fmt::Result {
    if of.rows.is_empty() {
        return writeln!(out, "_None._\n");
    }
    let heads: Vec<&str> = of.columns.iter().map(|c| c.head).collect();
    writeln!(out, "| {} |", heads.join(" | "))?;
    let rules: Vec<&str> = of.columns.iter().map(|c| if c.right { "--:" } else { "---" }).collect();
    writeln!(out, "| {} |", rules.join(" | "))?;
    for row in &of.rows {
        let cells: Vec<String> = row.iter().map(|c| plain(&c.text)).collect();
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    if !of.foot.is_empty() {
        writeln!(out, "\n_{}_", plain(&of.foot))?;
    }
    writeln!(out)
}

/// A text that Markdown shows as it is.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text).chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
