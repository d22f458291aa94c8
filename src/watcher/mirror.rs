//! What a mirror port shows of itself: both directions, other hosts, tags, copies, merged frames.
//!
//! In: decoded blocks. Out: [`MirrorCounts`] of each input, that add up.
//! Never: keeps an address or a MAC longer than it takes to tell how many there are.
//! Limits: [`TOLD_APART`] MACs and addresses an input; one busy block in [`SAMPLE`] is looked at.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use rapidhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::watcher::packet::{Block, Decoded, Packet, addr_of};

/// MACs and addresses told apart; "more than this" is all that a person needs to know.
pub const TOLD_APART: usize = 64;

/// Of blocks with many frames, one in so many is looked at: ratios need no more.
const SAMPLE: u64 = 8;

/// Frames from which on a block is one of many.
const BUSY: usize = 256;

/// Octets of a frame that no wire of usual MTU carries: the card or kernel merged several.
const MERGED: u32 = 1_600;

/// What was seen of one input, over the blocks that were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorCounts {
    /// Frames looked at.
    pub frames: u64,
    /// Packets from our networks to others.
    pub outbound: u64,
    /// Packets from others to our networks.
    pub inbound: u64,
    /// Packets within our networks.
    pub within: u64,
    /// Packets in which no address is ours.
    pub foreign: u64,
    /// Packets from or to port 53.
    pub dns: u64,
    /// Packets with a tag or tunnel around them.
    pub wrapped: u64,
    /// Frames that were merged before we got them.
    pub merged: u64,
    /// Packets with payload that came a second time at once.
    pub copies: u64,
    /// Packets with payload.
    pub payload: u64,
    /// Source MACs, up to [`TOLD_APART`].
    pub macs: u64,
    /// Addresses of ours, up to [`TOLD_APART`].
    pub hosts: u64,
}

/// What one worker sees of its inputs.
#[derive(Debug)]
pub struct Mirror {
    own: Vec<(IpAddr, u8)>,
    inputs: Vec<Input>,
    copies: HashSet<(u64, u32, u32, u32), RandomState>,
}

#[derive(Debug, Default)]
struct Input {
    counts: MirrorCounts,
    macs: HashSet<[u8; 6], RandomState>,
    hosts: HashSet<IpAddr, RandomState>,
}

impl Mirror {
    /// Nothing seen yet; `own` are the networks whose hosts are ours, empty for the private ranges.
    pub fn new(own: &[(IpAddr, u8)]) -> Self {
        Self { own: own.to_vec(), inputs: Vec::new(), copies: HashSet::default() }
    }

    /// Looks at a block.
    pub fn note(&mut self, block: &Block, decoded: &Decoded) {
        if block.frames.len() >= BUSY && !block.index.is_multiple_of(SAMPLE) {
            return;
        }
        for frame in &block.frames {
            let Some(input) = self.input(frame.input) else { continue };
            let counts = &mut input.counts;
            counts.frames = counts.frames.saturating_add(1);
            counts.merged = counts.merged.saturating_add(u64::from(frame.wire > MERGED));
            if let &[_, _, _, _, _, _, a, b, c, d, e, f, ..] = block.bytes(frame)
                && frame.link == 1
                && input.macs.len() < TOLD_APART
            {
                input.macs.insert([a, b, c, d, e, f]);
            }
        }
        self.copies.clear();
        for packet in &decoded.packets {
            let Some(frame) = block.frames.get(packet.frame as usize) else { continue };
            self.packet(frame.input, packet);
        }
    }

    fn packet(&mut self, input: u16, packet: &Packet) {
        let key = &packet.key;
        let (lo, hi) = (addr_of(key.lo, key.v6), addr_of(key.hi, key.v6));
        let (src, dst) = if packet.from_hi { (hi, lo) } else { (lo, hi) };
        let (from_us, to_us) = (self.ours(src), self.ours(dst));
        let payload = packet.payload_wire > 0;
        // What is sent again later has acknowledged more meanwhile, or waits longer than a block.
        let copy = payload
            && packet.key.protocol == 6
            && !self.copies.insert((packet.hash, packet.seq, packet.ack, packet.payload_wire));
        let Some(input) = self.input(input) else { return };
        let counts = &mut input.counts;
        let place = match (from_us, to_us) {
            (true, false) => &mut counts.outbound,
            (false, true) => &mut counts.inbound,
            (true, true) => &mut counts.within,
            (false, false) => &mut counts.foreign,
        };
        *place = place.saturating_add(1);
        let add = |count: &mut u64, yes: bool| *count = count.saturating_add(u64::from(yes));
        add(&mut counts.dns, key.lo_port == 53 || key.hi_port == 53);
        add(&mut counts.wrapped, packet.depth > 0);
        add(&mut counts.payload, payload);
        add(&mut counts.copies, copy);
        if from_us && input.hosts.len() < TOLD_APART {
            input.hosts.insert(src);
        }
    }

