//! The report that leadership acts on: one model, one file per format.
//!
//! In: the store, policy and catalogue of today, departments. Out: [`Report`], and its bytes in a
//! [`Format`]; equal input gives equal bytes.
//! Never: reads a clock: the period comes from the store; lets a name out but through [`Mask`].
//! Limits: [`PERIOD_DAYS`] by default, [`ROWS_MAX`] rows where a person reads; all of them in XLSX,
//! CSV and JSON.

pub mod model;

mod annex;
mod bars;
mod breakdown;
mod chart;
mod csv;
mod facts;
mod headline;
mod html;
mod json;
mod md;
mod pages;
mod pdf;
mod period;
mod risks;
mod tables;
mod tested;
mod unseen;
mod words;
mod xlsx;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use self::annex::{input_line, ledger_line, method};
use self::facts::Facts;
use self::model::{Denominators, Report, SCHEMA};
use self::period::{HOUR, Hours, period_of};
use self::unseen::Sight;
use crate::answer::controls::Controls;
use crate::answer::coverage;
use crate::answer::mask::{Mask, Names};
use crate::answer::tally::{Judge, Tally};
use crate::recorder::identity::Known;
use crate::recorder::identity::departments::Departments;
use crate::recorder::ledger::LedgerKey;
use crate::recorder::policy::Policy;
use crate::recorder::signature::{Catalogue, Risk};
use crate::recorder::store::{Answers, Error};
use crate::types::Timestamp;

pub use json::schema;
pub use period::PERIOD_DAYS;

/// Rows of a table that a person reads; the totals below it are of all.
pub const ROWS_MAX: usize = 500;

/// Risks of the first page.
pub const RISKS_FIRST: usize = 5;

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
    /// What is known of services beyond their hosts.
    pub risk: Option<&'a Risk>,
    /// Judge by this policy; without it verdicts stay as recorded.
    pub policy: Option<&'a Policy>,
    /// Who belongs where.
    pub departments: &'a Departments,
    /// What whoever manages devices knows of them.
    pub known: &'a Known,
    /// Networks that are known to be ours.
    pub subnets: Vec<(IpAddr, u8)>,
    /// The key of the store's ledger, if it has one.
    pub ledger: Option<LedgerKey>,
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
    let hours = period::period(options, first, last);
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
    let hidden = answers.hidden(&facts.scope)?;
    let captured = period::captured(&inputs);
    let risks = facts.risks(answers, &ledger)?;
    let now = period_of(hours, &captured, first, facts.until);
    let then = before
        .as_ref()
        .map(|_| period_of(earlier, &period::captured(&inputs_before), first, Timestamp(u64::MAX)));
    let seen = answers.seen(&facts.scope)?;
    let controls = Controls::embedded().map_err(|e| Failure::Format("controls", e.to_string()))?;
    let frames = inputs.iter().fold(0_u64, |n, i| n.saturating_add(i.frames));
    let report = Report {
        schema: SCHEMA,
        kind: "report".to_owned(),
        digest: crate::answer::verify::MARK.to_owned(),
        title: "Unapproved AI on this network".to_owned(),
        judged: facts.judged(answers)?,
        privacy: facts.privacy(),
        verdict: facts.verdict(&ledger, &hidden),
        trend: facts.trend(&now, then.as_ref()),
        numbers: facts.numbers(),
        chart: facts.chart(hours, &captured),
        groups: facts.groups(),
        departments: facts.departments(),
        clients: facts.clients(),
        news: facts.news(first, hours),
        late: facts.late(answers)?,
        unseen: facts.unseen(&Sight { ledger: &ledger, hidden: &hidden, inputs: &inputs, seen: &seen }, &now),
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

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}
