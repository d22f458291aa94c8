//! What a running sensor says of itself: snapshots for views, heartbeats and alarms for sinks.
//!
//! In: counts of the run and answers of the store. Out: plain values, one JSON line each.
//! Never: an actor other than through `Actor::text`.
//! Limits: [`SERVICES_MAX`], [`FINDINGS_MAX`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::summary::names;
use crate::recorder::alert::rfc3339;
use crate::recorder::identity::Directory;
use crate::recorder::signature::Catalogue;
use crate::recorder::store::{Answers, Error, Group, Scope};
use crate::types::Timestamp;

/// Version of the formats in this file.
pub const SCHEMA: u32 = 1;

/// Services of a snapshot, by bytes sent: more than a screen shows.
pub const SERVICES_MAX: usize = 50;

/// Findings of a snapshot, newest first.
pub const FINDINGS_MAX: usize = 50;

/// How a running sensor stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of this format.
    pub schema: u32,
    /// Name of the sensor.
    pub sensor: String,
    /// When it began, and now.
    pub since: String,
    /// Sensor time.
    pub now: String,
    /// By interface.
    pub ports: Vec<PortView>,
    /// Flows open now.
    pub flows_open: u64,
    /// Devices that are known by address.
    pub devices: u64,
    /// Octets that tables and streams take.
    pub memory: u64,
    /// Services, by bytes sent.
    pub services: Vec<ServiceView>,
    /// Newest findings.
    pub findings: Vec<FindingView>,
    /// What is wrong with the mirror.
    pub degraded: Vec<String>,
    /// The store could not be written; what it said.
    pub store_trouble: Option<String>,
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PortView {
    /// Its name.
    pub name: String,
    /// It is there and up.
    pub up: bool,
    /// Frames since the start.
    pub frames: u64,
    /// Of those, frames that were read and followed.
    pub parsed: u64,
    /// Frames that were not, by reason.
    pub lost: BTreeMap<String, u64>,
    /// In the last second.
    pub packets_per_s: f64,
    /// In the last second.
    pub bits_per_s: f64,
    /// Lost in the last second.
    pub lost_per_s: f64,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// `unsanctioned`, `unreviewed`, `tolerated`, `sanctioned`.
    pub disposition: String,
    /// `named`, `contacted`, `used`, `bulk`.
    pub level: String,
    /// Devices that used it.
    pub devices: u64,
    /// Payload bytes sent.
    pub sent: u64,
    /// Payload bytes received.
    pub received: u64,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingView {
    /// Last packet.
    pub at: String,
    /// 0 to 10.
    pub severity: u8,
    /// Device by name or address.
    pub who: String,
    /// One line.
    pub title: String,
}

/// A sign of life, numbered so that a receiver notices when one is missing.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Heartbeat {
    /// Version of this format.
    pub schema: u32,
    /// `health`.
    pub kind: String,
    /// `heartbeat`.
    pub event: String,
    /// Unlike every other.
    pub event_id: String,
    /// Name of the sensor.
    pub sensor_id: String,
    /// Start of this run: numbers begin anew with it.
    pub since: String,
    /// 1, 2, 3 ...
    pub number: u64,
    /// Sensor time.
    pub ts: String,
    /// 0.
    pub severity: u8,
    /// One line for a person.
    pub title: String,
    /// Seconds to the next one.
    pub every_s: u64,
    /// `ok` or `degraded`.
    pub state: String,
    /// What is wrong.
    pub degraded: Vec<String>,
    /// Frames since the start.
    pub frames: u64,
    /// Frames since the start that were not read, whatever the reason.
    pub lost: u64,
}

/// The mirror shows less than it should, or does again what it should.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MirrorEvent {
    /// Version of this format.
    pub schema: u32,
    /// `health`.
    pub kind: String,
    /// `mirror_degraded` or `mirror_restored`.
    pub event: String,
    /// Unlike every other.
    pub event_id: String,
    /// Name of the sensor.
    pub sensor_id: String,
    /// Interface.
    pub interface: String,
    /// Sensor time.
    pub ts: String,
    /// 0 to 10.
    pub severity: u8,
    /// `no_frames`, `one_direction`, `no_dns`, `single_mac`, `low_rate`, `interface_down`.
    pub reason: String,
    /// What was measured, and what it means.
    pub title: String,
    /// What to do.
    pub next_steps: String,
}

/// Services and findings of a snapshot, from the store.
///
/// # Errors
/// If the store cannot be read.
pub fn fill(
    snapshot: &mut Snapshot,
    answers: &Answers,
    scope: &Scope,
    catalogue: &Catalogue,
    directory: &Directory,
) -> Result<(), Error> {
    let summary = answers.summary(scope)?;
    snapshot.services =
        services(&[&summary.forbidden, &summary.unreviewed, &summary.allowed], catalogue);
    let mut findings = answers.findings(scope)?;
    findings.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then(a.id.cmp(&b.id)));
    let view = |f: &crate::recorder::store::rows::Finding| {
        // The directory may have learned a name since the finding was made.
        let now = directory.actor(f.actor.realm, f.actor.addr);
        let actor = now.filter(|a| a.mac == f.actor.mac).unwrap_or_else(|| f.actor.clone());
        let text = actor.text();
        FindingView {
            at: clock(f.last_seen),
            severity: f.severity,
            who: text.host.map_or_else(|| text.ip.clone(), |h| format!("{h} {}", text.ip)),
            title: f.title.to_string(),
        }
    };
    snapshot.findings = findings.iter().take(FINDINGS_MAX).map(view).collect();
    snapshot.devices = directory.len() as u64;
    Ok(())
}

fn services(groups: &[&Group], catalogue: &Catalogue) -> Vec<ServiceView> {
    let lines = groups.iter().flat_map(|g| &g.services);
    let mut views: Vec<ServiceView> = lines
        .map(|line| ServiceView {
            name: names(catalogue, &line.service).0.to_owned(),
            disposition: line.disposition.code().to_owned(),
            level: line.level.code().to_owned(),
            devices: line.used.devices + line.below.devices,
            sent: line.used.bytes_up + line.below.bytes_up,
            received: line.used.bytes_down + line.below.bytes_down,
        })
        .collect();
    views.sort_by(|a, b| (b.sent, b.received, &a.name).cmp(&(a.sent, a.received, &b.name)));
    views.truncate(SERVICES_MAX);
    views
}

/// Time of day in UTC.
pub fn clock(at: Timestamp) -> String {
    rfc3339(at).get(11..19).unwrap_or_default().to_owned()
}

/// The published schemas of what goes to sinks.
pub fn schemas() -> [schemars::Schema; 2] {
    [schemars::schema_for!(Heartbeat), schemars::schema_for!(MirrorEvent)]
}
