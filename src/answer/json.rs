//! A scan's answer as one JSON document.
//!
//! In: [`Facts`]. Out: [`Document`], whose schema is published in `docs/schema/scan-1.json`.
//! Never: wall time, thread count, an absolute path; an actor other than through `Actor::text`.
//! Limits: those of the store's rows.

use schemars::JsonSchema;
use serde::Serialize;

use super::summary::{Facts, names};
use crate::recorder::alert::{EventEvidence, rfc3339};
use crate::recorder::signature::Catalogue;
use crate::recorder::store::rows::{Actor, Finding, InputRow, PersonUse};
use crate::recorder::store::{self, CandidateLine, CoverageLine, HiddenLine, SeenBy, ServiceLine};
use crate::recorder::words::Disposition;
use crate::types::Timestamp;

/// Version of the document; rises when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// A scan's answer. Times are capture time: RFC 3339, UTC. Bytes are TCP and UDP payload.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(title = "shadowtap scan")]
pub struct Document {
    /// Version of this format.
    pub schema: u32,
    /// `scan`.
    pub kind: String,
    /// Policies and catalogues that the figures were judged by.
    pub versions: Vec<Versions>,
    /// Time of the first frame; absent without frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_frame: Option<String>,
    /// Time of the last frame; absent without frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_frame: Option<String>,
    /// Frames in all inputs.
    pub frames: u64,
    /// What was read.
    pub inputs: Vec<Input>,
    /// What was named as input and could not be read, or is no capture.
    pub unread: Vec<UnreadInput>,
    /// Services that the policy forbids.
    pub forbidden: ServiceGroup,
    /// Services of the catalogue about which nobody decided.
    pub unreviewed: ServiceGroup,
    /// Services that the policy allows or tolerates.
    pub allowed: ServiceGroup,
    /// Hosts outside the catalogue that behave like AI services; never counted as use.
    pub candidates: Vec<Candidate>,
    /// One device at one service on one day in one input, the most severe first.
    pub findings: Vec<FindingDocument>,
    /// What was seen and what could not be seen.
    pub coverage: Vec<Coverage>,
    /// Devices whose traffic, or part of it, goes through a security edge, a relay or a tunnel: what
    /// they use there is not visible here. By bytes, the most first.
    pub hidden_devices: Vec<HiddenDevice>,
}

/// One device and what hides its traffic.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HiddenDevice {
    /// Who.
    #[serde(flatten)]
    pub client: Client,
    /// Security edge, relay or tunnel by its name.
    pub behind: String,
    /// `security-edge`, `relay` or `tunnel`.
    pub kind: String,
    /// Payload bytes from the device.
    pub bytes_sent: u64,
    /// Payload bytes to the device.
    pub bytes_received: u64,
    /// Flows.
    pub flows: u64,
    /// First packet.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
}

/// What figures were judged by.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Versions {
    /// Policy.
    pub policy: String,
    /// Catalogue of services.
    pub signatures: String,
}

/// One input.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Input {
    /// Digest (XXH3-128) and size of the stored octets.
    pub id: String,
    /// Path below the directory given.
    pub name: String,
    /// Octets as stored.
    pub size_bytes: u64,
    /// Frames.
    pub frames: u64,
    /// Time of the first frame; absent without frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_frame: Option<String>,
    /// Time of the last frame; absent without frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_frame: Option<String>,
    /// What ended it early, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// An input of which nothing was read.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UnreadInput {
    /// Path below the directory given.
    pub name: String,
    /// Why.
    pub reason: String,
    /// It was named as a capture; `false` if it was found in a folder and is none.
    pub failed: bool,
}

/// Volume, presence and time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Figures {
    /// Distinct devices.
    pub devices: u64,
    /// Stretches of presence with gaps under 30 minutes.
    pub sessions: u64,
    /// Payload bytes from the clients.
    pub bytes_sent: u64,
    /// Payload bytes to the clients.
    pub bytes_received: u64,
    /// Flows.
    pub flows: u64,
    /// First packet; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<String>,
    /// Last packet; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
}

