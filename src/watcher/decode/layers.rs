//! The long way: layer by layer down to the innermost IP packet.
//!
//! In: one frame of a known link type, or a reassembled datagram.
//! Out: its packet, fragment or neighbour facts, and its fate.
//! Never: recurses, follows a packet quoted in an ICMP error, or trusts a length.
//! Limits: [`WRAPPINGS_MAX`] wrappings, [`EXTENSIONS_MAX`] extension headers, [`OPTIONS_MAX`]
//! neighbour discovery options.
//! Source: RFC 791, 8200, 9293, 768, 826, 4861; those of the wrappings stand in `wrapped.rs`.

use super::count::{Fate, Oddity, Wrapping, Wrappings};
use super::exclude::Exclude;
use super::realm::{Realms, Tag};
use super::{DecodeOptions, Place};
use crate::types::{MacAddr, Realm};
use crate::watcher::packet::{FlowKey, Fragment, Neighbor, NeighborSource, Packet, addr_of};

/// Tags, labels and tunnels taken off one frame. Real nestings stay below ten; each costs time.
pub const WRAPPINGS_MAX: u8 = 16;

/// Extension headers read in one IPv6 packet; there are nine kinds, each sensible once or twice.
pub const EXTENSIONS_MAX: usize = 16;

/// Options read in one neighbour discovery message; real ones carry up to about eight.
pub const OPTIONS_MAX: usize = 16;

/// What lies at the cursor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layer {
    /// Link header by its LINKTYPE.
    Link(u16),
    /// Ethernet from the destination address on.
    Ethernet,
    /// Payload of an ethertype, or of a length below 1536.
    Type(u16),
    /// LLC header.
    Llc,
    /// PPP from the protocol field on, or from the address field on.
    Ppp,
    /// MPLS label stack entry.
    Mpls,
    /// 802.11 from the frame control on.
    Wlan,
    /// Network service header.
    Nsh,
    /// IP of the version that the first nibble says.
    Ip,
    /// IPv4 header.
    V4,
    /// IPv6 header.
    V6,
    /// What an IP packet carries, by protocol number.
    Transport(u8),
}

/// Where the way down ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// The innermost packet.
    Packet(Packet),
    /// A fragment of it.
    Fragment(Fragment),
    /// Nothing that belongs to a flow.
    Fate(Fate),
}

/// Either the next layer, or the end; `Err` is the end for a reason.
pub(super) type Step = Result<Next, Fate>;

/// What follows a layer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// One layer further in.
    Layer(Layer),
    /// That was it.
    End(End),
}

/// The two ways in which a header can be too short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short {
    /// The capture holds less than the wire did.
    pub truncated: Fate,
    /// The wire did not hold it either.
    pub malformed: Fate,
}

/// Link headers.
pub(super) const LINK: Short =
    Short { truncated: Fate::LinkTruncated, malformed: Fate::LinkMalformed };
/// Tags, labels, PPP, LLC and tunnel headers.
pub(super) const TAG: Short =
    Short { truncated: Fate::TagTruncated, malformed: Fate::TagMalformed };
const ARP: Short = Short { truncated: Fate::ArpTruncated, malformed: Fate::ArpMalformed };
const IPV4: Short = Short { truncated: Fate::Ipv4Truncated, malformed: Fate::Ipv4Malformed };
const IPV6: Short = Short { truncated: Fate::Ipv6Truncated, malformed: Fate::Ipv6Malformed };
const TCP: Short = Short { truncated: Fate::TcpTruncated, malformed: Fate::TcpMalformed };
const UDP: Short = Short { truncated: Fate::UdpTruncated, malformed: Fate::UdpMalformed };

/// Way through one frame. Offsets count from the frame's first octet;
/// `at <= end <= wire` and `end <= bytes.len()` always hold.
pub(super) struct Walk<'a> {
    seed: u64,
    exclude: &'a Exclude,
    realms: &'a Realms,
    /// Address space, as far as the way in tells it.
    pub realm: Realm,
    neighbors: &'a mut Vec<Neighbor>,
    place: Place,
    /// Captured octets.
    bytes: &'a [u8],
    /// Cursor.
    at: usize,
    /// End of what was captured of this layer.
    end: usize,
    /// End of this layer on the wire.
    wire: usize,
    depth: u8,
    ip: Ip,
    /// Innermost packet so far whose content is still to be read, and the wrappings around it.
    outer: Option<(Packet, Wrappings)>,
    /// Wrappings taken off so far.
    pub wrappings: Wrappings,
    /// Things to be counted besides the fate.
    pub beyond_frame: bool,
}

