//! Every frame of a live run, accounted for.
//!
//! In: pulses of workers. Out: sums by input, rows of the coverage ledger, statistics.
//! Never: a frame without a place: offered = parsed + every counted reason.
//! Limits: as many lanes as workers were started.

use std::collections::BTreeMap;

use serde::Serialize;

use super::health::Health;
use super::message::{Pulse, RecorderSetup};
use crate::answer::live::{PortView, Snapshot};
use crate::recorder::desk::Desk;
use crate::types::Timestamp;
use crate::watcher::capture::live::PortCounts;
use crate::watcher::decode::DecodeCounters;

/// Reasons for which a frame that reached the interface was not followed.
const RING_FULL: &str = "ring_full";
const SHED: &str = "shed_by_rule";
const HANDED: &str = "owner_behind";
const ABANDONED: &str = "worker_restarted";
const BEFORE: &str = "before_the_ring";
const UNSELECTED: &str = "not_selected";

/// Sums of a live run.
#[derive(Debug)]
pub struct LiveTotals {
    names: Vec<String>,
    /// Last pulse of every lane; of those of a restarted process, what they had counted.
    lanes: BTreeMap<usize, Pulse>,
    finished: Vec<Pulse>,
    /// Frames lost in front of the ring, by input.
    before: BTreeMap<u16, u64>,
    gaps: BTreeMap<u16, u64>,
    covered: BTreeMap<(u16, &'static str), u64>,
    rates: BTreeMap<u16, Rate>,
    restarts: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    at: Timestamp,
    frames: u64,
    bytes: u64,
    lost: u64,
    per_s: (f64, f64, f64),
}

/// Statistics of a live run.
#[derive(Clone, Debug, Serialize)]
pub struct LiveStats {
    schema: u32,
    kind: &'static str,
    sensor: String,
    seconds: f64,
    threads: usize,
    packets: u64,
    bytes: u64,
    parsed: u64,
    lost: BTreeMap<&'static str, u64>,
    interfaces: Vec<PortStats>,
    flows: u64,
    flows_open: u64,
    memory_bytes: u64,
    handed_over: u64,
    worker_restarts: u64,
    cpu_s: f64,
    frames_by_fate: BTreeMap<&'static str, u64>,
    tunnels: BTreeMap<&'static str, u64>,
    anomalies: BTreeMap<String, u64>,
    cap_hits: BTreeMap<String, u64>,
}

/// One interface of the statistics.
#[derive(Clone, Debug, Serialize)]
struct PortStats {
    name: String,
    packets: u64,
    bytes: u64,
    lost: BTreeMap<&'static str, u64>,
    not_selected: u64,
}

impl LiveTotals {
    /// Nothing counted yet.
    pub fn new(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            lanes: BTreeMap::new(),
            finished: Vec::new(),
            before: BTreeMap::new(),
            gaps: BTreeMap::new(),
            covered: BTreeMap::new(),
            rates: BTreeMap::new(),
            restarts: 0,
        }
    }

    /// A worker tells how it stands.
    pub fn pulse(&mut self, lane: usize, pulse: &Pulse) {
        self.lanes.insert(lane, pulse.clone());
    }

    /// The workers ended unasked and others took their place.
    pub fn restarted(&mut self) {
        self.restarts += 1;
        self.finished.extend(std::mem::take(&mut self.lanes).into_values());
    }

    /// An interface went or came back.
    pub fn interface(&mut self, input: u16, up: bool, lost_before: u64, desk: &mut Desk) {
        self.before.insert(input, lost_before);
        if !up {
            *self.gaps.entry(input).or_default() += 1;
            desk.cover(input, "interface_gaps", None, 1);
        }
    }

    fn pulses(&self) -> impl Iterator<Item = &Pulse> {
        self.finished.iter().chain(self.lanes.values())
    }

    /// What the rings of an input counted.
    fn port(&self, input: u16) -> PortCounts {
        let ports = self.pulses().flat_map(|p| &p.ports).filter(|(i, _)| *i == input);
        ports.fold(PortCounts::default(), |sum, (_, c)| PortCounts {
            frames: sum.frames + c.frames,
            bytes: sum.bytes + c.bytes,
            unselected: sum.unselected + c.unselected,
            dropped: sum.dropped + c.dropped,
            abandoned: sum.abandoned + c.abandoned,
        })
    }