/// Services of like verdict.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ServiceGroup {
    /// What was used.
    pub used: Figures,
    /// What was only named or contacted.
    pub below: Figures,
    /// By bytes sent, the most first.
    pub services: Vec<ServiceUse>,
}

/// One service within a group.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ServiceUse {
    /// Service id.
    pub service: String,
    /// Service name.
    pub name: String,
    /// Who runs it.
    pub vendor: String,
    /// Category; empty if the catalogue does not know the service any more.
    pub category: String,
    /// `unsanctioned`, `unreviewed`, `tolerated` or `sanctioned`.
    pub disposition: String,
    /// Highest level: `named`, `contacted`, `used` or `bulk`.
    pub level: String,
    /// Sessions of use.
    pub sessions: u64,
    /// What was used.
    pub used: Figures,
    /// What was only named or contacted.
    pub below: Figures,
    /// Who, by address; each stands where its worst verdict does.
    pub actors: Vec<ActorUse>,
}

/// One address at one service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ActorUse {
    /// Who.
    #[serde(flatten)]
    pub client: Client,
    /// `browser`, `program`, `server`, `unknown`.
    pub client_classes: Vec<String>,
    /// Worst verdict.
    pub disposition: String,
    /// Highest level.
    pub level: String,
    /// Payload bytes from the client, at all levels.
    pub bytes_sent: u64,
    /// Payload bytes to the client, at all levels.
    pub bytes_received: u64,
    /// Payload bytes from the client in use.
    pub used_bytes_sent: u64,
    /// Payload bytes to the client in use.
    pub used_bytes_received: u64,
    /// Flows.
    pub flows: u64,
    /// First packet.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
}

/// Who, in words that the privacy mode allows.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Client {
    /// Address.
    pub address: String,
    /// Link address, if the client is on the watched link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Name that the device gave itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Person at the device, if one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What ties the person to the device: `logged on` or `primary user` and the source; or why
    /// nobody is named: `many` and the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_basis: Option<String>,
    /// Department of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
}

/// A person's part of a finding.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PersonPart {
    /// Who; absent if nobody is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What ties the person to the device, or why nobody is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_basis: Option<String>,
    /// Department of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// First flow that began.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
    /// Payload bytes from the client.
    pub bytes_sent: u64,
}

/// A host outside the catalogue that behaves like an AI service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Candidate {
    /// Host name or address.
    pub host: String,
    /// API grammars seen.
    pub grammars: Vec<String>,
    /// What was seen.
    pub evidence: String,
    /// Distinct clients, at least.
    pub clients: u64,
    /// Payload bytes from the clients.
    pub bytes_sent: u64,
    /// Payload bytes to the clients.
    pub bytes_received: u64,
    /// Flows.
    pub flows: u64,
    /// First packet.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
}

/// One device at one service on one day in one input.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FindingDocument {
    /// Hash of facts that never change.
    pub id: String,
    /// Revision; the higher one holds.
    pub revision: u32,
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
    /// `unsanctioned`, `unreviewed`, `tolerated` or `sanctioned`.
    pub disposition: String,
    /// Rule of the policy, empty if none spoke.
    pub policy: String,
    /// Policy that was asked.
    pub policy_version: String,
    /// Who.
    #[serde(flatten)]
    pub client: Client,
    /// `browser`, `program`, `server` or `unknown`.
    pub client_class: String,
    /// `named`, `contacted`, `used` or `bulk`.
    pub level: String,
    /// 0 to 10.
    pub severity: u8,
    /// One line for a person.
    pub title: String,
    /// Why that severity, a short sentence each.
    pub reasons: Vec<String>,
    /// What to do next.
    pub next_steps: String,
    /// Payload bytes from the client.
    pub bytes_sent: u64,
    /// Payload bytes to the client.
    pub bytes_received: u64,
    /// Flows.
    pub flows: u64,
    /// First packet.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
    /// Persons who were at the device, each with his or her part, in the order of time.
    pub people: Vec<PersonPart>,
    /// Where to look.
    pub evidence: Vec<EventEvidence>,
    /// Flows beyond `evidence` that would show the same.
    pub evidence_more: u64,
}

