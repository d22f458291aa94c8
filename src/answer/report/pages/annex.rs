//! Method, and the tables behind the figures: devices, policy, captures, coverage, versions.

use super::{Block, Cell, Table, cut, left, right, status_tone};
use crate::answer::report::ROWS_MAX;
use crate::answer::report::model::Report;
use crate::answer::report::words::minute;
use crate::answer::terminal::number;
use crate::recorder::finding::bytes;

pub(super) fn method(report: &Report, out: &mut Vec<Block>) {
    out.push(Block::Section("method", "Method".to_owned()));
    for text in report.method.iter().chain(&report.judged.notes) {
        out.push(Block::Text(text.clone()));
    }
}

#[expect(clippy::too_many_lines, reason = "one table after the other")]
pub(super) fn annex(report: &Report, out: &mut Vec<Block>) {
    out.push(Block::Section("annex", "Annex".to_owned()));
    out.push(Block::Sub(String::new(), "Devices".to_owned(), Cell::default()));
    let rows = report.devices.rows.iter().take(ROWS_MAX).map(|d| {
        vec![
            Cell::new(d.device.clone()),
            Cell::new(d.department.clone()),
            Cell::new(format!("{} of {}", number(d.services_unapproved), number(d.services))),
            Cell::new(number(d.sessions)),
            Cell::new(bytes(d.sent_unapproved)),
            Cell::new(bytes(d.sent)),
            Cell::new(bytes(d.received)),
        ]
    });
    let of = &report.devices.of;
    out.push(Block::Table(Table {
        caption: "Devices by what they sent to unapproved services".to_owned(),
        columns: vec![
            left("Device", 2.2),
            left("Department", 1.6),
            right("Unapproved of services", 1.2),
            right("Sessions", 0.9),
            right("Sent to unapproved", 1.2),
            right("Sent to AI", 1.0),
            right("Received", 1.0),
        ],
        rows: rows.collect(),
        foot: format!(
            "In all {} of {} devices seen, {} sessions, {} sent, {} received. {}",
            number(report.devices.rows.len() as u64),
            number(of.devices),
            number(of.sessions),
            bytes(of.sent),
            bytes(of.received),
            cut(report.devices.rows.len(), "devices")
        )
        .trim_end()
        .to_owned(),
    }));
    out.push(Block::Sub(String::new(), "Policy".to_owned(), Cell::default()));
    if report.rules.is_empty() {
        out.push(Block::Text("No policy was given; verdicts are as recorded.".to_owned()));
    } else {
        let rows = report.rules.iter().take(ROWS_MAX).map(|r| {
            let tone = status_tone(&r.status);
            vec![
                Cell::new(r.target.clone()),
                Cell::toned(r.status.clone(), tone),
                Cell::new(r.scope.clone()),
                Cell::new(r.owner.clone()),
                Cell::new(r.expires.clone()),
                Cell::new(r.reason.clone()),
            ]
        });
        out.push(Block::Table(Table {
            caption: "Rules of the policy".to_owned(),
            columns: vec![
                left("Covers", 1.7),
                left("Decision", 1.1),
                left("For", 1.0),
                left("Owner", 1.3),
                left("Until", 1.0),
                left("Reason", 2.6),
            ],
            rows: rows.collect(),
            foot: cut(report.rules.len(), "rules"),
        }));
    }
    out.push(Block::Sub(String::new(), "Captures".to_owned(), Cell::default()));
    let rows = report.inputs.iter().take(ROWS_MAX).map(|i| {
        vec![
            Cell::new(i.name.clone()),
            Cell::new(number(i.frames.count)),
            Cell::new(minute(&i.first_frame)),
            Cell::new(minute(&i.last_frame)),
            Cell::new(if i.fault.is_empty() { "whole".to_owned() } else { i.fault.clone() }),
        ]
    });
    out.push(Block::Table(Table {
        caption: "Captures behind the figures".to_owned(),
        columns: vec![
            left("Capture", 2.6),
            right("Frames", 1.0),
            left("From, UTC", 1.4),
            left("Until, UTC", 1.4),
            left("State", 1.4),
        ],
        rows: rows.collect(),
        foot: cut(report.inputs.len(), "captures"),
    }));
    out.push(Block::Sub(String::new(), "Coverage ledger".to_owned(), Cell::default()));
    let rows = report.ledger.iter().map(|l| {
        let side = if l.side == "seen" { "seen" } else { "not seen, or in doubt" };
        vec![Cell::new(l.what.clone()), Cell::new(side), Cell::new(l.amount.clone())]
    });
    out.push(Block::Table(Table {
        caption: "What was seen and what was not, in numbers".to_owned(),
        columns: vec![left("What", 3.0), left("Side", 1.3), left("How much", 2.0)],
        rows: rows.collect(),
        foot: String::new(),
    }));
    out.push(Block::Sub(String::new(), "Versions".to_owned(), Cell::default()));
    let judged = &report.judged;
    out.push(Block::Facts(vec![
        ("Program", judged.program.clone()),
        (
            "Policy",
            format!(
                "{} ({})",
                judged.policies.join(", "),
                if judged.anew {
                    "every row judged anew for this report"
                } else {
                    "verdicts as recorded"
                }
            ),
        ),
        (
            "Catalogue",
            format!(
                "{}; recorded with {}",
                judged.catalogue,
                judged.recorded_catalogues.join(", ")
            ),
        ),
        ("Digest", "stands at the end of this file; shadowtap verify FILE checks it".to_owned()),
    ]));
}
