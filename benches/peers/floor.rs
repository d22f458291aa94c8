//! The least that reading a capture can cost: walking its frames, and counting them by flow.
//!
//! In: a pcap file of this machine's byte order, Ethernet. Out: counts.
//! Never: reads names, checks anything, ends a flow, orders segments: what a sensor is for.

use std::fs::File;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use ring::{aead, hkdf};

use crate::forge;
use crate::pages::Room;
use crate::prefetch::prefetch;

/// Octets read at a time.
const CHUNK: usize = 1 << 20;

/// Frames whose lines are fetched before the first is touched.
const BATCH: usize = 32;

/// Lines of the smallest table.
const LINES: usize = 1 << 12;

/// Hands every frame of a capture on, until all are through.
fn frames(path: &str, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK];
    let (mut have, mut at) = (0, 24);
    loop {
        let read = file.read(&mut chunk[have..])?;
        if read == 0 {
            return Ok(());
        }
        have += read;
        while let Some(head) = chunk.get(at..have).and_then(|c| c.first_chunk::<16>()) {
            let kept = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
            let Some(frame) = chunk.get(at + 16..(at + 16 + kept).min(have)) else { break };
            if frame.len() < kept {
                break;
            }
            each(frame);
            at += 16 + kept;
        }
        let rest = at.min(have);
        chunk.copy_within(rest..have, 0);
        have -= rest;
        at -= rest;
    }
}

/// Reads a little of each frame.
pub fn walk(path: &str) -> io::Result<String> {
    let (mut count, mut bytes, mut mixed) = (0_u64, 0_u64, 0_u64);
    frames(path, |frame| {
        count += 1;
        bytes += frame.len() as u64;
        if let Some(word) = frame.get(26..).and_then(|f| f.first_chunk()) {
            mixed = mixed.wrapping_add(u64::from_le_bytes(*word));
        }
    })?;
    Ok(format!(r#"{{"frames": {count}, "bytes": {bytes}, "mixed": {mixed}}}"#))
}

/// A flow: one cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Line {
    key: (u64, u64),
    frames: [u32; 2],
    bytes: [u64; 2],
}

/// What counting needs of a frame.
#[derive(Clone, Copy, Default)]
pub struct Ends {
    key: (u64, u64),
    side: usize,
    hash: u64,
    bytes: u64,
}

impl Ends {
    /// Ethernet with at most two tags, IPv4 or IPv6, the ports; nothing else is looked at.
    #[inline]
    pub fn of(frame: &[u8]) -> Option<Self> {
        let mut at = 12;
        while let [0x81, 0] | [0x88, 0xa8] = frame.get(at..at + 2)? {
            at += 4;
        }
        let (from, to, protocol, ports) = match frame.get(at..at + 2)? {
            [8, 0] => {
                let ip = frame.get(at + 2..)?.first_chunk::<20>()?;
                let address = |o: usize| {
                    u64::from(u32::from_be_bytes([ip[o], ip[o + 1], ip[o + 2], ip[o + 3]]))
                };
                (address(12), address(16), ip[9], at + 2 + usize::from(ip[0] & 15) * 4)
            }
            [0x86, 0xdd] => {
                let ip = frame.get(at + 2..)?.first_chunk::<40>()?;
                let half = |o: usize| ip[o..].first_chunk().map_or(0, |w| u64::from_le_bytes(*w));
                // Folded: enough for a floor.
                let fold = |o| stir(half(o), half(o + 8)) >> 16;
                (fold(8), fold(24), ip[6], at + 42)
            }
            _ => return None,
        };
        let (a, b) = match (protocol, frame.get(ports..).and_then(|f| f.first_chunk::<4>())) {
            (6 | 17, Some([a, b, c, d])) => {
                (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))
            }
            _ => (0, 0),
        };
        let (from, to) = (from << 16 | u64::from(a), to << 16 | u64::from(b));
        let (low, high) = (from.min(to), from.max(to));
        // No key is zero, which marks a free line.
        let key = (low, high ^ u64::from(protocol) << 56 | 1 << 55);
        Some(Self {
            key,
            side: usize::from(from > to),
            hash: stir(key.0, key.1),
            bytes: frame.len() as u64,
        })
    }
}

#[inline]
fn stir(a: u64, b: u64) -> u64 {
    let wide = u128::from(a ^ 0xa076_1d64_78bd_642f) * u128::from(b ^ 0xe703_7ed1_a0b4_28db);
    (wide >> 64) as u64 ^ wide as u64
}

/// Flows by their ends, in an open table that doubles at seven eighths.
pub struct Table {
    lines: Room<Line>,
    waiting: [Ends; BATCH],
    fetched: usize,
    pub flows: usize,
}

impl Table {
    /// A table that so many flows fill to a half at most, so that it need not grow.
    pub fn new(flows: u64) -> Self {
        let lines = (flows as usize).saturating_mul(2).next_power_of_two().max(LINES);
        let lines = Room::new(Line::default(), lines, 0);
        Self { lines, waiting: [Ends::default(); BATCH], fetched: 0, flows: 0 }
    }

    /// Counts a frame, some frames later.
    #[inline]
    pub fn count(&mut self, ends: Ends) {
        prefetch(&self.lines[ends.hash as usize & (self.lines.len() - 1)]);
        self.waiting[self.fetched] = ends;
        self.fetched += 1;
        if self.fetched == BATCH {
            self.settle();
        }
    }

