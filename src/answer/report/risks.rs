//! What to decide about: findings of one service, host or blind spot, with what to do next.
//!
//! One risk stands for all findings on its subject, so that one decision closes it. Its id is made
//! of the subject alone, so that a decision holds for what is found tomorrow too.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::ToSpan;
use jiff::tz::TimeZone;

use super::model::{
    Action, ClientShare, DepartmentShare, Figure, HistoryLine, Proof, Risk, ServiceName,
};
use super::{Facts, Failure, capital};
use crate::answer::controls::Controls;
use crate::answer::tally::{Pair, Volume};
use crate::answer::terminal::{counted, number, time};
use crate::recorder::alert::rfc3339;
use crate::recorder::finding::bytes;
use crate::recorder::policy::file::word;
use crate::recorder::signature::Category;
use crate::recorder::store::rows::{Finding, Text};
use crate::recorder::store::{Answers, CandidateLine, CoverageLine, Decision};
use crate::recorder::words::{ClientClass, Disposition, Level, State};
use crate::types::Timestamp;

/// Proofs of one risk: enough to look at, and every one is in the store.
const PROOFS_MAX: u32 = 3;

/// Part of the devices from which on a use is widespread: one in ten.
const WIDESPREAD: u64 = 10;

/// Days of use from which on somebody would miss a service: a working week.
const HABIT_DAYS: usize = 5;

/// Departments named with a risk.
const DEPARTMENTS_MAX: usize = 5;

/// Days to act in by severity, as many policies for vulnerabilities have them: a week for the
/// critical, two for the high, a month, a quarter.
const DUE_DAYS: [(u8, i64); 4] = [(9, 7), (7, 14), (4, 30), (0, 90)];

/// What hides names: coverage row, its whole, subject, words.
const HIDDEN: [(&str, &str, &str, &str); 4] = [
    (
        "clients_with_encrypted_dns",
        "clients",
        "encrypted-dns",
        "ask DNS encrypted, past the resolver of the house",
    ),
    ("clients_of_relays", "clients", "relays", "use a relay or VPN"),
    (
        "clients_of_security_edges",
        "clients",
        "security-edges",
        "go through a security service edge",
    ),
    ("hellos_ech_plausible", "hellos", "ech", "hide their real name (ECH)"),
];

