//! The report as plain values: what every format says, and the published JSON.
//!
//! Every number of something counted is a [`Figure`], which knows what it is a part of, or stands in
//! a table that says it once for a whole column (`of`).

use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::controls::{CatalogueVersion, Control};

/// Version of the document; rises when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// A count, and what it is a part of.
#[derive(Clone, Debug, Default, Serialize, JsonSchema, PartialEq, Eq)]
pub struct Figure {
    /// How many.
    pub count: u64,
    /// Of how many.
    pub of: u64,
    /// What those are.
    pub of_what: String,
}

/// The whole report. Times are capture time: RFC 3339, UTC. Bytes are TCP and UDP payload.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(title = "shadowtap report")]
pub struct Report {
    /// Version of this format.
    pub schema: u32,
    /// `report`.
    pub kind: String,
    /// What `shadowtap verify` checks: SHA-256 of the file with zeros in this place.
    pub digest: String,
    /// Heading.
    pub title: String,
    /// The time that it is about.
    pub period: Period,
    /// The equally long time before it, if the store holds anything of it.
    pub before: Option<Period>,
    /// What the figures were judged by.
    pub judged: Judged,
    /// Whether names are masked.
    pub privacy: Privacy,
    /// One sentence for whoever reads no further.
    pub verdict: String,
    /// How that compares with the time before.
    pub trend: String,
    /// The four numbers of the first page.
    pub numbers: Vec<Number>,
    /// What was sent to AI services, over time or by service.
    pub chart: Chart,
    /// What to decide about, the most severe first.
    pub risks: Vec<Risk>,
    /// Services in use by verdict.
    pub groups: Vec<Group>,
    /// Who sends, by department.
    pub departments: Vec<Department>,
    /// People in browsers apart from programs and agents.
    pub clients: Vec<ClientLine>,
    /// Services first used in this period.
    pub news: News,
    /// Services that the catalogue knows only since the rows were recorded, and the ledger saw used.
    pub late: Vec<LateLine>,
    /// What could not be seen.
    pub unseen: Vec<Unseen>,
    /// What this covers that an agent on devices does not.
    pub covers: String,
    /// How the figures come about, a paragraph each.
    pub method: Vec<String>,
    /// Tests that ask whether a control is configured, and what was seen.
    pub tests: Vec<Tested>,
    /// Catalogues of controls that risks refer to.
    pub catalogues: Vec<CatalogueVersion>,
    /// The policy's rules.
    pub rules: Vec<RuleLine>,
    /// Captures behind the figures.
    pub inputs: Vec<InputLine>,
    /// The coverage ledger as it stands in the store.
    pub ledger: Vec<LedgerLine>,
    /// Devices by what they sent to unapproved services.
    pub devices: DeviceTable,
    /// Devices by service.
    pub uses: UseTable,
}

/// A stretch of time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Period {
    /// First second.
    pub from: String,
    /// Last second.
    pub until: String,
    /// In words.
    pub text: String,
    /// Hours with capture, of the hours in it.
    pub captured_hours: Figure,
}

/// Policy, catalogue, program.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Judged {
    /// Version of the policy that verdicts are given by; several if they stand as recorded.
    pub policies: Vec<String>,
    /// `true` if every row was judged anew for this report.
    pub anew: bool,
    /// Version of the catalogue that names services here.
    pub catalogue: String,
    /// Catalogues by which the rows were matched when recorded.
    pub recorded_catalogues: Vec<String>,
    /// Program and version.
    pub program: String,
    /// What to know about it.
    pub notes: Vec<String>,
}

/// Whether names are masked.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Privacy {
    /// `masked` or `shown`.
    pub names: String,
    /// Departments of fewer devices are shown together.
    pub smallest_group: u64,
    /// In words.
    pub text: String,
}

/// One of the numbers of the first page.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Number {
    /// What it counts.
    pub label: String,
    /// `bytes` or `count`.
    pub unit: String,
    /// Now.
    pub now: Figure,
    /// In the period before.
    pub before: Option<Figure>,
}

