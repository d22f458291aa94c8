#![allow(clippy::arithmetic_side_effects, reason = "tests may overflow and fail")]

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, PacketBuilder, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::types::{MacAddr, Timestamp};
use crate::watcher::packet::{Chunk, Frame, NeighborSource, Packet, octets_of};
use std::sync::Arc;

// --- frames by hand ---

const MAC: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
const TCP: u8 = 6;
const UDP: u8 = 17;

fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn eth(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    cat(&[&MAC, &ethertype.to_be_bytes(), payload])
}

fn ip4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip4_with(protocol, 0, payload)
}

fn ip4_with(protocol: u8, place: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).expect("fits").to_be_bytes();
    let place = place.to_be_bytes();
    let head = [0x45, 0, len[0], len[1], 0, 7, place[0], place[1], 64, protocol, 0, 0];
    cat(&[&head, &[192, 0, 2, 1, 198, 51, 100, 2], payload])
}

fn addr6(last: u8) -> [u8; 16] {
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("fits").to_be_bytes();
    cat(&[&[0x60, 0, 0, 0, len[0], len[1], next, 255], &addr6(1), &addr6(2), payload])
}

fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).expect("fits");
    let fields = [src, dst, len, 0].map(u16::to_be_bytes);
    cat(&[fields.as_flattened(), payload])
}

fn tcp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let ports = [src, dst].map(u16::to_be_bytes);
    let rest = [0, 0, 0, 9, 0, 0, 0, 8, 0x60, 0x18, 0, 1, 0, 0, 0, 0, 2, 4, 5, 0xb4];
    cat(&[ports.as_flattened(), &rest, payload])
}

/// TCP from 1000 to 443 with five octets.
fn web() -> Vec<u8> {
    ip4(TCP, &tcp(1000, 443, b"hello"))
}

fn web6() -> Vec<u8> {
    ip6(TCP, &tcp(1000, 443, b"hello"))
}

fn arp(operation: u8, sender: [u8; 4]) -> Vec<u8> {
    cat(&[&[0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 1], &sender, &[0; 10]])
}

fn icmp6(kind: u8, target: u8, option: u8) -> Vec<u8> {
    let fixed = cat(&[&[kind, 0, 0, 0, 0, 0, 0, 0], &addr6(target)]);
    cat(&[&fixed, &[option, 1, 2, 0, 0, 0, 0, 9]])
}

fn block_of(frames: &[(u16, &[u8])]) -> Block {
    let mut chunk = vec![0xee; 3];
    let mut block = Block::default();
    for (link, bytes) in frames {
        let offset = u32::try_from(chunk.len()).expect("fits");
        let len = u32::try_from(bytes.len()).expect("fits");
        chunk.extend_from_slice(bytes);
        block.frames.push(Frame {
            offset,
            captured: len,
            wire: len,
            link: *link,
            ..Frame::default()
        });
    }
    block.chunks.push(Chunk::Read(Arc::new(chunk)));
    block
}

fn decode(block: &Block) -> (Decoded, DecodeCounters) {
    let (mut out, mut counters) = (Decoded::default(), DecodeCounters::default());
    Decoder::default().block(block, &mut out, &mut counters);
    assert_eq!(counters.frames(), block.frames.len() as u64, "one fate a frame");
    (out, counters)
}

fn say(block: &Block, out: &Decoded, p: &Packet) -> String {
    let (src, dst) = (p.key.endpoint(p.from_hi), p.key.endpoint(!p.from_hi));
    let payload = out.payload(block, p);
    assert_eq!(payload.len(), p.payload_captured as usize);
    let text = String::from_utf8_lossy(payload);
    let show = if payload.len() <= 5 { text.into_owned() } else { format!("{}B", payload.len()) };
    let (version, depth) = (if p.key.v6 { 6 } else { 4 }, p.depth);
    format!(
        "{version}/{} {}>{} {show}/{} d{depth}",
        p.key.protocol, src.port, dst.port, p.payload_wire
    )
}

/// Every packet and neighbour, or the fates if there is neither.
fn tell(block: &Block) -> String {
    let (out, counters) = decode(block);
    let mut all: Vec<_> = out.packets.iter().map(|p| say(block, &out, p)).collect();
    all.extend(out.neighbors.iter().map(|n| {
        let who = if n.source == NeighborSource::Arp { "arp" } else { "ndp" };
        format!("{who} {} is {:x?}", n.addr, n.mac.0)
    }));
    all.extend(
        out.fragments.iter().map(|f| format!("fragment {}+{} {}", f.offset, f.wire, f.more)),
    );
    if all.is_empty() {
        all.extend(counters.iter().filter(|(_, n)| *n > 0).map(|(name, _)| name.to_owned()));
    }
    all.join("; ")
}

/// What `web()` is, `depth` wrappings down.
fn web_at(depth: u8) -> String {
    format!("4/6 1000>443 hello/5 d{depth}")
}

