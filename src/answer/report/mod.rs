//! The report that leadership acts on: one model, one file per format.
//!
//! In: the store, policy and catalogue of today, departments. Out: [`Report`], and its bytes in a
//! [`Format`]; equal input gives equal bytes.
//! Never: reads a clock: the period comes from the store; lets a name out but through [`Mask`].
//! Limits: [`PERIOD_DAYS`] by default, [`ROWS_MAX`] rows where a person reads; all of them in XLSX,
//! CSV and JSON.

pub mod model;

mod chart;
mod csv;
mod html;
mod json;
mod md;

mod pages;
mod pdf;
mod risks;
mod words;
mod xlsx;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rapidhash::fast::RandomState;

use self::model::{
    Bar, Chart, ClientLine, Denominators, Department, DeviceRow, DeviceTable, Figure, Group,
    InputLine, Judged, LedgerLine, News, Number, Period, Privacy, Report, RuleLine, SCHEMA,
    ServiceLine, ServiceName, Tested, Unseen, UseRow, UseTable,
};
use crate::answer::controls::{Controls, Observed};
use crate::answer::coverage::{self, Side};
use crate::answer::departments::Departments;
use crate::answer::mask::{Mask, Names, Subject};
use crate::answer::tally::{Judge, Pair, PairKey, Tally, status, with_tenants};
use crate::answer::terminal::{counted, number, time};
use crate::recorder::alert::rfc3339;
use crate::recorder::finding::bytes;
use crate::recorder::policy::Policy;
use crate::recorder::policy::file::word;
use crate::recorder::signature::{Catalogue, Category};
use crate::recorder::store::rows::{InputRow, Text};
use crate::recorder::store::{
    Answers, CoverageLine, Decision, Error, HiddenLine, Known, Numbered, Scope,
};
use crate::recorder::words::{ClientClass, Disposition, Level};
use crate::types::Timestamp;

pub use json::schema;

/// Days of a report where nobody says otherwise: the month that leadership meets about.
pub const PERIOD_DAYS: u64 = 30;

/// Rows of a table that a person reads; the totals below it are of all.
pub const ROWS_MAX: usize = 500;

/// Risks of the first page.
pub const RISKS_FIRST: usize = 5;

/// Bars of a chart from which on time is worth a chart; fewer say less than services do.
const BARS_MIN: u64 = 4;

/// Bars that fit a chart.
const BARS_MAX: u64 = 92;

/// Services in a chart by service.
const CHART_SERVICES: usize = 8;

const HOUR: u64 = 3_600 * Timestamp::SECOND;

/// What no file said of a device's department.
pub const UNKNOWN: &str = "unknown";

/// Formats of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One page for a browser, for print and for screen readers.
    Html,
    /// The same on paper.
    Pdf,
    /// Tables to work with.
    Xlsx,
    /// Devices by service, one row each.
    Csv,
    /// Everything, for programs.
    Json,
    /// Text for a ticket or a mail.
    Md,
}

/// What a report is made of and how.
pub struct Options<'a> {
    /// From this time on; without it the last [`PERIOD_DAYS`] days of the store, or all of fewer.
    pub since: Option<Timestamp>,
    /// Up to this time; without it the store's last frame.
    pub until: Option<Timestamp>,
    /// Names of services.
    pub catalogue: &'a Catalogue,
    /// Judge by this policy; without it verdicts stay as recorded.
    pub policy: Option<&'a Policy>,
    /// Who belongs where.
    pub departments: &'a Departments,
    /// Whether names leave the store.
    pub names: Names,
    /// Name of the store's file, for the commands of actions.
    pub store: String,
    /// Name of the policy's file, for the commands of actions.
    pub policy_file: String,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] Error),
    /// A format could not be written.
    #[error("cannot write {0}: {1}")]
    Format(&'static str, String),
}

/// Everything that the parts of a report are made from.
struct Facts<'a> {
    options: &'a Options<'a>,
    actors: &'a Numbered<Known>,
    tally: &'a Tally,
    before: Option<&'a Tally>,
    mask: Mask,
    scope: Scope,
    of: Denominators,
    /// Department of each device, as it is shown.
    department: HashMap<i64, String, RandomState>,
    /// Place of each device, from 1, by what it sent to unapproved services.
    rank: HashMap<i64, u64, RandomState>,
    used_before: BTreeSet<Text>,
    findings: BTreeMap<Text, u64>,
    decisions: Vec<Decision>,
    until: Timestamp,
}

/// First and last hour, both included.
#[derive(Clone, Copy)]
struct Hours {
    from: u64,
    until: u64,
}

