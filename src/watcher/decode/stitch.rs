//! IP fragments to datagrams, in the order of the run.
//!
//! In: the fragments of decoded blocks, one block after another.
//! Out: a packet at the place of the frame that completes the datagram.
//! Never: waits longer than [`REASSEMBLY_TIMEOUT_S`] of sensor time, or replaces octets that an
//! earlier fragment said. Copies that differ are counted, and taken as Linux does: a fragment that
//! lies within what is there is ignored, one that reaches beyond it spoils the datagram (RFC 8200
//! §4.5, RFC 5722), so that no name is made of two halves.
//! Limits: [`DATAGRAMS_MAX`], [`BYTES_MAX`], [`FRAGMENTS_PER_DATAGRAM_MAX`].
//! Source: RFC 791 §3.2, RFC 815, RFC 8200 §4.5.
//!
//! A datagram counts as complete by its lengths on the wire, so a short snap length delays
//! nothing. One that never completes is given up with what lies in front of its first hole: a
//! capture loses fragments that the receiver got, and those bytes were sent all the same.

use std::collections::{BTreeMap, HashMap};

use super::count::{DecodeCounters, Fate, Oddity};
use super::layers::End;
use super::{Decoder, Place};
use crate::types::{Realm, Timestamp};
use crate::watcher::packet::{Block, Decoded, EXTRA_CHUNK, Fragment};

/// Seconds of sensor time that a datagram may take; receivers wait 30 to 60 (RFC 8200 §4.5: 60).
pub const REASSEMBLY_TIMEOUT_S: u64 = 30;

/// Datagrams in flight. At 1 % loss and 10,000 fragmented datagrams a second some 3,000 wait.
pub const DATAGRAMS_MAX: usize = 4096;

/// Octets held in all: four times what a Linux host allows itself (`ipfrag_high_thresh`, 4 MiB),
/// because a tap sees the fragments of many hosts.
pub const BYTES_MAX: usize = 16 << 20;

/// Fragments of one datagram: 64 KiB in pieces of the smallest MTU hosts accept (576) is 119.
pub const FRAGMENTS_PER_DATAGRAM_MAX: usize = 128;

/// Longest payload of an IP datagram.
const DATAGRAM_MAX: u32 = 65_535;

/// Datagrams in flight, oldest first.
#[derive(Debug, Default)]
pub struct Stitcher {
    by_key: HashMap<Key, u64>,
    by_age: BTreeMap<u64, Datagram>,
    next: u64,
    bytes: usize,
}

/// What fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    realm: Realm,
    v6: bool,
    src: [u8; 16],
    dst: [u8; 16],
    id: u32,
    /// In IPv6 only the first fragment's counts, so it is no part of the identity.
    protocol: u8,
}

#[derive(Debug)]
struct Datagram {
    key: Key,
    /// The fragment at offset 0, or the one seen first.
    one: Fragment,
    born: Timestamp,
    /// Octets on the wire, once the last fragment said so.
    total: Option<u32>,
    /// Octets on the wire covered so far.
    covered: u32,
    seen: usize,
    /// Sorted, without overlap.
    pieces: Vec<Piece>,
    data: Vec<u8>,
    /// Fragments contradict each other: no receiver takes this datagram.
    spoilt: bool,
}

/// A range of the datagram and where its octets lie in `data`.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u32,
    end: u32,
    data: usize,
    captured: u32,
}

/// What a fragment added to its datagram.
#[derive(Debug, PartialEq, Eq)]
enum Added {
    Something,
    Nothing,
    Invalid,
}

