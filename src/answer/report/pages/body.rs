//! What is in use, by whom, and what could not be seen.

use super::{Block, Cell, Table, Tone, cut, left, right, status_tone, tone_if};
use crate::answer::report::ROWS_MAX;
use crate::answer::report::model::{Figure, Group, Report};
use crate::answer::report::words::{listed, minute};
use crate::answer::terminal::{counted, number};
use crate::recorder::finding::bytes;

pub(super) fn services(report: &Report, out: &mut Vec<Block>) {
    out.push(Block::Section("services", "Services in use".to_owned()));
    for group in &report.groups {
        let tone = status_tone(&group.status);
        let title = group.title.clone();
        out.push(Block::Sub(String::new(), title, Cell::toned(services_text(group), tone)));
        if !group.services.is_empty() {
            out.push(Block::Table(service_table(group)));
        }
        if !group.only_contacted.is_empty() {
            let names = listed(&group.only_contacted, 30);
            out.push(Block::Note(format!("Contacted, but not used: {names}.")));
        }
    }
    out.push(Block::Sub(String::new(), "New since last time".to_owned(), Cell::default()));
    let names = listed(&report.news.services, 30);
    let text = if names.is_empty() {
        report.news.text.clone()
    } else {
        format!("{} {names}.", report.news.text)
    };
    out.push(Block::Text(text));
    late(report, out);
}

/// Services that were used before anybody could say so.
fn late(report: &Report, out: &mut Vec<Block>) {
    if report.late.is_empty() {
        return;
    }
    let title = "Known only since the catalogue of today, and used before".to_owned();
    out.push(Block::Sub(String::new(), title, Cell::default()));
    let rows = report.late.iter().take(ROWS_MAX).map(|l| {
        vec![
            Cell::new(l.service.name.clone()),
            Cell::new(l.first_day.clone()),
            Cell::new(l.last_day.clone()),
            Cell::new(format!("{} of {}", number(l.days.count), number(l.days.of))),
            Cell::new(number(l.devices.count)),
            Cell::new(bytes(l.sent.count)),
        ]
    });
    out.push(Block::Table(Table {
        caption: "Services that the ledger saw used before the catalogue knew them".to_owned(),
        columns: vec![
            left("Service", 2.4),
            left("Used since", 1.2),
            left("Last", 1.2),
            right("Days, at least", 1.1),
            right("Devices, about", 1.1),
            right("Sent to its hosts", 1.2),
        ],
        rows: rows.collect(),
        foot: format!(
            "The ledger keeps destinations without people, so these stand in no other figure of this report. {}",
            cut(report.late.len(), "services")
        ).trim_end().to_owned(),
    }));
}

fn services_text(group: &Group) -> String {
    if group.services.is_empty() {
        return "none in use".to_owned();
    }
    format!(
        "{} of {}, {} of {} devices, {} sent ({})",
        number(group.services_in_use.count),
        counted(group.services_in_use.of, "service"),
        number(group.devices.count),
        number(group.devices.of),
        bytes(group.sent.count),
        group.sent.share()
    )
}

fn service_table(group: &Group) -> Table {
    let of = &group.of;
    let rows = group.services.iter().take(ROWS_MAX).map(|s| {
        let name = if s.service.vendor.is_empty() {
            s.service.name.clone()
        } else {
            format!("{} ({})", s.service.name, s.service.vendor)
        };
        let new = if s.new { ", new" } else { "" };
        let tenants = match s.tenants.as_slice() {
            [] => String::new(),
            [one] => format!(", tenant {one}"),
            some => format!(", tenants {}", listed(some, 6)),
        };
        let tolerated = if s.status == "tolerated" { ", tolerated" } else { "" };
        let devices = Figure::new(s.devices, of.devices, "");
        let sent = Figure::new(s.sent, of.sent, "");
        vec![
            Cell::new(format!("{name}{tenants}{tolerated}{new}")),
            Cell::new(format!("{} ({})", number(s.devices), devices.share())),
            Cell::new(number(s.sessions)),
            Cell::new(format!("{} ({})", bytes(s.sent), sent.share())),
            Cell::new(bytes(s.received)),
            Cell::new(s.level.clone()),
            Cell::new(s.clients.join(", ")),
            Cell::new(minute(&s.last_seen)),
        ]
    });
    Table {
        caption: format!("{} services in use", group.title),
        columns: vec![
            left("Service", 2.6),
            right("Devices", 1.1),
            right("Sessions", 0.9),
            right("Sent", 1.5),
            right("Received", 1.0),
            left("Level", 0.8),
            left("Client", 1.2),
            left("Last seen, UTC", 1.5),
        ],
        rows: rows.collect(),
        foot: cut(group.services.len(), "services"),
    }
}