impl Format {
    /// Every format with its word.
    pub const ALL: [(&'static str, Format); 6] = [
        ("html", Format::Html),
        ("pdf", Format::Pdf),
        ("xlsx", Format::Xlsx),
        ("csv", Format::Csv),
        ("json", Format::Json),
        ("md", Format::Md),
    ];

    /// The format that a word or the end of a file name means.
    pub fn from_word(word: &str) -> Option<Format> {
        Self::ALL.iter().find(|(w, _)| w.eq_ignore_ascii_case(word)).map(|(_, f)| *f)
    }
}

/// The bytes of a report, with its digest in place.
///
/// # Errors
/// If a format cannot hold it.
pub fn render(report: &Report, format: Format) -> Result<Vec<u8>, Failure> {
    let bytes = match format {
        Format::Html => html::render(report)?,
        Format::Pdf => pdf::render(report)?,
        Format::Xlsx => xlsx::render(report)?,
        Format::Csv => csv::render(report),
        Format::Json => json::render(report)?,
        Format::Md => md::render(report),
    };
    Ok(crate::answer::verify::seal(bytes))
}

/// Makes the report.
///
/// # Errors
/// If the store cannot be read.
pub fn build(answers: &Answers, options: &Options<'_>) -> Result<Report, Failure> {
    let (first, last) = answers.span()?.unwrap_or_default();
    let hours = period(options, first, last);
    let length = hours.until.saturating_sub(hours.from).saturating_add(1);
    let earlier =
        Hours { from: hours.from.saturating_sub(length), until: hours.from.saturating_sub(1) };
    let scope = hours.scope();
    let (actors, services) = (answers.actors()?, answers.services()?);
    let mut judge = Judge::new(options.policy, options.catalogue, &actors, &services);
    let tally = Tally::read(answers, &scope, &mut judge)?;
    let inputs = answers.inputs(&scope)?;
    let inputs_before = if first.0 / HOUR <= earlier.until && hours.from > 0 {
        answers.inputs(&earlier.scope())?
    } else {
        Vec::new()
    };
    let before = match inputs_before.as_slice() {
        [] => None,
        _ => Some(Tally::read(answers, &earlier.scope(), &mut judge)?),
    };
    let (all, _) = tally.sum(|_| true);
    let of = Denominators {
        devices: answers.coverage_max("clients", &scope)?.max(tally.sum(|_| true).1),
        sessions: all.sessions,
        sent: all.sent,
        received: all.received,
        flows: all.flows,
        days: length.div_ceil(24),
        services: tally.services(|_| true).len() as u64,
    };
    let mask = Mask::new(options.names, actors.values().map(|k| &*k.actor));
    let mut facts = Facts {
        options,
        actors: &actors,
        tally: &tally,
        before: before.as_ref(),
        mask,
        scope,
        of,
        department: HashMap::default(),
        rank: HashMap::default(),
        used_before: answers.used_before(Timestamp(hours.from.saturating_mul(HOUR)))?,
        findings: BTreeMap::new(),
        decisions: answers.decisions()?,
        until: last.min(Timestamp(hours.until.saturating_add(1).saturating_mul(HOUR))),
    };
    facts.findings = answers.count_findings(&facts.scope)?;
    facts.devices();
    let ledger = answers.coverage(&facts.scope)?;
    let captured = captured(&inputs);
    let risks = facts.risks(answers, &ledger)?;
    let now = period_of(hours, &captured, first, facts.until);
    let then = before
        .as_ref()
        .map(|_| period_of(earlier, &self::captured(&inputs_before), first, Timestamp(u64::MAX)));
    let controls = Controls::embedded().map_err(|e| Failure::Format("controls", e.to_string()))?;
    let frames = inputs.iter().fold(0_u64, |n, i| n.saturating_add(i.frames));
    let report = Report {
        schema: SCHEMA,
        kind: "report".to_owned(),
        digest: crate::answer::verify::MARK.to_owned(),
        title: "Unapproved AI on this network".to_owned(),
        judged: facts.judged(answers)?,
        privacy: facts.privacy(),
        verdict: facts.verdict(&ledger, &answers.hidden(&facts.scope)?),
        trend: facts.trend(&now, then.as_ref()),
        numbers: facts.numbers(),
        chart: facts.chart(hours, &captured),
        groups: facts.groups(),
        departments: facts.departments(),
        clients: facts.clients(),
        news: facts.news(first, hours),
        unseen: facts.unseen(&ledger, &inputs, &now),
        covers: "This covers what an agent on managed devices, or a secure web edge, does not: unmanaged and guest \
                 devices, labs, servers, printers and things, on every segment that is mirrored to the sensor."
            .to_owned(),
        method: method(),
        tests: facts.tested(&controls, &risks),
        catalogues: controls.catalogue.clone(),
        rules: facts.rules(),
        inputs: inputs.iter().map(|i| input_line(i, frames)).collect(),
        ledger: coverage::lines(&ledger, frames).into_iter().map(ledger_line).collect(),
        devices: facts.device_table(),
        uses: facts.use_table(),
        period: now,
        before: then,
        risks,
    };
    Ok(report)
}

fn period(options: &Options<'_>, first: Timestamp, last: Timestamp) -> Hours {
    let hour = |t: Timestamp| t.0 / HOUR;
    let until = options.until.map_or(hour(last), hour);
    let whole_days = (until / 24).saturating_add(1).saturating_sub(PERIOD_DAYS).saturating_mul(24);
    let from = options.since.map_or_else(|| hour(first).max(whole_days), hour);
    Hours { from: from.min(until), until }
}

impl Hours {
    fn scope(self) -> Scope {
        Scope {
            inputs: None,
            since: Some(Timestamp(self.from.saturating_mul(HOUR))),
            until: Some(Timestamp(
                self.until.saturating_add(1).saturating_mul(HOUR).saturating_sub(1),
            )),
        }
    }
}

/// Hours in which something was captured: first and last of each stretch, without overlap.
fn captured(inputs: &[InputRow]) -> Vec<Hours> {
    let mut spans: Vec<Hours> = inputs
        .iter()
        .filter(|i| i.frames > 0)
        .map(|i| Hours { from: i.first_time.0 / HOUR, until: i.last_time.0 / HOUR })
        .collect();
    spans.sort_by_key(|s| (s.from, s.until));
    let mut merged: Vec<Hours> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.from <= last.until.saturating_add(1) => {
                last.until = last.until.max(span.until);
            }
            _ => merged.push(span),
        }
    }
    merged
}