/// One number of the coverage ledger.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Coverage {
    /// What was counted.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Name of the number that this is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// That number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denominator: Option<u64>,
}

/// The document of a scan.
pub fn document(facts: &Facts, catalogue: &Catalogue) -> Document {
    let summary = &facts.summary;
    let group = |group: &store::Group, verdicts: &[Disposition]| ServiceGroup {
        used: figures(&group.used),
        below: figures(&group.below),
        services: group.services.iter().map(|l| service(facts, l, verdicts, catalogue)).collect(),
    };
    let judged = |j: &store::Judged| Versions {
        policy: j.policy_version.to_string(),
        signatures: j.signature_version.to_string(),
    };
    let unread = |u: &super::summary::Unread| UnreadInput {
        name: u.name.clone(),
        reason: u.reason.clone(),
        failed: u.failed,
    };
    Document {
        schema: SCHEMA,
        kind: "scan".to_owned(),
        versions: summary.judged.iter().map(judged).collect(),
        first_frame: some_time(summary.first_time),
        last_frame: some_time(summary.last_time),
        frames: summary.frames,
        inputs: facts.inputs.iter().map(input).collect(),
        unread: facts.unread.iter().map(unread).collect(),
        forbidden: group(&summary.forbidden, &[Disposition::Unsanctioned]),
        unreviewed: group(&summary.unreviewed, &[Disposition::Unreviewed]),
        allowed: group(&summary.allowed, &[Disposition::Tolerated, Disposition::Sanctioned]),
        candidates: summary.candidates.iter().map(candidate).collect(),
        findings: facts.findings.iter().map(finding).collect(),
        coverage: facts.coverage.iter().map(coverage).collect(),
        hidden_devices: facts.hidden.iter().map(hidden).collect(),
    }
}

/// The published schema of [`Document`].
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Document)
}

/// A finding with its evidence.
pub fn finding(f: &Finding) -> FindingDocument {
    FindingDocument {
        id: f.id.to_string(),
        revision: f.revision,
        service: f.service.to_string(),
        service_name: f.service_name.to_string(),
        vendor: f.vendor.to_string(),
        category: f.category.to_string(),
        signature: f.pattern.to_string(),
        signature_version: f.signature_version.to_string(),
        disposition: f.disposition.code().to_owned(),
        policy: f.policy.to_string(),
        policy_version: f.policy_version.to_string(),
        client: client(&f.actor),
        client_class: f.client_class.code().to_owned(),
        level: f.level.code().to_owned(),
        severity: f.severity,
        title: f.title.to_string(),
        reasons: f.reasons.iter().map(ToString::to_string).collect(),
        next_steps: f.next_steps.to_string(),
        bytes_sent: f.bytes_up,
        bytes_received: f.bytes_down,
        flows: f.flows,
        first_seen: rfc3339(f.first_seen),
        last_seen: rfc3339(f.last_seen),
        people: f.people.iter().map(|of| person(f, of)).collect(),
        evidence: f.evidence.iter().map(EventEvidence::new).collect(),
        evidence_more: f.evidence_more,
    }
}

fn client(actor: &store::rows::Actor) -> Client {
    let text = actor.text();
    Client {
        address: text.ip,
        mac: text.mac,
        host: text.host,
        user: text.user,
        user_basis: text.user_basis,
        department: text.department,
    }
}

