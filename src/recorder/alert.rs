//! When a finding becomes an alert, and what the alert says.
//!
//! In: a finding that is new or changed, and what the store remembers of earlier alerts.
//! Out: the rules that speak ([`decide`]), and the event for the outbox ([`Event::new`]).
//! Never: reads a clock; says the same thing twice within its cool-down; carries payload.
//! Limits: [`EVENT_EVIDENCE_MAX`], [`GROUP_MAX`]; one event a finding and revision, whatever many rules speak.

use std::collections::BTreeSet;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::recorder::identity::Person;
use crate::recorder::store::rows::{EvidenceItem, Finding, InputRow, Text};
use crate::recorder::words::{Disposition, EvidenceKind};
use crate::types::Timestamp;
use crate::written::masked;

/// Version of [`Event`]'s fields; rises when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// Evidence items in one event. Enough to start looking; the store holds the rest, and a sink's
/// line stays under the sizes that collectors cut at.
pub const EVENT_EVIDENCE_MAX: usize = 5;

/// Findings that an alert for many names. A receiver that wants all of them asks the store.
pub const GROUP_MAX: usize = 50;

/// The same where the use is forbidden: each of them is somebody's case, so all are named as long
/// as the line stays below what collectors take, some hundred kilobytes.
pub const GROUP_MAX_FORBIDDEN: usize = 1_000;

/// Findings that an alert for many names, of this kind.
pub fn named_max(disposition: Disposition) -> usize {
    match disposition {
        Disposition::Unsanctioned => GROUP_MAX_FORBIDDEN,
        _ => GROUP_MAX,
    }
}

/// What makes an alert. The number stands in the store, the code in outside formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A service used here that the store had not seen used.
    FirstUse,
    /// A device that had not used the service before.
    NewUser,
    /// More went up in a day than is allowed.
    Upload,
    /// A forbidden service was used.
    Forbidden,
    /// Far more went up in a day than this device usually sends there.
    Baseline,
    /// It was used outside working hours.
    OffHours,
    /// Some findings were told as one. It speaks for none itself.
    Group,
    /// More went up in one session than is allowed.
    Session,
    /// A service with a high risk score was used.
    Risk,
    /// Somebody whose data is sensitive used it.
    Sensitive,
}

/// Which rules speak, and from where on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// First use of a service.
    pub first_use: bool,
    /// First use of a service by a device.
    pub new_user: bool,
    /// Use of a forbidden service.
    pub forbidden: bool,
    /// Bytes that a device may send to a service in a day (UTC) before it is told; `None` for
    /// never.
    pub upload_bytes: Option<u64>,
    /// Bytes that a device may send to a service in one session before it is told; `None` for
    /// never.
    pub upload_session_bytes: Option<u64>,
    /// Services whose risk score is above what is tolerated without a word.
    pub risky: BTreeSet<Text>,
    /// Whose use is told on every day.
    pub sensitive: Sensitive,
    /// How many times its usual daily upload a device may send before it is told; `None` for
    /// never.
    pub upload_baseline: Option<u64>,
    /// Hours outside of which any use is told; `None` for never.
    pub work_hours: Option<Hours>,
    /// Hours in which only what is grave is told at once.
    pub quiet_hours: Option<Hours>,
    /// Hosts outside the catalogue that behave like AI services.
    pub candidate: bool,
    /// Capture time for which a forbidden service that was told is not told again for the same
    /// device, in seconds.
    pub cooldown_s: u64,
    /// What is not told, until when and why.
    pub suppressions: Vec<Suppression>,
    /// How many at a time.
    pub pace: Pace,
}

/// How many alerts there are of many findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// One for each finding: somebody looks at one capture.
    #[default]
    Every,
    /// A few a day, and a digest of the rest: a sensor that runs.
    Grouped(Grouped),
}

/// A few a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouped {
    /// First days of a store in which only forbidden use and bulk upload are told at once.
    pub inventory_days: u32,
    /// Somebody made a policy: before that, the same holds.
    pub decided: bool,
    /// Alerts a day, the digest among them.
    pub daily_max: u32,
}

impl Pace {
    /// The numbers, if it is grouped.
    pub fn grouped(&self) -> Option<&Grouped> {
        match self {
            Pace::Every => None,
            Pace::Grouped(grouped) => Some(grouped),
        }
    }
}