/// A bar chart in three colours.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// `time` or `services`.
    pub kind: String,
    /// What all bytes of the bars are a part of.
    pub of: Denominators,
    /// The bars, in order.
    pub bars: Vec<Bar>,
}

/// One bar: bytes sent.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Bar {
    /// Below it.
    pub label: String,
    /// To forbidden services.
    pub sent_forbidden: u64,
    /// To services that nobody reviewed.
    pub sent_unreviewed: u64,
    /// To allowed ones.
    pub sent_allowed: u64,
    /// Something was captured then.
    pub captured: bool,
}

/// Something to decide about: all findings on one service, host or blind spot.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Risk {
    /// `service:ID`, `candidate:HOST` or `hidden:NAME`; stays the same over time.
    pub id: String,
    /// What was found, in one sentence.
    pub title: String,
    /// 0 to 10.
    pub severity: u8,
    /// `low`, `medium`, `high` or `critical`.
    pub rating: String,
    /// Why that severity, a short sentence each.
    pub reasons: Vec<String>,
    /// Which kinds of risk it is.
    pub aspects: Vec<String>,
    /// The service, if the catalogue knows it.
    pub service: Option<ServiceName>,
    /// `forbidden`, `unreviewed`, `tolerated`, `sanctioned` or `unknown`.
    pub status: String,
    /// `named`, `contacted`, `used` or `bulk`; empty for what is no use.
    pub level: String,
    /// Devices that do it.
    pub devices: Figure,
    /// Sessions.
    pub sessions: Figure,
    /// Payload bytes sent.
    pub sent: Figure,
    /// Payload bytes received.
    pub received: Figure,
    /// Bytes sent in the period before.
    pub sent_before: Option<Figure>,
    /// By department, the most sent first.
    pub departments: Vec<DepartmentShare>,
    /// By class of client.
    pub clients: Vec<ClientShare>,
    /// First packet; absent where that is not known.
    pub first_seen: Option<String>,
    /// Last packet.
    pub last_seen: Option<String>,
    /// The catalogue's score of the service, and how much is known for it; empty for what is none.
    pub score: String,
    /// Who would miss it.
    pub impact: String,
    /// What acting costs.
    pub cost: String,
    /// Who answers for it; empty while nobody does.
    pub owner: String,
    /// Day until which something is to be done.
    pub due: String,
    /// `true` if the day is a proposal by severity.
    pub due_proposed: bool,
    /// `open`, `in_review`, `accepted` or `resolved`.
    pub state: String,
    /// The state in words.
    pub state_text: String,
    /// What people decided, oldest first.
    pub history: Vec<HistoryLine>,
    /// What is proposed, in one sentence.
    pub proposal: String,
    /// What to do, with the exact command.
    pub actions: Vec<Action>,
    /// Where to look, the most telling first.
    pub evidence: Vec<Proof>,
    /// Findings behind it, of all findings of use.
    pub findings: Figure,
    /// Controls it is about.
    pub controls: Vec<Control>,
}

/// A service of the catalogue.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ServiceName {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Who runs it.
    pub vendor: String,
    /// Seat of the vendor, two capitals.
    pub country: String,
    /// Category.
    pub category: String,
}

/// A department's part in a risk.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DepartmentShare {
    /// Department.
    pub name: String,
    /// Devices.
    pub devices: Figure,
    /// Bytes sent.
    pub sent: Figure,
}

/// A client class's part in a risk.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClientShare {
    /// `browser`, `program`, `server` or `unknown`.
    pub class: String,
    /// Bytes sent.
    pub sent: Figure,
}

/// One decision.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HistoryLine {
    /// State from then on.
    pub state: String,
    /// What the policy said from then on; empty if it was left as it was.
    pub status: String,
    /// Whom it was for.
    pub scope: String,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Day of the decision, if it was said.
    pub decided: String,
    /// Last day of an acceptance.
    pub expires: String,
    /// Policy from then on.
    pub policy: String,
    /// Newest capture time that it could rest on.
    pub data_until: String,
}