#[allow(clippy::too_many_lines, reason = "one line a layer")]
fn cases() -> Vec<(&'static str, u16, Vec<u8>, String)> {
    let gre = |flags: u16, kind: u16, body: &[u8]| {
        ip4(47, &cat(&[&flags.to_be_bytes(), &kind.to_be_bytes(), body]))
    };
    let inner = eth(0x0800, &web());
    let sll = |kind: u16| {
        cat(&[&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0], &kind.to_be_bytes(), &web()])
    };
    let wlan = |control: [u8; 2], more: &[u8]| {
        cat(&[&control, &[0; 22], more, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &web()])
    };
    let over = |dst: u16, header: &[u8], body: &[u8]| {
        eth(0x0800, &ip4(UDP, &udp(5000, dst, &cat(&[header, body]))))
    };
    let outer = |port: u16, len: usize| format!("4/17 5000>{port} {len}B/{len} d0");
    let six = |depth: u8| format!("6/6 1000>443 hello/5 d{depth}");
    let vxlan = [8, 0, 0, 0, 0, 0, 1, 0];
    let erspan3 = cat(&[&[0; 4], &[0x20; 11], &[1], &[0; 8], &inner]);
    let options =
        cat(&[&[0x46, 0, 0, 33, 0, 0, 0, 0, 9, UDP, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], &[1; 4]]);
    let w = web_at;
    let mut table = vec![
        // Link layers.
        ("ethernet", 1, eth(0x0800, &web()), w(0)),
        ("ethernet with padding", 1, cat(&[&eth(0x0800, &web()), &[0; 9]]), w(0)),
        ("ethernet IPv6", 1, eth(0x86dd, &web6()), six(0)),
        ("arcnet", 7, cat(&[&[1, 2, 0xd4, 0, 0, 1], &web()]), w(0)),
        ("arcnet of linux", 129, cat(&[&[1, 2, 0, 0, 0xf0], &web()]), w(0)),
        (
            "arcnet, split",
            129,
            cat(&[&[1, 2, 0, 0, 0xd4, 1, 0, 1], &web()]),
            "not_ip_other_type".into(),
        ),
        ("raw", 101, web(), w(0)),
        ("raw IPv6", 12, web6(), six(0)),
        ("raw, neither version", 101, vec![0x15; 40], "not_ip_other_type".into()),
        ("IPv4 only", 228, web(), w(0)),
        ("IPv6 only, IPv4 in it", 229, web(), w(0)),
        ("null, little-endian", 0, cat(&[&[2, 0, 0, 0], &web()]), w(0)),
        ("null, big-endian", 0, cat(&[&[0, 0, 0, 30], &web6()]), six(0)),
        ("loop", 108, cat(&[&[0, 0, 0, 24], &web6()]), six(0)),
        ("cooked", 113, sll(0x0800), w(0)),
        (
            "cooked, netlink",
            113,
            cat(&[&[0, 4, 3, 0x38], &sll(0)[4..]]),
            "not_ip_other_type".into(),
        ),
        ("cooked 2", 276, cat(&[&[8, 0, 0, 0], &[0; 16], &web()]), w(0)),
        ("ppp", 9, cat(&[&[0xff, 3, 0, 0x21], &web()]), w(0)),
        ("ppp compressed", 9, cat(&[&[0x21], &web()]), w(0)),
        ("ppp with direction", 204, cat(&[&[1, 0xff, 3, 0, 0x57], &web6()]), six(0)),
        ("ppp control", 9, vec![0xff, 3, 0xc0, 0x21, 1, 1, 0, 4], "not_ip_ppp_other".into()),
        ("cisco hdlc", 104, cat(&[&[0x0f, 0, 8, 0], &web()]), w(0)),
        ("cisco hdlc as ppp", 50, cat(&[&[0x0f, 0, 8, 0], &web()]), w(0)),
        ("802.11 data", 105, wlan([0x08, 1], &[]), w(0)),
        ("802.11 qos, four addresses", 105, wlan([0x88, 3], &[0; 8]), w(0)),
        ("802.11 qos, ht control", 105, wlan([0x88, 0x81], &[0; 6]), w(0)),
        ("802.11 encrypted", 105, cat(&[&[0x08, 0x41], &[7; 60]]), "not_ip_encrypted".into()),
        ("802.11 beacon", 105, cat(&[&[0x80, 0], &[7; 60]]), "not_ip_wlan_other".into()),
        ("802.11 without data", 105, cat(&[&[0x48, 1], &[7; 60]]), "not_ip_wlan_other".into()),
        ("radiotap", 127, cat(&[&[0, 0, 8, 0, 0, 0, 0, 0], &wlan([0x08, 1], &[])]), w(0)),
        (
            "radiotap, padded body",
            127,
            cat(&[&[0, 0, 17, 0, 3, 0, 0, 0], &[0; 8], &[0x20], &wlan([0x88, 1], &[0; 4])]),
            w(0),
        ),
        ("per-packet information", 192, cat(&[&[0, 0, 8, 0, 1, 0, 0, 0], &inner]), w(1)),
        (
            "prism",
            119,
            cat(&[&[0x44, 0, 0, 0, 144, 0, 0, 0], &[0; 136], &wlan([0x08, 1], &[])]),
            w(0),
        ),
        (
            "netfilter log",
            239,
            cat(&[&[2, 0, 0, 0, 5, 0, 10, 0, 9, 0, 0, 0, 53, 0, 9, 0], &web()]),
            w(0),
        ),
        (
            "apple metadata",
            258,
            cat(&[&[16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], &inner]),
            w(1),
        ),
        ("unknown link", 147, web(), "unknown_link_type".into()),
        // Tags and LLC.
        ("vlan", 1, eth(0x8100, &cat(&[&[0, 5, 8, 0], &web()])), w(1)),
        ("q in q", 1, eth(0x88a8, &cat(&[&[0, 5, 0x81, 0, 0, 6, 8, 0], &web()])), w(2)),
        (
            "three tags",
            1,
            eth(0x9100, &cat(&[&[0, 5, 0x81, 0, 0, 6, 0x81, 0, 0, 7, 8, 0], &web()])),
            w(3),
        ),
        (
            "seventeen tags",
            1,
            eth(0x8100, &cat(&[&[0, 5, 0x81, 0].repeat(16), &[0, 5, 8, 0], &web()])),
            "depth_limit".into(),
        ),
        ("snap", 1, eth(57, &cat(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &web()])), w(0)),
        ("spanning tree", 1, eth(38, &[0x42; 38]), "not_ip_stp".into()),
        ("other llc", 1, eth(38, &[0xe0; 38]), "not_ip_llc".into()),
        ("lldp", 1, eth(0x88cc, &[0; 40]), "not_ip_lldp".into()),
        ("eapol", 1, eth(0x888e, &[0; 40]), "not_ip_eapol".into()),
        ("backbone", 1, eth(0x88e7, &cat(&[&[0; 4], &inner])), w(1)),
        (
            "macsec, integrity only",
            1,
            eth(0x88e5, &cat(&[&[0x20; 1], &[0; 13], &[8, 0], &web()])),
            w(1),
        ),
        ("macsec", 1, eth(0x88e5, &[0x2c; 60]), "not_ip_encrypted".into()),
        ("mpls", 1, eth(0x8847, &cat(&[&[0, 1, 0, 64, 0, 2, 1, 64], &web()])), w(2)),
        (
            "pseudowire with control word",
            1,
            eth(0x8847, &cat(&[&[0, 2, 1, 64, 0, 0, 0, 0], &inner])),
            w(2),
        ),
        ("pseudowire without", 1, eth(0x8847, &cat(&[&[0, 2, 1, 64], &inner])), w(2)),
        (
            "mpls, something else",
            1,
            eth(0x8847, &cat(&[&[0, 2, 1, 64], &[0x99; 60]])),
            "not_ip_mpls_other".into(),
        ),
        ("pppoe", 1, eth(0x8864, &cat(&[&[0x11, 0, 0, 1, 0, 51, 0, 0x21], &web(), &[0; 7]])), w(1)),
        ("pppoe discovery", 1, eth(0x8863, &[0; 40]), "not_ip_pppoe_discovery".into()),
        // IP.
        ("options", 101, cat(&[&options, &udp(1, 2, b"x")]), "4/17 1>2 x/1 d0".into()),
        (
            "no length, as cards are handed it",
            1,
            {
                let mut f = eth(0x0800, &web());
                f[16..18].fill(0);
                f
            },
            w(0),
        ),
        ("header below 20", 101, cat(&[&[0x44], &web()[1..]]), "malformed_ipv4".into()),
        (
            "length below header",
            101,
            cat(&[&[0x45, 0, 0, 19], &web()[4..]]),
            "malformed_ipv4".into(),
        ),
        (
            "icmp with a packet in it",
            101,
            ip4(1, &cat(&[&[3, 1, 0, 0, 0, 0, 0, 0], &web()])),
            "4/1 0>0 57B/57 d0".into(),
        ),
        ("esp", 101, ip4(50, b"12345"), "4/50 0>0 12345/5 d0".into()),
        ("ah", 101, ip4(51, &cat(&[&[6, 4], &[0; 22], &tcp(1000, 443, b"hello")])), w(0)),
        (
            "extensions",
            101,
            ip6(
                0,
                &cat(&[
                    &[60, 0],
                    &[0; 6],
                    &[43, 0],
                    &[0; 6],
                    &[51, 1],
                    &[0; 14],
                    &[6, 1],
                    &[0; 10],
                    &tcp(1000, 443, b"hello"),
                ]),
            ),
            six(0),
        ),
        (
            "too many extensions",
            101,
            ip6(60, &cat(&[&[60, 0, 0, 0, 0, 0, 0, 0].repeat(20)])),
            "depth_limit".into(),
        ),
        (
            "atomic fragment",
            101,
            ip6(44, &cat(&[&[6, 0, 0, 0, 0, 0, 0, 1], &tcp(1000, 443, b"hello")])),
            six(0),
        ),
        ("no next header", 101, ip6(59, b""), "6/59 0>0 /0 d0".into()),
        ("fragment", 101, ip4_with(UDP, 0x2000, &[0; 8]), "fragment 0+8 true".into()),
        ("last fragment", 101, ip4_with(UDP, 0x0001, b"xyz"), "fragment 8+3 false".into()),
        (
            "fragment of IPv6",
            101,
            ip6(44, &cat(&[&[17, 0, 0, 9, 0, 0, 0, 1], b"12345678"])),
            "fragment 8+8 true".into(),
        ),
        ("data offset below 5", 101, ip4(TCP, &[0x40; 20]), "malformed_tcp".into()),
        ("data offset beyond", 101, ip4(TCP, &[0xf0; 20]), "malformed_tcp".into()),
        ("tcp too short", 101, ip4(TCP, &[0x50; 12]), "malformed_tcp".into()),
        ("udp length below 8", 101, ip4(UDP, &[0, 1, 0, 2, 0, 7, 0, 0]), "malformed_udp".into()),
        ("udp length beyond", 101, ip4(UDP, &[0, 1, 0, 2, 0, 9, 0, 0]), "4/17 1>2 /0 d0".into()),
        (
            "udp length less than there is",
            101,
            ip4(UDP, &[0, 1, 0, 2, 0, 9, 0, 0, 65, 66]),
            "4/17 1>2 A/1 d0".into(),
        ),
        // Neighbours.
        (
            "arp reply",
            1,
            eth(0x0806, &arp(2, [10, 0, 0, 1])),
            "arp 10.0.0.1 is [2, 0, 0, 0, 0, 1]".into(),
        ),
        ("arp probe", 1, eth(0x0806, &arp(1, [0; 4])), "not_ip_arp_other".into()),
        (
            "arp from a group address",
            1,
            {
                let mut f = eth(0x0806, &arp(1, [10, 0, 0, 1]));
                f[22] = 3;
                f
            },
            "not_ip_arp_other".into(),
        ),
        ("arp too short", 1, eth(0x0806, &arp(1, [10, 0, 0, 1])[..17]), "malformed_arp".into()),
        (
            "neighbour solicitation",
            101,
            ip6(58, &icmp6(135, 9, 1)),
            "6/58 0>0 32B/32 d0; ndp 2001:db8::1 is [2, 0, 0, 0, 0, 9]".into(),
        ),
        (
            "neighbour advertisement",
            101,
            ip6(58, &icmp6(136, 9, 2)),
            "6/58 0>0 32B/32 d0; ndp 2001:db8::9 is [2, 0, 0, 0, 0, 9]".into(),
        ),
        (
            "advertisement from afar",
            101,
            {
                let mut f = ip6(58, &icmp6(136, 9, 2));
                f[7] = 254;
                f
            },
            "6/58 0>0 32B/32 d0".into(),
        ),
        // Tunnels in IP.
        ("4 in 4", 1, eth(0x0800, &ip4(4, &web())), w(1)),
        ("6 in 4", 1, eth(0x0800, &ip4(41, &web6())), six(1)),
        ("4 in 6", 101, ip6(4, &web()), w(1)),
        ("6 in 6", 101, ip6(41, &web6()), six(1)),
        ("4 in 4, unreadable", 101, ip4(4, &[9; 30]), "4/4 0>0 30B/30 d0".into()),
        ("icmp in 4 in 4", 101, ip4(4, &ip4(1, b"12345")), "4/1 0>0 12345/5 d1".into()),
        (
            "fragment in 4 in 4",
            101,
            ip4(4, &ip4_with(UDP, 0x2000, &[0; 8])),
            "fragment 0+8 true".into(),
        ),
        ("gre", 101, gre(0, 0x0800, &web()), w(1)),
        (
            "gre, checksum, key, sequence",
            101,
            gre(0xb000, 0x86dd, &cat(&[&[0; 12], &web6()])),
            six(1),
        ),
        ("gre, source route", 101, gre(0x4000, 0x0800, &web()), "4/47 0>0 53B/53 d0".into()),
        ("ethernet in gre", 101, gre(0x2000, 0x6558, &cat(&[&[0; 4], &inner])), w(1)),
        (
            "arp in ethernet in gre",
            101,
            gre(0, 0x6558, &eth(0x0806, &arp(2, [10, 0, 0, 1]))),
            "4/47 0>0 46B/46 d0; arp 10.0.0.1 is [2, 0, 0, 0, 0, 1]".into(),
        ),
        ("erspan 1", 101, gre(0, 0x88be, &inner), w(1)),
        ("erspan 2", 101, gre(0x1000, 0x88be, &cat(&[&[0; 4], &[0x10; 8], &inner])), w(1)),
        ("erspan 3 with subheader", 101, gre(0x1000, 0x22eb, &erspan3), w(1)),
        ("pptp", 101, gre(0x3001, 0x880b, &cat(&[&[0; 8], &[0xff, 3, 0, 0x21], &web()])), w(1)),
        ("wccp", 101, gre(0, 0x883e, &cat(&[&[0; 4], &web()])), w(1)),
        ("eoip", 101, gre(0x2001, 0x6400, &cat(&[&[0, 63, 1, 0], &inner])), w(1)),
        ("etherip", 101, ip4(97, &cat(&[&[0x30, 0], &inner])), w(1)),
        ("mpls in ip", 101, ip4(137, &cat(&[&[0, 2, 1, 64], &web()])), w(1)),
        ("nsh", 1, eth(0x894f, &cat(&[&[0x0f, 0xc6, 1, 3], &[0; 20], &inner])), w(1)),
        // Tunnels in UDP.
        ("vxlan", 1, over(4789, &vxlan, &inner), w(1)),
        ("vxlan, linux port", 1, over(8472, &vxlan, &inner), w(1)),
        ("vxlan, reserved bits set", 1, over(4789, &[0xff, 1, 2, 3, 0, 0, 1, 9], &inner), w(1)),
        ("vxlan of llc", 1, over(4789, &vxlan, &eth(0x88cc, &[0; 30])), outer(4789, 52)),
        ("not vxlan", 1, over(4789, &[0; 8], &inner), outer(4789, 71)),
        ("vxlan-gpe", 1, over(4790, &[0x0c, 0, 0, 1, 0, 0, 1, 0], &web()), w(1)),
        (
            "geneve with options",
            1,
            over(6081, &[1, 0, 0x65, 0x58, 0, 0, 1, 0, 0, 0, 0, 0], &inner),
            w(1),
        ),
        ("not geneve", 1, over(6081, &[1, 0, 0x65, 0x58, 0, 0, 1, 0], &inner), outer(6081, 71)),
        ("gtp-u", 1, over(2152, &[0x30, 255, 0, 49, 0, 0, 0, 1], &web()), w(1)),
        (
            "gtp-u with extension",
            1,
            over(2152, &[0x34, 255, 0, 57, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 9, 0], &web()),
            w(1),
        ),
        ("gtp-u echo", 1, over(2152, &[0x32, 1, 0, 4, 0, 0, 0, 0], &[0; 4]), outer(2152, 12)),
        ("text on gtp-u's port", 1, over(2152, b"0\xff", &[b'0'; 50]), outer(2152, 52)),
        (
            "l2tp",
            1,
            over(1701, &[0x48, 2, 0, 65, 0, 1, 0, 2, 0, 0, 0, 0, 0xff, 3, 0, 0x21], &web()),
            w(1),
        ),
        ("l2tp control", 1, over(1701, &[0xc8, 2], &[0; 20]), outer(1701, 22)),
        ("teredo", 1, over(3544, &[], &web6()), six(1)),
        ("teredo with origin", 1, over(3544, &[0, 0, 1, 1, 2, 2, 2, 2], &web6()), six(1)),
        (
            "teredo with authentication",
            1,
            over(3544, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &web6()),
            six(1),
        ),
        ("capwap", 1, over(5247, &[0, 0x10, 2, 0, 0, 0, 0, 0], &inner), w(1)),
        (
            "capwap, 802.11 with swapped control",
            1,
            over(5247, &[0, 0x10, 3, 0, 0, 0, 0, 0], &wlan([1, 8], &[])),
            w(1),
        ),
        ("lisp", 1, over(4341, &[0; 8], &web()), w(1)),
        ("mpls in udp", 1, over(6635, &[0, 2, 1, 64], &web()), w(1)),
        (
            "tunnel in tunnel in tunnel",
            1,
            over(
                4789,
                &vxlan,
                &eth(0x8100, &cat(&[&[0, 5, 8, 0], &gre(0, 0x0800, &ip4(4, &web()))])),
            ),
            w(4),
        ),
    ];
    let mut deep = web();
    for _ in 0..17 {
        deep = ip4(4, &deep);
    }
    table.push(("seventeen tunnels", 101, deep, format!("4/4 0>0 {0}B/{0} d16", web().len())));
    table
}

