//! What a flow keeps while it is read or has a name; a flow that only counts has none.

use super::table::{Hot, flag};
use super::work::Work;
use crate::observation::{NameSource, TextId};
use crate::types::{MacAddr, Timestamp};
use crate::watcher::packet::Packet;

/// Facts of one flow that its packets do not touch once it is read.
pub struct Cold {
    /// When the record was made: bytes of the flow count from here on.
    pub begun: Timestamp,
    /// Parser and streams while it is read.
    pub work: Option<Box<Work>>,
    /// Frame that the record was made for: the first one with payload.
    pub first_frame: u64,
    /// Frame that named the flow.
    pub name_frame: u64,
    /// Name, kept in the interner.
    pub name: TextId,
    /// JA4, kept.
    pub ja4: TextId,
    /// User agent, kept.
    pub user_agent: TextId,
    /// Octets of the hello; of QUIC, all that the client sent under long headers.
    pub hello_bytes: u32,
    /// How the name was said.
    pub source: NameSource,
    /// Bits of [`crate::observation::FlowState`] that only a cold record knows.
    pub state: u16,
    /// MAC of the client's frames; zero if unknown.
    pub mac: MacAddr,
    /// It has a name and grew since the last delta, and stands in the list of those.
    pub grown: bool,
}

impl Cold {
    /// A record of a flow first read at `frame`.
    pub fn new(now: Timestamp, frame: u64, mac: MacAddr) -> Self {
        Self {
            begun: now,
            first_frame: frame,
            name_frame: 0,
            work: None,
            name: TextId::NONE,
            ja4: TextId::NONE,
            user_agent: TextId::NONE,
            hello_bytes: 0,
            source: NameSource::None,
            state: 0,
            mac,
            grown: false,
        }
    }

    /// Number of the flow's last frame, of which `low` is the lower half: the first one at or
    /// behind the frame that the record was made for. No flow lasts for 2^32 frames.
    pub fn last_frame(&self, low: u32) -> u64 {
        let high = self.first_frame & !u64::from(u32::MAX);
        let frame = high | u64::from(low);
        if frame < self.first_frame { frame.saturating_add(1 << 32) } else { frame }
    }

    /// QUIC says which datagrams set the connection up: those that begin with a long header
    /// (RFC 9000 §17.2). The client pads them, sends them again, and twice over after a Retry,
    /// so that no fixed allowance would do.
    pub fn count_set_up(&mut self, hot: &Hot, packet: &Packet, payload: &[u8]) {
        if sets_up(hot, packet, payload) {
            self.hello_bytes = self.hello_bytes.saturating_add(packet.payload_wire);
        }
    }

    /// `true` if anything is known that a delta should carry.
    pub fn says_something(&self) -> bool {
        !(self.name.is_none() && self.ja4.is_none() && self.user_agent.is_none())
    }
}

/// `true` for a datagram of the client that sets a QUIC connection up.
pub fn sets_up(hot: &Hot, packet: &Packet, payload: &[u8]) -> bool {
    const UDP: u8 = 17;
    let from_client = packet.from_hi == hot.has(flag::CLIENT_HI);
    let long_header = |b: &u8| b & 0x80 != 0;
    packet.key.protocol == UDP && from_client && payload.first().is_some_and(long_header)
}

/// Records by number, freed ones reused.
#[derive(Default)]
pub struct Slab {
    records: Vec<Option<Cold>>,
    free: Vec<u32>,
}

impl Slab {
    /// Records in use.
    pub fn len(&self) -> usize {
        self.records.len().saturating_sub(self.free.len())
    }

    /// Stores a record; its number.
    pub fn insert(&mut self, cold: Cold) -> u32 {
        if let Some(index) = self.free.pop() {
            if let Some(place) = self.records.get_mut(index as usize) {
                *place = Some(cold);
            }
            return index;
        }
        let index = u32::try_from(self.records.len()).unwrap_or(super::table::NO_COLD);
        self.records.push(Some(cold));
        index
    }

    /// Asks the processor to fetch the record of that number.
    #[inline]
    pub fn prefetch(&self, index: u32) {
        if let Some(record) = self.records.get(index as usize) {
            crate::prefetch::prefetch(record);
        }
    }

    /// The record of that number.
    #[inline]
    pub fn get(&mut self, index: u32) -> Option<&mut Cold> {
        self.records.get_mut(index as usize)?.as_mut()
    }

    /// Takes a record out.
    pub fn remove(&mut self, index: u32) -> Option<Cold> {
        let cold = self.records.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(cold)
    }
}