/// Hours of `captured` in `hours`.
fn overlap(captured: &[Hours], hours: Hours) -> u64 {
    let part = |s: &Hours| {
        let (from, until) = (s.from.max(hours.from), s.until.min(hours.until));
        if from > until { 0 } else { until.saturating_sub(from).saturating_add(1) }
    };
    captured.iter().map(part).fold(0, u64::saturating_add)
}

fn period_of(hours: Hours, captured: &[Hours], first: Timestamp, last: Timestamp) -> Period {
    let from = Timestamp(hours.from.saturating_mul(HOUR));
    let until = Timestamp(
        hours.until.saturating_add(1).saturating_mul(HOUR).saturating_sub(Timestamp::SECOND),
    );
    let length = hours.until.saturating_sub(hours.from).saturating_add(1);
    let day = |t| time(t, "%Y-%m-%d");
    let text = if length >= 48 {
        format!("{} to {}", day(from), day(until))
    } else {
        let (from, end) = (from.max(first), until.min(last));
        let pattern = if day(from) == day(end) { "%H:%M" } else { "%Y-%m-%d %H:%M" };
        format!("{} to {} UTC", time(from, "%Y-%m-%d %H:%M"), time(end, pattern))
    };
    Period {
        from: rfc3339(from),
        until: rfc3339(until),
        text,
        captured_hours: Figure::new(overlap(captured, hours), length, "hours of the period"),
    }
}