/// Hours of a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Minutes after midnight.
    pub from: u16,
    /// Minutes after midnight; before `from` it means the next day.
    pub to: u16,
    /// Days from Monday on.
    pub days: [bool; 7],
    /// Minutes east of UTC.
    pub offset: i32,
}

impl Hours {
    /// `true` if a time lies in them.
    pub fn hold(&self, at: Timestamp) -> bool {
        const DAY: i64 = 1_440;
        let minute = i64::from(at.minute()).saturating_add(i64::from(self.offset));
        let of_day = minute.rem_euclid(DAY);
        // 1970-01-01 was a Thursday, the fourth day from Monday on.
        let weekday = |minute: i64| minute.div_euclid(DAY).saturating_add(3).rem_euclid(7);
        let on = |minute: i64| {
            let day = usize::try_from(weekday(minute)).unwrap_or(0);
            self.days.get(day).copied().unwrap_or(false)
        };
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        if from < to {
            return on(minute) && (from..to).contains(&of_day);
        }
        (of_day >= from && on(minute)) || (of_day < to && on(minute.saturating_sub(DAY)))
    }
}

/// Something that is known and not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Service id; absent for any.
    pub service: Option<String>,
    /// Address, link address or name of a device; absent for any.
    pub device: Option<String>,
    /// Last moment, capture time.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

impl Suppression {
    fn silences(&self, finding: &Finding) -> bool {
        let who = finding.actor.text();
        let is_device = |device: &String| {
            [Some(&who.ip), who.mac.as_ref(), who.host.as_ref()].contains(&Some(device))
        };
        self.until.is_none_or(|until| finding.last_seen <= until)
            && self.service.as_deref().is_none_or(|s| s == &*finding.service)
            && self.device.as_ref().is_none_or(is_device)
    }
}

impl Default for Rules {
    /// 10 MB is a folder of documents, and far above what a day of typing sends; four hours is
    /// half a working day, so that a device is told at most a few times a day.
    fn default() -> Self {
        Self {
            first_use: true,
            new_user: true,
            forbidden: true,
            upload_bytes: Some(10_000_000),
            upload_session_bytes: None,
            risky: BTreeSet::new(),
            sensitive: Sensitive::default(),
            upload_baseline: Some(10),
            work_hours: None,
            quiet_hours: None,
            candidate: true,
            cooldown_s: 4 * 3600,
            suppressions: Vec::new(),
            pace: Pace::Every,
        }
    }
}

/// People and places whose use is told whatever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sensitive {
    /// Departments.
    pub departments: Vec<Text>,
    /// Networks.
    pub networks: Vec<(IpAddr, u8)>,
    /// Logins: the members of groups, as the inventory names them.
    pub users: BTreeSet<Text>,
}

impl Sensitive {
    fn holds(&self, finding: &Finding) -> bool {
        let actor = &finding.actor;
        let member = |p: &Person| p.one().is_some_and(|c| self.users.contains(c.user.name()));
        let own = actor.department().map_or("", |d| d);
        self.departments.iter().any(|d| own.eq_ignore_ascii_case(d))
            || self.networks.iter().any(|(net, bits)| masked(actor.addr, *bits) == *net)
            || member(&actor.who)
            || finding.people.iter().any(|p| member(&p.who))
    }
}

/// What the store remembers about the service and the device of a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The service was used here before.
    pub service_known: bool,
    /// The device used the service before.
    pub user_known: bool,
    /// Bytes that the device sent to the service on the finding's day, over all inputs.
    pub sent_that_day: u64,
    /// Bytes that it sends there on a day of use, on the average of the fourteen days before; 0 as
    /// long as these are too few to have a usual.
    pub usual_a_day: u64,
    /// The upload of that day was told.
    pub upload_told: bool,
    /// That it was far above the usual was told.
    pub baseline_told: bool,
    /// Use outside working hours was told that day.
    pub off_hours_told: bool,
    /// When the forbidden use was told last.
    pub forbidden_told: Option<Timestamp>,
    /// Most bytes that the device sent to the service in one session of that day.
    pub longest_upload: u64,
    /// The upload of a session of that day was told.
    pub session_told: bool,
    /// The use of a risky service was told that day.
    pub risk_told: bool,
    /// That somebody sensitive used it was told that day.
    pub sensitive_told: bool,
}

