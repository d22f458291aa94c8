//! Frames and capture files, written by hand: Ethernet, IPv4, TCP, UDP with right checksums.
//!
//! In: fields. Out: frames, pcap files. Never: reads what it cannot have written, but for the office.
//! Source: RFC 791, RFC 9293, RFC 768, RFC 1071 and 1624 for checksums, the pcap format.

use std::fs::File;
use std::io::{self, BufWriter, Write};

/// TCP flags.
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Shortest frame without its check sequence.
const FRAME_MIN: usize = 60;

/// Numbers that only look random: the same on every machine.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (`SplitMix64`).
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        stir(self.0)
    }

    /// A number under `end`.
    pub fn under(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }
}

/// One number to another that shares nothing visible with it.
pub fn stir(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// One direction between two ends.
#[derive(Clone, Copy)]
pub struct Path {
    pub from: ([u8; 4], u16),
    pub to: ([u8; 4], u16),
}

impl Path {
    /// The other direction.
    pub fn back(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

/// A TCP segment as a frame.
pub fn tcp(frame: &mut Vec<u8>, path: Path, (seq, ack): (u32, u32), flags: u8, payload: &[u8]) {
    let at = ip(frame, path, TCP, 20 + payload.len());
    frame.extend(path.from.1.to_be_bytes());
    frame.extend(path.to.1.to_be_bytes());
    frame.extend(seq.to_be_bytes());
    frame.extend(ack.to_be_bytes());
    frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend(payload);
    seal(frame, at, 16, TCP);
}

/// A UDP datagram as a frame.
pub fn udp(frame: &mut Vec<u8>, path: Path, payload: &[u8]) {
    let at = ip(frame, path, UDP, 8 + payload.len());
    frame.extend(path.from.1.to_be_bytes());
    frame.extend(path.to.1.to_be_bytes());
    frame.extend((8 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    seal(frame, at, 6, UDP);
}

/// Ethernet and IPv4 in front of `bytes` more; where those begin.
fn ip(frame: &mut Vec<u8>, path: Path, protocol: u8, bytes: usize) -> usize {
    frame.clear();
    // Locally administered, one for each address, so that devices can be told apart.
    for ([a, b, c, d], _) in [path.to, path.from] {
        frame.extend([2, 0, a, b, c, d]);
    }
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((20 + bytes as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend(path.from.0);
    frame.extend(path.to.0);
    let sum = fold(sum(0, &frame[14..34]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    34
}

/// Writes the checksum and fills the frame up.
fn seal(frame: &mut Vec<u8>, at: usize, place: usize, protocol: u8) {
    let pseudo = sum(u32::from(protocol) + (frame.len() - at) as u32, &frame[26..34]);
    let total = match fold(sum(pseudo, &frame[at..])) {
        0 if protocol == UDP => 0xffff,
        total => total,
    };
    frame[at + place..at + place + 2].copy_from_slice(&total.to_be_bytes());
    frame.resize(frame.len().max(FRAME_MIN), 0);
}

fn sum(begin: u32, bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    words.fold(begin, |total, word| {
        let total = total + word;
        (total & 0xffff) + (total >> 16)
    })
}

fn fold(total: u32) -> u16 {
    !(((total & 0xffff) + (total >> 16)) as u16)
}

/// Mends a checksum for words that changed (RFC 1624 §3).
pub fn mend(sum: &mut [u8], old: &[u8], new: &[u8]) {
    let mut total = u32::from(!u16::from_be_bytes([sum[0], sum[1]]));
    for (o, n) in old.chunks(2).zip(new.chunks(2)) {
        total += u32::from(!u16::from_be_bytes([o[0], o[1]]));
        total += u32::from(u16::from_be_bytes([n[0], n[1]]));
    }
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    sum.copy_from_slice(&(!(total as u16)).to_be_bytes());
}

/// A frame of a capture: nanoseconds, what was captured, how long it was.
pub struct Recorded {
    pub at: u64,
    pub bytes: Vec<u8>,
    pub wire: u32,
}

/// Reads a little-endian pcap file of microseconds or nanoseconds.
pub fn read(path: &str) -> io::Result<Vec<Recorded>> {
    let file = std::fs::read(path)?;
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?))
    };
    let unit = match word(0) {
        Some(0xa1b2_c3d4) => 1_000,
        Some(0xa1b2_3c4d) => 1,
        _ => return Err(io::Error::other(format!("{path}: no pcap file of this machine's order"))),
    };
    let (mut at, mut frames) = (24, Vec::new());
    while let (Some(second), Some(part), Some(kept), Some(wire)) =
        (word(at), word(at + 4), word(at + 8), word(at + 12))
        && let Some(bytes) = file.get(at + 16..at + 16 + kept as usize)
    {
        let at_ns = u64::from(second) * 1_000_000_000 + u64::from(part) * unit;
        frames.push(Recorded { at: at_ns, bytes: bytes.to_vec(), wire });
        at += 16 + kept as usize;
    }
    Ok(frames)
}

/// A capture being written, and the names in it.
pub struct Capture {
    path: String,
    file: BufWriter<File>,
    names: std::collections::BTreeMap<String, u64>,
    pub frames: u64,
    bytes: u64,
}

impl Capture {
    pub fn create(path: &str) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            file.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { path: path.to_owned(), file, names: Default::default(), frames: 0, bytes: 0 })
    }

    /// Writes a frame of `wire` bytes; `at` is in nanoseconds.
    pub fn frame(&mut self, at: u64, bytes: &[u8], wire: u32) -> io::Result<()> {
        let mut head = [0; 16];
        head[..4].copy_from_slice(&((at / 1_000_000_000) as u32).to_le_bytes());
        head[4..8].copy_from_slice(&((at % 1_000_000_000 / 1_000) as u32).to_le_bytes());
        head[8..12].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        head[12..].copy_from_slice(&wire.to_le_bytes());
        self.file.write_all(&head)?;
        self.file.write_all(bytes)?;
        self.frames += 1;
        self.bytes += u64::from(wire);
        Ok(())
    }

    /// One more flow has this name.
    pub fn name(&mut self, name: String) {
        *self.names.entry(name).or_default() += 1;
    }

    /// Writes what is left; what was made, as JSON.
    pub fn finish(mut self, flows: u64) -> io::Result<String> {
        self.file.flush()?;
        let named: u64 = self.names.values().sum();
        if named > 0 {
            let mut beside = BufWriter::new(File::create(format!("{}.names", self.path))?);
            for (name, count) in &self.names {
                writeln!(beside, "{count}\t{name}")?;
            }
            beside.flush()?;
        }
        let Self { frames, bytes, names, .. } = self;
        let distinct = names.len();
        Ok(format!(
            r#"{{"frames": {frames}, "bytes": {bytes}, "flows": {flows}, "named": {named}, "names": {distinct}}}"#
        ))
    }
}
