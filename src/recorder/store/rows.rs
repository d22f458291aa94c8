//! What is stored, as plain values.
//!
//! In and out: the recorder fills these, the store keeps them, answers give them back.
//! Never: a URL, a body, a login; a name that matched nothing together with an actor.
//! Limits: [`EVIDENCE_MAX`], [`DESTINATIONS_MAX`], [`CANDIDATES_MAX`]; beyond each is counted.
//!
//! No serde here: every outside format has its own struct.

use std::net::IpAddr;
use std::sync::Arc;

use crate::recorder::identity::subject::{address_text, is_pseudonym};
use crate::recorder::identity::{Many, Person, Source, Subject};
use crate::recorder::ledger::LedgerDay;
use crate::recorder::words::{ClientClass, Disposition, EvidenceKind, Level, Role};
use crate::types::{Endpoint, MacAddr, Realm, Timestamp};

/// Text that many rows share.
pub type Text = Arc<str>;

/// Evidence items kept a finding. Enough to show every way a service was used in a day and to
/// cut a sample of it; a device that polls all day would otherwise fill the store.
pub const EVIDENCE_MAX: usize = 20;

/// Unmatched destinations kept by name an input and day, by volume; the rest is one row. A busy
/// office names some ten thousand hosts a day, of which the first thousand carry nearly all bytes.
pub const DESTINATIONS_MAX: usize = 1_000;

/// Candidates kept an input and day, by volume. Whoever answers under thousands of names is
/// noise, and must not push out the store's other contents.
pub const CANDIDATES_MAX: usize = 1_000;

/// Flows of one device and service that lie less than this apart are one session.
pub const SESSION_GAP: u64 = 30 * 60 * Timestamp::SECOND;

/// Who: an address at a time, and what is known of the device behind it. Names a person or a
/// device, so it has no `Display` and no `Serialize`: [`Actor::text`] is the only way out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// Address space.
    pub realm: Realm,
    /// Address of the client.
    pub addr: IpAddr,
    /// Link address, if the client is on the watched link.
    pub mac: Option<MacAddr>,
    /// Name that the device gave itself; an attribute, no part of the identity.
    pub host_name: Option<Text>,
    /// Person at the device, or why none is named.
    pub who: Person,
    /// Department of the device, as the configuration or the inventory has it: an attribute, which
    /// queries other than [`crate::recorder::store::Answers::actors`] leave out.
    pub department: Option<Text>,
}

/// An actor in words, for outside formats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorText {
    /// Address.
    pub ip: String,
    /// Link address as `aa:bb:cc:dd:ee:ff`.
    pub mac: Option<String>,
    /// Host name.
    pub host: Option<String>,
    /// Person.
    pub user: Option<String>,
    /// What ties the person to the device: `logged on (kerberos)`, `primary user (inventory)`;
    /// or why nobody is named: `many: proxy`.
    pub user_basis: Option<String>,
    /// Department of the person, else of the device.
    pub department: Option<String>,
}

/// A person's part of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonUse {
    /// Who, or why nobody is named.
    pub who: Person,
    /// First flow that began.
    pub first_seen: Timestamp,
    /// Last packet.
    pub last_seen: Timestamp,
    /// Payload bytes from the client.
    pub bytes_up: u64,
}

/// A time in which an address belonged to a device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindingRow {
    /// Address space.
    pub realm: Realm,
    /// Address.
    pub addr: IpAddr,
    /// Link address of the device.
    pub mac: MacAddr,
    /// First moment.
    pub from: Timestamp,
    /// First moment behind it, as far as was known.
    pub until: Timestamp,
    /// Who said so.
    pub source: Source,
    /// Another source said otherwise meanwhile.
    pub disputed: bool,
}

/// What a device says of itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SaidRow {
    /// Address space.
    pub realm: Realm,
    /// Link address of the device.
    pub mac: MacAddr,
    /// A name of the device; else a system that it runs.
    pub is_name: bool,
    /// What it says.
    pub text: Text,
    /// How.
    pub source: Source,
    /// First time.
    pub first: Timestamp,
    /// Last time.
    pub last: Timestamp,
}

/// A time in which a person was at an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StayRow {
    /// Address space.
    pub realm: Realm,
    /// Address.
    pub addr: IpAddr,
    /// Who.
    pub user: Subject,
    /// First sign.
    pub from: Timestamp,
    /// Last sign.
    pub last: Timestamp,
    /// First moment behind it, as far as was known.
    pub until: Timestamp,
    /// Who said so.
    pub source: Source,
}

