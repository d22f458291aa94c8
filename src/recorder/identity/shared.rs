//! Addresses behind which there are many: NAT, proxies, terminal servers, containers.
//!
//! In: TTLs, user agents, proxy requests and logons of an address. Out: the reason to name nobody.
//! Never: takes privacy addresses, several programs of one person, or people who take turns for
//! many.
//! Limits: [`ADDRESSES_MAX`]; a few bytes an address.

use std::collections::HashMap;
use std::net::IpAddr;

use rapidhash::fast::RandomState;

use super::Many;
use super::bindings::DeviceId;
use super::people::{Stay, class};
use crate::types::{Realm, Timestamp};

/// Addresses with evidence.
pub const ADDRESSES_MAX: usize = 250_000;

/// Time in which so many changes of person are no taking of turns.
const USERS_SPAN: u64 = 600 * Timestamp::SECOND;

/// Logons of changing people in [`USERS_SPAN`] that make an address shared: two who swap seats
/// come to three at most (first, second, first again).
const USERS_CHANGES: usize = 4;

/// Initial TTLs of systems: 64 (Unix, macOS, Android), 128 (Windows), 255 (network gear).
const INITIAL: [u8; 3] = [64, 128, 255];

/// `true` if a packet with this TTL has passed no router.
pub fn is_unrouted(ttl: u8) -> bool {
    ttl == 0 || INITIAL.contains(&ttl)
}

/// Operating systems that a user agent tells, as bits.
pub fn system_of(agent: &str) -> Option<(&'static str, u8)> {
    // Order matters: Android says Linux too, iPhones and some Windows phones say Mac OS.
    let signs: [(&str, &str, u8); 8] = [
        ("Windows NT", "Windows", 1),
        ("Android", "Android", 2),
        ("iPhone", "iOS", 4),
        ("iPad", "iOS", 4),
        // Tablets call themselves so too, so that both are one family.
        ("Macintosh", "macOS", 4),
        ("CrOS", "ChromeOS", 8),
        ("X11; Linux", "Linux", 16),
        ("Linux x86_64", "Linux", 16),
    ];
    signs.iter().find(|(sign, ..)| agent.contains(sign)).map(|(_, name, bit)| (*name, *bit))
}

#[derive(Clone, Copy, Debug, Default)]
struct Signs {
    /// Bits of [`system_of`].
    systems: u8,
    /// Bits of initial TTLs.
    classes: u8,
    proxy: bool,
    /// What an earlier run found.
    before: Option<Many>,
    /// Routed packets came in frames of this device.
    forwarder: Option<DeviceId>,
}

/// Evidence by address.
#[derive(Debug, Default)]
pub struct Shared {
    signs: HashMap<(Realm, IpAddr), Signs, RandomState>,
    /// Times that the table was full and began anew.
    pub dropped: u64,
}