fn person(f: &Finding, of: &PersonUse) -> PersonPart {
    let text = Actor { who: of.who.clone(), ..Actor::clone(&f.actor) }.text();
    PersonPart {
        user: text.user,
        user_basis: text.user_basis,
        department: text.department,
        first_seen: rfc3339(of.first_seen),
        last_seen: rfc3339(of.last_seen),
        bytes_sent: of.bytes_up,
    }
}

fn some_time(at: Timestamp) -> Option<String> {
    (at.0 != 0).then(|| rfc3339(at))
}

fn figures(t: &store::Totals) -> Figures {
    Figures {
        devices: t.devices,
        sessions: t.sessions,
        bytes_sent: t.bytes_up,
        bytes_received: t.bytes_down,
        flows: t.flows,
        first_seen: some_time(t.first_seen),
        last_seen: some_time(t.last_seen),
    }
}

fn service(
    facts: &Facts,
    line: &ServiceLine,
    verdicts: &[Disposition],
    catalogue: &Catalogue,
) -> ServiceUse {
    let (name, vendor) = names(catalogue, &line.service);
    let category = catalogue.service(&line.service).map_or("", |s| s.category.word());
    // In the group of what is allowed one service may stand twice, under each verdict.
    let own = |s: &&SeenBy| s.disposition == line.disposition;
    ServiceUse {
        service: line.service.to_string(),
        name: name.to_owned(),
        vendor: vendor.to_owned(),
        category: category.to_owned(),
        disposition: line.disposition.code().to_owned(),
        level: line.level.code().to_owned(),
        sessions: line.used.sessions,
        used: figures(&line.used),
        below: figures(&line.below),
        actors: facts.actors(&line.service, verdicts).filter(own).map(actor).collect(),
    }
}

fn actor(seen: &SeenBy) -> ActorUse {
    ActorUse {
        client: client(&seen.actor),
        client_classes: seen.client_classes.iter().map(|c| c.code().to_owned()).collect(),
        disposition: seen.disposition.code().to_owned(),
        level: seen.level.code().to_owned(),
        bytes_sent: seen.totals.bytes_up,
        bytes_received: seen.totals.bytes_down,
        used_bytes_sent: seen.used_bytes_up,
        used_bytes_received: seen.used_bytes_down,
        flows: seen.totals.flows,
        first_seen: rfc3339(seen.totals.first_seen),
        last_seen: rfc3339(seen.totals.last_seen),
    }
}

fn candidate(c: &CandidateLine) -> Candidate {
    Candidate {
        host: c.host.to_string(),
        grammars: c.grammars.iter().map(ToString::to_string).collect(),
        evidence: c.evidence.to_string(),
        clients: c.totals.devices,
        bytes_sent: c.totals.bytes_up,
        bytes_received: c.totals.bytes_down,
        flows: c.totals.flows,
        first_seen: rfc3339(c.totals.first_seen),
        last_seen: rfc3339(c.totals.last_seen),
    }
}

fn input(row: &InputRow) -> Input {
    Input {
        id: row.key.to_string(),
        name: row.name.to_string(),
        size_bytes: row.size_bytes,
        frames: row.frames,
        first_frame: some_time(row.first_time),
        last_frame: some_time(row.last_time),
        fault: row.fault.as_deref().map(str::to_owned),
    }
}

fn hidden(line: &HiddenLine) -> HiddenDevice {
    HiddenDevice {
        client: client(&line.actor),
        behind: line.behind.to_string(),
        kind: line.kind.to_string(),
        bytes_sent: line.totals.bytes_up,
        bytes_received: line.totals.bytes_down,
        flows: line.totals.flows,
        first_seen: rfc3339(line.totals.first_seen),
        last_seen: rfc3339(line.totals.last_seen),
    }
}

fn coverage(line: &CoverageLine) -> Coverage {
    Coverage {
        name: line.name.to_string(),
        count: line.count,
        of: line.of.as_ref().map(|(name, _)| name.to_string()),
        denominator: line.of.as_ref().map(|(_, count)| *count),
    }
}
