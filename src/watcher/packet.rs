//! The values between capture, decode and flow: blocks of frames, and packets in them.
//!
//! A [`Block`] is the unit of work offline: which frames it holds is a function of the input
//! alone, so everything that follows is too, whatever the number of watchers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::types::{Endpoint, MacAddr, Realm, Timestamp};

/// Frames that were read together, with the bytes they lie in.
#[derive(Debug, Default)]
pub struct Block {
    /// Position in the run, from 0.
    pub index: u64,
    /// What frames point into.
    pub chunks: Vec<Chunk>,
    /// Frames in the order of the run.
    pub frames: Vec<Frame>,
    /// Sensor time after the last frame.
    pub now: Timestamp,
}

/// Bytes that frames lie in.
pub enum Chunk {
    /// Read from a file, to be used again.
    Read(Arc<Vec<u8>>),
    /// Lent by a ring that the kernel fills; goes back to it when dropped.
    Lent(Box<dyn AsRef<[u8]> + Send + Sync>),
}

impl Chunk {
    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Chunk::Read(read) => read.as_slice(),
            Chunk::Lent(lent) => (**lent).as_ref(),
        }
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunk({} octets)", self.as_slice().len())
    }
}

/// One captured frame: where its bytes are, and what the file or ring said of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frame {
    /// Time as the capture says; not monotonic.
    pub time: Timestamp,
    /// Sensor time (ARCHITECTURE.md, time): never goes back.
    pub now: Timestamp,
    /// Number within its input, from 1, as tshark counts.
    pub number: u64,
    /// Offset of the first octet in its chunk.
    pub offset: u32,
    /// Octets captured.
    pub captured: u32,
    /// Octets on the wire.
    pub wire: u32,
    /// Index into [`Block::chunks`].
    pub chunk: u16,
    /// Index of the input (file or interface) in the run.
    pub input: u16,
    /// LINKTYPE of the interface it came from.
    pub link: u16,
}

impl Block {
    /// Forgets the frames and lets go of the chunks.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.chunks.clear();
    }

    /// The octets of a frame; empty if the frame is not of this block.
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        self.slice(frame.chunk, frame.offset, frame.captured)
    }

    /// `len` octets at `offset` of a chunk; empty if they are not there.
    pub fn slice(&self, chunk: u16, offset: u32, len: u32) -> &[u8] {
        let (offset, len) = (offset as usize, len as usize);
        self.chunks
            .get(usize::from(chunk))
            .and_then(|c| c.as_slice().get(offset..)?.get(..len))
            .unwrap_or_default()
    }
}

/// Identity of a flow: realm, inner addresses, ports and protocol, the lower endpoint first so
/// that both directions have one key. IPv4 is kept as IPv4-mapped IPv6 with `v6` false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Address of the lower endpoint.
    pub lo: [u8; 16],
    /// Address of the higher endpoint.
    pub hi: [u8; 16],
    /// Port of the lower endpoint.
    pub lo_port: u16,
    /// Port of the higher endpoint.
    pub hi_port: u16,
    /// Address space.
    pub realm: Realm,
    /// IP protocol number (6 TCP, 17 UDP).
    pub protocol: u8,
    /// `true` for IPv6.
    pub v6: bool,
}

impl FlowKey {
    /// The key of a packet from `src` to `dst`, and whether `src` is the higher endpoint.
    #[inline]
    pub fn new(
        realm: Realm,
        protocol: u8,
        src: ([u8; 16], u16),
        dst: ([u8; 16], u16),
        v6: bool,
    ) -> (Self, bool) {
        let [src_bits, dst_bits] = [src, dst].map(|(addr, port)| (u128::from_be_bytes(addr), port));
        Self::of_bits(realm, protocol, src_bits, dst_bits, v6)
    }

    /// The same from addresses as numbers: compared and ordered in registers, for this is the hot
    /// path.
    #[inline]
    pub fn of_bits(
        realm: Realm,
        protocol: u8,
        src: (u128, u16),
        dst: (u128, u16),
        v6: bool,
    ) -> (Self, bool) {
        let from_hi = src > dst;
        let (lo, hi) = if from_hi { (dst, src) } else { (src, dst) };
        let (lo_addr, hi_addr) = (lo.0.to_be_bytes(), hi.0.to_be_bytes());
        let (lo_port, hi_port) = (lo.1, hi.1);
        (Self { lo: lo_addr, hi: hi_addr, lo_port, hi_port, realm, protocol, v6 }, from_hi)
    }

