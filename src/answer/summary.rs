//! What a person reads first: which unapproved AI, by whom, how much; and what could not be seen.
//!
//! In: the store. Out: [`Facts`], from which every form of a scan's answer is made, and the text.
//! Never: says "none" of traffic that nobody could see; lets a name from the network act on the
//! terminal; reads a clock.
//! Limits: [`WHO_MAX`] devices a service; the rest is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::coverage::{self, Side};
use super::terminal::{Column, columns, counted, number, padded, printable, table, time, wrap};
use crate::recorder::finding::bytes;
use crate::recorder::signature::Catalogue;
use crate::recorder::store::rows::{Finding, InputRow, Text};
use crate::recorder::store::{
    Answers, CandidateLine, CoverageLine, Error, Group, HiddenLine, Scope, SeenBy, ServiceLine,
    Summary,
};
use crate::recorder::words::{ClientClass, Disposition, Level};
use crate::types::Timestamp;

/// Devices named under a service that nobody approved. Who sent most is what is asked first; the
/// document has them all.
pub const WHO_MAX: usize = 5;

/// Devices named whose traffic nobody can look into; the document has them all.
const HIDDEN_MAX: usize = 10;

/// Narrowest text that is still laid out.
const WIDTH_MIN: usize = 40;

/// Everything that a scan's answer is made of, whatever its form.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Groups, candidates, time, versions.
    pub summary: Summary,
    /// Findings with their evidence, the most severe first.
    pub findings: Vec<Finding>,
    /// Who was at each service.
    pub seen_by: BTreeMap<Text, Vec<SeenBy>>,
    /// The coverage ledger.
    pub coverage: Vec<CoverageLine>,
    /// Devices whose traffic goes where nobody can look.
    pub hidden: Vec<HiddenLine>,
    /// Inputs, with what was wrong with them.
    pub inputs: Vec<InputRow>,
    /// Inputs that are not in the store because they could not be read, or are no captures.
    pub unread: Vec<Unread>,
}

/// An input of which nothing was read. The store does not know these; whoever read the inputs
/// adds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Name as in the other inputs.
    pub name: String,
    /// Why.
    pub reason: String,
    /// It was named as a capture; `false` if it was found in a folder and is none.
    pub failed: bool,
}

/// How the text is to look.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    /// Columns of the page.
    pub width: usize,
    /// With colours.
    pub color: bool,
    /// Where names and vendors of services stand.
    pub catalogue: &'a Catalogue,
}

impl Facts {
    /// Reads them from the store.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn read(answers: &Answers, scope: &Scope) -> Result<Facts, Error> {
        let summary = answers.summary(scope)?;
        let mut findings = answers.findings(scope)?;
        for finding in &mut findings {
            finding.evidence = answers.evidence(&finding.id)?;
        }
        let mut seen_by = BTreeMap::new();
        for group in [&summary.forbidden, &summary.unreviewed, &summary.allowed] {
            for line in &group.services {
                if !seen_by.contains_key(&line.service) {
                    seen_by.insert(line.service.clone(), answers.seen_by(&line.service, scope)?);
                }
            }
        }
        let (coverage, inputs) = (answers.coverage(scope)?, answers.inputs(scope)?);
        let hidden = answers.hidden(scope)?;
        Ok(Facts { summary, findings, seen_by, coverage, hidden, inputs, unread: Vec::new() })
    }

    /// Those at a service whose worst verdict there is one of `dispositions`.
    pub fn actors(
        &self,
        service: &str,
        dispositions: &[Disposition],
    ) -> impl Iterator<Item = &SeenBy> {
        let all = self.seen_by.get(service).map_or([].as_slice(), Vec::as_slice);
        all.iter().filter(move |s| dispositions.contains(&s.disposition))
    }
}

/// Name and vendor of a service for a person; its id where the catalogue does not know it.
pub fn names<'a>(catalogue: &'a Catalogue, service: &'a str) -> (&'a str, &'a str) {
    catalogue.service(service).map_or((service, ""), |s| (s.name.as_str(), s.vendor.as_str()))
}

