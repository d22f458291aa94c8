//! The register of risks, each in full, and the controls they are about.

use std::collections::BTreeMap;

use super::{Block, Cell, Table, anchor, cut, left, rating_tone, right};
use crate::answer::controls::{Control, Relation};
use crate::answer::report::model::{Report, Risk};
use crate::answer::report::words::{class, minute, status, whole};
use crate::answer::report::{ROWS_MAX, capital};
use crate::answer::terminal::{counted, number};
use crate::recorder::finding::bytes;

/// Risks that are told in full; the rest stand in the register's table.
const DETAILS_MAX: usize = 25;

pub(super) fn register(report: &Report, out: &mut Vec<Block>) {
    out.push(Block::Page);
    out.push(Block::Section("register", "Register of risks".to_owned()));
    let rows = report.risks.iter().take(ROWS_MAX).map(|r| {
        vec![
            Cell::toned(r.rating.clone(), rating_tone(&r.rating)),
            Cell::new(r.title.clone()),
            Cell::new(r.state_text.clone()),
            Cell::new(if r.owner.is_empty() { "nobody yet".to_owned() } else { r.owner.clone() }),
            Cell::new(r.due.clone()),
        ]
    });
    out.push(Block::Table(Table {
        caption: "All risks, open ones first, then by severity".to_owned(),
        columns: vec![
            left("Rating", 0.9),
            left("Risk", 4.2),
            left("State", 1.4),
            left("Owner", 1.2),
            left("Due", 1.0),
        ],
        rows: rows.collect(),
        foot: cut(report.risks.len(), "risks"),
    }));
    for risk in report.risks.iter().take(DETAILS_MAX) {
        detail(risk, out);
    }
    let more = report.risks.len().saturating_sub(DETAILS_MAX) as u64;
    if more > 0 {
        let text =
            format!("{} are told in full in the JSON and XLSX forms.", counted(more, "more risk"));
        out.push(Block::Note(text));
    }
}

fn detail(risk: &Risk, out: &mut Vec<Block>) {
    let tone =
        Cell::toned(format!("{}, {} of 10", risk.rating, risk.severity), rating_tone(&risk.rating));
    out.push(Block::Sub(anchor(&risk.id), risk.title.clone(), tone));
    let mut facts = vec![
        ("Why this severity", format!("{}.", capital(&risk.reasons.join("; ")))),
        ("Proposed", risk.proposal.clone()),
    ];
    if risk.id.starts_with("service:") {
        let mut volume = format!("sent {}; {}", whole(&risk.sent), whole(&risk.devices));
        if let Some(before) = &risk.sent_before {
            volume = format!("{volume}; before: {} sent", bytes(before.count));
        }
        facts.push(("Volume", volume));
        let departments: Vec<String> = risk
            .departments
            .iter()
            .map(|d| {
                format!(
                    "{}: {} from {}",
                    d.name,
                    bytes(d.sent.count),
                    counted(d.devices.count, "device")
                )
            })
            .collect();
        facts.push(("Departments", departments.join("; ")));
        let clients: Vec<String> = risk
            .clients
            .iter()
            .map(|c| format!("{} {}", class(&c.class), c.sent.share()))
            .collect();
        facts.push(("Who sends", clients.join("; ")));
    }
    facts.push(("Score of the service", risk.score.clone()));
    facts.push(("User impact", risk.impact.clone()));
    facts.push(("Cost of acting", risk.cost.clone()));
    let owner = if risk.owner.is_empty() { "nobody yet" } else { &risk.owner };
    let proposed = if risk.due_proposed { " (proposed)" } else { "" };
    facts.push((
        "Owner, due, state",
        format!("{owner}; {}{proposed}; {}", risk.due, risk.state_text),
    ));
    for line in &risk.history {
        let dated = if line.decided.is_empty() {
            format!("on data up to {}", minute(&line.data_until))
        } else {
            line.decided.clone()
        };
        let parts = [
            dated,
            line.state.replace('_', " "),
            status(&line.status).to_owned(),
            line.owner.clone(),
            line.reason.clone(),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|p| !p.is_empty()).collect();
        facts.push(("Decision", parts.join("; ")));
    }
    for proof in &risk.evidence {
        let frames =
            format!("frames {} to {}", number(proof.first_frame), number(proof.last_frame));
        let name = if proof.name_frame > 0 {
            format!(", name in frame {}", number(proof.name_frame))
        } else {
            String::new()
        };
        facts.push((
            "Evidence",
            format!(
                "{}, {frames}{name}: {} ({})",
                proof.capture,
                proof.name,
                proof.name_from.replace('_', " ")
            ),
        ));
    }
    for (head, relation) in [
        ("Controls, direct", Relation::Direct),
        ("Controls, precursor", Relation::Precursor),
        ("Controls, exposure", Relation::Exposure),
    ] {
        let of = risk.controls.iter().filter(|c| c.relation == relation);
        facts.push((head, of.map(|c| c.id.as_str()).collect::<Vec<_>>().join(", ")));
    }
    out.push(Block::Facts(facts));
    out.push(Block::Actions(
        risk.actions.iter().map(|a| (a.what.clone(), a.command.clone())).collect(),
    ));
}

