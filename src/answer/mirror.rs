//! Is the mirror any good: what was measured, what that means for findings, what to do.
//!
//! In: [`MirrorCounts`] of some time, rates, the ring. Out: [`Check`]s for a person, [`Fault`]s
//! for an alarm. Never: a verdict without the number that it rests on.
//! Limits: thresholds stand here with their reasons.

use crate::watcher::mirror::{MirrorCounts, TOLD_APART};

/// Packets below which ratios say nothing.
const FEW: u64 = 50;

/// Packets without a question or answer of DNS that are too many for chance: an office asks once
/// in some two hundred packets.
const WITHOUT_DNS: u64 = 2_000;

/// A direction that has less than one in so many packets is gone: acknowledgments alone are more.
const ONE_SIDED: u64 = 50;

/// Copies above one in so many: retransmissions that follow at once are far rarer.
const COPIES: u64 = 20;

/// Part of the usual rate of the hour below which a mirror counts as broken.
const OF_USUAL: f64 = 0.1;

/// Frames a second below which a quiet hour is nothing unusual.
const USUAL_MIN: f64 = 5.0;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Good,
    /// Cannot be said.
    Unknown,
    /// Findings suffer.
    Bad,
}

/// One line of a diagnosis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub what: &'static str,
    /// How it came out.
    pub state: State,
    /// What was measured.
    pub measured: String,
    /// What that means for findings.
    pub means: &'static str,
    /// What to do; empty if nothing.
    pub todo: String,
}

/// What was measured at one interface.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Interface.
    pub interface: String,
    /// What the mirror showed.
    pub counts: MirrorCounts,
    /// Seconds of it.
    pub seconds: f64,
    /// Frames and octets in that time, all of them.
    pub frames: u64,
    /// Octets on the wire.
    pub bytes: u64,
    /// Frames lost in that time.
    pub lost: u64,
    /// Octets of the rings of all workers.
    pub ring_bytes: u64,
    /// MTU of the interface.
    pub mtu: u32,
    /// Tags and tunnels by name.
    pub wrappings: Vec<(String, u64)>,
    /// Interface is up.
    pub up: bool,
}

/// Why a mirror counts as degraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The interface is down or gone.
    Down,
    /// No frames at all.
    NoFrames,
    /// One direction is missing.
    OneDirection,
    /// No DNS.
    NoDns,
    /// All frames from one MAC.
    SingleMac,
    /// Far fewer frames than usual at this hour.
    LowRate,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 6] = [
        Fault::Down,
        Fault::NoFrames,
        Fault::OneDirection,
        Fault::NoDns,
        Fault::SingleMac,
        Fault::LowRate,
    ];

    /// Word of outside formats.
    pub fn code(self) -> &'static str {
        match self {
            Fault::Down => "interface_down",
            Fault::NoFrames => "no_frames",
            Fault::OneDirection => "one_direction",
            Fault::NoDns => "no_dns",
            Fault::SingleMac => "single_mac",
            Fault::LowRate => "low_rate",
        }
    }

    /// What it means and what to do.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Fault::Down => (
                "the interface is down or gone: nothing is seen",
                "check cable, switch port and driver",
            ),
            Fault::NoFrames => (
                "no frames arrive: nothing is seen",
                "check that the mirror session still exists on the switch",
            ),
            Fault::OneDirection => (
                "one direction is missing: no use can be told from a look, and sizes are wrong",
                "mirror both directions (rx and tx), or give both halves of the tap as -i A -i B",
            ),
            Fault::NoDns => (
                "no DNS is seen: flows without a name of their own stay nameless",
                "mirror the resolver's port too; clients may ask DNS encrypted",
            ),
            Fault::SingleMac => (
                "frames of one station only: this is no mirror, or a bridge has learned",
                "check the mirror session; on a Linux bridge set ageing_time 0",
            ),
            Fault::LowRate => (
                "under a tenth of this hour's usual rate",
                "check that all ports and VLANs are still mirrored",
            ),
        }
    }
}