impl Facts<'_> {
    /// Every risk, the most severe first.
    pub(super) fn risks(
        &self,
        answers: &Answers,
        ledger: &[CoverageLine],
    ) -> Result<Vec<Risk>, Failure> {
        let controls =
            Controls::embedded().map_err(|e| Failure::Format("controls", e.to_string()))?;
        let mut by_service: BTreeMap<&Text, BTreeMap<Disposition, BTreeMap<i64, &Pair>>> =
            BTreeMap::new();
        for ((device, service, verdict), pair) in &self.tally.pairs {
            by_service
                .entry(service)
                .or_default()
                .entry(*verdict)
                .or_default()
                .insert(*device, pair);
        }
        let mut risks = Vec::new();
        for (service, verdicts) in by_service {
            let subject = format!("service:{service}");
            let decided = self.decisions.iter().any(|d| *d.subject == *subject);
            let Some((verdict, devices)) = verdicts.first_key_value() else { continue };
            if verdict.unapproved() || decided {
                let findings = answers.telling_findings(service, &self.scope, PROOFS_MAX)?;
                risks.push(self.of_service(service, *verdict, devices, &findings, &controls));
            }
        }
        for (number, candidate) in (1..).zip(answers.candidates(&self.scope)?) {
            risks.push(self.of_candidate(number, &candidate, &controls));
        }
        for (name, whole, subject, words) in HIDDEN {
            let count =
                |name: &str| ledger.iter().find(|l| &*l.name == name).map_or(0, |l| l.count);
            if count(name) > 0 {
                let figure = Figure::new(
                    count(name),
                    count(whole),
                    &format!("{whole}, counted in each capture"),
                );
                risks.push(self.of_hidden(subject, words, figure, whole, &controls));
            }
        }
        let closed = |r: &Risk| matches!(r.state.as_str(), "accepted" | "resolved");
        risks.sort_by(|a, b| {
            let key =
                |r: &Risk| (closed(r), Reverse(r.severity), Reverse(r.sent.count), r.id.clone());
            key(a).cmp(&key(b))
        });
        Ok(risks)
    }

    #[expect(clippy::too_many_lines, reason = "everything that weighs on a risk, in one place")]
    fn of_service(
        &self,
        id: &Text,
        verdict: Disposition,
        devices: &BTreeMap<i64, &Pair>,
        findings: &[Finding],
        controls: &Controls,
    ) -> Risk {
        let mut sum = Pair::default();
        for pair in devices.values() {
            sum.add(pair);
        }
        let service = self.service(id);
        let level = sum.level.unwrap_or(Level::Used);
        let known = self.options.catalogue.service(id);
        let tags = known.map(|s| s.tags.as_slice()).unwrap_or_default();
        let mut aspects = Vec::new();
        let mut reasons = vec![match verdict {
            Disposition::Unsanctioned => "the policy forbids it".to_owned(),
            Disposition::Unreviewed => "nobody has decided about it".to_owned(),
            other => format!("the policy says: {}", word(other)),
        }];
        let mut severity: u8 = match (verdict, level) {
            (Disposition::Unsanctioned, Level::Bulk) => 9,
            (Disposition::Unsanctioned, _) => 7,
            (Disposition::Unreviewed, Level::Bulk) => 6,
            (Disposition::Unreviewed, _) => 4,
            (_, Level::Bulk) => 2,
            _ => 1,
        };
        let mut worse = |by: u8, aspect: &'static str, why: String| {
            severity = severity.saturating_add(by).min(10);
            if !aspect.is_empty() && !aspects.contains(&aspect) {
                aspects.push(aspect);
            }
            reasons.push(why);
        };
        if verdict.unapproved() {
            worse(0, "unapproved-use", "it was used, not only opened".to_owned());
        }
        if level == Level::Bulk {
            let n = devices.values().filter(|p| p.level == Some(Level::Bulk)).count() as u64;
            worse(0, "bulk-upload", format!("{} uploaded in bulk", counted(n, "device")));
        }
        let programs = sum.classes.contains(&ClientClass::Program)
            || sum.classes.contains(&ClientClass::Server);
        let category = known.map(|s| s.category);
        let agent = matches!(category, Some(Category::Agent | Category::BrowserAgent));
        if programs && verdict.unapproved() {
            worse(
                1,
                "program-use",
                "programs send there, without a person reading along".to_owned(),
            );
        }
        if agent {
            worse(1, "agent", "it is an agent, which acts by itself".to_owned());
        } else if programs && category == Some(Category::Coding) {
            worse(0, "agent", "coding tools of this kind act by themselves".to_owned());
        }
        if category == Some(Category::Mcp) || tags.iter().any(|t| t == "mcp") {
            worse(0, "mcp", "it offers tools to agents (MCP)".to_owned());
        }
        if category == Some(Category::LocalRuntime) {
            worse(0, "local-model", "it serves models on machines of the house".to_owned());
        }
        if tags.iter().any(|t| t == "prc-hosted") && verdict.unapproved() {
            // Whoever forbade it weighed that already.
            worse(
                u8::from(verdict == Disposition::Unreviewed),
                "jurisdiction",
                "by the catalogue, prompts are processed in China".to_owned(),
            );
        }
        let count = devices.len() as u64;
        let many = count.saturating_mul(WIDESPREAD) >= self.of.devices && count > 1;
        if many && verdict.unapproved() {
            let figure = self.devices_figure(count);
            worse(1, "", format!("it is widespread: {} of the devices seen", figure.share()));
        }
        let title = format!(
            "{} ({}): {} sent {}{}",
            service.name,
            super::words::status(word(verdict)),
            counted(count, "device"),
            bytes(sum.volume.sent),
            if level == Level::Bulk { ", some of it in bulk uploads" } else { "" },
        );
        let mut risk =
            self.blank(&format!("service:{id}"), title, severity, reasons, &aspects, controls);
        risk.status = String::from(word(verdict));
        risk.level = String::from(level.code());
        risk.devices = self.devices_figure(count);
        risk.sessions =
            Figure::new(sum.volume.sessions, self.of.sessions, "sessions with AI services");
        risk.sent = self.sent_figure(sum.volume.sent);
        risk.received =
            Figure::new(sum.volume.received, self.of.received, "bytes received from AI services");
        risk.sent_before = self.before.map(|before| {
            let (volume, _) = before.sum(|k| k.1 == *id);
            Figure::new(volume.sent, before.sum(|_| true).0.sent, "bytes sent to AI services")
        });
        risk.first_seen = Some(rfc3339(sum.volume.first));
        risk.last_seen = Some(rfc3339(sum.volume.last));
        risk.departments = self.shares(devices, sum.volume.sent);
        risk.clients = shares_of_classes(&sum);
        risk.score = self.score(id);
        risk.impact = impact(devices);
        risk.cost = self.cost(known.map(|s| s.category), id);
        risk.findings = Figure::new(
            self.findings.get(id).copied().unwrap_or_default(),
            self.findings.values().fold(0, |a, b| a.saturating_add(*b)),
            "findings of use",
        );
        risk.evidence = findings.iter().filter_map(|f| self.proof(f)).collect();
        if risk.owner.is_empty() {
            risk.owner = self.owner(id);
        }
        self.advise(&mut risk, &service, verdict, findings.first());
        risk.service = Some(service);
        risk
    }

    /// What is proposed, and how to do it.
    fn advise(
        &self,
        risk: &mut Risk,
        service: &ServiceName,
        verdict: Disposition,
        first: Option<&Finding>,
    ) {
        let (id, name) = (&service.id, &service.name);
        let (store, policy) = (&self.options.store, &self.options.policy_file);
        let people = "--owner NAME --reason TEXT";
        let act = |what: &str, command: String| Action { what: what.to_owned(), command };
        let look = first.filter(|_| self.mask.shows_names()).map_or_else(
            || {
                act(
                    "Look at who and where, if you may",
                    format!(
                        "shadowtap report --store {store} --names --format html --output named.html"
                    ),
                )
            },
            |f| {
                act(
                    "Look at the packets",
                    format!(
                        "shadowtap evidence {} --store {store}",
                        f.id.get(..12).unwrap_or(&f.id)
                    ),
                )
            },
        );
        let preview = act(
            "See what a block would break",
            format!("shadowtap export rpz --store {store} --service {id} --what-if"),
        );
        let block = act(
            "Block it",
            format!("shadowtap export rpz --store {store} --service {id} --output {id}.rpz"),
        );
        let approve = act(
            "Or approve it for a time",
            format!(
                "shadowtap approve {id} --store {store} --policy {policy} {people} --expires DATE"
            ),
        );
        let deny = act(
            "Or forbid it",
            format!("shadowtap deny {id} --store {store} --policy {policy} {people}"),
        );
        let review = act(
            "Say who looks into it",
            format!("shadowtap review {id} --store {store} --policy {policy} {people}"),
        );
        let alternative =
            self.alternatives(self.options.catalogue.service(id).map(|s| s.category), id);
        (risk.proposal, risk.actions) = match (verdict, risk.state.as_str()) {
            (_, "accepted" | "resolved") => {
                ("Nothing to do before the decision ends.".to_owned(), vec![look])
            }
            (Disposition::Unsanctioned, _) => {
                let instead = alternative.first().map_or_else(
                    || "name an approved service instead".to_owned(),
                    |a| format!("offer {a} instead"),
                );
                (
                    format!("Block {name} after a word with its users; {instead}."),
                    vec![preview, block, look, approve],
                )
            }
            (_, "in_review") => (
                format!("End the review of {name} with a decision."),
                vec![approve, deny, preview, look],
            ),
            _ => (
                format!("Decide about {name}: approve it for a time, or forbid it."),
                vec![review, approve, deny, preview, look],
            ),
        };
    }

    fn of_candidate(&self, number: u64, line: &CandidateLine, controls: &Controls) -> Risk {
        let host = self.mask.host(&line.host);
        let speaks = |word: &str| line.grammars.iter().any(|g| g.starts_with(word));
        let (aspect, what, severity) = if speaks("mcp") {
            ("mcp", "offers tools to agents (MCP)", 5)
        } else if speaks("ollama") || host == "a device of ours" {
            ("local-model", "serves a model", 4)
        } else {
            ("unknown-ai", "speaks an AI interface", 3)
        };
        let title = format!(
            "{} {what} and is in no catalogue; {} talked to it",
            capital(&host),
            counted(line.totals.devices, "device")
        );
        let grammars: Vec<&str> = line.grammars.iter().map(|g| &**g).collect();
        let reasons = vec![
            format!("what is spoken there in clear: {}", grammars.join(", ")),
            "nobody has decided about it, and it is not counted as use".to_owned(),
        ];
        let subject = format!("candidate:{}", line.host);
        let mut risk =
            self.blank(&subject, title, severity, reasons, &[aspect, "unknown-ai"], controls);
        if host != *line.host {
            risk.id = format!("candidate:own-{number}");
        }
        let totals = &line.totals;
        risk.status = String::from("unknown");
        risk.devices = self.devices_figure(totals.devices);
        risk.sent = Figure::new(totals.bytes_up, totals.bytes_up, "bytes sent to this host");
        risk.received =
            Figure::new(totals.bytes_down, totals.bytes_down, "bytes received from this host");
        (risk.first_seen, risk.last_seen) =
            (Some(rfc3339(totals.first_seen)), Some(rfc3339(totals.last_seen)));
        risk.impact = format!(
            "{} would miss it, if it is in use.",
            capital(&counted(totals.devices, "device"))
        );
        risk.cost = String::from("An hour of whoever runs the host: what is it, and whose?");
        risk.proposal = String::from(
            "Find out who runs it; then approve it, move it behind a login, or switch it off.",
        );
        let host = if host == *line.host { host } else { "HOST".to_owned() };
        risk.actions = vec![Action {
            what: "Say who looks into it".to_owned(),
            command: format!(
                "shadowtap review {host} --store {} --owner NAME --reason TEXT",
                self.options.store
            ),
        }];
        risk
    }

    fn of_hidden(
        &self,
        subject: &str,
        words: &str,
        figure: Figure,
        whole: &str,
        controls: &Controls,
    ) -> Risk {
        let title = format!("{} of {} {whole} {words}", number(figure.count), number(figure.of));
        let reasons = vec![
            format!("{} of them, so what they use is known in part only", figure.share()),
            "no wrongdoing: it is a gap in sight".to_owned(),
        ];
        let severity = if figure.percent().unwrap_or(0) >= WIDESPREAD { 4 } else { 2 };
        let mut risk = self.blank(
            &format!("hidden:{subject}"),
            title,
            severity,
            reasons,
            &["hidden-use"],
            controls,
        );
        risk.status = String::from("unknown");
        risk.devices = figure;
        risk.impact = String::from("Nobody loses a service if names become visible again.");
        let (proposal, what) = match subject {
            "encrypted-dns" => (
                "Make the house's resolver the only one: forbid others at the firewall, set it by management.",
                "Firewall: TCP and UDP 853, and 443 to the resolvers of signatures/network/encrypted-dns.toml",
            ),
            "ech" => (
                "Decide whether managed browsers may encrypt their hello (policy EncryptedClientHelloEnabled).",
                "Browser management: EncryptedClientHelloEnabled = false where sight matters more",
            ),
            "security-edges" => (
                "Ask the edge for its own report on AI, and read both together.",
                "Compare periods: the edge sees these clients, this sensor the others",
            ),
            _ => (
                "Decide whether relays are allowed on this network.",
                "Firewall: block the relays' names if they are not",
            ),
        };
        risk.cost = String::from("A change of configuration; no licence.");
        risk.proposal = String::from(proposal);
        risk.actions = vec![Action { what: what.to_owned(), command: String::new() }];
        risk
    }

    /// A risk with everything that follows from its id and severity.
    fn blank(
        &self,
        id: &str,
        title: String,
        severity: u8,
        reasons: Vec<String>,
        aspects: &[&str],
        controls: &Controls,
    ) -> Risk {
        let rating = match severity {
            9.. => "critical",
            7..=8 => "high",
            4..=6 => "medium",
            _ => "low",
        };
        let decisions: Vec<&Decision> =
            self.decisions.iter().filter(|d| *d.subject == *id).collect();
        let (state, state_text) = self.state(decisions.last().copied());
        let owner = decisions.iter().rev().find_map(|d| d.owner.as_deref()).unwrap_or_default();
        let due = decisions.last().and_then(|d| d.due.as_deref());
        Risk {
            id: id.to_owned(),
            title,
            severity,
            rating: rating.to_owned(),
            reasons,
            aspects: aspects.iter().map(|a| (*a).to_owned()).collect(),
            service: None,
            status: String::new(),
            level: String::new(),
            devices: self.devices_figure(0),
            sessions: Figure::new(0, self.of.sessions, "sessions with AI services"),
            sent: self.sent_figure(0),
            received: Figure::new(0, self.of.received, "bytes received from AI services"),
            sent_before: None,
            departments: Vec::new(),
            clients: Vec::new(),
            first_seen: None,
            last_seen: None,
            score: String::new(),
            impact: String::new(),
            cost: String::new(),
            owner: owner.to_owned(),
            due: due.map_or_else(|| due_by_severity(severity, self.until), str::to_owned),
            due_proposed: due.is_none(),
            state: state.code().to_owned(),
            state_text,
            history: decisions.iter().map(|d| history_line(d)).collect(),
            proposal: String::new(),
            actions: Vec::new(),
            evidence: Vec::new(),
            findings: Figure::new(
                0,
                self.findings.values().fold(0, |a, b| a.saturating_add(*b)),
                "findings of use",
            ),
            controls: controls.of(aspects),
        }
    }

    /// Where a risk stands at the end of the period. An acceptance that is over is none.
    fn state(&self, last: Option<&Decision>) -> (State, String) {
        let Some(last) = last else { return (State::Open, "open".to_owned()) };
        let day = time(self.until, "%Y-%m-%d");
        match (last.state, last.expires.as_deref()) {
            (State::Accepted, Some(until)) if *until < *day => {
                (State::Open, format!("open again: the acceptance ended on {until}"))
            }
            (State::Accepted, Some(until)) => (State::Accepted, format!("accepted until {until}")),
            (State::Accepted, None) => (State::Accepted, "accepted".to_owned()),
            (State::InReview, _) => (State::InReview, "in review".to_owned()),
            (State::Resolved, _) => (State::Resolved, "resolved".to_owned()),
            (State::Open, _) if last.disposition == Some(Disposition::Unsanctioned) => {
                (State::Open, "open: forbidden, and still in use".to_owned())
            }
            (State::Open, _) => (State::Open, "open".to_owned()),
        }
    }

    fn shares(&self, devices: &BTreeMap<i64, &Pair>, sent: u64) -> Vec<DepartmentShare> {
        let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (device, pair) in devices {
            let sum = sums.entry(self.department_of(*device)).or_default();
            sum.0 = sum.0.saturating_add(1);
            sum.1 = sum.1.saturating_add(pair.volume.sent);
        }
        let mut order: Vec<(&str, (u64, u64))> = sums.into_iter().collect();
        order.sort_by(|a, b| (b.1.1, a.0).cmp(&(a.1.1, b.0)));
        let share = |(name, (count, of)): (&str, (u64, u64))| DepartmentShare {
            name: name.to_owned(),
            devices: Figure::new(count, devices.len() as u64, "devices that use it"),
            sent: Figure::new(of, sent, "bytes sent to it"),
        };
        order.into_iter().take(DEPARTMENTS_MAX).map(share).collect()
    }

    /// Approved services of the same kind, by name.
    fn alternatives(&self, category: Option<Category>, but: &str) -> Vec<String> {
        let Some(policy) = self.options.policy else { return Vec::new() };
        let mut names = BTreeSet::new();
        for rule in policy.rules().iter().filter(|r| r.status == Some(Disposition::Sanctioned)) {
            if let crate::recorder::policy::Target::Service(id) = &rule.target
                && let Some(service) = self.options.catalogue.service(id)
                && service.id != but
                && alike(Some(service.category), category)
            {
                names.insert(service.name.clone());
            }
        }
        names.into_iter().collect()
    }

    /// What the catalogue knows of the service, as a number that can be recomputed.
    fn score(&self, id: &str) -> String {
        let Some(score) = self.options.risk.map(|r| r.score(id)) else { return String::new() };
        let known = score.known_percent;
        match score.points {
            Some(points) => format!(
                "{points} of 100 (0 is harmless), with {known} % of the weight known; `shadowtap service {id}` has the lines"
            ),
            None => format!(
                "no number: {known} % of the weight is known, {} % are needed; `shadowtap service {id}` has the lines",
                score.known_percent_min
            ),
        }
    }

    fn cost(&self, category: Option<Category>, id: &str) -> String {
        match self.alternatives(category, id).as_slice() {
            [] => "Needs an alternative first: no approved service of this kind is in the policy."
                .to_owned(),
            names => {
                let are = if names.len() == 1 { "is" } else { "are" };
                let names = super::words::listed(names, 3);
                format!("Low: {names} {are} approved for the same kind of work.")
            }
        }
    }

    fn proof(&self, finding: &Finding) -> Option<Proof> {
        let item = finding.evidence.first()?;
        let shown = self.mask.shows_names();
        Some(Proof {
            at: rfc3339(item.time),
            capture: item.capture.to_string(),
            first_frame: item.first_frame,
            name_frame: item.name_frame,
            last_frame: item.last_frame,
            name_from: item.kind.code().to_owned(),
            name: self.mask.host(&item.name),
            finding: shown.then(|| finding.id.to_string()),
            wireshark_filter: shown.then(|| item.wireshark_filter.to_string()),
        })
    }
}

