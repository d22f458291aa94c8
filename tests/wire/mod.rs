//! Captures made of nothing: frames of hosts, servers and access servers, written as a pcap file.

#![allow(
    dead_code,
    clippy::cast_possible_truncation,
    reason = "each test uses a part; lengths are small"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

pub type Mac = [u8; 6];

/// 2026-03-02T09:00:00Z.
pub const NINE: u64 = 1_772_442_000;

/// Who sends a frame to whom.
#[derive(Clone, Copy)]
pub struct Ends {
    pub from: (Mac, IpAddr, u16),
    pub to: (Mac, IpAddr, u16),
    pub ttl: u8,
}

/// A capture while it grows; frames may come in any order.
#[derive(Default)]
pub struct Wire {
    frames: Vec<(u64, Vec<u8>)>,
}

pub fn mac(n: u16) -> Mac {
    let [high, low] = n.to_be_bytes();
    [2, 0, 0, 0, high, low]
}

pub fn v4(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The router and everything behind it.
pub const ROUTER: Mac = [2, 0xff, 0, 0, 0, 1];
pub const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 80));

impl Wire {
    pub fn frame(&mut self, at_ms: u64, frame: Vec<u8>) {
        self.frames.push((at_ms, frame));
    }

    /// The frames alone, in their order, for a wire that gives them its own time.
    pub fn frames(mut self) -> Vec<Vec<u8>> {
        self.frames.sort_by_key(|f| f.0);
        self.frames.into_iter().map(|f| f.1).collect()
    }

