//! Packets to observations: flow tables, byte counts, streams, and who reads them.
//!
//! In: a block of frames and its decoded packets. Out: one [`Batch`] of observations.
//! Never: lets a payload byte out; reads a clock; knows a service or a person.
//! Limits: by shard, in [`Limits`].

mod cold;
pub mod counters;
mod emit;
mod readers;
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
use crate::types::Timestamp;
use crate::watcher::packet::{Block, Decoded, Neighbor, Packet, octets_of};

/// Logical shards: a fixed number, so that caps and evictions do not depend on how many
/// watchers share them.
pub const SHARDS: usize = 1 << table::SHARD_BITS;

/// Packets ahead whose table line is fetched early: enough to hide one memory access each.
const AHEAD: usize = 24;

/// Packets ahead whose line is looked at, in case that another flow has it: by then it has come.
const NEXT_AHEAD: usize = 8;

/// The flow stage of one watcher: every `of`-th shard, and an interner.
pub struct Flows {
    me: usize,
    of: usize,
    shards: Vec<Shard>,
    minute: Minute,
    /// Observations of the last block: about as many come of the next one.
    usual: usize,
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
            minute: Minute::default(),
            usual: 0,
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
        let mut observations = Vec::with_capacity(self.usual);
        let mut neighbors = decoded.neighbors.iter().peekable();
        let packets = &decoded.packets;
        for (i, packet) in packets.iter().enumerate() {
            let owner = |p: &Packet| self.shard_of(p.hash).and_then(|s| self.shards.get(s));
            if let Some(soon) = packets.get(i.wrapping_add(AHEAD))
                && let Some(shard) = owner(soon)
            {
                shard.prefetch(soon);
            }
            if let Some(next) = packets.get(i.wrapping_add(NEXT_AHEAD))
                && let Some(shard) = owner(next)
            {
                shard.prefetch_next(next);
            }
            while let Some(neighbor) = neighbors.next_if(|n| n.frame <= packet.frame) {
                self.neighbor(block, neighbor, &mut observations);
            }
            let Some(place) = self.shard_of(packet.hash) else { continue };
            let Some(shard) = self.shards.get_mut(place) else { continue };
            let Some(frame) = block.frames.get(packet.frame as usize) else { continue };
            let (minute, second) = self.minute.of(frame.now);
            let mut out = Outlet {
                texts: &mut self.texts,
                observations: &mut observations,
                counters: &mut self.counters,
                at_frame: packet.frame,
            };
            let arrival = Arrival { packet, frame, block, decoded, minute, second };
            shard.packet(&arrival, &mut out);
        }
        for neighbor in neighbors {
            self.neighbor(block, neighbor, &mut observations);
        }
        self.each_shard(&mut observations, |shard, out| shard.tick(block.now, out));
        let (begin, input) = block.frames.first().map_or((block.now, 0), |f| (f.now, f.input));
        self.usual = observations.len();
        Batch { input, ..self.batch(block.index, (begin, block.now), observations) }
    }

    /// The run (or one world of it) is over: the next flows of shard number `shard`, which has to
    /// be this watcher's, end. To be called until it says that all have: a few at a time, so that
    /// last words do not all lie in memory at once.
    pub fn finish(&mut self, shard: usize, block: &Block) -> (Batch, bool) {
        let mut observations = Vec::with_capacity(self.usual);
        let place = shard.checked_sub(self.me).and_then(|ahead| ahead.checked_div(self.of));
        let mut over = true;
        if let Some(shard) = place.and_then(|p| self.shards.get_mut(p)) {
            let mut out = Outlet {
                texts: &mut self.texts,
                observations: &mut observations,
                counters: &mut self.counters,
                at_frame: u32::MAX,
            };
            over = shard.finish(&mut out);
        }
        self.usual = observations.len();
        let input = block.frames.first().map_or(0, |f| f.input);
        let batch = self.batch(block.index, (block.now, block.now), observations);
        (Batch { input, ..batch }, over)
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
        // Mostly they are in order; neighbours stand before the packet of their frame.
        if !observations.is_sorted_by_key(|o| o.order) {
            observations.sort_by_key(|o| o.order);
        }
        let counts = self.counters.news();
        let texts = self.texts.end_batch();
        let watcher = self.me;
        Batch { watcher, block, begin, now, texts, observations, input: 0, counts }
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

/// The minute of sensor time that frames are in: most of them share it with the one before, so
/// that hardly any time is divided.
#[derive(Debug, Default)]
struct Minute {
    number: u32,
    begin: u64,
    end: u64,
}

impl Minute {
    /// Minute and time within it, and the second.
    #[inline]
    fn of(&mut self, now: Timestamp) -> ((u32, Timestamp), u8) {
        const LENGTH: u64 = 60 * Timestamp::SECOND;
        if !(self.begin..self.end).contains(&now.0) {
            self.number = now.minute();
            self.begin = now.0.saturating_sub(now.0 % LENGTH);
            self.end = self.begin.saturating_add(LENGTH);
        }
        let in_minute = Timestamp(now.0.saturating_sub(self.begin));
        ((self.number, in_minute), u8::try_from(in_minute.seconds()).unwrap_or(0))
    }
}
