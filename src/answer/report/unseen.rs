//! What could not be seen, in terms of the organisation, each with what it is a part of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use jiff::civil::Date;
use rapidhash::fast::RandomState;

use super::model::{Figure, Period, Unseen};
use super::{Facts, UNKNOWN, words};
use crate::answer::terminal::time;
use crate::recorder::finding::bytes;
use crate::recorder::identity::inventory::Key;
use crate::recorder::identity::subject;
use crate::recorder::store::rows::{InputRow, Text};
use crate::recorder::store::{CoverageLine, HiddenLine, Seen};
use crate::written::masked;

/// Days after which an entry of the catalogue should be looked at again: hosts move.
const STALE_DAYS: i32 = 180;

/// Subnets that are named where nobody was seen in them.
const NAMED_MAX: usize = 6;

/// What the store knows of the sensor's own sight.
pub(super) struct Sight<'a> {
    pub(super) ledger: &'a [CoverageLine],
    pub(super) hidden: &'a [HiddenLine],
    pub(super) inputs: &'a [InputRow],
    pub(super) seen: &'a Seen,
}

impl Facts<'_> {
    /// Every line.
    pub(super) fn unseen(&self, sight: &Sight<'_>, now: &Period) -> Vec<Unseen> {
        let mut lines = vec![hours(now)];
        lines.extend(self.inventory(sight.seen));
        lines.push(self.subnets(sight.seen));
        lines.push(self.without_department());
        lines.extend(counted_lines(sight.ledger));
        lines.extend(self.behind(sight.hidden));
        let broken = sight.inputs.iter().filter(|i| i.fault.is_some()).count() as u64;
        let figure = Figure::new(broken, sight.inputs.len() as u64, "captures");
        let meaning = "What came after the break is missing.";
        lines.push(line("Captures that break off", Some(figure), meaning));
        lines.push(self.catalogue_age());
        lines.push(line(
            "What was written, and whose account it was",
            None,
            "Only names, sizes and times are seen: never content, nor whether a login was private.",
        ));
        lines
    }

    /// Devices that are managed and were not seen, and the other way round.
    fn inventory(&self, seen: &Seen) -> [Unseen; 2] {
        const NEVER: &str = "Devices of the inventory that were never seen";
        const STRANGE: &str = "Devices seen that are in no inventory";
        let known = self.options.known;
        let (devices, _) = known.inventory.counts();
        if devices == 0 {
            let none = "No inventory was given ([identity] inventory), so this cannot be counted.";
            return [line(NEVER, None, none), line(STRANGE, None, none)];
        }
        // Under the veil, names in the store are pseudonyms; the inventory's are made to match.
        let mut by_key: HashMap<Key, u32, RandomState> = HashMap::default();
        for (key, number) in known.inventory.keys() {
            let veiled = match &key {
                Key::Mac(mac) => Key::Mac(known.veil.mac(*mac)),
                Key::Name(name) => {
                    Key::Name(Text::from(known.veil.name(subject::Kind::Device, name)))
                }
                Key::Address(addr) => Key::Address(known.veil.address(*addr)),
            };
            by_key.insert(veiled, number);
            by_key.insert(key, number);
        }
        let mut met = BTreeSet::new();
        let mut strange = 0_u64;
        for (mac, names) in &seen.devices {
            let by_name = || names.iter().find_map(|n| by_key.get(&Key::Name(n.clone())));
            match by_key.get(&Key::Mac(*mac)).or_else(by_name) {
                Some(number) => drop(met.insert(*number)),
                None => strange = strange.saturating_add(1),
            }
        }
        met.extend(seen.addresses.iter().filter_map(|a| by_key.get(&Key::Address(*a))));
        let devices = devices as u64;
        let missing = devices.saturating_sub(met.len() as u64);
        let never = Figure::new(missing, devices, "devices of the inventory");
        let others =
            Figure::new(strange, seen.devices.len() as u64, "devices seen by link address");
        [
            line(
                NEVER,
                Some(never),
                "Off, elsewhere, or on a segment without a mirror: this report says nothing of them.",
            ),
            line(STRANGE, Some(others), "Guests, things, or machines that nobody manages."),
        ]
    }

    /// Subnets in which nobody was seen.
    fn subnets(&self, seen: &Seen) -> Unseen {
        const WHAT: &str = "Known subnets in which no device was seen";
        let all = &self.options.subnets;
        if all.is_empty() {
            let none = "No subnets were named ([scope] own_networks, [[department]] networks); what is not \
                        mirrored is not in this report.";
            return line(WHAT, None, none);
        }
        let is_seen = |(net, bits): &(IpAddr, u8)| {
            seen.addresses.iter().any(|addr| masked(*addr, *bits) == *net)
        };
        let dark: Vec<String> =
            all.iter().filter(|n| !is_seen(n)).map(|(net, bits)| format!("{net}/{bits}")).collect();
        let meaning = if dark.is_empty() {
            "Every subnet that the configuration names is mirrored, at least in part.".to_owned()
        } else {
            format!("They are empty, or not mirrored: {}.", words::listed(&dark, NAMED_MAX))
        };
        let figure = Figure::new(
            dark.len() as u64,
            all.len() as u64,
            "subnets that the configuration names",
        );
        line(WHAT, Some(figure), &meaning)
    }

    fn without_department(&self) -> Unseen {
        let unknown = self.department.values().filter(|d| *d == UNKNOWN).count() as u64;
        let figure = Figure::new(unknown, self.department.len() as u64, "devices using AI");
        let meaning = if unknown == 0 {
            "Each stands in a department."
        } else if unknown == figure.of {
            "Nobody said who belongs where: [[department]] in the configuration, an inventory, or --departments."
        } else {
            "They stand in no department that was given."
        };
        line("Devices using AI without a known department", Some(figure), meaning)
    }

    /// Traffic that goes where nobody can look, by kind.
    fn behind(&self, hidden: &[HiddenLine]) -> Vec<Unseen> {
        let mut behind: BTreeMap<&str, (BTreeSet<_>, u64)> = BTreeMap::new();
        for line in hidden {
            let (devices, bytes) = behind.entry(&line.kind).or_default();
            devices.insert((line.actor.realm, line.actor.mac, line.actor.addr));
            *bytes =
                bytes.saturating_add(line.totals.bytes_up).saturating_add(line.totals.bytes_down);
        }
        let told = |(kind, (devices, volume)): (&&str, &(BTreeSet<_>, u64))| {
            let what = match *kind {
                "security-edge" => "Addresses whose traffic goes through a security edge",
                "relay" => "Addresses whose traffic goes through a relay or VPN",
                _ => "Addresses whose traffic goes through a tunnel",
            };
            let figure = self.devices_figure(devices.len() as u64);
            line(
                what,
                Some(figure),
                &format!("{} of theirs cannot be looked into.", bytes(*volume)),
            )
        };
        behind.iter().map(told).collect()
    }

    fn catalogue_age(&self) -> Unseen {
        let services = self.options.catalogue.services();
        let until = time(self.until, "%Y-%m-%d").parse::<Date>().ok();
        let age = |day: &str| {
            let checked = day.parse::<Date>().ok()?;
            Some(checked.until(until?).ok()?.get_days())
        };
        let newest = services.iter().map(|s| s.last_verified.as_str()).max().unwrap_or_default();
        let stale =
            services.iter().filter(|s| age(&s.last_verified).is_none_or(|d| d > STALE_DAYS));
        let figure =
            Figure::new(stale.count() as u64, services.len() as u64, "services of the catalogue");
        let old = match age(newest) {
            Some(days) if days > 0 => format!(", {days} days before the end of this period"),
            _ => String::new(),
        };
        let meaning = format!(
            "The newest entry was checked on {newest}{old}; services that came up since are found only if they speak an AI \
             interface in clear."
        );
        let what = format!("Entries of the catalogue not checked for {STALE_DAYS} days");
        line(&what, Some(figure), &meaning)
    }
}