/// Categories that can stand in for each other: what people talk to, and what programs call.
fn alike(a: Option<Category>, b: Option<Category>) -> bool {
    let people = |c| matches!(c, Some(Category::Chat | Category::Search | Category::Writing));
    let programs = |c| matches!(c, Some(Category::LlmApi | Category::Gateway));
    a == b || (people(a) && people(b)) || (programs(a) && programs(b))
}

fn impact(devices: &BTreeMap<i64, &Pair>) -> String {
    let all = devices.len() as u64;
    let habit = devices.values().filter(|p| p.days.len() >= HABIT_DAYS).count() as u64;
    let longest = devices.values().map(|p| p.days.len()).max().unwrap_or(0) as u64;
    if habit > 0 {
        format!(
            "{} would lose it; {} used it on {HABIT_DAYS} days or more and would miss it.",
            capital(&counted(all, "device")),
            number(habit)
        )
    } else {
        format!(
            "{} would lose it; none used it on more than {}.",
            capital(&counted(all, "device")),
            counted(longest, "day")
        )
    }
}

fn shares_of_classes(sum: &Pair) -> Vec<ClientShare> {
    let Volume { sent, .. } = sum.volume;
    let share = |class: &ClientClass| ClientShare {
        class: class.code().to_owned(),
        sent: Figure::new(
            sum.by_class.get(usize::from(class.number())).copied().unwrap_or_default(),
            sent,
            "bytes sent to it",
        ),
    };
    sum.classes.iter().map(share).collect()
}

