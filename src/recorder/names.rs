//! What DNS answers say of addresses: names for flows that carry none.
//!
//! In: questions and answers in the order of the run. Out: the name under which a client came to
//! know an address, and how far that can be believed.
//! Never: names a flow from an answer that another host asked for, or nobody, as if it were sure.
//! Limits: [`ADDRESSES_MAX`] addresses a generation, [`NAMES_MAX`] names an address,
//! [`QUESTIONS_MAX`] questions in flight; the oldest generation goes first, and is counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rapidhash::fast::RandomState;

use crate::types::{MacAddr, Realm, Timestamp};

/// Addresses remembered in the younger of two generations; about 100 bytes each.
pub const ADDRESSES_MAX: usize = 250_000;

/// Names remembered of one address for one client. More means a shared front: see `Belief`.
pub const NAMES_MAX: usize = 4;

/// Questions without an answer yet.
pub const QUESTIONS_MAX: usize = 65_536;

/// Time past its TTL for which an answer still names new flows: programs and resolvers keep
/// addresses longer than they should, browsers at least a minute (measured by others at one to
/// ten minutes for 95 % of late connections).
pub const GRACE_S: u64 = 300;

/// How far a name from DNS can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Belief {
    /// This client asked for it, and for nothing else that lives there.
    Likely,
    /// Unasked, asked by somebody else, or one of several names of the address.
    Possible,
}

#[derive(Clone, Debug)]
struct Known {
    name: Arc<str>,
    from: Timestamp,
    until: Timestamp,
    asked: bool,
}

/// Who asks: a device by its MAC where that is known, since a host with IPv4 and IPv6 asks over
/// one and goes over the other; else the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asker {
    /// Link address.
    Device(MacAddr),
    /// IP address.
    Address(IpAddr),
}

impl Known {
    /// The same name told again before it ran out holds since it was first told: a flow may be
    /// asked about long after it began.
    fn after(mut self, before: &Known) -> Known {
        if self.name == before.name && self.from <= before.until {
            self.from = self.from.min(before.from);
            self.asked |= before.asked;
        }
        self
    }
}

type Key = (Realm, Asker, IpAddr);

/// Bits of [`Told`]: 32 KiB, which stay in a core's cache. Ten thousand addresses fill 4 %.
const TOLD_BITS: u32 = 18;

/// Which addresses any answer gave, as a set of hashes: most nameless flows go where no answer
/// pointed, and end here.
#[derive(Debug)]
struct Told {
    words: Box<[u64]>,
}

impl Default for Told {
    fn default() -> Self {
        Self { words: vec![0; 1 << (TOLD_BITS - 6)].into() }
    }
}

