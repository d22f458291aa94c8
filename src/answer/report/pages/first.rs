//! Page one: verdict, four numbers, what to decide, one chart.

use super::{Block, Card, Cell, RiskCard, Table, anchor, kept_together, left, rating_tone, right};
use crate::answer::report::RISKS_FIRST;
use crate::answer::report::chart::draw;
use crate::answer::report::model::{Bar, Number, Report, Risk};
use crate::answer::report::words::{amount, compared, listed, part};
use crate::answer::terminal::{counted, number};
use crate::recorder::finding::bytes;

pub(super) fn first_page(report: &Report, out: &mut Vec<Block>) {
    let judged = &report.judged;
    out.push(Block::Head {
        title: report.title.clone(),
        period: format!(
            "{} · {} of {} hours captured · policy {} · catalogue {}",
            report.period.text,
            number(report.period.captured_hours.count),
            number(report.period.captured_hours.of),
            listed(&judged.policies, 2),
            judged.catalogue
        ),
        verdict: kept_together(&report.verdict),
        trend: kept_together(&report.trend),
        privacy: report.privacy.text.clone(),
    });
    let card = |n: &Number| Card {
        amount: amount(n, &n.now),
        label: n.label.clone(),
        part: part(n),
        compared: compared(n),
    };
    out.push(Block::Cards(report.numbers.iter().map(card).collect()));
    let first: Vec<RiskCard> = report.risks.iter().take(RISKS_FIRST).map(risk_card).collect();
    let title = if first.is_empty() {
        "What to decide: nothing was found".to_owned()
    } else {
        format!("What to decide: {} of {}", first.len(), counted(report.risks.len() as u64, "risk"))
    };
    out.push(Block::Section("decide", title));
    out.push(Block::Risks(first));
    out.push(Block::Section("chart", report.chart.title.clone()));
    out.push(Block::Chart(report.chart.title.clone(), draw(&report.chart), chart_table(report)));
    out.push(Block::Page);
}

fn risk_card(risk: &Risk) -> RiskCard {
    RiskCard {
        anchor: anchor(&risk.id),
        rating: Cell::toned(risk.rating.clone(), rating_tone(&risk.rating)),
        title: risk.title.clone(),
        proposal: risk.proposal.clone(),
        facts: format!(
            "Owner: {} · due {}{} · {}",
            if risk.owner.is_empty() { "nobody yet" } else { &risk.owner },
            risk.due,
            if risk.due_proposed { " (proposed)" } else { "" },
            risk.state_text
        ),
    }
}

fn chart_table(report: &Report) -> Table {
    let row = |b: &Bar| {
        vec![
            Cell::new(b.label.clone()),
            Cell::new(bytes(b.sent_forbidden)),
            Cell::new(bytes(b.sent_unreviewed)),
            Cell::new(bytes(b.sent_allowed)),
        ]
    };
    Table {
        caption: format!("{}; in all {}", report.chart.title, bytes(report.chart.of.sent)),
        columns: vec![
            left(if report.chart.kind == "time" { "When" } else { "Service" }, 2.0),
            right("Forbidden", 1.0),
            right("Not yet reviewed", 1.0),
            right("Allowed", 1.0),
        ],
        rows: report.chart.bars.iter().map(row).collect(),
        foot: String::new(),
    }
}