/// The IP header last read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ip {
    pub src: [u8; 16],
    pub dst: [u8; 16],
    pub v6: bool,
    pub ttl: u8,
    /// Octets of the packet, header included.
    pub len: usize,
}

impl<'a> Walk<'a> {
    /// Starts at the first octet of `bytes`, which were `wire` octets on the wire.
    pub fn new(
        options: &'a DecodeOptions,
        neighbors: &'a mut Vec<Neighbor>,
        place: Place,
        bytes: &'a [u8],
        wire: usize,
    ) -> Self {
        Self {
            seed: options.hash_seed,
            exclude: &options.exclude,
            realms: &options.realms,
            realm: Realm::default(),
            neighbors,
            place,
            bytes,
            at: 0,
            end: bytes.len(),
            wire: wire.max(bytes.len()),
            depth: 0,
            ip: Ip::default(),
            outer: None,
            wrappings: Wrappings::default(),
            beyond_frame: false,
        }
    }

    /// Continues inside a datagram put together from fragments.
    pub fn in_datagram(mut self, ip: Ip, depth: u8) -> Self {
        self.ip = ip;
        self.depth = depth;
        self
    }

    /// Goes down from `layer` to the innermost packet. The second value says that a tunnel's
    /// content could not be read, so that the outer packet stands for it.
    pub fn run(&mut self, layer: Layer) -> (End, Option<Oddity>) {
        let mut layer = layer;
        let neighbors = self.neighbors.len();
        let fate = loop {
            match self.step(layer) {
                Ok(Next::Layer(next)) => layer = next,
                Ok(Next::End(End::Fate(fate))) | Err(fate) => break fate,
                Ok(Next::End(end)) => return (end, None),
            }
        };
        if fate == Fate::Excluded {
            self.neighbors.truncate(neighbors);
            return (End::Fate(fate), None);
        }
        match self.outer.take() {
            Some((packet, _)) if !fate.is_fault() => (End::Packet(packet), None),
            Some((packet, wrappings)) => {
                self.wrappings = wrappings;
                (End::Packet(packet), Some(Oddity::TunnelUnreadable))
            }
            None => (End::Fate(fate), None),
        }
    }

    fn step(&mut self, layer: Layer) -> Step {
        match layer {
            Layer::Link(link) => self.link(link),
            Layer::Ethernet => self.ethernet(),
            Layer::Type(ethertype) => self.ethertype(ethertype),
            Layer::Llc => self.llc(),
            Layer::Ppp => self.ppp(),
            Layer::Mpls => self.mpls(),
            Layer::Wlan => self.wlan(),
            Layer::Nsh => self.nsh(),
            Layer::Ip => match self.peek::<1>(0).map(|[b]| b >> 4) {
                Some(4) => self.v4(),
                Some(6) => self.v6(),
                Some(_) => Err(Fate::OtherType),
                None => Err(self.short(1, IPV4)),
            },
            Layer::V4 => self.v4(),
            Layer::V6 => self.v6(),
            Layer::Transport(protocol) => self.transport(protocol),
        }
    }

    // --- cursor ---