    /// Lower or higher endpoint.
    pub fn endpoint(&self, hi: bool) -> Endpoint {
        let (octets, port) = if hi { (self.hi, self.hi_port) } else { (self.lo, self.lo_port) };
        Endpoint { addr: addr_of(octets, self.v6), port }
    }

    /// Symmetric 64-bit hash; the top bits choose the shard, the low ones the slot.
    ///
    /// Two folded multiplications over all 40 bytes. `seed` is fixed offline and random live,
    /// so that nobody can collide tuples on purpose where it would hurt.
    #[inline]
    pub fn hash(&self, seed: u64) -> u64 {
        let [lo_a, lo_b] = halves(&self.lo);
        let [hi_a, hi_b] = halves(&self.hi);
        let ports = u64::from(self.lo_port) << 48
            | u64::from(self.hi_port) << 32
            | u64::from(self.realm.0) << 16
            | u64::from(self.protocol) << 8
            | u64::from(self.v6);
        let x = fold(lo_a ^ seed ^ 0xA076_1D64_78BD_642F, lo_b ^ 0xE703_7ED1_A0B4_28DB);
        let y = fold(hi_a ^ seed ^ 0x8EBC_6AF0_9C88_C6E3, hi_b ^ 0x5899_65CC_7537_4CC3);
        fold(x ^ ports ^ 0x1D8E_4E27_C47D_124F, y ^ seed ^ 0xEB44_ACCA_B455_D165)
    }
}

#[inline]
fn halves(octets: &[u8; 16]) -> [u64; 2] {
    let v = u128::from_ne_bytes(*octets);
    #[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    [v as u64, (v >> 64) as u64]
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let m = u128::from(a).wrapping_mul(u128::from(b));
    #[expect(clippy::cast_possible_truncation, reason = "the halves are folded")]
    {
        (m as u64) ^ ((m >> 64) as u64)
    }
}

/// Address from its 16-octet form.
pub fn addr_of(octets: [u8; 16], v6: bool) -> IpAddr {
    if v6 {
        return IpAddr::V6(Ipv6Addr::from(octets));
    }
    let [.., a, b, c, d] = octets;
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// 16-octet form of an address; IPv4 becomes IPv4-mapped.
pub fn octets_of(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}

/// TCP flag bits (RFC 9293 §3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Resets it.
    pub const RST: u8 = 0x04;
    /// Acknowledgment number counts.
    pub const ACK: u8 = 0x10;
    /// Urgent pointer counts.
    pub const URG: u8 = 0x20;
}

/// The innermost IP packet of a frame, ready for the flow table. Offsets, no borrow: the block
/// holds the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packet {
    /// Flow identity.
    pub key: FlowKey,
    /// `key.hash(seed)`.
    pub hash: u64,
    /// Index into [`Block::frames`]; packets of a block are sorted by it.
    pub frame: u32,
    /// Offset of the TCP/UDP payload in its chunk.
    pub payload: u32,
    /// Payload octets captured.
    pub payload_captured: u32,
    /// Payload octets on the wire, by the lengths in the headers.
    pub payload_wire: u32,
    /// TCP sequence number of the first payload octet's segment (the SYN's own number if SYN).
    pub seq: u32,
    /// TCP acknowledgment number.
    pub ack: u32,
    /// Octets of the innermost IP packet, header included, by its length field.
    pub ip_len: u32,
    /// Chunk that `payload` points into.
    pub chunk: u16,
    /// TCP flags, 0 for others.
    pub flags: u8,
    /// The sender is the key's higher endpoint.
    pub from_hi: bool,
    /// Hop limit or TTL.
    pub ttl: u8,
    /// Number of tunnels and tags taken off.
    pub depth: u8,
}

/// Who said that an address belongs to a MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NeighborSource {
    /// ARP request or reply: sender fields (RFC 826).
    Arp,
    /// IPv6 neighbour discovery: source or target link-layer option (RFC 4861).
    Ndp,
}

/// Address seen with a link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Index into [`Block::frames`].
    pub frame: u32,
    /// Address space.
    pub realm: Realm,
    /// Protocol that said it.
    pub source: NeighborSource,
    /// Address.
    pub addr: IpAddr,
    /// Its link-layer address.
    pub mac: MacAddr,
}

/// Number of the chunk that means [`Decoded::extra`]: blocks are shared between threads, so
/// reassembled octets cannot be appended to them. A block never has so many chunks.
pub const EXTRA_CHUNK: u16 = 0x8000;