#[test]
fn every_layer_is_taken_off() {
    for (name, link, bytes, expected) in cases() {
        assert_eq!(tell(&block_of(&[(link, &bytes)])), expected, "{name}");
    }
}

#[test]
fn a_short_snap_length_loses_no_length() {
    let long = eth(0x0800, &ip4(TCP, &tcp(1000, 443, &[7; 900])));
    let datagram = eth(0x86dd, &ip6(UDP, &udp(1, 2, &[7; 900])));
    for (name, bytes, cut, expected) in [
        ("in the payload", &long, 100, "4/6 1000>443 42B/900 d0"),
        ("in the options", &long, 56, "4/6 1000>443 /900 d0"),
        ("in the TCP header", &long, 47, "truncated_tcp"),
        ("in the IP header", &long, 30, "truncated_ipv4"),
        ("in the Ethernet header", &long, 13, "truncated_link"),
        ("behind UDP", &datagram, 62, "6/17 1>2 /900 d0"),
        ("in UDP", &datagram, 61, "truncated_udp"),
    ] {
        let mut block = block_of(&[(1, &bytes[..cut])]);
        block.frames[0].wire = u32::try_from(bytes.len()).expect("fits");
        assert_eq!(tell(&block), expected, "{name}");
        // Without the length on the wire the octets that were there count.
        block.frames[0].wire = 0;
        let (out, counters) = decode(&block);
        if let Some(p) = out.packets.first() {
            assert_eq!(p.payload_wire, p.payload_captured, "{name}");
            assert_eq!(counters.odd(Oddity::LengthBeyondFrame), 1, "{name}");
        }
    }
}