/// What is wrong with a mirror now. `usual` is the rate in frames a second at this hour, if known.
pub fn faults(measured: &Measured, usual: Option<f64>) -> Vec<Fault> {
    let counts = &measured.counts;
    if !measured.up {
        return vec![Fault::Down];
    }
    if measured.frames == 0 {
        return vec![Fault::NoFrames];
    }
    let mut found = Vec::new();
    if one_sided(counts) {
        found.push(Fault::OneDirection);
    }
    let packets = counts.outbound + counts.inbound + counts.within + counts.foreign;
    if counts.dns == 0 && packets > WITHOUT_DNS {
        found.push(Fault::NoDns);
    }
    if counts.macs <= 1 && counts.frames > FEW {
        found.push(Fault::SingleMac);
    }
    let rate = measured.frames as f64 / measured.seconds.max(0.001);
    if usual.is_some_and(|u| u >= USUAL_MIN && rate < u * OF_USUAL) {
        found.push(Fault::LowRate);
    }
    found
}

fn one_sided(counts: &MirrorCounts) -> bool {
    let (out, into) = (counts.outbound, counts.inbound);
    out + into > FEW && out.min(into).saturating_mul(ONE_SIDED) < out.max(into)
}

/// Everything that can be said of a mirror, a line each.
pub fn checks(measured: &Measured) -> Vec<Check> {
    let m = measured;
    let c = &m.counts;
    let rate = m.frames as f64 / m.seconds.max(0.001);
    let bits = m.bytes as f64 * 8.0 / m.seconds.max(0.001);
    let good = |ok: bool| if ok { State::Good } else { State::Bad };
    let told = |fault: Fault| fault.words().1.to_owned();
    let enough = c.frames > FEW;
    let known = |state: State| if enough { state } else { State::Unknown };
    let lines = [
        Check {
            what: "frames",
            state: good(m.frames > 0 && m.up),
            measured: format!(
                "{} in {:.0} s, {rate:.0}/s, {:.2} Mbit/s",
                m.frames,
                m.seconds,
                bits / 1e6
            ),
            means: "what does not arrive is not seen",
            todo: if m.frames > 0 { String::new() } else { told(Fault::NoFrames) },
        },
        Check {
            what: "both directions",
            state: known(good(!one_sided(c))),
            measured: format!(
                "{} packets out, {} in, {} within, {} of strangers",
                c.outbound, c.inbound, c.within, c.foreign
            ),
            means: "without answers nothing counts as used",
            todo: if one_sided(c) { told(Fault::OneDirection) } else { String::new() },
        },
        Check {
            what: "own networks",
            state: known(good(c.foreign <= c.outbound + c.inbound + c.within)),
            measured: format!("{} of {} packets touch no address of yours", c.foreign, all(c)),
            means: "own networks decide who is the client",
            todo: if c.foreign > c.outbound + c.inbound + c.within {
                "set scope.own_networks to your ranges".to_owned()
            } else {
                String::new()
            },
        },
        Check {
            what: "other hosts",
            state: known(good(c.macs > 1)),
            measured: format!("{} source MACs", capped(c.macs)),
            means: "a port that shows one station is no mirror",
            todo: if c.macs > 1 { String::new() } else { told(Fault::SingleMac) },
        },
        inside(c, enough),
        Check {
            what: "DNS",
            state: known(if c.dns > 0 { State::Good } else { State::Bad }),
            measured: format!("{} packets", c.dns),
            means: "DNS names flows that do not name themselves",
            todo: if c.dns > 0 { String::new() } else { told(Fault::NoDns) },
        },
        Check {
            what: "tags and tunnels",
            state: State::Good,
            measured: wrappings(&m.wrappings),
            means: "they are taken off; overlapping address spaces need realms",
            todo: String::new(),
        },
        Check {
            what: "copies",
            state: known(good(c.copies.saturating_mul(COPIES) <= c.payload)),
            measured: format!("{} of {} packets with payload came twice", c.copies, c.payload),
            means: "bytes count once all the same; the load doubles",
            todo: if c.copies.saturating_mul(COPIES) <= c.payload {
                String::new()
            } else {
                "mirror each frame once: rx and tx of one port, or rx of all ports".to_owned()
            },
        },
        Check {
            what: "merged frames",
            state: known(good(c.merged == 0)),
            measured: format!(
                "{} of {} frames above 1,600 octets, MTU {}",
                c.merged, c.frames, m.mtu
            ),
            means: "sizes stay right; frame numbers and times are those of the merged ones",
            todo: if c.merged == 0 || m.mtu > 1_600 {
                String::new()
            } else {
                format!("ethtool -K {} gro off lro off tso off gso off", m.interface)
            },
        },
        ring(m, bits),
    ];
    lines.into_iter().collect()
}