fn line(what: &str, figure: Option<Figure>, meaning: &str) -> Unseen {
    Unseen { what: what.to_owned(), figure, meaning: meaning.to_owned() }
}

fn hours(now: &Period) -> Unseen {
    let hours = &now.captured_hours;
    let meaning = if hours.count < hours.of {
        "What happened in the other hours is not known."
    } else {
        "The sensor was never off for a whole hour; gaps of minutes would not show here."
    };
    line("Hours with capture", Some(hours.clone()), meaning)
}

/// Lines of the coverage ledger that an organisation understands.
fn counted_lines(ledger: &[CoverageLine]) -> Vec<Unseen> {
    let mut lines = Vec::new();
    let row = |name: &str| ledger.iter().find(|l| &*l.name == name);
    let frames = row("frames").map_or(0, |l| l.count);
    if frames > 0 {
        let lost = |l: &&CoverageLine| {
            l.name.starts_with("frames_dropped_") || l.name.starts_with("packets_dropped_")
        };
        let lost = ledger.iter().filter(lost).fold(0, |n: u64, l| n.saturating_add(l.count));
        lines.push(line(
            "Frames dropped before they were read",
            Some(Figure::new(lost, frames.saturating_add(lost), "frames that arrived")),
            "More arrived than could be read; their names and volume are missing.",
        ));
    }
    for (name, whole, what, of_what, meaning) in [
        (
            "flows_unnamed",
            "flows",
            "Flows without any name",
            "flows",
            "An AI service among them would not be noticed.",
        ),
        (
            "hellos_ech_plausible",
            "hellos",
            "Encrypted hellos (ECH)",
            "TLS and QUIC hellos",
            "Only an outer name shows; the service behind it stays hidden.",
        ),
        (
            "clients_with_encrypted_dns",
            "clients",
            "Clients with encrypted DNS",
            "clients, counted in each capture",
            "What they asked for is not seen; what they then did usually is.",
        ),
        (
            "clients_of_security_edges",
            "clients",
            "Clients of a security service edge",
            "clients, counted in each capture",
            "What they do goes through the edge and has to be asked of it.",
        ),
        (
            "clients_of_relays",
            "clients",
            "Clients of a relay or VPN",
            "clients, counted in each capture",
            "What goes through it cannot be told.",
        ),
        (
            "flows_with_gaps",
            "flows",
            "Flows with lost packets",
            "flows",
            "Their volume is exact, but a name may be lost with its packet.",
        ),
        (
            "flows_unanswered",
            "flows",
            "Flows seen from one side only",
            "flows",
            "They count as named, never as use.",
        ),
    ] {
        let all = row(whole).map_or(0, |l| l.count);
        if all > 0 {
            let count = row(name).map_or(0, |l| l.count);
            lines.push(line(what, Some(Figure::new(count, all, of_what)), meaning));
        }
    }
    lines
}