#[test]
fn both_directions_share_a_key_and_numbers_are_read() {
    let back = cat(&[&web()[..12], &[198, 51, 100, 2, 192, 0, 2, 1], &tcp(443, 1000, b"hi")]);
    let block = block_of(&[(101, &web()), (101, &back)]);
    let (out, _) = decode(&block);
    let [a, b] = out.packets[..] else { panic!("two packets") };
    assert_eq!((a.key, a.hash, a.from_hi), (b.key, b.hash, !b.from_hi));
    assert_eq!((a.seq, a.ack, a.flags, a.ttl, a.ip_len, a.frame), (9, 8, 0x18, 64, 49, 0));
    assert_eq!(b.frame, 1);
}

#[test]
fn what_is_excluded_is_only_counted() {
    let ip = |s: &str| s.parse::<IpAddr>().expect("address");
    let frames: Vec<_> = cases().into_iter().filter(|(name, ..)| !name.contains("mac")).collect();
    let net = |s: &str, len| Exclude::new(&[(ip(s), len)], &[], &[]);
    let vlan = Exclude::new(&[], &[5], &[]);
    let mac = Exclude::new(&[], &[], &[MacAddr([2, 0, 0, 0, 0, 1])]);
    let run = |exclude: &Exclude, name: &str| {
        let (_, link, bytes, _) = frames.iter().find(|f| f.0 == name).expect("case");
        let options = DecodeOptions { exclude: exclude.clone(), ..DecodeOptions::default() };
        let (mut out, mut counters) = (Decoded::default(), DecodeCounters::default());
        Decoder::new(options).block(&block_of(&[(*link, bytes)]), &mut out, &mut counters);
        let empty = out.packets.is_empty() && out.neighbors.is_empty() && out.fragments.is_empty();
        assert_eq!(counters.of(Fate::Excluded) == 1, empty, "{name}");
        empty
    };
    for (exclude, name, expected) in [
        (net("192.0.2.0", 24), "ethernet", true),
        (net("198.51.100.2", 32), "ethernet", true),
        (net("192.0.3.0", 24), "ethernet", false),
        (net("192.0.2.0", 24), "vxlan", true),
        (net("192.0.2.0", 24), "6 in 4", true),
        (net("2001:db8::", 32), "6 in 4", true),
        (net("192.0.2.0", 24), "fragment", true),
        (net("10.0.0.0", 8), "arp reply", true),
        (net("2001:db8::9", 128), "neighbour advertisement", true),
        (vlan.clone(), "vlan", true),
        (vlan.clone(), "three tags", true),
        (vlan, "ethernet", false),
        (mac.clone(), "ethernet", true),
        (mac.clone(), "vxlan", true),
        (mac.clone(), "cooked", true),
        (mac, "raw", false),
    ] {
        assert_eq!(run(&exclude, name), expected, "{name}");
    }
}

