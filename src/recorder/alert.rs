//! When a finding becomes an alert, and what the alert says.
//!
//! In: a finding that is new or changed, and what the store remembers of earlier alerts.
//! Out: the rules that speak ([`decide`]), and the event for the outbox ([`Event::new`]).
//! Never: reads a clock; says the same thing twice within its cool-down; carries payload.
//! Limits: [`EVENT_EVIDENCE_MAX`]; one event a finding and revision, whatever many rules speak.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::recorder::store::rows::{EvidenceItem, Finding, InputRow};
use crate::recorder::words::{Disposition, EvidenceKind};
use crate::types::Timestamp;

/// Version of [`Event`]'s fields; rises when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// Evidence items in one event. Enough to start looking; the store holds the rest, and a sink's
/// line stays under the sizes that collectors cut at.
pub const EVENT_EVIDENCE_MAX: usize = 5;

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
    /// Capture time for which a forbidden service that was told is not told again for the same
    /// device, in seconds.
    pub cooldown_s: u64,
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
            cooldown_s: 4 * 3600,
        }
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
    /// The upload of that day was told.
    pub upload_told: bool,
    /// When the forbidden use was told last.
    pub forbidden_told: Option<Timestamp>,
}

/// What [`decide`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Rules that speak, in order; empty for no alert.
    pub rules: Vec<Rule>,
    /// A rule would have spoken but for its cool-down.
    pub cooling: bool,
}

/// Which rules speak for a finding. Only use counts, and only of what nobody approved.
pub fn decide(rules: &Rules, finding: &Finding, memory: &Memory) -> Decision {
    let mut decision = Decision::default();
    if !finding.level.counts() || !finding.disposition.unapproved() {
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
    ];
    decision.rules = speaks.into_iter().filter(|s| s.1).map(|s| s.0).collect();
    decision.cooling = forbidden && cooling;
    decision
}

impl Rules {
    fn cooldown_ns(&self) -> u64 {
        self.cooldown_s.saturating_mul(Timestamp::SECOND)
    }
}

impl Rule {
    /// Every rule, in order.
    pub const ALL: [Rule; 4] = [Rule::FirstUse, Rule::NewUser, Rule::Upload, Rule::Forbidden];

    /// The text code of outside formats.
    pub fn code(self) -> &'static str {
        match self {
            Rule::FirstUse => "first_use",
            Rule::NewUser => "new_user",
            Rule::Upload => "upload",
            Rule::Forbidden => "forbidden",
        }
    }

    /// The number that stands in the store.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Lowest severity of an alert of this rule.
    fn severity_min(self) -> u8 {
        match self {
            Rule::FirstUse | Rule::NewUser => 4,
            Rule::Upload => 6,
            Rule::Forbidden => 7,
        }
    }

    fn reason(self, memory: &Memory) -> String {
        match self {
            Rule::FirstUse => "first use of this service in this store".to_owned(),
            Rule::NewUser => "first use of this service by this device".to_owned(),
            Rule::Upload => format!("{} bytes sent to it that day (UTC)", memory.sent_that_day),
            Rule::Forbidden => "the policy forbids this service here".to_owned(),
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
    /// Rules that spoke: `first_use`, `new_user`, `upload`, `forbidden`.
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
    fn rules_keep_their_numbers() {
        for (number, rule) in (0..).zip(Rule::ALL) {
            assert_eq!(rule.number(), number, "{}", rule.code());
        }
    }
}
