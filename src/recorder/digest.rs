//! What is told once a day: findings that raised no alert of their own, by service; and single
//! hosts outside the catalogue.
//!
//! In: what the store held back. Out: events beside those of [`crate::recorder::alert`]. Never:
//! leaves out a finding without counting it; carries payload.
//! Limits: [`LINES_MAX`], and [`named_max`] ids a line.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::recorder::alert::{SCHEMA, named_max, rfc3339};
use crate::recorder::finding::bytes;
use crate::recorder::store::rows::{Candidate, Finding, InputRow};
use crate::types::Timestamp;

/// Lines of one digest: services of one day, far more than an office uses.
pub const LINES_MAX: usize = 500;

/// Severity of a host outside the catalogue: somebody should look.
const CANDIDATE_SEVERITY: u8 = 3;

/// Something that waits for the end of its day.
#[derive(Clone, Debug)]
pub enum Held {
    /// A finding.
    Finding {
        /// As it now stands.
        finding: Box<Finding>,
        /// Codes of the rules that spoke, between spaces.
        rules: String,
        /// Its device.
        device: i64,
    },
    /// A host outside the catalogue.
    Candidate {
        /// Its name.
        host: String,
        /// What it showed.
        grammars: String,
    },
}

/// A day's findings that raised no alert of their own.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Digest {
    /// Version of these fields.
    pub schema: u32,
    /// `digest`.
    pub kind: String,
    /// The same however often it is sent.
    pub event_id: String,
    /// End of the day; RFC 3339, UTC.
    pub ts: String,
    /// The day, UTC.
    pub day: String,
    /// Highest of its findings.
    pub severity: u8,
    /// One line for a person.
    pub title: String,
    /// What to do next.
    pub next_steps: String,
    /// Findings in all lines.
    pub findings: u64,
    /// By service and verdict, the gravest first.
    pub lines: Vec<DigestLine>,
    /// Lines left out.
    pub lines_more: u64,
    /// Hosts outside the catalogue that are new.
    pub candidates: Vec<CandidateLine>,
}

/// Findings of one service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DigestLine {
    /// Service id.
    pub service: String,
    /// Service name.
    pub service_name: String,
    /// `unsanctioned` or `unreviewed`.
    pub action: String,
    /// Highest severity.
    pub severity: u8,
    /// `used` or `bulk`.
    pub level: String,
    /// Devices.
    pub devices: u64,
    /// Findings.
    pub findings: u64,
    /// Payload bytes from the clients.
    pub bytes_up: u64,
    /// Rules that spoke.
    pub alerts: Vec<String>,
    /// Event ids: at most 50, or 1,000 where the use is forbidden.
    pub event_ids: Vec<String>,
}

/// A host outside the catalogue.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CandidateLine {
    /// Its name.
    pub host: String,
    /// What it showed.
    pub grammars: String,
}

/// A host outside the catalogue that behaves like an AI service, as an alert of its own.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UnknownAi {
    /// Version of these fields.
    pub schema: u32,
    /// `unknown_ai`.
    pub kind: String,
    /// The same however often it is sent.
    pub event_id: String,
    /// Last packet; RFC 3339, UTC.
    pub ts: String,
    /// Input by its name.
    pub capture: String,
    /// 0 to 10.
    pub severity: u8,
    /// One line for a person.
    pub title: String,
    /// What to do next.
    pub next_steps: String,
    /// Its name.
    pub host: String,
    /// What it showed.
    pub grammars: String,
    /// Clients that were seen.
    pub actors: u64,
    /// Payload bytes from the clients.
    pub bytes_up: u64,
    /// Payload bytes to them.
    pub bytes_down: u64,
    /// Flows.
    pub flows: u64,
}