/// Something to do.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Action {
    /// What.
    pub what: String,
    /// How; empty if no command does it.
    pub command: String,
}

/// Where the packets of one finding are.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Proof {
    /// When.
    pub at: String,
    /// Capture.
    pub capture: String,
    /// First frame, from 1.
    pub first_frame: u64,
    /// Frame that completed the name, 0 if the name came from elsewhere.
    pub name_frame: u64,
    /// Last frame.
    pub last_frame: u64,
    /// What gave the name.
    pub name_from: String,
    /// The name.
    pub name: String,
    /// Finding id; only where names are shown, as it follows from the address.
    pub finding: Option<String>,
    /// Display filter for Wireshark; only where names are shown.
    pub wireshark_filter: Option<String>,
}

/// Services under like verdicts.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Group {
    /// `forbidden`, `unreviewed` or `allowed`.
    pub status: String,
    /// Heading.
    pub title: String,
    /// Services in it.
    pub services_in_use: Figure,
    /// Devices that used one of them.
    pub devices: Figure,
    /// Sessions.
    pub sessions: Figure,
    /// Bytes sent.
    pub sent: Figure,
    /// Bytes received.
    pub received: Figure,
    /// What the columns of `services` are parts of.
    pub of: Denominators,
    /// By bytes sent, the most first.
    pub services: Vec<ServiceLine>,
    /// Names of services that were contacted without use.
    pub only_contacted: Vec<String>,
}

/// What the columns of a table are parts of.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Denominators {
    /// Devices seen, at least.
    pub devices: u64,
    /// Sessions with AI services.
    pub sessions: u64,
    /// Bytes sent to AI services.
    pub sent: u64,
    /// Bytes received from AI services.
    pub received: u64,
    /// Flows to AI services in use.
    pub flows: u64,
    /// Days in the period.
    pub days: u64,
    /// AI services in use.
    pub services: u64,
}

/// One service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ServiceLine {
    /// Which.
    #[serde(flatten)]
    pub service: ServiceName,
    /// Verdict.
    pub status: String,
    /// Highest level.
    pub level: String,
    /// Devices.
    pub devices: u64,
    /// Sessions.
    pub sessions: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Flows.
    pub flows: u64,
    /// Client classes.
    pub clients: Vec<String>,
    /// First packet in the period.
    pub first_seen: String,
    /// Last packet in the period.
    pub last_seen: String,
    /// Not used before the period.
    pub new: bool,
    /// Tenants of it, where the policy tells them apart.
    pub tenants: Vec<String>,
    /// Who answers for it.
    pub owner: String,
}

/// One department, or several small ones.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Department {
    /// Name.
    pub name: String,
    /// Devices that use AI.
    pub devices: Figure,
    /// Bytes sent to forbidden services.
    pub sent_forbidden: Figure,
    /// Bytes sent to services that nobody reviewed.
    pub sent_unreviewed: Figure,
    /// Bytes sent to allowed services.
    pub sent_allowed: Figure,
    /// Unapproved service that it sent most to.
    pub top_service: String,
    /// Bytes sent there.
    pub top_sent: Figure,
}

/// Use by one class of clients.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClientLine {
    /// `browser`, `program`, `server` or `unknown`.
    pub class: String,
    /// In words.
    pub title: String,
    /// Devices with such clients.
    pub devices: Figure,
    /// Bytes sent.
    pub sent: Figure,
    /// Bytes sent to unapproved services.
    pub sent_unapproved: Figure,
}

/// What is new.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct News {
    /// The store reaches back before the period, so that this can be told.
    pub known: bool,
    /// In words.
    pub text: String,
    /// Services first used in this period.
    pub services: Vec<String>,
}

