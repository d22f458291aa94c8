//! Open-addressing table of flows: one cache line a flow for IPv4.
//!
//! In: a key and its hash. Out: the index of the flow's slot.
//! Never: allocates per packet, scans for expiry (a hand goes round slowly), grows past its cap.
//! Limits: `flows_max`; at the cap the least valuable flow near the home slot makes room.
//!
//! The slot is chosen by the *upper* bits of the hash, so that doubling the table moves flows in
//! order: a sequential copy instead of a random one.

use crate::prefetch::prefetch;
use crate::types::{Realm, Timestamp};
use crate::watcher::capture::Room;
use crate::watcher::packet::FlowKey;

/// No cold record.
pub const NO_COLD: u32 = u32::MAX;

/// Slots looked at for a victim when the table is full.
const VICTIM_WINDOW: usize = 16;

/// Bits of [`Hot::flags`].
pub mod flag {
    /// The slot holds a flow.
    pub const USED: u16 = 1;
    /// The client is the key's higher endpoint.
    pub const CLIENT_HI: u16 = 1 << 1;
    /// `next_seq` of the lower endpoint is known; of the higher one: the next bit.
    pub const SEQ_KNOWN: u16 = 1 << 2;
    /// A SYN was seen.
    pub const SYN: u16 = 1 << 4;
    /// Answered by the other side.
    pub const ANSWERED: u16 = 1 << 5;
    /// The lower endpoint sent FIN; the higher one: the next bit.
    pub const FIN: u16 = 1 << 6;
    /// Reset.
    pub const RST: u16 = 1 << 8;
    /// Payload is looked at: by the probe, or by the parser of the cold record.
    pub const READING: u16 = 1 << 9;
    /// A delta was sent already.
    pub const REPORTED: u16 = 1 << 10;
    /// The beginning was not seen.
    pub const MIDSTREAM: u16 = 1 << 11;
    /// A parser without state reads every datagram (DNS, DHCP, local names).
    pub const DATAGRAMS: u16 = 1 << 12;
    /// Bytes are missing.
    pub const GAP: u16 = 1 << 13;
    /// The lower endpoint sent payload; the higher one: the next bit.
    pub const PAYLOAD: u16 = 1 << 14;
}

/// What every packet of a flow touches. Index 0 is the lower endpoint of the key, 1 the higher.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Hot {
    /// Next sequence number expected from each endpoint.
    pub next_seq: [u32; 2],
    /// Payload octets from each since the last delta; a delta is sent before they overflow.
    pub bytes: [u32; 2],
    /// Minute (sensor time) that the counters belong to.
    pub minute: u32,
    /// Nanoseconds of the minute at the first packet counted, without the upper four bits.
    first_ns: u32,
    /// The same of the last one.
    last_ns: u32,
    /// Number of the last frame, without the upper half.
    pub last_frame: u32,
    /// Counter of the shard: tells flows of one key apart.
    pub id: u32,
    /// Index of the cold record.
    pub cold: u32,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Input that the counters belong to.
    pub input: u16,
    /// Upper bits of `first_ns`, and above them those of `last_ns`.
    upper_ns: u8,
    /// Second of the minute of the last packet.
    last_s: u8,
    /// Payload packets shown to the probe so far.
    pub probes: u8,
    /// Who sent packets since the last delta: bit 0 for the lower endpoint, bit 1 for the higher.
    /// Above them the tunnel that nobody looks into, by its place in `Tunnel::ALL` from 1.
    heard: u8,
}

impl Default for Hot {
    fn default() -> Self {
        Self {
            next_seq: [0; 2],
            bytes: [0; 2],
            minute: 0,
            first_ns: 0,
            last_ns: 0,
            last_frame: 0,
            id: 0,
            cold: NO_COLD,
            flags: 0,
            input: 0,
            upper_ns: 0,
            last_s: 0,
            probes: 0,
            heard: 0,
        }
    }
}

impl Hot {
    /// `true` if a packet of that side came since the last delta.
    pub fn heard(&self, side: usize) -> bool {
        self.heard & (1 << (side & 1)) != 0
    }

    /// `true` if nobody was heard since the last delta.
    pub fn quiet(&self) -> bool {
        !self.heard(0) && !self.heard(1)
    }

    /// A packet of that side came.
    pub fn hear(&mut self, side: usize) {
        self.heard |= 1 << (side & 1);
    }

    /// A delta was sent: from now on nobody was heard.
    pub fn hush(&mut self) {
        self.heard &= !3;
    }

