//! Capture files: where each frame lies and what the file says of it.
//!
//! In: the bytes of a file, chunk by chunk, each chunk beginning with what the last left over.
//! Out: frames that point into the chunk, or the fault that ends the file.
//! Never: copies a frame, or believes a length above [`BLOCK_MAX`].
//! Limits: [`RECORD_MAX`], [`BLOCK_MAX`], [`INTERFACES_MAX`].
//! Source: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng; pcap-savefile(5).

use crate::types::Timestamp;
use crate::watcher::packet::Frame;

/// Longest frame that a file may hold unless its header names a longer snap length; libpcap's
/// own limit. A length above it means that the file is corrupt there.
pub const RECORD_MAX: u32 = 262_144;

/// Longest record or pcapng block at all; USB captures come near. It bounds a read buffer.
pub const BLOCK_MAX: u32 = 16 << 20;

/// Interfaces of one pcapng section; merges of many captures come to some hundreds.
pub const INTERFACES_MAX: usize = 65_536;

/// Octets needed to recognise any format.
pub const MAGIC_LEN: usize = 16;

/// Why the rest of a file was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Octets from the start of the capture (of the decompressed one, if it was compressed).
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

/// What the first octets of a file say that it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Format {
    /// One of the pcap family.
    Pcap(Variant),
    /// pcapng.
    Pcapng,
    /// Compressed with gzip.
    Gzip,
    /// Compressed with Zstandard.
    Zstd,
    /// Compressed with lz4.
    Lz4,
    /// Compressed with xz.
    Xz,
    /// Something whose name we know and that we do not read.
    Known(&'static str),
    /// No capture that we know of.
    Unknown,
}

/// Member of the pcap family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    order: Order,
    /// Nanoseconds in one unit of the second time field.
    unit: u32,
    /// Octets of a record header.
    header: u8,
    /// Octets of the file header.
    file_header: u8,
}

/// Order of the octets in a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u16(self, octets: [u8; 2]) -> u16 {
        match self {
            Order::Big => u16::from_be_bytes(octets),
            Order::Little => u16::from_le_bytes(octets),
        }
    }

    fn u32(self, octets: [u8; 4]) -> u32 {
        match self {
            Order::Big => u32::from_be_bytes(octets),
            Order::Little => u32::from_le_bytes(octets),
        }
    }

    /// The 32-bit number at `at`.
    fn at(self, bytes: &[u8], at: usize) -> Option<u32> {
        Some(self.u32(*bytes.get(at..)?.first_chunk()?))
    }
}

/// What other formats begin with.
const KNOWN: &[(&[u8], &str)] = &[
    (b"snoop\0\0\0", "a snoop capture"),
    (b"btsnoop\0", "a Bluetooth HCI capture"),
    (b"RTSS", "a Network Monitor capture"),
    (b"GMBU", "a Network Monitor capture"),
    (b"TRSNIFF data", "a Sniffer capture"),
    (b"XCP\0", "a Sniffer for Windows capture"),
    (b"\x7fver", "a WildPackets capture"),
    (b"iptrace", "an iptrace capture"),
    (b"\x05VNF", "a Visual Networks capture"),
    (b"BZh", "compressed with bzip2"),
    (b"\x02\x21\x4c\x18", "compressed with lz4 in its oldest form"),
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
];

/// Tells a format by its first octets.
pub fn recognise(head: &[u8]) -> Format {
    let Some(&magic) = head.first_chunk::<4>() else { return Format::Unknown };
    for order in [Order::Big, Order::Little] {
        let (unit, header, file_header) = match order.u32(magic) {
            0xa1b2_c3d4 => (1000, 16, 24),
            0xa1b2_3c4d => (1, 16, 24),
            // Kuznetsov's: interface, protocol and type behind the usual fields.
            0xa1b2_cd34 => (1000, 24, 24),
            // Ixia hardware and software: the file header is followed by the size of all records.
            0x1c00_01ac | 0x1c00_01ab => (1, 16, 28),
            0xa12b_3c4d => return Format::Known("a Navtel variant of pcap"),
            _ => continue,
        };
        return Format::Pcap(Variant { order, unit, header, file_header });
    }
    match magic {
        [0x0a, 0x0d, 0x0d, 0x0a] => Format::Pcapng,
        [0x1f, 0x8b, 0x08, _] => Format::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Format::Zstd,
        [0x04, 0x22, 0x4d, 0x18] => Format::Lz4,
        [0xfd, b'7', b'z', b'X'] if head.starts_with(b"\xfd7zXZ\0") => Format::Xz,
        _ => KNOWN
            .iter()
            .find(|(magic, _)| head.starts_with(magic))
            .map_or(Format::Unknown, |(_, name)| Format::Known(name)),
    }
}