// --- fragments ---

/// A UDP datagram of 5 + 24 + 3 octets in pieces of 16, 16 and 8.
fn pieces(v6: bool) -> Vec<Vec<u8>> {
    let datagram = udp(53, 99, b"abcdefghijklmnopqrstuvwxyz012345");
    let cut = |(n, part): (usize, &[u8])| {
        let more = n < 2;
        let offset = u16::try_from(n * 2).expect("fits");
        if v6 {
            let place = (offset << 3 | u16::from(more)).to_be_bytes();
            return ip6(44, &cat(&[&[UDP, 0, place[0], place[1], 0, 0, 0, 1], part]));
        }
        ip4_with(UDP, offset | u16::from(more) << 13, part)
    };
    datagram.chunks(16).enumerate().map(cut).collect()
}

/// Runs blocks of raw IP frames at seconds; what comes out, and the counters.
fn stitched(blocks: &[&[(u64, &[u8])]]) -> (Vec<String>, DecodeCounters) {
    let (decoder, mut stitcher) = (Decoder::default(), Stitcher::default());
    let (mut out, mut counters) = (Decoded::default(), DecodeCounters::default());
    let mut said = Vec::new();
    for frames in blocks {
        let raw: Vec<_> = frames.iter().map(|(_, bytes)| (101, *bytes)).collect();
        let mut block = block_of(&raw);
        for (frame, (second, _)) in block.frames.iter_mut().zip(*frames) {
            frame.now = Timestamp(second * Timestamp::SECOND);
            block.now = frame.now;
        }
        decoder.block(&block, &mut out, &mut counters);
        stitcher.stitch(&block, &mut out, &decoder, &mut counters);
        said.extend(out.packets.iter().map(|p| format!("{} @{}", say(&block, &out, p), p.frame)));
    }
    stitcher.finish(&mut out, &decoder, &mut counters);
    let end = block_of(&[(101, &[])]);
    said.extend(out.packets.iter().map(|p| format!("{} end", say(&end, &out, p))));
    (said, counters)
}