    fn input(&mut self, input: u16) -> Option<&mut Input> {
        let place = usize::from(input);
        if place >= self.inputs.len() {
            self.inputs.resize_with(place.saturating_add(1), Input::default);
        }
        self.inputs.get_mut(place)
    }

    fn ours(&self, addr: IpAddr) -> bool {
        if self.own.is_empty() {
            return private(addr);
        }
        self.own.iter().any(|(net, bits)| within(addr, *net, *bits))
    }

    /// What was seen since this was asked last, by input.
    pub fn take(&mut self) -> Vec<(u16, MirrorCounts)> {
        let mut all = Vec::new();
        for (input, n) in self.inputs.iter_mut().zip(0_u16..) {
            let mut counts = std::mem::take(&mut input.counts);
            counts.macs = input.macs.len() as u64;
            counts.hosts = input.hosts.len() as u64;
            input.macs.clear();
            input.hosts.clear();
            all.push((n, counts));
        }
        all
    }
}

impl MirrorCounts {
    /// Adds what another worker, or another second, saw. Of MACs and addresses the most counts:
    /// the same may be in both.
    pub fn add(&mut self, other: &MirrorCounts) {
        for (mine, theirs) in [
            (&mut self.frames, other.frames),
            (&mut self.outbound, other.outbound),
            (&mut self.inbound, other.inbound),
            (&mut self.within, other.within),
            (&mut self.foreign, other.foreign),
            (&mut self.dns, other.dns),
            (&mut self.wrapped, other.wrapped),
            (&mut self.merged, other.merged),
            (&mut self.copies, other.copies),
            (&mut self.payload, other.payload),
        ] {
            *mine = mine.saturating_add(theirs);
        }
        self.macs = self.macs.max(other.macs);
        self.hosts = self.hosts.max(other.hosts);
    }
}

/// RFC 1918, RFC 6598, link-local, unique local.
fn private(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(a) => {
            let shared = u32::from(a) & 0xffc0_0000 == u32::from(Ipv4Addr::new(100, 64, 0, 0));
            a.is_private() || a.is_link_local() || shared
        }
        IpAddr::V6(a) => a.is_unique_local() || a.is_unicast_link_local(),
    }
}

fn within(addr: IpAddr, net: IpAddr, bits: u8) -> bool {
    let same = |x: u128, y: u128, width: u8| {
        let shift = u32::from(width.saturating_sub(bits.min(width)));
        (x ^ y).checked_shr(shift).unwrap_or(0) == 0
    };
    match (addr, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Realm;
    use crate::watcher::packet::{FlowKey, Frame, octets_of};

    #[test]
    fn directions_hosts_and_copies_are_told() {
        let side = |text: &str, port| (octets_of(text.parse().expect("address")), port);
        let packet = |src, dst, seq| {
            let (key, from_hi) = FlowKey::new(Realm(0), 6, src, dst, false);
            Packet { key, from_hi, hash: key.hash(0), payload_wire: 9, seq, ..Packet::default() }
        };
        let (us, us2, them) = (side("10.0.0.1", 9), side("10.0.0.2", 9), side("192.0.2.1", 53));
        let packets = vec![
            packet(us, them, 1),
            packet(us, them, 1),
            packet(us2, them, 1),
            packet(them, us, 7),
            packet(us, us2, 3),
        ];
        let block = Block { frames: vec![Frame::default(); 1], ..Block::default() };
        let decoded = Decoded { packets, ..Decoded::default() };
        let mut mirror = Mirror::new(&[]);
        mirror.note(&block, &decoded);
        let counts = mirror.take().remove(0).1;
        assert_eq!((counts.outbound, counts.inbound, counts.within), (3, 1, 1));
        assert_eq!((counts.copies, counts.dns, counts.hosts), (1, 4, 2));
        let mut own = Mirror::new(&[("192.0.2.0".parse().expect("net"), 24)]);
        own.note(&block, &decoded);
        let counts = own.take().remove(0).1;
        assert_eq!((counts.outbound, counts.inbound, counts.foreign), (1, 3, 1));
    }
}
