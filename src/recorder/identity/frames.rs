//! Frames of late, so that one like the last of its address asks no tables.
//!
//! In: what a frame said of an address. Out: whether the same was said moments ago.
//! Never: holds more than [`FRAMES_MAX`] pairs; decides anything that the tables would not.

use std::net::IpAddr;

use crate::prefetch::prefetch;
use crate::types::{MacAddr, Realm};
use crate::watcher::packet::octets_of;

/// For so long, a frame like one before it says nothing new: what frames say holds for hours.
const FRAME_REPEATS_S: u64 = 60;

/// Pairs of frames remembered at first, and at most: 64 KiB, and 4 MiB for a hundred thousand
/// clients that all speak within a minute.
const FRAMES_MIN: usize = 1 << 10;
const FRAMES_MAX: usize = 1 << 16;

/// What a frame said of an address: half a cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The address, as IPv6 has it.
    pub addr: [u8; 16],
    /// Seconds since the epoch.
    pub at_s: u32,
    /// Whose address space it is.
    pub realm: Realm,
    /// Place of the input.
    pub input: u16,
    /// Who sent the frame.
    pub mac: MacAddr,
    /// TTL or hop limit; 0 if it is not known.
    pub ttl: u8,
}

/// Frames of late: most hellos come from a device that said the same moments ago, and ask four
/// tables for nothing. Two seats for the addresses of one hash; a full house grows.
#[derive(Debug, Default)]
pub struct Frames {
    pairs: Vec<Pair>,
    pushed_out: usize,
}

/// A cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Pair([Said; 2]);

impl Frames {
    fn place(&self, realm: Realm, addr: &[u8; 16]) -> usize {
        let number = u128::from_be_bytes(*addr);
        let folded = number ^ (number >> 64) ^ (u128::from(realm.0) << 32);
        let mixed = (folded & u128::from(u64::MAX)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(mixed & 0xffff_ffff).unwrap_or(0) & self.pairs.len().wrapping_sub(1)
    }

    /// A frame of that address is coming.
    #[inline]
    pub fn expect(&self, realm: Realm, addr: IpAddr) {
        if let Some(pair) = self.pairs.get(self.place(realm, &octets_of(addr))) {
            prefetch(pair);
        }
    }

    /// `true` if the same was said within [`FRAME_REPEATS_S`]; from now on it was.
    pub fn repeats(&mut self, said: Said) -> bool {
        let place = self.place(said.realm, &said.addr);
        let Some(Pair([first, second])) = self.pairs.get_mut(place) else {
            self.pairs = vec![Pair::default(); FRAMES_MIN];
            return false;
        };
        let same = |old: &Said| (old.addr, old.realm) == (said.addr, said.realm);
        if same(second) {
            std::mem::swap(first, second);
        }
        if same(first) {
            let ages = said.at_s.wrapping_sub(first.at_s);
            if u64::from(ages) < FRAME_REPEATS_S && (Said { at_s: said.at_s, ..*first }) == said {
                return true;
            }
        } else {
            self.pushed_out += usize::from(second.at_s != 0);
            *second = *first;
        }
        *first = said;
        if self.pushed_out > self.pairs.len() && self.pairs.len() < FRAMES_MAX {
            let larger = self.pairs.len() * 2;
            *self = Self { pairs: vec![Pair::default(); larger], pushed_out: 0 };
        }
        false
    }

    /// Something else was said of the address.
    pub fn forget(&mut self, realm: Realm, addr: IpAddr) {
        let addr = octets_of(addr);
        let place = self.place(realm, &addr);
        if let Some(Pair(pair)) = self.pairs.get_mut(place) {
            for said in pair.iter_mut().filter(|said| (said.addr, said.realm) == (addr, realm)) {
                *said = Said::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_like_the_last_one_is_looked_at_again_when_somebody_else_spoke_or_time_passed() {
        let mut frames = Frames::default();
        let addr = IpAddr::from([10, 0, 0, 9]);
        let said = |mac, at_s| Said {
            addr: octets_of(addr),
            at_s,
            mac: MacAddr([2, 0, 0, 0, 0, mac]),
            ttl: 64,
            ..Said::default()
        };
        frames.repeats(said(9, 1));
        let table = [
            ("the first", 1, 100, false),
            ("again", 1, 101, true),
            ("another device", 2, 102, false),
            ("the first again", 1, 103, false),
            ("within the minute", 1, 162, true),
            ("after it", 1, 163, false),
        ];
        for (name, mac, at_s, expected) in table {
            assert_eq!(frames.repeats(said(mac, at_s)), expected, "{name}");
        }
        frames.forget(Realm(0), addr);
        assert!(!frames.repeats(said(1, 164)), "a lease said otherwise");
        for n in 0..20_000_u32 {
            let other = Said { addr: octets_of(IpAddr::from(n.to_be_bytes())), ..said(1, 200) };
            frames.repeats(other);
        }
        assert!(frames.pairs.len() >= 4 * FRAMES_MIN, "a crowd gets more room");
        let office = || (0..1_000_u32).map(|n| IpAddr::from((0x0a14_0000 + n).to_be_bytes()));
        let say = |addr| Said { addr: octets_of(addr), ..said(1, 300) };
        office().for_each(|addr| _ = frames.repeats(say(addr)));
        let repeated = office().filter(|addr| frames.repeats(say(*addr))).count();
        assert!(repeated > 990, "{repeated} of 1,000 are remembered");
    }
}
