//! The short way for nearly every frame: Ethernet, up to two VLAN tags, IP, TCP or UDP.
//!
//! In: one frame. Out: its packet, or nothing, which means "take the long way".
//! Never: judges. Whatever is not plainly right is left to the long way, which counts reasons;
//! where this one answers, both say the same (tested).

use super::Place;
use super::layers::is_tunnel_port;
use crate::types::Realm;
use crate::watcher::packet::{FlowKey, Packet};

/// Tags that are taken off here; more are rare enough for the long way.
const TAGS: u8 = 2;

/// The packet of an Ethernet frame whose length on the wire is `wire`.
#[inline]
pub(super) fn packet(seed: u64, bytes: &[u8], wire: usize, place: Place) -> Option<Packet> {
    let ethernet: &[u8; 14] = bytes.first_chunk()?;
    let mut ethertype = u16::from_be_bytes([ethernet[12], ethernet[13]]);
    let mut at = 14_usize;
    let mut depth = 0;
    while matches!(ethertype, 0x8100 | 0x88a8) {
        if depth == TAGS {
            return None;
        }
        let tag: &[u8; 4] = bytes.get(at..)?.first_chunk()?;
        ethertype = u16::from_be_bytes([tag[2], tag[3]]);
        at = at.wrapping_add(4);
        depth = depth.wrapping_add(1);
    }
    let ip = bytes.get(at..)?;
    let (ip_wire, place) = (wire.checked_sub(at)?, place.behind(at));
    let mut packet = match ethertype {
        0x0800 => v4(seed, ip, ip_wire, place)?,
        0x86dd => v6(seed, ip, ip_wire, place)?,
        _ => return None,
    };
    packet.depth = depth;
    Some(packet)
}

#[inline]
fn v4(seed: u64, ip: &[u8], wire: usize, place: Place) -> Option<Packet> {
    let h: &[u8; 20] = ip.first_chunk()?;
    let header = usize::from(h[0] & 0x0f).wrapping_mul(4);
    let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
    // Version 4, a header of 20 octets at least, the length within the frame, not a fragment.
    if h[0] >> 4 != 4 || header < 20 || total > wire || (h[6] & 0x3f) | h[7] != 0 {
        return None;
    }
    let segment = ip.get(header..)?;
    let len = total.checked_sub(header)?;
    let src = mapped([h[12], h[13], h[14], h[15]]);
    let dst = mapped([h[16], h[17], h[18], h[19]]);
    let ip = Ip { seed, src, dst, v6: false, protocol: h[9], ttl: h[8], total };
    ip.transport(segment, len, place.behind(header))
}

#[inline]
fn v6(seed: u64, ip: &[u8], wire: usize, place: Place) -> Option<Packet> {
    let h: &[u8; 40] = ip.first_chunk()?;
    let len = usize::from(u16::from_be_bytes([h[4], h[5]]));
    let total = len.wrapping_add(40);
    if h[0] >> 4 != 6 || len == 0 || total > wire {
        return None;
    }
    let src = u128::from_be_bytes(*h[8..].first_chunk()?);
    let dst = u128::from_be_bytes(*h[24..].first_chunk()?);
    let segment = ip.get(40..)?;
    let ip = Ip { seed, src, dst, v6: true, protocol: h[6], ttl: h[7], total };
    ip.transport(segment, len, place.behind(40))
}

#[inline]
fn mapped(addr: [u8; 4]) -> u128 {
    0xffff_0000_0000 | u128::from(u32::from_be_bytes(addr))
}

struct Ip {
    seed: u64,
    /// Addresses as numbers, IPv4 as IPv4-mapped.
    src: u128,
    dst: u128,
    v6: bool,
    protocol: u8,
    ttl: u8,
    total: usize,
}

impl Ip {
    /// `segment` holds what was captured behind the IP header, of `len` octets on the wire.
    #[inline(always)]
    fn transport(&self, segment: &[u8], len: usize, place: Place) -> Option<Packet> {
        let h: &[u8; 8] = segment.first_chunk()?;
        let ports = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
        let (seq, ack, flags, header, len) = match self.protocol {
            6 => {
                let h: &[u8; 20] = segment.first_chunk()?;
                let header = usize::from(h[12] >> 4).wrapping_mul(4);
                if header < 20 {
                    return None;
                }
                let seq = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
                let ack = u32::from_be_bytes([h[8], h[9], h[10], h[11]]);
                (seq, ack, h[13], header, len)
            }
            17 => {
                let udp = usize::from(u16::from_be_bytes([h[4], h[5]]));
                if udp > len || is_tunnel_port(ports.0) || is_tunnel_port(ports.1) {
                    return None;
                }
                (0, 0, 0, 8, udp)
            }
            _ => return None,
        };
        let wire = len.checked_sub(header)?;
        let captured = segment.len().checked_sub(header)?.min(wire);
        let (src, dst) = ((self.src, ports.0), (self.dst, ports.1));
        let (key, from_hi) = FlowKey::of_bits(Realm::default(), self.protocol, src, dst, self.v6);
        Some(Packet {
            hash: key.hash(self.seed),
            key,
            frame: place.frame,
            payload: place.behind(header).offset,
            payload_captured: u32::try_from(captured).ok()?,
            payload_wire: u32::try_from(wire).ok()?,
            seq,
            ack,
            ip_len: u32::try_from(self.total).ok()?,
            chunk: place.chunk,
            flags,
            from_hi,
            ttl: self.ttl,
            depth: 0,
        })
    }
}