/// Writes the summary.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut impl Write, facts: &Facts, style: Style<'_>) -> io::Result<()> {
    let page = Page { facts, style, width: style.width.max(WIDTH_MIN), clock: Clock::of(facts) };
    page.headline(out)?;
    let summary = &facts.summary;
    for (title, color, group, verdicts) in [
        ("Forbidden", "31", &summary.forbidden, &[Disposition::Unsanctioned][..]),
        ("Not yet reviewed", "33", &summary.unreviewed, &[Disposition::Unreviewed]),
        ("Allowed", "32", &summary.allowed, &[Disposition::Tolerated, Disposition::Sanctioned]),
    ] {
        page.group(out, title, color, group, verdicts)?;
    }
    page.candidates(out)?;
    page.coverage(out)?;
    page.versions(out)
}

struct Page<'a> {
    facts: &'a Facts,
    style: Style<'a>,
    width: usize,
    clock: Clock,
}

/// How much of a time has to be said to tell the times of one summary apart.
struct Clock {
    pattern: &'static str,
}

impl Clock {
    fn of(facts: &Facts) -> Self {
        let (first, last) = (facts.summary.first_time, facts.summary.last_time);
        let same = |pattern| time(first, pattern) == time(last, pattern);
        let pattern = match (same("%Y-%m-%d"), same("%Y")) {
            (true, _) => "%H:%M:%S",
            (false, true) => "%m-%d %H:%M",
            (false, false) => "%Y-%m-%d",
        };
        Self { pattern }
    }

    fn text(&self, at: Timestamp) -> String {
        if at.0 == 0 { "-".to_owned() } else { time(at, self.pattern) }
    }
}

/// Candidates written out: what a person reads; the JSON document has all.
const CANDIDATES_SHOWN: usize = 20;

/// Figures of a service or candidate, columns of every table.
const FIGURES: [Column; 9] = [
    Column { head: "Service", right: false, spare: 0 },
    Column { head: "Devices", right: true, spare: 0 },
    Column { head: "Sessions", right: true, spare: 3 },
    Column { head: "Sent", right: true, spare: 0 },
    Column { head: "Received", right: true, spare: 1 },
    Column { head: "First", right: false, spare: 5 },
    Column { head: "Last", right: false, spare: 2 },
    Column { head: "Level", right: false, spare: 4 },
    Column { head: "Client", right: false, spare: 6 },
];