    /// Tunnel that nobody looks into, by its place in `Tunnel::ALL` from 1; 0 for none.
    pub fn tunnel(&self) -> u8 {
        self.heard >> 2
    }

    /// From now on the flow is that tunnel.
    pub fn set_tunnel(&mut self, number: u8) {
        self.heard = (self.heard & 3) | (number << 2);
    }

    /// Last packet, in seconds since the epoch.
    pub fn last_seen_s(&self) -> u64 {
        u64::from(self.minute).saturating_mul(60).saturating_add(u64::from(self.last_s))
    }

    /// The first packet since the last delta came at this time within the minute.
    pub fn set_first(&mut self, in_minute: Timestamp) {
        let (upper, ns) = split(in_minute);
        self.first_ns = ns;
        self.upper_ns = (self.upper_ns & 0xf0) | upper;
    }

    /// So did the last one, which is not before the first.
    pub fn set_last(&mut self, in_minute: Timestamp, second: u8) {
        let (upper, ns) = split(in_minute);
        self.last_ns = ns;
        self.upper_ns = (self.upper_ns & 0x0f) | upper << 4;
        self.last_s = second;
    }

    /// When the first and the last packet since the last delta came.
    pub fn span(&self) -> [Timestamp; 2] {
        let begin = u64::from(self.minute).saturating_mul(MINUTE_NS);
        let at = |upper: u8, ns: u32| {
            let ns = u64::from(upper) << 32 | u64::from(ns);
            Timestamp(begin.saturating_add(ns))
        };
        [at(self.upper_ns & 0x0f, self.first_ns), at(self.upper_ns >> 4, self.last_ns)]
    }

    /// `true` if all `bits` are set.
    pub fn has(&self, bits: u16) -> bool {
        self.flags & bits == bits
    }
}

/// Nanoseconds of a minute; they take 36 bits.
const MINUTE_NS: u64 = 60 * Timestamp::SECOND;

/// The upper four and the lower 32 bits of a time within a minute.
#[inline]
fn split(in_minute: Timestamp) -> (u8, u32) {
    let [.., upper, a, b, c, d] = in_minute.0.to_be_bytes();
    (upper & 0x0f, u32::from_be_bytes([a, b, c, d]))
}

/// A key as the table keeps it: small for IPv4, whole for IPv6.
pub trait Key: Copy + Eq + Default {
    /// From the key of a packet.
    fn pack(key: &FlowKey) -> Self;
    /// Back to it.
    fn unpack(&self) -> FlowKey;
}

/// IPv4 flow: 16 bytes, compared as two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key4 {
    /// Lower address, higher address.
    addrs: u64,
    /// Ports, realm, protocol.
    rest: u64,
}

/// IPv6 flow: 40 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Key6 {
    addrs: [[u8; 16]; 2],
    ports: [u16; 2],
    realm: u16,
    protocol: u8,
}

/// `::ffff:0:0/96` with the IPv4 address in the last four octets (RFC 4291 §2.5.5.2).
fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

impl Key for Key4 {
    #[inline]
    fn pack(key: &FlowKey) -> Self {
        let [.., a, b, c, d] = key.lo;
        let [.., e, f, g, h] = key.hi;
        let rest = u64::from(key.lo_port) << 48
            | u64::from(key.hi_port) << 32
            | u64::from(key.realm.0) << 16
            | u64::from(key.protocol);
        Self { addrs: u64::from_be_bytes([a, b, c, d, e, f, g, h]), rest }
    }

    fn unpack(&self) -> FlowKey {
        let [a, b, c, d, e, f, g, h] = self.addrs.to_be_bytes();
        let [p, q, r, s, t, u, _, protocol] = self.rest.to_be_bytes();
        FlowKey {
            lo: mapped([a, b, c, d]),
            hi: mapped([e, f, g, h]),
            lo_port: u16::from_be_bytes([p, q]),
            hi_port: u16::from_be_bytes([r, s]),
            realm: Realm(u16::from_be_bytes([t, u])),
            protocol,
            v6: false,
        }
    }
}

impl Key for Key6 {
    #[inline]
    fn pack(key: &FlowKey) -> Self {
        Self {
            addrs: [key.lo, key.hi],
            ports: [key.lo_port, key.hi_port],
            realm: key.realm.0,
            protocol: key.protocol,
        }
    }