/// Why a walk stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bytes end inside a record that begins where the walk stopped and is so long.
    More(usize),
    /// Offset of the fault in the chunk, and what it is.
    Fault(usize, String),
}

/// Reader of one file's records.
#[derive(Debug)]
pub struct Walker {
    kind: Kind,
    input: u16,
    /// Frames so far.
    pub frames: u64,
    /// Octets of frames on the wire so far.
    pub wire: u64,
    /// Link types seen, in order of appearance.
    pub links: Vec<u16>,
    /// Time of the last frame that had one; simple packet blocks have none.
    time: Timestamp,
}

#[derive(Debug)]
enum Kind {
    /// Before the file header.
    PcapStart(Variant),
    Pcap(Pcap),
    Pcapng(Section),
}

#[derive(Clone, Copy, Debug)]
struct Pcap {
    variant: Variant,
    link: u16,
    record_max: u32,
}

#[derive(Debug)]
struct Section {
    /// Nothing before the first section header.
    order: Option<Order>,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u16,
    snaplen: u32,
    scale: Scale,
    offset_s: i64,
}

/// How to make nanoseconds of an interface's time unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// Nanoseconds in a unit.
    Times(u64),
    /// Units in a nanosecond.
    Per(u64),
    /// Units in a second, a power of two by its exponent.
    Binary(u8),
}

/// Link types that one report lists; more distinct ones are no capture of a network.
const LINKS_MAX: usize = 64;

impl Walker {
    /// A reader from the first octet of a pcap file.
    pub fn pcap(variant: Variant, input: u16) -> Self {
        Self::new(Kind::PcapStart(variant), input)
    }

    /// A reader from the first octet of a pcapng file.
    pub fn pcapng(input: u16) -> Self {
        Self::new(Kind::Pcapng(Section { order: None, interfaces: Vec::new() }), input)
    }

    fn new(kind: Kind, input: u16) -> Self {
        let (frames, wire, links, time) = (0, 0, Vec::new(), Timestamp::default());
        Self { kind, input, frames, wire, links, time }
    }

    /// `true` once the file header is read.
    pub fn started(&self) -> bool {
        match &self.kind {
            Kind::PcapStart(_) => false,
            Kind::Pcap(_) => true,
            Kind::Pcapng(section) => section.order.is_some(),
        }
    }

    /// Appends the frames of all whole records in `bytes`, and says how far that went and why no
    /// further.
    pub fn walk(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> (usize, Stop) {
        match &mut self.kind {
            Kind::PcapStart(variant) => {
                let variant = *variant;
                match pcap_header(variant, bytes) {
                    Ok(pcap) => {
                        self.kind = Kind::Pcap(pcap);
                        note_link(&mut self.links, pcap.link);
                        self.pcap_records(pcap, bytes, variant.file_header.into(), frames)
                    }
                    Err(stop) => (0, stop),
                }
            }
            Kind::Pcap(pcap) => {
                let pcap = *pcap;
                self.pcap_records(pcap, bytes, 0, frames)
            }
            Kind::Pcapng(_) => self.blocks(bytes, frames),
        }
    }

    fn pcap_records(
        &mut self,
        pcap: Pcap,
        bytes: &[u8],
        from: usize,
        frames: &mut Vec<Frame>,
    ) -> (usize, Stop) {
        let Variant { order, unit, header, .. } = pcap.variant;
        let header = usize::from(header);
        let mut at = from;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let (Some(h), true) = (rest.first_chunk::<16>(), rest.len() >= header) else {
                return (at, Stop::More(header));
            };
            let [seconds, fraction, captured, wire] = [
                [h[0], h[1], h[2], h[3]],
                [h[4], h[5], h[6], h[7]],
                [h[8], h[9], h[10], h[11]],
                [h[12], h[13], h[14], h[15]],
            ]
            .map(|field| order.u32(field));
            if captured > pcap.record_max {
                let reason = format!("record of {captured} bytes, more than a frame can have");
                return (at, Stop::Fault(at, reason));
            }
            let start = at.wrapping_add(header);
            let end = start.wrapping_add(captured as usize);
            if end > bytes.len() {
                return (at, Stop::More(end.wrapping_sub(at)));
            }
            // Both factors are below 2^32: neither product nor sum can overflow 64 bits.
            let time = u64::from(seconds)
                .wrapping_mul(Timestamp::SECOND)
                .wrapping_add(u64::from(fraction).wrapping_mul(u64::from(unit)));
            let wire = wire.max(captured);
            self.frames = self.frames.wrapping_add(1);
            self.wire = self.wire.wrapping_add(u64::from(wire));
            frames.push(Frame {
                time: Timestamp(time),
                now: Timestamp(time),
                number: self.frames,
                offset: u32_of(start),
                captured,
                wire,
                chunk: 0,
                input: self.input,
                link: pcap.link,
            });
            at = end;
        }
    }