#[test]
fn fragments_become_the_packet_of_the_frame_that_completes_them() {
    let whole = "17 53>99 32B/32 d0";
    for v6 in [false, true] {
        let p = pieces(v6);
        let [a, b, c] = [&p[0][..], &p[1], &p[2]];
        let version = if v6 { 6 } else { 4 };
        let other = ip4(UDP, &udp(1, 2, b"x"));
        for (name, order, at) in
            [("in order", [a, b, c], 2), ("backwards", [c, b, a], 2), ("mixed", [b, c, a], 2)]
        {
            let frames: Vec<_> = order.iter().map(|f| (1, *f)).chain([(1, &other[..])]).collect();
            let (said, counters) = stitched(&[&frames]);
            assert_eq!(
                said,
                [format!("{version}/{whole} @{at}"), "4/17 1>2 x/1 d0 @3".into()],
                "{name}"
            );
            assert_eq!(counters.odd(Oddity::Reassembled), 1);
            assert_eq!((counters.of(Fate::Fragment), counters.of(Fate::Packet)), (3, 1));
        }
        let (said, _) = stitched(&[&[(1, a), (2, c)], &[(31, b)]]);
        assert_eq!(said, [format!("{version}/{whole} @0")], "over two blocks, in time");
        let (said, counters) = stitched(&[&[(1, a)], &[(32, &other)], &[(33, b), (33, c)]]);
        assert_eq!(said, ["4/17 1>2 x/1 d0 @0".into(), format!("{version}/17 53>99 8B/8 d0 @0")]);
        assert_eq!(counters.odd(Oddity::FragmentTimeout), 2, "the second has no first fragment");
    }
}

#[test]
fn copies_of_fragments_that_differ_are_taken_as_linux_does() {
    let p = pieces(false);
    let mut lie = p[1].clone();
    lie[30] = b'!';
    let (said, counters) =
        stitched(&[&[(1, &p[1]), (1, &p[1]), (1, &lie), (1, &p[0]), (1, &p[2])]]);
    assert_eq!(said.len(), 1);
    assert_eq!(counters.odd(Oddity::FragmentConflict), 1);
    assert_eq!(counters.odd(Oddity::FragmentDuplicate), 2);
    // One that contradicts and reaches further spoils the datagram.
    let datagram = udp(53, 99, b"12345678abcde");
    let first = ip4_with(UDP, 0x2000, &datagram[..16]);
    let second = ip4_with(UDP, 1, &cat(&[b"XXXXXXXX", &datagram[16..]]));
    let block = block_of(&[(101, &first), (101, &second)]);
    let (mut out, mut counters) = decode(&block);
    Stitcher::default().stitch(&block, &mut out, &Decoder::default(), &mut counters);
    assert!(out.packets.is_empty());
    assert_eq!(counters.odd(Oddity::FragmentConflict), 1);
    // One that says the same does not.
    let second = ip4_with(UDP, 1, &datagram[8..]);
    let block = block_of(&[(101, &first), (101, &second)]);
    let (mut out, mut counters) = decode(&block);
    Stitcher::default().stitch(&block, &mut out, &Decoder::default(), &mut counters);
    assert_eq!(out.payload(&block, &out.packets[0]), b"12345678abcde");
    assert_eq!(counters.odd(Oddity::FragmentConflict), 0);
}

#[test]
fn a_tunnel_may_be_fragmented_within_and_without() {
    let cut = |payload: &[u8], protocol: u8| {
        let (a, b) = payload.split_at(24);
        [ip4_with(protocol, 0x2000, a), ip4_with(protocol, 3, b)]
    };
    let gre = cat(&[&[0, 0, 8, 0], &web()]);
    let [a, b] = cut(&gre, 47);
    assert_eq!(stitched(&[&[(1, &a), (1, &b)]]).0, [format!("{} @1", web_at(1))]);
    // Each half of a fragmented packet travels in fragments itself.
    let [c, d] = cut(&tcp(1000, 443, b"hello"), TCP);
    let [c0, c1] = cut(&c, 4);
    let [d0, d1] = cut(&d, 4);
    let (said, counters) = stitched(&[&[(1, &c0), (1, &c1), (1, &d0), (1, &d1)]]);
    assert_eq!(said, [format!("{} @3", web_at(1))]);
    assert_eq!(counters.odd(Oddity::Reassembled), 3);
}