/// What [`decide`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Rules that speak, in order; empty for no alert.
    pub rules: Vec<Rule>,
    /// A rule would have spoken but for its cool-down.
    pub cooling: bool,
    /// Rules would have spoken but for a suppression.
    pub suppressed: bool,
}

/// Which rules speak for a finding. Only use counts, and only of what nobody approved.
pub fn decide(rules: &Rules, finding: &Finding, memory: &Memory) -> Decision {
    let mut decision = Decision::default();
    if !finding.level.counts() || !finding.disposition.unapproved() {
        return decision;
    }
    if rules.suppressions.iter().any(|s| s.silences(finding)) {
        decision.suppressed = true;
        return decision;
    }
    let uploaded = rules.upload_bytes.is_some_and(|max| memory.sent_that_day > max);
    let forbidden = rules.forbidden && finding.disposition == Disposition::Unsanctioned;
    let cooling = memory
        .forbidden_told
        .is_some_and(|told| told.0.abs_diff(finding.last_seen.0) < rules.cooldown_ns());
    let speaks = [
        (Rule::FirstUse, rules.first_use && !memory.service_known),
        (Rule::NewUser, rules.new_user && !memory.user_known),
        (Rule::Upload, uploaded && !memory.upload_told),
        (Rule::Forbidden, forbidden && !cooling),
        (Rule::Baseline, rules.above_usual(memory) && !memory.baseline_told),
        (Rule::OffHours, rules.off_hours(finding) && !memory.off_hours_told),
        (
            Rule::Session,
            rules.upload_session_bytes.is_some_and(|max| memory.longest_upload > max)
                && !memory.session_told,
        ),
        (Rule::Risk, rules.risky.contains(&finding.service) && !memory.risk_told),
        (Rule::Sensitive, rules.sensitive.holds(finding) && !memory.sensitive_told),
    ];
    decision.rules = speaks.into_iter().filter(|s| s.1).map(|s| s.0).collect();
    decision.cooling = forbidden && cooling;
    decision
}

impl Rules {
    fn cooldown_ns(&self) -> u64 {
        self.cooldown_s.saturating_mul(Timestamp::SECOND)
    }

    /// Far above the usual, and a tenth at least of what is told anyway: ten times a few bytes
    /// is nothing.
    fn above_usual(&self, memory: &Memory) -> bool {
        let least = self.upload_bytes.unwrap_or(0) / 10;
        self.upload_baseline.is_some_and(|times| {
            memory.usual_a_day > 0
                && memory.sent_that_day > memory.usual_a_day.saturating_mul(times)
                && memory.sent_that_day > least
        })
    }

    fn off_hours(&self, finding: &Finding) -> bool {
        self.work_hours.as_ref().is_some_and(|hours| !hours.hold(finding.last_seen))
    }

    /// `true` in hours in which only what is grave is told at once.
    pub fn quiet(&self, finding: &Finding) -> bool {
        let grave = finding.disposition == Disposition::Unsanctioned;
        !grave && self.quiet_hours.as_ref().is_some_and(|hours| hours.hold(finding.last_seen))
    }
}

impl Rule {
    /// Every rule, in order.
    pub const ALL: [Rule; 10] = [
        Rule::FirstUse,
        Rule::NewUser,
        Rule::Upload,
        Rule::Forbidden,
        Rule::Baseline,
        Rule::OffHours,
        Rule::Group,
        Rule::Session,
        Rule::Risk,
        Rule::Sensitive,
    ];

    /// It is told at once, in the first days of a sensor too: forbidden use, and much that left.
    pub fn grave(self) -> bool {
        matches!(self, Rule::Forbidden | Rule::Upload | Rule::Session)
    }