    /// Octets at the cursor without passing over them.
    pub fn peek<const N: usize>(&self, ahead: usize) -> Option<&'a [u8; N]> {
        self.rest().get(ahead..)?.first_chunk()
    }

    /// Everything captured from the cursor to the end of the layer.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..self.end).unwrap_or_default()
    }

    /// Octets from the cursor to the end of the layer on the wire.
    pub fn wire_len(&self) -> usize {
        self.wire.saturating_sub(self.at)
    }

    /// Reads `N` octets.
    pub fn take<const N: usize>(&mut self, short: Short) -> Result<&'a [u8; N], Fate> {
        let octets = self.peek(0).ok_or_else(|| self.short(N, short))?;
        self.at = self.at.saturating_add(N);
        Ok(octets)
    }

    /// Passes over `n` octets.
    pub fn skip(&mut self, n: usize, short: Short) -> Result<(), Fate> {
        if n > self.rest().len() {
            return Err(self.short(n, short));
        }
        self.at = self.at.saturating_add(n);
        Ok(())
    }

    /// Why `n` octets are not there.
    pub fn short(&self, n: usize, short: Short) -> Fate {
        if n <= self.wire_len() { short.truncated } else { short.malformed }
    }

    /// Ends the layer `n` octets behind the cursor; `false` if the wire had fewer.
    pub fn limit(&mut self, n: usize) -> bool {
        let wire = self.at.saturating_add(n);
        let fits = wire <= self.wire;
        self.wire = self.wire.min(wire);
        self.end = self.end.min(self.wire);
        fits
    }

    /// Notes a wrapping; too many are the end.
    pub fn take_off(&mut self, wrapping: Wrapping) -> Result<(), Fate> {
        self.wrappings.insert(wrapping);
        self.depth = self.depth.saturating_add(1);
        if self.depth > WRAPPINGS_MAX { Err(Fate::DepthLimit) } else { Ok(()) }
    }

    /// One more wrapping off, then `layer`.
    pub fn enter(&mut self, wrapping: Wrapping, layer: Layer) -> Step {
        self.take_off(wrapping)?;
        Ok(Next::Layer(layer))
    }

    /// Ends with `Excluded` if a MAC at the cursor is.
    pub fn check_mac(&self, mac: [u8; 6]) -> Result<(), Fate> {
        if self.exclude.holds_mac(MacAddr(mac)) { Err(Fate::Excluded) } else { Ok(()) }
    }

    /// Ends with `Excluded` if the VLAN is.
    pub fn check_vlan(&self, id: u16) -> Result<(), Fate> {
        if self.exclude.holds_vlan(id) { Err(Fate::Excluded) } else { Ok(()) }
    }

    /// Behind a tag another realm may begin.
    pub fn behind(&mut self, tag: Tag, id: u32) {
        self.realm = self.realms.behind(tag, id).unwrap_or(self.realm);
    }

    // --- IP ---

    fn v4(&mut self) -> Step {
        let start = self.at;
        let h = self.take::<20>(IPV4)?;
        let header = usize::from(h[0] & 0x0f).saturating_mul(4);
        let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
        if h[0] >> 4 != 4 || header < 20 || (total != 0 && total < header) {
            return Err(Fate::Ipv4Malformed);
        }
        self.skip(header.saturating_sub(20), IPV4)?;
        // Length 0: a super-segment that the card was to cut; the frame says how long it is.
        if total != 0 && !self.limit(total.saturating_sub(header)) {
            self.beyond_frame = true;
        }
        self.ip = Ip {
            src: mapped([h[12], h[13], h[14], h[15]]),
            dst: mapped([h[16], h[17], h[18], h[19]]),
            v6: false,
            ttl: h[8],
            len: self.wire.saturating_sub(start),
        };
        self.check_addrs()?;
        let place = u16::from_be_bytes([h[6], h[7]]);
        if place & 0x3fff != 0 && !self.cut(place & 0x1fff, IPV4)? {
            let id = u32::from(u16::from_be_bytes([h[4], h[5]]));
            let offset = u32::from(place & 0x1fff).saturating_mul(8);
            return Ok(Next::End(self.fragment(id, h[9], offset, place & 0x2000 != 0)));
        }
        Ok(Next::Layer(Layer::Transport(h[9])))
    }

    fn v6(&mut self) -> Step {
        let start = self.at;
        let h = self.take::<40>(IPV6)?;
        let len = usize::from(u16::from_be_bytes([h[4], h[5]]));
        if h[0] >> 4 != 6 {
            return Err(Fate::Ipv6Malformed);
        }
        let (mut next, src, dst) = (h[6], first16(h, 8), first16(h, 24));
        // Length 0 without "no next header": a jumbogram or super-segment, as long as the frame.
        if (len != 0 || next == 59) && !self.limit(len) {
            self.beyond_frame = true;
        }
        self.ip = Ip { src, dst, v6: true, ttl: h[7], len: self.wire.saturating_sub(start) };
        self.check_addrs()?;
        for _ in 0..=EXTENSIONS_MAX {
            match next {
                0 | 43 | 60 | 135 | 139 | 140 => {
                    let [following, words] = *self.take::<2>(IPV6)?;
                    self.skip(usize::from(words).saturating_mul(8).saturating_add(6), IPV6)?;
                    next = following;
                }
                51 => {
                    let [following, words] = *self.take::<2>(IPV6)?;
                    self.skip(usize::from(words).saturating_mul(4).saturating_add(6), IPV6)?;
                    next = following;
                }
                44 => {
                    let h = self.take::<8>(IPV6)?;
                    let place = u16::from_be_bytes([h[2], h[3]]);
                    next = h[0];
                    // An atomic fragment (RFC 6946) is whole.
                    if place & 0xfff9 != 0 && !self.cut(place & 0xfff8, IPV6)? {
                        let id = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
                        let end =
                            self.fragment(id, next, u32::from(place & 0xfff8), place & 1 != 0);
                        return Ok(Next::End(end));
                    }
                }
                _ => return Ok(Next::Layer(Layer::Transport(next))),
            }
        }
        Err(Fate::DepthLimit)
    }

    fn check_addrs(&self) -> Result<(), Fate> {
        let excluded = !self.exclude.is_empty()
            && (self.exclude.holds_addr(self.ip.src, self.ip.v6)
                || self.exclude.holds_addr(self.ip.dst, self.ip.v6));
        if excluded { Err(Fate::Excluded) } else { Ok(()) }
    }

    /// A fragment that its frame cuts short can never be put together: the first is read as it
    /// is, the others are of no use.
    fn cut(&self, offset: u16, short: Short) -> Result<bool, Fate> {
        match (self.beyond_frame, offset) {
            (false, _) => Ok(false),
            (true, 0) => Ok(true),
            (true, _) => Err(short.malformed),
        }
    }

    fn fragment(&self, id: u32, protocol: u8, offset: u32, more: bool) -> End {
        End::Fragment(Fragment {
            frame: self.place.frame,
            chunk: self.place.chunk,
            data: self.place.behind(self.at).offset,
            captured: u32_of(self.end.saturating_sub(self.at)),
            wire: u32_of(self.wire_len()),
            offset,
            more,
            v6: self.ip.v6,
            src: self.ip.src,
            dst: self.ip.dst,
            id,
            protocol,
            depth: self.depth,
            realm: self.realm,
            ttl: self.ip.ttl,
        })
    }

    // --- what IP carries ---

    fn transport(&mut self, protocol: u8) -> Step {
        match protocol {
            6 => self.tcp(),
            17 => self.udp(),
            4 | 41 => {
                self.keep_outer(self.packet(protocol, 0, 0, self.at));
                self.enter(Wrapping::IpInIp, if protocol == 4 { Layer::V4 } else { Layer::V6 })
            }
            47 => {
                self.keep_outer(self.packet(protocol, 0, 0, self.at));
                self.gre()
            }
            51 if !self.ip.v6 => {
                let [next, words] = *self.take::<2>(IPV4)?;
                self.skip(usize::from(words).saturating_mul(4).saturating_add(6), IPV4)?;
                Ok(Next::Layer(Layer::Transport(next)))
            }
            58 if self.ip.v6 => {
                let end = self.other(protocol);
                self.discovery()?;
                Ok(end)
            }
            97 => {
                self.keep_outer(self.packet(protocol, 0, 0, self.at));
                self.skip(2, TAG)?;
                self.enter(Wrapping::EtherIp, Layer::Ethernet)
            }
            137 => {
                self.keep_outer(self.packet(protocol, 0, 0, self.at));
                Ok(Next::Layer(Layer::Mpls))
            }
            _ => Ok(self.other(protocol)),
        }
    }

    fn other(&self, protocol: u8) -> Next {
        Next::End(End::Packet(self.packet(protocol, 0, 0, self.at)))
    }

    fn tcp(&mut self) -> Step {
        let start = self.at;
        // A short snap length may cut the options off: what counts lies in front of them.
        let h = self.take::<14>(TCP)?;
        let payload = start.saturating_add(usize::from(h[12] >> 4).saturating_mul(4));
        if h[12] >> 4 < 5 || payload > self.wire {
            return Err(Fate::TcpMalformed);
        }
        let ports = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
        let mut packet = self.packet(6, ports.0, ports.1, payload);
        packet.seq = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
        packet.ack = u32::from_be_bytes([h[8], h[9], h[10], h[11]]);
        packet.flags = h[13];
        Ok(Next::End(End::Packet(packet)))
    }

    fn udp(&mut self) -> Step {
        let h = self.take::<8>(UDP)?;
        let len = usize::from(u16::from_be_bytes([h[4], h[5]]));
        // Length 0 in IPv6: a jumbogram (RFC 2675 §4), or a super-segment.
        if !(len == 0 && self.ip.v6) {
            let payload = len.checked_sub(8).ok_or(Fate::UdpMalformed)?;
            // A length that reaches too far: what is there may be all the same what somebody reads.
            self.beyond_frame |= !self.limit(payload);
        }
        let ports = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
        let packet = self.packet(17, ports.0, ports.1, self.at);
        if is_tunnel_port(ports.0) || is_tunnel_port(ports.1) {
            self.keep_outer(packet);
            return match self.udp_tunnel(ports) {
                Some(step) => step,
                // Nothing but an ordinary packet on that port.
                None => Ok(Next::End(End::Packet(packet))),
            };
        }
        Ok(Next::End(End::Packet(packet)))
    }

    fn keep_outer(&mut self, packet: Packet) {
        self.outer = Some((packet, self.wrappings));
    }

    /// The packet of the IP header last read, with its payload from `payload` on.
    fn packet(&self, protocol: u8, sport: u16, dport: u16, payload: usize) -> Packet {
        let (src, dst) = ((self.ip.src, sport), (self.ip.dst, dport));
        let (key, from_hi) = FlowKey::new(self.realm, protocol, src, dst, self.ip.v6);
        Packet {
            hash: key.hash(self.seed),
            key,
            frame: self.place.frame,
            payload: self.place.behind(payload).offset,
            payload_captured: u32_of(self.end.saturating_sub(payload)),
            payload_wire: u32_of(self.wire.saturating_sub(payload)),
            seq: 0,
            ack: 0,
            ip_len: u32_of(self.ip.len),
            chunk: self.place.chunk,
            flags: 0,
            from_hi,
            ttl: self.ip.ttl,
            depth: self.depth,
        }
    }

    // --- who has which address ---

    /// ARP over Ethernet for IPv4 (RFC 826): the sender's pair.
    pub fn arp(&mut self) -> Step {
        let h = self.take::<8>(ARP)?;
        let [hardware, protocol, operation] =
            [[h[0], h[1]], [h[2], h[3]], [h[6], h[7]]].map(u16::from_be_bytes);
        let known = matches!(hardware, 1 | 6) && protocol == 0x0800 && h[4] == 6 && h[5] == 4;
        if !known || !matches!(operation, 1 | 2) {
            return Err(Fate::ArpOther);
        }
        let s = self.take::<10>(ARP)?;
        let mac = [s[0], s[1], s[2], s[3], s[4], s[5]];
        let addr = [s[6], s[7], s[8], s[9]];
        // A probe asks with sender 0.0.0.0 (RFC 5227 §2.1.1).
        let said =
            addr != [0; 4] && self.neighbor(NeighborSource::Arp, mapped(addr), false, mac)?;
        Err(if said { Fate::Neighbor } else { Fate::ArpOther })
    }

    /// Neighbour discovery (RFC 4861 §4): link-layer options of the four messages.
    fn discovery(&mut self) -> Result<(), Fate> {
        let Some(&[kind, code]) = self.peek::<2>(0) else { return Ok(()) };
        // Hop limit 255: nobody from beyond the link can have sent it (§7.1).
        if self.ip.ttl != 255 || code != 0 {
            return Ok(());
        }
        let (fixed, option, addr) = match kind {
            133 => (8, 1, Some(self.ip.src)),
            134 => (16, 1, Some(self.ip.src)),
            135 => (24, 1, Some(self.ip.src)),
            136 => (24, 2, self.peek(8).copied()),
            _ => return Ok(()),
        };
        let (Some(addr), Some(mut options)) = (addr, self.rest().get(fixed..)) else {
            return Ok(());
        };
        for _ in 0..OPTIONS_MAX {
            let Some(&[kind, words]) = options.first_chunk() else { break };
            let len = usize::from(words).saturating_mul(8);
            let Some((this, rest)) = options.split_at_checked(len) else { break };
            let wanted = kind == option && len == 8 && addr != [0; 16];
            if wanted && let Some(mac) = this.get(2..).and_then(<[u8]>::first_chunk) {
                self.neighbor(NeighborSource::Ndp, addr, true, *mac)?;
            }
            if len == 0 {
                break;
            }
            options = rest;
        }
        Ok(())
    }

    /// Notes that `addr` belongs to `mac`, unless that cannot be; says whether it did.
    fn neighbor(
        &mut self,
        source: NeighborSource,
        addr: [u8; 16],
        v6: bool,
        mac: [u8; 6],
    ) -> Result<bool, Fate> {
        let mac = MacAddr(mac);
        if self.exclude.holds_mac(mac) || self.exclude.holds_addr(addr, v6) {
            return Err(Fate::Excluded);
        }
        let plain = !mac.is_zero() && !mac.is_group() && !addr_of(addr, v6).is_multicast();
        if plain {
            let addr = addr_of(addr, v6);
            let (frame, realm) = (self.place.frame, self.realm);
            self.neighbors.push(Neighbor { frame, realm, source, addr, mac });
        }
        Ok(plain)
    }
}

/// UDP ports whose content may be a tunnel; see `wrapped.rs`.
#[inline]
pub(super) fn is_tunnel_port(port: u16) -> bool {
    matches!(port, 1701 | 2152 | 3544 | 4341 | 4789 | 4790 | 5072 | 5247 | 6081 | 6635 | 8472)
}

fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

fn first16(octets: &[u8], from: usize) -> [u8; 16] {
    octets.get(from..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default()
}

/// Lengths within a frame fit; the fallback is never met.
fn u32_of(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
