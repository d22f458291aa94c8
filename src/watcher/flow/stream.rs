//! One direction of a TCP stream, in order, for as long as a parser wants it.
//!
//! In: segments as they were captured. Out: the bytes a parser has not consumed, contiguous.
//! Never: buffers what nobody wants (skipped bodies, a deaf direction), waits without bound.
//! Limits: [`HELD_MAX`], [`WAITING_MAX`], [`WAITING_SEGMENTS_MAX`] a direction.
//! Source: RFC 9293 §3.4 (sequence numbers wrap); overlaps as Linux resolves them: bytes that
//! arrived in order stand, and of queued segments one that covers another replaces it.

use crate::watcher::packet::Packet;

/// Unconsumed bytes held for a parser: the largest hello (64 KiB) and its record headers.
pub const HELD_MAX: usize = 96 << 10;

/// Bytes that the first allocation for held bytes takes at most on the word of a length field: two
/// full segments, as the hellos with post-quantum shares need.
const HELD_FIRST: usize = 3 << 10;

/// Bytes that arrived ahead of a hole.
pub const WAITING_MAX: usize = 96 << 10;

/// Segments ahead of a hole.
pub const WAITING_SEGMENTS_MAX: usize = 128;

/// A jump ahead further than this is no reordering: larger than any receive window in use.
const WINDOW_MAX: u32 = 64 << 20;

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// Its bytes lie in `held`, or can be read from the segment itself from this offset on.
    InOrder(usize),
    /// Nothing new is readable.
    Nothing,
    /// A cap is met: the hole in front will not be waited for any longer.
    Full,
}

/// State of one direction.
#[derive(Debug, Default)]
pub struct Stream {
    /// Sequence number of the first byte not yet in `held`.
    pub next: u32,
    /// `next` is known.
    pub started: bool,
    /// In order, not consumed.
    pub held: Vec<u8>,
    /// Ahead of a hole, sorted by distance from `next`.
    waiting: Vec<(u32, Vec<u8>)>,
    waiting_bytes: usize,
    /// Bytes of `held` at which the parser wants to be called.
    pub need: usize,
    /// Bytes to pass over unseen.
    pub skip: u64,
    /// Nothing is wanted any more.
    pub deaf: bool,
    /// Two copies of a byte differed.
    pub conflict: bool,
}

/// Signed distance from `a` to `b` in sequence space.
fn ahead(a: u32, b: u32) -> i32 {
    b.wrapping_sub(a).cast_signed()
}

/// Bytes from `low` to `high` of a segment that begins at `begin`.
fn part(bytes: &[u8], begin: u32, low: u32, high: u32) -> Option<&[u8]> {
    bytes.get(low.checked_sub(begin)? as usize..high.checked_sub(begin)? as usize)
}

impl Stream {
    /// Bytes of memory that this direction holds.
    pub fn memory(&self) -> usize {
        self.held.capacity().saturating_add(self.waiting_bytes)
    }