pub(super) fn controls(report: &Report, out: &mut Vec<Block>) {
    out.push(Block::Section("controls", "Controls".to_owned()));
    out.push(Block::Text(
        "Which controls the risks are about. Direct: the control asks for what was found missing. Precursor: what was seen comes \
         before what it is about. Exposure: what was seen makes it matter; no attack was seen."
            .to_owned(),
    ));
    let mut by: BTreeMap<(usize, &str), (&Control, u64)> = BTreeMap::new();
    for control in report.risks.iter().flat_map(|r| &r.controls) {
        let place = report.catalogues.iter().position(|c| c.id == control.catalogue);
        let key = (place.unwrap_or(usize::MAX), control.id.as_str());
        let entry = by.entry(key).or_insert((control, 0));
        entry.1 = entry.1.saturating_add(1);
    }
    let name = |id: &str| {
        report.catalogues.iter().find(|c| c.id == id).map_or(id.to_owned(), |c| c.name.clone())
    };
    let rows = by.values().map(|(control, count)| {
        vec![
            Cell::new(name(&control.catalogue)),
            Cell::new(control.id.clone()),
            Cell::new(control.title.clone()),
            Cell::new(control.relation.code()),
            Cell::new(format!("{count} of {}", report.risks.len())),
            Cell::new(control.why.clone()),
        ]
    });
    out.push(Block::Table(Table {
        caption: "Controls by catalogue, with the number of risks that are about them".to_owned(),
        columns: vec![
            left("Catalogue", 1.3),
            left("Control", 1.1),
            left("About", 1.7),
            left("Relation", 0.9),
            right("Risks", 0.7),
            left("Why", 3.0),
        ],
        rows: rows.collect(),
        foot: report
            .catalogues
            .iter()
            .map(|c| format!("{}: {}", c.name, c.version))
            .collect::<Vec<_>>()
            .join("; "),
    }));
    out.push(Block::Sub(
        String::new(),
        "Zero Trust tests that ask for configuration, and what was seen".to_owned(),
        Cell::default(),
    ));
    let rows = report.tests.iter().map(|t| {
        vec![
            Cell::new(t.id.clone()),
            Cell::new(t.title.clone()),
            Cell::new(t.asks.clone()),
            Cell::new(t.observed.clone()),
        ]
    });
    out.push(Block::Table(Table {
        caption: "Tests beside observations".to_owned(),
        columns: vec![
            left("Test", 0.6),
            left("Title", 2.0),
            left("Asks", 1.5),
            left("Observed here", 2.6),
        ],
        rows: rows.collect(),
        foot: String::new(),
    }));
}