pub(super) fn departments(report: &Report, out: &mut Vec<Block>) {
    out.push(Block::Section("departments", "Departments".to_owned()));
    let rows = report.departments.iter().take(ROWS_MAX).map(|d| {
        vec![
            Cell::new(d.name.clone()),
            Cell::new(number(d.devices.count)),
            Cell::toned(bytes(d.sent_forbidden.count), tone_if(d.sent_forbidden.count, Tone::Bad)),
            Cell::toned(
                bytes(d.sent_unreviewed.count),
                tone_if(d.sent_unreviewed.count, Tone::Care),
            ),
            Cell::toned(bytes(d.sent_allowed.count), tone_if(d.sent_allowed.count, Tone::Good)),
            Cell::new(if d.top_service.is_empty() {
                "none".to_owned()
            } else {
                format!("{}, {} ({})", d.top_service, bytes(d.top_sent.count), d.top_sent.share())
            }),
        ]
    });
    out.push(Block::Table(Table {
        caption: "Data sent by department and status, the most to unapproved services first"
            .to_owned(),
        columns: vec![
            left("Department", 2.0),
            right("Devices", 0.8),
            right("Sent to forbidden", 1.2),
            right("Not yet reviewed", 1.2),
            right("Allowed", 1.1),
            left("Unapproved service it sent most to", 2.4),
        ],
        rows: rows.collect(),
        foot: format!(
            "Of {} devices seen and {} sent to AI services. {}",
            number(report.uses.of.devices),
            bytes(report.uses.of.sent),
            cut(report.departments.len(), "departments")
        )
        .trim_end()
        .to_owned(),
    }));
    out.push(Block::Sub(String::new(), "People, programs and agents".to_owned(), Cell::default()));
    let rows = report.clients.iter().map(|c| {
        vec![
            Cell::new(c.title.clone()),
            Cell::new(format!("{} of {}", number(c.devices.count), number(c.devices.of))),
            Cell::new(format!("{} ({})", bytes(c.sent.count), c.sent.share())),
            Cell::new(format!(
                "{} ({})",
                bytes(c.sent_unapproved.count),
                c.sent_unapproved.share()
            )),
        ]
    });
    out.push(Block::Table(Table {
        caption: "Use by kind of client".to_owned(),
        columns: vec![
            left("Client", 2.0),
            right("Devices", 1.0),
            right("Sent", 1.2),
            right("Of that to unapproved services", 1.6),
        ],
        rows: rows.collect(),
        foot: String::new(),
    }));
}

pub(super) fn unseen(report: &Report, out: &mut Vec<Block>) {
    out.push(Block::Section("unseen", "What we cannot see".to_owned()));
    let rows = report.unseen.iter().map(|u| {
        vec![
            Cell::new(u.what.clone()),
            Cell::new(u.figure.as_ref().map_or("not countable".to_owned(), |f| {
                format!("{} of {} ({})", number(f.count), number(f.of), f.share())
            })),
            Cell::new(u.meaning.clone()),
        ]
    });
    out.push(Block::Table(Table {
        caption: "What could not be seen, and what that means".to_owned(),
        columns: vec![left("What", 2.0), left("How much", 1.5), left("What it means", 3.2)],
        rows: rows.collect(),
        foot: String::new(),
    }));
    out.push(Block::Text(report.covers.clone()));
}