    fn unpack(&self) -> FlowKey {
        let [lo, hi] = self.addrs;
        let [lo_port, hi_port] = self.ports;
        FlowKey {
            lo,
            hi,
            lo_port,
            hi_port,
            realm: Realm(self.realm),
            protocol: self.protocol,
            v6: true,
        }
    }
}

/// Key and counters of one flow.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Slot<K> {
    /// Who talks to whom.
    pub key: K,
    /// What a packet changes.
    pub hot: Hot,
}

/// What [`Table::enter`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The flow was there.
    Known(usize),
    /// A new slot was taken; the caller fills it.
    New(usize),
    /// The table is at its cap: this flow must be closed by the caller first.
    Full(usize),
}

/// The table.
#[derive(Debug)]
pub struct Table<K: Copy> {
    slots: Room<Slot<K>>,
    /// `64 - log2(slots)`, the shift that leaves the slot number.
    shift: u32,
    len: usize,
    flows_max: usize,
    seed: u64,
    hand: usize,
    /// How far the end of the run has come.
    ending: usize,
}

/// Upper bits that chose the shard and say nothing more.
pub const SHARD_BITS: u32 = 4;

/// Slots of an empty table: 64, one page for IPv4.
const SLOTS_MIN: usize = 64;

impl<K: Key> Table<K> {
    /// An empty table for exactly so many flows, one at least: slots in a power of two, of which
    /// three quarters are used. Fuller ones are walked too far: at seven eighths a flow lies four
    /// slots from its own on average, at three quarters one and a half.
    pub fn new(flows_max: usize, seed: u64) -> Self {
        let (slots, flows_max) = (Room::new(Slot::default(), 0, 0), flows_max.max(1));
        let mut table = Self { slots, shift: 0, len: 0, flows_max, seed, hand: 0, ending: 0 };
        table.resize(SLOTS_MIN);
        table
    }

