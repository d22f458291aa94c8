//! Which device has an address, as intervals of capture time.
//!
//! In: signs that an address belongs to a device, with source and time. Out: the interval that
//! holds an address at a time, and all of them for the store.
//! Never: lets a weaker source overrule a stronger one that is still valid.
//! Limits: [`ADDRESSES_MAX`] addresses a generation, [`INTERVALS_MAX`] an address; about 140
//! bytes an address with one interval.

use std::collections::HashMap;
use std::net::IpAddr;

use rapidhash::fast::RandomState;

use super::Source;
use crate::types::{Realm, Timestamp};

/// Addresses in the younger of two generations.
pub const ADDRESSES_MAX: usize = 1_000_000;

/// Intervals remembered of one address: a day of short leases.
pub const INTERVALS_MAX: usize = 64;

/// Time before the first sign of a device for which an address is believed to have been its
/// already, if the sign is no grant: a host that spoke through a router that knew it needs no ARP
/// for some minutes.
pub const CARRY_BACK: u64 = 600 * Timestamp::SECOND;

/// Time for which ARP, NDP and frames hold behind the last of them. Hosts ask for their router at
/// least every few minutes while they speak; a night's silence is somebody else.
const SIGN_HOLDS: u64 = 4 * 3_600 * Timestamp::SECOND;

/// A lease without a time: a day, as most servers give.
const LEASE_HOLDS: u64 = 24 * 3_600 * Timestamp::SECOND;

/// Number of a device with its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u32);

impl DeviceId {
    /// No device.
    pub const NONE: DeviceId = DeviceId(u32::MAX);

    /// Some device, which is not known any more.
    pub const SOME: DeviceId = DeviceId(u32::MAX - 1);
}

/// A time in which an address belongs to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// First moment.
    pub from: Timestamp,
    /// First moment behind it, as far as is known.
    pub until: Timestamp,
    /// Whose.
    pub device: DeviceId,
    /// Input of the first sign.
    pub input: u16,
    /// Best source so far.
    pub source: Source,
    /// Who used it though it was another's by a better source. From then on, until it is granted
    /// anew, nobody can say whose it is: [`DeviceId::NONE`] where all agree.
    pub rival: DeviceId,
}

impl Interval {
    /// `true` if somebody else used the address too.
    pub fn disputed(&self) -> bool {
        self.rival != DeviceId::NONE
    }

    fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

#[derive(Clone, Debug)]
enum Slot {
    One(Interval),
    More(Vec<Interval>),
}

impl Slot {
    fn all(&self) -> &[Interval] {
        match self {
            Slot::One(one) => std::slice::from_ref(one),
            Slot::More(more) => more,
        }
    }

    fn all_mut(&mut self) -> &mut [Interval] {
        match self {
            Slot::One(one) => std::slice::from_mut(one),
            Slot::More(more) => more,
        }
    }

    fn push(&mut self, interval: Interval) -> bool {
        match self {
            Slot::One(one) => *self = Slot::More(vec![*one, interval]),
            Slot::More(more) => {
                let full = more.len() >= INTERVALS_MAX;
                if full {
                    more.remove(0);
                }
                more.push(interval);
                return full;
            }
        }
        false
    }
}

/// A sign that an address belongs to a device.
#[derive(Clone, Copy, Debug)]
pub struct Sign {
    /// Whose.
    pub device: DeviceId,
    /// Who says so.
    pub source: Source,
    /// When.
    pub at: Timestamp,
    /// Seconds for which it holds; 0 if it does not say.
    pub lease_s: u32,
    /// Input of the frame.
    pub input: u16,
}

impl Sign {
    fn until(&self) -> Timestamp {
        let told = u64::from(self.lease_s).saturating_mul(Timestamp::SECOND);
        let holds = match self.source {
            Source::Dhcp | Source::LeaseFile | Source::Radius if told > 0 => told,
            Source::Dhcp | Source::LeaseFile | Source::Radius => LEASE_HOLDS,
            _ => SIGN_HOLDS,
        };
        Timestamp(self.at.0.saturating_add(holds))
    }