/// An address that stands for many people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManyRow {
    /// Address space.
    pub realm: Realm,
    /// Address.
    pub addr: IpAddr,
    /// Why.
    pub many: Many,
}

/// What an input says of who is who.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityRows {
    /// Devices of addresses.
    pub bindings: Vec<BindingRow>,
    /// What devices say of themselves.
    pub said: Vec<SaidRow>,
    /// People at addresses.
    pub stays: Vec<StayRow>,
    /// Addresses of many.
    pub many: Vec<ManyRow>,
}

impl IdentityRows {
    /// Puts the rows into an order that does not depend on how they were found.
    pub fn sort(&mut self) {
        self.bindings.sort();
        self.said.sort();
        self.stays.sort();
        self.many.sort();
        self.many.dedup();
    }
}

/// Volume and time of one kind of use within one hour. Rows of equal key add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Hours since the epoch.
    pub hour: u32,
    /// Who.
    pub actor: Arc<Actor>,
    /// Service id of the catalogue.
    pub service: Text,
    /// What the host is for.
    pub role: Role,
    /// Host pattern of the catalogue that matched, never the name itself; with the tenant in it
    /// where the policy tells tenants of the service apart.
    pub pattern: Text,
    /// Browser, program, server.
    pub client_class: ClientClass,
    /// How far it went.
    pub level: Level,
    /// What gave the name.
    pub evidence: EvidenceKind,
    /// Verdict when recorded; an attribute.
    pub disposition: Disposition,
    /// Policy that gave the verdict; an attribute.
    pub policy_version: Text,
    /// Catalogue that gave the service; an attribute.
    pub signature_version: Text,
    /// Payload bytes from the client.
    pub bytes_up: u64,
    /// Payload bytes to the client.
    pub bytes_down: u64,
    /// Flows that began in this row.
    pub flows: u64,
    /// First packet.
    pub first_seen: Timestamp,
    /// Last packet.
    pub last_seen: Timestamp,
}

/// Time in which one actor was at one service without a gap of [`SESSION_GAP`].
///
/// The recorder merges within an input, queries merge across inputs and addresses of a device;
/// merging is associative, so the count does not depend on the order of scans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSpan {
    /// Who.
    pub actor: Arc<Actor>,
    /// Service id.
    pub service: Text,
    /// First packet.
    pub start: Timestamp,
    /// Last packet.
    pub end: Timestamp,
    /// Highest level within.
    pub level: Level,
    /// Worst verdict within.
    pub disposition: Disposition,
    /// Payload bytes from the client; those of a flow count where its hour's first packet lies.
    pub bytes_up: u64,
}

/// One device at one service on one day in one input: what a person is told.
///
/// `id` stands for facts that never change; all else is a revisioned attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Hash of realm, client address or MAC, service, day, input or sensor; lower-case hex.
    pub id: Text,
    /// Who.
    pub actor: Arc<Actor>,
    /// Service id.
    pub service: Text,
    /// Days since the epoch, UTC.
    pub day: u32,
    /// Given by the store: 1 for the first, one more for each change. 0 on the way in.
    pub revision: u32,
    /// Service name as a person writes it.
    pub service_name: Text,
    /// Who runs the service.
    pub vendor: Text,
    /// Category of the catalogue.
    pub category: Text,
    /// Host pattern that matched.
    pub pattern: Text,
    /// Browser, program, server.
    pub client_class: ClientClass,
    /// Highest level.
    pub level: Level,
    /// Verdict when recorded.
    pub disposition: Disposition,
    /// Rule of the policy that gave the verdict, empty if none did.
    pub policy: Text,
    /// Policy that gave the verdict.
    pub policy_version: Text,
    /// Catalogue that gave the service.
    pub signature_version: Text,
    /// 0 (nothing) to 10 (worst).
    pub severity: u8,
    /// Why that severity, a short sentence each.
    pub reasons: Vec<Text>,
    /// One line for a person.
    pub title: Text,
    /// What to do next, for a person.
    pub next_steps: Text,
    /// Payload bytes from the client.
    pub bytes_up: u64,
    /// Payload bytes to the client.
    pub bytes_down: u64,
    /// Flows.
    pub flows: u64,
    /// First packet.
    pub first_seen: Timestamp,
    /// Last packet.
    pub last_seen: Timestamp,
    /// Where to look, at most [`EVIDENCE_MAX`] are kept.
    pub evidence: Vec<EvidenceItem>,
    /// How many more flows would have been evidence.
    pub evidence_more: u64,
    /// Persons who were at the device, each with his or her part, in the order of time.
    pub people: Vec<PersonUse>,
}