#[test]
fn a_short_snap_length_does_not_stop_reassembly() {
    let p = pieces(false);
    let mut block = block_of(&[(101, &p[0]), (101, &p[1][..22]), (101, &p[2])]);
    block.frames[1].wire = 36;
    let (mut out, mut counters) = decode(&block);
    Stitcher::default().stitch(&block, &mut out, &Decoder::default(), &mut counters);
    assert_eq!(say(&block, &out, &out.packets[0]), "4/17 53>99 10B/32 d0");
}

#[test]
fn a_flood_of_fragments_stays_bounded() {
    let (decoder, mut stitcher) = (Decoder::default(), Stitcher::default());
    let mut counters = DecodeCounters::default();
    let mut frames = 0_u64;
    for round in 0..20_u32 {
        let mut bytes = Vec::new();
        for id in 0..400_u32 {
            let mut f = ip4_with(UDP, 0x2000 | (185 * 4), &[7; 1480]);
            let id = (round * 400 + id).to_be_bytes();
            f[4..6].copy_from_slice(&id[2..]);
            f[12] = id[1];
            bytes.push(f);
            // And as many pieces of one datagram as there can be, without the last.
            bytes.push(ip4_with(UDP, 0x2000 | (u16::from(id[3]) * 2), &[1; 8]));
        }
        let raw: Vec<_> = bytes.iter().map(|b| (101, &b[..])).collect();
        let block = block_of(&raw);
        let mut out = Decoded::default();
        decoder.block(&block, &mut out, &mut counters);
        stitcher.stitch(&block, &mut out, &decoder, &mut counters);
        frames += raw.len() as u64;
        assert!(stitcher.held() <= (DATAGRAMS_MAX, BYTES_MAX), "{:?}", stitcher.held());
        assert!(stitcher.held().1 <= BYTES_MAX);
    }
    assert_eq!(counters.frames(), frames);
    assert!(counters.odd(Oddity::FragmentLimit) > 3000);
}

// --- hostile bytes, and the oracle ---

/// Splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn below(state: &mut u64, n: usize) -> usize {
    usize::try_from(random(state) % n as u64).expect("fits")
}

#[test]
fn every_cut_of_every_frame_has_one_fate() {
    for (_, link, bytes, _) in cases() {
        for cut in 0..bytes.len() {
            let mut block = block_of(&[(link, &bytes[..cut])]);
            decode(&block);
            block.frames[0].wire = u32::try_from(bytes.len()).expect("fits");
            let (out, _) = decode(&block);
            for p in &out.packets {
                assert!(p.payload_captured <= p.payload_wire);
                assert_eq!(out.payload(&block, p).len(), p.payload_captured as usize);
            }
        }
    }
}

#[test]
fn twenty_thousand_mutations_have_one_fate_each() {
    let cases = cases();
    let (mut state, decoder) = (7, Decoder::default());
    let (mut stitcher, mut counters) = (Stitcher::default(), DecodeCounters::default());
    for round in 0..200_u64 {
        let mut frames = Vec::new();
        for _ in 0..100 {
            let (_, link, bytes, _) = &cases[below(&mut state, cases.len())];
            let mut bytes = bytes.clone();
            for _ in 0..=below(&mut state, 4) {
                let at = below(&mut state, bytes.len());
                bytes[at] = match random(&mut state) % 4 {
                    0 => 0,
                    1 => 0xff,
                    2 => bytes[at] ^ 1 << below(&mut state, 8),
                    _ => random(&mut state).to_be_bytes()[0],
                };
            }
            let link = if random(&mut state).is_multiple_of(16) { 1 } else { *link };
            frames.push((link, bytes));
        }
        let views: Vec<_> = frames.iter().map(|(link, bytes)| (*link, &bytes[..])).collect();
        let mut block = block_of(&views);
        block.now = Timestamp(round * Timestamp::SECOND);
        let mut out = Decoded::default();
        decoder.block(&block, &mut out, &mut counters);
        stitcher.stitch(&block, &mut out, &decoder, &mut counters);
        assert!(out.packets.is_sorted_by_key(|p| p.frame));
        for p in &out.packets {
            assert_eq!(out.payload(&block, p).len(), p.payload_captured as usize);
        }
    }
    assert_eq!(counters.frames(), 20_000);
}

/// Addresses, ports and payload as etherparse reads them; `None` where it stops or where
/// fragments and unusual lengths make the answer a matter of taste.
fn oracle(bytes: &[u8]) -> Option<(IpAddr, IpAddr, u16, u16, Vec<u8>)> {
    let sliced = LaxSlicedPacket::from_ethernet(bytes).ok()?;
    if sliced.stop_err.is_some() {
        return None;
    }
    let (src, dst, payload) = match sliced.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let h = ip.header();
            if h.is_fragmenting_payload() || h.total_len() == 0 {
                return None;
            }
            (h.source_addr().into(), h.destination_addr().into(), ip.payload())
        }
        LaxNetSlice::Ipv6(ip) => {
            let h = ip.header();
            if h.payload_length() == 0 {
                return None;
            }
            (h.source_addr().into(), h.destination_addr().into(), ip.payload())
        }
        LaxNetSlice::Arp(_) => return None,
    };
    if payload.fragmented {
        return None;
    }
    let (sport, dport, bytes) = match sliced.transport? {
        TransportSlice::Tcp(t) => (t.source_port(), t.destination_port(), t.payload().to_vec()),
        TransportSlice::Udp(u) => (u.source_port(), u.destination_port(), u.payload().to_vec()),
        _ => return None,
    };
    let tunnel = layers::is_tunnel_port(sport) || layers::is_tunnel_port(dport);
    (!tunnel).then_some((src, dst, sport, dport, bytes))
}