/// What became of the frames of a block.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Packets, sorted by frame. A frame has at most one of its own (the innermost); the frame
    /// that completes a datagram, or at which a datagram is given up, has that one as well.
    pub packets: Vec<Packet>,
    /// ARP and NDP facts, sorted by frame.
    pub neighbors: Vec<Neighbor>,
    /// Fragments awaiting the others; the stitcher turns complete sets into packets.
    pub fragments: Vec<Fragment>,
    /// Octets of reassembled datagrams, addressed as chunk [`EXTRA_CHUNK`].
    pub extra: Vec<u8>,
}

impl Decoded {
    /// Forgets everything but keeps the memory.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.neighbors.clear();
        self.fragments.clear();
        self.extra.clear();
    }

    /// The captured TCP or UDP payload of a packet of this block.
    #[inline]
    pub fn payload<'a>(&'a self, block: &'a Block, packet: &Packet) -> &'a [u8] {
        self.slice(block, packet.chunk, packet.payload, packet.payload_captured)
    }

    /// `len` octets at `offset` of a chunk, be it read or reassembled; empty if they are not there.
    #[inline]
    pub fn slice<'a>(&'a self, block: &'a Block, chunk: u16, offset: u32, len: u32) -> &'a [u8] {
        if chunk != EXTRA_CHUNK {
            return block.slice(chunk, offset, len);
        }
        let (offset, len) = (offset as usize, len as usize);
        self.extra.get(offset..).and_then(|rest| rest.get(..len)).unwrap_or_default()
    }
}

/// One IP fragment (RFC 791 §3.2, RFC 8200 §4.5), where it lies and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Fragment {
    /// Index into [`Block::frames`].
    pub frame: u32,
    /// Chunk that `data` points into.
    pub chunk: u16,
    /// Offset of the fragment's data in its chunk.
    pub data: u32,
    /// Octets of it captured.
    pub captured: u32,
    /// Octets of it on the wire, by the length in the header.
    pub wire: u32,
    /// Offset in the datagram, in octets.
    pub offset: u32,
    /// More fragments follow.
    pub more: bool,
    /// IPv6.
    pub v6: bool,
    /// Source address, 16-octet form.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
    /// Identification.
    pub id: u32,
    /// Protocol of the datagram's payload.
    pub protocol: u8,
    /// Tunnels taken off so far.
    pub depth: u8,
    /// Address space.
    pub realm: Realm,
    /// TTL of the fragment.
    pub ttl: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_have_one_key_and_one_hash() {
        let side = |text: &str, port| (octets_of(text.parse().expect("address")), port);
        for (name, a, b, v6) in [
            ("addresses decide", side("10.0.0.2", 9), side("10.0.0.10", 1), false),
            ("ports decide", side("10.0.0.2", 9), side("10.0.0.2", 10), false),
            ("IPv6", side("2001:db8::1", 443), side("2001:db8:0:1::", 1), true),
        ] {
            let (there, from_hi) = FlowKey::new(Realm(3), 6, a, b, v6);
            let (back, to_hi) = FlowKey::new(Realm(3), 6, b, a, v6);
            assert_eq!((there, from_hi, to_hi), (back, false, true), "{name}");
            assert_eq!(there.hash(1), back.hash(1), "{name}");
            assert_ne!(there.hash(1), there.hash(2), "{name}: the seed matters");
            assert_ne!(there.hash(1), FlowKey { realm: Realm(4), ..there }.hash(1), "{name}");
            assert_eq!(octets_of(there.endpoint(false).addr), a.0, "{name}");
            assert_eq!(there.endpoint(true).port, b.1, "{name}");
        }
        let (same, from_hi) = FlowKey::new(Realm(0), 17, side("::", 1), side("::", 1), true);
        assert!(!from_hi && same.lo == same.hi);
    }

    #[test]
    fn slices_are_empty_where_there_are_no_octets() {
        let block =
            Block { chunks: vec![Chunk::Read(Arc::new(vec![1, 2, 3]))], ..Block::default() };
        let decoded = Decoded { extra: vec![7, 8], ..Decoded::default() };
        for (chunk, offset, len, expected) in [
            (0, 1, 2, &[2, 3][..]),
            (0, 1, 3, &[]),
            (0, 9, 0, &[]),
            (1, 0, 1, &[]),
            (EXTRA_CHUNK, 1, 1, &[8]),
            (EXTRA_CHUNK, 1, 2, &[]),
        ] {
            assert_eq!(decoded.slice(&block, chunk, offset, len), expected);
        }
    }
}