fn all(c: &MirrorCounts) -> u64 {
    c.outbound + c.inbound + c.within + c.foreign
}

fn capped(n: u64) -> String {
    if n >= TOLD_APART as u64 { format!("{n} or more") } else { n.to_string() }
}

fn inside(c: &MirrorCounts, enough: bool) -> Check {
    // Behind a NAT all of an office is one address.
    let one = c.hosts <= 1 && c.outbound > 0;
    Check {
        what: "inside the NAT",
        state: match (enough, one) {
            (false, _) => State::Unknown,
            (true, true) => State::Bad,
            (true, false) => State::Good,
        },
        measured: format!("{} addresses of yours send", capped(c.hosts)),
        means: "outside a NAT everybody is one device",
        todo: if one {
            "move the mirror to the inner side of the router".to_owned()
        } else {
            String::new()
        },
    }
}

fn wrappings(all: &[(String, u64)]) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    let each: Vec<String> = all.iter().map(|(name, n)| format!("{name} {n}")).collect();
    each.join(", ")
}

fn ring(m: &Measured, bits: f64) -> Check {
    let holds_s = m.ring_bytes as f64 * 8.0 / bits.max(1.0);
    let holds = if holds_s > 100.0 { "over 100 s".to_owned() } else { format!("{holds_s:.2} s") };
    // Less than a tenth of a second does not bridge a pause of the scheduler.
    let fine = m.lost == 0 && holds_s > 0.1;
    Check {
        what: "ring",
        state: if fine { State::Good } else { State::Bad },
        measured: format!(
            "{} MiB hold {holds} at this rate; {} frames lost",
            m.ring_bytes >> 20,
            m.lost
        ),
        means: "what finds no room is lost, and counted",
        todo: if fine {
            String::new()
        } else {
            "raise sensor.ring_bytes, or give more threads".to_owned()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office() -> Measured {
        Measured {
            interface: "eth1".to_owned(),
            counts: MirrorCounts {
                frames: 10_000,
                outbound: 4_000,
                inbound: 5_000,
                within: 500,
                foreign: 0,
                dns: 60,
                payload: 7_000,
                macs: 12,
                hosts: 11,
                ..MirrorCounts::default()
            },
            seconds: 60.0,
            frames: 10_000,
            bytes: 8_000_000,
            ring_bytes: 64 << 20,
            mtu: 1500,
            up: true,
            ..Measured::default()
        }
    }

    #[test]
    fn each_fault_has_its_sign() {
        let with = |change: fn(&mut Measured)| {
            let mut m = office();
            change(&mut m);
            m
        };
        let cases = [
            ("office", with(|_| {}), None, vec![]),
            ("down", with(|m| m.up = false), None, vec![Fault::Down]),
            ("silent", with(|m| m.frames = 0), None, vec![Fault::NoFrames]),
            ("answers only", with(|m| m.counts.outbound = 0), None, vec![Fault::OneDirection]),
            ("no DNS", with(|m| m.counts.dns = 0), None, vec![Fault::NoDns]),
            ("one station", with(|m| m.counts.macs = 1), None, vec![Fault::SingleMac]),
            ("a tenth", with(|_| {}), Some(2_000.0), vec![Fault::LowRate]),
            ("a third", with(|_| {}), Some(500.0), vec![]),
            ("quiet hours", with(|m| m.frames = 1), Some(4.0), vec![]),
        ];
        for (name, measured, usual, expected) in cases {
            assert_eq!(faults(&measured, usual), expected, "{name}");
        }
    }

    #[test]
    fn a_good_mirror_has_nothing_to_do() {
        let checks = checks(&office());
        let bad: Vec<_> = checks.iter().filter(|c| c.state != State::Good).collect();
        assert!(bad.is_empty(), "{bad:?}");
        assert!(checks.iter().all(|c| c.todo.is_empty()));
    }

    #[test]
    fn merged_frames_name_the_command() {
        let mut m = office();
        m.counts.merged = 9;
        let all = checks(&m);
        let merged = all.iter().find(|c| c.what == "merged frames").expect("a line");
        assert_eq!(merged.todo, "ethtool -K eth1 gro off lro off tso off gso off");
    }
}