    /// `true` if there is a hole with bytes waiting behind it.
    pub fn has_hole(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The other side acknowledged everything up to the first waiting byte: the hole will not
    /// be filled, its bytes are missing in the capture.
    pub fn acknowledged(&self, ack: u32) -> bool {
        self.waiting.first().is_some_and(|(seq, _)| ahead(*seq, ack) >= 0)
    }

    /// Places a segment. The caller reads `InOrder(offset)` bytes directly when `held` is empty,
    /// else after [`Stream::append`].
    pub fn place(&mut self, packet: &Packet, payload: &[u8]) -> Took {
        let syn = packet.flags & crate::watcher::packet::tcp_flags::SYN != 0;
        let seq = packet.seq.wrapping_add(u32::from(syn));
        if !self.started {
            self.started = true;
            self.next = seq;
        }
        let distance = ahead(self.next, seq);
        if self.deaf {
            // Whoever reads next begins behind what was passed over.
            let end = seq.wrapping_add(packet.payload_wire);
            let further = ahead(self.next, end);
            if further > 0 && further.unsigned_abs() <= WINDOW_MAX {
                self.next = end;
            }
            return Took::Nothing;
        }
        if distance <= 0 {
            let known = distance.unsigned_abs() as usize;
            self.compare(known, payload);
            return if known < payload.len() { Took::InOrder(known) } else { Took::Nothing };
        }
        let distance = distance.unsigned_abs();
        if distance > WINDOW_MAX {
            return Took::Nothing;
        }
        if self.skip >= u64::from(distance) && self.held.is_empty() {
            // Bytes that are passed over anyway may be missing.
            self.skip = self.skip.saturating_sub(u64::from(distance));
            self.next = seq;
            return Took::InOrder(0);
        }
        self.wait(seq, payload)
    }

    /// Notes whether a copy of bytes that are still held differs; `known` bytes of it lie before
    /// `next`. A lone byte is a keep-alive probe, whose content means nothing.
    fn compare(&mut self, known: usize, copy: &[u8]) {
        if copy.len() < 2 {
            return;
        }
        let skipped = known.saturating_sub(self.held.len());
        let from = self.held.len().saturating_sub(known);
        let copy = copy.get(skipped..).unwrap_or_default();
        let held = self.held.get(from..).unwrap_or_default();
        self.conflict |= copy.iter().zip(held).any(|(a, b)| a != b);
    }

    fn wait(&mut self, seq: u32, payload: &[u8]) -> Took {
        let next = self.next;
        let start = seq.wrapping_sub(next);
        let Some(end) = u32::try_from(payload.len()).ok().and_then(|l| start.checked_add(l)) else {
            return Took::Nothing;
        };
        let span = |(s, b): &(u32, Vec<u8>)| {
            let s = s.wrapping_sub(next);
            (s, s.saturating_add(u32::try_from(b.len()).unwrap_or(u32::MAX)))
        };
        self.conflict |= self.waiting.iter().any(|w| {
            let (s, e) = span(w);
            let (low, high) = (s.max(start), e.min(end));
            low < high && part(&w.1, s, low, high) != part(payload, start, low, high)
        });
        let place = self.waiting.partition_point(|w| span(w).0 < start);
        let before = place.checked_sub(1).and_then(|p| self.waiting.get(p));
        let same = self.waiting.get(place).filter(|w| span(w).0 == start);
        if before.is_some_and(|w| span(w).1 >= end) || same.is_some_and(|w| span(w).1 >= end) {
            return Took::Nothing;
        }
        if self.waiting.len() >= WAITING_SEGMENTS_MAX
            || self.waiting_bytes.saturating_add(payload.len()) > WAITING_MAX
        {
            return Took::Full;
        }
        let covered = self.waiting.iter().skip(place).take_while(|w| span(w).1 <= end).count();
        let gone: usize = self
            .waiting
            .drain(place..place.saturating_add(covered))
            .map(|(_, b)| b.len())
            .fold(0, usize::saturating_add);
        self.waiting.insert(place, (seq, payload.to_vec()));
        self.waiting_bytes = self.waiting_bytes.saturating_sub(gone).saturating_add(payload.len());
        Took::Nothing
    }

    /// Counts `len` bytes as read from the stream.
    pub fn advance(&mut self, len: usize) {
        self.next = self.next.wrapping_add(u32::try_from(len).unwrap_or(0));
    }

    /// Appends in-order bytes to what is held; `false` if that breaks the cap.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        if self.held.len().saturating_add(bytes.len()) > HELD_MAX {
            return false;
        }
        if self.held.capacity() == 0 {
            // A parser says how much it needs; a liar gets no more than a hello usually takes.
            self.held.reserve_exact(self.need.clamp(bytes.len(), HELD_FIRST.max(bytes.len())));
        }
        self.held.extend_from_slice(bytes);
        true
    }

    /// Moves waiting bytes that are in order by now to `held` (or past it, if skipped);
    /// `true` if there were any.
    pub fn drain_waiting(&mut self) -> bool {
        let mut moved = false;
        while let Some((seq, _)) = self.waiting.first() {
            let distance = ahead(self.next, *seq);
            let hole = u64::from(distance.max(0).unsigned_abs());
            if hole > 0 && (self.skip < hole || !self.held.is_empty()) {
                break;
            }
            if hole > 0 {
                // Bytes that are passed over anyway may be missing.
                self.skip = self.skip.saturating_sub(hole);
                self.next = *seq;
            }
            let distance = distance.min(0);
            let (_, bytes) = self.waiting.remove(0);
            self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes.len());
            self.compare(distance.unsigned_abs() as usize, &bytes);
            let Some(fresh) = bytes.get(distance.unsigned_abs() as usize..) else { continue };
            self.advance(fresh.len());
            let passed = self.pass(fresh.len());
            let Some(fresh) = fresh.get(passed..) else { continue };
            if !self.append(fresh) {
                break;
            }
            moved = true;
        }
        moved
    }

    /// How many of `len` in-order bytes fall under the skip; reduces it.
    pub fn pass(&mut self, len: usize) -> usize {
        let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(len);
        self.skip = self.skip.saturating_sub(passed as u64);
        passed
    }

    /// Gives up the hole: goes on at the first waiting byte. `false` if nothing waits.
    pub fn jump(&mut self) -> bool {
        let Some((seq, _)) = self.waiting.first() else { return false };
        self.next = *seq;
        self.held.clear();
        self.skip = 0;
        self.need = 1;
        true
    }

    /// Nothing more is wanted: what is held or waits is let go, and `next` stands behind it.
    pub fn turn_deaf(&mut self) {
        self.deaf = true;
        if let Some((seq, bytes)) = self.waiting.last() {
            self.next = seq.wrapping_add(u32::try_from(bytes.len()).unwrap_or(0));
        }
        self.held.clear();
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.skip = 0;
    }

    /// Forgets everything ahead of and behind a hole; goes on at `seq`.
    pub fn restart(&mut self, seq: u32) {
        self.held.clear();
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.next = seq;
        self.skip = 0;
        self.need = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays segments `(seq, bytes)` and returns what a parser that consumes nothing would see.
    fn play(segments: &[(u32, &[u8])]) -> Vec<u8> {
        let mut stream = Stream::default();
        for (seq, bytes) in segments {
            let packet = Packet { seq: *seq, ..Packet::default() };
            if let Took::InOrder(from) = stream.place(&packet, bytes) {
                let fresh = &bytes[from..];
                stream.advance(fresh.len());
                assert!(stream.append(fresh));
            }
            stream.drain_waiting();
        }
        stream.held
    }

    #[test]
    fn puts_segments_in_order() {
        let cases: [(&str, &[(u32, &[u8])], &[u8]); 9] = [
            ("in order", &[(10, b"ab"), (12, b"cd")], b"abcd"),
            ("repeated", &[(10, b"ab"), (10, b"ab"), (12, b"c")], b"abc"),
            ("overlap to the left keeps what came first", &[(10, b"ab"), (11, b"XYZ")], b"abYZ"),
            ("swapped", &[(10, b"a"), (13, b"d"), (11, b"bc")], b"abcd"),
            ("three behind a hole", &[(10, b"a"), (14, b"e"), (12, b"cd"), (11, b"b")], b"abcde"),
            (
                "a waiting one inside another",
                &[(10, b"a"), (12, b"cde"), (13, b"D"), (11, b"b")],
                b"abcde",
            ),
            (
                "a later one covers a waiting one",
                &[(10, b"a"), (13, b"d"), (12, b"CDE"), (11, b"b")],
                b"abCDE",
            ),
            ("wraps", &[(u32::MAX, b"ab"), (2, b"d"), (1, b"c")], b"abcd"),
            ("old bytes only", &[(10, b"abc"), (9, b"x")], b"abc"),
        ];
        for (name, segments, expected) in cases {
            assert_eq!(play(segments), expected, "{name}");
        }
    }

    /// A stream whose parser has consumed up to 100 and passes over the next `skip` bytes.
    fn skipping(skip: u64) -> Stream {
        Stream { next: 100, started: true, skip, ..Stream::default() }
    }

    fn at(seq: u32, payload: &[u8]) -> Packet {
        let payload_wire = u32::try_from(payload.len()).unwrap();
        Packet { payload_wire, seq, ..Packet::default() }
    }

    #[test]
    fn a_hole_in_bytes_passed_over_is_none() {
        let mut stream = skipping(50);
        assert_eq!(stream.place(&at(140, b"x"), b"x"), Took::InOrder(0));
        assert_eq!((stream.next, stream.skip), (140, 10));
        // The same where the bytes waited before the parser said that it would pass over them.
        let mut stream = skipping(0);
        assert_eq!(stream.place(&at(140, b"tail"), b"tail"), Took::Nothing);
        stream.skip = 42;
        assert!(stream.drain_waiting());
        assert_eq!((stream.held.as_slice(), stream.skip), (&b"il"[..], 0));
        let mut stream = skipping(30);
        assert_eq!(stream.place(&at(140, b"x"), b"x"), Took::Nothing, "it reaches further");
    }

    #[test]
    fn a_deaf_direction_knows_where_it_stands() {
        let mut stream = skipping(0);
        stream.place(&at(110, b"waits"), b"waits");
        stream.turn_deaf();
        assert_eq!((stream.next, stream.memory()), (115, 0));
        stream.place(&at(200, b"passed"), b"passed");
        stream.place(&at(150, b"late"), b"late");
        stream.deaf = false;
        assert_eq!(stream.place(&at(206, b"new"), b"new"), Took::InOrder(0));
    }

    #[test]
    fn copies_that_differ_are_noticed() {
        let cases: [(&str, &[(u32, &[u8])], bool); 6] = [
            ("same again", &[(10, b"abc"), (10, b"abc")], false),
            ("other again", &[(10, b"abc"), (10, b"abX")], true),
            ("longer, other", &[(10, b"abc"), (9, b"?aXcd")], true),
            ("keep-alive probe", &[(10, b"abc"), (12, b"\0")], false),
            ("both wait", &[(10, b"a"), (13, b"def"), (12, b"cXe")], true),
            ("waited, other came", &[(10, b"a"), (12, b"cd"), (11, b"bX")], true),
        ];
        for (name, segments, expected) in cases {
            let mut stream = Stream::default();
            for (seq, bytes) in segments {
                if let Took::InOrder(from) = stream.place(&at(*seq, bytes), bytes) {
                    stream.advance(bytes.len() - from);
                    assert!(stream.append(&bytes[from..]));
                }
                stream.drain_waiting();
            }
            assert_eq!(stream.conflict, expected, "{name}");
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut stream = Stream::default();
        let at = |seq| Packet { seq, ..Packet::default() };
        stream.place(&at(0), b"a");
        stream.advance(1);
        let mut full = 0;
        for n in 0..1000u32 {
            full += u32::from(stream.place(&at(10 + n * 2), b"x") == Took::Full);
        }
        assert_eq!(full, 1000 - u32::try_from(WAITING_SEGMENTS_MAX).unwrap());
        assert!(stream.jump() && stream.drain_waiting());
        assert_eq!(stream.held, b"x");
    }
}