    /// Seed that the hashes of its keys were made with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// `true` without flows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Slots, used or not.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of memory that the table takes.
    pub fn bytes(&self) -> usize {
        self.slots.len().saturating_mul(size_of::<Slot<K>>())
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "at most log2(slots) bits are left")]
    fn home(&self, hash: u64) -> usize {
        (hash.wrapping_shl(SHARD_BITS) >> self.shift) as usize
    }

    #[inline]
    fn next(&self, index: usize) -> usize {
        index.wrapping_add(1) & self.slots.len().wrapping_sub(1)
    }

    /// Asks the processor to fetch the line that `hash` will need soon.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(slot) = self.slots.get(self.home(hash)) {
            prefetch(slot);
        }
    }

    /// If another flow has the slot of `hash`, asks for the next two: nearly every flow that is
    /// not in its own slot lies there. The first line has to be here already.
    #[inline]
    pub fn prefetch_next(&self, key: &K, hash: u64) {
        let home = self.home(hash);
        if let Some(slot) = self.slots.get(home)
            && slot.key != *key
            && slot.hot.flags & flag::USED != 0
        {
            let next = self.next(home);
            for slot in [next, self.next(next)] {
                self.slots.get(slot).inspect(|slot| prefetch(*slot));
            }
        }
    }

    /// The slot at `index`.
    #[inline]
    pub fn slot(&mut self, index: usize) -> Option<&mut Slot<K>> {
        self.slots.get_mut(index)
    }

    /// Finds the flow, or takes a slot for it.
    #[inline]
    pub fn enter(&mut self, key: &K, hash: u64) -> Entry {
        let mut index = self.home(hash);
        while let Some(slot) = self.slots.get(index) {
            if slot.hot.flags & flag::USED == 0 {
                break;
            }
            if slot.key == *key {
                return Entry::Known(index);
            }
            index = self.next(index);
        }
        self.take(key, hash, index)
    }

    /// The flow, if it is in the table.
    pub fn find(&self, key: &K, hash: u64) -> Option<usize> {
        let mut index = self.home(hash);
        loop {
            let slot = self.slots.get(index).filter(|s| s.hot.flags & flag::USED != 0)?;
            if slot.key == *key {
                return Some(index);
            }
            index = self.next(index);
        }
    }

    #[cold]
    fn take(&mut self, key: &K, hash: u64, mut index: usize) -> Entry {
        if self.len >= self.flows_max {
            return Entry::Full(self.victim(hash));
        }
        if self.len.saturating_mul(4) >= self.slots.len().saturating_mul(3) {
            self.resize(self.slots.len().saturating_mul(2));
            index = self.home(hash);
            while self.slots.get(index).is_some_and(|s| s.hot.flags & flag::USED != 0) {
                index = self.next(index);
            }
        }
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Slot { key: *key, hot: Hot { flags: flag::USED, ..Hot::default() } };
            self.len = self.len.saturating_add(1);
        }
        Entry::New(index)
    }

    /// The least valuable flow near `hash`: unanswered before answered, then the idlest.
    fn victim(&self, hash: u64) -> usize {
        let mut index = self.home(hash);
        let mut best = (true, u64::MAX, index);
        for looked in 0..self.slots.len() {
            if looked >= VICTIM_WINDOW && best.1 != u64::MAX {
                break;
            }
            if let Some(slot) = self.slots.get(index).filter(|s| s.hot.has(flag::USED)) {
                let worth = (slot.hot.has(flag::ANSWERED), slot.hot.last_seen_s(), index);
                best = best.min(worth);
            }
            index = self.next(index);
        }
        best.2
    }

    /// Removes the flow at `index`; flows behind it move up, so no tombstone is left.
    pub fn remove(&mut self, index: usize) {
        let mut hole = index;
        let mut next = self.next(hole);
        while let Some(slot) = self.slots.get(next).copied() {
            if !slot.hot.has(flag::USED) {
                break;
            }
            let home = self.home(slot.key.unpack().hash(self.seed));
            // The flow may move into the hole if the hole lies between its home and its place.
            let mask = self.slots.len().wrapping_sub(1);
            let from_home = next.wrapping_sub(home) & mask;
            let from_hole = next.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                if let Some(to) = self.slots.get_mut(hole) {
                    *to = slot;
                }
                hole = next;
            }
            next = self.next(next);
        }
        if let Some(slot) = self.slots.get_mut(hole) {
            slot.hot = Hot::default();
        }
        self.len = self.len.saturating_sub(1);
    }

    /// Slots of the table when it is at its cap.
    fn slots_max(&self) -> usize {
        let slots = self.flows_max.saturating_add(self.flows_max / 3).saturating_add(1);
        slots.max(SLOTS_MIN).next_power_of_two()
    }

    fn resize(&mut self, slots: usize) {
        self.hand = 0;
        self.shift = u64::BITS.saturating_sub(slots.trailing_zeros());
        let before = self.slots.len();
        if self.slots.grow(Slot::default(), slots) {
            return self.spread(before);
        }
        let larger = Room::new(Slot::default(), slots, self.slots_max());
        let old = std::mem::replace(&mut self.slots, larger);
        for slot in old.iter().filter(|s| s.hot.has(flag::USED)) {
            self.put(slot);
        }
    }

    /// Puts flows that fill the first `before` slots where they belong in the whole table, without a
    /// second one. From the end on, for a flow's new home lies behind its old place, among slots
    /// that are through. Where it does not, as with the first few, or where the table ends, they wait.
    fn spread(&mut self, before: usize) {
        let mut waiting = Vec::new();
        for index in (0..before).rev() {
            let Some(place) = self.slots.get_mut(index).filter(|s| s.hot.has(flag::USED)) else {
                continue;
            };
            let slot = *place;
            place.hot = Hot::default();
            let home = self.home(slot.key.unpack().hash(self.seed));
            let behind = self.slots.get_mut(home..).filter(|_| home >= index).unwrap_or_default();
            match behind.iter_mut().find(|s| !s.hot.has(flag::USED)) {
                Some(to) => *to = slot,
                None => waiting.push(slot),
            }
        }
        for slot in &waiting {
            self.put(slot);
        }
    }

    /// Puts a flow that is not in the table into the first free slot from its home on.
    fn put(&mut self, slot: &Slot<K>) {
        let mut index = self.home(slot.key.unpack().hash(self.seed));
        while self.slots.get(index).is_some_and(|s| s.hot.has(flag::USED)) {
            index = self.next(index);
        }
        if let Some(to) = self.slots.get_mut(index) {
            *to = *slot;
        }
    }

    /// Gives memory back once nearly all flows are gone.
    pub fn shrink(&mut self) {
        let wanted = self.len.saturating_mul(4).max(SLOTS_MIN).next_power_of_two();
        if wanted.saturating_mul(2) < self.slots.len() {
            self.resize(wanted);
        }
    }

    /// Moves the hand over the next `slots` slots and names the first flow for which `over` holds;
    /// `None` once the stretch is done. `slots` is reduced by what was looked at.
    pub fn sweep(
        &mut self,
        slots: &mut usize,
        mut over: impl FnMut(&mut Hot) -> bool,
    ) -> Option<usize> {
        while *slots > 0 {
            let index = self.hand & self.slots.len().wrapping_sub(1);
            let slot = self.slots.get_mut(index)?;
            if slot.hot.has(flag::USED) && over(&mut slot.hot) {
                // The hand stays: removing this flow may move another one here.
                return Some(index);
            }
            self.hand = index.wrapping_add(1);
            *slots = slots.wrapping_sub(1);
        }
        None
    }

    /// Index of the next flow in table order, each once: the run is over.
    pub fn next_used(&mut self) -> Option<usize> {
        let rest = self.slots.get(self.ending..)?;
        let ahead = rest.iter().position(|s| s.hot.has(flag::USED))?;
        let index = self.ending.saturating_add(ahead);
        self.ending = index.saturating_add(1);
        Some(index)
    }

    /// The cold record of the flow at `index`.
    pub fn cold_at(&self, index: usize) -> u32 {
        self.slots.get(index).map_or(NO_COLD, |s| s.hot.cold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn key(n: u32) -> FlowKey {
        let octets = mapped(n.to_be_bytes());
        FlowKey {
            lo: octets,
            hi: mapped([9, 9, 9, 9]),
            lo_port: 1,
            hi_port: 2,
            realm: Realm(3),
            protocol: 6,
            v6: false,
        }
    }

    #[test]
    fn slots_have_the_size_that_the_budget_counts_with() {
        assert_eq!(size_of::<Slot<Key4>>(), 64, "one cache line");
        assert_eq!(size_of::<Slot<Key6>>(), 88);
    }

    #[test]
    fn a_packed_key_unpacks_to_itself() {
        let k = key(0x0102_0304);
        assert_eq!(Key4::pack(&k).unpack(), k);
        let k6 = FlowKey { v6: true, ..k };
        assert_eq!(Key6::pack(&k6).unpack(), k6);
    }

    #[test]
    fn agrees_with_a_set_through_growth_and_removal() {
        let mut table: Table<Key4> = Table::new(1 << 16, 7);
        let mut known = HashSet::new();
        let mut x = 1u32;
        for step in 0..60_000u32 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let k = key((x >> 8) % 20_000);
            match table.enter(&Key4::pack(&k), k.hash(7)) {
                Entry::Known(i) => {
                    assert!(known.contains(&k), "step {step}");
                    if x & 1 == 0 {
                        table.remove(i);
                        known.remove(&k);
                    }
                }
                Entry::New(_) => assert!(known.insert(k), "step {step}"),
                Entry::Full(_) => unreachable!("the cap is far away"),
            }
        }
        assert_eq!(table.len(), known.len());
        assert_eq!(std::iter::from_fn(|| table.next_used()).count(), known.len());
    }

    #[test]
    fn every_flow_is_found_after_each_growth() {
        let mut table: Table<Key4> = Table::new(1 << 17, 7);
        for n in 0..100_000 {
            let k = key(n);
            assert!(matches!(table.enter(&Key4::pack(&k), k.hash(7)), Entry::New(_)), "{n}");
            // Large tables grow where they are, small ones move: look at all around each growth.
            if (u64::from(n) * 4 / 3).is_power_of_two() || n.is_power_of_two() || n == 99_999 {
                let lost = (0..=n).find(|m| {
                    let k = key(*m);
                    table.find(&Key4::pack(&k), k.hash(7)).is_none()
                });
                assert_eq!(lost, None, "of {n}");
            }
        }
        assert_eq!((table.len(), table.capacity()), (100_000, 1 << 18));
        assert_eq!(std::iter::from_fn(|| table.next_used()).count(), 100_000);
    }

    #[test]
    fn at_the_cap_it_names_a_victim_and_does_not_grow() {
        let mut table: Table<Key4> = Table::new(64, 1);
        let mut n = 0;
        let victim = loop {
            let k = key(n);
            match table.enter(&Key4::pack(&k), k.hash(1)) {
                Entry::New(i) => table.slot(i).unwrap().hot.minute = n,
                Entry::Full(i) => break i,
                Entry::Known(_) => unreachable!(),
            }
            n += 1;
        };
        assert_eq!((n, table.capacity()), (64, 128), "64 and no more");
        table.remove(victim);
        assert!(matches!(table.enter(&Key4::pack(&key(n)), key(n).hash(1)), Entry::New(_)));
    }
}