impl Facts<'_> {
    /// Places and departments of devices.
    fn devices(&mut self) {
        let mut sums: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for ((device, _, verdict), pair) in &self.tally.pairs {
            let sum = sums.entry(*device).or_default();
            if verdict.unapproved() {
                sum.0 = sum.0.saturating_add(pair.volume.sent);
            }
            sum.1 = sum.1.saturating_add(pair.volume.sent);
        }
        let mut order: Vec<(i64, (u64, u64))> = sums.into_iter().collect();
        let key = |device: i64| {
            self.actors.get(&device).map(|k| (k.actor.realm, k.actor.addr, k.actor.mac))
        };
        order.sort_by(|a, b| (b.1, key(a.0)).cmp(&(a.1, key(b.0))));
        let mut own: BTreeMap<i64, &str> = BTreeMap::new();
        for known in self.actors.values() {
            if let Some(name) = self.options.departments.of(&known.actor) {
                own.entry(known.device).or_insert(name);
            }
        }
        let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
        for (device, _) in &order {
            if let Some(name) = own.get(device) {
                let size = sizes.entry(name).or_default();
                *size = size.saturating_add(1);
            }
        }
        let together = together(&sizes, self.mask.group_min());
        for (device, _) in &order {
            let name = match own.get(device) {
                None => UNKNOWN.to_owned(),
                Some(name) if together.contains(name) => "small departments together".to_owned(),
                Some(name) => (*name).to_owned(),
            };
            self.department.insert(*device, name);
        }
        self.rank = (1..).zip(&order).map(|(rank, (device, _))| (*device, rank)).collect();
    }

    fn rank_of(&self, device: i64) -> u64 {
        self.rank.get(&device).copied().unwrap_or(u64::MAX)
    }

    fn label(&self, device: i64) -> String {
        match self.actors.get(&device) {
            Some(known) => self.mask.device(Subject::new(&known.actor), self.rank_of(device)),
            None => UNKNOWN.to_owned(),
        }
    }

    fn department_of(&self, device: i64) -> &str {
        self.department.get(&device).map_or(UNKNOWN, String::as_str)
    }

    fn service(&self, id: &str) -> ServiceName {
        let known = self.options.catalogue.service(id);
        ServiceName {
            id: id.to_owned(),
            name: known.map_or(id, |s| &s.name).to_owned(),
            vendor: known.map_or("", |s| &s.vendor).to_owned(),
            country: known.map_or("", |s| &s.vendor_country).to_owned(),
            category: known.map_or("", |s| s.category.word()).to_owned(),
        }
    }

    /// Who answers for a service: whoever decided last, else the policy.
    fn owner(&self, id: &str) -> String {
        let subject = format!("service:{id}");
        let decided = self.decisions.iter().rev().filter(|d| *d.subject == *subject);
        let decided = decided.filter_map(|d| d.owner.as_deref()).next();
        let rules = self.options.policy.map(Policy::rules).unwrap_or_default();
        let service = self.options.catalogue.service(id);
        let covers = |target: &crate::recorder::policy::Target| match target {
            crate::recorder::policy::Target::Service(s) => **s == *id,
            crate::recorder::policy::Target::Vendor(v) => service.is_some_and(|s| s.vendor == **v),
            crate::recorder::policy::Target::Category(c) => {
                service.is_some_and(|s| s.category.word() == &**c)
            }
            crate::recorder::policy::Target::Tenant(..) => false,
        };
        let mut fitting: Vec<_> =
            rules.iter().filter(|r| r.status.is_some() && covers(&r.target)).collect();
        fitting.sort_by(|a, b| b.target.cmp(&a.target));
        let by_rule = fitting.iter().find_map(|r| r.owner.as_deref());
        decided.or(by_rule).unwrap_or_default().to_owned()
    }

    fn judged(&self, answers: &Answers) -> Result<Judged, Error> {
        let recorded = answers.judged(&self.scope)?;
        let set = |words: &mut dyn Iterator<Item = &Text>| -> Vec<String> {
            words.map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let mut notes = Vec::new();
        let policies = match self.options.policy {
            Some(policy) => {
                let used = self.tally.services(|_| true);
                let tenants = with_tenants(policy);
                for service in used.iter().filter(|s| tenants.contains::<str>(s)) {
                    notes.push(format!(
                        "{} has rules for single tenants; stored rows do not hold the tenant, so the rule for the whole \
                         service speaks here",
                        self.service(service).name
                    ));
                }
                vec![policy.version().to_string()]
            }
            None => set(&mut recorded.iter().map(|j| &j.policy_version)),
        };
        Ok(Judged {
            policies,
            anew: self.options.policy.is_some(),
            catalogue: self.options.catalogue.version().to_owned(),
            recorded_catalogues: set(&mut recorded.iter().map(|j| &j.signature_version)),
            program: concat!("shadowtap ", env!("CARGO_PKG_VERSION")).to_owned(),
            notes,
        })
    }

    fn privacy(&self) -> Privacy {
        let text = if self.mask.shows_names() {
            "Devices and departments are named: for those only who may see who did what.".to_owned()
        } else {
            format!(
                "Devices are numbers, by what they sent, and departments with fewer than {} devices are shown together. \
                 --names names them, for those who may see it.",
                self.mask.group_min()
            )
        };
        Privacy {
            names: if self.mask.shows_names() { "shown" } else { "masked" }.to_owned(),
            smallest_group: self.mask.group_min(),
            text,
        }
    }

    fn devices_figure(&self, count: u64) -> Figure {
        Figure::new(count, self.of.devices, "devices seen")
    }

    fn sent_figure(&self, count: u64) -> Figure {
        Figure::new(count, self.of.sent, "bytes sent to AI services")
    }

    fn verdict(&self, ledger: &[CoverageLine], hidden: &[HiddenLine]) -> String {
        let part = |verdict: Disposition, word: &str| {
            let n = self.tally.services(|d| d == verdict).len() as u64;
            (n > 0).then(|| format!("{} {word}", number(n)))
        };
        let parts: Vec<String> = [
            part(Disposition::Unsanctioned, "forbidden"),
            part(Disposition::Unreviewed, "not yet reviewed"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() {
            let what = if self.tally.pairs.is_empty() {
                "No use of an AI service was seen."
            } else {
                "Only approved AI services were seen in use."
            };
            return format!("{what} {}", coverage::worth(ledger, hidden));
        }
        let (volume, devices) = self.tally.sum(|k| k.2.unapproved());
        let sent = self.sent_figure(volume.sent);
        let n = self.tally.services(Disposition::unapproved).len() as u64;
        format!(
            "{} that nobody approved {} in use ({}) on {} of {} devices; {} went there, {} of what went to AI.",
            capital(&counted(n, "AI service")),
            if n == 1 { "is" } else { "are" },
            parts.join(", "),
            number(devices),
            number(self.of.devices),
            bytes(volume.sent),
            sent.share(),
        )
    }

    fn trend(&self, now: &Period, then: Option<&Period>) -> String {
        let (Some(then), Some(before)) = (then, self.before) else {
            return "The store holds nothing from before this period, so there is nothing to compare it with."
                .to_owned();
        };
        let (had, has) = (&then.captured_hours, &now.captured_hours);
        if had.count.saturating_mul(2) < has.count {
            return format!(
                "The time before ({}) was captured for {} hours only, against {} now: too little to compare.",
                then.text,
                number(had.count),
                number(has.count)
            );
        }
        let sent = |t: &Tally| t.sum(|k| k.2.unapproved()).0.sent;
        let services = |t: &Tally| t.services(Disposition::unapproved).len() as u64;
        let (old, new) = (sent(before), sent(self.tally));
        let data = match change(old, new) {
            None => "No data went to unapproved services before".to_owned(),
            Some((word, 0)) => format!("As {word} data goes to unapproved services as before"),
            Some((word, percent)) => {
                format!("{} % {word} data goes to unapproved services than before", number(percent))
            }
        };
        let (a, b) = (services(before), services(self.tally));
        let count = match a.cmp(&b) {
            std::cmp::Ordering::Equal => {
                format!("there are {} of them, as many as then", number(b))
            }
            std::cmp::Ordering::Less => {
                format!("there are {} of them, up from {}", number(b), number(a))
            }
            std::cmp::Ordering::Greater => {
                format!("there are {} of them, down from {}", number(b), number(a))
            }
        };
        format!("{data} ({}); {count}.", then.text)
    }

    fn numbers(&self) -> Vec<Number> {
        let unapproved = |k: &PairKey| k.2.unapproved();
        let bulk = |t: &Tally| {
            t.pairs.iter().filter(|(k, p)| unapproved(k) && p.level == Some(Level::Bulk)).count()
                as u64
        };
        let pairs = |t: &Tally| t.pairs.keys().filter(|k| unapproved(k)).count() as u64;
        let make = |label: &str, unit: &str, figure: &dyn Fn(&Tally) -> Figure| Number {
            label: label.to_owned(),
            unit: unit.to_owned(),
            now: figure(self.tally),
            before: self.before.map(figure),
        };
        vec![
            make("unapproved AI services in use", "count", &|t| {
                let all = t.services(|_| true).len() as u64;
                let count = t.services(Disposition::unapproved).len() as u64;
                Figure::new(count, all, "AI services in use")
            }),
            make("devices that used them", "count", &|t| self.devices_figure(t.sum(unapproved).1)),
            make("data sent to them", "bytes", &|t| {
                let (all, _) = t.sum(|_| true);
                Figure::new(t.sum(unapproved).0.sent, all.sent, "bytes sent to AI services")
            }),
            make("bulk uploads to them", "count", &|t| {
                Figure::new(bulk(t), pairs(t), "uses, counted by device and service")
            }),
        ]
    }

    fn chart(&self, hours: Hours, captured: &[Hours]) -> Chart {
        let length = hours.until.saturating_sub(hours.from).saturating_add(1);
        let grain = match length {
            0..=48 => 1,
            49..=2_208 => 24,
            _ => 24 * 7,
        };
        let (first, last) = (hours.from / grain, hours.until / grain);
        let count = last.saturating_sub(first).saturating_add(1);
        if !(BARS_MIN..=BARS_MAX).contains(&count) {
            return self.chart_of_services();
        }
        let mut bars = Vec::new();
        for slot in first..=last {
            let from = slot.saturating_mul(grain);
            let until = from.saturating_add(grain).saturating_sub(1);
            let hour = |h: u64| u32::try_from(h).unwrap_or(u32::MAX);
            let mut sums = [0_u64; 3];
            for (_, sent) in self.tally.hours.range(hour(from)..=hour(until)) {
                for (sum, sent) in sums.iter_mut().zip(sent) {
                    *sum = sum.saturating_add(*sent);
                }
            }
            let pattern = if grain == 1 { "%H:00" } else { "%m-%d" };
            let [sent_forbidden, sent_unreviewed, sent_allowed] = sums;
            bars.push(Bar {
                label: time(Timestamp(from.saturating_mul(HOUR)), pattern),
                sent_forbidden,
                sent_unreviewed,
                sent_allowed,
                captured: overlap(captured, Hours { from, until }) > 0,
            });
        }
        let by = match grain {
            1 => "hour",
            24 => "day",
            _ => "week",
        };
        Chart {
            title: format!("Data sent to AI services by {by}"),
            kind: "time".to_owned(),
            of: self.of.clone(),
            bars,
        }
    }

    fn chart_of_services(&self) -> Chart {
        let mut sums: BTreeMap<&Text, [u64; 3]> = BTreeMap::new();
        for ((_, service, verdict), pair) in &self.tally.pairs {
            if let Some(sum) = sums.entry(service).or_default().get_mut(status(*verdict)) {
                *sum = sum.saturating_add(pair.volume.sent);
            }
        }
        let mut order: Vec<(&Text, [u64; 3])> = sums.into_iter().collect();
        let total = |s: &[u64; 3]| s.iter().fold(0, |a: u64, b| a.saturating_add(*b));
        order.sort_by(|a, b| (total(&b.1), a.0).cmp(&(total(&a.1), b.0)));
        order.truncate(CHART_SERVICES);
        let bars = order.into_iter().map(|(id, sums)| {
            let [sent_forbidden, sent_unreviewed, sent_allowed] = sums;
            let label = self.service(id).name;
            Bar { label, sent_forbidden, sent_unreviewed, sent_allowed, captured: true }
        });
        Chart {
            title: "Data sent to AI services, the most first".to_owned(),
            kind: "services".to_owned(),
            of: self.of.clone(),
            bars: bars.collect(),
        }
    }

    fn groups(&self) -> Vec<Group> {
        let mut by: BTreeMap<(usize, &Text, Disposition), (Pair, BTreeSet<i64>)> = BTreeMap::new();
        for ((device, service, verdict), pair) in &self.tally.pairs {
            let entry = by.entry((status(*verdict), service, *verdict)).or_default();
            entry.0.add(pair);
            entry.1.insert(*device);
        }
        let words = [
            ("forbidden", "Forbidden"),
            ("unreviewed", "Not yet reviewed"),
            ("allowed", "Allowed"),
        ];
        let mut groups = Vec::new();
        for (place, (code, title)) in words.into_iter().enumerate() {
            let lines = by.iter().filter(|((p, ..), _)| *p == place);
            let mut services: Vec<ServiceLine> = lines
                .map(|((_, id, verdict), (pair, devices))| ServiceLine {
                    service: self.service(id),
                    status: word(*verdict).to_owned(),
                    level: pair.level.map_or("", Level::code).to_owned(),
                    devices: devices.len() as u64,
                    sessions: pair.volume.sessions,
                    sent: pair.volume.sent,
                    received: pair.volume.received,
                    flows: pair.volume.flows,
                    clients: classes(pair),
                    first_seen: rfc3339(pair.volume.first),
                    last_seen: rfc3339(pair.volume.last),
                    new: self.is_new(id),
                    owner: self.owner(id),
                })
                .collect();
            services.sort_by(|a, b| (b.sent, &a.service.id).cmp(&(a.sent, &b.service.id)));
            let keep = |k: &PairKey| status(k.2) == place;
            let (volume, devices) = self.tally.sum(keep);
            let in_use = self.tally.services(|d| status(d) == place).len() as u64;
            let used = |id: &Text| services.iter().any(|s| *s.service.id == **id);
            let only_contacted: BTreeSet<String> = self
                .tally
                .below
                .keys()
                .filter(|(d, id)| status(*d) == place && !used(id))
                .map(|(_, id)| self.service(id).name)
                .collect();
            groups.push(Group {
                status: code.to_owned(),
                title: title.to_owned(),
                services_in_use: Figure::new(in_use, self.of.services, "AI services in use"),
                devices: self.devices_figure(devices),
                sessions: Figure::new(
                    volume.sessions,
                    self.of.sessions,
                    "sessions with AI services",
                ),
                sent: self.sent_figure(volume.sent),
                received: Figure::new(
                    volume.received,
                    self.of.received,
                    "bytes received from AI services",
                ),
                of: self.of.clone(),
                only_contacted: only_contacted.into_iter().collect(),
                services,
            });
        }
        groups
    }

    fn is_new(&self, id: &Text) -> bool {
        !self.used_before.is_empty() && !self.used_before.contains(id)
    }

    fn departments(&self) -> Vec<Department> {
        #[derive(Default)]
        struct Sum<'a> {
            devices: BTreeSet<i64>,
            sent: [u64; 3],
            services: BTreeMap<&'a Text, u64>,
        }
        let mut sums: BTreeMap<&str, Sum<'_>> = BTreeMap::new();
        for ((device, service, verdict), pair) in &self.tally.pairs {
            let sum = sums.entry(self.department_of(*device)).or_default();
            sum.devices.insert(*device);
            if let Some(sent) = sum.sent.get_mut(status(*verdict)) {
                *sent = sent.saturating_add(pair.volume.sent);
            }
            if verdict.unapproved() {
                let sent = sum.services.entry(service).or_default();
                *sent = sent.saturating_add(pair.volume.sent);
            }
        }
        let mut rows: Vec<(u64, Department)> = sums
            .into_iter()
            .map(|(name, sum)| {
                let [forbidden, unreviewed, allowed] = sum.sent;
                let top =
                    sum.services.iter().max_by_key(|(id, sent)| (**sent, std::cmp::Reverse(**id)));
                let of = "bytes it sent to unapproved services";
                let unapproved = forbidden.saturating_add(unreviewed);
                let department = Department {
                    name: name.to_owned(),
                    devices: self.devices_figure(sum.devices.len() as u64),
                    sent_forbidden: self.sent_figure(forbidden),
                    sent_unreviewed: self.sent_figure(unreviewed),
                    sent_allowed: self.sent_figure(allowed),
                    top_service: top.map_or(String::new(), |(id, _)| self.service(id).name),
                    top_sent: Figure::new(top.map_or(0, |(_, sent)| *sent), unapproved, of),
                };
                (unapproved, department)
            })
            .collect();
        rows.sort_by(|a, b| (b.0, &a.1.name).cmp(&(a.0, &b.1.name)));
        rows.into_iter().map(|(_, d)| d).collect()
    }

    fn clients(&self) -> Vec<ClientLine> {
        let words = [
            (ClientClass::Browser, "People in browsers"),
            (ClientClass::Program, "Programs and agents"),
            (ClientClass::Server, "Servers"),
            (ClientClass::Unknown, "Not told apart"),
        ];
        let mut lines = Vec::new();
        for (class, title) in words {
            let mut devices = BTreeSet::new();
            let (mut sent, mut unapproved) = (0_u64, 0_u64);
            for ((device, _, verdict), pair) in &self.tally.pairs {
                if !pair.classes.contains(&class) {
                    continue;
                }
                devices.insert(*device);
                let of_class =
                    pair.by_class.get(usize::from(class.number())).copied().unwrap_or_default();
                sent = sent.saturating_add(of_class);
                if verdict.unapproved() {
                    unapproved = unapproved.saturating_add(of_class);
                }
            }
            if devices.is_empty() {
                continue;
            }
            lines.push(ClientLine {
                class: class.code().to_owned(),
                title: title.to_owned(),
                devices: self.devices_figure(devices.len() as u64),
                sent: self.sent_figure(sent),
                sent_unapproved: Figure::new(
                    unapproved,
                    sent,
                    "bytes that these clients sent to AI",
                ),
            });
        }
        lines
    }

    fn news(&self, first: Timestamp, hours: Hours) -> News {
        let known = first.0 / HOUR < hours.from;
        let new: Vec<String> = if known {
            let used = self.tally.services(|_| true);
            let fresh = used.into_iter().filter(|id| !self.used_before.contains(*id));
            fresh.map(|id| self.service(id).name).collect()
        } else {
            Vec::new()
        };
        let text = match (known, new.len() as u64) {
            (false, _) => {
                "The store begins with this period, so what is new cannot be told.".to_owned()
            }
            (true, 0) => "No service was used that had not been used here before.".to_owned(),
            (true, n) => format!(
                "{} of {} in use had not been used here before.",
                counted(n, "service"),
                number(self.of.services)
            ),
        };
        News { known, text, services: new }
    }

    fn unseen(
        &self,
        ledger: &[crate::recorder::store::CoverageLine],
        inputs: &[InputRow],
        now: &Period,
    ) -> Vec<Unseen> {
        let mut lines = Vec::new();
        let mut say = |what: &str, figure: Option<Figure>, meaning: &str| {
            lines.push(Unseen { what: what.to_owned(), figure, meaning: meaning.to_owned() });
        };
        let hours = &now.captured_hours;
        say(
            "Hours with capture",
            Some(hours.clone()),
            if hours.count < hours.of {
                "What happened in the other hours is not known."
            } else {
                "The sensor was never off for a whole hour; gaps of minutes would not show here."
            },
        );
        say(
            "Devices of the inventory that were never seen",
            None,
            "No inventory was given, so neither these nor devices in no inventory can be counted.",
        );
        say(
            "Sites and subnets without a mirror",
            None,
            "No list of sites and subnets was given; traffic that is not mirrored is not in this report.",
        );
        let unknown = self.department.values().filter(|d| *d == UNKNOWN).count() as u64;
        say(
            "Devices using AI without a known department",
            Some(Figure::new(unknown, self.department.len() as u64, "devices using AI")),
            if self.options.departments.is_empty() {
                "No file said who belongs where (--departments)."
            } else {
                "They stand in no department of the file given."
            },
        );
        let line = |name: &str| ledger.iter().find(|l| &*l.name == name);
        for (name, whole, what, of_what, meaning) in [
            (
                "flows_unnamed",
                "flows",
                "Flows without any name",
                "flows",
                "An AI service among them would not be noticed.",
            ),
            (
                "hellos_ech_plausible",
                "hellos",
                "Encrypted hellos (ECH)",
                "TLS and QUIC hellos",
                "Only an outer name shows; the service behind it stays hidden.",
            ),
            (
                "clients_with_encrypted_dns",
                "clients",
                "Clients with encrypted DNS",
                "clients, counted in each capture",
                "What they asked for is not seen; what they then did usually is.",
            ),
            (
                "clients_of_security_edges",
                "clients",
                "Clients of a security service edge",
                "clients, counted in each capture",
                "What they do goes through the edge and has to be asked of it.",
            ),
            (
                "clients_of_relays",
                "clients",
                "Clients of a relay or VPN",
                "clients, counted in each capture",
                "What goes through it cannot be told.",
            ),
            (
                "flows_with_gaps",
                "flows",
                "Flows with lost packets",
                "flows",
                "Their volume is exact, but a name may be lost with its packet.",
            ),
            (
                "flows_unanswered",
                "flows",
                "Flows seen from one side only",
                "flows",
                "They count as named, never as use.",
            ),
        ] {
            let all = line(whole).map_or(0, |l| l.count);
            if all > 0 {
                let count = line(name).map_or(0, |l| l.count);
                say(what, Some(Figure::new(count, all, of_what)), meaning);
            }
        }
        let broken = inputs.iter().filter(|i| i.fault.is_some()).count() as u64;
        if broken > 0 {
            let figure = Figure::new(broken, inputs.len() as u64, "captures");
            say("Captures that break off", Some(figure), "What came after the break is missing.");
        }
        let newest =
            self.options.catalogue.services().iter().map(|s| s.last_verified.as_str()).max();
        let meaning = format!(
            "Its newest entry was checked on {}; services that came up since are found only if they speak an AI interface in \
             clear.",
            newest.unwrap_or("no day")
        );
        say("Services newer than the catalogue", None, &meaning);
        say(
            "What was written, and whose account it was",
            None,
            "Only names, sizes and times are seen: never content, nor whether a login was private.",
        );
        lines
    }

    fn tested(&self, controls: &Controls, risks: &[model::Risk]) -> Vec<Tested> {
        let of_category = |keep: &dyn Fn(Category) -> bool| {
            let services: Vec<String> = self
                .tally
                .services(|_| true)
                .into_iter()
                .filter(|id| self.options.catalogue.service(id).is_some_and(|s| keep(s.category)))
                .map(|id| self.service(id).name)
                .collect();
            services
        };
        let agents = of_category(&|c| {
            matches!(c, Category::Agent | Category::BrowserAgent | Category::Mcp | Category::Coding)
        });
        let (programs, on) = {
            let pairs =
                self.tally.pairs.iter().filter(|(_, p)| p.classes.contains(&ClientClass::Program));
            let pairs: Vec<&PairKey> = pairs.map(|(k, _)| k).collect();
            let devices: BTreeSet<i64> = pairs.iter().map(|k| k.0).collect();
            let services: BTreeSet<&Text> = pairs.iter().map(|k| &k.1).collect();
            (services.len() as u64, devices.len() as u64)
        };
        let orphans = risks.iter().filter(|r| r.owner.is_empty()).count() as u64;
        let tested = |t: &crate::answer::controls::Test| {
            let observed = match t.observed {
                Observed::Agents if agents.is_empty() => {
                    "no agent or coding assistant was seen on the network".to_owned()
                }
                Observed::Agents => format!(
                    "{} on the network, whatever a directory lists: {}",
                    counted(agents.len() as u64, "agent or coding service"),
                    words::listed(&agents, 6)
                ),
                Observed::Programs => format!(
                    "programs, not people, called {} from {} of {} devices",
                    counted(programs, "AI service"),
                    number(on),
                    number(self.of.devices)
                ),
                Observed::Owners => format!(
                    "{} of {} risks of this report have nobody who answers for them",
                    number(orphans),
                    number(risks.len() as u64)
                ),
                Observed::Generative => {
                    let (volume, devices) = self.tally.sum(|k| k.2.unapproved());
                    format!(
                        "{} devices sent {} to unapproved services straight from the network, past any gateway",
                        number(devices),
                        bytes(volume.sent)
                    )
                }
            };
            Tested { id: t.id.clone(), title: t.title.clone(), asks: t.asks.clone(), observed }
        };
        controls.test.iter().map(tested).collect()
    }

    fn rules(&self) -> Vec<RuleLine> {
        let rules = self.options.policy.map(Policy::rules).unwrap_or_default();
        let line = |r: &crate::recorder::policy::Rule| RuleLine {
            target: r.target.text(),
            status: r.status.map_or("not decided", word).to_owned(),
            owner: r.owner.as_deref().unwrap_or_default().to_owned(),
            reason: r.reason.as_deref().unwrap_or_default().to_owned(),
            decided: r.validity.decided.map(|d| d.to_string()).unwrap_or_default(),
            expires: r.validity.expires.map(|d| d.to_string()).unwrap_or_default(),
            scope: match r.scope.kinds().as_slice() {
                [] => "everybody".to_owned(),
                kinds => format!("some {}", kinds.join(" and ")),
            },
        };
        rules.iter().map(line).collect()
    }

    fn device_table(&self) -> DeviceTable {
        let mut sums: BTreeMap<u64, (i64, DeviceRow)> = BTreeMap::new();
        for ((device, _, verdict), pair) in &self.tally.pairs {
            let (_, row) = sums.entry(self.rank_of(*device)).or_insert_with(|| {
                let row = DeviceRow {
                    device: self.label(*device),
                    department: self.department_of(*device).to_owned(),
                    services: 0,
                    services_unapproved: 0,
                    sessions: 0,
                    sent: 0,
                    sent_unapproved: 0,
                    received: 0,
                };
                (*device, row)
            });
            row.services = row.services.saturating_add(1);
            row.sessions = row.sessions.saturating_add(pair.volume.sessions);
            row.sent = row.sent.saturating_add(pair.volume.sent);
            row.received = row.received.saturating_add(pair.volume.received);
            if verdict.unapproved() {
                row.services_unapproved = row.services_unapproved.saturating_add(1);
                row.sent_unapproved = row.sent_unapproved.saturating_add(pair.volume.sent);
            }
        }
        DeviceTable { of: self.of.clone(), rows: sums.into_values().map(|(_, row)| row).collect() }
    }

    fn use_table(&self) -> UseTable {
        let mut order: Vec<(&PairKey, &Pair)> = self.tally.pairs.iter().collect();
        order.sort_by(|(a, x), (b, y)| {
            let key = |k: &PairKey, p: &Pair| {
                let sent = std::cmp::Reverse((k.2.unapproved(), p.volume.sent));
                (sent, self.rank_of(k.0), k.1.clone(), k.2)
            };
            key(a, x).cmp(&key(b, y))
        });
        let row = |(key, pair): (&PairKey, &Pair)| {
            let (device, service, verdict) = key;
            UseRow {
                device: self.label(*device),
                department: self.department_of(*device).to_owned(),
                service: service.to_string(),
                service_name: self.service(service).name,
                status: word(*verdict).to_owned(),
                level: pair.level.map_or("", Level::code).to_owned(),
                clients: classes(pair),
                days: pair.days.len() as u64,
                sessions: pair.volume.sessions,
                sent: pair.volume.sent,
                received: pair.volume.received,
                flows: pair.volume.flows,
                first_seen: rfc3339(pair.volume.first),
                last_seen: rfc3339(pair.volume.last),
            }
        };
        UseTable { of: self.of.clone(), rows: order.into_iter().map(row).collect() }
    }
}

/// Departments that are too small to be shown alone, and as many more as these need to hide among.
fn together<'a>(sizes: &BTreeMap<&'a str, u64>, least: u64) -> BTreeSet<&'a str> {
    let mut order: Vec<(u64, &str)> = sizes.iter().map(|(name, n)| (*n, *name)).collect();
    order.sort_unstable();
    let mut together = BTreeSet::new();
    let mut sum = 0_u64;
    for (size, name) in order {
        if size >= least && (together.is_empty() || sum >= least) {
            break;
        }
        together.insert(name);
        sum = sum.saturating_add(size);
    }
    together
}