    fn decode(&self, input: Option<u16>) -> DecodeCounters {
        let all = self.pulses().flat_map(|p| &p.decode);
        let mut sum = DecodeCounters::default();
        for (_, numbers) in all.filter(|(i, _)| input.is_none_or(|wanted| *i == wanted)) {
            sum.merge(&DecodeCounters::from_numbers(numbers));
        }
        sum
    }

    /// Frames that reached an interface, and octets of those that were read.
    pub fn volume(&self, input: u16) -> (u64, u64) {
        let port = self.port(input);
        let before = self.before.get(&input).copied().unwrap_or(0);
        (port.frames + port.dropped + port.abandoned + before, port.bytes)
    }

    fn lost_of(&self, input: u16) -> BTreeMap<&'static str, u64> {
        let port = self.port(input);
        let before = self.before.get(&input).copied().unwrap_or(0);
        [(RING_FULL, port.dropped), (ABANDONED, port.abandoned), (BEFORE, before)]
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    /// Frames by reason for which they were not followed.
    fn lost(&self) -> BTreeMap<&'static str, u64> {
        let mut lost = BTreeMap::new();
        for (input, _) in (0_u16..).zip(&self.names) {
            for (reason, n) in self.lost_of(input) {
                *lost.entry(reason).or_default() += n;
            }
        }
        let shed: u64 = self.pulses().map(|p| p.shed.0).sum();
        let handed: u64 = self.pulses().map(|p| p.handed.1).sum();
        let ports = (0_u16..).zip(&self.names).map(|(i, _)| self.port(i));
        let unselected = ports.map(|p| p.unselected).sum();
        let more = [(SHED, shed), (HANDED, handed), (UNSELECTED, unselected)];
        lost.extend(more.into_iter().filter(|(_, n)| *n > 0));
        lost
    }

    /// Frames that were decoded and whose packets were followed, counted where that happens.
    fn parsed(&self) -> u64 {
        let spared: u64 = self.pulses().map(|p| p.shed.0 + p.handed.1).sum();
        self.decode(None).frames().saturating_sub(spared)
    }

    /// All frames, and those lost.
    pub fn frames_and_lost(&self) -> (u64, u64) {
        let frames = (0_u16..).zip(&self.names).map(|(i, _)| self.volume(i).0).sum();
        (frames, self.lost().values().sum())
    }

    /// Adds to the coverage ledger what came since the last call.
    pub fn cover(&mut self, desk: &mut Desk) {
        for input in (0_u16..).zip(&self.names).map(|(i, _)| i).collect::<Vec<_>>() {
            let port = self.port(input);
            let mut rows: Vec<(&'static str, Option<&'static str>, u64)> = vec![
                ("frames", None, self.volume(input).0),
                ("frames_not_selected", Some("frames"), port.unselected),
                ("frames_dropped_ring_full", Some("frames"), port.dropped),
                ("frames_dropped_worker_restarted", Some("frames"), port.abandoned),
                (
                    "frames_dropped_before_the_ring",
                    Some("frames"),
                    self.before.get(&input).copied().unwrap_or(0),
                ),
            ];
            rows.extend(self.decode(Some(input)).iter().map(|(name, n)| (name, Some("frames"), n)));
            if input == 0 {
                let shed = self.pulses().map(|p| p.shed.0).sum();
                let handed = self.pulses().map(|p| p.handed.1).sum();
                rows.push(("packets_shed_by_rule", Some("frames"), shed));
                rows.push(("packets_dropped_owner_behind", Some("frames"), handed));
            }
            for (name, of, sum) in rows {
                let told = self.covered.entry((input, name)).or_default();
                let more = sum.saturating_sub(*told);
                if more > 0 {
                    *told = sum;
                    desk.cover(input, name, of, more);
                }
            }
        }
    }

    /// A second has passed: rates.
    pub fn second(&mut self, now: Timestamp) {
        for (input, _) in (0_u16..).zip(&self.names.clone()) {
            let (frames, bytes) = self.volume(input);
            let lost = self.lost_of(input).values().sum();
            let rate = self.rates.entry(input).or_default();
            let seconds = (now.since(rate.at) as f64 / Timestamp::SECOND as f64).max(0.001);
            let per_s = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
            let per_s = (
                per_s(frames, rate.frames),
                per_s(bytes, rate.bytes) * 8.0,
                per_s(lost, rate.lost),
            );
            *rate = Rate { at: now, frames, bytes, lost, per_s };
        }
    }

    /// Fills in the counts of a snapshot.
    pub fn show(&self, snapshot: &mut Snapshot, health: &Health) {
        for (input, name) in (0_u16..).zip(&self.names) {
            let lost = self.lost_of(input);
            let rate = self.rates.get(&input).copied().unwrap_or_default();
            let port = self.port(input);
            let mut lost: BTreeMap<String, u64> =
                lost.into_iter().map(|(k, n)| (k.to_owned(), n)).collect();
            if input == 0 {
                for (reason, n) in self.lost() {
                    if reason == SHED || reason == HANDED {
                        lost.insert(reason.to_owned(), n);
                    }
                }
            }
            snapshot.ports.push(PortView {
                name: name.clone(),
                up: health.is_up(input),
                frames: self.volume(input).0,
                parsed: port.frames,
                lost,
                packets_per_s: rate.per_s.0,
                bits_per_s: rate.per_s.1,
                lost_per_s: rate.per_s.2,
            });
        }
        snapshot.flows_open = self.lanes.values().map(|p| p.flows_open).sum();
        snapshot.memory = self.lanes.values().map(|p| p.memory).sum();
    }

    /// Tags and tunnels that an input had.
    pub fn wrappings(&self, input: u16) -> Vec<(String, u64)> {
        let counters = self.decode(Some(input));
        let met = counters.wrappings().filter(|(_, n)| *n > 0);
        met.map(|(name, n)| (name.to_owned(), n)).collect()
    }

    /// Frames lost at an input.
    pub fn lost_at(&self, input: u16) -> u64 {
        self.lost_of(input).values().sum()
    }

    /// Everything, for `--stats` and SIGUSR1.
    pub fn stats(&self, setup: &RecorderSetup, nanoseconds: u64) -> LiveStats {
        let (packets, _) = self.frames_and_lost();
        let decode = self.decode(None);
        let named = |pairs: &mut dyn Iterator<Item = (&'static str, u64)>| -> BTreeMap<_, _> {
            pairs.filter(|(_, n)| *n > 0).collect()
        };
        let mut anomalies: BTreeMap<String, u64> = BTreeMap::new();
        let mut cap_hits: BTreeMap<String, u64> = BTreeMap::new();
        for pulse in self.pulses() {
            for (name, n) in &pulse.anomalies {
                *anomalies.entry(name.clone()).or_default() += n;
            }
            for (name, n) in &pulse.caps {
                *cap_hits.entry(name.clone()).or_default() += n;
            }
            for (name, n) in
                [("flows_evicted", pulse.flows_evicted), ("flows_unread", pulse.flows_unread)]
            {
                if n > 0 {
                    *cap_hits.entry(name.to_owned()).or_default() += n;
                }
            }
        }
        for (name, n) in decode.oddities().filter(|(_, n)| *n > 0) {
            *anomalies.entry(name.to_owned()).or_default() += n;
        }
        let interfaces: Vec<PortStats> = (0_u16..)
            .zip(&self.names)
            .map(|(input, name)| PortStats {
                name: name.clone(),
                packets: self.volume(input).0,
                bytes: self.volume(input).1,
                lost: self.lost_of(input),
                not_selected: self.port(input).unselected,
            })
            .collect();
        LiveStats {
            schema: 1,
            kind: "live",
            sensor: setup.sensor.clone(),
            seconds: nanoseconds as f64 / Timestamp::SECOND as f64,
            threads: setup.workers,
            packets,
            bytes: interfaces.iter().map(|i| i.bytes).sum(),
            parsed: self.parsed(),
            lost: self.lost(),
            interfaces,
            flows: self.pulses().map(|p| p.flows).sum(),
            flows_open: self.lanes.values().map(|p| p.flows_open).sum(),
            memory_bytes: self.lanes.values().map(|p| p.memory).sum(),
            handed_over: self.pulses().map(|p| p.handed.0).sum(),
            worker_restarts: self.restarts,
            cpu_s: self.pulses().map(|p| p.cpu_s).sum(),
            frames_by_fate: named(&mut decode.iter()),
            tunnels: named(&mut decode.wrappings()),
            anomalies,
            cap_hits,
        }
    }

    /// The identity in one sentence.
    pub fn sentence(&self) -> String {
        let (frames, lost) = self.frames_and_lost();
        let reasons: Vec<String> = self.lost().iter().map(|(k, n)| format!("{k} {n}")).collect();
        let why =
            if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        format!("{frames} frames = {} read + {lost} not read{why}", self.parsed())
    }
}
