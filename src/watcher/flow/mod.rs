//! Packets to observations: flow tables, byte counts, streams, and who reads them.
//!
//! In: a block of frames and its decoded packets. Out: one [`Batch`] of observations.
//! Never: lets a payload byte out; reads a clock; knows a service or a person.
//! Limits: by shard, in [`Limits`].

mod cold;
pub mod counters;
mod emit;
mod shard;
pub mod stream;
pub mod table;
pub mod texts;
mod work;

pub use shard::Limits;

use counters::FlowCounters;
use shard::{Arrival, Outlet, Shard};
use texts::Texts;

use crate::observation::Batch;
use crate::types::{MacAddr, Timestamp};
use crate::watcher::packet::{Block, Decoded, Frame, Neighbor, octets_of};

/// Logical shards: a fixed number, so that caps and evictions do not depend on how many
/// watchers share them.
pub const SHARDS: usize = 1 << table::SHARD_BITS;

/// Packets ahead whose table line is fetched early: enough to hide one memory access each.
const AHEAD: usize = 8;

/// LINKTYPE_ETHERNET: the link whose frames begin with two MAC addresses.
const ETHERNET: u16 = 1;

/// The flow stage of one watcher: every `of`-th shard, and an interner.
pub struct Flows {
    me: usize,
    of: usize,
    shards: Vec<Shard>,
    texts: Texts,
    /// Counts since the beginning.
    pub counters: FlowCounters,
}

impl Flows {
    /// Watcher `me` of `of`; `seed` is that of the packets' hashes.
    pub fn new(me: usize, of: usize, limits: Limits, seed: u64) -> Self {
        let mine = (me..SHARDS).step_by(of.max(1));
        let shards = mine.map(|s| Shard::new(u8::try_from(s).unwrap_or(u8::MAX), limits, seed));
        Self {
            me,
            of: of.max(1),
            shards: shards.collect(),
            texts: Texts::default(),
            counters: FlowCounters::default(),
        }
    }

    /// Bytes that tables and streams take.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(Shard::bytes).fold(0, usize::saturating_add)
    }

    /// Flows now open.
    pub fn open(&self) -> usize {
        self.shards.iter().map(Shard::flows).fold(0, usize::saturating_add)
    }

    /// Position in `self.shards` of the shard that a hash belongs to; `None` if another watcher
    /// owns it.
    #[inline]
    fn shard_of(&self, hash: u64) -> Option<usize> {
        let shard = (hash >> (u64::BITS - table::SHARD_BITS)) as usize;
        if self.of == 1 {
            return Some(shard);
        }
        let place = shard.checked_sub(self.me)?;
        (place.checked_rem(self.of)? == 0).then(|| place.checked_div(self.of)).flatten()
    }

    /// Handles this watcher's share of a block.
    pub fn block(&mut self, block: &Block, decoded: &Decoded) -> Batch {
        let mut observations = Vec::new();
        let mut neighbors = decoded.neighbors.iter().peekable();
        let packets = &decoded.packets;
        for (i, packet) in packets.iter().enumerate() {
            if let Some(soon) = packets.get(i.wrapping_add(AHEAD))
                && let Some(shard) = self.shard_of(soon.hash).and_then(|s| self.shards.get(s))
            {
                shard.prefetch(soon);
            }
            while let Some(neighbor) = neighbors.next_if(|n| n.frame <= packet.frame) {
                self.neighbor(block, neighbor, &mut observations);
            }
            let Some(place) = self.shard_of(packet.hash) else { continue };
            let Some(shard) = self.shards.get_mut(place) else { continue };
            let Some(frame) = block.frames.get(packet.frame as usize) else { continue };
            let payload = decoded.payload(block, packet);
            let macs =
                if packet.payload_wire > 0 { macs(block, frame) } else { Default::default() };
            let mut out = Outlet {
                texts: &mut self.texts,
                observations: &mut observations,
                counters: &mut self.counters,
                at_frame: packet.frame,
            };
            shard.packet(&Arrival { packet, frame, payload, macs }, &mut out);
        }
        for neighbor in neighbors {
            self.neighbor(block, neighbor, &mut observations);
        }
        self.each_shard(&mut observations, |shard, out| shard.tick(block.now, out));
        let begin = block.frames.first().map_or(block.now, |f| f.now);
        self.batch(block.index, (begin, block.now), observations)
    }

    /// The run (or one world of it) is over: all flows end.
    pub fn finish(&mut self, index: u64, now: Timestamp) -> Batch {
        let mut observations = Vec::new();
        self.each_shard(&mut observations, Shard::finish);
        self.batch(index, (now, now), observations)
    }

    fn each_shard(
        &mut self,
        observations: &mut Vec<crate::observation::Observation>,
        mut act: impl FnMut(&mut Shard, &mut Outlet<'_>),
    ) {
        for shard in &mut self.shards {
            let mut out = Outlet {
                texts: &mut self.texts,
                observations,
                counters: &mut self.counters,
                at_frame: u32::MAX,
            };
            act(shard, &mut out);
        }
    }

    fn neighbor(
        &mut self,
        block: &Block,
        neighbor: &Neighbor,
        observations: &mut Vec<crate::observation::Observation>,
    ) {
        let hash = neighbor_hash(neighbor);
        let Some(shard) = self.shard_of(hash).and_then(|s| self.shards.get_mut(s)) else { return };
        let Some(frame) = block.frames.get(neighbor.frame as usize) else { return };
        let mut out = Outlet {
            texts: &mut self.texts,
            observations,
            counters: &mut self.counters,
            at_frame: neighbor.frame,
        };
        shard.neighbor(neighbor, frame, &mut out);
    }

    fn batch(
        &mut self,
        block: u64,
        (begin, now): (Timestamp, Timestamp),
        mut observations: Vec<crate::observation::Observation>,
    ) -> Batch {
        observations.sort_by_key(|o| (o.order.frame, o.order.shard));
        Batch { watcher: self.me, block, begin, now, texts: self.texts.end_batch(), observations }
    }
}

/// Hash of a neighbour: any fixed choice will do, as long as one shard hears of one address.
pub fn neighbor_hash(neighbor: &Neighbor) -> u64 {
    let [.., a, b] = octets_of(neighbor.addr);
    u64::from(a ^ b) << (u64::BITS - 8)
}

/// The watcher, of so many, that owns the shard of a hash.
pub fn owner(hash: u64, watchers: usize) -> usize {
    let shard = (hash >> (u64::BITS - table::SHARD_BITS)) as usize;
    shard.checked_rem(watchers).unwrap_or(0)
}

fn macs(block: &Block, frame: &Frame) -> [MacAddr; 2] {
    if frame.link != ETHERNET {
        return Default::default();
    }
    match block.bytes(frame) {
        &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] => {
            [MacAddr([s0, s1, s2, s3, s4, s5]), MacAddr([d0, d1, d2, d3, d4, d5])]
        }
        _ => Default::default(),
    }
}