    /// Counts what waits.
    pub fn settle(&mut self) {
        for ends in self.waiting.into_iter().take(std::mem::take(&mut self.fetched)) {
            let line = self.line(ends.key, ends.hash);
            line.frames[ends.side] += 1;
            line.bytes[ends.side] += ends.bytes;
        }
    }

    #[inline]
    fn line(&mut self, key: (u64, u64), hash: u64) -> &mut Line {
        if self.flows * 8 >= self.lines.len() * 7 {
            self.double();
        }
        let mask = self.lines.len() - 1;
        let mut at = hash as usize & mask;
        while self.lines[at].key != key && self.lines[at].key != (0, 0) {
            at = (at + 1) & mask;
        }
        let line = &mut self.lines[at];
        if line.key == (0, 0) {
            line.key = key;
            self.flows += 1;
        }
        line
    }

    #[cold]
    fn double(&mut self) {
        let twice = Room::new(Line::default(), self.lines.len() * 2, 0);
        let old = std::mem::replace(&mut self.lines, twice);
        self.flows = 0;
        for line in old.iter().filter(|l| l.key != (0, 0)) {
            *self.line(line.key, stir(line.key.0, line.key.1)) = *line;
        }
    }
}

/// Counts frames and bytes of each flow, of which there are about so many.
pub fn flow(path: &str, flows: u64) -> io::Result<String> {
    let mut table = Table::new(flows);
    let (mut count, mut bytes) = (0_u64, 0_u64);
    frames(path, |frame| {
        count += 1;
        bytes += frame.len() as u64;
        if let Some(ends) = Ends::of(frame) {
            table.count(ends);
        }
    })?;
    table.settle();
    Ok(format!(r#"{{"frames": {count}, "bytes": {bytes}, "flows": {}}}"#, table.flows))
}

/// Derives the keys of each client's Initial and opens it, once.
pub fn initials(path: &str) -> io::Result<String> {
    let (mut opened, mut spent) = (0_u64, Duration::ZERO);
    frames(path, |frame| {
        let Some(payload) = frame.get(42..).filter(|p| p.len() >= 1_200 && frame[23] == 17) else {
            return;
        };
        let version = u32::from_be_bytes([payload[1], payload[2], payload[3], payload[4]]);
        let initial = match version {
            forge::V1 => 0xc0,
            forge::V2 => 0xd0,
            _ => return,
        };
        if payload[0] & 0xf0 != initial {
            return;
        }
        let begun = Instant::now();
        opened += u64::from(open(version, payload).is_some());
        spent += begun.elapsed();
    })?;
    let each = spent.as_nanos() as u64 / opened.max(1);
    Ok(format!(r#"{{"initials": {opened}, "ns_each": {each}}}"#))
}

/// Salts of versions 1 and 2 (RFC 9001 §5.2, RFC 9369 §3.3.1).
const SALT_1: [u8; 20] =
    *b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a";
const SALT_2: [u8; 20] =
    *b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9";

/// Octets of a key to be.
struct Octets(usize);

impl hkdf::KeyType for Octets {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(secret: &hkdf::Prk, label: &str, bytes: usize) -> Option<Vec<u8>> {
    let label = [b"tls13 ", label.as_bytes()].concat();
    let info = [&[0, bytes as u8, label.len() as u8][..], &label, &[0]];
    let mut key = vec![0; bytes];
    secret.expand(&info, Octets(bytes)).ok()?.fill(&mut key).ok()?;
    Some(key)
}

/// The plain text's length, if it opens (RFC 9001 §5).
fn open(version: u32, packet: &[u8]) -> Option<usize> {
    let (salt, label): (&[u8], _) = match version {
        forge::V1 => (&SALT_1, "quic"),
        _ => (&SALT_2, "quicv2"),
    };
    let id = packet.get(6..6 + usize::from(packet[5]))?;
    let secret = expand(&hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(id), "client in", 32)?;
    let secret = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &secret);
    let part = |name: &str, bytes| expand(&secret, &format!("{label} {name}"), bytes);
    let (key, iv, mask) = (part("key", 16)?, part("iv", 12)?, part("hp", 16)?);
    // Ids of our own making: source id, an empty token, a length of two octets.
    let mut at = 6 + id.len();
    at += 1 + usize::from(*packet.get(at)?) + 1;
    let length = usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]) & 0x3fff);
    at += 2;
    let sample = packet.get(at + 4..at + 20)?;
    let mask = aead::quic::HeaderProtectionKey::new(&aead::quic::AES_128, &mask)
        .ok()?
        .new_mask(sample)
        .ok()?;
    let first = packet[0] ^ mask[0] & 0x0f;
    let digits = usize::from(first & 3) + 1;
    let mut head = packet[..at + digits].to_vec();
    head[0] = first;
    let mut nonce: [u8; 12] = iv.try_into().ok()?;
    for place in 0..digits {
        head[at + place] ^= mask[1 + place];
        nonce[12 - digits + place] ^= head[at + place];
    }
    let mut text = packet.get(at + digits..at + length)?.to_vec();
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).ok()?);
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    key.open_in_place(nonce, aead::Aad::from(&head), &mut text).ok().map(|t| t.len())
}