    fn is_grant(&self) -> bool {
        matches!(self.source, Source::Dhcp | Source::LeaseFile | Source::Radius)
    }
}

/// Intervals by address.
#[derive(Debug, Default)]
pub struct Bindings {
    young: HashMap<(Realm, IpAddr), Slot, RandomState>,
    old: HashMap<(Realm, IpAddr), Slot, RandomState>,
    /// Generations and intervals dropped because a cap was met.
    pub dropped: u64,
}

impl Bindings {
    /// Takes a sign; `true` if the address has another device now.
    pub fn sign(&mut self, realm: Realm, addr: IpAddr, sign: &Sign) -> bool {
        let key = (realm, addr);
        if !self.young.contains_key(&key) {
            if self.young.len() >= ADDRESSES_MAX {
                self.old = std::mem::take(&mut self.young);
                self.dropped = self.dropped.saturating_add(1);
            }
            match self.old.remove(&key) {
                Some(slot) => {
                    self.young.insert(key, slot);
                }
                None => {
                    self.young.insert(key, Slot::One(begun(sign, Timestamp(0))));
                    return true;
                }
            }
        }
        let Some(slot) = self.young.get_mut(&key) else { return false };
        let Some(last) = slot.all_mut().last_mut() else { return false };
        let valid = last.holds(sign.at);
        let settled = last.disputed() && sign.is_grant();
        if valid && last.device == sign.device && !settled {
            last.source = last.source.min(sign.source);
            last.until = last.until.max(sign.until());
            return false;
        }
        let mut next = begun(sign, last.until.min(sign.at));
        if valid && last.source < sign.source {
            if last.disputed() {
                return false;
            }
            next = Interval { from: sign.at, rival: sign.device, input: sign.input, ..*last };
        }
        last.until = last.until.min(sign.at);
        if slot.push(next) {
            self.dropped = self.dropped.saturating_add(1);
        }
        true
    }