impl Page<'_> {
    fn paint(&self, text: &str, color: &str) -> String {
        if self.style.color { format!("\u{1b}[{color}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn paragraph(
        &self,
        out: &mut impl Write,
        text: &str,
        indent: usize,
        color: &str,
    ) -> io::Result<()> {
        for line in wrap(text, self.width.saturating_sub(indent)) {
            writeln!(out, "{}{}", " ".repeat(indent), self.paint(&line, color))?;
        }
        Ok(())
    }

    /// There were frames, and none was wanted.
    fn nothing_selected(&self) -> bool {
        let count = |name: &str| {
            self.facts.coverage.iter().find(|l| &*l.name == name).map_or(0, |l| l.count)
        };
        let out = count("frames_not_selected");
        out > 0 && out >= self.facts.summary.frames
    }

    fn headline(&self, out: &mut impl Write) -> io::Result<()> {
        let summary = &self.facts.summary;
        let part = |group: &Group, word: &str| {
            let used = group.services.iter().filter(|s| s.used.flows > 0).count() as u64;
            (used > 0).then(|| {
                let devices = counted(group.used.devices, "device");
                let sent = bytes(group.used.bytes_up);
                format!("{} {word} on {devices} ({sent} sent)", counted(used, "service"))
            })
        };
        let unapproved: Vec<String> =
            [part(&summary.forbidden, "forbidden"), part(&summary.unreviewed, "not yet reviewed")]
                .into_iter()
                .flatten()
                .collect();
        let headline = if unapproved.is_empty() {
            let what = if summary.inputs == 0 {
                "Nothing could be read and kept, so nothing can be said."
            } else if self.facts.unread.iter().any(|u| u.failed) {
                "In what could be read, no use of an unapproved AI service was seen."
            } else if summary.allowed.used.flows > 0 {
                "No use of an unapproved AI service was seen; allowed ones were used."
            } else {
                "No use of an AI service was seen."
            };
            let worth = match (summary.inputs, self.nothing_selected()) {
                (0, _) => String::new(),
                (_, true) => "The selection (--since, --until, --filter) left no frame.".to_owned(),
                _ => coverage::worth(&self.facts.coverage, &self.facts.hidden),
            };
            format!("{what} {worth}").trim_end().to_owned()
        } else {
            format!("AI that nobody approved is in use: {}.", unapproved.join(", and "))
        };
        self.paragraph(out, &headline, 0, "1")?;
        let span = if summary.frames == 0 || summary.last_time.0 == 0 {
            "no frames".to_owned()
        } else {
            let day = |at| time(at, "%Y-%m-%d %H:%M:%S");
            let last = time(
                summary.last_time,
                if self.clock.pattern == "%H:%M:%S" { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" },
            );
            format!("{} to {last} UTC", day(summary.first_time))
        };
        let clients =
            self.facts.coverage.iter().find(|l| &*l.name == "clients").map_or(0, |l| l.count);
        let seen = format!(
            "{span}; {} in {}; {}.",
            counted(summary.frames, "frame"),
            counted(summary.inputs, "input"),
            counted(clients, "client"),
        );
        self.paragraph(out, &seen, 0, "")
    }

    fn group(
        &self,
        out: &mut impl Write,
        title: &str,
        color: &str,
        group: &Group,
        verdicts: &[Disposition],
    ) -> io::Result<()> {
        let (used, below): (Vec<_>, Vec<_>) =
            group.services.iter().partition(|s| s.used.flows > 0 || s.level.counts());
        let judged = &self.facts.summary.judged;
        let undecided = !judged.is_empty() && judged.iter().all(|j| &*j.policy_version == "none");
        self.heading(
            out,
            title,
            color,
            &if used.is_empty() {
                let text = if group.services.is_empty() && undecided && title != "Not yet reviewed"
                {
                    "none, as there is no policy"
                } else {
                    "no use seen"
                };
                text.to_owned()
            } else {
                let totals = &group.used;
                format!(
                    "{}, {}, {}, {} sent, {} received",
                    counted(used.len() as u64, "service"),
                    counted(totals.devices, "device"),
                    counted(totals.sessions, "session"),
                    bytes(totals.bytes_up),
                    bytes(totals.bytes_down),
                )
            },
        )?;
        let rows: Vec<Vec<String>> = used.iter().map(|line| self.row(line, verdicts)).collect();
        if !rows.is_empty() {
            let lines = table(&FIGURES, &rows, self.width.saturating_sub(2));
            for (at, of_row) in lines.iter().enumerate() {
                for line in of_row {
                    writeln!(out, "  {}", self.paint(line, if at == 0 { "2" } else { "" }))?;
                }
                let line = at.checked_sub(1).and_then(|at| used.get(at));
                if let Some(line) = line.filter(|l| l.disposition.unapproved()) {
                    self.who(out, &line.service, verdicts)?;
                }
            }
        }
        if below.is_empty() {
            return Ok(());
        }
        let named = |line: &&ServiceLine| {
            let (name, _) = names(self.style.catalogue, &line.service);
            format!("{} ({})", printable(name), counted(line.below.devices, "device"))
        };
        let mut below = below;
        below.sort_by_key(|l| (names(self.style.catalogue, &l.service).0, l.disposition));
        let list: Vec<String> = below.iter().map(named).collect();
        self.paragraph(out, &format!("Also contacted, no use seen: {}.", list.join(", ")), 2, "2")
    }

    fn heading(
        &self,
        out: &mut impl Write,
        title: &str,
        color: &str,
        text: &str,
    ) -> io::Result<()> {
        writeln!(out)?;
        let whole = format!("{title}: {text}");
        for (i, line) in wrap(&whole, self.width).into_iter().enumerate() {
            let painted = match line.strip_prefix(title) {
                Some(rest) if i == 0 => {
                    format!("{}{rest}", self.paint(title, &format!("1;{color}")))
                }
                _ => line,
            };
            writeln!(out, "{painted}")?;
        }
        Ok(())
    }

    fn row(&self, line: &ServiceLine, verdicts: &[Disposition]) -> Vec<String> {
        let (name, vendor) = names(self.style.catalogue, &line.service);
        let service =
            if vendor.is_empty() { name.to_owned() } else { format!("{name} ({vendor})") };
        let classes: BTreeSet<ClientClass> = self
            .facts
            .actors(&line.service, verdicts)
            .filter(|a| a.level.counts())
            .flat_map(|a| a.client_classes.iter().copied())
            .collect();
        let tolerated = if line.disposition == Disposition::Tolerated { ", tolerated" } else { "" };
        vec![
            printable(&format!("{service}{tolerated}")).into_owned(),
            number(line.used.devices),
            number(line.used.sessions),
            bytes(line.used.bytes_up),
            bytes(line.used.bytes_down),
            self.clock.text(line.used.first_seen),
            self.clock.text(line.used.last_seen),
            line.level.code().to_owned(),
            class_words(&classes),
        ]
    }

    /// Devices that used a service, who sent most first.
    fn who(&self, out: &mut impl Write, service: &str, verdicts: &[Disposition]) -> io::Result<()> {
        let devices = devices(self.facts.actors(service, verdicts));
        for device in devices.iter().take(WHO_MAX) {
            let line = format!(
                "by {} ({}), {} sent, {} received",
                printable(&device.label),
                class_words(&device.classes),
                bytes(device.up),
                bytes(device.down),
            );
            self.paragraph(out, &line, 6, "")?;
        }
        let more = devices.len().saturating_sub(WHO_MAX) as u64;
        if more > 0 {
            self.paragraph(out, &format!("and {}", counted(more, "more device")), 6, "")?;
        }
        Ok(())
    }

    fn candidates(&self, out: &mut impl Write) -> io::Result<()> {
        let whole = &self.facts.summary.candidates;
        let all = whole.get(..CANDIDATES_SHOWN).unwrap_or(whole);
        let text = if all.is_empty() {
            "none seen".to_owned()
        } else {
            format!(
                "{} not in the catalogue that behave like AI services, not counted as use",
                counted(whole.len() as u64, "host")
            )
        };
        self.heading(out, "Candidates", "36", &text)?;
        if all.is_empty() {
            return Ok(());
        }
        let row = |c: &CandidateLine| {
            vec![
                printable(&c.host).into_owned(),
                number(c.totals.devices),
                number(c.totals.flows),
                bytes(c.totals.bytes_up),
                bytes(c.totals.bytes_down),
                self.clock.text(c.totals.first_seen),
                self.clock.text(c.totals.last_seen),
            ]
        };
        let [service, devices, sessions, sent, received, first, last, ..] = FIGURES;
        let head = [
            Column { head: "Host", ..service },
            devices,
            Column { head: "Flows", ..sessions },
            sent,
            received,
            first,
            last,
        ];
        let rows: Vec<_> = all.iter().map(row).collect();
        for (at, of_row) in table(&head, &rows, self.width.saturating_sub(2)).iter().enumerate() {
            for line in of_row {
                writeln!(out, "  {}", self.paint(line, if at == 0 { "2" } else { "" }))?;
            }
            if let Some(c) = at.checked_sub(1).and_then(|at| all.get(at)) {
                // Lists come without blanks, and could not be broken.
                let evidence = c.evidence.replace(',', ", ").replace(",  ", ", ");
                self.paragraph(out, &printable(&evidence), 6, "")?;
            }
        }
        let more = whole.len().saturating_sub(all.len()) as u64;
        if more > 0 {
            let text = format!("and {}; --json has them all", counted(more, "more host"));
            self.paragraph(out, &text, 2, "")?;
        }
        Ok(())
    }

    fn coverage(&self, out: &mut impl Write) -> io::Result<()> {
        self.heading(out, "Coverage", "", "what could be seen, and what could not")?;
        let lines = coverage::lines(&self.facts.coverage, self.facts.summary.frames);
        let widest = lines.iter().map(|l| columns(&l.what)).max().unwrap_or(0);
        for (side, title) in [(Side::Seen, "Seen"), (Side::Unseen, "Not seen, or in doubt")] {
            if !lines.iter().any(|l| l.side == side) {
                continue;
            }
            writeln!(out, "  {}", self.paint(title, "2"))?;
            for line in lines.iter().filter(|l| l.side == side) {
                if widest + columns(&line.amount) + 6 > self.width {
                    self.paragraph(out, &format!("{}: {}", line.what, line.amount), 4, "")?;
                } else {
                    writeln!(out, "    {}  {}", padded(&line.what, widest, false), line.amount)?;
                }
            }
        }
        self.hidden(out)?;
        self.faults(out)
    }

    /// Devices of which it cannot be said what they use, who sent most first.
    fn hidden(&self, out: &mut impl Write) -> io::Result<()> {
        let hidden = &self.facts.hidden;
        if hidden.is_empty() {
            return Ok(());
        }
        self.paragraph(out, "The traffic of these devices is not visible here", 2, "2")?;
        for line in hidden.iter().take(HIDDEN_MAX) {
            let who = line.actor.text();
            let label: Vec<String> = who.host.into_iter().chain([who.ip]).collect();
            let text = format!(
                "{}: {} sent, {} received through {} ({})",
                printable(&label.join(" ")),
                bytes(line.totals.bytes_up),
                bytes(line.totals.bytes_down),
                printable(&line.behind),
                line.kind,
            );
            self.paragraph(out, &text, 4, "")?;
        }
        let more = hidden.len().saturating_sub(HIDDEN_MAX) as u64;
        if more > 0 {
            self.paragraph(out, &format!("and {}", counted(more, "more")), 4, "")?;
        }
        Ok(())
    }

    fn faults(&self, out: &mut impl Write) -> io::Result<()> {
        let broken = self.facts.inputs.iter().filter_map(|i| Some((&*i.name, i.fault.as_deref()?)));
        let failed = self.facts.unread.iter().filter(|u| u.failed);
        let failed = failed.map(|u| (u.name.as_str(), u.reason.as_str()));
        let skipped = self.facts.unread.iter().filter(|u| !u.failed);
        let skipped = skipped.map(|u| (u.name.as_str(), u.reason.as_str()));
        for (title, rows) in [
            ("Inputs not read to their end; the frames before count", broken.collect::<Vec<_>>()),
            ("Inputs that could not be read", failed.collect()),
            ("Files skipped", skipped.collect()),
        ] {
            if rows.is_empty() {
                continue;
            }
            self.paragraph(out, title, 2, "2")?;
            for (name, why) in rows {
                self.paragraph(out, &format!("{}: {}", printable(name), printable(why)), 4, "")?;
            }
        }
        Ok(())
    }

    fn versions(&self, out: &mut impl Write) -> io::Result<()> {
        let judged = &self.facts.summary.judged;
        let versions: Vec<String> = judged
            .iter()
            .map(|j| {
                format!(
                    "policy {}, signatures {}",
                    printable(&j.policy_version),
                    printable(&j.signature_version)
                )
            })
            .collect();
        if versions.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        self.paragraph(out, &format!("Judged by {}.", versions.join("; ")), 0, "2")
    }
}

/// One device of a service, over its addresses.
struct Device {
    label: String,
    classes: BTreeSet<ClientClass>,
    up: u64,
    down: u64,
}

/// Users of a service by device, who sent most first; addresses of one MAC are one device.
fn devices<'a>(actors: impl Iterator<Item = &'a SeenBy>) -> Vec<Device> {
    let mut by_key: BTreeMap<(u16, String), Vec<&SeenBy>> = BTreeMap::new();
    for seen in actors.filter(|a| a.level >= Level::Used) {
        let text = seen.actor.text();
        let key = text.mac.unwrap_or(text.ip);
        by_key.entry((seen.actor.realm.0, key)).or_default().push(seen);
    }
    let device = |seen: &Vec<&SeenBy>| {
        let texts: Vec<_> = seen.iter().map(|s| s.actor.text()).collect();
        let host = texts.iter().find_map(|t| t.host.clone());
        let mac = texts.iter().find_map(|t| t.mac.clone());
        let addresses: BTreeSet<_> = texts.into_iter().map(|t| t.ip).collect();
        // A name and one address are enough to find a device; the document has them all.
        let mac = mac.filter(|_| host.is_none());
        let more = addresses.len().saturating_sub(1);
        let more = (more > 0).then(|| format!("+{more}"));
        let parts = host.into_iter().chain(addresses.into_iter().take(1)).chain(more).chain(mac);
        Device {
            label: parts.collect::<Vec<_>>().join(" "),
            classes: seen.iter().flat_map(|s| s.client_classes.iter().copied()).collect(),
            up: seen.iter().map(|s| s.used_bytes_up).fold(0, u64::saturating_add),
            down: seen.iter().map(|s| s.used_bytes_down).fold(0, u64::saturating_add),
        }
    };
    let mut devices: Vec<Device> = by_key.values().map(device).collect();
    devices.sort_by(|a, b| (b.up, b.down, &a.label).cmp(&(a.up, a.down, &b.label)));
    devices
}

/// Programs at the client's end; `unknown` only where nothing else is known.
fn class_words(classes: &BTreeSet<ClientClass>) -> String {
    let known: Vec<&str> =
        classes.iter().filter(|c| **c != ClientClass::Unknown).map(|c| c.code()).collect();
    if known.is_empty() { ClientClass::Unknown.code().to_owned() } else { known.join(", ") }
}