    /// The text code of outside formats.
    pub fn code(self) -> &'static str {
        match self {
            Rule::FirstUse => "first_use",
            Rule::NewUser => "new_user",
            Rule::Upload => "upload",
            Rule::Forbidden => "forbidden",
            Rule::Baseline => "upload_above_usual",
            Rule::OffHours => "off_hours",
            Rule::Group => "group",
            Rule::Session => "upload_session",
            Rule::Risk => "risk",
            Rule::Sensitive => "sensitive",
        }
    }

    /// The number that stands in the store.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Lowest severity of an alert of this rule.
    fn severity_min(self) -> u8 {
        match self {
            Rule::FirstUse | Rule::NewUser | Rule::OffHours => 4,
            Rule::Risk | Rule::Sensitive => 5,
            Rule::Upload | Rule::Baseline | Rule::Session => 6,
            Rule::Group => 0,
            Rule::Forbidden => 7,
        }
    }

    fn reason(self, memory: &Memory) -> String {
        match self {
            Rule::FirstUse => "first use of this service in this store".to_owned(),
            Rule::NewUser => "first use of this service by this device".to_owned(),
            Rule::Upload => format!("{} bytes sent to it that day (UTC)", memory.sent_that_day),
            Rule::Forbidden => "the policy forbids this service here".to_owned(),
            Rule::Baseline => format!(
                "{} bytes sent to it that day, usually {} a day",
                memory.sent_that_day, memory.usual_a_day
            ),
            Rule::OffHours => "outside working hours".to_owned(),
            Rule::Group => String::new(),
            Rule::Session => format!("{} bytes sent to it in one session", memory.longest_upload),
            Rule::Risk => "its risk score is above what this configuration tolerates".to_owned(),
            Rule::Sensitive => "it was used by somebody whose data is sensitive".to_owned(),
        }
    }
}

/// An alert as sinks get it: one JSON object, every time capture time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `finding`.
    pub kind: String,
    /// Hash of facts that never change.
    pub finding_id: String,
    /// Finding id and revision: the same however often it is sent.
    pub event_id: String,
    /// Revision; the higher one holds.
    pub ver: u64,
    /// Last packet of the finding at this revision; RFC 3339, UTC, microseconds.
    pub ts: String,
    /// First packet.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
    /// Sensor that watched; absent for files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor_id: Option<String>,
    /// Input by its name.
    pub capture: String,
    /// Client address.
    pub src_ip: String,
    /// Client port of the first evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// Client link address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_mac: Option<String>,
    /// Name that the client gave itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_host: Option<String>,
    /// Person at the device, if one is known, or a pseudonym.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What ties the person to the device, or why nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_basis: Option<String>,
    /// Department of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// Server address of the first evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst_ip: Option<String>,
    /// Server port of the first evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst_port: Option<u16>,
    /// `tcp`, `udp` or `ipN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// `tls`, `quic`, `http`, `dns`, `socks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_proto: Option<String>,
    /// Community ID of the first evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub community_id: Option<String>,
    /// Name of the first evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What gave the name: `sni`, `quic_sni`, `http_host`, `dns`, `cert_san`, `ip` ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_source: Option<String>,
    /// JA4 of the client's hello: a TLS stack, no program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ja4: Option<String>,
    /// Service id.
    pub service: String,
    /// Service name.
    pub service_name: String,
    /// Who runs it.
    pub vendor: String,
    /// Category.
    pub category: String,
    /// Host pattern that matched.
    pub signature: String,
    /// Catalogue that it stands in.
    pub signature_version: String,
    /// Rule of the policy, empty if none spoke.
    pub policy: String,
    /// Policy that was asked.
    pub policy_version: String,
    /// `unsanctioned`, `unreviewed`, `tolerated` or `sanctioned`.
    pub action: String,
    /// 0 to 10.
    pub severity: u8,
    /// `browser`, `program`, `server` or `unknown`.
    pub client_class: String,
    /// `used` or `bulk`.
    pub level: String,
    /// Payload bytes from the client.
    pub bytes_up: u64,
    /// Payload bytes to the client.
    pub bytes_down: u64,
    /// Flows.
    pub flows: u64,
    /// Rules that spoke: `first_use`, `new_user`, `upload`, `forbidden`, `upload_above_usual`,
    /// `off_hours`, `upload_session`, `risk`, `sensitive`.
    pub alerts: Vec<String>,
    /// One line for a person.
    pub title: String,
    /// Why, a short sentence each.
    pub reasons: Vec<String>,
    /// What to do next.
    pub next_steps: String,
    /// Where to look.
    pub evidence: Vec<EventEvidence>,
    /// Flows beyond `evidence` that would show the same.
    pub evidence_more: u64,
    /// Findings of the same service and day that this alert tells of too; the lists of those
    /// that are many are cut at 50, at 1,000 where the use is forbidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
}