/// One flow that shows a finding, and where its packets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceItem {
    /// First packet of the flow.
    pub time: Timestamp,
    /// Community ID, version 1.
    pub community_id: Text,
    /// Name of the capture, as the user gave it.
    pub capture: Text,
    /// Number of the flow's first frame in the capture, from 1.
    pub first_frame: u64,
    /// Number of the frame that completed the name, 0 if the name came from elsewhere.
    pub name_frame: u64,
    /// Number of the flow's last frame seen so far.
    pub last_frame: u64,
    /// Display filter that shows exactly this flow.
    pub wireshark_filter: Text,
    /// IP protocol number (6 TCP, 17 UDP).
    pub transport: u8,
    /// Client's end.
    pub client: Endpoint,
    /// Server's end.
    pub server: Endpoint,
    /// What gave the name.
    pub kind: EvidenceKind,
    /// The name.
    pub name: Text,
    /// JA4 of the client's hello.
    pub ja4: Option<Text>,
    /// Client class of this flow.
    pub client_class: ClientClass,
    /// What the client class rests on, with its limit.
    pub client_evidence: Text,
}

/// Something outside the catalogue that behaves like an AI service; never counted as use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Days since the epoch, UTC.
    pub day: u32,
    /// Host name, or address if it has none.
    pub host: Text,
    /// Names of the API grammars seen, sorted and joined by commas.
    pub grammars: Text,
    /// What was seen, for a person.
    pub evidence: Text,
    /// Flows.
    pub flows: u64,
    /// Payload bytes from the clients.
    pub bytes_up: u64,
    /// Payload bytes to the clients.
    pub bytes_down: u64,
    /// Distinct clients.
    pub actors: u64,
    /// Keyed hashes of them ([`LedgerKey::devices`](crate::recorder::ledger::LedgerKey::devices)),
    /// by which those of several inputs are united; none without a key.
    pub devices: Vec<u8>,
    /// First packet.
    pub first_seen: Timestamp,
    /// Last packet.
    pub last_seen: Timestamp,
}

/// Daily volume of a destination that matched nothing, without actors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationDay {
    /// Days since the epoch, UTC.
    pub day: u32,
    /// Host name; [`DestinationDay::REMAINDER`] for all beyond the cap.
    pub name: Text,
    /// Payload bytes from the clients.
    pub bytes_up: u64,
    /// Payload bytes to the clients.
    pub bytes_down: u64,
    /// Flows.
    pub flows: u64,
    /// Distinct devices; over several inputs, and in the remainder, at least this many.
    pub devices: u64,
}

/// A number that says what was seen or could not be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Name of ours, stable.
    pub name: Text,
    /// How many.
    pub count: u64,
    /// Name of the row that this is a part of.
    pub of: Option<Text>,
}

/// A device whose traffic, or part of it, goes where nobody can look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Who.
    pub actor: Arc<Actor>,
    /// Name of the security edge, relay or tunnel.
    pub behind: Text,
    /// `security-edge`, `relay` or `tunnel`.
    pub kind: Text,
    /// Payload bytes from the device.
    pub bytes_up: u64,
    /// Payload bytes to the device.
    pub bytes_down: u64,
    /// Flows.
    pub flows: u64,
    /// First packet.
    pub first_seen: Timestamp,
    /// Last packet.
    pub last_seen: Timestamp,
}

/// One input: a file by its content, or a stretch of live watching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRow {
    /// Digest of the content in hex, or sensor id and epoch.
    pub key: Text,
    /// Name as the user gave it.
    pub name: Text,
    /// Octets read.
    pub size_bytes: u64,
    /// Frames read.
    pub frames: u64,
    /// Time of the first frame.
    pub first_time: Timestamp,
    /// Time of the last frame.
    pub last_time: Timestamp,
    /// What was wrong with it, if it could not be read to the end.
    pub fault: Option<Text>,
    /// Sensor that watched, `None` for files.
    pub sensor: Option<Text>,
}