    /// Takes an interval that was found before, as it stands; where it meets another, trust decides.
    pub fn recall(&mut self, realm: Realm, addr: IpAddr, mut interval: Interval) {
        let key = (realm, addr);
        if self.young.len() >= ADDRESSES_MAX && !self.young.contains_key(&key) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let Some(slot) = self.young.get_mut(&key) else {
            self.young.insert(key, Slot::One(interval));
            return;
        };
        let Some(last) = slot.all_mut().last_mut() else { return };
        if last.until > interval.from {
            if last.device == interval.device {
                last.source = last.source.min(interval.source);
                last.until = last.until.max(interval.until);
                return;
            }
            if last.source < interval.source {
                interval.from = last.until;
            } else {
                last.until = interval.from;
            }
        }
        if interval.from < interval.until && slot.push(interval) {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// The address is free from `at` on.
    pub fn release(&mut self, realm: Realm, addr: IpAddr, at: Timestamp) {
        let key = (realm, addr);
        let slot = self.young.get_mut(&key).or_else(|| self.old.get_mut(&key));
        let Some(last) = slot.and_then(|slot| slot.all_mut().last_mut()) else { return };
        if last.holds(at) {
            last.until = at;
        }
    }

    /// Every interval of an address, oldest first.
    pub fn of(&self, realm: Realm, addr: IpAddr) -> &[Interval] {
        let key = (realm, addr);
        self.young.get(&key).or_else(|| self.old.get(&key)).map_or(&[], Slot::all)
    }

    /// The interval that holds the address then.
    #[inline]
    pub fn at(&self, realm: Realm, addr: IpAddr, at: Timestamp) -> Option<&Interval> {
        // The latest are asked for most.
        self.of(realm, addr).iter().rev().find(|i| i.holds(at))
    }

    /// Octets that the table takes, further intervals apart.
    pub fn bytes(&self) -> usize {
        let entry = size_of::<((Realm, IpAddr), Slot)>() + 1;
        // A table of a load of seven eighths at most, in powers of two.
        let slots = |n: usize| (n * 8).div_ceil(7).next_power_of_two();
        (slots(self.young.capacity()) + slots(self.old.capacity())) * entry
    }

    /// Every address with its intervals, in no order.
    pub fn all(&self) -> impl Iterator<Item = (Realm, IpAddr, &[Interval])> {
        self.old.iter().chain(&self.young).map(|((realm, addr), slot)| (*realm, *addr, slot.all()))
    }
}

/// An interval that begins with a sign; it reaches back to `before` at most.
fn begun(sign: &Sign, before: Timestamp) -> Interval {
    let back = if sign.is_grant() { 0 } else { CARRY_BACK };
    Interval {
        from: Timestamp(sign.at.0.saturating_sub(back)).max(before),
        until: sign.until(),
        device: sign.device,
        input: sign.input,
        source: sign.source,
        rival: DeviceId::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: Realm = Realm(0);

    fn s(seconds: u64) -> Timestamp {
        Timestamp(seconds * Timestamp::SECOND)
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn sign(device: u32, source: Source, at: u64, lease_s: u32) -> Sign {
        Sign { device: DeviceId(device), source, at: s(at), lease_s, input: 0 }
    }

    fn who(b: &Bindings, at: u64) -> Option<u32> {
        b.at(R, ip(9), s(at)).map(|i| i.device.0)
    }

    #[test]
    fn an_address_changes_hands_at_a_time() {
        let mut b = Bindings::default();
        b.sign(R, ip(9), &sign(1, Source::Dhcp, 1_000, 3_600));
        b.sign(R, ip(9), &sign(2, Source::Dhcp, 2_000, 3_600));
        let table = [
            ("before the grant", 999, None),
            ("the first", 1_000, Some(1)),
            ("just before", 1_999, Some(1)),
            ("the second", 2_000, Some(2)),
            ("the last second of the lease", 5_599, Some(2)),
            ("expired", 5_600, None),
        ];
        for (name, at, expected) in table {
            assert_eq!(who(&b, at), expected, "{name}");
        }
        b.release(R, ip(9), s(3_000));
        assert_eq!((who(&b, 2_999), who(&b, 3_000)), (Some(2), None), "released");
    }

    #[test]
    fn trust_decides_while_it_is_valid() {
        let mut b = Bindings::default();
        b.sign(R, ip(9), &sign(1, Source::Dhcp, 1_000, 3_600));
        b.sign(R, ip(9), &sign(2, Source::Neighbor, 2_000, 0));
        let at = |at| b.at(R, ip(9), s(at)).map(|i| (i.device.0, i.rival.0));
        let none = DeviceId::NONE.0;
        assert_eq!(at(1_999), Some((1, none)), "until then all agree");
        assert_eq!(at(2_500), Some((1, 2)), "ARP does not overrule a lease, but it is disputed");
        b.sign(R, ip(9), &sign(2, Source::Neighbor, 4_700, 0));
        assert_eq!(who(&b, 4_800), Some(2), "once the lease is over it does");
        assert_eq!(who(&b, 4_599), Some(1));
        b.sign(R, ip(9), &sign(3, Source::Neighbor, 5_000, 0));
        assert_eq!((who(&b, 4_999), who(&b, 5_000)), (Some(2), Some(3)), "equals: the later");
    }

    #[test]
    fn a_grant_settles_a_dispute() {
        let mut b = Bindings::default();
        b.sign(R, ip(9), &sign(1, Source::Dhcp, 1_000, 3_600));
        for at in [2_000, 2_100] {
            b.sign(R, ip(9), &sign(2, Source::Frame, at, 0));
            b.sign(R, ip(9), &sign(1, Source::Neighbor, at + 10, 0));
        }
        assert_eq!(b.of(R, ip(9)).len(), 2, "neither grows with the quarrel");
        b.sign(R, ip(9), &sign(1, Source::Dhcp, 3_000, 3_600));
        let disputed = |at| b.at(R, ip(9), s(at)).map(Interval::disputed);
        let found = [1_999, 2_000, 2_999, 3_000].map(disputed);
        assert_eq!(found, [Some(false), Some(true), Some(true), Some(false)]);
    }

    #[test]
    fn what_is_recalled_stays_as_it_was() {
        let mut b = Bindings::default();
        let interval = |device, from, until, source| Interval {
            from: s(from),
            until: s(until),
            device: DeviceId(device),
            input: 0,
            source,
            rival: DeviceId::NONE,
        };
        for i in [
            interval(1, 1_000, 2_000, Source::Dhcp),
            interval(1, 1_500, 2_500, Source::Neighbor),
            interval(2, 2_400, 3_000, Source::Neighbor),
            interval(3, 2_900, 4_000, Source::Dhcp),
        ] {
            b.recall(R, ip(9), i);
        }
        let found: Vec<_> =
            [999, 1_000, 2_499, 2_500, 2_899, 2_900, 4_000].map(|at| who(&b, at)).into();
        assert_eq!(found, [None, Some(1), Some(1), Some(2), Some(2), Some(3), None]);
    }

    #[test]
    fn what_is_no_grant_reaches_back_a_little() {
        let mut b = Bindings::default();
        b.sign(R, ip(9), &sign(1, Source::Neighbor, 10_000, 0));
        assert_eq!((who(&b, 9_399), who(&b, 9_400)), (None, Some(1)));
        b.release(R, ip(9), s(10_100));
        b.sign(R, ip(9), &sign(2, Source::Frame, 10_300, 0));
        assert_eq!(who(&b, 10_099), Some(1), "not into another's time");
        assert_eq!(who(&b, 10_100), Some(2));
    }

    #[test]
    fn intervals_of_one_address_are_bounded() {
        for (count, dropped) in [(INTERVALS_MAX - 1, 0), (INTERVALS_MAX, 0), (INTERVALS_MAX + 1, 1)]
        {
            let mut b = Bindings::default();
            for n in 0..u32::try_from(count).unwrap() {
                b.sign(R, ip(9), &sign(n, Source::Dhcp, 1_000 + u64::from(n), 10));
            }
            assert_eq!(b.of(R, ip(9)).len(), count.min(INTERVALS_MAX));
            assert_eq!(b.dropped, dropped, "{count}");
        }
    }
}