fn due_by_severity(severity: u8, until: Timestamp) -> String {
    let days = DUE_DAYS.iter().find(|(least, _)| severity >= *least).map_or(90, |(_, days)| *days);
    let last =
        i64::try_from(until.seconds()).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    let day = last.map(|t| t.to_zoned(TimeZone::UTC).date());
    day.and_then(|d| d.checked_add(days.days()).ok()).map(|d| d.to_string()).unwrap_or_default()
}

fn history_line(decision: &Decision) -> HistoryLine {
    let text = |t: &Option<Text>| t.as_deref().unwrap_or_default().to_owned();
    HistoryLine {
        state: decision.state.code().to_owned(),
        status: decision.disposition.map_or("", word).to_owned(),
        scope: decision.scope.to_string(),
        owner: text(&decision.owner),
        reason: text(&decision.reason),
        decided: text(&decision.decided),
        expires: text(&decision.expires),
        policy: decision.policy_version.to_string(),
        data_until: rfc3339(decision.data_until),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_to_act_follow_severity() {
        let monday = Timestamp(1_772_409_600 * Timestamp::SECOND);
        for (severity, expected) in [
            (10, "2026-03-09"),
            (9, "2026-03-09"),
            (7, "2026-03-16"),
            (5, "2026-04-01"),
            (1, "2026-05-31"),
        ] {
            assert_eq!(due_by_severity(severity, monday), expected, "{severity}");
        }
    }

    #[test]
    fn kinds_that_stand_in_for_each_other() {
        assert!(alike(Some(Category::Chat), Some(Category::Search)));
        assert!(alike(Some(Category::Gateway), Some(Category::LlmApi)));
        assert!(!alike(Some(Category::Chat), Some(Category::LlmApi)), "people and programs");
        assert!(alike(Some(Category::Image), Some(Category::Image)));
        assert!(!alike(Some(Category::Image), Some(Category::Chat)));
    }
}
