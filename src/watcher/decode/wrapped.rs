//! Link headers, tags and tunnels: everything around the innermost packet.
//!
//! In: the cursor of [`Walk`]. Out: the next layer in.
//! Never: takes a UDP port as proof; the inner header has to be plausible first.
//! Source: LINKTYPE list of tcpdump.org; IEEE 802.3, 802.1Q, 802.11, 802.1ah; the RFC named at
//! each tunnel.

use super::count::{Fate, Wrapping};
use super::layers::{LINK, Layer, Next, Step, TAG, Walk};
use super::realm::Tag;

impl Walk<'_> {
    pub(super) fn link(&mut self, link: u16) -> Step {
        let next = match link {
            1 => Layer::Ethernet,
            // Raw IP, also where the number says of which version: writers mix them up.
            12 | 14 | 101 | 228 | 229 => Layer::Ip,
            0 | 108 => return self.null(),
            9 | 50 => Layer::Ppp,
            // The first octet says sent or received.
            166 | 204 => {
                self.skip(1, LINK)?;
                Layer::Ppp
            }
            // Cisco HDLC: address, control, ethertype.
            104 => {
                let h = self.take::<4>(LINK)?;
                Layer::Type(u16::from_be_bytes([h[2], h[3]]))
            }
            51 => return self.pppoe(),
            // Multi-protocol over ATM, with LLC.
            11 => Layer::Llc,
            // OpenBSD: family, SPI, flags.
            109 => {
                self.skip(12, LINK)?;
                Layer::Ip
            }
            // OpenBSD firewall log: the first octet is the header's length, padded to 4.
            117 => {
                let len = usize::from(self.peek::<1>(0).map_or(0, |[n]| *n));
                self.skip(len.next_multiple_of(4).max(4), LINK)?;
                Layer::Ip
            }
            // Linux cooked, version 1: 14 octets, then the protocol.
            113 => {
                let h = self.take::<16>(LINK)?;
                self.check_cooked(h.get(6..).and_then(<[u8]>::first_chunk), h[5])?;
                return cooked([h[2], h[3]], [h[14], h[15]]);
            }
            // Version 2 begins with the protocol.
            276 => {
                let h = self.take::<20>(LINK)?;
                self.check_cooked(h.get(12..).and_then(<[u8]>::first_chunk), h[11])?;
                return cooked([h[8], h[9]], [h[0], h[1]]);
            }
            7 => return self.arcnet(0),
            // Linux has two octets more in front of the protocol.
            129 => return self.arcnet(2),
            105 => Layer::Wlan,
            127 => return self.radiotap(),
            119 | 163 => return self.prism(),
            192 => return self.ppi(),
            239 => return self.nflog(),
            // Apple's packet metadata; 149 was used before it had a number of its own.
            149 | 258 => return self.pktap(),
            _ => return Err(Fate::UnknownLink),
        };
        Ok(Next::Layer(next))
    }

    fn check_cooked(&self, mac: Option<&[u8; 6]>, len: u8) -> Result<(), Fate> {
        match mac {
            Some(mac) if len == 6 => self.check_mac(*mac),
            _ => Ok(()),
        }
    }

    /// ARCNET: source, destination, `extra` octets, protocol. Split packets are not put together.
    fn arcnet(&mut self, extra: usize) -> Step {
        self.skip(extra.saturating_add(2), LINK)?;
        let [protocol] = *self.take::<1>(LINK)?;
        // RFC 1201 §3: split flag, where 0 says that the packet is whole, and sequence number.
        let whole = match protocol {
            0xd4 | 0xc4 => self.take::<3>(LINK)?[0] == 0,
            // RFC 1051 §2 has nothing there.
            0xf0 => true,
            _ => false,
        };
        if whole { Ok(Next::Layer(Layer::Ip)) } else { Err(Fate::OtherType) }
    }

    /// BSD loopback: the address family, in the byte order of the host that wrote it.
    fn null(&mut self) -> Step {
        let h = *self.take::<4>(LINK)?;
        match (u32::from_be_bytes(h), u32::from_le_bytes(h)) {
            (2, _) | (_, 2) => Ok(Next::Layer(Layer::V4)),
            // IPv6 is 10 on Linux, 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on macOS.
            (10 | 24 | 28 | 30, _) | (_, 10 | 24 | 28 | 30) => Ok(Next::Layer(Layer::V6)),
            _ => Err(Fate::OtherType),
        }
    }

    pub(super) fn ethernet(&mut self) -> Step {
        let h = self.take::<14>(LINK)?;
        self.check_mac([h[0], h[1], h[2], h[3], h[4], h[5]])?;
        self.check_mac([h[6], h[7], h[8], h[9], h[10], h[11]])?;
        Ok(Next::Layer(Layer::Type(u16::from_be_bytes([h[12], h[13]]))))
    }

    pub(super) fn ethertype(&mut self, ethertype: u16) -> Step {
        match ethertype {
            // What rewrites frames forgets the type at times: the version in the packet counts.
            0x0800 if self.peek::<1>(0).is_some_and(|[b]| b >> 4 == 6) => {
                Ok(Next::Layer(Layer::V6))
            }
            0x86dd if self.peek::<1>(0).is_some_and(|[b]| b >> 4 == 4) => {
                Ok(Next::Layer(Layer::V4))
            }
            0x0800 => Ok(Next::Layer(Layer::V4)),
            0x86dd => Ok(Next::Layer(Layer::V6)),
            0x0806 => self.arp(),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => {
                let h = self.take::<4>(TAG)?;
                let id = u16::from_be_bytes([h[0] & 0x0f, h[1]]);
                self.check_vlan(id)?;
                self.behind(Tag::Vlan, id.into());
                self.enter(Wrapping::Vlan, Layer::Type(u16::from_be_bytes([h[2], h[3]])))
            }
            0x8847 | 0x8848 => Ok(Next::Layer(Layer::Mpls)),
            0x8864 => self.pppoe(),
            0x6558 => self.enter(Wrapping::EthernetInGre, Layer::Ethernet),
            0x880b => Ok(Next::Layer(Layer::Ppp)),
            // Backbone service tag, then the customer's frame.
            0x88e7 => {
                self.skip(4, TAG)?;
                self.enter(Wrapping::Pbb, Layer::Ethernet)
            }
            // Cisco VN-Tag: 4 octets, then the ethertype.
            0x8926 => {
                let h = self.take::<6>(TAG)?;
                self.enter(Wrapping::Vlan, Layer::Type(u16::from_be_bytes([h[4], h[5]])))
            }
            0x894f => Ok(Next::Layer(Layer::Nsh)),
            0x8863 => Err(Fate::PppoeDiscovery),
            0x8809 => Err(Fate::Slow),
            0x888e => Err(Fate::Eapol),
            0x88cc => Err(Fate::Lldp),
            0x88e5 => self.macsec(),
            // 802.3: the field is a length, and padding may follow.
            length @ 0..=1500 => {
                self.limit(usize::from(length));
                Ok(Next::Layer(Layer::Llc))
            }
            _ => Err(Fate::OtherType),
        }
    }

    /// `MACsec` (IEEE 802.1AE §9.3) that protects but does not encrypt.
    fn macsec(&mut self) -> Step {
        let h = self.take::<6>(TAG)?;
        // Version 0, neither encrypted nor changed; bit 5: the sender is named.
        if h[0] & 0x8c != 0 {
            return Err(Fate::Encrypted);
        }
        self.skip(if h[0] & 0x20 != 0 { 8 } else { 0 }, TAG)?;
        let ethertype = u16::from_be_bytes(*self.take::<2>(TAG)?);
        self.enter(Wrapping::Macsec, Layer::Type(ethertype))
    }

    pub(super) fn llc(&mut self) -> Step {
        let &[dsap, ssap, control] = self.take::<3>(TAG)?;
        match (dsap & 0xfe, ssap & 0xfe) {
            // SNAP: organisation 0 (or 0x0000f8, bridged) and an ethertype.
            (0xaa, 0xaa) if control == 3 => {
                let h = self.take::<5>(TAG)?;
                match [h[0], h[1], h[2]] {
                    [0, 0, 0 | 0xf8] => {
                        let ethertype = u16::from_be_bytes([h[3], h[4]]);
                        // A length here would lead back to LLC.
                        if ethertype < 0x0600 {
                            return Err(Fate::Llc);
                        }
                        Ok(Next::Layer(Layer::Type(ethertype)))
                    }
                    // Bridged Ethernet over ATM or frame relay (RFC 2684 §5.2).
                    [0, 0x80, 0xc2] if matches!([h[3], h[4]], [0, 1 | 7]) => {
                        self.skip(2, TAG)?;
                        self.enter(Wrapping::Capture, Layer::Ethernet)
                    }
                    _ => Err(Fate::Llc),
                }
            }
            (0x06, 0x06) if control == 3 => Ok(Next::Layer(Layer::V4)),
            (0x42, 0x42) => Err(Fate::Stp),
            _ => Err(Fate::Llc),
        }
    }

    pub(super) fn pppoe(&mut self) -> Step {
        let h = self.take::<6>(TAG)?;
        if h[0] != 0x11 {
            return Err(Fate::TagMalformed);
        }
        if h[1] != 0 {
            return Err(Fate::PppoeDiscovery);
        }
        self.limit(usize::from(u16::from_be_bytes([h[4], h[5]])));
        self.enter(Wrapping::Pppoe, Layer::Ppp)
    }

    /// PPP (RFC 1661 §2), with or without address and control fields (RFC 1662 §3.1).
    pub(super) fn ppp(&mut self) -> Step {
        match self.peek::<2>(0) {
            Some([0xff, 0x03]) => self.skip(2, TAG)?,
            // Cisco HDLC shares the link types: unicast or multicast, then an ethertype.
            Some([0x0f | 0x8f, 0x00]) => {
                let h = self.take::<4>(TAG)?;
                return Ok(Next::Layer(Layer::Type(u16::from_be_bytes([h[2], h[3]]))));
            }
            _ => {}
        }
        let &[first] = self.take::<1>(TAG)?;
        // An odd first octet is the whole of a compressed protocol field (RFC 1661 §6.5).
        let protocol = if first & 1 == 1 {
            u16::from(first)
        } else {
            let &[second] = self.take::<1>(TAG)?;
            u16::from_be_bytes([first, second])
        };
        match protocol {
            0x0021 => Ok(Next::Layer(Layer::V4)),
            0x0057 => Ok(Next::Layer(Layer::V6)),
            0x0281 | 0x0283 => Ok(Next::Layer(Layer::Mpls)),
            _ => Err(Fate::PppOther),
        }
    }

    /// MPLS (RFC 3032). Nothing says what lies under the stack, so it is guessed and checked.
    pub(super) fn mpls(&mut self) -> Step {
        loop {
            let h = self.take::<4>(TAG)?;
            self.take_off(Wrapping::Mpls)?;
            if h[2] & 1 != 0 {
                break;
            }
        }
        let nibble = self.peek::<1>(0).map_or(0xf, |[b]| b >> 4);
        if self.ip_at(0) {
            return Ok(Next::Layer(Layer::Ip));
        }
        // A control word (RFC 4448 §4.6) begins with four zero bits.
        if nibble == 0 && self.ethernet_at(4) {
            self.skip(4, TAG)?;
            return self.enter(Wrapping::Pseudowire, Layer::Ethernet);
        }
        if self.ethernet_at(0) {
            return self.enter(Wrapping::Pseudowire, Layer::Ethernet);
        }
        Err(Fate::MplsOther)
    }

    // --- IEEE 802.11 ---

    /// 802.11 data frames (IEEE 802.11-2020 §9.3.2).
    pub(super) fn wlan(&mut self) -> Step {
        self.wlan_from(false)
    }

    /// `padded`: the driver put the body on a multiple of four octets.
    fn wlan_from(&mut self, padded: bool) -> Step {
        let h = self.take::<24>(LINK)?;
        let (kind, subtype, flags) = (h[0] >> 2 & 3, h[0] >> 4, h[1]);
        for mac in [4, 10, 16] {
            if let Some(mac) = h.get(mac..).and_then(<[u8]>::first_chunk) {
                self.check_mac(*mac)?;
            }
        }
        // Version 0, type data, not one of the subtypes without a body.
        if h[0] & 3 != 0 || kind != 2 || subtype & 4 != 0 {
            return Err(Fate::WlanOther);
        }
        let mut header = 24_usize;
        if flags & 3 == 3 {
            self.skip(6, LINK)?;
            header = header.saturating_add(6);
        }
        let mut aggregate = false;
        if subtype & 8 != 0 {
            let qos = self.take::<2>(LINK)?;
            header = header.saturating_add(2);
            aggregate = qos[0] & 0x80 != 0;
            if flags & 0x80 != 0 {
                self.skip(4, LINK)?;
                header = header.saturating_add(4);
            }
        }
        if padded {
            self.skip(header.next_multiple_of(4).saturating_sub(header), LINK)?;
        }
        // Some drivers decrypt and leave the bit set: plain SNAP is then in its place.
        if flags & 0x40 != 0 && self.peek::<3>(0) != Some(&[0xaa, 0xaa, 3]) {
            return Err(Fate::Encrypted);
        }
        if aggregate {
            // A-MSDU: two addresses and a length before each part; the first part counts.
            let sub = self.take::<14>(LINK)?;
            self.limit(usize::from(u16::from_be_bytes([sub[12], sub[13]])));
        }
        Ok(Next::Layer(Layer::Llc))
    }

    /// Radiotap: version, pad, length (little-endian), present words, fields.
    fn radiotap(&mut self) -> Step {
        let &[_, _, low, high] = self.peek::<4>(0).ok_or_else(|| self.short(8, LINK))?;
        let len = usize::from(u16::from_le_bytes([low, high]));
        let header = self.rest().get(..len).unwrap_or_default();
        let padded = radiotap_flags(header).is_some_and(|flags| flags & 0x20 != 0);
        self.skip(len.max(8), LINK)?;
        self.wlan_from(padded)
    }

    /// Prism (length in either byte order) or the AVS header (length big-endian).
    fn prism(&mut self) -> Step {
        let magic = self.peek::<4>(0).ok_or_else(|| self.short(8, LINK))?;
        let len = *self.peek::<4>(4).ok_or_else(|| self.short(8, LINK))?;
        let (big, little) = (u32::from_be_bytes(len), u32::from_le_bytes(len));
        let avs = u32::from_be_bytes(*magic) & 0xffff_f000 == 0x8021_1000;
        // Some drivers write no Prism header at all: then this is 802.11 already.
        let len = if avs { big } else { big.min(little) };
        if !(24..=1024).contains(&len) {
            return Ok(Next::Layer(Layer::Wlan));
        }
        self.skip(usize::try_from(len).unwrap_or(usize::MAX), LINK)?;
        Ok(Next::Layer(Layer::Wlan))
    }

    /// Per-packet information: version, flags, length, then the DLT behind it (little-endian).
    fn ppi(&mut self) -> Step {
        let h = *self.take::<8>(LINK)?;
        let len = usize::from(u16::from_le_bytes([h[2], h[3]]));
        self.skip(len.saturating_sub(8), LINK)?;
        let link = u16::try_from(u32::from_le_bytes([h[4], h[5], h[6], h[7]]))
            .map_err(|_| Fate::UnknownLink)?;
        self.enter(Wrapping::Capture, Layer::Link(link))
    }

    /// Linux netfilter log: family, version, id, then TLVs in the host's byte order.
    fn nflog(&mut self) -> Step {
        self.skip(4, LINK)?;
        loop {
            let tlv = *self.take::<4>(LINK)?;
            let len = u16::from_le_bytes([tlv[0], tlv[1]]);
            let (len, kind) = match [tlv[2], tlv[3]] {
                // Types are small, so the zero octet tells the byte order.
                [0, kind] => (u16::from_be_bytes([tlv[0], tlv[1]]), kind),
                [kind, _] => (len, kind),
            };
            let body = usize::from(len).saturating_sub(4);
            if kind == 9 {
                self.limit(body);
                return Ok(Next::Layer(Layer::Ip));
            }
            self.skip(body.next_multiple_of(4), LINK)?;
        }
    }

    /// Header length, record type, then the DLT behind the header (little-endian).
    fn pktap(&mut self) -> Step {
        let h = self.peek::<12>(0).ok_or_else(|| self.short(12, LINK))?;
        let len = u32::from_le_bytes([h[0], h[1], h[2], h[3]]);
        let link = u16::try_from(u32::from_le_bytes([h[8], h[9], h[10], h[11]]))
            .map_err(|_| Fate::UnknownLink)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len < 12 {
            return Err(Fate::LinkMalformed);
        }
        self.skip(len, LINK)?;
        self.enter(Wrapping::Capture, Layer::Link(link))
    }

    // --- tunnels in IP ---

    /// GRE (RFC 2784, RFC 2890), version 1 for PPTP (RFC 2637 §4.1).
    pub(super) fn gre(&mut self) -> Step {
        let h = self.take::<4>(TAG)?;
        let (flags, protocol) =
            (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([h[2], h[3]]));
        let has = |bit: u16| flags & bit != 0;
        let words = |bits: &[u16]| bits.iter().filter(|&&b| has(b)).count().saturating_mul(4);
        if flags & 7 == 1 && protocol == 0x880b && has(0x2000) {
            self.skip(words(&[0x2000, 0x1000, 0x0080]), TAG)?;
            return self.enter(Wrapping::Pptp, Layer::Ppp);
        }
        // Ethernet over IP as MikroTik has it: length, then the tunnel id.
        if flags & 7 == 1 && protocol == 0x6400 && has(0x2000) {
            let h = self.take::<4>(TAG)?;
            self.limit(usize::from(u16::from_be_bytes([h[0], h[1]])));
            return self.enter(Wrapping::EthernetInGre, Layer::Ethernet);
        }
        // Source routes are deprecated and of no fixed length.
        if flags & 7 != 0 || has(0x4000) {
            return Err(Fate::TagMalformed);
        }
        self.skip(words(&[0x8000, 0x2000, 0x1000]), TAG)?;
        match protocol {
            // ERSPAN type I has no sequence number and no header; type II has both.
            0x88be if !has(0x1000) => self.enter(Wrapping::Erspan, Layer::Ethernet),
            0x88be => self.erspan(1, 8),
            0x22eb => self.erspan(2, 12),
            // WCCP: a redirect header of 4 octets, unless IP begins at once.
            0x883e => {
                if !self.ip_at(0) {
                    self.skip(4, TAG)?;
                }
                self.enter(Wrapping::Gre, Layer::V4)
            }
            // Aruba controllers and access points: 802.11 as it was on the air.
            0x8200..=0x83f0 if protocol % 16 == 0 => self.enter(Wrapping::Gre, Layer::Wlan),
            0x6558 => Ok(Next::Layer(Layer::Type(protocol))),
            0x0600.. => self.enter(Wrapping::Gre, Layer::Type(protocol)),
            _ => Err(Fate::OtherType),
        }
    }

    fn erspan(&mut self, version: u8, header: usize) -> Step {
        let &[first] = self.peek::<1>(0).ok_or_else(|| self.short(1, TAG))?;
        if first >> 4 != version {
            return Err(Fate::TagMalformed);
        }
        // Bit 0 of type III: a platform-specific subheader of 8 octets follows.
        let last = self.peek::<1>(header.saturating_sub(1)).map_or(0, |[b]| *b);
        let optional = if version == 2 && last & 1 != 0 { 8 } else { 0 };
        self.skip(header.saturating_add(optional), TAG)?;
        self.enter(Wrapping::Erspan, Layer::Ethernet)
    }

    /// Network service header (RFC 8300 §2).
    pub(super) fn nsh(&mut self) -> Step {
        let h = self.peek::<4>(0).ok_or_else(|| self.short(4, TAG))?;
        let len = usize::from(h[1] & 0x3f).saturating_mul(4);
        if h[0] >> 6 != 0 || len < 8 {
            return Err(Fate::TagMalformed);
        }
        self.skip(len, TAG)?;
        let layer = match h[3] {
            1 => Layer::V4,
            2 => Layer::V6,
            3 => Layer::Ethernet,
            5 => Layer::Mpls,
            _ => return Err(Fate::OtherType),
        };
        self.enter(Wrapping::Nsh, layer)
    }

    // --- tunnels in UDP ---

    /// The layer inside a UDP datagram whose ports are those of a tunnel; nothing if what is
    /// there does not look like one.
    pub(super) fn udp_tunnel(&mut self, (src, dst): (u16, u16)) -> Option<Step> {
        if dst == 5247 || src == 5247 {
            return self.capwap();
        }
        // Answers may come from the tunnel's port.
        let (wrapping, skip, layer) = self.tunnel_on(dst).or_else(|| self.tunnel_on(src))?;
        if matches!(wrapping, Wrapping::Vxlan | Wrapping::Geneve)
            && let Some(h) = self.peek::<8>(0)
        {
            self.behind(Tag::Vni, u32::from_be_bytes([0, h[4], h[5], h[6]]));
        }
        Some(self.skip(skip, TAG).and_then(|()| match wrapping {
            // Counted label by label.
            Wrapping::Mpls => Ok(Next::Layer(layer)),
            _ => self.enter(wrapping, layer),
        }))
    }

    fn tunnel_on(&self, port: u16) -> Option<(Wrapping, usize, Layer)> {
        match port {
            1701 => self.l2tp(),
            2152 => self.gtpu(),
            3544 => self.teredo(),
            4341 => Some((Wrapping::Lisp, self.plausible(8)?, Layer::Ip)),
            4789 | 8472 => self.vxlan(),
            4790 => self.vxlan_gpe(),
            5072 => self.ayiya(),
            6081 => self.geneve(),
            6635 => Some((Wrapping::Mpls, self.mpls_at()?, Layer::Mpls)),
            _ => None,
        }
    }

    /// VXLAN (RFC 7348 §5): flag I, possibly with the group policy extension. Reserved bits are
    /// ignored on receipt; where they are set, only a frame that holds IP is proof enough.
    fn vxlan(&self) -> Option<(Wrapping, usize, Layer)> {
        let h = self.peek::<8>(0)?;
        let tidy = h[0] & 0x7f == 0x08 && h[7] == 0;
        let holds_ip = matches!(self.peek::<2>(20), Some([0x08, 0x00] | [0x86, 0xdd]));
        let fits = h[0] & 0x08 != 0 && (tidy || holds_ip) && self.ethernet_at(8);
        fits.then_some((Wrapping::Vxlan, 8, Layer::Ethernet))
    }

    /// VXLAN with a next protocol field, flags I and P.
    fn vxlan_gpe(&self) -> Option<(Wrapping, usize, Layer)> {
        let h = self.peek::<8>(0)?;
        if h[0] & 0xcc != 0x0c {
            return None;
        }
        let layer = match h[3] {
            1 | 2 if self.ip_at(8) => Layer::Ip,
            3 if self.ethernet_at(8) => Layer::Ethernet,
            4 => Layer::Nsh,
            _ => return None,
        };
        Some((Wrapping::Vxlan, 8, layer))
    }

    /// GENEVE (RFC 8926 §3.4): version 0, options in words.
    fn geneve(&self) -> Option<(Wrapping, usize, Layer)> {
        let h = self.peek::<8>(0)?;
        let header = usize::from(h[0] & 0x3f).saturating_mul(4).saturating_add(8);
        let layer = match u16::from_be_bytes([h[2], h[3]]) {
            0x6558 if self.ethernet_at(header) => Layer::Ethernet,
            0x0800 | 0x86dd if self.ip_at(header) => Layer::Ip,
            _ => return None,
        };
        (h[0] >> 6 == 0).then_some((Wrapping::Geneve, header, layer))
    }

    /// GTP-U version 1, message G-PDU (3GPP TS 29.281 §5.1), with its extension headers.
    fn gtpu(&self) -> Option<(Wrapping, usize, Layer)> {
        let h = self.peek::<8>(0)?;
        let len = usize::from(u16::from_be_bytes([h[2], h[3]]));
        if h[0] & 0xf0 != 0x30 || h[1] != 255 || len.saturating_add(8) > self.wire_len() {
            return None;
        }
        let mut header = 8_usize;
        if h[0] & 7 != 0 {
            let mut next = self.peek::<4>(header)?[3];
            header = header.saturating_add(4);
            // Sixteen extensions are more than any standard defines.
            for _ in 0..16 {
                if h[0] & 4 == 0 || next == 0 {
                    break;
                }
                let words = usize::from(self.peek::<1>(header)?[0]);
                if words == 0 {
                    return None;
                }
                header = header.saturating_add(words.saturating_mul(4));
                next = self.peek::<1>(header.saturating_sub(1))?[0];
            }
        }
        self.ip_at(header).then_some((Wrapping::Gtpu, header, Layer::Ip))
    }

    /// L2TP version 2 data messages (RFC 2661 §3.1).
    fn l2tp(&self) -> Option<(Wrapping, usize, Layer)> {
        let h = self.peek::<2>(0)?;
        if h[0] & 0x80 != 0 || h[1] & 0x0f != 2 {
            return None;
        }
        // Flags and version, length?, tunnel and session, sequence numbers?, offset?
        let mut header = 6_usize;
        for (bit, octets) in [(0x40, 2_usize), (0x08, 4)] {
            if h[0] & bit != 0 {
                header = header.saturating_add(octets);
            }
        }
        if h[0] & 0x02 != 0 {
            let size = usize::from(u16::from_be_bytes(*self.peek::<2>(header)?));
            header = header.saturating_add(size).saturating_add(2);
        }
        self.peek::<2>(header)?;
        Some((Wrapping::L2tp, header, Layer::Ppp))
    }

    /// Teredo (RFC 4380 §5.1.1): authentication and origin indications, then IPv6.
    fn teredo(&self) -> Option<(Wrapping, usize, Layer)> {
        let mut header = 0_usize;
        if let Some(&[0, 1, id, auth]) = self.peek::<4>(0) {
            // Client id, authentication value, nonce (8) and confirmation (1).
            header = usize::from(id).saturating_add(usize::from(auth)).saturating_add(13);
        }
        if let Some([0, 0]) = self.peek::<2>(header) {
            header = header.saturating_add(8);
        }
        let h = self.peek::<40>(header)?;
        let len = usize::from(u16::from_be_bytes([h[4], h[5]])).saturating_add(40);
        let whole = len <= self.wire_len().saturating_sub(header);
        (h[0] >> 4 == 6 && whole).then_some((Wrapping::Teredo, header, Layer::V6))
    }

    /// AYIYA (draft-massar-v6ops-ayiya §3): lengths of identity and signature, operation
    /// "forward", the protocol inside, time.
    fn ayiya(&self) -> Option<(Wrapping, usize, Layer)> {
        let h = self.peek::<8>(0)?;
        let identity = 1_usize.checked_shl(u32::from(h[0] >> 4))?;
        let signature = usize::from(h[1] >> 4).saturating_mul(4);
        let header = identity.saturating_add(signature).saturating_add(8);
        let inner = h[2] & 0x0f == 1 && matches!(h[3], 4 | 41) && self.ip_at(header);
        inner.then_some((Wrapping::Ayiya, header, Layer::Ip))
    }

    /// CAPWAP data (RFC 5415 §4.3): cleartext, not a fragment, 802.3 or 802.11 inside.
    fn capwap(&mut self) -> Option<Step> {
        let h = *self.peek::<8>(0)?;
        let header = usize::from(h[1] >> 3).saturating_mul(4);
        let (native, fragment, keep_alive) = (h[2] & 1, h[3] & 0x80, h[3] & 0x08);
        if h[0] != 0 || header < 8 || fragment | keep_alive != 0 {
            return None;
        }
        if native == 0 {
            if !self.ethernet_at(header) {
                return None;
            }
            return Some(
                self.skip(header, TAG).and_then(|()| self.enter(Wrapping::Capwap, Layer::Ethernet)),
            );
        }
        // Some controllers swap the two octets of the frame control field; there it cannot be
        // read in place, but header lengths and LLC do not depend on the addresses.
        let control = *self.peek::<2>(header)?;
        let data = |octet: u8| octet & 0x0f == 0x08;
        if !data(control[0]) && data(control[1]) {
            let (subtype, flags) = (control[1] >> 4, control[0]);
            let header = header
                .saturating_add(24)
                .saturating_add(if flags & 3 == 3 { 6 } else { 0 })
                .saturating_add(if subtype & 8 != 0 { 2 } else { 0 });
            return (subtype & 4 == 0 && self.peek::<3>(header) == Some(&[0xaa, 0xaa, 3])).then(
                || self.skip(header, TAG).and_then(|()| self.enter(Wrapping::Capwap, Layer::Llc)),
            );
        }
        Some(self.skip(header, TAG).and_then(|()| self.enter(Wrapping::Capwap, Layer::Wlan)))
    }

    // --- plausibility ---

    /// `header` if an IP packet plausibly follows so many octets.
    fn plausible(&self, header: usize) -> Option<usize> {
        self.ip_at(header).then_some(header)
    }

    /// A label stack with its end, and IP behind it.
    fn mpls_at(&self) -> Option<usize> {
        let labels = self.rest().as_chunks::<4>().0.iter().take(16);
        let depth = labels.take_while(|label| label[2] & 1 == 0).count().saturating_add(1);
        self.ip_at(depth.saturating_mul(4)).then_some(0)
    }

    /// `true` if an IP header whose lengths fit lies `ahead`.
    fn ip_at(&self, ahead: usize) -> bool {
        let left = self.wire_len().saturating_sub(ahead);
        match self.peek::<8>(ahead) {
            Some(&[first, _, a, b, ..]) if first >> 4 == 4 => {
                let header = usize::from(first & 0x0f).saturating_mul(4);
                let total = usize::from(u16::from_be_bytes([a, b]));
                header >= 20 && (total == 0 || (header..=left).contains(&total))
            }
            Some(&[first, _, _, _, a, b, ..]) if first >> 4 == 6 => {
                usize::from(u16::from_be_bytes([a, b])).saturating_add(40) <= left
            }
            _ => false,
        }
    }

    /// `true` if an Ethernet header with a known type lies `ahead`.
    fn ethernet_at(&self, ahead: usize) -> bool {
        let Some(&[high, low]) = self.peek::<2>(ahead.saturating_add(12)) else { return false };
        match u16::from_be_bytes([high, low]) {
            0x0800 | 0x86dd => self.ip_at(ahead.saturating_add(14)),
            0x0806 | 0x8100 | 0x88a8 | 0x8847 | 0x8848 | 0x8863 | 0x8864 | 0x88cc | 0x8809
            | 0x888e | 0x894f => true,
            // LLC: the length fits, and the addresses are among the usual ones.
            length @ 3..=1500 => {
                usize::from(length) <= self.wire_len().saturating_sub(ahead.saturating_add(14))
                    && matches!(
                        self.peek::<2>(ahead.saturating_add(14)),
                        Some([0x42, 0x42] | [0xaa, 0xaa] | [0xfe, 0xfe])
                    )
            }
            _ => false,
        }
    }
}