/// Findings that one alert tells of besides its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// How many.
    pub findings: u64,
    /// What their clients sent, in payload bytes.
    pub bytes_up: u64,
    /// Event ids.
    pub event_ids: Vec<String>,
    /// Client addresses.
    pub src_ips: Vec<String>,
}

/// One flow that shows the finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventEvidence {
    /// First packet of the flow.
    pub ts: String,
    /// Community ID, version 1.
    pub community_id: String,
    /// Capture by its name.
    pub capture: String,
    /// First frame of the flow, from 1.
    pub first_frame: u64,
    /// Frame that completed the name, 0 if it came from elsewhere.
    pub name_frame: u64,
    /// Last frame seen.
    pub last_frame: u64,
    /// Shows exactly this flow.
    pub wireshark_filter: String,
    /// Both ends.
    pub five_tuple: String,
    /// Name.
    pub host: String,
    /// What gave the name.
    pub host_source: String,
    /// JA4 of the client's hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ja4: Option<String>,
    /// `browser`, `program`, `server` or `unknown`.
    pub client_class: String,
    /// What the client class rests on.
    pub client_evidence: String,
}

impl Event {
    /// The event of a finding as it now stands, with its stored evidence and revision.
    pub fn new(input: &InputRow, finding: &Finding, rules: &[Rule], memory: &Memory) -> Event {
        let who = finding.actor.text();
        let first = finding.evidence.first();
        let shown = finding.evidence.len().min(EVENT_EVIDENCE_MAX);
        let unshown = finding.evidence.len().saturating_sub(shown) as u64;
        let own = finding.reasons.iter().map(ToString::to_string);
        Event {
            schema: SCHEMA,
            kind: "finding".to_owned(),
            finding_id: finding.id.to_string(),
            event_id: format!("{}-{}", finding.id, finding.revision),
            ver: u64::from(finding.revision),
            ts: rfc3339(finding.last_seen),
            first_seen: rfc3339(finding.first_seen),
            last_seen: rfc3339(finding.last_seen),
            sensor_id: input.sensor.as_deref().map(str::to_owned),
            capture: input.name.to_string(),
            src_ip: who.ip,
            src_port: first.map(|e| e.client.port),
            src_mac: who.mac,
            src_host: who.host,
            user: who.user,
            user_basis: who.user_basis,
            department: who.department,
            dst_ip: first.map(|e| e.server.addr.to_string()),
            dst_port: first.map(|e| e.server.port),
            transport: first.map(EvidenceItem::transport_text),
            app_proto: first.and_then(|e| app_proto(e.kind)).map(str::to_owned),
            community_id: first.map(|e| e.community_id.to_string()),
            host: first.map(|e| e.name.to_string()),
            host_source: first.map(|e| e.kind.code().to_owned()),
            ja4: first.and_then(|e| e.ja4.as_deref()).map(str::to_owned),
            service: finding.service.to_string(),
            service_name: finding.service_name.to_string(),
            vendor: finding.vendor.to_string(),
            category: finding.category.to_string(),
            signature: finding.pattern.to_string(),
            signature_version: finding.signature_version.to_string(),
            policy: finding.policy.to_string(),
            policy_version: finding.policy_version.to_string(),
            action: finding.disposition.code().to_owned(),
            severity: rules.iter().map(|r| r.severity_min()).fold(finding.severity, u8::max),
            client_class: finding.client_class.code().to_owned(),
            level: finding.level.code().to_owned(),
            bytes_up: finding.bytes_up,
            bytes_down: finding.bytes_down,
            flows: finding.flows,
            alerts: rules.iter().map(|r| r.code().to_owned()).collect(),
            title: finding.title.to_string(),
            reasons: own.chain(rules.iter().map(|r| r.reason(memory))).collect(),
            next_steps: finding.next_steps.to_string(),
            evidence: finding.evidence.iter().take(shown).map(EventEvidence::new).collect(),
            evidence_more: finding.evidence_more.saturating_add(unshown),
            group: None,
        }
    }