impl Told {
    fn place(addr: IpAddr) -> (usize, u64) {
        let folded = match addr {
            IpAddr::V4(a) => u64::from(a.to_bits()),
            IpAddr::V6(a) => {
                let [high, low] = [a.to_bits() >> 64, a.to_bits() & u128::from(u64::MAX)]
                    .map(|half| u64::try_from(half).unwrap_or(0));
                high.rotate_left(32) ^ low
            }
        };
        let hash = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - TOLD_BITS);
        (usize::try_from(hash >> 6).unwrap_or(0), 1 << (hash & 63))
    }

    fn insert(&mut self, addr: IpAddr) {
        let (word, bit) = Self::place(addr);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    fn may_hold(&self, addr: IpAddr) -> bool {
        let (word, bit) = Self::place(addr);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// Who asked, from which port, with which message id.
type Question = (Realm, Asker, u16, u16);

/// Answers by client and address, and which questions are open.
#[derive(Debug, Default)]
pub struct Names {
    young: HashMap<Key, Vec<Known>, RandomState>,
    old: HashMap<Key, Vec<Known>, RandomState>,
    /// By address alone: the last name anybody was told.
    anybody: HashMap<(Realm, IpAddr), Known, RandomState>,
    questions: HashMap<Question, (Arc<str>, Timestamp), RandomState>,
    /// ECH configurations handed out: name to the time they hold.
    ech: HashMap<Arc<str>, Timestamp, RandomState>,
    /// Whether a client that asked for a name asked for its HTTPS record too.
    habits: HashMap<(Realm, Asker, Arc<str>), bool, RandomState>,
    /// Addresses in `young`, `old` and `anybody`, and perhaps more.
    told: Told,
    /// Generations dropped because the cap was met.
    pub dropped: u64,
}

impl Names {
    /// `client` asked for `name` from `port` with message id `id`.
    pub fn question(
        &mut self,
        realm: Realm,
        client: Asker,
        port: u16,
        id: u16,
        name: &Arc<str>,
        at: Timestamp,
    ) {
        if self.questions.len() >= QUESTIONS_MAX {
            self.questions.clear();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.questions.insert((realm, client, port, id), (name.clone(), at));
    }

    /// `client` asked for a record of `name`: type 65 is HTTPS (RFC 9460).
    pub fn habit(&mut self, realm: Realm, client: Asker, name: &Arc<str>, rtype: u16) {
        const HTTPS: u16 = 65;
        if self.habits.len() >= ADDRESSES_MAX {
            self.habits.clear();
            self.dropped = self.dropped.saturating_add(1);
        }
        *self.habits.entry((realm, client, name.clone())).or_default() |= rtype == HTTPS;
    }

    /// `true` if `client` asked for the HTTPS record of `name` as browsers do, `false` if it asked
    /// for addresses only as programs do, `None` if it was not seen to ask.
    pub fn asks_like_browser(&self, realm: Realm, client: Asker, name: &Arc<str>) -> Option<bool> {
        self.habits.get(&(realm, client, name.clone())).copied()
    }

    /// `client` was told that `name` lives at `addr` for `ttl_s` seconds.
    #[expect(clippy::too_many_arguments, reason = "one DNS answer has as many parts")]
    pub fn answer(
        &mut self,
        realm: Realm,
        client: Asker,
        port: u16,
        id: u16,
        name: &Arc<str>,
        addr: IpAddr,
        ttl_s: u32,
        at: Timestamp,
    ) {
        let asked = self.questions.get(&(realm, client, port, id)).is_some_and(|(q, _)| q == name);
        let keep_s = u64::from(ttl_s).saturating_add(GRACE_S);
        let until = Timestamp(at.0.saturating_add(keep_s.saturating_mul(Timestamp::SECOND)));
        let known = Known { name: name.clone(), from: at, until, asked };
        if self.anybody.len() >= ADDRESSES_MAX {
            self.anybody.clear();
            self.dropped = self.dropped.saturating_add(1);
            self.told = Told::default();
            let known = self.young.keys().chain(self.old.keys());
            known.for_each(|(_, _, addr)| self.told.insert(*addr));
        }
        self.told.insert(addr);
        let anybody = self.anybody.entry((realm, addr)).or_insert_with(|| known.clone());
        *anybody = known.clone().after(anybody);
        if self.young.len() >= ADDRESSES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.dropped = self.dropped.saturating_add(1);
        }
        let names = self.young.entry((realm, client, addr)).or_default();
        let same = names.iter().position(|k| k.name == known.name);
        let known = match same.map(|place| names.remove(place)) {
            Some(before) => known.after(&before),
            None => known,
        };
        if names.len() >= NAMES_MAX {
            names.remove(0);
        }
        names.push(known);
    }

    /// An HTTPS record of `name` carried an ECH configuration.
    pub fn ech(&mut self, name: &Arc<str>, ttl_s: u32, at: Timestamp) {
        let keep_s = u64::from(ttl_s).saturating_add(GRACE_S);
        if self.ech.len() >= ADDRESSES_MAX {
            self.ech.clear();
            self.dropped = self.dropped.saturating_add(1);
        }
        let until = Timestamp(at.0.saturating_add(keep_s.saturating_mul(Timestamp::SECOND)));
        self.ech.insert(name.clone(), until);
    }

    /// `true` if anybody was lately told how to hide hellos to `name`.
    pub fn offers_ech(&self, name: &str, at: Timestamp) -> bool {
        self.ech.get(name).is_some_and(|until| at <= *until)
    }

    /// `false` if no answer gave this address, so that [`Names::name`] knows nothing of it.
    pub fn may_name(&self, addr: IpAddr) -> bool {
        self.told.may_hold(addr)
    }

    /// The name under which `client` most likely went to `addr` at `at`.
    pub fn name(
        &self,
        realm: Realm,
        client: Asker,
        addr: IpAddr,
        at: Timestamp,
    ) -> Option<(Arc<str>, Belief)> {
        // A flow's first packet is known to the second only: an answer in that second counts.
        let late = Timestamp(at.0.saturating_add(Timestamp::SECOND));
        let holds = |k: &&Known| k.from <= late && at <= k.until;
        let key = (realm, client, addr);
        let own = self.young.get(&key).or_else(|| self.old.get(&key));
        if let Some(names) = own {
            let mut fit = names.iter().rev().filter(holds);
            if let Some(last) = fit.next() {
                let alone = fit.next().is_none();
                let belief = if alone && last.asked { Belief::Likely } else { Belief::Possible };
                return Some((last.name.clone(), belief));
            }
        }
        let anybody = self.anybody.get(&(realm, addr)).filter(holds)?;
        Some((anybody.name.clone(), Belief::Possible))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: Realm = Realm(0);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn who(last: u8) -> Asker {
        Asker::Address(ip(last))
    }

    fn s(seconds: u64) -> Timestamp {
        Timestamp(seconds * Timestamp::SECOND)
    }

    #[test]
    fn an_answer_names_flows_of_its_asker_within_ttl_and_grace() {
        let mut names = Names::default();
        let name: Arc<str> = Arc::from("api.example");
        names.question(R, who(1), 5000, 7, &name, s(10));
        names.answer(R, who(1), 5000, 7, &name, ip(80), 60, s(11));
        let likely = Some((name.clone(), Belief::Likely));
        let possible = Some((name.clone(), Belief::Possible));
        let cases = [
            ("at once", who(1), 11, likely.clone()),
            ("in the same second", who(1), 10, likely.clone()),
            ("before", who(1), 5, None),
            ("within grace", who(1), 11 + 60 + GRACE_S, likely),
            ("too late", who(1), 12 + 60 + GRACE_S, None),
            ("somebody else", who(2), 12, possible),
        ];
        for (case, client, at, expected) in cases {
            assert_eq!(names.name(R, client, ip(80), s(at)), expected, "{case}");
        }
    }

    #[test]
    fn a_name_told_again_still_names_flows_of_before() {
        let mut names = Names::default();
        let name: Arc<str> = Arc::from("api.example");
        for at in [10, 60] {
            names.question(R, who(1), 5000, 7, &name, s(at));
            names.answer(R, who(1), 5000, 7, &name, ip(80), 0, s(at));
        }
        assert_eq!(names.name(R, who(1), ip(80), s(11)), Some((name, Belief::Likely)));
    }

    #[test]
    fn unasked_or_shared_is_only_possible() {
        let mut names = Names::default();
        let (a, b): (Arc<str>, Arc<str>) = (Arc::from("a.example"), Arc::from("b.example"));
        names.answer(R, who(1), 5000, 7, &a, ip(80), 60, s(11));
        assert_eq!(names.name(R, who(1), ip(80), s(12)), Some((a.clone(), Belief::Possible)));
        names.question(R, who(1), 5000, 8, &b, s(12));
        names.answer(R, who(1), 5000, 8, &b, ip(80), 60, s(12));
        assert_eq!(names.name(R, who(1), ip(80), s(13)), Some((b, Belief::Possible)));
    }
}