impl Digest {
    /// The digest of a day; `number` tells several of one day apart.
    pub fn new(day: u32, number: u64, held: &[Held]) -> Self {
        let mut lines: BTreeMap<(String, String), (DigestLine, BTreeSet<i64>)> = BTreeMap::new();
        let mut candidates = Vec::new();
        for one in held {
            match one {
                Held::Finding { finding, rules, device } => {
                    let action = finding.disposition.code().to_owned();
                    let key = (finding.service.to_string(), action);
                    let (line, devices) = lines
                        .entry(key)
                        .or_insert_with(|| (DigestLine::new(finding), BTreeSet::new()));
                    line.add(finding, rules);
                    devices.insert(*device);
                }
                Held::Candidate { host, grammars } => candidates
                    .push(CandidateLine { host: host.clone(), grammars: grammars.clone() }),
            }
        }
        let mut lines: Vec<DigestLine> = lines
            .into_values()
            .map(|(line, devices)| DigestLine { devices: devices.len() as u64, ..line })
            .collect();
        lines.sort_by_key(|l| (std::cmp::Reverse((l.severity, l.bytes_up)), l.service.clone()));
        let findings = lines.iter().map(|l| l.findings).sum();
        let sent = lines.iter().fold(0_u64, |sum, l| sum.saturating_add(l.bytes_up));
        let severity = lines.iter().map(|l| l.severity).max().unwrap_or(0);
        let more = lines.len().saturating_sub(LINES_MAX);
        let begin = Timestamp(u64::from(day).saturating_mul(Timestamp::DAY));
        let date: String = rfc3339(begin).chars().take(10).collect();
        let title = format!(
            "{date}: {findings} further findings with {} services, {} sent; {} new hosts outside the catalogue",
            lines.len(),
            bytes(sent),
            candidates.len()
        );
        lines.truncate(LINES_MAX);
        Digest {
            schema: SCHEMA,
            kind: "digest".to_owned(),
            event_id: format!("digest-{day}-{number}"),
            ts: rfc3339(Timestamp(begin.0.saturating_add(Timestamp::DAY - 1))),
            day: date,
            // A digest of candidates alone is still worth a look.
            severity: severity.max(1),
            title,
            next_steps: "Decide about the services: allow, tolerate or forbid each in the policy."
                .to_owned(),
            findings,
            lines,
            lines_more: more as u64,
            candidates,
        }
    }
}

impl DigestLine {
    fn new(finding: &Finding) -> Self {
        Self {
            service: finding.service.to_string(),
            service_name: finding.service_name.to_string(),
            action: finding.disposition.code().to_owned(),
            severity: 0,
            level: String::new(),
            devices: 0,
            findings: 0,
            bytes_up: 0,
            alerts: Vec::new(),
            event_ids: Vec::new(),
        }
    }

    fn add(&mut self, finding: &Finding, rules: &str) {
        if finding.severity >= self.severity {
            self.severity = finding.severity;
            finding.level.code().clone_into(&mut self.level);
        }
        self.findings = self.findings.saturating_add(1);
        self.bytes_up = self.bytes_up.saturating_add(finding.bytes_up);
        for rule in rules.split(' ') {
            if !self.alerts.iter().any(|a| a == rule) {
                self.alerts.push(rule.to_owned());
            }
        }
        if self.event_ids.len() < named_max(finding.disposition) {
            self.event_ids.push(format!("{}-{}", finding.id, finding.revision));
        }
    }
}

/// The alert of one candidate.
pub fn candidate(input: &InputRow, row: &Candidate) -> UnknownAi {
    UnknownAi {
        schema: SCHEMA,
        kind: "unknown_ai".to_owned(),
        event_id: format!("candidate-{}-{}", row.host, row.day),
        ts: rfc3339(row.last_seen),
        capture: input.name.to_string(),
        severity: CANDIDATE_SEVERITY,
        title: format!("{} behaves like an AI service ({})", row.host, row.grammars),
        next_steps: "Find out whose it is; add it to the signatures if it is an AI service."
            .to_owned(),
        host: row.host.to_string(),
        grammars: row.grammars.to_string(),
        actors: row.actors,
        bytes_up: row.bytes_up,
        bytes_down: row.bytes_down,
        flows: row.flows,
    }
}

/// The published schemas of [`Digest`] and [`UnknownAi`].
pub fn schemas() -> [(&'static str, schemars::Schema); 2] {
    [("digest", schemars::schema_for!(Digest)), ("unknown-ai", schemars::schema_for!(UnknownAi))]
}