impl Shared {
    fn at(&mut self, realm: Realm, addr: IpAddr) -> &mut Signs {
        if self.signs.len() >= ADDRESSES_MAX && !self.signs.contains_key(&(realm, addr)) {
            self.signs.clear();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.signs.entry((realm, addr)).or_default()
    }

    /// A packet of the address with this TTL came in a frame of `device`.
    pub fn ttl(&mut self, realm: Realm, addr: IpAddr, ttl: u8, device: Option<DeviceId>) {
        if ttl == 0 {
            return;
        }
        let class = INITIAL.iter().position(|initial| ttl <= *initial).unwrap_or(2);
        let signs = self.at(realm, addr);
        signs.classes |= 1 << class;
        if !is_unrouted(ttl) && device.is_some() {
            signs.forwarder = device;
        }
    }

    /// A program at the address says which system it runs on, as a bit of [`system_of`].
    pub fn system(&mut self, realm: Realm, addr: IpAddr, bit: u8) {
        self.at(realm, addr).systems |= bit;
    }

    /// Clients ask this address to fetch for them.
    pub fn proxy(&mut self, realm: Realm, addr: IpAddr) {
        self.at(realm, addr).proxy = true;
    }

    /// An earlier run found many there.
    pub fn remember(&mut self, realm: Realm, addr: IpAddr, many: Many) {
        self.at(realm, addr).before = Some(many);
    }

    /// Why there are many at the address, which belongs to `owner` by a grant or by ARP.
    pub fn many(&self, realm: Realm, addr: IpAddr, owner: Option<DeviceId>) -> Option<Many> {
        let signs = self.signs.get(&(realm, addr))?;
        // What its owner sends has passed a router, so the owner is one: it sends for others.
        let forwards = owner.is_some() && signs.forwarder == owner;
        if signs.proxy {
            Some(Many::Proxy)
        } else if forwards {
            Some(Many::Nat)
        } else if signs.systems.count_ones() > 1 || signs.classes.count_ones() > 1 {
            Some(Many::Systems)
        } else {
            signs.before
        }
    }
}

/// `true` if people come and go at one address faster than a chair allows.
pub fn is_crowd(stays: &[Stay]) -> bool {
    let mut logons: Vec<&Stay> = stays.iter().filter(|s| class(s.source) <= 1).collect();
    logons.sort_by_key(|s| s.from);
    logons.windows(USERS_CHANGES).any(|window| {
        let changes = window.windows(2).all(|pair| matches!(pair, [a, b] if a.user != b.user));
        let span = match (window.first(), window.last()) {
            (Some(first), Some(last)) => last.from.since(first.from),
            _ => u64::MAX,
        };
        changes && span < USERS_SPAN
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::identity::{Source, Subject};

    const R: Realm = Realm(0);
    const OWNER: Option<DeviceId> = Some(DeviceId(1));

    fn ip() -> IpAddr {
        IpAddr::from([192, 0, 2, 9])
    }

    fn many(fill: impl Fn(&mut Shared)) -> Option<Many> {
        let mut shared = Shared::default();
        fill(&mut shared);
        shared.many(R, ip(), OWNER)
    }

    #[test]
    fn evidence_makes_many() {
        let ttl = |shared: &mut Shared, ttls: &[u8], device| {
            for ttl in ttls {
                shared.ttl(R, ip(), *ttl, device);
            }
        };
        let system = |shared: &mut Shared, agents: &[&str]| {
            for agent in agents {
                shared.system(R, ip(), system_of(agent).unwrap().1);
            }
        };
        let (router, own) = (Some(DeviceId(7)), OWNER);
        let table: [(&str, Option<Many>, Option<Many>); 7] = [
            ("one host", many(|s| ttl(s, &[64, 64], own)), None),
            ("a host behind a router", many(|s| ttl(s, &[63], router)), None),
            ("what its owner sends was routed", many(|s| ttl(s, &[63], own)), Some(Many::Nat)),
            ("two kinds of system", many(|s| ttl(s, &[63, 127], router)), Some(Many::Systems)),
            (
                "two systems by their agents",
                many(|s| system(s, &["(Windows NT 10.0)", "(Macintosh; Intel)"])),
                Some(Many::Systems),
            ),
            ("a tablet", many(|s| system(s, &["(iPad; CPU OS)", "(Macintosh; Intel)"])), None),
            ("a proxy", many(|s| s.proxy(R, ip())), Some(Many::Proxy)),
        ];
        for (name, found, expected) in table {
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn systems_of_agents() {
        let table = [
            ("Mozilla/5.0 (Linux; Android 14)", Some("Android")),
            ("Mozilla/5.0 (X11; Linux x86_64)", Some("Linux")),
            ("Mozilla/5.0 (Windows NT 10.0; Win64)", Some("Windows")),
            ("curl/8.5", None),
        ];
        for (agent, expected) in table {
            assert_eq!(system_of(agent).map(|s| s.0), expected, "{agent}");
        }
    }

    #[test]
    fn a_crowd_is_faster_than_a_chair() {
        let stays = |logons: &[(&str, u64)]| -> Vec<Stay> {
            let at = |s: u64| Timestamp(s * Timestamp::SECOND);
            let stay = |(user, from): &(&str, u64)| Stay {
                user: Subject::user(*user),
                source: Source::Kerberos,
                from: at(*from),
                last: at(*from),
                until: at(from + 1),
                input: 0,
            };
            logons.iter().map(stay).collect()
        };
        assert!(!is_crowd(&stays(&[("a", 0), ("b", 60), ("a", 120)])), "they swap seats");
        assert!(is_crowd(&stays(&[("a", 0), ("b", 60), ("a", 120), ("b", 180)])));
        assert!(is_crowd(&stays(&[("a", 0), ("b", 1), ("c", 2), ("d", 3)])));
        assert!(!is_crowd(&stays(&[("a", 0), ("b", 4_000), ("a", 8_000), ("b", 12_000)])));
    }
}