/// The flags field of a radiotap header, if it is there.
fn radiotap_flags(header: &[u8]) -> Option<u8> {
    let present = u32::from_le_bytes(*header.get(4..)?.first_chunk()?);
    let mut at = 8_usize;
    let mut word = present;
    // Bit 31: another word of presence bits follows. The header's length bounds this.
    while word & 0x8000_0000 != 0 {
        word = u32::from_le_bytes(*header.get(at..)?.first_chunk()?);
        at = at.saturating_add(4);
    }
    if present & 2 == 0 {
        return None;
    }
    // Bit 0: a timestamp of 8 octets, aligned to 8.
    if present & 1 != 0 {
        at = at.next_multiple_of(8).saturating_add(8);
    }
    header.get(at).copied()
}

/// Protocol of a Linux cooked header, and the hardware that says how to take it.
fn cooked(hardware: [u8; 2], protocol: [u8; 2]) -> Step {
    // Netlink (824) has families of its own in this place.
    if u16::from_be_bytes(hardware) == 824 {
        return Err(Fate::OtherType);
    }
    Ok(Next::Layer(match u16::from_be_bytes(protocol) {
        4 => Layer::Llc,
        // Below the ethertypes Linux has numbers of its own; none of them carries IP.
        0..0x0600 => return Err(Fate::OtherType),
        ethertype => Layer::Type(ethertype),
    }))
}
