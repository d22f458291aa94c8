//! Whether the mirror still shows what it should, checked every minute.
//!
//! In: pulses of workers, interfaces coming and going. Out: events when something breaks or heals.
//! Never: an alarm for the first moments of a run, or the same alarm twice.
//! Limits: the usual rate is known by hour of the day, as a running mean.

use std::collections::{BTreeMap, BTreeSet};

use super::message::{Pulse, RecorderSetup};
use super::totals::LiveTotals;
use crate::answer::live::{MirrorEvent, SCHEMA};
use crate::answer::mirror::{Fault, Measured, faults};
use crate::recorder::alert::rfc3339;
use crate::recorder::store::OutboxRow;
use crate::types::Timestamp;
use crate::watcher::capture::live::PortCounts;
use crate::watcher::mirror::MirrorCounts;

/// Weight of one check in the usual rate of its hour: a week of checks forgets the week before.
const WEIGHT: f64 = 1.0 / 64.0;

/// Checks of an hour after which its rate counts as known.
const KNOWN_AFTER: u32 = 30;

/// Severity of a mirror that is broken: what the policy forbids may pass unseen.
const SEVERITY: u8 = 8;

/// An event for the outbox.
#[derive(Clone, Debug)]
pub struct Event(pub MirrorEvent);

/// The health of each interface.
#[derive(Debug)]
pub struct Health {
    sensor: String,
    epoch: Timestamp,
    every: u64,
    checked: Timestamp,
    ring_bytes: u64,
    ports: Vec<PortHealth>,
    number: u64,
}

#[derive(Debug, Default)]
struct PortHealth {
    name: String,
    up: bool,
    mtu: u32,
    /// Since the last check.
    counts: MirrorCounts,
    /// Since the start.
    all: MirrorCounts,
    frames: BTreeMap<u64, (u64, u64)>,
    frames_checked: u64,
    faults: BTreeSet<Fault>,
    usual: BTreeMap<u8, (f64, u32)>,
    seen_any: bool,
}

impl Health {
    /// Every interface counts as up until somebody says otherwise.
    pub fn new(setup: &RecorderSetup, every_s: u64) -> Self {
        let port = |name: &String| PortHealth {
            name: name.clone(),
            up: true,
            mtu: 1_500,
            ..PortHealth::default()
        };
        Self {
            sensor: setup.sensor.clone(),
            epoch: setup.epoch,
            every: every_s.saturating_mul(Timestamp::SECOND),
            checked: setup.epoch,
            ring_bytes: (setup.ring_bytes as u64).saturating_mul(setup.workers as u64),
            ports: setup.interfaces.iter().map(port).collect(),
            number: 0,
        }
    }

    /// From now on, checks are so many seconds apart.
    pub fn every(&mut self, seconds: u64) {
        self.every = seconds.saturating_mul(Timestamp::SECOND);
    }

    /// A worker tells what it saw.
    pub fn pulse(&mut self, pulse: &Pulse) {
        for (input, counts) in &pulse.mirror {
            if let Some(port) = self.ports.get_mut(usize::from(*input)) {
                port.counts.add(counts);
                port.all.add(counts);
            }
        }
        for (input, counts) in &pulse.ports {
            if let Some(port) = self.ports.get_mut(usize::from(*input)) {
                let PortCounts { frames, bytes, .. } = *counts;
                port.frames.insert(pulse.lane, (frames, bytes));
            }
        }
    }

    /// An interface went or came back.
    pub fn interface(&mut self, input: u16, up: bool, mtu: u32) {
        if let Some(port) = self.ports.get_mut(usize::from(input)) {
            port.up = up;
            port.mtu = mtu;
        }
    }

    /// The interface is there and up.
    pub fn is_up(&self, input: u16) -> bool {
        self.ports.get(usize::from(input)).is_some_and(|p| p.up)
    }

    /// What is wrong now, in words.
    pub fn degraded(&self) -> Vec<String> {
        let words = |p: &PortHealth| {
            let name = p.name.clone();
            p.faults.iter().map(move |f| format!("{name}: {}", f.words().0)).collect::<Vec<_>>()
        };
        self.ports.iter().flat_map(words).collect()
    }

    /// Looks, if it is time to: what broke and what healed since the last look.
    pub fn check(&mut self, now: Timestamp) -> Vec<Event> {
        let since = now.since(self.checked);
        if since < self.every {
            return Vec::new();
        }
        self.checked = now;
        let seconds = since as f64 / Timestamp::SECOND as f64;
        let hour = u8::try_from(now.seconds() / 3_600 % 24).unwrap_or(0);
        let mut events = Vec::new();
        for port in &mut self.ports {
            let (found, rate) = port.look(seconds, hour);
            let before = std::mem::replace(&mut port.faults, found.clone());
            if found.is_empty() {
                port.learn(hour, rate);
            }
            for fault in found.difference(&before) {
                events.push((port.name.clone(), *fault, true));
            }
            for fault in before.difference(&found) {
                events.push((port.name.clone(), *fault, false));
            }
        }
        events
            .into_iter()
            .map(|(name, fault, broke)| self.event(&name, fault, broke, now))
            .collect()
    }