impl Stitcher {
    /// Takes the fragments of the next block, and puts the packets of completed datagrams among
    /// the others. Blocks must come in the order of the run.
    pub fn stitch(
        &mut self,
        block: &Block,
        decoded: &mut Decoded,
        decoder: &Decoder,
        counters: &mut DecodeCounters,
    ) {
        if decoded.fragments.is_empty() && self.by_age.is_empty() {
            return;
        }
        let packets = decoded.packets.len();
        let fragments = std::mem::take(&mut decoded.fragments);
        for fragment in &fragments {
            let now = frame_now(block, fragment.frame);
            self.expire(now, fragment.frame, decoded, decoder, counters);
            // A completed datagram may hold a tunnel with a fragment of its own. Each of those
            // lies one wrapping deeper, so their number is bounded.
            let mut inner = Some(*fragment);
            while let Some(fragment) = inner {
                inner = self.take(block, fragment, now, decoded, decoder, counters);
            }
        }
        decoded.fragments = fragments;
        let last = u32::try_from(block.frames.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.expire(block.now, last, decoded, decoder, counters);
        if decoded.packets.len() != packets {
            decoded.packets.sort_by_key(|p| p.frame);
            decoded.neighbors.sort_by_key(|n| n.frame);
        }
    }

    /// Gives up whatever is left at the end of a world. `decoded` is emptied first; the packets
    /// carry frame 0, so the caller's block needs one frame that says the time.
    pub fn finish(
        &mut self,
        decoded: &mut Decoded,
        decoder: &Decoder,
        counters: &mut DecodeCounters,
    ) {
        decoded.clear();
        while let Some(age) = self.oldest() {
            counters.oddity(Oddity::FragmentTimeout);
            self.give_up(age, 0, decoded, decoder, counters);
        }
    }

    /// Datagrams and octets held.
    pub fn held(&self) -> (usize, usize) {
        (self.by_age.len(), self.bytes)
    }

    fn oldest(&self) -> Option<u64> {
        self.by_age.first_key_value().map(|(age, _)| *age)
    }

    fn expire(
        &mut self,
        now: Timestamp,
        frame: u32,
        decoded: &mut Decoded,
        decoder: &Decoder,
        counters: &mut DecodeCounters,
    ) {
        let limit = REASSEMBLY_TIMEOUT_S.saturating_mul(Timestamp::SECOND);
        while let Some((&age, datagram)) = self.by_age.first_key_value() {
            if now.since(datagram.born) <= limit {
                return;
            }
            counters.oddity(Oddity::FragmentTimeout);
            self.give_up(age, frame, decoded, decoder, counters);
        }
    }

    /// Adds one fragment; returns the fragment that a completed datagram turned out to carry.
    fn take(
        &mut self,
        block: &Block,
        fragment: Fragment,
        now: Timestamp,
        decoded: &mut Decoded,
        decoder: &Decoder,
        counters: &mut DecodeCounters,
    ) -> Option<Fragment> {
        let key = key_of(&fragment);
        let age = self.by_key.get(&key).copied().unwrap_or_else(|| {
            self.next = self.next.wrapping_add(1);
            self.by_key.insert(key, self.next);
            self.by_age.insert(self.next, Datagram::new(key, fragment, now));
            self.next
        });
        let datagram = self.by_age.get_mut(&age)?;
        let data = decoded.slice(block, fragment.chunk, fragment.data, fragment.captured);
        let held = datagram.data.len();
        let added = datagram.add(&fragment, data, counters);
        self.bytes = self.bytes.saturating_add(datagram.data.len().saturating_sub(held));
        match added {
            Added::Invalid => counters.oddity(Oddity::FragmentInvalid),
            Added::Nothing => counters.oddity(Oddity::FragmentDuplicate),
            Added::Something if datagram.total == Some(datagram.covered) => {
                counters.oddity(Oddity::Reassembled);
                let datagram = self.remove(age).filter(|d| !d.spoilt)?;
                let end = datagram.decode(true, fragment.frame, decoded, decoder, counters);
                return deliver(end, decoded, counters);
            }
            Added::Something => {}
        }
        if datagram.seen >= FRAGMENTS_PER_DATAGRAM_MAX || datagram.pieces.is_empty() {
            if !datagram.pieces.is_empty() {
                counters.oddity(Oddity::FragmentLimit);
            }
            self.give_up(age, fragment.frame, decoded, decoder, counters);
        }
        while self.by_age.len() > DATAGRAMS_MAX || self.bytes > BYTES_MAX {
            let age = self.oldest()?;
            counters.oddity(Oddity::FragmentLimit);
            self.give_up(age, fragment.frame, decoded, decoder, counters);
        }
        None
    }

    fn remove(&mut self, age: u64) -> Option<Datagram> {
        let datagram = self.by_age.remove(&age)?;
        self.by_key.remove(&datagram.key);
        self.bytes = self.bytes.saturating_sub(datagram.data.len());
        Some(datagram)
    }

    /// Hands on what lies in front of the first hole.
    fn give_up(
        &mut self,
        age: u64,
        frame: u32,
        decoded: &mut Decoded,
        decoder: &Decoder,
        counters: &mut DecodeCounters,
    ) {
        let Some(datagram) = self.remove(age).filter(|d| !d.spoilt) else { return };
        if datagram.pieces.first().is_some_and(|p| p.start == 0) {
            let end = datagram.decode(false, frame, decoded, decoder, counters);
            // A fragment inside an incomplete datagram cannot be placed any more.
            deliver(end, decoded, counters);
        }
    }
}

impl Datagram {
    fn new(key: Key, one: Fragment, born: Timestamp) -> Self {
        let (pieces, data) = (Vec::new(), Vec::new());
        Self { key, one, born, total: None, covered: 0, seen: 0, pieces, data, spoilt: false }
    }