/// A named flow that had not ended when its input did; lets the next input go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFlow {
    /// Address space.
    pub realm: Realm,
    /// IP protocol number (6 TCP, 17 UDP).
    pub transport: u8,
    /// Client's end.
    pub client: Endpoint,
    /// Server's end.
    pub server: Endpoint,
    /// Service id.
    pub service: Text,
    /// What the host is for.
    pub role: Role,
    /// Host pattern that matched.
    pub pattern: Text,
    /// The name that was said.
    pub name: Text,
    /// What gave the name.
    pub evidence: EvidenceKind,
    /// Client class so far.
    pub client_class: ClientClass,
    /// Level so far.
    pub level: Level,
    /// JA4 of the client's hello.
    pub ja4: Option<Text>,
    /// Payload bytes from the client, since the flow's first packet.
    pub bytes_up: u64,
    /// Payload bytes to the client, since the flow's first packet.
    pub bytes_down: u64,
    /// First packet.
    pub first_seen: Timestamp,
    /// Last packet so far.
    pub last_seen: Timestamp,
    /// Of `bytes_up`, what the hello and the rest of the set-up took.
    pub hello_bytes: u64,
    /// Next TCP sequence number of client and server: bytes below it are counted already.
    pub next_seq: [u32; 2],
    /// The flow was carried over from an earlier input and ended in this one: nobody goes on with
    /// it, whatever earlier inputs say.
    pub ended: bool,
}

/// All rows of one input, or of one batch of a live one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputRows {
    /// Volume by hour.
    pub usage: Vec<Usage>,
    /// Presence.
    pub sessions: Vec<SessionSpan>,
    /// What a person is told. In a live batch: volume and evidence since the last one.
    pub findings: Vec<Finding>,
    /// Not in the catalogue, but AI-like.
    pub candidates: Vec<Candidate>,
    /// Everything else, by day.
    pub destinations: Vec<DestinationDay>,
    /// All destinations by day, hashed under the store's key.
    pub ledger: Vec<LedgerDay>,
    /// What could not be seen.
    pub coverage: Vec<Coverage>,
    /// Devices that could not be looked into.
    pub hidden: Vec<Hidden>,
    /// Flows to go on with; replaces those of the input.
    pub open_flows: Vec<OpenFlow>,
    /// Who is who.
    pub identity: IdentityRows,
}

impl Actor {
    /// The department of the person, if one is known, else that of the device.
    pub fn department(&self) -> Option<&Text> {
        self.who.one().and_then(|c| c.department.as_ref()).or(self.department.as_ref())
    }

    /// The one place where an actor becomes text; a privacy mode governs every exit from here.
    pub fn text(&self) -> ActorText {
        let (user, user_basis) = match &self.who {
            Person::Unknown => (None, None),
            Person::Excluded => (None, Some("left out".to_owned())),
            Person::One(claim) => {
                let basis = format!("{} ({})", claim.relation.code(), claim.source.code());
                (Some(claim.user.name().to_string()), Some(basis))
            }
            Person::Many(why) => (None, Some(format!("many: {}", why.code()))),
        };
        ActorText {
            ip: address_text(self.addr),
            mac: self.mac.map(mac_text),
            host: self.host_name.as_deref().map(str::to_owned),
            user,
            user_basis,
            department: self.department().map(ToString::to_string),
        }
    }
}

impl DestinationDay {
    /// Name of the row that holds all beyond [`DESTINATIONS_MAX`]; no host can be called so.
    pub const REMAINDER: &'static str = "";
}

impl EvidenceItem {
    /// The five-tuple for a person: `tcp 192.0.2.7:50312 > 198.51.100.9:443`.
    pub fn five_tuple(&self) -> String {
        let (client, server) = (endpoint_text(self.client), endpoint_text(self.server));
        format!("{} {client} > {server}", self.transport_text())
    }

    /// `tcp`, `udp`, or `ip` and the protocol number.
    pub fn transport_text(&self) -> String {
        match self.transport {
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            other => format!("ip{other}"),
        }
    }
}

fn endpoint_text(endpoint: Endpoint) -> String {
    if is_pseudonym(endpoint.addr) {
        return format!("{}:{}", address_text(endpoint.addr), endpoint.port);
    }
    std::net::SocketAddr::new(endpoint.addr, endpoint.port).to_string()
}

/// `aa:bb:cc:dd:ee:ff`.
pub fn mac_text(mac: MacAddr) -> String {
    mac.0.map(|octet| format!("{octet:02x}")).join(":")
}