    fn event(&mut self, interface: &str, fault: Fault, broke: bool, now: Timestamp) -> Event {
        self.number += 1;
        let (means, todo) = fault.words();
        let healed = format!("no longer so: {means}");
        Event(MirrorEvent {
            schema: SCHEMA,
            kind: "health".to_owned(),
            event: if broke { "mirror_degraded" } else { "mirror_restored" }.to_owned(),
            event_id: format!("{}-{}-mirror-{}", self.sensor, self.epoch.seconds(), self.number),
            sensor_id: self.sensor.clone(),
            interface: interface.to_owned(),
            ts: rfc3339(now),
            severity: if broke { SEVERITY } else { 0 },
            reason: fault.code().to_owned(),
            title: if broke { means.to_owned() } else { healed },
            next_steps: if broke { todo } else { "" }.to_owned(),
        })
    }

    /// What each interface showed since the start.
    pub fn measured(&self, totals: &LiveTotals, seconds: f64) -> Vec<Measured> {
        let of = |(input, port): (u16, &PortHealth)| {
            let (frames, bytes) = totals.volume(input);
            Measured {
                interface: port.name.clone(),
                counts: port.all.clone(),
                seconds,
                frames,
                bytes,
                lost: totals.lost_at(input),
                ring_bytes: self.ring_bytes,
                mtu: port.mtu,
                wrappings: totals.wrappings(input),
                up: port.up,
            }
        };
        (0_u16..).zip(&self.ports).map(of).collect()
    }
}

impl PortHealth {
    /// What is wrong with the time since the last look, and the rate in it.
    fn look(&mut self, seconds: f64, hour: u8) -> (BTreeSet<Fault>, f64) {
        let sum: u64 = self.frames.values().map(|(frames, _)| frames).sum();
        let frames = sum.saturating_sub(self.frames_checked);
        self.frames_checked = sum;
        self.seen_any |= frames > 0;
        let measured = Measured {
            counts: std::mem::take(&mut self.counts),
            seconds,
            frames,
            up: self.up,
            ..Measured::default()
        };
        let usual = self.usual.get(&hour).filter(|(_, n)| *n >= KNOWN_AFTER).map(|(rate, _)| *rate);
        let rate = frames as f64 / seconds.max(0.001);
        (faults(&measured, usual).into_iter().collect(), rate)
    }

    fn learn(&mut self, hour: u8, rate: f64) {
        let (usual, n) = self.usual.entry(hour).or_insert((rate, 0));
        *usual += (rate - *usual) * WEIGHT.max(1.0 / f64::from(*n + 1));
        *n = n.saturating_add(1);
    }
}

impl Event {
    /// As a row of the outbox.
    pub fn row(&self, now: Timestamp) -> OutboxRow {
        OutboxRow {
            seq: 0,
            event_id: self.0.event_id.clone(),
            time: now,
            severity: self.0.severity,
            payload: serde_json::to_string(&self.0).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse(frames: u64, counts: MirrorCounts) -> Pulse {
        let port = PortCounts { frames, ..PortCounts::default() };
        Pulse { ports: vec![(0, port)], mirror: vec![(0, counts)], ..Pulse::default() }
    }

    fn office(frames: u64) -> MirrorCounts {
        MirrorCounts {
            frames,
            outbound: 4_000,
            inbound: 4_000,
            dns: 9,
            macs: 9,
            ..MirrorCounts::default()
        }
    }

    #[test]
    fn a_mirror_that_dies_is_told_once_and_so_is_its_return() {
        let setup =
            RecorderSetup { interfaces: vec!["eth1".to_owned()], ..RecorderSetup::default() };
        let mut health = Health::new(&setup, 60);
        let at = |minute: u64| Timestamp(minute * 60 * Timestamp::SECOND);
        let told = |events: Vec<Event>| -> Vec<(String, String)> {
            events.into_iter().map(|e| (e.0.event, e.0.reason)).collect()
        };
        let word = |kind: &str, reason: &str| vec![(kind.to_owned(), reason.to_owned())];
        health.pulse(&pulse(8_000, office(8_000)));
        assert!(health.check(Timestamp(Timestamp::SECOND)).is_empty(), "not time yet");
        assert_eq!(told(health.check(at(1))), []);
        assert_eq!(told(health.check(at(2))), word("mirror_degraded", "no_frames"));
        assert_eq!(told(health.check(at(3))), [], "said already");
        assert_eq!(health.degraded().len(), 1);
        health.pulse(&pulse(16_000, office(8_000)));
        assert_eq!(told(health.check(at(4))), word("mirror_restored", "no_frames"));
        health.pulse(&pulse(24_000, MirrorCounts { outbound: 0, ..office(8_000) }));
        assert_eq!(told(health.check(at(5))), word("mirror_degraded", "one_direction"));
    }

    #[test]
    fn a_tenth_of_the_usual_rate_is_told_once_the_hour_is_known() {
        let setup =
            RecorderSetup { interfaces: vec!["eth1".to_owned()], ..RecorderSetup::default() };
        let mut health = Health::new(&setup, 60);
        let mut frames = 0;
        for minute in 1..=40 {
            frames += 60_000;
            health.pulse(&pulse(frames, office(60_000)));
            let at = Timestamp(minute * 60 * Timestamp::SECOND);
            assert!(health.check(at).is_empty(), "minute {minute}");
        }
        frames += 5_000;
        health.pulse(&pulse(frames, office(5_000)));
        let events = health.check(Timestamp(41 * 60 * Timestamp::SECOND));
        assert_eq!(events.first().map(|e| e.0.reason.as_str()), Some("low_rate"));
    }
}
