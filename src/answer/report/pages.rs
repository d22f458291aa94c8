//! What stands in a report that a person reads, in what order and in which words.
//!
//! In: the [`Report`]. Out: [`Block`]s, which HTML, PDF and Markdown draw, each in its way, so that
//! all three say the same.
//! Limits: [`ROWS_MAX`] rows of a table, [`DETAILS_MAX`] risks in full.

use std::collections::BTreeMap;

use super::chart::{Drawing, draw};
use super::model::{Figure, Group, Report, Risk};
use super::words::{amount, class, compared, listed, minute, part, status, whole};
use super::{RISKS_FIRST, ROWS_MAX};
use crate::answer::controls::{Control, Relation};
use crate::answer::terminal::{counted, number};
use crate::recorder::finding::bytes;

/// Risks that are told in full; the rest stand in the register's table.
const DETAILS_MAX: usize = 25;

/// A colour that means something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// None.
    #[default]
    Plain,
    /// Forbidden, critical.
    Bad,
    /// High.
    Serious,
    /// Not yet reviewed, medium.
    Care,
    /// Allowed, low.
    Good,
    /// Neither.
    Quiet,
}

/// A text in a table.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// With what weight.
    pub tone: Tone,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Heading.
    pub head: &'static str,
    /// Numbers stand to the right.
    pub right: bool,
    /// Part of the width, against the other columns.
    pub weight: f32,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it shows, for those who cannot see it.
    pub caption: String,
    /// Columns.
    pub columns: Vec<Column>,
    /// Rows.
    pub rows: Vec<Vec<Cell>>,
    /// A line below it.
    pub foot: String,
}

/// One of the four numbers.
#[derive(Clone, Debug)]
pub struct Card {
    /// The number.
    pub amount: String,
    /// What it counts.
    pub label: String,
    /// What it is a part of.
    pub part: String,
    /// What it was before.
    pub compared: String,
}

/// A risk on the first page.
#[derive(Clone, Debug)]
pub struct RiskCard {
    /// Id of the place where it is told in full.
    pub anchor: String,
    /// Rating.
    pub rating: Cell,
    /// What was found.
    pub title: String,
    /// What is proposed.
    pub proposal: String,
    /// Owner, day, state.
    pub facts: String,
}

/// A piece of a report.
#[derive(Clone, Debug)]
pub enum Block {
    /// Title, period, verdict, trend, and how names are treated.
    Head {
        /// Title.
        title: String,
        /// Period and versions.
        period: String,
        /// Verdict.
        verdict: String,
        /// Trend.
        trend: String,
        /// Names.
        privacy: String,
    },
    /// The numbers of the first page.
    Cards(Vec<Card>),
    /// The risks of the first page.
    Risks(Vec<RiskCard>),
    /// The chart, and the same as a table.
    Chart(String, Drawing, Table),
    /// Begins a new page on paper.
    Page,
    /// Heading with the id of its place.
    Section(&'static str, String),
    /// Heading below a section, with the id of its place and a tone.
    Sub(String, String, Cell),
    /// A paragraph.
    Text(String),
    /// A paragraph in small.
    Note(String),
    /// Names and values.
    Facts(Vec<(&'static str, String)>),
    /// What to do, with commands.
    Actions(Vec<(String, String)>),
    /// A table.
    Table(Table),
}

impl Cell {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }

    fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

/// The report in order.
pub fn blocks(report: &Report) -> Vec<Block> {
    let mut out = Vec::new();
    first_page(report, &mut out);
    services(report, &mut out);
    departments(report, &mut out);
    unseen(report, &mut out);
    register(report, &mut out);
    controls(report, &mut out);
    method(report, &mut out);
    annex(report, &mut out);
    out
}

fn first_page(report: &Report, out: &mut Vec<Block>) {
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
    let card = |n: &super::model::Number| Card {
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
    let row = |b: &super::model::Bar| {
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

fn services(report: &Report, out: &mut Vec<Block>) {
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
        ),
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
        let tolerated = if s.status == "tolerated" { ", tolerated" } else { "" };
        let devices = Figure::new(s.devices, of.devices, "");
        let sent = Figure::new(s.sent, of.sent, "");
        vec![
            Cell::new(format!("{name}{tolerated}{new}")),
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

fn departments(report: &Report, out: &mut Vec<Block>) {
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
        ),
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

fn unseen(report: &Report, out: &mut Vec<Block>) {
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

fn register(report: &Report, out: &mut Vec<Block>) {
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
        ("Why this severity", format!("{}.", super::capital(&risk.reasons.join("; ")))),
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

fn controls(report: &Report, out: &mut Vec<Block>) {
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

fn method(report: &Report, out: &mut Vec<Block>) {
    out.push(Block::Section("method", "Method".to_owned()));
    for text in report.method.iter().chain(&report.judged.notes) {
        out.push(Block::Text(text.clone()));
    }
}

#[expect(clippy::too_many_lines, reason = "one table after the other")]
fn annex(report: &Report, out: &mut Vec<Block>) {
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
        ),
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

fn cut(rows: usize, what: &str) -> String {
    if rows > ROWS_MAX {
        format!(
            "The first {ROWS_MAX} of {} {what}; all of them stand in the XLSX, CSV and JSON forms.",
            number(rows as u64)
        )
    } else {
        String::new()
    }
}

/// The text with blanks that do not break between a number and its unit.
fn kept_together(text: &str) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "%"];
    let mut out = String::with_capacity(text.len());
    for word in text.split(' ') {
        let unit = units.contains(&word.trim_end_matches([',', ';', '.', ')']));
        if !out.is_empty() {
            let number = out.ends_with(|c: char| c.is_ascii_digit());
            out.push(if unit && number { '\u{a0}' } else { ' ' });
        }
        out.push_str(word);
    }
    out
}

/// A place to link to.
pub fn anchor(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("risk-{}", id.chars().map(plain).collect::<String>())
}

fn left(head: &'static str, weight: f32) -> Column {
    Column { head, right: false, weight }
}

fn right(head: &'static str, weight: f32) -> Column {
    Column { head, right: true, weight }
}

fn tone_if(count: u64, tone: Tone) -> Tone {
    if count > 0 { tone } else { Tone::Quiet }
}

fn rating_tone(rating: &str) -> Tone {
    match rating {
        "critical" => Tone::Bad,
        "high" => Tone::Serious,
        "medium" => Tone::Care,
        _ => Tone::Quiet,
    }
}

fn status_tone(status: &str) -> Tone {
    match status {
        "forbidden" => Tone::Bad,
        "unreviewed" => Tone::Care,
        "allowed" | "sanctioned" | "tolerated" => Tone::Good,
        _ => Tone::Plain,
    }
}