/// `more` or `less` and by how many percent; `None` if there was nothing before.
fn change(old: u64, new: u64) -> Option<(&'static str, u64)> {
    let (a, b) = (u128::from(old), u128::from(new));
    let difference = a.abs_diff(b).checked_mul(100)?.checked_div(a)?;
    let percent = u64::try_from(difference).unwrap_or(u64::MAX);
    Some((
        if percent == 0 {
            "much"
        } else if new > old {
            "more"
        } else {
            "less"
        },
        percent,
    ))
}

fn classes(pair: &Pair) -> Vec<String> {
    pair.classes.iter().map(|c| c.code().to_owned()).collect()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}

fn input_line(input: &InputRow, frames: u64) -> InputLine {
    InputLine {
        id: input.key.to_string(),
        name: input.name.to_string(),
        frames: Figure::new(input.frames, frames, "frames in all captures"),
        first_frame: rfc3339(input.first_time),
        last_frame: rfc3339(input.last_time),
        fault: input.fault.as_deref().unwrap_or_default().to_owned(),
    }
}

fn ledger_line(line: coverage::Line) -> LedgerLine {
    let side = match line.side {
        Side::Seen => "seen",
        Side::Unseen => "unseen",
    };
    LedgerLine { side: side.to_owned(), what: line.what, amount: line.amount }
}

fn method() -> Vec<String> {
    [
        "Seen were copies of packets, on the way past the sensor. Nothing was decrypted, asked or blocked, and no content is kept.",
        "A service is known by the name that its client sends in clear (TLS, QUIC, HTTP, DNS), looked up in a catalogue. A host that \
         speaks an AI interface in clear and stands in no catalogue is a candidate; candidates are never counted as use.",
        "Only use counts: more was sent than it takes to open a page or to keep a connection. Prefetching, embedded parts, sign-in, \
         telemetry and look-ups do not. Bulk is an upload above the threshold of the configuration. Each byte is counted once, by the \
         lengths in the packets' headers; sent means sent, not which documents.",
        "A device is a link address where the sensor sees it, else an address. A session is use without a break of half an hour. \
         Browsers and programs are told apart by how they negotiate encryption: evidence, not proof.",
        "Forbidden and allowed are decisions of the policy; what is in the catalogue and nobody decided about is not yet reviewed. \
         Both forbidden and not yet reviewed are unapproved. Unapproved use is exposure; no attack was observed unless that is said.",
    ]
    .map(str::to_owned)
    .to_vec()
}