    pub fn save(mut self, path: &Path) {
        self.frames.sort_by_key(|f| f.0);
        let mut out = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            out.extend(word.to_le_bytes());
        }
        for (at, frame) in &self.frames {
            for word in [(at / 1000) as u32, (at % 1000 * 1000) as u32] {
                out.extend(word.to_le_bytes());
            }
            out.extend((frame.len() as u32).to_le_bytes());
            out.extend((frame.len() as u32).to_le_bytes());
            out.extend(frame);
        }
        std::fs::write(path, out).expect("a capture is written");
    }

    pub fn udp(&mut self, at_ms: u64, ends: &Ends, payload: &[u8]) {
        let length = (payload.len() + 8) as u16;
        let ports = [ends.from.2.to_be_bytes(), ends.to.2.to_be_bytes()].concat();
        let segment = [&ports[..], &length.to_be_bytes(), &[0, 0], payload].concat();
        self.frame(at_ms, packet(ends, 17, &segment));
    }

    pub fn tcp(&mut self, at_ms: u64, ends: &Ends, flags: u8, numbers: (u32, u32), payload: &[u8]) {
        let ports = [ends.from.2.to_be_bytes(), ends.to.2.to_be_bytes()].concat();
        let numbers = [numbers.0.to_be_bytes(), numbers.1.to_be_bytes()].concat();
        let rest = [0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
        let segment = [&ports[..], &numbers, &rest, payload].concat();
        self.frame(at_ms, packet(ends, 6, &segment));
    }

    /// A whole TCP conversation of one question and one answer, a millisecond a segment.
    pub fn talk(&mut self, at_ms: u64, ends: &Ends, question: &[u8], answer: &[u8]) {
        let back = Ends { from: ends.to, to: ends.from, ttl: 57 };
        self.tcp(at_ms, ends, 2, (100, 0), b"");
        self.tcp(at_ms + 1, &back, 0x12, (500, 101), b"");
        self.tcp(at_ms + 2, ends, 0x10, (101, 501), b"");
        let (mut up, mut at) = (101, at_ms + 3);
        for part in question.chunks(1_400) {
            self.tcp(at, ends, 0x18, (up, 501), part);
            up += part.len() as u32;
            at += 1;
        }
        let mut down = 501;
        for part in answer.chunks(1_400) {
            self.tcp(at, &back, 0x18, (down, up), part);
            down += part.len() as u32;
            at += 1;
        }
        self.tcp(at, ends, 0x11, (up, down), b"");
        self.tcp(at + 1, &back, 0x11, (down, up + 1), b"");
    }

    /// A use of an AI service in clear.
    pub fn ask(&mut self, at_ms: u64, from: (Mac, IpAddr, u16), ttl: u8, host: &str, extra: &str) {
        let to = if from.1.is_ipv4() { SERVER } else { v4("2001:db8:ffff::80") };
        let ends = Ends { from, to: (ROUTER, to, 80), ttl };
        let body = "x".repeat(4_000);
        let question = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n{extra}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = "y".repeat(6_000);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        self.talk(at_ms, &ends, question.as_bytes(), answer.as_bytes());
    }

    /// A lease: what the client asks and the server grants.
    pub fn dhcp(&mut self, at_ms: u64, client: Mac, addr: Ipv4Addr, name: &str, lease_s: u32) {
        let server = Ipv4Addr::new(10, 0, 0, 1);
        let message = |op: u8, kind: u8, your: Ipv4Addr| {
            let mut m = vec![op, 1, 6, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];
            m.extend(your.octets());
            m.extend([0; 8]);
            m.extend(client);
            m.extend([0; 10 + 64 + 128]);
            m.extend([0x63, 0x82, 0x53, 0x63, 53, 1, kind]);
            if op == 1 {
                m.extend([50, 4]);
                m.extend(addr.octets());
                m.extend([12, name.len() as u8]);
                m.extend(name.as_bytes());
                m.extend([60, 8]);
                m.extend(b"MSFT 5.0");
            } else {
                m.extend([51, 4]);
                m.extend(lease_s.to_be_bytes());
            }
            m.push(255);
            m
        };
        let up = Ends {
            from: (client, Ipv4Addr::UNSPECIFIED.into(), 68),
            to: ([0xff; 6], Ipv4Addr::BROADCAST.into(), 67),
            ttl: 64,
        };
        let down =
            Ends { from: (ROUTER, server.into(), 67), to: (client, addr.into(), 68), ttl: 64 };
        self.udp(at_ms, &up, &message(1, 3, Ipv4Addr::UNSPECIFIED));
        self.udp(at_ms + 1, &down, &message(2, 5, addr));
    }

    /// Who has `addr`? `owner` has.
    pub fn arp(&mut self, at_ms: u64, owner: Mac, addr: Ipv4Addr) {
        let mut frame = [&[0xff; 6][..], &owner, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
        frame.extend(owner);
        frame.extend(addr.octets());
        frame.extend(ROUTER);
        frame.extend([10, 0, 0, 1]);
        frame.resize(60, 0);
        self.frame(at_ms, frame);
    }

    /// A neighbour advertisement with the target's link address.
    pub fn ndp(&mut self, at_ms: u64, owner: Mac, addr: Ipv6Addr) {
        let mut body = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
        body.extend(addr.octets());
        body.extend([2, 1]);
        body.extend(owner);
        let to: Ipv6Addr = "ff02::1".parse().expect("an address");
        let ends = Ends {
            from: (owner, addr.into(), 0),
            to: ([0x33, 0x33, 0, 0, 0, 1], to.into(), 0),
            ttl: 255,
        };
        self.frame(at_ms, packet(&ends, 58, &body));
    }

    /// A ticket that a KDC grants.
    pub fn kerberos(&mut self, at_ms: u64, from: (Mac, IpAddr), user: &str) {
        let der = |tag: u8, body: &[u8]| {
            let length = (body.len() as u16).to_be_bytes();
            [&[tag, 0x82][..], &length, body].concat()
        };
        let text = |t: &str| der(0x1b, t.as_bytes());
        let name =
            der(0x30, &[der(0xa0, &der(2, &[1])), der(0xa1, &der(0x30, &text(user)))].concat());
        let fields = [
            der(0xa0, &der(2, &[5])),
            der(0xa1, &der(2, &[11])),
            der(0xa3, &text("CORP.TEST")),
            der(0xa4, &name),
        ];
        let reply = der(0x6b, &der(0x30, &fields.concat()));
        let kdc = v4("10.0.0.2");
        let down = Ends { from: (ROUTER, kdc, 88), to: (from.0, from.1, 50_088), ttl: 128 };
        self.udp(at_ms, &down, &reply);
    }

    /// A message of RADIUS from an access server.
    pub fn radius(&mut self, at_ms: u64, code: u8, attributes: &[(u8, Vec<u8>)]) {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend([*kind, value.len() as u8 + 2]);
            body.extend(value);
        }
        let length = (body.len() as u16 + 20).to_be_bytes();
        let message = [&[code, 7][..], &length, &[9; 16], &body].concat();
        let ends = Ends {
            from: (mac(0xfff0), v4("10.0.0.3"), 40_000),
            to: (mac(0xfff1), v4("10.0.0.4"), if code == 4 { 1813 } else { 1812 }),
            ttl: 64,
        };
        self.udp(at_ms, &ends, &message);
    }

    /// A question of DNS.
    pub fn dns(&mut self, at_ms: u64, from: (Mac, IpAddr), name: &str) {
        let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(label.len() as u8);
            message.extend(label.as_bytes());
        }
        message.extend([0, 0, 1, 0, 1]);
        let ends =
            Ends { from: (from.0, from.1, 53_000), to: (ROUTER, v4("10.0.0.1"), 53), ttl: 64 };
        self.udp(at_ms, &ends, &message);
    }
}

/// Ethernet and IP around a segment.
fn packet(ends: &Ends, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let mut frame = [ends.to.0, ends.from.0].concat();
    match (ends.from.1, ends.to.1) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((segment.len() as u16 + 20).to_be_bytes());
            frame.extend([0, 1, 0x40, 0, ends.ttl, protocol, 0, 0]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((segment.len() as u16).to_be_bytes());
            frame.extend([protocol, ends.ttl]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        _ => panic!("both ends are of one family"),
    }
    frame.extend(segment);
    frame
}