/// A service that was used before the catalogue knew it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LateLine {
    /// Which.
    #[serde(flatten)]
    pub service: ServiceName,
    /// First day of the ledger on which it was seen.
    pub first_day: String,
    /// Last day.
    pub last_day: String,
    /// Days on which it was seen, at least.
    pub days: Figure,
    /// Devices, at least and about.
    pub devices: Figure,
    /// Bytes sent to its hosts, whatever for.
    pub sent: Figure,
}

/// Something that could not be seen.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Unseen {
    /// What.
    pub what: String,
    /// How much, where that can be counted.
    pub figure: Option<Figure>,
    /// What that means.
    pub meaning: String,
}

/// A test beside what was seen.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tested {
    /// Id of the test.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// What it asks.
    pub asks: String,
    /// What was observed.
    pub observed: String,
}

/// A rule of the policy.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RuleLine {
    /// What it covers.
    pub target: String,
    /// Decision.
    pub status: String,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// First day.
    pub decided: String,
    /// Last day.
    pub expires: String,
    /// Kinds of limits, without the names in them.
    pub scope: String,
}

/// A capture, or a stretch of live watching.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InputLine {
    /// Digest and size, or sensor and epoch.
    pub id: String,
    /// Name.
    pub name: String,
    /// Frames read.
    pub frames: Figure,
    /// Time of the first frame.
    pub first_frame: String,
    /// Time of the last frame.
    pub last_frame: String,
    /// What was wrong with it.
    pub fault: String,
}

/// A line of the coverage ledger.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LedgerLine {
    /// `seen` or `unseen`.
    pub side: String,
    /// What.
    pub what: String,
    /// So many of so many.
    pub amount: String,
}

/// Devices by what they sent to unapproved services.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DeviceTable {
    /// What the columns are parts of.
    pub of: Denominators,
    /// The most first.
    pub rows: Vec<DeviceRow>,
}

/// One device.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DeviceRow {
    /// The device, masked or not.
    pub device: String,
    /// Its department.
    pub department: String,
    /// Services used.
    pub services: u64,
    /// Of those, unapproved.
    pub services_unapproved: u64,
    /// Sessions.
    pub sessions: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Of those, to unapproved services.
    pub sent_unapproved: u64,
    /// Bytes received.
    pub received: u64,
}

/// Devices by service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UseTable {
    /// What the columns are parts of.
    pub of: Denominators,
    /// Unapproved first, the most sent first.
    pub rows: Vec<UseRow>,
}

/// One device at one service.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UseRow {
    /// The device, masked or not.
    pub device: String,
    /// Its department.
    pub department: String,
    /// Service id.
    pub service: String,
    /// Service name.
    pub service_name: String,
    /// Verdict.
    pub status: String,
    /// Highest level.
    pub level: String,
    /// Client classes.
    pub clients: Vec<String>,
    /// Days with use.
    pub days: u64,
    /// Sessions.
    pub sessions: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Flows.
    pub flows: u64,
    /// First packet.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
}

impl Figure {
    /// So many of so many of these.
    pub fn new(count: u64, of: u64, of_what: &str) -> Self {
        // A whole is at least its part, where a lower bound of it is all that is known.
        Self { count, of: of.max(count), of_what: of_what.to_owned() }
    }

    /// The count's part of the whole, in percent, rounded; `None` of nothing.
    pub fn percent(&self) -> Option<u64> {
        let (count, of) = (u128::from(self.count), u128::from(self.of));
        let percent = count.checked_mul(200)?.checked_add(of)?.checked_div(of.checked_mul(2)?)?;
        u64::try_from(percent).ok()
    }

    /// `61 %`; never a rounded 0 or 100 that is none.
    pub fn share(&self) -> String {
        match self.percent() {
            None => "-".to_owned(),
            Some(0) if self.count > 0 => "<1 %".to_owned(),
            Some(100) if self.count < self.of => ">99 %".to_owned(),
            Some(p) => format!("{p} %"),
        }
    }
}