    /// Lets the alert speak for other findings too.
    pub fn join<'f>(&mut self, others: impl Iterator<Item = (&'f Finding, &'f [Rule])>) {
        let mut group = Group::default();
        for (finding, rules) in others {
            group.findings = group.findings.saturating_add(1);
            group.bytes_up = group.bytes_up.saturating_add(finding.bytes_up);
            if group.event_ids.len() < named_max(finding.disposition) {
                group.event_ids.push(format!("{}-{}", finding.id, finding.revision));
                group.src_ips.push(finding.actor.text().ip);
            }
            for rule in rules {
                self.severity = self.severity.max(rule.severity_min());
                if !self.alerts.iter().any(|a| a == rule.code()) {
                    self.alerts.push(rule.code().to_owned());
                }
            }
        }
        if group.findings > 0 {
            let devices = if group.findings == 1 { "device" } else { "devices" };
            self.title = format!("{}; and {} more {devices}", self.title, group.findings);
            self.group = Some(group);
        }
    }
}

impl EventEvidence {
    /// The item as text.
    pub fn new(item: &EvidenceItem) -> Self {
        Self {
            ts: rfc3339(item.time),
            community_id: item.community_id.to_string(),
            capture: item.capture.to_string(),
            first_frame: item.first_frame,
            name_frame: item.name_frame,
            last_frame: item.last_frame,
            wireshark_filter: item.wireshark_filter.to_string(),
            five_tuple: item.five_tuple(),
            host: item.name.to_string(),
            host_source: item.kind.code().to_owned(),
            ja4: item.ja4.as_deref().map(str::to_owned),
            client_class: item.client_class.code().to_owned(),
            client_evidence: item.client_evidence.to_string(),
        }
    }
}

/// Protocol that carried a name of this kind, if the kind says so.
fn app_proto(kind: EvidenceKind) -> Option<&'static str> {
    match kind {
        EvidenceKind::Sni | EvidenceKind::Certificate => Some("tls"),
        EvidenceKind::QuicSni | EvidenceKind::QuicCid => Some("quic"),
        EvidenceKind::HttpHost | EvidenceKind::Authority | EvidenceKind::Connect => Some("http"),
        EvidenceKind::Socks => Some("socks"),
        EvidenceKind::Dns | EvidenceKind::Address => None,
    }
}

/// The published schema of [`Event`].
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Event)
}

/// Capture time as RFC 3339 text in UTC with microseconds.
pub fn rfc3339(time: Timestamp) -> String {
    let nanoseconds = i128::from(time.0);
    // Every u64 of nanoseconds lies before the year 2555, and jiff goes to 9999.
    jiff::Timestamp::from_nanosecond(nanoseconds)
        .unwrap_or(jiff::Timestamp::MAX)
        .strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_microseconds() {
        for (name, time, expected) in [
            ("epoch", 0, "1970-01-01T00:00:00.000000Z"),
            ("nanoseconds are cut", 1_772_409_600_123_456_999, "2026-03-02T00:00:00.123456Z"),
            ("the last", u64::MAX, "2554-07-21T23:34:33.709551Z"),
        ] {
            assert_eq!(rfc3339(Timestamp(time)), expected, "{name}");
        }
    }

    #[test]
    fn hours_of_a_week() {
        const MONDAY: u64 = 1_772_409_600;
        let week = [true, true, true, true, true, false, false];
        let day = Hours { from: 8 * 60, to: 18 * 60, days: week, offset: 0 };
        let night = Hours { from: 22 * 60, to: 6 * 60, days: week, offset: 0 };
        let east = Hours { offset: 120, ..day };
        let h = |day: u64, hour: u64| {
            Timestamp((MONDAY + day * 86_400 + hour * 3_600) * Timestamp::SECOND)
        };
        for (name, hours, at, expected) in [
            ("morning", day, h(0, 8), true),
            ("evening", day, h(0, 18), false),
            ("saturday", day, h(5, 10), false),
            ("friday night", night, h(4, 23), true),
            ("into saturday", night, h(5, 5), true),
            ("saturday night", night, h(5, 23), false),
            ("monday before six: sunday's night", night, h(0, 5), false),
            ("six in utc is eight in the east", east, h(0, 6), true),
            ("sixteen is eighteen", east, h(0, 16), false),
        ] {
            assert_eq!(hours.hold(at), expected, "{name}");
        }
    }

    #[test]
    fn rules_keep_their_numbers() {
        for (number, rule) in (0..).zip(Rule::ALL) {
            assert_eq!(rule.number(), number, "{}", rule.code());
        }
    }
}