/// Holds our two ways against each other and against the oracle.
fn compare(bytes: &[u8]) {
    let block = block_of(&[(1, bytes)]);
    let (out, _) = decode(&block);
    let place = Place { chunk: 0, offset: 3, frame: 0 };
    let mut slow = Decoded::default();
    let mut counters = DecodeCounters::default();
    let frame = Frame { link: 1, ..Frame::default() };
    Decoder::default().slow(bytes, bytes.len(), place, &frame, &mut slow, &mut counters);
    if let Some(fast) = fast::packet(0, bytes, bytes.len(), place) {
        let slow = slow.packets.first().copied();
        assert_eq!(format!("{:?}", Some(fast)), format!("{slow:?}"), "{bytes:x?}");
    }
    if let (Some(p), Some((src, dst, sport, dport, payload))) =
        (out.packets.first().filter(|p| matches!(p.key.protocol, 6 | 17)), oracle(bytes))
    {
        let (from, to) = (p.key.endpoint(p.from_hi), p.key.endpoint(!p.from_hi));
        let ours = (from.addr, from.port, to.addr, to.port);
        assert_eq!(ours, (src, sport, dst, dport), "{bytes:x?}");
        assert_eq!(out.payload(&block, p), payload, "{bytes:x?}");
    }
}

/// Frames that etherparse itself builds.
fn built(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = || random(&mut state).to_be_bytes();
    let (a, b, c) = (bytes(), bytes(), bytes());
    let ports = (u16::from_be_bytes([a[0], a[1]]), u16::from_be_bytes([a[2], a[3]]));
    let start = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let (v4, v6) =
        (([a[4], a[5], a[6], a[7]], [b[0], b[1], b[2], b[3]]), (addr6(b[4]), addr6(b[5])));
    let payload = vec![c[0]; len];
    let mut out = Vec::new();
    let ip = match (b[6] % 3, b[7] % 2) {
        (0, 0) => start.ipv4(v4.0, v4.1, c[1]),
        (0, _) => start.ipv6(v6.0, v6.1, c[1]),
        (1, 0) => start.single_vlan(7.try_into().expect("vlan")).ipv4(v4.0, v4.1, c[1]),
        (1, _) => start.single_vlan(7.try_into().expect("vlan")).ipv6(v6.0, v6.1, c[1]),
        (_, 0) => start
            .double_vlan(7.try_into().expect("vlan"), 8.try_into().expect("vlan"))
            .ipv4(v4.0, v4.1, c[1]),
        (_, _) => start
            .double_vlan(7.try_into().expect("vlan"), 8.try_into().expect("vlan"))
            .ipv6(v6.0, v6.1, c[1]),
    };
    let done = if c[2] & 1 == 0 {
        ip.udp(ports.0, ports.1).write(&mut out, &payload)
    } else {
        let sequence = u32::from_be_bytes([a[0], b[0], c[0], 1]);
        ip.tcp(ports.0, ports.1, sequence, 1024).write(&mut out, &payload)
    };
    done.expect("built");
    out
}

#[test]
fn agrees_with_etherparse_on_frames_by_hand() {
    let mut compared = 0;
    for (_, link, bytes, _) in cases() {
        let bytes = match (link, bytes[0] >> 4) {
            (1, _) => bytes,
            (101, 4) => eth(0x0800, &bytes),
            (101, 6) => eth(0x86dd, &bytes),
            _ => continue,
        };
        compare(&bytes);
        compared += usize::from(oracle(&bytes).is_some());
    }
    assert!(compared >= 12, "{compared} frames were within the oracle's reach");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_etherparse_on_frames_it_builds(seed: u64, len in 0_usize..200) {
        let bytes = built(seed, len);
        prop_assert!(oracle(&bytes).is_some() || bytes.len() > 14);
        let (out, _) = decode(&block_of(&[(1, &bytes)]));
        prop_assert_eq!(out.packets.len(), 1);
        compare(&bytes);
    }

    #[test]
    fn agrees_with_etherparse_on_mutated_frames(
        seed: u64,
        len in 0_usize..64,
        flips in proptest::collection::vec((12_usize..80, any::<u8>()), 1..4),
        cut in 0_usize..40,
    ) {
        let mut bytes = built(seed, len);
        for (at, value) in flips {
            if let Some(octet) = bytes.get_mut(at) {
                *octet = value;
            }
        }
        bytes.truncate(bytes.len() - if cut < 30 { 0 } else { cut.min(bytes.len()) });
        compare(&bytes);
    }
}

#[test]
fn counters_add_up() {
    let block = block_of(&[(1, &eth(0x0800, &web())), (1, &eth(0x88cc, &[0; 40]))]);
    let (_, one) = decode(&block);
    let mut two = one.clone();
    two.merge(&one);
    assert_eq!((two.of(Fate::Packet), two.of(Fate::Lldp), two.frames()), (2, 2, 4));
    let names: std::collections::BTreeSet<_> =
        two.iter().chain(two.wrappings()).chain(two.oddities()).map(|(name, _)| name).collect();
    let all = Fate::ALL.len() + Wrapping::ALL.len() + Oddity::ALL.len();
    assert_eq!(names.len(), all, "names are unique");
    assert!(octets_of(IpAddr::from([1, 2, 3, 4])).ends_with(&[1, 2, 3, 4]));
}