    fn blocks(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> (usize, Stop) {
        let mut at = 0_usize;
        loop {
            match self.block(bytes, at, frames) {
                Ok(len) => at = at.saturating_add(len),
                Err(stop) => return (at, stop),
            }
        }
    }

    /// Reads the block at `at`; its length, or why it cannot be read.
    fn block(&mut self, bytes: &[u8], at: usize, frames: &mut Vec<Frame>) -> Result<usize, Stop> {
        let Kind::Pcapng(section) = &mut self.kind else { return Err(fault(at, "not pcapng")) };
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(head) = rest.first_chunk::<12>() else { return Err(Stop::More(12)) };
        let kind = [head[0], head[1], head[2], head[3]];
        // The section header's type reads the same in both orders, and its magic says which holds.
        let starts = kind == [0x0a, 0x0d, 0x0d, 0x0a];
        let order = match ([head[8], head[9], head[10], head[11]], section.order) {
            ([0x1a, 0x2b, 0x3c, 0x4d], _) if starts => Order::Big,
            ([0x4d, 0x3c, 0x2b, 0x1a], _) if starts => Order::Little,
            (_, Some(order)) if !starts => order,
            _ => return Err(fault(at, "section header without its byte-order magic")),
        };
        let len = order.u32([head[4], head[5], head[6], head[7]]);
        if len < 12 || len % 4 != 0 || len > BLOCK_MAX {
            return Err(Stop::Fault(at, format!("block length {len} cannot be")));
        }
        let len = len as usize;
        let Some(block) = rest.get(..len) else { return Err(Stop::More(len)) };
        if order.at(block, len.saturating_sub(4)) != Some(u32_of(len)) {
            return Err(fault(at, "the two lengths of a block differ"));
        }
        let body = block.get(8..len.saturating_sub(4)).unwrap_or_default();
        if starts {
            *section = section_header(order, body).ok_or_else(|| {
                fault(at, "section header too short, or of a version other than 1")
            })?;
            return Ok(len);
        }
        let short = || fault(at, "block too short for its type");
        let found = match order.u32(kind) {
            1 => {
                if section.interfaces.len() >= INTERFACES_MAX {
                    return Err(fault(at, "too many interfaces"));
                }
                let interface = interface(order, body).ok_or_else(short)?;
                note_link(&mut self.links, interface.link);
                section.interfaces.push(interface);
                None
            }
            2 => {
                let id = body.first_chunk().map(|id| u32::from(order.u16(*id)));
                Some((id, order.at(body, 4), order.at(body, 8), order.at(body, 12), 20_u32))
            }
            3 => Some((Some(0), None, None, None, 4)),
            6 => {
                let id = order.at(body, 0);
                Some((id, order.at(body, 4), order.at(body, 8), order.at(body, 12), 20))
            }
            _ => None,
        };
        let Some((id, high, low, captured, skip)) = found else { return Ok(len) };
        let id = id.ok_or_else(short)?;
        let interface = usize::try_from(id).ok().and_then(|id| section.interfaces.get(id));
        let interface = interface.ok_or_else(|| {
            Stop::Fault(at, format!("packet of interface {id}, which is not there"))
        })?;
        let wire = order.at(body, skip.saturating_sub(4) as usize).ok_or_else(short)?;
        let (time, captured) = if skip == 4 {
            let cut = if interface.snaplen == 0 { wire } else { wire.min(interface.snaplen) };
            (self.time, cut)
        } else {
            let (high, low) = (high.ok_or_else(short)?, low.ok_or_else(short)?);
            let units = u64::from(high) << 32 | u64::from(low);
            (interface.time(units), captured.ok_or_else(short)?)
        };
        if captured > u32_of(body.len()).saturating_sub(skip) {
            return Err(fault(at, "packet longer than its block"));
        }
        self.time = time;
        let wire = wire.max(captured);
        self.frames = self.frames.saturating_add(1);
        self.wire = self.wire.saturating_add(u64::from(wire));
        frames.push(Frame {
            time,
            now: time,
            number: self.frames,
            offset: u32_of(at).saturating_add(8).saturating_add(skip),
            captured,
            wire,
            chunk: 0,
            input: self.input,
            link: interface.link,
        });
        Ok(len)
    }
}

fn pcap_header(variant: Variant, bytes: &[u8]) -> Result<Pcap, Stop> {
    let len = usize::from(variant.file_header);
    let more = || Stop::More(len);
    if bytes.len() < len {
        return Err(more());
    }
    let order = variant.order;
    let major = bytes.get(4..).and_then(<[u8]>::first_chunk).ok_or_else(more)?;
    let snaplen = order.at(bytes, 16).ok_or_else(more)?;
    let network = order.at(bytes, 20).ok_or_else(more)?;
    if order.u16(*major) != 2 {
        return Err(Stop::Fault(4, format!("pcap version {} is not 2", order.u16(*major))));
    }
    // The upper half holds flags and the length of the frame check sequence.
    let [_, _, high, low] = network.to_be_bytes();
    let link = u16::from_be_bytes([high, low]);
    Ok(Pcap { variant, link, record_max: snaplen.clamp(RECORD_MAX, BLOCK_MAX) })
}

fn section_header(order: Order, body: &[u8]) -> Option<Section> {
    let major = order.u16(*body.get(4..)?.first_chunk()?);
    let len = body.len() >= 16;
    (major == 1 && len).then(|| Section { order: Some(order), interfaces: Vec::new() })
}

fn interface(order: Order, body: &[u8]) -> Option<Interface> {
    let link = order.u16(*body.first_chunk()?);
    let snaplen = order.at(body, 4)?;
    let mut interface = Interface { link, snaplen, scale: Scale::Times(1000), offset_s: 0 };
    let mut options = body.get(8..)?;
    // Bounded by the block's length: every option takes four octets at least.
    while let Some(&[a, b, c, d]) = options.first_chunk() {
        let (code, len) = (order.u16([a, b]), usize::from(order.u16([c, d])));
        let Some(value) = options.get(4..).and_then(|v| v.get(..len)) else { break };
        match (code, value) {
            (0, _) => break,
            (9, [unit]) => interface.scale = scale(*unit),
            (14, value) => {
                if let Some(&seconds) = value.first_chunk() {
                    interface.offset_s = match order {
                        Order::Big => i64::from_be_bytes(seconds),
                        Order::Little => i64::from_le_bytes(seconds),
                    };
                }
            }
            _ => {}
        }
        options = options.get(len.next_multiple_of(4).saturating_add(4)..).unwrap_or_default();
    }
    Some(interface)
}

/// `if_tsresol`: a power of ten, or of two if the top bit is set.
fn scale(unit: u8) -> Scale {
    let power = u32::from(unit & 0x7f);
    if unit & 0x80 != 0 {
        return Scale::Binary(unit & 0x7f);
    }
    match power.checked_sub(9) {
        None | Some(0) => Scale::Times(10_u64.saturating_pow(9_u32.saturating_sub(power))),
        Some(finer) => Scale::Per(10_u64.saturating_pow(finer)),
    }
}

impl Interface {
    fn time(&self, units: u64) -> Timestamp {
        let ns = match self.scale {
            Scale::Times(n) => units.saturating_mul(n),
            Scale::Per(n) => units.checked_div(n).unwrap_or(0),
            Scale::Binary(power) => {
                let ns = u128::from(units).saturating_mul(u128::from(Timestamp::SECOND));
                let ns = ns.checked_shr(power.into()).unwrap_or(0);
                u64::try_from(ns).unwrap_or(u64::MAX)
            }
        };
        let offset = self.offset_s.unsigned_abs().saturating_mul(Timestamp::SECOND);
        let ns =
            if self.offset_s < 0 { ns.saturating_sub(offset) } else { ns.saturating_add(offset) };
        Timestamp(ns)
    }
}

fn note_link(links: &mut Vec<u16>, link: u16) {
    if links.len() < LINKS_MAX && !links.contains(&link) {
        links.push(link);
    }
}

fn fault(at: usize, reason: &str) -> Stop {
    Stop::Fault(at, reason.to_owned())
}

/// Offsets in a chunk are below [`BLOCK_MAX`] and some; the fallback is never met.
fn u32_of(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