    fn add(&mut self, fragment: &Fragment, data: &[u8], counters: &mut DecodeCounters) -> Added {
        self.seen = self.seen.saturating_add(1);
        let (start, end) = (fragment.offset, fragment.offset.saturating_add(fragment.wire));
        let last = self.pieces.last().map_or(0, |p| p.end);
        let fits = match (self.total, fragment.more) {
            // Only the last one may end anywhere but on a multiple of 8.
            (total, true) => end % 8 == 0 && total.is_none_or(|total| end <= total),
            (Some(total), false) => end == total,
            (None, false) => last <= end,
        };
        if start >= end || end > DATAGRAM_MAX || !fits {
            return Added::Invalid;
        }
        if !fragment.more {
            self.total = Some(end);
        }
        if start == 0 && self.one.offset != 0 {
            self.one = *fragment;
        }
        self.fill(start, end, data, counters)
    }

    /// Puts `data` into the holes between `start` and `end`.
    fn fill(&mut self, start: u32, end: u32, data: &[u8], counters: &mut DecodeCounters) -> Added {
        let (mut at, mut added, mut conflict) = (start, Added::Nothing, false);
        let mut index = self.pieces.partition_point(|p| p.end <= start);
        while at < end {
            let next = self.pieces.get(index).copied();
            let hole = next.map_or(end, |p| p.start.min(end));
            if at < hole {
                let octets = part(data, at.saturating_sub(start), hole.saturating_sub(at));
                let captured = u32::try_from(octets.len()).unwrap_or(u32::MAX);
                let piece = Piece { start: at, end: hole, data: self.data.len(), captured };
                self.data.extend_from_slice(octets);
                self.pieces.insert(index, piece);
                index = index.saturating_add(1);
                self.covered = self.covered.saturating_add(hole.saturating_sub(at));
                (at, added) = (hole, Added::Something);
                continue;
            }
            // `next` covers `at`: its octets stay, ours are only compared.
            let Some(p) = next else { break };
            let stop = p.end.min(end);
            let mine = part(data, at.saturating_sub(start), stop.saturating_sub(at));
            let kept = self.data.get(p.data..).unwrap_or_default();
            let kept = part(kept, 0, p.captured);
            let kept = part(kept, at.saturating_sub(p.start), stop.saturating_sub(at));
            conflict |= mine.iter().zip(kept).any(|(a, b)| a != b);
            at = stop;
            index = index.saturating_add(1);
        }
        if conflict {
            counters.oddity(Oddity::FragmentConflict);
            self.spoilt |= added == Added::Something;
        }
        added
    }

    /// Copies the octets in front of the first hole to `decoded.extra` and decodes them.
    fn decode(
        &self,
        whole: bool,
        frame: u32,
        decoded: &mut Decoded,
        decoder: &Decoder,
        counters: &mut DecodeCounters,
    ) -> End {
        let start = decoded.extra.len();
        let (mut wire, mut cut) = (0, false);
        for piece in &self.pieces {
            if piece.start != wire {
                break;
            }
            wire = piece.end;
            if !cut {
                let octets = self.data.get(piece.data..).unwrap_or_default();
                decoded.extra.extend_from_slice(part(octets, 0, piece.captured));
            }
            cut |= piece.captured < piece.end.saturating_sub(piece.start);
        }
        let offset = u32::try_from(start).unwrap_or(u32::MAX);
        let place = Place { chunk: EXTRA_CHUNK, offset, frame };
        let bytes = decoded.extra.get(start..).unwrap_or_default();
        let seen = (wire as usize, whole);
        decoder.datagram(&self.one, bytes, seen, place, &mut decoded.neighbors, counters)
    }
}

/// Puts a packet among the others; hands back a fragment; counts the rest.
fn deliver(end: End, decoded: &mut Decoded, counters: &mut DecodeCounters) -> Option<Fragment> {
    match end {
        End::Packet(packet) => decoded.packets.push(packet),
        End::Fragment(fragment) => return Some(fragment),
        // Its frames have their fate already.
        End::Fate(Fate::Excluded) => {}
        End::Fate(_) => counters.oddity(Oddity::DatagramUnreadable),
    }
    None
}

fn key_of(fragment: &Fragment) -> Key {
    let &Fragment { realm, v6, src, dst, id, .. } = fragment;
    Key { realm, v6, src, dst, id, protocol: if v6 { 0 } else { fragment.protocol } }
}

fn frame_now(block: &Block, frame: u32) -> Timestamp {
    block.frames.get(frame as usize).map_or(block.now, |f| f.now)
}

/// At most `len` octets from `from` on; less if the slice holds less.
fn part(octets: &[u8], from: u32, len: u32) -> &[u8] {
    let octets = octets.get(from as usize..).unwrap_or_default();
    octets.get(..len as usize).unwrap_or(octets)
}
